//! `check [PATH...]` and `check-syntax`: the tree held against Nix's grammar, without network.
//!
//! Returns what is to be printed; it knows no terminal.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::error::Error;
use crate::event::{Severity, harmless};
use crate::exit::Exit;
use crate::report::github;
use crate::validate::{Examined, Fault, Faulty, Position, examine, tracked};
use crate::world::World;

/// What was typed.
#[derive(Debug, Clone, Default)]
pub struct Check {
    /// Files and folders; none: everything tracked below the current folder.
    pub paths: Vec<PathBuf>,
    /// One JSON document instead of drawings.
    pub json: bool,
    /// Annotations of GitHub Actions instead of drawings.
    pub github: bool,
    /// Whether colours can be shown.
    pub colour: bool,
    /// Warnings block too (`--deny warn`).
    pub deny_warnings: bool,
}

/// What to print on standard output, and the code to end with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Complete lines.
    pub text: String,
    /// [`Exit::Done`] or [`Exit::Blocked`].
    pub exit: Exit,
}

/// Checks files.
///
/// # Errors
/// When a path does not exist, or git cannot say what is tracked.
pub async fn run(world: &World, check: &Check) -> Result<Answer, Error> {
    let began = world.clock.elapsed();
    let folder = world.environment.folder.clone();
    let files = files(world, &folder, &check.paths).await?;
    let examined = tokio::task::spawn_blocking(move || examine(&folder, &files)).await;
    let examined =
        examined.map_err(|e| Error::new(Exit::Internal, "the check failed").because(e))?;
    let took_ms = (world.clock.elapsed() - began).as_millis();
    let blocks_from = if check.deny_warnings { Severity::Warn } else { Severity::Block };
    let blocked = examined.worst().is_some_and(|worst| worst >= blocks_from);
    let text = if check.json {
        format!("{:#}\n", document(&examined, took_ms))
    } else if check.github {
        annotations(&examined) + &recap(&examined, took_ms)
    } else {
        examined.drawn(check.colour, world.environment.unicode) + &recap(&examined, took_ms)
    };
    Ok(Answer { text, exit: if blocked { Exit::Blocked } else { Exit::Done } })
}

async fn files(world: &World, folder: &Path, paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    if paths.is_empty() {
        return below(world, folder, Path::new("")).await;
    }
    let mut files = Vec::new();
    for path in paths {
        let shown = harmless::line(&path.display().to_string());
        let meta = std::fs::metadata(folder.join(path))
            .map_err(|e| Error::usage(format!("cannot check {shown}: {e}")).hint("ls"))?;
        if meta.is_dir() {
            files.extend(below(world, folder, path).await?);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

/// What is tracked below a path; without a repository, what lies there.
async fn below(world: &World, folder: &Path, path: &Path) -> Result<Vec<PathBuf>, Error> {
    let root = folder.join(path);
    let names = match tracked::nix_files(world, &root).await {
        Ok(names) => names,
        Err(tracked::Untold::NoRepository) => tracked::lying_below(&root),
        Err(tracked::Untold::Failed(cause)) => {
            let error = Error::usage("git cannot say which files are tracked");
            return Err(error.because(harmless::line(&cause)).hint("git status"));
        }
    };
    Ok(names.into_iter().map(|name| path.join(name)).collect())
}

fn recap(examined: &Examined, took_ms: u128) -> String {
    let count = |n: usize, noun: &str| format!("{n} {noun}{}", if n == 1 { "" } else { "s" });
    let mut line = count(examined.files, "file");
    let errors = count(examined.count(Severity::Block), "error");
    let warnings = count(examined.count(Severity::Warn), "warning");
    let _ = writeln!(line, ", {errors}, {warnings}, {took_ms} ms");
    line
}

fn annotations(examined: &Examined) -> String {
    let faults = examined.faulty.iter().flat_map(|file| file.faults.iter().map(move |f| (file, f)));
    let line = |(file, fault): (&Faulty, &Fault)| {
        let at = Position::of(&file.text, fault.range.start);
        let hint = fault.hint.as_ref().map(|hint| format!("\n{hint}")).unwrap_or_default();
        github::annotation_at(&github::Place {
            block: fault.severity == Severity::Block,
            file: &file.path.display().to_string(),
            line: at.line,
            column: at.column,
            title: fault.code,
            text: &format!("{}{hint}", fault.message),
        }) + "\n"
    };
    faults.map(line).collect()
}

fn document(examined: &Examined, took_ms: u128) -> Value {
    let faults = examined.faulty.iter().flat_map(|file| file.faults.iter().map(move |f| (file, f)));
    json!({
        "version": 1,
        "findings": faults.map(|(file, fault)| finding(file, fault)).collect::<Vec<_>>(),
        "summary": {
            "files": examined.files,
            "errors": examined.count(Severity::Block),
            "warnings": examined.count(Severity::Warn),
            "elapsed_ms": u64::try_from(took_ms).unwrap_or(u64::MAX),
        },
    })
}

/// Lines and columns count from 1, in characters; the offset is in bytes, from 0. Syntax is never
/// an old sin: every finding counts as new.
fn finding(file: &Faulty, fault: &Fault) -> Value {
    let from = Position::of(&file.text, fault.range.start);
    let upto = Position::of(&file.text, fault.range.end);
    let mut value = json!({
        "rule": fault.code,
        "severity": match fault.severity {
            Severity::Block => "block",
            Severity::Warn => "warn",
            Severity::Info => "info",
        },
        "new": true,
        "path": file.path.display().to_string(),
        "line": from.line,
        "column": from.column,
        "end_line": upto.line,
        "end_column": upto.column,
        "byte_offset": fault.range.start,
        "message": fault.message,
    });
    if let Some(hint) = &fault.hint {
        value["hint"] = json!(hint);
    }
    value
}
