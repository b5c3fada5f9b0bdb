//! Metrics for Prometheus: what is told, under which names, as text, as a dashboard and as rules.
//!
//! [`kept`] knows the numbers, [`FAMILIES`] is the one list of their names, and every query of the
//! dashboard and of the rules asks for names of that list alone.

pub mod dashboard;
pub mod exposition;
pub mod kept;

use std::collections::BTreeMap;

use exposition::{Family, Kind, Page};
use kept::{Host, Kept};

use crate::fleet::HostName;

/// Rules that raise an alert, for Prometheus' `rule_files`.
pub const ALERTS: &str = include_str!("metrics/alerts.yml");

macro_rules! families {
    ($($id:ident $name:literal $kind:ident [$($label:literal)*] $help:literal;)*) => {
        $(const $id: Family = Family {
            name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help,
        };)*
        /// Every name that is told.
        pub const FAMILIES: &[Family] = &[$($id),*];
    };
}

families! {
    BUILD "nixdeploy_build_info" Gauge ["version"] "The nixdeploy that wrote this; always 1.";
    RUNS "nixdeploy_runs_total" Counter ["goal" "exit_code"] "Runs by goal and exit code.";
    LAST_RUN "nixdeploy_last_run_timestamp_seconds" Gauge [] "When the last run ended.";
    HOST_RUNS "nixdeploy_host_runs_total" Counter ["host" "goal" "result"]
        "Runs with a host, by the recap's word for how it ended.";
    FAILURES "nixdeploy_host_failures_total" Counter ["host"]
        "Deploys and rollbacks that did not end as wanted; those that were taken back too.";
    ROLLBACKS "nixdeploy_host_rollbacks_total" Counter ["host"]
        "Deploys that were taken back.";
    PHASES "nixdeploy_host_phase_duration_seconds" Summary ["host" "phase"]
        "What phases took, in all runs.";
    COPIED "nixdeploy_host_copied_bytes_total" Counter ["host"]
        "Bytes of store paths copied to a host, unpacked.";
    LAST_AT "nixdeploy_host_last_deploy_timestamp_seconds" Gauge ["host"]
        "When the last deploy or rollback of a host ended.";
    LAST_OK "nixdeploy_host_last_deploy_success" Gauge ["host"]
        "Whether it ended as wanted: 1, else 0.";
    LAST_BACK "nixdeploy_host_last_deploy_rolled_back" Gauge ["host"]
        "Whether it was taken back: 1, else 0.";
    LAST_EXIT "nixdeploy_host_last_deploy_exit_code" Gauge ["host"] "Its exit code.";
    LAST_INFO "nixdeploy_host_last_deploy_info" Gauge ["host" "result"]
        "The recap's word for how it ended; always 1.";
    LAST_TOOK "nixdeploy_host_last_deploy_duration_seconds" Gauge ["host"]
        "What its phases took together.";
    LAST_PHASE "nixdeploy_host_last_deploy_phase_duration_seconds" Gauge ["host" "phase"]
        "What each of its phases took.";
    LAST_COPIED "nixdeploy_host_last_deploy_copied_bytes" Gauge ["host"]
        "Bytes of store paths copied in it, unpacked.";
    USUAL "nixdeploy_host_usual_deploy_duration_seconds" Gauge ["host"]
        "The median of the committed deploys before the last; absent when they are fewer than 5.";
    LONGEST "nixdeploy_host_longest_deploy_duration_seconds" Gauge ["host"]
        "The longest of the same deploys.";
    REACHABLE "nixdeploy_host_reachable" Gauge ["host"]
        "Whether a host answered when it was last asked: 1, else 0.";
    OPTIONAL "nixdeploy_host_optional" Gauge ["host"]
        "Whether hosts.toml allows a host to be asleep: 1, else 0.";
    ASKED "nixdeploy_host_asked_timestamp_seconds" Gauge ["host"]
        "When a host was last asked.";
    ANSWERED "nixdeploy_host_answered_timestamp_seconds" Gauge ["host"]
        "When a host last answered.";
    GENERATION "nixdeploy_host_generation" Gauge ["host"]
        "The generation of a host's system profile.";
    SYSTEM "nixdeploy_host_system_info" Gauge ["host" "system"]
        "The name of the closure that a host runs; always 1.";
    CLOSURE "nixdeploy_host_closure_bytes" Gauge ["host"]
        "Bytes of that closure, unpacked, if it was deployed from here.";
    REBOOT "nixdeploy_host_reboot_pending" Gauge ["host"]
        "Whether only a reboot brings all of what runs: 1, else 0.";
    BEHIND "nixdeploy_host_behind" Gauge ["host"]
        "Whether a deploy of the flake would change a host: 1, else 0; absent when not known.";
    FAILED_UNITS "nixdeploy_host_failed_units" Gauge ["host"] "Units that have failed on a host.";
    ISSUES_AT "nixdeploy_issue_check_timestamp_seconds" Gauge []
        "When known issues were last looked for.";
    ISSUES_OK "nixdeploy_issue_check_complete" Gauge []
        "Whether that check had the whole list: 1, else 0.";
    ISSUES "nixdeploy_host_known_issues" Gauge ["host" "severity"]
        "Known issues of what a host ran then.";
}

/// The severities of issues, so that each has a number, if it is 0.
const SEVERITIES: [&str; 4] = ["low", "medium", "high", "critical"];

/// A host of hosts.toml, and whether it may be asleep.
pub type Listed = (HostName, bool);

