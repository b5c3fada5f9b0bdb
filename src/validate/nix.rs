//! Nix's own verdict on syntax: for all files with `check --nix`, and in a deploy for those that
//! would stop it. Where we differ, Nix wins.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::syntax::Fault;
use super::{Examined, Found, Job, Mark, rules};
use crate::event::{Severity, harmless};
use crate::world::process::{self, StartError};
use crate::world::{Invocation, World};

/// Files for one call: their names must fit a command line.
const AT_ONCE: usize = 500;
/// Nix prints what it read; more than this is not worth waiting for.
const LIMIT: usize = 512 << 20;
/// Files that Nix refuses, after which it is not asked any more.
const REFUSED: usize = 100;
const TIMEOUT: Duration = Duration::from_secs(120);

/// Holds the findings against Nix's verdict.
///
/// # Errors
/// When there is no Nix to ask.
pub async fn confirm(
    world: &World,
    root: &Path,
    jobs: &[Job],
    examined: &mut Examined,
    notes: &mut Vec<String>,
) -> Result<(), StartError> {
    let there = |job: &&Job| root.join(&job.path).is_file();
    let paths: Vec<PathBuf> = jobs.iter().filter(there).map(|j| j.path.clone()).collect();
    let mut refused: HashSet<PathBuf> = HashSet::new();
    for chunk in paths.chunks(AT_ONCE) {
        let mut left: Vec<PathBuf> = chunk.to_vec();
        while !left.is_empty() && refused.len() < REFUSED {
            let Some(error) = parse(world, root, &left).await? else { break };
            let Some(at) = left.iter().position(|p| error.contains(&*place(root, p))) else {
                notes.push(format!("nix: {}", harmless::line(&error)));
                break;
            };
            let path = left.remove(at);
            disagree(examined, &path, &error, notes);
            refused.insert(path);
        }
    }
    if refused.len() < REFUSED {
        let asked: HashSet<&PathBuf> = paths.iter().filter(|p| !refused.contains(*p)).collect();
        let takes = |path: &Path, mark: Mark| stops(mark) && asked.contains(&path.to_path_buf());
        examined.change(takes, |_, found| taken(found));
    }
    Ok(())
}

/// Asks, in one call, about the files in which a fault of syntax would stop a deploy: none of them
/// does that Nix takes. Where there is no Nix, or it cannot say, all stays as it is.
///
/// What Nix refuses and we do not needs no question: the evaluation beside this one finds it.
pub(super) async fn acquit(world: &World, root: &Path, examined: &mut Examined) {
    let stopped = examined.kept.iter().filter(|kept| kept.packed.marks().any(stops));
    let paths: Vec<PathBuf> = stopped.take(AT_ONCE).map(|kept| kept.path.clone()).collect();
    if paths.is_empty() {
        return;
    }
    let first = match parse(world, root, &paths).await {
        Ok(None) => paths.len(),
        // It reads them in order, and stops at the first that it refuses.
        Ok(Some(error)) => paths.iter().position(|p| error.contains(&*place(root, p))).unwrap_or(0),
        Err(error) => {
            tracing::debug!(%error, "nobody to ask");
            0
        }
    };
    let takes = |path: &Path, mark: Mark| stops(mark) && paths[..first].iter().any(|p| p == path);
    examined.change(takes, |_, found| taken(found));
}

fn stops(mark: Mark) -> bool {
    let syntax = rules::rule(mark.code).is_some_and(rules::Rule::is_syntax);
    syntax && mark.severity == Severity::Block
}

/// Nix takes a file.
fn taken(found: &mut [Found]) {
    for found in found.iter_mut().filter(|f| stops(f.mark())) {
        found.fault.severity = Severity::Warn;
        found.fault.message.push_str(" (Nix takes it: please report this)");
    }
}

/// How Nix names a file in its messages.
fn place(root: &Path, path: &Path) -> String {
    format!("{}:", root.join(path).display())
}

/// Nix refuses a file; one that we took is a finding, and a mistake of ours.
fn disagree(examined: &mut Examined, path: &Path, error: &str, notes: &mut Vec<String>) {
    let file = examined.kept.iter().find(|kept| kept.path == path);
    let blocks = |mark: Mark| mark.severity == Severity::Block;
    if file.is_some_and(|kept| kept.packed.marks().any(blocks)) {
        return;
    }
    let what = error.lines().find_map(|l| l.trim().strip_prefix("error: ")).unwrap_or(error);
    let message = format!("Nix refuses it: {}", harmless::line(what));
    examined.add(path, Fault::at("syntax-error", Severity::Block, 0..0, message), true);
    let shown = harmless::line(&path.display().to_string());
    notes.push(format!("please report: {shown} is refused by Nix and was not by us"));
}

/// Asks Nix; the message of the first file that it refuses.
async fn parse(
    world: &World,
    root: &Path,
    paths: &[PathBuf],
) -> Result<Option<String>, StartError> {
    let names = paths.iter().map(|p| root.join(p).display().to_string());
    let words = ["--parse".to_owned(), "--".to_owned()].into_iter().chain(names);
    let invocation = Invocation::new("nix-instantiate", words)
        .within(&world.environment.folder)
        .env("NO_COLOR", "1")
        .timeout(TIMEOUT);
    let told = process::bytes(invocation, LIMIT).await?;
    Ok((!told.ended.ok()).then_some(told.err))
}
