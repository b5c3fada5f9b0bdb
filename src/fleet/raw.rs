//! hosts.toml as it is written: the one list of its keys, types and ranges.
//!
//! `nixdeploy schema` is made from these structs and the reader checks files against that same
//! schema, so an editor and the program can never disagree. Every key is optional here; what a
//! missing one means is said by `default` and decided in [`super::meaning`]. The doc comments
//! are shown by editors.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    CheckLevel, IssueSeverity, Mode, NotifyOn, OnInhibitor, OnRevertFailure, Optional, Reboot,
    Role, SshControl, Sudo,
};

/// The machines of a fleet and how each is deployed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct RawFile {
    /// Values for every host that does not say otherwise, and limits of a whole run.
    pub(super) defaults: RawDefaults,
    /// One table per host: `[hosts.NAME]`.
    pub(super) hosts: BTreeMap<String, RawHost>,
    /// The fleet's own binary cache, used with `--cached`.
    pub(super) cache: Option<RawCache>,
    /// Remote builders, one table each: `[builders.NAME]`.
    pub(super) builders: BTreeMap<String, RawBuilder>,
    /// What `nixdeploy check` finds fault with, and how bad that is.
    pub(super) check: RawCheck,
    /// Known issues of nixpkgs: where they are asked for, and which are lived with.
    pub(super) issues: RawIssues,
    /// What happens when a run has ended: a command, the terminal's bell.
    pub(super) notify: RawNotify,
    /// Where metrics for Prometheus are written after each run.
    pub(super) metrics: RawMetrics,
    /// How long runs are kept.
    pub(super) history: RawHistory,
}

/// `[history]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct RawHistory {
    /// Runs that are kept, at most.
    #[schemars(range(min = 1, max = 100000), extend("default" = 200))]
    pub(super) runs: Option<u32>,
    /// Days for which they are kept, at most; by default however old they are.
    #[schemars(range(min = 1, max = 36500))]
    pub(super) days: Option<u32>,
}

/// `[metrics]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct RawMetrics {
    /// The folder of node_exporter's textfile collector, for a file `nixdeploy.prom`; or a file
    /// that ends in `.prom`.
    pub(super) textfile: Option<String>,
    /// The address of a Pushgateway, for example `http://dex5550:9091`.
    pub(super) push: Option<String>,
}

/// `[notify]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct RawNotify {
    /// A program and its arguments, started by no shell; what happened is in `NIXDEPLOY_EXIT`,
    /// `NIXDEPLOY_RESULT` and others, and as JSON on its standard input.
    #[schemars(length(min = 1))]
    pub(super) command: Option<Vec<String>>,
    /// Whether the terminal's bell rings, where there is a terminal.
    #[schemars(extend("default" = false))]
    pub(super) bell: Option<bool>,
    /// Which outcomes are told.
    #[schemars(extend("default" = "always"))]
    pub(super) on: Option<NotifyOn>,
}

/// `[issues]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct RawIssues {
    /// Where issues are asked for, by default GitHub's API.
    pub(super) api: Option<String>,
    /// Issues that are lived with: `[[issues.ignore]]`.
    pub(super) ignore: Vec<RawIgnore>,
    /// How bad issues are: by number, or at most, by package.
    pub(super) severity: BTreeMap<String, IssueSeverity>,
}

/// `[[issues.ignore]]`: all three keys are needed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct RawIgnore {
    /// The number of the issue.
    #[schemars(range(min = 1, max = 4294967295u32))]
    pub(super) id: Option<u32>,
    /// The last day on which it is ignored, `2026-10-31`.
    pub(super) until: Option<String>,
    /// Why it can be lived with.
    pub(super) reason: Option<String>,
}

