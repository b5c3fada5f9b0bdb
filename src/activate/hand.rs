//! Our hand on a guard: asking it, hearing it, finding it again after contact was lost.
//!
//! Every request is idempotent by transaction, so an answer that was lost is asked for again.
//! After `go` an ssh error says nothing about the host: we reconnect until the guard must have
//! decided, and only then call the outcome unknown.

use std::collections::{HashSet, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use super::guard::{Said, Status, Tx, Verb, read};
use crate::event::stream::Emitter;
use crate::event::{Event, Phase};
use crate::fleet::HostName;
use crate::world::invocation::{Ended, Stream};
use crate::world::ssh::{Failure, Link, Target, diagnose, end_master};
use crate::world::{Invocation, World};

/// Lines of the activation kept as evidence.
const TAIL: usize = 50;
/// A host that answers no sooner could not be reached meanwhile.
const NOTABLE: Duration = Duration::from_secs(2);
/// How long ssh itself takes to notice that nobody answers (its ServerAlive options, ssh.rs).
const UNNOTICED: Duration = Duration::from_secs(15);
/// Waits between attempts to reconnect; the last one repeats.
const BACKOFF_S: [u64; 6] = [1, 2, 4, 8, 16, 30];

/// Asks whether a guard without its folder is at work.
const AT_WORK: &str = include_str!("at_work.sh");
/// Said of one that was at work to the end.
const REMOVED: &str = "its folder in /run was removed, and it has not made it again";
/// Between two looks for a folder that was removed.
const MOMENT: Duration = Duration::from_millis(500);

/// No attempt gets less.
const LEAST: Duration = Duration::from_secs(10);
/// An attempt that took longer says nothing about now.
const OVERSLEPT: Duration = Duration::from_secs(30);

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A complete answer.
    Told(Box<Status>),
    /// No such transaction there: the host has rebooted, or another run has swept it away.
    Gone,
    /// The connection broke or could not be made.
    Lost(Failure),
}

/// A transaction on a host, and how to reach it.
pub struct Hand {
    /// Effects.
    pub world: World,
    /// Where events go.
    pub emitter: Emitter,
    /// Whose name they carry.
    pub host: HostName,
    /// How it is reached.
    pub target: Target,
    /// The transaction.
    pub tx: Tx,
    seen: Mutex<HashSet<String>>,
    tail: Mutex<VecDeque<String>>,
    contact: Mutex<Contact>,
}

/// When the host was heard, and for how long it was not; times of the run's clock.
#[derive(Debug, Default)]
struct Contact {
    heard: Duration,
    missed: Option<Duration>,
    longest: Option<Duration>,
}

impl Hand {
    /// A hand on a transaction.
    pub fn new(world: &World, emitter: &Emitter, host: &HostName, target: &Target, tx: Tx) -> Self {
        Self {
            world: world.clone(),
            emitter: emitter.clone(),
            host: host.clone(),
            target: target.clone(),
            tx,
            seen: Mutex::default(),
            tail: Mutex::default(),
            contact: Mutex::default(),
        }
    }

    /// The request as a command.
    pub fn request(&self, link: Link, verb: Verb, argument: Option<&str>) -> Invocation {
        let guard = self.tx.guard();
        let mut words = vec!["/bin/sh", guard.as_str(), verb.word()];
        words.extend(argument);
        self.target.remote(link, &words)
    }

    /// Asks once.
    pub async fn ask(&self, link: Link, verb: Verb, arg: Option<&str>, limit: Duration) -> Answer {
        let request = self.request(link, verb, arg).timeout(limit);
        let mut talk = match self.world.start(request).await {
            Ok(talk) => talk,
            Err(error) => return Answer::Lost(Failure::Broken(error.to_string())),
        };
        let (mut status, mut complete, mut err) = (Status::default(), false, Vec::new());
        while let Some(line) = talk.line().await {
            match line.stream {
                Stream::Err => err.push(line.text),
                Stream::Out => complete |= self.hear(&line.text, &mut status),
            }
        }
        let ended = talk.end().await;
        if complete {
            return self.told(Box::new(status));
        }
        // The shell itself says that there is no such script; other programs fail with these too.
        let guard = self.tx.guard();
        let no_guard = err.iter().any(|line| line.contains(&guard));
        match ended {
            Ended::Exited(2 | 126 | 127) if no_guard => Answer::Gone,
            _ => Answer::Lost(diagnose(&err)),
        }
    }

    /// A whole answer, unless it is about another transaction: then it is none.
    pub fn told(&self, status: Box<Status>) -> Answer {
        if status.is_about(&self.tx) {
            return Answer::Told(status);
        }
        Answer::Lost(Failure::Broken("the answer is about another transaction".to_owned()))
    }

