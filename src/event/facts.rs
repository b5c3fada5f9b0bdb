//! Data that several events carry: pointers, vitals, changes, evidence.

use serde::{Deserialize, Serialize};

use super::PhaseResult;
use crate::fleet::{Generation, StorePath};
use crate::plan::Phase;

/// The pointers that say what a NixOS host is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pointers {
    /// `/run/current-system`.
    pub running: Option<StorePath>,
    /// `/run/booted-system`.
    pub booted: Option<StorePath>,
    /// What the system profile points at.
    pub profile: Option<StorePath>,
    /// Number of the profile's generation.
    pub generation: Option<Generation>,
    /// Toplevel whose `init` the boot loader would start; `None`: could not be told.
    pub boot_default: Option<StorePath>,
    /// Whether `/etc/static` belongs to `running`.
    pub etc_matches: bool,
}

impl Pointers {
    /// Whether running system, profile and boot default are all this closure.
    pub fn all_are(&self, toplevel: &StorePath) -> bool {
        let is = |p: &Option<StorePath>| p.as_ref() == Some(toplevel);
        is(&self.running) && is(&self.profile) && is(&self.boot_default) && self.etc_matches
    }
}

/// How a host is doing, in numbers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Vitals {
    /// MemTotal of /proc/meminfo, in KiB.
    pub memory_total_kib: u64,
    /// MemAvailable of /proc/meminfo, in KiB.
    pub memory_available_kib: u64,
    /// One-minute load average of /proc/loadavg.
    pub load_1: f64,
    /// Processors.
    pub cpus: u32,
    /// File systems: mount point, size and use in KiB.
    pub disks: Vec<Disk>,
    /// Units that are active, of those the configuration has.
    pub units_active: u32,
    /// Units in failed state.
    pub units_failed: Vec<String>,
}

/// One file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Mount point.
    pub mount: String,
    /// Size in KiB.
    pub size_kib: u64,
    /// Available to us, in KiB.
    pub free_kib: u64,
}

impl Disk {
    /// Percent in use, rounded up.
    pub fn used_percent(&self) -> u8 {
        let used = self.size_kib.saturating_sub(self.free_kib);
        (used * 100).div_ceil(self.size_kib.max(1)).min(100) as u8
    }
}

/// What a deploy changes on a host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Changes {
    /// Packages that came, went or moved; `None`: could not be told.
    pub packages: Option<Vec<PackageChange>>,
    /// Bytes that the closure grows by; negative when it shrinks.
    pub size_delta: Option<i64>,
    /// What `dry-activate` said.
    pub units: UnitChanges,
    /// Files of the tree that changed since the tree last deployed; `None`: unknown.
    pub files: Option<Vec<String>>,
    /// Whether kernel, initrd, modules or parameters differ from what is booted.
    pub reboot_required: bool,
}

/// A package in both closures, or in one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackageChange {
    /// Name without version.
    pub name: String,
    /// Versions before; empty: new.
    pub before: Vec<String>,
    /// Versions after; empty: gone.
    pub after: Vec<String>,
}

/// Units by what happens to them, as switch-to-configuration lists them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UnitChanges {
    /// Stopped.
    pub stop: Vec<String>,
    /// Started.
    pub start: Vec<String>,
    /// Restarted.
    pub restart: Vec<String>,
    /// Reloaded.
    pub reload: Vec<String>,
    /// Changed, but left alone.
    pub skip: Vec<String>,
}

impl UnitChanges {
    /// Whether nothing happens to any unit.
    pub fn is_empty(&self) -> bool {
        [&self.stop, &self.start, &self.restart, &self.reload].iter().all(|l| l.is_empty())
    }
}

/// A part of a phase, with its own result and time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The phase it belongs to.
    pub phase: Phase,
    /// Its name in the report: "syntax", "restart prometheus.service", "DNS resolving".
    pub name: String,
    /// How it ended.
    #[serde(flatten)]
    pub result: PhaseResult,
    /// What was seen: "494 files, 0 errors"; may be empty.
    pub note: String,
    /// How long; 0 when it was not measured.
    pub took_ms: u64,
}

/// Output kept because it explains a failure; made harmless and redacted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The unit, script or command.
    pub source: String,
    /// Its state or exit status.
    pub status: String,
    /// Its last lines, at most fifty.
    pub lines: Vec<String>,
}
