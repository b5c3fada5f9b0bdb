//! What a deploy would change: told and left at that by a dry run, asked about by a deploy.

use std::sync::Arc;

use super::Run;
use super::admitting::{admission, admission_note};
use super::ending::{self, Halt, halt, interrupted};
use super::host::Journey;
use super::learn::Known;
use super::offer::{Closure, built_for, local_closure};
use crate::activate::hold::WayBack;
use crate::build::closure::{self, PathInfo};
use crate::build::manifest::{self, Manifest};
use crate::build::{FlakeRef, diff, remembered, units};
use crate::event::{BackTo, Changes, Event, HostReport, Outcome, Phase, Step, UnitChanges};
use crate::fleet::{HostName, StorePath, UserName};
use crate::plan::{Goal, HostPlan};
use crate::preflight::admission::{Admission, size};
use crate::preflight::exposure;
use crate::preflight::facts::Kept;
use crate::preflight::rehearse::Rehearsal;
use crate::preflight::{Refused, calm};
use crate::report::{self, Look, changes};
use crate::world::prompt::Prompt;

/// Says what a deploy would do.
pub async fn dry_run(journey: &Journey<'_>, known: &Known) -> Result<HostReport, Halt> {
    tokio::select! {
        told = tell(journey, known) => told,
        () = journey.run.stop.once() => Err(interrupted(Phase::Build)),
    }
}

async fn tell(journey: &Journey<'_>, known: &Known) -> Result<HostReport, Halt> {
    let run = journey.run;
    let host = journey.host.name.clone();
    let built = built_for(journey, known, None).await?;
    let open = run.emitter.phase(&host, Phase::Admit);
    let paths = local_closure(journey, &built).await;
    let admission = match admission(journey, known, &built, &paths).await {
        Ok(admission) => admission,
        Err(halt) => {
            open.failed(halt.note.clone());
            return Err(halt);
        }
    };
    let (mut changes, units, (_, files)) = tokio::join!(
        package_changes(journey, known, &built, &paths),
        unit_files(journey, known, &built.toplevel),
        files(journey, known),
    );
    if let Some(units) = units {
        changes.units.begin(&units.wishes, |unit| known.runs(unit));
        changes.unit_files = Some(units.files);
    }
    changes.files = files;
    changes.staged = known.staged();
    reboot(&mut changes, &admission);
    open.ok(admission_note(&admission));
    admitted(journey, &admission);
    let next = vec![format!("nixdeploy deploy {host}")];
    run.emitter.emit(Event::ChangesFound { host, changes });
    let mut report =
        ending::report(Outcome::Planned { changes: true }, Phase::Admit, "would be deployed");
    report.before = Some(known.before().clone());
    report.next = next;
    Ok(report)
}

/// The generation that a rollback goes back to.
pub fn back_to(journey: &Journey<'_>, known: &Known) -> Option<BackTo> {
    let Goal::Rollback { to } = journey.run.plan.goal else { return None };
    let (top, now) = (known.toplevel.as_ref()?, known.before().generation);
    let meant = |kept: &&Kept| match to {
        Some(to) => kept.generation == to,
        None => kept.toplevel == *top && now.is_none_or(|now| kept.generation < now),
    };
    let kept = known.facts.generations.iter().rev().find(meant)?;
    let made_ms = i64::try_from(kept.made_s).unwrap_or_default().saturating_mul(1000);
    Some(BackTo { generation: kept.generation, made_ms, name: top.name().to_owned() })
}

/// The sums, one by one, for the report.
pub fn admitted(journey: &Journey<'_>, admission: &Admission) {
    let (need, free) = (size(admission.need_bytes), size(admission.free_bytes));
    let mut steps =
        vec![Step::ok(Phase::Admit, "store", format!("at most {need} to come, {free} free"))];
    if let (Some(peak), Some(free)) = (admission.esp_peak, admission.esp_free) {
        let note = format!("{} in use at the peak, {} free now", size(peak), size(free));
        steps.push(Step::ok(Phase::Admit, "boot partition", note));
    }
    if let Some(inhibited) = &admission.inhibited {
        let because = format!("only for the next boot: {}", inhibited.lines().join(", "));
        steps.push(Step::skipped(Phase::Admit, "switch now", because));
    }
    for step in steps {
        journey.run.emitter.step(Some(&journey.host.name), step);
    }
}

