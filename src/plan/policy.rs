//! From a request and a host to gates and budgets.

use serde::{Deserialize, Serialize};

use super::{Goal, Request};
use crate::fleet::{Host, Mode, OnInhibitor};

/// Gates and budgets of one host's journey.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Only syntax is validated and only units and contact are verified.
    pub fast: bool,
    /// The same where nothing changes that could be hurt by looking at less; else everything.
    #[serde(default)]
    pub auto: bool,
    /// Verify a host that needs nothing.
    pub verify_unchanged: bool,
    /// Ask once before `go`.
    pub ask: bool,
    /// Pointers that disagree are no reason to refuse.
    pub accept_drift: bool,
    /// Nothing is changed on the host, whatever is found: somebody may be at work there.
    #[serde(default)]
    pub reads_only: bool,
    /// A system that needs a reboot is started once before it becomes the boot default.
    #[serde(default)]
    pub trial_boot: bool,
    /// An inhibitor means "stage", not "refuse".
    pub stage_on_inhibitor: bool,
    /// nixos-rebuild switches, under the guard, instead of the guard itself.
    #[serde(default)]
    pub external: bool,
    /// Instead of nixos-rebuild it is nh.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nh: bool,
    /// The tree was cleared unseen; the sums forbid nothing, and nothing is rehearsed.
    #[serde(default)]
    pub emergency: bool,
    /// Seconds.
    pub activate_timeout_s: u32,
    /// Seconds.
    pub soak_s: u32,
    /// Seconds.
    pub verify_timeout_s: u32,
    /// Seconds.
    pub commit_timeout_s: u32,
}

/// Seconds that an emergency waits before its quick look, at most.
const EMERGENCY_SOAK_S: u32 = 10;

/// Decides the policy of one host.
pub fn of(request: &Request, host: &Host, mode: Mode) -> Policy {
    Policy {
        fast: mode == Mode::Fast || request.emergency,
        auto: mode == Mode::Auto && !request.emergency,
        verify_unchanged: request.verify_unchanged,
        ask: request.ask && !request.yes,
        accept_drift: request.accept_drift || request.emergency,
        reads_only: request.goal == Goal::DryRun,
        trial_boot: request.trial_boot,
        stage_on_inhibitor: host.on_inhibitor == OnInhibitor::Stage,
        external: request.external && request.goal == Goal::Deploy,
        nh: request.nh,
        activate_timeout_s: host.activate_timeout_s,
        emergency: request.emergency,
        soak_s: if request.emergency { host.soak_s.min(EMERGENCY_SOAK_S) } else { host.soak_s },
        verify_timeout_s: host.verify_timeout_s,
        commit_timeout_s: host.commit_timeout_s,
    }
}
