//! The deploy family: presets of one request, in one table.

use super::{inventory, launch};
use crate::cli::{BuildArgs, DeployArgs, DeployFlags, DiffArgs, Engine, Global, Selection};
use crate::error::Error;
use crate::exit::Exit;
use crate::fleet::{BuildOn, Fleet, HostName, Mode};
use crate::plan::{Goal, Request};
use crate::world::World;

/// What a command's name means, before the flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// The command.
    pub name: &'static str,
    /// How far it goes.
    pub goal: Goal,
    /// Checks; `None`: hosts.toml decides.
    pub mode: Option<Mode>,
    /// Asks once on a terminal.
    pub asks: bool,
    /// Looks at the health of a host that needs nothing.
    pub verifies_unchanged: bool,
    /// Uses the fleet's cache.
    pub cached: bool,
    /// Builds here, whatever hosts.toml says.
    pub local: bool,
}

const DEPLOY: Preset = Preset {
    name: "deploy",
    goal: Goal::Deploy,
    mode: None,
    asks: true,
    verifies_unchanged: true,
    cached: false,
    local: false,
};

/// Every preset.
pub const PRESETS: [Preset; 9] = [
    DEPLOY,
    Preset { name: "quick-deploy", asks: false, verifies_unchanged: false, ..DEPLOY },
    Preset { name: "deploy-fast", mode: Some(Mode::Fast), ..DEPLOY },
    Preset { name: "deploy-local-build", local: true, ..DEPLOY },
    Preset { name: "deploy-cached", cached: true, ..DEPLOY },
    Preset { name: "deploy-via", ..DEPLOY },
    Preset { name: "test-host", goal: Goal::Build, asks: false, ..DEPLOY },
    Preset { name: "build", goal: Goal::Build, asks: false, ..DEPLOY },
    Preset { name: "diff", goal: Goal::DryRun, asks: false, verifies_unchanged: false, ..DEPLOY },
];

/// The preset of a command's name.
pub fn preset(name: &str) -> Preset {
    PRESETS.into_iter().find(|p| p.name == name).unwrap_or(DEPLOY)
}

/// What was typed around a preset.
pub struct Typed<'a> {
    /// Flags of every command.
    pub global: &'a Global,
    /// The word that stood where a command stands.
    pub bare: Option<&'a str>,
}

/// Deploys.
///
/// # Errors
/// When it cannot begin.
pub async fn run(
    world: &World,
    typed: &Typed<'_>,
    name: &str,
    builder: Option<&str>,
    args: &DeployArgs,
) -> Result<Exit, Error> {
    let (mut fleet, hosts) = chosen(world, typed, &args.selection)?;
    super::limits::apply(&args.flags.limits, &mut fleet, &hosts)?;
    let flags = DeployFlags {
        build_on: builder.map(str::to_owned).or_else(|| args.flags.build_on.clone()),
        ..args.flags.clone()
    };
    let request = request(&preset(name), typed.global, &flags, &fleet)?;
    launch::launch(world, typed.global, fleet, &hosts, request, flags.detailed_exitcode).await
}

/// Builds and keeps.
///
/// # Errors
/// When it cannot begin.
pub async fn build(
    world: &World,
    typed: &Typed<'_>,
    name: &str,
    args: &BuildArgs,
) -> Result<Exit, Error> {
    let (fleet, hosts) = chosen(world, typed, &args.selection)?;
    let flags = DeployFlags {
        build_on: args.build_on.clone(),
        cached: args.cached,
        ..DeployFlags::default()
    };
    let request = request(&preset(name), typed.global, &flags, &fleet)?;
    launch::launch(world, typed.global, fleet, &hosts, request, false).await
}

/// Shows what would change.
///
/// # Errors
/// When it cannot begin.
pub async fn diff(world: &World, typed: &Typed<'_>, args: &DiffArgs) -> Result<Exit, Error> {
    let (fleet, hosts) = chosen(world, typed, &args.selection)?;
    let flags = DeployFlags::default();
    let request = request(&preset("diff"), typed.global, &flags, &fleet)?;
    launch::launch(world, typed.global, fleet, &hosts, request, args.detailed_exitcode).await
}

fn chosen(
    world: &World,
    typed: &Typed<'_>,
    selection: &Selection,
) -> Result<(Fleet, Vec<HostName>), Error> {
    let fleet = inventory::load(&world.environment, typed.global)?;
    let hosts = inventory::hosts(&fleet, &selection.hosts, &selection.exclude, typed.bare)?;
    let names = hosts.into_iter().map(|h| h.name.clone()).collect();
    Ok((fleet, names))
}

/// A preset and the flags as one request.
pub fn request(
    preset: &Preset,
    global: &Global,
    flags: &DeployFlags,
    fleet: &Fleet,
) -> Result<Request, Error> {
    let build_on = match (&flags.build_on, preset.local) {
        (Some(word), _) => Some(place(word, fleet)?),
        (None, true) => Some(BuildOn::Local),
        (None, false) => None,
    };
    let cached = flags.cached || preset.cached;
    if cached && fleet.cache.is_none() {
        return Err(no_cache(fleet));
    }
    Ok(Request {
        command: preset.name.to_owned(),
        goal: if flags.dry_run {
            Goal::DryRun
        } else if flags.boot {
            Goal::Boot
        } else {
            preset.goal
        },
        mode: flags.mode.or(preset.mode),
        build_on,
        cached,
        yes: global.yes,
        verify_unchanged: preset.verifies_unchanged,
        ask: preset.asks,
        accept_drift: flags.accept_drift,
        external: flags.engine == Engine::NixosRebuild,
        trial_boot: flags.trial_boot,
        no_cache: global.no_cache,
        issue: flags.issue,
        message: flags.message.clone(),
        recovers: None,
    })
}

fn no_cache(fleet: &Fleet) -> Error {
    let file = fleet.source.display();
    let table = "[cache]\n        url = \"http://HOST:5000\"\n        public_key = \"NAME:KEY\"";
    Error::usage(format!("there is no cache to use: {file} names none"))
        .hint(format!("write into {file}:\n        {table}"))
        .hint("every key: nixdeploy help hosts")
}

fn place(word: &str, fleet: &Fleet) -> Result<BuildOn, Error> {
    match word {
        "local" => return Ok(BuildOn::Local),
        "target" => return Ok(BuildOn::Target),
        _ => {}
    }
    let known = fleet.host(word).is_some() || fleet.builders.contains_key(word);
    match HostName::new(word) {
        Ok(name) if known => Ok(BuildOn::Host(name)),
        _ => {
            let names: Vec<&str> = fleet.hosts.iter().map(|h| h.name.as_str()).collect();
            let shown = crate::event::harmless::line(word);
            Err(Error::usage(format!("cannot build on '{shown}': no such host or builder"))
                .hint(format!("local, target, or one of: {}", names.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_preset_stands_once() {
        for preset in PRESETS {
            assert_eq!(PRESETS.iter().filter(|p| p.name == preset.name).count(), 1);
            assert!(
                crate::cli::command_names().iter().any(|n| n == preset.name),
                "{}",
                preset.name
            );
        }
    }
}