/// What the new system said of itself, for the report.
pub fn rehearsed(journey: &Journey<'_>, said: &Result<Rehearsal, Refused>, took_ms: u64) {
    let check = "check on the host";
    let steps = match said {
        Err(refused) => vec![Step::failed(Phase::Admit, check, refused.sentence())],
        Ok(rehearsal) => {
            let units = rehearsal.units.as_ref().map(affected);
            let told = match units {
                Some(told) => Step::ok(Phase::Admit, "dry-activate", told),
                None => Step::skipped(Phase::Admit, "dry-activate", "it would not say"),
            };
            vec![Step::ok(Phase::Admit, check, rehearsal.notes.join("; ")), told]
        }
    };
    for (at, step) in steps.into_iter().enumerate() {
        // both are asked in one round trip, and its time stands once
        let step = if at == 0 { step.took(took_ms) } else { step };
        journey.run.emitter.step(Some(&journey.host.name), step);
    }
}

/// Who would be locked out and what would be opened that is not now, told before anybody is asked;
/// it stops nothing.
pub fn exposed(journey: &Journey<'_>, known: &Known, rehearsal: &Rehearsal) -> Vec<String> {
    let Some((old, new)) = &rehearsal.exposure else { return Vec::new() };
    let login = known.target.user.as_ref().map(UserName::as_str);
    let mut told = Vec::new();
    for finding in exposure::findings(old, new, login) {
        told.push(format!("{}: {}", finding.subject, finding.message));
        let (host, phase) = (Some(journey.host.name.clone()), Phase::Admit);
        journey.run.emitter.emit(Event::Found { host, phase, finding });
    }
    told
}

/// Whether units and contact are all that is looked at afterwards: as it is said, or as what
/// changes allows; and then it is told why.
pub async fn fast(
    journey: &Journey<'_>,
    known: &Known,
    way_back: &WayBack,
    (admission, rehearsal): (&Admission, &Rehearsal),
) -> bool {
    let policy = &journey.step.policy;
    if !policy.auto {
        return policy.fast;
    }
    let (world, path) = (&journey.run.world, way_back.tools());
    let systems = [&way_back.old, &way_back.new];
    let found = (admission, rehearsal);
    let reasons = calm::reasons(world, &known.target, &path, systems, found).await;
    let told = match reasons.as_slice() {
        [] => Step::ok(Phase::Admit, "mode", "fast: no unit, kernel, network or user changes"),
        reasons => Step::ok(Phase::Admit, "mode", format!("standard: {}", reasons.join("; "))),
    };
    journey.run.emitter.step(Some(&journey.host.name), told);
    reasons.is_empty()
}

/// `1 to restart, 2 to start`.
fn affected(units: &UnitChanges) -> String {
    let kinds = units.kinds();
    let counts = kinds.iter().filter(|(_, names)| !names.is_empty());
    let told: Vec<String> =
        counts.map(|(fate, names)| format!("{} to {}", names.len(), fate.verb())).collect();
    if told.is_empty() { "nothing that runs is touched".to_owned() } else { told.join(", ") }
}

/// What the sums found out about the next boot.
pub fn reboot(changes: &mut Changes, admission: &Admission) {
    changes.reboot_required = admission.reboot_required;
    changes.reboot_for = admission.reboot_for.iter().map(|part| (*part).to_owned()).collect();
}

/// Packages and sizes against what runs. A closure that is not here is described by the host.
pub async fn package_changes(
    journey: &Journey<'_>,
    known: &Known,
    built: &Closure,
    paths: &[PathInfo],
) -> Changes {
    let Some(old) = known.old() else { return Changes::default() };
    let (world, target, tools) = (&journey.run.world, &known.target, format!("{old}/sw/bin"));
    let after = async {
        if built.here {
            return Some(paths.to_vec()).filter(|p| !p.is_empty());
        }
        closure::closure_of(world, target, &tools, &built.toplevel).await.ok()
    };
    let before = async {
        match remembered::recall(&world.environment.state, &journey.host.name, old) {
            Some(paths) => Some(paths),
            None => closure::closure_of(world, target, &tools, old).await.ok(),
        }
    };
    let (Some(before), Some(after)) = tokio::join!(before, after) else {
        return Changes::default();
    };
    let (packages, delta) = diff::closures(&before, &after);
    Changes { packages: Some(packages), size_delta: Some(delta), ..Changes::default() }
}

