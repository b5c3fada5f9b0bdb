//! One host's journey: every phase called once, in order. Read this first.

use super::ending::Halt;
use super::learn::Known;
use super::offer::Offered;
use super::preview::Answer;
use super::{Run, arrive, external, learn, offer, preview, recover, trial, trial_boot};
use crate::activate::hold::WayBack;
use crate::event::HostReport;
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

/// How the first half of a journey ended.
pub enum Half {
    /// With its last word.
    Over(Box<HostReport>),
    /// Before anything is changed.
    Ready(Box<Ready>),
}

/// Travels to the goal, or to wherever it ends.
pub async fn journey(run: &Run, step: &HostPlan, host: &Host) -> HostReport {
    match prepare(run, step, host).await {
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
pub async fn prepare(run: &Run, step: &HostPlan, host: &Host) -> Half {
    let journey = Journey { run, step, host };
    match begin(&journey).await {
        Ok(half) => half,
        Err(halt) => Half::Over(halt),
    }
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

async fn begin(journey: &Journey<'_>) -> Result<Half, Halt> {
    let over = |report: HostReport| Half::Over(Box::new(report));
    if journey.run.plan.goal == Goal::Build {
        return offer::build_only(journey).await.map(over);
    }
    if let Goal::Recover { abort } = journey.run.plan.goal {
        return recover::recover(journey, abort).await.map(over);
    }
    let mut known = match journey.run.plan.goal {
        Goal::Rollback { to } => learn::learn_back(journey, to).await?,
        // What the host is, what it is to be, and whether the tree is fit: all at once.
        _ => match learn::learn(journey).await? {
            learn::Learned::NothingToDo(report) => return Ok(Half::Over(report)),
            learn::Learned::Known(known) => known,
        },
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
    let Ready { known, way_back, mut offered } = ready;
    if let Err(halt) = answer.of(&journey.host.name) {
        return Err(offer::let_go(journey, way_back, halt).await);
    }
    if trial_boot::wanted(journey, &offered) {
        return trial_boot::try_boot(journey, &known, way_back, &offered).await;
    }
    if journey.run.plan.goal == Goal::Boot || offered.stage {
        return arrive::stage(journey, &known, way_back).await;
    }
    // From `go` on the guard decides if we do not.
    let (activated, knock) = match external::engine(journey, &known).await {
        Some(engine) => (external::activate(journey, &known, way_back, &engine).await?, None),
        None => trial::activate(journey, &known, way_back, &mut offered).await?,
    };
    let verified = trial::verify(journey, &known, activated, &offered, knock).await?;
    arrive::commit(journey, &known, verified, &offered).await
}