/// `[check]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct RawCheck {
    /// The file of findings that are known, from the top of the repository; by default
    /// `.nixdeploy-baseline`.
    pub(super) baseline: Option<String>,
    /// How bad findings of a rule are: `[check.rules] RULE = LEVEL`.
    pub(super) rules: BTreeMap<String, CheckLevel>,
    /// The same for paths that fit a glob: `[check.paths."hosts/*/test/**"] RULE = LEVEL`.
    pub(super) paths: BTreeMap<String, BTreeMap<String, CheckLevel>>,
}

/// `[defaults]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct RawDefaults {
    /// The flake that holds nixosConfigurations; by default the folder of hosts.toml.
    pub(super) flake: Option<String>,
    /// Hosts worked on at once.
    #[schemars(range(min = 1, max = 1000), extend("default" = 8))]
    pub(super) max_parallel: Option<usize>,
    /// Hosts that may be down at once; by default as many as `max_parallel`.
    #[schemars(range(min = 1, max = 1000))]
    pub(super) max_unavailable: Option<usize>,
    /// The host that goes first, alone.
    pub(super) canary: Option<String>,
    /// Failed hosts after which no further host is started; by default no limit.
    #[schemars(range(min = 1, max = 1000))]
    pub(super) max_failures: Option<usize>,
    /// Whether the other hosts go on when one does not build; by default true for several hosts.
    pub(super) keep_going: Option<bool>,
    /// What a host may say too.
    #[serde(flatten)]
    pub(super) common: RawCommon,
}

/// `[hosts.NAME]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct RawHost {
    /// Where to reach it: a host name, an address, or a name of ssh's configuration; by default
    /// the host's own name.
    pub(super) address: Option<String>,
    /// Several addresses, tried in order; instead of `address`.
    #[schemars(length(min = 1))]
    pub(super) addresses: Option<Vec<String>>,
    /// Its attribute under nixosConfigurations; by default its name.
    pub(super) attr: Option<String>,
    /// Names of groups, selected with `@tag`.
    pub(super) tags: Vec<String>,
    /// Waves run one after the other, the lowest first.
    #[schemars(range(min = 1, max = 1000), extend("default" = 1))]
    pub(super) wave: Option<u32>,
    /// `network`: others reach the network through it, so it goes last, alone.
    #[schemars(extend("default" = "plain"))]
    pub(super) role: Option<Role>,
    /// Units that must be active after a deploy, whatever they were before.
    pub(super) critical_services: Vec<String>,
    /// Whether Tailscale must be up afterwards; by default if it was up before.
    pub(super) tailscale: Option<bool>,
    /// When to warn of memory and disk.
    pub(super) limits: RawLimits,
    /// Health checks, one table each: `[[hosts.NAME.health]]`.
    pub(super) health: Vec<RawProbe>,
    /// What `[defaults]` may say too.
    #[serde(flatten)]
    pub(super) common: RawCommon,
}

