//! `check [PATH...]`, `check-syntax`, `validate-quick` and `validate`: the tree held against Nix's
//! grammar and our rules, without network.
//!
//! Returns what is to be printed; it knows no terminal.

pub mod github;
mod json;
mod named;
mod sarif;
pub mod scripts;
mod text;

use std::io;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::event::{Severity, harmless};
use crate::exit::Exit;
use crate::fleet;
use crate::validate::baseline::{self, Baseline};
use crate::validate::fix::{self, Fixed};
use crate::validate::levels::{Level, Levels};
use crate::validate::revision::{Repository, Untold};
use crate::validate::rules::{RULES, Rule, rule};
use crate::validate::verdicts::Verdicts;
use crate::validate::{Base, Depth, Examined, Job, examine_with, nix, tracked};
use crate::world::{World, files};

/// Findings that are drawn with their lines.
const DRAWN: usize = 400;
/// A baseline of a large tree is some hundred KiB.
const BASELINE_LIMIT: u64 = 16 << 20;

/// What was typed.
#[derive(Debug, Clone, Default)]
pub struct Check {
    /// Files and folders; none: the whole repository, or what lies below the current folder.
    pub paths: Vec<PathBuf>,
    /// Which files, and what they are compared with.
    pub scope: Scope,
    /// Nix's grammar alone.
    pub syntax_only: bool,
    /// Old findings and notes are shown too.
    pub all: bool,
    /// How it is printed.
    pub form: Form,
    /// Whether colours can be shown.
    pub colour: bool,
    /// Warnings block too (`--deny warn`).
    pub deny_warnings: bool,
    /// Nix confirms the verdict on syntax.
    pub nix: bool,
    /// What can be put right safely is.
    pub fix: bool,
    /// Everything that is found is written to the baseline.
    pub write_baseline: bool,
    /// Health scripts that hosts.toml names and nobody can read.
    pub scripts: Vec<scripts::Lacking>,
}

/// Which files are checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scope {
    /// Everything, against HEAD.
    #[default]
    Tree,
    /// What is staged, as it is staged, against HEAD.
    Staged,
    /// What changed since the merge base with a revision.
    Since(String),
}

/// How findings are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    /// With the lines they are about.
    #[default]
    Drawn,
    /// One line each.
    Compact,
    /// One JSON document.
    Json,
    /// SARIF 2.1.0.
    Sarif,
    /// Annotations for GitHub Actions, and a summary.
    Github,
}

/// What to print on standard output, and the code to end with.
#[derive(Debug)]
pub struct Answer {
    outcome: Outcome,
    unicode: bool,
    /// For `$GITHUB_STEP_SUMMARY`, when that is wanted.
    pub summary: Option<String>,
    /// [`Exit::Done`] or [`Exit::Blocked`].
    pub exit: Exit,
}

/// Everything that the printers need.
#[derive(Debug)]
pub(super) struct Outcome {
    examined: Examined,
    check: Check,
    took_ms: u64,
    fixed: usize,
    notes: Vec<String>,
}

impl Answer {
    /// Writes all of it, line by line: a large tree can have a great many findings.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let outcome = &self.outcome;
        match outcome.check.form {
            Form::Drawn => text::drawn(outcome, self.unicode, out),
            Form::Compact => text::compact(outcome, out),
            Form::Json => document_to(out, &json::Document(outcome)),
            Form::Sarif => document_to(out, &sarif::Document(&outcome.examined)),
            Form::Github => out.write_all(github::annotations(outcome).as_bytes()),
        }
    }
}

fn document_to(out: &mut dyn io::Write, document: &impl serde::Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, document)?;
    out.write_all(b"\n")
}

