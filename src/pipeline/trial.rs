//! The trial: the new system runs, the boot default is still the old one, and its health decides.

use tokio::sync::oneshot;

use super::arrive;
use super::ending::{self, Halt, Why, interrupted};
use super::host::Journey;
use super::learn::Known;
use super::look::{examine, knock, look, request, units_before};
use super::offer::{Offered, let_go, names, record};
use crate::activate::guard::{ActEnd, Status};
use crate::activate::hold::WayBack;
use crate::activate::journal;
use crate::activate::returned::Returned;
use crate::activate::{Activated, First, Going, WhyNot};
use crate::event::stream::OpenPhase;
use crate::event::{Decider, Event, Evidence, Finding, HostReport, Outcome, Phase, Severity};
use crate::fleet::StorePath;
use crate::plan::verdict::{Verdict, verdict};
use crate::preflight::facts::Switching;
use crate::preflight::read;
use crate::rollback;
use crate::verify::{self, Baseline, Expectation, Knock, Scripts, Session};
use crate::world::ssh::Link;

/// Exit code of a switch-to-configuration that found another one at work and did nothing.
const LOCKED: i32 = 11;

/// Evidence that the host is healthy, with the session that saw it.
pub struct Verified {
    /// The way back, which only a commit ends.
    pub way_back: WayBack,
    /// The fresh connection; `None`: it broke after the last check.
    pub session: Option<Session>,
}

/// Says go and follows the activation to its end.
pub async fn activate(
    journey: &Journey<'_>,
    known: &Known,
    way_back: WayBack,
    offered: &mut Offered,
) -> Result<(Activated, Option<Knock>), Halt> {
    if journey.run.stop.asked() {
        return Err(let_go(journey, way_back, interrupted(Phase::Activate)).await);
    }
    record(journey, &way_back, journal::Step::Go);
    let open = journey.run.emitter.phase(&journey.host.name, Phase::Activate);
    let going = Going::begin(way_back, &journey.step.policy);
    let session = offered.session.take();
    let (ended, heard) = oneshot::channel();
    let follow = async {
        let first = over(journey, session, &going, ended).await;
        going.follow(&journey.step.policy, first).await
    };
    let knock = async {
        heard.await.ok()?;
        knock(journey, known, going.way_back(), offered).await
    };
    let (followed, knock) = tokio::select! {
        ended = async { tokio::join!(follow, knock) } => ended,
        () = journey.run.stop.once() => {
            open.failed("interrupted");
            let why = stopped(Phase::Activate);
            return Err(arrive::back(journey, known, going.into_way_back(), why).await);
        }
    };
    let activated = match followed {
        Ok(status) => going.activated(*status),
        Err(why) => {
            let way_back = going.into_way_back();
            return Err(not_activated(journey, known, way_back, why, open).await);
        }
    };
    match fault(activated.end()) {
        None => {
            open.ok(note(activated.end()));
            Ok((activated, knock))
        }
        Some(fault) => {
            open.failed(fault.clone());
            journey.run.emitter.emit(captured(journey, &activated, &fault));
            let mut why = why(Phase::Activate, &fault, Decider::Deployer);
            why.causes.extend(limit(journey, activated.end() == ActEnd::TimedOut));
            let locked = activated.end() == ActEnd::Exited(LOCKED);
            if locked {
                why.causes.extend(switching(journey, known).await);
            }
            let mut halt = arrive::back(journey, known, activated.into_way_back(), why).await;
            if locked && halt.outcome == Outcome::RolledBack {
                halt.outcome = Outcome::Refused { code: "switching".to_owned(), skipped: false };
                halt.next = vec![format!("nixdeploy quick-deploy {}", journey.host.name)];
            }
            Err(halt)
        }
    }
}

