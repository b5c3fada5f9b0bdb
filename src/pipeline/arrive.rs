//! The end of a journey past `go`: committed, taken back, or found rebooted; always read back.

use super::ending::{self, Halt, Why, halt, returned};
use super::host::Journey;
use super::learn::Known;
use super::offer::{Offered, record};
use super::reboot;
use super::reboot::{differing, same_pointers};
use super::trial::{Verified, reboot_advice, recommend, take_back};
use crate::activate::guard::{Said, Status, read};
use crate::activate::hold::WayBack;
use crate::activate::journal::Step;
use crate::activate::returned::Returned;
use crate::build::{manifest, remembered};
use crate::commit::{self, Committed};
use crate::event::stream::Stopwatch;
use crate::event::{Decider, Event, Evidence, HostReport, Outcome, Phase, Pointers};
use crate::fleet::StorePath;
use crate::preflight::facts::{Early, Facts};
use crate::preflight::read::{self as preflight, Effort};
use crate::rollback;
use crate::verify::full_disks;
use crate::world::files;
use crate::world::ssh::Link;
use std::path::{Path, PathBuf};

/// A store that is so full takes no closure.
const BRIM_PERCENT: u8 = 99;
/// A lock file larger than this is none.
const LOCK_LIMIT: u64 = 16 << 20;

/// Asks for the commit over the session that saw the host healthy, and reads it back.
pub async fn commit(
    journey: &Journey<'_>,
    known: &Known,
    verified: Verified,
    offered: &Offered,
) -> Result<HostReport, Halt> {
    let Verified { way_back, mut session } = verified;
    record(journey, &way_back, Step::Commit);
    let open = journey.run.emitter.phase(&journey.host.name, Phase::Commit);
    let first = match &mut session {
        Some(session) => session.guard(&["commit"]).await.ok().map(|a| status_of(&a.lines)),
        None => None,
    };
    let policy = &journey.step.policy;
    let committed = commit::run(&way_back.hand, policy, &way_back.new, first).await;
    match committed {
        Committed::Proven(status) => {
            open.ok(generation_note(known.before(), &status));
            Ok(arrived(journey, known, &way_back, &status, offered))
        }
        Committed::Otherwise(what) => {
            let text = reason(&what);
            open.failed(text.clone());
            let why = why(Phase::Commit, text);
            Err(end(journey, known, &way_back, why, what).await)
        }
    }
}

fn status_of(lines: &[String]) -> Status {
    let mut status = Status::default();
    for line in lines {
        if let Said::Fact(key, value) = read(line) {
            status.learn(&key, &value);
        }
    }
    status
}

fn generation_note(before: &Pointers, status: &Status) -> String {
    let number = |g: Option<crate::fleet::Generation>| g.map_or("-".to_owned(), |g| g.to_string());
    format!("generation {} -> {}", number(before.generation), number(status.after.generation))
}

/// What it gives as its reason.
pub fn reason(what: &Returned) -> String {
    match what {
        Returned::Restored(s)
        | Returned::Stranded(s)
        | Returned::Rebooting(s)
        | Returned::Foreign(s)
        | Returned::Kept(s)
        | Returned::Untouched(s) => s.reason.clone(),
        Returned::Gone => "the host has rebooted".to_owned(),
        Returned::Unknown(failure, _) => failure.text().to_owned(),
    }
}

fn why(phase: Phase, note: String) -> Why {
    Why { phase, note, causes: Vec::new(), decided_by: Decider::Guard, interrupted: false }
}

fn arrived(
    journey: &Journey<'_>,
    known: &Known,
    way_back: &WayBack,
    status: &Status,
    offered: &Offered,
) -> HostReport {
    record(journey, way_back, Step::Done);
    keep_lock(journey, &way_back.new);
    let state = &journey.run.world.environment.state;
    let kept = remembered::keep(state, &journey.host.name, &way_back.new, &offered.paths);
    if let Err(error) = kept {
        tracing::debug!(%error, "the closure is not remembered");
    }
    let files = offered.files.as_ref();
    let kept = files.map(|f| manifest::keep(state, &journey.host.name, &way_back.new, f));
    if let Some(Err(error)) = kept {
        tracing::debug!(%error, "the files of the tree are not remembered");
    }
    let after = ending::after(status);
    let (emitter, host) = (&journey.run.emitter, journey.host.name.clone());
    let (from, to) = (known.before().generation, after.generation);
    emitter.emit(Event::GenerationMoved { host, from, to });
    let reboot_required = offered.admission.reboot_required;
    let note = match &offered.changes.back_to {
        Some(to) => format!("gen {}'s system again: {}", to.generation, to.name),
        None if offered.changes.staged.is_some() => "committed; it was staged".to_owned(),
        None => "committed".to_owned(),
    };
    let note = note + if reboot_required { "; reboot wanted" } else { "" };
    let mut report = ending::report(Outcome::Committed { reboot_required }, Phase::Commit, note);
    if after.boot_default.is_none() {
        report.note.push_str("; boot default could not be read back");
    }
    if known.before().profile.is_none() {
        report.note.push_str("; no previous generation to go back to");
    }
    if reboot_required {
        let text = reboot_advice(journey, &offered.admission.reboot_for);
        recommend(journey, text.into_iter().collect());
    }
    report.before = Some(known.before().clone());
    report.after = Some(after);
    report.decided_by = Decider::Deployer;
    report
}

