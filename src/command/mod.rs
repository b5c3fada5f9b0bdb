//! One verb per file: arguments to a request, to a plan, to a run, to an exit code.

pub mod check;
pub mod completions;
pub mod history;
pub mod init;
pub mod inventory;
pub mod logs;
pub mod report;
pub mod schema;

use crate::cli::{Cli, Command};
use crate::error::Error;
use crate::exit::Exit;
use crate::world::World;

/// Does what was typed.
///
/// # Errors
/// When it ended before any host was touched.
pub async fn run(world: &World, cli: &Cli) -> Result<Exit, Error> {
    match &cli.command {
        Command::Schema => Ok(schema::run()),
        Command::Completions(args) => Ok(completions::run(args)),
        Command::Init(args) => init::run(world, &cli.global, args).await,
        other => Err(Error::new(Exit::Internal, format!("not connected yet: {other:?}"))
            .hint("see what there is: nixdeploy --help")),
    }
}
