//! The middle of a journey: the closure is built, admitted, copied and rehearsed. The host is held
//! and unchanged all along; whatever fails here lets it go as it was.

use super::admitting::{admission_note, admitted};
use super::ahead::{self, Ahead};
use super::cancel::unless_stopped;
use super::early;
use super::ending::{self, Halt, halt, interrupted};
use super::host::Journey;
use super::learn::{Known, not_built, options, refuse};
use super::look::request;
use super::preview::package_changes;
use super::room::{self, Place};
use super::{arrive, builder, preview, scripts};
use crate::activate::copy::{Copied, CopyError, CopyOptions, copy};
use crate::activate::guard::{Tx, Verb};
use crate::activate::hand::{Answer, Hand};
use crate::activate::hold::{Door, HoldError, LEASE_S, WayBack, hold};
use crate::activate::journal::{self, Record, Step};
use crate::build::closure::{self, PathInfo};
use crate::build::manifest::Manifest;
use crate::build::{self, BuildError, Built, Where};
use crate::event::{Changes, Event, HostReport, Outcome, Phase, UnitChanges, harmless};
use crate::fleet::{Address, BuildOn, StorePath};
use crate::plan::Request;
use crate::preflight::Refused;
use crate::preflight::admission::Admission;
use crate::preflight::rehearse::{EACH_S, Rehearsal, judge, rehearse};
use crate::verify::{self, Baseline, Scripts, Session, loopback};
use crate::world::ssh::{Failure, Link, Target};
use crate::world::{Ended, Output};

/// How long a host that is given back is looked for.
const LETTING_GO: std::time::Duration = std::time::Duration::from_secs(30);

/// What a host is to run, and where its closure is.
pub struct Closure {
    /// Its top.
    pub toplevel: StorePath,
    /// Whether it is in the local store; else it is on the host.
    pub here: bool,
}

/// What the host was told it would get, and said of it.
pub struct Offered {
    /// The sums.
    pub admission: Admission,
    /// Its health before.
    pub baseline: Baseline,
    /// The session that asked, still open.
    pub session: Option<Session>,
    /// The health scripts, as validated.
    pub scripts: Scripts,
    /// It can only be installed for the next boot.
    pub stage: bool,
    /// Its closure; empty when it was not built here.
    pub paths: Vec<PathInfo>,
    /// What its rehearsal said of the units.
    pub units: UnitChanges,
    /// The keys of sshd on the loopback, where this machine is deployed.
    pub door: Vec<String>,
    /// What is told before the question.
    pub changes: Changes,
    /// Units and contact are all that is looked at afterwards.
    pub fast: bool,
    /// The files it was made from; `None`: from no tree of this machine.
    pub files: Option<Manifest>,
}

/// Builds and keeps; the host is not even asked.
pub async fn build_only(journey: &Journey<'_>) -> Result<HostReport, Halt> {
    let built = early::build(journey).await?;
    let Request { keep, lock, .. } = &journey.run.request;
    let word = match (keep, lock) {
        (true, _) => "built and kept",
        (false, None) => "it builds",
        (false, Some(_)) => "it builds with a lock that is not the flake's own",
    };
    let note = format!("{word}: {}", built.toplevel.name());
    let mut report = ending::report(Outcome::Planned { changes: true }, Phase::Build, note);
    if lock.is_none() {
        report.next = vec![format!("nixdeploy quick-deploy {}", journey.host.name)];
    }
    Ok(report)
}

/// Takes the lock and builds, side by side; a failure of either leaves the host as it was.
pub async fn hold_and_build(
    journey: &Journey<'_>,
    known: &Known,
    mut ahead: Option<Ahead>,
) -> Result<(WayBack, Closure), Halt> {
    let Some(toplevel) = known.toplevel.clone() else {
        // Where the closure will be is known only when it is built.
        let built = unless_stopped(journey, built_for(journey, known, ahead)).await?;
        let way_back = held(journey, known, &built.toplevel, None).await?;
        return Ok((way_back, built));
    };
    // The lock is waited for even when we are asked to stop: one that is taken is to be given back.
    let door = ahead.as_mut().and_then(|ahead| ahead.door.take());
    let build = unless_stopped(journey, built_for(journey, known, ahead));
    let (way_back, built) = tokio::join!(held(journey, known, &toplevel, door), build);
    let way_back = way_back?;
    match built {
        Ok(built) => Ok((way_back, built)),
        Err(halt) => Err(let_go(journey, way_back, halt).await),
    }
}

