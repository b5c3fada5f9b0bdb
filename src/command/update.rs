//! `update ...`: the flake's inputs moved on, with flake.lock kept safe all the way.

mod afterwards;
mod apply;
mod asked;
mod deploying;
mod find;
mod flake;
mod gate;
mod hold;
mod kept;
mod leave_out;
mod new_packages;
mod preview;
mod publish;
mod texts;
mod ways;

use std::path::Path;

use crate::build::flake::LocalFlake;
use crate::build::tree;
use crate::cli::{Global, UpdateAction};
use crate::error::Error;
use crate::event::harmless;
use crate::exit::Exit;
use crate::fleet::Fleet;
use crate::report;
use crate::update::decision::Who;
use crate::update::journal::Journal;
use crate::update::keep::{Keep, KeepError, Recovered};
use crate::world::invocation::quote;
use crate::world::{Environment, World};

use super::inventory;
use crate::build::FlakeRef;

/// Does what was typed.
///
/// # Errors
/// When it ended before any host was touched.
pub(super) async fn run(
    world: &World,
    global: &Global,
    action: &UpdateAction,
) -> Result<Exit, Error> {
    match action {
        UpdateAction::Flake(args) => flake::run(world, global, &args.into()).await,
        UpdateAction::System(args) => flake::run(world, global, &args.into()).await,
        UpdateAction::Smart(args) => flake::run(world, global, &args.into()).await,
        UpdateAction::Workflow(args) => flake::run(world, global, &args.into()).await,
        UpdateAction::Bare(_) => {
            Err(Error::new(Exit::Internal, "update was not understood")
                .hint("nixdeploy help update"))
        }
        UpdateAction::Preview(args) => preview::run(world, global, args).await,
        UpdateAction::NewPackages(args) => new_packages::run(world, global, args).await,
        UpdateAction::Lock(args) => kept::run(world, global, &args.action),
    }
}

/// A flake on this machine, and where its locks are kept.
struct Place {
    fleet: Fleet,
    flake: LocalFlake,
    keep: Keep,
}

fn place(world: &World, global: &Global) -> Result<Place, Error> {
    let environment = &world.environment;
    place_of(environment, global, inventory::load(environment, global)?)
}

/// The locks of a fleet's flake, if that is on this machine.
pub(super) fn locks(environment: &Environment, global: &Global, fleet: Fleet) -> Option<Keep> {
    place_of(environment, global, fleet).ok().map(|place| place.keep)
}

fn place_of(environment: &Environment, global: &Global, fleet: Fleet) -> Result<Place, Error> {
    let text = inventory::flake(environment, global, &fleet);
    let flake = FlakeRef::parse(&text, &environment.folder, environment);
    let flake = match flake.map_err(|e| e.error())? {
        FlakeRef::Local(local) => local,
        FlakeRef::Other(text) => {
            let shown = harmless::line(&text);
            return Err(Error::usage("only a flake on this machine has a lock to update")
                .because(format!("the flake is {shown}"))
                .hint("pass its folder: --flake FOLDER"));
        }
    };
    let keep = keep_of(&flake)?;
    Ok(Place { fleet, flake, keep })
}

fn keep_of(flake: &LocalFlake) -> Result<Keep, Error> {
    let git = tree::own_folder(&flake.root).ok_or_else(|| {
        let root = flake.root.display();
        Error::usage(format!("the .git of {root} cannot be read")).hint("git status")
    })?;
    Keep::look(&git, &flake.root, &flake.folder).map_err(|e| told(&e))
}

/// Nobody else changes the lock from here on, and what was cut off before is put right.
fn held(world: &World, keep: Keep) -> Result<Keep, Error> {
    let keep = keep.hold().map_err(|e| told(&e))?;
    put_right(world, &keep)?;
    Ok(keep)
}

/// What was cut off before is put right, as far as it is known.
fn put_right(world: &World, keep: &Keep) -> Result<(), Error> {
    let Some(journal) = keep.journal().map_err(|e| told(&e))? else { return Ok(()) };
    let (fate, found) = deploying::left_fate(world, &journal);
    let recovered = keep.end(fate).map_err(|e| told(&e))?;
    match &recovered {
        Recovered::Nothing => {}
        Recovered::Open(_) => return Err(open(&journal, found, &world.environment.state)),
        other => report::err(&format!("an earlier update was cut off: {}\n", ended(other))),
    }
    pull_request_left(&journal);
    Ok(())
}

fn pull_request_left(journal: &Journal) {
    if let Some(open) = &journal.pull_request {
        let open = quote(&harmless::line(open));
        report::err(&format!(
            "its pull request is still open:\n  gh pr merge {open}\n  gh pr close {open}\n"
        ));
    }
}

