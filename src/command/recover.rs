//! `resume [RUN]` and `abort [RUN]`: after an interruption, ask the hosts and end what was begun.

use super::retry::{self, Again};
use super::{deploy, inventory, launch, report, update};
use crate::activate::journal;
use crate::cli::{DeployFlags, Format, Global, Part, RunArgs};
use crate::error::Error;
use crate::event::Outcome;
use crate::event::state::{Beyond, HostState, RunState};
use crate::exit::{self, Exit};
use crate::fleet::{Fleet, HostName};
use crate::pipeline::ending::forsaken;
use crate::pipeline::recover::NOTHING_HELD;
use crate::plan::{Goal, Request};
use crate::report::json::document;
use crate::report::{choice, store, words};
use crate::world::World;

/// Goes on with a run: what is decided is read, what was never begun is done now.
///
/// # Errors
/// When it cannot begin.
pub async fn resume(
    world: &World,
    typed: &deploy::Typed<'_>,
    args: &RunArgs,
) -> Result<Exit, Error> {
    let Open { fleet, run, hosts: open } = open(world, typed, args, "resume ")?;
    if open.is_empty() {
        return nothing(typed, &run, "every host of it has its outcome");
    }
    let first = Global { part: Part::First, ..typed.global.clone() };
    let looking = deploy::Typed { global: &first, bare: typed.bare };
    let (worst, found) = recover(world, &looking, &fleet, &run, &open, false).await?;
    update::settle(world, typed.global);
    let document = document(&found);
    let again = again(&run, &open, &found);
    let wanted = retry::as_typed(world, &run).filter(|again| again.changes_hosts());
    let goes_on = |_: &Again| !again.is_empty() && found.interrupted.is_none();
    let Some(before) = wanted.filter(goes_on) else {
        if typed.global.format() == Format::Json {
            report::show(&document)?;
        }
        shown(world, typed.global, &found)?;
        if !again.is_empty() {
            let typed = words::typed_line(&run.command);
            let now = format!("nothing of it was begun; to do it now: nixdeploy {typed}\n");
            crate::report::err(&now);
        }
        return Ok(worst);
    };
    shown(world, typed.global, &settled(&found, &again))?;
    crate::report::err(&going_on(&run, &found, &again));
    let last = Global { part: Part::Last(document), ..before.global(typed.global) };
    let next = deploy::on(world, &last, fleet, &again, &before.wanted).await?;
    // What was found unchanged is now deployed: only the others' findings still count.
    let others = found.hosts.iter().filter(|host| !again.contains(&host.name));
    Ok(exit::worst(others.map(exit::of_host).chain([next])))
}

/// For a person: what was found.
fn shown(world: &World, global: &Global, found: &RunState) -> Result<(), Error> {
    if global.format() == Format::Human && !found.hosts.is_empty() {
        let text = choice::result(found, &launch::setting(global), &world.environment);
        report::show(&text)?;
    }
    Ok(())
}

/// What was found of the hosts that are not begun again: for the others the last word is to come.
fn settled(found: &RunState, again: &[HostName]) -> RunState {
    let mut settled = found.clone();
    settled.hosts.retain(|host| !again.contains(&host.name));
    settled
}

/// Which hosts are begun again, and why: a line for those that were never begun, and one for each
/// that was taken back.
fn going_on(run: &RunState, found: &RunState, again: &[HostName]) -> String {
    let begun = |name: &&HostName| run.host(name).is_some_and(|host| host.armed.is_some());
    let (taken_back, fresh): (Vec<&HostName>, Vec<&HostName>) = again.iter().partition(begun);
    let names: Vec<String> = fresh.iter().map(ToString::to_string).collect();
    let mut text = String::new();
    if !names.is_empty() {
        text = format!("nothing of it was begun on {}: going on\n", inventory::some(&names));
    }
    for name in taken_back {
        let why = found.host(name).map(words::why).filter(|why| !why.is_empty());
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        text.push_str(&format!("it was taken back on {name}{why}: going on\n"));
    }
    text
}

