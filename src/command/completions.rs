//! `nixdeploy completions SHELL`: what a shell needs to ask at the TAB key.

use crate::cli::CompletionsArgs;
use crate::error::Error;
use crate::exit::Exit;

use super::tab::{SHELLS, VARIABLE};

/// When zsh loads the file by its name, that first call is a TAB already.
const AUTOLOADED: &str = "\
[[ ${funcstack[1]} == _nixdeploy ]] && _clap_dynamic_completer_nixdeploy \"$@\"\n";

/// Prints the file.
///
/// # Errors
/// When there is none for the shell, or standard output can not be written.
pub fn run(args: &CompletionsArgs) -> Result<Exit, Error> {
    let name = args.shell.to_string();
    let (mut file, ours) = (Vec::new(), "nixdeploy");
    let shell = SHELLS.completer(&name).ok_or_else(|| Error::usage(format!("no file for {name}")));
    let written = shell?.write_registration(VARIABLE, ours, ours, ours, &mut file);
    written.map_err(|error| Error::new(Exit::Internal, "no completion file").because(error))?;
    let mut text = String::from_utf8_lossy(&file).into_owned();
    if args.shell == clap_complete::Shell::Zsh {
        text.push_str(AUTOLOADED);
    }
    super::report::show(&text)
}
