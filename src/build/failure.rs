//! Why there is no closure: Nix's messages sorted into what a person can do about them.
//!
//! Nothing of this changed a host. The words looked for are those of Nix 2.18 to 2.34; what is
//! not recognised is shown as it is. Pure.

use std::path::Path;

use super::output::{Complaint, Log};
use crate::event::harmless;
use crate::world::{Ended, StartError};

/// Lines of a trace or a builder's log that are shown.
const SHOWN: usize = 25;
/// Lines of an error's own words that are shown.
const OWN: usize = 8;

/// Why a host was not evaluated or not built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The flake does not evaluate.
    #[error("evaluation failed: {message}")]
    Evaluation {
        /// Nix's error, first line.
        message: String,
        /// `FILE:LINE:COLUMN` below the flake, or in the store.
        place: Option<String>,
        /// What Nix printed, the trace first and the error itself last.
        trace: Vec<String>,
    },
    /// The flake has no such configuration.
    #[error("the flake has no nixosConfigurations.{attr}")]
    MissingAttribute {
        /// The attribute asked for.
        attr: String,
        /// Names that are there and look alike, as Nix suggests them.
        nearest: Vec<String>,
    },
    /// A file that is there, but that Nix does not see.
    #[error("the flake imports {file}, which git does not track, so Nix cannot see it")]
    Untracked {
        /// From the root of the repository.
        file: String,
    },
    /// The lock file would have to change.
    #[error("flake.lock does not fit flake.nix, and a deploy never changes it")]
    Lock,
    /// A builder failed.
    #[error("{name} does not build: {why}")]
    Builder {
        /// Its derivation.
        drv: String,
        /// The derivation's name.
        name: String,
        /// Nix's reason.
        why: String,
        /// Its last lines.
        tail: Vec<String>,
        /// The command that shows all of them.
        log: String,
    },
    /// The disk is full.
    #[error("no space left {place} while building")]
    NoSpace {
        /// `here` or `on HOST`.
        place: String,
    },
    /// A disk is full that is not the store's: of a cache, or for temporary files.
    #[error("no space left below {folder}, which is not in the store")]
    Full {
        /// What lies on it.
        folder: String,
    },
    /// Nobody builds for the system that it is for.
    #[error("it is for {system}, and nobody who may be asked builds for that")]
    System {
        /// Nix's name of it.
        system: String,
        /// Systems that are built for.
        known: Vec<String>,
    },
    /// It took too long.
    #[error("{0} took too long and was stopped")]
    TimedOut(&'static str),
    /// The user stopped it.
    #[error("stopped")]
    Cancelled,
    /// Nix is missing, here or there.
    #[error("there is no nix {0}")]
    NoNix(String),
    /// The host that builds cannot be used.
    #[error("{host} cannot build: {why}")]
    Remote {
        /// Which.
        host: String,
        /// What ssh, sudo or nix said.
        why: String,
        /// What to do.
        hints: Vec<String>,
    },
    /// Anything else that Nix says.
    #[error("nix failed: {0}")]
    Nix(String),
}

