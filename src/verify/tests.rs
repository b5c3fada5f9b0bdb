//! Every rule of the judgement against what a lab host really said, changed in one place each.

use proptest::prelude::*;

use super::observe::Reader;
use super::probe::Answers;
use super::units::Unit;
use super::*;
use crate::event::Vitals;
use crate::event::facts::Disk;
use crate::fleet::*;

#[path = "around_tests.rs"]
mod around;

const HEALTHY: &str = include_str!("recorded/healthy.txt");
const BROKEN: &str = include_str!("recorded/broken.txt");
const FACTORY: &str =
    "/nix/store/2nk1qxqy866cimhgif2j0gn6pkr31jfp-nixos-system-factory-25.11.20261101.1ab2c3d";
const BROKEN_NEW: &str =
    "/nix/store/dk2jrsr1w1xsc9743jqbki76bzyacj25-nixos-system-p620-25.11.20261101.1ab2c3d";
const BOOT: &str = "f2856013-8147-47f8-af13-a707c8b267e8";

pub(super) fn host() -> Host {
    let name = HostName::new("p620").expect("a name");
    Host {
        addresses: vec![Address::new("p620").expect("an address")],
        attr: AttrName::new("p620").expect("an attribute"),
        name,
        tags: Vec::new(),
        wave: 1,
        role: Role::Plain,
        critical_services: Vec::new(),
        tailscale: None,
        limits: Limits { memory_percent: 90, disk_percent: 90 },
        health: Vec::new(),
        user: None,
        sudo: Sudo::Auto,
        build_on: BuildOn::Local,
        mode: Mode::Standard,
        soak_s: 15,
        activate_timeout_s: 300,
        verify_timeout_s: 120,
        commit_timeout_s: 120,
        on_revert_failure: None,
        on_inhibitor: OnInhibitor::Refuse,
        reboot: Reboot::Never,
        optional: Optional::Fail,
        accept_flake_config: false,
        ssh_control: SshControl::Own,
        jumps: Vec::new(),
        line: 1,
    }
}

/// A case: a host that is fine, to be changed in one place.
pub(super) struct Case {
    pub(super) host: Host,
    new: StorePath,
    boot_id: String,
    pub(super) fast: bool,
    units: Vec<UnitBefore>,
    vitals: Option<Vitals>,
    baseline: Baseline,
    sample: Option<Restarts>,
    pub(super) seen: Observed,
}

fn read(text: &str) -> (Observed, Answers) {
    let mut reader = Reader::default();
    for line in text.lines().filter(|l| !l.starts_with("nixdeploy-verify=")) {
        if reader.take(line) {
            break;
        }
    }
    reader.finish()
}

fn before(name: &str, active: &str, sub: &str) -> UnitBefore {
    UnitBefore {
        name: name.into(),
        active: active.into(),
        sub: sub.into(),
        n_restarts: 0,
        failed: active == "failed",
    }
}

impl Case {
    pub(super) fn of(recorded: &str, new: &str) -> Self {
        let (seen, _) = read(recorded);
        let (healthy, _) = read(HEALTHY);
        let units = healthy.units.values().map(|u| before(&u.name, &u.active, &u.sub)).collect();
        Self {
            host: host(),
            new: StorePath::new(new).expect("a path"),
            boot_id: BOOT.into(),
            fast: false,
            units,
            vitals: Some(healthy.vitals.clone()),
            baseline: healthy.into(),
            sample: Some(Restarts::new()),
            seen,
        }
    }

    fn healthy() -> Self {
        let mut case = Self::of(HEALTHY, FACTORY);
        case.seen.vitals.load_1 = 0.5;
        case
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        judge(&self.expect(), &self.seen)
    }

    pub(super) fn expect(&self) -> Expectation<'_> {
        Expectation {
            host: &self.host,
            new: &self.new,
            boot_id: &self.boot_id,
            fast: self.fast,
            units: &self.units,
            vitals: self.vitals.as_ref(),
            baseline: &self.baseline,
            sample: self.sample.as_ref(),
            profile: None,
            boot_default: None,
        }
    }

    /// `code severity subject: message` of each.
    fn lines(&self) -> Vec<String> {
        let line =
            |f: &Finding| format!("{} {:?} {}: {}", f.code, f.severity, f.subject, f.message);
        self.findings().iter().map(line).collect()
    }

    fn unit(&mut self, line: &str) {
        let known = units::take(&mut self.seen.units, &mut Restarts::new(), "unit", line);
        assert!(known, "{line}");
    }
}

fn probe(check: Check, required: bool) -> Probe {
    Probe { check, required, timeout_s: 30, from: From::Target, line: 1 }
}

#[test]
fn a_healthy_host_has_no_findings() {
    assert_eq!(Case::healthy().lines(), Vec::<String>::new());
    let (seen, _) = read(HEALTHY);
    assert_eq!(seen.oddities, Vec::<String>::new());
    assert_eq!(seen.pointers.generation, Some(Generation(1)));
    assert!(seen.pointers.etc_matches && seen.pointers.running == seen.pointers.boot_default);
    assert_eq!((seen.vitals.cpus, seen.vitals.disks.len()), (4, 3));
    assert!(seen.vitals.units_active > 10 && seen.network.route4.is_some());
}

