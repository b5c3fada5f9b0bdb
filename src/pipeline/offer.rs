//! The middle of a journey: the closure is built, admitted, copied and rehearsed. The host is held
//! and unchanged all along; whatever fails here lets it go as it was.

use super::ahead::Ahead;
use super::ending::{self, Halt, halt, interrupted};
use super::host::Journey;
use super::learn::{
    Known, clearance, evaluate, not_built, options, refuse, still_cleared, unevaluated,
};
use super::preview::package_changes;
use super::{arrive, preview};
use crate::activate::copy::{CopyError, CopyOptions, copy};
use crate::activate::guard::Tx;
use crate::activate::hand::Hand;
use crate::activate::hold::{HoldError, WayBack, hold};
use crate::activate::journal::{self, Record, Step};
use crate::build::closure::{self, PathInfo};
use crate::build::manifest::Manifest;
use crate::build::{self, Built, Where};
use crate::event::{Changes, Event, HostReport, Outcome, Phase, UnitChanges, harmless};
use crate::fleet::{Address, BuildOn, HostName, StorePath};
use crate::preflight::Refused;
use crate::preflight::admission::{Admission, BootPart, NewClosure, admit};
use crate::preflight::missing::missing;
use crate::preflight::rehearse::{EACH_S, Rehearsal, judge, rehearse};
use crate::preflight::toplevel::describe;
use crate::rollback;
use crate::verify::{self, Baseline, Scripts, Session};
use crate::world::ssh::{Failure, Link, Target};
use crate::world::{Ended, Output};

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
    /// What is told before the question.
    pub changes: Changes,
    /// The files it was made from; `None`: from no tree of this machine.
    pub files: Option<Manifest>,
}

/// Builds and keeps; the host is not even asked.
pub async fn build_only(journey: &Journey<'_>) -> Result<HostReport, Halt> {
    let run = journey.run;
    let name = &journey.host.name;
    let evaluated = match evaluate(journey).await {
        Ok(evaluated) => evaluated,
        Err(error) => return Err(unevaluated(journey, &error).await),
    };
    clearance(journey, Some(&evaluated)).await?;
    let target = Target::new(journey.host, &run.world.environment.sockets);
    let built = built(journey, &evaluated, &target, "/run/current-system/sw/bin").await?;
    let note = format!("built and kept: {}", built.toplevel.name());
    let mut report = ending::report(Outcome::Planned { changes: true }, Phase::Build, note);
    report.next = vec![format!("nixdeploy quick-deploy {name}")];
    Ok(report)
}

/// Takes the lock and builds, side by side; a failure of either leaves the host as it was.
pub async fn hold_and_build(
    journey: &Journey<'_>,
    known: &Known,
    ahead: Option<Ahead>,
) -> Result<(WayBack, Closure), Halt> {
    let Some(toplevel) = known.toplevel.clone() else {
        // Where the closure will be is known only when it is built.
        let built = built_for(journey, known, ahead).await?;
        let way_back = held(journey, known, &built.toplevel).await?;
        return Ok((way_back, built));
    };
    // The lock is waited for even when we are asked to stop: one that is taken is to be given back.
    let build = async {
        tokio::select! {
            built = built_for(journey, known, ahead) => built,
            () = journey.run.stop.once() => Err(interrupted(Phase::Build)),
        }
    };
    let (way_back, built) = tokio::join!(held(journey, known, &toplevel), build);
    let way_back = way_back?;
    match built {
        Ok(built) => Ok((way_back, built)),
        Err(halt) => Err(let_go(journey, way_back, halt).await),
    }
}

/// Gives the host back unchanged and passes the reason on.
pub async fn let_go(journey: &Journey<'_>, way_back: WayBack, halt: Halt) -> Halt {
    record(journey, &way_back, Step::Abort);
    let _ = rollback::back(&way_back.hand, &journey.step.policy).await;
    record(journey, &way_back, Step::Done);
    halt
}

async fn held(journey: &Journey<'_>, known: &Known, toplevel: &StorePath) -> Result<WayBack, Halt> {
    let run = journey.run;
    let Some((tx, old)) = transaction(&run.name, &journey.host.name).zip(known.old()) else {
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
    };
    let earlier = journal::read(&run.world.environment.state, &journey.host.name);
    journal::write(&run.world.environment.state, &entry)
        .map_err(|e| halt(Outcome::Internal, Phase::Activate, format!("cannot write: {e}")))?;
    let hand = Hand::new(&run.world, &run.emitter, &journey.host.name, &known.target, tx);
    // Facts over a master that was there prove no login: a host key that was changed, or an sshd
    // that is gone, would only show after `go`. So the lock is taken over a new connection.
    let link = if known.shared { Link::Fresh } else { Link::Shared };
    let on_failure = journey.host.when_stranded(known.facts.graphical);
    let policy = &journey.step.policy;
    let held = hold(hand, link, &known.facts.early, toplevel, policy, on_failure).await;
    held.map_err(|error| {
        // What was open before still is; of ours there is nothing.
        let ours = journal::Record { step: Step::Done, ..entry };
        let open = earlier.filter(journal::Record::is_open).unwrap_or(ours);
        if let Err(error) = journal::write(&run.world.environment.state, &open) {
            tracing::warn!(%error, "cannot write the journal of transactions");
        }
        not_held(journey, &known.target.address, error)
    })
}

