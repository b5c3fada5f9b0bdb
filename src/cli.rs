//! What can be typed: clap types and help, no logic.
//!
//! Nothing here reads a file or knows a host; a word that is no command is taken as a host's
//! name (`nixdeploy p620`) and judged later, by whoever has read hosts.toml.

mod args;
mod observe;
mod update;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::exit;
use crate::fleet::hosts_toml::nearest;

pub use args::*;
pub use observe::*;
pub use update::*;

/// Deploy a flake of NixOS machines over SSH, verify each one and take back what fails
#[derive(Debug, Parser)]
#[command(
    name = "nixdeploy",
    bin_name = "nixdeploy",
    version,
    max_term_width = 80,
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = true,
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

/// The pages that `help` prints, one per line.
pub fn topics() -> String {
    let mut text = String::from("Pages:");
    for (name, about, _) in crate::docs::PAGES {
        text.push_str(&format!("\n  {name:10} {about}"));
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
    /// Print one JSON document, also of an error; short for --format json
    #[arg(long, global = true, conflicts_with = "format")]
    pub json: bool,
    /// Choose how results are printed; not every command has every format
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
    /// Never ask: a deploy goes on without its question, as without a terminal
    #[arg(long, global = true)]
    pub no_input: bool,
    /// Answer yes to every question
    #[arg(long, short = 'y', global = true)]
    pub yes: bool,
    /// Evaluate anew, whatever was remembered or cached of it
    #[arg(long, global = true)]
    pub no_cache: bool,
    /// Read sudo's password from the first line of FILE, if a host wants one
    ///
    /// By default it is asked for on the terminal, once for all hosts.
    #[arg(long, global = true, value_name = "FILE")]
    pub sudo_password_file: Option<PathBuf>,
    /// Which part of a command that is two runs; never typed
    #[arg(skip)]
    pub part: Part,
}

/// A command may be two runs, and yet it gives one JSON document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Part {
    /// There is one run, with a document of its own.
    #[default]
    Whole,
    /// The first of two: its document waits.
    First,
    /// The last: the document of the first is a part of its own.
    Last(String),
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
    /// SARIF 2.1.0, for code scanning (check alone)
    Sarif,
    /// Markdown (report alone)
    Markdown,
    /// A page for a browser (report alone)
    Html,
}

impl Format {
    /// The word that is typed for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Github => "github",
            Self::Sarif => "sarif",
            Self::Markdown => "markdown",
            Self::Html => "html",
        }
    }

    /// What a command line asks for that may be wrong in other places; the last word counts.
    pub fn asked(argv: &[OsString]) -> Self {
        let words: Vec<_> = argv.iter().map(|w| w.to_string_lossy()).collect();
        let mut asked = Self::Human;
        for (at, word) in words.iter().enumerate() {
            let next = || words.get(at + 1).map(|w| w.as_ref());
            asked = match word.as_ref() {
                "--" => break,
                "--json" => Self::Json,
                "--format" => next().and_then(|w| Self::from_str(w, false).ok()).unwrap_or(asked),
                word => word
                    .strip_prefix("--format=")
                    .and_then(|w| Self::from_str(w, false).ok())
                    .unwrap_or(asked),
            };
        }
        asked
    }
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

