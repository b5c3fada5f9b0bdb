//! `history`: the runs that were kept, newest first; with `--trend`, how long deploys took.

use std::path::Path;

use jiff::Timestamp;

use super::kept;
use super::report::show;
use crate::cli::{HistoryArgs, Since};
use crate::error::Error;
use crate::event::stream::Stopwatch;
use crate::exit::Exit;
use crate::fleet::{Fleet, HostName};
use crate::report::look::{Look, short};
use crate::report::past::{self, Trend};
use crate::report::store::{self, Entry};
use crate::report::{Format, door, joined, words};
use crate::world::World;

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 3600 * 1000;

/// Lists the runs that are meant; those of these hosts when some are named.
///
/// # Errors
/// When standard output can not be written, or a host is not known.
pub fn run(
    (state_dir, now_ms): (&Path, i64),
    args: &HistoryArgs,
    fleet: Option<&Fleet>,
    form: (Format, &Look),
) -> Result<Exit, Error> {
    let (format, look) = form;
    let all = store::list(state_dir);
    let mut entries = all.clone();
    let mut meant: Vec<HostName> = Vec::new();
    for word in &args.hosts {
        meant.extend(kept::hosts(&entries, fleet, word)?);
    }
    let since_ms = args.since.as_ref().and_then(|since| moment(since, now_ms, look));
    entries.retain(|e| since_ms.is_none_or(|since| e.started_ms >= since));
    if args.trend {
        let trends = trends(&past::deploys(state_dir, &entries), &args.hosts, &meant);
        return shown_trends(&trends, format, look);
    }
    entries.retain(|e| fits(e, args, &meant));
    if matches!(format, Format::Human) {
        entries = joined::rows(entries, &all);
    }
    entries.truncate(args.limit.map_or(20, usize::from));
    match format {
        Format::Json => show(&document(&entries)),
        Format::Jsonl => show(&entries.iter().map(|e| object(e) + "\n").collect::<String>()),
        _ if entries.is_empty() => {
            let filtered = args.outcome.is_some() || args.since.is_some();
            door::err(match (args.hosts.is_empty(), filtered) {
                (_, true) => "no run that was kept is like that\n",
                (true, false) => "no run was kept yet\n",
                (false, false) => "no run of these hosts was kept\n",
            });
            Ok(Exit::Done)
        }
        _ => show(&table(&entries, look)),
    }
}

/// Whether a run has one of the hosts, and one of them ended as is wanted.
fn fits(entry: &Entry, args: &HistoryArgs, meant: &[HostName]) -> bool {
    let ours = |name: &HostName| args.hosts.is_empty() || meant.contains(name);
    let wanted = |word: &str| match args.outcome.as_deref() {
        None => true,
        Some("failed") => words::WORDS.contains(&(word, true)),
        Some(outcome) => outcome == word,
    };
    match &args.outcome {
        None => args.hosts.is_empty() || entry.names.iter().any(ours),
        Some(_) => entry.outcomes.iter().any(|(name, word)| ours(name) && wanted(word)),
    }
}

/// Milliseconds since the epoch.
fn moment(since: &Since, now_ms: i64, look: &Look) -> Option<i64> {
    match since {
        Since::Ago(seconds) => {
            let ms = i64::try_from(*seconds).unwrap_or(i64::MAX).saturating_mul(1000);
            Some(now_ms.saturating_sub(ms))
        }
        Since::At(at) => {
            let at = at.to_zoned(look.zone.clone()).ok()?;
            Some(Timestamp::from(at).as_millisecond())
        }
    }
}

/// Every phase of hosts that were named; of the others all phases together, and those that were
/// slower than usual.
fn trends(
    deploys: &std::collections::BTreeMap<HostName, Vec<past::Deploy>>,
    named: &[String],
    meant: &[HostName],
) -> Vec<Trend> {
    let ours = deploys.iter().filter(|(name, _)| named.is_empty() || meant.contains(name));
    let rows = ours.flat_map(|(name, deploys)| past::trends(name, deploys));
    rows.filter(|row| !named.is_empty() || row.phase.is_none() || row.slower).collect()
}

fn shown_trends(trends: &[Trend], format: Format, look: &Look) -> Result<Exit, Error> {
    match format {
        Format::Json => show(&past::document(trends)),
        Format::Jsonl => {
            let line = |t: &Trend| serde_json::to_string(t).unwrap_or_default() + "\n";
            show(&trends.iter().map(line).collect::<String>())
        }
        _ if trends.is_empty() => {
            door::err("no deploy that changed a host was kept\n");
            Ok(Exit::Done)
        }
        _ => show(&past::table(trends, look)),
    }
}

/// After a run: forgets those that hosts.toml wants to be forgotten.
pub(super) fn forget(world: &World, fleet: &Fleet) {
    let runs = fleet.history.runs.map_or(store::KEPT, |n| n as usize);
    let before = fleet.history.days.map(|days| world.clock.epoch_ms() - i64::from(days) * DAY_MS);
    store::forget(&world.environment.state, runs, before);
}

fn object(entry: &Entry) -> String {
    if !entry.unreadable {
        return serde_json::to_string(entry).unwrap_or_default();
    }
    let mut value = serde_json::to_value(entry).unwrap_or_default();
    for key in ["started_ms", "took_ms", "hosts", "result"] {
        value[key] = serde_json::Value::Null;
    }
    value.to_string()
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
        let command = words::typed_line(&entry.command);
        let command = command.strip_prefix("nixdeploy ").unwrap_or(&command).to_owned();
        let exit = entry.exit.map_or("-".to_owned(), |exit| exit.to_string());
        let run = look.left(&entry.run, longest);
        let row = if entry.unreadable {
            let told = if entry.alive { "" } else { "its log can not be read" };
            format!("{run} {:16} {:>6} {exit:>4} -  {told}", "-", "-")
        } else {
            let (date, took) = (look.date(entry.started_ms), short(entry.took_ms));
            let command = look.cut(&command, 20);
            format!("{run} {date} {took:>6} {exit:>4} {command}  {}", entry.result)
        };
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
    } else if !entry.complete && !entry.unreadable {
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
