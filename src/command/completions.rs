//! `nixdeploy completions SHELL`: commands and flags for the shell's TAB key.

use clap::CommandFactory;

use crate::cli::{Cli, CompletionsArgs};
use crate::exit::Exit;

/// Prints the file.
pub fn run(args: &CompletionsArgs) -> Exit {
    let mut file = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "nixdeploy", &mut file);
    crate::report::out(&String::from_utf8_lossy(&file));
    Exit::Done
}
