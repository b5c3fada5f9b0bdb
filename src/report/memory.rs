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
use crate::event::Stamped;
use crate::event::state::{HostState, RunState};
use crate::fleet::{Generation, HostName};
use crate::plan::Goal;

/// The beginnings of the events that tell.
const TELLING: [&str; 5] = ["run_started", "planned", "facts_read", "armed", "host_finished"];

/// The last run that meant to change a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastDeploy {
    /// Its name.
    pub run: String,
    /// The recap's word.
    pub result: String,
    /// When the host had its last word, milliseconds since the epoch.
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

/// The last deploy of each of these hosts that had one.
pub fn last_deploys(state_dir: &Path, hosts: &[HostName]) -> BTreeMap<HostName, LastDeploy> {
    search(state_dir, hosts, |state, host| {
        let goal = words::goal(state);
        let meant = matches!(goal, Some(Goal::Deploy | Goal::Boot));
        let at_ms = state.started_ms + host.finished_ms.unwrap_or_default().cast_signed();
        // It may be at it right now: the log alone cannot tell that from a run that was cut off.
        let ended = host.report.is_some();
        let result = if ended { words::result(host, goal) } else { "unfinished" }.to_owned();
        meant.then(|| LastDeploy { run: state.run.clone(), result, at_ms })
    })
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
    tell: impl Fn(&RunState, &HostState) -> Option<T>,
) -> BTreeMap<HostName, T> {
    let mut found = BTreeMap::new();
    let mut wanted: Vec<&HostName> = hosts.iter().collect();
    for entry in store::list(state_dir) {
        if wanted.is_empty() {
            break;
        }
        // A log that cannot be read tells nothing; `report` says why.
        let Ok(state) = sketch(&store::log_of(state_dir, &entry.run)) else { continue };
        wanted.retain(|name| {
            let told = state.host(name).and_then(|host| tell(&state, host));
            told.is_none_or(|told| found.insert((*name).clone(), told).is_some())
        });
    }
    found
}

/// The fold of the lines that tell.
fn sketch(log: &Path) -> io::Result<RunState> {
    let tags = TELLING.map(|name| format!("\"event\":\"{name}\""));
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
