//! Every run is kept as its event log: `STATE/runs/RUN/events.jsonl`, and beside it a small
//! `summary.json`, so that the history need not read every log.
//!
//! The log is the truth: a summary that is missing or broken is made again from it. A last line
//! that was cut off and events of a later version are no errors.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Sink, json, words};
use crate::event::state::{Beyond, HostState, RunState};
use crate::event::{Event, Outcome, Phase, Stamped, harmless};
use crate::fleet::HostName;
use crate::world::files;

/// Runs kept where hosts.toml does not say how many.
pub const KEPT: usize = 200;

/// Progress of one host is kept at most this often.
const THINNED_MS: u64 = 1000;

/// Longest line of a log that is read, in bytes.
const LINE: usize = 4 << 20;

/// What the history shows of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Short name.
    pub run: String,
    /// When it began, milliseconds since the epoch.
    pub started_ms: i64,
    /// How long it took.
    pub took_ms: u64,
    /// Command with its arguments.
    pub command: Vec<String>,
    /// Hosts of the plan.
    pub hosts: usize,
    /// Their names.
    #[serde(default)]
    pub names: Vec<HostName>,
    /// How each ended: the recap's word.
    #[serde(default)]
    pub outcomes: BTreeMap<HostName, String>,
    /// The recap's last line: "4 hosts: 1 changed, 3 unchanged".
    pub result: String,
    /// Exit code; `None`: it goes on still, or was ended before it could have one.
    pub exit: Option<u8>,
    /// Whether the run came to its end.
    pub complete: bool,
    /// Whether its process lives.
    #[serde(default)]
    pub alive: bool,
    /// Hosts that were past `go` and had no last word when the log ended.
    #[serde(default)]
    pub open: Vec<HostName>,
    /// The run whose transactions this one brought to their end.
    #[serde(default)]
    pub recovers: Option<String>,
    /// Earlier runs that this one brought to their end on its way: the run, and in words how.
    #[serde(default)]
    pub settled: Vec<(String, String)>,
    /// Generations that hosts had before, have now, or made and lost; each with its host.
    #[serde(default)]
    pub generations: Vec<(HostName, u64)>,
    /// What was found out of its open hosts later: the run that did, and its result.
    #[serde(default)]
    pub found: Option<(String, String)>,
    /// Its log does not say what began: nothing is known of it, not even when it was.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreadable: bool,
}

impl Entry {
    /// From the fold.
    pub fn of(state: &RunState) -> Self {
        Self {
            run: state.run.clone(),
            started_ms: state.started_ms,
            took_ms: words::total(state),
            command: state.command.clone(),
            hosts: state.hosts.len(),
            names: state.hosts.iter().map(|h| h.name.clone()).collect(),
            outcomes: state.hosts.iter().map(|h| (h.name.clone(), word(h, state))).collect(),
            result: words::tally(state),
            exit: state.finished.then(|| words::exit_of_run(state) as u8),
            complete: state.finished,
            alive: false,
            open: open(state),
            recovers: state.recovers.clone(),
            settled: settled(state),
            generations: generations(state),
            found: None,
            unreadable: state.run.is_empty(),
        }
    }
}

fn word(host: &HostState, state: &RunState) -> String {
    words::result(host, words::goal(state)).to_owned()
}

fn generations(state: &RunState) -> Vec<(HostName, u64)> {
    let mut known = Vec::new();
    for host in &state.hosts {
        let met = words::generations(host);
        let met = [met.before, met.now, met.tried].into_iter().flatten();
        known.extend(met.map(|generation| (host.name.clone(), generation.0)));
    }
    known.dedup();
    known
}

/// By run: "p620 rolled back, p510 changed".
fn settled(state: &RunState) -> Vec<(String, String)> {
    let mut runs: Vec<(String, String)> = Vec::new();
    for host in &state.hosts {
        for (run, report) in &host.settled {
            let word = words::spaced(words::found_word(&report.outcome));
            let text = format!("{} {word}", host.name);
            match runs.iter_mut().find(|(r, _)| r == run) {
                Some((_, told)) => *told = format!("{told}, {text}"),
                None => runs.push((run.clone(), text)),
            }
        }
    }
    runs
}

fn open(state: &RunState) -> Vec<HostName> {
    let open = |h: &&HostState| undecided(h) && (h.report.is_some() || h.armed.is_some());
    state.hosts.iter().filter(open).map(|h| h.name.clone()).collect()
}

