//! From a running Nix to the stream of events: its lines are taken by a [`Log`] and what is worth
//! showing is emitted, progress at most ten times a second.

use std::time::Duration;

use super::closure::PathInfo;
use super::output::{Heard, Log, Tally};
use crate::event::stream::Emitter;
use crate::event::{Event, Phase};
use crate::fleet::HostName;
use crate::world::{Conversation, Ended, Invocation, StartError, Stream, World};

/// Between two progress events; Nix reports more often than anybody can read.
const PACE: Duration = Duration::from_millis(100);
/// Lines of standard output that are kept; answers are short.
const ANSWER: usize = 10_000;

/// Whose work is shown as what.
#[derive(Clone, Copy)]
pub struct Relay<'a> {
    /// Runs it.
    pub world: &'a World,
    /// Shows it.
    pub emitter: &'a Emitter,
    /// For whom.
    pub host: &'a HostName,
    /// In which phase.
    pub phase: Phase,
}

/// How it went.
pub struct Ran {
    /// How it ended.
    pub ended: Ended,
    /// Its standard output.
    pub out: Vec<String>,
    /// Everything it said on standard error.
    pub log: Log,
}

impl Relay<'_> {
    /// Runs a program that speaks `internal-json` on standard error.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn run(&self, invocation: Invocation) -> Result<Ran, StartError> {
        self.watch(invocation, |_| ()).await
    }

    /// The same for a copy, of whose paths the sizes are known.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn run_weighed(
        &self,
        invocation: Invocation,
        sizes: &[PathInfo],
    ) -> Result<Ran, StartError> {
        let conversation = self.world.start(invocation).await?;
        let sizes = sizes.iter().map(|p| (p.path.to_string(), p.nar_size)).collect();
        Ok(self.follow(conversation, Log::weighing(sizes), |_| ()).await)
    }

    /// As [`Relay::run`]; `heard` sees the log after each line that went into it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn watch(
        &self,
        invocation: Invocation,
        heard: impl FnMut(&Log),
    ) -> Result<Ran, StartError> {
        let conversation = self.world.start(invocation).await?;
        Ok(self.follow(conversation, Log::default(), heard).await)
    }

    async fn follow(
        &self,
        mut conversation: Conversation,
        mut log: Log,
        mut heard: impl FnMut(&Log),
    ) -> Ran {
        let (mut out, mut told) = (Vec::new(), None);
        while let Some(line) = conversation.line().await {
            if line.stream == Stream::Out {
                if out.len() < ANSWER {
                    out.push(line.text);
                }
                continue;
            }
            match log.take(&line.text) {
                Heard::Progress => self.progress(&log, &mut told),
                Heard::Line(text) => self.line(text),
                Heard::Nothing => {}
            }
            heard(&log);
        }
        Ran { ended: conversation.end().await, out, log }
    }

    /// Shows a line, which must be harmless already.
    pub fn line(&self, text: String) {
        self.emitter.emit(Event::Line { host: self.host.clone(), phase: self.phase, text });
    }

    fn progress(&self, log: &Log, told: &mut Option<Duration>) {
        let now = self.world.clock.elapsed();
        if told.is_some_and(|last| now.saturating_sub(last) < PACE) {
            return;
        }
        *told = Some(now);
        self.show(log);
    }

    /// Shows how far it is.
    pub(super) fn show(&self, log: &Log) {
        let (what, done, total, unit) = shown(log, self.phase);
        let (host, phase, unit) = (self.host.clone(), self.phase, unit.to_owned());
        self.emitter.emit(Event::Progress { host, phase, what, done, total, unit });
    }
}

/// What a phase's progress is measured in.
fn shown(log: &Log, phase: Phase) -> (String, u64, u64, &'static str) {
    let subject = name_of(&log.current);
    match phase {
        Phase::Build | Phase::Copy if subject.is_empty() => {
            ("asking what is there".to_owned(), 0, 0, "paths")
        }
        Phase::Evaluate => ("evaluating".to_owned(), log.files, 0, "files"),
        Phase::Copy if !log.sizes.is_empty() => {
            let Tally { done, expected } = log.paths;
            (format!("{done}/{expected} paths, {subject}"), log.moved, whole(log), "bytes")
        }
        Phase::Copy => (format!("copying {subject}"), log.paths.done, log.paths.expected, "paths"),
        _ if log.builds.expected > 0 => {
            let (place, step) = stage(log);
            (
                format!("building {subject}{step}{place}"),
                log.builds.done,
                log.builds.expected,
                "builds",
            )
        }
        _ => (format!("fetching {subject}"), log.paths.done, log.paths.expected, "paths"),
    }
}

/// Bytes of a copy in all; 0: not known, for some of the paths are there already.
fn whole(log: &Log) -> u64 {
    let all = log.sizes.len() as u64 == log.paths.expected;
    if all { log.sizes.values().fold(0, |sum, size| sum.saturating_add(*size)) } else { 0 }
}

/// ` on p620` and ` (install)` of the build that was heard of last.
fn stage(log: &Log) -> (String, String) {
    let (place, phase) = &log.at;
    let place = place.rsplit(['/', '@']).next().unwrap_or_default();
    let place = if place.is_empty() { String::new() } else { format!(" on {place}") };
    let phase = phase.strip_suffix("Phase").unwrap_or(phase);
    let phase = if phase.is_empty() { String::new() } else { format!(" ({phase})") };
    (place, phase)
}

/// `NAME` of a store path or derivation.
fn name_of(path: &str) -> &str {
    let name = path.strip_prefix("/nix/store/").and_then(|p| p.get(33..)).unwrap_or(path);
    name.strip_suffix(".drv").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_is_told_with_its_place_its_phase_and_its_weight() {
        let drv = "/nix/store/00000000000000000000000000000000-grafana-12.drv".to_owned();
        let mut log = Log::weighing(Default::default());
        log.current = drv;
        log.builds = Tally { done: 3, expected: 44 };
        let told = |log: &Log, phase| shown(log, phase).0;
        assert_eq!(told(&log, Phase::Build), "building grafana-12");
        log.at = ("ssh-ng://nix@p620".to_owned(), "installPhase".to_owned());
        assert_eq!(told(&log, Phase::Build), "building grafana-12 (install) on p620");
        log.paths = Tally { done: 1, expected: 2 };
        log.sizes = [("/nix/store/a".to_owned(), 5), ("/nix/store/b".to_owned(), 7)].into();
        log.moved = 5;
        let copied = shown(&log, Phase::Copy);
        assert_eq!(copied, ("1/2 paths, grafana-12".to_owned(), 5, 12, "bytes"));
        log.paths.expected = 1;
        assert_eq!(shown(&log, Phase::Copy).2, 0, "what is there already does not move");
    }
}
