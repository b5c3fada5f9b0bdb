//! `history`: the runs that were kept, newest first.

use std::path::Path;

use super::kept;
use super::report::show;
use crate::error::Error;
use crate::exit::Exit;
use crate::fleet::{Fleet, HostName};
use crate::report::look::{Look, short};
use crate::report::store::{self, Entry};
use crate::report::{Format, door};

/// Lists at most `limit` runs; those of these hosts when some are named.
///
/// # Errors
/// When standard output can not be written.
pub fn run(
    state_dir: &Path,
    hosts: &[String],
    limit: usize,
    fleet: Option<&Fleet>,
    form: (Format, &Look),
) -> Result<Exit, Error> {
    let (format, look) = form;
    let mut entries = store::list(state_dir);
    let mut meant: Vec<HostName> = Vec::new();
    for word in hosts {
        meant.extend(kept::hosts(&entries, fleet, word)?);
    }
    entries.retain(|e| hosts.is_empty() || e.names.iter().any(|n| meant.contains(n)));
    entries.truncate(limit);
    match format {
        Format::Json => show(&document(&entries)),
        Format::Jsonl => show(&entries.iter().map(|e| object(e) + "\n").collect::<String>()),
        Format::Human | Format::Markdown | Format::Github if entries.is_empty() => {
            door::err(if hosts.is_empty() {
                "no run was kept yet\n"
            } else {
                "no run of these hosts was kept\n"
            });
            Ok(Exit::Done)
        }
        Format::Human | Format::Markdown | Format::Github => show(&table(&entries, look)),
    }
}

fn object(entry: &Entry) -> String {
    serde_json::to_string(entry).unwrap_or_default()
}

fn document(entries: &[Entry]) -> String {
    let runs: Vec<String> = entries.iter().map(object).collect();
    format!("{{\"schema\":{},\"runs\":[{}]}}\n", crate::report::json::SCHEMA, runs.join(","))
}

/// One row per run, and below it what is known of one that was ended before its end.
pub fn table(entries: &[Entry], look: &Look) -> String {
    let longest = entries.iter().map(|e| e.run.len()).max().unwrap_or(0).clamp(4, 12);
    let mut text = format!("{:longest$} WHEN               TOOK EXIT COMMAND  RESULT\n", "RUN");
    for entry in entries {
        let command = entry.command.join(" ");
        let command = command.strip_prefix("nixdeploy ").unwrap_or(&command).to_owned();
        let row = format!(
            "{} {} {:>6} {:>4} {}  {}",
            look.left(&entry.run, longest),
            look.date(entry.started_ms),
            short(entry.took_ms),
            entry.exit.map_or("-".to_owned(), |exit| exit.to_string()),
            look.cut(&command, 20),
            entry.result,
        );
        text.push_str(look.cut(&row, look.width).trim_end());
        text.push('\n');
        if let Some(told) = ending(entry) {
            let indent = " ".repeat(longest + 1);
            text.push_str(&look.wrap(&indent, &indent, &told).join("\n"));
            text.push('\n');
        }
    }
    text
}

/// How a run ended that has no last word, and what was found out of it later.
fn ending(entry: &Entry) -> Option<String> {
    let mut told = Vec::new();
    if entry.alive {
        told.push("it goes on".to_owned());
    } else if !entry.complete {
        told.push("interrupted: it ended without a last word".to_owned());
    }
    if !entry.open.is_empty() && !entry.alive {
        let names: Vec<&str> = entry.open.iter().map(HostName::as_str).collect();
        told.push(format!("undecided then: {}", names.join(", ")));
    }
    match &entry.found {
        Some((run, result)) => told.push(format!("{run} found: {result}")),
        None if !entry.open.is_empty() && !entry.alive => {
            told.push(format!("ask: nixdeploy resume {}", entry.run));
        }
        None => {}
    }
    (!told.is_empty()).then(|| told.join("; "))
}
