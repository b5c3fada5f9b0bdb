//! The look at a host that was activated: the soak, the checks over a fresh connection, and what an
//! older connection can still say when no new one comes about.

use std::time::Duration;

use super::host::Journey;
use super::learn::Known;
use super::offer::{Offered, names};
use crate::activate::Activated;
use crate::activate::guard::ActEnd;
use crate::activate::hold::WayBack;
use crate::event::facts::Step;
use crate::event::{Event, Phase};
use crate::fleet::StorePath;
use crate::plan::verdict::{Verdict, verdict};
use crate::verify::{
    self, Examined, Expectation, Knock, Restarts, Scripts, Session, UnitBefore, VerifyError,
    loopback,
};

/// Waits before a fresh connection is tried once more.
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
/// The way back waits no longer for evidence.
const WITNESS: Duration = Duration::from_secs(4);

pub(super) type Looked = Result<(Examined, Session), VerifyError>;

/// What every look is opened with; `systems`: whose tools are used, and what should run.
pub(super) fn request<'a>(
    journey: &Journey<'a>,
    known: &'a Known,
    systems: [&'a StorePath; 2],
    scripts: &'a Scripts,
    names: &'a [String],
) -> verify::Request<'a> {
    verify::Request {
        host: journey.host,
        target: &known.target,
        transaction: None,
        old: systems[0],
        new: systems[1],
        cursor: "",
        scripts,
        names,
        planned: &[],
        fast: journey.step.policy.fast,
    }
}

/// Names to ask the resolver for: those that resolved before, since these are what is compared.
pub(super) fn names_before(journey: &Journey<'_>, offered: &Offered) -> Vec<String> {
    match offered.baseline.network.names.is_empty() {
        true => names(journey),
        false => offered.baseline.network.names.iter().cloned().collect(),
    }
}

/// What the checks ask about.
struct Asked {
    names: Vec<String>,
    planned: Vec<String>,
}

impl Asked {
    fn new(journey: &Journey<'_>, offered: &Offered) -> Self {
        let planned = verify::steps::planned(&offered.units);
        Self { names: names_before(journey, offered), planned }
    }

    fn request<'a>(
        &'a self,
        journey: &Journey<'a>,
        known: &'a Known,
        way_back: &'a WayBack,
        offered: &'a Offered,
    ) -> verify::Request<'a> {
        let systems = [&way_back.old, &way_back.new];
        verify::Request {
            transaction: Some(way_back.hand.tx.as_str()),
            cursor: known.facts.cursor.as_deref().unwrap_or(""),
            fast: offered.fast,
            planned: &self.planned,
            ..request(journey, known, systems, &offered.scripts, &self.names)
        }
    }
}

/// Begins the fresh connection of a look that no soak is before, the moment the activation is over
/// and while the guard still tells of it.
pub(super) async fn knock(
    journey: &Journey<'_>,
    known: &Known,
    way_back: &WayBack,
    offered: &Offered,
) -> Option<Knock> {
    let (asked, run) = (Asked::new(journey, offered), journey.run);
    verify::knock(&run.world, &run.emitter, &asked.request(journey, known, way_back, offered)).await
}

/// The soak and the checks.
pub(super) async fn look(
    journey: &Journey<'_>,
    known: &Known,
    activated: &Activated,
    offered: &Offered,
    knock: Option<Knock>,
) -> Looked {
    let way_back = activated.way_back();
    let sample = sample(activated);
    let asked = Asked::new(journey, offered);
    let request = asked.request(journey, known, way_back, offered);
    let units = units_before(known);
    let vitals = known.facts.vitals();
    let expect = Expectation {
        host: journey.host,
        new: &way_back.new,
        boot_id: &known.facts.early.boot_id,
        fast: offered.fast,
        units: &units,
        vitals: Some(&vitals),
        baseline: &offered.baseline,
        sample: Some(&sample),
        // Another engine has moved both; whether to what it should, the commit asks.
        profile: known.before().profile.as_ref().filter(|_| !journey.step.policy.external),
        boot_default: known
            .before()
            .boot_default
            .as_ref()
            .filter(|_| !journey.step.policy.external),
    };
    // A unit failed already: what condemns the host now needs no soak to be believed.
    if activated.end() == ActEnd::Exited(4) {
        let looked = examine(journey, &request, &expect).await;
        let condemned = |l: &(Examined, Session)| verdict(&l.0.findings) == Verdict::RollBack;
        if looked.as_ref().is_ok_and(condemned) {
            return looked;
        }
    }
    soak(journey).await;
    let began = journey.run.world.clock.elapsed();
    let looked = match examine_again(journey, &request, &expect, knock).await {
        Ok((examined, session)) => {
            way_back.hand.waited(session.greeted_ms());
            Ok((at_the_door(journey, offered, examined).await, session))
        }
        lost => lost.inspect_err(|_| way_back.hand.missed(began)),
    };
    // A unit failed and nobody new can log in: who is already in may still say which, and why.
    if looked.is_err() && activated.end() == ActEnd::Exited(4) {
        tokio::select! {
            () = witness(journey, &request, &expect) => {}
            () = journey.run.world.clock.sleep(WITNESS) => {}
        }
    }
    looked
}

