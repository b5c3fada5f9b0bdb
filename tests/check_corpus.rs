//! The rules held against files as people write them: `tests/fixtures/corpus`, written from what
//! each rule promises and not from how it looks for it.
//!
//! In those files `#! RULE, ...` at the end of a line is a finding that must be told of that line,
//! `#!any RULE, ...` one that must be told somewhere, and `#? RULE` one that may be. Everything
//! else that is told is a false alarm.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nixdeploy::event::Severity;
use nixdeploy::validate::rules::rule;
use nixdeploy::validate::{Base, Depth, Examined, Job, examine_jobs};

/// What a file must and may be told.
#[derive(Default)]
struct Expected {
    /// Rule and line.
    here: Vec<(String, usize)>,
    anywhere: Vec<String>,
    perhaps: Vec<(String, usize)>,
}

impl Expected {
    fn of(text: &str) -> Self {
        let mut expected = Self::default();
        for (at, line) in text.lines().enumerate() {
            let marks = line.split_once("#!").map_or("", |(_, marks)| marks);
            let (marks, perhaps) = marks.split_once("#?").unwrap_or((marks, ""));
            let perhaps = line.split_once("#?").map_or(perhaps, |(_, marks)| marks);
            let named = |marks: &str| -> Vec<String> {
                let words = marks.split([',', ' ']).map(str::trim);
                words.filter(|w| rule(w).is_some()).map(str::to_owned).collect()
            };
            match marks.strip_prefix("any ") {
                Some(marks) => expected.anywhere.extend(named(marks)),
                None => expected.here.extend(named(marks).into_iter().map(|r| (r, at + 1))),
            }
            expected.perhaps.extend(named(perhaps).into_iter().map(|r| (r, at + 1)));
        }
        expected
    }

    /// Takes what was told of a line out of what is expected: true where it must be told, false
    /// where it may be, and `None` where nothing expects it.
    fn take(&mut self, code: &str, line: usize) -> Option<bool> {
        if let Some(at) = self.here.iter().position(|(r, l)| r == code && *l == line) {
            self.here.remove(at);
            return Some(true);
        }
        if let Some(at) = self.anywhere.iter().position(|r| r == code) {
            self.anywhere.remove(at);
            return Some(true);
        }
        self.perhaps.iter().any(|(r, l)| r == code && *l == line).then_some(false)
    }
}

/// The files, secrets put in that no file of ours may hold as they are.
fn corpus() -> Vec<Job> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/corpus");
    let github = ["gh", "p_16C7e42F292c6912E7710c838347Ae178B4a"].concat();
    let tailscale = ["ts", "key-auth-kQ7mXb3CNTRL-9fJ2LwPzRtVuYsA4dGhE"].concat();
    let key =
        ["-----BEGIN OPENSSH ", "PRIVATE KEY-----\n      b3BlbnNzaC1rZXktdjEAAAAABG5v"].concat();
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("a folder")
        .map(|e| e.expect("an entry").path())
        .collect();
    paths.sort();
    let job = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a text");
        let text = text.replace("%GHP%", &github).replace("%TSKEY%", &tailscale);
        let bytes = Some(text.replace("%KEY%", &key).into_bytes());
        let path = path.strip_prefix(&folder).expect("below").to_owned();
        Job { path, bytes, base: Base::None }
    };
    paths.into_iter().map(job).collect()
}

/// What was expected, found, and told without need, of rules of one severity.
#[derive(Default)]
struct Sum {
    expected: usize,
    found: usize,
    needless: usize,
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures, for --show-output")]
fn rules_hold_on_files_as_people_write_them() {
    let jobs = corpus();
    assert!(jobs.len() >= 60, "{}", jobs.len());
    let depth = Depth { rules: true, drawn: 0, old: true };
    let examined: Examined = examine_jobs(Path::new("/"), &jobs, depth);
    let mut sums: BTreeMap<Severity, Sum> = BTreeMap::new();
    let of = |code: &str| rule(code).map_or(Severity::Block, |r| r.severity);
    for job in &jobs {
        let text = String::from_utf8(job.bytes.clone().unwrap_or_default()).expect("a text");
        let mut expected = Expected::of(&text);
        for (code, _) in &expected.here {
            sums.entry(of(code)).or_default().expected += 1;
        }
        for code in &expected.anywhere {
            sums.entry(of(code)).or_default().expected += 1;
        }
        for (_, found) in examined.told().filter(|(path, _)| *path == job.path) {
            let (code, line) = (found.fault.code, found.from.line);
            let sum = sums.entry(of(code)).or_default();
            match expected.take(code, line) {
                Some(true) => sum.found += 1,
                Some(false) => {}
                None => {
                    sum.needless += 1;
                    println!("false: {}:{line} {code} {}", job.path.display(), found.fault.message);
                }
            }
        }
        let anywhere = expected.anywhere.into_iter().map(|code| (code, 0));
        for (code, line) in expected.here.into_iter().chain(anywhere) {
            println!("missed: {}:{line} {code}", job.path.display());
        }
    }
    for (severity, Sum { expected, found, needless }) in sums {
        println!("{severity:?}: {found} of {expected} found, {needless} false");
        let (least, most) = match severity {
            Severity::Block => (95, 0),
            Severity::Warn | Severity::Info => (85, 3),
        };
        assert!(found * 100 >= expected * least, "{severity:?}: {found} of {expected}");
        let told = found + needless;
        assert!(needless * 100 <= told * most, "{severity:?}: {needless} of {told} are false");
    }
}
