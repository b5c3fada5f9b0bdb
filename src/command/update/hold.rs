//! `update smart --hold PACKAGE`: a patch that holds a package back, and what is said of packages
//! that are held already.

use super::asked::Update;
use super::gate::Judged;
use super::told;
use crate::command::report::show;
use crate::error::Error;
use crate::event::harmless;
use crate::event::stream::Stopwatch;
use crate::exit::Exit;
use crate::fleet::hosts_toml::nearest;
use crate::report;
use crate::update::holds::{self, FILE, Hold, Source};
use crate::update::lock::{Lock, Locked};
use crate::update::packages::names;
use crate::world::files;

/// A file of holds is small.
const LIMIT: u64 = 1 << 20;
/// How long a package is held.
const DAYS: i64 = 30;

/// Prints the patch; nothing is changed.
///
/// # Errors
/// When a package cannot be held by itself, nixpkgs has none of that name, or flake.lock does not
/// say where that is.
pub(super) async fn show_patch(update: &Update<'_>) -> Result<Exit, Error> {
    let bytes = update.keep.current().map_err(|e| told(&e))?;
    let lock = Lock::parse(&bytes).map_err(|why| {
        Error::usage("flake.lock is no lock file").because(harmless::line(&why)).hint("git status")
    })?;
    let no_source = |why: &str| {
        Error::usage("flake.lock names no nixpkgs to hold a package at")
            .because(why)
            .hint("nixdeploy update lock show")
    };
    let locked = lock.nixpkgs().ok_or_else(|| no_source("it has none"))?;
    let source = Source::of(locked).map_err(no_source)?;
    let old = existing(update);
    let mut all = old.as_deref().map(holds::read).unwrap_or_default();
    for package in &update.asked.hold {
        holds::can(package).map_err(|why| {
            Error::usage(format!("{} is not held by itself", harmless::line(package)))
                .because(why)
                .hint("leave out the input: nixdeploy update smart HOST --except nixpkgs")
        })?;
        all.retain(|hold| hold.package != *package);
        let accepted = update.asked.flags.risk.accept_issue.first().copied();
        all.push(Hold {
            package: package.clone(),
            source: source.clone(),
            until: day(update, DAYS),
            issue: accepted,
        });
    }
    known(update, locked, &all).await?;
    let path = update.flake.folder.join(FILE);
    let patch = holds::patch(&path.display().to_string(), old.as_deref(), &holds::write(&all));
    show(&patch)?;
    report::err(
        "nothing was changed: look at it, then apply it with git apply, import holds.nix from\n\
         the hosts' configurations, git add it, and update again\n",
    );
    Ok(Exit::Done)
}

/// That the packages are there, where they would be taken from.
async fn known(update: &Update<'_>, locked: &Locked, all: &[Hold]) -> Result<(), Error> {
    let system = format!("{}-linux", std::env::consts::ARCH);
    let names = names(update.world, locked, &system).await.map_err(|why| {
        Error::new(Exit::NotBuilt, "the packages of nixpkgs cannot be listed")
            .because(why)
            .because("a package could not be taken from there")
            .hint("nixdeploy update lock show")
    })?;
    let meant = all.iter().filter(|hold| update.asked.hold.contains(&hold.package));
    let missing = meant.map(Hold::attribute).find(|attribute| !names.contains(attribute));
    let Some(attribute) = missing else { return Ok(()) };
    let told = harmless::line(&attribute);
    let error = Error::usage(format!("nixpkgs has no package {told}"))
        .because("it is held by the name of its attribute, as in environment.systemPackages");
    Err(match nearest(&attribute, names.iter().map(String::as_str)) {
        Some(nearest) => error.hint(format!("did you mean {nearest}?")),
        None => error.hint(format!("nix search nixpkgs {told}")),
    })
}

fn existing(update: &Update<'_>) -> Option<String> {
    let path = update.flake.root.join(&update.flake.folder).join(FILE);
    files::read_text(&path, LIMIT).ok()
}

/// The day after so many.
fn day(update: &Update<'_>, days: i64) -> String {
    let at_s = update.world.clock.epoch_ms() / 1000 + days * 86_400;
    let at = jiff::Timestamp::from_second(at_s).unwrap_or_default();
    at.strftime("%Y-%m-%d").to_string()
}

/// Which holds can go: their day is over, or their issue is closed.
pub(super) fn remarks(update: &Update<'_>, judged: &Judged) {
    let today = day(update, 0);
    for hold in existing(update).as_deref().map(holds::read).unwrap_or_default() {
        let closed = hold.issue.filter(|number| judged.is_closed(*number));
        let why = match closed {
            Some(number) => format!("#{number} is closed"),
            None if hold.until < today => format!("it was meant until {}", hold.until),
            None => continue,
        };
        report::err(&format!("{FILE} holds {} back; this can go: {why}\n", hold.package));
    }
}
