//! flake.lock kept safe: backups of every one that was replaced, and a journal of the one change
//! that is under way, both beside git's own files, where nothing commits them.
//!
//! Nix writes flake.lock in place, so a kill in that moment leaves half a file. Here it is replaced
//! as a whole by a rename, with what was there before kept first; whoever finds a journal whose
//! writer is gone knows which of two files is in place and which is to be. What is put back are
//! the user's own bytes, committed or not.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::journal::Journal;
pub use super::journal::Phase;
use crate::world::files;

/// A lock file larger than this is none.
const LIMIT: u64 = 16 << 20;
/// Backups that are kept.
const KEPT: usize = 20;
/// What a file in the place of flake.lock is called before it has that name.
const UNFINISHED: &str = ".flake.lock.nixdeploy";

/// The name of a lock file's bytes: 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Id(String);

impl Id {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).to_hex().to_string())
    }

    /// Whether it can be the name of anything.
    pub(super) fn is_one(&self) -> bool {
        self.0.len() == 64 && self.0.bytes().all(|b| b.is_ascii_hexdigit())
    }

    /// As 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first eight, for people.
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}

/// A flake.lock that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Its bytes' name.
    pub id: Id,
    /// When it was kept last, milliseconds since the epoch.
    pub kept_ms: i64,
}

/// What became of the hosts of a change that was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// One of them runs it.
    Runs,
    /// None of them does.
    Nowhere,
    /// That is not known yet.
    Open,
}

/// What was made of a change that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovered {
    /// There was none, or it had not begun to do anything.
    Nothing,
    /// The file before it is in place again.
    PutBack(Id),
    /// Hosts run what is in place, so it stays.
    Stays(Id),
    /// Hosts run this one, and somebody else wrote flake.lock since: it was left alone.
    Replaced(Id),
    /// Somebody else wrote flake.lock since: it was left alone. The file before it is a backup.
    Foreign(Id),
    /// Hosts of this run have not said what became of them, so nothing was done.
    Open(Option<String>),
}

/// A step of a change, after which the program may be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// What is there was kept.
    BackedUp,
    /// The journal says what is about to be done.
    Announced,
    /// The new file is written, beside the old.
    Written,
    /// It is in place.
    Renamed,
    /// And there after a power loss.
    Applied,
    /// The journal says that hosts are being brought to it.
    Deploying,
    /// The old file is in place again, and the journal still there.
    PutBack,
    /// The journal is gone.
    Finished,
}

/// Why the file could not be kept or replaced.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// There is none.
    #[error("there is no flake.lock in {0}")]
    NoLock(String),
    /// Another update goes on.
    #[error("another update of this flake goes on (process {pid})")]
    Busy {
        /// Its process.
        pid: String,
    },
    /// It is not what it was when the update began.
    #[error("flake.lock was changed by somebody else meanwhile")]
    Changed,
    /// What is under way cannot be told.
    #[error("what an earlier update of flake.lock left behind cannot be read: {error}")]
    Journal {
        /// Its file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// No backup has such a name, or more than one.
    #[error("{0}")]
    Which(String),
    /// A file could not be read or written.
    #[error("cannot {what} {path}: {error}")]
    Files {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: String,
        /// What the system says.
        error: io::Error,
    },
}

/// Where a flake's locks are kept; others may look, one may change.
#[derive(Debug)]
pub struct Keep {
    folder: PathBuf,
    /// The file itself, links resolved.
    lock: PathBuf,
    /// Held while something is changed.
    _held: Option<File>,
    /// Told after each step.
    at: fn(Step),
}

impl Keep {
    /// To look. `git`: where git keeps what belongs to this working tree; `flake`: the flake's
    /// folder, and where that is below the root of the tree.
    ///
    /// # Errors
    /// When the flake has no lock.
    pub fn look(git: &Path, root: &Path, below: &Path) -> Result<Self, KeepError> {
        let flake = root.join(below);
        let none = |_| {
            let dangling = flake.join("flake.lock").is_symlink();
            let why = if dangling { ": it is a link to nothing" } else { "" };
            KeepError::NoLock(format!("{}{why}", flake.display()))
        };
        let lock = flake.join("flake.lock").canonicalize().map_err(none)?;
        let own = git.join("nixdeploy");
        let folder =
            if below.as_os_str().is_empty() { own } else { own.join("flakes").join(below) };
        Ok(Self { folder, lock, _held: None, at: |_| {} })
    }

    /// To change: nobody else may until this is dropped.
    ///
    /// # Errors
    /// When somebody else does, or the folder cannot be written.
    pub fn hold(self) -> Result<Self, KeepError> {
        let locks = self.folder.join("locks");
        files::private_folder(&locks).map_err(|e| failed("make", &locks, e))?;
        let path = self.folder.join("holder");
        let nofollow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let opened = options.mode(0o600).custom_flags(nofollow).open(&path);
        let mut file = opened.map_err(|e| failed("open", &path, e))?;
        if file.try_lock().is_err() {
            let mut pid = String::new();
            let _ = file.take(20).read_to_string(&mut pid);
            let pid = pid.chars().filter(char::is_ascii_digit).collect();
            return Err(KeepError::Busy { pid });
        }
        let told = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        told.map_err(|e| failed("write", &path, e))?;
        Ok(Self { _held: Some(file), ..self })
    }

