//! `resume [RUN]` and `abort [RUN]`: after an interruption, ask the hosts and end what was begun.

use super::{deploy, inventory, launch, report, retry, update};
use crate::activate::journal;
use crate::cli::{DeployFlags, Format, Global, Part, RunArgs};
use crate::error::Error;
use crate::event::Outcome;
use crate::event::state::{Beyond, HostState, RunState};
use crate::exit::{self, Exit};
use crate::fleet::{Fleet, HostName};
use crate::plan::{Goal, Request};
use crate::report::json::document;
use crate::report::store;
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
    let Some(before) = wanted.filter(|_| !again.is_empty()) else {
        if typed.global.format() == Format::Json {
            report::show(&document)?;
        }
        if !again.is_empty() {
            let typed = run.command.join(" ");
            let now = format!("nothing of it was begun; to do it now: nixdeploy {typed}\n");
            crate::report::err(&now);
        }
        return Ok(worst);
    };
    let names: Vec<&str> = again.iter().map(HostName::as_str).collect();
    let goes_on = format!("nothing of it was begun on {}: going on\n", names.join(", "));
    crate::report::err(&goes_on);
    let last = Global { part: Part::Last(document), ..before.global(typed.global) };
    let next = deploy::on(world, &last, fleet, &again, &before.wanted).await?;
    // What was found unchanged is now deployed: only the others' findings still count.
    Ok(if again.len() == open.len() { next } else { exit::worst([worst, next]) })
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
            Outcome::Unchanged { .. } => h.armed.is_none(),
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

/// Hosts that the run never got to: it had said `go` to none of them, and nothing of it is there.
fn again(run: &RunState, open: &[HostName], found: &RunState) -> Vec<HostName> {
    let unchanged = |name: &&HostName| {
        let report = found.host(name).and_then(|h| h.report.as_ref());
        report.is_some_and(|r| matches!(r.outcome, Outcome::Unchanged { .. }))
    };
    let begun = |name: &&HostName| run.host(name).is_some_and(|h| h.armed.is_some());
    open.iter().filter(unchanged).filter(|name| !begun(name)).cloned().collect()
}
