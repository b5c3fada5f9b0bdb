//! The deploy family: presets of one request, in one table.

use super::{inventory, launch};
use crate::cli::{
    BuildEveryArgs, BuildFlags, Command, DeployEveryArgs, DeployFlags, Engine, Everyone, Global,
    Selection,
};
use crate::error::Error;
use crate::event::stream::Stopwatch;
use crate::exit::Exit;
use crate::fleet::{BuildOn, Fleet, HostName, Mode};
use crate::pipeline::deferred::{self, Deferred};
use crate::plan::{Goal, Request};
use crate::report::table::ago;
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
    /// Keeps from the garbage collector what it builds.
    pub keeps: bool,
    /// Builds for every host before it touches one.
    pub builds_first: bool,
    /// One host at a time, unless several at once are asked for.
    pub one_by_one: bool,
}

const DEPLOY: Preset = Preset {
    name: "deploy",
    goal: Goal::Deploy,
    mode: None,
    asks: true,
    verifies_unchanged: true,
    cached: false,
    local: false,
    keeps: true,
    builds_first: false,
    one_by_one: false,
};
const BUILD: Preset = Preset { name: "build", goal: Goal::Build, asks: false, ..DEPLOY };
const TEST: Preset = Preset { name: "test-host", keeps: false, ..BUILD };

/// Every preset.
pub const PRESETS: [Preset; 17] = [
    DEPLOY,
    Preset { name: "quick-deploy", asks: false, verifies_unchanged: false, ..DEPLOY },
    Preset { name: "deploy-fast", mode: Some(Mode::Fast), ..DEPLOY },
    Preset { name: "deploy-local-build", local: true, ..DEPLOY },
    Preset { name: "deploy-cached", cached: true, ..DEPLOY },
    Preset { name: "deploy-via", ..DEPLOY },
    Preset { name: "deploy-all", one_by_one: true, ..DEPLOY },
    Preset { name: "deploy-all-parallel", ..DEPLOY },
    Preset { name: "quick-all", builds_first: true, ..DEPLOY },
    Preset { name: "emergency", asks: false, ..DEPLOY },
    TEST,
    Preset { name: "test-all", one_by_one: true, ..TEST },
    Preset { name: "test-all-parallel", ..TEST },
    Preset { name: "quick-test", ..TEST },
    BUILD,
    Preset { name: "build-all-parallel", ..BUILD },
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

/// What was typed of the deploy family: a preset, its hosts, its flags.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What the command means.
    pub preset: Preset,
    /// Which hosts.
    pub selection: Selection,
    /// How; those of other commands are brought into this form.
    pub flags: DeployFlags,
}

/// Reads a command of the family; `None`: it is none.
pub fn wanted(command: &Command) -> Option<Wanted> {
    let of = |name: &str, selection: &Selection, flags: &DeployFlags| {
        let (selection, flags) = (selection.clone(), flags.clone());
        Some(Wanted { preset: preset(name), selection, flags })
    };
    match command {
        Command::QuickDeploy(a) => of("quick-deploy", &a.selection, &a.flags),
        Command::Deploy(a) => of("deploy", &a.selection, &a.flags),
        Command::DeployFast(a) => of("deploy-fast", &a.selection, &a.flags),
        Command::DeployLocalBuild(a) => of("deploy-local-build", &a.selection, &a.flags),
        Command::DeployCached(a) => of("deploy-cached", &a.selection, &a.flags),
        Command::DeployVia(a) => {
            let flags = DeployFlags { build_on: Some(a.builder.clone()), ..a.flags.clone() };
            of("deploy-via", &a.selection, &flags)
        }
        Command::DeployAll(a) => Some(deploys("deploy-all", &a.every, a.parallel)),
        Command::DeployAllParallel(a) => Some(deploys("deploy-all-parallel", a, true)),
        Command::QuickAll(a) => Some(deploys("quick-all", a, true)),
        Command::TestHost(a) => of("test-host", &a.selection, &building(&a.flags)),
        Command::TestAll(a) => Some(builds("test-all", &a.every, a.parallel)),
        Command::TestAllParallel(a) => Some(builds("test-all-parallel", a, true)),
        Command::QuickTest(a) => Some(builds("quick-test", a, true)),
        Command::Build(a) => of("build", &a.selection, &building(&a.flags)),
        Command::BuildAllParallel(a) => Some(builds("build-all-parallel", a, true)),
        Command::Diff(a) => {
            let detailed_exitcode = a.detailed_exitcode;
            of("diff", &a.selection, &DeployFlags { detailed_exitcode, ..DeployFlags::default() })
        }
        _ => None,
    }
}