/// Checks files.
///
/// # Errors
/// When a path does not exist, git refuses, or hosts.toml or the baseline is wrong.
pub async fn run(world: &World, check: &Check, settings: &fleet::Checks) -> Result<Answer, Error> {
    let began = world.clock.elapsed();
    let mut chosen = chosen(world, check).await?;
    let mut notes = Vec::new();
    if chosen.jobs.is_empty() && check.scope == Scope::Tree {
        notes.push(nothing(world, check));
    }
    let (levels, baseline) = self::settings(settings, &chosen.root)
        .map_err(|m| Error::usage(m).hint("nixdeploy check --list-rules"))?;
    let mut fixed = 0;
    if check.fix {
        fixed = mend(&chosen, &mut notes).await?;
    }
    let depth =
        Depth { rules: !check.syntax_only, drawn: DRAWN, old: check.all || check.syntax_only };
    let (root, jobs) = (chosen.root.clone(), std::mem::take(&mut chosen.jobs));
    let whole = check.paths.is_empty() && check.scope == Scope::Tree && !check.syntax_only;
    let cache = whole.then(|| world.environment.cache.clone());
    let looking = tokio::task::spawn_blocking(move || {
        let verdicts = cache.and_then(|cache| Verdicts::on(&cache, &root, jobs.len()));
        let examined = examine_with(&root, &jobs, depth, verdicts.as_ref());
        if let Some(verdicts) = verdicts {
            verdicts.save();
        }
        (examined, jobs)
    });
    let looked = looking.await;
    let (mut examined, jobs) =
        looked.map_err(|e| Error::new(Exit::Internal, "the check failed").because(e))?;
    chosen.jobs = jobs;
    if check.nix {
        let asked =
            nix::confirm(world, &chosen.root, &chosen.jobs, &mut examined, &mut notes).await;
        asked.map_err(|error| {
            Error::new(Exit::Usage, "there is no nix-instantiate to ask")
                .because(error)
                .hint("nix --version")
        })?;
    }
    examined.weigh(&levels);
    if whole {
        check.scripts.iter().for_each(|script| script.told(&chosen.root, &mut examined));
    }
    let file = baseline_file(settings);
    if check.write_baseline {
        let text = Baseline::of(&examined);
        let path = chosen.root.join(&file);
        files::replace(&path, text.as_bytes())
            .map_err(|e| Error::usage(format!("cannot write {}", path.display())).because(e))?;
        let parsed = Baseline::parse(&text).unwrap_or_default();
        parsed.apply(&mut examined, &file, false);
        notes.push(format!("written: {}", file.display()));
    } else {
        baseline.apply(&mut examined, &file, whole);
    }
    let took_ms = u64::try_from((world.clock.elapsed() - began).as_millis()).unwrap_or(u64::MAX);
    let outcome = Outcome { examined, check: check.clone(), took_ms, fixed, notes };
    Ok(answer(world, outcome))
}

fn answer(world: &World, outcome: Outcome) -> Answer {
    let check = &outcome.check;
    let blocks_from = if check.deny_warnings { Severity::Warn } else { Severity::Block };
    let blocked = outcome.examined.worst_new().is_some_and(|worst| worst >= blocks_from);
    let summary = (check.form == Form::Github).then(|| github::summary(&outcome));
    let exit = if blocked { Exit::Blocked } else { Exit::Done };
    Answer { outcome, unicode: world.environment.unicode, summary, exit }
}

/// What hosts.toml says of rules, and the baseline of a tree.
///
/// # Errors
/// With a sentence: a rule that is not there, or a baseline that is none.
pub fn settings(check: &fleet::Checks, root: &Path) -> Result<(Levels, Baseline), String> {
    let mut levels = Levels::default();
    let mut give = |glob: Option<&str>, id: &str, level: fleet::CheckLevel| {
        let level = match level {
            fleet::CheckLevel::Block => Level::As(Severity::Block),
            fleet::CheckLevel::Warn => Level::As(Severity::Warn),
            fleet::CheckLevel::Info => Level::As(Severity::Info),
            fleet::CheckLevel::Off => Level::Off,
        };
        levels.give(glob, id, level).map_err(|e| format!("[check] in hosts.toml: {e}"))
    };
    for (id, level) in &check.rules {
        give(None, id, *level)?;
    }
    for (glob, rules) in &check.paths {
        for (id, level) in rules {
            give(Some(glob), id, *level)?;
        }
    }
    let file = baseline_file(check);
    let path = root.join(&file);
    if check.baseline.is_none() && !path.exists() {
        return Ok((levels, Baseline::default()));
    }
    let text = match files::read_text(&path, BASELINE_LIMIT) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Ok((levels, Baseline::default()));
        }
        Err(e) => return Err(format!("cannot read {}: {e}", path.display())),
    };
    let baseline = Baseline::parse(&text)
        .map_err(|line| format!("{}:{line} is no line of a baseline", file.display()))?;
    Ok((levels, baseline))
}

