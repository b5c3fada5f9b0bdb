//! Known issues of nixpkgs, held against what hosts run and are to run.
//!
//! [`check`] is pure: issues and an [`Inventory`] in, a [`Verdict`] out. An issue is *introduced*
//! when only what is to run is affected, *persisting* when both are, *fixed* when only what runs
//! is; only the first may hold an update back. Versions are better evidence than dates, dates
//! than labels, labels than words. Where the issues come from, and how whole their list is, is told
//! by [`fetch::fetch`].

pub mod address;
pub mod advisory;
mod cache;
mod claims;
pub mod closures;
mod feeds;
pub mod fetch;
pub mod inventory;
pub mod inventory_file;
pub mod issue;
mod matching;
mod names;
mod phase;
pub mod rules;
mod severity;
mod title;
pub mod token;
mod versions;
mod words;

use std::collections::{BTreeMap, BTreeSet};

pub use inventory::Inventory;
pub use issue::Issue;
pub use rules::Rules;

use matching::{Hit, Matcher};

/// What became of a host's trouble with the update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It would be new.
    Introduced,
    /// It is there, and stays.
    Persisting,
    /// It is there, and goes.
    Fixed,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Told when everything is.
    Low,
    /// Likely, or a lesser fault that is certain.
    Medium,
    /// Work stops, or something is exposed.
    High,
    /// The host may not come back.
    Critical,
}

/// What a match rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    /// The package is named somewhere.
    Mention,
    /// The issue is about the package.
    Subject,
    /// And the version is one that it means.
    Version,
}

/// One issue that concerns hosts in one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its number.
    pub number: u64,
    /// Its title, harmless.
    pub title: String,
    /// The package, or the path of the module.
    pub package: String,
    /// The version that runs.
    pub installed: Option<String>,
    /// The version that is to run.
    pub candidate: Option<String>,
    /// What the update makes of it.
    pub phase: Phase,
    /// The worst of its hosts'.
    pub severity: Severity,
    /// What that rests on.
    pub confidence: Confidence,
    /// Every host with its own severity, by name.
    pub hosts: BTreeMap<String, Severity>,
    /// It names hardware that no host of these has.
    pub other_hardware: bool,
    /// It was closed in time for the update, which does not change the package.
    pub unchanged: bool,
    /// When it was opened, milliseconds since the epoch.
    pub opened_ms: i64,
}

/// Whether a host's update is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gate {
    /// Nothing new that is worth a question.
    Free,
    /// A person decides.
    Ask,
    /// It is not done, unless the issue is accepted by its number.
    Blocked,
}

/// What the issues mean for a fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What concerns a host: by phase, worst first.
    pub items: Vec<Item>,
    /// Each host's gate.
    pub gate: BTreeMap<String, Gate>,
    /// Numbers that hosts.toml leaves out.
    pub ignored: BTreeSet<u64>,
}

/// Holds issues against an inventory.
pub fn check(inventory: &Inventory, issues: &[Issue], rules: &Rules) -> Verdict {
    let matcher = Matcher::new(inventory);
    let mut verdict = Verdict::default();
    let mut seen = BTreeSet::new();
    for issue in issues.iter().filter(|i| seen.insert(i.number)) {
        let hits = matcher.hits(issue);
        if hits.is_empty() {
            continue;
        }
        if rules.ignores(issue.number, inventory.now_ms) {
            verdict.ignored.insert(issue.number);
            continue;
        }
        verdict.items.extend(items(inventory, issue, hits, rules));
    }
    let rank = |i: &Item| (i.phase, std::cmp::Reverse(i.severity), std::cmp::Reverse(i.number));
    verdict.items.sort_by_key(rank);
    for host in inventory.host_names() {
        let new = verdict.items.iter().filter(|i| i.phase == Phase::Introduced);
        let worst = new.filter_map(|i| i.hosts.get(host)).max();
        verdict.gate.insert(host.to_owned(), gate(worst.copied()));
    }
    verdict
}

/// What the worst of the new issues means for a host.
fn gate(worst: Option<Severity>) -> Gate {
    match worst {
        None | Some(Severity::Low) => Gate::Free,
        Some(Severity::Medium | Severity::High) => Gate::Ask,
        Some(Severity::Critical) => Gate::Blocked,
    }
}

/// One item for each phase, with the hosts that it is true of.
fn items(inventory: &Inventory, issue: &Issue, hits: Vec<Hit>, rules: &Rules) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    for hit in hits {
        let package = &inventory.packages.get(hit.package.unwrap_or(usize::MAX));
        let name = match (package, &hit.module) {
            (Some(package), _) => package.shown().to_owned(),
            (None, Some(module)) => module.clone(),
            (None, None) => continue,
        };
        let severity = rules.severity(issue.number, &name, hit.severity);
        let item = match items.iter_mut().find(|i| i.phase == hit.phase) {
            Some(item) => item,
            None => {
                items.push(Item {
                    number: issue.number,
                    title: issue.title.clone(),
                    package: name,
                    installed: package.and_then(|p| p.installed.clone()),
                    candidate: package.and_then(|p| p.candidate.clone()),
                    phase: hit.phase,
                    severity,
                    confidence: hit.confidence,
                    hosts: BTreeMap::new(),
                    other_hardware: true,
                    unchanged: hit.unchanged,
                    opened_ms: issue.created_ms,
                });
                let last = items.len() - 1;
                &mut items[last]
            }
        };
        let own = item.hosts.entry(hit.host).or_insert(severity);
        *own = (*own).max(severity);
        item.severity = item.severity.max(severity);
        item.confidence = item.confidence.max(hit.confidence);
        item.other_hardware &= hit.other_hardware;
    }
    items
}

#[cfg(test)]
mod tests;
