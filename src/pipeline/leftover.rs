//! What an interruption left on a host: found from the host alone, said in one sentence, and
//! brought to an end before anything new begins there.
//!
//! Three things can be left: a transaction whose guard is gone (it is started anew, and decides),
//! a transaction of a run of ours that died (it is taken back, or its commit waited for), and a
//! commit that a reboot cut off (profile and boot default are made what runs).

use super::ending::{self, Halt, Why, halt, returned};
use super::host::Journey;
use super::learn::ask_facts;
use super::offer::transaction;
use crate::activate::guard::{Status, Tx, Verb};
use crate::activate::hand::Hand;
use crate::activate::hold::hold;
use crate::activate::journal;
use crate::activate::returned::{Returned, ask};
use crate::commit::{self, Committed};
use crate::event::stream::Stopwatch;
use crate::event::{Decider, Event, Finding, HostReport, Outcome, Phase, Severity};
use crate::plan::Goal;
use crate::preflight::cut_off::{CutOff, cut_off};
use crate::preflight::facts::{Facts, Transaction, run_of};
use crate::preflight::read::Answered;
use crate::report::store;
use crate::rollback;
use crate::world::ssh::Link;

/// Starting a guard takes no longer.
const START: std::time::Duration = std::time::Duration::from_secs(90);

/// Ends what was left of an interrupted run, if it is ours to end; the facts as they are then.
///
/// # Errors
/// When it could not be brought to an end: the host is as that run left it.
pub async fn cleared(journey: &Journey<'_>, answered: Answered) -> Result<Answered, Halt> {
    let mut answered = answered;
    if journey.run.plan.goal == Goal::DryRun {
        return Ok(answered);
    }
    if let Some(left) = answered.facts.unfinished().cloned() {
        let Some(tx) = Tx::new(&left.name) else { return Ok(answered) };
        let hand = hand(journey, &answered, tx);
        let what = if orphaned(&answered.facts, &left) {
            revived(&hand, journey).await
        } else if died(journey, &left) && answered.facts.guarded() {
            end(journey, &hand, &left).await
        } else {
            return Ok(answered);
        };
        let (ended, end) = (ended(&left, &what), End::of(&what));
        let report = last_word(journey, &answered, ended.clone(), what);
        match end {
            End::Open => return Err(report),
            End::Known { touched } => settle(journey, left.run(), report, touched),
            End::Gone => {}
        }
        journal::close(&journey.run.world.environment.state, &journey.host.name, &left.name);
        answered = anew(journey, "interrupted", ended).await?;
    }
    match cut_off(&answered.facts) {
        Some(found) => {
            let status = mend(journey, &answered, &found).await?;
            settle(journey, run_of(&found.tx), set_right(journey, &found, &status), true);
            anew(journey, "cut-off", format!("{}; it was set right", found.sentence())).await
        }
        None => Ok(answered),
    }
}

/// A guard that is gone without a last word, past the point where nothing had been changed.
pub fn orphaned(facts: &Facts, left: &Transaction) -> bool {
    !facts.guarded() && !left.phase.starts_with("hold")
}

/// Starts the guard anew: it reads its folder, goes on, and is waited for.
pub async fn revived(hand: &Hand, journey: &Journey<'_>) -> Returned {
    // One that could not be started, or lives by now, shows in what it says of itself.
    let _ = hand.ask(Link::Shared, Verb::Start, None, START).await;
    ask(hand, Verb::Await, &journey.step.policy).await
}

/// Whether it is of a run of this desk whose process is no more.
fn died(journey: &Journey<'_>, left: &Transaction) -> bool {
    let state = &journey.run.world.environment.state;
    let record = journal::read(state, &journey.host.name).filter(|r| r.tx == left.name);
    record.is_some_and(|r| !store::lives(state, &r.run))
}

/// What is not decided is taken back: nobody is left who could verify it.
async fn end(journey: &Journey<'_>, hand: &Hand, left: &Transaction) -> Returned {
    match left.decision.is_empty() {
        true => rollback::back(hand, &journey.step.policy).await,
        false => rollback::outcome(hand, &journey.step.policy).await,
    }
}

/// A hand on the transaction that is there.
pub fn hand(journey: &Journey<'_>, answered: &Answered, tx: Tx) -> Hand {
    let run = journey.run;
    Hand::new(&run.world, &run.emitter, &journey.host.name, &answered.target, tx)
}

/// Whether a transaction came to its end.
enum End {
    /// It did.
    Known {
        /// Whether the host had been changed meanwhile.
        touched: bool,
    },
    /// It did, and nobody is left who could tell how.
    Gone,
    /// It did not.
    Open,
}

