//! Findings at their places: what a check found, kept small enough for a tree of any size.

use std::ops::Range;
use std::path::PathBuf;

use super::identity::Identity;
use super::levels::{Level, Levels};
use super::rules::Entry;
use super::syntax::{Fault, Position};
use crate::event::{Finding, Severity, harmless};

/// A longer line is no help to a person; a drawing then stands without it.
const LINE_LIMIT: usize = 2_000;
/// More lines than this are not drawn.
const LINES_DRAWN: usize = 30;

/// What was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examined {
    /// Files that were read to their end.
    pub files: usize,
    /// Those in which something is wrong, by path.
    pub faulty: Vec<Faulty>,
    pub(super) entries: Vec<(PathBuf, Entry)>,
}

/// A file in which something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faulty {
    /// As it was given.
    pub path: PathBuf,
    /// In the order of the text.
    pub faults: Vec<Found>,
}

/// A fault at its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What is wrong.
    pub fault: Fault,
    /// Where it begins.
    pub from: Position,
    /// Where it ends.
    pub upto: Position,
    /// It was not there before, or is of a kind that always counts.
    pub new: bool,
    /// The reason for which a comment lets it pass.
    pub allowed: Option<String>,
    /// Its name within the file.
    pub identity: Option<Identity>,
    /// The lines it is about.
    pub(super) excerpt: Option<Excerpt>,
}

/// Lines of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Excerpt {
    /// The lines; secrets are covered.
    pub(super) text: String,
    /// Number of the first, from 1.
    pub(super) first: usize,
    /// Byte of the whole text at which they start.
    pub(super) start: usize,
}

impl Examined {
    /// Findings that count: not let pass by a comment.
    pub fn told(&self) -> impl Iterator<Item = (&Faulty, &Found)> {
        let all = self.faulty.iter().flat_map(|file| file.faults.iter().map(move |f| (file, f)));
        all.filter(|(_, found)| found.allowed.is_none())
    }

    /// Adds a fault of a file as a whole.
    pub fn add(&mut self, path: &std::path::Path, fault: Fault, new: bool) {
        let identity = Some(Identity::of("", &fault));
        let found = Found { identity, ..Found::placed(&Lines::of(""), fault, new, None) };
        match self.faulty.iter_mut().find(|f| f.path == path) {
            Some(file) => file.faults.insert(0, found),
            None => {
                self.faulty.push(Faulty { path: path.to_owned(), faults: vec![found] });
                self.faulty.sort_by(|a, b| a.path.cmp(&b.path));
            }
        }
    }

    /// Adds a fault of a line of a file that is no Nix.
    pub fn add_at(&mut self, path: &std::path::Path, line: usize, fault: Fault) {
        self.add(path, fault, true);
        let file = self.faulty.iter_mut().find(|f| f.path == path);
        if let Some(found) = file.and_then(|f| f.faults.first_mut()) {
            let place = Position { line, column: 1 };
            (found.from, found.upto) = (place, place);
        }
        if let Some(file) = self.faulty.iter_mut().find(|f| f.path == path) {
            file.faults.sort_by_key(|f| f.from.line);
        }
    }

    /// Gives each finding the severity it has here; those that are off are gone.
    pub fn weigh(&mut self, levels: &Levels) {
        for file in &mut self.faulty {
            let path = file.path.clone();
            file.faults.retain_mut(|found| match levels.of(found.fault.code, &path) {
                Some(Level::Off) => false,
                Some(Level::As(severity)) => {
                    found.fault.severity = severity;
                    true
                }
                None => true,
            });
        }
        self.faulty.retain(|file| !file.faults.is_empty());
    }

    /// How bad the worst fault is; `None`: nothing is wrong.
    pub fn worst(&self) -> Option<Severity> {
        self.told().map(|(_, f)| f.fault.severity).max()
    }

    /// How bad the worst new fault is; `None`: nothing new is wrong.
    pub fn worst_new(&self) -> Option<Severity> {
        self.told().filter(|(_, f)| f.new).map(|(_, f)| f.fault.severity).max()
    }

    /// How many faults are just that bad.
    pub fn count(&self, severity: Severity) -> usize {
        self.told().filter(|(_, f)| f.fault.severity == severity).count()
    }

    /// Everything as findings for the stream, harmless to print.
    pub fn findings(&self) -> Vec<Finding> {
        self.told().map(|(file, found)| file.finding(found)).collect()
    }
}

impl Faulty {
    /// One of its faults for the stream.
    pub fn finding(&self, found: &Found) -> Finding {
        let (at, fault) = (found.from, &found.fault);
        let subject = format!("{}:{}:{}", self.path.display(), at.line, at.column);
        Finding {
            code: fault.code.to_owned(),
            severity: fault.severity,
            subject: harmless::line(&subject),
            message: harmless::line(&fault.message),
            suggestion: fault.hint.as_deref().map(harmless::line),
        }
    }
}

impl Found {
    /// A fault of a text.
    pub(super) fn placed(
        lines: &Lines<'_>,
        fault: Fault,
        new: bool,
        allowed: Option<String>,
    ) -> Self {
        let (from, upto) = (lines.position(fault.range.start), lines.position(fault.range.end));
        Self { fault, from, upto, new, allowed, identity: None, excerpt: None }
    }

    /// Keeps the lines that the fault is about, with every secret covered.
    pub(super) fn draw_from(&mut self, lines: &Lines<'_>, secrets: &[Range<usize>]) {
        let other = self.fault.other.as_ref().map(|(range, _)| range);
        let from = other.map_or(self.fault.range.start, |o| o.start.min(self.fault.range.start));
        let upto = other.map_or(self.fault.range.end, |o| o.end.max(self.fault.range.end));
        let (first, last) = (lines.number(from), lines.number(upto));
        let range = lines.start(first)..lines.end(last.min(first + LINES_DRAWN));
        let Some(text) = lines.text.get(range.clone()) else { return };
        let readable = !lines.text.is_empty() && text.lines().all(|l| l.len() <= LINE_LIMIT);
        let whole = last - first <= LINES_DRAWN || other.is_none();
        if readable && whole {
            let text = covered(text, range.start, secrets);
            self.excerpt = Some(Excerpt { text, first: first + 1, start: range.start });
        }
    }
}

/// A piece of a text with every secret's letters replaced, byte for byte.
fn covered(text: &str, start: usize, secrets: &[Range<usize>]) -> String {
    let secret = |at: usize| secrets.iter().any(|s| s.contains(&(start + at)));
    let mut covered = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if c != '\n' && c != '"' && c != '\'' && secret(at) {
            covered.extend(std::iter::repeat_n('*', c.len_utf8()));
        } else {
            covered.push(c);
        }
    }
    covered
}

/// A text and where its lines begin.
pub(super) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(ends).collect() }
    }

    /// Number of the line that holds a byte, from 0.
    fn number(&self, byte: usize) -> usize {
        self.starts.partition_point(|start| *start <= byte).saturating_sub(1)
    }

    fn start(&self, line: usize) -> usize {
        self.starts.get(line).copied().unwrap_or(self.text.len())
    }

    /// Where a line ends, its line feed left out.
    fn end(&self, line: usize) -> usize {
        self.starts.get(line + 1).map_or(self.text.len(), |next| next - 1)
    }

    /// Finds a byte; beyond the end is the end.
    fn position(&self, byte: usize) -> Position {
        let byte = self.text.floor_char_boundary(byte);
        let line = self.number(byte);
        let column = self.text[self.start(line)..byte].chars().count() + 1;
        Position { line: line + 1, column }
    }
}