fn deploys(name: &str, args: &DeployEveryArgs, parallel: bool) -> Wanted {
    every(name, &args.everyone, args.flags.clone(), parallel)
}

fn builds(name: &str, args: &BuildEveryArgs, parallel: bool) -> Wanted {
    every(name, &args.everyone, building(&args.flags), parallel)
}

fn every(name: &str, everyone: &Everyone, flags: DeployFlags, parallel: bool) -> Wanted {
    let preset = preset(name);
    let one_by_one = preset.one_by_one && !parallel;
    let selection = Selection { hosts: vec!["all".to_owned()], exclude: everyone.exclude.clone() };
    Wanted { preset: Preset { one_by_one, ..preset }, selection, flags }
}

fn building(flags: &BuildFlags) -> DeployFlags {
    let (build_on, cached) = (flags.build_on.clone(), flags.cached);
    DeployFlags { build_on, cached, ..DeployFlags::default() }
}

/// Deploys, builds or compares.
///
/// # Errors
/// When it cannot begin.
pub async fn run(world: &World, typed: &Typed<'_>, wanted: &Wanted) -> Result<Exit, Error> {
    let fleet = inventory::load(&world.environment, typed.global)?;
    let Selection { hosts, exclude } = &wanted.selection;
    let hosts = inventory::hosts(&fleet, hosts, exclude, typed.bare)?;
    let hosts: Vec<HostName> = hosts.into_iter().map(|h| h.name.clone()).collect();
    let hosts = along(world, &fleet, wanted, hosts)?;
    on(world, typed.global, fleet, &hosts, wanted).await
}

/// Hosts that were asleep in an earlier run go along with several others; with one alone, which
/// somebody waits for, they are told of.
fn along(
    world: &World,
    fleet: &Fleet,
    wanted: &Wanted,
    mut hosts: Vec<HostName>,
) -> Result<Vec<HostName>, Error> {
    if wanted.preset.goal != Goal::Deploy || wanted.flags.dry_run {
        return Ok(hosts);
    }
    let mut deferred = deferred::list(&world.environment.state, fleet);
    if !wanted.selection.exclude.is_empty() {
        let out = inventory::hosts(fleet, &wanted.selection.exclude, &[], None)?;
        deferred.retain(|d| !out.iter().any(|host| host.name == d.host));
    }
    let several = hosts.len() > 1;
    for Deferred { host, run, since_ms, .. } in deferred {
        let ago = ago(world.clock.epoch_ms(), since_ms);
        let because = format!("it was asleep {ago} ago in run {run}");
        if hosts.contains(&host) {
            crate::report::err(&format!("{host}: deferred until now: {because}\n"));
        } else if several {
            crate::report::err(&format!("{host}: deployed along with these: {because}\n"));
            hosts.push(host);
        } else {
            let next = "nixdeploy retry";
            crate::report::err(&format!("{host}: still to be deployed: {because}: {next}\n"));
        }
    }
    Ok(hosts)
}

/// The same on hosts that are known already.
pub(super) async fn on(
    world: &World,
    global: &Global,
    mut fleet: Fleet,
    hosts: &[HostName],
    wanted: &Wanted,
) -> Result<Exit, Error> {
    let request = request(&wanted.preset, global, &wanted.flags, &fleet)?;
    if wanted.preset.one_by_one {
        fleet.limits.max_parallel = 1;
    }
    super::limits::apply(&wanted.flags.limits, &mut fleet, hosts)?;
    let detailed = wanted.flags.detailed_exitcode;
    launch::launch(world, global, fleet, hosts, request, detailed).await
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
        external: flags.engine != Engine::Native,
        nh: flags.engine == Engine::Nh,
        emergency: false,
        trial_boot: flags.trial_boot,
        no_cache: global.no_cache,
        keep: preset.keeps,
        build_first: preset.builds_first,
        wait_s: flags.wait.unwrap_or_default(),
        issue: flags.issue,
        message: flags.message.clone(),
        recovers: None,
        lock: None,
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
