//! Renderers: they read the stream and its fold, and nothing else.
//!
//! One consumer drains the channel, folds each event first and then hands it to every sink in
//! order. A sink that fails is named once and left out; a deploy is never stopped by its report.
//! Terminal, recap, documents and Markdown take their words from [`words`], so no two disagree.
//! `status` is no run: [`board`] is its data, [`table`] draws it.

pub mod board;
pub mod changes;
pub mod choice;
pub mod coming;
pub mod content;
pub mod door;
pub mod github;
pub mod html;
pub mod human;
pub mod inputs;
pub mod joined;
pub mod json;
pub mod known;
pub mod log;
pub mod look;
pub mod measured;
pub mod memory;
pub mod metrics;
pub mod past;
pub mod plain;
pub mod plot;
pub mod recap;
pub mod screen;
pub mod store;
pub mod summary;
pub mod table;
pub mod terminal;
pub mod trend;
pub mod waiting;
pub mod words;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::MissedTickBehavior;

use crate::error::Error;
use crate::event::Stamped;
use crate::event::state::RunState;
use crate::event::stream::Stopwatch;

pub use choice::{Format, Setting, sinks};
pub use door::{Hold, err, hold, out};
pub use look::Look;

/// Ten ticks a second: enough for a clock in tenths, little enough for a slow line.
const TICK: Duration = Duration::from_millis(100);

/// Something that shows or keeps a run.
pub trait Sink: Send {
    /// Takes in one event; `state` holds it already.
    ///
    /// # Errors
    /// When it can not go on; it is not called again.
    fn event(&mut self, stamped: &Stamped, state: &RunState) -> io::Result<()>;

    /// The stream ended.
    ///
    /// # Errors
    /// When the last words could not be written.
    fn finish(&mut self, state: &RunState) -> io::Result<()>;

    /// Time went on; `now_elapsed_ms` counts from the beginning of the run.
    fn tick(&mut self, state: &RunState, now_elapsed_ms: u64) {
        let _ = (state, now_elapsed_ms);
    }
}

/// Folds each event and hands it to every sink.
pub struct Fanout {
    sinks: Vec<Box<dyn Sink>>,
    state: RunState,
}

impl Fanout {
    /// Over these sinks, in this order.
    pub fn new(sinks: Vec<Box<dyn Sink>>) -> Self {
        Self { sinks, state: RunState::default() }
    }

    /// What is known so far.
    pub fn state(&self) -> &RunState {
        &self.state
    }

    /// Takes in one event; returns what is to be said of sinks that failed.
    pub fn event(&mut self, stamped: &Stamped) -> Vec<String> {
        self.state.apply(stamped);
        let state = &self.state;
        keep(&mut self.sinks, |sink| sink.event(stamped, state))
    }

    /// Lets clocks tick.
    pub fn tick(&mut self, now_elapsed_ms: u64) {
        for sink in &mut self.sinks {
            sink.tick(&self.state, now_elapsed_ms);
        }
    }

    /// Ends every sink; returns the fold and what is to be said.
    pub fn finish(mut self) -> (RunState, Vec<String>) {
        let state = &self.state;
        let notes = keep(&mut self.sinks, |sink| sink.finish(state));
        (self.state, notes)
    }
}

/// Calls each sink and drops those that fail.
fn keep(
    sinks: &mut Vec<Box<dyn Sink>>,
    mut call: impl FnMut(&mut dyn Sink) -> io::Result<()>,
) -> Vec<String> {
    let mut notes = Vec::new();
    sinks.retain_mut(|sink| match call(sink.as_mut()) {
        Ok(()) => true,
        Err(e) => {
            notes.push(format!("a part of the report is given up, the run goes on: {e}"));
            false
        }
    });
    notes
}

/// Consumes the stream of a run until its last event, or until no emitter is left.
pub async fn drain(
    mut receiver: UnboundedReceiver<Stamped>,
    sinks: Vec<Box<dyn Sink>>,
    clock: Arc<dyn Stopwatch>,
) -> RunState {
    let mut fanout = Fanout::new(sinks);
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut began_ms = clock.monotonic_ms();
    let mut batch = Vec::new();
    while !fanout.state().finished {
        tokio::select! {
            count = receiver.recv_many(&mut batch, 512) => {
                if count == 0 {
                    break;
                }
                for stamped in batch.drain(..) {
                    if stamped.index == 0 {
                        began_ms = clock.monotonic_ms().saturating_sub(stamped.elapsed_ms);
                    }
                    say(&fanout.event(&stamped));
                }
            }
            _ = ticks.tick() => fanout.tick(clock.monotonic_ms().saturating_sub(began_ms)),
        }
    }
    let (state, notes) = fanout.finish();
    say(&notes);
    state
}

fn say(notes: &[String]) {
    for note in notes {
        door::err(&format!("warning: {note}\n"));
    }
}

/// Without what a terminal would obey: a path or a word that was typed may hold anything. Colours
/// stay in a text that was drawn with them, and what such a text quotes is harmless already.
fn quiet(text: &str) -> String {
    let drawn = text.starts_with('\u{1b}');
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => shown.push(c),
            '\u{1b}' if drawn => shown.push(c),
            c if crate::event::harmless::obeyed(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

/// Says why a command ended before any host was touched, in the form of its results.
pub fn refuse(error: &Error, format: Format) {
    // A diagnostic may have been drawn in colours, and outside text is nobody's to obey.
    let plain = |text: &String| quiet(&anstream::adapter::strip_str(text).to_string());
    let bare = || Error {
        exit: error.exit,
        sentence: plain(&error.sentence),
        causes: error.causes.iter().map(plain).collect(),
        hints: error.hints.iter().map(plain).collect(),
    };
    match format {
        Format::Json | Format::Jsonl => door::out(&json::refusal(&bare())),
        Format::Github => door::out(&github::refusal(&bare())),
        Format::Human | Format::Markdown | Format::Html => complain(error),
    }
}

/// Says something of an error to the person.
pub fn complain(error: &dyn std::fmt::Display) {
    let text = quiet(&error.to_string());
    let prefix =
        if text.starts_with("error") || text.starts_with("\u{1b}") { "" } else { "error: " };
    door::err(&format!("{prefix}{text}\n"));
}
