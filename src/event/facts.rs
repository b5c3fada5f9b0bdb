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
    /// Services that are active; see [`Units`].
    pub units_active: u32,
    /// Services that are neither active nor failed.
    #[serde(default)]
    pub units_pending: u32,
    /// Units in failed state.
    pub units_failed: Vec<String>,
}

impl Vitals {
    /// Active ones, and how many there are in all.
    pub fn units(&self) -> (usize, usize) {
        let (active, pending) = (self.units_active as usize, self.units_pending as usize);
        (active, active + pending + self.units_failed.len())
    }

    /// Takes over what was counted.
    pub fn count(&mut self, units: &Units) {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.units_active = number(units.active);
        self.units_pending = number(units.pending.len());
        self.units_failed.clone_from(&units.failed);
    }
}

/// Units as they are counted wherever they are: every service that is not inactive, and whatever
/// else has failed. What is of our own making, and what comes and goes with the people who are
/// logged in, is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Units {
    /// Services that are active.
    pub active: usize,
    /// Services that are neither active nor failed, by name.
    pub pending: Vec<String>,
    /// Failed, or waiting to be started once more after a failure, by name.
    pub failed: Vec<String>,
}

impl Units {
    /// Of units that are not inactive: name, ActiveState and SubState of each.
    pub fn of<'a>(units: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>) -> Self {
        const OTHERS: [&str; 5] =
            ["nixdeploy", "user@", "user-runtime-dir@", "session-", "run-user-"];
        let mut counted = Self::default();
        for (name, active, sub) in units {
            if OTHERS.iter().any(|other| name.starts_with(other)) {
                continue;
            }
            match (active, sub) {
                ("failed", _) | (_, "auto-restart") => counted.failed.push(name.to_owned()),
                ("inactive", _) => {}
                _ if !name.ends_with(".service") => {}
                ("active" | "reloading" | "refreshing", _) => counted.active += 1,
                _ => counted.pending.push(name.to_owned()),
            }
        }
        counted
    }
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
    /// Which of them: "kernel", "initrd", "kernel modules", "kernel parameters".
    #[serde(default)]
    pub reboot_for: Vec<String>,
    /// Unit files that came, went or changed against what runs; `None`: not looked at, or could
    /// not be told.
    #[serde(default)]
    pub unit_files: Option<Vec<UnitFileChange>>,
    /// The generation whose system a rollback goes back to.
    #[serde(default)]
    pub back_to: Option<BackTo>,
    /// The generation that is this very closure already, staged for the next boot.
    #[serde(default)]
    pub staged: Option<Generation>,
    /// What is worth a warning before anybody answers; the findings of the run say it as well.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// A generation that is on the host already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackTo {
    /// Its number.
    pub generation: Generation,
    /// When it was made, milliseconds since the epoch by the host's clock.
    pub made_ms: i64,
    /// The name of its closure: "nixos-system-p620-25.11".
    pub name: String,
}

/// A unit file in both systems with another text, or in one of them only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UnitFileChange {
    /// Its name below /etc/systemd/system: "sshd.service", "sshd.service.d/overrides.conf".
    pub name: String,
    /// What became of it.
    pub kind: FileChange,
    /// A unified difference, line by line; empty unless it changed and both could be read.
    pub diff: Vec<String>,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileChange {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Its text is another.
    Changed,
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

    /// Adds units that are not named beforehand: switch-to-configuration starts the targets that
    /// are active, and with them whatever they want now and did not want before (nixpkgs,
    /// switch-to-configuration-ng). A unit that is active already is not started.
    pub fn begin(&mut self, wishes: &[Wish], active: impl Fn(&str) -> bool) {
        loop {
            let begins = |name: &str| self.start.iter().any(|unit| unit == name);
            let next = wishes.iter().find(|wish| {
                let wanted = active(&wish.by) || begins(&wish.by);
                let named = [&self.restart, &self.reload, &self.skip];
                let named = named.iter().any(|list| list.contains(&wish.unit));
                wanted && !named && !active(&wish.unit) && !begins(&wish.unit)
            });
            match next {
                Some(wish) => self.start.push(wish.unit.clone()),
                None => return,
            }
        }
    }

    /// Units by what becomes of them: one that is stopped with the old files and started with the
    /// new ones (`stopIfChanged`, the default) is restarted, whatever lists name it.
    pub fn kinds(&self) -> [(UnitFate, Vec<&str>); 5] {
        let both = |unit: &str| {
            let is = |other: &String| other == unit;
            self.stop.iter().any(is) && self.start.iter().any(is)
        };
        let mut restart: Vec<&str> =
            self.stop.iter().map(String::as_str).filter(|u| both(u)).collect();
        restart.extend(others(&self.restart, both));
        [
            (UnitFate::Stop, others(&self.stop, both)),
            (UnitFate::Restart, restart),
            (UnitFate::Reload, others(&self.reload, both)),
            (UnitFate::Start, others(&self.start, both)),
            (UnitFate::Skip, others(&self.skip, both)),
        ]
    }
}

