//! The exit codes as an interface: for each row of the table, a run or an error that ends with it.

use std::path::Path;

use nixdeploy::error::Error;
use nixdeploy::event::state::RunState;
use nixdeploy::event::{Decider, Event, HostReport, Outcome, Stamped};
use nixdeploy::exit::{self, Exit, TABLE};
use nixdeploy::fleet::hosts_toml::parse;
use nixdeploy::plan::{Goal, Order, Request, decide};

use crate::support::stage;

/// A run whose hosts ended so; `None`: without a last word.
fn run(outcomes: &[Option<Outcome>], signal: Option<&str>) -> RunState {
    let hosts: String = (0..outcomes.len()).map(|n| format!("[hosts.h{n}]\n")).collect();
    let fleet = parse(Path::new("hosts.toml"), &hosts).expect("a fleet");
    let request = Request { goal: Goal::Deploy, ..stage::deploy() };
    let plan = decide(&request, &fleet.hosts, &Order::of(&fleet.limits));
    let mut events = vec![Event::Planned { plan }];
    events.extend(signal.map(|s| Event::InterruptReceived { signal: s.to_owned() }));
    for (host, outcome) in fleet.hosts.iter().zip(outcomes) {
        let Some(outcome) = outcome.clone() else { continue };
        let report = HostReport {
            outcome,
            phase: None,
            note: String::new(),
            causes: Vec::new(),
            before: None,
            after: None,
            decided_by: Decider::Nobody,
            decided_ms: None,
            next: Vec::new(),
        };
        events.push(Event::HostFinished { host: host.name.clone(), report });
    }
    let mut state = RunState::default();
    for (index, event) in (0..).zip(events) {
        state.apply(&Stamped { index, at_ms: 0, elapsed_ms: 0, event });
    }
    state
}

fn one(outcome: Outcome) -> Exit {
    exit::of_run(&run(&[Some(outcome)], None), false)
}

fn refused(skipped: bool) -> Outcome {
    Outcome::Refused { code: "locked".to_owned(), skipped }
}

/// What ends with a code. A new row does not compile before it is written here.
fn of_row(row: Exit) -> Exit {
    match row {
        Exit::Done => one(Outcome::Committed { reboot_required: true }),
        Exit::Internal => one(Outcome::Internal),
        Exit::Usage => Error::usage("x").exit,
        Exit::Blocked => one(Outcome::Blocked),
        Exit::NotBuilt => one(Outcome::NotBuilt),
        Exit::Refused => one(refused(false)),
        Exit::RolledBack => one(Outcome::RolledBack),
        Exit::Staged => one(Outcome::Staged),
        Exit::Unknown => one(Outcome::Unknown { decides_by_ms: 1 }),
        Exit::Stranded => one(Outcome::Stranded),
        Exit::Foreign => one(Outcome::Foreign),
        Exit::Declined => one(Outcome::Declined),
        Exit::IssuesUnchecked => exit::worst([Exit::Done, Exit::IssuesUnchecked, Exit::Staged]),
        Exit::Changes => {
            exit::of_run(&run(&[Some(Outcome::Planned { changes: true })], None), true)
        }
        Exit::Interrupted => one(Outcome::Interrupted { reverted: true }),
    }
}

#[test]
fn every_row_of_the_table_is_reached() {
    for (row, sentence) in TABLE {
        assert_eq!(of_row(*row), *row, "{sentence}");
    }
}

#[test]
fn the_table_is_that_of_the_specification() {
    let codes: Vec<u8> = TABLE.iter().map(|(exit, _)| *exit as u8).collect();
    assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 20, 130]);
    assert!(TABLE.iter().all(|(_, sentence)| !sentence.is_empty() && sentence.len() <= 72));
}

#[test]
fn done_is_also_what_needs_nothing_and_what_is_left_out() {
    for outcome in [
        Outcome::Committed { reboot_required: false },
        Outcome::Unchanged { verified: true },
        Outcome::Unchanged { verified: false },
        Outcome::Planned { changes: true },
        refused(true),
    ] {
        assert_eq!(one(outcome.clone()), Exit::Done, "{outcome:?}");
    }
}

