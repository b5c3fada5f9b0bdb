//! Each reason to refuse, made from a host that the lab recorded.

use std::path::Path;

use super::facts::{Switching, Transaction, Unit};
use super::*;
use crate::fleet::{HostName, StorePath};

pub(crate) fn recorded() -> Facts {
    let lines: Vec<&str> = include_str!("fixtures/facts-p620.txt").lines().collect();
    answer::parse(&lines).0
}

pub(crate) fn policy() -> Policy {
    Policy {
        fast: false,
        auto: false,
        verify_unchanged: true,
        ask: false,
        accept_drift: false,
        external: false,
        nh: false,
        emergency: false,
        reads_only: false,
        trial_boot: false,
        stage_on_inhibitor: false,
        activate_timeout_s: 300,
        soak_s: 15,
        verify_timeout_s: 120,
        commit_timeout_s: 120,
    }
}

pub(crate) fn other(name: &str) -> StorePath {
    StorePath::new(format!("/nix/store/0c0d1f2g3h4i5j6k7l8m9n0p1q2r3s4v-{name}")).expect("path")
}

fn refuse(facts: &Facts) -> &'static str {
    admit_facts(facts, &policy(), None).expect_err("refused").code()
}

fn busy(decision: &str) -> Facts {
    let tx = Transaction {
        name: "abc123456789".to_owned(),
        current: true,
        owner: "olaf@desk".to_owned(),
        phase: "observe".to_owned(),
        decision: decision.to_owned(),
        since_s: 1000,
        ..Transaction::default()
    };
    Facts { transactions: vec![tx], now_s: 1042, ..recorded() }
}

#[test]
fn a_healthy_host_is_admitted_without_a_word() {
    let facts = recorded();
    let pin = Pin { machine_id: facts.early.machine_id.clone(), boot_id: String::new() };
    admit_early(&facts.early, Some(&pin), Path::new("x")).expect("admitted");
    assert_eq!(admit_facts(&facts, &policy(), None).expect("admitted"), []);
}

#[test]
fn another_machine_is_refused_even_without_an_identity() {
    let mut early = recorded().early;
    let pin = Pin { machine_id: early.machine_id.clone(), boot_id: String::new() };
    early.machine_id.clear();
    let refused = admit_early(&early, Some(&pin), Path::new("/s/p620.json")).expect_err("wrong");
    assert_eq!(refused.code(), "wrong-host");
    let hints = refused.hints(&HostName::new("p620").expect("name"));
    assert!(hints.iter().any(|h| h.starts_with("rm /s/p620.json")));
}

#[test]
fn a_user_or_a_foreign_system_is_refused() {
    let mut early = recorded().early;
    early.nixos = false;
    assert_eq!(admit_early(&early, None, Path::new("")).expect_err("no").code(), "not-nixos");
    early.uid = Some(1000);
    assert_eq!(admit_early(&early, None, Path::new("")).expect_err("no").code(), "no-elevation");
}

#[test]
fn a_held_host_names_its_holder() {
    let mut facts = busy("");
    let alive = Unit { active: "active".to_owned(), ..Unit::default() };
    facts.units.insert("nixdeploy-guard.service".to_owned(), alive);
    let refused = admit_facts(&facts, &policy(), None).expect_err("locked");
    let run = facts.transactions[0].run();
    let told = format!("locked by olaf@desk for 42 s, run {run}, phase observe");
    assert_eq!(refused.sentence(), told);
    // Whoever changes nothing is told, and not refused.
    let looking = Policy { reads_only: true, ..policy() };
    let found = admit_facts(&facts, &looking, None).expect("a look");
    assert_eq!((found.len(), found[0].code.as_str()), (1, "locked"));
    assert!(found[0].message.contains("olaf@desk"), "{}", found[0].message);
    // The unit is there before its files are.
    facts.transactions.clear();
    assert_eq!(refuse(&facts), "locked");
}

#[test]
fn an_undecided_leftover_warns_and_a_decided_one_refuses() {
    let found = admit_facts(&busy(""), &policy(), None).expect("admitted");
    assert_eq!(found[0].code, "interrupted");
    assert_eq!(refuse(&busy("revert")), "leftover");
}

#[test]
fn a_switch_by_hand_refuses() {
    let switching = Some(Switching { pid: 7, command: "switch-to-configuration test".to_owned() });
    assert_eq!(refuse(&Facts { switching, ..recorded() }), "switch-running");
}

#[test]
fn drift_is_refused_until_accepted() {
    let drifts: [fn(&mut Pointers); 2] = [
        |p| p.profile = Some(other("nixos-system-p620-1")),
        |p| p.boot_default = Some(other("nixos-system-p620-1")),
    ];
    for change in drifts {
        let mut facts = recorded();
        change(&mut facts.early.pointers);
        let refused = admit_facts(&facts, &policy(), None).expect_err("drift");
        assert_eq!((refused.code(), refused.causes().len()), ("drift", 3));
        let accepting = Policy { accept_drift: true, ..policy() };
        assert_eq!(admit_facts(&facts, &accepting, None).expect("accepted")[0].code, "drift");
    }
}

#[test]
fn a_first_deploy_and_a_specialisation_are_no_drift() {
    let mut facts = recorded();
    facts.early.pointers.profile = None;
    assert!(admit_facts(&facts, &policy(), None).is_ok());
    let mut facts = recorded();
    facts.early.pointers.running = Some(other("nixos-system-p620-special"));
    facts.specialisation = Some("gaming".to_owned());
    assert!(admit_facts(&facts, &policy(), None).is_ok());
}

#[test]
fn an_unknown_boot_default_is_never_called_fine() {
    let mut facts = recorded();
    facts.early.pointers.boot_default = None;
    let found = admit_facts(&facts, &policy(), None).expect("admitted");
    assert_eq!(found[0].code, "boot-default-unverified");
    let running = facts.early.pointers.running.clone().expect("running");
    assert!(!facts.early.pointers.all_are(&running));
}

#[test]
fn a_host_that_cannot_run_a_transaction_is_refused() {
    assert_eq!(refuse(&Facts { systemd: false, ..recorded() }), "unfit");
    assert_eq!(refuse(&Facts { complete: false, ..recorded() }), "unfit");
    assert_eq!(refuse(&Facts { state: "stopping".to_owned(), ..recorded() }), "unfit");
    let missing = vec!["systemd-run".to_owned()];
    assert_eq!(refuse(&Facts { missing, ..recorded() }), "unfit");
}

#[test]
fn what_an_interruption_left_is_told() {
    let lists = vec!["start-list".to_owned()];
    let roots = vec![("t9-new".to_owned(), "/nix/store/x".to_owned())];
    let found =
        admit_facts(&Facts { lists, roots, ..recorded() }, &policy(), None).expect("admitted");
    let codes: Vec<&str> = found.iter().map(|f| f.code.as_str()).collect();
    assert_eq!(codes, ["stale-lists", "orphan-roots"]);
}
