//! For GitHub Actions: a group per host, annotations worst first, and the step summary.
//!
//! GitHub obeys lines that begin with `::` and words like `##[error]`: outside text is never
//! allowed to look like one. At most ten annotations of a kind are shown per step, so the rest
//! is counted.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::io::{self, Write};
use std::path::PathBuf;

use super::look::{Look, count};
use super::words::{self, Tone};
use super::{Sink, changes, plain, summary};
use crate::error::Error;
use crate::event::state::RunState;
use crate::event::{Event, Finding, Severity, Stamped};
use crate::exit::{self, Exit};
use crate::fleet::HostName;
use crate::world::files;

/// Annotations of one kind that GitHub shows.
const SHOWN: usize = 10;

/// Writes to standard output and to `$GITHUB_STEP_SUMMARY`.
pub struct Github {
    look: Look,
    verbose: bool,
    summary: Option<PathBuf>,
    /// Lines of hosts that are not done: a group must not be torn.
    waiting: HashMap<HostName, Vec<String>>,
    out: plain::Out,
}

impl Github {
    /// Over the given way out.
    pub fn on(look: Look, verbose: bool, summary: Option<PathBuf>, out: plain::Out) -> Self {
        Self { look, verbose, summary, waiting: HashMap::new(), out }
    }

    fn group(&mut self, name: &str, lines: &[String]) -> io::Result<()> {
        let mut text = format!("::group::{}\n", data(name));
        for line in lines {
            text.push_str(&inert(line));
            text.push('\n');
        }
        text.push_str("::endgroup::\n");
        (self.out)(&text)
    }
}

impl Sink for Github {
    fn event(&mut self, stamped: &Stamped, state: &RunState) -> io::Result<()> {
        let Some(text) = plain::line_of(stamped, state, &self.look, self.verbose) else {
            return Ok(());
        };
        let line = format!("{} {}", self.look.clock(stamped.at_ms), self.look.shown(&text));
        let Some(host) = stamped.event.host().cloned() else {
            return (self.out)(&(inert(&line) + "\n"));
        };
        self.waiting.entry(host.clone()).or_default().push(line);
        if matches!(stamped.event, Event::HostFinished { .. }) {
            let lines = self.waiting.remove(&host).unwrap_or_default();
            let known = state.host(&host);
            let word = known.map_or("finished", |h| words::result(h, words::goal(state)));
            self.group(&format!("{host}: {}", words::spaced(word)), &lines)?;
        }
        Ok(())
    }

    fn finish(&mut self, state: &RunState) -> io::Result<()> {
        let mut left: Vec<(HostName, Vec<String>)> = self.waiting.drain().collect();
        left.sort();
        for (host, lines) in left {
            self.group(&format!("{host}: unfinished"), &lines)?;
        }
        for line in annotations(state) {
            (self.out)(&(line + "\n"))?;
        }
        let recap = changes::result(state, &self.look);
        let recap: Vec<String> = recap.lines().map(inert).collect();
        (self.out)(&(recap.join("\n") + "\n"))?;
        let Some(path) = &self.summary else { return Ok(()) };
        let look = Look { unicode: true, colour: false, ..self.look.clone() };
        files::append(path)?.write_all(summary::markdown(state, &look).as_bytes())
    }
}

/// Errors, then warnings, each at most ten, the last saying how many are left out.
pub fn annotations(state: &RunState) -> Vec<String> {
    let mut errors: Vec<String> = Vec::new();
    let mut warnings = Vec::new();
    let mut failed: Vec<_> = state.hosts.iter().filter(|h| words::tone(h) == Tone::Bad).collect();
    failed.sort_by(|a, b| worst_first(words::exit_of_host(a), words::exit_of_host(b)));
    for host in failed {
        let word = words::spaced(words::result(host, words::goal(state)));
        let title = format!("{}: {word}", host.name);
        errors.push(command("error", &[("title", &title)], &words::why(host)));
    }
    let tree = state.tree_findings.iter().map(|f| (None, f));
    let hosts = state.hosts.iter().flat_map(|h| h.findings.iter().map(move |(_, f)| (Some(h), f)));
    for (host, finding) in tree.chain(hosts) {
        let place = host.map(|h| h.name.as_str());
        match finding.severity {
            Severity::Block => errors.push(annotation("error", place, finding)),
            Severity::Warn => warnings.push(annotation("warning", place, finding)),
            Severity::Info => {}
        }
    }
    [capped("error", errors), capped("warning", warnings)].concat()
}

fn worst_first(a: Exit, b: Exit) -> Ordering {
    if a == b {
        Ordering::Equal
    } else if exit::worst([a, b]) == a {
        Ordering::Less
    } else {
        Ordering::Greater
    }
}

fn capped(kind: &str, mut lines: Vec<String>) -> Vec<String> {
    if lines.len() > SHOWN {
        let left_out = lines.len() - (SHOWN - 1);
        lines.truncate(SHOWN - 1);
        let text = format!("{} more: see the summary", count(left_out, kind, &format!("{kind}s")));
        lines.push(command(kind, &[], &text));
    }
    lines
}

fn annotation(kind: &str, host: Option<&str>, finding: &Finding) -> String {
    let title = host.map_or(finding.code.clone(), |h| format!("{h}: {}", finding.code));
    let more = finding.suggestion.as_ref().map(|s| format!("\n{s}")).unwrap_or_default();
    let text = format!("{}: {}{more}", finding.subject, finding.message);
    match place(&finding.subject).filter(|_| host.is_none()) {
        Some((file, line)) => {
            command(kind, &[("file", file), ("line", line), ("title", &title)], &text)
        }
        None => command(kind, &[("title", &title)], &text),
    }
}

/// Why a command ended before any host was touched, as an annotation.
pub fn refusal(error: &Error) -> String {
    let causes = error.causes.iter().map(|c| format!("\nbecause: {c}"));
    let hints = error.hints.iter().map(|h| format!("\nhint: {h}"));
    let more: String = causes.chain(hints).collect();
    command("error", &[("title", "nixdeploy")], &format!("{}{more}", error.sentence)) + "\n"
}

/// `modules/web.nix:14` or `modules/web.nix:14:12` as file and line.
fn place(subject: &str) -> Option<(&str, &str)> {
    let mut parts = subject.split(':');
    let (file, line) = (parts.next()?, parts.next()?);
    let number = !line.is_empty() && line.bytes().all(|b| b.is_ascii_digit());
    (number && !file.is_empty() && !file.contains(' ')).then_some((file, line))
}

/// A workflow command, with whatever it could be misread for escaped.
pub fn command(kind: &str, properties: &[(&str, &str)], text: &str) -> String {
    let list: Vec<String> =
        properties.iter().map(|(k, v)| format!("{k}={}", property(v))).collect();
    let gap = if list.is_empty() { "" } else { " " };
    format!("::{kind}{gap}{}::{}", list.join(","), data(text))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// A line that GitHub does not take for a command.
fn inert(line: &str) -> String {
    let line = line.replace("##[", "# #[");
    if line.trim_start().starts_with("::") { format!("| {line}") } else { line }
}
