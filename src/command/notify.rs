//! `[notify]` of hosts.toml: a command or the terminal's bell when a run has ended.
//!
//! The command's words go to it as they are written, by no shell. What happened is in variables
//! and, as the run's JSON document, on its standard input; nothing of it can change the outcome.

use std::path::Path;
use std::time::Duration;

use crate::event::harmless;
use crate::event::state::RunState;
use crate::exit::Exit;
use crate::fleet::{Fleet, NotifyOn};
use crate::report::{door, json, words};
use crate::world::{Invocation, World};

/// Nobody waits longer for a word about a run than this.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells that a run has ended.
pub(super) async fn told(world: &World, fleet: &Fleet, exit: Exit, state: &RunState) {
    if !wanted(fleet, exit) {
        return;
    }
    bell(world, fleet);
    let facts = [
        ("RUN", state.run.clone()),
        ("COMMAND", words::typed_line(&state.command)),
        ("RESULT", words::tally(state)),
        ("SECONDS", (words::total(state) / 1000).to_string()),
    ];
    start(world, fleet, exit, &facts, json::document(state)).await;
}

/// Tells that what was saved has been checked.
pub(super) async fn checked(world: &World, fleet: &Fleet, exit: Exit) {
    if !wanted(fleet, exit) {
        return;
    }
    bell(world, fleet);
    let result = if exit == Exit::Done { "nothing blocks" } else { "findings that block" };
    let facts = [("COMMAND", "watch".to_owned()), ("RESULT", result.to_owned())];
    let code = exit as u8;
    let document = format!("{{\"schema\":{},\"exit\":{code}}}\n", json::SCHEMA);
    start(world, fleet, exit, &facts, document).await;
}

fn wanted(fleet: &Fleet, exit: Exit) -> bool {
    match fleet.notify.on {
        NotifyOn::Always => true,
        NotifyOn::Failure => !matches!(exit, Exit::Done | Exit::Staged | Exit::Changes),
    }
}

/// Only where somebody may hear it: nothing is written into files and pipes.
fn bell(world: &World, fleet: &Fleet) {
    if fleet.notify.bell && world.environment.screen {
        door::err("\u{7}");
    }
}

async fn start(
    world: &World,
    fleet: &Fleet,
    exit: Exit,
    facts: &[(&str, String)],
    document: String,
) {
    let Some((program, args)) = fleet.notify.command.split_first() else { return };
    let beside = fleet.source.parent().unwrap_or_else(|| Path::new("/"));
    let path = program.starts_with(['.', '~']);
    let program = match path {
        true => world.environment.expand(program, beside).display().to_string(),
        false => program.clone(),
    };
    let code = (exit as u8).to_string();
    let mut asked = Invocation::new(&program, args.iter().cloned()).stdin(document);
    asked = asked.env("NIXDEPLOY_EXIT", code).timeout(PATIENCE);
    for (name, value) in facts {
        asked = asked.env(&format!("NIXDEPLOY_{name}"), harmless::line(value));
    }
    let why = match world.run(asked).await {
        Ok(said) if said.ended.ok() => return,
        Ok(said) => format!("{}: {}", said.ended, harmless::line(&said.err_tail(1))),
        Err(error) => error.to_string(),
    };
    let program = harmless::line(&program);
    door::err(&format!("warning: [notify] {program}: {why}\n"));
}
