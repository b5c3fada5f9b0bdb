//! Slice 5: profile and boot default, set by the guard and read back by us.
//!
//! The request may be sent again: the guard decides once. "Committed" is said only when running
//! system, profile and boot default were read back as the new closure.

use crate::activate::guard::{Ending, Status, Verb};
use crate::activate::hand::{Answer, Hand};
use crate::activate::longest_s;
use crate::activate::returned::{self, Returned, to_the_end};
use crate::fleet::StorePath;
use crate::plan::policy::Policy;

/// What came of the request.
#[derive(Debug)]
pub enum Committed {
    /// All pointers are the new closure; the boot default was read back, or cannot be told on
    /// this loader.
    Proven(Box<Status>),
    /// The guard did something else.
    Otherwise(Returned),
}

/// Asks the guard to commit and reads back; `first` is an answer that is there already.
pub async fn run(
    hand: &Hand,
    policy: &Policy,
    new: &StorePath,
    first: Option<Status>,
) -> Committed {
    let answer = match first.filter(|s| s.ending.is_some() && s.is_about(&hand.tx)) {
        Some(status) => Answer::Told(Box::new(status)),
        None => to_the_end(hand, Verb::Commit, None, policy).await,
    };
    match answer {
        Answer::Told(status) => judge(status, new),
        Answer::Gone => Committed::Otherwise(Returned::Gone),
        Answer::Lost(failure) => {
            Committed::Otherwise(Returned::Unknown(failure, longest_s(policy)))
        }
    }
}

/// Asks the guard to install the closure for the next boot, without activating it.
pub async fn stage(hand: &Hand, policy: &Policy, new: &StorePath) -> Committed {
    pointed(hand, Verb::Stage, policy, new).await
}

/// Asks the guard to set right what boots, to what runs: no generation is made, and a later one,
/// which was never verified, goes.
pub async fn mend(hand: &Hand, policy: &Policy, runs: &StorePath) -> Committed {
    pointed(hand, Verb::Mend, policy, runs).await
}

async fn pointed(hand: &Hand, verb: Verb, policy: &Policy, new: &StorePath) -> Committed {
    match to_the_end(hand, verb, Some(new.as_str()), policy).await {
        Answer::Told(status) => judge(status, new),
        Answer::Gone => Committed::Otherwise(Returned::Gone),
        Answer::Lost(failure) => {
            Committed::Otherwise(Returned::Unknown(failure, longest_s(policy)))
        }
    }
}

fn judge(status: Box<Status>, new: &StorePath) -> Committed {
    match status.ending {
        Some(Ending::Committed | Ending::Staged) if status.proves(new) => Committed::Proven(status),
        Some(Ending::Committed | Ending::Staged) => {
            Committed::Otherwise(Returned::Stranded(status))
        }
        _ => Committed::Otherwise(returned::of(status)),
    }
}