/// Gives the host back unchanged and passes the reason on.
pub async fn let_go(journey: &Journey<'_>, way_back: WayBack, halt: Halt) -> Halt {
    // Without contact the lease ends it: nothing is changed, so nobody need wait for that.
    let hand = &way_back.hand;
    if let Answer::Lost(failure) = hand.insist(Verb::Abort, None, LETTING_GO).await {
        tracing::warn!(?failure, "the lock is left; it falls by itself within {LEASE_S} s");
        return halt;
    }
    record(journey, &way_back, Step::Done);
    halt
}

async fn held(
    journey: &Journey<'_>,
    known: &Known,
    toplevel: &StorePath,
    door: Option<Door>,
) -> Result<WayBack, Halt> {
    let run = journey.run;
    let Some((tx, old)) = transaction(&run.name, journey.host.name.as_str()).zip(known.old())
    else {
        return Err(halt(Outcome::Internal, Phase::Activate, "no transaction could be named"));
    };
    let entry = Record {
        run: run.name.clone(),
        tx: tx.as_str().to_owned(),
        host: journey.host.name.clone(),
        old: old.clone(),
        new: toplevel.clone(),
        boot_id: known.facts.early.boot_id.clone(),
        step: Step::Hold,
        decides_by_ms: None,
    };
    let earlier = journal::read(&run.world.environment.state, &journey.host.name);
    journal::write(&run.world.environment.state, &entry).map_err(|e| unwritten(journey, &e))?;
    let hand = Hand::new(&run.world, &run.emitter, &journey.host.name, &known.target, tx);
    let door = (ahead::link(known.shared), door);
    let on_failure = journey.host.when_stranded(known.facts.graphical);
    let policy = &journey.step.policy;
    let held = hold(hand, door, &known.facts.early, toplevel, policy, on_failure).await;
    held.map_err(|error| {
        // What was open before still is; of ours there is nothing, unless nobody could tell.
        let step = if matches!(error, HoldError::Lost(_)) { Step::Hold } else { Step::Done };
        let ours = journal::Record { step, ..entry };
        let open = earlier.filter(journal::Record::is_open).unwrap_or(ours);
        if let Err(error) = journal::write(&run.world.environment.state, &open) {
            tracing::warn!(%error, "cannot write the journal of transactions");
        }
        not_held(journey, &known.target.address, error)
    })
}

/// What cannot be written down is not begun: `resume` would not know of it.
fn unwritten(journey: &Journey<'_>, error: &std::io::Error) -> Halt {
    let state = journey.run.world.environment.state.display();
    let note = format!("cannot write down what is about to be done: {error}");
    left("no-journal", note, format!("df -h {state}; df -i {state}"))
}

fn left(code: &str, note: impl Into<String>, next: String) -> Halt {
    let outcome = Outcome::Refused { code: code.to_owned(), skipped: false };
    Box::new(HostReport { next: vec![next], ..ending::report(outcome, Phase::Activate, note) })
}

/// The name of a run's transaction on a host.
pub fn transaction(run: &str, host: &str) -> Option<Tx> {
    let hash = blake3::hash(host.as_bytes()).to_hex();
    Tx::new(&format!("{run}{}", &hash[..6]))
}

