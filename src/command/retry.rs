//! `retry [RUN]`: a run once more, with its flags, for the hosts that failed in it or were left
//! out, and for those that were deferred; and what was typed in a run that was kept.

use std::ffi::OsString;
use std::sync::Arc;

use super::deploy::{self, Preset, Wanted};
use super::{emergency, inventory, report};
use crate::cli::{self, Cli, Command, EmergencyArgs, Format, Global, RunArgs};
use crate::error::Error;
use crate::event::Outcome;
use crate::event::state::{HostState, RunState};
use crate::exit::Exit;
use crate::fleet::{Fleet, HostName};
use crate::pipeline::deferred;
use crate::plan::Goal;
use crate::report::{store, words};
use crate::world::{Environment, World};

/// How often a retry can be one of a retry; each names the run that it repeats.
const DEEPEST: usize = 50;

/// What was typed in a run.
pub(super) struct Again {
    /// Command, hosts and flags.
    pub(super) wanted: Wanted,
    global: Global,
}

impl Again {
    /// Whether it was to change hosts.
    pub(super) fn changes_hosts(&self) -> bool {
        self.wanted.preset.goal == Goal::Deploy && !self.wanted.flags.dry_run
    }

    /// The flags of now, on the flake and the hosts of then.
    pub(super) fn global(&self, now: &Global) -> Global {
        once_more(now, &self.global)
    }
}

/// The flags of now, on the flake and the hosts of then unless others are named.
fn once_more(now: &Global, then: &Global) -> Global {
    Global {
        flake: now.flake.clone().or_else(|| then.flake.clone()),
        inventory: now.inventory.clone().or_else(|| then.inventory.clone()),
        ..now.clone()
    }
}

/// What was typed in a run, if it was of the deploy family; of a retry, what that repeated.
pub(super) fn as_typed(world: &World, run: &RunState) -> Option<Again> {
    let mut command = run.command.clone();
    for _ in 0..DEEPEST {
        let words = std::iter::once("nixdeploy").chain(command.iter().map(String::as_str));
        let parsed = cli::parse(words.map(OsString::from)).ok()?;
        let Command::Retry(RunArgs { run: Some(run) }) = &parsed.command else {
            return Some(Again { wanted: deploy::wanted(&parsed.command)?, global: parsed.global });
        };
        let state = &world.environment.state;
        let run = store::find(state, run).ok()?;
        command = store::load(&store::log_of(state, &run)).ok()?.state.command;
    }
    None
}

/// Does it again.
///
/// # Errors
/// When it cannot begin.
pub(super) async fn run(
    world: &World,
    typed: &deploy::Typed<'_>,
    args: &RunArgs,
) -> Result<Exit, Error> {
    let (run, again) = match find(world, args)? {
        (run, Kept::Family(again)) => (run, *again),
        (run, Kept::Emergency(before)) => {
            return emergency_again(world, typed, &run, &before).await;
        }
    };
    let global = again.global(typed.global);
    let fleet = inventory::load(&world.environment, &global)?;
    let wanted = run.hosts.iter().filter(|host| failed(host, again.wanted.preset.goal));
    let wanted: Vec<&HostName> = wanted.map(|host| &host.name).collect();
    let known = |name: &&&HostName| fleet.host(name.as_str()).is_some();
    let mut hosts: Vec<HostName> = wanted.iter().filter(known).map(|n| (*n).clone()).collect();
    // Who names no run means all that is left to do.
    if args.run.is_none() && again.wanted.preset.goal == Goal::Deploy {
        let deferred = deferred::list(&world.environment.state, &fleet).into_iter();
        let others: Vec<HostName> =
            deferred.map(|d| d.host).filter(|host| !hosts.contains(host)).collect();
        hosts.extend(others);
    }
    let gone: Vec<&str> = wanted.iter().filter(|n| !known(n)).map(|n| n.as_str()).collect();
    if hosts.is_empty() && !gone.is_empty() {
        return Err(gone_error(&run, &gone, &fleet));
    }
    for gone in gone {
        crate::report::err(&format!("{gone} is no longer in {}\n", fleet.source.display()));
    }
    if hosts.is_empty() {
        return nothing(&run, typed.global);
    }
    // The run says which one it repeats, also when nobody named it.
    let mut arguments = world.environment.arguments.clone();
    if args.run.is_none() {
        arguments.push(run.run.clone());
    }
    let environment = Arc::new(Environment { arguments, ..(*world.environment).clone() });
    let world = World { environment, ..world.clone() };
    let preset = Preset { name: "retry", ..again.wanted.preset };
    let wanted = Wanted { preset, ..again.wanted };
    deploy::on(&world, &global, fleet, &hosts, &wanted).await
}