/// The name of a run's transaction on a host.
pub fn transaction(run: &str, host: &HostName) -> Option<Tx> {
    let hash = blake3::hash(host.as_str().as_bytes()).to_hex();
    Tx::new(&format!("{run}{}", &hash[..6]))
}

fn not_held(journey: &Journey<'_>, address: &Address, error: HoldError) -> Halt {
    let host = &journey.host.name;
    match error {
        HoldError::Locked { owner, phase, age_s } => {
            refuse(journey, None, &Refused::Locked { owner, age_s, phase })
        }
        HoldError::Changed(what) => {
            let note = format!("{what} was changed by somebody else meanwhile");
            let mut halt = halt(Outcome::Foreign, Phase::Activate, note);
            halt.next.push(format!("nixdeploy status {host}"));
            halt
        }
        HoldError::Lost(failure) => {
            let (address, said) = (address.to_string(), harmless::line(failure.text()));
            let refused = match failure {
                Failure::HostKey(_) => Refused::HostKey { address, said },
                _ => Refused::Unreachable { attempts: vec![format!("{address}: {said}")] },
            };
            refuse(journey, None, &refused)
        }
        HoldError::Failed(why) => refuse(journey, None, &Refused::Unfit { what: why }),
    }
}

/// Writes down what is about to be done; a full disk here must not stop a way back.
pub fn record(journey: &Journey<'_>, way_back: &WayBack, step: Step) {
    let entry = Record {
        run: journey.run.name.clone(),
        tx: way_back.hand.tx.as_str().to_owned(),
        host: journey.host.name.clone(),
        old: way_back.old.clone(),
        new: way_back.new.clone(),
        boot_id: way_back.boot_id.clone(),
        step,
    };
    if let Err(error) = journal::write(&journey.run.world.environment.state, &entry) {
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
    let begun = async { ahead?.end().await };
    if let Some(ended) = begun.await {
        let built = ended.map_err(|e| not_built(journey, Phase::Build, &e))?;
        return Ok(Closure { toplevel: built.toplevel, here: built.here });
    }
    let path =
        known.old().map_or("/run/current-system/sw/bin".to_owned(), |o| format!("{o}/sw/bin"));
    let built = built(journey, evaluated, &known.target, &path).await?;
    Ok(Closure { toplevel: built.toplevel, here: built.here })
}

async fn built(
    journey: &Journey<'_>,
    evaluated: &build::Evaluated,
    target: &Target,
    path: &str,
) -> Result<Built, Halt> {
    let run = journey.run;
    let builder;
    let place = match &journey.step.build_on {
        BuildOn::Local => Where::Local,
        BuildOn::Target => Where::Target { target, path },
        BuildOn::Host(name) => {
            builder = builder_target(journey, name)?;
            Where::Host { name, target: &builder, path: "/run/current-system/sw/bin" }
        }
    };
    let (name, options) = (&journey.host.name, options(journey));
    build::build(&run.world, &run.emitter, name, evaluated, place, &options)
        .await
        .map_err(|e| not_built(journey, Phase::Build, &e))
}

/// A third host that builds: one of the fleet, or one of `[builders]`.
fn builder_target(journey: &Journey<'_>, name: &HostName) -> Result<Target, Halt> {
    let run = journey.run;
    let sockets = &run.world.environment.sockets;
    if let Some(host) = run.fleet.hosts.iter().find(|h| h.name == *name) {
        return Ok(Target::new(host, sockets));
    }
    let address = crate::fleet::Address::new(name.as_str()).ok();
    let builder = run.fleet.builders.get(name.as_str());
    let address = builder.and_then(|b| b.address.clone()).or(address);
    let Some(address) = address else {
        let note = format!("{name} is neither a host nor a builder of hosts.toml");
        return Err(halt(Outcome::NotBuilt, Phase::Build, note));
    };
    let user = builder.and_then(|b| b.user.clone());
    Ok(Target { user, ..Target::at(journey.host, address, sockets) })
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
    let scripts = pinned(journey).await?;
    let paths = local_closure(journey, built).await;
    let open = run.emitter.phase(&journey.host.name, Phase::Admit);
    let admission = match admission(journey, known, built, &paths).await {
        Ok(admission) => admission,
        Err(halt) => {
            open.failed(halt.note.clone());
            return Err(halt);
        }
    };
    open.ok(admission_note(&admission));
    preview::admitted(journey, &admission);
    let options = CopyOptions { present: !built.here, closure: &paths, ..CopyOptions::default() };
    let (world, emitter, name) = (&run.world, &run.emitter, &journey.host.name);
    let (copied, (baseline, mut session), mut changes, (files, changed)) = tokio::join!(
        copy(world, emitter, name, &known.target, &built.toplevel, options),
        baseline(journey, known, way_back, &scripts),
        package_changes(journey, known, built, &paths),
        preview::files(journey, known),
    );
    changes.files = changed;
    copied.map_err(|error| not_copied(journey, &error))?;
    let stage = admission.inhibited.is_some();
    let rehearsal = rehearsed(journey, known, built, stage, &mut session).await?;
    let no_way_back = !rehearsal.irreversible.is_empty() && !run.request.yes;
    if no_way_back && run.plan.goal == crate::plan::Goal::Deploy && !stage {
        let refused = Refused::NoWayBack { units: rehearsal.irreversible };
        return Err(refuse(journey, None, &refused));
    }
    let units = rehearsal.units.unwrap_or_default();
    changes.units = units.clone();
    preview::reboot(&mut changes, &admission);
    emitter.emit(Event::ChangesFound { host: name.clone(), changes: changes.clone() });
    Ok(Offered { admission, baseline, session, scripts, stage, paths, units, changes, files })
}

/// The scripts as they lie in the folder, which must still be the tree that was cleared: a build
/// can take an hour.
async fn pinned(journey: &Journey<'_>) -> Result<Scripts, Halt> {
    let Some(root) = journey.run.folder() else { return Ok(Scripts::default()) };
    let scripts = Scripts::pin(&root, journey.host).map_err(|why| {
        let mut halt = halt(Outcome::Blocked, Phase::Validate, why);
        halt.next.push("look at the health scripts in hosts.toml".to_owned());
        halt
    })?;
    if !scripts.is_empty() {
        still_cleared(journey).await?;
    }
    Ok(scripts)
}

/// The closure with its sizes; empty when it was built elsewhere and is not here.
pub(super) async fn local_closure(journey: &Journey<'_>, built: &Closure) -> Vec<PathInfo> {
    if !built.here {
        return Vec::new();
    }
    closure::closure(&journey.run.world, &built.toplevel).await.unwrap_or_default()
}

/// The sums; which paths are missing is asked only when the whole closure would not fit.
pub(super) async fn admission(
    journey: &Journey<'_>,
    known: &Known,
    built: &Closure,
    paths: &[PathInfo],
) -> Result<Admission, Halt> {
    let mut new = if built.here {
        new_closure(built, paths)
    } else {
        describe(&journey.run.world, &known.target, Link::Shared, &built.toplevel)
            .await
            .map_err(|refused| refuse(journey, None, &refused))?
    };
    let policy = &journey.step.policy;
    let mut sums = admit(&known.facts, &journey.host.name, &new, policy);
    if matches!(sums, Err(Refused::NoSpace { .. })) {
        let all: Vec<StorePath> = paths.iter().map(|p| p.path.clone()).collect();
        let lacks = missing(&journey.run.world, &known.target, Link::Shared, &all).await;
        new.missing = Some(lacks.map_err(|r| refuse(journey, None, &r))?);
        sums = admit(&known.facts, &journey.host.name, &new, policy);
    }
    let admission = sums.map_err(|refused| refuse(journey, None, &refused))?;
    for finding in &admission.findings {
        let (host, finding) = (Some(journey.host.name.clone()), finding.clone());
        journey.run.emitter.emit(Event::Found { host, phase: Phase::Admit, finding });
    }
    Ok(admission)
}

fn new_closure(built: &Closure, paths: &[PathInfo]) -> NewClosure {
    let top = closure::toplevel(&built.toplevel);
    let part = |file: Option<closure::BootFile>| {
        file.map_or(BootPart::default(), |f| BootPart {
            path: f.path.display().to_string(),
            size: f.size,
        })
    };
    NewClosure {
        toplevel: Some(built.toplevel.clone()),
        paths: paths.iter().map(|p| (p.path.clone(), p.nar_size)).collect(),
        missing: None,
        kernel: part(top.kernel),
        initrd: part(top.initrd),
        modules: top.kernel_modules.map_or(String::new(), |p| p.display().to_string()),
        params: top.kernel_params.unwrap_or_default(),
        init: top.init_interface_version.unwrap_or_default(),
        inhibitors: top.inhibitors,
    }
}

pub(super) fn admission_note(admission: &Admission) -> String {
    let size = crate::preflight::admission::size;
    let (need, free) = (size(admission.need_bytes), size(admission.free_bytes));
    let reboot = if admission.reboot_required { ", reboot wanted" } else { "" };
    format!("at most {need} of {free} free{reboot}")
}

async fn baseline(
    journey: &Journey<'_>,
    known: &Known,
    way_back: &WayBack,
    scripts: &Scripts,
) -> (Baseline, Option<Session>) {
    let names = names(journey);
    let request = verify::Request {
        host: journey.host,
        target: &known.target,
        transaction: Some(way_back.hand.tx.as_str()),
        old: &way_back.old,
        new: &way_back.new,
        cursor: "",
        scripts,
        names: &names,
        planned: &[],
        fast: journey.step.policy.fast,
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

fn not_copied(journey: &Journey<'_>, error: &CopyError) -> Halt {
    let skipped = error.passes() && journey.host.optional != crate::fleet::Optional::Fail;
    let code = error.code().to_owned();
    let mut halt = halt(Outcome::Refused { code, skipped }, Phase::Copy, error.to_string());
    halt.next = error.hints();
    halt
}
