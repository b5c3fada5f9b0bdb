//! Units: how the host tells of them, and what their states mean against the baseline.
//!
//! switch-to-configuration resets failures on its way and sees only the first quarter second, and
//! a crash loop was never listed as failed where it was tried: so states are compared with those
//! before the activation, and restarts with those right after it.

use std::collections::{BTreeMap, BTreeSet};

use super::judge::{Expectation, finding};
use super::observe::Observed;
use crate::plan::{Finding, Severity};

/// Units kept; no host has as many.
const UNITS: usize = 4096;
/// Percent of MemoryMax from which on to warn; 850 of 1024 MiB is 83.
const MEMORY_PERCENT: u64 = 80;

/// Restarts by systemd, by unit; units with none are left out.
pub type Restarts = BTreeMap<String, u32>;

/// A unit as it was before the activation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnitBefore {
    /// Full name.
    pub name: String,
    /// ActiveState.
    pub active: String,
    /// SubState.
    pub sub: String,
    /// NRestarts.
    pub n_restarts: u32,
    /// Whether it had failed.
    pub failed: bool,
}

/// A unit as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unit {
    /// Full name.
    pub name: String,
    /// LoadState.
    pub load: String,
    /// ActiveState.
    pub active: String,
    /// SubState.
    pub sub: String,
    /// What only `systemctl show` tells; services that live, and units asked for.
    pub detail: Option<Detail>,
}

/// Properties of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Detail {
    /// Type of a service.
    pub kind: String,
    /// Result.
    pub result: String,
    /// NRestarts.
    pub restarts: u32,
    /// ExecMainCode: 1 exited, 2 killed, 3 dumped core (`CLD_*` of sigaction(2)).
    pub code: u32,
    /// ExecMainStatus: exit status or signal.
    pub status: i32,
    /// When its state last changed, seconds since the epoch.
    pub changed_s: Option<i64>,
    /// MemoryCurrent in bytes.
    pub memory: Option<u64>,
    /// MemoryMax in bytes; `None`: no limit.
    pub memory_max: Option<u64>,
    /// RemainAfterExit.
    pub remains: bool,
    /// Another unit triggers it: a timer, a socket, a path.
    pub triggered: bool,
    /// Another unit wants or requires it.
    pub wanted: bool,
    /// The condition for its start was not met.
    pub unmet: bool,
    /// Its file is in /etc: it belongs to the configuration.
    pub configured: bool,
    /// When it last began to run, seconds since the epoch; a reload does not move it.
    pub started_s: Option<i64>,
    /// How long its last start took, in microseconds.
    pub start_us: Option<u64>,
}

impl Unit {
    /// Whether it does what it is for.
    pub fn runs(&self) -> bool {
        serves(&self.active)
    }

    /// How it ended, as far as is known: "exit status 7".
    pub fn status(&self) -> String {
        self.detail.as_ref().map_or_else(|| self.sub.clone(), Detail::ending)
    }
}

impl Detail {
    fn ending(&self) -> String {
        let end = match self.code {
            1 => format!("exit status {}", self.status),
            2 => format!("killed by signal {}", self.status),
            3 => format!("dumped core on signal {}", self.status),
            _ => return format!("result {}", self.result),
        };
        match self.result.as_str() {
            "success" | "exit-code" | "signal" | "core-dump" | "-" => end,
            other => format!("{end}, result {other}"),
        }
    }
}

/// Takes in a line of the answer; false when it is none of ours.
pub(super) fn take(
    units: &mut BTreeMap<String, Unit>,
    restarts: &mut Restarts,
    key: &str,
    value: &str,
) -> bool {
    let words: Vec<&str> = value.split(' ').collect();
    let sane = words.iter().all(|w| is_word(w)) && words[0].contains('.');
    match (key, words.as_slice()) {
        ("state", [name, state @ ..]) if sane && state.len() == 3 && units.len() < UNITS => {
            merge(units, name, state, None);
        }
        ("unit", [name, rest @ ..])
            if sane && matches!(rest.len(), 12 | 14) && units.len() < UNITS =>
        {
            merge(units, name, &rest[..3], Some(detail(&rest[3..])));
        }
        ("restarts", [name, count]) if sane && restarts.len() < UNITS => {
            restarts.insert((*name).to_owned(), count.parse().unwrap_or(0));
        }
        _ => return false,
    }
    true
}

/// Whether there are details of every service that lives, as units.sh asks for; of more units than
/// are kept nothing can be said.
pub(super) fn all_told(units: &BTreeMap<String, Unit>) -> bool {
    let lives = |u: &&Unit| {
        let done = u.active == "inactive" || (u.active == "active" && u.sub == "exited");
        u.name.ends_with(".service") && !done
    };
    units.len() >= UNITS || units.values().filter(lives).all(|u| u.detail.is_some())
}

