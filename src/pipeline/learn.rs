//! The beginning of a journey: facts, evaluation and the tree's clearance, all at once.

use std::pin::pin;

use tokio::sync::oneshot;

use super::Source;
use super::ahead::Ahead;
use super::ending::{Halt, halt, interrupted};
use super::host::{Begun, Journey};
use super::identity::{remember, right_host};
use super::{leftover, scripts};
use crate::build::{self, BuildError, Evaluated, Options, Wanted};
use crate::event::facts::Step;
use crate::event::stream::OpenPhase;
use crate::event::{Decider, Event, HostReport, Outcome, Phase};
use crate::fleet::{Optional, StorePath};
use crate::plan::Goal;
use crate::plan::policy::Policy;
use crate::preflight::cut_off::cut_off;
use crate::preflight::facts::{Early, Facts, Guard};
use crate::preflight::read::{self, Answered, First, Rest};
use crate::preflight::{Refused, admit_facts, staged};
use crate::world::ssh::{Link, Target};

/// Facts that are older than this are read again before anything is done with them.
const FRESH_MS: u64 = 60_000;

/// What is known before anything is decided.
pub struct Known {
    /// The host.
    pub facts: Facts,
    /// How it answered: what every later phase uses.
    pub target: Target,
    /// What it is to run, to be built; `None`: it is on the host already.
    pub evaluated: Option<Evaluated>,
    /// Where that is; `None`: only its build tells.
    pub toplevel: Option<StorePath>,
    /// When its facts were read, in milliseconds of the run.
    pub at_ms: u64,
    /// Whether the facts came over a master that was there before.
    pub shared: bool,
    /// The build, if it was begun already.
    pub ahead: Option<Ahead>,
}

/// How learning ended.
pub enum Learned {
    /// Every pointer is the new closure, and nobody wants its health looked at.
    NothingToDo(Box<HostReport>),
    /// Go on.
    Known(Box<Known>),
}

/// Learns.
///
/// # Errors
/// When the host, the evaluation or the tree ends the journey; nothing was changed.
pub async fn learn(journey: &Journey<'_>) -> Result<Learned, Halt> {
    let mut ahead = Ahead::default();
    let learned = learning(journey, &mut ahead).await;
    match learned {
        Ok(Learned::Known(mut known)) => {
            known.ahead = Some(ahead);
            Ok(Learned::Known(known))
        }
        other => {
            ahead.cancel().await;
            other
        }
    }
}

async fn learning(journey: &Journey<'_>, ahead: &mut Ahead) -> Result<Learned, Halt> {
    let run = journey.run;
    let mut open = Some(run.emitter.phase(&journey.host.name, Phase::Facts));
    let (early_in, early_out) = oneshot::channel();
    let targets = read::targets(journey.host, &run.world);
    let shared = mastered(&targets);
    let (more, rest) = Rest::later();
    if journey.step.policy.verify_unchanged {
        more.ask();
    }
    let mut facts = pin!(async {
        let _leave = run.gates.ask(journey.host).await;
        read::read_if(&run.world, &targets, Link::Shared, early_in, &rest).await
    });
    // What Nix evaluates anew is rarely what the host runs.
    let afresh = || more.ask();
    let mut evaluation = pin!(evaluate(journey, &afresh));
    let mut early_out = pin!(early_out);
    let (mut first, mut answered, mut evaluated): (Option<First>, Option<Answered>, _) =
        (None, None, None);
    let (mut listening, mut checking) = (true, false);
    while answered.is_none() || evaluated.is_none() {
        tokio::select! {
            // ssh first: its answer takes longer than anything that is read here
            biased;
            said = &mut early_out, if listening => {
                listening = false;
                first = said.ok();
            }
            result = &mut facts, if answered.is_none() => {
                let result = result.map_err(|refused| refuse(journey, open.take(), &refused))?;
                tell(journey, open.take(), &result);
                answered = Some(result);
            }
            result = &mut evaluation, if evaluated.is_none() => {
                evaluated = Some(match result {
                    Ok(evaluated) => evaluated,
                    Err(error) => return Err(unevaluated(journey, &error).await),
                });
            }
            () = run.stop.once() => return Err(interrupted(Phase::Facts)),
        }
        let both = first.as_ref().zip(evaluated.as_ref());
        if let Some((first, evaluated)) = both
            && let Some(report) = nothing_to_do(journey, &first.early, evaluated, &mut open)
        {
            return Ok(Learned::NothingToDo(Box::new(report)));
        }
        if both.is_some() || first.as_ref().is_some_and(|f| f.early.guard == Guard::Busy) {
            more.ask();
        }
        // With all facts here, or both halves of the answer, there is something to do.
        if !checking && (answered.is_some() || both.is_some()) {
            checking = true;
            drop(run.source.as_ref().map(|s| tokio::spawn(s.cleared.clone())));
        }
        if let Some((first, evaluated)) = both
            && needs_building(journey, &first.early, evaluated)
        {
            ahead.begin(journey, evaluated, first, shared).await;
        }
    }
    let (Some(answered), Some(evaluated)) = (answered, evaluated) else {
        return Err(halt(Outcome::Internal, Phase::Facts, "facts and evaluation both ended"));
    };
    Ok(Learned::Known(Box::new(known(journey, answered, evaluated, shared).await?)))
}

