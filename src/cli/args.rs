//! Arguments and flags of each command.

use std::path::PathBuf;

use clap::{Args, ValueEnum, value_parser};

use super::Engine;
use crate::fleet::Mode;

/// Which hosts.
#[derive(Debug, Clone, Default, Args)]
pub struct Selection {
    /// Name hosts: names, @TAG, globs such as 'p*', or all
    #[arg(value_name = "HOST", required = true)]
    pub hosts: Vec<String>,
    /// Leave these out, selected in the same ways
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    pub exclude: Vec<String>,
}

/// Flags of the deploy family.
#[derive(Debug, Clone, Default, Args)]
pub struct DeployFlags {
    /// Choose how much is checked
    ///
    /// By default what hosts.toml says, else standard.
    #[arg(long, value_name = "MODE")]
    pub mode: Option<Mode>,
    /// Build on the target, here (local), or on a host
    ///
    /// By default what hosts.toml says, else local.
    #[arg(long, value_name = "target|local|HOST")]
    pub build_on: Option<String>,
    /// Also fetch from the cache of hosts.toml
    #[arg(long)]
    pub cached: bool,
    /// Install for the next boot only; the running system stays
    #[arg(long)]
    pub boot: bool,
    /// Show what would be done and stop before anything changes
    #[arg(long, conflicts_with = "boot")]
    pub dry_run: bool,
    /// Go on although the host's running system and boot default differ
    #[arg(long)]
    pub accept_drift: bool,
    /// Choose what switches the host: our guard (native), nixos-rebuild or nh
    ///
    /// The others set the profile and the boot default before anything is verified, so a power
    /// cut in that time boots what nobody has looked at. The guard takes it back all the same.
    #[arg(long, value_name = "ENGINE", default_value = "native", conflicts_with = "boot")]
    pub engine: Engine,
    /// Reboot into a new kernel, initrd or modules once, and keep it only if it is healthy
    ///
    /// The boot default changes only then: after a hang, a panic or a power cut the host starts
    /// as before. Needs systemd-boot. A change that needs no reboot is deployed as ever.
    #[arg(long, conflicts_with_all = ["boot", "dry_run"])]
    pub trial_boot: bool,
    /// Wait for hosts that do not answer, and deploy each in this run when it is back
    ///
    /// 90s, 30m, 2h: counted from when all other hosts are done. Nothing is asked about them
    /// then: the answer that was given for the others counts, and without others there is none.
    #[arg(long, value_name = "DURATION", value_parser = seconds, conflicts_with = "dry_run")]
    pub wait: Option<u32>,
    /// Put an issue's number into the report
    #[arg(long, value_name = "N")]
    pub issue: Option<u64>,
    /// Put a sentence into the report
    #[arg(long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Exit 20 instead of 0 when there is something to change
    #[arg(long, requires = "dry_run")]
    pub detailed_exitcode: bool,
    /// How many hosts at once.
    #[command(flatten)]
    pub limits: FleetFlags,
}

/// Flags that are about several hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct FleetFlags {
    /// Work on at most N hosts at once
    ///
    /// By default what hosts.toml says, else 8.
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=1000))]
    pub max_parallel: Option<u16>,
    /// Switch at most N hosts at once; one that is lost counts to the end of the run
    ///
    /// By default what hosts.toml says, else as many as are worked on.
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=1000))]
    pub max_unavailable: Option<u16>,
    /// Deploy this one first, alone; unless it ends well no other is begun
    #[arg(long, value_name = "HOST")]
    pub canary: Option<String>,
}

/// `90s`, `30m`, `2h` or `1d` as seconds; a number alone could be anything, and is refused.
fn seconds(text: &str) -> Result<u32, String> {
    let wrong = || "a number and s, m, h or d, up to 7d: 90s, 30m, 2h".to_owned();
    let at = text.len().saturating_sub(1);
    let (number, unit) = text.split_at_checked(at).ok_or_else(wrong)?;
    let each = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let digits = number.bytes().all(|b| b.is_ascii_digit());
    let number: u32 = Some(number).filter(|_| digits).and_then(|n| n.parse().ok()).unwrap_or(0);
    number.checked_mul(each).filter(|s| (1..=7 * 86_400).contains(s)).ok_or_else(wrong)
}

/// `deploy` and its presets.
#[derive(Debug, Clone, Default, Args)]
pub struct DeployArgs {
    /// Which hosts.
    #[command(flatten)]
    pub selection: Selection,
    /// How.
    #[command(flatten)]
    pub flags: DeployFlags,
}

/// `deploy-via`.
#[derive(Debug, Clone, Args)]
pub struct DeployViaArgs {
    /// Build on this host or builder of hosts.toml
    #[arg(value_name = "BUILDER")]
    pub builder: String,
    /// Which hosts.
    #[command(flatten)]
    pub selection: Selection,
    /// How.
    #[command(flatten)]
    pub flags: DeployFlags,
}

