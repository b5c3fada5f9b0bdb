//! What Nix says while it works: counts, errors, build logs. Builds and evaluations say it in
//! `internal-json`, copies in plain lines (`build::transfer` says why).
//!
//! Total and lenient: a line that is no message of Nix is kept as plain text (ssh and git write
//! to the same pipe), an unknown one is ignored. The numbers of activities and results are those
//! of Nix's `logging.hh`. Known traps: error messages come without an activity and can come
//! twice (NixOS/nix #13909, #13935), traces carry the level of errors, and expected counts go
//! down again. Pure; it runs nothing and emits nothing.

use std::collections::{HashMap, VecDeque};

use serde::Deserialize;
use serde_json::Value;

use crate::event::harmless;

/// Activities: one store path moves; several do; all builds; one build; a substitution.
const COPY_PATH: u64 = 100;
const COPY_PATHS: u64 = 103;
const BUILDS: u64 = 104;
const BUILD: u64 = 105;
const SUBSTITUTE: u64 = 108;
/// Results: a line of a builder; the phase that it is in; done, expected, running, failed.
const BUILD_LINE: u64 = 101;
const BUILD_PHASE: u64 = 104;
const PROGRESS: u64 = 105;
/// Lines kept of each builder, and of what was no message.
const TAIL: usize = 50;
/// Activities remembered at once; Nix has at most some hundreds.
const ACTIVITIES: usize = 10_000;
/// Paths of a copy remembered; the largest systems have some ten thousand.
const PATHS: usize = 1_000_000;
/// Errors kept.
const ERRORS: usize = 100;

/// Everything heard so far.
#[derive(Debug, Default)]
pub struct Log {
    /// Derivations built, and to be built.
    pub builds: Tally,
    /// Paths moved by a copy, and to be moved.
    pub paths: Tally,
    /// The paths that a copy over ssh has begun to move.
    pub begun: Vec<String>,
    /// Paths fetched from a substituter.
    pub fetched: u64,
    /// Files evaluated, Nix's own apart; a cached evaluation reads `flake.nix` alone.
    pub files: u64,
    /// What went wrong, each once, in order.
    pub errors: Vec<Complaint>,
    /// Last lines that were no message of Nix.
    pub plain: VecDeque<String>,
    /// What is being built or moved last.
    pub current: String,
    /// Derivations whose build has ended, well or not, since somebody last took them away.
    pub ended: Vec<String>,
    /// Of a build: where, in Nix's words, if not here; and its phase, once it is told.
    pub at: (String, String),
    /// Bytes of each path that a copy may move; without them its bytes are not counted.
    pub sizes: HashMap<String, u64>,
    /// Bytes moved by a copy: of all paths but the one that is on its way.
    pub moved: u64,
    activities: HashMap<u64, Activity>,
    tails: HashMap<String, VecDeque<String>>,
}

/// Done of expected.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// So far.
    pub done: u64,
    /// Of how many; can go down again.
    pub expected: u64,
}

/// An error message of Nix, colours removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The error itself.
    pub message: String,
    /// The whole of what Nix would print, trace included.
    pub lines: Vec<String>,
    /// `FILE:LINE:COLUMN` it points at, in the store.
    pub place: Option<String>,
}

/// What a line was, for those who show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Counts moved.
    Progress,
    /// A line worth showing: a warning, a trace, a builder's output; harmless already.
    Line(String),
    /// Nothing to show.
    Nothing,
}

#[derive(Debug)]
struct Activity {
    kind: u64,
    subject: String,
    place: String,
}

#[derive(Deserialize)]
#[serde(default)]
struct Message {
    action: String,
    id: u64,
    #[serde(rename = "type")]
    kind: u64,
    level: u64,
    msg: String,
    raw_msg: Option<String>,
    file: Option<String>,
    fields: Vec<Value>,
}

impl Default for Message {
    fn default() -> Self {
        let (action, msg, raw_msg, file) = (String::new(), String::new(), None, None);
        Self { action, id: 0, kind: 0, level: 7, msg, raw_msg, file, fields: Vec::new() }
    }
}

impl Log {
    /// Of a copy, of whose paths the sizes are known.
    pub fn weighing(sizes: HashMap<String, u64>) -> Self {
        Self { sizes, ..Self::default() }
    }

