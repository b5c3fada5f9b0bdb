//! What there is to update: a candidate, and what moves with it. Nothing is changed for it but
//! our own folder.

use super::asked::Which;
use super::kept::moved;
use super::{told, who};
use crate::build::flake::LocalFlake;
use crate::build::tree;
use crate::cli::Global;
use crate::error::Error;
use crate::event::harmless;
use crate::exit::Exit;
use crate::fleet::Fleet;
use crate::report;
use crate::report::inputs::Moved;
use crate::update::candidate::{self, Candidate, CandidateError, candidate};
use crate::update::chosen::{Mistake, chosen};
use crate::update::decision::Who;
use crate::update::keep::Keep;
use crate::update::lock::{Lock, Locked, moves};
use crate::world::World;

/// What was found to update, before anything is.
pub(super) struct Found {
    /// The file's bytes.
    pub(super) before: Vec<u8>,
    /// What is in them.
    pub(super) lock: Lock,
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

    /// The flake's own inputs that move, or have something move below them.
    pub(super) fn own(&self) -> Vec<String> {
        let inputs = self.lock.inputs();
        let first = |m: &Moved| m.input.split('/').next().unwrap_or_default().to_owned();
        let mut own: Vec<String> = self.moves.iter().map(first).collect();
        own.retain(|name| inputs.get(name.as_str()) == Some(&false));
        own.sort();
        own.dedup();
        own
    }
}

/// What differs from the last commit is the person's own work: it is what is gone back to, but
/// where nobody looks on it was probably forgotten.
pub(super) async fn own_work(
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
    let draft = &keep.draft();
    let (lock_of, chosen) = (&lock, &chosen);
    let wanted = candidate::Wanted { flake, lock: lock_of, chosen, accept_flake_config, draft };
    let candidate = candidate(world, &wanted).await.map_err(|e| no_candidate(&e))?;
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
