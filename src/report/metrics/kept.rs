//! What is known for metrics, kept in `STATE/metrics.json`: sums over all runs, and of each host
//! what was last seen.
//!
//! It follows from the kept runs: each is added once, when its process has ended. So a run that
//! nobody could add in time is added by the next, and where the file is missing it is made anew
//! from the runs that are there, as a counter may begin anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::event::state::{HostState, RunState};
use crate::event::{Outcome, PhaseResult};
use crate::fleet::{Generation, HostName, StorePath};
use crate::plan::Goal;
use crate::report::board::{Against, Board, Row};
use crate::report::words::{self, Tone};
use crate::report::{store, trend};
use crate::world::files;

/// Some hundred hosts are some hundred KiB.
const LARGEST: u64 = 32 << 20;
/// Durations kept of a host: the last, and what it is held against.
const DURATIONS: usize = trend::LOOKED_AT + 1;

/// Everything.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// Runs that are in the sums, of those that are kept still.
    pub added: BTreeSet<String>,
    /// Runs by their goal and exit code.
    pub runs: BTreeMap<String, BTreeMap<u8, u64>>,
    /// When the last run ended, milliseconds since the epoch.
    pub last_run_ms: Option<i64>,
    /// Hosts by name.
    pub hosts: BTreeMap<HostName, Host>,
    /// The last check of known issues.
    pub issues: Option<Issues>,
}

/// One host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Host {
    /// Runs by their goal and the recap's word.
    pub runs: BTreeMap<String, BTreeMap<String, u64>>,
    /// Deploys and rollbacks that did not end as wanted.
    pub failures: u64,
    /// Deploys that were taken back.
    pub rollbacks: u64,
    /// How often each phase was done, and the milliseconds of all of them.
    pub phases: BTreeMap<String, (u64, u64)>,
    /// Bytes copied to it.
    pub copied_bytes: u64,
    /// The last deploy or rollback.
    pub last: Option<Last>,
    /// What committed deploys took, oldest first, in milliseconds.
    pub took_ms: Vec<u64>,
    /// When what follows was known, milliseconds since the epoch.
    pub known_ms: i64,
    /// When it was last asked.
    pub asked_ms: Option<i64>,
    /// When it last answered.
    pub answered_ms: Option<i64>,
    /// Whether it answered when it was last asked.
    pub reachable: Option<bool>,
    /// The profile's generation.
    pub generation: Option<Generation>,
    /// The closure that runs.
    pub system: Option<StorePath>,
    /// Bytes of that closure.
    pub closure_bytes: Option<u64>,
    /// Whether only a reboot brings all of it.
    pub reboot: Option<bool>,
    /// Whether a deploy would change it.
    pub behind: Option<bool>,
    /// Units that have failed.
    pub failed_units: Option<u64>,
}

/// A deploy or a rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// When it ended, milliseconds since the epoch.
    pub at_ms: i64,
    /// The recap's word.
    pub result: String,
    /// Its exit code.
    pub exit: u8,
    /// Whether it ended as wanted.
    pub ok: bool,
    /// What its phases took together; see [`trend`].
    pub took_ms: u64,
    /// Milliseconds of each phase.
    pub phases: BTreeMap<String, u64>,
    /// Bytes copied.
    pub copied_bytes: u64,
}

/// A check of known issues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issues {
    /// When, milliseconds since the epoch.
    pub at_ms: i64,
    /// `complete`, `partial`, `stale` or `unavailable`.
    pub state: String,
    /// Issues of what the hosts run, by host and severity.
    pub hosts: BTreeMap<String, Found>,
}

/// Issues by severity.
pub type Found = BTreeMap<String, u64>;

