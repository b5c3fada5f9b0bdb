//! What the host said in the checks, as data, and the one parser of it.
//!
//! The parser is total: whatever a hostile or half-broken host prints becomes figures or an
//! oddity, within bounds. It judges nothing; `judge` does.

use std::collections::BTreeMap;

use super::journal::{self, Entry};
use super::network::Network;
use super::probe::{Answers, ProbeResult};
use super::resources;
use super::units::{self, Restarts, Unit};
use crate::event::facts::Units;
use crate::event::{Pointers, Vitals, harmless};
use crate::fleet::{Generation, StorePath};

/// Lines read at most; a host with thousands of units says a tenth of it.
const LINES: usize = 50_000;
/// Oddities kept.
const ODDITIES: usize = 20;

/// What was true before the activation, as far as it can excuse what is true after it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Baseline {
    /// Routes, addresses, names that resolved, Tailscale.
    pub network: Network,
    /// Restarts by systemd so far.
    pub restarts: Restarts,
    /// The health checks, in the order of hosts.toml; empty: they were not run.
    pub probes: Vec<ProbeResult>,
    /// What could not be understood.
    pub oddities: Vec<String>,
}

/// What is true after the activation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observed {
    /// The kernel's random name of this boot.
    pub boot_id: String,
    /// The host's clock, seconds since the epoch.
    pub now_s: i64,
    /// Running, profile, boot default; `etc_matches`: `/etc` is that of the new closure.
    pub pointers: Pointers,
    /// Units that are not simply inactive, and those asked for, by name.
    pub units: BTreeMap<String, Unit>,
    /// Whether the host could list its units at all.
    pub listed: bool,
    /// Routes, addresses, names that resolved, Tailscale.
    pub network: Network,
    /// Memory, load, file systems, and units in numbers.
    pub vitals: Vitals,
    /// Errors in the journal since the activation began.
    pub journal: Vec<Entry>,
    /// Whether the journal was read at all.
    pub journal_read: bool,
    /// Restarts by systemd so far; filled by `baseline` only, else see `units`.
    pub restarts: Restarts,
    /// The health checks, in the order of hosts.toml.
    pub probes: Vec<ProbeResult>,
    /// What could not be understood.
    pub oddities: Vec<String>,
}

impl Observed {
    /// Whether the list of units is one, what is not in it is inactive, and each service that
    /// lives told of itself.
    pub fn complete(&self) -> bool {
        self.listed && units::all_told(&self.units)
    }

    /// Names of units that were active before and are not now: worth a second question.
    pub fn missing<'a>(&self, before: &'a [units::UnitBefore]) -> Vec<&'a str> {
        let gone = |name: &str| !self.units.get(name).is_some_and(Unit::runs);
        let active = before.iter().filter(|u| u.active == "active");
        active.map(|u| u.name.as_str()).filter(|n| gone(n)).take(200).collect()
    }
}

impl From<Observed> for Baseline {
    fn from(seen: Observed) -> Self {
        let Observed { network, restarts, probes, oddities, .. } = seen;
        Self { network, restarts, probes, oddities }
    }
}

/// Takes the answer in, line by line.
#[derive(Debug, Default)]
pub struct Reader {
    seen: Observed,
    answers: Answers,
    etc: [String; 2],
    in_journal: bool,
    lines: usize,
}

impl Reader {
    /// Takes in one line; true when it was the last of the checks.
    pub fn take(&mut self, line: &str) -> bool {
        self.lines += 1;
        if self.lines > LINES {
            return line == "checks=done";
        }
        if self.in_journal && !line.starts_with("section=") {
            journal::take(&mut self.seen.journal, line);
            return false;
        }
        let Some((key, value)) = line.split_once('=') else {
            self.odd(line);
            return false;
        };
        if key == "checks" {
            return value == "done";
        }
        let seen = &mut self.seen;
        let understood = identity(seen, &mut self.etc, key, value)
            || units::take(&mut seen.units, &mut seen.restarts, key, value)
            || resources::take(&mut seen.vitals, key, value)
            || seen.network.take(key, value)
            || self.answers.take(key, value);
        match key {
            "section" => {
                self.in_journal = value == "journal";
                self.seen.journal_read |= self.in_journal;
            }
            "oddity" => self.odd(value),
            _ if !understood => self.odd(line),
            _ => {}
        }
        false
    }

    /// Everything that was taken in; the answers to health checks still to be read.
    pub fn finish(self) -> (Observed, Answers) {
        let Self { mut seen, answers, etc: [etc, new], .. } = self;
        seen.pointers.etc_matches = etc == "overlay" || (!etc.is_empty() && etc == new);
        let units = seen.units.values();
        let units = Units::of(units.map(|u| (u.name.as_str(), &*u.active, &*u.sub)));
        seen.vitals.count(&units);
        (seen, answers)
    }

    fn odd(&mut self, text: &str) {
        let text = harmless::line(text);
        if !text.is_empty() && self.seen.oddities.len() < ODDITIES {
            self.seen.oddities.push(text);
        }
    }
}

/// Which boot, which system.
fn identity(seen: &mut Observed, etc: &mut [String; 2], key: &str, value: &str) -> bool {
    let path = |slot: &mut Option<StorePath>| {
        *slot = StorePath::new(value).ok();
        slot.is_some() || value.is_empty()
    };
    let pointers = &mut seen.pointers;
    match key {
        "boot_id" => seen.boot_id = harmless::line(value),
        "listed" => seen.listed = true,
        "now" => seen.now_s = value.parse().unwrap_or(0),
        "running" => return path(&mut pointers.running),
        "booted" => return path(&mut pointers.booted),
        "profile" => return path(&mut pointers.profile),
        "boot_default" => return path(&mut pointers.boot_default),
        "profile_link" => pointers.generation = Generation::of_link(value),
        "etc" => value.clone_into(&mut etc[0]),
        "etc_new" => value.clone_into(&mut etc[1]),
        _ => return false,
    }
    true
}