/// The files of the tree, and which of them are not as they were when the host was last deployed
/// from here; `None`: not known.
pub async fn files(
    journey: &Journey<'_>,
    known: &Known,
) -> (Option<Manifest>, Option<Vec<String>>) {
    let run = journey.run;
    let source = run.source.as_ref().filter(|_| !run.goes_back());
    let Some((FlakeRef::Local(local), tree)) = source.map(|s| (&s.flake, s.tree.clone())) else {
        return (None, None);
    };
    let state = &run.world.environment.state;
    let before = known.old().and_then(|old| manifest::recall(state, &journey.host.name, old));
    let Ok(tree) = tree.await else { return (None, None) };
    let root = local.root.clone();
    // Most files are known by git's name; the rest are read, and other hosts are not to wait.
    let read = tokio::task::spawn_blocking(move || {
        let files = Manifest::of(&root, &tree, before.as_ref())?;
        let changed = before.map(|before| files.since(&before));
        Ok::<_, std::io::Error>((Some(files), changed))
    });
    match read.await {
        Ok(Ok(told)) => told,
        Ok(Err(error)) => {
            tracing::debug!(%error, "which files changed is not known");
            (None, None)
        }
        Err(error) => {
            tracing::debug!(%error, "which files changed is not known");
            (None, None)
        }
    }
}

/// The texts of unit files against those that run.
async fn unit_files(
    journey: &Journey<'_>,
    known: &Known,
    new: &StorePath,
) -> Option<units::Difference> {
    let old = known.old()?;
    let tools = format!("{old}/sw/bin");
    units::changes(&journey.run.world, &known.target, &tools, [old, new]).await
}

/// What the person said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Go on.
    Yes,
    /// Leave the hosts as they are.
    No,
    /// We were asked to stop, or nobody is there any more.
    Nothing,
}

impl Answer {
    /// What it means for a host.
    ///
    /// # Errors
    /// Unless it was yes.
    pub fn of(self, host: &HostName) -> Result<(), Halt> {
        match self {
            Self::Yes => Ok(()),
            Self::No => {
                let mut halt = halt(Outcome::Declined, Phase::Admit, "the answer was no");
                halt.next.push(format!("nixdeploy diff {host}"));
                Err(halt)
            }
            Self::Nothing => Err(interrupted(Phase::Admit)),
        }
    }
}

/// Whether a person is to be asked before a host is changed.
pub fn asks(run: &Run, step: &HostPlan) -> bool {
    step.policy.ask && run.world.prompt.allowed()
}

/// The one question, on a terminal only: what changes on each host, then yes or no for all.
pub async fn ask(run: &Run, offers: &[(&HostName, &Changes)]) -> Answer {
    tokio::select! {
        biased;
        () = run.stop.once() => Answer::Nothing,
        answer = question(run, offers) => answer,
    }
}

async fn question(run: &Run, offers: &[(&HostName, &Changes)]) -> Answer {
    let (world, prompt) = (&run.world, run.world.prompt.clone());
    let zone = jiff::tz::TimeZone::system();
    let look = Look { unicode: world.environment.unicode, colour: true, zone, ..Look::plain() };
    let told = changes::offers(offers, &look);
    let names: Vec<&HostName> = offers.iter().map(|(host, _)| *host).collect();
    let question = sentence(&names, run.plan.hosts().count(), run.plan.goal);
    let _floor = world.prompt.floor().await;
    let open = Open { prompt: prompt.clone(), _screen: report::hold(), answered: false };
    report::err(&told);
    let asked_ms = run.emitter.elapsed_ms();
    let answer = tokio::task::spawn_blocking(move || prompt.confirm(&question, true)).await;
    let answer = answer.ok().flatten();
    open.close(answer.is_some());
    let waited_ms = run.emitter.elapsed_ms().saturating_sub(asked_ms);
    run.emitter.emit(Event::Answered { waited_ms });
    match answer {
        Some(true) => Answer::Yes,
        Some(false) => Answer::No,
        None => Answer::Nothing,
    }
}

/// A question on the screen; whoever stops waiting for its answer leaves a terminal that works.
struct Open {
    prompt: Arc<Prompt>,
    _screen: report::Hold,
    answered: bool,
}

impl Open {
    fn close(mut self, answered: bool) {
        self.answered = answered;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.prompt.abandon();
        if !self.answered {
            // the cursor still stands behind the question
            report::err("\n");
        }
    }
}

/// Names the hosts, or counts them where they would fill more than a line.
fn sentence(hosts: &[&HostName], of: usize, goal: Goal) -> String {
    let names: Vec<&str> = hosts.iter().map(|h| h.as_str()).collect();
    let mut who = names.join(", ");
    if who.len() > 40 {
        who = format!("{} hosts", hosts.len());
    }
    if hosts.len() < of {
        who.push_str(&format!(" (of {of})"));
    }
    match goal {
        Goal::Boot => format!("Install on {who} for the next boot?"),
        Goal::Rollback { .. } => format!("Go back on {who}?"),
        Goal::Deploy | Goal::Build | Goal::DryRun | Goal::Recover { .. } => {
            format!("Deploy to {who}?")
        }
    }
}