    /// Takes one line of Nix's standard error.
    pub fn take(&mut self, line: &str) -> Heard {
        let Some(json) = line.strip_prefix("@nix ") else { return self.plain(line) };
        let Ok(message) = serde_json::from_str::<Message>(json) else { return Heard::Nothing };
        match message.action.as_str() {
            "msg" => self.said(&message),
            "start" => self.start(&message),
            "stop" => self.stop(message.id),
            "result" => self.result(&message),
            _ => Heard::Nothing,
        }
    }

    /// Last lines of a builder, by its derivation.
    pub fn tail(&self, drv: &str) -> Vec<String> {
        self.tails.get(drv).map(|t| t.iter().cloned().collect()).unwrap_or_default()
    }

    /// Whether the evaluation was answered from Nix's cache.
    pub fn cached(&self) -> bool {
        self.files <= 1
    }

    fn plain(&mut self, line: &str) -> Heard {
        let text = harmless::line(&uncoloured(line));
        if text.trim().is_empty() {
            return Heard::Nothing;
        }
        if self.copying(&text) {
            return Heard::Progress;
        }
        if let Some(message) = text.strip_prefix("error:").filter(|_| self.errors.len() < ERRORS) {
            let message = message.trim().to_owned();
            self.errors.push(Complaint { message, lines: vec![text.clone()], place: None });
            return Heard::Line(text);
        }
        keep(&mut self.plain, text.clone());
        Heard::Line(text)
    }

    /// `copying N paths...`, `copying path 'PATH' to 'STORE'...`; the latter once for each path,
    /// when it begins.
    fn copying(&mut self, text: &str) -> bool {
        let Some(what) = text.strip_prefix("copying ").and_then(|t| t.strip_suffix("...")) else {
            return false;
        };
        if let Some(count) = what.strip_suffix(" paths").and_then(|n| n.parse().ok()) {
            self.paths.expected = count;
            return true;
        }
        let Some((path, store)) = what.strip_prefix("path '").and_then(|w| w.split_once('\''))
        else {
            return false;
        };
        path.clone_into(&mut self.current);
        if !store.contains("'ssh-ng:") {
            self.fetched += 1;
        } else if self.begun.len() < PATHS {
            let before = self.begun.last().and_then(|path| self.sizes.get(path));
            self.moved = self.moved.saturating_add(before.copied().unwrap_or_default());
            self.paths.done = self.begun.len() as u64;
            self.begun.push(path.to_owned());
        }
        true
    }

    fn said(&mut self, message: &Message) -> Heard {
        let text = uncoloured(&message.msg);
        if let Some(file) = text.strip_prefix("evaluating file '") {
            let own = file.starts_with('<') || file.starts_with("«nix-internal»");
            self.files += u64::from(!own);
            return Heard::Progress;
        }
        // Only errors have a raw text; `builtins.trace` uses the same level.
        let error = message.raw_msg.is_some() || text.starts_with("error:");
        match (message.level, error) {
            (0, true) => self.complain(message, &text),
            (0 | 1, _) => text.lines().next().map_or(Heard::Nothing, |l| Heard::Line(safe(l))),
            _ => Heard::Nothing,
        }
    }

    fn complain(&mut self, message: &Message, text: &str) -> Heard {
        let lines: Vec<String> = text.lines().take(500).map(safe).collect();
        let raw = message.raw_msg.as_deref().map(uncoloured);
        let raw = raw.unwrap_or_else(|| text.trim_start_matches("error:").to_owned());
        let place = message.file.as_deref().map(safe);
        let message = raw.trim().lines().map(safe).collect::<Vec<_>>().join("\n");
        let known = self.errors.iter().any(|e| e.message == message);
        if !known && self.errors.len() < ERRORS {
            self.errors.push(Complaint { message, lines, place });
        }
        Heard::Nothing
    }

    fn start(&mut self, message: &Message) -> Heard {
        let subject = message.fields.first().and_then(Value::as_str).map(safe).unwrap_or_default();
        let named = matches!(message.kind, COPY_PATH | BUILD | SUBSTITUTE);
        let place = message.fields.get(1).and_then(Value::as_str).map(safe).unwrap_or_default();
        let place = if message.kind == BUILD { place } else { String::new() };
        if named {
            self.current.clone_from(&subject);
            self.at = (place.clone(), String::new());
        }
        self.fetched += u64::from(message.kind == SUBSTITUTE);
        if self.activities.len() < ACTIVITIES {
            let activity = Activity { kind: message.kind, subject, place };
            self.activities.insert(message.id, activity);
        }
        if named { Heard::Progress } else { Heard::Nothing }
    }

