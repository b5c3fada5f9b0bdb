//! `history`: the runs that were kept, newest first.

use std::path::Path;

use super::report::show;
use crate::error::Error;
use crate::exit::Exit;
use crate::fleet::HostName;
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
    format: Format,
    look: &Look,
) -> Result<Exit, Error> {
    let named = |name: &HostName| hosts.iter().any(|h| h == name.as_str());
    let mut entries = store::list(state_dir);
    entries.retain(|e| hosts.is_empty() || e.names.iter().any(named));
    entries.truncate(limit);
    match format {
        Format::Json => show(&document(&entries)),
        Format::Jsonl => show(&entries.iter().map(|e| object(e) + "\n").collect::<String>()),
        Format::Human | Format::Markdown | Format::Github if entries.is_empty() => {
            door::err(if hosts.is_empty() {
                "no run was kept yet\n"
            } else {
                "no run of it was kept\n"
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

/// One row per run.
pub fn table(entries: &[Entry], look: &Look) -> String {
    let longest = entries.iter().map(|e| e.run.len()).max().unwrap_or(0).clamp(4, 12);
    let mut text = format!("{:longest$} WHEN               TOOK EXIT COMMAND  RESULT\n", "RUN");
    for entry in entries {
        let command = entry.command.join(" ");
        let command = command.strip_prefix("nixdeploy ").unwrap_or(&command).to_owned();
        let cut = if entry.complete { "" } else { " (cut off)" };
        let row = format!(
            "{} {} {:>6} {:>4} {}  {}{cut}",
            look.left(&entry.run, longest),
            look.date(entry.started_ms),
            short(entry.took_ms),
            entry.exit,
            look.fit(&command, 20),
            entry.result,
        );
        text.push_str(look.fit(&row, look.width).trim_end());
        text.push('\n');
    }
    text
}