impl BuildError {
    /// Stable name for the log.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Evaluation { .. } => "evaluation",
            Self::MissingAttribute { .. } => "missing-attribute",
            Self::Untracked { .. } => "untracked-file",
            Self::Lock => "lock-file",
            Self::Builder { .. } => "builder",
            Self::NoSpace { .. } | Self::Full { .. } => "no-space",
            Self::System { .. } => "system",
            Self::TimedOut(_) => "timed-out",
            Self::Cancelled => "cancelled",
            Self::NoNix(_) => "no-nix",
            Self::Remote { .. } => "remote",
            Self::Nix(_) => "nix",
        }
    }

    /// The lines that explain it: a trace, or the end of a builder's log.
    pub fn details(&self) -> &[String] {
        match self {
            Self::Evaluation { trace, .. } => &trace[trace.len().saturating_sub(SHOWN)..],
            Self::Builder { tail, .. } => tail,
            _ => &[],
        }
    }

    /// What explains it in few lines: of a trace the error itself with its place, as Nix puts it
    /// last; of a builder the end of its log.
    pub fn causes(&self) -> Vec<String> {
        match self {
            Self::Evaluation { message, place, trace } => {
                own_words(message, place.as_deref(), trace)
            }
            Self::System { known, .. } => vec![format!("built for: {}", known.join(", "))],
            other => other.details().to_vec(),
        }
    }

    /// What to type next, most likely first.
    pub fn hints(&self) -> Vec<String> {
        let one = |hint: String| vec![hint];
        match self {
            Self::Evaluation { place: Some(place), .. } => one(format!("# look at {place}")),
            Self::Evaluation { .. } => one("nix flake check --show-trace".to_owned()),
            Self::MissingAttribute { nearest, .. } if nearest.is_empty() => {
                one("nix flake show".to_owned())
            }
            Self::MissingAttribute { nearest, .. } => {
                one(format!("# set `attr = \"{}\"` for the host in hosts.toml", nearest[0]))
            }
            // Then most of it is not tracked.
            Self::Untracked { file } if file == "flake.nix" => one("git add .".to_owned()),
            Self::Untracked { file } => {
                one(format!("git add {}", crate::world::invocation::quote(file)))
            }
            Self::Lock => one("nix flake lock".to_owned()),
            Self::Builder { log, .. } => one(log.clone()),
            Self::NoSpace { .. } => one("df -h /nix; nix-collect-garbage".to_owned()),
            Self::Full { folder } => {
                one(format!("df -h {}", crate::world::invocation::quote(folder)))
            }
            Self::System { system, .. } => vec![
                format!("name a builder in hosts.toml: [builders.NAME] systems = [\"{system}\"]"),
                "or build on the host itself: --build-on target".to_owned(),
            ],
            Self::TimedOut(_) | Self::Cancelled => one("# run the same command again".to_owned()),
            Self::NoNix(_) => {
                one("# install Nix (https://nixos.org/download) and open a new shell".to_owned())
            }
            Self::Remote { hints, .. } => hints.clone(),
            Self::Nix(_) => one("nix store info; df -h /nix".to_owned()),
        }
    }

    /// For a program that could not be started.
    pub fn unstarted(error: StartError) -> Self {
        if error.missing {
            Self::NoNix("on this machine".to_owned())
        } else {
            Self::Nix(error.to_string())
        }
    }
}

/// What Nix was asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A derivation was wanted.
    Evaluation,
    /// An output was wanted.
    Build,
}

/// Sorts a failed run; `place` is where the store is: `here` or `on HOST`.
pub fn sort(log: &Log, ended: Ended, stage: Stage, place: &str) -> BuildError {
    match ended {
        Ended::TimedOut | Ended::Silent => {
            return BuildError::TimedOut(match stage {
                Stage::Evaluation => "the evaluation",
                Stage::Build => "the build",
            });
        }
        Ended::Killed => return BuildError::Cancelled,
        Ended::Signalled(9) => {
            return BuildError::Nix("killed by signal 9; was there enough memory?".to_owned());
        }
        Ended::Signalled(_) | Ended::TooMuch => return BuildError::Nix(ended.to_string()),
        Ended::Exited(_) => {}
    }
    let first = log.errors.iter().find(|e| !follows(e)).or(log.errors.first());
    let Some(error) = first else {
        let last = log.plain.back().cloned().unwrap_or_else(|| ended.to_string());
        return BuildError::Nix(last);
    };
    if is_full(error, log) {
        return full(error, place);
    }
    if let Some(drv) = drv_in(&error.message).filter(|_| is_builder(&error.message)) {
        return builder_failed(log, error, drv, place);
    }
    match stage {
        Stage::Evaluation => evaluation(error),
        Stage::Build => BuildError::Nix(first_line(&error.message)),
    }
}

/// What depends on a failed derivation fails as well; the first cause is what counts.
fn follows(error: &Complaint) -> bool {
    let words = ["dependencies of derivation", "dependency failed"];
    words.iter().any(|w| error.message.contains(w))
}