/// Whether the host is the right one, free, and not all on the new closure yet.
fn needs_building(journey: &Journey<'_>, early: &Early, evaluated: &Evaluated) -> bool {
    early.guard != Guard::Busy
        && !evaluated.toplevel.as_ref().is_some_and(|t| early.pointers.all_are(t))
        && right_host(journey, early).is_ok()
}

/// All that was learned, of a host that may be deployed.
async fn known(
    journey: &Journey<'_>,
    answered: Answered,
    evaluated: Evaluated,
    shared: bool,
) -> Result<Known, Halt> {
    right_host(journey, &answered.facts.early)?;
    let answered = leftover::cleared(journey, answered).await?;
    admit(journey, &answered, evaluated.toplevel.as_ref())?;
    clearance(journey, Some(&evaluated)).await?;
    let Answered { facts, target, .. } = answered;
    let toplevel = evaluated.toplevel.clone();
    let (at_ms, evaluated) = (journey.run.emitter.elapsed_ms(), Some(evaluated));
    Ok(Known { facts, target, evaluated, toplevel, at_ms, shared, ahead: None })
}

/// What is known of a host whose turn has come: facts that are old by now are read again.
///
/// # Errors
/// When the host ends the journey now, or we were asked to stop; nothing was changed.
pub async fn still_true(journey: &Journey<'_>, known: Box<Known>) -> Result<Box<Known>, Halt> {
    let now_ms = journey.run.emitter.elapsed_ms();
    if journey.run.stop.asked() {
        Begun::Known(known).forget().await;
        return Err(interrupted(Phase::Facts));
    }
    if now_ms.saturating_sub(known.at_ms) < FRESH_MS {
        return Ok(known);
    }
    match read_again(journey, known.toplevel.as_ref()).await {
        Ok(Answered { facts, target, .. }) => {
            Ok(Box::new(Known { facts, target, at_ms: now_ms, shared: true, ..*known }))
        }
        Err(halt) => {
            Begun::Known(known).forget().await;
            Err(halt)
        }
    }
}

/// Facts of a host that is what it was taken for, and may be deployed.
pub(super) async fn read_again(
    journey: &Journey<'_>,
    wanted: Option<&StorePath>,
) -> Result<Answered, Halt> {
    let answered = ask_facts(journey).await?;
    right_host(journey, &answered.facts.early)?;
    let answered = leftover::cleared(journey, answered).await?;
    admit(journey, &answered, wanted)?;
    Ok(answered)
}

