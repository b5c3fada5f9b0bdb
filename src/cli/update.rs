//! What can be typed behind `update`.

use std::ffi::OsString;

use clap::{Args, Subcommand, ValueEnum, value_parser};

use super::{Engine, Selection};

/// `update`.
#[derive(Debug, Clone, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct UpdateArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: UpdateAction,
}

/// What `update` does.
#[derive(Debug, Clone, Subcommand)]
pub enum UpdateAction {
    /// Update inputs: check and build it all first, then replace flake.lock and deploy
    ///
    /// flake.lock is replaced when every host is built and its known issues let it, and put back
    /// when no host keeps the new system.
    #[command(before_long_help = "Examples:\n  nixdeploy update flake --host p620\n  \
        nixdeploy update flake nixpkgs --host '@server'\n  \
        nixdeploy update flake --except nixpkgs --no-deploy")]
    Flake(FlakeArgs),
    /// Update every input and bring these hosts to it, as update flake does
    ///
    /// With --engine nh the switching is done by `nh os switch`, under the guard. nh is not told
    /// to update: it would move inputs past what was built and checked.
    #[command(before_long_help = "Examples:\n  nixdeploy update system p620\n  \
        nixdeploy update system p620 --engine nh")]
    System(SystemArgs),
    /// Update hosts as far as nothing bad comes with it: leave out the input that brings it
    ///
    /// `update HOST...` is the same. Hosts that nothing is known against go on, the others are
    /// held and named. An input that alone brings the trouble is left out, unless it is nixpkgs.
    #[command(before_long_help = "Examples:\n  nixdeploy update smart p620\n  \
        nixdeploy update smart @server --skip-blocked --commit --issue 123\n  \
        nixdeploy update smart p620 --hold linux-firmware")]
    Smart(SmartArgs),
    /// Be led through an update: what comes, what is known of it, build, deploy, commit
    #[command(before_long_help = "Example:\n  nixdeploy update workflow p620")]
    Workflow(WorkflowArgs),
    /// Show what an update would bring, against what hosts run; nothing on them is changed
    ///
    /// Told from names of derivations, before anything is built.
    #[command(before_long_help = "Examples:\n  nixdeploy update preview p620\n  \
        nixdeploy update preview @server --except nixpkgs\n  \
        nixdeploy update preview p620 --build")]
    Preview(PreviewArgs),
    /// List packages that nixpkgs gains and loses with an update
    #[command(before_long_help = "Examples:\n  nixdeploy update new-packages\n  \
        nixdeploy update new-packages --input nixpkgs-unstable --all")]
    NewPackages(NewPackagesArgs),
    /// List, show or restore the flake.lock files that were kept
    #[command(before_long_help = "Examples:\n  nixdeploy update lock list\n  \
        nixdeploy update lock restore 06816b64")]
    Lock(LockArgs),
    /// `HOST` alone; replaced by `Smart` in `parse`.
    #[command(external_subcommand)]
    Bare(Vec<OsString>),
}

/// `update flake`.
#[derive(Debug, Clone, Default, Args)]
pub struct FlakeArgs {
    /// Update these inputs; by default all
    #[arg(value_name = "INPUT", conflicts_with = "except")]
    pub inputs: Vec<String>,
    /// Deploy to these hosts: names, @TAG, globs such as 'p*'; by default all
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    pub host: Vec<String>,
    /// How.
    #[command(flatten)]
    pub flags: UpdateFlags,
}

/// `update system`.
#[derive(Debug, Clone, Default, Args)]
pub struct SystemArgs {
    /// Update these hosts: names, @TAG, globs such as 'p*', or all
    #[arg(value_name = "HOST", required = true)]
    pub hosts: Vec<String>,
    /// Choose what switches the host: our guard (native), nixos-rebuild or nh
    ///
    /// The guard takes back what must not stay, whichever it is. One that is not there is told,
    /// and our own activation takes its place.
    #[arg(long, value_name = "ENGINE", default_value = "native")]
    pub engine: Engine,
    /// How.
    #[command(flatten)]
    pub flags: UpdateFlags,
}

/// `update smart`.
#[derive(Debug, Clone, Default, Args)]
pub struct SmartArgs {
    /// Update these hosts: names, @TAG, globs such as 'p*', or all
    #[arg(value_name = "HOST", required = true)]
    pub hosts: Vec<String>,
    /// Print a patch that holds a package at the version of today, and do nothing else
    #[arg(long, value_name = "PACKAGE", value_delimiter = ',')]
    pub hold: Vec<String>,
    /// Leave out nixpkgs too, where that brings the trouble
    #[arg(long)]
    pub skip_blocked: bool,
    /// How.
    #[command(flatten)]
    pub flags: UpdateFlags,
}

