//! What hosts are right now: the data of `status` and `ping-hosts`, and its document.
//!
//! Plain data, filled in by `command`; [`super::table`] draws it. Keys of the document are only
//! ever added within a [`SCHEMA`]. Texts in here are harmless for a terminal.

use serde::Serialize;

use super::memory::{LastDeploy, LastSeen};
use crate::event::facts::Disk;
use crate::event::{Pointers, Vitals};
use crate::fleet::{HostName, StorePath};

/// Version of the document; raised when a key changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// Every host that was asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Board {
    /// [`SCHEMA`].
    pub schema: u32,
    /// `status` or `ping-hosts`.
    pub command: &'static str,
    /// When it was looked, milliseconds since the epoch.
    pub at_ms: i64,
    /// How long that took.
    pub took_ms: u64,
    /// The flake that was evaluated; `None`: none was.
    pub flake: Option<String>,
    /// The exit code.
    pub exit: u8,
    /// One row per host, in the order of the selection.
    pub hosts: Vec<Row>,
}

/// One host.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Its name.
    pub host: HostName,
    /// Whether it may be off without anybody minding.
    pub optional: bool,
    /// How it was reached; `None`: it was not.
    pub reach: Option<Reach>,
    /// Why it was not.
    pub refused: Option<Trouble>,
    /// When it was last reached, of a host that was not now.
    pub last_seen: Option<LastSeen>,
    /// What it is.
    pub state: Option<State>,
    /// How it compares with the flake; `None`: that was not asked.
    pub vs_flake: Option<Against>,
    /// What the flake wants it to be.
    pub toplevel: Option<StorePath>,
    /// Why that is not known.
    pub evaluation: Option<Trouble>,
    /// The last run that changed it, or tried to.
    pub last_deploy: Option<LastDeploy>,
    /// What is worth a sentence.
    pub notes: Vec<Note>,
}

/// How a host was reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// Milliseconds from the start of ssh to the first answer.
    pub latency_ms: u64,
    /// The address that answered.
    pub address: String,
    /// Who we are there; `None`: not known.
    pub user: Option<String>,
    /// Whether root is reached through sudo; else the login is root.
    pub sudo: bool,
}

/// Why something is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// Stable name.
    pub code: String,
    /// A fragment.
    pub sentence: String,
    /// What lies behind it, outermost first.
    pub causes: Vec<String>,
    /// What to type next.
    pub next: Vec<String>,
}

/// A sentence below the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Stable name.
    pub code: String,
    /// The sentence.
    pub text: String,
    /// What to type next.
    pub next: Vec<String>,
}

/// A host compared with the flake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Against {
    /// A deploy would find nothing to do.
    Current,
    /// A deploy would change it.
    Differs,
    /// A later generation than the one that runs waits for the next boot.
    Staged,
    /// Its own pointers disagree.
    Drift,
    /// Cannot be told.
    Unknown,
    /// The flake does not say.
    Error,
}

impl Against {
    /// The word in the table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Differs => "differs",
            Self::Staged => "staged",
            Self::Drift => "drift",
            Self::Unknown => "unknown",
            Self::Error => "error",
        }
    }
}

/// What a host is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct State {
    /// Running, booted, profile, boot default.
    pub pointers: Pointers,
    /// When the profile's generation was made, seconds since the epoch.
    pub generation_made_s: Option<u64>,
    /// Its age by the host's own clock.
    pub generation_age_s: Option<u64>,
    /// The specialisation that runs.
    pub specialisation: Option<String>,
    /// Whether running system, profile, boot default or /etc disagree without [`Self::staged`].
    pub drift: bool,
    /// Whether a later generation than the one that runs waits for the next boot.
    pub staged: bool,
    /// `systemctl is-system-running`.
    pub system: String,
    /// Units: `None`: systemctl did not answer.
    pub units: Option<Units>,
    /// Memory, load, disks.
    pub vitals: Vitals,
    /// The fullest file system.
    pub fullest: Option<Fullest>,
    /// What of the running system only a reboot brings; `None`: not known.
    pub reboot: Option<Vec<&'static str>>,
    /// Seconds since it was booted.
    pub uptime_s: u64,
    /// A transaction that is not over.
    pub transaction: Option<Transaction>,
}

/// Units of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Units {
    /// Active services, counted as [`crate::event::facts::Units`] says.
    pub active: usize,
    /// Those, and all that are failed or on their way.
    pub total: usize,
    /// Failed, of whatever kind.
    pub failed: Vec<String>,
    /// Neither active nor failed.
    pub pending: Vec<String>,
}

/// The fullest file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fullest {
    /// Which.
    #[serde(flatten)]
    pub disk: Disk,
    /// Percent in use.
    pub used_percent: u8,
    /// The host's limit.
    pub limit_percent: u8,
}

impl Fullest {
    /// Whether it is over the limit.
    pub fn over(&self) -> bool {
        self.used_percent > self.limit_percent
    }
}

/// A transaction that is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Transaction {
    /// Its name.
    pub name: String,
    /// The run it belongs to.
    pub run: String,
    /// Whose it is.
    pub owner: String,
    /// How far it is.
    pub phase: String,
    /// Seconds since it began.
    pub age_s: u64,
    /// Seconds until it decides by itself; `None`: it has no deadline.
    pub decides_in_s: Option<u64>,
    /// `commit`, `revert`, or empty.
    pub decision: String,
    /// Whether its guard lives; else it was left behind.
    pub guarded: bool,
}

/// The document, with a line feed at its end.
pub fn document(board: &Board) -> String {
    serde_json::to_string_pretty(board).unwrap_or_default() + "\n"
}

/// One host per line.
pub fn lines(board: &Board) -> String {
    let line = |row: &Row| serde_json::to_string(row).unwrap_or_default() + "\n";
    board.hosts.iter().map(line).collect()
}
