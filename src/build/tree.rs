//! The tree that is deployed: what of it Nix sees, under a name that changes when that changes.
//!
//! Git says what is tracked and what differs from its index; the bytes of what differs are read
//! here. Untracked files are no part of it, as Nix does not see them. Output is read line by line
//! with git's own quoting of odd names (`core.quotePath`), because `world` cuts long lines and a
//! cut list would name two trees alike. Nothing is written into the repository.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::flake::{FlakeRef, LocalFlake};
use crate::event::harmless;
use crate::world::{Ended, Invocation, Output, StartError, World};

/// Raised when the same tree would get another name.
const SCHEMA: &[u8] = b"nixdeploy tree 1\n";
/// What differs from the index. Unlike `diff-files` it looks into files whose times alone differ,
/// so a file that was saved without a change does not rename the tree; it takes no longer.
const DIFF: [&str; 6] =
    ["diff", "--raw", "--no-abbrev", "--no-renames", "--no-ext-diff", "--ignore-submodules=none"];
/// Longest `.gitattributes` and `flake.lock` that is looked at.
const TEXT_LIMIT: u64 = 16 << 20;

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
    /// Every tracked file with its index entry, for [`uncacheable`].
    entries: Vec<Entry>,
}

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

/// Why an evaluation of this tree must not be answered from our own cache: the cases in which
/// the tree's name can stay while Nix's result changes, or in which that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Uncacheable {
    /// Not a folder in a git repository.
    #[error("the flake is not in a local git repository")]
    NotGit,
    /// `assume-unchanged`, `skip-worktree` or a sparse checkout hides differences.
    #[error("git hides changes of {0}")]
    Hidden(String),
    /// What git compares is not what is on disk.
    #[error("{0} gives files another content on disk than in git")]
    Filtered(String),
    /// Nix gives such trees no name either.
    #[error("the repository has submodules")]
    Submodules,
    /// An unmerged file: nothing to deploy from.
    #[error("{0} is not merged")]
    Unmerged(String),
    /// Nothing says which inputs are meant.
    #[error("flake.lock is missing or cannot be read")]
    NoLock,
    /// An input whose content the lock does not fix.
    #[error("input {0} is not fixed by flake.lock")]
    LooseInput(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// Letter of `ls-files -v`.
    tag: char,
    mode: String,
    path: PathBuf,
}

/// Reads the tree of a local flake: two git processes at once, then the changed files.
///
/// # Errors
/// When git refuses, or a changed file cannot be read.
pub async fn tree(world: &World, flake: &FlakeRef) -> Result<Tree, TreeError> {
    let FlakeRef::Local(local) = flake else {
        return Err(TreeError::NotLocal(harmless::line(&flake.to_string())));
    };
    let (index, changed) =
        tokio::join!(git(world, local, &["ls-files", "-s", "-v"]), git(world, local, &DIFF),);
    let (index, changed, root) = (index?, changed?, local.root.clone());
    // Changed files can be large; the runtime has other hosts to serve.
    let named = tokio::task::spawn_blocking(move || named(&root, &index, &changed)).await;
    named.unwrap_or_else(|e| Err(TreeError::Git(e.to_string())))
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
    Ok(lines.iter().map(|l| PathBuf::from(unquoted(l))).collect())
}

/// Whether a path of the repository is there, but not tracked.
pub async fn is_untracked(world: &World, flake: &LocalFlake, path: &str) -> bool {
    if !flake.root.join(path).exists() {
        return false;
    }
    let literal = format!(":(literal){path}");
    matches!(git(world, flake, &["ls-files", "--", &literal]).await, Ok(l) if l.is_empty())
}

/// Whether an evaluation of this tree may be remembered under its name; the first reason against.
///
/// # Errors
/// When git refuses.
pub async fn uncacheable(
    world: &World,
    flake: &FlakeRef,
    tree: &Tree,
) -> Result<Option<Uncacheable>, TreeError> {
    let FlakeRef::Local(local) = flake else { return Ok(Some(Uncacheable::NotGit)) };
    if let Some(reason) = hidden(&tree.entries).or_else(|| filtered(&local.root, &tree.entries)) {
        return Ok(Some(reason));
    }
    let keys = "^(core\\.(autocrlf|eol|attributesfile|sparsecheckout)|filter\\..*)$";
    let config = output(world, local, &["config", "--get-regexp", keys]).await?;
    if let Some(key) = config.out.iter().find(|l| !l.ends_with(" false") && !is_lfs_default(l)) {
        let key = key.split(' ').next().unwrap_or_default();
        return Ok(Some(Uncacheable::Filtered(format!("git's setting {}", harmless::line(key)))));
    }
    let lock = crate::world::files::read_text(&local.path().join("flake.lock"), TEXT_LIMIT);
    Ok(lock.map_or(Some(Uncacheable::NoLock), |text| loose_input(&text)))
}