    fn stop(&mut self, id: u64) -> Heard {
        if let Some(activity) = self.activities.remove(&id)
            && activity.kind == BUILD
            && self.ended.len() < ACTIVITIES
        {
            self.ended.push(activity.subject);
        }
        Heard::Nothing
    }

    fn result(&mut self, message: &Message) -> Heard {
        let number = |n: usize| message.fields.get(n).and_then(Value::as_u64).unwrap_or(0);
        match message.kind {
            BUILD_LINE => self.built_line(message),
            BUILD_PHASE => self.phase(message),
            PROGRESS => self.progress(message.id, Tally { done: number(0), expected: number(1) }),
            _ => Heard::Nothing,
        }
    }

    fn progress(&mut self, id: u64, tally: Tally) -> Heard {
        let Some(activity) = self.activities.get(&id) else { return Heard::Nothing };
        match activity.kind {
            BUILDS => self.builds = tally,
            COPY_PATHS => self.paths = tally,
            _ => return Heard::Nothing,
        }
        Heard::Progress
    }

    fn phase(&mut self, message: &Message) -> Heard {
        let Some(activity) = self.activities.get(&message.id).filter(|a| a.kind == BUILD) else {
            return Heard::Nothing;
        };
        let phase = message.fields.first().and_then(Value::as_str).map(safe).unwrap_or_default();
        self.current.clone_from(&activity.subject);
        self.at = (activity.place.clone(), phase);
        Heard::Progress
    }

    fn built_line(&mut self, message: &Message) -> Heard {
        let text = message.fields.first().and_then(Value::as_str).unwrap_or_default();
        let text = safe(&uncoloured(text));
        if let Some(activity) = self.activities.get(&message.id) {
            let drv = activity.subject.clone();
            if self.tails.len() < ACTIVITIES || self.tails.contains_key(&drv) {
                keep(self.tails.entry(drv).or_default(), text.clone());
            }
        }
        Heard::Line(text)
    }
}

fn keep(tail: &mut VecDeque<String>, line: String) {
    if tail.len() == TAIL {
        tail.pop_front();
    }
    tail.push_back(line);
}

fn safe(text: &str) -> String {
    harmless::line(text)
}

