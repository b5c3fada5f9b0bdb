//! From what a host said to its row: pure, and the same for `status` and `ping-hosts`.
//!
//! Sentences below the table are made in [`super::remarks`]; nothing here asks or prints.

use super::remarks;
use crate::activate::journal::Record;
use crate::build::{BuildError, Evaluated};
use crate::exit::Exit;
use crate::fleet::{Host, Limits, Optional, StorePath};
use crate::pipeline::deferred::Deferred;
use crate::preflight::facts::Facts;
use crate::preflight::read::Answered;
use crate::preflight::{self, Refused};
use crate::report::board::{Against, Fullest, Reach, Row, State, Transaction, Trouble, Units};
use crate::report::memory::{LastDeploy, LastSeen};

/// All that is known of one host.
pub struct Known<'a> {
    /// What hosts.toml says.
    pub host: &'a Host,
    /// What it said.
    pub answer: &'a Result<Answered, Refused>,
    /// What the flake says; `None`: it was not asked.
    pub wanted: Option<&'a Result<Evaluated, Trouble>>,
    /// Our own record of the last transaction there.
    pub record: Option<&'a Record>,
    /// It was asleep in a run that was to deploy it, and in all since.
    pub deferred: Option<&'a Deferred>,
    /// Whether the run of that record lives, in another process of this machine.
    pub goes_on: bool,
    /// The last run that changed it, or tried to.
    pub last_deploy: Option<LastDeploy>,
    /// The last run that reached it.
    pub last_seen: Option<LastSeen>,
    /// Milliseconds since the epoch.
    pub now_ms: i64,
}

/// The row of a host, with its sentences.
pub fn row(known: &Known<'_>) -> Row {
    let answered = known.answer.as_ref().ok();
    // The first part alone was asked for: there is nothing more to be said of the host.
    let facts = answered.map(|a| &a.facts).filter(|_| known.wanted.is_some());
    let toplevel = known.wanted.and_then(|w| w.as_ref().ok()?.toplevel.clone());
    let mut row = Row {
        host: known.host.name.clone(),
        optional: known.host.optional != Optional::Fail,
        reach: answered.map(reach),
        refused: known.answer.as_ref().err().map(|r| refused(r, known.host)),
        last_seen: known.last_seen.clone(),
        state: facts.map(|f| state(f, known)),
        vs_flake: known.wanted.map(|w| against(facts, w)),
        toplevel,
        evaluation: known.wanted.and_then(|w| w.as_ref().err().cloned()),
        last_deploy: known.last_deploy.clone(),
        notes: Vec::new(),
    };
    row.notes = remarks::notes(known, &row, facts);
    row
}

/// Whether the row makes the command fail: it should have answered.
fn missed(known: &Known<'_>) -> bool {
    let excused = known.host.optional != Optional::Fail;
    known.answer.as_ref().is_err_and(|refused| !(excused && refused.unreachable()))
}

/// What a host makes of the exit code: it did not answer, or the flake says nothing of it.
pub fn exit(known: &Known<'_>) -> Exit {
    match known.wanted {
        _ if missed(known) => Exit::Refused,
        Some(Err(_)) => Exit::NotBuilt,
        Some(Ok(_)) | None => Exit::Done,
    }
}

fn reach(answered: &Answered) -> Reach {
    let login = &answered.facts.login.user;
    let user = Some(login.clone()).filter(|u| !u.is_empty());
    Reach {
        latency_ms: answered.latency_ms,
        address: answered.target.address.to_string(),
        user: user.or_else(|| answered.target.user.as_ref().map(ToString::to_string)),
        sudo: answered.target.elevates(),
    }
}

fn refused(refused: &Refused, host: &Host) -> Trouble {
    Trouble {
        code: refused.code().to_owned(),
        sentence: refused.sentence(),
        causes: refused.causes(),
        // What else is offered there is for a deploy that was refused.
        next: refused.hints(&host.name).into_iter().take(1).collect(),
    }
}

/// An evaluation that failed.
pub fn not_evaluated(error: &BuildError) -> Trouble {
    Trouble {
        code: error.code().to_owned(),
        sentence: error.to_string(),
        causes: error.causes(),
        next: error.hints(),
    }
}

