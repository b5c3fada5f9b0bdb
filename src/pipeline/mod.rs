//! Runs a plan: ties the slices together, host by host.
//!
//! [`host`] is one host's journey in the order of its phases: read it first. Nothing here builds
//! a command or reads an answer; that is the slices' work. Nothing here prints.

pub mod admitting;
pub mod ahead;
pub mod arrive;
pub mod cancel;
pub mod ending;
pub mod external;
pub mod host;
pub mod known;
pub mod learn;
pub mod leftover;
pub mod look;
pub mod offer;
pub mod preview;
pub mod reboot;
pub mod recover;
pub mod room;
pub mod scripts;
mod together;
pub mod trial;
pub mod trial_boot;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt, Shared};

use crate::activate::{self, journal};
use crate::build::FlakeRef;
use crate::build::tree::Reading;
use crate::event::stream::Emitter;
use crate::event::{Event, HostReport, Outcome, Phase};
use crate::fleet::{Fleet, Host, HostName};
use crate::plan::{Finding, HostPlan, Plan, Request, Severity};
use crate::validate::{Blocked, Clearance};
use crate::world::World;
use cancel::Stop;

/// The verdict on the tree, awaited by every host and reached once.
pub type Cleared = Shared<BoxFuture<'static, Result<Arc<Clearance>, Arc<Blocked>>>>;

/// A flake, and the verdict on its tree.
pub struct Source {
    /// The flake.
    pub flake: FlakeRef,
    /// Its tree when the run began: what is checked, and what an evaluation is remembered under.
    pub tree: Reading,
    /// The verdict.
    pub cleared: Cleared,
}

/// Everything a run works with.
pub struct Run {
    /// Effects.
    pub world: World,
    /// Where events go.
    pub emitter: Emitter,
    /// Every host of hosts.toml.
    pub fleet: Fleet,
    /// What was asked for.
    pub request: Request,
    /// What will be done.
    pub plan: Plan,
    /// Where it comes from; `None`: nothing is evaluated.
    pub source: Option<Source>,
    /// Whether we were asked to stop.
    pub stop: Stop,
    /// Short name of the run.
    pub name: String,
    /// Hosts that have had their last word.
    pub done: Mutex<Vec<HostName>>,
}

impl Run {
    /// The flake's own folder, when it is on this machine.
    fn folder(&self) -> Option<PathBuf> {
        match &self.source.as_ref()?.flake {
            FlakeRef::Local(local) => Some(local.path()),
            FlakeRef::Other(_) => None,
        }
    }

    /// Whether it goes back to a generation: its closures were not made from this tree.
    fn goes_back(&self) -> bool {
        matches!(self.plan.goal, crate::plan::Goal::Rollback { .. })
    }

    /// A host of the plan.
    fn host(&self, step: &HostPlan) -> Option<&Host> {
        self.fleet.hosts.iter().find(|h| h.name == step.host)
    }
}

/// A check that came to no end clears nothing.
fn unfinished(error: &tokio::task::JoinError) -> Blocked {
    let finding = Finding {
        code: "internal".to_owned(),
        severity: Severity::Block,
        subject: "the tree".to_owned(),
        message: format!("the check did not end: {error}"),
        suggestion: None,
    };
    Blocked { findings: vec![finding] }
}

/// Runs every host to its last word. A second request to stop ends it at once.
pub async fn run(run: &Run) {
    tokio::select! {
        () = waves(run) => {}
        () = run.stop.twice() => abandon(run),
    }
}

async fn waves(run: &Run) {
    if run.plan.hosts().filter(|step| preview::asks(run, step)).count() > 1 {
        return together::run(run).await;
    }
    for wave in &run.plan.waves {
        let journeys = wave.iter().map(|step| finish(run, step));
        futures_util::stream::iter(journeys).buffer_unordered(at_once(run)).collect::<()>().await;
    }
}

fn at_once(run: &Run) -> usize {
    run.fleet.limits.max_parallel.max(1)
}

fn unknown_host() -> HostReport {
    ending::report(Outcome::Internal, Phase::Facts, "the plan names a host that the fleet lacks")
}

async fn finish(run: &Run, step: &HostPlan) {
    let report = match run.host(step) {
        Some(host) => host::journey(run, step, host).await,
        None => unknown_host(),
    };
    last_word(run, step, report);
}

fn last_word(run: &Run, step: &HostPlan, report: HostReport) {
    run.emitter.emit(Event::HostFinished { host: step.host.clone(), report });
    run.done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(step.host.clone());
}

/// Last words for hosts that have none, after the second request to stop: what we wrote down
/// before each step says which of them decide by themselves.
fn abandon(run: &Run) {
    let done = run.done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    for step in run.plan.hosts().filter(|s| !done.contains(&s.host)) {
        let report = abandoned(run, step);
        run.emitter.emit(Event::HostFinished { host: step.host.clone(), report });
    }
}

fn abandoned(run: &Run, step: &HostPlan) -> HostReport {
    let record = journal::read(&run.world.environment.state, &step.host);
    let Some(record) = record.filter(|r| r.run == run.name && r.is_armed()) else {
        return *ending::interrupted(Phase::Facts);
    };
    let fresh = || activate::decides_by_ms(&run.world, &step.policy);
    let decides_by_ms = record.decides_by_ms.unwrap_or_else(fresh);
    let note =
        format!("left alone at the second request: transaction {} decides by itself", record.tx);
    let mut report = ending::report(Outcome::Unknown { decides_by_ms }, Phase::Activate, note);
    report.decided_by = crate::event::Decider::Guard;
    report.next = vec!["nixdeploy resume".to_owned(), format!("nixdeploy status {}", step.host)];
    report
}

/// The verdict on the tree, to be reached once, when it is first asked for: it takes every core
/// for a moment, and a host that needs nothing needs no check.
pub fn clear(
    verdict: impl Future<Output = Result<Clearance, Blocked>> + Send + 'static,
) -> Cleared {
    async move {
        match tokio::spawn(verdict).await {
            Ok(Ok(clearance)) => Ok(Arc::new(clearance)),
            Ok(Err(blocked)) => Err(Arc::new(blocked)),
            Err(error) => Err(Arc::new(unfinished(&error))),
        }
    }
    .boxed()
    .shared()
}