/// Why there is no closure for one of several hosts that were built for together: the first
/// failure of something that it needs. `None`: no such failure was told.
pub fn of_one(log: &Log, needs: impl Fn(&str) -> bool) -> Option<BuildError> {
    let own = |e: &&Complaint| !follows(e) && drv_in(&e.message).is_none_or(&needs);
    let error = log.errors.iter().find(own)?;
    if is_full(error, log) {
        return Some(full(error, "here"));
    }
    let drv = drv_in(&error.message).filter(|_| is_builder(&error.message))?;
    Some(builder_failed(log, error, drv, "here"))
}

/// Whether a full disk is behind an error, or behind the builder that it names.
fn is_full(error: &Complaint, log: &Log) -> bool {
    let says =
        |t: &str| t.contains("No space left on device") || t.contains("database or disk is full");
    let tail = drv_in(&error.message).map(|d| log.tail(d)).unwrap_or_default();
    says(&error.message) || tail.iter().any(|l| says(l))
}

/// Which disk: that of the file that could not be written, or the store's where none is named.
fn full(error: &Complaint, place: &str) -> BuildError {
    let quoted = error.message.split('\'').filter(|part| part.starts_with('/'));
    // What a builder sees below these is the store's, or a folder that was made for it.
    let built = |path: &str| ["/nix", "/build"].iter().any(|p| Path::new(path).starts_with(p));
    let named = quoted.map(str::trim).find(|path| !built(path));
    match named.and_then(|path| Path::new(path).parent()).filter(|_| place == "here") {
        Some(folder) => BuildError::Full { folder: harmless::line(&folder.to_string_lossy()) },
        None => BuildError::NoSpace { place: place.to_owned() },
    }
}

fn is_builder(message: &str) -> bool {
    [
        "builder for '",
        "Cannot build '",
        "hash mismatch in fixed-output",
        "build of '",
        "timed out after",
    ]
    .iter()
    .any(|words| message.contains(words))
}

/// The first derivation that a message names.
fn drv_in(message: &str) -> Option<&str> {
    let from = message.find("/nix/store/")?;
    let rest = &message[from..];
    let end = rest.find(".drv")? + ".drv".len();
    let path = &rest[..end];
    crate::fleet::StorePath::new(path).is_ok().then_some(path)
}

fn builder_failed(log: &Log, error: &Complaint, drv: &str, place: &str) -> BuildError {
    let name = drv.split_once('-').map_or(drv, |(_, name)| name).trim_end_matches(".drv");
    let reason = error.message.lines().find_map(|l| l.trim().strip_prefix("Reason: "));
    let why = match (reason, error.message.split_once("' failed ")) {
        (Some(reason), _) => reason.trim_end_matches('.').to_owned(),
        (None, Some((_, how))) => {
            format!("failed {}", first_line(how).trim_end_matches([';', ',']))
        }
        (None, None) => first_line(&error.message),
    };
    let tail = last(&log.tail(drv));
    // The log is kept where it was built.
    let there = place.strip_prefix("on ").map(|host| format!("ssh {host} ")).unwrap_or_default();
    let log = format!("{there}nix log {drv}");
    BuildError::Builder { drv: drv.to_owned(), name: name.to_owned(), why, tail, log }
}

fn evaluation(error: &Complaint) -> BuildError {
    let text = &error.message;
    if text.contains("does not provide attribute") {
        let attr = text.split("nixosConfigurations.\"").nth(1).and_then(|r| r.split('"').next());
        let attr = attr.unwrap_or_default().to_owned();
        return BuildError::MissingAttribute { attr, nearest: suggestions(&error.lines) };
    }
    if text.contains("requires lock file changes") {
        return BuildError::Lock;
    }
    // Assertions of NixOS put their sentences on the lines that follow.
    let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
    let message = match (lines.next(), lines.next()) {
        (Some("Failed assertions:"), Some(first)) => first.trim_start_matches("- ").to_owned(),
        (Some(first), _) => first.to_owned(),
        (None, _) => "nix gave no reason".to_owned(),
    };
    let place = error.place.as_deref().map(below_source);
    BuildError::Evaluation { message, place, trace: error.lines.clone() }
}