/// Every host, but some.
#[derive(Debug, Clone, Default, Args)]
pub struct Everyone {
    /// Leave these out: names, @TAG, globs such as 'p*'
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    pub exclude: Vec<String>,
}

/// `deploy-all`.
#[derive(Debug, Clone, Default, Args)]
pub struct DeployAllArgs {
    /// Work on several hosts at once, as deploy-all-parallel does
    #[arg(long)]
    pub parallel: bool,
    /// Which hosts, and how.
    #[command(flatten)]
    pub every: DeployEveryArgs,
}

/// `deploy-all-parallel` and `quick-all`.
#[derive(Debug, Clone, Default, Args)]
pub struct DeployEveryArgs {
    /// Which hosts.
    #[command(flatten)]
    pub everyone: Everyone,
    /// How.
    #[command(flatten)]
    pub flags: DeployFlags,
}

/// Flags of the build family.
#[derive(Debug, Clone, Default, Args)]
pub struct BuildFlags {
    /// Build on the target, here (local), or on a host
    ///
    /// By default what hosts.toml says, else local.
    #[arg(long, value_name = "target|local|HOST")]
    pub build_on: Option<String>,
    /// Also fetch from the cache of hosts.toml
    #[arg(long)]
    pub cached: bool,
}

/// `test-host` and `build`.
#[derive(Debug, Clone, Args)]
pub struct BuildArgs {
    /// Which hosts.
    #[command(flatten)]
    pub selection: Selection,
    /// How.
    #[command(flatten)]
    pub flags: BuildFlags,
}

/// `test-all`.
#[derive(Debug, Clone, Default, Args)]
pub struct TestAllArgs {
    /// Work on several hosts at once, as test-all-parallel does
    #[arg(long)]
    pub parallel: bool,
    /// Which hosts, and how.
    #[command(flatten)]
    pub every: BuildEveryArgs,
}

/// `test-all-parallel`, `quick-test` and `build-all-parallel`.
#[derive(Debug, Clone, Default, Args)]
pub struct BuildEveryArgs {
    /// Which hosts.
    #[command(flatten)]
    pub everyone: Everyone,
    /// How.
    #[command(flatten)]
    pub flags: BuildFlags,
}

/// `emergency`.
#[derive(Debug, Clone, Args)]
pub struct EmergencyArgs {
    /// Name the host
    #[arg(value_name = "HOST")]
    pub host: String,
    /// Name the host once more, where nobody can be asked to type it
    #[arg(long, value_name = "HOST")]
    pub confirm: Option<String>,
    /// How it is built.
    #[command(flatten)]
    pub flags: BuildFlags,
    /// Put an issue's number into the report
    #[arg(long, value_name = "N")]
    pub issue: Option<u64>,
    /// Put a sentence into the report
    #[arg(long, value_name = "TEXT")]
    pub message: Option<String>,
}

/// `rollback`.
#[derive(Debug, Clone, Args)]
pub struct RollbackArgs {
    /// Name the host
    #[arg(value_name = "HOST")]
    pub host: String,
    /// Go back to this generation
    ///
    /// By default the newest one before the current that is another system.
    #[arg(long, value_name = "GEN", value_parser = generation)]
    pub to: Option<u64>,
    /// Also restore the flake.lock that was deployed with it
    #[arg(long)]
    pub with_lock: bool,
}

/// `diff`.
#[derive(Debug, Clone, Args)]
pub struct DiffArgs {
    /// Which hosts.
    #[command(flatten)]
    pub selection: Selection,
    /// Exit 20 instead of 0 when there is a difference
    #[arg(long)]
    pub detailed_exitcode: bool,
}

/// `status` and `ping-hosts`.
#[derive(Debug, Clone, Default, Args)]
pub struct StatusArgs {
    /// Name hosts: names, @TAG, globs such as 'p*'; by default all
    #[arg(value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Leave these out, selected in the same ways
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    pub exclude: Vec<String>,
}

/// `issues`.
#[derive(Debug, Clone, Default, Args)]
pub struct IssuesArgs {
    /// Name hosts: names, @TAG, globs such as 'p*'; by default all
    #[arg(value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Leave these out, selected in the same ways
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    pub exclude: Vec<String>,
    /// Check packages that a JSON file lists, and no host
    #[arg(long, value_name = "FILE", conflicts_with_all = ["hosts", "exclude"])]
    pub inventory_file: Option<PathBuf>,
    /// Show low ones too
    #[arg(long)]
    pub all: bool,
}

/// `report`, `resume`, `abort` and `retry`.
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// Name the run by the beginning of its name; by default the last one
    ///
    /// `resume` and `abort` first mean one that a host still has open; `retry` means the last
    /// that deployed or built.
    #[arg(value_name = "RUN")]
    pub run: Option<String>,
}

/// `logs`.
#[derive(Debug, Clone, Args)]
pub struct LogsArgs {
    /// Name the host
    #[arg(value_name = "HOST")]
    pub host: String,
    /// Name the run by the beginning of its name; by default the host's last
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
}