/// `update workflow`.
#[derive(Debug, Clone, Default, Args)]
pub struct WorkflowArgs {
    /// Update these hosts: names, @TAG, globs such as 'p*', or all
    #[arg(value_name = "HOST", required = true)]
    pub hosts: Vec<String>,
    /// How.
    #[command(flatten)]
    pub flags: UpdateFlags,
}

/// Flags of every update that deploys.
#[derive(Debug, Clone, Default, Args)]
pub struct UpdateFlags {
    /// Leave these inputs as they are
    #[arg(long, value_name = "INPUT", value_delimiter = ',')]
    pub except: Vec<String>,
    /// Leave these hosts out: names, @TAG, globs such as 'p*'
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    pub exclude: Vec<String>,
    /// Build and replace flake.lock, and deploy nothing
    #[arg(long)]
    pub no_deploy: bool,
    /// What would be new.
    #[command(flatten)]
    pub risk: RiskFlags,
    /// Go on without a terminal though flake.lock differs from the last commit
    #[arg(long)]
    pub allow_dirty_lock: bool,
    /// What is recorded.
    #[command(flatten)]
    pub record: RecordFlags,
}

/// What is recorded of an update.
#[derive(Debug, Clone, Default, Args)]
pub struct RecordFlags {
    /// Put an issue's number into the report, and into a commit or pull request
    #[arg(long, value_name = "N")]
    pub issue: Option<u64>,
    /// Commit flake.lock, and nothing else, when the hosts run it
    #[arg(long)]
    pub commit: bool,
    /// Open a pull request before the deploy; merge it when the hosts are healthy, or close it
    ///
    /// The checkout is not touched. Without gh the branch is made, and the commands are told.
    #[arg(long, conflicts_with = "commit")]
    pub pr: bool,
}

/// `update preview`.
#[derive(Debug, Clone, Default, Args)]
pub struct PreviewArgs {
    /// Which hosts.
    #[command(flatten)]
    pub selection: Selection,
    /// Leave these inputs as they are
    #[arg(long, value_name = "INPUT", value_delimiter = ',')]
    pub except: Vec<String>,
    /// Build it, and compare closures and unit files as diff does
    #[arg(long)]
    pub build: bool,
    /// List every program and library
    #[arg(long, conflicts_with = "build")]
    pub all: bool,
    /// Do not look for known issues
    #[arg(long)]
    pub no_issue_check: bool,
    /// Exit 20 instead of 0 when an input moves
    #[arg(long)]
    pub detailed_exitcode: bool,
}

/// `update new-packages`.
#[derive(Debug, Clone, Args)]
pub struct NewPackagesArgs {
    /// Name the input that is a nixpkgs
    #[arg(long, value_name = "INPUT", default_value = "nixpkgs")]
    pub input: String,
    /// List every package
    #[arg(long)]
    pub all: bool,
}

/// What of known issues is accepted.
#[derive(Debug, Clone, Default, Args)]
pub struct RiskFlags {
    /// Go on without a question when the worst new issue is no worse than this
    #[arg(long, value_name = "LEVEL")]
    pub max_risk: Option<Risk>,
    /// Accept a known issue by its number, however bad it is
    #[arg(long, value_name = "N", value_delimiter = ',')]
    #[arg(value_parser = value_parser!(u64).range(1..))]
    pub accept_issue: Vec<u64>,
    /// Go on with a list of known issues that has gaps
    #[arg(long, value_name = "HOW", conflicts_with = "no_issue_check")]
    pub issues: Option<Effort>,
    /// Do not look for known issues at all
    #[arg(long)]
    pub no_issue_check: bool,
}

/// How bad a new issue may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Risk {
    /// Likely, or lesser
    Medium,
    /// Work stops, or something is exposed
    High,
}

/// How much of the list must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Effort {
    /// As much as can be had
    BestEffort,
}

/// `update lock`.
#[derive(Debug, Clone, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct LockArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: LockAction,
}

/// What `update lock` does.
#[derive(Debug, Clone, Subcommand)]
pub enum LockAction {
    /// List what was kept, newest first, with what differs from the one in place
    #[command(before_long_help = "Example:\n  nixdeploy update lock list")]
    List,
    /// Show the inputs of the one in place, or of one that was kept
    #[command(before_long_help = "Examples:\n  nixdeploy update lock show\n  \
        nixdeploy update lock show 06816b64")]
    Show(ShowArgs),
    /// Put one that was kept in place, byte for byte; the one it replaces is kept
    #[command(before_long_help = "Examples:\n  nixdeploy update lock restore\n  \
        nixdeploy update lock restore 06816b64")]
    Restore(ShowArgs),
}

/// `update lock show` and `update lock restore`.
#[derive(Debug, Clone, Default, Args)]
pub struct ShowArgs {
    /// Name it by the beginning of its name; to restore, by default the newest that differs
    #[arg(value_name = "ID")]
    pub id: Option<String>,
}
