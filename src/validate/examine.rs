//! Many files at once: reads each, holds it against [`super::syntax`] and the rules, and gathers
//! what is wrong.

use std::cell::LazyCell;
use std::collections::HashSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::found::{Examined, Found, Kept, Lines};
use super::gather::{Drawn, PORTS, Share};
use super::identity::{Before, Identity};
use super::packed::{Mark, Packed};
use super::reading::{self, SIZE_LIMIT, read};
use super::resolve::Resolver;
use super::rules::{self, Entry};
use super::syntax::{self, Fault};
use super::verdicts::{Verdict, Verdicts};
use super::{allow, nesting, pieces};
use crate::event::Severity;
use crate::world::Clock;

/// More threads than this gain nothing.
const MAX_WORKERS: usize = 8;
/// Files below which one thread is quicker than two.
const FILES_PER_WORKER: usize = 16;
/// No file that a person wrote takes this long.
const TIME_LIMIT: Duration = Duration::from_secs(2);
/// More findings of one file are no help to anybody.
const FAULT_LIMIT: usize = 1_000;

/// A file to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Counted from the tree's root.
    pub path: PathBuf,
    /// What it holds; `None`: what lies there.
    pub bytes: Option<Vec<u8>>,
    /// What it held before.
    pub base: Base,
}

/// What a file held in the revision that it is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// It was not there, or nobody can say: all of it is new.
    None,
    /// The same: nothing is new.
    Same,
    /// This.
    Was(Vec<u8>),
}

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// All rules, and not Nix's grammar alone.
    pub rules: bool,
    /// How many findings are kept with the lines they are about, to be drawn.
    pub drawn: usize,
    /// Old findings and notes are to be drawn too.
    pub old: bool,
}

impl Depth {
    /// Whether a finding is one of those that are drawn.
    pub(super) fn draws(self, mark: Mark) -> bool {
        self.old || (mark.new && mark.severity > Severity::Info)
    }
}

/// Reads and checks files below `root`, all of them new. Blocks, and has threads of its own.
pub fn examine(root: &Path, paths: &[PathBuf]) -> Examined {
    let job = |path: &PathBuf| Job { path: path.clone(), bytes: None, base: Base::None };
    let jobs: Vec<Job> = paths.iter().map(job).collect();
    examine_jobs(root, &jobs, Depth { rules: false, drawn: 1_000, old: true })
}

/// Reads and checks files below `root`. Blocks, and has threads of its own.
///
/// A tracked file that is gone from the working copy is no part of what is evaluated, and a
/// symbolic link leads to a file that is tracked itself or to one that is not ours to judge: both
/// are passed over.
pub fn examine_jobs(root: &Path, jobs: &[Job], depth: Depth) -> Examined {
    examine_with(root, jobs, depth, None)
}

/// The same, with verdicts of an earlier look where the content is still the same.
pub fn examine_with(
    root: &Path,
    jobs: &[Job],
    depth: Depth,
    verdicts: Option<&Verdicts>,
) -> Examined {
    let verdicts = verdicts.filter(|_| depth.rules);
    let (next, drawn) = (AtomicUsize::new(0), Drawn::default());
    let whole: Mutex<Share> = Mutex::default();
    let work = || {
        let mut mine = Share::default();
        while let Some((at, job)) = take(&next, jobs) {
            let clock = Clock::start();
            let look = Look { root, at, job, depth, drawn: &drawn, verdicts, clock };
            let seen = catch_unwind(AssertUnwindSafe(|| look.look()));
            let seen = seen.unwrap_or_else(|_| Some(Seen::alone(&job.path, failed())));
            seen.into_iter().for_each(|seen| mine.add(at, seen));
        }
        whole.lock().unwrap_or_else(std::sync::PoisonError::into_inner).join(mine);
    };
    thread::scope(|scope| {
        for _ in 0..workers(jobs.len()) {
            let worker = thread::Builder::new().name("check".to_owned()).stack_size(nesting::STACK);
            if worker.spawn_scoped(scope, work).is_err() {
                break; // the others do its share
            }
        }
    });
    let mut whole = whole.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    while let Some((at, job)) = take(&next, jobs) {
        let cause = io::Error::other("no thread could be started to check it");
        whole.add(at, Seen::unread(&job.path, &cause));
    }
    let (mut examined, entries) = whole.end(depth);
    if depth.rules {
        let known: HashSet<&Path> = jobs.iter().map(|j| j.path.as_path()).collect();
        for (path, fault) in rules::without_version(&entries, &known) {
            let at = jobs.iter().find(|j| j.path == path);
            let same = at.is_some_and(|j| j.base == Base::Same);
            examined.add(&path, fault, !same);
        }
    }
    examined
}

