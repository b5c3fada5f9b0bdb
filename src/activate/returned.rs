//! How a transaction ended, as what is true of the host.

use std::time::Duration;

use super::guard::{Ending, Status, Verb};
use super::hand::{Answer, Hand};
use super::{longest_s, patience_s};
use crate::plan::policy::Policy;
use crate::world::ssh::{Failure, Link};

/// What became of a host whose transaction is over, or should be.
#[derive(Debug)]
pub enum Returned {
    /// As before, and proven so.
    Restored(Box<Status>),
    /// The way back failed.
    Stranded(Box<Status>),
    /// Somebody else changed it.
    Foreign(Box<Status>),
    /// It had been committed already.
    Kept(Box<Status>),
    /// It was never told to go.
    Untouched(Box<Status>),
    /// The way back failed, and the host is about to reboot into its boot default.
    Rebooting(Box<Status>),
    /// The transaction is gone: the host has rebooted.
    Gone,
    /// No contact; it decides within so many seconds.
    Unknown(Failure, u64),
}

/// Starting a guard takes no longer.
const START: Duration = Duration::from_secs(90);

/// Asks, and waits for the end. A guard that was killed for good while it was stopped by hand is
/// started once more: it reads its folder and goes on.
pub async fn to_the_end(hand: &Hand, verb: Verb, new: Option<&str>, policy: &Policy) -> Answer {
    let patience = Duration::from_secs(patience_s(policy));
    let answer = hand.insist(verb, new, patience).await;
    match &answer {
        Answer::Told(status) if status.ending.is_none() && !status.rebooting => {}
        _ => return answer,
    }
    // One that could not be started, or lives by now, shows in what it says of itself.
    let _ = hand.ask(Link::Shared, Verb::Start, None, START).await;
    hand.insist(Verb::Await, None, patience).await
}

/// Asks, waits for the end, and says what it means.
pub async fn ask(hand: &Hand, verb: Verb, policy: &Policy) -> Returned {
    let longest_s = longest_s(policy);
    match to_the_end(hand, verb, None, policy).await {
        Answer::Told(status) => of(status),
        Answer::Gone => Returned::Gone,
        Answer::Lost(failure) => Returned::Unknown(failure, longest_s),
    }
}

/// What an answer with an outcome means; one without is a guard that died for good.
pub fn of(status: Box<Status>) -> Returned {
    match status.ending {
        Some(Ending::Reverted) => Returned::Restored(status),
        Some(Ending::Foreign) => Returned::Foreign(status),
        Some(Ending::Committed | Ending::Staged)
            if status.new.as_ref().is_some_and(|new| status.proves(new)) =>
        {
            Returned::Kept(status)
        }
        Some(Ending::Expired) => Returned::Untouched(status),
        None if status.rebooting => Returned::Rebooting(status),
        Some(Ending::Trial) => Returned::Gone,
        Some(_) | None => Returned::Stranded(status),
    }
}
