//! Runs a plan: ties the slices together, host by host.
//!
//! [`host`] is one host's journey in the order of its phases: read it first. Nothing here builds
//! a command or reads an answer; that is the slices' work. Nothing here prints.

pub mod admitting;
pub mod ahead;
pub mod arrive;
pub mod asleep;
pub mod back;
pub mod budget;
mod builder;
pub mod cancel;
pub mod deferred;
pub mod early;
pub mod ending;
pub mod engines;
pub mod external;
pub mod gates;
pub mod host;
pub mod identity;
pub mod known;
pub mod learn;
pub mod leftover;
pub mod look;
pub mod offer;
pub mod preview;
pub mod reboot;
pub mod recover;
pub mod room;
mod schedule;
pub mod scripts;
mod together;
pub mod trial;
pub mod trial_boot;

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, Shared};

use crate::activate::{self, journal};
use crate::build::tree::Reading;
use crate::build::{FlakeRef, Graph, Where, Workers};
use crate::event::stream::Emitter;
use crate::event::{Event, HostReport, Outcome, Phase};
use crate::fleet::{Fleet, Host};
use crate::plan::{Finding, HostPlan, Plan, Request, Severity};
use crate::validate::{Blocked, Clearance};
use crate::world::World;
use budget::Budget;
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
    /// Who has had its last word, and whether another may be begun.
    pub budget: Budget,
    /// Where evaluations find room.
    pub workers: Workers,
    /// What is built here, for several hosts at once.
    pub graph: Arc<Graph>,
    /// How much is asked of others at once.
    pub gates: gates::Gates,
    /// What was built before its host was asked.
    pub early: early::Early,
    /// Machines that were met.
    pub met: identity::Met,
    /// Hosts that are waited for.
    pub asleep: asleep::Asleep,
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

    /// How a closure is built here.
    fn build_here(&self) -> Where<'_> {
        match self.plan.hosts().nth(1) {
            Some(_) => Where::Together(&self.graph),
            None => Where::Local,
        }
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
        () = async {
            if !run.request.build_first || early::all_build(run).await {
                schedule::run(run).await;
            }
            asleep::run(run).await;
        } => {}
        () = run.stop.twice() => abandon(run),
    }
}

/// Hosts worked on at once; of those that are only built for, as many as share a build.
fn at_once(run: &Run) -> usize {
    match run.plan.goal {
        crate::plan::Goal::Build => built_at_once(run),
        _ => run.plan.pace.at_once.max(1),
    }
}

/// Hosts built for at once, unless they are to go one by one. Evaluations wait for memory and
/// builds for each other, so that `max_parallel`, which is about machines, would only split what
/// is built together. Each has a program of Nix at its end, which keeps what was built.
fn built_at_once(run: &Run) -> usize {
    const TOGETHER: usize = 32;
    match run.plan.pace.at_once {
        0 | 1 => 1,
        most => most.max(TOGETHER),
    }
}

fn unknown_host() -> HostReport {
    ending::report(Outcome::Internal, Phase::Facts, "the plan names a host that the fleet lacks")
}

fn last_word(run: &Run, step: &HostPlan, report: HostReport) {
    run.graph.came(&step.host);
    match asleep::put_off(run, step, &report) {
        true => run.budget.put_off(&step.host),
        false => say(run, step, report),
    }
}

fn say(run: &Run, step: &HostPlan, report: HostReport) {
    let report = deferred::settle(run, step, report);
    run.budget.word(&step.host, &report.outcome);
    run.emitter.emit(Event::HostFinished { host: step.host.clone(), report });
}

/// Last words for hosts that have none, after the second request to stop: what we wrote down
/// before each step says which of them decide by themselves.
fn abandon(run: &Run) {
    for step in run.plan.hosts().filter(|s| !run.budget.is_done(&s.host)) {
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
