//! The checks one by one, for the report: what each looked at, with its figure, whether it passed
//! or not. Pure; it judges nothing, but reads the findings of `judge`.

use super::judge::Expectation;
use super::observe::Observed;
use super::probe::ProbeState;
use super::units::{UnitBefore, full_name, is_ours};
use crate::event::{Step, UnitChanges, UnitFate, Vitals};
use crate::plan::{Finding, Phase, Severity};
use crate::preflight::admission::size;

/// The first of them: that we are talking to the host.
pub(super) const CONTACT: &str = "ssh over a new connection";

/// Every check that was made, in the order of a report.
pub(super) fn steps(
    expect: &Expectation,
    seen: &Observed,
    found: &[Finding],
    ms: u64,
) -> Vec<Step> {
    let check = |name: &str, codes: &[&str], note: String| verdict(name, codes, found, note);
    let identity = ["rebooted", "running-system", "etc"];
    let failing = ["unit-failed", "crash-loop", "unit-inactive"];
    let mut steps = vec![
        Step::ok(Phase::Verify, CONTACT, "").took(ms),
        check("system", &identity, "runs as built, in the same boot".to_owned()),
        check("services", &failing, services(seen)),
    ];
    steps.extend(critical(expect, seen));
    if expect.fast {
        return steps;
    }
    let (before, now) = (&expect.baseline.network, &seen.network);
    steps.push(match now.names.len().max(before.names.len()) {
        0 => skipped("DNS", "no name to ask for resolved before"),
        _ => check("DNS", &["dns"], resolved(seen)),
    });
    steps.push(match now.route4.as_ref().or(now.route6.as_ref()).or(before.route4.as_ref()) {
        None => skipped("default route", "none, as before"),
        Some(route) => check("default route", &["default-route", "address"], via(route)),
    });
    let wanted = expect.host.tailscale.unwrap_or(before.tailscale_up());
    steps.push(match &now.tailscale {
        state if wanted || now.tailscale_up() => {
            let state = state.as_deref().unwrap_or("unknown");
            let note = if state == "Running" { "connected" } else { state };
            check("Tailscale", &["tailscale"], note.to_owned())
        }
        _ => skipped("Tailscale", "not in use"),
    });
    steps.push(check("memory", &["memory", "unit-memory"], memory(&seen.vitals)));
    steps.push(check("disks", &["disk"], disks(&seen.vitals)));
    steps.extend(probes(seen, found));
    if seen.journal_read {
        let errors = seen.journal.iter().filter(|e| !is_ours(&e.source)).count();
        let note = match errors {
            0 => "no errors since the activation".to_owned(),
            1 => "1 error since the activation".to_owned(),
            n => format!("{n} errors since the activation"),
        };
        steps.push(check("journal", &["journal"], note).warned(errors > 0));
    }
    steps
}

fn skipped(name: &str, because: &str) -> Step {
    Step::skipped(Phase::Verify, name, because)
}

/// Failed if a finding of these condemns; else what was seen, and whether there is a warning.
fn verdict(name: &str, codes: &[&str], found: &[Finding], note: String) -> Step {
    let of = |severity| {
        found.iter().filter(move |f| f.severity == severity && codes.contains(&f.code.as_str()))
    };
    let bad: Vec<&Finding> = of(Severity::Block).collect();
    if let [first, rest @ ..] = bad.as_slice() {
        let more = if rest.is_empty() { String::new() } else { format!(", {} more", rest.len()) };
        let because = format!("{}: {}{more}", first.subject, first.message);
        return Step::failed(Phase::Verify, name, because);
    }
    let warned = of(Severity::Warn).count();
    let told = match warned {
        0 => "",
        // its own figure says it already
        _ if codes == ["journal"] => "",
        1 => ", 1 warning",
        _ => ", with warnings",
    };
    Step::ok(Phase::Verify, name, format!("{note}{told}")).warned(warned > 0)
}

/// `23/23 active`.
fn services(seen: &Observed) -> String {
    let ((active, all), failed) = (seen.vitals.units(), seen.vitals.units_failed.len());
    let known = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    format!("{active}/{all} active{known}")
}

fn critical(expect: &Expectation, seen: &Observed) -> Option<Step> {
    let names: Vec<String> = expect.host.critical_services.iter().map(|n| full_name(n)).collect();
    let down: Vec<&String> = names
        .iter()
        .filter(|n| !seen.units.get(*n).is_some_and(super::units::Unit::runs))
        .collect();
    match (names.as_slice(), down.as_slice()) {
        ([], _) => None,
        (_, []) => {
            let note = format!("{} active", names.join(", "));
            Some(Step::ok(Phase::Verify, "critical services", note))
        }
        (_, [first, ..]) => {
            let because = format!("{first} is not active");
            Some(Step::failed(Phase::Verify, "critical services", because))
        }
    }
}