/// Finds out what the host is to run; `afresh` hears when Nix has no answer in its cache.
///
/// # Errors
/// When there is nothing to evaluate, or it does not evaluate.
pub async fn evaluate(
    journey: &Journey<'_>,
    afresh: &(dyn Fn() + Send + Sync),
) -> Result<Evaluated, BuildError> {
    let run = journey.run;
    let options = options(journey);
    let name = &journey.host.name;
    if let Some(evaluated) = run.early.evaluated(name) {
        return Ok(evaluated);
    }
    let Some(source) = &run.source else {
        return Err(BuildError::Nix("nothing to evaluate".to_owned()));
    };
    let Source { flake, tree, cleared } = source;
    // The tree is checked beside it: Nix takes one core.
    let afresh = || {
        drop(tokio::spawn(cleared.clone()));
        afresh();
    };
    let (attr, workers) = (&journey.host.attr, &run.workers);
    let wanted = Wanted { flake, tree, attr, workers, afresh: &afresh };
    run.graph.comes(name);
    let evaluated = build::evaluate(&run.world, &run.emitter, name, &wanted, &options).await;
    if evaluated.is_err() {
        run.graph.came(name);
    }
    evaluated
}

/// What hosts.toml and the flags say of evaluating and building.
pub fn options(journey: &Journey<'_>) -> Options {
    let run = journey.run;
    let several = run.plan.hosts().count() > 1;
    Options::of(&run.fleet, journey.host, &run.request, several)
}

/// Facts alone.
///
/// # Errors
/// When the host does not answer as it should.
pub async fn ask_facts(journey: &Journey<'_>) -> Result<Answered, Halt> {
    let run = journey.run;
    let open = run.emitter.phase(&journey.host.name, Phase::Facts);
    let (early_in, _early_out) = oneshot::channel();
    let targets = read::targets(journey.host, &run.world);
    let asked = async {
        let _leave = run.gates.ask(journey.host).await;
        read::read(&run.world, &targets, Link::Shared, early_in).await
    };
    let answered = tokio::select! {
        answered = asked => answered,
        () = run.stop.once() => return Err(interrupted(Phase::Facts)),
    };
    match answered {
        Ok(answered) => {
            tell(journey, Some(open), &answered);
            Ok(answered)
        }
        Err(refused) => Err(refuse(journey, Some(open), &refused)),
    }
}

/// Whether a master of ours is there already, alive or not.
pub(super) fn mastered(targets: &[Target]) -> bool {
    targets.iter().any(|t| t.socket.as_deref().is_some_and(std::path::Path::exists))
}

/// The quick end: it needs nothing but the first part of the facts.
fn nothing_to_do(
    journey: &Journey<'_>,
    early: &Early,
    evaluated: &Evaluated,
    open: &mut Option<OpenPhase>,
) -> Option<HostReport> {
    let toplevel = evaluated.toplevel.as_ref()?;
    let quick = !journey.step.policy.verify_unchanged && early.guard != Guard::Busy;
    let same = early.pointers.all_are(toplevel);
    if !quick || !same || right_host(journey, early).is_err() {
        return None;
    }
    if let Some(open) = open.take() {
        open.ok("");
    }
    let (host, pointers) = (journey.host.name.clone(), early.pointers.clone());
    journey.run.emitter.emit(Event::FactsRead { host, pointers: pointers.clone(), latency_ms: 0 });
    Some(HostReport {
        outcome: Outcome::Unchanged { verified: false },
        phase: Some(Phase::Facts),
        note: "nothing to do".to_owned(),
        causes: Vec::new(),
        before: Some(pointers.clone()),
        after: Some(pointers),
        decided_by: Decider::Nobody,
        decided_ms: None,
        next: Vec::new(),
    })
}