/// The lines of the last `error:` that the sentence does not hold already; source is left out, and
/// the trace above it.
fn own_words(message: &str, place: Option<&str>, trace: &[String]) -> Vec<String> {
    let last = trace.iter().rposition(|l| l.trim_start().starts_with("error:"));
    let source = |line: &str| {
        let line = line.trim_start_matches(|c: char| c.is_ascii_digit());
        line.starts_with('|') || line.is_empty()
    };
    let lines = trace[last.unwrap_or(trace.len())..].iter().map(|l| l.trim());
    let lines = lines.map(|l| l.strip_prefix("error:").unwrap_or(l).trim());
    let known =
        |line: &str| line.trim_start_matches("- ") == message || line == "Failed assertions:";
    let told = lines.filter(|l| !source(l) && !known(l) && !l.starts_with("at /"));
    let told = told.take(OWN).map(str::to_owned);
    told.chain(place.map(|place| format!("at {place}"))).collect()
}

/// `Did you mean A?`, `Did you mean one of A, B or C?`.
fn suggestions(lines: &[String]) -> Vec<String> {
    let asked = lines.iter().find_map(|l| l.trim().strip_prefix("Did you mean "));
    let Some(asked) = asked else { return Vec::new() };
    let names = asked.trim_end_matches('?').trim_start_matches("one of ").replace(" or ", ", ");
    names.split(", ").map(|n| n.trim_matches('"').to_owned()).filter(|n| !n.is_empty()).collect()
}

/// A place in the flake's copy, as a path of the repository; else as it is.
pub fn below_source(place: &str) -> String {
    let inside = place.strip_prefix("/nix/store/").and_then(|r| r.split_once("-source/"));
    inside.map_or(place, |(_, path)| path).to_owned()
}

/// The path of the repository that an error says is not there, if that is what it says.
pub fn missing_path(error: &BuildError) -> Option<&str> {
    let BuildError::Evaluation { message, .. } = error else { return None };
    let quoted = |c: char| message.split(c).nth(1);
    // Nix 2.28 and later knows it itself: Path 'x' in the repository "y" is not tracked by Git.
    if message.contains("is not tracked by Git") {
        return quoted('\'');
    }
    let path = quoted('\'').filter(|_| message.ends_with("does not exist"))?;
    path.strip_prefix("/nix/store/")?.split_once("-source/").map(|(_, path)| path)
}

fn first_line(text: &str) -> String {
    text.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or_default().to_owned()
}