    /// The file.
    pub fn lock(&self) -> &Path {
        &self.lock
    }

    /// Where the program may write what is not to be kept.
    pub fn draft(&self) -> PathBuf {
        self.folder.join("draft.lock")
    }

    /// The same, for a part of the inputs.
    pub fn part(&self) -> PathBuf {
        self.folder.join("part.lock")
    }

    /// Where git may keep an index of ours.
    pub fn scratch(&self) -> PathBuf {
        self.folder.join("index")
    }

    /// What is in place.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn current(&self) -> Result<Vec<u8>, KeepError> {
        read(&self.lock)
    }

    fn kept(&self, id: &Id) -> PathBuf {
        self.folder.join("locks").join(format!("{}.lock", id.0))
    }

    /// Keeps these bytes, and gives the file they are in.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn back_up(&self, bytes: &[u8]) -> Result<(Id, PathBuf), KeepError> {
        let id = Id::of(bytes);
        let path = self.kept(&id);
        files::replace(&path, bytes).map_err(|e| failed("write", &path, e))?;
        Ok((id, path))
    }

    /// What was kept, newest first.
    pub fn list(&self) -> Vec<Backup> {
        let entries = std::fs::read_dir(self.folder.join("locks"));
        let backup = |entry: std::fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            let id = name.strip_suffix(".lock")?;
            let id = Id(id.to_owned());
            let kept = entry.metadata().ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
            let kept_ms = i64::try_from(kept.as_millis()).ok()?;
            id.is_one().then_some(Backup { id, kept_ms })
        };
        let mut all: Vec<Backup> =
            entries.into_iter().flatten().flatten().filter_map(backup).collect();
        all.sort_by_key(|b| (std::cmp::Reverse(b.kept_ms), b.id.0.clone()));
        all
    }

    /// The backup that the beginning of a name means.
    ///
    /// # Errors
    /// When it means none, or several.
    pub fn find(&self, word: &str) -> Result<Id, KeepError> {
        let shown: String = word.escape_debug().take(64).collect();
        let fits = |b: &Backup| !word.is_empty() && b.id.0.starts_with(&word.to_ascii_lowercase());
        let mut found = self.list().into_iter().filter(fits).map(|b| b.id);
        match (found.next(), found.next()) {
            (Some(id), None) => Ok(id),
            (None, _) => Err(KeepError::Which(format!("no flake.lock was kept as '{shown}'"))),
            (Some(_), Some(_)) => {
                Err(KeepError::Which(format!("more than one was kept as '{shown}...'")))
            }
        }
    }

    /// The bytes of a backup, which are what its name says.
    ///
    /// # Errors
    /// When they cannot be read, or are others.
    pub fn bytes(&self, id: &Id) -> Result<Vec<u8>, KeepError> {
        let path = self.kept(id);
        let bytes = read(&path)?;
        if Id::of(&bytes) != *id {
            let error = io::Error::other("it is damaged");
            return Err(failed("use", &path, error));
        }
        Ok(bytes)
    }

    /// Deletes what is older than the newest twenty, but for what a change needs.
    pub fn prune(&self) {
        let Ok(journal) = self.journal() else { return };
        let needed = |id: &Id| journal.iter().any(|j| j.before == *id || j.after == *id);
        for backup in self.list().into_iter().skip(KEPT).filter(|b| !needed(&b.id)) {
            let _ = std::fs::remove_file(self.kept(&backup.id));
        }
    }

    /// The change that is under way, or was cut off.
    ///
    /// # Errors
    /// When there is one that cannot be read: nothing is to be changed then.
    pub fn journal(&self) -> Result<Option<Journal>, KeepError> {
        let path = self.folder.join("journal.json");
        Journal::read(&path)
            .map_err(|error| KeepError::Journal { path: path.display().to_string(), error })
    }

    fn announce(&self, journal: &Journal) -> Result<(), KeepError> {
        let path = self.folder.join("journal.json");
        let text = serde_json::to_vec(journal).unwrap_or_default();
        files::replace(&path, &text).map_err(|e| failed("write", &path, e))
    }

    /// Puts a new file in the place of the one that is there, if that is still what it was.
    ///
    /// # Errors
    /// When it is not, or a file cannot be written: the old one is in place then.
    pub fn apply(&self, before: &[u8], after: &[u8], now_ms: i64) -> Result<(), KeepError> {
        let (before, _) = self.back_up(before)?;
        let (after_id, _) = self.back_up(after)?;
        (self.at)(Step::BackedUp);
        self.announce(&Journal::of(before.clone(), after_id, now_ms))?;
        (self.at)(Step::Announced);
        let placed = self.place(&before, after);
        if placed.is_err() {
            // Nothing was put in place, so nothing is under way.
            let _ = std::fs::remove_file(self.folder.join("journal.json"));
        }
        placed?;
        (self.at)(Step::Applied);
        Ok(())
    }

    /// Replaces the file as a whole, in its folder and with its mode, if it is still this one.
    fn place(&self, expected: &Id, bytes: &[u8]) -> Result<(), KeepError> {
        let folder = self.lock.parent().unwrap_or_else(|| Path::new("/"));
        let new = folder.join(UNFINISHED);
        let _ = std::fs::remove_file(&new);
        let placed = self.placing(folder, &new, expected, bytes);
        if placed.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        placed
    }

    fn placing(
        &self,
        folder: &Path,
        new: &Path,
        expected: &Id,
        bytes: &[u8],
    ) -> Result<(), KeepError> {
        let unwritten = |e| failed("write", new, e);
        let mode = self.lock.metadata().map_err(|e| failed("read", &self.lock, e))?.permissions();
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(new)
            .map_err(unwritten)?;
        file.write_all(bytes).map_err(unwritten)?;
        let mode = PermissionsExt::from_mode(mode.mode() & 0o777);
        file.set_permissions(mode).map_err(unwritten)?;
        file.sync_all().map_err(unwritten)?;
        (self.at)(Step::Written);
        if Id::of(&self.current()?) != *expected {
            return Err(KeepError::Changed);
        }
        std::fs::rename(new, &self.lock).map_err(|e| failed("replace", &self.lock, e))?;
        (self.at)(Step::Renamed);
        File::open(folder).and_then(|f| f.sync_all()).map_err(|e| failed("sync", folder, e))
    }

    /// Writes down which pull request is open for the change.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn opened(&self, pull_request: &str) -> Result<(), KeepError> {
        let Some(journal) = self.journal()? else { return Err(KeepError::Changed) };
        self.announce(&Journal { pull_request: Some(pull_request.to_owned()), ..journal })
    }

    /// Writes down that hosts are now brought to what is in place, by a run with its log below
    /// this folder.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn deploying(&self, run: &str, state: &Path, hosts: &[String]) -> Result<(), KeepError> {
        let Some(journal) = self.journal()? else { return Err(KeepError::Changed) };
        let (run, state) = (Some(run.to_owned()), Some(state.to_owned()));
        let (hosts, phase) = (hosts.to_vec(), Phase::Deploying);
        self.announce(&Journal { run, state, hosts, phase, ..journal })?;
        (self.at)(Step::Deploying);
        Ok(())
    }

    /// The change is done: what is in place stays.
    ///
    /// # Errors
    /// When the journal cannot be removed.
    pub fn finish(&self) -> Result<(), KeepError> {
        let path = self.folder.join("journal.json");
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path, e)),
            _ => {
                (self.at)(Step::Finished);
                Ok(())
            }
        }
    }

    /// Ends a change whose hosts came to this.
    ///
    /// # Errors
    /// When the old file could not be put back; the journal stays then.
    pub fn end(&self, fate: Fate) -> Result<Recovered, KeepError> {
        let folder = self.lock.parent().unwrap_or_else(|| Path::new("/"));
        let _ = std::fs::remove_file(folder.join(UNFINISHED));
        let Some(journal) = self.journal()? else { return Ok(Recovered::Nothing) };
        let fate = if journal.phase == Phase::Applying { Fate::Nowhere } else { fate };
        let current = Id::of(&self.current()?);
        let ended = match fate {
            Fate::Open => return Ok(Recovered::Open(journal.run)),
            Fate::Runs if current == journal.after => Recovered::Stays(current),
            Fate::Runs => Recovered::Replaced(journal.after),
            Fate::Nowhere if current == journal.before => Recovered::Nothing,
            Fate::Nowhere if current == journal.after => {
                let bytes = self.bytes(&journal.before)?;
                self.place(&journal.after, &bytes)?;
                (self.at)(Step::PutBack);
                Recovered::PutBack(journal.before)
            }
            Fate::Nowhere => Recovered::Foreign(journal.before),
        };
        self.finish()?;
        self.prune();
        Ok(ended)
    }

    /// Puts a backup in place, and keeps what it replaces.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn restore(&self, id: &Id) -> Result<Id, KeepError> {
        let (bytes, current) = (self.bytes(id)?, self.current()?);
        let (replaced, _) = self.back_up(&current)?;
        self.place(&replaced, &bytes)?;
        self.prune();
        Ok(replaced)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KeepError> {
    let mut bytes = Vec::new();
    let opened = files::open(path).and_then(|f| f.take(LIMIT + 1).read_to_end(&mut bytes));
    opened.map_err(|e| failed("read", path, e))?;
    if bytes.len() as u64 > LIMIT {
        return Err(failed("read", path, io::Error::other("it is too large for a lock")));
    }
    Ok(bytes)
}

fn failed(what: &'static str, path: &Path, error: io::Error) -> KeepError {
    KeepError::Files { what, path: path.display().to_string(), error }
}

#[cfg(test)]
#[path = "keep_tests.rs"]
mod tests;