/// What switches a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Engine {
    /// The guard on the host
    #[default]
    Native,
    /// nixos-rebuild here, under the guard
    NixosRebuild,
    /// nh here (`nh os switch`), under the guard
    Nh,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Deploy hosts that changed, without a question
    #[command(before_long_help = "Example:\n  nixdeploy quick-deploy p620 razer")]
    QuickDeploy(DeployArgs),
    /// Show what changes, ask once for all hosts, deploy and verify
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
    /// Deploy every host, one after the other, whatever became of those before
    #[command(before_long_help = "Examples:\n  nixdeploy deploy-all --exclude @laptop\n  \
        nixdeploy deploy-all --parallel")]
    DeployAll(DeployAllArgs),
    /// Deploy every host, several at once
    #[command(before_long_help = "Example:\n  nixdeploy deploy-all-parallel --exclude samsung")]
    DeployAllParallel(DeployEveryArgs),
    /// Build every host; if all build, show what changes, ask once, deploy all at once
    #[command(before_long_help = "Example:\n  nixdeploy quick-all")]
    QuickAll(DeployEveryArgs),
    /// Deploy one host without checks, by nixos-rebuild, under the guard all the same
    ///
    /// Nothing is validated, nothing that can be done without may stop it, and afterwards there
    /// is a quick look at units and contact. nixos-rebuild sets the boot default before that look:
    /// a power cut in that time boots what nobody has seen. Without it our own activation is used.
    #[command(
        visible_alias = "emergency-deploy",
        before_long_help = "Examples:\n  \
        nixdeploy emergency p620\n  nixdeploy emergency p620 --confirm p620"
    )]
    Emergency(EmergencyArgs),
    /// Build everything of hosts and touch nothing
    #[command(before_long_help = "Example:\n  nixdeploy test-host p620")]
    TestHost(BuildArgs),
    /// Build everything of every host, one after the other, and touch nothing
    #[command(before_long_help = "Examples:\n  nixdeploy test-all\n  \
        nixdeploy test-all --parallel --exclude samsung")]
    TestAll(TestAllArgs),
    /// Build everything of every host, several at once, and touch nothing
    #[command(before_long_help = "Example:\n  nixdeploy test-all-parallel")]
    TestAllParallel(BuildEveryArgs),
    /// Build everything of every host, several at once, and touch nothing
    #[command(before_long_help = "Example:\n  nixdeploy quick-test")]
    QuickTest(BuildEveryArgs),
    /// Build hosts and keep the result, to deploy later
    #[command(before_long_help = "Example:\n  nixdeploy build p620 p510")]
    Build(BuildArgs),
    /// Build every host, several at once, and keep the results, to deploy later
    #[command(before_long_help = "Example:\n  nixdeploy build-all-parallel")]
    BuildAllParallel(BuildEveryArgs),
    /// Go back to an earlier generation, verified like a deploy
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
    ///
    /// Without RUN it is one that a host still has open, else the last. Every host without a last
    /// word is asked: what is decided is told, what is at work is waited for. Hosts that the run
    /// had not begun with are deployed now, with the flags that were typed then; in a run of
    /// several hosts also those that were taken back because nobody was there to commit them.
    #[command(before_long_help = "Examples:\n  nixdeploy resume\n  nixdeploy resume 3f2a")]
    Resume(RunArgs),
    /// Do a run again for the hosts that failed in it or were left out
    ///
    /// With its flags, from the tree as it is now. Without RUN it is the last run that deployed or
    /// built.
    #[command(before_long_help = "Examples:\n  nixdeploy retry\n  nixdeploy retry 3f2a")]
    Retry(RunArgs),
    /// Take back what an interrupted run still holds
    ///
    /// Without RUN it is one that a host still has open, else the last. What is undecided goes back
    /// and is verified; a commit that was decided is waited for and told.
    #[command(before_long_help = "Example:\n  nixdeploy abort")]
    Abort(RunArgs),
    /// Show a host's key and record it as known
    #[command(before_long_help = "Example:\n  nixdeploy trust p620")]
    Trust(TrustArgs),
    /// Check Nix files before they are deployed
    #[command(before_long_help = "Examples:\n  nixdeploy check\n  nixdeploy check hosts/p620\n  \
        nixdeploy check --staged\n  nixdeploy check --explain mkif-true")]
    Check(CheckArgs),
    /// Check the syntax of Nix files
    #[command(before_long_help = "Example:\n  nixdeploy check-syntax")]
    CheckSyntax(CheckSyntaxArgs),
    /// Check the whole tree by all rules
    #[command(before_long_help = "Example:\n  nixdeploy validate-quick")]
    ValidateQuick,
    /// Check the whole tree by all rules, by Nix itself, and by nix flake check
    #[command(before_long_help = "Example:\n  nixdeploy validate")]
    Validate,
    /// Show what is known to be wrong with what hosts run
    #[command(before_long_help = "Examples:\n  nixdeploy issues p620\n  \
        nixdeploy issues --inventory-file packages.json --json")]
    Issues(IssuesArgs),
    /// Update the flake's inputs, and keep flake.lock safe
    #[command(before_long_help = "Examples:\n  nixdeploy update p620\n  \
        nixdeploy update preview p620\n  nixdeploy update flake nixpkgs --host p620\n  \
        nixdeploy update lock list")]
    Update(UpdateArgs),
    /// Check what is saved, and build it for hosts when that is asked for
    ///
    /// Of what changes in the repository of the current folder, only that is checked. Naming hosts,
    /// or --test, builds them after a check that found nothing that blocks. Ctrl-C ends it.
    #[command(before_long_help = "Examples:\n  nixdeploy watch\n  nixdeploy watch p620\n  \
        nixdeploy watch --test")]
    Watch(WatchArgs),
    /// Install the git hook that checks what is committed
    #[command(before_long_help = "Example:\n  nixdeploy hooks install")]
    Hooks(HooksArgs),
    /// List the runs that were kept
    #[command(before_long_help = "Examples:\n  nixdeploy history p620 --outcome failed\n  \
        nixdeploy history --since 7d\n  nixdeploy history --trend p620")]
    History(HistoryArgs),
    /// Tell Prometheus of runs and hosts
    #[command(before_long_help = "Examples:\n  nixdeploy metrics write\n  \
        nixdeploy metrics dashboard > nixdeploy.json")]
    Metrics(MetricsArgs),
    /// Measure dry runs of a deploy, phase by phase
    #[command(before_long_help = "Example:\n  nixdeploy bench-host p620 10")]
    BenchHost(BenchArgs),
    /// Measure how the evaluation of all hosts gets faster with workers, and where it stops
    #[command(before_long_help = "Example:\n  nixdeploy perf-parallel")]
    PerfParallel(PerfArgs),
    /// Measure the memory that the evaluation and the build of each host take
    #[command(before_long_help = "Example:\n  nixdeploy perf-memory --exclude samsung")]
    PerfMemory(PerfArgs),
    /// Measure what each binary cache has of the fleet, and how fast it is
    #[command(before_long_help = "Example:\n  nixdeploy perf-cache --json")]
    PerfCache(PerfArgs),
    /// Write hosts.toml from the hosts of the flake
    #[command(before_long_help = "Examples:\n  nixdeploy init\n  \
        nixdeploy init --flake ~/.config/nixos\n  nixdeploy init --from-justfile")]
    Init(InitArgs),
    /// Print the JSON schema of hosts.toml
    #[command(before_long_help = "Example:\n  nixdeploy schema > hosts.schema.json")]
    Schema,
    /// Print a shell's completion file: commands, flags, hosts, runs, generations
    #[command(before_long_help = "Examples:\n  \
        nixdeploy completions bash > ~/.local/share/bash-completion/completions/nixdeploy\n  \
        nixdeploy completions zsh > ~/.zfunc/_nixdeploy\n  \
        nixdeploy completions fish > ~/.config/fish/completions/nixdeploy.fish")]
    Completions(CompletionsArgs),
    /// Print the man page, or write one for every command into a folder
    #[command(before_long_help = "Examples:\n  nixdeploy man | man -l -\n  \
        nixdeploy man ~/.local/share/man/man1")]
    Man(ManArgs),
    /// Print the help of a command, or a page of the documentation
    #[command(before_long_help = "Examples:\n  nixdeploy help deploy\n  nixdeploy help hosts",
        after_long_help = topics())]
    Help(HelpArgs),
    /// `HOST` alone; replaced by `Deploy` in [`parse`].
    #[command(external_subcommand)]
    Bare(Vec<OsString>),
}