fn tell(journey: &Journey<'_>, open: Option<OpenPhase>, answered: &Answered) {
    let (emitter, host) = (&journey.run.emitter, journey.host.name.clone());
    if let Some(open) = open {
        open.ok("");
    }
    let pointers = answered.facts.early.pointers.clone();
    let latency_ms = answered.latency_ms;
    emitter.emit(Event::FactsRead { host: host.clone(), pointers, latency_ms });
    emitter.step(Some(&host), reached(answered));
    emitter.emit(Event::Measured { host, after: false, vitals: answered.facts.vitals() });
}

/// Where it answered, over which hosts, and what was tried before.
fn reached(answered: &Answered) -> Step {
    let target = &answered.target;
    let mut told = if target.here { "this machine".to_owned() } else { target.destination() };
    if !target.jumps.is_empty() {
        let hops: Vec<String> = target.jumps.iter().map(ToString::to_string).collect();
        told.push_str(&format!(" through {}", hops.join(", ")));
    }
    if target.elevates() {
        let how = if target.password.is_some() { "sudo with a password" } else { "sudo" };
        told.push_str(&format!(", {how}"));
    }
    for attempt in &answered.attempts {
        told.push_str(&format!("; not {attempt}"));
    }
    Step::ok(Phase::Facts, "reached", told)
}

/// Facts that forbid, and the record of which machine bears this name.
fn admit(
    journey: &Journey<'_>,
    answered: &Answered,
    wanted: Option<&StorePath>,
) -> Result<(), Halt> {
    let facts = &answered.facts;
    right_host(journey, &facts.early)?;
    // Only a dry run still finds it: everything else has set it right.
    let cut_off = cut_off(facts);
    // Going back from a generation that is staged takes the staging back.
    let unstages = journey.run.plan.goal == Goal::Rollback { to: None } && staged(facts);
    let accept_drift = journey.step.policy.accept_drift || cut_off.is_some() || unstages;
    let policy = Policy { accept_drift, ..journey.step.policy.clone() };
    let found = admit_facts(facts, &policy, wanted);
    let found = found.map_err(|refused| refuse(journey, None, &refused))?;
    for finding in found {
        let host = Some(journey.host.name.clone());
        journey.run.emitter.emit(Event::Found { host, phase: Phase::Facts, finding });
    }
    remember(journey, &facts.early);
    Ok(())
}

/// Waits for the verdict on the tree, unless we are asked to stop: git may hang.
pub async fn clearance(journey: &Journey<'_>, evaluated: Option<&Evaluated>) -> Result<(), Halt> {
    let open = journey.run.emitter.phase(&journey.host.name, Phase::Validate);
    let Some(source) = &journey.run.source else {
        open.skipped("nothing to check");
        return Ok(());
    };
    let verdict = tokio::select! {
        verdict = cleared(journey, source, evaluated) => verdict,
        () = journey.run.stop.once() => {
            open.failed("interrupted");
            return Err(interrupted(Phase::Validate));
        }
    };
    match verdict.and_then(|files| scripts::present(journey).map(|()| files)) {
        Ok(_) if journey.step.policy.emergency => {
            open.skipped("waived: an emergency");
            Ok(())
        }
        Ok(files) => {
            open.ok(crate::report::look::count(files, "file", "files"));
            Ok(())
        }
        Err(halt) => {
            open.failed(halt.note.clone());
            Err(halt)
        }
    }
}

/// Looks once more, for what is read from the folder itself after the tree was cleared.
///
/// # Errors
/// When the folder no longer holds the tree that was looked at.
pub async fn still_cleared(journey: &Journey<'_>) -> Result<(), Halt> {
    let Some(source) = &journey.run.source else { return Ok(()) };
    let Ok(clearance) = source.cleared.clone().await else { return Ok(()) };
    match changed_since(journey, None, source, clearance.tree()).await {
        true => {
            Err(changed("the tree changed since it was checked: its health scripts too, maybe"))
        }
        false => Ok(()),
    }
}

