//! The exit codes: one table, one exhaustive function from the fold and one from errors.

use std::process::ExitCode;

use crate::event::Outcome;
use crate::event::state::{HostState, RunState};

/// Documented exit codes; the README's table is tested against [`TABLE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is explained by its sentence in TABLE")]
pub enum Exit {
    Done = 0,
    Internal = 1,
    Usage = 2,
    Blocked = 3,
    NotBuilt = 4,
    Refused = 5,
    RolledBack = 6,
    Staged = 7,
    Unknown = 8,
    Stranded = 9,
    Foreign = 10,
    Declined = 11,
    IssuesUnchecked = 12,
    Changes = 20,
    Interrupted = 130,
}

/// Every code with its sentence, in numerical order.
pub const TABLE: &[(Exit, &str)] = &[
    (Exit::Done, "committed (also when a reboot is wanted), or nothing to do"),
    (Exit::Internal, "internal error"),
    (Exit::Usage, "usage, hosts.toml or I/O"),
    (Exit::Blocked, "findings that block"),
    (Exit::NotBuilt, "evaluation or build failed"),
    (Exit::Refused, "host unchanged: unreachable, locked, not healthy, or refused before go"),
    (Exit::RolledBack, "failed, reverted, and the revert was verified"),
    (Exit::Staged, "staged for boot only; not running yet"),
    (Exit::Unknown, "no last word of a host; it decides by itself by a stated time"),
    (Exit::Stranded, "revert failed or state unproven: a person is needed"),
    (Exit::Foreign, "somebody else changed the host meanwhile; stood down"),
    (Exit::Declined, "refused: risk gate, or the answer was no"),
    (Exit::IssuesUnchecked, "the known-issue check could not be completed"),
    (Exit::Changes, "instead of 0 with --detailed-exitcode: changes are present"),
    (Exit::Interrupted, "interrupted; host unchanged or reverted"),
];

/// Worst first; the code of a fleet is the worst of its hosts'.
const WORST_FIRST: [Exit; 12] = [
    Exit::Stranded,
    Exit::Unknown,
    Exit::Foreign,
    Exit::RolledBack,
    Exit::Internal,
    Exit::Refused,
    Exit::NotBuilt,
    Exit::Blocked,
    Exit::Declined,
    Exit::IssuesUnchecked,
    Exit::Staged,
    Exit::Done,
];

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The code of one host's outcome.
pub fn of_outcome(outcome: &Outcome) -> Exit {
    match outcome {
        Outcome::Committed { .. } | Outcome::Unchanged { .. } | Outcome::Planned { .. } => {
            Exit::Done
        }
        Outcome::Refused { skipped: true, .. } => Exit::Done,
        Outcome::Refused { skipped: false, .. } | Outcome::NotBegun | Outcome::Unhealthy => {
            Exit::Refused
        }
        Outcome::Staged => Exit::Staged,
        Outcome::Blocked => Exit::Blocked,
        Outcome::NotBuilt => Exit::NotBuilt,
        Outcome::RolledBack => Exit::RolledBack,
        Outcome::Declined => Exit::Declined,
        Outcome::Interrupted { .. } => Exit::Interrupted,
        Outcome::Foreign => Exit::Foreign,
        Outcome::Unknown { .. } => Exit::Unknown,
        Outcome::Stranded => Exit::Stranded,
        Outcome::Internal => Exit::Internal,
    }
}

/// The code of one host. Without a last word it is our own fault, for silence is no success; past
/// `go` the guard on the host has decided, and we do not know how.
pub fn of_host(host: &HostState) -> Exit {
    match (&host.report, &host.armed) {
        (Some(report), _) => of_outcome(&report.outcome),
        (None, Some(_)) => Exit::Unknown,
        (None, None) => Exit::Internal,
    }
}

/// The code of a run. 130 says that something was left undone or taken back because somebody asked
/// to stop: a signal that came too late for that changes nothing. Hosts that were not begun hide
/// nothing of what stopped the run before their turn.
pub fn of_run(state: &RunState, detailed: bool) -> Exit {
    let begun =
        |h: &&HostState| h.report.as_ref().is_none_or(|report| report.outcome != Outcome::NotBegun);
    let codes: Vec<Exit> = state.hosts.iter().filter(begun).map(of_host).collect();
    let worst = match worst(codes.iter().copied()) {
        Exit::Done | Exit::Staged if codes.len() < state.hosts.len() => Exit::Refused,
        worst => worst,
    };
    let grave = matches!(worst, Exit::Stranded | Exit::Unknown);
    let cut = state.interrupted.is_some() && (codes.is_empty() || codes.contains(&Exit::Internal));
    if !grave && (cut || codes.contains(&Exit::Interrupted)) {
        return Exit::Interrupted;
    }
    let changes = |h: &HostState| {
        h.report.as_ref().is_some_and(|r| r.outcome == Outcome::Planned { changes: true })
    };
    if worst == Exit::Done && detailed && state.hosts.iter().any(changes) {
        return Exit::Changes;
    }
    worst
}

/// The worst of several codes; `Done` of none.
pub fn worst(codes: impl IntoIterator<Item = Exit>) -> Exit {
    let rank = |e: &Exit| WORST_FIRST.iter().position(|w| w == e).unwrap_or(WORST_FIRST.len());
    codes.into_iter().min_by_key(rank).unwrap_or(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Stamped;

    #[test]
    fn the_worst_host_decides() {
        assert_eq!(worst([Exit::Done, Exit::Staged, Exit::Refused]), Exit::Refused);
        assert_eq!(worst([Exit::RolledBack, Exit::Foreign]), Exit::Foreign);
        assert_eq!(worst([Exit::Unknown, Exit::Stranded]), Exit::Stranded);
        assert_eq!(worst([]), Exit::Done);
    }

    #[test]
    fn a_log_that_ends_past_go_is_no_fault_of_ours_but_unknown() {
        let stamped = |event: &str| {
            let line = format!(r#"{{"index":0,"at_ms":0,"elapsed_ms":0,"host":"p620",{event}}}"#);
            serde_json::from_str::<Stamped>(&line).expect("a line of a log")
        };
        let begun = stamped(r#""event":"phase_started","phase":"activate""#);
        let mut state = RunState::of(&[begun]);
        assert_eq!(of_run(&state, false), Exit::Internal);
        let armed = r#""event":"armed","transaction":"tx","decides_by_ms":7"#;
        state.apply(&stamped(armed));
        assert_eq!(of_run(&state, false), Exit::Unknown);
        state.apply(&stamped(r#""event":"interrupt_received","signal":"SIGINT""#));
        assert_eq!(of_run(&state, false), Exit::Unknown, "130 does not hide it");
    }
}
