//! What can be typed: clap types and help, no logic.
//!
//! Nothing here reads a file or knows a host; a word that is no command is taken as a host's
//! name (`nixdeploy p620`) and judged later, by whoever has read hosts.toml.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::exit;
use crate::fleet::Mode;
use crate::fleet::hosts_toml::nearest;

/// Deploy a flake of NixOS machines over SSH, verify each one and take back what fails
#[derive(Debug, Parser)]
#[command(
    name = "nixdeploy",
    bin_name = "nixdeploy",
    version,
    max_term_width = 80,
    arg_required_else_help = true,
    subcommand_required = true,
    before_long_help = EXAMPLES,
    after_long_help = exit_codes(),
)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// The word that stood where a command stands and was taken as a host.
    #[arg(skip)]
    pub bare: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  nixdeploy init                  write hosts.toml from the flake
  nixdeploy quick-deploy p620     deploy one host if it changed, never ask
  nixdeploy p620                  show what changes, ask, deploy, verify
  nixdeploy deploy @server --dry-run
  nixdeploy status                every host at a glance
  nixdeploy rollback p620         back to the generation before";

fn exit_codes() -> String {
    let mut text = String::from("Exit codes:");
    for (code, sentence) in exit::TABLE {
        text.push_str(&format!("\n  {:>3}  {sentence}", *code as u8));
    }
    text
}

/// Flags of every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Read the hosts from this file
    ///
    /// By default hosts.toml in the current folder or the nearest folder above it.
    #[arg(long, global = true, value_name = "FILE")]
    pub inventory: Option<PathBuf>,
    /// Deploy from this flake instead of the one in hosts.toml
    #[arg(long, global = true, value_name = "REF")]
    pub flake: Option<String>,
    /// Print one JSON document; short for --format json
    #[arg(long, global = true, conflicts_with = "format")]
    pub json: bool,
    /// Choose how results are printed
    #[arg(long, global = true, value_name = "FORMAT", default_value = "human")]
    pub format: Format,
    /// Colour the output
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Say less; twice: errors only
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "verbose")]
    pub quiet: u8,
    /// Say more; twice: every command that is run
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Never ask: go on as without a terminal; what needs an answer is refused
    #[arg(long, global = true)]
    pub no_input: bool,
    /// Answer yes to every question
    #[arg(long, short = 'y', global = true)]
    pub yes: bool,
    /// Forget everything that was cached
    #[arg(long, global = true)]
    pub no_cache: bool,
}

impl Global {
    /// The format that was asked for, in either way.
    pub fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Human,
    /// One document
    Json,
    /// The events of the run, one per line, as they happen
    Jsonl,
    /// Annotations and a step summary for GitHub Actions
    Github,
}