    /// Takes in a line; true when it was the last of a complete answer.
    pub fn hear(&self, line: &str, status: &mut Status) -> bool {
        self.contact().heard = self.world.clock.elapsed();
        match read(line) {
            Said::Line { cursor, text } => self.pass_on(cursor, text),
            Said::Fact(key, value) => status.learn(&key, &value),
            Said::End(code) => return code == 0,
            Said::Noise => {}
        }
        false
    }

    /// The follower repeats the journal at its end, so that no line can be lost; each is shown once.
    fn pass_on(&self, cursor: String, text: String) {
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if seen.insert(cursor) {
            let mut tail = self.tail.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if tail.len() == TAIL {
                tail.pop_front();
            }
            tail.push_back(text.clone());
            let host = self.host.clone();
            self.emitter.emit(Event::Line { host, phase: Phase::Activate, text });
        }
    }

    fn contact(&self) -> std::sync::MutexGuard<'_, Contact> {
        self.contact.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Somebody else could not reach the host from this moment on: a gap begins no later.
    pub fn missed(&self, since: Duration) {
        self.contact().missed.get_or_insert(since);
    }

    /// Somebody else waited so many milliseconds for an answer of the host.
    pub fn waited(&self, ms: u64) {
        let gap = Duration::from_millis(ms);
        if gap >= NOTABLE {
            let mut contact = self.contact();
            contact.longest = contact.longest.max(Some(gap));
        }
    }

    /// The longest time without contact, in whole seconds; `None`: it was never lost.
    pub fn longest_gap_s(&self) -> Option<u64> {
        self.contact().longest.map(|gap| gap.as_secs())
    }

    /// The last lines of the activation, for the report.
    pub fn last_lines(&self) -> Vec<String> {
        let tail = self.tail.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        tail.iter().cloned().collect()
    }

    /// Asks until there is an answer or the limit is over; says when contact was found again.
    pub async fn insist(&self, verb: Verb, arg: Option<&str>, limit: Duration) -> Answer {
        self.insist_since(None, verb, arg, limit).await
    }

    /// The same after contact was lost in a session of the caller's, that had asked then.
    pub async fn insist_since(
        &self,
        lost_at: Option<Duration>,
        verb: Verb,
        arg: Option<&str>,
        limit: Duration,
    ) -> Answer {
        let clock = self.world.clock;
        let mut lost_at = lost_at.map(|begun| self.silent_since(begun));
        let began = clock.elapsed();
        let mut waits = BACKOFF_S.into_iter().chain(std::iter::repeat(BACKOFF_S[5]));
        loop {
            let asked = clock.elapsed();
            let link = if lost_at.is_none() { Link::Shared } else { Link::Fresh };
            // One that hangs must leave time for another.
            let left = limit.saturating_sub(asked - began).min(limit / 2);
            let answer = self.ask(link, verb, arg, left.max(LEAST)).await;
            let failure = match answer {
                Answer::Lost(failure) => failure,
                Answer::Gone if self.at_work(link).await => {
                    if clock.elapsed() - began >= limit {
                        return Answer::Lost(Failure::Broken(REMOVED.to_owned()));
                    }
                    clock.sleep(MOMENT).await;
                    continue;
                }
                answer => {
                    self.found_again(lost_at);
                    return answer;
                }
            };
            tracing::debug!(?failure, "contact lost");
            if lost_at.is_none() {
                end_master(&self.target).await;
                lost_at = Some(self.silent_since(asked));
            }
            let wait = Duration::from_secs(waits.next().unwrap_or(BACKOFF_S[5]));
            if clock.elapsed() - began + wait < limit {
                clock.sleep(wait).await;
            } else if asked - began < limit && clock.elapsed() - asked > OVERSLEPT {
                // It hung, or we slept past the limit: asked once more before it is given up.
                clock.sleep(wait).await;
            } else {
                return Answer::Lost(failure);
            }
        }
    }

    /// Whether the guard runs although its folder was removed: it is not gone, and makes the folder
    /// again when it has decided.
    async fn at_work(&self, link: Link) -> bool {
        let question = self.target.script(link, AT_WORK, &[self.tx.as_str()]).timeout(LEAST);
        let said = self.world.run(question).await;
        said.is_ok_and(|output| output.out.iter().any(|line| line == "at_work=1"))
    }

    /// Since when nothing was heard of the host, as far as that can be told when a request made
    /// then breaks off: ssh needs its time to notice.
    fn silent_since(&self, asked: Duration) -> Duration {
        let now = self.world.clock.elapsed();
        self.contact().heard.max(asked).max(now.saturating_sub(UNNOTICED))
    }

    fn found_again(&self, lost_at: Option<Duration>) {
        let mut contact = self.contact();
        let missed = contact.missed.take();
        let Some(at) = lost_at else { return };
        let at = missed.map_or(at, |missed| missed.min(at));
        let gap = self.world.clock.elapsed().saturating_sub(at);
        contact.longest = contact.longest.max(Some(gap));
        drop(contact);
        let gap_ms = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
        self.emitter.emit(Event::Reconnected { host: self.host.clone(), gap_ms });
    }
}
