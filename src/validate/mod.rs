//! Slice 1: is this tree fit to be deployed?
//!
//! Every tracked `.nix` file is held against Nix's own grammar (2.26 and later), its static rules
//! (duplicate attributes and formals, undefined variables) and the rules of [`rules`]. The rule
//! for all of them: what blocks never blocks good code, so whatever cannot be told for certain is
//! a warning or silence, and what was there before the change never blocks it.
//! This slice reads files and nothing else; it knows no host.
//!
//! Its evidence is [`Clearance`]. It names the tree that was looked at, and a host is only
//! admitted with the clearance of the very tree that was built:
//!
//! ```compile_fail
//! use nixdeploy::validate::Clearance;
//! fn give() -> Clearance { Clearance { tree: String::new(), files: 0, waiver: None } }
//! ```
//!
//! Only [`run`] and [`waive`] make one; handing it on is all that others can do:
//!
//! ```
//! use nixdeploy::validate::Clearance;
//! fn give(clearance: Clearance) -> Clearance { clearance }
//! ```

mod allow;
mod attributes;
pub mod baseline;
mod examine;
pub mod fix;
mod found;
mod gather;
mod grammar;
pub mod identity;
pub mod levels;
mod names;
mod nesting;
pub mod nix;
mod packed;
mod pieces;
mod place;
mod quick;
mod reading;
mod resolve;
pub mod revision;
pub mod rules;
mod secrets;
mod show;
pub mod syntax;
pub mod tracked;
mod variables;
pub mod verdicts;
mod wording;

use std::path::{Path, PathBuf};

use crate::event::harmless;
use crate::event::stream::Emitter;
use crate::event::{Event, Finding, Phase, Severity, Step};
use crate::fleet::HostName;
use crate::world::World;
use verdicts::Verdicts;

pub use examine::{Base, Depth, Job, examine, examine_jobs, examine_with};
pub use found::{Examined, Faulty, Found};
pub use packed::Mark;
pub use syntax::{Fault, Position};

/// The tree that is evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeView {
    /// Name of its content; evidence of other phases carries the same.
    pub id: String,
    /// Its folder.
    pub root: PathBuf,
    /// Its `.nix` files, as tracked by git, counted from `root`.
    pub files: Vec<PathBuf>,
    /// Severities that hosts.toml gives.
    pub levels: levels::Levels,
    /// Findings that are known.
    pub baseline: baseline::Baseline,
}

/// What a finding may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strictness {
    /// Findings from this severity on stop the deploy (`--deny warn` lowers it).
    pub blocks_from: Severity,
    /// All rules, and not Nix's grammar alone.
    pub rules: bool,
}

impl Default for Strictness {
    fn default() -> Self {
        Self { blocks_from: Severity::Block, rules: true }
    }
}

/// This tree may be deployed: it was looked at, or a person said not to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clearance {
    tree: String,
    files: usize,
    waiver: Option<Consent>,
}

impl Clearance {
    /// Name of the tree's content.
    pub fn tree(&self) -> &str {
        &self.tree
    }

    /// How many files were looked at; 0 when that was waived.
    pub fn files(&self) -> usize {
        self.files
    }

    /// Who waived it and why; `None`: it was validated.
    pub fn waiver(&self) -> Option<&Consent> {
        self.waiver.as_ref()
    }
}

/// A person typed the name of the host that is to be deployed unvalidated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    reason: String,
    who: String,
}

impl Consent {
    /// Given only when what was typed is the host's name.
    pub fn typed(host: &HostName, typed: &str, who: &str, reason: &str) -> Option<Self> {
        (typed.trim() == host.as_str())
            .then(|| Self { reason: harmless::line(reason), who: harmless::line(who) })
    }

    /// Why.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Who, as `user@machine`.
    pub fn who(&self) -> &str {
        &self.who
    }
}

/// The tree is not fit; nothing was built or changed because of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", first(findings))]
pub struct Blocked {
    /// Everything that was seen, warnings too.
    pub findings: Vec<Finding>,
}

/// What blocks first, with its place.
fn first(findings: &[Finding]) -> String {
    let worst = findings.iter().find(|f| f.severity == Severity::Block).or(findings.first());
    worst.map_or("the tree was not cleared".to_owned(), |f| format!("{}: {}", f.subject, f.message))
}

