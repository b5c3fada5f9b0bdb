//! The tree that is deployed: what of it Nix sees, under a name that changes when that changes.
//!
//! Git says what is tracked and what differs from its index; the bytes of what differs are read
//! here. Untracked files are no part of it, as Nix does not see them. Output is read line by line
//! with git's own quoting of odd names (`core.quotePath`), because `world` cuts long lines and a
//! cut list would name two trees alike. Nothing is written into the repository.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, Shared};

use super::flake::{FlakeRef, LocalFlake};
use super::still::Moment;
use crate::event::harmless;
use crate::validate::tracked::unquote;
use crate::world::{Ended, Invocation, Output, StartError, World, files};

/// Raised when the same tree would get another name.
const SCHEMA: &[u8] = b"nixdeploy tree 1\n";

/// A tree's content under one name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TreeId(String);

impl TreeId {
    /// As 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What git tracks, as it is on disk now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Its name.
    pub id: TreeId,
    /// Tracked files ending in `.nix` that are on disk, from the root of the repository.
    pub nix_files: Vec<PathBuf>,
    /// Files that differ from the index; `git add` not needed for Nix to see them.
    pub modified: Vec<PathBuf>,
    /// Every tracked file with its index entry, for [`super::uncacheable`].
    pub(super) entries: Vec<Entry>,
    /// When it began to be read.
    pub(super) begun: Moment,
}

/// A tree that several ask for and that is read once, when the first of them does.
pub type Reading = Shared<BoxFuture<'static, Result<Arc<Tree>, TreeError>>>;

/// Where the repository stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// The commit; `None`: there is none yet.
    pub head: Option<String>,
    /// Whether a tracked file differs from it.
    pub dirty: bool,
}

