//! `rollback HOST [--to GEN] [--with-lock]`: back to an explicit generation, verified.

use super::{deploy, inventory, launch, update};
use crate::build::FlakeRef;
use crate::build::flake::LocalFlake;
use crate::cli::{DeployFlags, RollbackArgs};
use crate::error::Error;
use crate::event::state::RunState;
use crate::exit::Exit;
use crate::fleet::{Fleet, Generation};
use crate::plan::{Goal, Request};
use crate::world::{World, files};

/// A lock file larger than this is none.
const LIMIT: u64 = 16 << 20;

/// Goes back.
///
/// # Errors
/// When it cannot begin.
pub async fn run(
    world: &World,
    typed: &deploy::Typed<'_>,
    args: &RollbackArgs,
) -> Result<Exit, Error> {
    let fleet = inventory::load(&world.environment, typed.global)?;
    let words = std::slice::from_ref(&args.host);
    let hosts = inventory::hosts(&fleet, words, &[], None)?;
    let names: Vec<_> = hosts.into_iter().map(|h| h.name.clone()).collect();
    if names.len() != 1 {
        let named: Vec<String> = names.iter().map(ToString::to_string).collect();
        let told = Error::usage("one host at a time: generations are counted per host");
        return Err(match named.first() {
            Some(first) => told
                .because(format!("'{}' means {}", args.host, inventory::some(&named)))
                .hint(format!("nixdeploy rollback {first}, and so on")),
            None => told.hint("nixdeploy rollback HOST"),
        });
    }
    let request = request(typed, &fleet, args)?;
    let flake = args.with_lock.then(|| flake(world, typed, &fleet)).transpose()?;
    let (exit, state) =
        launch::launch_without_source(world, typed.global, fleet, &names, request).await?;
    if exit == Exit::Done
        && let Some(flake) = flake
    {
        restore(world, &flake, &state);
    }
    Ok(exit)
}

fn request(
    typed: &deploy::Typed<'_>,
    fleet: &Fleet,
    args: &RollbackArgs,
) -> Result<Request, Error> {
    let preset = deploy::preset("deploy");
    let request = deploy::request(&preset, typed.global, &DeployFlags::default(), fleet)?;
    Ok(Request {
        command: "rollback".to_owned(),
        goal: Goal::Rollback { to: args.to.map(Generation) },
        // Whoever names a generation has decided what the host is to be; the one before is counted
        // from what the host is, and where its pointers disagree there is no such thing.
        accept_drift: args.to.is_some(),
        ..request
    })
}

fn flake(world: &World, typed: &deploy::Typed<'_>, fleet: &Fleet) -> Result<LocalFlake, Error> {
    let text = inventory::flake(&world.environment, typed.global, fleet);
    match FlakeRef::parse(&text, &world.environment.folder, &world.environment) {
        Ok(FlakeRef::Local(local)) => Ok(local),
        Ok(FlakeRef::Other(_)) => Err(Error::usage("--with-lock needs a flake on this machine")
            .hint("nixdeploy rollback HOST  # without --with-lock")),
        Err(error) => Err(error.error()),
    }
}

fn restore(world: &World, flake: &LocalFlake, state: &RunState) {
    let Some(toplevel) = state.hosts.first().and_then(|h| h.toplevel.clone()) else {
        return;
    };
    let kept = crate::pipeline::arrive::kept_lock(&world.environment.state, &toplevel);
    let restored = files::read_text(&kept, LIMIT)
        .map_err(|e| e.to_string())
        .and_then(|lock| update::put(flake, lock.as_bytes()).map_err(|e| e.sentence));
    if let Err(error) = restored {
        let text = "the host is back, but no flake.lock of that generation could be restored";
        crate::report::err(&format!("warning: {text}: {error}\n  hint: git log -- flake.lock\n"));
        return;
    }
    crate::report::err("flake.lock is the one of that generation again: git diff flake.lock\n");
}