/// Looks at the whole tree on threads of its own; every new finding that matters becomes an event.
///
/// # Errors
/// When a finding blocks.
pub async fn run(
    world: &World,
    emitter: &Emitter,
    tree: &TreeView,
    strictness: Strictness,
) -> Result<Clearance, Blocked> {
    let began_ms = emitter.elapsed_ms();
    let (files, old, findings) = match examined(world, tree, strictness).await {
        Ok(mut examined) => {
            nix::acquit(world, &tree.root, &mut examined).await;
            let old = examined.counted().filter(|mark| !mark.new).count();
            let new = examined.told().filter(|(_, f)| f.new);
            let new = new.map(|(path, f)| f.finding(path));
            (examined.files, old, new.filter(|f| f.severity > Severity::Info).collect())
        }
        Err(failure) => (0, 0, vec![unfinished(&failure)]),
    };
    for finding in &findings {
        let (phase, finding) = (Phase::Validate, Finding::clone(finding));
        emitter.emit(Event::Found { host: None, phase, finding });
    }
    let took_ms = emitter.elapsed_ms().saturating_sub(began_ms);
    emitter.step(None, syntax_step(files, old, &findings, strictness).took(took_ms));
    if findings.iter().any(|f| f.severity >= strictness.blocks_from) {
        return Err(Blocked { findings });
    }
    Ok(cleared(emitter, Clearance { tree: tree.id.clone(), files, waiver: None }))
}

/// What is wrong with the tree. Git is asked what was there before only when something is found
/// that would count if it were new.
async fn examined(
    world: &World,
    tree: &TreeView,
    strictness: Strictness,
) -> Result<Examined, String> {
    let depth = Depth { rules: strictness.rules, drawn: 0, old: false };
    let new = |path: &PathBuf| Job { path: path.clone(), bytes: None, base: Base::None };
    let look = |jobs: Vec<Job>| {
        let (view, cache) = (tree.clone(), world.environment.cache.clone());
        tokio::task::spawn_blocking(move || {
            let verdicts = Verdicts::on(&cache, &view.root, jobs.len());
            let mut examined = examine_with(&view.root, &jobs, depth, verdicts.as_ref());
            if let Some(verdicts) = verdicts {
                verdicts.save();
            }
            examined.weigh(&view.levels);
            view.baseline.apply(&mut examined, Path::new(baseline::FILE_NAME), false);
            examined
        })
    };
    let first = look(tree.files.iter().map(new).collect()).await.map_err(|e| e.to_string())?;
    let counts = |mark: Mark| {
        let always = rules::rule(mark.code).is_none_or(rules::Rule::always_blocks);
        mark.new && !always && mark.severity > Severity::Info
    };
    if !first.counted().any(counts) {
        return Ok(first);
    }
    let Ok(mut known) = revision::against_head(world, &tree.root).await else { return Ok(first) };
    let job = |path: &PathBuf| {
        let base = known.remove(path).unwrap_or(Base::Same);
        Job { path: path.clone(), bytes: None, base }
    };
    look(tree.files.iter().map(job).collect()).await.map_err(|e| e.to_string())
}

/// `494 files, 0 errors, 2 warnings, 80 older not counted`.
fn syntax_step(files: usize, old: usize, findings: &[Finding], strictness: Strictness) -> Step {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let errors = findings.iter().filter(|f| f.severity >= strictness.blocks_from).count();
    let warnings = match findings.len() - errors {
        0 => String::new(),
        n => format!(", {}", count(n, "warning")),
    };
    let old = match old {
        0 => String::new(),
        n => format!(", {n} older not counted"),
    };
    let told = format!("{}, {}{warnings}{old}", count(files, "file"), count(errors, "error"));
    match errors {
        0 => Step::ok(Phase::Validate, "syntax", told),
        _ => Step::failed(Phase::Validate, "syntax", told),
    }
}

/// Clears a tree unseen, because a person said so; every report shows it.
pub fn waive(emitter: &Emitter, tree: &str, consent: Consent) -> Clearance {
    cleared(emitter, Clearance { tree: tree.to_owned(), files: 0, waiver: Some(consent) })
}

fn cleared(emitter: &Emitter, clearance: Clearance) -> Clearance {
    emitter.emit(Event::Cleared {
        tree: clearance.tree.clone(),
        waived: clearance.waiver.as_ref().map(|c| format!("{} ({})", c.reason, c.who)),
        files: clearance.files,
    });
    clearance
}

/// The check itself broke: that clears nothing.
fn unfinished(cause: &str) -> Finding {
    Finding {
        code: "check-failed".to_owned(),
        severity: Severity::Block,
        subject: "tree".to_owned(),
        message: format!("the check itself failed: {}", harmless::line(cause)),
        suggestion: Some("report this; `emergency` deploys without the check".to_owned()),
    }
}
