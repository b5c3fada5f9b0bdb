//! Lists of issues kept between runs: a file for each, written whole or not at all.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::issue::Issue;
use crate::world::files;

/// Raised when the files change their meaning; others are not read.
const SCHEMA: u32 = 1;
/// Ten thousand issues are some megabytes.
const LARGEST: u64 = 64 << 20;

/// A list as it was last seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept {
    schema: u32,
    /// When it was asked for, milliseconds since the epoch.
    pub(super) fetched_ms: i64,
    /// From when on it knows what happened.
    pub(super) covered_since_ms: i64,
    /// When the whole of it was last asked for.
    pub(super) whole_ms: i64,
    /// Whether it was read to its end. Where it broke off, nothing is known of what comes after,
    /// whatever the dates of its issues say.
    #[serde(default)]
    pub(super) whole: bool,
    /// The mark of the first page.
    pub(super) etag: Option<String>,
    /// Its issues.
    pub(super) issues: Vec<Issue>,
}

impl Kept {
    pub(super) fn new(fetched_ms: i64, covered_since_ms: i64) -> Self {
        Self {
            schema: SCHEMA,
            fetched_ms,
            covered_since_ms,
            whole_ms: fetched_ms,
            whole: false,
            etag: None,
            issues: Vec::new(),
        }
    }

    /// When anything last happened in it.
    pub(super) fn newest_ms(&self) -> Option<i64> {
        self.issues.iter().map(|i| i.updated_ms).max()
    }

    /// Takes newer states of issues in.
    pub(super) fn merge(&mut self, newer: Vec<Issue>) {
        let mut all: std::collections::BTreeMap<u64, Issue> =
            std::mem::take(&mut self.issues).into_iter().map(|i| (i.number, i)).collect();
        all.extend(newer.into_iter().map(|i| (i.number, i)));
        self.issues = all.into_values().collect();
    }
}

/// What came of looking.
pub(super) enum Found {
    Nothing,
    /// It was there and could not be read; it is gone now.
    Broken,
    Kept(Box<Kept>),
}

/// The file of a list: servers and lists are told apart by a hash of their names.
pub(super) fn file(cache: &Path, server: &str, list: &str) -> PathBuf {
    let name = blake3::hash(format!("{server}\n{list}").as_bytes()).to_hex();
    cache.join("issues").join(format!("{}.json", &name[..24]))
}

pub(super) fn read(file: &Path) -> Found {
    let text = match files::read_text(file, LARGEST) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Found::Nothing,
        Err(_) => return broken(file),
    };
    match serde_json::from_str::<Kept>(&text) {
        Ok(kept) if kept.schema == SCHEMA => Found::Kept(Box::new(kept)),
        _ => broken(file),
    }
}

fn broken(file: &Path) -> Found {
    let _ = std::fs::remove_file(file);
    Found::Broken
}

/// Keeps a list; nothing depends on it.
pub(super) fn write(file: &Path, kept: &Kept) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        files::private_folder(folder)?;
    }
    let text = serde_json::to_string(kept).map_err(std::io::Error::other)?;
    files::replace(file, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_gone_and_said_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = file(folder.path(), "https://x", "security");
        assert!(matches!(read(&file), Found::Nothing));
        let kept = Kept::new(7, 3);
        write(&file, &kept).expect("written");
        assert!(matches!(read(&file), Found::Kept(k) if *k == kept));
        for text in ["", "{\"schema\":1", "{\"schema\":0}", "[]"] {
            std::fs::write(&file, text).expect("written");
            assert!(matches!(read(&file), Found::Broken), "{text}");
            assert!(!file.exists());
        }
    }
}
