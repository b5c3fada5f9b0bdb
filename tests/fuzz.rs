//! Texts from outside, mutated, against every parser of such texts (`tests/fuzz/targets.rs`).
//!
//! Each target is one test: first the kept texts of `tests/fuzz/corpus` and those of
//! `tests/fuzz/seeds`, then mutations of them. A plain run makes the same few hundred every
//! time; with `NIXDEPLOY_FUZZ_S` a target goes on for so many seconds, from another beginning
//! each time. A text that breaks something is written to `target/fuzz/found`; it belongs into the
//! corpus, in the commit that mends what it broke. `tests/fuzz/run` lets libFuzzer search.

#[path = "fuzz/targets.rs"]
mod targets;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use targets::{TARGETS, Target};

use crate::support::variable;

/// Mutations of a plain run.
const FEW: u64 = 200;
/// Longest text that is mutated further, in bytes.
const LONGEST: usize = 1 << 15;
/// Pieces that parsers look for, or that others tripped over.
const WORDS: &[&str] = &[
    "=",
    "\n",
    ":",
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    ",",
    "'",
    "''",
    "${",
    "$(",
    "#",
    "..",
    "/",
    " ",
    "\t",
    "\r",
    "\0",
    "\u{1b}[2J",
    "\u{1b}]0;x\u{7}",
    "\u{9b}31m",
    "\u{202e}",
    "\u{61c}",
    "\u{85}",
    "\u{200b}",
    "\u{feff}",
    "\u{fffd}",
    "é",
    "🦀",
    "-1",
    "0",
    "18446744073709551616",
    "1e999",
    "NaN",
    "null",
    "true",
    "@nix ",
    "end=0",
    "part=1",
    "checks=done",
    "section=journal",
    "section=end",
    "/nix/store/",
    "0c0d1f2g3h4i5j6k7l8m9n0p1q2r3s4v-x",
    "token=",
    "password: ",
    "-----BEGIN PRIVATE KEY-----",
    "-----END",
    "Bearer ",
    "https://a:b@c",
    "[redacted]",
    "let ",
    "in ",
    "inherit ",
    "rec {",
    "or ",
    "with ",
    "assert ",
    "if ",
    "a.b.c = 1;",
    "@",
    "?",
    "...",
];

/// xorshift64*: any generator would do.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(drawn).unwrap_or_default() % limit.max(1)
    }

    fn place(&mut self, text: &str) -> usize {
        text.floor_char_boundary(self.below(text.len() + 1))
    }

    /// A piece of a text, most often a short one.
    fn piece<'t>(&mut self, text: &'t str) -> &'t str {
        let from = self.place(text);
        let longest = [4, 16, 64, 4096][self.below(4)];
        let upto = text.ceil_char_boundary((from + self.below(longest)).min(text.len()));
        &text[from..upto]
    }

    fn mutated(&mut self, texts: &[String]) -> String {
        let mut text = texts[self.below(texts.len())].clone();
        for _ in 0..=self.below(6) {
            let at = self.place(&text);
            let piece = self.piece(&text).to_owned();
            match self.below(7) {
                0 => text.insert_str(at, WORDS[self.below(WORDS.len())]),
                1 => text.insert_str(at, &piece),
                2 => {
                    let gone = text[at..].len().min(piece.len());
                    text.replace_range(at..text.ceil_char_boundary(at + gone), "");
                }
                3 => text.truncate(at),
                4 => text.insert_str(at, &piece.repeat(self.below(40))),
                5 => {
                    let other = &texts[self.below(texts.len())];
                    let other = self.piece(other).to_owned();
                    text.insert_str(at, &other);
                }
                _ => {
                    let letter = char::from_u32(self.below(0x300) as u32).unwrap_or('\u{0}');
                    text.insert(at, letter);
                }
            }
        }
        text.truncate(text.floor_char_boundary(LONGEST));
        text
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a target begins with: its part of the corpus, and the recorded texts named for it.
fn texts(target: &Target) -> Vec<String> {
    let corpus = root().join("tests/fuzz/corpus").join(target.name);
    let mut files: Vec<PathBuf> =
        corpus.read_dir().into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    let named = std::fs::read_to_string(root().join("tests/fuzz/seeds")).expect("the seeds");
    let named = named.lines().filter_map(|line| line.split_once(' '));
    files.extend(named.filter(|(name, _)| *name == target.name).map(|(_, path)| root().join(path)));
    files.sort();
    let read = |path: &PathBuf| std::fs::read(path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    files.iter().map(|path| String::from_utf8_lossy(&read(path)).into_owned()).collect()
}

/// Gives a target one text; one that breaks it is kept before the test fails.
fn give(target: &Target, text: &str) {
    // What is wrong was told when it panicked.
    if std::panic::catch_unwind(|| (target.run)(text)).is_err() {
        let folder = root().join("target/fuzz/found").join(target.name);
        let file = folder.join(format!("{}", blake3::hash(text.as_bytes()).to_hex()));
        let kept = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, text));
        panic!("{} is broken by {} ({kept:?}): {text:?}", target.name, file.display());
    }
}

#[expect(clippy::disallowed_methods, reason = "a run by seconds needs a clock, and a beginning")]
fn run(target: &Target) {
    let texts = texts(target);
    assert!(!texts.is_empty(), "{} has nothing to begin with", target.name);
    texts.iter().for_each(|text| give(target, text));
    let seconds = variable("NIXDEPLOY_FUZZ_S").and_then(|s| s.parse().ok());
    let until = seconds.map(|s| Instant::now() + Duration::from_secs(s));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let beginning = until.and(now.ok()).map_or(0x9e37_79b9, |d| d.as_nanos() as u64);
    let mut chance = Chance(beginning | 1);
    let mut given = 0;
    while until.map_or(given < FEW, |until| Instant::now() < until) {
        give(target, &chance.mutated(&texts));
        given += 1;
    }
    if until.is_some() {
        let mut told = std::io::stderr().lock();
        let _ = writeln!(told, "{}: {given} mutations of {} texts", target.name, texts.len());
    }
}

/// The parser of Nix recurses, and the program gives it a thread of its own with such a stack.
fn on_a_large_stack(name: &str) {
    let target = TARGETS.iter().find(|t| t.name == name).expect("a target");
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(64 << 20);
        let done = thread.spawn_scoped(scope, || run(target)).expect("a thread").join();
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

macro_rules! fuzzed {
    ($($name:ident)*) => {
        $(#[test] fn $name() { on_a_large_stack(stringify!($name)); })*
        const FUZZED: &[&str] = &[$(stringify!($name)),*];
    };
}
fuzzed! {
    hosts_toml journal nix_log guard checks facts rehearsal closure_list store_path derivation
    issues inventory syntax fix exposure redaction flake_lock missing_paths
}

#[test]
fn every_target_is_a_test_and_has_texts() {
    let names: Vec<&str> = TARGETS.iter().map(|t| t.name).collect();
    assert_eq!(names, FUZZED);
    let corpus = root().join("tests/fuzz/corpus");
    for entry in corpus.read_dir().expect("the corpus").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(names.contains(&name.as_str()), "texts for no target: {name}");
    }
}

#[test]
fn a_target_that_panics_fails_its_test() {
    let broken = Target { name: "redaction", run: |text| assert!(!text.contains("token")) };
    let texts = ["a token".to_owned()];
    let mut chance = Chance(1);
    let found = (0..1000).any(|_| {
        let text = chance.mutated(&texts);
        std::panic::catch_unwind(|| (broken.run)(&text)).is_err()
    });
    assert!(found);
}
