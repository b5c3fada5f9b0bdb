//! The lock: taking a host before anything is changed on it, and keeping it.

use std::time::Duration;

use super::guard::{HOLD, Tx, Verb};
use super::hand::{Answer, Hand};
use crate::event::{Pointers, harmless};
use crate::fleet::{OnRevertFailure, StorePath};
use crate::plan::policy::Policy;
use crate::preflight::facts::{Early, run_of};
use crate::world::ssh::{Failure, Link, Target, diagnose, end_master};
use crate::world::{Conversation, Invocation, Output, StartError, Stream, World};

/// Seconds a guard waits for `go` without a sign of life from us.
pub const LEASE_S: u32 = 120;
/// Seconds between signs of life.
const RENEW: Duration = Duration::from_secs(30);
/// A hold that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(120);

/// A login that is older proves nothing of now.
const STALE: Duration = Duration::from_secs(30);
/// In the place of what is done when the way back fails: a line will tell.
const ASK: &str = "ask";
/// The script's first word.
const GREETING: &str = "nixdeploy-hold=1";

/// How long a lock is looked for whose answer was lost.
const SEARCH: Duration = Duration::from_secs(20);

/// Why a host could not be taken; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldError {
    /// Somebody else has it.
    Locked {
        /// Who.
        owner: String,
        /// In which run.
        run: String,
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
    /// Where the programs of the system that ran are.
    pub fn tools(&self) -> String {
        format!("{}/sw/bin", self.old)
    }

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

/// What the script is told, word by word; `on_failure` is `reboot`, `leave`, or `ask`: a line that
/// comes later. `None`: the host runs no NixOS system.
fn words(
    hand: &Hand,
    early: &Early,
    new: &StorePath,
    policy: &Policy,
    on_failure: &str,
) -> Option<Vec<String>> {
    let before = &early.pointers;
    let path = |p: &Option<StorePath>| p.as_ref().map_or("-", StorePath::as_str).to_owned();
    let generation = before.generation.map_or("-".to_owned(), |g| format!("system-{g}-link"));
    let observe_s = policy.soak_s + policy.verify_timeout_s;
    before.running.as_ref()?;
    Some(vec![
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
        on_failure.to_owned(),
        early.boot_id.clone(),
    ])
}

/// The command that takes the lock.
fn invocation(hand: &Hand, link: Link, words: &[String]) -> Invocation {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    hand.target.script(link, HOLD, &words)
}

/// A connection over which the lock will be asked for: it logs in and loads the script while other
/// things are still being found out. The host is told nothing to do until [`hold`] takes it up;
/// dropped, it ends there without a trace.
pub struct Door {
    talk: Conversation,
    target: Target,
    link: Link,
    words: Vec<String>,
    opened: Duration,
}

impl Door {
    /// Opens it; `None`: nothing could be started, or nothing runs there.
    pub async fn open(
        hand: &Hand,
        link: Link,
        early: &Early,
        new: &StorePath,
        policy: &Policy,
    ) -> Option<Self> {
        let words = words(hand, early, new, policy, ASK)?;
        let command = invocation(hand, link, &words).conversing().timeout(LIMIT + STALE);
        let opened = hand.world.clock.elapsed();
        let talk = hand.world.start(command).await.ok()?;
        Some(Self { talk, target: hand.target.clone(), link, words, opened })
    }

    /// Whether it leads where the lock is to be taken, says the same, and is new enough.
    fn leads(&self, hand: &Hand, link: Link, words: &[String]) -> bool {
        let fresh = hand.world.clock.elapsed().saturating_sub(self.opened) < STALE;
        fresh && self.link == link && self.target == hand.target && self.words == words
    }

    /// Gives the word, and hears what comes of it.
    async fn enter(mut self, on_failure: OnRevertFailure) -> Result<Output, StartError> {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        // A shell may read its script in large blocks: only now has it surely read all of it. One
        // that has ended meanwhile has said why.
        while out.last().is_none_or(|l| l != GREETING)
            && let Some(line) = self.talk.line().await
        {
            match line.stream {
                Stream::Out => out.push(line.text),
                Stream::Err => err.push(line.text),
            }
        }
        self.talk.say(&format!("{}\n", on_failure.word())).await;
        self.talk.hush();
        let rest = Output::collect(self.talk).await?;
        out.extend(rest.out);
        err.extend(rest.err);
        Ok(Output { ended: rest.ended, out, err })
    }
}

/// Takes the lock and keeps it alive; the first word goes over `link`, through the door that is
/// open if it leads there.
///
/// # Errors
/// See [`HoldError`]; in each case the host is unchanged.
pub async fn hold(
    hand: Hand,
    (link, door): (Link, Option<Door>),
    early: &Early,
    new: &StorePath,
    policy: &Policy,
    on_failure: OnRevertFailure,
) -> Result<WayBack, HoldError> {
    let words = |on_failure| words(&hand, early, new, policy, on_failure);
    let old = early.pointers.running.clone();
    let (Some(told), Some(asking), Some(old)) = (words(on_failure.word()), words(ASK), old) else {
        return Err(HoldError::Failed("the host runs no NixOS system".to_owned()));
    };
    let command = invocation(&hand, link, &told).timeout(LIMIT);
    let mut door = door.filter(|door| door.leads(&hand, link, &asking));
    for last in [false, true] {
        let output = match door.take() {
            Some(door) => door.enter(on_failure).await,
            None => hand.world.run(command.clone()).await,
        };
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
            run: run_of(&value("locked").unwrap_or_default()).to_owned(),
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

fn renewal(hand: &Hand) -> Invocation {
    hand.request(Link::Shared, Verb::Renew, None).timeout(RENEW)
}

/// A renewal that fails is tried again by the next one; the lease holds for four of them.
async fn renew(world: World, request: Invocation) {
    loop {
        world.clock.sleep(RENEW).await;
        let _ = world.run(request.clone()).await;
    }
}
