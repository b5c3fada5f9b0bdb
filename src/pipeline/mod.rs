//! Runs a plan: ties the slices together, host by host.
//!
//! [`host`] is one host's journey in the order of its phases: read it first. Nothing here builds
//! a command or reads an answer; that is the slices' work. Nothing here prints.

pub mod arrive;
pub mod cancel;
pub mod ending;
pub mod host;
pub mod learn;
pub mod offer;
pub mod trial;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt, Shared};

use crate::build::FlakeRef;
use crate::event::stream::{Emitter, Stopwatch};
use crate::event::{Event, HostReport, Outcome};
use crate::fleet::{Fleet, Host, HostName};
use crate::plan::{HostPlan, Plan, Request};
use crate::validate::{Blocked, Clearance};
use crate::world::World;
use cancel::Stop;

/// The verdict on the tree, awaited by every host and reached once.
pub type Cleared = Shared<BoxFuture<'static, Result<Arc<Clearance>, Arc<Blocked>>>>;

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
    /// Where it comes from.
    pub flake: FlakeRef,
    /// The verdict on its tree.
    pub cleared: Cleared,
    /// Whether we were asked to stop.
    pub stop: Stop,
    /// Short name of the run.
    pub name: String,
}

impl Run {
    /// A host of the plan.
    fn host(&self, step: &HostPlan) -> Option<&Host> {
        self.fleet.hosts.iter().find(|h| h.name == step.host)
    }
}

/// Runs every host to its last word. A second request to stop ends it at once.
pub async fn run(run: &Run) {
    tokio::select! {
        () = waves(run) => {}
        () = run.stop.twice() => {}
    }
}

async fn waves(run: &Run) {
    for wave in &run.plan.waves {
        let at_once = run.fleet.limits.max_parallel.max(1);
        let journeys = wave.iter().map(|step| finish(run, step));
        futures_util::stream::iter(journeys).buffer_unordered(at_once).collect::<()>().await;
    }
}

async fn finish(run: &Run, step: &HostPlan) {
    let report = match run.host(step) {
        Some(host) => host::journey(run, step, host).await,
        None => ending::report(
            Outcome::Internal,
            crate::event::Phase::Facts,
            "the plan names a host that the fleet lacks",
        ),
    };
    run.emitter.emit(Event::HostFinished { host: step.host.clone(), report });
}

/// Last words for hosts that have none, after the second request to stop.
pub fn abandon(run: &Run, armed: &BTreeMap<HostName, (String, i64)>, done: &[HostName]) {
    for step in run.plan.hosts().filter(|s| !done.contains(&s.host)) {
        let report = abandoned(&step.host, armed.get(&step.host), run.world.clock.epoch_ms());
        run.emitter.emit(Event::HostFinished { host: step.host.clone(), report });
    }
}

fn abandoned(host: &HostName, armed: Option<&(String, i64)>, now_ms: i64) -> HostReport {
    let Some((transaction, decides_by_ms)) = armed else {
        return *ending::interrupted(crate::event::Phase::Facts);
    };
    let left_s = (decides_by_ms - now_ms).max(0) / 1000;
    let mut report = ending::report(
        Outcome::Unknown { decides_by_ms: *decides_by_ms },
        crate::event::Phase::Activate,
        format!("left alone: transaction {transaction} decides by itself within {left_s} s"),
    );
    report.decided_by = crate::event::Decider::Guard;
    report.next = vec!["nixdeploy resume".to_owned(), format!("nixdeploy status {host}")];
    report
}

/// Starts the verdict on the tree.
pub fn clear(
    verdict: impl Future<Output = Result<Clearance, Blocked>> + Send + 'static,
) -> Cleared {
    let task = tokio::spawn(verdict);
    async move {
        match task.await {
            Ok(Ok(clearance)) => Ok(Arc::new(clearance)),
            Ok(Err(blocked)) => Err(Arc::new(blocked)),
            Err(error) => Err(Arc::new(Blocked::internal(&error.to_string()))),
        }
    }
    .boxed()
    .shared()
}