/// Hosts of a run wait for another attempt, and none of them can have one.
fn gone_error(run: &RunState, gone: &[&str], fleet: &Fleet) -> Error {
    let names = inventory::some(&gone.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
    let (are, file) = (if gone.len() == 1 { "is" } else { "are" }, fleet.source.display());
    Error::usage(format!("of run {} {names} failed or was left out, and {are} gone", run.run))
        .because(format!("{file} has no such host any more"))
        .hint(format!("add it to {file} again: [hosts.{}]", gone[0]))
        .hint("deploy those that are there: nixdeploy deploy HOST")
}

/// Nothing is left to do: a program that reads the result gets one all the same.
fn nothing(run: &RunState, global: &Global) -> Result<Exit, Error> {
    let text = format!("run {}: no host of it failed or was left out\n", run.run);
    match global.format() {
        Format::Json | Format::Jsonl => {
            let document = serde_json::json!({
                "schema": crate::report::json::SCHEMA,
                "nothing_to_do": text.trim_end(),
                "repeats": run.run,
                "exit": Exit::Done as u8,
                "hosts": [],
            });
            report::show(&format!("{document}\n"))
        }
        _ => {
            crate::report::err(&text);
            Ok(Exit::Done)
        }
    }
}

/// A run that can be done again.
enum Kept {
    /// Of the deploy family.
    Family(Box<Again>),
    /// An emergency.
    Emergency(Box<Cli>),
}

impl Kept {
    fn of(world: &World, run: &RunState) -> Option<Self> {
        let words = std::iter::once("nixdeploy").chain(run.command.iter().map(String::as_str));
        let parsed = cli::parse(words.map(OsString::from)).ok();
        match parsed.filter(|parsed| matches!(parsed.command, Command::Emergency(_))) {
            Some(parsed) => Some(Self::Emergency(Box::new(parsed))),
            None => as_typed(world, run).filter(repeats).map(|again| Self::Family(Box::new(again))),
        }
    }
}

/// An emergency is one of its own each time: the host's name is asked for again.
async fn emergency_again(
    world: &World,
    typed: &deploy::Typed<'_>,
    run: &RunState,
    before: &Cli,
) -> Result<Exit, Error> {
    let Command::Emergency(args) = &before.command else { return Ok(Exit::Internal) };
    if !run.hosts.iter().any(|host| failed(host, Goal::Deploy)) {
        return nothing(run, typed.global);
    }
    let global = once_more(typed.global, &before.global);
    // It is kept under what it is, and so can be done again as well.
    let mut arguments = run.command.clone();
    if let Some(at) = arguments.iter().position(|word| word == "--confirm") {
        arguments.drain(at..arguments.len().min(at + 2));
    }
    arguments.retain(|word| !word.starts_with("--confirm="));
    let environment = Arc::new(Environment { arguments, ..(*world.environment).clone() });
    let world = World { environment, ..world.clone() };
    let typed = deploy::Typed { global: &global, bare: None };
    let args = EmergencyArgs { confirm: None, ..args.clone() };
    emergency::run(&world, &typed, &args).await
}

/// The run that is meant: the one named, else the last that deployed or built.
fn find(world: &World, args: &RunArgs) -> Result<(RunState, Kept), Error> {
    let state = &world.environment.state;
    let load = |run: &str| {
        let loaded = store::load_run(state, run).map_err(|e| report::unreadable(run, &e))?;
        if loaded.state.alive {
            return Err(Error::usage(format!("run {run} is still going on in another process"))
                .hint("nixdeploy status"));
        }
        Ok(loaded.state)
    };
    if args.run.is_some() {
        let run = load(&report::find(state, args.run.as_deref(), "retry ")?)?;
        let typed = words::typed_line(&run.command);
        let error = Error::usage(format!("run {} was no deploy and no build: {typed}", run.run));
        let kept = Kept::of(world, &run).ok_or(error.hint("nixdeploy history"))?;
        return Ok((run, kept));
    }
    for entry in store::list(state) {
        let of_family = RunState { command: entry.command, ..RunState::default() };
        if let Some(kept) = Kept::of(world, &of_family) {
            return Ok((load(&entry.run)?, kept));
        }
    }
    Err(Error::usage("no run was kept that deployed or built").hint("nixdeploy history"))
}

/// What only looked is not done again.
fn repeats(again: &Again) -> bool {
    again.wanted.preset.goal != Goal::DryRun && !again.wanted.flags.dry_run
}

/// Whether a host is not what the run was to make of it; an answer that was no is an answer.
fn failed(host: &HostState, goal: Goal) -> bool {
    match host.report.as_ref().map(|report| &report.outcome) {
        None => true,
        Some(Outcome::Committed { .. } | Outcome::Unchanged { .. } | Outcome::Staged) => false,
        Some(Outcome::Declined) => false,
        Some(Outcome::Planned { .. }) => goal != Goal::Build,
        Some(_) => true,
    }
}