/// Where this machine is deployed, a session proves no way in for others.
async fn at_the_door(journey: &Journey<'_>, offered: &Offered, mut examined: Examined) -> Examined {
    if offered.door.is_empty() {
        return examined;
    }
    let (emitter, host) = (&journey.run.emitter, journey.host.name.clone());
    let finding = loopback::judge(&offered.door, &loopback::keys(&journey.run.world).await);
    let name = "ssh over a new connection to this machine";
    match &finding {
        None => emitter.step(Some(&host), Step::ok(Phase::Verify, name, "")),
        Some(finding) => {
            let step = Step::failed(Phase::Verify, name, finding.message.as_str());
            emitter.step(Some(&host), step);
            let (host, finding) = (Some(host), finding.clone());
            emitter.emit(Event::Found { host, phase: Phase::Verify, finding });
        }
    }
    examined.findings.extend(finding);
    examined
}

/// Evidence over the connection that is there; it decides nothing.
async fn witness(journey: &Journey<'_>, request: &verify::Request<'_>, expect: &Expectation<'_>) {
    let run = journey.run;
    let session = verify::open_shared(&run.world, &run.emitter, request).await;
    if let Ok(mut session) = session
        && let Err(error) = session.examine(&Expectation { fast: true, ..*expect }).await
    {
        tracing::debug!(%error, "no evidence over the old connection");
    }
}

/// The checks; a connection that was refused or broke once may be on its way back: a daemon that
/// carries it was restarted. Tried again while half of the time is left for the checks themselves.
async fn examine_again(
    journey: &Journey<'_>,
    request: &verify::Request<'_>,
    expect: &Expectation<'_>,
    knock: Option<Knock>,
) -> Looked {
    let mut knock = knock;
    let clock = &journey.run.world.clock;
    let half = Duration::from_secs(u64::from(journey.step.policy.verify_timeout_s)) / 2;
    let began = clock.elapsed();
    for wait in AGAIN {
        let looked = match knock.take() {
            Some(knock) => answered(journey, request, expect, knock).await,
            None => examine(journey, request, expect).await,
        };
        let passes = looked.as_ref().is_err_and(VerifyError::passes);
        if !passes || clock.elapsed() - began + wait > half {
            return looked;
        }
        clock.sleep(wait).await;
    }
    examine(journey, request, expect).await
}

/// The checks over a connection that is being made already.
async fn answered(
    journey: &Journey<'_>,
    request: &verify::Request<'_>,
    expect: &Expectation<'_>,
    knock: Knock,
) -> Looked {
    let Some(session) = knock.answered(&journey.run.world).await else {
        return examine(journey, request, expect).await;
    };
    let mut session = session?;
    let examined = session.examine(expect).await?;
    Ok((examined, session))
}

pub(super) async fn examine(
    journey: &Journey<'_>,
    request: &verify::Request<'_>,
    expect: &Expectation<'_>,
) -> Looked {
    let run = journey.run;
    let mut session = verify::open(&run.world, &run.emitter, request).await?;
    let examined = session.examine(expect).await?;
    Ok((examined, session))
}

/// Restarts at the beginning of the soak, as the guard counted them.
fn sample(activated: &Activated) -> Restarts {
    let lines = activated.status().restarts.iter().map(|r| format!("restarts={r}"));
    let lines: Vec<String> = lines.collect();
    verify::parse_restarts(lines.iter().map(String::as_str))
}

pub(super) async fn soak(journey: &Journey<'_>) {
    let soak_s = u64::from(journey.step.policy.soak_s);
    for done in 0..soak_s {
        journey.run.emitter.emit(Event::Progress {
            host: journey.host.name.clone(),
            phase: Phase::Verify,
            what: "watching for late failures".to_owned(),
            done,
            total: soak_s,
            unit: "seconds".to_owned(),
        });
        journey.run.world.clock.sleep(Duration::from_secs(1)).await;
    }
}

pub(super) fn units_before(known: &Known) -> Vec<UnitBefore> {
    let units = known.facts.units.iter();
    units
        .map(|(name, unit)| UnitBefore {
            name: name.clone(),
            active: unit.active.clone(),
            sub: unit.sub.clone(),
            n_restarts: unit.restarts,
            failed: unit.active == "failed" || unit.sub == "auto-restart",
        })
        .collect()
}
