//! Findings at their places: what a check found, kept small enough for a tree of any size.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::identity::Identity;
use super::levels::{Level, Levels};
use super::packed::{Mark, Packed};
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
    pub(super) kept: Vec<Kept>,
}

/// A file in which something is wrong, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) path: PathBuf,
    pub(super) packed: Packed,
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
    /// Files in which something is wrong, by path.
    pub fn faulty(&self) -> impl Iterator<Item = Faulty> + '_ {
        self.kept.iter().map(|kept| {
            let (path, faults) = (kept.path.clone(), kept.packed.found().collect());
            Faulty { path, faults }
        })
    }

    /// Every finding, by path and in the order of the text; also what a comment lets pass.
    pub fn all(&self) -> impl Iterator<Item = (&Path, Found)> + '_ {
        self.kept
            .iter()
            .flat_map(|kept| kept.packed.found().map(|found| (kept.path.as_path(), found)))
    }

    /// What counts of each, in the same order.
    pub fn marks(&self) -> impl Iterator<Item = Mark> + '_ {
        self.kept.iter().flat_map(|kept| kept.packed.marks())
    }

    /// Findings that count: not let pass by a comment.
    pub fn told(&self) -> impl Iterator<Item = (&Path, Found)> + '_ {
        self.all().filter(|(_, found)| found.allowed.is_none())
    }

    /// What counts of those.
    pub fn counted(&self) -> impl Iterator<Item = Mark> + '_ {
        self.marks().filter(|mark| !mark.allowed)
    }

    /// Changes the findings of each file that has one which is meant; without any it is gone.
    pub(super) fn change(
        &mut self,
        meant: impl Fn(&Path, Mark) -> bool,
        mut change: impl FnMut(&Path, &mut Vec<Found>),
    ) {
        self.kept.retain_mut(|kept| {
            if kept.packed.marks().any(|mark| meant(&kept.path, mark)) {
                let mut found: Vec<Found> = kept.packed.found().collect();
                change(&kept.path, &mut found);
                kept.packed = Packed::of(found);
            }
            kept.packed.marks().next().is_some()
        });
    }

    /// Adds a fault of a file as a whole.
    pub fn add(&mut self, path: &Path, fault: Fault, new: bool) {
        let identity = Some(Identity::of("", &fault));
        let found = Found { identity, ..Found::placed(&Lines::of(""), fault, new, None) };
        self.put(path, found, |_| {});
    }

    /// Adds a fault of a line of a file that is no Nix.
    pub fn add_at(&mut self, path: &Path, line: usize, fault: Fault) {
        let identity = Some(Identity::of("", &fault));
        let place = Position { line, column: 1 };
        let found = Found::placed(&Lines::of(""), fault, true, None);
        let found = Found { identity, from: place, upto: place, ..found };
        self.put(path, found, |all| all.sort_by_key(|f| f.from.line));
    }

    /// Puts a finding before the others of its file.
    fn put(&mut self, path: &Path, found: Found, then: impl FnOnce(&mut Vec<Found>)) {
        let mut all = vec![found];
        match self.kept.binary_search_by(|kept| kept.path.as_path().cmp(path)) {
            Ok(at) => {
                all.extend(self.kept[at].packed.found());
                then(&mut all);
                self.kept[at].packed = Packed::of(all);
            }
            Err(at) => {
                let packed = Packed::of(all);
                self.kept.insert(at, Kept { path: path.to_owned(), packed });
            }
        }
    }

    /// Gives each finding the severity it has here; those that are off are gone.
    pub fn weigh(&mut self, levels: &Levels) {
        let meant = |path: &Path, mark: Mark| levels.of(mark.code, path).is_some();
        self.change(meant, |path, found| {
            found.retain_mut(|found| match levels.of(found.fault.code, path) {
                Some(Level::Off) => false,
                Some(Level::As(severity)) => {
                    found.fault.severity = severity;
                    true
                }
                None => true,
            });
        });
    }

    /// How bad the worst fault is; `None`: nothing is wrong.
    pub fn worst(&self) -> Option<Severity> {
        self.counted().map(|mark| mark.severity).max()
    }

    /// How bad the worst new fault is; `None`: nothing new is wrong.
    pub fn worst_new(&self) -> Option<Severity> {
        self.counted().filter(|mark| mark.new).map(|mark| mark.severity).max()
    }

    /// How many faults are just that bad.
    pub fn count(&self, severity: Severity) -> usize {
        self.counted().filter(|mark| mark.severity == severity).count()
    }

    /// Everything as findings for the stream, harmless to print.
    pub fn findings(&self) -> Vec<Finding> {
        self.told().map(|(path, found)| found.finding(path)).collect()
    }
}

impl Found {
    /// It for the stream, in a file.
    pub fn finding(&self, path: &Path) -> Finding {
        let (at, fault) = (self.from, &self.fault);
        let subject = format!("{}:{}:{}", path.display(), at.line, at.column);
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
