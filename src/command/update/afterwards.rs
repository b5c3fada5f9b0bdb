//! Once hosts were deployed: whether what they run is what was judged.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt;

use super::asked::Update;
use super::gate::{AT_ONCE, Checked, Gate};
use crate::command::issues as known_issues;
use crate::fleet::{Host, HostName};
use crate::issues::closures::{Systems, between};
use crate::issues::fetch::State;
use crate::issues::{self, Phase, Severity, Verdict};

/// Reads what the deployed hosts run, and says in which issues it differs from what was judged.
pub(super) async fn again(update: &Update<'_>, gate: &Gate, deployed: &[HostName]) {
    let Some(judged) = &gate.judged else { return };
    let hosts = deployed.iter().filter(|h| judged.systems.contains_key(h.as_str()));
    let hosts: Vec<&Host> = hosts.filter_map(|h| update.fleet.host(h.as_str())).collect();
    let read = hosts.iter().map(|host| known_issues::running(update.world, host));
    let read: Vec<_> = futures_util::stream::iter(read).buffered(AT_ONCE).collect().await;
    let (mut now, mut unread) = (BTreeMap::new(), Vec::new());
    for (host, running) in hosts.iter().zip(read) {
        let (Ok((_, _, paths)), Some(told)) = (running, judged.systems.get(host.name.as_str()))
        else {
            unread.push(host.name.to_string());
            continue;
        };
        let candidate = paths.iter().map(|p| p.path.name().to_owned()).collect();
        let systems = Systems { installed: told.installed.clone(), candidate };
        now.insert(host.name.to_string(), systems);
    }
    let Checked { inventory, listing, rules, verdict, .. } = &judged.checked;
    let locks = [inventory.installed.clone(), inventory.candidate.clone()];
    let inventory = between(&now, locks, inventory.now_ms);
    let found = issues::check(&inventory, &listing.issues, rules);
    let state = (!now.is_empty()).then_some(listing.state);
    for line in compared([&new_on(verdict, &now), &new_on(&found, &now)], state, &unread) {
        crate::report::err(&format!("{line}\n"));
    }
}

/// Issues that are new on hosts, of which something is known.
fn new_on(verdict: &Verdict, hosts: &BTreeMap<String, Systems>) -> BTreeSet<(u64, String)> {
    let new = verdict.items.iter().filter(|i| i.phase == Phase::Introduced);
    let worth = new.filter(|i| i.severity > Severity::Low);
    let pairs = worth.flat_map(|i| i.hosts.keys().map(|host| (i.number, host.clone())));
    pairs.filter(|(_, host)| hosts.contains_key(host)).collect()
}

/// What is said of issues that were told and found; `state`: `None`, no host could be read.
fn compared(
    [told, found]: [&BTreeSet<(u64, String)>; 2],
    state: Option<State>,
    unread: &[String],
) -> Vec<String> {
    let mut lines = Vec::new();
    if !unread.is_empty() {
        let hosts = unread.join(", ");
        lines.push(format!("known issues were not compared with what runs on {hosts}"));
    }
    let all = |word: &str, all: Vec<&(u64, String)>| {
        let all: Vec<String> = all.iter().map(|(n, host)| format!("#{n} on {host}")).collect();
        (!all.is_empty()).then(|| format!("{word}: {}", all.join(", ")))
    };
    let differs = [
        all("new issues that were not told before", found.difference(told).collect()),
        all("issues that were told and are not there", told.difference(found).collect()),
    ];
    let differs: Vec<String> = differs.into_iter().flatten().collect();
    const OF: &str = "known issues of what runs now";
    match (state, differs.as_slice()) {
        (None, _) => {}
        (Some(State::Unavailable), _) => {
            lines.push(format!("{OF}: not checked, for there is no list of issues"));
        }
        (Some(_), [_, ..]) => lines.push(format!("warning: {}", differs.join("\n"))),
        (Some(_), []) if !found.is_empty() => {
            lines.extend(all(&format!("{OF}, as told before"), found.iter().collect()));
        }
        (Some(State::Complete), []) => lines.push(format!("{OF}: none that is new")),
        (Some(State::Partial | State::Stale), []) => {
            lines.push(format!("{OF}: none that is new in the list, which is not whole"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_says_that_nothing_is_new_who_has_no_whole_list() {
        let none = BTreeSet::new();
        let said = |state| compared([&none, &none], state, &[]).join("\n");
        let nothing = "known issues of what runs now: none that is new";
        assert_eq!(said(Some(State::Complete)), nothing);
        assert!(said(Some(State::Unavailable)).contains("not checked"));
        assert!(!said(Some(State::Unavailable)).contains("none"));
        for state in [State::Partial, State::Stale] {
            assert!(said(Some(state)).ends_with("which is not whole"), "{state:?}");
        }
        let unread = compared([&none, &none], None, &["p620".to_owned()]);
        assert_eq!(unread, ["known issues were not compared with what runs on p620"]);
    }

    #[test]
    fn what_differs_from_what_was_told_is_a_warning() {
        let of = |numbers: &[u64]| -> BTreeSet<_> {
            numbers.iter().map(|n| (*n, "p620".to_owned())).collect()
        };
        let said = |told: &[u64], found: &[u64]| {
            compared([&of(told), &of(found)], Some(State::Complete), &[]).join("\n")
        };
        assert_eq!(said(&[7], &[7]), "known issues of what runs now, as told before: #7 on p620");
        let more = "warning: new issues that were not told before: #8 on p620";
        assert_eq!(said(&[7], &[7, 8]), more);
        let gone = "warning: issues that were told and are not there: #7 on p620";
        assert_eq!(said(&[7], &[]), gone);
    }
}
