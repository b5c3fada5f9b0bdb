//! Hosts that the gate holds: what a person is asked, and what can be typed to go on.

use std::collections::BTreeSet;

use super::asked::Update;
use super::gate::{Gate, Judged};
use crate::command::issues as known_issues;
use crate::command::launch;
use crate::fleet::HostName;
use crate::issues::fetch::State;
use crate::issues::{self, Phase, Severity};
use crate::report::choice;
use crate::update::decision::{Decision, Evidence};
use crate::update::holds;
use crate::world::invocation::quote;

/// What is asked: it says what is to be overlooked, for a deploy asks once more, about its units.
pub(super) fn question(host: &HostName, evidence: Evidence) -> String {
    match evidence.state {
        State::Complete => {
            let worst = evidence.worst.map_or("nothing", known_issues::word);
            format!("The worst that would be new on {host} is {worst}. Update it all the same?")
        }
        State::Partial | State::Stale => {
            format!("The check for known issues of {host} has gaps. Update it all the same?")
        }
        State::Unavailable => {
            format!("Known issues of {host} were not checked. Update it all the same?")
        }
    }
}

/// Which hosts are held, and what can be typed.
pub(super) fn told_held(update: &Update<'_>, gate: &Gate) {
    let shape = choice::look(&launch::setting(update.global), &update.world.environment);
    for (host, _, why) in &gate.held {
        let lines = shape.wrap("", "  ", &format!("{host} is held: {why}"));
        crate::report::err(&(lines.join("\n") + "\n"));
    }
    let Some(judged) = gate.judged.as_ref().filter(|_| !gate.held.is_empty()) else { return };
    let held: BTreeSet<&str> = gate.held.iter().map(|(host, ..)| host.as_str()).collect();
    let typed = &update.world.environment.arguments;
    for (what, command) in around(judged, &held).into_iter().chain(past(judged, &held, typed)) {
        crate::report::err(&format!("  {what:21} {command}\n"));
    }
}

/// Ways around what would be new on hosts.
fn around(judged: &Judged, held: &BTreeSet<&str>) -> Vec<(&'static str, String)> {
    let new = |i: &&issues::Item| {
        let held = i.hosts.keys().any(|host| held.contains(host.as_str()));
        held && i.phase == Phase::Introduced && i.severity > Severity::Low
    };
    let new: Vec<&issues::Item> = judged.checked.verdict.items.iter().filter(new).collect();
    let hosts: Vec<&str> = held.iter().copied().collect();
    let typed = format!("nixdeploy update smart {}", hosts.join(" "));
    let critical = new.iter().filter(|i| i.severity == Severity::Critical);
    let numbers: Vec<String> = critical.map(|i| i.number.to_string()).collect();
    let package = new.iter().map(|i| i.package.as_str()).find(|p| holds::can(p).is_ok());
    let mut rows = Vec::new();
    if !new.is_empty() {
        rows.push(("leave an input out", format!("{typed} --except INPUT")));
    }
    if let Some(package) = package {
        let package = quote(package);
        rows.push(("keep the old package", format!("{typed} --hold {package}  (shows a patch)")));
    }
    if !numbers.is_empty() {
        let numbers = numbers.join(",");
        rows.push(("accept it by number", format!("{typed} --accept-issue {numbers}")));
    }
    rows
}

/// What was typed, with the flag that lets hosts go on that were held without a question.
fn past(judged: &Judged, held: &BTreeSet<&str>, typed: &[String]) -> Vec<(&'static str, String)> {
    let decided = judged.decisions.iter().filter(|(host, ..)| held.contains(host.as_str()));
    let ways: BTreeSet<_> = decided.filter_map(|(_, e, d)| way_on(*e, *d)).collect();
    let command = |flag: &str| {
        // A flag is given once: one that was too low goes.
        let (name, _) = flag.split_once([' ', '=']).unwrap_or((flag, ""));
        let mut words = Vec::new();
        let mut value = false;
        for word in typed {
            if !std::mem::take(&mut value) && word != name {
                let given = word.split_once('=').is_some_and(|(given, _)| given == name);
                words.extend((!given).then(|| quote(word)));
            } else {
                value = word == name;
            }
        }
        format!("nixdeploy {} {flag}", words.join(" "))
    };
    ways.into_iter().map(|(what, flag)| (what, command(flag))).collect()
}

/// The flag for that, and what it does.
fn way_on(evidence: Evidence, decision: Decision) -> Option<(&'static str, &'static str)> {
    match (decision, evidence.state, evidence.worst) {
        (Decision::Unchecked, State::Unavailable, _) => {
            Some(("go on without a check", "--no-issue-check"))
        }
        (Decision::Unchecked, ..) => Some(("go on with these gaps", "--issues=best-effort")),
        (Decision::Refuse, _, Some(Severity::Medium)) => {
            Some(("go on up to medium", "--max-risk=medium"))
        }
        (Decision::Refuse, _, Some(Severity::High)) => {
            Some(("go on up to high", "--max-risk=high"))
        }
        (Decision::Refuse | Decision::Proceed | Decision::Ask | Decision::AskName, ..) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::decision::{Terms, Who, decide};

    #[test]
    fn whoever_is_held_without_a_question_is_told_flags_that_let_it_go_on() {
        let states = [State::Complete, State::Stale, State::Partial, State::Unavailable];
        let worst = [None, Some(Severity::Low), Some(Severity::Medium), Some(Severity::High)];
        let all = states.into_iter().flat_map(|state| worst.map(|worst| (state, worst)));
        for (state, worst) in all {
            for who in [Who::Yes, Who::Nobody] {
                let evidence = Evidence { state, recent: false, worst };
                let mut terms = Terms::default();
                for _ in 0..2 {
                    match way_on(evidence, decide(evidence, who, terms)) {
                        None => {}
                        Some((_, "--no-issue-check")) => terms.no_check = true,
                        Some((_, "--issues=best-effort")) => terms.best_effort = true,
                        Some((_, "--max-risk=medium")) => terms.max_risk = Some(Severity::Medium),
                        Some(_) => terms.max_risk = Some(Severity::High),
                    }
                }
                let last = decide(evidence, who, terms);
                assert_eq!(last, Decision::Proceed, "{evidence:?} {who:?}");
            }
        }
        let critical =
            Evidence { state: State::Complete, recent: true, worst: Some(Severity::Critical) };
        assert_eq!(way_on(critical, Decision::Refuse), None, "that is accepted by its number");
    }
}
