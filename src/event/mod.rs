//! The one stream: what happened in a run, as owned facts in the past tense.
//!
//! Promises to every reader: the first event is [`Event::RunStarted`], the second
//! [`Event::Planned`]; each host of the plan gets exactly one [`Event::HostFinished`]; the last
//! event is [`Event::RunFinished`]. [`Event::Progress`], [`Event::BuildsCounted`] and
//! [`Event::Line`] may be thinned out, nothing else may. Unknown events of a later version are
//! kept as [`Event::Unknown`], so an old program can still read a newer log. Exit code, summary
//! and metrics come from the fold ([`state::RunState`]) alone: what is no event did not happen.

pub mod facts;
pub mod harmless;
pub mod state;
pub mod stream;

use serde::{Deserialize, Serialize};

use crate::fleet::{Generation, HostName, StorePath};
use crate::plan::Plan;
pub use crate::plan::{Finding, Phase, Severity};
pub use facts::{
    BackTo, Changes, Evidence, FileChange, PackageChange, Pointers, Step, UnitChanges, UnitFate,
    UnitFileChange, Vitals, Wish,
};

/// Version of the log format; raised when a reader must know.
pub const VERSION: u32 = 1;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    /// Position in the stream, from 0, without gaps but for thinned events.
    pub index: u64,
    /// Milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Milliseconds since the run began.
    pub elapsed_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// How a phase ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum PhaseResult {
    /// As wanted.
    Ok,
    /// Not done, and why.
    Skipped {
        /// Fragment: "nothing changed".
        because: String,
    },
    /// Not as wanted.
    Failed {
        /// Fragment: "postgresql.service failed".
        because: String,
    },
}

/// How far a host came; what is true of the machine, not which tool failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// New, verified, and the boot default.
    Committed {
        /// Kernel, initrd or the like differ from what is booted.
        reboot_required: bool,
    },
    /// All pointers were the new closure already.
    Unchanged {
        /// Whether its health was looked at.
        verified: bool,
    },
    /// All pointers were the new closure already, and its health is not right; left alone.
    Unhealthy,
    /// The plan ended before anything was to change (test, build, dry run).
    Planned {
        /// Whether a deploy would change the host.
        changes: bool,
    },
    /// Installed for the next boot, not running.
    Staged,
    /// The tree was not cleared.
    Blocked,
    /// Evaluation or build failed; the host is unchanged.
    NotBuilt,
    /// Unchanged: unreachable, locked, or refused before `go`.
    Refused {
        /// Stable name: `unreachable`, `locked`, `no-space`.
        code: String,
        /// The host is optional and was left out: counts as no failure.
        skipped: bool,
    },
    /// Its turn did not come: others failed before it. Unchanged.
    NotBegun,
    /// Changed, failed, and back as before; the way back was verified.
    RolledBack,
    /// The answer to a question was no.
    Declined,
    /// Stopped by the user; unchanged or reverted.
    Interrupted {
        /// Whether it had been changed and was taken back.
        reverted: bool,
    },
    /// Somebody else changed the host meanwhile.
    Foreign,
    /// No contact; the guard on the host decides by itself.
    Unknown {
        /// Milliseconds since the epoch by which it will have decided.
        decides_by_ms: i64,
    },
    /// The way back failed or could not be proven: a person is needed.
    Stranded,
    /// Our own fault.
    Internal,
}

/// Who decided between commit and revert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decider {
    /// This program.
    Deployer,
    /// The guard on the host, at its deadline or because a step failed there.
    Guard,
    /// A reboot.
    Reboot,
    /// Nobody: nothing was to be decided.
    Nobody,
}

/// The last word on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReport {
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The phase that was reached.
    pub phase: Option<Phase>,
    /// One line for the recap.
    pub note: String,
    /// Why, outermost first; empty when all is well.
    pub causes: Vec<String>,
    /// Pointers before.
    pub before: Option<Pointers>,
    /// Pointers afterwards, as read back.
    pub after: Option<Pointers>,
    /// Who decided.
    pub decided_by: Decider,
    /// When the host came to this, milliseconds since the epoch, if it was long before this last
    /// word: found out after an interruption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_ms: Option<i64>,
    /// Commands to type next.
    pub next: Vec<String>,
}