fn last(lines: &[String]) -> Vec<String> {
    lines[lines.len().saturating_sub(SHOWN)..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! recorded {
        ($name:literal, $stage:expr) => {{
            let mut log = Log::default();
            for line in include_str!(concat!("../../tests/fixtures/nix/", $name, ".log")).lines() {
                log.take(line);
            }
            sort(&log, Ended::Exited(1), $stage, "here")
        }};
    }

    #[test]
    fn each_recorded_evaluation_error_is_told_apart() {
        let missing = recorded!("eval-missing", Stage::Evaluation);
        let nearest = vec!["p620".to_owned()];
        assert_eq!(missing, BuildError::MissingAttribute { attr: "p62O".to_owned(), nearest });
        assert_eq!(recorded!("eval-nolock", Stage::Evaluation), BuildError::Lock);
        let untracked = recorded!("eval-untracked", Stage::Evaluation);
        assert_eq!(missing_path(&untracked), Some("modules/new-thing.nix"));
        let syntax = recorded!("eval-syntax", Stage::Evaluation);
        assert_eq!(syntax.to_string(), "evaluation failed: syntax error, unexpected ';'");
        assert_eq!(syntax.hints(), ["# look at hosts/p620/default.nix:1:9"]);
        let assertion = recorded!("eval-assertion", Stage::Evaluation);
        assert_eq!(assertion.to_string(), "evaluation failed: lab.evalError is set");
        assert!(assertion.details().len() > 5);
        assert_eq!(assertion.causes(), Vec::<String>::new(), "the sentence says it all");
        assert_eq!(syntax.causes(), ["at hosts/p620/default.nix:1:9"]);
        let unreachable = recorded!("eval-github", Stage::Evaluation);
        assert!(unreachable.to_string().contains("unable to download"), "{unreachable}");
        let none = recorded!("eval-noflake", Stage::Evaluation);
        assert_eq!(missing_path(&none), Some("flake.nix"));
    }

    #[test]
    fn a_failed_builder_brings_its_log() {
        let error = recorded!("build-error", Stage::Build);
        let BuildError::Builder { name, why, tail, drv, .. } = &error else { panic!("{error:?}") };
        assert_eq!(name, "nixos-system-p620-25.11.20261101.1ab2c3d");
        assert_eq!(why, "failed with exit code 1");
        assert_eq!(tail, &["error: lab.buildError: compiler exploded"]);
        assert!(error.hints()[0].contains(drv));
    }

    #[test]
    fn a_failure_is_told_to_those_who_need_it() {
        let mut log = Log::default();
        for line in include_str!("../../tests/fixtures/nix/build-error.log").lines() {
            log.take(line);
        }
        let mine = of_one(&log, |drv| drv.contains("nixos-system-p620"));
        assert!(matches!(mine, Some(BuildError::Builder { .. })), "{mine:?}");
        assert_eq!(of_one(&log, |_| false), None);
    }

    #[test]
    fn a_full_disk_is_named() {
        let expected = BuildError::NoSpace { place: "here".to_owned() };
        assert_eq!(recorded!("build-nospace", Stage::Build), expected);
    }

    #[test]
    fn the_disk_that_is_full_need_not_be_the_stores() {
        let sorted = |message: &str, place: &str| {
            let mut log = Log::default();
            let message = message.to_owned();
            log.errors.push(Complaint { message, lines: Vec::new(), place: None });
            sort(&log, Ended::Exited(1), Stage::Evaluation, place)
        };
        let cache = "creating directory '/mnt/my cache/nix': No space left on device";
        let error = sorted(cache, "here");
        assert_eq!(error, BuildError::Full { folder: "/mnt/my cache".to_owned() });
        assert_eq!(error.hints(), ["df -h '/mnt/my cache'"]);
        let sqlite = "executing SQLite statement 'create table': database or disk is full \
                      (in '/mnt/c/nix/eval-cache-v6/x.sqlite')";
        let folder = "/mnt/c/nix/eval-cache-v6".to_owned();
        assert_eq!(sorted(sqlite, "here"), BuildError::Full { folder });
        let store = "writing to file '/nix/store/x': No space left on device";
        assert_eq!(sorted(store, "here"), BuildError::NoSpace { place: "here".to_owned() });
        let there = BuildError::NoSpace { place: "on p620".to_owned() };
        assert_eq!(sorted(cache, "on p620"), there, "its folders are not ours to look at");
    }

    #[test]
    fn newer_nix_says_it_in_other_words() {
        let drv = "/nix/store/0c0d1f2g3h4i5j6k7l8m9n0p1q2r3s4v-x-1.0.drv";
        let mut log = Log::default();
        let message = format!("Cannot build '{drv}'.\nReason: builder failed with exit code 2.");
        log.errors.push(Complaint { message, lines: Vec::new(), place: None });
        let error = sort(&log, Ended::Exited(1), Stage::Build, "here");
        assert_eq!(error.to_string(), "x-1.0 does not build: builder failed with exit code 2");
    }

    #[test]
    fn suggestions_are_split() {
        let said = |text: &str| suggestions(&[format!("       {text}")]);
        assert_eq!(said("Did you mean one of p510, p620 or razer?"), ["p510", "p620", "razer"]);
        assert_eq!(said("Did you mean one of a or b?"), ["a", "b"]);
        assert!(said("nothing").is_empty());
    }
}