/// Held while the file is read, added to and replaced.
pub struct Hold(#[expect(dead_code, reason = "held, never read")] File);

/// Takes the file for ourselves; `None`: another process has it.
///
/// # Errors
/// When the folder of our state cannot be written.
pub fn hold(state_dir: &Path) -> io::Result<Option<Hold>> {
    files::private_folder(state_dir)?;
    let lock = files::append(&state_dir.join("metrics.lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(Hold(lock))),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

fn file(state_dir: &Path) -> PathBuf {
    state_dir.join("metrics.json")
}

/// What is known, with every run that has ended; nothing is written.
pub fn read(state_dir: &Path) -> Kept {
    let text = files::read_text(&file(state_dir), LARGEST).ok();
    let mut kept: Kept = text.and_then(|t| serde_json::from_str(&t).ok()).unwrap_or_default();
    kept.catch_up(state_dir);
    kept
}

/// Adds every run that has ended, and what `more` adds, and keeps it.
///
/// # Errors
/// When it cannot be written.
pub fn update(state_dir: &Path, _hold: &Hold, more: impl FnOnce(&mut Kept)) -> io::Result<Kept> {
    let mut kept = read(state_dir);
    more(&mut kept);
    files::put(&file(state_dir), &serde_json::to_vec(&kept)?)?;
    Ok(kept)
}

/// The word of a goal, as a label.
pub fn goal_word(goal: Option<Goal>) -> &'static str {
    match goal {
        Some(Goal::Deploy) => "deploy",
        Some(Goal::Boot) => "boot",
        Some(Goal::Build) => "build",
        Some(Goal::DryRun) => "dry-run",
        Some(Goal::Rollback { .. }) => "rollback",
        Some(Goal::Recover { .. }) => "recover",
        None => "none",
    }
}

impl Kept {
    fn catch_up(&mut self, state_dir: &Path) {
        let entries = store::list(state_dir);
        for entry in entries.iter().rev() {
            let goes_on = || !entry.complete && store::lives(state_dir, &entry.run);
            if self.added.contains(&entry.run) || goes_on() {
                continue;
            }
            if let Ok(loaded) = store::load(&store::log_of(state_dir, &entry.run)) {
                self.run(&loaded.state);
            }
        }
        let there: BTreeSet<String> = entries.into_iter().map(|e| e.run).collect();
        self.added.retain(|run| there.contains(run));
    }

    /// Adds a run that has ended.
    pub fn run(&mut self, state: &RunState) {
        self.added.insert(state.run.clone());
        let goal = words::goal(state);
        let of_goal = self.runs.entry(goal_word(goal).to_owned()).or_default();
        *of_goal.entry(words::exit_of_run(state) as u8).or_default() += 1;
        let ended_ms = state.started_ms.saturating_add_unsigned(state.elapsed_ms);
        self.last_run_ms = self.last_run_ms.max(Some(ended_ms));
        for host in &state.hosts {
            let known = self.hosts.entry(host.name.clone()).or_default();
            known.count(host, goal);
            let at_ms = state
                .started_ms
                .saturating_add_unsigned(host.finished_ms.unwrap_or(state.elapsed_ms));
            known.end(host, goal, at_ms);
            if at_ms >= known.known_ms {
                known.learn(host, goal, at_ms);
            }
        }
    }

    /// Takes over a check of known issues; hosts that were not checked keep what was known.
    pub fn issues(&mut self, state: &str, at_ms: i64, hosts: BTreeMap<String, Found>) {
        let mut known = self.issues.take().map(|i| i.hosts).unwrap_or_default();
        known.extend(hosts);
        self.issues = Some(Issues { at_ms, state: state.to_owned(), hosts: known });
    }

    /// Takes over what hosts said when they were asked.
    pub fn board(&mut self, board: &Board) {
        for row in &board.hosts {
            let known = self.hosts.entry(row.host.clone()).or_default();
            known.asked_ms = Some(board.at_ms);
            known.known_ms = board.at_ms;
            known.see(row, board.at_ms);
        }
    }
}

/// Whether it was to change the host.
fn changes(goal: Option<Goal>) -> bool {
    matches!(goal, Some(Goal::Deploy | Goal::Boot | Goal::Rollback { .. }))
}

impl Host {
    /// What a committed deploy takes here, the last one apart if that was one.
    pub fn usual(&self) -> Option<trend::Usual> {
        let newest = self.last.as_ref().filter(|l| Some(&l.took_ms) == self.took_ms.last());
        let own = usize::from(newest.is_some_and(|l| l.result == "changed"));
        trend::Usual::of(&self.took_ms[..self.took_ms.len().saturating_sub(own)])
    }

    /// What only grows.
    fn count(&mut self, host: &HostState, goal: Option<Goal>) {
        let word = words::result(host, goal).to_owned();
        *self.runs.entry(goal_word(goal).to_owned()).or_default().entry(word).or_default() += 1;
        for (phase, (result, _, took_ms)) in &host.ended {
            if !matches!(result, PhaseResult::Skipped { .. }) {
                let sum = self.phases.entry(phase.word().to_owned()).or_default();
                *sum = (sum.0 + 1, sum.1.saturating_add(*took_ms));
            }
        }
        let copied = host.copied.map_or(0, |(bytes, _)| bytes);
        self.copied_bytes = self.copied_bytes.saturating_add(copied);
        if changes(goal) && failed(host) {
            self.failures += 1;
        }
        let back = host.report.as_ref().is_some_and(|r| r.outcome == Outcome::RolledBack);
        self.rollbacks += u64::from(back);
    }

    /// How its last deploy ended; what somebody declined, or what never began, was none.
    fn end(&mut self, host: &HostState, goal: Option<Goal>, at_ms: i64) {
        let recovered = matches!(goal, Some(Goal::Recover { .. }));
        let outcome = host.report.as_ref().map(|r| &r.outcome);
        let meant = match outcome {
            Some(Outcome::Declined | Outcome::NotBegun | Outcome::Planned { .. }) => false,
            Some(Outcome::Refused { skipped, .. }) => !skipped && changes(goal),
            Some(Outcome::Unchanged { .. } | Outcome::Unhealthy) => changes(goal),
            _ => changes(goal) || recovered,
        };
        if !meant || self.last.as_ref().is_some_and(|last| last.at_ms > at_ms) {
            return;
        }
        let done = host.ended.iter();
        let done = done.filter(|(_, (r, ..))| !matches!(r, PhaseResult::Skipped { .. }));
        let took_ms = trend::worked_ms(host);
        self.last = Some(Last {
            at_ms,
            result: words::result(host, goal).to_owned(),
            exit: words::exit_of_host(host) as u8,
            ok: !failed(host),
            took_ms,
            phases: done.map(|(p, (.., ms))| (p.word().to_owned(), *ms)).collect(),
            copied_bytes: host.copied.map_or(0, |(bytes, _)| bytes),
        });
        if goal == Some(Goal::Deploy) && matches!(outcome, Some(Outcome::Committed { .. })) {
            self.took_ms.push(took_ms);
            let surplus = self.took_ms.len().saturating_sub(DURATIONS);
            self.took_ms.drain(..surplus);
        }
    }

    /// What it was at the end of a run.
    fn learn(&mut self, host: &HostState, goal: Option<Goal>, at_ms: i64) {
        let report = host.report.as_ref();
        let outcome = report.map(|r| &r.outcome);
        let read = report.and_then(|r| r.after.as_ref()).or(host.pointers.as_ref());
        let silent = matches!(outcome, Some(Outcome::Refused { code, .. })
            if code == "unreachable" || code == "deferred");
        if silent || read.is_some() {
            (self.known_ms, self.asked_ms) = (at_ms, Some(at_ms));
            self.reachable = Some(!silent);
        }
        let Some(read) = read.filter(|_| !silent) else { return };
        self.answered_ms = Some(at_ms);
        self.generation = words::generations(host).now.or(read.generation).or(self.generation);
        self.runs(read.running.clone());
        let (wanted, size) = (host.toplevel.as_ref(), host.copied.and_then(|(_, size)| size));
        if size.is_some() && read.running.as_ref() == wanted {
            self.closure_bytes = size;
        }
        match outcome {
            Some(Outcome::Committed { reboot_required }) => {
                self.reboot = Some(*reboot_required);
                self.behind = (goal == Some(Goal::Deploy)).then_some(false);
            }
            Some(Outcome::Unchanged { .. } | Outcome::Unhealthy) if goal == Some(Goal::Deploy) => {
                self.behind = Some(false);
            }
            Some(Outcome::Planned { changes }) if goal == Some(Goal::DryRun) => {
                self.behind = Some(*changes);
            }
            _ => {}
        }
        let vitals = host.vitals_after.as_ref().or(host.vitals_before.as_ref());
        self.failed_units = vitals.map(|v| v.units_failed.len() as u64).or(self.failed_units);
    }

    /// What it says of itself.
    fn see(&mut self, row: &Row, at_ms: i64) {
        self.reachable = Some(row.reach.is_some());
        let Some(state) = &row.state else { return };
        self.answered_ms = Some(at_ms);
        self.generation = state.pointers.generation.or(self.generation);
        self.runs(state.pointers.running.clone());
        self.reboot = state.reboot.as_ref().map(|parts| !parts.is_empty());
        self.behind = match row.vs_flake {
            Some(Against::Current) => Some(false),
            Some(Against::Differs | Against::Staged | Against::Drift) => Some(true),
            Some(Against::Unknown | Against::Error) | None => None,
        };
        self.failed_units = state.units.as_ref().map(|u| u.failed.len() as u64);
    }

    /// The size of a closure is no other one's.
    fn runs(&mut self, system: Option<StorePath>) {
        if self.system != system {
            self.closure_bytes = None;
        }
        self.system = system;
    }
}

/// Not as wanted; a no is no failure.
fn failed(host: &HostState) -> bool {
    let declined = host.report.as_ref().is_some_and(|r| r.outcome == Outcome::Declined);
    matches!(words::tone(host), Tone::Bad | Tone::Open) && !declined
}
