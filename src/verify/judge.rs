//! From what was expected and what is to findings: pure, one rule beside the other.
//!
//! A finding that blocks condemns the deploy (`plan::verdict`); so each rule says what was true
//! before, and nothing that was broken before can condemn.

use super::observe::{Baseline, Observed};
use super::units::{Restarts, UnitBefore};
use super::{journal, network, probe, resources, units};
use crate::event::{Vitals, harmless};
use crate::fleet::{Host, StorePath};
use crate::plan::{Finding, Severity};

/// What should be true of a host that was activated.
#[derive(Debug, Clone, Copy)]
pub struct Expectation<'a> {
    /// The host, with its critical services, limits and health checks.
    pub host: &'a Host,
    /// The closure that should run.
    pub new: &'a StorePath,
    /// The boot in which it was activated.
    pub boot_id: &'a str,
    /// Only units and contact were looked at.
    pub fast: bool,
    /// Units before the activation.
    pub units: &'a [UnitBefore],
    /// Figures before the activation.
    pub vitals: Option<&'a Vitals>,
    /// Network and health checks before the activation.
    pub baseline: &'a Baseline,
    /// Restarts right after the activation; `None`: count from `units`.
    pub sample: Option<&'a Restarts>,
    /// What the profile should still point at; `None`: nothing is known.
    pub profile: Option<&'a StorePath>,
    /// What the boot loader should still start; `None`: nothing is known.
    pub boot_default: Option<&'a StorePath>,
}

/// All findings, the worst first.
pub fn judge(expect: &Expectation, seen: &Observed) -> Vec<Finding> {
    let mut found = identity(expect, seen);
    found.extend(units::judge(expect, seen));
    if !expect.fast {
        found.extend(network::judge(expect, seen));
        found.extend(probe::judge(&expect.host.health, &expect.baseline.probes, &seen.probes));
        found.extend(resources::judge(expect, seen));
        found.extend(journal::judge(expect, seen));
    }
    found.extend(seen.oddities.iter().map(|text| {
        finding(
            "answer",
            Severity::Info,
            "host",
            format!("part of its answer was not understood: {text}"),
        )
    }));
    found.sort_by_key(|f| std::cmp::Reverse(f.severity));
    found
}

/// A finding without a suggestion; texts made harmless.
pub(super) fn finding(
    code: &str,
    severity: Severity,
    subject: &str,
    message: impl AsRef<str>,
) -> Finding {
    Finding {
        code: code.to_owned(),
        severity,
        subject: harmless::line(subject),
        message: harmless::line(message.as_ref()),
        suggestion: None,
    }
}

/// The same boot, the new system, and nobody else's hand.
fn identity(expect: &Expectation, seen: &Observed) -> Vec<Finding> {
    let mut found = Vec::new();
    let pointers = &seen.pointers;
    if seen.boot_id != expect.boot_id {
        let message = "was rebooted since the activation began: boot_id changed";
        found.push(finding("rebooted", Severity::Block, "host", message));
    }
    if pointers.running.as_ref() != Some(expect.new) {
        let running = pointers.running.as_ref().map(told_apart);
        let running = running.unwrap_or_else(|| shown(None).to_owned());
        let message = format!("runs {running}, not {}", told_apart(expect.new));
        found.push(finding("running-system", Severity::Block, "/run/current-system", message));
    }
    if !pointers.etc_matches {
        let message = "is not that of the new system: the activation did not reach it";
        found.push(finding("etc", Severity::Block, "/etc/static", message));
    }
    found.extend(moved("profile", expect.profile, pointers.profile.as_ref()));
    found.extend(moved("boot default", expect.boot_default, pointers.boot_default.as_ref()));
    found
}

/// A pointer that is not ours to judge: the guard compares it again and stands down.
fn moved(what: &str, expected: Option<&StorePath>, is: Option<&StorePath>) -> Option<Finding> {
    let expected = expected.filter(|path| is != Some(*path))?;
    let message = format!("was {}, is now {}", expected.name(), shown(is));
    Some(finding("foreign", Severity::Warn, what, message))
}

/// Two systems of one host bear the same name: only their hashes differ.
fn told_apart(path: &StorePath) -> String {
    format!("{}-{}", &path.hash()[..8], path.name())
}

fn shown(path: Option<&StorePath>) -> &str {
    path.map_or("nothing that could be read", StorePath::name)
}
