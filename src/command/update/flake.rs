//! `update flake [INPUT...]`: a candidate, everything built and checked, then flake.lock and the
//! hosts.
//!
//! Until the gate lets it nothing but the store and our own folder is written. From then on the
//! journal of [`Keep`] says what is to be in place, whatever becomes of this program.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::ValueEnum;

use super::asked::{Asked, Which};
use super::gate::{self, Gate, Question, gate};
use super::kept::moved;
use super::preview::stand_in;
use super::{Place, deploying, ended, held, place, told, who};
use crate::build::flake::LocalFlake;
use crate::build::tree;
use crate::cli::{DeployFlags, Engine, Global};
use crate::command::launch::{self, Terms};
use crate::command::report::show;
use crate::command::{deploy, inventory};
use crate::error::Error;
use crate::event::harmless;
use crate::event::stream::Stopwatch;
use crate::exit::{self, Exit};
use crate::fleet::{Fleet, HostName, StorePath};
use crate::plan::Request;
use crate::report::inputs::{self, Moved};
use crate::report::{self, choice};
use crate::update::candidate::{self, Candidate, CandidateError, candidate};
use crate::update::chosen::{Mistake, chosen};
use crate::update::decision::Who;
use crate::update::keep::{Fate, Id, Keep};
use crate::update::lock::{Lock, Locked, moves};
use crate::world::signals::Signals;
use crate::world::{Environment, World};

/// Inputs that are named in a sentence.
const NAMED: usize = 4;

/// What was found to update, before anything is.
pub(super) struct Found {
    /// The file's bytes.
    before: Vec<u8>,
    /// What is in them.
    lock: Lock,
    /// What is to come.
    pub(super) candidate: Candidate,
    /// What differs.
    pub(super) moves: Vec<Moved>,
}

impl Found {
    /// What an input is locked to, and is to be locked to.
    pub(super) fn both(&self, input: &str) -> (Option<&Locked>, Option<&Locked>) {
        (self.lock.locked(input), self.candidate.lock.locked(input))
    }
}

/// Updates.
///
/// # Errors
/// When it ended before any host was touched: flake.lock is as it was.
pub(super) async fn run(world: &World, global: &Global, asked: &Asked) -> Result<Exit, Error> {
    // From here on a signal ends nothing by itself: flake.lock is put right first.
    let mut signals = Signals::listen()
        .map_err(|e| Error::new(Exit::Internal, "cannot listen to signals").because(e))?;
    let Place { fleet, flake, keep } = place(world, global)?;
    let hosts = inventory::hosts(&fleet, &asked.hosts, &asked.flags.exclude, None)?;
    let hosts: Vec<HostName> = hosts.into_iter().map(|h| h.name.clone()).collect();
    let keep = held(world, keep)?;
    own_work(world, global, &flake, asked.flags.allow_dirty_lock).await?;
    let found = tokio::select! {
        found = find(world, &fleet, &flake, &keep, &asked.which) => found?,
        _ = signals.next() => return Ok(unchanged(Exit::Interrupted)),
    };
    let look = choice::look(&launch::setting(global), &world.environment);
    if found.moves.is_empty() {
        report::err("the inputs are current already: nothing to update\n");
        return Ok(Exit::Done);
    }
    let of = found.candidate.lock.count();
    show(&(inputs::moves(&found.moves, of, &look).join("\n") + "\n"))?;
    let (exit, toplevels) = build(world, global, &fleet, &hosts, (asked, &found)).await?;
    if exit != Exit::Done {
        return Ok(unchanged(exit));
    }
    let locks = [&found.lock, &found.candidate.lock];
    let (fleet_of, risk) = (&fleet, &asked.flags.risk);
    let question = Question { global, fleet: fleet_of, toplevels: &toplevels, locks, risk };
    let Some(gate) = gate(world, &question, &mut signals).await? else {
        return Ok(unchanged(Exit::Interrupted));
    };
    if stopped(&mut signals) {
        return Ok(unchanged(Exit::Interrupted));
    }
    if gate.go.is_empty() {
        return Ok(unchanged(exit::worst(gate.held.iter().map(|(_, exit, _)| *exit))));
    }
    apply(world, global, fleet, (&keep, &found), (gate, asked), signals).await
}

