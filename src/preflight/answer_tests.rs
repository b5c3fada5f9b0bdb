//! The parser on what the lab really said, and on anything at all.

use proptest::prelude::*;

use super::*;

fn recorded() -> Vec<&'static str> {
    include_str!("fixtures/facts-p620.txt").lines().collect()
}

#[test]
fn a_recorded_answer_is_understood_as_a_whole() {
    let (facts, oddities) = parse(&recorded());
    assert_eq!(oddities, []);
    assert!(facts.complete && facts.systemd && facts.early.nixos);
    assert_eq!(facts.early.uid, Some(0));
    assert_eq!(facts.early.hostname, "factory");
    assert_eq!(facts.early.pointers.generation, Some(Generation(1)));
    let running = facts.early.pointers.running.clone().expect("running");
    assert!(facts.early.pointers.all_are(&running));
    assert_eq!(facts.boot.loader, Loader::SystemdBoot);
    assert_eq!(facts.boot.limit, Some(0));
    assert_eq!(facts.boot.entries[0].toplevel.as_ref(), Some(&running));
    assert_eq!(facts.boot.entries[0].files.len(), 2);
    assert_eq!(facts.boot.files.len(), 2);
    assert_eq!(facts.generations.len(), 1);
    assert_eq!(facts.running.modules, "", "modules inside the system say nothing");
    assert_eq!(facts.units["sshd.service"].active, "active");
    assert_eq!(facts.units["sshd.service"].result, "success");
    assert_eq!(facts.network.nameservers, ["10.99.0.1"]);
    assert!(facts.cursor.is_some() && facts.login.trusted());
    assert!(facts.space("/nix/store").expect("store").free_kib > 1_000_000);
    assert!(facts.vitals().units_active > 0);
}

#[test]
fn the_first_part_stands_alone() {
    let all = recorded();
    let part = all.iter().position(|l| *l == PART).expect("part");
    let (early, oddities) = parse_early(&all[..=part]);
    assert_eq!((early, oddities), parse_early(&all));
    assert!(!parse(&all[..=part]).0.complete);
}

#[test]
fn a_greeting_before_the_answer_is_skipped() {
    let mut lines = vec!["Welcome!", "running=/nix/store/x", ""];
    lines.extend(recorded());
    assert_eq!(parse(&lines), parse(&recorded()));
}

#[test]
fn hostile_lines_become_oddities_and_harmless_text() {
    let lines = [
        FIRST,
        "running=/nix/store/../etc",
        "host=\u{1b}]0;owned\u{7}",
        "unit=a.service loaded",
        "file=99999999999999999999999 /boot/x",
        "load=inf",
        "tx_owner=nobody",
        "switch_command=x",
        "generation=1 'x' -> '/nix/store/y'",
        "surprise",
    ];
    let (facts, oddities) = parse(&lines);
    assert_eq!(oddities.len(), 8, "{oddities:#?}");
    assert_eq!(facts.early.pointers.running, None);
    assert!(!facts.early.hostname.contains('\u{1b}'));
}

#[test]
fn lists_have_an_end() {
    let mut lines = vec![FIRST.to_owned()];
    lines.extend((0..20_000).map(|n| format!("address=eth{n} 10.0.0.1/8")));
    let (facts, oddities) = parse(&lines);
    assert_eq!(facts.network.addresses.len(), MOST);
    assert_eq!(oddities.len(), MOST_ODDITIES);
}

#[test]
fn a_transaction_is_read_line_by_line() {
    let lines = [
        FIRST,
        "tx=t1",
        "tx_current=1",
        "tx_owner=olaf@desk",
        "tx_phase=observe",
        "tx_deadline=1930",
        "tx_decision=",
        "tx_since=1795300266",
        "tx=t0",
        "tx_outcome=outcome=reverted",
        "tx_ended=1795300290",
    ];
    let (facts, oddities) = parse(&lines);
    assert_eq!(oddities, []);
    let held = facts.unfinished().expect("one is unfinished");
    assert_eq!((held.owner.as_str(), held.deadline_s), ("olaf@desk", Some(1930)));
    assert_eq!(facts.transactions[1].outcome, "reverted");
    assert_eq!(facts.transactions[1].ended_s, Some(1_795_300_290));
}

proptest! {
    #[test]
    fn no_answer_can_break_the_parser(lines in proptest::collection::vec(".{0,200}", 0..60)) {
        let mut all = vec![FIRST.to_owned()];
        all.extend(lines);
        parse(&all);
    }

    #[test]
    fn no_value_of_a_known_key_can_break_it(which in 0usize..140, value in ".{0,80}") {
        let mut all: Vec<String> = recorded().iter().map(|l| (*l).to_owned()).collect();
        let at = 1 + which % (all.len() - 1);
        let key = all[at].split('=').next().unwrap_or("x").to_owned();
        all[at] = format!("{key}={value}");
        let (facts, _) = parse(&all);
        let escapes = facts.early.hostname.contains('\u{1b}');
        prop_assert!(!escapes);
    }
}
