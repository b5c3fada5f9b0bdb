//! The checks as the report tells them, from recorded answers and from what a rule made of them.

use super::*;
use crate::event::PhaseResult;
use crate::verify::tests::Case;
use crate::verify::units::{Detail, Unit};

const FACTORY: &str =
    "/nix/store/2nk1qxqy866cimhgif2j0gn6pkr31jfp-nixos-system-factory-25.11.20261101.1ab2c3d";

fn checks(case: &Case) -> Vec<Step> {
    steps(&case.expect(), &case.seen, &case.findings(), 96)
}

fn told(case: &Case) -> Vec<String> {
    let result = |step: &Step| match &step.result {
        PhaseResult::Ok => format!("ok {}: {}", step.name, step.note),
        PhaseResult::Skipped { because } => format!("skip {}: {because}", step.name),
        PhaseResult::Failed { because } => format!("FAIL {}: {because}", step.name),
    };
    checks(case).iter().map(result).collect()
}

#[test]
fn a_healthy_host_passes_each_check_with_its_figure() {
    let mut case = Case::of(include_str!("recorded/healthy.txt"), FACTORY);
    case.host.critical_services = vec!["sshd".into()];
    let expected = [
        "ok ssh over a new connection: ",
        "ok system: runs as built, in the same boot",
        "ok services: 17/17 active",
        "ok critical services: sshd.service active",
        "ok DNS: localhost and 1 more resolve",
        "ok default route: via 10.99.0.1",
        "skip Tailscale: not in use",
        "ok memory: 6% of 23.6 GiB in use",
        "ok disks: / 3%, /nix 3%, /boot 12%",
        "ok journal: no errors since the activation",
    ];
    assert_eq!(told(&case), expected);
    assert_eq!(checks(&case)[0].took_ms, 96);
}

#[test]
fn a_check_fails_only_when_it_condemns() {
    let mut case = Case::of(include_str!("recorded/healthy.txt"), FACTORY);
    case.host.critical_services = vec!["nginx".into()];
    case.seen.network.route4 = None;
    case.seen.network.names.clear();
    case.seen.units.get_mut("sshd.service").expect("there").active = "failed".into();
    let text = told(&case);
    let failed: Vec<&str> =
        text.iter().filter_map(|l| l.strip_prefix("FAIL ")?.split(':').next()).collect();
    assert_eq!(failed, ["services", "critical services", "DNS", "default route"], "{text:#?}");
    case.fast = true;
    assert_eq!(checks(&case).len(), 4, "fast looks at units and contact");
}

#[test]
fn only_what_systemd_saw_is_told_as_done() {
    let mut case = Case::of(include_str!("recorded/healthy.txt"), FACTORY);
    let detail = |started, changed, us| Detail {
        started_s: Some(started),
        changed_s: Some(changed),
        start_us: Some(us),
        ..Default::default()
    };
    for (name, it) in [
        ("again.service", detail(100, 100, 800_000)),
        ("never.service", detail(99, 99, 1)),
        ("reloaded.service", detail(50, 101, 7)),
        ("new.service", Detail { configured: true, ..detail(102, 102, 2_000) }),
        ("foreign.service", detail(102, 102, 2_000)),
    ] {
        let active = "active".to_owned();
        let unit = Unit { name: name.into(), active, detail: Some(it), ..Default::default() };
        case.seen.units.insert(name.into(), unit);
    }
    let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let planned = UnitChanges {
        stop: list(&["again.service", "gone.service"]),
        start: list(&["again.service", "never.service", "silent.service"]),
        reload: list(&["reloaded.service", "never.service"]),
        ..Default::default()
    };
    let steps = touched(&planned, &[], 100, &case.seen);
    let told: Vec<(&str, u64)> = steps.iter().map(|s| (s.name.as_str(), s.took_ms)).collect();
    let expected = [
        ("start new.service", 2),
        ("stop gone.service", 0),
        ("restart again.service", 800),
        ("reload reloaded.service", 0),
    ];
    assert_eq!(told, expected);
    assert_eq!(
        touched(&planned, &[], 0, &Observed::default()),
        [],
        "without a clock nothing is proven"
    );
}
