//! The lock that an update would write, written elsewhere by Nix itself.
//!
//! `nix flake update --output-lock-file` leaves flake.lock alone, and an evaluation takes
//! `--reference-lock-file` (nix3-flake-update(1), nix3-flake-lock(1)). A Nix without these works on
//! a copy of the tree instead, in the words that every Nix with flakes understands.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::chosen::Chosen;
use super::lock::Lock;
use crate::build::flake::LocalFlake;
use crate::build::{FlakeRef, nix, tree};
use crate::event::harmless;
use crate::validate::tracked::unquote;
use crate::world::{Invocation, Output, StartError, World};

/// Inputs are fetched meanwhile.
const PATIENCE: Duration = Duration::from_secs(1800);

/// A lock that nothing has been done with.
#[derive(Debug)]
pub struct Candidate {
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// What is in them.
    pub lock: Lock,
    /// Where it is to be looked at.
    pub place: Place,
}

/// How a tree is evaluated with a candidate.
#[derive(Debug)]
pub enum Place {
    /// The flake as it is, with this file for its lock.
    Reference(PathBuf),
    /// A copy of the flake, which has the candidate for its lock.
    Copy(FlakeRef, tempfile::TempDir),
}

/// Why there is no candidate.
#[derive(Debug, thiserror::Error)]
pub enum CandidateError {
    /// Nix or git is not there.
    #[error("{0}")]
    NotStarted(#[from] StartError),
    /// Nix could not move the inputs.
    #[error("Nix could not update the inputs: {0}")]
    Nix(String),
    /// The tree could not be copied.
    #[error("the tree could not be copied: {0}")]
    Copy(String),
    /// What Nix wrote is no lock.
    #[error("what Nix wrote is no lock: {0}")]
    Malformed(String),
}

/// What an update is made of.
pub struct Wanted<'a> {
    /// The flake.
    pub flake: &'a LocalFlake,
    /// Its lock now.
    pub lock: &'a Lock,
    /// Which inputs.
    pub chosen: &'a Chosen,
    /// Whether the flake's own `nixConfig` counts.
    pub accept_flake_config: bool,
    /// The file that Nix is to write.
    pub draft: &'a Path,
}

/// Has Nix write the lock.
///
/// # Errors
/// When it cannot: nothing was changed.
pub async fn candidate(world: &World, wanted: &Wanted<'_>) -> Result<Candidate, CandidateError> {
    let draft = wanted.draft.to_owned();
    let _ = std::fs::remove_file(&draft);
    let said = world.run(update(wanted, &draft)).await?;
    if unknown_flag(&said) {
        return copied(world, wanted).await;
    }
    let written = finished(&said).and_then(|()| read(&draft));
    let (bytes, lock) = written.inspect_err(|_| drop(std::fs::remove_file(&draft)))?;
    Ok(Candidate { bytes, lock, place: Place::Reference(draft) })
}

fn update(wanted: &Wanted<'_>, draft: &Path) -> Invocation {
    let mut args = vec!["flake".to_owned(), "update".to_owned()];
    if let Chosen::Some(names) = wanted.chosen {
        args.extend(names.iter().cloned());
    }
    let flake = FlakeRef::Local(wanted.flake.clone()).to_string();
    args.extend(["--flake".to_owned(), flake, "--output-lock-file".to_owned()]);
    args.push(draft.display().to_string());
    args.extend(wanted.accept_flake_config.then(|| "--accept-flake-config".to_owned()));
    nix(args.iter().map(String::as_str)).timeout(PATIENCE)
}

/// Nix before 2.16 knows none of the flags, Nix before 2.19 not `--flake`.
fn unknown_flag(said: &Output) -> bool {
    let told =
        |line: &String| line.contains("unrecognised flag") || line.contains("unrecognized flag");
    !said.ended.ok() && said.err.iter().any(told)
}

fn finished(said: &Output) -> Result<(), CandidateError> {
    if said.ended.ok() {
        return Ok(());
    }
    let lines = said.err.iter().filter(|l| !l.trim().is_empty());
    let mut lines: Vec<String> = lines.map(|l| harmless::line(l.trim())).collect();
    let from = lines.iter().position(|l| l.starts_with("error:")).unwrap_or(0);
    lines.drain(..from);
    lines.truncate(6);
    Err(CandidateError::Nix(if lines.is_empty() {
        said.ended.to_string()
    } else {
        lines.join("\n")
    }))
}

fn read(path: &Path) -> Result<(Vec<u8>, Lock), CandidateError> {
    let bytes = std::fs::read(path).map_err(|e| CandidateError::Malformed(e.to_string()))?;
    let lock = Lock::parse(&bytes).map_err(|e| CandidateError::Malformed(harmless::line(&e)))?;
    Ok((bytes, lock))
}

/// The same on a copy of what git tracks, as it is on disk.
async fn copied(world: &World, wanted: &Wanted<'_>) -> Result<Candidate, CandidateError> {
    let failed = |why: String| CandidateError::Copy(harmless::line(&why));
    let cache = &world.environment.cache;
    std::fs::create_dir_all(cache).map_err(|e| failed(e.to_string()))?;
    let copy = tempfile::tempdir_in(cache).map_err(|e| failed(e.to_string()))?;
    let root = &wanted.flake.root;
    let listed = git(world, root, &["ls-files"]).await?;
    for name in listed.iter().map(|l| unquote(l)) {
        let (from, to) = (root.join(&name), copy.path().join(&name));
        copy_file(&from, &to).map_err(|e| failed(format!("{}: {e}", name.display())))?;
    }
    let _ = git(world, copy.path(), &["init", "--quiet"]).await?;
    let _ = git(world, copy.path(), &["add", "--all", "--force"]).await?;
    let at = copy.path().join(&wanted.flake.folder);
    let names: Vec<String> = match wanted.chosen {
        Chosen::Some(names) => names.clone(),
        Chosen::All => {
            let own = wanted.lock.inputs().into_iter().filter(|(_, follows)| !follows);
            own.map(|(name, _)| name.to_owned()).collect()
        }
    };
    let mut args = vec!["flake", "lock"];
    args.extend(names.iter().flat_map(|name| ["--update-input", name]));
    args.extend(wanted.accept_flake_config.then_some("--accept-flake-config"));
    finished(&world.run(nix(args).within(&at).timeout(PATIENCE)).await?)?;
    let (bytes, lock) = read(&at.join("flake.lock"))?;
    let flake = FlakeRef::local(&at).map_err(|e| failed(e.to_string()))?;
    Ok(Candidate { bytes, lock, place: Place::Copy(flake, copy) })
}

/// A file or a link; what is gone from disk is gone from the tree, and so is a submodule.
fn copy_file(from: &Path, to: &Path) -> std::io::Result<()> {
    let Ok(meta) = from.symlink_metadata() else { return Ok(()) };
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder)?;
    }
    if meta.is_symlink() {
        return std::os::unix::fs::symlink(std::fs::read_link(from)?, to);
    }
    if meta.is_file() {
        std::fs::copy(from, to)?;
    }
    Ok(())
}

async fn git(world: &World, root: &Path, args: &[&str]) -> Result<Vec<String>, CandidateError> {
    let flake = LocalFlake { root: root.to_owned(), folder: PathBuf::new() };
    tree::git(world, &flake, args).await.map_err(|e| CandidateError::Copy(e.to_string()))
}