/// Whether we were asked to stop while nothing listened.
fn stopped(signals: &mut Signals) -> bool {
    futures_util::FutureExt::now_or_never(signals.next()).is_some()
}

fn unchanged(exit: Exit) -> Exit {
    report::err("flake.lock is as it was\n");
    exit
}

/// What differs from the last commit is the person's own work: it is what is gone back to, but
/// where nobody looks on it was probably forgotten.
async fn own_work(
    world: &World,
    global: &Global,
    flake: &LocalFlake,
    allow_dirty_lock: bool,
) -> Result<(), Error> {
    let file = flake.folder.join("flake.lock").display().to_string();
    let literal = format!(":(top,literal){file}");
    let tracked = tree::git(world, flake, &["ls-files", "--", &literal]).await;
    let tracked = tracked.map_err(|e| Error::usage(e.to_string()).hint("git status"))?;
    if tracked.is_empty() {
        return Err(Error::usage("git does not track flake.lock, so Nix does not see it")
            .hint("git add flake.lock"));
    }
    let differs = tree::git(world, flake, &["diff", "--name-only", "HEAD", "--", &literal]).await;
    if differs.is_ok_and(|names| names.is_empty()) {
        return Ok(());
    }
    if who(world, global) == Who::Nobody && !allow_dirty_lock {
        return Err(Error::usage("flake.lock differs from the last commit")
            .hint("git diff flake.lock")
            .hint("go on from it all the same: --allow-dirty-lock"));
    }
    report::err("flake.lock differs from the last commit: this is what is kept and gone back to\n");
    Ok(())
}

/// The candidate, and what moves with it.
///
/// # Errors
/// When a name is no input, or Nix cannot write a candidate: nothing was changed.
pub(super) async fn find(
    world: &World,
    fleet: &Fleet,
    flake: &LocalFlake,
    keep: &Keep,
    which: &Which,
) -> Result<Found, Error> {
    let before = keep.current().map_err(|e| told(&e))?;
    let lock = Lock::parse(&before).map_err(|why| {
        Error::usage("flake.lock is no lock file").because(harmless::line(&why)).hint("git status")
    })?;
    let chosen = chosen(&lock, &which.inputs, &which.except).map_err(mistaken)?;
    // What was there is kept before anything else is done.
    keep.back_up(&before).map_err(|e| told(&e))?;
    let accept_flake_config = fleet.hosts.iter().any(|h| h.accept_flake_config);
    let wanted = candidate::Wanted { flake, lock: &lock, chosen: &chosen, accept_flake_config };
    let candidate = candidate(world, keep, &wanted).await.map_err(|e| no_candidate(&e))?;
    let moves = moves(&lock, &candidate.lock).iter().map(moved).collect();
    Ok(Found { before, lock, candidate, moves })
}

fn mistaken(mistake: Mistake) -> Error {
    let error = Error::usage(mistake.to_string());
    match mistake {
        Mistake::Unknown { name, known } => {
            let nearest =
                crate::fleet::hosts_toml::nearest(&name, known.iter().map(String::as_str));
            let error = match nearest {
                Some(nearest) => error.hint(format!("did you mean {nearest}?")),
                None => error,
            };
            error.hint(format!("it has: {}", known.join(", ")))
        }
        Mistake::Follows { of, .. } => {
            let first = of.split('/').next().unwrap_or(&of);
            error.hint(format!("nixdeploy update flake {first}"))
        }
        Mistake::Nothing => error.hint("nixdeploy update lock show"),
    }
}

fn no_candidate(error: &CandidateError) -> Error {
    let told = match error {
        CandidateError::Nix(why) => {
            let error = Error::new(Exit::NotBuilt, "Nix could not update the inputs");
            why.lines().fold(error, |error, line| error.because(line))
        }
        other => Error::usage(harmless::line(&other.to_string())),
    };
    told.because("flake.lock is as it was").hint("nix flake metadata")
}

