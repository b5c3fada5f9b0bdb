//! Who the hosts are: names, addresses, store paths and what hosts.toml says of each host.
//!
//! Everything here is parsed once and then trusted, so each newtype refuses whatever could be
//! read as an option, a shell word or an installable by the programs it is later handed to.
//! This module knows no phase, no process and no file but the text it is given.

pub mod hosts_toml;
mod jump;
mod meaning;
mod mistake;
pub mod names;
mod place;
mod probe;
mod raw;
pub mod schema;
pub mod select;
mod structure;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use names::{Address, AttrName, Generation, HostName, NameError, StorePath, UserName};

/// Everything that hosts.toml says, defaults already applied to each host.
#[derive(Debug, Clone, PartialEq)]
pub struct Fleet {
    /// The file it was read from; relative paths in it count from this file's folder.
    pub source: PathBuf,
    /// Flake reference as written (`~` not yet expanded); `None`: the folder of `source`.
    pub flake: Option<String>,
    /// Hosts in the order of the file.
    pub hosts: Vec<Host>,
    /// Limits that belong to a run of several hosts.
    pub limits: FleetLimits,
    /// The fleet's own binary cache.
    pub cache: Option<Cache>,
    /// Remote builders by name; they become Nix's `builders` option.
    pub builders: BTreeMap<String, Builder>,
    /// What it says of checks.
    pub checks: Checks,
    /// What it says of known issues.
    pub issues: Issues,
    /// What it says of the end of a run.
    pub notify: Notify,
    /// Where metrics go.
    pub metrics: Metrics,
    /// How long runs are kept.
    pub history: History,
}

/// `[history]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct History {
    /// So many runs, at most; `None`: as many as are usual.
    pub runs: Option<u32>,
    /// For so many days, at most; `None`: however old they are.
    pub days: Option<u32>,
}

/// `[metrics]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    /// A folder, or a file that ends in `.prom`; as written, `~` not yet expanded.
    pub textfile: Option<String>,
    /// Address of a Pushgateway.
    pub push: Option<String>,
}

/// `[notify]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notify {
    /// A program and its arguments; empty: none.
    pub command: Vec<String>,
    /// Whether the terminal's bell rings.
    pub bell: bool,
    /// Which outcomes are told.
    pub on: NotifyOn,
}

/// A value of `notify.on`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NotifyOn {
    /// Every one.
    #[default]
    Always,
    /// Those that are not as wanted.
    Failure,
}

/// `[check]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checks {
    /// The file of known findings, from the top of the repository.
    pub baseline: Option<String>,
    /// How bad findings of a rule are.
    pub rules: BTreeMap<String, CheckLevel>,
    /// The same for paths that fit a glob.
    pub paths: BTreeMap<String, BTreeMap<String, CheckLevel>>,
}

/// `[issues]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Issues {
    /// Where they are asked for; `None`: GitHub.
    pub api: Option<String>,
    /// Issues that are lived with.
    pub ignore: Vec<IgnoredIssue>,
    /// Severities by number (`"562919"`), or the highest that a package's issues have.
    pub severity: BTreeMap<String, IssueSeverity>,
}

/// One of `[[issues.ignore]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoredIssue {
    /// Its number.
    pub id: u64,
    /// The end of the day until which it is ignored (UTC), milliseconds since the epoch.
    pub until_ms: i64,
    /// Why.
    pub reason: String,
}

/// A value of `[issues.severity]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IssueSeverity {
    /// Told when everything is.
    Low,
    /// Worth a question.
    Medium,
    /// Worth a question.
    High,
    /// Holds an update.
    Critical,
}

/// A value of `[check.rules]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckLevel {
    /// New findings block.
    Block,
    /// They are told.
    Warn,
    /// They are told when everything is.
    Info,
    /// They are not told.
    Off,
}

/// `[defaults]` keys that have no meaning for a single host.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetLimits {
    /// Hosts worked on at once.
    pub max_parallel: usize,
    /// Hosts that may be down at once; `None`: as many as `max_parallel`.
    pub max_unavailable: Option<usize>,
    /// The host that goes first, alone.
    pub canary: Option<HostName>,
    /// Failed hosts after which no further host is started; `None`: no limit.
    pub max_failures: Option<usize>,
    /// `--keep-going` for Nix; `None`: on for several hosts, off for one.
    pub keep_going: Option<bool>,
}

/// One host, every default applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    /// Its name in hosts.toml and on the screen.
    pub name: HostName,
    /// Where to reach it, tried in order; never empty.
    pub addresses: Vec<Address>,
    /// Its attribute under `nixosConfigurations`.
    pub attr: AttrName,
    /// For `@tag` selections.
    pub tags: Vec<String>,
    /// Waves run in ascending order.
    pub wave: u32,
    /// `network` hosts go last, alone.
    pub role: Role,
    /// Units that must be active after a deploy, whatever they were before.
    pub critical_services: Vec<String>,
    /// Whether Tailscale must be up afterwards; `None`: if it was up before.
    pub tailscale: Option<bool>,
    /// When to warn of memory and disk.
    pub limits: Limits,
    /// Health checks, in order.
    pub health: Vec<Probe>,
    /// The login user; `None`: what ssh's own configuration says.
    pub user: Option<UserName>,
    /// Whether commands on the target go through sudo.
    pub sudo: Sudo,
    /// Where the closure is built.
    pub build_on: BuildOn,
    /// Checks done when the command line says nothing.
    pub mode: Mode,
    /// Seconds between the end of the activation and the verdict.
    pub soak_s: u32,
    /// Seconds that switch-to-configuration may take.
    pub activate_timeout_s: u32,
    /// Seconds that verification may take, soak apart.
    pub verify_timeout_s: u32,
    /// Seconds that setting the profile and installing the boot loader may take.
    pub commit_timeout_s: u32,
    /// What happens when going back fails too; see [`Host::when_stranded`].
    pub on_revert_failure: Option<OnRevertFailure>,
    /// What happens when a switch inhibitor differs.
    pub on_inhibitor: OnInhibitor,
    /// Whether a reboot that is wanted may be offered.
    pub reboot: Reboot,
    /// What a host that cannot be reached means for the run.
    pub optional: Optional,
    /// `--accept-flake-config` for Nix.
    pub accept_flake_config: bool,
    /// Whose ssh master is used.
    pub ssh_control: SshControl,
    /// Hosts on the way, the nearest to us first; empty: it is reached directly.
    pub jumps: Vec<Hop>,
    /// Line of `[hosts.NAME]` in hosts.toml, from 1.
    pub line: usize,
}

