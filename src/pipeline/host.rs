//! One host's journey: every phase called once, in order. Read this first.

use super::ending::Halt;
use super::{Run, arrive, learn, offer, preview, recover, trial};
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

/// Travels to the goal, or to wherever it ends.
pub async fn journey(run: &Run, step: &HostPlan, host: &Host) -> HostReport {
    let journey = Journey { run, step, host };
    match travel(&journey).await {
        Ok(report) => report,
        Err(halt) => *halt,
    }
}

async fn travel(journey: &Journey<'_>) -> Result<HostReport, Halt> {
    if journey.run.plan.goal == Goal::Build {
        return offer::build_only(journey).await;
    }
    if let Goal::Recover { abort } = journey.run.plan.goal {
        return recover::recover(journey, abort).await;
    }
    let mut known = match journey.run.plan.goal {
        Goal::Rollback { to } => learn::learn_back(journey, to).await?,
        // What the host is, what it is to be, and whether the tree is fit: all at once.
        _ => match learn::learn(journey).await? {
            learn::Learned::NothingToDo(report) => return Ok(*report),
            learn::Learned::Known(known) => known,
        },
    };
    if known.unchanged() {
        return trial::examine_unchanged(journey, &known).await;
    }
    if journey.run.plan.goal == Goal::DryRun {
        return preview::dry_run(journey, &known).await;
    }
    let ahead = known.ahead.take();
    // The host is ours and nothing on it has changed; whatever fails now lets it go again.
    let (way_back, built) = offer::hold_and_build(journey, &known, ahead).await?;
    let offered = offer::offer(journey, &known, &built, &way_back).await;
    let mut offered = match offered {
        Ok(offered) => offered,
        Err(halt) => return Err(offer::let_go(journey, way_back, halt).await),
    };
    if journey.run.plan.goal == Goal::Boot || offered.stage {
        return arrive::stage(journey, &known, way_back).await;
    }
    // From `go` on the guard decides if we do not.
    let activated = trial::activate(journey, &known, way_back, offered.session.take()).await?;
    let verified = trial::verify(journey, &known, activated, &offered).await?;
    arrive::commit(journey, &known, verified, &offered).await
}