/// Who has switch-to-configuration's lock, asked of the host once more.
async fn switching(journey: &Journey<'_>, known: &Known) -> Option<String> {
    let (early_in, _early_out) = tokio::sync::oneshot::channel();
    let (world, targets) = (&journey.run.world, [known.target.clone()]);
    let answered = read::read(world, &targets, Link::Shared, early_in).await.ok()?;
    let Switching { pid, command } = answered.facts.switching?;
    Some(format!("process {pid} has its lock: {command}"))
}

/// Says go over the session that is open already; an answer that breaks off counts as none, and
/// the request is made again over a connection of its own. `ended` is told when the activation is
/// over, went well, and no soak is to come.
async fn over(
    journey: &Journey<'_>,
    session: Option<Session>,
    going: &Going,
    ended: oneshot::Sender<()>,
) -> First {
    let mut ended = Some(ended).filter(|_| journey.step.policy.soak_s == 0);
    let Some(mut session) = session else { return First::NotAsked };
    let began = journey.run.world.clock.elapsed();
    let (mut status, mut complete) = (Status::default(), false);
    let way_back = going.way_back();
    let mut heard = |line: &str| {
        complete |= way_back.hand.hear(line, &mut status);
        if status.act == Some(ActEnd::Exited(0)) {
            // whoever listened may be gone
            ended.take().map(|ended| ended.send(()));
        }
    };
    let asked = session.guard_heard(&["go", way_back.new.as_str()], &mut heard).await;
    if asked.is_ok() && complete && status.is_about(&way_back.hand.tx) {
        return First::Told(Box::new(status));
    }
    First::Lost(began)
}

/// What switch-to-configuration's end condemns by itself. 4 (a unit failed) does not: whether the
/// unit had failed before, only the verification knows. Codes as in nixpkgs'
/// switch-to-configuration-ng.
fn fault(end: ActEnd) -> Option<String> {
    Some(match end {
        ActEnd::Exited(0 | 4) => return None,
        ActEnd::Exited(1) => "the new system's own check refused (exit 1)".to_owned(),
        ActEnd::Exited(2) => "an activation script failed (exit 2)".to_owned(),
        ActEnd::Exited(LOCKED) => "another switch-to-configuration is running (exit 11)".to_owned(),
        ActEnd::Exited(100) => "the init interface changed: only a reboot activates it".to_owned(),
        ActEnd::Exited(code) => format!("switch-to-configuration exited {code}"),
        ActEnd::TimedOut => "the activation took too long".to_owned(),
        ActEnd::Cut => "the activation was cut off".to_owned(),
    })
}

/// Which limit it was, and where it stands.
fn limit(journey: &Journey<'_>, over: bool) -> Option<String> {
    let limit_s = journey.step.policy.activate_timeout_s;
    over.then(|| format!("it may take {limit_s} s: activate_timeout_s in hosts.toml"))
}

fn note(end: ActEnd) -> &'static str {
    if end == ActEnd::Exited(4) { "a unit failed: looking closer" } else { "" }
}

fn captured(journey: &Journey<'_>, activated: &Activated, fault: &str) -> Event {
    let evidence = Evidence {
        source: "switch-to-configuration".to_owned(),
        status: fault.to_owned(),
        lines: activated.way_back().hand.last_lines(),
    };
    Event::Captured { host: journey.host.name.clone(), evidence }
}

/// The user asked for it.
pub(super) fn stopped(phase: Phase) -> Why {
    Why { interrupted: true, ..why(phase, "interrupted", Decider::Deployer) }
}

pub(super) fn why(phase: Phase, note: &str, decided_by: Decider) -> Why {
    Why { phase, note: note.to_owned(), causes: Vec::new(), decided_by, interrupted: false }
}

