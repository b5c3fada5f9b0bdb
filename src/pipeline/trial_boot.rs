//! A trial boot: the host starts the new system once, its health decides, and only then does it
//! become the boot default. Whatever happens before that, the next start is the old system.

use std::time::Duration;

use super::arrive::{look, reason};
use super::ending::{self, Halt, Why, halt};
use super::host::Journey;
use super::learn::{Known, ask_facts, refuse};
use super::look::{examine, names_before, request, soak, units_before};
use super::offer::{Offered, let_go, not_held, record, transaction};
use super::reboot::{await_other_boot, differing, same_pointers, services_back};
use super::trial::{condemning, healthy};
use crate::activate::guard::{Ending, TRIAL_CLEAR, Tx, Verb};
use crate::activate::hand::{Answer, Hand};
use crate::activate::hold::{WayBack, hold};
use crate::activate::journal::Step;
use crate::commit::{self, Committed};
use crate::event::{Decider, Event, Finding, HostReport, Outcome, Phase, Severity};
use crate::fleet::StorePath;
use crate::plan::verdict::{Verdict, verdict};
use crate::preflight::Refused;
use crate::preflight::facts::{Early, Loader};
use crate::verify::Expectation;
use crate::world::ssh::{Link, Target};

/// Setting it up copies a kernel and an initrd.
const SET_UP: Duration = Duration::from_secs(300);
/// Asking for a reboot takes no longer.
const ASK: Duration = Duration::from_secs(30);

/// Whether this host is to be started on trial.
pub fn wanted(journey: &Journey<'_>, offered: &Offered) -> bool {
    let reboot = offered.admission.reboot_required || offered.stage;
    journey.step.policy.trial_boot && reboot
}

/// Starts the new system once, looks at it, and makes it the boot default or goes back.
///
/// # Errors
/// With the host's last word when it does not run the new system in the end.
pub async fn try_boot(
    journey: &Journey<'_>,
    known: &Known,
    mut way_back: WayBack,
    offered: &Offered,
) -> Result<HostReport, Halt> {
    if let Some(why) = unable(known.facts.boot.loader) {
        let halt = refuse(journey, None, &Refused::NoTrial { why: why.to_owned() });
        return Err(let_go(journey, way_back, halt).await);
    }
    record(journey, &way_back, Step::Go);
    let open = journey.run.emitter.phase(&journey.host.name, Phase::Activate);
    match way_back.hand.insist(Verb::Trial, Some(way_back.new.as_str()), SET_UP).await {
        Answer::Told(status) if status.ending == Some(Ending::Trial) => {}
        Answer::Told(status) => {
            let why = status.refused.unwrap_or(status.reason);
            open.failed(why.clone());
            let halt = refuse(journey, None, &Refused::NoTrial { why });
            return Err(let_go(journey, way_back, halt).await);
        }
        // The answer was lost in the reboot, or before it: the next boot tells.
        Answer::Gone | Answer::Lost(_) => {}
    }
    way_back.settle();
    let Some(early) = await_other_boot(journey, known, &[&known.facts.early.boot_id]).await else {
        open.failed("did not come back");
        return Err(silent(journey, known).await);
    };
    if early.pointers.running.as_ref() != Some(&way_back.new) {
        open.failed("fell back");
        return Err(fell_back(journey, known, &way_back, early).await);
    }
    open.ok("booted once, on trial");
    let findings = tokio::select! {
        findings = examined(journey, known, &way_back, offered, &early.boot_id) => findings,
        () = journey.run.stop.once() => {
            let why = Why { interrupted: true, ..why("interrupted") };
            return Err(back(journey, known, &way_back, &early, why).await);
        }
    };
    if verdict(&findings) != Verdict::Keep {
        let bad = findings.iter().find(|f| f.severity == Severity::Block);
        let text = bad.map_or("could not be verified".to_owned(), said);
        return Err(back(journey, known, &way_back, &early, why(&text)).await);
    }
    promote(journey, known, &way_back, &early).await
}