fn baseline_file(check: &fleet::Checks) -> PathBuf {
    check.baseline.as_deref().unwrap_or(baseline::FILE_NAME).into()
}

/// Files to check, from one root.
struct Chosen {
    root: PathBuf,
    jobs: Vec<Job>,
    repository: Option<Repository>,
}

async fn chosen(world: &World, check: &Check) -> Result<Chosen, Error> {
    let folder = world.environment.folder.clone();
    let paths = named::meant(&folder, &check.paths)?;
    let mut repository = Repository::seen_from(world, &folder);
    let jobs = async {
        match &check.scope {
            Scope::Tree => repository.whole(&paths).await,
            Scope::Staged => repository.staged(&paths).await,
            Scope::Since(revision) => repository.since(revision, &paths).await,
        }
    };
    // Git is asked for everything at once: to start it takes longer than to answer.
    let (top, jobs) = tokio::join!(repository.top(), jobs);
    repository.root = match top {
        Ok(top) => top,
        Err(Untold::NoRepository) if check.scope == Scope::Tree => {
            return Ok(lying(folder, &paths));
        }
        Err(untold) => return Err(refused(&untold)),
    };
    let jobs = jobs.map(|jobs| match &check.scope {
        Scope::Tree => with_ignored(&repository, &folder, &paths, jobs),
        _ => jobs,
    });
    match jobs {
        Ok(jobs) => {
            Ok(Chosen { root: repository.root.clone(), jobs, repository: Some(repository) })
        }
        // A path outside of the repository.
        Err(_) if check.scope == Scope::Tree && !paths.is_empty() => Ok(lying(folder, &paths)),
        Err(untold) => Err(refused(&untold)),
    }
}

/// That there was nothing to look at is no silence.
fn nothing(world: &World, check: &Check) -> String {
    let folder = world.environment.folder.clone();
    let places = if check.paths.is_empty() { vec![folder] } else { check.paths.clone() };
    let places: Vec<String> =
        places.iter().take(4).map(|p| harmless::line(&p.display().to_string())).collect();
    format!("no .nix files in {}", places.join(", "))
}

fn refused(untold: &Untold) -> Error {
    match untold {
        Untold::NoRepository => Error::usage("this is no git repository").hint("git init"),
        Untold::NoRevision(name) => {
            let name = harmless::cut(&harmless::line(name), 64);
            Error::usage(format!("no revision called '{name}'"))
                .hint("those that there are: git branch --all; git tag")
                .hint("a branch of elsewhere comes with: git fetch")
        }
        Untold::Unrelated(name) => {
            let name = harmless::cut(&harmless::line(name), 64);
            Error::usage(format!("'{name}' and HEAD have no commit in common"))
                .hint("where not all of the history was fetched: git fetch --unshallow")
        }
        Untold::Failed(cause) => Error::usage("git cannot say which files are meant")
            .because(harmless::line(cause))
            .hint("git status"),
    }
}

/// The files that are meant; those that were named are checked although git ignores them.
fn with_ignored(
    repository: &Repository,
    folder: &Path,
    paths: &[PathBuf],
    mut jobs: Vec<Job>,
) -> Vec<Job> {
    for path in paths {
        let full = folder.join(path);
        let meta = std::fs::symlink_metadata(&full);
        let (plain, resolved) = (meta.is_ok_and(|m| m.is_file()), full.canonicalize());
        let Ok(resolved) = resolved else { continue };
        let root = repository.root.canonicalize().unwrap_or_else(|_| repository.root.clone());
        let shown = resolved.strip_prefix(&root).map_or(resolved.clone(), Path::to_path_buf);
        if plain && !jobs.iter().any(|j| j.path == shown) {
            jobs.push(Job { path: shown, bytes: None, base: Base::None });
        }
    }
    jobs
}

