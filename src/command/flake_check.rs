//! The last part of `validate`: `nix flake check`, shown as it goes.

use std::time::Duration;

use super::inventory;
use crate::cli::Global;
use crate::error::Error;
use crate::exit::Exit;
use crate::world::{Invocation, World};

/// A flake with many hosts and checks to build may take this long, and no longer.
const TIMEOUT: Duration = Duration::from_secs(3 * 3600);

/// Runs it on the flake that would be deployed, or the one in the current folder. What it says goes
/// where errors go: standard output is the findings', in the form that was asked for.
///
/// # Errors
/// When there is no nix.
pub(super) async fn run(world: &World, global: &Global) -> Result<Exit, Error> {
    let flake = match inventory::load(&world.environment, global) {
        Ok(fleet) => inventory::flake(&world.environment, global, &fleet),
        Err(_) => global.flake.clone().unwrap_or_else(|| ".".to_owned()),
    };
    let features = ["--extra-experimental-features", "nix-command flakes"];
    let words = ["flake", "check"].into_iter().chain(features).chain([flake.as_str()]);
    let invocation =
        Invocation::new("nix", words).within(&world.environment.folder).timeout(TIMEOUT);
    let output = world.run(invocation).await.map_err(|e| {
        Error::usage("nix flake check was not run").because(e).hint("nix --version")
    })?;
    if output.ended.ok() {
        crate::report::err("nix flake check: ok\n");
        return Ok(Exit::Done);
    }
    let tail = crate::event::harmless::lines(output.err_tail(20).lines()).join("\n");
    crate::report::err(&format!("{tail}\nnix flake check: {}\n", output.ended));
    Ok(Exit::NotBuilt)
}
