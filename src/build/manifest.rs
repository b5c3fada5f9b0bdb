//! What a tree held when it was deployed to a host, file by file, kept here: which files the next
//! deploy brings is told from it. One that is for another toplevel than the host runs counts as
//! none: somebody else has deployed since.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::tree::{Tree, content};
use crate::event::harmless;
use crate::fleet::{HostName, StorePath};
use crate::world::files;

/// A tree of a hundred thousand files is some fifteen megabytes.
const LIMIT: u64 = 64 << 20;
/// Closures of a host whose files are kept.
const KEPT: usize = 8;

/// The tracked files of a tree with what was in them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Manifest(BTreeMap<String, Content>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    /// Git's name for it, when the file is as the index has it: such a file is not read again.
    #[serde(skip_serializing_if = "Option::is_none")]
    blob: Option<String>,
    /// Kind, length and bytes under one name, however git came to know of them.
    hash: String,
}

/// One file for each of the last closures: after a rollback the older one counts again.
fn folder(state: &Path, host: &HostName) -> PathBuf {
    state.join("hosts").join(format!("{host}.files"))
}

fn file(state: &Path, host: &HostName, top: &StorePath) -> PathBuf {
    folder(state, host).join(format!("{}.json", top.hash()))
}

/// Keeps what was deployed to a host, and forgets the oldest.
///
/// # Errors
/// Whatever the system says; nothing depends on it.
pub fn keep(state: &Path, host: &HostName, top: &StorePath, kept: &Manifest) -> io::Result<()> {
    let folder = folder(state, host);
    files::private_folder(&folder)?;
    let text = serde_json::to_vec(kept).map_err(io::Error::other)?;
    files::put(&file(state, host, top), &text)?;
    let mut all = Vec::new();
    for entry in std::fs::read_dir(&folder)?.flatten() {
        all.push((entry.metadata()?.modified()?, entry.path()));
    }
    all.sort_unstable();
    let old = all.len().saturating_sub(KEPT);
    all.iter().take(old).try_for_each(|(_, path)| std::fs::remove_file(path))
}

/// What was deployed with the toplevel that a host runs.
pub fn recall(state: &Path, host: &HostName, top: &StorePath) -> Option<Manifest> {
    let text = files::read_text(&file(state, host, top), LIMIT).ok()?;
    serde_json::from_str(&text).ok()
}

impl Manifest {
    /// Of a tree that lies at `root`; files that are as they were `before` are not read.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn of(root: &Path, tree: &Tree, before: Option<&Self>) -> io::Result<Self> {
        let modified: HashSet<&PathBuf> = tree.modified.iter().collect();
        let mut files = BTreeMap::new();
        for entry in &tree.entries {
            let name = harmless::line(&entry.path.display().to_string());
            let blob = format!("{} {}", entry.mode, entry.blob);
            let blob = Some(blob).filter(|_| !modified.contains(&entry.path));
            let known = before.and_then(|b| b.0.get(&name)).filter(|k| k.blob == blob);
            let hash = match known.filter(|_| blob.is_some()) {
                Some(known) => Some(known.hash.clone()),
                // of a submodule the commit counts (gitmodules(5)); its folder says nothing
                None if entry.mode == "160000" => Some(entry.blob.clone()),
                None => content(&root.join(&entry.path))?,
            };
            let Some(hash) = hash else { continue };
            files.insert(name, Content { blob, hash });
        }
        Ok(Self(files))
    }

    /// Files that differ from those before: changed ones by their name, others with what became
    /// of them.
    pub fn since(&self, before: &Self) -> Vec<String> {
        let gone = before.0.keys().filter(|name| !self.0.contains_key(*name));
        let mut all: Vec<(&String, &str)> = gone.map(|name| (name, " (removed)")).collect();
        for (name, content) in &self.0 {
            match before.0.get(name) {
                None => all.push((name, " (new)")),
                Some(was) if was.hash != content.hash => all.push((name, "")),
                Some(_) => {}
            }
        }
        all.sort_unstable();
        all.into_iter().map(|(name, fate)| format!("{name}{fate}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_deployed_is_kept_for_the_last_closures() {
        let state = tempfile::tempdir().expect("folder");
        let host = HostName::new("p620").expect("name");
        let top = |n: usize| {
            let digit = char::from(b'0' + u8::try_from(n).expect("small"));
            let path = format!("/nix/store/{}-system", digit.to_string().repeat(32));
            StorePath::new(path).expect("path")
        };
        let files = |text: &str| {
            let content = Content { blob: None, hash: text.to_owned() };
            Manifest(BTreeMap::from([("flake.nix".to_owned(), content)]))
        };
        for n in 0..=KEPT {
            keep(state.path(), &host, &top(n), &files(&n.to_string())).expect("kept");
            let folder = file(state.path(), &host, &top(n));
            let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(n as u64);
            let kept = std::fs::File::options().write(true).open(folder).expect("a file");
            kept.set_modified(time).expect("set");
        }
        keep(state.path(), &host, &top(KEPT), &files("last")).expect("kept");
        assert_eq!(recall(state.path(), &host, &top(0)), None);
        assert_eq!(recall(state.path(), &host, &top(1)), Some(files("1")));
        assert_eq!(recall(state.path(), &host, &top(KEPT)), Some(files("last")));
        let other = HostName::new("p510").expect("name");
        assert_eq!(recall(state.path(), &other, &top(1)), None);
    }
}
