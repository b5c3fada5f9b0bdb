//! The live screen: lines of [`screen::frame`] kept in place by indicatif,
//! and above them what is final.
//!
//! One bar carries all lines, so a tick is one write and nothing flickers; which hosts have a
//! line is decided there, not by indicatif, which would cut by order and not by importance.

use std::io;

use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::look::{Look, short};
use super::words::{self, Tone};
use super::{Sink, door, recap, screen};
use crate::event::state::{HostState, RunState};
use crate::event::{Event, Stamped};
use crate::fleet::HostName;

/// Draws on a terminal.
pub struct Terminal {
    multi: MultiProgress,
    bar: Option<ProgressBar>,
    look: Look,
    /// Fixed in tests; otherwise the terminal is asked at each tick.
    rows: Option<usize>,
    verbose: bool,
    /// The recap follows on the same screen.
    recap: bool,
    /// Final lines that wait for the screen.
    kept: Vec<String>,
}

impl Terminal {
    /// On standard error; `recap`: one follows on the same screen.
    pub fn new(look: Look, verbose: bool, recap: bool) -> Self {
        let multi = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(20));
        door::register(Some(multi.clone()));
        Self { multi, bar: None, look, rows: None, verbose, recap, kept: Vec::new() }
    }

    /// On a terminal in memory, of so many rows.
    pub fn on(target: ProgressDrawTarget, look: Look, rows: usize, verbose: bool) -> Self {
        let multi = MultiProgress::with_draw_target(target);
        let rows = Some(rows);
        Self { multi, bar: None, look, rows, verbose, recap: false, kept: Vec::new() }
    }

    /// Prints final lines above the live ones, or keeps them while a question stands there.
    fn above(&mut self, lines: &[String]) -> io::Result<()> {
        self.kept.extend_from_slice(lines);
        if self.kept.is_empty() {
            return Ok(());
        }
        let text = self.kept.join("\n");
        match door::unless_held(|| self.multi.println(text)) {
            Some(said) => {
                self.kept.clear();
                said
            }
            None => Ok(()),
        }
    }

    fn draw(&mut self, state: &RunState, now_ms: u64) {
        let rows = self.measure();
        let lines = screen::frame(state, &self.look, now_ms, rows);
        // What could not be printed now is tried again with the next event.
        let _ = self.above(&[]);
        if lines.is_empty() {
            return;
        }
        let (bar, multi) = (&mut self.bar, &self.multi);
        let drawn = door::unless_held(|| {
            let bar = bar
                .get_or_insert_with(|| multi.add(ProgressBar::new_spinner().with_style(style())));
            bar.set_message(lines.join("\n"));
        });
        if drawn.is_none() {
            // A question stands where the lines were; they come back with a new bar.
            self.bar = None;
        }
    }

    fn wipe(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
            self.multi.remove(&bar);
        }
    }

    fn measure(&mut self) -> usize {
        if let Some(rows) = self.rows {
            return rows;
        }
        let (rows, columns) = Term::stderr().size_checked().unwrap_or((24, 80));
        // The last column is left free: some terminals wrap when it is written.
        self.look.width = usize::from(columns).saturating_sub(1).clamp(40, 140);
        usize::from(rows)
    }

    fn host_done(&mut self, state: &RunState, name: &HostName) -> io::Result<()> {
        let Some(host) = state.host(name) else { return Ok(()) };
        // A failed host stays in the live part; its line comes at the end.
        match (state.hosts.len(), words::tone(host)) {
            (1, _) | (_, Tone::Bad | Tone::Open) => Ok(()),
            _ => {
                let line = recap::done_line(state, host, &self.look);
                self.above(&[line])
            }
        }
    }

    fn last_words(&self, state: &RunState) -> Vec<String> {
        if let [host] = state.hosts.as_slice() {
            let mut lines = screen::one(state, host, &self.look, state.elapsed_ms, false);
            lines.push(String::new());
            if !self.recap || !failed(host) {
                lines.extend(ending(state, host, &self.look));
                lines.push(String::new());
            }
            return lines;
        }
        if self.recap {
            return vec![String::new()];
        }
        let mut lines: Vec<String> =
            recap::failed(state).map(|h| recap::done_line(state, h, &self.look)).collect();
        lines.push(String::new());
        lines
    }
}

fn failed(host: &HostState) -> bool {
    matches!(words::tone(host), Tone::Bad | Tone::Open)
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// The summary of one host, or the head of its failure; evidence follows the recap.
pub fn ending(state: &RunState, host: &HostState, look: &Look) -> Vec<String> {
    match words::tone(host) {
        Tone::Good | Tone::Quiet => recap::compact(state, host, look),
        Tone::Bad | Tone::Open => recap::failure_head(state, host, look),
    }
}

impl Sink for Terminal {
    fn event(&mut self, stamped: &Stamped, state: &RunState) -> io::Result<()> {
        match &stamped.event {
            Event::HostFinished { host, .. } => self.host_done(state, host),
            Event::Line { host, text, .. } if self.verbose => {
                let lines = self.look.wrap("", "    ", &format!("{host}| {text}"));
                self.above(&lines)
            }
            Event::InterruptReceived { signal } => {
                self.above(&[format!("{signal}: stopping; once more leaves at once")])
            }
            Event::Reconnected { host, gap_ms } => {
                let gap = short(*gap_ms);
                let line = format!("{host}: contact again after {gap}");
                let line = self.look.fit(&line, self.look.width);
                self.above(&[line])
            }
            Event::Line { .. }
            | Event::RunStarted { .. }
            | Event::Planned { .. }
            | Event::PhaseStarted { .. }
            | Event::PhaseEnded { .. }
            | Event::StepEnded { .. }
            | Event::Progress { .. }
            | Event::BuildsCounted { .. }
            | Event::Cleared { .. }
            | Event::FactsRead { .. }
            | Event::Measured { .. }
            | Event::ChangesFound { .. }
            | Event::Armed { .. }
            | Event::Found { .. }
            | Event::Captured { .. }
            | Event::GenerationMoved { .. }
            | Event::ClosureKnown { .. }
            | Event::Copied { .. }
            | Event::Recommended { .. }
            | Event::Settled { .. }
            | Event::Answered { .. }
            | Event::RunFinished { .. }
            | Event::Unknown => Ok(()),
        }
    }

    fn tick(&mut self, state: &RunState, now_elapsed_ms: u64) {
        self.draw(state, now_elapsed_ms);
    }

    fn finish(&mut self, state: &RunState) -> io::Result<()> {
        self.wipe();
        let lines = self.last_words(state);
        let said = self.above(&lines);
        if self.rows.is_none() {
            door::register(None);
        }
        said
    }
}