/// Filters that are only defined do nothing; `.gitattributes` would have to name them.
fn is_lfs_default(line: &str) -> bool {
    line.starts_with("filter.")
}

fn hidden(entries: &[Entry]) -> Option<Uncacheable> {
    entries.iter().find_map(|e| {
        let shown = || harmless::line(&e.path.display().to_string());
        match (e.tag, e.mode.as_str()) {
            (_, "160000") => Some(Uncacheable::Submodules),
            ('M', _) => Some(Uncacheable::Unmerged(shown())),
            ('H', _) if e.path == Path::new(".gitmodules") => Some(Uncacheable::Submodules),
            ('H', _) => None,
            _ => Some(Uncacheable::Hidden(shown())),
        }
    })
}

/// A tracked or private attributes file that changes what is on disk.
fn filtered(root: &Path, entries: &[Entry]) -> Option<Uncacheable> {
    let tracked = entries.iter().map(|e| &e.path).filter(|p| p.ends_with(".gitattributes"));
    let private = PathBuf::from(".git/info/attributes");
    tracked.chain([&private]).find_map(|path| {
        let text = match crate::world::files::read_text(&root.join(path), TEXT_LIMIT) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return None,
            Err(_) => return Some(Uncacheable::Filtered(path.display().to_string())),
        };
        let words = ["filter", "eol", "ident", "text", "crlf", "working-tree-encoding"];
        let changes = text.lines().filter(|l| !l.trim_start().starts_with('#')).any(|line| {
            let attributes = line.split_whitespace().skip(1);
            attributes.filter(|a| !a.starts_with('-')).any(|a| {
                let name = a.split('=').next().unwrap_or_default();
                words.contains(&name.trim_start_matches('!'))
            })
        });
        changes.then(|| Uncacheable::Filtered(harmless::line(&path.display().to_string())))
    })
}

/// The first input that flake.lock does not fix by its content. A folder inside the flake's own
/// tree (relative path) is fixed by the tree.
fn loose_input(lock: &str) -> Option<Uncacheable> {
    let Ok(lock) = serde_json::from_str::<serde_json::Value>(lock) else {
        return Some(Uncacheable::NoLock);
    };
    let Some(nodes) = lock.get("nodes").and_then(|n| n.as_object()) else {
        return Some(Uncacheable::NoLock);
    };
    let root = lock.get("root").and_then(|r| r.as_str()).unwrap_or("root");
    nodes.iter().filter(|(name, _)| *name != root).find_map(|(name, node)| {
        let field = |key: &str| node.get("locked").and_then(|l| l.get(key)?.as_str());
        let within = node.get("parent").is_some() || field("path").is_some_and(is_within);
        let fixed = match field("type") {
            Some("path") => within,
            Some("indirect" | "file") | None => false,
            Some("git") => {
                let local = |url: &str| url.starts_with("file:") || url.starts_with('/');
                field("narHash").is_some() && field("url").is_some_and(|u| !local(u))
            }
            Some(_) => field("narHash").is_some(),
        };
        (!fixed).then(|| Uncacheable::LooseInput(harmless::line(name)))
    })
}

fn is_within(path: &str) -> bool {
    !path.starts_with('/') && !path.split('/').any(|part| part == "..")
}

/// Names the tree from git's two lists and the files on disk.
fn named(root: &Path, index: &[String], changed: &[String]) -> Result<Tree, TreeError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(SCHEMA);
    for line in index {
        hasher.update(line.as_bytes()).update(b"\n");
    }
    let mut modified = Vec::new();
    let mut gone = std::collections::HashSet::new();
    for line in changed {
        let Some((status, name)) = line.split_once('\t') else { continue };
        let path = PathBuf::from(unquoted(name));
        hasher.update(b"\0").update(name.as_bytes()).update(b"\0");
        if status.ends_with('D') {
            hasher.update(b"gone");
            gone.insert(path.clone());
        } else {
            add_file(&mut hasher, &root.join(&path))?;
        }
        modified.push(path);
    }
    let entries: Vec<Entry> = index.iter().filter_map(|l| entry(l)).collect();
    let paths = entries.iter().map(|e| &e.path);
    let nix = paths.filter(|p| p.extension().is_some_and(|e| e == "nix") && !gone.contains(*p));
    let nix_files = nix.cloned().collect();
    Ok(Tree { id: TreeId(hasher.finalize().to_hex().to_string()), nix_files, modified, entries })
}

/// Kind, length and bytes of a file, or where a link points.
fn add_file(hasher: &mut blake3::Hasher, path: &Path) -> Result<(), TreeError> {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::PermissionsExt;
    let failed = |e: std::io::Error| {
        TreeError::Unreadable(harmless::line(&path.display().to_string()), e.to_string())
    };
    let meta = match path.symlink_metadata() {
        Ok(meta) => meta,
        // It went away meanwhile; the next reading will say so.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            hasher.update(b"gone");
            return Ok(());
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
        let mut file = std::fs::File::open(path).map_err(failed)?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer).map_err(failed)? {
                0 => break,
                n => hasher.update(&buffer[..n]),
            };
        }
    }
    Ok(())
}