/// A host and the flake. Drift goes first: it is true whatever the flake says; but where a
/// transaction is at work it is meant, and what comes of it cannot be told.
fn against(facts: Option<&Facts>, wanted: &Result<Evaluated, Trouble>) -> Against {
    if facts.is_some_and(|f| !at_work(f) && staged(f)) {
        return Against::Staged;
    }
    if let Some(facts) = facts.filter(|f| drifts(f)) {
        return if at_work(facts) { Against::Unknown } else { Against::Drift };
    }
    match (facts, wanted) {
        (_, Err(_)) => Against::Error,
        (Some(facts), Ok(Evaluated { toplevel: Some(toplevel), .. })) => compare(facts, toplevel),
        (None, Ok(_)) | (_, Ok(Evaluated { toplevel: None, .. })) => Against::Unknown,
    }
}

fn compare(facts: &Facts, toplevel: &StorePath) -> Against {
    let pointers = &facts.early.pointers;
    let is = |pointer: &Option<StorePath>| pointer.as_ref() == Some(toplevel);
    // A specialisation of the profile stands for it.
    let runs = is(&pointers.running) || facts.specialisation.is_some();
    match &pointers.boot_default {
        None if runs && is(&pointers.profile) => Against::Unknown,
        default if runs && is(&pointers.profile) && is(default) => Against::Current,
        _ => Against::Differs,
    }
}

/// Whether running system, profile, boot default or /etc disagree.
fn drifts(facts: &Facts) -> bool {
    preflight::drifted(facts) || !facts.early.pointers.etc_matches
}

/// Whether a later generation waits for the next boot, and nothing else disagrees.
pub(super) fn staged(facts: &Facts) -> bool {
    facts.early.pointers.etc_matches && preflight::staged(facts)
}

/// Whether a guard lives or somebody switches: what looks odd now is on its way.
pub(super) fn at_work(facts: &Facts) -> bool {
    facts.guarded() || facts.switching.is_some()
}

fn state(facts: &Facts, known: &Known<'_>) -> State {
    let pointers = facts.early.pointers.clone();
    let kept = facts.generations.iter().find(|g| Some(g.generation) == pointers.generation);
    let made = kept.map(|g| g.made_s);
    State {
        generation_made_s: made,
        generation_age_s: made.map(|m| facts.now_s.saturating_sub(m)),
        pointers,
        specialisation: facts.specialisation.clone(),
        drift: drifts(facts) && !staged(facts),
        staged: staged(facts),
        system: facts.state.clone(),
        units: facts.systemd.then(|| units(facts)),
        vitals: facts.vitals(),
        fullest: fullest(facts, known.host.limits),
        reboot: facts.reboot_pending(),
        uptime_s: facts.uptime_s,
        transaction: transaction(facts, known.record),
    }
}

fn units(facts: &Facts) -> Units {
    let counted = facts.counted();
    let total = counted.active + counted.pending.len() + counted.failed.len();
    Units { active: counted.active, total, failed: counted.failed, pending: counted.pending }
}

fn fullest(facts: &Facts, limits: Limits) -> Option<Fullest> {
    let disks = facts.vitals().disks.into_iter().filter(|d| d.size_kib > 0);
    let disk = disks.max_by_key(|d| d.used_percent())?;
    let used_percent = disk.used_percent();
    Some(Fullest { disk, used_percent, limit_percent: limits.disk_percent })
}

/// The transaction that holds the host, or was left behind.
fn transaction(facts: &Facts, record: Option<&Record>) -> Option<Transaction> {
    let tx = facts.unfinished()?;
    let ours = record.filter(|r| r.tx == tx.name).map(|r| r.run.clone());
    Some(Transaction {
        name: tx.name.clone(),
        run: ours.unwrap_or_else(|| tx.run().to_owned()),
        owner: tx.owner.clone(),
        phase: tx.phase.clone(),
        age_s: facts.now_s.saturating_sub(tx.since_s),
        decides_in_s: tx.deadline_s.map(|d| d.saturating_sub(facts.uptime_s)),
        decision: tx.decision.clone(),
        guarded: facts.guarded(),
    })
}