fn take<'a>(next: &AtomicUsize, jobs: &'a [Job]) -> Option<(usize, &'a Job)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    jobs.get(at).map(|job| (at, job))
}

fn workers(files: usize) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    files.div_ceil(FILES_PER_WORKER).min(cores).clamp(1, MAX_WORKERS)
}

fn failed() -> Fault {
    let message = "the check itself failed here; Nix itself decides, please report";
    Fault::doubt("check-failed", 0..0, message.to_owned())
}

fn is_syntax(fault: &Fault) -> bool {
    rules::rule(fault.code).is_some_and(rules::Rule::is_syntax)
}

/// One file that was looked at.
pub(super) struct Seen {
    pub(super) kept: Option<Kept>,
    pub(super) read: bool,
    /// It mentions `scopedImport`, which defines variables in other files.
    pub(super) scopes_others: bool,
    /// What it tells of a host's modules.
    pub(super) entry: Option<(PathBuf, Entry)>,
    /// Ports that were open before.
    pub(super) ports: Vec<String>,
}

impl Seen {
    fn unread(path: &Path, cause: &io::Error) -> Self {
        let message = format!("cannot be read: {cause}");
        Self::alone(path, Fault::at("unreadable", Severity::Block, 0..0, message))
    }

    /// Nothing but one fault, without a text.
    fn alone(path: &Path, fault: Fault) -> Self {
        let found = Found::placed(&Lines::of(""), fault, true, None);
        let kept = Some(Kept { path: path.to_owned(), packed: Packed::of(vec![found]) });
        Self { kept, read: false, scopes_others: false, entry: None, ports: Vec::new() }
    }
}

/// One file that is looked at.
struct Look<'a> {
    root: &'a Path,
    at: usize,
    job: &'a Job,
    depth: Depth,
    drawn: &'a Drawn,
    verdicts: Option<&'a Verdicts>,
    clock: Clock,
}