/// Keeps the flake.lock that this closure was evaluated with, for `rollback --with-lock`.
fn keep_lock(journey: &Journey<'_>, toplevel: &StorePath) {
    let Some(folder) = journey.run.folder().filter(|_| !journey.run.goes_back()) else { return };
    let kept = kept_lock(&journey.run.world.environment.state, toplevel);
    let copied = files::read_text(&folder.join("flake.lock"), LOCK_LIMIT).and_then(|lock| {
        files::private_folder(kept.parent().unwrap_or(&kept))?;
        files::replace(&kept, lock.as_bytes())
    });
    if let Err(error) = copied {
        tracing::debug!(%error, "no flake.lock to keep");
    }
}

/// Where the lock file of a closure is kept.
pub fn kept_lock(state: &Path, toplevel: &StorePath) -> PathBuf {
    state.join("locks").join(format!("{}.lock", toplevel.hash()))
}

/// The closure waits for the next boot already: nothing is done.
pub fn staged_already(journey: &Journey<'_>, known: &Known) -> HostReport {
    let note = "staged for the next boot already; not running yet";
    let mut report = ending::report(Outcome::Staged, Phase::Facts, note);
    report.before = Some(known.before().clone());
    report.after = Some(known.before().clone());
    report.next = vec![format!("ssh {} sudo reboot", journey.host.address())];
    report
}

/// Installs the closure for the next boot; nothing that runs is touched.
pub async fn stage(
    journey: &Journey<'_>,
    known: &Known,
    mut way_back: WayBack,
) -> Result<HostReport, Halt> {
    way_back.settle();
    record(journey, &way_back, Step::Commit);
    let open = journey.run.emitter.phase(&journey.host.name, Phase::Commit);
    match commit::stage(&way_back.hand, &journey.step.policy, &way_back.new).await {
        Committed::Proven(status) => {
            open.ok(generation_note(known.before(), &status));
            record(journey, &way_back, Step::Done);
            let note = "staged for the next boot; not running yet";
            let mut report = ending::report(Outcome::Staged, Phase::Commit, note);
            report.before = Some(known.before().clone());
            report.after = Some(ending::after(&status));
            report.decided_by = Decider::Deployer;
            report.next = vec![format!("ssh {} sudo reboot", journey.host.address())];
            Ok(report)
        }
        Committed::Otherwise(what) => {
            let text = reason(&what);
            open.failed(text.clone());
            Err(end(journey, known, &way_back, why(Phase::Commit, text), what).await)
        }
    }
}

/// Asks the guard to go back and says what came of it.
pub async fn back(journey: &Journey<'_>, known: &Known, way_back: WayBack, why: Why) -> Halt {
    let open = journey.run.emitter.phase(&journey.host.name, Phase::Rollback);
    let what = take_back(journey, &way_back).await;
    close(open, &what);
    end(journey, known, &way_back, why, what).await
}

/// Waits for what the guard does by itself and says what came of it.
pub async fn await_end(journey: &Journey<'_>, known: &Known, way_back: WayBack, why: Why) -> Halt {
    let open = journey.run.emitter.phase(&journey.host.name, Phase::Rollback);
    let what = rollback::outcome(&way_back.hand, &journey.step.policy).await;
    close(open, &what);
    end(journey, known, &way_back, why, what).await
}

fn close(open: crate::event::stream::OpenPhase, what: &Returned) {
    match what {
        Returned::Restored(status) => {
            let old = status
                .after
                .generation
                .map_or("the old system".to_owned(), |g| format!("generation {g}"));
            open.ok(format!("back to {old}{}", ending::bypass(status)));
        }
        Returned::Rebooting(_) => open.failed("the way back failed; the host reboots"),
        Returned::Gone => open.skipped("the host has rebooted"),
        other => open.failed(reason(other)),
    }
}