#[test]
fn what_a_bad_configuration_did_is_told_unit_by_unit() {
    let mut case = Case::of(BROKEN, BROKEN_NEW);
    case.seen.vitals.load_1 = 0.5;
    let lines = case.lines();
    assert_eq!(
        lines[..3],
        [
            "unit-failed Block app-broken.service: failed: exit status 3, 6 s before the check",
            "unit-failed Block app-late.service: failed: exit status 5, 4 s before the check",
            "crash-loop Block app-quiet.service: crash loop: 5 restarts since the activation, \
             running again",
        ]
    );
    assert!(lines[3..].iter().all(|l| l.starts_with("journal Warn")), "{lines:?}");
}

#[test]
fn another_boot_another_system_or_half_an_activation_condemns() {
    let mut case = Case::healthy();
    case.boot_id = "another".into();
    assert!(case.lines()[0].starts_with("rebooted Block host"));
    let mut case = Case::healthy();
    case.new = StorePath::new(BROKEN_NEW).expect("a path");
    let line = case.lines().swap_remove(0);
    assert!(line.starts_with("running-system Block /run/current-system: runs "), "{line}");
    let (was, wanted) = line.split_once(", not ").expect("both systems");
    assert!(wanted.contains(&case.new.hash()[..8]) && !was.contains(&case.new.hash()[..8]));
    let (seen, _) = read(&HEALTHY.replace("etc_new=/nix", "etc_new=/other"));
    let case = Case { seen, ..Case::healthy() };
    assert!(case.lines()[0].starts_with("etc Block"));
}

#[test]
fn a_pointer_moved_by_somebody_else_is_told_and_left_to_the_guard() {
    let case = Case::healthy();
    let other = StorePath::new(BROKEN_NEW).expect("a path");
    let expect = Expectation {
        host: &case.host,
        new: &case.new,
        boot_id: BOOT,
        fast: true,
        units: &[],
        vitals: None,
        baseline: &case.baseline,
        sample: None,
        profile: Some(&other),
        boot_default: Some(&case.new),
    };
    let found = judge(&expect, &case.seen);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].code.as_str(), found[0].severity), ("foreign", Severity::Warn));
    assert_eq!(found[0].subject, "profile");
}

#[test]
fn a_unit_that_failed_before_condemns_nothing() {
    let mut case = Case::healthy();
    case.unit("old.service loaded failed failed simple exit-code 0 1 1 @5 - infinity we");
    case.units.push(before("old.service", "failed", "failed"));
    assert_eq!(
        case.lines(),
        [
            "unit-failed Info old.service: failed before as well (exit status 1)",
            "degraded Info system: degraded as before: old.service",
        ]
    );
}

/// What a unit looks like now, what it was before, and what is found (code and severity).
const UNITS: [(&str, &str, &str); 17] = [
    (
        "a.service loaded failed failed simple signal 0 2 9 @5 - infinity we",
        "active",
        "unit-failed Block",
    ),
    (
        "a.service not-found failed failed simple exit-code 0 1 1 @5 - infinity -",
        "active",
        "unit-failed Warn",
    ),
    (
        "a.service loaded failed failed simple timeout 0 2 15 @5 - infinity we",
        "",
        "unit-failed Block",
    ),
    (
        "a.mount loaded failed failed - exit-code - - - @5 - infinity we",
        "active",
        "unit-failed Block",
    ),
    (
        "a.service loaded inactive dead simple success 0 1 0 @5 - infinity we",
        "active",
        "unit-inactive Block",
    ),
    ("a.service loaded inactive dead simple success 0 1 0 @5 - infinity we", "inactive", ""),
    ("a.service loaded inactive dead simple success 0 1 0 @5 - infinity e", "active", ""),
    ("a.service loaded inactive dead simple success 0 1 0 @5 - infinity twe", "active", ""),
    ("a.service loaded inactive dead oneshot success 0 1 0 @5 - infinity we", "active", ""),
    (
        "a.service loaded inactive dead oneshot success 0 1 0 @5 - infinity rwe",
        "active",
        "unit-inactive Block",
    ),
    ("a.service not-found inactive dead - success 0 0 0 - - infinity c", "active", ""),
    (
        "a.service loaded inactive dead simple success 0 0 0 @5 - infinity wce",
        "active",
        "unit-inactive Warn",
    ),
    (
        "a.service loaded activating auto-restart simple exit-code 0 1 7 @5 - infinity we",
        "active",
        "crash-loop Block",
    ),
    (
        "a.service loaded active running simple success 3 0 0 @5 - infinity we",
        "active",
        "crash-loop Block",
    ),
    (
        "a.service loaded active running simple success 3 0 0 @5 - infinity we",
        "auto-restart",
        "crash-loop Warn",
    ),
    ("user@1000.service loaded inactive dead notify success 0 1 0 @5 - infinity w", "active", ""),
    ("nixdeploy-act-1.service loaded failed failed simple exit-code 0 1 4 @5 - infinity -", "", ""),
];