/// The lines of `sample_units`, run right after the activation; what is no such line is ignored.
pub fn parse_restarts<'a>(lines: impl IntoIterator<Item = &'a str>) -> Restarts {
    let mut restarts = Restarts::new();
    for line in lines {
        if let Some(("restarts", value)) = line.split_once('=') {
            take(&mut BTreeMap::new(), &mut restarts, "restarts", value);
        }
    }
    restarts
}

fn is_word(word: &str) -> bool {
    (1..=256).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_graphic())
}

fn merge(units: &mut BTreeMap<String, Unit>, name: &str, state: &[&str], detail: Option<Detail>) {
    let unit = units.entry(name.to_owned()).or_default();
    name.clone_into(&mut unit.name);
    state[0].clone_into(&mut unit.load);
    state[1].clone_into(&mut unit.active);
    state[2].clone_into(&mut unit.sub);
    if detail.is_some() {
        unit.detail = detail;
    }
}

fn detail(words: &[&str]) -> Detail {
    let flag = |letter: char| words[8].contains(letter);
    let time =
        |at: usize| words.get(at).and_then(|w| w.strip_prefix('@').unwrap_or(w).parse().ok());
    // systemd shows what is not set as the largest number
    let bytes = |word: &str| word.parse::<u64>().ok().filter(|n| *n < u64::MAX);
    Detail {
        kind: words[0].to_owned(),
        result: words[1].to_owned(),
        restarts: words[2].parse().unwrap_or(0),
        code: words[3].parse().unwrap_or(0),
        status: words[4].parse().unwrap_or(0),
        changed_s: time(5),
        memory: bytes(words[6]),
        memory_max: bytes(words[7]),
        remains: flag('r'),
        triggered: flag('t'),
        wanted: flag('w'),
        unmet: flag('c'),
        configured: flag('e'),
        started_s: time(9),
        start_us: words.get(10).and_then(|w| w.parse().ok()),
    }
}

/// Units of our own making, whose failures are told elsewhere.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with("nixdeploy")
}

/// Units that come and go with the people who are logged in.
fn is_personal(name: &str) -> bool {
    ["user@", "user-runtime-dir@", "session-", "run-user-"].iter().any(|p| name.starts_with(p))
}

/// Everything that the units have to say; at most one finding condemns a unit.
pub(super) fn judge(expect: &Expectation, seen: &Observed) -> Vec<Finding> {
    let before: BTreeMap<&str, &UnitBefore> =
        expect.units.iter().map(|u| (u.name.as_str(), u)).collect();
    let mut found = Vec::new();
    for unit in seen.units.values().filter(|u| !is_ours(&u.name)) {
        let was = before.get(unit.name.as_str()).copied();
        let bad = failed(unit, was, seen.now_s).or_else(|| looping(unit, was, expect));
        found.extend(bad);
    }
    let blamed: BTreeSet<String> = found.iter().map(|f| f.subject.clone()).collect();
    let active = expect.units.iter().filter(|u| u.active == "active" && !is_ours(&u.name));
    let gone = active.filter(|u| !blamed.contains(&u.name)).filter_map(|u| gone(u, seen));
    found.extend(gone);
    found.extend(critical(expect, seen, &found));
    found.extend(seen.units.values().filter_map(tight_memory));
    found.extend(degraded(seen, &before));
    found
}

fn failed(unit: &Unit, was: Option<&UnitBefore>, now_s: i64) -> Option<Finding> {
    if unit.active != "failed" {
        return None;
    }
    let status = unit.status();
    let at = unit.detail.as_ref().and_then(|d| d.changed_s).map(|t| now_s.saturating_sub(t));
    let when = at.map_or(String::new(), |s| format!(", {s} s before the check"));
    let (severity, message) = if was.is_some_and(|w| w.failed) {
        (Severity::Info, format!("failed before as well ({status})"))
    } else if unit.load == "not-found" {
        (Severity::Warn, format!("failed while it was stopped ({status}); no longer configured"))
    } else if was.is_some_and(|w| w.active == "active") {
        (Severity::Block, format!("failed: {status}{when}; was active before"))
    } else {
        (Severity::Block, format!("failed: {status}{when}"))
    };
    Some(finding("unit-failed", severity, &unit.name, message))
}

