//! Which sinks a run has: from the flags and from what the process was started in.

use std::io;

use anstream::ColorChoice;
use console::Term;
use jiff::tz::TimeZone;

use super::look::Look;
use super::{Sink, changes, door, github, json, plain, recap, store, summary, terminal, words};
use crate::event::Stamped;
use crate::event::state::RunState;
use crate::exit::Exit;
use crate::world::Environment;

/// The form of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For a person.
    #[default]
    Human,
    /// One document.
    Json,
    /// The event stream.
    Jsonl,
    /// Annotations, groups and the step summary of GitHub Actions.
    Github,
    /// Markdown.
    Markdown,
    /// A page for a browser; of a kept run alone.
    Html,
}

impl Format {
    /// Whether a program reads it, and waits for it.
    pub fn is_document(self) -> bool {
        matches!(self, Self::Json | Self::Jsonl)
    }
}

/// What the flags say.
#[derive(Debug, Clone, Default)]
pub struct Setting {
    /// `--format`, `--json`.
    pub format: Format,
    /// `--color`.
    pub colour: ColorChoice,
    /// `-q`: recap and failures only.
    pub quiet: bool,
    /// `-qq`: nothing unless something failed.
    pub silent: bool,
    /// How often `-v` was given.
    pub verbose: u8,
    /// The result of this run is not printed: what becomes of its hosts decides how it is told.
    pub withheld: bool,
    /// The document of the run that this one goes on from, for its own.
    pub resumed: Option<String>,
}

/// Makes the doors obey `--color` and gives the look of results on standard output.
pub fn look(setting: &Setting, environment: &Environment) -> Look {
    setting.colour.write_global();
    // The doors take colours out where the reader can not show them.
    let colour = setting.colour != ColorChoice::Never;
    // A terminal that does not say how wide it is has eighty columns; wider lines are not read.
    let width = Term::stdout().size_checked().map_or(80, |(_, columns)| usize::from(columns));
    Look {
        unicode: environment.unicode,
        colour,
        width: if environment.page { width.clamp(40, 160) } else { 80 },
        whole: !environment.page,
        zone: TimeZone::system(),
    }
}

/// The sinks of a run: its log first, then what is seen while it lasts, then the result.
pub fn sinks(setting: &Setting, environment: &Environment) -> Vec<Box<dyn Sink>> {
    let mut sinks: Vec<Box<dyn Sink>> = vec![Box::new(store::Writer::new(&environment.state))];
    sinks.extend(watchers(setting, environment));
    sinks
}

/// The same without its log, for a run that another process does and keeps.
pub fn watchers(setting: &Setting, environment: &Environment) -> Vec<Box<dyn Sink>> {
    let look = look(setting, environment);
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    let github = setting.format == Format::Github;
    if !setting.quiet && !github {
        sinks.push(progress(setting, environment, &look, setting.format));
    }
    let out = Box::new(door::try_out);
    match setting.format {
        Format::Human | Format::Json if setting.withheld => {}
        Format::Human => sinks.push(Box::new(AtEnd { look, text: text(setting) })),
        Format::Markdown | Format::Html => {
            sinks.push(Box::new(AtEnd { look, text: summary::markdown }))
        }
        Format::Json => sinks.push(Box::new(json::Json { resumed: setting.resumed.clone() })),
        Format::Jsonl => sinks.push(Box::new(json::Lines)),
        Format::Github => {
            let look = Look { colour: false, ..look };
            let summary = environment.step_summary.clone();
            sinks.push(Box::new(github::Github::on(look, setting.verbose > 0, summary, out)));
        }
    }
    sinks
}

/// The result of a run for a person.
fn text(setting: &Setting) -> fn(&RunState, &Look) -> String {
    if setting.silent { failures } else { changes::result }
}

/// The result of a run that was withheld.
pub fn result(state: &RunState, setting: &Setting, environment: &Environment) -> String {
    text(setting)(state, &look(setting, environment))
}

/// A live screen where it can be drawn and nothing is traced across it, lines elsewhere.
fn progress(
    setting: &Setting,
    environment: &Environment,
    look: &Look,
    format: Format,
) -> Box<dyn Sink> {
    let verbose = setting.verbose > 0;
    // The recap is read on the same screen: what it tells of a failure is not told twice.
    let recap = environment.page && format == Format::Human || setting.withheld;
    if environment.screen && setting.verbose < 2 {
        // The screen is written past anstream, so what it can show must be known here.
        let colour = anstream::stderr().current_choice() != ColorChoice::Never;
        let look = Look { colour, whole: false, ..look.clone() };
        return Box::new(terminal::Terminal::new(look, verbose, recap));
    }
    Box::new(plain::Plain::new(Look { colour: false, ..look.clone() }, verbose))
}

/// The recap of a run in which something failed.
fn failures(state: &RunState, look: &Look) -> String {
    if words::exit_of_run(state) == Exit::Done { String::new() } else { recap::text(state, look) }
}

/// Writes one text to standard output when all is over.
struct AtEnd {
    look: Look,
    text: fn(&RunState, &Look) -> String,
}

impl Sink for AtEnd {
    fn event(&mut self, _stamped: &Stamped, _state: &RunState) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, state: &RunState) -> io::Result<()> {
        door::try_out(&(self.text)(state, &self.look))
    }
}
