//! `nixdeploy man [DIR]`: manual pages, made from the same types as the help.

use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::cli::{Cli, ManArgs};
use crate::error::Error;
use crate::exit::{self, Exit};
use crate::world::{Environment, files};

/// Prints `nixdeploy(1)`, or writes it and a page for every command into a folder.
///
/// # Errors
/// When the folder or a file in it can not be written.
pub(super) fn run(environment: &Environment, args: &ManArgs) -> Result<Exit, Error> {
    let pages = pages().map_err(|e| Error::new(Exit::Internal, "no manual page").because(e))?;
    let Some(folder) = &args.folder else {
        return super::report::show(&pages[0].1);
    };
    let folder = environment.expand(&folder.to_string_lossy(), &environment.folder);
    for (name, text) in &pages {
        write(&folder, name, text).map_err(|error| {
            Error::usage(format!("cannot write {}", folder.join(name).display())).because(error)
        })?;
    }
    let pages = crate::report::look::count(pages.len(), "page", "pages");
    super::report::show(&format!("{}: {pages}\n", folder.display()))
}

fn write(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    files::publish(&folder.join(name), text.as_bytes())
}

/// Every page: its file's name and text, that of the program first.
///
/// # Errors
/// None in practice: nothing is written but memory.
fn pages() -> io::Result<Vec<(String, String)>> {
    let mut top = Cli::command();
    top.build();
    let mut pages = vec![page(&top, &[])?];
    for command in top.get_subcommands() {
        pages.push(page(command, &[command.get_name()])?);
        for below in command.get_subcommands() {
            pages.push(page(below, &[command.get_name(), below.get_name()])?);
            for last in below.get_subcommands() {
                pages.push(page(last, &[command.get_name(), below.get_name(), last.get_name()])?);
            }
        }
    }
    Ok(pages)
}

fn page(command: &Command, path: &[&str]) -> io::Result<(String, String)> {
    let name = [&["nixdeploy"], path].concat().join("-");
    let version = concat!("nixdeploy ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone().display_name(name.clone()));
    let man = man.title(name.to_uppercase()).source(version).manual("nixdeploy");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    if let Some(examples) = command.get_before_long_help() {
        let examples = examples.to_string();
        let lines = examples.lines().skip(1).map(|line| line.strip_prefix("  ").unwrap_or(line));
        text.extend(verbatim("EXAMPLES", lines).bytes());
    }
    man.render_description_section(&mut text)?;
    if command.get_arguments().next().is_some() {
        man.render_options_section(&mut text)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    let codes = exit::TABLE.iter().map(|(code, told)| format!("{:>3}  {told}", *code as u8));
    let codes: Vec<String> = codes.collect();
    text.extend(verbatim("EXIT STATUS", codes.iter().map(String::as_str)).bytes());
    Ok((format!("{name}.1"), String::from_utf8_lossy(&text).into_owned()))
}

/// A section whose lines stay as they are; roff(7) sees none of their characters as its own.
fn verbatim<'a>(title: &str, lines: impl Iterator<Item = &'a str>) -> String {
    let mut text = format!(".SH \"{title}\"\n.nf\n");
    for line in lines {
        text.push_str("\\&");
        text.push_str(&line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq"));
        text.push('\n');
    }
    text + ".fi\n"
}