/// Restarted by systemd during the soak, or waiting for that right now.
fn looping(unit: &Unit, was: Option<&UnitBefore>, expect: &Expectation) -> Option<Finding> {
    let detail = unit.detail.as_ref()?;
    let known = was.map_or(0, |w| w.n_restarts);
    let since = expect.sample.map_or(known, |s| s.get(&unit.name).copied().unwrap_or(0));
    // a start by hand or by the activation sets the counter back
    let rose = if detail.restarts < since { detail.restarts } else { detail.restarts - since };
    let waits = |sub: &str| sub.starts_with("auto-restart");
    if rose == 0 && !waits(&unit.sub) {
        return None;
    }
    let earlier = expect.baseline.restarts.get(&unit.name).copied().unwrap_or(0);
    let before = was.is_some_and(|w| waits(&w.sub) || w.failed || earlier > w.n_restarts);
    // while it runs again, systemd tells nothing of its last end
    let how = if detail.code == 0 { "running again".to_owned() } else { detail.ending() };
    let (severity, message) = if before {
        (Severity::Warn, format!("in a crash loop as before: {rose} restarts more, {how}"))
    } else if rose > 0 {
        (Severity::Block, format!("crash loop: {rose} restarts since the activation, {how}"))
    } else {
        (Severity::Block, format!("crash loop: ended and waits for its next start, {how}"))
    };
    Some(finding("crash-loop", severity, &unit.name, message))
}

/// Active before, and not now, although the new configuration wants it.
fn gone(was: &UnitBefore, seen: &Observed) -> Option<Finding> {
    let unit = seen.units.get(&was.name);
    if is_personal(&was.name) || unit.is_some_and(Unit::runs) {
        return None;
    }
    let say =
        |severity, message: String| Some(finding("unit-inactive", severity, &was.name, message));
    let Some((unit, detail)) = unit.and_then(|u| Some((u, u.detail.as_ref()?))) else {
        return say(
            Severity::Block,
            "was active before, and tells nothing of itself now".to_owned(),
        );
    };
    let by_itself = detail.kind == "oneshot" && !detail.remains;
    let clean = detail.triggered && detail.result == "success";
    if unit.load != "loaded" || !detail.wanted || by_itself || clean {
        return None;
    }
    if detail.unmet {
        let message = "was active before; the condition for its start is no longer met";
        return say(Severity::Warn, message.to_owned());
    }
    let state = format!("{} ({})", unit.active, unit.sub);
    say(Severity::Block, format!("was active before, now {state}; {}", detail.ending()))
}

fn critical(expect: &Expectation, seen: &Observed, found: &[Finding]) -> Vec<Finding> {
    let names = expect.host.critical_services.iter().map(|n| full_name(n));
    let condemned =
        |name: &str| found.iter().any(|f| f.severity == Severity::Block && f.subject == name);
    let mut missing = Vec::new();
    for name in names.filter(|n| !condemned(n)) {
        let unit = seen.units.get(&name);
        if !unit.is_some_and(Unit::runs) {
            let state = unit.map_or("inactive", |u| &u.active);
            let message = format!("critical service is {state}");
            missing.push(finding("critical-service", Severity::Block, &name, message));
        }
    }
    missing
}

/// Whether a unit in this active state does what it is for (systemd's unit-def.c).
pub fn serves(active: &str) -> bool {
    matches!(active, "active" | "reloading" | "refreshing")
}

/// `sshd` is `sshd.service`, as for systemctl.
pub fn full_name(name: &str) -> String {
    let kinds = ["service", "socket", "timer", "mount", "automount", "path", "swap", "target"];
    let full = name.rsplit_once('.').is_some_and(|(_, kind)| kinds.contains(&kind));
    if full { name.to_owned() } else { format!("{name}.service") }
}

fn tight_memory(unit: &Unit) -> Option<Finding> {
    let detail = unit.detail.as_ref()?;
    let (used, most) = (detail.memory?, detail.memory_max?);
    if most == 0 || u128::from(used) * 100 < u128::from(most) * u128::from(MEMORY_PERCENT) {
        return None;
    }
    let message = format!("at {} of {} MiB", used >> 20, most >> 20);
    let short = unit.name.strip_suffix(".service").unwrap_or(&unit.name);
    let option = format!("raise systemd.services.\"{short}\".serviceConfig.MemoryMax");
    Some(Finding {
        suggestion: Some(option),
        ..finding("unit-memory", Severity::Warn, &unit.name, message)
    })
}

/// Says once that the host is degraded, when that is no news.
fn degraded(seen: &Observed, before: &BTreeMap<&str, &UnitBefore>) -> Option<Finding> {
    let failed = seen.units.values().filter(|u| u.active == "failed" && !is_ours(&u.name));
    let names: Vec<&str> = failed.map(|u| u.name.as_str()).collect();
    let known = |name: &&str| before.get(name).is_some_and(|w| w.failed);
    if names.is_empty() || !names.iter().all(known) {
        return None;
    }
    let message = format!("degraded as before: {}", names.join(", "));
    Some(finding("degraded", Severity::Info, "system", message))
}
