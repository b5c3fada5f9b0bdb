//! The one change of a flake.lock that is under way, as it is written down beside git's own files.
//!
//! Whoever finds it after its writer is gone decides by it what is to be in place, so one that
//! cannot be read, or that a later version wrote, is an error and never taken for none.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::keep::Id;
use crate::event::harmless;
use crate::world::files;

/// Raised when an older program would misread it.
const SCHEMA: u32 = 1;
/// A journal larger than this is none.
const LIMIT: u64 = 1 << 20;

/// How far a change has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The new file is about to be put in its place, or is in it; no host was asked for anything.
    Applying,
    /// Hosts are brought to it.
    Deploying,
}

/// The change that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    pub(super) schema: u32,
    /// What was there.
    pub before: Id,
    /// What is to be there.
    pub after: Id,
    /// How far it has come.
    pub phase: Phase,
    /// The run that deploys it.
    pub run: Option<String>,
    /// Where that run writes its log; `None`: an earlier version did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<PathBuf>,
    /// Hosts that it is deployed to.
    pub hosts: Vec<String>,
    /// When it began, milliseconds since the epoch.
    pub began_ms: i64,
    /// The pull request that was opened for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<String>,
}

impl Journal {
    /// Of a change that is about to begin.
    pub(super) fn of(before: Id, after: Id, began_ms: i64) -> Self {
        let (run, state, hosts, pull_request) = (None, None, Vec::new(), None);
        let (schema, phase) = (SCHEMA, Phase::Applying);
        Self { schema, before, after, phase, run, state, hosts, began_ms, pull_request }
    }

    /// Reads it; `None`: nothing is under way.
    ///
    /// # Errors
    /// When there is one that cannot be read, understood, or trusted.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let text = match files::read_private(path, LIMIT) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let schema = serde_json::from_str::<Schema>(&text).ok();
        if let Some(Schema { schema }) = schema.filter(|s| s.schema != SCHEMA) {
            let why = format!("another version of nixdeploy wrote it (schema {schema})");
            return Err(io::Error::other(why));
        }
        let broken = |why: String| io::Error::other(format!("it is damaged: {why}"));
        let journal: Self =
            serde_json::from_str(&text).map_err(|e| broken(harmless::line(&e.to_string())))?;
        if !journal.before.is_one() || !journal.after.is_one() {
            return Err(broken("it names no lock".to_owned()));
        }
        Ok(Some(journal))
    }
}

/// All that is known to be in a later version's.
#[derive(Deserialize)]
struct Schema {
    schema: u32,
}