/// Why the tree could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TreeError {
    /// The flake is no folder of this machine.
    #[error("{0} is not a local flake, so its tree cannot be read")]
    NotLocal(String),
    /// Git is not installed, or could not be started.
    #[error("{0}")]
    NoGit(#[from] StartError),
    /// Git refused.
    #[error("git failed: {0}")]
    Git(String),
    /// A file could not be read.
    #[error("cannot read {0}: {1}")]
    Unreadable(String, String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Letter of `ls-files -v`: `H` unless git was told to look away.
    pub(super) tag: char,
    pub(super) mode: String,
    /// Git's name for what the index has.
    pub(super) blob: String,
    pub(super) path: PathBuf,
}

/// Reads the tree of a local flake: one git process, then the changed files. Git compares content
/// where times and sizes leave a doubt, so a file that was only touched has not changed.
///
/// # Errors
/// When git refuses, or a changed file cannot be read.
pub async fn tree(world: &World, flake: &FlakeRef) -> Result<Tree, TreeError> {
    let FlakeRef::Local(local) = flake else {
        return Err(TreeError::NotLocal(harmless::line(&flake.to_string())));
    };
    let begun = Moment::now(world);
    let list = ["ls-files", "-s", "-v", "--cached", "--deleted", "--modified"];
    let (lines, root) = (git(world, local, &list).await?, local.root.clone());
    if lines.is_empty() {
        // A flake is a tracked file at least: who names none was not heard to the end.
        return Err(TreeError::Git("it lists no file of the flake".to_owned()));
    }
    let (changed, index): (Vec<String>, Vec<String>) =
        lines.into_iter().partition(|l| l.starts_with(['C', 'c', 'R', 'r']));
    if changed.is_empty() {
        return named(&root, &index, &changed, begun);
    }
    // Changed files can be large; the runtime has other hosts to serve.
    let named = tokio::task::spawn_blocking(move || named(&root, &index, &changed, begun)).await;
    named.unwrap_or_else(|e| Err(TreeError::Git(e.to_string())))
}

/// The tree of a local flake, to be read once.
pub fn reading(world: &World, flake: &FlakeRef) -> Reading {
    let (world, flake) = (world.clone(), flake.clone());
    async move { tree(&world, &flake).await.map(Arc::new) }.boxed().shared()
}

/// The commit that is checked out, which a flake can read of itself (`self.rev`); `None`: there
/// is none yet. Read from git's own files where that is possible, which starts no program.
///
/// # Errors
/// When git cannot be started.
pub async fn head(world: &World, flake: &LocalFlake) -> Result<Option<String>, TreeError> {
    if let Some(commit) = own_folder(&flake.root).and_then(|f| resolved(&f)) {
        return Ok(Some(commit));
    }
    let output = output(world, flake, &["rev-parse", "--verify", "--quiet", "HEAD"]).await?;
    Ok(output.out.into_iter().next().filter(|_| output.ended.ok()))
}

/// What HEAD comes to (gitrepository-layout(5)); `None`: git itself must say.
fn resolved(own: &Path) -> Option<String> {
    let read = |path: PathBuf| files::read_text(&path, 64 << 20).ok();
    let is_commit =
        |t: &str| matches!(t.len(), 40 | 64) && t.bytes().all(|b| b.is_ascii_hexdigit());
    let text = read(own.join("HEAD"))?;
    let Some(name) = text.trim_end().strip_prefix("ref: ") else {
        return Some(text.trim_end().to_owned()).filter(|t| is_commit(t));
    };
    let shared = common_folder(own);
    if !name.starts_with("refs/heads/") || shared.join("reftable").exists() {
        return None;
    }
    if let Some(text) = read(shared.join(name)) {
        return Some(text.trim_end().to_owned()).filter(|t| is_commit(t));
    }
    let packed = read(shared.join("packed-refs"))?;
    let line = packed.lines().find(|l| l.split_once(' ').is_some_and(|(_, n)| n == name))?;
    line.split_once(' ').map(|(commit, _)| commit.to_owned()).filter(|t| is_commit(t))
}

/// Where git keeps what belongs to this working tree.
pub(crate) fn own_folder(root: &Path) -> Option<PathBuf> {
    let git = root.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    let text = files::read_text(&git, 1 << 16).ok()?;
    Some(root.join(text.strip_prefix("gitdir: ")?.trim_end()))
}

/// Where git keeps what all working trees of a repository share.
pub(super) fn common_folder(own: &Path) -> PathBuf {
    let shared = files::read_text(&own.join("commondir"), 1 << 16);
    shared.map_or_else(|_| own.to_path_buf(), |shared| own.join(shared.trim_end()))
}

/// Where the repository stands; one git process.
///
/// # Errors
/// When git refuses.
pub async fn revision(world: &World, flake: &LocalFlake) -> Result<Revision, TreeError> {
    let args = ["status", "--porcelain=v2", "--branch", "--untracked-files=no"];
    let lines = git(world, flake, &args).await?;
    let head = lines.iter().find_map(|l| l.strip_prefix("# branch.oid "));
    let head = head.filter(|h| *h != "(initial)").map(str::to_owned);
    Ok(Revision { head, dirty: lines.iter().any(|l| !l.starts_with('#')) })
}

/// `.nix` files that git does not track and does not ignore: Nix will not see them.
///
/// # Errors
/// When git refuses.
pub async fn untracked_nix(world: &World, flake: &LocalFlake) -> Result<Vec<PathBuf>, TreeError> {
    let args = ["ls-files", "--others", "--exclude-standard", "--", "*.nix"];
    let lines = git(world, flake, &args).await?;
    Ok(lines.iter().map(|l| unquote(l)).collect())
}

/// Whether a path of the repository is there, but not tracked.
pub async fn is_untracked(world: &World, flake: &LocalFlake, path: &str) -> bool {
    if !flake.root.join(path).exists() {
        return false;
    }
    let literal = format!(":(literal){path}");
    matches!(git(world, flake, &["ls-files", "--", &literal]).await, Ok(l) if l.is_empty())
}

/// Names the tree from git's index, its list of what differs, and the files on disk.
fn named(
    root: &Path,
    index: &[String],
    changed: &[String],
    begun: Moment,
) -> Result<Tree, TreeError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(SCHEMA);
    for line in index {
        hasher.update(line.as_bytes()).update(b"\n");
    }
    let mut modified = Vec::new();
    let mut gone = std::collections::HashSet::new();
    for line in changed {
        let Some((_, name)) = line.split_once('\t') else { continue };
        let path = unquote(name);
        // A file that is gone is listed twice: as changed, and as gone.
        if modified.last() == Some(&path) {
            continue;
        }
        hasher.update(b"\0").update(name.as_bytes()).update(b"\0");
        if !add_file(&mut hasher, &root.join(&path))? {
            gone.insert(path.clone());
        }
        modified.push(path);
    }
    let entries: Vec<Entry> = index.iter().filter_map(|l| entry(l)).collect();
    let paths = entries.iter().map(|e| &e.path);
    let nix = paths.filter(|p| p.extension().is_some_and(|e| e == "nix") && !gone.contains(*p));
    let nix_files = nix.cloned().collect();
    Ok(Tree {
        id: TreeId(hasher.finalize().to_hex().to_string()),
        nix_files,
        modified,
        entries,
        begun,
    })
}

