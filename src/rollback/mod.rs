//! Slice 6: the way back, verified, with its evidence.
//!
//! The guard goes back by itself; here we ask it to, or wait for it, and read what came of it.
//! What it says is its own proof (pointers and units compared on the host); the pipeline reads
//! the pointers once more over a fresh connection before it calls a host restored.

use crate::activate::guard::Verb;
use crate::activate::hand::Hand;
use crate::activate::returned::{Returned, ask};
use crate::plan::policy::Policy;

/// Asks the guard to go back, and waits.
pub async fn back(hand: &Hand, policy: &Policy) -> Returned {
    ask(hand, Verb::Abort, policy).await
}

/// Waits for what the guard decides.
pub async fn outcome(hand: &Hand, policy: &Policy) -> Returned {
    ask(hand, Verb::Await, policy).await
}
