//! Our own record of what we are about to do to a host, on disk before we do it.
//!
//! `resume`, `abort` and `status` start from it; without it the host alone tells as much.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fleet::{HostName, StorePath};
use crate::world::files;

/// Largest record we read back, in bytes.
const LIMIT: u64 = 64 << 10;

/// One transaction on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The run it belongs to.
    pub run: String,
    /// Its name on the host.
    pub tx: String,
    /// The host.
    pub host: HostName,
    /// What ran.
    pub old: StorePath,
    /// What is to run.
    pub new: StorePath,
    /// The host's boot when it began.
    pub boot_id: String,
    /// How far we went.
    pub step: Step,
    /// By when its guard decides by itself, milliseconds since the epoch, from `go` on.
    #[serde(default)]
    pub decides_by_ms: Option<i64>,
}

/// How far a transaction went, written before the step is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// About to take the lock.
    Hold,
    /// About to say go.
    Go,
    /// About to ask for the commit.
    Commit,
    /// About to ask for the way back.
    Abort,
    /// There is an outcome.
    Done,
}

/// By when the guard decides: told at `go`, and from there on what was written down then.
pub fn decides_by_ms(
    state: &Path,
    host: &HostName,
    step: Step,
    fresh: impl FnOnce() -> i64,
) -> Option<i64> {
    match step {
        Step::Hold => None,
        Step::Go => Some(fresh()),
        Step::Commit | Step::Abort | Step::Done => read(state, host)?.decides_by_ms,
    }
}

impl Record {
    /// Whether it has no outcome yet, as far as we know.
    pub fn is_open(&self) -> bool {
        self.step != Step::Done
    }

    /// Whether the host decides by itself if nobody else does.
    pub fn is_armed(&self) -> bool {
        matches!(self.step, Step::Go | Step::Commit | Step::Abort)
    }
}

fn path(state: &Path, host: &HostName) -> PathBuf {
    state.join("transactions").join(format!("{host}.json"))
}

/// Writes it, and returns when it is on disk.
///
/// # Errors
/// Whatever the system says.
pub fn write(state: &Path, record: &Record) -> io::Result<()> {
    let path = path(state, &record.host);
    files::private_folder(path.parent().unwrap_or(state))?;
    files::replace(&path, &serde_json::to_vec(record).map_err(io::Error::other)?)
}

/// Notes that a transaction has its outcome; nothing when our record is of another.
pub fn close(state: &Path, host: &HostName, tx: &str) {
    let Some(record) = read(state, host).filter(|r| r.tx == tx) else { return };
    let record = Record { step: Step::Done, ..record };
    if let Err(error) = write(state, &record) {
        tracing::warn!(%error, "cannot write the journal of transactions");
    }
}

/// Reads the latest one of a host; one that cannot be read counts as none.
pub fn read(state: &Path, host: &HostName) -> Option<Record> {
    serde_json::from_str(&files::read_text(&path(state, host), LIMIT).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back() {
        let folder = tempfile::tempdir().expect("folder");
        let path = |n: &str| StorePath::new(format!("/nix/store/{}-{n}", "0".repeat(32)));
        let record = Record {
            run: "7f3a".to_owned(),
            tx: "7f3a00".to_owned(),
            host: HostName::new("p620").expect("name"),
            old: path("old").expect("path"),
            new: path("new").expect("path"),
            boot_id: "b".to_owned(),
            step: Step::Go,
            decides_by_ms: Some(7),
        };
        write(folder.path(), &record).expect("written");
        let decides = |step| decides_by_ms(folder.path(), &record.host, step, || 9);
        assert_eq!(decides(Step::Hold), None);
        assert_eq!(decides(Step::Go), Some(9));
        assert_eq!(decides(Step::Abort), Some(7), "as it was told at go");
        assert_eq!(read(folder.path(), &record.host), Some(record));
    }
}