pub(super) fn not_held(journey: &Journey<'_>, address: &Address, error: HoldError) -> Halt {
    let host = &journey.host.name;
    match error {
        HoldError::Locked { owner, run, phase, age_s } => {
            refuse(journey, None, &Refused::Locked { owner, run, age_s, phase })
        }
        HoldError::Changed(what) => {
            let note = format!("{what} was changed by somebody else meanwhile");
            let mut halt = halt(Outcome::Foreign, Phase::Activate, note);
            halt.next.push(format!("nixdeploy status {host}"));
            halt
        }
        HoldError::AnotherBoot => {
            let note = "it was booted since its facts were read, or another machine answers";
            left("another-boot", note, format!("nixdeploy quick-deploy {host}"))
        }
        HoldError::Lost(failure) => {
            let (address, said) = (address.to_string(), harmless::line(failure.text()));
            let refused = match failure {
                Failure::HostKey(_) => Refused::HostKey { address, said },
                _ => {
                    let lock = format!("if the lock was taken, it falls within {LEASE_S} s");
                    Refused::Unreachable { attempts: vec![format!("{address}: {said}"), lock] }
                }
            };
            refuse(journey, None, &refused)
        }
        HoldError::Failed(why) => refuse(journey, None, &Refused::Unfit { what: why }),
    }
}

/// Writes down what is about to be done; a full disk here must not stop a way back.
pub fn record(journey: &Journey<'_>, way_back: &WayBack, step: Step) {
    let state = &journey.run.world.environment.state;
    let fresh = || crate::activate::decides_by_ms(&journey.run.world, &journey.step.policy);
    let entry = Record {
        run: journey.run.name.clone(),
        tx: way_back.hand.tx.as_str().to_owned(),
        host: journey.host.name.clone(),
        old: way_back.old.clone(),
        new: way_back.new.clone(),
        boot_id: way_back.boot_id.clone(),
        step,
        decides_by_ms: journal::decides_by_ms(state, &journey.host.name, step, fresh),
    };
    if let Err(error) = journal::write(state, &entry) {
        tracing::warn!(%error, "cannot write the journal of transactions");
    }
}

/// The closure, built; the build may have begun already.
pub(super) async fn built_for(
    journey: &Journey<'_>,
    known: &Known,
    ahead: Option<Ahead>,
) -> Result<Closure, Halt> {
    let Some(evaluated) = &known.evaluated else {
        let toplevel = known.toplevel.clone();
        let toplevel = toplevel.ok_or_else(|| arrive::broken(Phase::Build, "no closure"))?;
        return Ok(Closure { toplevel, here: false });
    };
    if let Some(built) = journey.run.early.built(&journey.host.name) {
        return Ok(Closure { toplevel: built.toplevel, here: built.here });
    }
    let begun = async { ahead?.end().await };
    match begun.await {
        // where room was made it is built once more, below
        Some(Err(BuildError::NoSpace { .. }))
            if room::anywhere(journey, Phase::Build, Place::Here).await => {}
        Some(ended) => {
            let built = ended.map_err(|e| not_built(journey, Phase::Build, &e))?;
            return Ok(Closure { toplevel: built.toplevel, here: built.here });
        }
        None => {}
    }
    let path =
        known.old().map_or("/run/current-system/sw/bin".to_owned(), |o| format!("{o}/sw/bin"));
    let built = built(journey, evaluated, &known.target, &path).await?;
    Ok(Closure { toplevel: built.toplevel, here: built.here })
}

pub(super) async fn built(
    journey: &Journey<'_>,
    evaluated: &build::Evaluated,
    target: &Target,
    path: &str,
) -> Result<Built, Halt> {
    let run = journey.run;
    let (builder, _turn);
    let place = match &journey.step.build_on {
        BuildOn::Local => run.build_here(),
        BuildOn::Target => Where::Target { target, path },
        BuildOn::Host(name) => {
            builder = builder::found(journey, name, evaluated)?;
            _turn = run.gates.build(name, &run.fleet).await;
            Where::Host { name, target: &builder, path: "/run/current-system/sw/bin" }
        }
    };
    let (name, options) = (&journey.host.name, options(journey));
    let mut built = build::build(&run.world, &run.emitter, name, evaluated, place, &options).await;
    if let Err(BuildError::NoSpace { .. }) = &built {
        let full = match place {
            Where::Local | Where::Together(_) => Place::Here,
            Where::Target { target, path } => Place::There(name, target, path),
            Where::Host { name, target, path } => Place::There(name, target, path),
        };
        if room::anywhere(journey, Phase::Build, full).await {
            let (world, emitter) = (&run.world, &run.emitter);
            built = build::build(world, emitter, name, evaluated, place, &options).await;
        }
    }
    built.map_err(|e| not_built(journey, Phase::Build, &e))
}