/// When output is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Also into pipes and files
    Always,
    /// Not at all
    Never,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Deploy hosts that changed, without a question
    #[command(before_long_help = "Example:\n  nixdeploy quick-deploy p620 razer")]
    QuickDeploy(DeployArgs),
    /// Show what changes, ask, deploy and verify
    #[command(before_long_help = "Examples:\n  nixdeploy deploy p620\n  \
        nixdeploy deploy @server --exclude dex5550 --dry-run")]
    Deploy(DeployArgs),
    /// Deploy with syntax, unit and contact checks only
    #[command(before_long_help = "Example:\n  nixdeploy deploy-fast p620")]
    DeployFast(DeployArgs),
    /// Build here, then deploy
    #[command(before_long_help = "Example:\n  nixdeploy deploy-local-build razer")]
    DeployLocalBuild(DeployArgs),
    /// Deploy with the fleet's own binary cache
    #[command(before_long_help = "Example:\n  nixdeploy deploy-cached razer")]
    DeployCached(DeployArgs),
    /// Build on another host, then deploy
    #[command(before_long_help = "Example:\n  nixdeploy deploy-via p620 razer")]
    DeployVia(DeployViaArgs),
    /// Build everything of hosts and touch nothing
    #[command(before_long_help = "Example:\n  nixdeploy test-host p620")]
    TestHost(BuildArgs),
    /// Build hosts and keep the result, to deploy later
    #[command(before_long_help = "Example:\n  nixdeploy build p620 p510")]
    Build(BuildArgs),
    /// Go back to an earlier generation and verify it
    #[command(before_long_help = "Examples:\n  nixdeploy rollback p620\n  \
        nixdeploy rollback p620 --to 1234")]
    Rollback(RollbackArgs),
    /// Compare hosts' running systems with the flake
    #[command(before_long_help = "Example:\n  nixdeploy diff p620 --detailed-exitcode")]
    Diff(DiffArgs),
    /// Show what hosts run and how they are
    #[command(
        before_long_help = "Examples:\n  nixdeploy status\n  nixdeploy status @server --json"
    )]
    Status(StatusArgs),
    /// Show which hosts answer
    #[command(before_long_help = "Example:\n  nixdeploy ping-hosts")]
    PingHosts(StatusArgs),
    /// Draw the report of a run again
    #[command(before_long_help = "Examples:\n  nixdeploy report\n  nixdeploy report 3f2a --json")]
    Report(RunArgs),
    /// Print what a run said about a host
    #[command(before_long_help = "Example:\n  nixdeploy logs p620 --run 3f2a")]
    Logs(LogsArgs),
    /// Go on with an interrupted run
    #[command(before_long_help = "Example:\n  nixdeploy resume")]
    Resume(RunArgs),
    /// Take back what an interrupted run still holds
    #[command(before_long_help = "Example:\n  nixdeploy abort")]
    Abort(RunArgs),
    /// Show a host's key and record it as known
    #[command(before_long_help = "Example:\n  nixdeploy trust p620")]
    Trust(TrustArgs),
    /// Check Nix files before they are deployed
    #[command(before_long_help = "Examples:\n  nixdeploy check\n  nixdeploy check hosts/p620")]
    Check(CheckArgs),
    /// Check the syntax of Nix files
    #[command(before_long_help = "Example:\n  nixdeploy check-syntax")]
    CheckSyntax(CheckArgs),
    /// List the runs that were kept
    #[command(before_long_help = "Example:\n  nixdeploy history")]
    History(HistoryArgs),
    /// Write hosts.toml from the hosts of the flake
    #[command(before_long_help = "Examples:\n  nixdeploy init\n  \
        nixdeploy init --flake ~/.config/nixos")]
    Init(InitArgs),
    /// Print the JSON schema of hosts.toml
    #[command(before_long_help = "Example:\n  nixdeploy schema > hosts.schema.json")]
    Schema,
    /// Print a shell's completion file
    #[command(before_long_help = "Example:\n  \
        nixdeploy completions fish > ~/.config/fish/completions/nixdeploy.fish")]
    Completions(CompletionsArgs),
    /// `HOST` alone; replaced by `Deploy` in [`parse`].
    #[command(external_subcommand)]
    Bare(Vec<OsString>),
}

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
    /// Fetch from the cache of hosts.toml
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
    /// Put an issue's number into the report
    #[arg(long, value_name = "N")]
    pub issue: Option<u64>,
    /// Put a sentence into the report
    #[arg(long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Exit 20 instead of 0 when there is something to change
    #[arg(long, requires = "dry_run")]
    pub detailed_exitcode: bool,
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

/// `test-host` and `build`.
#[derive(Debug, Clone, Args)]
pub struct BuildArgs {
    /// Which hosts.
    #[command(flatten)]
    pub selection: Selection,
    /// Build on the target, here (local), or on a host
    ///
    /// By default what hosts.toml says, else local.
    #[arg(long, value_name = "target|local|HOST")]
    pub build_on: Option<String>,
    /// Fetch from the cache of hosts.toml
    #[arg(long)]
    pub cached: bool,
}

/// `rollback`.
#[derive(Debug, Clone, Args)]
pub struct RollbackArgs {
    /// Name the host
    #[arg(value_name = "HOST")]
    pub host: String,
    /// Go back to this generation
    ///
    /// By default the one before the profile's current generation.
    #[arg(long, value_name = "GEN")]
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

/// `report`, `resume` and `abort`.
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// Name the run by the beginning of its id; by default the last one
    #[arg(value_name = "RUN")]
    pub run: Option<String>,
}

/// `logs`.
#[derive(Debug, Clone, Args)]
pub struct LogsArgs {
    /// Name the host
    #[arg(value_name = "HOST")]
    pub host: String,
    /// Name the run by the beginning of its id; by default the host's last one
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

/// `check` and `check-syntax`.
#[derive(Debug, Clone, Default, Args)]
pub struct CheckArgs {
    /// Check these files and folders; by default the whole flake
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// `history`.
#[derive(Debug, Clone, Default, Args)]
pub struct HistoryArgs {
    /// Show the runs that had one of these hosts; by default all
    #[arg(value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Show at most this many runs
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
}

/// `init`.
#[derive(Debug, Clone, Default, Args)]
pub struct InitArgs {
    /// Replace a hosts.toml that is already there
    #[arg(long)]
    pub force: bool,
}

/// `completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// Name the shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// Understands a command line; `HOST...` alone becomes `deploy HOST...`.
///
/// # Errors
/// With clap's own error, which also carries `--help` and `--version` and says where it belongs.
pub fn parse(argv: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut argv: Vec<OsString> = argv.into_iter().collect();
    let cli = understand(&argv)?;
    let Command::Bare(words) = &cli.command else { return Ok(cli) };
    let word = words.first().map(|w| w.to_string_lossy().into_owned()).unwrap_or_default();
    // What follows the word is in `words` as it was typed, so the word's place is known.
    argv.insert(argv.len() - words.len(), "deploy".into());
    match understand(&argv) {
        Ok(cli) => Ok(Cli { bare: Some(word), ..cli }),
        Err(error) => Err(misspelt(&word).unwrap_or(error)),
    }
}

fn understand(argv: &[OsString]) -> Result<Cli, clap::Error> {
    let matches = Cli::command().try_get_matches_from(argv)?;
    Cli::from_arg_matches(&matches).map_err(|e| e.format(&mut Cli::command()))
}

/// `chekc --staged` is no host with a strange flag: say so as clap would.
fn misspelt(word: &str) -> Option<clap::Error> {
    let meant = nearest_command(word)?;
    let mut error = clap::Error::new(ErrorKind::InvalidSubcommand).with_cmd(&Cli::command());
    error.insert(ContextKind::InvalidSubcommand, ContextValue::String(word.to_owned()));
    error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![meant]));
    Some(error)
}

