//! Which forms of result a command has; one that it has not is refused, never ignored.

use crate::cli::{Cli, Command, Format, LockAction, UpdateAction};
use crate::error::Error;

const RUNS: &[Format] = &[Format::Human, Format::Json, Format::Jsonl, Format::Github];
const REPORT: &[Format] =
    &[Format::Human, Format::Json, Format::Jsonl, Format::Github, Format::Markdown, Format::Html];
const TABLES: &[Format] = &[Format::Human, Format::Json, Format::Jsonl];
const DOCUMENT: &[Format] = &[Format::Human, Format::Json];
const CHECK: &[Format] = &[Format::Human, Format::Json, Format::Github, Format::Sarif];
const TEXT: &[Format] = &[Format::Human];

/// The forms that a command has, and its name.
fn of(command: &Command) -> (&'static str, &'static [Format]) {
    match command {
        Command::QuickDeploy(_) => ("quick-deploy", RUNS),
        Command::Deploy(_) | Command::Bare(_) => ("deploy", RUNS),
        Command::DeployFast(_) => ("deploy-fast", RUNS),
        Command::DeployLocalBuild(_) => ("deploy-local-build", RUNS),
        Command::DeployCached(_) => ("deploy-cached", RUNS),
        Command::DeployVia(_) => ("deploy-via", RUNS),
        Command::TestHost(_) => ("test-host", RUNS),
        Command::Build(_) => ("build", RUNS),
        Command::DeployAll(_) => ("deploy-all", RUNS),
        Command::DeployAllParallel(_) => ("deploy-all-parallel", RUNS),
        Command::QuickAll(_) => ("quick-all", RUNS),
        Command::TestAll(_) => ("test-all", RUNS),
        Command::TestAllParallel(_) => ("test-all-parallel", RUNS),
        Command::QuickTest(_) => ("quick-test", RUNS),
        Command::BuildAllParallel(_) => ("build-all-parallel", RUNS),
        Command::Rollback(_) => ("rollback", RUNS),
        Command::Diff(_) => ("diff", RUNS),
        Command::Resume(_) => ("resume", RUNS),
        Command::Emergency(_) => ("emergency", RUNS),
        Command::Retry(_) => ("retry", RUNS),
        Command::Abort(_) => ("abort", RUNS),
        Command::Report(_) => ("report", REPORT),
        Command::Status(_) => ("status", TABLES),
        Command::PingHosts(_) => ("ping-hosts", TABLES),
        Command::Logs(_) => ("logs", TABLES),
        Command::History(_) => ("history", TABLES),
        Command::Issues(_) => ("issues", DOCUMENT),
        Command::Check(_) => ("check", CHECK),
        Command::CheckSyntax(_) => ("check-syntax", CHECK),
        Command::ValidateQuick => ("validate-quick", CHECK),
        Command::Validate => ("validate", CHECK),
        Command::Update(a) => match &a.action {
            UpdateAction::Flake(_) => ("update flake", TEXT),
            UpdateAction::System(_) => ("update system", TEXT),
            UpdateAction::Smart(_) => ("update smart", TEXT),
            UpdateAction::Workflow(_) => ("update workflow", TEXT),
            UpdateAction::Bare(_) => ("update", TEXT),
            UpdateAction::Preview(a) if a.build => ("update preview --build", RUNS),
            UpdateAction::Preview(_) => ("update preview", DOCUMENT),
            UpdateAction::NewPackages(_) => ("update new-packages", DOCUMENT),
            UpdateAction::Lock(a) => match a.action {
                LockAction::List | LockAction::Show(_) => ("update lock", DOCUMENT),
                LockAction::Restore(_) => ("update lock restore", TEXT),
            },
        },
        Command::Watch(_) => ("watch", TEXT),
        Command::Hooks(_) => ("hooks", TEXT),
        // It is a document already.
        Command::Schema => ("schema", DOCUMENT),
        Command::Trust(_) => ("trust", TEXT),
        Command::BenchHost(_) => ("bench-host", DOCUMENT),
        Command::PerfParallel(_) => ("perf-parallel", DOCUMENT),
        Command::PerfMemory(_) => ("perf-memory", DOCUMENT),
        Command::PerfCache(_) => ("perf-cache", DOCUMENT),
        Command::Metrics(_) => ("metrics", TEXT),
        Command::Init(a) if a.from_justfile.is_some() => ("init --from-justfile", DOCUMENT),
        Command::Init(_) => ("init", TEXT),
        Command::Completions(_) => ("completions", TEXT),
        Command::Man(_) => ("man", TEXT),
        Command::Help(_) => ("help", TEXT),
    }
}

/// Whether the command has the form that was asked for.
///
/// # Errors
/// When it has not.
pub fn admit(cli: &Cli) -> Result<(), Error> {
    let (name, forms) = of(&cli.command);
    let asked = cli.global.format();
    if forms.contains(&asked) {
        return Ok(());
    }
    let words: Vec<&str> = forms.iter().map(|f| f.word()).collect();
    Err(absent(name, asked, &words.join(", ")))
}

/// A form that a command has not; those that it has, one after the other.
pub fn absent(name: &str, asked: Format, has: &str) -> Error {
    let told = Error::usage(format!("{name} has no --format {}", asked.word()));
    let told = match has {
        "human" => told.hint("it prints for people only: --format human"),
        has => told.hint(format!("it has: {has}")),
    };
    match asked {
        Format::Sarif if !name.starts_with("check") => {
            told.hint("check and validate have it: nixdeploy check --format sarif")
        }
        Format::Markdown | Format::Html => {
            let draws = format!("nixdeploy report --format {}", asked.word());
            told.hint(format!("report has it, of every run that was kept: {draws}"))
        }
        _ => told,
    }
}
