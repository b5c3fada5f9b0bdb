//! The findings for GitHub Actions: annotations, worst first, and a step summary.
//!
//! GitHub shows ten annotations of a step and drops the rest without a word, so the rest is
//! counted here.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use super::Outcome;
use super::text::count;
use crate::error::Error;
use crate::event::{Severity, harmless};
use crate::report::github::command;
use crate::validate::{Found, Mark};
use crate::world::files;

/// Annotations of a step that GitHub shows.
const SHOWN: usize = 10;
/// Rows of the summary; GitHub takes a mebibyte.
const ROWS: usize = 200;

/// How many new findings there are, and how many of them block.
fn counts(outcome: &Outcome) -> (usize, usize) {
    let wanted = |mark: &Mark| mark.new && mark.severity > Severity::Info;
    let new = || outcome.examined.counted().filter(wanted);
    (new().count(), new().filter(|mark| mark.severity == Severity::Block).count())
}

/// The first of them, the worst first, in the order of their places.
fn worst_first(outcome: &Outcome, most: usize) -> Vec<(&Path, Found)> {
    let of = |severity: Severity| {
        let told = outcome.examined.told();
        told.filter(move |(_, f)| f.new && f.fault.severity == severity).take(most)
    };
    of(Severity::Block).chain(of(Severity::Warn)).take(most).collect()
}

pub(super) fn annotations(outcome: &Outcome) -> String {
    let (all, errors) = counts(outcome);
    let mut text = String::new();
    let room = if all > SHOWN { SHOWN - 1 } else { SHOWN };
    for (path, found) in worst_first(outcome, room) {
        let kind = if found.fault.severity == Severity::Block { "error" } else { "warning" };
        let path = harmless::line(&path.display().to_string());
        let (at, upto) = (found.from, found.upto);
        let numbers = [at.line, upto.line, at.column, upto.column].map(|n| n.to_string());
        let [line, end_line, col, end_col] = &numbers;
        let mut place = vec![("file", path.as_str()), ("line", line), ("endLine", end_line)];
        if at.line == upto.line {
            place.extend([("col", col.as_str()), ("endColumn", end_col)]);
        }
        place.push(("title", found.fault.code));
        let hint = found.fault.hint.as_ref().map(|h| format!("\n{h}")).unwrap_or_default();
        let message = harmless::lines(format!("{}{hint}", found.fault.message).lines()).join("\n");
        let _ = writeln!(text, "{}", command(kind, &place, &message));
    }
    if all > room {
        let left = all - room;
        let _ = writeln!(text, "::notice title=nixdeploy check::{left} more: see the summary");
    }
    let warnings = count(all - errors, "warning");
    let (files, errors) = (count(outcome.examined.files, "file"), count(errors, "error"));
    let _ = writeln!(text, "{files}, {errors}, {warnings}");
    text
}

/// The summary as Markdown.
pub(super) fn summary(outcome: &Outcome) -> String {
    let (all, _) = counts(outcome);
    let files = count(outcome.examined.files, "file");
    let mut text = format!("### nixdeploy check\n\n{files} checked. ");
    if all == 0 {
        return text + "Nothing new was found.\n";
    }
    let _ = writeln!(text, "{}:\n\n| | rule | where | what |", count(all, "new finding"));
    text.push_str("|---|---|---|---|\n");
    for (path, found) in worst_first(outcome, ROWS) {
        let kind = if found.fault.severity == Severity::Block { "blocks" } else { "warns" };
        let place = format!("{}:{}", path.display(), found.from.line);
        let (place, message) = (cell(&place), cell(&found.fault.message));
        let _ = writeln!(text, "| {kind} | {} | {place} | {message} |", found.fault.code);
    }
    if all > ROWS {
        let _ = writeln!(text, "\n{} more are not listed.", all - ROWS);
    }
    text
}

/// Appends to the step's summary.
///
/// # Errors
/// When it cannot be written.
pub fn append(path: &Path, summary: &str) -> Result<(), Error> {
    let written = files::append(path).and_then(|mut file| file.write_all(summary.as_bytes()));
    written.map_err(|e| Error::usage(format!("cannot write {}", path.display())).because(e))
}

/// Text that stays in its cell and draws nothing.
fn cell(text: &str) -> String {
    let mut cell = String::new();
    for c in harmless::line(text).chars() {
        if "\\`*_{}[]<>()#|!~$&".contains(c) {
            cell.push('\\');
        }
        cell.push(c);
    }
    cell
}
