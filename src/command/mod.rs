//! One verb per file: arguments to a request, to a plan, to a run, to an exit code.

pub mod check;
pub mod completions;
pub mod deploy;
mod emergency;
mod flake_check;
pub mod form;
mod glance;
pub mod help;
pub mod history;
mod hooks;
pub mod init;
pub mod inventory;
pub mod issues;
mod justfile;
mod kept;
pub mod launch;
mod limits;
mod local;
pub mod logs;
mod man;
mod measure;
mod metrics;
mod notify;
pub mod recover;
mod remarks;
pub mod report;
pub mod retry;
pub mod rollback;
pub mod schema;
pub mod standing;
pub mod status;
pub mod tab;
pub mod trust;
mod update;
mod watch;

use std::path::Path;

use crate::cli::{Cli, Command, Format};
use crate::error::Error;
use crate::event::stream::Stopwatch;
use crate::exit::Exit;
use crate::world::World;
use crate::world::signals::Signals;

/// Does what was typed.
///
/// # Errors
/// When it ended before any host was touched.
pub async fn run(world: &World, cli: &Cli) -> Result<Exit, Error> {
    form::admit(cli)?;
    let typed = deploy::Typed { global: &cli.global, bare: cli.bare.as_deref() };
    if let Some(wanted) = deploy::wanted(&cli.command) {
        return deploy::run(world, &typed, &wanted).await;
    }
    if measures(&cli.command) {
        // These change nothing that would have to come to an end.
        let mut signals = Signals::listen()
            .map_err(|e| Error::new(Exit::Internal, "cannot listen to signals").because(e))?;
        return tokio::select! {
            ended = elsewhere(world, cli, &cli.command) => ended,
            _ = signals.next() => Ok(Exit::Interrupted),
        };
    }
    match &cli.command {
        Command::Rollback(a) => rollback::run(world, &typed, a).await,
        Command::Resume(a) => recover::resume(world, &typed, a).await,
        Command::Emergency(a) => emergency::run(world, &typed, a).await,
        Command::Retry(a) => retry::run(world, &typed, a).await,
        Command::Abort(a) => recover::abort(world, &typed, a).await,
        Command::Update(a) => update::run(world, &cli.global, &a.action).await,
        other => elsewhere(world, cli, other).await,
    }
}

/// Verbs that look for long, and print what they saw at their end.
fn measures(command: &Command) -> bool {
    use Command::{BenchHost, Issues, PerfCache, PerfMemory, PerfParallel};
    matches!(command, BenchHost(_) | Issues(_) | PerfCache(_) | PerfMemory(_) | PerfParallel(_))
}

/// Verbs that deploy nothing.
async fn elsewhere(world: &World, cli: &Cli, command: &Command) -> Result<Exit, Error> {
    let (state, setting) = (&world.environment.state, launch::setting(&cli.global));
    let look = crate::report::choice::look(&setting, &world.environment);
    match command {
        Command::Report(args) => report::run(state, args.run.as_deref(), setting.format, &look),
        Command::Logs(args) => {
            let fleet = kept::fleet(&world.environment, &cli.global);
            let host = logs::host(state, fleet.as_ref(), &args.host)?;
            logs::run(state, &host, args.run.as_deref(), setting.format, &look)
        }
        Command::History(args) => {
            let fleet = kept::fleet(&world.environment, &cli.global);
            history::run(
                (state, world.clock.epoch_ms()),
                args,
                fleet.as_ref(),
                (setting.format, &look),
            )
        }
        Command::Status(args) => {
            status::run(world, &cli.global, args, status::Which::Status, &look).await
        }
        Command::PingHosts(args) => {
            status::run(world, &cli.global, args, status::Which::Ping, &look).await
        }
        Command::Metrics(args) => metrics::run(world, &cli.global, &args.action, &look).await,
        Command::BenchHost(args) => {
            measure::bench_host(world, &cli.global, (&args.host, args.runs), &look).await
        }
        Command::PerfParallel(args) => {
            measure::perf_parallel(world, &cli.global, args, &look).await
        }
        Command::PerfMemory(args) => measure::perf_memory(world, &cli.global, args, &look).await,
        Command::PerfCache(args) => measure::perf_cache(world, &cli.global, args, &look).await,
        Command::Issues(args) => issues::run(world, &cli.global, args, &look).await,
        Command::Check(_) | Command::CheckSyntax(_) => checked(world, cli).await,
        Command::ValidateQuick | Command::Validate => checked(world, cli).await,
        Command::Watch(args) => watch::run(world, cli, args).await,
        Command::Hooks(_) => hooks::install(world).await,
        Command::Trust(args) => trusted(world, cli, &args.host).await,
        Command::Help(args) => help::run(args),
        Command::Schema => Ok(schema::run()),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(&world.environment, args),
        Command::Init(crate::cli::InitArgs { from_justfile: Some(file), .. }) => {
            justfile::run(&world.environment, &cli.global, Some(file))
        }
        Command::Init(args) => init::run(world, &cli.global, args).await,
        other => Err(Error::new(Exit::Internal, format!("not connected: {other:?}"))
            .hint("nixdeploy --help")),
    }
}