#[test]
fn a_host_that_needs_nothing_and_is_not_healthy_is_no_success() {
    assert_eq!(one(Outcome::Unhealthy), Exit::Refused);
}

#[test]
fn changes_are_told_only_when_asked_for_and_only_instead_of_0() {
    let changed = Some(Outcome::Planned { changes: true });
    let same = Some(Outcome::Unchanged { verified: false });
    let code =
        |outcomes: &[Option<Outcome>], detailed| exit::of_run(&run(outcomes, None), detailed);
    assert_eq!(code(&[changed.clone(), same.clone()], true), Exit::Changes);
    assert_eq!(code(&[changed.clone(), same.clone()], false), Exit::Done);
    assert_eq!(code(&[same], true), Exit::Done);
    assert_eq!(code(&[changed, Some(Outcome::NotBuilt)], true), Exit::NotBuilt);
}

#[test]
fn the_worst_host_decides_in_the_documented_order() {
    let order = [9, 8, 10, 6, 1, 5, 4, 3, 11, 12, 7, 0];
    let exits: Vec<Exit> = order
        .iter()
        .map(|code| TABLE.iter().find(|(e, _)| *e as u8 == *code).expect("a row").0)
        .collect();
    for (at, worse) in exits.iter().enumerate() {
        for better in &exits[at..] {
            assert_eq!(exit::worst([*better, *worse]), *worse);
            assert_eq!(exit::worst([*worse, *better]), *worse);
        }
    }
}

#[test]
fn an_interrupt_replaces_all_but_the_two_that_need_somebody() {
    let committed = Some(Outcome::Committed { reboot_required: false });
    let outcomes = [
        (Some(Outcome::Interrupted { reverted: true }), Exit::Interrupted),
        (Some(Outcome::Interrupted { reverted: false }), Exit::Interrupted),
        (Some(Outcome::Internal), Exit::Interrupted),
        (None, Exit::Interrupted),
        (Some(Outcome::Unknown { decides_by_ms: 1 }), Exit::Unknown),
        (Some(Outcome::Stranded), Exit::Stranded),
    ];
    for (outcome, code) in outcomes {
        let state = run(&[committed.clone(), outcome.clone()], Some("SIGINT"));
        assert_eq!(exit::of_run(&state, false), code, "{outcome:?}");
    }
    assert_eq!(exit::of_run(&run(&[], Some("SIGINT")), false), Exit::Interrupted);
}

#[test]
fn a_signal_that_left_nothing_undone_changes_no_exit_code() {
    let outcomes = [
        (Outcome::Committed { reboot_required: false }, Exit::Done),
        (Outcome::Unchanged { verified: false }, Exit::Done),
        (Outcome::Staged, Exit::Staged),
        (Outcome::RolledBack, Exit::RolledBack),
        (Outcome::NotBuilt, Exit::NotBuilt),
        (refused(false), Exit::Refused),
    ];
    for (outcome, code) in outcomes {
        let state = run(&[Some(outcome.clone())], Some("SIGINT"));
        assert_eq!(exit::of_run(&state, false), code, "{outcome:?}");
    }
}

#[test]
fn a_host_without_a_last_word_is_no_success() {
    let state = run(&[Some(Outcome::Committed { reboot_required: false }), None], None);
    assert_eq!(exit::of_run(&state, false), Exit::Internal);
    assert_eq!(exit::of_run(&RunState::default(), false), Exit::Done);
}

#[test]
fn hosts_that_were_not_begun_hide_nothing_and_are_no_success() {
    let code = |outcomes: &[Outcome]| {
        let outcomes: Vec<_> = outcomes.iter().cloned().map(Some).collect();
        exit::of_run(&run(&outcomes, None), false)
    };
    let committed = Outcome::Committed { reboot_required: false };
    assert_eq!(code(&[Outcome::NotBuilt, Outcome::NotBegun]), Exit::NotBuilt);
    assert_eq!(code(&[Outcome::RolledBack, Outcome::NotBegun]), Exit::RolledBack);
    assert_eq!(code(&[committed, Outcome::NotBegun]), Exit::Refused);
    assert_eq!(code(&[refused(true), Outcome::NotBegun]), Exit::Refused);
}
