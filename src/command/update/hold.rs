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
use crate::report;
use crate::update::holds::{self, FILE, Hold};
use crate::update::lock::Lock;
use crate::world::files;

/// A file of holds is small.
const LIMIT: u64 = 1 << 20;
/// How long a package is held.
const DAYS: i64 = 30;

/// Prints the patch; nothing is changed.
///
/// # Errors
/// When a package cannot be held by itself, or nixpkgs has no revision that can be named.
pub(super) fn show_patch(update: &Update<'_>) -> Result<Exit, Error> {
    let bytes = update.keep.current().map_err(|e| told(&e))?;
    let lock = Lock::parse(&bytes).map_err(|why| {
        Error::usage("flake.lock is no lock file").because(harmless::line(&why)).hint("git status")
    })?;
    let nixpkgs = lock.nixpkgs().and_then(|l| Some((l.rev.clone()?, l.nar_hash.clone()?)));
    let word = |w: &String| w.chars().all(|c| c.is_ascii_alphanumeric() || "+/=-".contains(c));
    let nixpkgs = nixpkgs.filter(|(rev, hash)| word(rev) && word(hash));
    let (rev, nar_hash) = nixpkgs.ok_or_else(|| {
        Error::usage("flake.lock names no revision of nixpkgs to hold a package at")
            .hint("nixdeploy update lock show")
    })?;
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
            rev: rev.clone(),
            nar_hash: nar_hash.clone(),
            until: day(update, DAYS),
            issue: accepted,
        });
    }
    let path = update.flake.folder.join(FILE);
    let patch = holds::patch(&path.display().to_string(), old.as_deref(), &holds::write(&all));
    show(&patch)?;
    report::err(
        "nothing was changed: look at it, then apply it with git apply, import holds.nix from\n\
         the hosts' configurations, git add it, and update again\n",
    );
    Ok(Exit::Done)
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