/// Admission, copy, rehearsal.
pub async fn offer(
    journey: &Journey<'_>,
    known: &Known,
    built: &Closure,
    way_back: &WayBack,
) -> Result<Offered, Halt> {
    let stop = &journey.run.stop;
    tokio::select! {
        offered = offering(journey, known, built, way_back) => offered,
        () = stop.once() => Err(interrupted(Phase::Copy)),
    }
}

async fn offering(
    journey: &Journey<'_>,
    known: &Known,
    built: &Closure,
    way_back: &WayBack,
) -> Result<Offered, Halt> {
    let run = journey.run;
    let scripts = scripts::pinned(journey).await?;
    let paths = local_closure(journey, built).await;
    let open = run.emitter.phase(&journey.host.name, Phase::Admit);
    let admission = match admitted(journey, known, built, &paths, way_back).await {
        Ok(admission) => admission,
        Err(halt) => {
            open.failed(halt.note.clone());
            return Err(halt);
        }
    };
    open.ok(admission_note(&admission));
    preview::admitted(journey, &admission);
    let tools = known.old().map_or_else(String::new, |old| format!("{old}/sw/bin"));
    let cache = run.fleet.cache.as_ref().filter(|_| run.request.cached);
    let options = CopyOptions {
        present: !built.here,
        closure: &paths,
        cache: cache.map(|cache| (cache, tools.as_str())),
        ..CopyOptions::default()
    };
    let (world, emitter, name) = (&run.world, &run.emitter, &journey.host.name);
    let (mut copied, (baseline, mut session), mut changes, (files, changed)) = tokio::join!(
        copy(world, emitter, name, &known.target, &built.toplevel, options),
        baseline(journey, known, way_back, &scripts),
        package_changes(journey, known, built, &paths),
        preview::files(journey, known),
    );
    if let Err(CopyError::NoSpace(_)) = &copied {
        copied = again(journey, known, built, way_back, &paths).await.unwrap_or(copied);
    }
    changes.files = changed;
    weighed(journey, copied.map_err(|e| ending::not_copied(journey.host, &e))?, &paths);
    let stage = admission.inhibited.is_some() && !journey.step.policy.emergency;
    let rehearsal = rehearsed(journey, known, built, stage, &mut session).await?;
    changes.warnings = preview::exposed(journey, known, &rehearsal);
    let no_way_back = !rehearsal.irreversible.is_empty() && !run.request.yes;
    if no_way_back && run.plan.goal == crate::plan::Goal::Deploy && !stage {
        let refused = Refused::NoWayBack { units: rehearsal.irreversible };
        return Err(refuse(journey, None, &refused));
    }
    let fast = preview::fast(journey, known, way_back, (&admission, &rehearsal)).await;
    let mut units = rehearsal.units.unwrap_or_default();
    units.begin(&rehearsal.wishes, |unit| known.runs(unit));
    changes.units = units.clone();
    changes.back_to = preview::back_to(journey, known);
    changes.staged = known.staged();
    preview::reboot(&mut changes, &admission);
    emitter.emit(Event::ChangesFound { host: name.clone(), changes: changes.clone() });
    let door = if known.target.here { loopback::keys(world).await } else { Vec::new() };
    Ok(Offered {
        admission,
        baseline,
        session,
        scripts,
        stage,
        paths,
        units,
        door,
        changes,
        fast,
        files,
    })
}

