//! `nixdeploy help [TOPIC]`: the help of a command, or a page of the documentation as it was built
//! in.

use clap::CommandFactory;

use crate::cli::{Cli, HelpArgs, command_names};
use crate::docs::PAGES;
use crate::error::Error;
use crate::exit::Exit;
use crate::fleet::hosts_toml::nearest;

/// Prints it.
///
/// # Errors
/// When there is no such command and no such page.
pub fn run(args: &HelpArgs) -> Result<Exit, Error> {
    let mut top = Cli::command();
    top.build();
    let Some(topic) = &args.topic else {
        return super::report::show(&top.render_long_help().to_string());
    };
    if let Some((_, _, text)) = PAGES.iter().find(|(name, ..)| name == topic) {
        return super::report::show(text);
    }
    if let Some(command) = top.find_subcommand_mut(topic) {
        return super::report::show(&command.render_long_help().to_string());
    }
    Err(unknown(topic))
}

fn unknown(topic: &str) -> Error {
    let commands = command_names();
    let pages = PAGES.iter().map(|(name, ..)| *name);
    let known = commands.iter().map(String::as_str).chain(pages);
    let shown = crate::event::harmless::line(topic);
    let mut told = Error::usage(format!("'{shown}' is neither a command nor a page"));
    if let Some(nearest) = nearest(topic, known) {
        told = told.hint(format!("did you mean {nearest}?"));
    }
    let pages: Vec<&str> = PAGES.iter().map(|(name, ..)| *name).collect();
    told.hint(format!("pages: {}", pages.join(", "))).hint("commands: nixdeploy --help")
}