/// `TAG MODE HASH STAGE<TAB>NAME`.
fn entry(line: &str) -> Option<Entry> {
    let (meta, name) = line.split_once('\t')?;
    let mut words = meta.split(' ');
    let (tag, mode) = (words.next()?.chars().next()?, words.next()?.to_owned());
    Some(Entry { tag, mode, path: PathBuf::from(unquoted(name)) })
}

/// A name as git prints it, with its C quoting undone.
fn unquoted(name: &str) -> std::ffi::OsString {
    use std::os::unix::ffi::OsStringExt;
    let inner = name.strip_prefix('"').and_then(|n| n.strip_suffix('"'));
    let Some(inner) = inner else { return name.into() };
    let (mut bytes, mut read) = (Vec::new(), inner.bytes());
    while let Some(byte) = read.next() {
        let escaped = if byte == b'\\' { read.next() } else { None };
        bytes.push(match escaped {
            None => byte,
            Some(b'a') => 7,
            Some(b'b') => 8,
            Some(b't') => b'\t',
            Some(b'n') => b'\n',
            Some(b'v') => 11,
            Some(b'f') => 12,
            Some(b'r') => b'\r',
            Some(digit @ b'0'..=b'3') => {
                let rest = [read.next(), read.next()].map(|d| d.unwrap_or(b'0') & 7);
                (digit & 7) << 6 | rest[0] << 3 | rest[1]
            }
            Some(other) => other,
        });
    }
    std::ffi::OsString::from_vec(bytes)
}

async fn git(world: &World, flake: &LocalFlake, args: &[&str]) -> Result<Vec<String>, TreeError> {
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
async fn output(world: &World, flake: &LocalFlake, args: &[&str]) -> Result<Output, TreeError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_git_quotes_them() {
        assert_eq!(unquoted("plain.nix"), "plain.nix");
        assert_eq!(unquoted("\"a\\tb\\\"c\\\\d\""), "a\tb\"c\\d");
        assert_eq!(unquoted("\"\\303\\244.nix\""), "ä.nix");
        let _ = unquoted("\"\\");
        let _ = unquoted("\"\\3\"");
    }

    #[test]
    fn inputs_that_the_lock_does_not_fix_are_named() {
        let lock = |node: &str| {
            format!("{{\"nodes\":{{\"root\":{{}},\"x\":{node}}},\"root\":\"root\",\"version\":7}}")
        };
        let fixed = [
            r#"{"locked":{"type":"github","narHash":"sha256-x","rev":"1"}}"#,
            r#"{"locked":{"type":"git","url":"https://x/y","narHash":"sha256-x"}}"#,
            r#"{"locked":{"type":"path","path":"./sub"},"parent":[]}"#,
        ];
        for node in fixed {
            assert_eq!(loose_input(&lock(node)), None, "{node}");
        }
        let loose = [
            r#"{"locked":{"type":"path","path":"/srv/x","narHash":"sha256-x"}}"#,
            r#"{"locked":{"type":"path","path":"../x"}}"#,
            r#"{"locked":{"type":"git","url":"file:///srv/x","narHash":"sha256-x"}}"#,
            r#"{"locked":{"type":"github","rev":"1"}}"#,
            r#"{"locked":{"type":"indirect","id":"nixpkgs"}}"#,
            "{}",
        ];
        for node in loose {
            let named = Some(Uncacheable::LooseInput("x".to_owned()));
            assert_eq!(loose_input(&lock(node)), named, "{node}");
        }
        assert_eq!(loose_input("no JSON"), Some(Uncacheable::NoLock));
    }

    #[test]
    fn what_git_hides_is_no_name_to_trust() {
        let entry = |line: &str| entry(line).expect("an entry");
        let hash = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";
        let plain = entry(&format!("H 100644 {hash} 0\tflake.nix"));
        assert_eq!(hidden(&[plain]), None);
        for (line, expected) in [
            (format!("h 100644 {hash} 0\ta"), Uncacheable::Hidden("a".to_owned())),
            (format!("S 100644 {hash} 0\ta"), Uncacheable::Hidden("a".to_owned())),
            (format!("M 100644 {hash} 2\ta"), Uncacheable::Unmerged("a".to_owned())),
            (format!("H 160000 {hash} 0\ta"), Uncacheable::Submodules),
            (format!("H 100644 {hash} 0\t.gitmodules"), Uncacheable::Submodules),
        ] {
            assert_eq!(hidden(&[entry(&line)]), Some(expected), "{line}");
        }
    }
}
