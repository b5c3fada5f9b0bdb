//! What the kept runs say of a host: its last deploy, and when it was last seen.
//!
//! A log may hold a hundred thousand lines of output; only the few that tell are parsed, and only
//! of runs that name a host that is still looked for.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::Serialize;

use super::{store, words};
use crate::event::state::{HostState, RunState};
use crate::event::{Outcome, Stamped};
use crate::fleet::{Generation, HostName};
use crate::plan::Goal;

/// The beginnings of the events that tell.
const TELLING: [&str; 5] = ["run_started", "planned", "facts_read", "armed", "host_finished"];

/// The last run that changed a host, or tried to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastDeploy {
    /// Its name.
    pub run: String,
    /// Whether it went back to an earlier generation; else it brought a new one.
    pub rollback: bool,
    /// The recap's word; what a later `resume` or `abort` found, where the run itself had none.
    pub result: String,
    /// When the host came to it, milliseconds since the epoch.
    pub at_ms: i64,
}

/// The last run that got an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastSeen {
    /// Its name.
    pub run: String,
    /// When it read the host last, as far as it is known; milliseconds since the epoch.
    pub at_ms: i64,
    /// The profile's generation then.
    pub generation: Option<Generation>,
}

/// The last run of each of these hosts that changed it, or had begun to. Runs that found nothing
/// to do, or left the host as it was, are none.
pub fn last_deploys(state_dir: &Path, hosts: &[HostName]) -> BTreeMap<HostName, LastDeploy> {
    // What was found out later of a run, by run and host; the newest word counts.
    let mut found: BTreeMap<(String, HostName), (String, i64)> = BTreeMap::new();
    search(state_dir, hosts, move |state, host| {
        let goal = words::goal(state);
        let told_ms = state.started_ms + host.finished_ms.unwrap_or_default().cast_signed();
        let at_ms = host.report.as_ref().and_then(|r| r.decided_ms).unwrap_or(told_ms);
        if let (Some(Goal::Recover { .. }), Some(run)) = (goal, &state.recovers) {
            if host.report.as_ref().is_some_and(|report| settles(&report.outcome)) {
                let word = words::result(host, goal).to_owned();
                found.entry((run.clone(), host.name.clone())).or_insert((word, at_ms));
            }
            return None;
        }
        for (run, report) in host.settled.iter().filter(|(_, report)| settles(&report.outcome)) {
            let word = words::found_word(&report.outcome).to_owned();
            let at_ms = report.decided_ms.unwrap_or(state.started_ms);
            found.entry((run.clone(), host.name.clone())).or_insert((word, at_ms));
        }
        let meant = matches!(goal, Some(Goal::Deploy | Goal::Boot | Goal::Rollback { .. }));
        if !meant || !touched(host) {
            return None;
        }
        let later = found.remove(&(state.run.clone(), host.name.clone()));
        // It may be at it right now: the log alone cannot tell that from a run that was cut off.
        let own = || (words::result(host, goal).to_owned(), at_ms);
        let (result, at_ms) = later.unwrap_or_else(own);
        let rollback = matches!(goal, Some(Goal::Rollback { .. }));
        Some(LastDeploy { run: state.run.clone(), rollback, result, at_ms })
    })
}

/// Whether anything was, or may have been, changed.
fn touched(host: &HostState) -> bool {
    let outcome = host.report.as_ref().map(|r| &r.outcome);
    match outcome {
        None => host.armed.is_some(),
        Some(
            Outcome::Committed { .. }
            | Outcome::Staged
            | Outcome::RolledBack
            | Outcome::Interrupted { reverted: true }
            | Outcome::Unknown { .. }
            | Outcome::Stranded,
        ) => true,
        Some(Outcome::Foreign | Outcome::Internal | Outcome::Interrupted { reverted: false }) => {
            host.armed.is_some()
        }
        Some(
            Outcome::Unchanged { .. }
            | Outcome::Unhealthy
            | Outcome::Planned { .. }
            | Outcome::Blocked
            | Outcome::NotBuilt
            | Outcome::Refused { .. }
            | Outcome::NotBegun
            | Outcome::Declined,
        ) => false,
    }
}

/// Whether what a recovery says of a host is the end of the run that it recovers.
fn settles(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Committed { .. }
            | Outcome::Staged
            | Outcome::RolledBack
            | Outcome::Stranded
            | Outcome::Foreign
    )
}

/// When each of these hosts answered last, as far as it is known.
pub fn last_seen(state_dir: &Path, hosts: &[HostName]) -> BTreeMap<HostName, LastSeen> {
    search(state_dir, hosts, |state, host| {
        host.pointers.as_ref()?;
        // Pointers afterwards were read at its end; else only the beginning is certain.
        let read_back = host.report.as_ref().is_some_and(|r| r.after.is_some());
        let after = host.finished_ms.filter(|_| read_back).unwrap_or_default();
        let at_ms = state.started_ms + after.cast_signed();
        let generation = words::generations(host).now;
        Some(LastSeen { run: state.run.clone(), at_ms, generation })
    })
}

/// Asks runs, newest first, until every host has an answer.
fn search<T>(
    state_dir: &Path,
    hosts: &[HostName],
    mut tell: impl FnMut(&RunState, &HostState) -> Option<T>,
) -> BTreeMap<HostName, T> {
    let mut found = BTreeMap::new();
    let mut wanted: Vec<&HostName> = hosts.iter().collect();
    for entry in store::list(state_dir) {
        if wanted.is_empty() {
            break;
        }
        // A log that cannot be read tells nothing; `report` says why.
        let Ok(state) = sketch(&store::log_of(state_dir, &entry.run), &TELLING) else { continue };
        wanted.retain(|name| {
            let told = state.host(name).and_then(|host| tell(&state, host));
            told.is_none_or(|told| found.insert((*name).clone(), told).is_some())
        });
    }
    found
}

/// The fold of the lines that tell.
pub(super) fn sketch(log: &Path, telling: &[&str]) -> io::Result<RunState> {
    let tags: Vec<String> = telling.iter().map(|n| format!("\"event\":\"{n}\"")).collect();
    let mut state = RunState::default();
    for line in BufReader::new(File::open(log)?).split(b'\n') {
        let line = line?;
        let text = String::from_utf8_lossy(&line);
        if !tags.iter().any(|tag| text.contains(tag)) {
            continue;
        }
        if let Ok(stamped) = serde_json::from_str::<Stamped>(&text) {
            state.apply(&stamped);
        }
    }
    Ok(state)
}
