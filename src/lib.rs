#![doc = include_str!("ARCHITECTURE.md")]

pub mod activate;
pub mod build;
pub mod cli;
pub mod command;
pub mod commit;
pub mod docs;
pub mod error;
pub mod event;
pub mod exit;
pub mod fleet;
pub mod issues;
pub mod package;
pub mod pipeline;
pub mod plan;
pub mod preflight;
pub mod report;
pub mod rollback;
pub mod update;
pub mod validate;
pub mod verify;
pub mod world;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use cli::Cli;
use error::Error;
use exit::Exit;
use world::password::Safe;
use world::prompt::Prompt;
use world::{Clock, Environment, World};

/// Parses, runs, and turns the result into an exit code.
pub fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    if command::tab::answered(&argv) {
        return ExitCode::SUCCESS;
    }
    let cli = match cli::parse(argv.iter().cloned()) {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error, &argv),
    };
    let setting = command::launch::setting(&cli.global);
    let format = setting.format;
    let awaited = format.is_document() && !setting.withheld;
    let exit = match serve(&cli) {
        Ok(Exit::Interrupted) if awaited && !report::door::used() => {
            report::refuse(&interrupted(), format);
            Exit::Interrupted
        }
        Ok(exit) => exit,
        Err(error) => {
            let error = error.downcast().unwrap_or_else(|other| internal(&other));
            // That there is no result is said below, once.
            if error.sentence != command::report::UNWRITTEN {
                report::refuse(&error, format);
            }
            error.exit
        }
    };
    delivered(exit).into()
}

/// A program that reads the result gets one, whenever the signal came.
fn interrupted() -> Error {
    Error::new(Exit::Interrupted, "interrupted before there was a result")
        .hint("nixdeploy status tells what hosts run")
}

/// The code to end with: a result that nobody can have got is no success.
fn delivered(exit: Exit) -> Exit {
    let Some(cause) = report::door::lost() else { return exit };
    let error = command::report::unwritten(cause);
    report::complain(&error);
    match exit {
        Exit::Done | Exit::Staged | Exit::Changes => error.exit,
        worse => worse,
    }
}

/// Help and version, or why the words were not understood.
fn not_understood(error: &clap::Error, argv: &[OsString]) -> ExitCode {
    let text = error.render().to_string();
    let format = cli::Format::asked(argv);
    if !error.use_stderr() {
        let version = error.kind() == clap::error::ErrorKind::DisplayVersion;
        report::out(&match format {
            cli::Format::Json | cli::Format::Jsonl if version => report::json::version(),
            _ => error.render().ansi().to_string(),
        });
        return delivered(Exit::Done).into();
    }
    if format != cli::Format::Human {
        report::refuse(&usage(&text), command::launch::form(format));
    } else if text.chars().any(|c| c != '\n' && event::harmless::obeyed(c)) {
        // What was typed is quoted in it, and may hold anything.
        report::complain(&text);
    } else {
        let _ = error.print();
    }
    if format == cli::Format::Human && lacks_a_host(error) {
        // Generations are a host's own: no word for several may stand there.
        let one = text.contains("nixdeploy rollback");
        report::err(&format!("  hint: {}\n", if one { HOST } else { HOSTS }));
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// What to do where a host was to be named.
const HOSTS: &str = "nixdeploy status lists the hosts; @TAG, 'p*' and all name several";

const HOST: &str = "nixdeploy status lists the hosts; rollback takes one";

fn lacks_a_host(error: &clap::Error) -> bool {
    let lacking = error.get(clap::error::ContextKind::InvalidArg);
    let names = lacking.map(ToString::to_string).unwrap_or_default();
    error.kind() == clap::error::ErrorKind::MissingRequiredArgument && names.contains("<HOST>")
}

/// The parts of clap's text.
fn usage(text: &str) -> Error {
    let mut parts = text.split("\n\n").map(str::trim);
    let first = parts.next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    let sentence = first.split_whitespace().collect::<Vec<_>>().join(" ");
    let tips = parts.flat_map(str::lines).filter_map(|l| l.trim().strip_prefix("tip: "));
    let said = tips.fold(Error::new(Exit::Usage, sentence), |said, tip| said.hint(tip));
    said.hint("nixdeploy --help")
}

/// One thread is enough: nearly all of our time is spent waiting for nix and ssh.
fn serve(cli: &Cli) -> anyhow::Result<Exit> {
    report::log::init(cli.global.verbose);
    command::launch::setting(&cli.global).colour.write_global();
    let environment = Environment::read()?;
    // Every part keeps something below these; a link there would lead all of it elsewhere.
    for folder in [&environment.state, &environment.cache] {
        world::files::no_trap(folder).map_err(|error| {
            Error::usage(error.to_string()).hint(format!("ls -ld {}", folder.display()))
        })?;
    }
    // Without this folder ssh works, but each command logs in anew.
    if let Err(error) = world::files::private_folder(&environment.sockets) {
        tracing::warn!(%error, "no folder for ssh's sockets");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start tokio's runtime")?;
    let exit = runtime.block_on(async {
        let safe = Safe::file(cli.global.sudo_password_file.clone());
        let prompt = Prompt::new(environment.interactive && !cli.global.no_input);
        let world = World {
            runner: Arc::new(world::process::System),
            clock: Clock::start(),
            prompt: Arc::new(prompt.with(|| Box::new(report::hold()), safe)),
            environment: Arc::new(environment),
        };
        command::run(&world, cli).await
    });
    // A question nobody answered must not keep the process.
    runtime.shutdown_background();
    Ok(exit?)
}

/// Whatever no command has words for, with everything that led to it.
fn internal(error: &anyhow::Error) -> Error {
    let causes = error.chain().skip(1);
    let said = Error::new(Exit::Internal, error.to_string()).hint("nixdeploy -vv ...");
    causes.fold(said, |said, cause| said.because(cause))
}
