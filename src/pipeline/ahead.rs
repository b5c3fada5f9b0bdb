//! The build that begins while the host is still telling what it is: all it needs is known from
//! the evaluation, the tree's verdict and the first part of the facts. A host that is refused
//! after all has cost a build here and nothing else.

use tokio::task::JoinHandle;

use super::host::Journey;
use super::learn::options;
use crate::build::{self, BuildError, Built, Evaluated, Where};
use crate::fleet::BuildOn;
use crate::plan::Goal;

/// A build that was begun; forgotten, it ends.
pub struct Ahead(Option<JoinHandle<Option<Result<Built, BuildError>>>>);

impl Ahead {
    /// Nothing was begun.
    pub fn none() -> Self {
        Self(None)
    }

    /// Begins, where the closure is built here and will be wanted.
    pub fn begin(&mut self, journey: &Journey<'_>, evaluated: &Evaluated) {
        let run = journey.run;
        let wanted = matches!(run.plan.goal, Goal::Deploy | Goal::Boot);
        let here = matches!(journey.step.build_on, BuildOn::Local);
        let Some(source) = run.source.as_ref().filter(|_| wanted && here && self.0.is_none())
        else {
            return;
        };
        let (cleared, options) = (source.cleared.clone(), options(journey));
        let (world, emitter) = (run.world.clone(), run.emitter.clone());
        let (name, evaluated) = (journey.host.name.clone(), evaluated.clone());
        self.0 = Some(tokio::spawn(async move {
            // a tree that blocks ends the journey elsewhere, with its findings
            cleared.await.ok()?;
            Some(build::build(&world, &emitter, &name, &evaluated, Where::Local, &options).await)
        }));
    }

    /// What came of it; `None`: nothing was begun.
    pub async fn end(mut self) -> Option<Result<Built, BuildError>> {
        // awaited where it is, so that dropping this future ends the build
        let ended = self.0.as_mut()?.await;
        self.0 = None;
        ended.ok().flatten()
    }

    /// Ends it, and waits until it is over: nothing is said of a host after its last word.
    pub async fn cancel(mut self) {
        if let Some(begun) = self.0.take() {
            begun.abort();
            let _ = begun.await;
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if let Some(begun) = &self.0 {
            begun.abort();
        }
    }
}