impl Host {
    /// What happens when going back fails too: as hosts.toml says, else a reboot, but a host with
    /// somebody at a graphical seat is left alone.
    pub fn when_stranded(&self, graphical: bool) -> OnRevertFailure {
        let usual = if graphical { OnRevertFailure::Leave } else { OnRevertFailure::Reboot };
        self.on_revert_failure.unwrap_or(usual)
    }
}

/// A host on the way to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// Login user there; `None`: what ssh's own configuration says.
    pub user: Option<UserName>,
    /// Where it is, as the hop before it sees it.
    pub address: Address,
}

impl std::fmt::Display for Hop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.user {
            Some(user) => write!(f, "{user}@{}", self.address),
            None => write!(f, "{}", self.address),
        }
    }
}

/// What other hosts depend on this one for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Nothing special.
    #[default]
    Plain,
    /// Others reach the network through it.
    Network,
}

/// Thresholds for warnings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Percent of memory in use above which to warn.
    pub memory_percent: u8,
    /// Percent of a file system in use above which to warn.
    pub disk_percent: u8,
}

/// `sudo = "auto" | "always" | "never"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sudo {
    /// Through sudo unless the login user is root.
    #[default]
    Auto,
    /// Always through sudo.
    Always,
    /// Never: the login user is root by other means.
    Never,
}

/// Where a closure is built.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildOn {
    /// Here, and then copied.
    #[default]
    Local,
    /// On the host itself, from the derivation.
    Target,
    /// On another host, by its name in hosts.toml: a host or a builder.
    Host(HostName),
}

/// How much is checked.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Everything.
    #[default]
    Standard,
    /// Syntax, units and contact.
    Fast,
    /// As fast where no unit, kernel, network or user changes; else as standard.
    Auto,
}

/// `on_revert_failure`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnRevertFailure {
    /// Reboot into the untouched boot default.
    Reboot,
    /// Leave it as it is for a person.
    Leave,
}

impl OnRevertFailure {
    /// Its word in hosts.toml, and for the guard.
    pub fn word(self) -> &'static str {
        match self {
            Self::Reboot => "reboot",
            Self::Leave => "leave",
        }
    }
}

/// `on_inhibitor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnInhibitor {
    /// Refuse, nothing changed.
    #[default]
    Refuse,
    /// Install for the next boot and say so.
    Stage,
}

/// `reboot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reboot {
    /// Only say that one is wanted.
    #[default]
    Never,
    /// Offer it.
    Ask,
}

/// `optional`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Optional {
    /// A host that does not answer fails the run.
    #[default]
    Fail,
    /// It is left out.
    Skip,
    /// It is left out and remembered for `retry`.
    Defer,
}

/// `ssh.control`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SshControl {
    /// A master of our own that outlives the run by ten minutes.
    #[default]
    Own,
    /// Whatever ssh's configuration says.
    User,
    /// No multiplexing.
    None,
}

/// `[cache]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// Where it is.
    pub url: String,
    /// Its signing key, `NAME:BASE64`.
    pub public_key: Option<String>,
}

/// `[builders.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Builder {
    /// ssh address of the builder.
    pub address: Option<Address>,
    /// Login user there.
    pub user: Option<UserName>,
    /// Nix systems, for example `x86_64-linux`.
    pub systems: Vec<String>,
    /// Parallel jobs.
    pub jobs: u32,
    /// Nix system features.
    pub features: Vec<String>,
}

/// One health check of `[[hosts.NAME.health]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What it looks at.
    pub check: Check,
    /// Whether its failure condemns a deploy; else it warns.
    pub required: bool,
    /// Seconds it may take.
    pub timeout_s: u32,
    /// Where it runs; only `http` and `tcp` can run on the deployer.
    pub from: From,
    /// Line of the check in hosts.toml, from 1.
    pub line: usize,
}

/// Where a probe runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// On the host that was deployed.
    Target,
    /// Here.
    Deployer,
}

/// What a probe looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// A script of the flake, run on the target as root in a transient unit.
    Script(PathBuf),
    /// A unit that must be active.
    Unit(String),
    /// A shell command on the target that must exit 0.
    Command(String),
    /// A pattern that must not appear in the journal since the activation.
    Journal(String),
    /// A name that must resolve on the target.
    Dns(String),
    /// A URL that must answer 2xx or 3xx.
    Http(String),
    /// `HOST:PORT` that must accept a connection.
    Tcp(String),
}

impl Fleet {
    /// A host by its name.
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.name.as_str() == name)
    }
}

impl Host {
    /// Whether another host is reached through this one.
    pub fn leads_to(&self, other: &Self) -> bool {
        self.name != other.name && other.jumps.iter().any(|h| self.addresses.contains(&h.address))
    }

    /// The name under which ssh and nix reach it: its first address.
    pub fn address(&self) -> &Address {
        &self.addresses[0]
    }
}