/// An update of which is not known whether hosts run its lock, and what can be typed.
fn open(journal: &Journal, found: bool, own: &Path) -> Error {
    let run = harmless::line(journal.run.as_deref().unwrap_or_default());
    let what = format!("an update was cut off while it deployed (run {run})");
    let told = Error::new(Exit::Unknown, what)
        .because("what became of its hosts is not known yet; flake.lock is as it left it");
    if found {
        return told.hint(resume(journal, own, &run));
    }
    let state = journal.state.as_ref().map(|s| harmless::line(&s.display().to_string()));
    let place = state.map_or_else(|| "here".to_owned(), |state| format!("in {state}"));
    let hosts: Vec<String> = journal.hosts.iter().map(|h| quote(&harmless::line(h))).collect();
    let (before, after) = (journal.before.short(), journal.after.short());
    told.because(format!("the log of that run cannot be read {place}"))
        .hint(format!("nixdeploy status {}", hosts.join(" ")))
        .hint(format!("# they run the new one: nixdeploy update lock restore {after}"))
        .hint(format!("# they do not: nixdeploy update lock restore {before}"))
}

/// Only who has the run's log can ask its hosts; what another folder has is found by its variable.
fn resume(journal: &Journal, own: &Path, run: &str) -> String {
    let other = journal.state.as_deref().filter(|s| *s != own).and_then(Path::parent);
    let other = other.map(|base| harmless::line(&base.display().to_string()));
    let other = other.map_or_else(String::new, |b| format!("XDG_STATE_HOME={} ", quote(&b)));
    format!("{other}nixdeploy resume {run}")
}

/// How a change of the lock ended, as a sentence.
fn ended(recovered: &Recovered) -> String {
    match recovered {
        Recovered::Nothing => "flake.lock is as it was".to_owned(),
        Recovered::PutBack(id) => format!("flake.lock is as it was ({})", id.short()),
        Recovered::Stays(id) => format!("flake.lock stays, as hosts run it ({})", id.short()),
        Recovered::Replaced(id) => format!(
            "flake.lock was changed by somebody else meanwhile and was left alone; the one that \
             hosts run: nixdeploy update lock restore {}",
            id.short()
        ),
        Recovered::Foreign(id) => format!(
            "flake.lock was changed by somebody else meanwhile and was left alone; the one \
             before the update: nixdeploy update lock restore {}",
            id.short()
        ),
        Recovered::Open(_) => "flake.lock stays until its hosts are known".to_owned(),
    }
}

fn told(error: &KeepError) -> Error {
    let exit = if matches!(error, KeepError::Journal { .. }) { Exit::Unknown } else { Exit::Usage };
    let told = Error::new(exit, harmless::line(&error.to_string()));
    match error {
        KeepError::NoLock(_) => told.hint("nix flake lock && git add flake.lock"),
        KeepError::Busy { pid } => told.hint(format!("ps -p {pid}")),
        KeepError::Journal { path, .. } => {
            let path = quote(&harmless::line(path));
            told.because("flake.lock was left alone: whether hosts run it is not known")
                .hint(format!("ls -l {path}; cat {path}"))
                .hint("# somebody else's: nixdeploy update lock restore, as that user")
                .hint(format!("# once flake.lock is the one that hosts run: rm {path}"))
        }
        KeepError::Changed => told.hint("git diff flake.lock"),
        KeepError::Which(_) => told.hint("nixdeploy update lock list"),
        KeepError::Files { path, .. } => told.hint(format!("ls -l {}", harmless::line(path))),
    }
}

/// Puts these bytes in the place of a flake's lock, and keeps what is there.
///
/// # Errors
/// When there is none, another update goes on, or a file cannot be written.
pub(super) fn put(flake: &LocalFlake, bytes: &[u8]) -> Result<(), Error> {
    let keep = keep_of(flake)?.hold().map_err(|e| told(&e))?;
    let kept = keep.back_up(bytes).and_then(|(id, _)| keep.restore(&id));
    kept.map(drop).map_err(|e| told(&e))
}

/// A change of the lock that was cut off, or goes on, is told whoever deploys meanwhile.
pub(super) fn warn(flake: &FlakeRef) {
    let FlakeRef::Local(local) = flake else { return };
    let Some(git) = tree::own_folder(&local.root) else { return };
    let keep = Keep::look(&git, &local.root, &local.folder);
    if keep.is_ok_and(|keep| !matches!(keep.journal(), Ok(None))) {
        report::err(
            "warning: flake.lock is that of an update that goes on or was cut off\n  \
             hint: nixdeploy update lock restore\n",
        );
    }
}

/// Who can be asked.
fn who(world: &World, global: &Global) -> Who {
    match (global.yes, world.prompt.allowed()) {
        (true, _) => Who::Yes,
        (false, true) => Who::Person,
        (false, false) => Who::Nobody,
    }
}

/// After hosts were asked what became of a run: the lock of an update that was cut off is put
/// right, if there was one.
pub(super) fn settle(world: &World, global: &Global) {
    let Ok(place) = place(world, global) else { return };
    if matches!(place.keep.journal(), Ok(None)) {
        return;
    }
    if let Err(error) = held(world, place.keep) {
        report::err(&format!("{error}\n"));
    }
}