/// The text of what is known of these hosts; `None`: of all.
pub fn text(kept: &Kept, fleet: Option<&[Listed]>) -> String {
    let listed: Vec<Listed> = match fleet {
        Some(fleet) => fleet.to_vec(),
        None => kept.hosts.keys().map(|name| (name.clone(), false)).collect(),
    };
    let unknown = Host::default();
    let mut hosts: Vec<(&str, &Host)> = listed
        .iter()
        .map(|(name, _)| (name.as_str(), kept.hosts.get(name).unwrap_or(&unknown)))
        .collect();
    hosts.sort_by_key(|(name, _)| *name);
    let mut page = Page::default();
    page.sample(&BUILD, "", &[env!("CARGO_PKG_VERSION")], 1.0);
    for (goal, by_exit) in &kept.runs {
        for (exit, count) in by_exit {
            page.sample(&RUNS, "", &[goal, &exit.to_string()], number(*count));
        }
    }
    if let Some(at_ms) = kept.last_run_ms {
        page.sample(&LAST_RUN, "", &[], moment(at_ms));
    }
    sums(&mut page, &hosts);
    last_deploys(&mut page, &hosts);
    if fleet.is_some() {
        let mut listed = listed.clone();
        listed.sort();
        for (name, optional) in &listed {
            page.sample(&OPTIONAL, "", &[name.as_str()], truth(*optional));
        }
    }
    now(&mut page, &hosts);
    issues(&mut page, kept, &hosts);
    page.text()
}

/// What only grows; a host that has none has 0, so that its first one is a step.
fn sums(page: &mut Page, hosts: &[(&str, &Host)]) {
    for (name, host) in hosts {
        for (goal, by_result) in &host.runs {
            for (result, count) in by_result {
                page.sample(&HOST_RUNS, "", &[name, goal, result], number(*count));
            }
        }
    }
    each(page, &FAILURES, hosts, |host| Some(number(host.failures)));
    each(page, &ROLLBACKS, hosts, |host| Some(number(host.rollbacks)));
    for (name, host) in hosts {
        for (phase, (count, ms)) in &host.phases {
            page.sample(&PHASES, "_sum", &[name, phase], seconds(*ms));
            page.sample(&PHASES, "_count", &[name, phase], number(*count));
        }
    }
    each(page, &COPIED, hosts, |host| Some(number(host.copied_bytes)));
}

fn last_deploys(page: &mut Page, hosts: &[(&str, &Host)]) {
    let last = |of: fn(&kept::Last) -> f64| move |host: &Host| host.last.as_ref().map(of);
    each(page, &LAST_AT, hosts, last(|l| moment(l.at_ms)));
    each(page, &LAST_OK, hosts, last(|l| truth(l.ok)));
    each(page, &LAST_BACK, hosts, last(|l| truth(l.result == "rolled-back")));
    each(page, &LAST_EXIT, hosts, last(|l| f64::from(l.exit)));
    for (name, host) in hosts {
        if let Some(last) = &host.last {
            page.sample(&LAST_INFO, "", &[name, &last.result], 1.0);
        }
    }
    each(page, &LAST_TOOK, hosts, last(|l| seconds(l.took_ms)));
    for (name, host) in hosts {
        for (phase, ms) in host.last.iter().flat_map(|last| &last.phases) {
            page.sample(&LAST_PHASE, "", &[name, phase], seconds(*ms));
        }
    }
    each(page, &LAST_COPIED, hosts, last(|l| number(l.copied_bytes)));
    each(page, &USUAL, hosts, |host| host.usual().map(|u| seconds(u.median_ms)));
    each(page, &LONGEST, hosts, |host| host.usual().map(|u| seconds(u.longest_ms)));
}

/// What hosts were when they were last asked.
fn now(page: &mut Page, hosts: &[(&str, &Host)]) {
    each(page, &REACHABLE, hosts, |host| host.reachable.map(truth));
    each(page, &ASKED, hosts, |host| host.asked_ms.map(moment));
    each(page, &ANSWERED, hosts, |host| host.answered_ms.map(moment));
    each(page, &GENERATION, hosts, |host| host.generation.map(|g| number(g.0)));
    for (name, host) in hosts {
        if let Some(system) = &host.system {
            page.sample(&SYSTEM, "", &[name, system.name()], 1.0);
        }
    }
    each(page, &CLOSURE, hosts, |host| host.closure_bytes.map(number));
    each(page, &REBOOT, hosts, |host| host.reboot.map(truth));
    each(page, &BEHIND, hosts, |host| host.behind.map(truth));
    each(page, &FAILED_UNITS, hosts, |host| host.failed_units.map(number));
}

fn issues(page: &mut Page, kept: &Kept, hosts: &[(&str, &Host)]) {
    let Some(issues) = &kept.issues else { return };
    page.sample(&ISSUES_AT, "", &[], moment(issues.at_ms));
    page.sample(&ISSUES_OK, "", &[], truth(issues.state == "complete"));
    let none = BTreeMap::new();
    for (name, _) in hosts.iter().filter(|(name, _)| issues.hosts.contains_key(*name)) {
        let found = issues.hosts.get(*name).unwrap_or(&none);
        for severity in SEVERITIES {
            let count = found.get(severity).copied().unwrap_or_default();
            page.sample(&ISSUES, "", &[name, severity], number(count));
        }
    }
}

fn each(
    page: &mut Page,
    family: &Family,
    hosts: &[(&str, &Host)],
    of: impl Fn(&Host) -> Option<f64>,
) {
    for (name, host) in hosts {
        if let Some(number) = of(host) {
            page.sample(family, "", &[name], number);
        }
    }
}

fn number(count: u64) -> f64 {
    count as f64
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

fn moment(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

fn truth(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}
