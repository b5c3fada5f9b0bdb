//! The new flake.lock in place, the hosts brought to it, and both put right by what became of them.

use std::sync::Arc;

use clap::ValueEnum;

use super::asked::{Manner, Update};
use super::find::Found;
use super::flake::{Prepared, change, stopped};
use super::gate;
use super::publish::{self, Ended};
use super::{afterwards, deploying, ended, told};
use crate::cli::{DeployFlags, Engine, Global};
use crate::command::deploy;
use crate::command::launch::{self, Terms};
use crate::error::Error;
use crate::event::Outcome;
use crate::event::state::RunState;
use crate::event::stream::Stopwatch;
use crate::exit::{self, Exit};
use crate::fleet::HostName;
use crate::report;
use crate::update::keep::{Fate, Id};
use crate::update::pull_request::PullRequest;
use crate::world::signals::Signals;
use crate::world::{Environment, World};

/// Puts the candidate in place, and brings the hosts to it.
///
/// # Errors
/// When flake.lock could not be replaced, or put back.
pub(super) async fn apply(
    update: &Update<'_>,
    prepared: &Prepared,
    opened: Option<&PullRequest>,
    mut signals: Signals,
) -> Result<Exit, Error> {
    let Update { world, keep, asked, .. } = *update;
    let Prepared { found, gate, .. } = prepared;
    let (before, bytes) = (&found.before, &found.candidate.bytes);
    if let Err(error) = keep.apply(before, bytes, world.clock.epoch_ms()) {
        let nothing = Ended { fate: Fate::Nowhere, exit: None, state: None, held: false };
        let concluding =
            publish::conclude(update, opened, (change(update, found), bytes), &nothing);
        publish::attended(&mut signals, concluding).await?;
        return Err(told(&error));
    }
    if let Some(url) = opened.and_then(|opened| opened.url.as_ref()) {
        keep.opened(url).map_err(|e| told(&e))?;
    }
    let held = exit::worst(gate.held.iter().map(|(_, exit, _)| *exit));
    let undo = Id::of(before).short().to_owned();
    if asked.flags.no_deploy {
        keep.finish().map_err(|e| told(&e))?;
        keep.prune();
        let back = format!("back: nixdeploy update lock restore {undo}");
        report::err(&format!("flake.lock is new, nothing was deployed; {back}\n"));
        if asked.flags.record.commit {
            let committing = publish::commit(update, change(update, found), bytes);
            publish::attended(&mut signals, committing).await?;
        }
        return Ok(held);
    }
    let run = launch::name(world);
    let deployed =
        if stopped(&mut signals) { None } else { Some(deploy(update, prepared, &run).await) };
    let (fate, exit, state, failed) = match deployed {
        None => (Fate::Nowhere, Some(Exit::Interrupted), None, None),
        Some(Ok((exit, state))) => {
            (deploying::told_fate(world, &run, &state), Some(exit), Some(state), None)
        }
        Some(Err(error)) => (deploying::kept_fate(world, &run), None, None, Some(error)),
    };
    let recovered = keep.end(fate).map_err(|e| told(&e))?;
    report::err(&format!("{}\n", ended(&recovered)));
    if fate == Fate::Runs {
        report::err(&format!("the one before it: nixdeploy update lock restore {undo}\n"));
        let new = state.iter().flat_map(deployed_by).collect::<Vec<_>>();
        afterwards::again(update, gate, &new).await;
    }
    let outcome = Ended { fate, exit, state: state.as_ref(), held: !gate.held.is_empty() };
    // Those that came during the deploy were meant for that.
    while stopped(&mut signals) {}
    let concluding = publish::conclude(update, opened, (change(update, found), bytes), &outcome);
    publish::attended(&mut signals, concluding).await?;
    if asked.manner == Manner::Guided {
        offer_commit(update, found, &outcome, &mut signals).await;
    }
    match failed {
        Some(error) => Err(error),
        // Of hosts that were held nothing is worse than having been stopped.
        None if exit == Some(Exit::Interrupted) => Ok(Exit::Interrupted),
        None => Ok(exit::worst([exit.unwrap_or(Exit::Done), held])),
    }
}

/// Hosts that run what was deployed.
fn deployed_by(state: &RunState) -> Vec<HostName> {
    let new = state.hosts.iter().filter(|host| {
        let outcome = host.report.as_ref().map(|report| &report.outcome);
        matches!(
            outcome,
            Some(Outcome::Committed { .. } | Outcome::Unchanged { .. } | Outcome::Unhealthy)
        )
    });
    new.map(|host| host.name.clone()).collect()
}

/// The last step of a guided update: nothing is committed that nobody asked for.
async fn offer_commit(
    update: &Update<'_>,
    found: &Found,
    ended: &Ended<'_>,
    signals: &mut Signals,
) {
    let record = &update.asked.flags.record;
    let done = ended.fate == Fate::Runs && ended.exit == Some(Exit::Done);
    if !done || record.commit || record.pr || update.global.yes {
        return;
    }
    let prompt = update.world.prompt.clone();
    let subject = change(update, found).subject();
    let question = format!("Commit flake.lock as \"{subject}\"?");
    let answer = gate::asked(update.world, signals, move || prompt.confirm(&question, false));
    if answer.await == Some(true) {
        let committing = publish::commit(update, change(update, found), &found.candidate.bytes);
        if let Err(left) = publish::attended(signals, committing).await {
            report::err(&format!("{left}\n"));
        }
    }
}

async fn deploy(
    update: &Update<'_>,
    Prepared { found, gate, built }: &Prepared,
    run: &str,
) -> Result<(Exit, RunState), Error> {
    let Update { world, global, asked, fleet, keep, .. } = *update;
    let names: Vec<String> = gate.go.iter().map(HostName::to_string).collect();
    let message = Some(change(update, found).message(Some(built)));
    let (engine, issue) = (asked.engine, asked.flags.record.issue);
    let flags = DeployFlags { message, engine, issue, ..DeployFlags::default() };
    keep.deploying(run, &world.environment.state, &names).map_err(|e| told(&e))?;
    let request = deploy::request(&deploy::preset("deploy"), global, &flags, fleet)?;
    let typed = typed(world, global, &names, &flags);
    let terms = Terms { name: Some(run.to_owned()), ..Terms::default() };
    launch::launch_with(&typed, global, fleet.clone(), &gate.go, request, terms).await
}

/// The same deploy as it would be typed: for the report, for `retry`, and for the unit that
/// deploys the machine we are on.
fn typed(world: &World, global: &Global, hosts: &[String], flags: &DeployFlags) -> World {
    let mut arguments = vec!["deploy".to_owned()];
    arguments.extend(hosts.iter().cloned());
    let mut add = |flag: &str, value: Option<String>| {
        arguments.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
    };
    add("--message", flags.message.clone());
    add("--issue", flags.issue.map(|n| n.to_string()));
    let engine = flags.engine.to_possible_value().filter(|_| flags.engine != Engine::Native);
    add("--engine", engine.map(|value| value.get_name().to_owned()));
    add("--inventory", global.inventory.as_ref().map(|p| p.display().to_string()));
    add("--flake", global.flake.clone());
    let password = global.sudo_password_file.as_ref();
    add("--sudo-password-file", password.map(|p| p.display().to_string()));
    for (given, flag) in
        [(global.yes, "--yes"), (global.no_input, "--no-input"), (global.no_cache, "--no-cache")]
    {
        arguments.extend(given.then(|| flag.to_owned()));
    }
    let environment = Arc::new(Environment { arguments, ..(*world.environment).clone() });
    World { environment, ..world.clone() }
}
