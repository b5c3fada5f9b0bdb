//! One host's journey: every phase called once, in order. Read this first.

use tokio::sync::SemaphorePermit;

use super::ending::Halt;
use super::learn::Known;
use super::offer::Offered;
use super::preview::Answer;
use super::schedule::not_begun;
use super::{Run, arrive, back, budget, ending, external, learn, offer, preview, recover};
use super::{trial, trial_boot};
use crate::activate::hold::WayBack;
use crate::event::{HostReport, Outcome, Phase};
use crate::fleet::Host;
use crate::plan::{Goal, HostPlan};

/// One host of a run, and everything its phases need.
#[derive(Clone, Copy)]
pub struct Journey<'a> {
    /// The run.
    pub run: &'a Run,
    /// The steps and the policy.
    pub step: &'a HostPlan,
    /// The host.
    pub host: &'a Host,
}

/// A host that is held, with its new closure on it; nothing on it has changed.
pub struct Ready {
    /// What it was.
    pub known: Box<Known>,
    /// The lock, and the way back.
    pub way_back: WayBack,
    /// What it would get.
    pub offered: Offered,
}

/// What there is to know before a host's turn comes.
pub enum Begun {
    /// Its last word.
    Over(Box<HostReport>),
    /// What it is, and what it is to be.
    Known(Box<Known>),
    /// It is asked when its turn comes.
    Later,
}

impl Begun {
    /// Gives up what was begun for a host whose turn does not come.
    pub async fn forget(self) {
        if let Self::Known(mut known) = self
            && let Some(ahead) = known.ahead.take()
        {
            ahead.cancel().await;
        }
    }
}

/// How the first half of a journey ended.
pub enum Half {
    /// With its last word.
    Over(Box<HostReport>),
    /// Before anything is changed.
    Ready(Box<Ready>),
}

/// The beginning, which waits for no other host: nothing is done to this one yet.
pub async fn learn(run: &Run, step: &HostPlan, host: &Host) -> Begun {
    if !matches!(run.plan.goal, Goal::Deploy | Goal::Boot | Goal::DryRun) {
        return Begun::Later;
    }
    // What the host is, what it is to be, and whether the tree is fit: all at once.
    match learn::learn(&Journey { run, step, host }).await {
        Ok(learn::Learned::NothingToDo(report)) => Begun::Over(report),
        Ok(learn::Learned::Known(known)) => Begun::Known(known),
        Err(halt) => Begun::Over(halt),
    }
}

/// Travels to the goal, or to wherever it ends.
pub async fn journey(run: &Run, step: &HostPlan, host: &Host, begun: Begun) -> HostReport {
    match prepare(run, step, host, begun).await {
        Half::Over(report) => *report,
        Half::Ready(ready) => {
            let answer = if preview::asks(run, step) {
                preview::ask(run, &[(&host.name, &ready.offered.changes)]).await
            } else {
                Answer::Yes
            };
            proceed(run, step, host, *ready, answer).await
        }
    }
}

/// The first half, up to where something would be changed.
pub async fn prepare(run: &Run, step: &HostPlan, host: &Host, begun: Begun) -> Half {
    let journey = Journey { run, step, host };
    match begin(&journey, begun).await {
        Ok(half) => half,
        Err(halt) => Half::Over(halt),
    }
}

/// Lets go of a host that is held and will not be changed; its last word.
pub async fn give_back(
    run: &Run,
    step: &HostPlan,
    host: &Host,
    ready: Ready,
    halt: Halt,
) -> HostReport {
    *offer::let_go(&Journey { run, step, host }, ready.way_back, halt).await
}

/// The second half, after the answer.
pub async fn proceed(
    run: &Run,
    step: &HostPlan,
    host: &Host,
    ready: Ready,
    answer: Answer,
) -> HostReport {
    let journey = Journey { run, step, host };
    match change(&journey, ready, answer).await {
        Ok(report) => report,
        Err(halt) => *halt,
    }
}