/// Builds every host with the candidate, and fetches the lists of issues meanwhile.
async fn build(
    world: &World,
    global: &Global,
    fleet: &Fleet,
    hosts: &[HostName],
    (asked, found): (&Asked, &Found),
) -> Result<(Exit, BTreeMap<HostName, StorePath>), Error> {
    let preset = deploy::preset("build");
    let request = deploy::request(&preset, global, &DeployFlags::default(), fleet)?;
    let (global, lock) = stand_in(found, global);
    let request = Request { command: "update".to_owned(), lock, ..request };
    let asking = gate::asking(fleet, global.no_cache)?;
    let issues = async {
        if !asked.flags.risk.no_issue_check {
            let locks = [&found.lock, &found.candidate.lock];
            drop(gate::ahead(world, &asking, locks).await);
        }
    };
    let fleet = fleet.clone();
    let built = launch::launch_with(world, &global, fleet, hosts, request, Terms::default());
    let (built, ()) = tokio::join!(built, issues);
    let (exit, state) = built?;
    let toplevels = state.hosts.into_iter().filter_map(|h| Some((h.name, h.toplevel?)));
    Ok((exit, toplevels.collect()))
}

/// Puts the candidate in place, and brings the hosts to it.
async fn apply(
    world: &World,
    global: &Global,
    fleet: Fleet,
    (keep, found): (&Keep, &Found),
    (gate, asked): (Gate, &Asked),
    mut signals: Signals,
) -> Result<Exit, Error> {
    let Found { before, candidate, moves, .. } = found;
    keep.apply(before, &candidate.bytes, world.clock.epoch_ms()).map_err(|e| told(&e))?;
    let held = exit::worst(gate.held.iter().map(|(_, exit, _)| *exit));
    let undo = Id::of(before).short().to_owned();
    if asked.flags.no_deploy {
        keep.finish().map_err(|e| told(&e))?;
        keep.prune();
        let back = format!("back: nixdeploy update lock restore {undo}");
        report::err(&format!("flake.lock is new, nothing was deployed; {back}\n"));
        return Ok(held);
    }
    let run = launch::name(world);
    let names: Vec<String> = gate.go.iter().map(HostName::to_string).collect();
    let (preset, message) = (deploy::preset("deploy"), message(moves));
    let flags =
        DeployFlags { message: Some(message), engine: asked.engine, ..DeployFlags::default() };
    let deployed = async {
        keep.deploying(&run, &names).map_err(|e| told(&e))?;
        let request = deploy::request(&preset, global, &flags, &fleet)?;
        let typed = typed(world, global, &names, &flags);
        let terms = Terms { name: Some(run.clone()), ..Terms::default() };
        launch::launch_with(&typed, global, fleet, &gate.go, request, terms).await
    };
    let deployed = if stopped(&mut signals) { None } else { Some(deployed.await) };
    let (fate, result) = match deployed {
        None => (Fate::Nowhere, Ok(Exit::Interrupted)),
        Some(Ok((exit, state))) => {
            // Of hosts that were held nothing is worse than having been stopped.
            let exit = if exit == Exit::Interrupted { exit } else { exit::worst([exit, held]) };
            (deploying::told_fate(world, &run, &state), Ok(exit))
        }
        Some(Err(error)) => (deploying::kept_fate(world, &run), Err(error)),
    };
    let recovered = keep.end(fate).map_err(|e| told(&e))?;
    report::err(&format!("{}\n", ended(&recovered)));
    if fate == Fate::Runs {
        report::err(&format!("the one before it: nixdeploy update lock restore {undo}\n"));
    }
    result
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

/// What moves, in a sentence for the report.
fn message(moves: &[Moved]) -> String {
    let mut names: Vec<String> = moves.iter().map(|m| m.input.clone()).collect();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("flake: update {}{more}", names.join(", "))
}
