//! From the command line to the fleet and the hosts that are meant.
//!
//! Every verb begins here. The texts of the errors are here too, because `fleet` knows no file,
//! no flag and no command.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::cli::{Color, Global, nearest_command};
use crate::error::Error;
use crate::fleet::hosts_toml::{FILE_NAME, find, parse, render};
use crate::fleet::select::{SelectError, select};
use crate::fleet::{self, Fleet, Host};
use crate::world::{Environment, files};

/// A fleet of hundreds of hosts is some hundred KiB.
const LARGEST: u64 = 4 << 20;

/// Reads the hosts.toml that is meant.
///
/// # Errors
/// When there is none, it cannot be read, or it is wrong.
pub fn load(environment: &Environment, global: &Global) -> Result<Fleet, Error> {
    let path = locate(environment, global.inventory.as_deref())?;
    let text = files::read_text(&path, LARGEST).map_err(|e| unreadable(&path, &e))?;
    let colour = match global.color {
        Color::Auto => environment.screen,
        Color::Always => true,
        Color::Never => false,
    };
    parse(&path, &text).map_err(|mistakes| {
        // Drawn below the folder it was started in, a path is short and can be clicked.
        let shown = path.strip_prefix(&environment.folder).unwrap_or(&path);
        let drawn = render(&mistakes, shown, &text, colour);
        Error::usage(drawn).hint("every key with its default: nixdeploy help hosts")
    })
}

/// What hosts.toml says; `None` without one.
///
/// # Errors
/// As [`load`], but for one that is not there and was not asked for.
pub fn if_there(environment: &Environment, global: &Global) -> Result<Option<Fleet>, Error> {
    let found = find(&environment.folder, Path::exists);
    if global.inventory.is_none() && found.is_none() {
        return Ok(None);
    }
    load(environment, global).map(Some)
}

/// What hosts.toml says of known issues. Where no host is meant none is needed.
///
/// # Errors
/// As [`load`], but for one that is not there and is not needed.
pub fn issues(
    environment: &Environment,
    global: &Global,
    without: bool,
) -> Result<fleet::Issues, Error> {
    let found = find(&environment.folder, Path::exists);
    if without && global.inventory.is_none() && found.is_none() {
        return Ok(fleet::Issues::default());
    }
    load(environment, global).map(|fleet| fleet.issues)
}

fn locate(environment: &Environment, inventory: Option<&Path>) -> Result<PathBuf, Error> {
    if let Some(path) = inventory {
        return Ok(environment.expand(&path.to_string_lossy(), &environment.folder));
    }
    find(&environment.folder, Path::exists).ok_or_else(|| {
        Error::usage(format!("no {FILE_NAME} here or in a folder above"))
            .because(format!("looked from {}", environment.folder.display()))
            .hint("write one from the flake in this folder: nixdeploy init")
            .hint("name one that is elsewhere: nixdeploy --inventory FILE ...")
    })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    let sentence = Error::usage(format!("cannot read {}", path.display())).because(error);
    if error.kind() == ErrorKind::NotFound {
        return sentence.hint("write one from the flake: nixdeploy init");
    }
    sentence.hint(format!("look at it: ls -l {}", path.display()))
}

/// The flake to deploy from: `--flake`, else hosts.toml's, else the folder of hosts.toml.
///
/// A path is made absolute, counted from where it was written; a reference stays as it is.
pub fn flake(environment: &Environment, global: &Global, fleet: &Fleet) -> String {
    let beside = fleet.source.parent().unwrap_or_else(|| Path::new("/"));
    match (&global.flake, &fleet.flake) {
        (Some(typed), _) => reference(environment, typed, &environment.folder),
        (None, Some(written)) => reference(environment, written, beside),
        (None, None) => beside.display().to_string(),
    }
}

/// A flake reference with a path in it made absolute; `github:...` and the like stay.
pub(super) fn reference(environment: &Environment, text: &str, from: &Path) -> String {
    let path = text.starts_with(['~', '.', '/']) || !text.contains(':') && from.join(text).exists();
    if path { tidy(&environment.expand(text, from)) } else { text.to_owned() }
}

/// Without `.` components: `/a/.` and `/a` are one flake, and one line in every report.
fn tidy(path: &Path) -> String {
    path.components().collect::<PathBuf>().display().to_string()
}

/// The hosts that a command means.
///
/// `bare` is the first word of a command line without a command.
///
/// # Errors
/// When a word means no host: with the nearest host, and the nearest command for a bare word.
pub fn hosts<'a>(
    fleet: &'a Fleet,
    words: &[String],
    exclude: &[String],
    bare: Option<&str>,
) -> Result<Vec<&'a Host>, Error> {
    select(fleet, words, exclude).map_err(|error| unknown(fleet, &error, bare))
}

fn unknown(fleet: &Fleet, error: &SelectError, bare: Option<&str>) -> Error {
    let is_bare = bare.is_some() && bare == error.word.as_deref();
    let sentence = match bare {
        Some(word) if is_bare => {
            format!("'{}' is neither a command nor a host", word.escape_debug())
        }
        _ => error.to_string(),
    };
    let mut told = Error::usage(sentence);
    if let Some(nearest) = &error.nearest {
        let what = if nearest.starts_with('@') { "" } else { "the host " };
        told = told.hint(format!("did you mean {what}{nearest}?"));
    }
    if let Some(command) = bare.filter(|_| is_bare).and_then(nearest_command) {
        told = told.hint(format!("did you mean the command {command}?"));
    }
    if error.known.is_empty() {
        return told.hint(format!("add a host to {}: [hosts.NAME]", fleet.source.display()));
    }
    told.hint(format!("{} knows: {}", fleet.source.display(), some(&error.known)))
}

/// The first of many names.
pub(super) fn some(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let mut text = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> Fleet {
        parse(Path::new("/n/hosts.toml"), "[hosts.p620]\n[hosts.razer]").expect("good")
    }

    fn told(words: &[&str], bare: Option<&str>) -> String {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        let fleet = fleet();
        hosts(&fleet, &words, &[], bare).expect_err("unknown").to_string()
    }

    #[test]
    fn an_unknown_host_is_told_with_the_nearest() {
        insta::assert_snapshot!(told(&["p602"], None), @r"
        no host is called 'p602'
          hint: did you mean the host p620?
          hint: /n/hosts.toml knows: p620, razer
        ");
    }

    #[test]
    fn a_bare_word_is_told_as_neither_command_nor_host() {
        insta::assert_snapshot!(told(&["satus"], Some("satus")), @r"
        'satus' is neither a command nor a host
          hint: did you mean the command status?
          hint: /n/hosts.toml knows: p620, razer
        ");
        assert!(told(&["p620", "x9"], Some("p620")).starts_with("no host is called 'x9'"));
    }

    #[test]
    fn many_names_are_cut() {
        let names: Vec<String> = (0..20).map(|n| format!("h{n}")).collect();
        assert!(some(&names).ends_with("h11 and 8 more"));
    }
}
