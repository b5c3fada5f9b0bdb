//! How long deploys took, host by host and phase by phase, told from the kept runs; and what of
//! the last one was slower than usual.
//!
//! Only deploys that changed their host and were kept are held against each other: one that failed
//! half-way, or had nothing to do, took another way. Keys of the document are only ever added.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::look::{Ink, Look, short};
use super::store::Entry;
use super::trend::{self, Usual};
use super::{json, memory, plot, store, words};
use crate::event::Outcome;
use crate::fleet::HostName;
use crate::plan::{Goal, Phase};

/// Events that tell how long it took.
const TELLING: [&str; 4] = ["run_started", "planned", "phase_ended", "host_finished"];
/// Columns of names.
const NAME: usize = 20;

/// A deploy of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deploy {
    /// Its run.
    pub run: String,
    /// Milliseconds that its phases took together.
    pub total_ms: u64,
    /// Milliseconds of each phase.
    pub phases: BTreeMap<Phase, u64>,
}

/// A row: how one thing went on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trend {
    /// The host.
    pub host: HostName,
    /// The phase; `None`: all of them together.
    pub phase: Option<Phase>,
    /// The run of the last value.
    pub run: String,
    /// Milliseconds, oldest first; the last is the newest.
    pub values_ms: Vec<u64>,
    /// What was usual before the last; `None`: too few to tell.
    pub usual: Option<Usual>,
    /// Whether the last was slower than usual.
    pub slower: bool,
}

/// Committed deploys of these runs, oldest first, at most as many for each host as are looked at.
pub fn deploys(state_dir: &Path, entries: &[Entry]) -> BTreeMap<HostName, Vec<Deploy>> {
    let mut past: BTreeMap<HostName, Vec<Deploy>> = BTreeMap::new();
    let telling = |e: &&Entry| e.outcomes.values().any(|word| word == "changed");
    for entry in entries.iter().filter(telling) {
        let full = |name| past.get(name).is_some_and(|of| of.len() > trend::LOOKED_AT);
        let all_full = entry.outcomes.iter().filter(|(_, word)| *word == "changed");
        if all_full.map(|(name, _)| name).all(full) {
            continue;
        }
        let log = store::log_of(state_dir, &entry.run);
        let Ok(state) = memory::sketch(&log, &TELLING) else { continue };
        if words::goal(&state) != Some(Goal::Deploy) {
            continue;
        }
        for host in &state.hosts {
            let outcome = host.report.as_ref().map(|r| &r.outcome);
            if !matches!(outcome, Some(Outcome::Committed { .. })) {
                continue;
            }
            let phases = host.ended.iter().map(|(phase, ended)| (*phase, ended.2)).collect();
            let (run, total_ms) = (state.run.clone(), trend::worked_ms(host));
            let of = past.entry(host.name.clone()).or_default();
            if of.len() <= trend::LOOKED_AT {
                of.push(Deploy { run, total_ms, phases });
            }
        }
    }
    // The runs came newest first.
    past.values_mut().for_each(|of| of.reverse());
    past
}

/// The rows of a host: all phases together, and each of those that its last deploy had.
pub fn trends(host: &HostName, deploys: &[Deploy]) -> Vec<Trend> {
    let Some((last, _)) = deploys.split_last() else { return Vec::new() };
    let row = |phase: Option<Phase>| {
        let value = |d: &Deploy| match phase {
            Some(phase) => d.phases.get(&phase).copied(),
            None => Some(d.total_ms),
        };
        let values_ms: Vec<u64> = deploys.iter().filter_map(value).collect();
        let (newest, before) = values_ms.split_last().unwrap_or((&0, &[]));
        let usual = Usual::of(before);
        let slower = usual.is_some_and(|usual| usual.slower(*newest));
        Trend { host: host.clone(), phase, run: last.run.clone(), values_ms, usual, slower }
    };
    let phases = last.phases.keys().map(|phase| Some(*phase));
    std::iter::once(None).chain(phases).map(row).collect()
}

/// The document, in one line.
pub fn document(trends: &[Trend]) -> String {
    let rows = serde_json::to_string(trends).unwrap_or_default();
    format!("{{\"schema\":{},\"trends\":{rows}}}\n", json::SCHEMA)
}