/// The last word past `go`; a host that has rebooted is looked for and read again, and one that
/// says it is restored is read once more over a fresh connection.
pub async fn end(
    journey: &Journey<'_>,
    known: &Known,
    way_back: &WayBack,
    why: Why,
    what: Returned,
) -> Halt {
    // What is not known yet stays open, for `resume` and `status`.
    if !matches!(what, Returned::Unknown(..)) {
        record(journey, way_back, Step::Done);
    }
    let now_ms = journey.run.world.clock.epoch_ms();
    let rebooting = matches!(what, Returned::Rebooting(_));
    let rebooted = rebooting || matches!(what, Returned::Gone);
    let claims_old = matches!(what, Returned::Restored(_));
    let kept = matches!(what, Returned::Kept(_));
    if let Some(evidence) = spoken(&what) {
        journey.run.emitter.emit(Event::Captured { host: journey.host.name.clone(), evidence });
    }
    let waited_s = match &what {
        Returned::Restored(status) => status.waited_s(),
        _ => None,
    };
    let mut said = returned(&journey.host.name, why, known.before(), what, now_ms);
    ending::not_reached(&mut said, way_back.hand.longest_gap_s(), waited_s);
    if rebooted {
        return reboot::found_again(journey, known, way_back, said, rebooting).await;
    }
    if kept {
        said.outcome = Outcome::Committed { reboot_required: reboot_wanted(journey, known).await };
    }
    if claims_old {
        if known.before().profile.as_ref() == Some(&way_back.new) {
            let next = format!("nixdeploy rollback {}", journey.host.name);
            said.causes.push("the same system still waits for the next boot, as before".to_owned());
            said.next.push(format!("{next}  # the next boot starts what runs now"));
        }
        let (early, facts) = afterwards(journey, known).await;
        read_again(&mut said, known.before(), early);
        if let Some(facts) = facts {
            still_full(journey, known, &facts, &mut said);
        }
    }
    said
}

/// Whether what runs there now was not booted, in a part that only a boot brings.
async fn reboot_wanted(journey: &Journey<'_>, known: &Known) -> bool {
    let (early_in, _early_out) = tokio::sync::oneshot::channel();
    let (world, targets) = (&journey.run.world, [known.target.clone()]);
    let read = preflight::read(world, &targets, Link::Shared, early_in).await;
    read.is_ok_and(|answered| answered.facts.reboot_pending().is_some_and(|p| !p.is_empty()))
}

/// How the host is after it went back; a file system that is full still is would stop the next
/// deploy as well.
fn still_full(journey: &Journey<'_>, known: &Known, facts: &Facts, said: &mut HostReport) {
    let (emitter, name) = (&journey.run.emitter, &journey.host.name);
    let (before, now) = (known.facts.vitals(), facts.vitals());
    for finding in full_disks(journey.host, Some(&before), &now) {
        let (host, phase) = (Some(name.clone()), Phase::Rollback);
        emitter.emit(Event::Found { host, phase, finding });
    }
    let store = facts.space("/nix/store").filter(|disk| disk.used_percent() >= BRIM_PERCENT);
    if store.is_some() {
        let address = journey.host.address();
        let collect = format!("ssh {address} sudo nix-store --gc  # deletes no generation");
        said.next.insert(0, collect);
    }
    emitter.emit(Event::Measured { host: name.clone(), after: true, vitals: now });
}

/// Whether a host that says it is restored is.
fn read_again(said: &mut HostReport, before: &Pointers, early: Option<Early>) {
    let Some(early) = early else {
        let unread = "not read again, for nobody answered: the guard itself compared pointers \
            and units";
        said.causes.push(unread.to_owned());
        return;
    };
    if !same_pointers(&early.pointers, before) {
        said.outcome = Outcome::Stranded;
        said.note = format!("{}; {}", said.note, differing(&early.pointers, before));
    }
    said.after = Some(early.pointers);
}

/// What the boot loader, or the old system on its way back, had to say.
fn spoken(what: &Returned) -> Option<Evidence> {
    let (source, status) = match what {
        Returned::Restored(status) => ("switch-to-configuration boot", status),
        Returned::Stranded(status) => ("switch-to-configuration", status),
        _ => return None,
    };
    let lines = status.log.clone();
    let status = status.reason.clone();
    (!lines.is_empty()).then(|| Evidence { source: source.to_owned(), status, lines })
}

/// The pointers over a fresh connection, and all facts if they come.
async fn afterwards(journey: &Journey<'_>, known: &Known) -> (Option<Early>, Option<Facts>) {
    let (early_in, early_out) = tokio::sync::oneshot::channel();
    let targets = [known.target.clone()];
    let (world, effort) = (&journey.run.world, Effort::AFTERWARDS);
    let read = preflight::look(world, &targets, Link::Fresh, effort, early_in).await;
    let facts = read.ok().map(|answered| answered.facts).filter(|facts| facts.complete);
    (
        facts.as_ref().map(|f| f.early.clone()).or(early_out.await.ok().map(|first| first.early)),
        facts,
    )
}

/// One look at the pointers over a fresh connection.
pub(super) async fn look(journey: &Journey<'_>, known: &Known) -> Option<Early> {
    let (early_in, mut early_out) = tokio::sync::oneshot::channel();
    let targets = [known.target.clone()];
    let world = &journey.run.world;
    let reading = preflight::look(world, &targets, Link::Fresh, Effort::POINTERS, early_in);
    let first = tokio::select! {
        biased;
        first = &mut early_out => first.ok(),
        // The answer and its end may come in one piece.
        _ = reading => early_out.try_recv().ok(),
    };
    first.map(|first| first.early)
}

/// For a phase that cannot fail but did.
pub fn broken(phase: Phase, note: &str) -> Halt {
    halt(Outcome::Internal, phase, note)
}