impl End {
    fn of(what: &Returned) -> Self {
        match what {
            Returned::Restored(_) | Returned::Kept(_) => Self::Known { touched: true },
            Returned::Untouched(_) => Self::Known { touched: false },
            Returned::Gone => Self::Gone,
            Returned::Foreign(_)
            | Returned::Rebooting(_)
            | Returned::Stranded(_)
            | Returned::Unknown(..) => Self::Open,
        }
    }
}

/// Tells the run that had left it what became of it.
fn settle(journey: &Journey<'_>, run: &str, report: Halt, touched: bool) {
    let outcome = match touched {
        true => report.outcome.clone(),
        false => Outcome::Unchanged { verified: false },
    };
    let report = Box::new(HostReport { outcome, ..*report });
    let (host, run) = (journey.host.name.clone(), run.to_owned());
    journey.run.emitter.emit(Event::Settled { host, run, report });
}

fn ended(left: &Transaction, what: &Returned) -> String {
    let run = left.run();
    let begun = format!("run {run} of {} was interrupted in phase {}", left.owner, left.phase);
    let end = match what {
        Returned::Restored(_) => "it was taken back",
        Returned::Kept(_) => "its commit was finished",
        Returned::Untouched(_) => "nothing had been changed",
        Returned::Gone => "the host has rebooted since",
        Returned::Foreign(_) => "somebody else changed the host meanwhile",
        Returned::Rebooting(_) => "its way back failed, so the host reboots",
        Returned::Stranded(_) => "its way back failed",
        Returned::Unknown(..) => "how it ends is not known",
    };
    format!("{begun}; {end}")
}

fn last_word(journey: &Journey<'_>, answered: &Answered, note: String, what: Returned) -> Halt {
    let why = Why {
        phase: Phase::Facts,
        note,
        causes: Vec::new(),
        decided_by: Decider::Guard,
        interrupted: false,
    };
    let now_ms = journey.run.world.clock.epoch_ms();
    returned(&journey.host.name, why, &answered.facts.early.pointers, what, now_ms)
}

/// Says what was found, and reads the host once more.
async fn anew(journey: &Journey<'_>, code: &str, message: String) -> Result<Answered, Halt> {
    let name = &journey.host.name;
    let finding = Finding {
        code: code.to_owned(),
        severity: Severity::Warn,
        subject: name.to_string(),
        message,
        suggestion: None,
    };
    let event = Event::Found { host: Some(name.clone()), phase: Phase::Facts, finding };
    journey.run.emitter.emit(event);
    ask_facts(journey).await
}

/// Makes profile and boot default what runs, under the host's lock, and reads them back.
///
/// # Errors
/// When they could not be; the host is as the reboot left it, or the guard says how it is.
pub async fn mend(
    journey: &Journey<'_>,
    answered: &Answered,
    found: &CutOff,
) -> Result<Box<Status>, Halt> {
    let run = journey.run;
    let Some(tx) = transaction(&run.name, &format!("{} mended", journey.host.name)) else {
        return Err(halt(Outcome::Internal, Phase::Facts, "no transaction could be named"));
    };
    let early = &answered.facts.early;
    let hand = hand(journey, answered, tx);
    let policy = &journey.step.policy;
    let held = hold(
        hand,
        (Link::Shared, None),
        early,
        &found.runs,
        policy,
        journey.host.when_stranded(answered.facts.graphical),
    )
    .await;
    let way_back = match held {
        Ok(way_back) => way_back,
        Err(error) => return Err(super::offer::not_held(journey, &answered.target.address, error)),
    };
    match commit::mend(&way_back.hand, policy, &found.runs).await {
        Committed::Proven(status) => Ok(status),
        Committed::Otherwise(what) => {
            let note = format!("{}, and could not be set right", found.sentence());
            Err(last_word(journey, answered, note, what))
        }
    }
}

/// The same after a reboot that a run of ours has seen: what is said of the host then.
///
/// # Errors
/// When the host was not cut off in a commit, or could not be set right.
pub async fn mended(journey: &Journey<'_>) -> Result<Option<Halt>, Halt> {
    let answered = ask_facts(journey).await?;
    let Some(found) = cut_off(&answered.facts) else { return Ok(None) };
    let status = mend(journey, &answered, &found).await?;
    Ok(Some(set_right(journey, &found, &status)))
}

/// What is said of a host that was set right.
pub fn set_right(journey: &Journey<'_>, found: &CutOff, status: &Status) -> Halt {
    let outcome = match found.new {
        true => Outcome::Committed { reboot_required: false },
        false => Outcome::RolledBack,
    };
    let mut said = halt(outcome, Phase::Commit, format!("{}; set right", found.sentence()));
    said.decided_by = Decider::Reboot;
    said.after = Some(ending::after(status));
    if !found.new {
        said.next = vec![format!("nixdeploy quick-deploy {}", journey.host.name)];
    }
    said
}
