//! `nixdeploy help [TOPIC]`: the help of a command, or a page of the documentation as it was built
//! in.

use clap::CommandFactory;

use crate::cli::{Cli, HelpArgs, command_names, topics};
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
        let pages = format!("\n{}\n\nnixdeploy help NAME prints one.\n", topics());
        return super::report::show(&(top.render_long_help().to_string() + &pages));
    };
    if let Some((_, _, text)) = PAGES.iter().find(|(name, ..)| name == topic) {
        return super::report::show(&linked(text));
    }
    if let Some(command) = top.find_subcommand_mut(topic) {
        return super::report::show(&command.render_long_help().to_string());
    }
    Err(unknown(topic))
}

/// Who reads a page here has no folder of them: one that it names is named as it is typed.
fn linked(text: &str) -> String {
    PAGES.iter().fold(text.to_owned(), |text, (name, ..)| {
        let (file, typed) = (format!("`src/docs/{name}.md`"), format!("`nixdeploy help {name}`"));
        // Where both stand, the file goes.
        text.replace(&format!("{typed} ({file})"), &typed)
            .replace(&format!("{typed} ({file}, "), &format!("{typed} ("))
            .replace(&file, &typed)
    })
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
