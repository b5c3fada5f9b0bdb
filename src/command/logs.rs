//! `logs HOST [--run RUN]`: what the host and the tools said, and the evidence of what failed.

use std::fmt::Write;
use std::path::Path;

use super::kept;
use super::report::{find, show, unreadable};
use crate::error::Error;
use crate::event::{Event, Outcome, PhaseResult, Stamped};
use crate::exit::Exit;
use crate::fleet::{Fleet, HostName};
use crate::report::{Format, Look, json, store, words};

/// The host that is meant.
///
/// # Errors
/// When the word means none, or several.
pub fn host(state_dir: &Path, fleet: Option<&Fleet>, word: &str) -> Result<HostName, Error> {
    match kept::hosts(&store::list(state_dir), fleet, word)?.as_slice() {
        [one] => Ok(one.clone()),
        several => {
            let names: Vec<&str> = several.iter().map(HostName::as_str).collect();
            Err(Error::usage("one host at a time")
                .because(format!("that means {}", names.join(", ")))
                .hint("nixdeploy logs HOST"))
        }
    }
}

/// Prints every line of output and every piece of evidence of one host.
///
/// # Errors
/// When there is no such run, or the host had no part in it.
pub fn run(
    state_dir: &Path,
    host: &HostName,
    run: Option<&str>,
    format: Format,
    look: &Look,
) -> Result<Exit, Error> {
    let run = match run {
        Some(run) => find(state_dir, Some(run), &format!("logs {host} --run "))?,
        None => last(state_dir, host)?,
    };
    let (mut text, mut lines) = (String::new(), Vec::new());
    let mut hosts: Vec<HostName> = Vec::new();
    store::each(&store::log_of(state_dir, &run), |line, stamped| {
        if let Event::Planned { plan } = &stamped.event {
            hosts.extend(plan.hosts().map(|p| p.host.clone()));
        }
        if stamped.event.host() == Some(host) {
            hosts.push(host.clone());
            if tell(stamped, look, &mut text) {
                lines.push(line.to_owned());
            }
        }
    })
    .map_err(|e| unreadable(&run, &e))?;
    if !hosts.contains(host) {
        let known: Vec<&str> = hosts.iter().map(HostName::as_str).collect();
        return Err(Error::usage(format!("{host} had no part in run {run}"))
            .because(format!("its hosts: {}", known.join(", ")))
            .hint(format!("nixdeploy report {run}")));
    }
    match format {
        Format::Jsonl => return show(&lines.iter().map(|l| format!("{l}\n")).collect::<String>()),
        Format::Json => return show(&document(&run, host, &lines)),
        Format::Human | Format::Markdown | Format::Html | Format::Github => {}
    }
    if text.is_empty() {
        text = format!("{host} said nothing in run {run}\n");
    }
    show(&text)
}

/// The last run in which the host said anything, else the last that it had a part in.
fn last(state_dir: &Path, host: &HostName) -> Result<String, Error> {
    let entries = store::list(state_dir);
    let runs: Vec<&String> =
        entries.iter().filter(|e| e.names.contains(host)).map(|e| &e.run).collect();
    let speaks = |run: &&&String| {
        let (mut text, mut any, look) = (String::new(), false, Look::plain());
        let read = store::each(&store::log_of(state_dir, run), |_, stamped| {
            let own = !any && stamped.event.host() == Some(host);
            any |= own
                && !matches!(stamped.event, Event::HostFinished { .. })
                && tell(stamped, &look, &mut text);
        });
        read.is_ok() && any
    };
    let last = runs.iter().find(speaks).or_else(|| runs.first()).map(|run| (*run).clone());
    last.ok_or_else(|| {
        Error::usage(format!("no run of {host} was kept")).hint(format!("nixdeploy deploy {host}"))
    })
}

/// Whether how a host ended explains what stands before it.
fn said(outcome: &Outcome) -> bool {
    use Outcome::{Committed, Foreign, Interrupted, RolledBack, Staged, Stranded, Unknown};
    matches!(
        outcome,
        Committed { .. }
            | Foreign
            | Interrupted { .. }
            | RolledBack
            | Staged
            | Stranded
            | Unknown { .. }
    )
}

/// The events behind the log, as they were stored.
fn document(run: &str, host: &HostName, lines: &[String]) -> String {
    let schema = json::SCHEMA;
    let events = lines.join(",");
    format!("{{\"schema\":{schema},\"run\":\"{run}\",\"host\":\"{host}\",\"events\":[{events}]}}\n")
}

/// Adds what belongs to a log, and says whether it does; outside text is cut nowhere here.
fn tell(stamped: &Stamped, look: &Look, text: &mut String) -> bool {
    let at = look.clock(stamped.at_ms);
    let told = match &stamped.event {
        Event::Line { phase, text, .. } => {
            format!("{at} {:9} {}\n", phase.word(), look.shown(text))
        }
        Event::PhaseEnded { phase, result: PhaseResult::Failed { because }, .. } => {
            format!("{at} {:9} FAILED: {}\n", phase.word(), look.shown(because))
        }
        Event::Captured { evidence, .. } => {
            let (source, status) = (look.shown(&evidence.source), look.shown(&evidence.status));
            let mut told = format!("{at} evidence  {source} ({status})\n");
            for line in &evidence.lines {
                // Writing into a string never fails.
                let _ = writeln!(told, "  | {}", look.shown(line));
            }
            told
        }
        Event::HostFinished { report, .. } if said(&report.outcome) => {
            let word = words::spaced(words::word(&report.outcome));
            format!("{at} {:9} {word}: {}\n", "end", look.shown(&report.note))
        }
        _ => return false,
    };
    text.push_str(&told);
    true
}