pub(super) async fn not_activated(
    journey: &Journey<'_>,
    known: &Known,
    way_back: WayBack,
    reason: WhyNot,
    open: OpenPhase,
) -> Halt {
    match reason {
        WhyNot::Untouched(text) => {
            open.failed(text.clone());
            let code = "not-whole".to_owned();
            let mut halt =
                ending::halt(Outcome::Refused { code, skipped: false }, Phase::Activate, text);
            halt.next.push(format!("nixdeploy quick-deploy {}", journey.host.name));
            let_go(journey, way_back, halt).await
        }
        WhyNot::Decided(status) if ending::unheard(&status, &way_back) => {
            open.ok("ended; that was heard only after the gap");
            let why = why(Phase::Verify, &status.reason, Decider::Guard);
            arrive::await_end(journey, known, way_back, why).await
        }
        WhyNot::Decided(status) => {
            let text = if status.reason.is_empty() { "decided by itself" } else { &status.reason };
            open.failed(text);
            let lines = way_back.hand.last_lines();
            let evidence = Evidence {
                source: "switch-to-configuration".to_owned(),
                status: text.to_owned(),
                lines,
            };
            journey.run.emitter.emit(Event::Captured { host: journey.host.name.clone(), evidence });
            let mut why = why(Phase::Activate, text, Decider::Guard);
            why.causes.extend(limit(journey, status.act == Some(ActEnd::TimedOut)));
            arrive::await_end(journey, known, way_back, why).await
        }
        WhyNot::Gone => {
            open.failed("the host has rebooted");
            let why = why(Phase::Activate, "the host has rebooted", Decider::Reboot);
            arrive::end(journey, known, &way_back, why, Returned::Gone).await
        }
        WhyNot::Unknown(failure, limit_s) => {
            open.failed("contact lost");
            let why = why(Phase::Activate, "contact lost", Decider::Guard);
            let unknown = Returned::Unknown(failure, limit_s);
            arrive::end(journey, known, &way_back, why, unknown).await
        }
    }
}

/// Soaks, then looks over a fresh connection, and decides.
pub async fn verify(
    journey: &Journey<'_>,
    known: &Known,
    activated: Activated,
    offered: &Offered,
    knock: Option<Knock>,
) -> Result<Verified, Halt> {
    let open = journey.run.emitter.phase(&journey.host.name, Phase::Verify);
    let looked = tokio::select! {
        looked = look(journey, known, &activated, offered, knock) => looked,
        () = journey.run.stop.once() => {
            open.failed("interrupted");
            let why = stopped(Phase::Verify);
            return Err(arrive::back(journey, known, activated.into_way_back(), why).await);
        }
    };
    let (findings, session) = match looked {
        Ok((examined, session)) => {
            let (before, seen) = (units_before(known), &examined.observed);
            let since_s = i64::try_from(known.facts.now_s).unwrap_or(0);
            for step in verify::steps::touched(&offered.units, &before, since_s, seen) {
                journey.run.emitter.step(Some(&journey.host.name), step);
            }
            // advice on a system that is taken back would be about nothing
            if verdict(&examined.findings) == Verdict::Keep {
                recommend(journey, verify::advice(&examined.observed, &examined.findings));
            }
            (examined.findings, Some(session))
        }
        Err(error) => (vec![unseen(journey, error.finding())], None),
    };
    if verdict(&findings) == Verdict::Keep && session.is_some() {
        open.ok(healthy(&findings));
        return Ok(Verified { way_back: activated.into_way_back(), session });
    }
    let bad = condemning(&findings);
    let text = bad.first().map_or("could not be verified".to_owned(), |f| said(f));
    open.failed(text.clone());
    let mut why = why(Phase::Verify, &text, Decider::Deployer);
    why.causes = bad.iter().skip(1).map(|f| said(f)).collect();
    Err(arrive::back(journey, known, activated.into_way_back(), why).await)
}

/// What kept a host from being looked at, told as what was found there is.
fn unseen(journey: &Journey<'_>, finding: Finding) -> Finding {
    let host = Some(journey.host.name.clone());
    let event = Event::Found { host, phase: Phase::Verify, finding: finding.clone() };
    journey.run.emitter.emit(event);
    finding
}

