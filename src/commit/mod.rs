//! Slice 5: profile and boot default, set by the guard and read back by us.
//!
//! The request may be sent again: the guard decides once. "Committed" is said only when running
//! system, profile and boot default were read back as the new closure.

use std::time::Duration;

use crate::activate::guard::{Ending, Status, Verb};
use crate::activate::hand::{Answer, Hand};
use crate::activate::returned::{self, Returned};
use crate::activate::{longest_s, patience_s};
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
    let limit = Duration::from_secs(patience_s(policy));
    let answer = match first.filter(|s| s.ending.is_some() && s.is_about(&hand.tx)) {
        Some(status) => Answer::Told(Box::new(status)),
        None => hand.insist(Verb::Commit, None, limit).await,
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
    let limit = Duration::from_secs(patience_s(policy));
    match hand.insist(Verb::Stage, Some(new.as_str()), limit).await {
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
