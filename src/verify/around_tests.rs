//! The rules about what is around the units: network, figures, journal, health checks.

use super::*;

#[test]
fn what_worked_in_the_network_must_still_work() {
    let lost = |change: fn(&mut Case)| {
        let mut case = Case::healthy();
        case.baseline.network.tailscale = Some("Running".into());
        case.seen.network.tailscale = Some("Running".into());
        case.baseline.network.route6 = Some("default via fe80::1 dev host0".into());
        case.seen.network.route6 = case.baseline.network.route6.clone();
        change(&mut case);
        let found = case.findings();
        found.iter().map(|f| format!("{} {:?}", f.code, f.severity)).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(lost(|_| {}), "");
    assert_eq!(lost(|c| c.seen.network.route4 = None), "default-route Block");
    assert_eq!(lost(|c| c.seen.network.route6 = None), "default-route Warn");
    assert_eq!(lost(|c| c.seen.network.names.clear()), "dns Block");
    assert_eq!(lost(|c| drop(c.seen.network.names.pop_first())), "dns Warn");
    assert_eq!(lost(|c| c.seen.network.addresses.clear()), "address Warn");
    assert_eq!(lost(|c| c.seen.network.tailscale = Some("Stopped".into())), "tailscale Block");
    assert_eq!(lost(|c| c.seen.network.tailscale = Some("timeout".into())), "tailscale Block");
    let never = |c: &mut Case| {
        c.baseline.network = Default::default();
        c.seen.network = Default::default();
    };
    assert_eq!(lost(never), "");
    assert_eq!(
        lost(|c| {
            c.baseline.network = Default::default();
            c.seen.network = Default::default();
            c.host.tailscale = Some(true);
        }),
        "tailscale Warn"
    );
    assert_eq!(lost(|c| (c.seen.network, c.fast) = (Default::default(), true)), "");
}

#[test]
fn figures_above_their_limits_warn_with_numbers() {
    let mut case = Case::healthy();
    case.seen.vitals.memory_total_kib = 16 << 20;
    case.seen.vitals.memory_available_kib = 1 << 20;
    case.seen.vitals.load_1 = 31.0;
    case.vitals.as_mut().expect("vitals").load_1 = 1.0;
    case.seen.vitals.disks =
        vec![Disk { mount: "/boot".into(), size_kib: 511 << 10, free_kib: 20 << 10 }];
    case.unit(
        "prometheus.service loaded active running simple success 0 0 0 @5 891289600 1073741824 we",
    );
    case.unit("fine.service loaded active running simple success 0 0 0 @5 1024 1073741824 we");
    assert_eq!(
        case.lines(),
        [
            "unit-memory Warn prometheus.service: at 850 of 1024 MiB",
            "disk Warn /boot: 97 % in use, 12 % before; 20 of 511 MiB free",
            "memory Warn memory: 94 % of memory in use, 7 % before; 1024 of 16384 MiB available",
            "load Warn load: load 31.0 on 4 processors, 1.0 before",
        ]
    );
    let suggestion = case.findings()[0].suggestion.clone().expect("a suggestion");
    assert!(suggestion.contains("MemoryMax"), "{suggestion}");
}

#[test]
fn journal_errors_warn_by_unit_with_their_first_line() {
    let mut case = Case::healthy();
    let entry = |source: &str, message: &str| journal::Entry {
        source: source.into(),
        message: message.into(),
    };
    case.seen.journal = vec![
        entry("a.service", "no database"),
        entry("b.service", "once"),
        entry("a.service", "again"),
        entry("nixdeploy-act-1.service", "ours"),
    ];
    assert_eq!(
        case.lines(),
        [
            "journal Warn a.service: 2 errors since the activation, first: no database",
            "journal Warn b.service: 1 error since the activation: once",
        ]
    );
}

fn result(state: ProbeState) -> ProbeResult {
    ProbeResult { label: "script check.sh".into(), state, said: Vec::new() }
}

#[test]
fn a_health_check_condemns_only_if_it_worked_before_and_is_required() {
    use ProbeState::{Failed, Healthy, Unknown};
    let failed = || Failed("exit status 1".into());
    let unknown = || Unknown("no curl".into());
    for (required, was, now, expected) in [
        (true, Some(Healthy), Healthy, None),
        (true, Some(Healthy), failed(), Some(Severity::Block)),
        (true, Some(failed()), failed(), Some(Severity::Warn)),
        (true, Some(unknown()), failed(), Some(Severity::Warn)),
        (true, None, failed(), Some(Severity::Block)),
        (false, Some(Healthy), failed(), Some(Severity::Warn)),
        (true, Some(Healthy), unknown(), Some(Severity::Block)),
        (true, Some(unknown()), unknown(), Some(Severity::Warn)),
        (true, Some(failed()), Healthy, None),
    ] {
        let mut case = Case::healthy();
        case.host.health = vec![probe(Check::Script("check.sh".into()), required)];
        case.baseline.probes = was.clone().map(result).into_iter().collect();
        case.seen.probes = vec![result(now.clone())];
        let severity = case.findings().first().map(|f| f.severity);
        assert_eq!(severity, expected, "{required} {was:?} {now:?}");
    }
}
