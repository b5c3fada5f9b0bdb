//! The lock: taking a host before anything is changed on it, and keeping it.

use std::time::Duration;

use super::guard::{HOLD, Tx, Verb};
use super::hand::{Answer, Hand};
use crate::event::{Pointers, harmless};
use crate::fleet::{OnRevertFailure, StorePath};
use crate::plan::policy::Policy;
use crate::preflight::facts::Early;
use crate::world::ssh::{Failure, Link, diagnose, end_master};
use crate::world::{Output, World};

/// Seconds a guard waits for `go` without a sign of life from us.
pub const LEASE_S: u32 = 120;
/// Seconds between signs of life.
const RENEW: Duration = Duration::from_secs(30);
/// A hold that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(120);

/// How long a lock is looked for whose answer was lost.
const SEARCH: Duration = Duration::from_secs(20);

/// Why a host could not be taken; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldError {
    /// Somebody else has it.
    Locked {
        /// Who.
        owner: String,
        /// What they are doing.
        phase: String,
        /// Since how many seconds.
        age_s: u64,
    },
    /// It is no longer what the facts said.
    Changed(String),
    /// It has been booted since, or it is another machine that answers.
    AnotherBoot,
    /// No contact; if the lock was taken, it falls when the lease is over.
    Lost(Failure),
    /// The script could not do its work.
    Failed(String),
}

/// Proof that the host is ours: what it was, and what it is to become.
pub struct WayBack {
    /// Our hand on the guard.
    pub hand: Hand,
    /// What ran, and what a revert brings back.
    pub old: StorePath,
    /// What is to run.
    pub new: StorePath,
    /// All pointers before.
    pub before: Pointers,
    /// The boot it was taken in.
    pub boot_id: String,
    renewer: Option<tokio::task::JoinHandle<()>>,
}

impl WayBack {
    /// Stops the signs of life: the guard was told to go, or to stop.
    pub fn settle(&mut self) {
        if let Some(renewer) = self.renewer.take() {
            renewer.abort();
        }
    }
}

impl Drop for WayBack {
    fn drop(&mut self) {
        self.settle();
    }
}

/// The command that takes the lock.
pub fn invocation(
    hand: &Hand,
    link: Link,
    early: &Early,
    new: &StorePath,
    policy: &Policy,
    on_failure: OnRevertFailure,
) -> crate::world::Invocation {
    let before = &early.pointers;
    let path = |p: &Option<StorePath>| p.as_ref().map_or("-", StorePath::as_str).to_owned();
    let generation = before.generation.map_or("-".to_owned(), |g| format!("system-{g}-link"));
    let observe_s = policy.soak_s + policy.verify_timeout_s;
    let words = [
        hand.tx.as_str().to_owned(),
        path(&before.running),
        new.to_string(),
        path(&before.profile),
        generation,
        path(&before.boot_default),
        LEASE_S.to_string(),
        policy.activate_timeout_s.to_string(),
        observe_s.to_string(),
        policy.commit_timeout_s.to_string(),
        hand.world.environment.operator.clone(),
        on_failure.word().to_owned(),
        early.boot_id.clone(),
    ];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    hand.target.script(link, HOLD, &words).timeout(LIMIT)
}

/// Takes the lock and keeps it alive; the first word goes over `link`.
///
/// # Errors
/// See [`HoldError`]; in each case the host is unchanged.
pub async fn hold(
    hand: Hand,
    link: Link,
    early: &Early,
    new: &StorePath,
    policy: &Policy,
    on_failure: OnRevertFailure,
) -> Result<WayBack, HoldError> {
    let Some(old) = early.pointers.running.clone() else {
        return Err(HoldError::Failed("the host runs no NixOS system".to_owned()));
    };
    let command = invocation(&hand, link, early, new, policy, on_failure);
    for last in [false, true] {
        let output = hand.world.run(command.clone()).await;
        let output = output.map_err(|e| HoldError::Failed(e.to_string()))?;
        match taken(&output, &hand.tx) {
            Err(HoldError::Lost(failure)) if may_pass(&failure) => match found(&hand, new).await {
                Found::Held => break,
                Found::Not if !last => {}
                Found::Not | Found::Lost => return Err(HoldError::Lost(failure)),
            },
            other => {
                other?;
                break;
            }
        }
    }
    let renewer = Some(tokio::spawn(renew(hand.world.clone(), renewal(&hand))));
    let (new, before, boot_id) = (new.clone(), early.pointers.clone(), early.boot_id.clone());
    Ok(WayBack { hand, old, new, before, boot_id, renewer })
}

fn may_pass(failure: &Failure) -> bool {
    matches!(failure, Failure::Unreachable(_) | Failure::Broken(_))
}

fn taken(output: &Output, tx: &Tx) -> Result<(), HoldError> {
    let value = |key: &str| {
        let found = output.out.iter().find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
        found.map(harmless::line)
    };
    match value("end").as_deref() {
        Some("0") if value("held").as_deref() == Some(tx.as_str()) => Ok(()),
        Some("0") => {
            Err(HoldError::Lost(Failure::Broken("the answer is to another question".to_owned())))
        }
        Some("1") => Err(HoldError::Locked {
            owner: value("owner").unwrap_or_else(|| value("cause").unwrap_or_default()),
            phase: value("phase").unwrap_or_default(),
            age_s: value("age_s").and_then(|v| v.parse().ok()).unwrap_or(0),
        }),
        Some("2") if value("changed").as_deref() == Some("boot") => Err(HoldError::AnotherBoot),
        Some("2") => Err(HoldError::Changed(value("changed").unwrap_or_default())),
        Some(_) => Err(HoldError::Failed(value("error").unwrap_or_default())),
        None => Err(HoldError::Lost(diagnose(&output.err))),
    }
}

/// Where the lock stands when the answer to our request was lost.
enum Found {
    /// It is ours.
    Held,
    /// It is not: the request never came, or it failed.
    Not,
    /// Nobody answers.
    Lost,
}

/// Asks the guard itself; one that is there but not at work is told to let go, should it begin.
async fn found(hand: &Hand, new: &StorePath) -> Found {
    end_master(&hand.target).await;
    let since = Some(hand.world.clock.elapsed());
    match hand.insist_since(since, Verb::Show, None, SEARCH).await {
        Answer::Told(status) if status.alive && status.new.as_ref() == Some(new) => Found::Held,
        Answer::Told(_) => {
            let _ = hand.ask(Link::Fresh, Verb::Abort, None, SEARCH).await;
            Found::Lost
        }
        Answer::Gone => Found::Not,
        Answer::Lost(_) => Found::Lost,
    }
}

fn renewal(hand: &Hand) -> crate::world::Invocation {
    hand.request(Link::Shared, Verb::Renew, None).timeout(RENEW)
}

/// A renewal that fails is tried again by the next one; the lease holds for four of them.
async fn renew(world: World, request: crate::world::Invocation) {
    loop {
        world.clock.sleep(RENEW).await;
        let _ = world.run(request.clone()).await;
    }
}
