//! What was read of a host before anything was decided: data and the questions asked of it.
//!
//! Texts in here come from the host and are harmless for a terminal, but for those that are only
//! compared (kernel parameters, inhibitors), which say so. Nothing here decides or runs anything.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::event::facts::{Disk, Units};
use crate::event::{Pointers, Vitals};
use crate::fleet::{Generation, StorePath};

/// The first part: all that "nothing to do" needs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Early {
    /// Running, booted, profile, boot default.
    pub pointers: Pointers,
    /// What the kernel calls the host.
    pub hostname: String,
    /// /etc/machine-id; empty when there is none.
    pub machine_id: String,
    /// Changes with every boot.
    pub boot_id: String,
    /// The user number the script ran under; `None`: it did not say.
    pub uid: Option<u32>,
    /// What `/run/nixdeploy` looks like.
    pub guard: Guard,
    /// Whether the running system is a NixOS one that can switch.
    pub nixos: bool,
}

/// What `/run/nixdeploy` says of our guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// No deploy since the boot.
    #[default]
    None,
    /// A folder without a transaction.
    Idle,
    /// A transaction without an outcome: locked, or left behind.
    Busy,
    /// The last transaction has its outcome.
    Done,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Facts {
    /// The first part.
    pub early: Early,
    /// Whether the answer came to its end; else what follows may be short.
    pub complete: bool,
    /// Seconds since boot, suspend included.
    pub uptime_s: u64,
    /// The host's clock, seconds since the epoch.
    pub now_s: u64,
    /// `systemctl is-system-running`.
    pub state: String,
    /// Whether systemctl answered.
    pub systemd: bool,
    /// Units that are not inactive, by name.
    pub units: BTreeMap<String, Unit>,
    /// Memory and load.
    pub load: Load,
    /// File systems of the store, the root and the boot loader.
    pub space: Vec<Space>,
    /// The boot loader and its files.
    pub boot: Boot,
    /// What runs, where a reboot would make a difference.
    pub running: System,
    /// What was booted.
    pub booted: System,
    /// Generations of the profile, oldest first.
    pub generations: Vec<Kept>,
    /// When the system that runs was switched to or booted, seconds since the epoch by the host's
    /// clock; `None`: not told.
    pub switched_s: Option<u64>,
    /// The specialisation of the profile that runs.
    pub specialisation: Option<String>,
    /// Transactions of this boot.
    pub transactions: Vec<Transaction>,
    /// Our GC roots: name and target.
    pub roots: Vec<(String, String)>,
    /// Lists that the next switch-to-configuration would replay.
    pub lists: Vec<String>,
    /// Who holds switch-to-configuration's lock.
    pub switching: Option<Switching>,
    /// Addresses, routes, name servers, Tailscale.
    pub network: Network,
    /// Whether somebody sits at a graphical seat.
    pub graphical: bool,
    /// Login user, groups, trust.
    pub login: Login,
    /// Tools that later steps need and the running system lacks.
    pub missing: Vec<String>,
    /// Where the journal stood.
    pub cursor: Option<String>,
}

/// A unit that is not inactive.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Unit {
    /// `loaded`, `not-found`, `masked`.
    pub load: String,
    /// `active`, `failed`, `activating`.
    pub active: String,
    /// `running`, `exited`, `listening`, `auto-restart`.
    pub sub: String,
    /// Restarts by systemd itself; services only.
    pub restarts: u32,
    /// `success`, `exit-code`; services only.
    pub result: String,
    /// Where it comes from; services only.
    pub fragment: String,
    /// Whether a target wants it (`UnitFileState` is `enabled`); services only.
    pub enabled: bool,
}

/// Figures of the kernel.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Load {
    /// One-minute average.
    pub one: f64,
    /// Processors.
    pub cpus: u32,
    /// KiB.
    pub memory_total_kib: u64,
    /// KiB.
    pub memory_available_kib: u64,
}

/// A file system, found through a place on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Space {
    /// `/nix/store`, `/` or where the boot loader's files are.
    pub place: String,
    /// `ext4`, `vfat`; `-` when not known.
    pub kind: String,
    /// Size and what is free.
    pub disk: Disk,
}

/// Which boot loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loader {
    /// Not told.
    #[default]
    Unknown,
    /// A machine without one.
    None,
    /// systemd-boot with entries.
    SystemdBoot,
    /// Unified images of Lanzaboote.
    Lanzaboote,
    /// GRUB.
    Grub,
    /// extlinux or U-Boot.
    Extlinux,
}

/// The boot loader's folder.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Boot {
    /// Which loader.
    pub loader: Loader,
    /// Where its files are.
    pub mount: Option<String>,
    /// Its entries.
    pub entries: Vec<Entry>,
    /// Kernels, initrds and images with their sizes.
    pub files: Vec<BootFile>,
    /// Generations that the installed builder keeps: 0 is all, `None` is not known.
    pub limit: Option<u32>,
}

/// One entry of the boot loader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its file.
    pub id: String,
    /// The system it starts; `None`: something else.
    pub toplevel: Option<StorePath>,
    /// Kernel and initrds, as paths below the loader's folder.
    pub files: Vec<String>,
}

/// A file in the boot loader's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BootFile {
    /// Whole path.
    pub path: String,
    /// Bytes.
    pub size: u64,
}