/// Whether a host has no last word, or one that leaves open what is true of it.
fn undecided(host: &HostState) -> bool {
    host.report.as_ref().is_none_or(|r| matches!(r.outcome, Outcome::Unknown { .. }))
}

/// A log as it could be read.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The fold of its events.
    pub state: RunState,
    /// Events of a later version, and lines that are no events.
    pub strange: usize,
    /// Whether the last line was cut off.
    pub cut: bool,
}

/// Why a run was not found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// There is none.
    #[error("no run was kept yet")]
    Nothing,
    /// None begins so.
    #[error("no run begins with '{0}'")]
    Unknown(String),
    /// Several do.
    #[error("several runs begin with '{0}': {1}")]
    Ambiguous(String, String),
}

/// The folder of a run.
pub fn folder(state_dir: &Path, run: &str) -> PathBuf {
    state_dir.join("runs").join(run)
}

/// Whether the process that made a run still lives.
pub fn lives(state_dir: &Path, run: &str) -> bool {
    let log = File::open(log_of(state_dir, run));
    log.is_ok_and(|log| matches!(log.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
}

/// The log of a run.
pub fn log_of(state_dir: &Path, run: &str) -> PathBuf {
    folder(state_dir, run).join("events.jsonl")
}

/// A name that is safe as a folder: lower-case hexadecimal.
fn is_run(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a name is in use: names are short, so whoever makes one asks first.
pub fn taken(state_dir: &Path, run: &str) -> bool {
    log_of(state_dir, run).symlink_metadata().is_ok()
}

/// Kept runs, newest first.
pub fn list(state_dir: &Path) -> Vec<Entry> {
    let mut entries: Vec<Entry> =
        names(state_dir).iter().filter_map(|run| entry(state_dir, run)).collect();
    entries.sort_by(|a, b| b.started_ms.cmp(&a.started_ms).then_with(|| b.run.cmp(&a.run)));
    // Newest first: the last word that was found is the one that counts.
    let mut found: HashMap<String, (String, String)> = HashMap::new();
    for entry in &mut entries {
        entry.found = found.remove(&entry.run);
        if let Some(run) = entry.recovers.clone().filter(|_| entry.complete) {
            found.entry(run).or_insert_with(|| (entry.run.clone(), entry.result.clone()));
        }
        for (run, told) in &entry.settled {
            found.entry(run.clone()).or_insert_with(|| (entry.run.clone(), told.clone()));
        }
    }
    entries
}

/// The newest runs by their logs, with their summaries; a run that goes on, or was interrupted, has
/// none. No log is read.
pub fn newest(state_dir: &Path, many: usize) -> Vec<(String, Option<Entry>)> {
    let age = |run: &String| {
        let meta = std::fs::metadata(log_of(state_dir, run));
        std::cmp::Reverse(meta.and_then(|m| m.modified()).ok())
    };
    let mut runs = names(state_dir);
    runs.sort_by_cached_key(age);
    runs.truncate(many);
    let told = |run: String| {
        let summary = summary(state_dir, &run);
        (run, summary)
    };
    runs.into_iter().map(told).collect()
}

fn names(state_dir: &Path) -> Vec<String> {
    let folders = std::fs::read_dir(state_dir.join("runs")).into_iter().flatten().flatten();
    let real = folders.filter(|f| f.file_type().is_ok_and(|t| t.is_dir()));
    real.filter_map(|f| f.file_name().into_string().ok()).filter(|n| is_run(n)).collect()
}

fn summary(state_dir: &Path, run: &str) -> Option<Entry> {
    let summary = folder(state_dir, run).join("summary.json");
    let kept = files::read_text(&summary, 1 << 16).ok()?;
    let entry: Entry = serde_json::from_str(&kept).ok()?;
    // One that an older version wrote has no outcomes, and is made again.
    (entry.run == run && entry.outcomes.len() == entry.names.len()).then_some(entry)
}

fn entry(state_dir: &Path, run: &str) -> Option<Entry> {
    if let Some(entry) = summary(state_dir, run) {
        return Some(entry);
    }
    let mut entry = match load(&log_of(state_dir, run)) {
        Ok(loaded) => Entry::of(&loaded.state),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(_) => Entry::of(&RunState::default()),
    };
    run.clone_into(&mut entry.run);
    entry.alive = lives(state_dir, run);
    if entry.complete {
        // Next time it need not be made again; if that fails, it is.
        let path = folder(state_dir, run).join("summary.json");
        let _ = files::put(&path, &serde_json::to_vec(&entry).unwrap_or_default());
    }
    Some(entry)
}

/// The run that is meant by `last` or by the beginning of a name.
///
/// # Errors
/// When none or several are meant.
pub fn find(state_dir: &Path, wanted: &str) -> Result<String, FindError> {
    if wanted == "last" {
        return list(state_dir).into_iter().next().map(|e| e.run).ok_or(FindError::Nothing);
    }
    let mut found = names(state_dir);
    found.retain(|run| run.starts_with(wanted));
    found.sort();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(FindError::Unknown(harmless::cut(&harmless::line(wanted), 64))),
        several if several.iter().any(|run| run == wanted) => Ok(wanted.to_owned()),
        several => Err(FindError::Ambiguous(wanted.to_owned(), several.join(", "))),
    }
}

/// Folds a log.
///
/// # Errors
/// When it can not be opened or read.
pub fn load(log: &Path) -> io::Result<Loaded> {
    let mut loaded = Loaded::default();
    let (strange, cut) = each(log, |_, stamped| loaded.state.apply(stamped))?;
    Ok(Loaded { strange, cut, ..loaded })
}

/// Folds the log of a run, with what is known beyond it: whether it goes on, and what later runs
/// found of hosts that it left without a last word.
///
/// # Errors
/// When its log can not be opened or read.
pub fn load_run(state_dir: &Path, run: &str) -> io::Result<Loaded> {
    // Asked first: one that ends meanwhile has a last word in the log that is read after.
    let lives = lives(state_dir, run);
    let mut loaded = load(&log_of(state_dir, run))?;
    let state = &mut loaded.state;
    state.alive = lives && !state.finished;
    if state.alive {
        for host in state.hosts.iter_mut().filter(|h| h.report.is_none()) {
            host.beyond = Beyond::Going;
        }
        return Ok(loaded);
    }
    if !state.hosts.iter().any(undecided) {
        return Ok(loaded);
    }
    // Newest first: the last word that was found is the one that counts.
    let later = list(state_dir).into_iter();
    let recovers = |e: &Entry| e.complete && e.recovers.as_deref() == Some(run);
    let settles = |e: &Entry| e.settled.iter().any(|(r, _)| r == run);
    for later in later.filter(|e| recovers(e) || settles(e)) {
        let Ok(found) = load(&log_of(state_dir, &later.run)) else { continue };
        for host in state.hosts.iter_mut().filter(|h| undecided(h)) {
            let known = found.state.host(&host.name);
            let settled = known.and_then(|h| h.settled.iter().find(|(r, _)| r == run));
            let report = match settled {
                Some((_, report)) => Some(report.clone()),
                None if recovers(&later) => known.and_then(|h| h.report.clone()),
                None => None,
            };
            if let (Beyond::Nothing, Some(report)) = (&host.beyond, report) {
                let report = Box::new(report);
                host.beyond = Beyond::Found { run: later.run.clone(), report };
            }
        }
    }
    Ok(loaded)
}

/// Calls `visit` with each line and its event, in order. Returns the number of strange lines, and
/// whether the last was cut off.
///
/// # Errors
/// When the log can not be opened or read.
pub fn each(log: &Path, mut visit: impl FnMut(&str, &Stamped)) -> io::Result<(usize, bool)> {
    let mut reader = BufReader::new(File::open(log)?);
    let (mut strange, mut bytes) = (0, Vec::new());
    loop {
        bytes.clear();
        let read = io::Read::by_ref(&mut reader).take_line(&mut bytes)?;
        if read == 0 {
            return Ok((strange, false));
        }
        let whole = bytes.ends_with(b"\n");
        let text = String::from_utf8_lossy(&bytes);
        match serde_json::from_str::<Stamped>(text.trim_end()) {
            Ok(stamped) => {
                strange += usize::from(stamped.event == Event::Unknown);
                visit(text.trim_end(), &stamped);
            }
            Err(_) if !whole => return Ok((strange, true)),
            Err(_) => strange += 1,
        }
    }
}

/// Reads up to a line feed, but never more than [`LINE`] bytes at once.
trait TakeLine {
    fn take_line(self, into: &mut Vec<u8>) -> io::Result<usize>;
}

impl<R: BufRead> TakeLine for R {
    fn take_line(self, into: &mut Vec<u8>) -> io::Result<usize> {
        self.take(LINE as u64).read_until(b'\n', into)
    }
}

/// Forgets the oldest runs beyond so many, and those that began before a moment (milliseconds since
/// the epoch). One that goes on stays, and one that a host may still have open.
pub fn forget(state_dir: &Path, keep: usize, before_ms: Option<i64>) {
    let entries = list(state_dir);
    let old = |(at, entry): &(usize, &Entry)| {
        *at >= keep || before_ms.is_some_and(|before| entry.started_ms < before)
    };
    let open = |entry: &Entry| !entry.open.is_empty() && entry.found.is_none();
    for (_, entry) in entries.iter().enumerate().filter(old).filter(|(_, e)| !open(e)) {
        // By a clock that was set back, a run that goes on now can look like the oldest.
        if !lives(state_dir, &entry.run) {
            // What can not be removed now is tried again at the end of the next run.
            let _ = std::fs::remove_dir_all(folder(state_dir, &entry.run));
        }
    }
}

/// Keeps a run while it happens.
pub struct Writer {
    state_dir: PathBuf,
    log: Option<BufWriter<File>>,
    /// A host was, or may have been, changed: from there on the log must survive a power loss.
    armed: bool,
    progress: HashMap<Option<(HostName, Phase)>, u64>,
}

impl Writer {
    /// Below this folder; the run's own folder is made at its first event.
    pub fn new(state_dir: &Path) -> Self {
        Self {
            state_dir: state_dir.to_path_buf(),
            log: None,
            armed: false,
            progress: HashMap::new(),
        }
    }

    fn open(&mut self, run: &str) -> io::Result<()> {
        if !is_run(run) {
            return Err(io::Error::other(format!("'{run}' is no name of a run")));
        }
        if taken(&self.state_dir, run) {
            // Two runs in one log would make both untrue.
            return Err(io::Error::other(format!("a run {run} is kept already")));
        }
        let folder = folder(&self.state_dir, run);
        files::private_folder(&self.state_dir)?;
        files::private_folder(&self.state_dir.join("runs"))?;
        files::private_folder(&folder)?;
        let log = files::append(&folder.join("events.jsonl"))?;
        // Held as long as the run lives: `resume` and `abort` leave a living run alone.
        let _ = log.try_lock();
        self.log = Some(BufWriter::new(log));
        Ok(())
    }

    fn thinned(&mut self, stamped: &Stamped) -> bool {
        let of = match &stamped.event {
            Event::Progress { host, phase, .. } => Some((host.clone(), *phase)),
            Event::BuildsCounted { .. } => None,
            _ => return false,
        };
        let now = stamped.elapsed_ms;
        let last = self.progress.entry(of);
        let mut fresh = false;
        let last = last.or_insert_with(|| {
            fresh = true;
            now
        });
        if !fresh && now < *last + THINNED_MS {
            return true;
        }
        *last = now;
        false
    }
}

impl Sink for Writer {
    fn event(&mut self, stamped: &Stamped, state: &RunState) -> io::Result<()> {
        if matches!(stamped.event, Event::RunStarted { .. }) && self.log.is_none() {
            self.open(&state.run)?;
        }
        if self.thinned(stamped) {
            return Ok(());
        }
        let Some(log) = &mut self.log else { return Ok(()) };
        log.write_all(json::line(stamped)?.as_bytes())?;
        use Event::{BuildsCounted, Line, Progress};
        if matches!(stamped.event, Line { .. } | Progress { .. } | BuildsCounted { .. }) {
            return Ok(());
        }
        log.flush()?;
        self.armed |= matches!(stamped.event, Event::Armed { .. });
        let weighty = matches!(
            stamped.event,
            Event::Armed { .. } | Event::HostFinished { .. } | Event::RunFinished { .. }
        );
        if weighty && self.armed { log.get_ref().sync_data() } else { Ok(()) }
    }

    fn tick(&mut self, _state: &RunState, _now_elapsed_ms: u64) {
        if let Some(log) = &mut self.log {
            // An error comes back with the next event.
            let _ = log.flush();
        }
    }

    fn finish(&mut self, state: &RunState) -> io::Result<()> {
        let Some(log) = &mut self.log else { return Ok(()) };
        log.flush()?;
        if self.armed {
            log.get_ref().sync_data()?;
        }
        let summary = serde_json::to_string(&Entry::of(state))?;
        // What is lost of it is made again from the log.
        let file = folder(&self.state_dir, &state.run).join("summary.json");
        files::put(&file, summary.as_bytes())
    }
}