/// Files without a repository: all of them new.
fn lying(folder: PathBuf, paths: &[PathBuf]) -> Chosen {
    let mut found = Vec::new();
    if paths.is_empty() {
        found = tracked::lying_below(&folder);
    }
    for path in paths {
        if folder.join(path).is_dir() {
            let below = tracked::lying_below(&folder.join(path));
            found.extend(below.into_iter().map(|name| path.join(name)));
        } else {
            found.push(path.clone());
        }
    }
    let job = |path: PathBuf| {
        let path = path.strip_prefix(".").map(Path::to_path_buf).unwrap_or(path);
        Job { path, bytes: None, base: Base::None }
    };
    Chosen { root: folder, jobs: found.into_iter().map(job).collect(), repository: None }
}

/// Mends the files, each as a whole or not at all.
async fn mend(chosen: &Chosen, notes: &mut Vec<String>) -> Result<usize, Error> {
    let partly = match &chosen.repository {
        Some(repository) => repository.partly_staged().await.map_err(|e| refused(&e))?,
        None => Vec::new(),
    };
    let mut made = 0;
    for job in &chosen.jobs {
        let path = chosen.root.join(&job.path);
        let (at, shown) = (path.clone(), harmless::line(&job.path.display().to_string()));
        let mended = tokio::task::spawn_blocking(move || fix::mended(&at, &[])).await;
        match mended.unwrap_or(Fixed::Unsafe) {
            Fixed::Nothing => {}
            Fixed::Unsafe => notes.push(format!("left alone: {shown}: the edit is not safe")),
            Fixed::Text(..) if partly.contains(&job.path) => {
                notes.push(format!("left alone: {shown}: it is staged in part"));
            }
            Fixed::Text(..) if several_names(&path) => {
                notes.push(format!("left alone: {shown}: it has other names too (hard links)"));
            }
            Fixed::Text(text, count) => {
                files::replace_alike(&path, text.as_bytes())
                    .map_err(|e| Error::usage(format!("cannot write {shown}")).because(e))?;
                made += count;
                notes.push(format!("mended: {shown}: {count}"));
            }
        }
    }
    Ok(made)
}

/// Whether a file would be parted from its other names by being replaced.
fn several_names(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).is_ok_and(|meta| meta.nlink() > 1)
}

/// The rules, one line each.
pub fn list() -> String {
    let line = |rule: &&&Rule| {
        let fix = if rule.fixable { " (--fix)" } else { "" };
        format!("{:5} {:28} {}{fix}\n", text::word(rule.severity), rule.id, rule.flags)
    };
    RULES.iter().map(|rule| line(&rule)).collect()
}

/// The same for programs.
pub fn document() -> String {
    let object = |rule: &&Rule| {
        serde_json::json!({
            "id": rule.id,
            "severity": text::word(rule.severity),
            "flags": rule.flags,
            "fixable": rule.fixable,
        })
    };
    let rules: Vec<_> = RULES.iter().map(object).collect();
    format!("{}\n", serde_json::json!({ "schema": 1, "rules": rules }))
}

/// What a rule is about, with examples.
///
/// # Errors
/// When there is none of that name.
pub fn explain(id: &str) -> Result<String, Error> {
    let Some(rule) = rule(id) else {
        let near = fleet::hosts_toml::nearest(id, RULES.iter().map(|r| r.id));
        let error = Error::usage(format!("there is no rule '{}'", id.escape_debug()));
        let error = match near {
            Some(near) => error.hint(format!("nixdeploy check --explain {near}")),
            None => error,
        };
        return Err(error.hint("nixdeploy check --list-rules"));
    };
    Ok(text::explained(rule))
}