/// Understands a command line; `HOST...` alone becomes `deploy HOST...`, and `update HOST...`
/// becomes `update smart HOST...`.
///
/// # Errors
/// With clap's own error, which also carries `--help` and `--version` and says where it belongs.
pub fn parse(argv: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut argv: Vec<OsString> = argv.into_iter().collect();
    let cli = understand(&argv)?;
    let (words, meant) = match &cli.command {
        Command::Bare(words) => (words, "deploy"),
        Command::Update(UpdateArgs { action: UpdateAction::Bare(words) }) => (words, "smart"),
        _ => return Ok(cli),
    };
    let word = words.first().map(|w| w.to_string_lossy().into_owned()).unwrap_or_default();
    // What follows the word is in `words` as it was typed, so the word's place is known.
    argv.insert(argv.len() - words.len(), meant.into());
    match understand(&argv) {
        Ok(cli) => Ok(Cli { bare: Some(word), ..cli }),
        Err(error) if meant == "deploy" => Err(misspelt(&word).unwrap_or(error)),
        Err(error) => Err(error),
    }
}

fn understand(argv: &[OsString]) -> Result<Cli, clap::Error> {
    let matches = Cli::command().try_get_matches_from(argv).map_err(|e| meant(e, argv))?;
    Cli::from_arg_matches(&matches).map_err(|e| e.format(&mut Cli::command()))
}

/// An unknown flag is told with the nearest one, by the same rule as any other word.
fn meant(mut error: clap::Error, argv: &[OsString]) -> clap::Error {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else { return error };
    if error.kind() != ErrorKind::UnknownArgument || !word.starts_with("--") {
        return error;
    }
    let word = word.clone();
    let mut top = Cli::command();
    top.build();
    let typed = argv.iter().filter_map(|w| w.to_str());
    let command = typed.fold(&top, |at, word| at.find_subcommand(word).unwrap_or(at));
    let flags = command.get_arguments().filter_map(clap::Arg::get_long);
    let nearest = nearest(word.trim_start_matches('-'), flags);
    // A tip to pass it as a value helps nobody: no value here begins with a dash.
    error.remove(ContextKind::Suggested);
    error.remove(ContextKind::SuggestedArg);
    if let Some(nearest) = nearest {
        let nearest = ContextValue::String(format!("--{nearest}"));
        error.insert(ContextKind::SuggestedArg, nearest);
    }
    error
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
mod tests;
