//! Small answers kept between runs: `CACHE/eval`, a folder that only its owner can enter.
//!
//! Every file carries its own name, a schema and a checksum. What is unreadable, foreign, cut off
//! or older than this program is as good as not there: a miss costs a moment, a lie a machine.

use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fingerprint::Digest;
use crate::world::{World, files};

/// First word of every file; raised with what is in them.
const SCHEMA: &str = "nixdeploy-memory-1";
/// Largest file.
const LIMIT: u64 = 64 << 10;
/// Files above which the older half is forgotten.
const MOST: usize = 1024;

fn folder(world: &World) -> PathBuf {
    world.environment.cache.join("eval")
}

fn sum(name: &str, body: &str) -> String {
    let mut digest = Digest::new(SCHEMA);
    digest.add(name).add(body);
    digest.end()
}

/// What is kept under a name.
pub(super) fn read<T: DeserializeOwned>(world: &World, name: &str) -> Option<T> {
    let folder = folder(world);
    if !folder.exists() || files::private_folder(&folder).is_err() {
        return None;
    }
    let text = files::read_private(&folder.join(name), LIMIT).ok()?;
    let mut lines = text.lines();
    let (head, body) = (lines.next()?, lines.next()?);
    let expected = format!("{SCHEMA} {name} {}", sum(name, body));
    (head == expected && lines.next().is_none()).then(|| serde_json::from_str(body).ok())?
}

/// Keeps an answer; a disk that is full loses nothing but time.
pub(super) fn write<T: Serialize>(world: &World, name: &str, value: &T) {
    let folder = folder(world);
    let kept = files::private_folder(&folder).and_then(|()| {
        let body = serde_json::to_string(value)?;
        let text = format!("{SCHEMA} {name} {}\n{body}\n", sum(name, &body));
        prune(&folder);
        files::put(&folder.join(name), text.as_bytes())
    });
    if let Err(error) = kept {
        tracing::debug!(%error, "nothing is remembered");
    }
}

fn prune(folder: &std::path::Path) {
    let files: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    if files.len() < MOST {
        return;
    }
    let mut aged: Vec<_> = files
        .into_iter()
        .map(|f| (f.symlink_metadata().and_then(|m| m.modified()).ok(), f))
        .collect();
    aged.sort();
    for (_, file) in &aged[..MOST / 2] {
        // What cannot be removed now is tried again later.
        let _ = std::fs::remove_file(file);
    }
}