/// A name for what a file is and holds; `None`: it is not there.
///
/// # Errors
/// When it cannot be read.
pub(super) fn content(path: &Path) -> std::io::Result<Option<String>> {
    let mut hasher = blake3::Hasher::new();
    let found = add_file(&mut hasher, path).map_err(|e| std::io::Error::other(e.to_string()))?;
    Ok(found.then(|| hasher.finalize().to_hex().to_string()))
}

/// Kind, length and bytes of a file, or where a link points; false when it is not there.
fn add_file(hasher: &mut blake3::Hasher, path: &Path) -> Result<bool, TreeError> {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::PermissionsExt;
    let failed = |e: std::io::Error| {
        TreeError::Unreadable(harmless::line(&path.display().to_string()), e.to_string())
    };
    let meta = match path.symlink_metadata() {
        Ok(meta) => meta,
        Err(e) if is_gone(&e) => {
            hasher.update(b"gone");
            return Ok(false);
        }
        Err(e) => return Err(failed(e)),
    };
    if meta.is_symlink() {
        let to = path.read_link().map_err(failed)?;
        hasher.update(b"link").update(to.as_os_str().as_bytes());
    } else if meta.is_dir() {
        hasher.update(b"folder");
    } else {
        let runs = meta.permissions().mode() & 0o100 != 0;
        hasher.update(if runs { b"program" } else { b"file" }).update(&meta.len().to_le_bytes());
        let mut file = files::open(path).map_err(failed)?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer).map_err(failed)? {
                0 => break,
                n => hasher.update(&buffer[..n]),
            };
        }
    }
    Ok(true)
}

/// Neither it nor, perhaps, its folder is there.
fn is_gone(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

/// `TAG MODE HASH STAGE<TAB>NAME`.
pub(super) fn entry(line: &str) -> Option<Entry> {
    let (meta, name) = line.split_once('\t')?;
    let mut words = meta.split(' ');
    let (tag, mode) = (words.next()?.chars().next()?, words.next()?.to_owned());
    let blob = words.next()?.to_owned();
    Some(Entry { tag, mode, blob, path: unquote(name) })
}

/// What git says; it starts nothing else and asks for no lock of its own.
///
/// # Errors
/// When it refuses, or is not there.
pub(crate) async fn git(
    world: &World,
    flake: &LocalFlake,
    args: &[&str],
) -> Result<Vec<String>, TreeError> {
    let output = output(world, flake, args).await?;
    if output.ended.ok() {
        return Ok(output.out);
    }
    let said = output.err.iter().find(|l| !l.trim().is_empty());
    let why = match (output.ended, said) {
        (Ended::Exited(_), Some(said)) => harmless::line(said),
        (ended, _) => ended.to_string(),
    };
    Err(TreeError::Git(why))
}

/// Runs git so that it starts nothing else and writes nothing.
pub(super) async fn output(
    world: &World,
    flake: &LocalFlake,
    args: &[&str],
) -> Result<Output, TreeError> {
    let quiet = ["core.fsmonitor=false", "core.hooksPath=/dev/null", "core.quotePath=true"];
    let options = quiet.iter().flat_map(|o| ["-c", o]);
    let invocation = Invocation::new("git", options.chain(args.iter().copied()))
        .env("GIT_OPTIONAL_LOCKS", "0")
        .within(&flake.root)
        .timeout(std::time::Duration::from_secs(120));
    Ok(world.run(invocation).await?)
}

#[cfg(test)]
mod cases;
