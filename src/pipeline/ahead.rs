//! What begins while the host is still telling what it is, once the evaluation and the first part
//! of the facts say that there is something to do: the build, and the login for the lock. A host
//! that is refused after all has cost these and nothing else.

use tokio::task::JoinHandle;

use super::host::Journey;
use super::learn::options;
use super::offer::transaction;
use crate::activate::hand::Hand;
use crate::activate::hold::Door;
use crate::build::{self, BuildError, Built, Evaluated, Where};
use crate::fleet::BuildOn;
use crate::plan::Goal;
use crate::preflight::read::First;
use crate::world::ssh::Link;

/// What was begun; forgotten, it ends.
#[derive(Default)]
pub struct Ahead {
    begun: bool,
    build: Option<JoinHandle<Option<Result<Built, BuildError>>>>,
    /// Where the lock will be asked for.
    pub door: Option<Door>,
}

/// Over which connection the lock is taken. Facts over a master that was there prove no login: a
/// host key that was changed, or an sshd that is gone, would only show after `go`.
pub fn link(shared: bool) -> Link {
    if shared { Link::Fresh } else { Link::Shared }
}

/// Whether its turn comes as soon as it is learned: a login that waits for long is one too many.
fn soon(journey: &Journey<'_>) -> bool {
    let plan = &journey.run.plan;
    plan.waves.len() == 1 && plan.hosts().count() <= plan.pace.at_once
}

impl Ahead {
    /// Begins what will be wanted, once; `shared`: the facts come over a master that was there.
    pub async fn begin(
        &mut self,
        journey: &Journey<'_>,
        evaluated: &Evaluated,
        first: &First,
        shared: bool,
    ) {
        let wanted = matches!(journey.run.plan.goal, Goal::Deploy | Goal::Boot);
        if !wanted || std::mem::replace(&mut self.begun, true) {
            return;
        }
        self.build(journey, evaluated);
        if soon(journey) {
            self.door = open(journey, evaluated, first, link(shared)).await;
        }
    }

    /// Builds, where the closure is built here.
    fn build(&mut self, journey: &Journey<'_>, evaluated: &Evaluated) {
        let run = journey.run;
        let here = matches!(journey.step.build_on, BuildOn::Local);
        let built = run.early.built(&journey.host.name).is_some();
        let Some(source) = run.source.as_ref().filter(|_| here && !built) else { return };
        let (cleared, options) = (source.cleared.clone(), options(journey));
        let (world, emitter) = (run.world.clone(), run.emitter.clone());
        let (name, evaluated) = (journey.host.name.clone(), evaluated.clone());
        let (graph, several) = (run.graph.clone(), run.plan.hosts().nth(1).is_some());
        self.build = Some(tokio::spawn(async move {
            // a tree that blocks ends the journey elsewhere, with its findings
            cleared.await.ok()?;
            let place = if several { Where::Together(&graph) } else { Where::Local };
            Some(build::build(&world, &emitter, &name, &evaluated, place, &options).await)
        }));
    }

    /// What came of the build; `None`: none was begun.
    pub async fn end(mut self) -> Option<Result<Built, BuildError>> {
        // awaited where it is, so that dropping this future ends the build
        let ended = self.build.as_mut()?.await;
        self.build = None;
        ended.ok().flatten()
    }

    /// Ends it, and waits until it is over: nothing is said of a host after its last word.
    pub async fn cancel(mut self) {
        if let Some(begun) = self.build.take() {
            begun.abort();
            let _ = begun.await;
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if let Some(begun) = &self.build {
            begun.abort();
        }
    }
}

async fn open(
    journey: &Journey<'_>,
    evaluated: &Evaluated,
    first: &First,
    link: Link,
) -> Option<Door> {
    let (run, name) = (journey.run, &journey.host.name);
    let tx = transaction(&run.name, name.as_str())?;
    let hand = Hand::new(&run.world, &run.emitter, name, &first.target, tx);
    let new = evaluated.toplevel.as_ref()?;
    Door::open(&hand, link, &first.early, new, &journey.step.policy).await
}