impl Look<'_> {
    fn look(&self) -> Option<Seen> {
        let path = &self.job.path;
        let bytes = match &self.job.bytes {
            Some(bytes) => bytes.clone(),
            None => match read(&self.root.join(path)) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return None,
                Err(cause) => return Some(Seen::unread(path, &cause)),
            },
        };
        if bytes.len() as u64 > SIZE_LIMIT {
            let message =
                format!("larger than {} MiB, not checked; Nix itself decides", SIZE_LIMIT >> 20);
            return Some(Seen::alone(path, Fault::doubt("too-large", 0..0, message)));
        }
        let (text, Verdict { faults, entry }) = self.verdict(bytes);
        let mut before = self.before();
        let ports = before.as_ref().map(|b| b.keys_of(PORTS).cloned().collect());
        let mut ports: Vec<String> = ports.unwrap_or_default();
        let found = self.found(&text, faults, before.as_mut());
        let old = found.iter().filter(|f| f.fault.code == PORTS && !f.new);
        ports.extend(old.flat_map(|f| f.fault.keys.iter().cloned()));
        let packed = (!found.is_empty()).then(|| Packed::of(found));
        Some(Seen {
            kept: packed.map(|packed| Kept { path: path.clone(), packed }),
            read: true,
            scopes_others: text.contains("scopedImport"),
            entry: entry.map(|e| (path.clone(), e)),
            ports,
        })
    }

    /// What is wrong with a file's content, kept or found now.
    fn verdict(&self, bytes: Vec<u8>) -> (String, Verdict) {
        let name = self.verdicts.map(|v| (v, Verdicts::name(&self.job.path, &bytes)));
        let (text, broken) = reading::decode(bytes);
        if let Some(kept) = name.and_then(|(verdicts, name)| verdicts.get(name, &text)) {
            return (text, kept);
        }
        let (mut checked, mut allows) = catch_unwind(AssertUnwindSafe(|| self.check(&text)))
            .unwrap_or_else(|_| (Checked { faults: vec![failed()], entry: None }, Vec::new()));
        checked.faults.extend(broken);
        let reasons: Vec<Option<String>> =
            checked.faults.iter().map(|f| allow::reason(&mut allows, f)).collect();
        let idle = allow::unused(&text, &allows);
        let mut faults: Vec<(Fault, Option<String>)> =
            checked.faults.into_iter().zip(reasons).collect();
        faults.extend(idle.into_iter().map(|fault| (fault, None)));
        faults.sort_by_key(|(f, _)| place(f));
        let verdict = Verdict { faults, entry: checked.entry };
        if let Some((verdicts, name)) = name {
            verdicts.put(name, &verdict);
        }
        (text, verdict)
    }

    fn check(&self, text: &str) -> (Checked, Vec<allow::Allow>) {
        if let Some(judged) = pieces::judged(text, self.depth.rules) {
            return self.in_pieces(text, judged);
        }
        let parsed = match syntax::parse(text) {
            Ok(parsed) => parsed,
            Err(fault) => return (Checked { faults: vec![*fault], entry: None }, Vec::new()),
        };
        if !self.depth.rules {
            let (faults, _) = parsed.judged(&mut |_| {});
            return (Checked { faults, entry: None }, Vec::new());
        }
        let root = parsed.root.clone();
        let late = || self.clock.elapsed() > TIME_LIMIT;
        let resolver = Resolver::new();
        let mut walk = rules::Walk::new(&resolver, text, &root, &late);
        let (mut faults, unused) = parsed.judged(&mut |step| walk.meet(step));
        if faults.iter().any(|f| f.severity == Severity::Block) {
            return (Checked { faults, entry: None }, Vec::new());
        }
        let allows = allow::read(text, &root);
        faults.extend(walk.end(&unused));
        if late() {
            let message = format!("not checked to the end within {} s", TIME_LIMIT.as_secs());
            faults.push(Fault::doubt("check-slow", 0..0, message));
        }
        let entry = rules::entries(&self.job.path, text, &root);
        (Checked { faults, entry }, allows)
    }

    /// A text that was too large for one tree.
    fn in_pieces(&self, text: &str, judged: pieces::Judged) -> (Checked, Vec<allow::Allow>) {
        let pieces::Judged { mut faults, allows } = judged;
        if !self.depth.rules || faults.iter().any(|f| f.severity == Severity::Block && is_syntax(f))
        {
            return (Checked { faults, entry: None }, Vec::new());
        }
        let message = format!(
            "larger than {} MiB, judged in pieces: by Nix's grammar and names, and by the rules \
             that always block; no other rule was asked",
            pieces::LARGE >> 20
        );
        faults.push(Fault::at("judged-in-pieces", Severity::Info, 0..0, message));
        (Checked { faults, entry: Entry::unread(text) }, allows)
    }

    /// What was wrong with the file before.
    fn before(&self) -> Option<Before> {
        let Base::Was(bytes) = &self.job.base else { return None };
        let (text, _) = reading::decode(bytes.clone());
        let faults =
            catch_unwind(AssertUnwindSafe(|| self.check(&text).0.faults)).unwrap_or_default();
        Some(Before::of(&text, &faults))
    }

    fn found(
        &self,
        text: &str,
        mut faults: Vec<(Fault, Option<String>)>,
        mut before: Option<&mut Before>,
    ) -> Vec<Found> {
        if faults.is_empty() {
            return Vec::new();
        }
        let lines = Lines::of(text);
        if faults.len() > FAULT_LIMIT {
            // What blocks is kept.
            faults.sort_by_key(|(f, _)| (std::cmp::Reverse(f.severity), f.range.start));
            faults.truncate(FAULT_LIMIT);
            faults.sort_by_key(|(f, _)| place(f));
        }
        let told: Vec<_> = faults.iter().filter_map(|(f, _)| f.secret.clone()).collect();
        let secrets = LazyCell::new(|| [told, super::secrets::written(text)].concat());
        let mut kept = Vec::with_capacity(faults.len());
        let (room, mut drawn) = (self.drawn.room(self.at, self.depth.drawn), 0);
        for (mut fault, allowed) in faults {
            let identity = Identity::of(text, &fault);
            let always = rules::rule(fault.code).is_none_or(rules::Rule::always_blocks);
            let old = match (&self.job.base, before.as_deref_mut()) {
                (Base::Same, _) => true,
                (_, Some(before)) => before.had(identity, &fault),
                _ => false,
            };
            let new = always || !old;
            if fault.code != PORTS {
                fault.keys = Vec::new(); // nobody asks for them any more
            }
            let mut found = Found::placed(&lines, fault, new, allowed);
            found.identity = Some(identity);
            if drawn < room && self.depth.draws(found.mark()) {
                drawn += 1;
                found.draw_from(&lines, &secrets);
            }
            kept.push(found);
        }
        self.drawn.note(self.at, drawn);
        kept
    }
}

/// The order of findings: by place, the worst of a place first.
fn place(fault: &Fault) -> (usize, std::cmp::Reverse<Severity>, usize, &'static str) {
    (fault.range.start, std::cmp::Reverse(fault.severity), fault.range.end, fault.code)
}

struct Checked {
    faults: Vec<Fault>,
    entry: Option<Entry>,
}
