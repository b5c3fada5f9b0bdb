//! The invariants of the protocol, each tried over random interleavings, and each mutant caught.
//!
//! `PROPTEST_CASES=200000 cargo test --test main guard_model` tries more than the usual few
//! thousand.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use super::events::{Deployer, Event, Run, trace};
use super::host::{Outcome, Scene};
use super::mutant::Mutant;

const CASES: u32 = 2000;

/// Everything that went wrong in a run, by invariant.
fn broken(scene: Scene, events: &[Event], mutant: Option<Mutant>) -> Vec<(u8, &'static str)> {
    let mut run = Run::new(scene, mutant);
    for event in events {
        run.apply(*event);
    }
    run.calm();
    let mut broken = run.model.ghost.broken;
    broken.dedup();
    broken
}

fn runner(cases: u32) -> TestRunner {
    let cases =
        crate::support::variable("PROPTEST_CASES").map_or(cases, |_| Config::default().cases);
    let config =
        Config { cases, failure_persistence: None, max_shrink_iters: 3000, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// The shortest trace found in which one of these is broken.
fn counterexample(invariants: &[u8], mutant: Option<Mutant>, cases: u32) -> Option<String> {
    let tried = runner(cases).run(&trace(), |(scene, events)| {
        let broken = broken(scene, &events, mutant);
        let ours: Vec<_> = broken.iter().filter(|(i, _)| invariants.contains(i)).collect();
        if ours.is_empty() { Ok(()) } else { Err(TestCaseError::fail(format!("{ours:?}"))) }
    });
    match tried {
        Ok(()) => None,
        Err(TestError::Fail(why, (scene, events))) => {
            let steps: Vec<String> = events.iter().map(|e| format!("  {e:?}")).collect();
            Some(format!("{why}\n{scene:?}\n{}", steps.join("\n")))
        }
        Err(TestError::Abort(why)) => Some(why.to_string()),
    }
}

/// The invariants that some trace of the usual lot breaks; one lot serves all properties.
static BROKEN: LazyLock<BTreeSet<u8>> = LazyLock::new(|| {
    let found = RefCell::new(BTreeSet::new());
    let tried = runner(CASES).run(&trace(), |(scene, events)| {
        found.borrow_mut().extend(broken(scene, &events, None).iter().map(|(i, _)| *i));
        Ok(())
    });
    tried.expect("a lot that is only looked at");
    found.into_inner()
});

fn holds(invariant: u8) {
    if BROKEN.contains(&invariant) {
        let shortest = counterexample(&[invariant], None, CASES);
        panic!("I{invariant}: {}", shortest.unwrap_or_default());
    }
}

macro_rules! invariants {
    ($($(#[$note:meta])* $name:ident: $number:expr;)*) => {
        $($(#[$note])* #[test] fn $name() { holds($number); })*
    };
}

invariants! {
    i1_a_power_cut_boots_the_old_default_or_a_verified_system: 1;
    i2_after_go_there_is_a_final_state_without_anybody_s_help: 2;
    i3_commit_or_revert_decided_once: 3;
    i4_both_systems_are_rooted_until_the_outcome: 4;
    i5_the_lock_is_free_only_when_all_is_decided: 5;
    i6_the_last_word_is_true: 6;
    i7_before_go_nothing_is_changed: 7;
    i10_the_boot_loader_is_installed_once_and_for_each_undo: 10;
    i11_a_commit_is_taken_only_after_the_activation: 11;
}

/// A request that is made once more changes nothing: the same events without it end the same.
#[test]
fn i9_a_request_that_comes_twice_changes_nothing() {
    let end = |scene, events: &[Event]| {
        let mut run = Run::new(scene, None);
        events.iter().for_each(|event| run.apply(*event));
        run.calm();
        let model = run.model;
        (model.is, model.files.outcome, model.files.decision, model.roots, model.ghost.installs)
    };
    let again = |event: &Event| matches!(event, Event::Again(_) | Event::Odd(_));
    let tried = runner(CASES / 3).run(&trace(), |(scene, mut events)| {
        // A request takes room: where there is none it may be the one that frees the reserve.
        events.retain(|event| !matches!(event, Event::Fill(_)));
        let twice = end(scene, &events);
        events.retain(|event| !again(event));
        prop_assert_eq!(twice, end(scene, &events));
        Ok(())
    });
    if let Err(error) = tried {
        panic!("I9: {error}");
    }
}

/// Each wrong guard breaks one of these promises, and the trace that shows it is short.
#[test]
fn every_mutant_is_caught() {
    use Mutant::*;
    let mutants: [(Mutant, &[u8]); 13] = [
        (DecisionLate, &[3]),
        (RootDropped, &[4]),
        (DeadlineIgnored, &[2]),
        (NoUndo, &[1, 6]),
        (BootFirst, &[1]),
        (EarlyCommit, &[1, 11]),
        (UndoForgets, &[6]),
        (UndoTrusts, &[6]),
        (BackstopSpares, &[2]),
        (BackstopKillsOnly, &[2]),
        (FolderStrands, &[2]),
        (RootsFirst, &[4]),
        (NoLastWord, &[5]),
    ];
    for (mutant, invariants) in mutants {
        let caught = counterexample(invariants, Some(mutant), 20_000);
        assert!(caught.is_some(), "{mutant:?} is not told from the right guard");
        let told = format!("{mutant:?}: {}\n", caught.unwrap_or_default());
        if let Some(folder) = crate::support::variable("NIXDEPLOY_TRACES") {
            let file = std::path::Path::new(&folder).join(format!("{mutant:?}"));
            std::fs::write(file, told).expect("a file for the trace");
        }
    }
}

/// The random events reach every end, else they would prove nothing.
#[test]
fn every_outcome_is_reached() {
    let reached = RefCell::new(Vec::new());
    let tried = runner(CASES / 3).run(&trace(), |(scene, events)| {
        let mut run = Run::new(scene, None);
        events.iter().for_each(|event| run.apply(*event));
        run.calm();
        if let Some(outcome) = run.model.files.outcome {
            reached.borrow_mut().push((outcome, run.deployer));
        }
        Ok(())
    });
    tried.expect("a lot that is only looked at");
    let reached = reached.into_inner();
    use Outcome::*;
    for outcome in [Committed, Staged, Reverted, RevertFailed, Foreign, Expired] {
        let told = reached.iter().filter(|r| r.0 == outcome);
        let said = told.clone().filter(|r| r.1 == Deployer::Told(Some(outcome)));
        assert!(told.count() >= 10 && said.count() >= 1, "{outcome:?} is hardly ever reached");
    }
}