/// A host that was booted on trial, looked at after the soak over a fresh connection.
async fn examined(
    journey: &Journey<'_>,
    known: &Known,
    way_back: &WayBack,
    offered: &Offered,
    boot_id: &str,
) -> Vec<Finding> {
    let open = journey.run.emitter.phase(&journey.host.name, Phase::Verify);
    soak(journey).await;
    let (names, units) = (names_before(journey, offered), units_before(known));
    let systems = [&way_back.new, &way_back.new];
    let request = request(journey, known, systems, &offered.scripts, &names);
    let vitals = known.facts.vitals();
    let expect = Expectation {
        host: journey.host,
        new: &way_back.new,
        boot_id,
        fast: journey.step.policy.fast,
        units: &units,
        vitals: Some(&vitals),
        baseline: &offered.baseline,
        sample: None,
        profile: known.before().profile.as_ref(),
        boot_default: known.before().boot_default.as_ref(),
    };
    match examine(journey, &request, &expect).await {
        Ok((examined, session)) => {
            session.close().await;
            if verdict(&examined.findings) == Verdict::Keep {
                open.ok(healthy(&examined.findings));
            } else {
                open.failed(
                    condemning(&examined.findings).first().map_or(String::new(), |f| said(f)),
                );
            }
            examined.findings
        }
        Err(error) => {
            open.failed(error.to_string());
            vec![error.finding()]
        }
    }
}

/// Why this loader cannot start a system once; `None`: it can.
pub fn unable(loader: Loader) -> Option<&'static str> {
    match loader {
        Loader::SystemdBoot => None,
        Loader::Lanzaboote => Some("Lanzaboote starts signed images, whose command line is fixed"),
        Loader::Grub => Some("GRUB takes no entry of ours for one start"),
        Loader::Extlinux => Some("extlinux knows no entry for one start"),
        Loader::None => Some("the machine has no boot loader"),
        Loader::Unknown => Some("its boot loader is not known"),
    }
}

fn said(finding: &Finding) -> String {
    format!("{}: {}", finding.subject, finding.message)
}

fn why(note: &str) -> Why {
    Why {
        phase: Phase::Verify,
        note: note.to_owned(),
        causes: Vec::new(),
        decided_by: Decider::Deployer,
        interrupted: false,
    }
}

/// It is up by nobody's account; its boot default is the old system all the same.
async fn silent(journey: &Journey<'_>, known: &Known) -> Halt {
    let decides_by_ms = crate::event::stream::Stopwatch::epoch_ms(&journey.run.world.clock);
    let first = &known.facts.early.boot_id;
    let still = look(journey, known).await.is_some_and(|early| early.boot_id == *first);
    let (text, cause) = match still {
        true => (
            "has not gone down for its trial boot; that comes with its next start",
            "a job of systemd's holds the reboot up: systemctl list-jobs",
        ),
        false => (
            "did not come back from its trial boot; its boot default is the old system",
            "a kernel that hangs needs a power cycle, and starts as before then",
        ),
    };
    let mut said = halt(Outcome::Unknown { decides_by_ms }, Phase::Activate, text);
    said.decided_by = Decider::Reboot;
    said.causes.push(cause.to_owned());
    said.next.push(format!("nixdeploy status {}", journey.host.name));
    said
}

/// The new system did not come up, or not for long; what is left of the trial is taken away.
async fn fell_back(journey: &Journey<'_>, known: &Known, way_back: &WayBack, early: Early) -> Halt {
    let text = "the trial boot fell back: the new system did not come up, the old one runs";
    let mut said = halt(Outcome::RolledBack, Phase::Activate, text);
    said.decided_by = Decider::Reboot;
    let address = journey.host.address();
    said.next.push(format!("ssh {address} sudo journalctl -b -1 -p warning  # if it got so far"));
    old_again(journey, known, way_back, early, &mut said).await;
    said
}

/// The old system was booted: the trial's entry goes, and the host is held against what it was.
async fn old_again(
    journey: &Journey<'_>,
    known: &Known,
    way_back: &WayBack,
    early: Early,
    said: &mut Halt,
) {
    clear(journey, &known.target, &way_back.old, "all").await;
    record(journey, way_back, Step::Done);
    said.before = Some(known.before().clone());
    if same_pointers(&early.pointers, known.before()) {
        let note = said.note.clone();
        if !services_back(journey, known, said).await {
            said.causes.insert(0, note);
        }
    } else {
        said.outcome = Outcome::Stranded;
        said.causes.push(differing(&early.pointers, known.before()));
    }
    said.after = Some(early.pointers);
}

/// A host that is not well under the new system starts the old one again.
async fn back(
    journey: &Journey<'_>,
    known: &Known,
    way_back: &WayBack,
    tried: &Early,
    why: Why,
) -> Halt {
    let open = journey.run.emitter.phase(&journey.host.name, Phase::Rollback);
    let path = format!("{}/sw/bin/systemctl", way_back.new);
    let reboot = known.target.remote(Link::Fresh, &[&path, "--no-block", "reboot"]).timeout(ASK);
    // Where that is not heard the dead-man does the same.
    let _ = journey.run.world.run(reboot).await;
    let before_trial = &known.facts.early.boot_id;
    let boots = [before_trial.as_str(), tried.boot_id.as_str()];
    let Some(early) = await_other_boot(journey, known, &boots).await else {
        open.failed("did not come back");
        return silent(journey, known).await;
    };
    let outcome = match why.interrupted {
        true => Outcome::Interrupted { reverted: true },
        false => Outcome::RolledBack,
    };
    let mut said = halt(outcome, why.phase, format!("{}; rebooted into the old system", why.note));
    said.decided_by = why.decided_by;
    said.causes = why.causes;
    said.next.push(format!("nixdeploy logs {}", journey.host.name));
    old_again(journey, known, way_back, early, &mut said).await;
    if said.outcome == Outcome::Stranded {
        open.failed("not as before")
    } else {
        open.ok("rebooted into the old system")
    }
    said
}

