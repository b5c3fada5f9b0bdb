//! The place where a run is decided: pure data in, a [`Plan`] out.
//!
//! No async, no world: a plan can be printed (`--dry-run`), serialised and compared.

pub mod order;
pub mod policy;
pub mod verdict;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::fleet::{BuildOn, Generation, Host, HostName, Mode};
pub use order::{Order, Pace};
pub use verdict::{Finding, Severity};

/// A phase of a host's journey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// One round trip that reads everything needed before deciding.
    Facts,
    /// Checks of the source tree.
    Validate,
    /// From the flake to a derivation.
    Evaluate,
    /// From the derivation to a closure.
    Build,
    /// Space, ESP, inhibitors; and what the new closure says on the target.
    Admit,
    /// The closure to the target.
    Copy,
    /// switch-to-configuration, under the guard.
    Activate,
    /// Checks over a fresh connection.
    Verify,
    /// Profile and boot default.
    Commit,
    /// The way back.
    Rollback,
}

impl Phase {
    /// The word on the screen and in the log.
    pub fn word(self) -> &'static str {
        match self {
            Self::Facts => "facts",
            Self::Validate => "check",
            Self::Evaluate => "eval",
            Self::Build => "build",
            Self::Admit => "admit",
            Self::Copy => "copy",
            Self::Activate => "activate",
            Self::Verify => "verify",
            Self::Commit => "commit",
            Self::Rollback => "rollback",
        }
    }
}

/// What a command wants of the hosts it names; made from a preset and the flags.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The command's own name, for the report.
    pub command: String,
    /// How far to go.
    pub goal: Goal,
    /// Checks; `None`: each host's own default.
    pub mode: Option<Mode>,
    /// Where to build; `None`: each host's own default.
    pub build_on: Option<BuildOn>,
    /// Use the fleet's cache as substituter.
    pub cached: bool,
    /// Never ask.
    pub yes: bool,
    /// Verify a host that needs nothing (`deploy`), or leave it (`quick-deploy`).
    pub verify_unchanged: bool,
    /// Ask once before `go`, on a terminal.
    pub ask: bool,
    /// Go on although running system, profile and boot default disagree.
    pub accept_drift: bool,
    /// Another engine switches: nixos-rebuild, unless [`Self::nh`] says otherwise.
    pub external: bool,
    /// The other engine is nh.
    pub nh: bool,
    /// Nothing that can be done without may stop it.
    pub emergency: bool,
    /// Start a system that needs a reboot once, before it becomes the boot default.
    pub trial_boot: bool,
    /// Forget every cache.
    pub no_cache: bool,
    /// Keep from the garbage collector what is built.
    pub keep: bool,
    /// Build for every host before one is touched; where one does not build, none is.
    pub build_first: bool,
    /// Seconds for which a host that does not answer is waited for; 0: not at all.
    pub wait_s: u32,
    /// Issue number for the report.
    pub issue: Option<u64>,
    /// A sentence for the report.
    pub message: Option<String>,
    /// The run whose transactions are brought to their end; for [`Goal::Recover`].
    pub recovers: Option<String>,
    /// A lock file that stands in for the flake's own.
    pub lock: Option<PathBuf>,
}

/// Where a journey ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Running, verified and the boot default.
    Deploy,
    /// The boot default after the next reboot, not running now.
    Boot,
    /// Built and rooted, nothing else.
    Build,
    /// Told what would happen.
    DryRun,
    /// Running a generation that is on the host already, verified, and the boot default.
    Rollback {
        /// Which; `None`: the one before the profile's.
        to: Option<Generation>,
    },
    /// An interrupted transaction brought to its end, or taken back.
    Recover {
        /// Take back whatever has not been decided.
        abort: bool,
    },
}

/// What will be done, for every host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Where each journey ends.
    pub goal: Goal,
    /// One after the other; hosts of one wave may run at once.
    pub waves: Vec<Vec<HostPlan>>,
    /// How fast, and what stops it.
    #[serde(default)]
    pub pace: Pace,
}

/// The steps of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPlan {
    /// Which.
    pub host: HostName,
    /// Checks done.
    pub mode: Mode,
    /// Where the closure is built.
    pub build_on: BuildOn,
    /// Phases in order, rollback apart.
    pub phases: Vec<Phase>,
    /// Gates and budgets.
    pub policy: policy::Policy,
}

/// Decides a run.
pub fn decide(request: &Request, hosts: &[Host], order: &Order<'_>) -> Plan {
    let pace = order::pace(request, hosts, order);
    let waves = order::waves(hosts, pace.canary.as_ref(), order.here);
    let steps = |wave: Vec<&Host>| wave.into_iter().map(|h| plan_host(request, h)).collect();
    Plan { goal: request.goal, waves: waves.into_iter().map(steps).collect(), pace }
}

fn plan_host(request: &Request, host: &Host) -> HostPlan {
    let mode = request.mode.unwrap_or(host.mode);
    HostPlan {
        host: host.name.clone(),
        mode,
        build_on: request.build_on.clone().unwrap_or_else(|| host.build_on.clone()),
        phases: phases(request.goal),
        policy: policy::of(request, host, mode),
    }
}

fn phases(goal: Goal) -> Vec<Phase> {
    use Phase::{Activate, Admit, Build, Commit, Copy, Evaluate, Facts, Validate, Verify};
    match goal {
        Goal::Deploy => {
            vec![Facts, Validate, Evaluate, Build, Admit, Copy, Activate, Verify, Commit]
        }
        Goal::Boot => vec![Facts, Validate, Evaluate, Build, Admit, Copy, Commit],
        Goal::Build => vec![Validate, Evaluate, Build],
        Goal::DryRun => vec![Facts, Validate, Evaluate, Build, Admit],
        Goal::Rollback { .. } => vec![Facts, Admit, Activate, Verify, Commit],
        Goal::Recover { .. } => vec![Facts],
    }
}

impl Plan {
    /// Every host, in order.
    pub fn hosts(&self) -> impl Iterator<Item = &HostPlan> {
        self.waves.iter().flatten()
    }
}
