//! Slice 3: an admitted closure under the guard, from hold to the end of the activation.
//!
//! Nothing here changes the host: we ask the guard ([`guard`], `guard.sh`) and read what it
//! answers. Once it was told to go, only its own record says what is true of the host.

pub mod copy;
pub mod guard;
pub mod hand;
pub mod hold;
pub mod journal;
pub mod returned;

use std::time::Duration;

use guard::{ActEnd, Status, Verb};
use hand::Answer;
use hold::WayBack;

use crate::event::Event;
use crate::event::stream::Stopwatch;
use crate::plan::policy::Policy;
use crate::world::World;
use crate::world::ssh::Failure;

/// Evidence that switch-to-configuration has run, with its way back.
pub struct Activated {
    way_back: WayBack,
    status: Status,
}

impl Activated {
    /// How it ended.
    pub fn end(&self) -> ActEnd {
        self.status.act.unwrap_or(ActEnd::Cut)
    }

    /// Where the transaction stands.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// The way back.
    pub fn way_back(&self) -> &WayBack {
        &self.way_back
    }

    /// Gives it up for its way back.
    pub fn into_way_back(self) -> WayBack {
        self.way_back
    }
}

/// What is true of a host whose activation is not ours to judge.
pub enum WhyNot {
    /// It would not go: the closure is not whole there. Nothing was changed.
    Untouched(String),
    /// The guard has decided by itself; its outcome is to be awaited.
    Decided(Box<Status>),
    /// No contact; the guard decides by itself within so many seconds.
    Unknown(Failure, u64),
    /// The transaction is gone: the host has rebooted.
    Gone,
}

/// How long the guard can take in all from `go`, in seconds: activation, observation, commit with
/// its undo, and the way back: three attempts, one more with D-Bus, the old system's activation.
pub fn longest_s(policy: &Policy) -> u64 {
    let observe = policy.soak_s + policy.verify_timeout_s;
    let commit = policy.commit_timeout_s + 250;
    u64::from(policy.activate_timeout_s * 6 + observe + commit + 900)
}

/// How long we look for a guard that does not answer, in seconds: until its last deadline and two
/// attempts to go back must be over. What it does after that is told with [`longest_s`].
pub fn patience_s(policy: &Policy) -> u64 {
    let observe = policy.soak_s + policy.verify_timeout_s;
    u64::from(policy.activate_timeout_s * 3 + observe + policy.commit_timeout_s + 150)
}

/// A host that was told to go, or is about to be: only the guard's record says what is true of it.
pub struct Going {
    way_back: WayBack,
}

/// What came of asking over a session that was open already.
pub enum First {
    /// The end of the activation.
    Told(Box<Status>),
    /// It broke off, at this time of our clock.
    Lost(Duration),
    /// There was none.
    NotAsked,
}

impl Going {
    /// From here on the guard decides if we do not: said before it is true.
    pub fn begin(mut way_back: WayBack, policy: &Policy) -> Self {
        way_back.settle();
        announce(&way_back, policy);
        Self { way_back }
    }

    /// Tells the guard to activate and follows it to the end of the activation. Dropping the
    /// future changes nothing on the host; the request can be made again.
    ///
    /// # Errors
    /// See [`WhyNot`].
    /// `first` is an answer that is there already, from a session that was open.
    pub async fn follow(&self, policy: &Policy, first: First) -> Result<Box<Status>, WhyNot> {
        let lost_at = match first {
            First::Told(status) => return why_not(status),
            First::Lost(at) => Some(at),
            First::NotAsked => None,
        };
        let longest = longest_s(policy);
        let (hand, new) = (&self.way_back.hand, self.way_back.new.as_str());
        let patience = Duration::from_secs(patience_s(policy));
        match hand.insist_since(lost_at, Verb::Go, Some(new), patience).await {
            Answer::Lost(failure) => Err(WhyNot::Unknown(failure, longest)),
            Answer::Gone => Err(WhyNot::Gone),
            Answer::Told(status) => why_not(status),
        }
    }

    /// Tells the guard that another engine switches; when it is armed, that one may begin.
    ///
    /// # Errors
    /// See [`WhyNot`].
    pub async fn arm(&self, policy: &Policy) -> Result<Box<Status>, WhyNot> {
        let status = self.tell(Verb::External, self.way_back.new.as_str(), policy).await?;
        match status.refused.clone().filter(|_| !status.started) {
            Some(refused) => Err(WhyNot::Untouched(refused)),
            None if status.ending.is_some() || status.decision.is_some() => {
                Err(WhyNot::Decided(status))
            }
            None => Ok(status),
        }
    }

    /// Tells the guard that the engine is done, whatever it says of itself: what it made of the
    /// profile is the new system from here on.
    ///
    /// # Errors
    /// See [`WhyNot`].
    pub async fn engine_ended(
        &mut self,
        code: i32,
        policy: &Policy,
    ) -> Result<Box<Status>, WhyNot> {
        let status = self.tell(Verb::EngineEnded, &code.to_string(), policy).await?;
        if let Some(new) = status.new.clone() {
            self.way_back.new = new;
        }
        why_not(status)
    }

    async fn tell(&self, verb: Verb, word: &str, policy: &Policy) -> Result<Box<Status>, WhyNot> {
        let patience = Duration::from_secs(patience_s(policy));
        match self.way_back.hand.insist(verb, Some(word), patience).await {
            Answer::Lost(failure) => Err(WhyNot::Unknown(failure, longest_s(policy))),
            Answer::Gone => Err(WhyNot::Gone),
            Answer::Told(status) => Ok(status),
        }
    }

    /// The activation has ended, as the guard told.
    pub fn activated(self, status: Status) -> Activated {
        Activated { way_back: self.way_back, status }
    }

    /// The way back.
    pub fn way_back(&self) -> &WayBack {
        &self.way_back
    }

    /// Gives it up for its way back.
    pub fn into_way_back(self) -> WayBack {
        self.way_back
    }
}

fn why_not(status: Box<Status>) -> Result<Box<Status>, WhyNot> {
    if let Some(refused) = status.refused.clone().filter(|_| !status.started) {
        return Err(WhyNot::Untouched(refused));
    }
    if status.ending.is_some() || status.decision.is_some() || status.act.is_none() {
        return Err(WhyNot::Decided(status));
    }
    Ok(status)
}

/// By when a guard that is told to go now will have decided, milliseconds since the epoch.
pub fn decides_by_ms(world: &World, policy: &Policy) -> i64 {
    world.clock.epoch_ms() + (patience_s(policy) * 1000).cast_signed()
}

fn announce(way_back: &WayBack, policy: &Policy) {
    let hand = &way_back.hand;
    hand.emitter.emit(Event::Armed {
        host: hand.host.clone(),
        transaction: hand.tx.as_str().to_owned(),
        decides_by_ms: decides_by_ms(&hand.world, policy),
    });
}