async fn begin(journey: &Journey<'_>, begun: Begun) -> Result<Half, Halt> {
    let over = |report: HostReport| Half::Over(Box::new(report));
    let mut known = match (begun, journey.run.plan.goal) {
        (Begun::Over(report), _) => return Ok(Half::Over(report)),
        (Begun::Known(known), _) => learn::still_true(journey, known).await?,
        (_, Goal::Build) => return offer::build_only(journey).await.map(over),
        (_, Goal::Recover { abort }) => return recover::recover(journey, abort).await.map(over),
        (_, Goal::Rollback { to }) => back::learn_back(journey, to).await?,
        (_, Goal::Deploy | Goal::Boot | Goal::DryRun) => {
            return Err(ending::halt(Outcome::Internal, Phase::Facts, "nothing was learned"));
        }
    };
    if known.unchanged() {
        return trial::examine_unchanged(journey, &known).await.map(over);
    }
    if journey.run.plan.goal == Goal::Boot && known.staged().is_some() {
        return Ok(over(arrive::staged_already(journey, &known)));
    }
    if journey.run.plan.goal == Goal::DryRun {
        return preview::dry_run(journey, &known).await.map(over);
    }
    let ahead = known.ahead.take();
    // The host is ours and nothing on it has changed; whatever fails now lets it go again.
    let (way_back, built) = offer::hold_and_build(journey, &known, ahead).await?;
    match offer::offer(journey, &known, &built, &way_back).await {
        Ok(offered) => Ok(Half::Ready(Box::new(Ready { known, way_back, offered }))),
        Err(halt) => Err(offer::let_go(journey, way_back, halt).await),
    }
}

async fn change(journey: &Journey<'_>, ready: Ready, answer: Answer) -> Result<HostReport, Halt> {
    let Ready { known, way_back, offered } = ready;
    if let Err(mut halt) = answer.of(&journey.host.name) {
        if let (Answer::No, Some(offered)) = (answer, preview::back_to(journey, &known)) {
            halt.next = vec![back::instead(&journey.host.name, &known.facts, offered.generation)];
        }
        return Err(offer::let_go(journey, way_back, halt).await);
    }
    let trial_boot = trial_boot::wanted(journey, &offered);
    if !trial_boot && (journey.run.plan.goal == Goal::Boot || offered.stage) {
        return arrive::stage(journey, &known, way_back).await;
    }
    let seat = match seat(journey).await {
        Ok(seat) => seat,
        Err(halt) => return Err(offer::let_go(journey, way_back, halt).await),
    };
    let changed = match trial_boot {
        true => trial_boot::try_boot(journey, &known, way_back, &offered).await,
        false => switch(journey, &known, way_back, offered).await,
    };
    let outcome = changed.as_ref().map_or_else(|halt| &halt.outcome, |report| &report.outcome);
    if budget::lost(outcome) {
        seat.forget();
    }
    changed
}

/// Waits, held, until one more host may be down.
async fn seat<'a>(journey: &Journey<'a>) -> Result<SemaphorePermit<'a>, Halt> {
    let run = journey.run;
    tokio::select! {
        biased;
        seat = run.budget.seat() => {
            seat.map_err(|why| Box::new(not_begun(&journey.host.name, why)))
        }
        () = run.stop.once() => Err(ending::interrupted(Phase::Copy)),
    }
}

/// From `go` on the guard decides if we do not.
async fn switch(
    journey: &Journey<'_>,
    known: &Known,
    way_back: WayBack,
    mut offered: Offered,
) -> Result<HostReport, Halt> {
    let (activated, knock) = match external::engine(journey, known).await {
        Some(engine) => (external::activate(journey, known, way_back, &engine).await?, None),
        None => trial::activate(journey, known, way_back, &mut offered).await?,
    };
    let verified = trial::verify(journey, known, activated, &offered, knock).await?;
    arrive::commit(journey, known, verified, &offered).await
}
