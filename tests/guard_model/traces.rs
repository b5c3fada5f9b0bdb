//! The recorded traces in `tests/fixtures/guard/`, and how each was made: replayed without a
//! machine, and refused when a line of them is missing, twice or late.

use std::path::{Path, PathBuf};

use super::host::Outcome;
use super::replay::{Line, Setting, parse, replay};

/// Budgets of the rows' hosts.toml, but for what a row sets itself.
pub(crate) const USUAL: Setting = Setting {
    lease: 120,
    activate: 20,
    observe: 21,
    commit: 20,
    stage: false,
    killed: false,
    foreign_at: None,
};

/// Name, what the row sets, the last word.
pub(crate) const TRACES: [(&str, Setting, Outcome); 11] = [
    ("good", USUAL, Outcome::Committed),
    ("abort", USUAL, Outcome::Reverted),
    ("deadline", Setting { observe: 5, ..USUAL }, Outcome::Reverted),
    ("guard-killed", Setting { observe: 23, ..USUAL }, Outcome::Committed),
    ("guard-stopped", Setting { observe: 25, ..USUAL }, Outcome::Reverted),
    ("commit-killed", Setting { killed: true, ..USUAL }, Outcome::Reverted),
    ("guard-killed-in-commit", USUAL, Outcome::Committed),
    ("undo", USUAL, Outcome::Reverted),
    ("lease", Setting { lease: 3, ..USUAL }, Outcome::Expired),
    ("stage", Setting { stage: true, ..USUAL }, Outcome::Staged),
    (
        "foreign",
        Setting { observe: 26, foreign_at: Some("put req abort"), ..USUAL },
        Outcome::Foreign,
    ),
];

pub(crate) fn setting(name: &str) -> (Setting, Outcome) {
    let found = TRACES.iter().find(|trace| trace.0 == name).expect("a trace of the list");
    (found.1, found.2)
}

pub(crate) fn path(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/guard");
    folder.join(format!("{name}.trace"))
}

fn recorded(name: &str) -> Vec<Line> {
    parse(&std::fs::read_to_string(path(name)).expect("a recorded trace"))
}

#[test]
fn recorded_traces_are_runs_of_the_model() {
    for (name, setting, outcome) in TRACES {
        assert_eq!(replay(&recorded(name), &setting), Ok(outcome), "{name}");
    }
}

/// A guard that leaves an effect out, has it twice, or in another order, left another trace. Only
/// where processes are at work side by side may two lines change places.
#[test]
fn a_trace_that_is_wrong_is_refused() {
    let (setting, outcome) = setting("good");
    let right = recorded("good");
    let effects = |lines: &[Line]| lines.iter().filter(|l| l.is_guards()).count();
    assert!(effects(&right) >= 9, "{right:?}");
    for n in (0..right.len()).filter(|n| right[*n].is_guards()) {
        let (mut without, mut twice) = (right.clone(), right.clone());
        without.remove(n);
        twice.insert(n, right[n].clone());
        assert_ne!(replay(&without, &setting), Ok(outcome), "without line {n}");
        assert_ne!(replay(&twice, &setting), Ok(outcome), "line {n} twice");
    }
    let short = Setting { activate: 0, observe: 0, ..setting };
    assert_ne!(replay(&right, &short), Ok(outcome), "a commit after the deadline");
}

/// From the moment that it goes back, the guard has no effect by anything of NEW's.
#[test]
fn i8_the_way_back_uses_the_old_system_alone() {
    let mut backwards = 0;
    for (name, ..) in TRACES {
        let lines = recorded(name);
        let back = |l: &Line| l.is("link revert") || l.is("put step undo");
        let Some(from) = lines.iter().position(back) else { continue };
        backwards += 1;
        let new = ["start act", "start commit", "set new", "loader new"];
        let used = lines[from..].iter().find(|l| new.iter().any(|what| l.is(what)));
        assert_eq!(used, None, "{name}");
    }
    assert!(backwards >= 5, "{backwards} of the traces go back");
}
