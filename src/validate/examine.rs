//! Many files at once: reads each, holds it against [`super::syntax`], and gathers what is wrong.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::syntax::{self, Fault, Position};
use super::{nesting, variables};
use crate::event::{Finding, Severity, harmless};

/// Larger files are generated, and not worth the wait.
const SIZE_LIMIT: u64 = 8 << 20;
/// More threads than this gain nothing.
const MAX_WORKERS: usize = 8;
/// Files below which one thread is quicker than two.
const FILES_PER_WORKER: usize = 16;
/// Stands for each byte that is no UTF-8, so that every other byte keeps its place. Like them it
/// is legal in comments and strings, and nowhere else.
const SUBSTITUTE: char = '\u{1a}';

/// What was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examined {
    /// Files that were read to their end.
    pub files: usize,
    /// Those in which something is wrong, by path.
    pub faulty: Vec<Faulty>,
}

/// A file in which something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faulty {
    /// As it was given.
    pub path: PathBuf,
    /// Its text; bytes that are no UTF-8 replaced one by one.
    pub text: String,
    /// In the order of the text.
    pub faults: Vec<Fault>,
}

impl Examined {
    /// How bad the worst fault is; `None`: nothing is wrong.
    pub fn worst(&self) -> Option<Severity> {
        self.faulty.iter().flat_map(|f| &f.faults).map(|f| f.severity).max()
    }

    /// How many faults are just that bad.
    pub fn count(&self, severity: Severity) -> usize {
        self.faulty.iter().flat_map(|f| &f.faults).filter(|f| f.severity == severity).count()
    }

    /// Everything as findings for the stream, harmless to print.
    pub fn findings(&self) -> Vec<Finding> {
        self.faulty.iter().flat_map(Faulty::findings).collect()
    }
}

impl Faulty {
    fn findings(&self) -> impl Iterator<Item = Finding> {
        self.faults.iter().map(|fault| {
            let at = Position::of(&self.text, fault.range.start);
            let subject = format!("{}:{}:{}", self.path.display(), at.line, at.column);
            Finding {
                code: fault.code.to_owned(),
                severity: fault.severity,
                subject: harmless::line(&subject),
                message: harmless::line(&fault.message),
                suggestion: fault.hint.as_deref().map(harmless::line),
            }
        })
    }
}

/// Reads and checks files below `root`. Blocks, and has threads of its own.
///
/// A tracked file that is gone from the working copy is no part of what is evaluated, and a
/// symbolic link leads to a file that is tracked itself or to one that is not ours to judge: both
/// are passed over.
pub fn examine(root: &Path, paths: &[PathBuf]) -> Examined {
    let next = AtomicUsize::new(0);
    let seen: Mutex<Vec<(usize, Seen)>> = Mutex::new(Vec::new());
    let work = || {
        let mut mine = Vec::new();
        while let Some((at, path)) = take(&next, paths) {
            mine.extend(look(root, path).map(|seen| (at, seen)));
        }
        seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).append(&mut mine);
    };
    thread::scope(|scope| {
        for _ in 0..workers(paths.len()) {
            let worker = thread::Builder::new().name("check".to_owned()).stack_size(nesting::STACK);
            if worker.spawn_scoped(scope, work).is_err() {
                break; // the others do its share
            }
        }
    });
    let mut seen = seen.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    while let Some((at, path)) = take(&next, paths) {
        let cause = io::Error::other("no thread could be started to check it");
        seen.push((at, Seen::unread(path, &cause)));
    }
    gather(seen)
}

fn take<'a>(next: &AtomicUsize, paths: &'a [PathBuf]) -> Option<(usize, &'a PathBuf)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    paths.get(at).map(|path| (at, path))
}

fn workers(files: usize) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    files.div_ceil(FILES_PER_WORKER).min(cores).clamp(1, MAX_WORKERS)
}

/// One file that was looked at.
struct Seen {
    faulty: Option<Faulty>,
    read: bool,
    /// It mentions `scopedImport`, which defines variables in other files.
    scopes_others: bool,
}

impl Seen {
    fn unread(path: &Path, cause: &io::Error) -> Self {
        let message = format!("cannot be read: {cause}");
        let mut fault = Fault::doubt("unreadable", 0..0, message);
        fault.severity = Severity::Block;
        Self::with(path, String::new(), vec![fault], false)
    }

    fn with(path: &Path, text: String, faults: Vec<Fault>, read: bool) -> Self {
        let scopes_others = text.contains("scopedImport");
        let faulty = Faulty { path: path.to_owned(), text, faults };
        Self { faulty: (!faulty.faults.is_empty()).then_some(faulty), read, scopes_others }
    }
}

fn look(root: &Path, path: &Path) -> Option<Seen> {
    let bytes = match read(&root.join(path)) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return None,
        Err(cause) => return Some(Seen::unread(path, &cause)),
    };
    if bytes.len() as u64 > SIZE_LIMIT {
        let message = "larger than 8 MiB, not checked; Nix itself decides".to_owned();
        let fault = Fault::doubt("too-large", 0..0, message);
        return Some(Seen::with(path, String::new(), vec![fault], false));
    }
    let (text, broken) = decode(bytes);
    let faults = catch_unwind(|| syntax::faults(&text)).unwrap_or_else(|_| {
        let message = "the parser itself failed here; Nix itself decides, please report".to_owned();
        vec![Fault::doubt("check-failed", 0..0, message)]
    });
    Some(Seen::with(path, text, faults.into_iter().chain(broken).collect(), true))
}

/// The whole file; `None` when there is no regular file of that name.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    use rustix::fs::OFlags;
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Ok(None);
    }
    let mut bytes =
        Vec::with_capacity(usize::try_from(meta.len().min(SIZE_LIMIT)).unwrap_or(0) + 1);
    file.take(SIZE_LIMIT + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// The text, and where it is no UTF-8.
fn decode(bytes: Vec<u8>) -> (String, Option<Fault>) {
    let bytes = match String::from_utf8(bytes) {
        Ok(text) => return (text, None),
        Err(error) => error.into_bytes(),
    };
    let mut text = String::with_capacity(bytes.len());
    let mut first = None;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            first.get_or_insert(text.len());
        }
        text.extend(chunk.invalid().iter().map(|_| SUBSTITUTE));
    }
    let doubt = |at| {
        let message = format!("no UTF-8 from byte {at} on (Nix takes any byte in text)");
        Fault::doubt("not-utf-8", at..at + 1, message)
    };
    (text, first.map(doubt))
}

fn gather(mut seen: Vec<(usize, Seen)>) -> Examined {
    let scoped = seen.iter().any(|(_, s)| s.scopes_others);
    let files = seen.iter().filter(|(_, s)| s.read).count();
    seen.sort_by_key(|(at, _)| *at);
    let mut faulty: Vec<Faulty> = seen.into_iter().filter_map(|(_, s)| s.faulty).collect();
    if scoped {
        faulty.iter_mut().flat_map(|f| &mut f.faults).for_each(soften);
    }
    faulty.sort_by(|a, b| a.path.cmp(&b.path));
    Examined { files, faulty }
}

/// Some file gives variables to others, so nothing is undefined for certain.
fn soften(fault: &mut Fault) {
    if fault.code == variables::UNDEFINED {
        fault.severity = Severity::Warn;
        fault.message.push_str(" (unless scopedImport gives it)");
    }
}