fn changed(note: &str) -> Halt {
    let mut halt = halt(Outcome::Blocked, Phase::Validate, note);
    halt.next.push("# run the same command again".to_owned());
    halt
}

/// The number of files that were looked at, or why the tree is not deployed.
async fn cleared(
    journey: &Journey<'_>,
    source: &Source,
    evaluated: Option<&Evaluated>,
) -> Result<usize, Halt> {
    let blocked = match source.cleared.clone().await {
        Ok(clearance) if changed_since(journey, evaluated, source, clearance.tree()).await => {
            return Err(changed(
                "the tree changed while it was read: nothing was done with either",
            ));
        }
        Ok(clearance) => return Ok(clearance.files()),
        Err(blocked) => blocked,
    };
    let mut halt = halt(Outcome::Blocked, Phase::Validate, blocked.to_string());
    let told = blocked.findings.iter().filter(|f| f.code == "tree");
    halt.next.extend(told.filter_map(|f| f.suggestion.clone()));
    if halt.next.is_empty() {
        halt.next.push("nixdeploy check".to_owned());
    }
    Err(halt)
}

/// Whether the tree that was evaluated may not be the one that was looked at.
async fn changed_since(
    journey: &Journey<'_>,
    evaluated: Option<&Evaluated>,
    source: &Source,
    cleared: &str,
) -> bool {
    if let Some(tree) = evaluated.and_then(|e| e.tree.as_ref()) {
        return tree.as_str() != cleared;
    }
    let now = async {
        let now = build::still::now(&journey.run.world, &source.flake, &source.tree).await;
        now?.await
    };
    match now.await {
        Ok(tree) => tree.id.as_str() != cleared,
        Err(build::tree::TreeError::NotLocal(_)) => false,
        Err(_) => true,
    }
}

/// A host that is left as it is.
pub fn refuse(journey: &Journey<'_>, open: Option<OpenPhase>, refused: &Refused) -> Halt {
    if let Some(open) = open {
        open.failed(refused.sentence());
    }
    let skipped = refused.unreachable() && journey.host.optional != Optional::Fail;
    let code = refused.code().to_owned();
    let mut halt = halt(Outcome::Refused { code, skipped }, refused.phase(), refused.sentence());
    halt.causes = refused.causes();
    halt.next = refused.hints(&journey.host.name);
    halt
}

/// A host whose configuration does not evaluate. A finding in the tree that blocks says why better
/// than Nix's trace, and is what a person has to mend first.
pub async fn unevaluated(journey: &Journey<'_>, error: &BuildError) -> Halt {
    if matches!(error, BuildError::Evaluation { .. })
        && let Err(blocked) = clearance(journey, None).await
    {
        return blocked;
    }
    not_built(journey, Phase::Evaluate, error)
}

/// A host whose closure there is not.
pub fn not_built(journey: &Journey<'_>, phase: Phase, error: &BuildError) -> Halt {
    let mut halt = halt(Outcome::NotBuilt, phase, error.to_string());
    halt.causes = error.causes();
    if let BuildError::Evaluation { trace, .. } = error {
        for text in trace {
            let (host, text) = (journey.host.name.clone(), text.clone());
            journey.run.emitter.emit(Event::Line { host, phase, text });
        }
        let (host, run) = (&journey.host.name, &journey.run.name);
        halt.next.push(format!("nixdeploy logs {host} --run {run}  # the whole trace"));
    }
    if let BuildError::MissingAttribute { .. } = error {
        let (host, file) = (journey.host, journey.run.fleet.source.display());
        halt.causes.push(format!("{file}:{}: [hosts.{}]", host.line, host.name));
        if host.optional != Optional::Fail {
            halt.outcome = Outcome::Refused { code: error.code().to_owned(), skipped: true };
        }
    }
    halt.next.splice(0..0, error.hints());
    tracing::debug!(host = %journey.host.name, code = error.code(), "not built");
    halt
}
