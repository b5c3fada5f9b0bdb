//! The host's own health scripts: taken once from the validated tree, and what their output means.
//!
//! The contract is the user's: exit 0 is healthy, anything else is not; lines that begin with
//! `OK:` or `FAIL:` say of what. What is sent is what was read from the tree once (security row
//! S15); the caller looks whether that is still the tree that was validated.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::judge::finding;
use super::probe::ProbeResult;
use crate::fleet::{Check, Host};
use crate::plan::{Finding, Severity};
use crate::world::files;

/// Longest script, in bytes.
const LIMIT: u64 = 1 << 20;

/// The scripts of a host by their path in the tree, as they were when they were read.
#[derive(Debug, Clone, Default)]
pub struct Scripts(BTreeMap<PathBuf, Pinned>);

#[derive(Debug, Clone)]
struct Pinned {
    text: String,
    hash: blake3::Hash,
}

/// A script that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// Its line in hosts.toml.
    pub line: usize,
    /// A sentence for the user.
    pub why: String,
}

impl Scripts {
    /// Reads every script that the host's health checks name from the tree.
    ///
    /// # Errors
    /// Which cannot be read, or leaves the tree.
    pub fn pin(tree: &Path, host: &Host) -> Result<Self, Unread> {
        let mut scripts = BTreeMap::new();
        for probe in &host.health {
            if let Check::Script(path) = &probe.check {
                let text = read(tree, path);
                let text = text.map_err(|why| Unread { line: probe.line, why })?;
                let hash = blake3::hash(text.as_bytes());
                scripts.insert(path.clone(), Pinned { text, hash });
            }
        }
        Ok(Self(scripts))
    }

    /// Whether no health check is a script.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its text.
    pub(super) fn text(&self, path: &Path) -> Result<&str, String> {
        let pinned = self.0.get(path).filter(|p| blake3::hash(p.text.as_bytes()) == p.hash);
        pinned.map(|p| p.text.as_str()).ok_or_else(|| "was not read with the tree".to_owned())
    }
}

fn read(tree: &Path, path: &Path) -> Result<String, String> {
    let inside = path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    if !inside {
        return Err(format!("health script {} is not inside the flake", path.display()));
    }
    files::read_text(&tree.join(path), LIMIT).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            format!("health script {} is not in the flake", path.display())
        }
        _ => format!("health script {}: {error}", path.display()),
    })
}

/// The reason of a failure: its first `FAIL:` line, if it said one.
pub(super) fn why(check: &Check, said: &[String], ending: String) -> String {
    let first = match check {
        Check::Script(_) | Check::Command(_) => {
            said.iter().find(|l| l.starts_with("FAIL:")).or_else(|| said.last())
        }
        Check::Journal(_) => return said.first().map_or(ending, |l| format!("found: {l}")),
        Check::Unit(_) => return said.first().map_or(ending, |l| format!("is {l}")),
        Check::Dns(_) | Check::Http(_) | Check::Tcp(_) => said.last(),
    };
    first.map_or_else(|| ending.clone(), |line| format!("{ending}: {line}"))
}

/// Healthy by its exit status, and yet it said `FAIL:`.
pub(super) fn contradiction(result: &ProbeResult) -> Option<Finding> {
    let line = result.said.iter().find(|l| l.starts_with("FAIL:"))?;
    Some(finding("health", Severity::Warn, &result.label, format!("exit status 0, but: {line}")))
}