/// Each host that is meant, whatever became of those before.
async fn trusted(world: &World, cli: &Cli, word: &str) -> Result<Exit, Error> {
    let fleet = inventory::load(&world.environment, &cli.global)?;
    let word = word.to_owned();
    let mut ended = Ok(Exit::Done);
    for host in inventory::hosts(&fleet, std::slice::from_ref(&word), &[], None)? {
        let before = std::mem::replace(&mut ended, Ok(Exit::Done));
        ended = match (before, trust::run(world, host, cli.global.yes).await) {
            (Err(before), Err(now)) => {
                crate::report::complain(&before);
                Err(now)
            }
            (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
            (Ok(Exit::Done), Ok(exit)) | (Ok(exit), Ok(_)) => Ok(exit),
        };
    }
    ended
}

async fn checked(world: &World, cli: &Cli) -> Result<Exit, Error> {
    let (form, colour) = check_form(world, cli);
    let mut check = check::Check { form, colour, ..check::Check::default() };
    match &cli.command {
        Command::Check(args) if args.list_rules => {
            let text = match cli.global.format() {
                Format::Json => check::document(),
                Format::Human => check::list(),
                other => return Err(form::absent("check --list-rules", other, "human, json")),
            };
            report::show(&text)?;
            return Ok(Exit::Done);
        }
        Command::Check(crate::cli::CheckArgs { explain: Some(id), .. }) => {
            if cli.global.format() != Format::Human {
                return Err(form::absent("check --explain", cli.global.format(), "human"));
            }
            report::show(&check::explain(id)?)?;
            return Ok(Exit::Done);
        }
        Command::Check(args) => {
            let since = args.since.clone().map(check::Scope::Since);
            let staged = args.staged.then_some(check::Scope::Staged);
            check.scope = staged.or(since).unwrap_or_default();
            check.paths.clone_from(&args.paths);
            (check.all, check.fix, check.nix) = (args.all, args.fix, args.nix);
            check.write_baseline = args.write_baseline;
            check.deny_warnings = args.deny.is_some();
            if args.compact && check.form == check::Form::Drawn {
                check.form = check::Form::Compact;
            }
        }
        Command::CheckSyntax(args) => {
            check.paths.clone_from(&args.paths);
            check.syntax_only = true;
        }
        Command::Validate => check.nix = true,
        _ => {}
    }
    let fleet = inventory::if_there(&world.environment, &cli.global)?;
    let settings = fleet.as_ref().map(|f| f.checks.clone()).unwrap_or_default();
    if let Some(fleet) = &fleet {
        let flake = inventory::flake(&world.environment, &cli.global, fleet);
        check.scripts = check::scripts::lacking(fleet, Path::new(&flake));
    }
    let answer = check::run(world, &check, &settings).await?;
    report::show_with(|out| answer.write(out))?;
    if let (Some(path), Some(summary)) = (&world.environment.step_summary, &answer.summary) {
        check::github::append(path, summary)?;
    }
    match cli.command {
        Command::Validate if answer.exit == Exit::Done => {
            flake_check::run(world, &cli.global).await
        }
        _ => Ok(answer.exit),
    }
}

/// How findings are printed, and whether in colour.
fn check_form(world: &World, cli: &Cli) -> (check::Form, bool) {
    let colour = cli.global.color == crate::cli::Color::Always
        || (cli.global.color == crate::cli::Color::Auto && world.environment.screen);
    let form = match cli.global.format() {
        // Markdown and Html: `report` alone has them.
        Format::Human | Format::Markdown | Format::Html => check::Form::Drawn,
        Format::Json | Format::Jsonl => check::Form::Json,
        Format::Github => check::Form::Github,
        Format::Sarif => check::Form::Sarif,
    };
    (form, colour)
}
