//! When an evaluation must not be remembered: the cases in which a tree's name can stay while
//! Nix's result changes, or in which that is not known (fingerprint.rs holds the rest).
//!
//! Reads what git and the lock file say; decides nothing about a host and keeps nothing.

use std::path::Path;

use super::flake::LocalFlake;
use super::tree::{Entry, Tree, TreeError, common_folder, output, own_folder};
use crate::event::harmless;
use crate::world::{Ended, World, files};

/// Longest `.gitattributes` and `flake.lock` that is looked at.
const TEXT_LIMIT: u64 = 16 << 20;
/// Settings that make git's view differ from what is on disk, which is what Nix reads of a tree
/// with changes. `core.fsmonitor` is switched off in every call of ours.
const MUST_BE_OFF: [&str; 5] =
    ["core.autocrlf", "core.sparsecheckout", "core.ignorestat", "core.ignorecase", "core.bare"];
/// Settings without which git overlooks differences that Nix sees.
const MUST_BE_ON: [&str; 3] = ["core.filemode", "core.trustctime", "core.symlinks"];
/// Settings that must not be there at all.
const MUST_BE_ABSENT: [&str; 4] =
    ["core.eol", "core.attributesfile", "core.checkstat", "core.worktree"];

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
    /// A setting of git under which it overlooks differences.
    #[error("git's setting {0} can hide differences")]
    Setting(String),
    /// An unmerged file: nothing to deploy from.
    #[error("{0} is not merged")]
    Unmerged(String),
    /// No commit yet, which the flake could read of itself.
    #[error("nothing was committed yet")]
    NoCommit,
    /// Nothing says which inputs are meant.
    #[error("flake.lock is missing or cannot be read")]
    NoLock,
    /// Nix may read more than the tree.
    #[error("nix.conf allows impure evaluation")]
    Impure,
    /// Which Nix this is, or how it is configured, cannot be told.
    #[error("cannot tell which nix this is: {0}")]
    UnknownNix(String),
    /// Git or the disk did not answer.
    #[error("{0}")]
    Unreadable(String),
    /// An input whose content the lock does not fix.
    #[error("input {0} is not fixed by flake.lock")]
    LooseInput(String),
}

/// Whether an evaluation of this tree may be remembered under its name; the first reason against.
/// `config`: where
/// the person's programs keep their settings.
pub(super) fn uncacheable(flake: &LocalFlake, tree: &Tree, config: &Path) -> Option<Uncacheable> {
    let locked = flake.folder.join("flake.lock");
    hidden(&tree.entries)
        .or_else(|| filtered(flake, config, &tree.entries))
        .or_else(|| tree.entries.iter().all(|e| e.path != locked).then_some(Uncacheable::NoLock))
        .or_else(|| inputs(flake))
}

/// The first input that is not fixed; needs the lock file alone.
pub(super) fn inputs(flake: &LocalFlake) -> Option<Uncacheable> {
    let lock = files::read_text(&flake.path().join("flake.lock"), TEXT_LIMIT);
    lock.map_or(Some(Uncacheable::NoLock), |text| loose_input(&text))
}

/// The first of git's settings under which it may overlook what Nix sees; one git process.
///
/// # Errors
/// When git cannot be started.
pub(super) async fn settings(
    world: &World,
    flake: &LocalFlake,
) -> Result<Option<Uncacheable>, TreeError> {
    let output = output(world, flake, &["config", "--get-regexp", "^core\\."]).await?;
    let known = matches!(output.ended, Ended::Exited(0 | 1));
    let unknown = || Uncacheable::Unreadable(format!("git config: {}", output.ended));
    Ok((!known).then(unknown).or_else(|| output.out.iter().find_map(|l| setting(l))))
}

/// One line of `git config`: a name in lower case, and its value unless it has none.
fn setting(line: &str) -> Option<Uncacheable> {
    let (name, value) = line.split_once(' ').unwrap_or((line, "true"));
    let value = value.to_ascii_lowercase();
    let (on, off) = (["true", "yes", "on", "1"], ["false", "no", "off", "0", ""]);
    let bad = (MUST_BE_OFF.contains(&name) && !off.contains(&value.as_str()))
        || (MUST_BE_ON.contains(&name) && !on.contains(&value.as_str()))
        || MUST_BE_ABSENT.contains(&name);
    bad.then(|| Uncacheable::Setting(harmless::line(name)))
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

/// An attributes file, tracked, private or the user's own, that changes what is on disk.
fn filtered(flake: &LocalFlake, config: &Path, entries: &[Entry]) -> Option<Uncacheable> {
    let tracked = entries.iter().map(|e| &e.path).filter(|p| p.ends_with(".gitattributes"));
    let tracked = tracked.map(|p| flake.root.join(p));
    let private =
        own_folder(&flake.root).map(|f| common_folder(&f)).map(|f| f.join("info/attributes"));
    let Some(private) = private else {
        return Some(Uncacheable::Unreadable("its .git cannot be read".to_owned()));
    };
    let own = [private, config.join("git/attributes"), "/etc/gitattributes".into()];
    tracked.chain(own).find(|path| changes_files(path)).map(|path| {
        let path = path.strip_prefix(&flake.root).unwrap_or(&path).display().to_string();
        Uncacheable::Filtered(harmless::line(&path))
    })
}

/// Whether an attributes file names an attribute under which content on disk and in git differ;
/// one that cannot be read may.
fn changes_files(path: &Path) -> bool {
    let text = match files::read_text(path, TEXT_LIMIT) {
        Ok(text) => text,
        Err(e) => return e.kind() != std::io::ErrorKind::NotFound,
    };
    let words = ["filter", "eol", "ident", "text", "crlf", "working-tree-encoding", "export-subst"];
    text.lines().filter(|l| !l.trim_start().starts_with('#')).any(|line| {
        let attributes = line.split_whitespace().skip(1);
        attributes.filter(|a| !a.starts_with('-')).any(|a| {
            let name = a.split('=').next().unwrap_or_default();
            // A macro can stand for any of them.
            words.contains(&name.trim_start_matches('!')) || line.starts_with("[attr]")
        })
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

#[cfg(test)]
mod tests {
    use super::super::tree::entry;
    use super::*;

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
    fn settings_under_which_git_overlooks_things_are_named() {
        for bad in [
            "core.autocrlf input",
            "core.filemode false",
            "core.checkstat minimal",
            "core.eol lf",
            "core.sparsecheckout",
            "core.ignorestat true",
            "core.worktree /x",
        ] {
            assert!(setting(bad).is_some(), "{bad}");
        }
        for good in [
            "core.autocrlf false",
            "core.filemode true",
            "core.bare false",
            "core.pager less",
            "core.symlinks",
        ] {
            assert_eq!(setting(good), None, "{good}");
        }
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
