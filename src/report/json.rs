//! For programs: one versioned document of a run, or its events one per line.
//!
//! Keys are only ever added within a [`SCHEMA`]; a reader ignores what it does not know.

use std::io;

use serde::Serialize;

use super::words;
use super::{Sink, door};
use crate::error::Error;
use crate::event::facts::Step;
use crate::event::state::{HostState, RunState};
use crate::event::{
    Changes, Decider, Evidence, Finding, Outcome, Phase, PhaseResult, Pointers, Stamped, Vitals,
};

/// Version of the document; raised when a key changes its meaning or goes.
pub const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    run: &'a str,
    version: &'a str,
    command: &'a [String],
    operator: &'a str,
    flake: Option<&'a str>,
    issue: Option<u64>,
    started_ms: i64,
    /// Without what follows.
    took_ms: u64,
    /// How long it stood still for a person's answer.
    waited_ms: u64,
    /// Whether the run came to its end; a log that was cut off did not.
    complete: bool,
    interrupted: Option<&'a str>,
    /// `null`: the run goes on, or its log ends before a host was past `go`.
    exit: Option<u8>,
    /// Whether its process lives.
    alive: bool,
    tree: Tree<'a>,
    hosts: Vec<Host<'a>>,
    /// The document of the recovery that this run goes on from.
    #[serde(skip_serializing_if = "Option::is_none")]
    resumed: Option<serde_json::Value>,
}

#[derive(Serialize)]
struct Tree<'a> {
    name: Option<&'a str>,
    files: Option<usize>,
    waived: Option<&'a str>,
    findings: &'a [Finding],
    steps: &'a [Step],
}

#[derive(Serialize)]
struct Host<'a> {
    host: &'a str,
    /// The recap's word.
    result: &'a str,
    /// `null`: the run goes on, and has no last word on it yet.
    exit: Option<u8>,
    /// `null`: there is no last word.
    outcome: Option<&'a Outcome>,
    phase: Option<Phase>,
    note: &'a str,
    decided_by: Option<Decider>,
    /// When the host came to this, if that was before this run looked.
    decided_ms: Option<i64>,
    took_ms: u64,
    latency_ms: Option<u64>,
    toplevel: Option<&'a str>,
    before: Option<&'a Pointers>,
    after: Option<&'a Pointers>,
    transaction: Option<&'a str>,
    decides_by_ms: Option<i64>,
    reconnects: u32,
    phases: Vec<Row<'a>>,
    steps: &'a [Step],
    changes: Option<&'a Changes>,
    vitals_before: Option<&'a Vitals>,
    vitals_after: Option<&'a Vitals>,
    findings: Vec<Seen<'a>>,
    evidence: &'a [Evidence],
    /// What a later run found of a host that this one left undecided.
    found: Option<Later<'a>>,
    causes: &'a [String],
    recommendations: &'a [String],
    next: Vec<String>,
}

#[derive(Serialize)]
struct Later<'a> {
    run: &'a str,
    #[serde(flatten)]
    outcome: &'a Outcome,
    note: &'a str,
    after: Option<&'a Pointers>,
}

#[derive(Serialize)]
struct Row<'a> {
    phase: Phase,
    #[serde(flatten)]
    result: &'a PhaseResult,
    note: &'a str,
    took_ms: u64,
}

#[derive(Serialize)]
struct Seen<'a> {
    phase: Phase,
    #[serde(flatten)]
    finding: &'a Finding,
}

/// The document of a run, indented, with a line feed at its end.
pub fn document(state: &RunState) -> String {
    resuming(state, None)
}

/// The same; `resumed` is the document of the recovery that the run goes on from.
fn resuming(state: &RunState, resumed: Option<&str>) -> String {
    let cleared = state.cleared.as_ref();
    let document = Document {
        schema: SCHEMA,
        run: &state.run,
        version: &state.version,
        command: &state.command,
        operator: &state.operator,
        flake: state.flake.as_deref(),
        issue: state.issue,
        started_ms: state.started_ms,
        took_ms: words::total(state),
        waited_ms: state.elapsed_ms.saturating_sub(words::total(state)),
        complete: state.finished,
        interrupted: state.interrupted.as_deref(),
        exit: words::known_exit(state).map(|exit| exit as u8),
        alive: state.alive,
        tree: Tree {
            name: cleared.map(|c| c.0.as_str()),
            files: cleared.map(|c| c.1),
            waived: cleared.and_then(|c| c.2.as_deref()),
            findings: &state.tree_findings,
            steps: &state.tree_steps,
        },
        hosts: state.hosts.iter().map(|h| host(state, h)).collect(),
        resumed: resumed.and_then(|text| serde_json::from_str(text).ok()),
    };
    // Strings, numbers and lists under string keys: there is nothing JSON could refuse.
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_else(|e| {
        format!("{{\"schema\": {SCHEMA}, \"error\": \"{}\"}}", e.to_string().escape_default())
    });
    text.push('\n');
    text
}