/// Advice for the end of the report.
pub fn recommend(journey: &Journey<'_>, texts: Vec<String>) {
    for text in texts {
        journey.run.emitter.emit(Event::Recommended { host: journey.host.name.clone(), text });
    }
}

/// A reboot that something waits for.
pub fn reboot_advice(journey: &Journey<'_>, parts: &[&str]) -> Option<String> {
    let address = journey.host.address();
    let apart = parts.join(", ");
    let text =
        format!("reboot, for the {apart}: not verified until then: ssh {address} sudo reboot");
    (!parts.is_empty()).then_some(text)
}

pub(super) fn condemning(findings: &[Finding]) -> Vec<&Finding> {
    findings.iter().filter(|f| f.severity == Severity::Block).collect()
}

fn said(finding: &Finding) -> String {
    format!("{}: {}", finding.subject, finding.message)
}

pub(super) fn healthy(findings: &[Finding]) -> String {
    match findings.iter().filter(|f| f.severity == Severity::Warn).count() {
        0 => "healthy".to_owned(),
        1 => "healthy, 1 warning".to_owned(),
        n => format!("healthy, {n} warnings"),
    }
}

/// A host that needs nothing, looked at all the same; whatever is found, it is left alone.
pub async fn examine_unchanged(journey: &Journey<'_>, known: &Known) -> Result<HostReport, Halt> {
    let Some(running) = known.old().cloned() else {
        return Err(ending::halt(Outcome::Internal, Phase::Verify, "nothing runs"));
    };
    let open = journey.run.emitter.phase(&journey.host.name, Phase::Verify);
    let findings = tokio::select! {
        findings = look_at(journey, known, &running) => findings,
        () = journey.run.stop.once() => return Err(interrupted(Phase::Verify)),
    };
    let mut report = match condemning(&findings)[..] {
        [] => {
            open.ok(healthy(&findings));
            let note = "nothing to do, verified";
            ending::report(Outcome::Unchanged { verified: true }, Phase::Verify, note)
        }
        [first, ref more @ ..] => {
            open.failed(said(first));
            let mut report = ending::report(Outcome::Unhealthy, Phase::Verify, said(first));
            report.causes = more.iter().map(|finding| said(finding)).collect();
            report.next = vec![format!("nixdeploy status {}", journey.host.name)];
            report
        }
    };
    report.before = Some(known.before().clone());
    report.after = Some(known.before().clone());
    Ok(report)
}

async fn look_at(journey: &Journey<'_>, known: &Known, running: &StorePath) -> Vec<Finding> {
    let (names, units) = (names(journey), units_before(known));
    let scripts = journey.run.folder();
    let scripts = scripts.and_then(|r| Scripts::pin(&r, journey.host).ok()).unwrap_or_default();
    let request = request(journey, known, [running, running], &scripts, &names);
    let (vitals, baseline) = (known.facts.vitals(), Baseline::default());
    let expect = Expectation {
        host: journey.host,
        new: running,
        boot_id: &known.facts.early.boot_id,
        fast: journey.step.policy.fast,
        units: &units,
        vitals: Some(&vitals),
        baseline: &baseline,
        sample: None,
        profile: None,
        boot_default: None,
    };
    match examine(journey, &request, &expect).await {
        Ok((examined, session)) => {
            session.close().await;
            recommend(journey, verify::advice(&examined.observed, &examined.findings));
            let pending = known.facts.reboot_pending().unwrap_or_default();
            recommend(journey, reboot_advice(journey, &pending).into_iter().collect());
            examined.findings
        }
        Err(error) => vec![unseen(journey, error.finding())],
    }
}

/// Asks the guard to go back, and waits.
pub async fn take_back(journey: &Journey<'_>, way_back: &WayBack) -> Returned {
    record(journey, way_back, journal::Step::Abort);
    rollback::back(&way_back.hand, &journey.step.policy).await
}