/// What runs on trial becomes profile and boot default, and is read back.
async fn promote(
    journey: &Journey<'_>,
    known: &Known,
    way_back: &WayBack,
    tried: &Early,
) -> Result<HostReport, Halt> {
    record(journey, way_back, Step::Commit);
    let open = journey.run.emitter.phase(&journey.host.name, Phase::Commit);
    let run = journey.run;
    // The loader's own copies need the room; the dead-man stays until the commit is proven.
    clear(journey, &known.target, &way_back.new, "files").await;
    let committed = match promotion(journey) {
        Some(tx) => stage(journey, known, way_back, tried, tx).await,
        None => Err(halt(Outcome::Internal, Phase::Commit, "no transaction could be named")),
    };
    let status = match committed {
        Ok(status) => status,
        Err(halt) => {
            open.failed(halt.note.clone());
            let why = Why { phase: Phase::Commit, causes: halt.causes, ..why(&halt.note) };
            return Err(back(journey, known, way_back, tried, why).await);
        }
    };
    open.ok("verified, and the boot default");
    clear(journey, &known.target, &way_back.new, "all").await;
    record(journey, way_back, Step::Done);
    let after = ending::after(&status);
    let (from, to) = (known.before().generation, after.generation);
    let host = journey.host.name.clone();
    run.emitter.emit(Event::GenerationMoved { host, from, to });
    let outcome = Outcome::Committed { reboot_required: false };
    let mut report = ending::report(outcome, Phase::Commit, "booted on trial, verified, committed");
    report.before = Some(known.before().clone());
    report.after = Some(after);
    report.decided_by = Decider::Deployer;
    Ok(report)
}

/// Its transaction has a name of its own: that of the trial went with the boot before.
fn promotion(journey: &Journey<'_>) -> Option<Tx> {
    transaction(&journey.run.name, &format!("{} promoted", journey.host.name))
}

async fn stage(
    journey: &Journey<'_>,
    known: &Known,
    way_back: &WayBack,
    tried: &Early,
    tx: Tx,
) -> Result<Box<crate::activate::guard::Status>, Halt> {
    let (run, policy) = (journey.run, &journey.step.policy);
    let answered = ask_facts(journey).await?;
    if answered.facts.early.boot_id != tried.boot_id {
        return Err(halt(Outcome::RolledBack, Phase::Commit, "the host has rebooted"));
    }
    let hand = Hand::new(&run.world, &run.emitter, &journey.host.name, &known.target, tx);
    let early = &answered.facts.early;
    let on_failure = journey.host.when_stranded(answered.facts.graphical);
    let held = hold(hand, (Link::Shared, None), early, &way_back.new, policy, on_failure).await;
    let held = held.map_err(|error| not_held(journey, &known.target.address, error))?;
    match commit::stage(&held.hand, policy, &way_back.new).await {
        Committed::Proven(status) => Ok(status),
        Committed::Otherwise(what) => Err(halt(Outcome::RolledBack, Phase::Commit, reason(&what))),
    }
}

/// The dead-man is stopped, and what the trial put beside the boot default goes; a host that does
/// not hear it is left with an entry that nothing starts.
async fn clear(journey: &Journey<'_>, target: &Target, system: &StorePath, what: &str) {
    let path = format!("{system}/sw/bin");
    let clear = target.script(Link::Fresh, TRIAL_CLEAR, &[&path, what]).timeout(ASK * 2);
    let cleared = journey.run.world.run(clear).await;
    if !cleared.is_ok_and(|output| output.ended.ok()) {
        let message =
            "the trial's boot entry could not be taken away; nothing starts it".to_owned();
        let finding = Finding {
            code: "trial-entry".to_owned(),
            severity: Severity::Warn,
            subject: journey.host.name.to_string(),
            message,
            suggestion: None,
        };
        let host = Some(journey.host.name.clone());
        journey.run.emitter.emit(Event::Found { host, phase: Phase::Commit, finding });
    }
}