fn host<'a>(state: &'a RunState, host: &'a HostState) -> Host<'a> {
    let report = host.report.as_ref();
    Host {
        host: host.name.as_str(),
        result: words::result(host, words::goal(state)),
        exit: (!words::goes_on(host)).then(|| words::exit_of_host(host) as u8),
        outcome: report.map(|r| &r.outcome),
        phase: report.and_then(|r| r.phase).or(host.current.map(|c| c.0)),
        note: report.map_or("", |r| &r.note),
        decided_by: report.map(|r| r.decided_by),
        decided_ms: report.and_then(|r| r.decided_ms),
        took_ms: words::took(state, host, state.elapsed_ms),
        latency_ms: host.latency_ms,
        toplevel: host.toplevel.as_ref().map(|p| p.as_str()),
        before: report.and_then(|r| r.before.as_ref()).or(host.pointers.as_ref()),
        after: report.and_then(|r| r.after.as_ref()),
        transaction: host.armed.as_ref().map(|a| a.0.as_str()),
        decides_by_ms: host.armed.as_ref().map(|a| a.1),
        reconnects: host.reconnects,
        phases: host.ended.iter().map(row).collect(),
        steps: &host.steps,
        changes: host.changes.as_ref(),
        vitals_before: host.vitals_before.as_ref(),
        vitals_after: host.vitals_after.as_ref(),
        findings: host.findings.iter().map(|(p, f)| Seen { phase: *p, finding: f }).collect(),
        evidence: &host.evidence,
        found: later(host),
        causes: report.map_or(&[], |r| &r.causes),
        recommendations: &host.recommendations,
        next: words::next(state, host),
    }
}

fn later(host: &HostState) -> Option<Later<'_>> {
    let (run, found) = words::found(host)?;
    let (outcome, note, after) = (&found.outcome, found.note.as_str(), found.after.as_ref());
    Some(Later { run, outcome, note, after })
}

fn row<'a>((phase, ended): (&'a Phase, &'a (PhaseResult, String, u64))) -> Row<'a> {
    Row { phase: *phase, result: &ended.0, note: &ended.1, took_ms: ended.2 }
}

#[derive(Serialize)]
struct Refusal<'a> {
    schema: u32,
    exit: u8,
    error: Told<'a>,
}

#[derive(Serialize)]
struct Told<'a> {
    sentence: &'a str,
    causes: &'a [String],
    hints: &'a [String],
}

/// The document of a command that ended before any host was touched, in one line.
pub fn refusal(error: &Error) -> String {
    let (exit, causes, hints) = (error.exit as u8, &error.causes, &error.hints);
    let told = Told { sentence: &error.sentence, causes, hints };
    let document = Refusal { schema: SCHEMA, exit, error: told };
    serde_json::to_string(&document).unwrap_or_default() + "\n"
}

/// Which version this is, as a document.
pub fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    serde_json::json!({ "schema": SCHEMA, "version": version }).to_string() + "\n"
}

/// One event as one line, with its line feed.
///
/// # Errors
/// Never in practice; see [`document`].
pub fn line(stamped: &Stamped) -> io::Result<String> {
    let mut text = serde_json::to_string(stamped)?;
    text.push('\n');
    Ok(text)
}

/// `--json`: one document on standard output when all is over.
#[derive(Default)]
pub struct Json {
    /// The document of the recovery that this run goes on from.
    pub resumed: Option<String>,
}

impl Sink for Json {
    fn event(&mut self, _stamped: &Stamped, _state: &RunState) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, state: &RunState) -> io::Result<()> {
        door::try_out(&resuming(state, self.resumed.as_deref()))
    }
}

/// `--format jsonl`: each event on standard output as it happens.
pub struct Lines;

impl Sink for Lines {
    fn event(&mut self, stamped: &Stamped, _state: &RunState) -> io::Result<()> {
        door::try_out(&line(stamped)?)
    }

    fn finish(&mut self, _state: &RunState) -> io::Result<()> {
        Ok(())
    }
}