/// Takes back whatever a run still holds.
///
/// # Errors
/// When it cannot begin.
pub async fn abort(
    world: &World,
    typed: &deploy::Typed<'_>,
    args: &RunArgs,
) -> Result<Exit, Error> {
    let Open { fleet, run, hosts } = open(world, typed, args, "abort ")?;
    if hosts.is_empty() {
        return nothing(typed, &run, "nothing of it is held or armed");
    }
    let (exit, _) = recover(world, typed, &fleet, &run, &hosts, true).await?;
    update::settle(world, typed.global);
    Ok(exit)
}

/// A run, and its hosts of which less is known than what is true of them by now.
struct Open {
    fleet: Fleet,
    run: RunState,
    hosts: Vec<HostName>,
}

fn open(
    world: &World,
    typed: &deploy::Typed<'_>,
    args: &RunArgs,
    command: &str,
) -> Result<Open, Error> {
    let fleet = inventory::load(&world.environment, typed.global)?;
    let run = find(world, &fleet, args, command)?;
    let open = |h: &&HostState| match &h.beyond {
        Beyond::Found { report, .. } => match report.outcome {
            // Found before, and never begun since.
            Outcome::Unchanged { .. } => h.armed.is_none() || report.note != NOTHING_HELD,
            ref found => unsettled(found),
        },
        Beyond::Nothing | Beyond::Going => h.report.as_ref().is_none_or(|r| unsettled(&r.outcome)),
    };
    let hosts = run.hosts.iter().filter(open).map(|h| h.name.clone());
    let hosts = hosts.filter(|name| fleet.host(name.as_str()).is_some()).collect();
    Ok(Open { fleet, run, hosts })
}

/// The run that is meant: the one named, else one of ours that a host still holds, else the last.
fn find(world: &World, fleet: &Fleet, args: &RunArgs, command: &str) -> Result<RunState, Error> {
    let state = &world.environment.state;
    let records = fleet.hosts.iter().filter_map(|h| journal::read(state, &h.name));
    let armed = records.filter(journal::Record::is_open).map(|r| r.run).next();
    let run = report::find(state, args.run.as_deref().or(armed.as_deref()), command)?;
    if store::lives(state, &run) {
        return Err(Error::usage(format!("run {run} is still going on in another process"))
            .hint("stop it there with Ctrl-C: it ends each host truthfully")
            .hint("nixdeploy status"));
    }
    Ok(store::load_run(state, &run).map_err(|e| report::unreadable(&run, &e))?.state)
}

/// Outcomes that say less than what is true of the host by now.
fn unsettled(outcome: &Outcome) -> bool {
    use Outcome::{Internal, Interrupted, Stranded, Unknown};
    matches!(outcome, Unknown { .. } | Interrupted { .. } | Internal | Stranded)
}

/// The run's own document says it as well: every host has its last word.
fn nothing(typed: &deploy::Typed<'_>, run: &RunState, why: &str) -> Result<Exit, Error> {
    if typed.global.format() == Format::Json {
        report::show(&document(run))?;
    }
    crate::report::err(&format!("run {}: {why}\n", run.run));
    Ok(Exit::Done)
}

async fn recover(
    world: &World,
    typed: &deploy::Typed<'_>,
    fleet: &Fleet,
    run: &RunState,
    hosts: &[HostName],
    abort: bool,
) -> Result<(Exit, RunState), Error> {
    let preset = deploy::preset("quick-deploy");
    let request = deploy::request(&preset, typed.global, &DeployFlags::default(), fleet)?;
    let command = if abort { "abort" } else { "resume" };
    let (command, recovers) = (command.to_owned(), Some(run.run.clone()));
    let request = Request { command, goal: Goal::Recover { abort }, recovers, ..request };
    launch::launch_without_source(world, typed.global, fleet.clone(), hosts, request).await
}