/// Keys of `[defaults]` and of any host.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct RawCommon {
    /// The login user; by default what ssh's configuration says.
    pub(super) user: Option<String>,
    /// Hosts on the way, the nearest to us first: `[USER@]ADDRESS`, or a host of this file.
    pub(super) jump: Option<Vec<String>>,
    /// Whether commands on the host go through sudo; `auto`: unless the login user is root.
    #[schemars(extend("default" = "auto"))]
    pub(super) sudo: Option<Sudo>,
    /// Where its closure is built: `local`, `target`, or the name of a host or builder.
    #[schemars(extend("default" = "local"))]
    pub(super) build_on: Option<String>,
    /// Checks done when the command line says nothing.
    #[schemars(extend("default" = "standard"))]
    pub(super) mode: Option<Mode>,
    /// Seconds between the end of the activation and the verdict.
    #[schemars(range(min = 0, max = 3600), extend("default" = 15))]
    pub(super) soak_s: Option<u32>,
    /// Seconds that switch-to-configuration may take.
    #[schemars(range(min = 1, max = 86400), extend("default" = 300))]
    pub(super) activate_timeout_s: Option<u32>,
    /// Seconds that verification may take, soak apart.
    #[schemars(range(min = 1, max = 86400), extend("default" = 120))]
    pub(super) verify_timeout_s: Option<u32>,
    /// Seconds that setting the profile and installing the boot loader may take.
    #[schemars(range(min = 1, max = 86400), extend("default" = 120))]
    pub(super) commit_timeout_s: Option<u32>,
    /// What happens when going back fails too; by default `reboot`, but `leave` for a host with
    /// somebody at its screen.
    pub(super) on_revert_failure: Option<OnRevertFailure>,
    /// What happens when a switch inhibitor differs: refuse, or stage for the next boot.
    #[schemars(extend("default" = "refuse"))]
    pub(super) on_inhibitor: Option<OnInhibitor>,
    /// Whether a reboot that is wanted is offered.
    #[schemars(extend("default" = "never"))]
    pub(super) reboot: Option<Reboot>,
    /// What it means for the run when the host does not answer.
    #[schemars(extend("default" = "fail"))]
    pub(super) optional: Option<Optional>,
    /// Whether Nix may use the `nixConfig` of the flake.
    #[schemars(extend("default" = false))]
    pub(super) accept_flake_config: Option<bool>,
    /// How ssh is used.
    pub(super) ssh: RawSsh,
}

/// `ssh`.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct RawSsh {
    /// Whose ControlMaster is used: our own, the user's (ssh's configuration decides), or none.
    #[schemars(extend("default" = "own"))]
    pub(super) control: Option<SshControl>,
}

/// `[hosts.NAME.limits]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct RawLimits {
    /// Percent of memory in use above which to warn.
    #[schemars(range(min = 1, max = 100), extend("default" = 90))]
    pub(super) memory: Option<u8>,
    /// Percent of a file system in use above which to warn.
    #[schemars(range(min = 1, max = 100), extend("default" = 90))]
    pub(super) disk: Option<u8>,
}

/// `[[hosts.NAME.health]]`: exactly one of the seven checks, and how to judge it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct RawProbe {
    /// A script of the flake, run on the host as root; exit 0 is healthy.
    pub(super) script: Option<String>,
    /// A unit that must be active.
    pub(super) unit: Option<String>,
    /// A shell command on the host that must exit 0.
    pub(super) command: Option<String>,
    /// A pattern that must not appear in the journal since the activation.
    pub(super) journal: Option<String>,
    /// A name that must resolve on the host.
    pub(super) dns: Option<String>,
    /// A URL that must answer 2xx or 3xx.
    pub(super) http: Option<String>,
    /// `HOST:PORT` that must accept a connection.
    pub(super) tcp: Option<String>,
    /// Whether its failure takes the deploy back; else it warns.
    #[schemars(extend("default" = true))]
    pub(super) required: Option<bool>,
    /// Seconds it may take.
    #[schemars(range(min = 1, max = 3600), extend("default" = 30))]
    pub(super) timeout_s: Option<u32>,
    /// Where `http` and `tcp` run; by default on the deployer, the others always on the target.
    pub(super) from: Option<super::From>,
}

/// `[cache]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct RawCache {
    /// Where it is, for example `http://p620:5000`.
    pub(super) url: Option<String>,
    /// Its signing key, `NAME:BASE64`.
    pub(super) public_key: Option<String>,
}

/// `[builders.NAME]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct RawBuilder {
    /// Where to reach it; by default its name.
    pub(super) address: Option<String>,
    /// The login user there.
    pub(super) user: Option<String>,
    /// Nix systems it builds for; by default `x86_64-linux`.
    pub(super) systems: Option<Vec<String>>,
    /// Builds at once.
    #[schemars(range(min = 1, max = 1024), extend("default" = 1))]
    pub(super) jobs: Option<u32>,
    /// Nix system features, for example `big-parallel` and `kvm`.
    pub(super) features: Vec<String>,
}