/// The command that a word was probably meant to be.
pub fn nearest_command(word: &str) -> Option<String> {
    let names = command_names();
    nearest(word, names.iter().map(String::as_str)).map(str::to_owned)
}

/// Every command by its name.
pub fn command_names() -> Vec<String> {
    Cli::command().get_subcommands().map(|c| c.get_name().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::names::RESERVED;

    fn parsed(words: &str) -> Result<Cli, clap::Error> {
        let argv = std::iter::once("nixdeploy").chain(words.split_whitespace());
        parse(argv.map(OsString::from))
    }

    #[test]
    fn clap_finds_no_fault_with_the_types() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_host_can_carry_a_commands_name() {
        for name in command_names() {
            assert!(RESERVED.contains(&name.as_str()), "{name} is missing from RESERVED");
        }
        assert!(RESERVED.is_sorted());
    }

    #[test]
    fn a_host_alone_is_deployed() {
        let cli = parsed("--json p620 razer --dry-run -v").expect("hosts");
        assert_eq!(cli.bare.as_deref(), Some("p620"));
        assert!(cli.global.json && cli.global.verbose == 1);
        let Command::Deploy(args) = cli.command else { panic!("{:?}", cli.command) };
        assert_eq!(args.selection.hosts, ["p620", "razer"]);
        assert!(args.flags.dry_run);
        assert_eq!(parsed("deploy p620").expect("deploy").bare, None);
    }

    #[test]
    fn a_misspelt_command_with_its_own_flags_is_no_host() {
        let error = parsed("histroy --limit 3").expect_err("no such flag of deploy");
        assert_eq!(error.kind(), ErrorKind::InvalidSubcommand);
        assert!(error.to_string().contains("history"), "{error}");
        let error = parsed("p620 --limit 3").expect_err("no such flag of deploy");
        assert_eq!(error.kind(), ErrorKind::UnknownArgument);
    }

    #[test]
    fn flags_arrive_where_they_are_read() {
        let cli = parsed(
            "deploy-via p620 razer samsung --mode fast --build-on target --cached --boot \
             --accept-drift --issue 7 --exclude samsung,p510 --no-cache --yes --no-input -qq \
             --inventory x.toml --flake . --color never --format jsonl",
        )
        .expect("all flags");
        let global = &cli.global;
        assert_eq!(global.format(), Format::Jsonl);
        assert_eq!((global.quiet, global.color), (2, Color::Never));
        assert!(global.no_cache && global.yes && global.no_input);
        assert_eq!(global.flake.as_deref(), Some("."));
        let Command::DeployVia(args) = cli.command else { panic!("{:?}", cli.command) };
        assert_eq!(args.builder, "p620");
        assert_eq!(args.selection.exclude, ["samsung", "p510"]);
        assert_eq!((args.flags.mode, args.flags.issue), (Some(Mode::Fast), Some(7)));
        assert!(args.flags.cached && args.flags.boot && args.flags.accept_drift);
        assert_eq!(parsed("status --json").expect("json").global.format(), Format::Json);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for words in [
            "status --json --format human",
            "deploy",
            "deploy p620 --detailed-exitcode",
            "deploy p620 --boot --dry-run",
            "deploy p620 --mode emergency",
            "rollback p620 --to first",
            "status -q -v",
            "",
        ] {
            let error = parsed(words).expect_err(words);
            assert_eq!(error.exit_code(), 2, "{words}");
        }
    }

    /// Help has a grammar; see the style guide in `spec/exemplars.md`.
    #[test]
    fn help_keeps_its_grammar() {
        let mut top = Cli::command();
        top.build();
        for command in top.get_subcommands_mut() {
            let name = command.get_name().to_owned();
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(about.starts_with(char::is_uppercase) && !about.ends_with('.'), "{name}");
            let long = command.render_long_help().to_string();
            assert!(name == "help" || long.starts_with("Example"), "{name}: {long}");
            assert!(long.lines().all(|l| l.chars().count() <= 80), "{name}: {long}");
            assert!(command.render_help().to_string().len() <= long.len());
        }
        let long = top.render_long_help().to_string();
        assert!(long.starts_with("Examples:"), "{long}");
        let last = long.trim_end().lines().last().unwrap_or_default();
        assert!(last.trim_start().starts_with("130"), "{last}");
        assert!(long.lines().all(|l| l.chars().count() <= 80), "{long}");
    }
}