#[test]
fn each_state_of_a_unit_means_one_thing() {
    for (now, was, expected) in UNITS {
        let mut case = Case::healthy();
        let name = now.split(' ').next().expect("a name");
        case.unit(now);
        match was {
            "" => {}
            "auto-restart" => case.units.push(before(name, "activating", was)),
            _ => case.units.push(before(name, was, "running")),
        }
        let found = case.findings();
        let told = found.iter().map(|f| format!("{} {:?}", f.code, f.severity));
        assert_eq!(told.collect::<Vec<_>>().join(", "), expected, "{now} / {was}");
    }
}

#[test]
fn restarts_count_from_the_sample_and_a_loop_of_before_is_excused() {
    let line = "a.service loaded active running simple success 9 0 0 @5 - infinity we";
    let mut case = Case::healthy();
    case.unit(line);
    case.units.push(UnitBefore { n_restarts: 9, ..before("a.service", "active", "running") });
    // started anew by the activation, and restarted nine times since
    assert!(case.lines()[0].contains("crash loop: 9 restarts since"));
    case.sample = Some(parse_restarts(["restarts=a.service 9", "noise", "restarts=x"]));
    assert_eq!(case.lines(), Vec::<String>::new());
    case.sample = Some(parse_restarts(["restarts=a.service 7"]));
    assert!(case.lines()[0].contains("crash loop: 2 restarts since"));
    // without a sample the count of before is what there is
    case.sample = None;
    assert_eq!(case.lines(), Vec::<String>::new());
    // it was restarted between the facts and the baseline: it looped then
    case.sample = Some(Restarts::new());
    case.baseline.restarts = parse_restarts(["restarts=a.service 12"]);
    assert!(case.lines()[0].starts_with("crash-loop Warn"));
}

#[test]
fn a_unit_that_is_gone_without_a_word_condemns() {
    let mut case = Case::healthy();
    case.units.push(before("a.service", "active", "running"));
    assert_eq!(case.seen.missing(&case.units), ["a.service"]);
    assert!(case.lines()[0].starts_with("unit-inactive Block a.service: was active before, and"));
}

#[test]
fn a_critical_service_must_run_whatever_it_was() {
    let mut case = Case::healthy();
    case.host.critical_services = vec!["sshd".into(), "plex".into(), "nix-daemon.socket".into()];
    assert_eq!(case.lines(), ["critical-service Block plex.service: critical service is inactive"]);
    // failing as before excuses a unit, but no critical one
    case.unit("plex.service loaded failed failed simple exit-code 0 1 1 @5 - infinity we");
    case.units.push(before("plex.service", "failed", "failed"));
    assert!(case.lines()[0].starts_with("critical-service Block plex.service"));
    // one finding is enough to condemn
    case.units.pop();
    let blocks = case.findings().iter().filter(|f| f.severity == Severity::Block).count();
    assert_eq!(blocks, 1);
}

#[test]
fn a_hostile_answer_becomes_an_oddity() {
    let (seen, _) = read("boot_id=\u{1b}]52;c;x\u{7}\nrunning=/etc/passwd\nunit=a b\nrubbish\n");
    assert_eq!(seen.boot_id, "\\u{1b}]52;c;x\\u{7}");
    assert_eq!(seen.oddities, ["running=/etc/passwd", "unit=a b", "rubbish"]);
    assert!(!seen.pointers.etc_matches);
}

#[test]
fn a_refused_connection_is_a_finding_that_condemns() {
    let refused = "ssh: connect to host p620 port 22: Connection refused".to_owned();
    let finding = VerifyError::NotReached(Failure::Unreachable(refused)).finding();
    assert_eq!((finding.code.as_str(), finding.severity), ("ssh", Severity::Block));
    assert!(finding.message.ends_with("Connection refused"), "{}", finding.message);
}

proptest! {
    #[test]
    fn the_parser_and_the_judge_take_anything(lines in proptest::collection::vec(line(), 0..60)) {
        let (seen, answers) = read(&lines.join("\n"));
        let _ = answers.result(0, &probe(Check::Dns("x".into()), true));
        let mut case = Case::healthy();
        case.seen = seen;
        for finding in case.findings() {
            prop_assert!(!finding.message.chars().any(char::is_control));
            prop_assert!(!finding.subject.chars().any(char::is_control));
        }
        let _ = case.seen.units.values().map(Unit::status).count();
    }
}

/// Lines of real answers with words exchanged, and noise.
fn line() -> impl Strategy<Value = String> {
    let real: Vec<&str> = HEALTHY.lines().chain(BROKEN.lines()).collect();
    let real = proptest::sample::select(real);
    prop_oneof![
        real.clone().prop_map(str::to_owned),
        (real, "[ -~\u{1b}\u{202e}]{0,12}").prop_map(|(line, word)| {
            let at = line.find(['=', ' ']).map_or(0, |i| i + 1);
            format!("{}{word}", &line[..at])
        }),
        ".{0,40}",
    ]
}