/// Everything that can happen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// First of all.
    RunStarted {
        /// Short name of the run, lower-case hexadecimal.
        run: String,
        /// Version of this format.
        format: u32,
        /// Version of the program.
        version: String,
        /// The command with its arguments, for the history; no secret can be among them.
        command: Vec<String>,
        /// Who, as `user@machine`.
        operator: String,
        /// The flake, expanded.
        flake: Option<String>,
        /// Issue number given with `--issue`.
        issue: Option<u64>,
        /// Sentence given with `--message`, made harmless.
        #[serde(default)]
        message: Option<String>,
        /// The run whose transactions are brought to their end.
        #[serde(default)]
        recovers: Option<String>,
    },
    /// What will be done.
    Planned {
        /// Steps of every host.
        plan: Plan,
    },
    /// A phase began.
    PhaseStarted {
        /// Where.
        host: HostName,
        /// Which.
        phase: Phase,
    },
    /// A phase ended.
    PhaseEnded {
        /// Where.
        host: HostName,
        /// Which.
        phase: Phase,
        /// How.
        #[serde(flatten)]
        result: PhaseResult,
        /// For the screen: "12 built, 40 fetched".
        note: String,
        /// How long.
        took_ms: u64,
    },
    /// A part of a phase ended that the report names with its own time: a check that passed, a
    /// unit that was restarted, a collection of garbage.
    StepEnded {
        /// Where; `None`: in the tree.
        host: Option<HostName>,
        /// What.
        step: Step,
    },
    /// How far a phase is; may be thinned.
    Progress {
        /// Where.
        host: HostName,
        /// Which.
        phase: Phase,
        /// What is being done: "building grafana-12.0".
        what: String,
        /// Done so far.
        done: u64,
        /// Of how many; 0 when unknown.
        total: u64,
        /// `"paths"`, `"bytes"`, `"builds"` or `"seconds"`.
        unit: String,
    },
    /// A line of outside output, already made harmless; may be thinned.
    Line {
        /// Where.
        host: HostName,
        /// Which phase.
        phase: Phase,
        /// The text.
        text: String,
    },
    /// The tree was cleared for deployment, or that was waived.
    Cleared {
        /// Name of the tree's content.
        tree: String,
        /// Why it was waived; `None`: it was validated.
        waived: Option<String>,
        /// Files looked at.
        files: usize,
    },
    /// What the host was found to be.
    FactsRead {
        /// Where.
        host: HostName,
        /// Running, profile, boot default.
        pointers: Pointers,
        /// Milliseconds for the round trip.
        latency_ms: u64,
    },
    /// Memory, disks, load, units.
    Measured {
        /// Where.
        host: HostName,
        /// Before the activation, or after it.
        after: bool,
        /// The figures.
        vitals: Vitals,
    },
    /// What a deploy changes.
    ChangesFound {
        /// Where.
        host: HostName,
        /// Packages, units, files.
        changes: Changes,
    },
    /// Past this point the host's guard decides if we do not.
    Armed {
        /// Where.
        host: HostName,
        /// The transaction.
        transaction: String,
        /// Milliseconds since the epoch by which the guard decides.
        decides_by_ms: i64,
    },
    /// A check saw something.
    Found {
        /// Where; `None`: in the tree.
        host: Option<HostName>,
        /// Which phase looked.
        phase: Phase,
        /// What.
        finding: Finding,
    },
    /// Output that explains a failure.
    Captured {
        /// Where.
        host: HostName,
        /// The unit or script and its last lines.
        evidence: Evidence,
    },
    /// Contact was lost and found again.
    Reconnected {
        /// Where.
        host: HostName,
        /// Milliseconds without contact.
        gap_ms: u64,
    },
    /// A generation was made or taken back.
    GenerationMoved {
        /// Where.
        host: HostName,
        /// Before.
        from: Option<Generation>,
        /// After.
        to: Option<Generation>,
    },
    /// The closure of a host is known.
    ClosureKnown {
        /// Where.
        host: HostName,
        /// Its toplevel.
        toplevel: StorePath,
        /// Whether Nix's or our cache answered.
        cached: bool,
    },
    /// The closure is whole on the host.
    Copied {
        /// Where.
        host: HostName,
        /// Store paths that went over.
        paths: u64,
        /// Bytes of them, unpacked; 0 where sizes are not known.
        bytes: u64,
        /// Bytes of the whole closure, unpacked; `None`: not known here.
        closure_bytes: Option<u64>,
    },
    /// What an earlier run had left on the host was brought to its end.
    Settled {
        /// Where.
        host: HostName,
        /// That run.
        run: String,
        /// The last word on its transaction.
        report: Box<HostReport>,
    },
    /// Advice with its evidence, for the end of the report.
    Recommended {
        /// Where.
        host: HostName,
        /// Sentence.
        text: String,
    },
    /// Derivations that are built on this machine, for all hosts together; how many there are can
    /// go down again.
    BuildsCounted {
        /// Built so far.
        done: u64,
        /// In all.
        total: u64,
    },
    /// A person was asked, and the run stood still for the answer.
    Answered {
        /// How long, up to this event.
        waited_ms: u64,
    },
    /// The user asked to stop.
    InterruptReceived {
        /// `"SIGINT"`, `"SIGTERM"`, `"SIGHUP"`.
        signal: String,
    },
    /// A host is done.
    HostFinished {
        /// Which.
        host: HostName,
        /// How.
        #[serde(flatten)]
        report: HostReport,
    },
    /// Last of all.
    RunFinished {
        /// Whole run.
        took_ms: u64,
    },
    /// An event of a later version.
    #[serde(other)]
    Unknown,
}