/// Without the escape sequences that Nix and builders colour with.
fn uncoloured(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn heard(recorded: &str) -> Log {
        let mut log = Log::default();
        for line in recorded.lines() {
            log.take(line);
        }
        log
    }

    #[test]
    fn a_build_is_counted() {
        let log = heard(include_str!("../../tests/fixtures/nix/build-ok.log"));
        assert_eq!(log.builds.done, log.builds.expected);
        assert!(log.builds.done > 10, "{:?}", log.builds);
        assert!(log.errors.is_empty());
    }

    #[test]
    fn a_failed_build_has_its_log() {
        let log = heard(include_str!("../../tests/fixtures/nix/build-error.log"));
        assert_eq!(log.errors.len(), 1);
        let name = "nixos-system-p620-25.11.20261101.1ab2c3d.drv";
        let drv = format!("/nix/store/189z65a2pmv63g8hlmczmdfkvp7bva01-{name}");
        assert!(log.errors[0].message.contains(&drv), "{}", log.errors[0].message);
        assert_eq!(log.tail(&drv), ["error: lab.buildError: compiler exploded"]);
    }

    #[test]
    fn a_copy_is_counted_in_paths() {
        let log = heard(include_str!("../../tests/fixtures/nix/copy-ok.log"));
        assert!(log.paths.expected > 10, "{:?}", log.paths);
        assert_eq!(log.begun.len() as u64, log.paths.expected);
        assert!(log.begun.iter().all(|p| p.starts_with("/nix/store/")), "{:?}", log.begun);
        assert!(log.errors.is_empty() && log.plain.is_empty());
        let mut log = Log::default();
        log.take("copying path '/nix/store/x' from 'https://cache.nixos.org'...");
        assert_eq!((log.fetched, log.begun.len()), (1, 0));
    }

    #[test]
    fn a_copy_is_weighed_path_by_path() {
        let (first, second) = ("/nix/store/a", "/nix/store/b");
        let sizes = [(first, 5 << 20), (second, 7 << 20)];
        let sizes = sizes.map(|(path, size)| (path.to_owned(), size)).into();
        let mut log = Log::weighing(sizes);
        log.take("copying 2 paths...");
        for (path, moved) in [(first, 0), (second, 5 << 20), ("/nix/store/c", 12 << 20)] {
            log.take(&format!("copying path '{path}' to 'ssh-ng://p620'..."));
            assert_eq!(log.moved, moved, "{path}");
        }
    }

    #[test]
    fn a_build_is_told_with_its_phase_and_its_place() {
        let mut log = Log::default();
        let drv = "/nix/store/00000000000000000000000000000000-grafana-12.drv";
        log.take(&format!(
            r#"@nix {{"action":"start","id":7,"type":105,"fields":["{drv}","ssh-ng://p620",1,1]}}"#
        ));
        assert_eq!(log.at, ("ssh-ng://p620".to_owned(), String::new()));
        let phase = r#"@nix {"action":"result","id":7,"type":104,"fields":["installPhase"]}"#;
        assert_eq!(log.take(phase), Heard::Progress);
        assert_eq!(log.at, ("ssh-ng://p620".to_owned(), "installPhase".to_owned()));
        let other = r#"@nix {"action":"result","id":8,"type":104,"fields":["x"]}"#;
        assert_eq!(log.take(other), Heard::Nothing);
    }

    #[test]
    fn evaluations_tell_whether_the_cache_answered() {
        assert!(heard(include_str!("../../tests/fixtures/nix/eval-cached.log")).cached());
        assert!(heard(include_str!("../../tests/fixtures/nix/eval-dirty-cached.log")).cached());
        assert!(!heard(include_str!("../../tests/fixtures/nix/eval-dirty.log")).cached());
        assert!(!heard(include_str!("../../tests/fixtures/nix/eval-fresh.log")).cached());
    }

    #[test]
    fn a_trace_is_no_error() {
        let log = heard(include_str!("../../tests/fixtures/nix/eval-warning.log"));
        assert!(log.errors.is_empty(), "{:?}", log.errors);
    }

    #[test]
    fn an_error_is_kept_once_and_without_colours() {
        let line = include_str!("../../tests/fixtures/nix/eval-syntax.log").lines().last();
        let line = line.expect("a line");
        let mut log = Log::default();
        log.take(line);
        log.take(line);
        assert_eq!(log.errors.len(), 1);
        assert_eq!(log.errors[0].message, "syntax error, unexpected ';'");
        assert!(log.errors[0].place.as_ref().is_some_and(|p| p.ends_with("default.nix:1:9")));
        assert!(log.errors[0].lines.iter().all(|l| !l.contains('\u{1b}')));
    }

    proptest! {
        #[test]
        fn garbage_is_survived(lines in proptest::collection::vec(garbage(), 0..40)) {
            let mut log = Log::default();
            for line in &lines {
                if let Heard::Line(text) = log.take(line) {
                    prop_assert!(!text.chars().any(char::is_control));
                }
            }
        }
    }

    fn garbage() -> impl Strategy<Value = String> {
        let number = prop_oneof![Just(u64::MAX), 0..120_u64];
        let result = (number.clone(), number.clone(), number.clone(), number).prop_map(
            |(id, kind, a, b)| {
                let fields = format!("\"fields\":[{a},{b}]");
                let (id, kind) = (id % 4, kind % 110);
                format!("@nix {{\"action\":\"result\",\"id\":{id},\"type\":{kind},{fields}}}")
            },
        );
        let start = (0..4_u64, 99..109_u64).prop_map(|(id, kind)| {
            format!("@nix {{\"action\":\"start\",\"id\":{id},\"type\":{kind},\"fields\":[\"x\"]}}")
        });
        let stop = (0..4_u64).prop_map(|id| format!("@nix {{\"action\":\"stop\",\"id\":{id}}}"));
        let copy = "copying (path '.*' to 'ssh-ng:.*|[0-9]{0,30} paths)\\.\\.\\.";
        prop_oneof![result, start, stop, copy, ".*", "@nix .*", "@nix \\{\"action\":\"msg\",.*\\}"]
    }
}
