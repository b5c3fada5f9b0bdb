//! `report [RUN]`: draws a kept run again, from its log and nothing else.

use std::path::Path;

use super::kept;
use crate::error::Error;
use crate::exit::Exit;
use crate::report::store::{self, Loaded};
use crate::report::{Format, Look, door, github, html, human, json, summary};

/// Shows a run, by default the last.
///
/// # Errors
/// When there is no such run, or its log can not be read.
pub fn run(
    state_dir: &Path,
    run: Option<&str>,
    format: Format,
    look: &Look,
) -> Result<Exit, Error> {
    let run = find(state_dir, run, "report ")?;
    let log = store::log_of(state_dir, &run);
    if format == Format::Jsonl {
        return lines(&log, &run);
    }
    let loaded = store::load_run(state_dir, &run).map_err(|e| unreadable(&run, &e))?;
    if loaded.state.run.is_empty() {
        // Not even its beginning: whatever was shown would be made up.
        return Err(unreadable(&run, &std::io::Error::other("it does not say what began")));
    }
    remark(&run, &loaded);
    let state = &loaded.state;
    let text = match format {
        Format::Json => json::document(state),
        Format::Html => html::page(state, look),
        Format::Markdown => summary::markdown(state, look),
        Format::Github => github::annotations(state).join("\n") + "\n",
        Format::Human | Format::Jsonl => human::text(state, look),
    };
    show(&text)
}

/// The run that is meant; `None`: the last.
///
/// # Errors
/// When it is none that was kept; `command` is what to type with the right one.
pub(crate) fn find(state_dir: &Path, run: Option<&str>, command: &str) -> Result<String, Error> {
    let word = run.unwrap_or("last");
    store::find(state_dir, word)
        .map_err(|error| kept::no_run(&store::list(state_dir), command, word, &error))
}

pub(crate) fn unreadable(run: &str, error: &std::io::Error) -> Error {
    let sentence = format!("the log of run {run} can not be read");
    Error::usage(sentence).because(error).hint("nixdeploy history")
}

/// Writes a result; a full disk behind standard output is an error, a reader that left is none.
pub(crate) fn show(text: &str) -> Result<Exit, Error> {
    door::try_out(text).map_err(unwritten)?;
    Ok(Exit::Done)
}

/// The same of a result that is too much to be held at once.
pub(crate) fn show_with(
    write: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>,
) -> Result<(), Error> {
    door::try_out_with(write).map_err(unwritten)
}

/// The sentence of [`unwritten`].
pub(crate) const UNWRITTEN: &str = "standard output can not be written";

/// What there was to print is lost.
pub(crate) fn unwritten(cause: impl std::fmt::Display) -> Error {
    Error::usage(UNWRITTEN).because(cause).hint("df -h .")
}

/// Says what could not be read; the rest is shown all the same.
fn remark(run: &str, loaded: &Loaded) {
    if loaded.cut {
        door::err(&format!("warning: the log of run {run} ends in the middle of a line\n"));
    }
    if loaded.strange > 0 {
        let lines = crate::report::look::count(loaded.strange, "line", "lines");
        door::err(&format!("warning: {lines} of run {run} are of another version\n"));
    }
}

/// The log as it stands, without a last line that was cut off: an event of a later version is
/// passed on, not lost.
fn lines(log: &Path, run: &str) -> Result<Exit, Error> {
    let (mut failed, mut begun) = (None, false);
    store::each(log, |line, stamped| {
        begun |= matches!(stamped.event, crate::event::Event::RunStarted { .. });
        if failed.is_none() {
            failed = door::try_out(&format!("{line}\n")).err();
        }
    })
    .map_err(|e| unreadable(run, &e))?;
    match failed {
        Some(e) => Err(unwritten(e)),
        None if !begun => {
            Err(unreadable(run, &std::io::Error::other("it does not say what began")))
        }
        None => Ok(Exit::Done),
    }
}