/// Says what went over, and how large the whole is.
fn weighed(journey: &Journey<'_>, Copied { paths, bytes }: Copied, closure: &[PathInfo]) {
    let sum = |sum: u64, path: &PathInfo| sum.saturating_add(path.nar_size);
    let closure_bytes = Some(closure.iter().fold(0, sum)).filter(|_| !closure.is_empty());
    let host = journey.host.name.clone();
    journey.run.emitter.emit(Event::Copied { host, paths, bytes, closure_bytes });
}

/// The copy once more, after garbage was collected on the host; `None`: that could not be done.
async fn again(
    journey: &Journey<'_>,
    known: &Known,
    built: &Closure,
    way_back: &WayBack,
    closure: &[PathInfo],
) -> Option<Result<Copied, CopyError>> {
    let (run, name, path) = (journey.run, &journey.host.name, way_back.tools());
    let place = Place::There(name, &known.target, &path);
    if !room::anywhere(journey, Phase::Copy, place).await {
        return None;
    }
    let options = CopyOptions { closure, ..CopyOptions::default() };
    Some(copy(&run.world, &run.emitter, name, &known.target, &built.toplevel, options).await)
}

/// The closure with its sizes; empty when it was built elsewhere and is not here.
pub(super) async fn local_closure(journey: &Journey<'_>, built: &Closure) -> Vec<PathInfo> {
    if !built.here {
        return Vec::new();
    }
    closure::closure(&journey.run.world, &built.toplevel).await.unwrap_or_default()
}

async fn baseline(
    journey: &Journey<'_>,
    known: &Known,
    way_back: &WayBack,
    scripts: &Scripts,
) -> (Baseline, Option<Session>) {
    let names = names(journey);
    let request = verify::Request {
        transaction: Some(way_back.hand.tx.as_str()),
        ..request(journey, known, [&way_back.old, &way_back.new], scripts, &names)
    };
    match verify::prelude(&journey.run.world, &request).await {
        Ok((baseline, session)) => (baseline, Some(session)),
        Err(error) => {
            tracing::warn!(%error, "no baseline: the verification will be stricter");
            (Baseline::default(), None)
        }
    }
}

/// Names worth asking a resolver for: the addresses of the fleet.
pub fn names(journey: &Journey<'_>) -> Vec<String> {
    let hosts = journey.run.fleet.hosts.iter();
    hosts.map(|h| h.address().to_string()).take(8).collect()
}

async fn rehearsed(
    journey: &Journey<'_>,
    known: &Known,
    built: &Closure,
    staged: bool,
    session: &mut Option<Session>,
) -> Result<Rehearsal, Halt> {
    if journey.step.policy.emergency {
        return Ok(Rehearsal::default());
    }
    let world = &journey.run.world;
    let staged = staged || journey.run.plan.goal == crate::plan::Goal::Boot;
    let began_ms = journey.run.emitter.elapsed_ms();
    let said = match over(session, built, staged).await {
        Some(said) => said,
        None => rehearse(world, &known.target, Link::Shared, &built.toplevel, staged).await,
    };
    preview::rehearsed(journey, &said, journey.run.emitter.elapsed_ms().saturating_sub(began_ms));
    said.map_err(|refused| {
        let mut halt = refuse(journey, None, &refused);
        if matches!(refused, Refused::CheckFailed { .. }) {
            // The closure is there by now, so its check can be tried alone.
            let (address, new) = (journey.host.address(), &built.toplevel);
            let check = format!("ssh {address} sudo {new}/bin/switch-to-configuration check");
            halt.next = vec![check];
        }
        halt
    })
}

/// The rehearsal over the session that is open; one that breaks off is asked once more, over a
/// connection of its own.
async fn over(
    session: &mut Option<Session>,
    built: &Closure,
    staged: bool,
) -> Option<Result<Rehearsal, Refused>> {
    let answer = session.as_mut()?.rehearse(built.toplevel.as_str(), EACH_S).await;
    match answer {
        Ok(answer) if answer.lines.last().is_some_and(|l| l == "end=0") => {
            let (out, err) = (answer.lines, Vec::new());
            Some(judge(&Output { ended: Ended::Exited(answer.rc), out, err }, staged))
        }
        _ => {
            *session = None;
            None
        }
    }
}