/// Hosts that are begun once more: those that the run never changed, and those of a fleet that were
/// taken back for no fault of theirs. One host alone is told of, and left to who deployed it.
fn again(run: &RunState, open: &[HostName], found: &RunState) -> Vec<HostName> {
    let several = run.hosts.len() > 1;
    // It is written down before it is said: a host may have been about to hear `go`.
    let about = |name: &HostName| run.host(name).is_some_and(|h| h.armed.is_some());
    let wanted = |name: &&HostName| {
        let report = found.host(name).and_then(|h| h.report.as_ref());
        report.is_some_and(|report| match report.outcome {
            Outcome::Unchanged { .. } => !about(name) || report.note != NOTHING_HELD,
            _ => several && forsaken(report),
        })
    };
    open.iter().filter(wanted).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Stamped;

    fn finished(host: &str, report: &str) -> Stamped {
        let line = format!(
            r#"{{"index":0,"at_ms":0,"elapsed_ms":0,"event":"host_finished","host":"{host}",
            "phase":"rollback","causes":[],"before":null,"after":null,"next":[],{report}}}"#
        );
        serde_json::from_str(&line).expect("a line of a log")
    }

    fn about_to_hear(host: &str) -> Stamped {
        let line = format!(
            r#"{{"index":0,"at_ms":0,"elapsed_ms":0,"event":"armed","host":"{host}",
            "transaction":"t","decides_by_ms":1}}"#
        );
        serde_json::from_str(&line).expect("a line of a log")
    }

    #[test]
    fn a_fleet_goes_on_with_hosts_that_were_taken_back_for_no_fault_of_theirs() {
        let back = |by: &str, note: &str| {
            format!(r#""outcome":"rolled_back","decided_by":"{by}","note":"{note}""#)
        };
        let found = RunState::of(&[
            finished("late", &back("guard", "no commit before the deadline")),
            finished("off", &back("reboot", "rebooted into the old system")),
            finished("bad", &back("guard", "app-broken.service failed")),
            finished("hung", &back("guard", "the activation took too long")),
            finished(
                "same",
                r#""outcome":"unchanged","verified":false,"decided_by":"nobody","note":"""#,
            ),
        ]);
        let open: Vec<HostName> = found.hosts.iter().map(|h| h.name.clone()).collect();
        let told = |run: &RunState, open: &[HostName]| {
            let again = again(run, open, &found);
            again.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(told(&found, &open), "late off same");
        let begun = again(&found, &open, &found);
        let armed = RunState::of(&["late", "off"].map(about_to_hear));
        let wanted = "nothing of it was begun on same: going on\n\
            it was taken back on late (no commit before the deadline): going on\n\
            it was taken back on off (rebooted into the old system): going on\n";
        assert_eq!(going_on(&armed, &found, &begun), wanted);
        let left = settled(&found, &begun);
        assert_eq!(left.hosts.iter().map(|h| h.name.as_str()).collect::<Vec<_>>(), ["bad", "hung"]);
        let alone = RunState::of(&[finished("late", &back("reboot", ""))]);
        assert_eq!(told(&alone, &open[..1]), "", "what became of one host is told");
    }

    #[test]
    fn a_host_that_was_about_to_hear_go_is_begun_and_one_that_heard_it_is_not() {
        let same = |note: &str| {
            format!(
                r#""outcome":"unchanged","verified":false,"decided_by":"guard","note":"{note}""#
            )
        };
        let run = RunState::of(&["held", "gone"].map(about_to_hear));
        let found = RunState::of(&[
            finished("held", &same("transaction t of root@desk: released")),
            finished("gone", &same(NOTHING_HELD)),
        ]);
        let open: Vec<HostName> = run.hosts.iter().map(|h| h.name.clone()).collect();
        assert_eq!(again(&run, &open, &found), open[..1]);
    }
}