fn resolved(seen: &Observed) -> String {
    let mut names = seen.network.names.iter();
    match (names.next(), names.count()) {
        (None, _) => "nothing resolves".to_owned(),
        (Some(one), 0) => format!("{one} resolves"),
        (Some(one), more) => format!("{one} and {more} more resolve"),
    }
}

/// `via 10.0.0.1`, or the route as `ip` shows it.
fn via(route: &str) -> String {
    let mut words = route.split(' ').skip_while(|w| *w != "via").skip(1);
    words.next().map_or_else(|| route.to_owned(), |gateway| format!("via {gateway}"))
}

fn memory(vitals: &Vitals) -> String {
    let used = vitals.memory_total_kib.saturating_sub(vitals.memory_available_kib);
    let percent = used * 100 / vitals.memory_total_kib.max(1);
    format!("{percent}% of {} in use", size(vitals.memory_total_kib.saturating_mul(1024)))
}

fn disks(vitals: &Vitals) -> String {
    let each = vitals.disks.iter().map(|d| format!("{} {}%", d.mount, d.used_percent()));
    let text = each.collect::<Vec<_>>().join(", ");
    if text.is_empty() { "not told".to_owned() } else { text }
}

fn probes(seen: &Observed, found: &[Finding]) -> Vec<Step> {
    let condemned = |label: &str| {
        found
            .iter()
            .any(|f| f.code == "health" && f.severity == Severity::Block && f.subject == label)
    };
    let one = |probe: &super::ProbeResult| {
        let forgiven = if condemned(&probe.label) { "" } else { " (does not decide)" };
        match &probe.state {
            ProbeState::Healthy => Step::ok(Phase::Verify, &probe.label, "healthy"),
            ProbeState::Failed(why) => {
                Step::failed(Phase::Verify, &probe.label, format!("{why}{forgiven}"))
            }
            ProbeState::Unknown(why) => {
                let because = format!("could not be run: {why}{forgiven}");
                Step::failed(Phase::Verify, &probe.label, because)
            }
        }
    };
    seen.probes.iter().map(one).collect()
}

/// Which of the units that were to be touched really were, and which others began to run, with the
/// time their start took: proven by when systemd saw them change, seconds since the epoch on the
/// host's own clock.
pub fn touched(
    planned: &UnitChanges,
    before: &[UnitBefore],
    since_s: i64,
    seen: &Observed,
) -> Vec<Step> {
    let mut steps = unplanned(planned, before, since_s, seen);
    for (fate, names) in planned.kinds() {
        for name in names {
            let unit = seen.units.get(name).filter(|u| u.runs());
            let detail = unit.and_then(|u| u.detail.as_ref());
            let since = |at: Option<i64>| at.is_some_and(|at| since_s > 0 && at >= since_s);
            let started = since(detail.and_then(|d| d.started_s));
            let changed = since(detail.and_then(|d| d.changed_s));
            let proven = match fate {
                UnitFate::Restart | UnitFate::Start => started,
                UnitFate::Reload => changed && !started,
                UnitFate::Stop => unit.is_none() && seen.complete(),
                UnitFate::Skip => false,
            };
            if proven {
                let start = matches!(fate, UnitFate::Restart | UnitFate::Start);
                let ms = detail.and_then(|d| d.start_us).map_or(0, |us| us.div_ceil(1000));
                let step = Step::ok(Phase::Activate, format!("{} {name}", fate.verb()), "");
                steps.push(step.took(if start { ms } else { 0 }));
            }
        }
    }
    steps
}

/// Units of the configuration that began to run although nobody had said so; those that systemd
/// itself started anew are not counted.
fn unplanned(
    planned: &UnitChanges,
    before: &[UnitBefore],
    since_s: i64,
    seen: &Observed,
) -> Vec<Step> {
    let known = self::planned(planned);
    // what targets say of themselves is no news: NixOS restarts some at every switch
    let told = |name: &str| !is_ours(name) && !name.ends_with(".target");
    let others = seen.units.values().filter(|u| u.runs() && told(&u.name));
    let began = others.filter_map(|unit| {
        let detail = unit.detail.as_ref().filter(|d| d.configured && d.restarts == 0)?;
        let started = since_s > 0 && detail.started_s? >= since_s && !known.contains(&unit.name);
        started.then_some((unit, detail))
    });
    began
        .map(|(unit, detail)| {
            let ran = before.iter().any(|b| b.name == unit.name && b.active == "active");
            let fate = if ran { UnitFate::Restart } else { UnitFate::Start };
            let name = format!("{} {}", fate.verb(), unit.name);
            let ms = detail.start_us.map_or(0, |us| us.div_ceil(1000));
            Step::ok(Phase::Activate, name, "").took(ms)
        })
        .collect()
}

/// Names of units that were to be touched: worth a line of details each.
pub fn planned(units: &UnitChanges) -> Vec<String> {
    let touched = units.kinds().into_iter().filter(|(fate, _)| *fate != UnitFate::Skip);
    touched.flat_map(|(_, names)| names).map(str::to_owned).collect()
}

#[cfg(test)]
#[path = "steps_tests.rs"]
mod tests;
