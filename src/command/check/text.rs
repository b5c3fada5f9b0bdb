//! Findings for people: with the lines they are about, or one line each, and a count at the end.

use std::fmt::Write as _;
use std::io;

use super::Outcome;
use crate::event::{Severity, harmless};
use crate::validate::Mark;
use crate::validate::rules::{Rule, rule};

/// A severity as it is typed.
pub(super) fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Block => "block",
        Severity::Warn => "warn",
        Severity::Info => "info",
    }
}

/// Whether a finding is shown: what is new and more than a note, unless all is wanted.
fn shown(outcome: &Outcome, mark: Mark) -> bool {
    outcome.check.all || (mark.new && mark.severity > Severity::Info)
}

/// What an old finding does: it never blocks.
fn weight(mark: Mark) -> Severity {
    if mark.new { mark.severity } else { mark.severity.min(Severity::Warn) }
}

pub(super) fn drawn(outcome: &Outcome, unicode: bool, out: &mut dyn io::Write) -> io::Result<()> {
    let wanted = |mark: Mark| shown(outcome, mark).then(|| weight(mark));
    for drawing in outcome.examined.drawings(outcome.check.colour, unicode, wanted) {
        out.write_all(drawing.as_bytes())?;
    }
    out.write_all(recap(outcome).as_bytes())
}

pub(super) fn compact(outcome: &Outcome, out: &mut dyn io::Write) -> io::Result<()> {
    let told = outcome.examined.told();
    for (path, found) in told.filter(|(_, found)| shown(outcome, found.mark())) {
        let path = harmless::line(&path.display().to_string());
        let (at, fault) = (found.from, &found.fault);
        let message = harmless::line(&fault.message);
        let (weight, rule) = (word(weight(found.mark())), fault.code);
        writeln!(out, "{path}:{}:{}: {weight} {rule} {message}", at.line, at.column)?;
    }
    out.write_all(recap(outcome).as_bytes())
}

/// `1 file`, `2 files`.
pub(super) fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// `494 files, 0 errors, 2 warnings, 31 ms`, and what was not shown.
fn recap(outcome: &Outcome) -> String {
    let examined = &outcome.examined;
    let new = |severity: Severity| {
        examined.counted().filter(|mark| mark.new && mark.severity == severity).count()
    };
    let mut text = String::new();
    for note in &outcome.notes {
        let _ = writeln!(text, "{note}");
    }
    let files = count(examined.files, "file");
    let errors = count(new(Severity::Block), "error");
    let warnings = count(new(Severity::Warn), "warning");
    let older = match examined.counted().filter(|mark| !mark.new && shown(outcome, *mark)).count() {
        0 => String::new(),
        n => format!("{n} older, "),
    };
    let _ = writeln!(text, "{files}, {errors}, {warnings}, {older}{} ms", outcome.took_ms);
    let hidden = |pick: fn(&Mark) -> bool| {
        examined.counted().filter(|mark| pick(mark) && !shown(outcome, *mark)).count()
    };
    let old = hidden(|mark| !mark.new && mark.severity > Severity::Info);
    let notes = hidden(|mark| mark.severity == Severity::Info);
    if old + notes > 0 {
        let (old, notes) = (count(old, "older finding"), count(notes, "note"));
        let _ = writeln!(text, "not shown: {old}, {notes} (--all)");
    }
    text + &way_on(outcome)
}

/// What to type next, where something blocks or can be put right.
fn way_on(outcome: &Outcome) -> String {
    let mut text = String::new();
    let shown = || outcome.examined.counted().filter(|mark| shown(outcome, *mark));
    let fixable = shown().filter(|mark| mark.fixable).count();
    if fixable > 0 && !outcome.check.fix {
        let _ = writeln!(text, "can be put right: {fixable} (nixdeploy check --fix)");
    }
    let blocks = |mark: &Mark| mark.new && mark.severity == Severity::Block;
    let allowed = |mark: &Mark| rule(mark.code).is_some_and(|r| !r.is_syntax());
    if let Some(mark) = shown().filter(blocks).find(allowed) {
        let code = mark.code;
        let _ =
            writeln!(text, "to let it pass, on the line above: # nixdeploy: allow({code}) -- WHY");
    }
    text
}

pub(super) fn explained(rule: &Rule) -> String {
    let mut text = format!("{} ({})\n{}\n\n", rule.id, word(rule.severity), rule.flags);
    let mut width = 0;
    for word in rule.why.split_whitespace() {
        let gap = usize::from(width > 0);
        if width + gap + word.chars().count() > 78 {
            text.push('\n');
            width = 0;
        } else if gap == 1 {
            text.push(' ');
        }
        text.push_str(word);
        width += gap + word.chars().count();
        if text.ends_with('\n') {
            width = 0;
        }
    }
    text.push('\n');
    let examples = [("Flagged", rule.example()), ("Left alone", rule.counterexample())];
    for (title, example) in examples {
        let Some(example) = example.filter(|_| rule.id != "hardcoded-secret") else { continue };
        let _ = writeln!(text, "\n{title}:");
        example.lines().for_each(|line| {
            let _ = writeln!(text, "    {line}");
        });
    }
    let fix = if rule.fixable { "`--fix` puts it right where that is safe.\n" } else { "" };
    if rule.is_syntax() {
        return text + "\nIt always blocks: Nix refuses such a file.\n";
    }
    let allow = format!("# nixdeploy: allow({}) -- why", rule.id);
    text + &format!("\n{fix}To let one pass, on its line or the line above:\n    {allow}\n")
}