/// A row for each, and below them what was slower than usual, with its numbers.
pub fn table(trends: &[Trend], look: &Look) -> String {
    let longest = trends.iter().map(|t| t.host.as_str().len()).max().unwrap_or(0);
    let name = longest.clamp(4, NAME);
    let head = format!("{:name$} PHASE     RUNS    LAST  MEDIAN LONGEST  UP TO THE LAST", "HOST");
    let mut lines = vec![look.ink(Ink::Dim, &look.fit(&head, look.width))];
    for trend in trends {
        let last = trend.values_ms.last().copied().unwrap_or_default();
        let of =
            |pick: fn(&Usual) -> u64| trend.usual.as_ref().map_or("-".into(), |u| short(pick(u)));
        let last = format!("{:>7}", short(last));
        let last = if trend.slower { look.ink(Ink::Warn, &last) } else { last };
        lines.push(format!(
            "{} {:9} {:>4} {last} {:>7} {:>7}  {}",
            look.left(trend.host.as_str(), name),
            what(trend),
            trend.values_ms.len(),
            of(|u| u.median_ms),
            of(|u| u.longest_ms),
            plot::spark(&trend.values_ms, look),
        ));
    }
    let slower: Vec<&Trend> = trends.iter().filter(|t| t.slower).collect();
    if !slower.is_empty() {
        lines.push(String::new());
    }
    for trend in slower {
        lines.extend(look.wrap("", "  ", &sentence(trend)));
    }
    if trends.iter().any(|t| t.usual.is_none()) {
        let few = "What is usual is told from as many deploys before the last one: ";
        lines.extend(["".to_owned(), format!("{few}{}.", trend::ENOUGH)]);
    }
    lines.join("\n") + "\n"
}

fn what(trend: &Trend) -> &'static str {
    trend.phase.map_or("all", Phase::word)
}

fn sentence(trend: &Trend) -> String {
    let last = trend.values_ms.last().copied().unwrap_or_default();
    let Some(usual) = trend.usual else { return String::new() };
    let what = match trend.phase {
        Some(phase) => format!("{} took", phase.word()),
        None => "the last deploy took".to_owned(),
    };
    format!(
        "{}: {what} {}, slower than usual: the median of the {} before is {}, the longest {} \
         (nixdeploy report {})",
        trend.host,
        short(last),
        usual.n,
        short(usual.median_ms),
        short(usual.longest_ms),
        trend.run,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_slower_is_told_with_its_numbers() {
        let deploy = |(n, build_ms): (usize, u64)| Deploy {
            run: format!("aa0{n}"),
            total_ms: build_ms + 20_000,
            phases: BTreeMap::from([(Phase::Build, build_ms), (Phase::Verify, 20_000)]),
        };
        let host = HostName::new("p620").expect("name");
        let builds = [4_000, 5_000, 3_000, 4_000, 6_000, 40_000];
        let deploys: Vec<Deploy> = builds.into_iter().enumerate().map(deploy).collect();
        let rows = trends(&host, &deploys);
        assert_eq!(rows.iter().map(|r| r.slower).collect::<Vec<_>>(), [true, true, false]);
        let table = table(&rows, &Look { unicode: true, ..Look::plain() });
        let wanted = "\
HOST PHASE     RUNS    LAST  MEDIAN LONGEST  UP TO THE LAST
p620 all          6   1m00s   24.0s   26.0s  ▄▄▄▄▅█
p620 build        6   40.0s    4.0s    6.0s  ▂▂▂▂▃█
p620 verify       6   20.0s   20.0s   20.0s  ██████

p620: the last deploy took 1m00s, slower than usual: the median of the 5 before
  is 24.0s, the longest 26.0s (nixdeploy report aa05)
p620: build took 40.0s, slower than usual: the median of the 5 before is 4.0s,
  the longest 6.0s (nixdeploy report aa05)
";
        assert_eq!(table, wanted);
        assert_eq!(trends(&host, &[]), []);
        let few = trends(&host, &deploys[2..]);
        assert!(few.iter().all(|row| row.usual.is_none() && !row.slower), "too few to tell");
    }
}