/// The parts of a system that only a reboot changes. Compared, never shown raw.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct System {
    /// Where the kernel really is.
    pub kernel: String,
    /// Where the initrd really is.
    pub initrd: String,
    /// Where the modules really are; empty when they lie in the system itself.
    pub modules: String,
    /// Kernel parameters, raw.
    pub params: String,
    /// init-interface-version.
    pub init: String,
    /// switch-inhibitors, raw with tabs for line ends; `None`: it has no such file.
    pub inhibitors: Option<String>,
}

/// A generation of the system profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Its number.
    pub generation: Generation,
    /// When it was made, seconds since the epoch.
    pub made_s: u64,
    /// Its system.
    pub toplevel: StorePath,
}

/// A folder below `/run/nixdeploy`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Transaction {
    /// Its name.
    pub name: String,
    /// Whether `current` names it.
    pub current: bool,
    /// Whose it is.
    pub owner: String,
    /// How far it is.
    pub phase: String,
    /// Deadline in seconds of the host's uptime.
    pub deadline_s: Option<u64>,
    /// `commit`, `revert`, or empty.
    pub decision: String,
    /// Its last word, or empty.
    pub outcome: String,
    /// When it began, seconds since the epoch by the host's clock.
    pub since_s: u64,
    /// When it had its last word, by the same clock.
    pub ended_s: Option<u64>,
}

impl Transaction {
    /// The run it belongs to.
    pub fn run(&self) -> &str {
        run_of(&self.name)
    }
}

/// A run's name is the beginning of its transactions' names (`pipeline::offer::transaction`).
pub fn run_of(transaction: &str) -> &str {
    transaction.get(..transaction.len().saturating_sub(6)).unwrap_or(transaction)
}

/// Who holds switch-to-configuration's lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Switching {
    /// Process.
    pub pid: u32,
    /// Its command line.
    pub command: String,
}

/// How the host is connected.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Network {
    /// `INTERFACE ADDRESS/LENGTH`.
    pub addresses: Vec<String>,
    /// Default routes.
    pub routes: Vec<String>,
    /// Of /etc/resolv.conf.
    pub nameservers: Vec<String>,
    /// Tailscale's BackendState; `timeout` or `silent` when it says nothing; `None`: not installed.
    pub tailscale: Option<String>,
}

/// Who we are on the host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Login {
    /// The user who logged in.
    pub user: String,
    /// His groups; empty for root.
    pub groups: Vec<String>,
    /// `trusted-users` of nix.conf.
    pub trusted_users: Vec<String>,
}

impl Login {
    /// Whether Nix's daemon lets this user do what root may.
    pub fn trusted(&self) -> bool {
        self.user == "root"
            || self.trusted_users.iter().any(|t| match t.strip_prefix('@') {
                Some(group) => self.groups.iter().any(|g| g == group),
                None => t == "*" || *t == self.user,
            })
    }
}

impl Facts {
    /// The file system that a place is on.
    pub fn space(&self, place: &str) -> Option<&Disk> {
        self.space.iter().find(|s| s.place == place).map(|s| &s.disk)
    }

    /// Its units, counted.
    pub fn counted(&self) -> Units {
        let units = self.units.iter();
        Units::of(units.map(|(name, unit)| (name.as_str(), &*unit.active, &*unit.sub)))
    }

    /// What of the running system only a reboot brings, as it is not what was booted: of kernel,
    /// initrd, their modules and parameters. `None`: not known.
    pub fn reboot_pending(&self) -> Option<Vec<&'static str>> {
        let Pointers { running, booted, .. } = &self.early.pointers;
        let (running, booted) = (running.as_ref()?, booted.as_ref()?);
        if running == booted {
            return Some(Vec::new());
        }
        Some(super::admission::parts_apart(&self.booted, &self.running))
    }

    /// Services of the configuration that were active and that a target wants, and that are not
    /// active in what was read later.
    pub fn not_back(&self, later: &Self) -> Vec<String> {
        let ours = |unit: &Unit| unit.enabled && unit.fragment.starts_with("/etc/systemd/");
        let wanted = self.units.iter().filter(|(_, u)| u.active == "active" && ours(u));
        let back = |name: &String| later.units.get(name).is_some_and(|u| u.active == "active");
        wanted.map(|(name, _)| name.clone()).filter(|name| !back(name)).collect()
    }

    /// Whether the guard's unit lives.
    pub fn guarded(&self) -> bool {
        let alive =
            |u: &Unit| matches!(u.active.as_str(), "active" | "activating" | "deactivating");
        self.units.get("nixdeploy-guard.service").is_some_and(alive)
    }

    /// The transaction that holds the host, or was left behind by one that did.
    pub fn unfinished(&self) -> Option<&Transaction> {
        self.transactions.iter().find(|t| t.current && t.outcome.is_empty())
    }

    /// Memory, load, disks and units, for the report.
    pub fn vitals(&self) -> Vitals {
        let mut disks: Vec<Disk> = Vec::new();
        for space in &self.space {
            if !disks.iter().any(|d| d.mount == space.disk.mount) {
                disks.push(space.disk.clone());
            }
        }
        let mut vitals = Vitals {
            memory_total_kib: self.load.memory_total_kib,
            memory_available_kib: self.load.memory_available_kib,
            load_1: self.load.one,
            cpus: self.load.cpus,
            disks,
            ..Vitals::default()
        };
        vitals.count(&self.counted());
        vitals
    }
}