/// `trust`.
#[derive(Debug, Clone, Args)]
pub struct TrustArgs {
    /// Name the host
    #[arg(value_name = "HOST")]
    pub host: String,
}

/// `check`.
#[derive(Debug, Clone, Default, Args)]
pub struct CheckArgs {
    /// Check these files and folders; by default the whole flake
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Check what is staged, as it is staged, against the last commit
    #[arg(long, conflicts_with = "since")]
    pub staged: bool,
    /// Check what changed since the branch parted from a revision
    #[arg(long, value_name = "REV")]
    pub since: Option<String>,
    /// Show older findings and notes too; older ones never block
    #[arg(long)]
    pub all: bool,
    /// Print one line per finding
    #[arg(long)]
    pub compact: bool,
    /// Let Nix itself confirm the verdict on syntax
    #[arg(long, conflicts_with = "staged")]
    pub nix: bool,
    /// Put right what can be without changing what a file means
    #[arg(long, conflicts_with = "staged")]
    pub fix: bool,
    /// Write everything that is found to the baseline; it will not block again
    #[arg(long, conflicts_with_all = ["staged", "since", "paths"])]
    pub write_baseline: bool,
    /// Let warnings block too
    #[arg(long, value_name = "SEVERITY")]
    pub deny: Option<Denied>,
    /// Explain a rule, with examples
    #[arg(long, value_name = "RULE", exclusive = true)]
    pub explain: Option<String>,
    /// List the rules
    #[arg(long)]
    pub list_rules: bool,
}

/// What `--deny` lets block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Denied {
    /// Warnings
    Warn,
}

/// `check-syntax`.
#[derive(Debug, Clone, Default, Args)]
pub struct CheckSyntaxArgs {
    /// Check these files and folders; by default the whole flake
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// `watch`.
#[derive(Debug, Clone, Default, Args)]
pub struct WatchArgs {
    /// Build these after each check, as test-host does
    #[arg(value_name = "HOST", conflicts_with = "test")]
    pub hosts: Vec<String>,
    /// Build every host after each check, as quick-test does
    #[arg(long)]
    pub test: bool,
    /// End after the first save, with the code of what it led to
    #[arg(long)]
    pub once: bool,
}

impl WatchArgs {
    /// Whether anything is built.
    pub fn builds(&self) -> bool {
        self.test || !self.hosts.is_empty()
    }
}

/// `hooks`.
#[derive(Debug, Clone, Args)]
pub struct HooksArgs {
    /// What to do
    #[arg(value_name = "ACTION")]
    pub action: HooksAction,
}

/// What `hooks` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HooksAction {
    /// Install the hook; one that is there already is kept and run first
    Install,
}

/// `history`.
#[derive(Debug, Clone, Default, Args)]
pub struct HistoryArgs {
    /// Show the runs that had one of these hosts; by default all
    #[arg(value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Show at most this many runs
    #[arg(long, value_name = "N", default_value = "20", value_parser = at_least_one)]
    pub limit: Option<std::num::NonZeroUsize>,
    /// Show runs in which a host ended so: a word of the recap, or failed
    #[arg(long, value_name = "WORD", value_parser = super::observe::outcomes())]
    pub outcome: Option<String>,
    /// Show runs that began since: 7d, 36h, 2026-11-01, '2026-11-01 14:00'
    #[arg(long, value_name = "WHEN", value_parser = super::observe::since)]
    pub since: Option<super::observe::Since>,
    /// Show how long deploys took, by host and phase, and what was slower than usual
    #[arg(long, conflicts_with_all = ["limit", "outcome"])]
    pub trend: bool,
}

/// `init`.
#[derive(Debug, Clone, Default, Args)]
pub struct InitArgs {
    /// Replace a hosts.toml that is there; it is kept beside the new one
    #[arg(long)]
    pub force: bool,
    /// Say of each recipe of a justfile which command takes it over; write nothing
    ///
    /// Without FILE it is the justfile here or in a folder above. No recipe is run.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = ".",
        conflicts_with = "force")]
    pub from_justfile: Option<PathBuf>,
}

/// `completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// Name the shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// `man`.
#[derive(Debug, Clone, Default, Args)]
pub struct ManArgs {
    /// Write nixdeploy.1 and a page of every command into this folder, made where it is not
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

/// `help`.
#[derive(Debug, Clone, Default, Args)]
pub struct HelpArgs {
    /// Name a command or a page; without it: all commands
    #[arg(value_name = "TOPIC")]
    pub topic: Option<String>,
}

/// How many are shown at most.
fn at_least_one(word: &str) -> Result<std::num::NonZeroUsize, String> {
    word.parse().map_err(|_| "wants a number from 1 on".to_owned())
}

/// The number of a generation.
fn generation(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| "wants its number, which `nixdeploy status` tells".to_owned())
}
