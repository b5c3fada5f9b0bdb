//! A new flake.lock and the hosts that are brought to it: whether one of them came to run it.

use std::path::Path;

use crate::activate::journal::{self, Step};
use crate::event::Outcome;
use crate::event::state::{Beyond, HostState, RunState};
use crate::report::store;
use crate::update::journal::{Journal, Phase};
use crate::update::keep::Fate;
use crate::world::World;

/// What became of the hosts of an update that was cut off, and whether its log tells. That may
/// lie in the folder of whoever began it: somebody else's, or one that is gone. Without it
/// nothing is known, and nothing is taken to be as it was.
pub(super) fn left_fate(world: &World, journal: &Journal) -> (Fate, bool) {
    let run = match (&journal.run, journal.phase) {
        (Some(run), Phase::Deploying) => run,
        (None, Phase::Deploying) => return (Fate::Open, false),
        (_, Phase::Applying) => return (Fate::Nowhere, true),
    };
    let own = Some(&world.environment.state);
    let log = [journal.state.as_ref(), own].into_iter().flatten().find_map(|state| {
        let loaded = store::load_run(state, run).ok()?;
        Some(fate(state, &loaded.state))
    });
    log.map_or((Fate::Open, false), |fate| (fate, true))
}

/// What became of the hosts of a run that this very process was to begin.
pub(super) fn kept_fate(world: &World, run: &str) -> Fate {
    let state = &world.environment.state;
    // Without a log it was never begun.
    store::load_run(state, run).map_or(Fate::Nowhere, |loaded| fate(state, &loaded.state))
}

/// The same of a run that has just ended here.
pub(super) fn told_fate(world: &World, run: &str, ended: &RunState) -> Fate {
    match fate(&world.environment.state, ended) {
        // Whoever only watched a run does not know its end.
        Fate::Nowhere if ended.hosts.iter().any(|h| h.report.is_none()) => kept_fate(world, run),
        fate => fate,
    }
}

fn fate(state: &Path, run: &RunState) -> Fate {
    let fates: Vec<Fate> = run.hosts.iter().map(|host| of_host(state, run, host)).collect();
    let has = |fate| fates.contains(&fate);
    match (has(Fate::Runs), has(Fate::Open)) {
        (true, _) => Fate::Runs,
        (false, true) => Fate::Open,
        (false, false) => Fate::Nowhere,
    }
}

fn of_host(state: &Path, run: &RunState, host: &HostState) -> Fate {
    match (&host.beyond, &host.report) {
        (Beyond::Going, _) => Fate::Open,
        // There, unchanged means that the run never came to it.
        (Beyond::Found { report, .. }, _) => of_outcome(&report.outcome, Fate::Nowhere),
        (Beyond::Nothing, Some(report)) => of_outcome(&report.outcome, Fate::Runs),
        (Beyond::Nothing, None) => {
            let record = journal::read(state, &host.name).filter(|r| r.run == run.run);
            match record.map(|r| r.step) {
                Some(Step::Commit | Step::Done) => Fate::Open,
                // A guard that was never asked to commit takes everything back by itself.
                Some(Step::Hold | Step::Go | Step::Abort) => Fate::Nowhere,
                None if host.armed.is_some() => Fate::Open,
                None => Fate::Nowhere,
            }
        }
    }
}

fn of_outcome(outcome: &Outcome, unchanged: Fate) -> Fate {
    match outcome {
        Outcome::Committed { .. } | Outcome::Staged => Fate::Runs,
        Outcome::Unchanged { .. } | Outcome::Unhealthy => unchanged,
        Outcome::Unknown { .. } => Fate::Open,
        Outcome::Planned { .. }
        | Outcome::Blocked
        | Outcome::NotBuilt
        | Outcome::Refused { .. }
        | Outcome::NotBegun
        | Outcome::RolledBack
        | Outcome::Declined
        | Outcome::Interrupted { .. }
        | Outcome::Foreign
        | Outcome::Stranded
        | Outcome::Internal => Fate::Nowhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Stamped;

    fn run(events: &[&str]) -> RunState {
        let stamped = |event: &&str| {
            let line = format!(r#"{{"index":0,"at_ms":0,"elapsed_ms":0,{event}}}"#);
            serde_json::from_str::<Stamped>(&line).expect("an event")
        };
        RunState::of(&events.iter().map(stamped).collect::<Vec<_>>())
    }

    fn finished(host: &str, outcome: &str) -> String {
        format!(
            r#""event":"host_finished","host":"{host}",{outcome},"phase":"commit","note":"",
            "causes":[],"before":null,"after":null,"decided_by":"deployer","next":[]"#
        )
        .replace('\n', " ")
    }

    #[test]
    fn a_lock_stays_when_a_host_runs_it_and_goes_when_none_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let committed = finished("a", r#""outcome":"committed","reboot_required":false"#);
        let back = finished("b", r#""outcome":"rolled_back""#);
        let lost = finished("c", r#""outcome":"unknown","decides_by_ms":5"#);
        let begun = r#""event":"phase_started","host":"d","phase":"facts""#;
        let of = |events: &[&str]| fate(folder.path(), &run(events));
        assert_eq!(of(&[&committed, &back]), Fate::Runs, "one of two is enough");
        assert_eq!(of(&[&back]), Fate::Nowhere);
        assert_eq!(of(&[&back, &lost]), Fate::Open);
        assert_eq!(of(&[&committed, &lost]), Fate::Runs);
        assert_eq!(of(&[begun]), Fate::Nowhere, "the guard takes back what nobody commits");
        assert_eq!(of(&[]), Fate::Nowhere);
        let armed = r#""event":"armed","host":"e","transaction":"t","decides_by_ms":5"#;
        assert_eq!(of(&[armed]), Fate::Open, "whether a commit was asked for was written nowhere");
    }
}
