//! Closures that are built before their hosts are asked: for all hosts of a run, before one of them
//! is touched; or for one that sleeps.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use futures_util::StreamExt;

use super::cancel::unless_stopped;
use super::ending::{self, Halt};
use super::host::Journey;
use super::learn::{clearance, evaluate, unevaluated};
use super::offer::built;
use super::{Run, built_at_once, last_word, unknown_host};
use crate::build::{Built, Evaluated};
use crate::event::{HostReport, Outcome, Phase};
use crate::fleet::{BuildOn, HostName};
use crate::plan::HostPlan;
use crate::world::ssh::Target;

/// `PATH` on a host that builds and whose running system nobody has asked for.
pub(super) const RUNNING: &str = "/run/current-system/sw/bin";

/// What was found out and built so far, by host.
#[derive(Default)]
pub struct Early(Mutex<BTreeMap<HostName, (Evaluated, Option<Built>)>>);

impl Early {
    /// What a host is to run.
    pub fn evaluated(&self, host: &HostName) -> Option<Evaluated> {
        self.of(host).map(|(evaluated, _)| evaluated)
    }

    /// Its closure.
    pub fn built(&self, host: &HostName) -> Option<Built> {
        self.of(host).and_then(|(_, built)| built)
    }

    fn of(&self, host: &HostName) -> Option<(Evaluated, Option<Built>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(host).cloned()
    }

    fn keep(&self, host: &HostName, evaluated: Evaluated, built: Option<Built>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(host.clone(), (evaluated, built));
    }
}

/// Builds what a host is to run, and remembers it for the rest of the run.
///
/// # Errors
/// With the host's last word, when there is no closure, or we are asked to stop.
pub(super) async fn build(journey: &Journey<'_>) -> Result<Built, Halt> {
    unless_stopped(journey, building(journey)).await
}

async fn building(journey: &Journey<'_>) -> Result<Built, Halt> {
    let run = journey.run;
    let evaluated = cleared(journey).await?;
    let target = Target::new(journey.host, &run.world.environment);
    let built = built(journey, &evaluated, &target, RUNNING).await?;
    run.early.keep(&journey.host.name, evaluated, Some(built.clone()));
    Ok(built)
}

async fn cleared(journey: &Journey<'_>) -> Result<Evaluated, Halt> {
    let mut evaluated = match evaluate(journey, &|| ()).await {
        Ok(evaluated) => evaluated,
        Err(error) => return Err(unevaluated(journey, &error).await),
    };
    clearance(journey, Some(&evaluated)).await?;
    // The tree is the same now as before the evaluation: a later change makes no difference.
    if let Some(source) = &journey.run.source
        && let Ok(tree) = source.tree.clone().await
    {
        evaluated.tree.get_or_insert_with(|| tree.id.clone());
    }
    Ok(evaluated)
}

/// The same for a host that does not answer: as much as can be done without it.
///
/// # Errors
/// As [`build`].
pub(super) async fn prepare(journey: &Journey<'_>) -> Result<(), Halt> {
    if journey.step.build_on != BuildOn::Target {
        return build(journey).await.map(drop);
    }
    let evaluated = unless_stopped(journey, cleared(journey)).await?;
    journey.run.early.keep(&journey.host.name, evaluated, None);
    Ok(())
}

/// Builds for every host; where one does not build, all have their last words, and it is false.
pub(super) async fn all_build(run: &Run) -> bool {
    let steps: Vec<&HostPlan> = run.plan.hosts().collect();
    let tried = steps.iter().map(|step| tried(run, step));
    let tried = futures_util::stream::iter(tried).buffer_unordered(built_at_once(run));
    let tried: Vec<(&HostPlan, Result<Built, HostReport>)> = tried.collect().await;
    let left_out =
        |report: &HostReport| matches!(report.outcome, Outcome::Refused { skipped: true, .. });
    let failed = |(step, result): &(&HostPlan, Result<Built, HostReport>)| {
        let bad = result.as_ref().is_err_and(|report| !left_out(report));
        bad.then(|| step.host.to_string())
    };
    let mut failed: Vec<String> = tried.iter().filter_map(failed).collect();
    failed.sort_unstable();
    if failed.is_empty() {
        return true;
    }
    let stopped = |result: &Result<Built, HostReport>| {
        result.as_ref().is_err_and(|r| matches!(r.outcome, Outcome::Interrupted { .. }))
    };
    let stopped = tried.iter().any(|(_, result)| stopped(result));
    for (step, result) in tried {
        let report = result.map_or_else(
            |report| report,
            |_| if stopped { *ending::interrupted(Phase::Build) } else { held_back(step, &failed) },
        );
        last_word(run, step, report);
    }
    false
}

async fn tried<'a>(run: &Run, step: &'a HostPlan) -> (&'a HostPlan, Result<Built, HostReport>) {
    let Some(host) = run.host(step) else { return (step, Err(unknown_host())) };
    let journey = Journey { run, step, host };
    let built = build(&journey).await.map_err(|halt| *halt);
    // Nobody who builds with others waits for it any more.
    run.graph.came(&step.host);
    (step, built)
}

/// A host whose closure is there, and that nobody touches because another's is not.
fn held_back(step: &HostPlan, failed: &[String]) -> HostReport {
    let because = match failed {
        [one] => format!("{one} does not build"),
        [one, rest @ ..] => format!("{one} and {} more do not build", rest.len()),
        [] => String::new(),
    };
    let note = format!("built, and not deployed: {because}");
    let mut report = ending::report(Outcome::Planned { changes: true }, Phase::Build, note);
    report.next = vec![format!("nixdeploy deploy {}", step.host)];
    report
}