fn others(list: &[String], but: impl Fn(&str) -> bool) -> Vec<&str> {
    list.iter().map(String::as_str).filter(|unit| !but(unit)).collect()
}

/// A unit that another wants in the new system, and did not in the old one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Who wants it: "multi-user.target".
    pub by: String,
    /// The unit.
    pub unit: String,
}

/// What becomes of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitFate {
    /// Stopped for good.
    Stop,
    /// Stopped and started.
    Restart,
    /// Told to read its configuration anew.
    Reload,
    /// Started.
    Start,
    /// Changed, but left alone.
    Skip,
}

impl UnitFate {
    /// The verb, also of steps: "restart prometheus.service".
    pub fn verb(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Reload => "reload",
            Self::Start => "start",
            Self::Skip => "leave",
        }
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
    /// It went as wanted, but something is worth a look.
    #[serde(default)]
    pub warned: bool,
}

impl Step {
    /// One that went as wanted.
    pub fn ok(phase: Phase, name: impl Into<String>, note: impl Into<String>) -> Self {
        let (name, note) = (name.into(), note.into());
        Self { phase, name, result: PhaseResult::Ok, note, took_ms: 0, warned: false }
    }

    /// One that did not.
    pub fn failed(phase: Phase, name: impl Into<String>, because: impl Into<String>) -> Self {
        let result = PhaseResult::Failed { because: because.into() };
        Self { result, ..Self::ok(phase, name, "") }
    }

    /// One that was left out.
    pub fn skipped(phase: Phase, name: impl Into<String>, because: impl Into<String>) -> Self {
        let result = PhaseResult::Skipped { because: because.into() };
        Self { result, ..Self::ok(phase, name, "") }
    }

    /// With a warning, if there is one.
    #[must_use]
    pub fn warned(self, warned: bool) -> Self {
        Self { warned, ..self }
    }

    /// With its time.
    #[must_use]
    pub fn took(self, took_ms: u64) -> Self {
        Self { took_ms, ..self }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_counted_in_one_way() {
        let units = [
            ("a.service", "active", "running"),
            ("once.service", "active", "exited"),
            ("b.service", "reloading", "reload"),
            ("c.service", "activating", "start"),
            ("loop.service", "activating", "auto-restart"),
            ("bad.mount", "failed", "failed"),
            ("fine.mount", "active", "mounted"),
            ("off.service", "inactive", "dead"),
            ("user@0.service", "active", "running"),
            ("nixdeploy-guard.service", "active", "running"),
        ];
        let counted = Units::of(units);
        assert_eq!(
            (counted.active, counted.pending.as_slice()),
            (3, &["c.service".to_owned()][..])
        );
        assert_eq!(counted.failed, ["loop.service", "bad.mount"]);
        let mut vitals = Vitals::default();
        vitals.count(&counted);
        assert_eq!(vitals.units(), (3, 6));
    }

    #[test]
    fn what_an_active_target_wants_anew_is_started() {
        let wish = |by: &str, unit: &str| Wish { by: by.to_owned(), unit: unit.to_owned() };
        let wishes = [
            wish("new.target", "deeper.service"),
            wish("multi-user.target", "new.target"),
            wish("multi-user.target", "web.service"),
            wish("multi-user.target", "runs.service"),
            wish("multi-user.target", "again.service"),
            wish("sleep.target", "lock.service"),
        ];
        let mut units =
            UnitChanges { restart: vec!["again.service".to_owned()], ..UnitChanges::default() };
        let active = |name: &str| matches!(name, "multi-user.target" | "runs.service");
        units.begin(&wishes, active);
        assert_eq!(units.start, ["new.target", "deeper.service", "web.service"]);
        units.begin(&wishes, active);
        assert_eq!(units.start.len(), 3, "each once");
    }

    #[test]
    fn changes_of_an_older_log_still_read() {
        let old = r#"{"packages":null,"size_delta":3,"files":null,"reboot_required":true,
            "units":{"stop":["a.service"],"start":["a.service"],"restart":["b.service"],
            "reload":[],"skip":[]}}"#;
        let changes: Changes = serde_json::from_str(old).expect("an older log");
        assert_eq!((changes.unit_files, changes.reboot_for.len()), (None, 0));
        let kinds = changes.units.kinds();
        let told: Vec<(&str, usize)> = kinds.iter().map(|(f, u)| (f.verb(), u.len())).collect();
        assert_eq!(
            told,
            [("stop", 0), ("restart", 2), ("reload", 0), ("start", 0), ("leave", 0)],
            "stopped and started is restarted"
        );
    }
}
