//! Another engine in place of our own activation, under the guard all the same.
//!
//! Everything up to `go` is ours: the closure is built, admitted, copied and rehearsed, so that
//! nothing is left for nixos-rebuild, or nh, but to switch. It sets the profile and the boot
//! default before anything is verified: a power cut in that time boots what nobody has looked at,
//! which is why this is not the way we go by ourselves. Its exit code decides nothing. It fails
//! over a unit that had failed before, and succeeds over one that dies a second later; so the host
//! is looked at, and the guard takes back what must not stay, profile and boot default first.

use super::arrive;
use super::ending::Halt;
use super::engines;
use super::host::Journey;
use super::learn::Known;
use super::offer::record;
use super::trial::{not_activated, stopped, why};
use crate::activate::hold::WayBack;
use crate::activate::journal::Step;
use crate::activate::{Activated, Going};
use crate::build::relay::{Ran, Relay};
use crate::build::transfer::ssh_options;
use crate::event::stream::OpenPhase;
use crate::event::{Decider, Event, Evidence, Finding, Phase, Severity};
use crate::fleet::{BuildOn, StorePath};
use crate::world::ssh::Link;
use crate::world::{Ended, Invocation};

/// Its help may be a manual page.
const HELP: std::time::Duration = std::time::Duration::from_secs(20);
/// It is ended this many seconds before the guard stops waiting for it.
const HEAD_START_S: u32 = 2;
/// Lines of it that are kept.
const TAIL: usize = 50;

/// An engine that can be used, and how it is talked to.
pub struct Engine {
    kind: engines::Engine,
    sshopts: String,
}

/// The engine, if it is wanted and can be used; that it cannot is said, and our own activation,
/// which promises more, takes its place.
pub async fn engine(journey: &Journey<'_>, known: &Known) -> Option<Engine> {
    if !journey.step.policy.external {
        return None;
    }
    let why = if known.target.password.is_some() {
        "it cannot give sudo a password there".to_owned()
    } else {
        match find(journey, known).await {
            Ok(engine) => return Some(engine),
            Err(why) => why,
        }
    };
    let (program, _) = engines::Engine::program(journey.step.policy.nh);
    warn(journey, program, "engine", format!("our own activation instead of it: {why}"));
    None
}

/// What it knows is read from its help.
async fn find(journey: &Journey<'_>, known: &Known) -> Result<Engine, String> {
    let (world, nh) = (&journey.run.world, journey.step.policy.nh);
    let (program, help) = engines::Engine::program(nh);
    let help = Invocation::new(program, help.iter().copied()).timeout(HELP);
    let help = world.run(help).await.map_err(|error| error.to_string())?;
    let sshopts = ssh_options(world, &known.target, Link::Shared).map_err(|e| e.to_string())?;
    let lines: Vec<String> = help.out.into_iter().chain(help.err).collect();
    Ok(Engine { kind: engines::Engine::of(nh, &lines), sshopts })
}

fn warn(journey: &Journey<'_>, program: &str, code: &str, message: String) {
    let finding = Finding {
        code: code.to_owned(),
        severity: Severity::Warn,
        subject: program.to_owned(),
        message,
        suggestion: None,
    };
    let host = Some(journey.host.name.clone());
    journey.run.emitter.emit(Event::Found { host, phase: Phase::Activate, finding });
}

fn invocation(journey: &Journey<'_>, known: &Known, engine: &Engine) -> Option<Invocation> {
    let target = &known.target;
    let wanted = engines::Wanted {
        flake: journey.run.source.as_ref()?.flake.to_string(),
        attr: journey.host.attr.to_string(),
        target: (!target.here).then(|| target.destination()),
        builds_there: journey.step.build_on == BuildOn::Target,
        elevates: target.elevates(),
        accept_flake_config: journey.host.accept_flake_config,
    };
    let limit_s = journey.step.policy.activate_timeout_s.saturating_sub(HEAD_START_S).max(1);
    let limit = std::time::Duration::from_secs(u64::from(limit_s));
    let words = engine.kind.words(&wanted);
    let invocation = Invocation::new(engine.kind.name(), words).timeout(limit);
    Some(invocation.env("NIX_SSHOPTS", engine.sshopts.as_str()))
}

/// Arms the guard, lets the engine switch, and tells the guard that it is done.
///
/// # Errors
/// With the host's last word, when it was not switched, or was taken back.
pub async fn activate(
    journey: &Journey<'_>,
    known: &Known,
    way_back: WayBack,
    engine: &Engine,
) -> Result<Activated, Halt> {
    record(journey, &way_back, Step::Go);
    let (policy, wanted) = (&journey.step.policy, way_back.new.clone());
    let program = engine.kind.name();
    let open = journey.run.emitter.phase(&journey.host.name, Phase::Activate);
    let mut going = Going::begin(way_back, policy);
    if let Err(why) = going.arm(policy).await {
        let way_back = going.into_way_back();
        return Err(not_activated(journey, known, way_back, why, open).await);
    }
    let ran = tokio::select! {
        ran = switch(journey, known, engine) => ran,
        () = journey.run.stop.once() => {
            open.failed("interrupted");
            let why = stopped(Phase::Activate);
            return Err(arrive::back(journey, known, going.into_way_back(), why).await);
        }
    };
    let code = match ran.ended {
        Ended::Exited(code) => code,
        other => {
            let text = format!("{program} {other}");
            let left = (going.into_way_back(), &ran);
            return Err(failed(journey, known, left, (open, program, text)).await);
        }
    };
    if code != 0 {
        captured(journey, program, &ran, format!("exit {code}"));
        warn(
            journey,
            program,
            "engine-exit",
            format!("exited {code}; the host is looked at all the same"),
        );
    }
    let status = match going.engine_ended(code, policy).await {
        Ok(status) => status,
        Err(why) => {
            let way_back = going.into_way_back();
            return Err(not_activated(journey, known, way_back, why, open).await);
        }
    };
    if let Some(text) = another(program, &wanted, going.way_back()) {
        let left = (going.into_way_back(), &ran);
        return Err(failed(journey, known, left, (open, program, text)).await);
    }
    let failed = if code == 0 { "" } else { " failed: looking closer" };
    open.ok(format!("{program}{failed}"));
    Ok(going.activated(*status))
}

/// What was validated is what is deployed: a tree that changed meanwhile makes another system.
fn another(program: &str, wanted: &StorePath, way_back: &WayBack) -> Option<String> {
    let new = &way_back.new;
    (new != wanted).then(|| format!("{program} switched to another system than was built: {new}"))
}

async fn switch(journey: &Journey<'_>, known: &Known, engine: &Engine) -> Ran {
    let run = journey.run;
    let (world, emitter, host) = (&run.world, &run.emitter, &journey.host.name);
    let relay = Relay { world, emitter, host, phase: Phase::Activate };
    let none = || Ran { ended: Ended::Killed, out: Vec::new(), log: Default::default() };
    match invocation(journey, known, engine) {
        Some(invocation) => relay.run(invocation).await.unwrap_or_else(|_| none()),
        None => none(),
    }
}

async fn failed(
    journey: &Journey<'_>,
    known: &Known,
    (way_back, ran): (WayBack, &Ran),
    (open, program, text): (OpenPhase, &str, String),
) -> Halt {
    open.failed(text.clone());
    captured(journey, program, ran, ran.ended.to_string());
    let why = why(Phase::Activate, &text, Decider::Deployer);
    arrive::back(journey, known, way_back, why).await
}

fn captured(journey: &Journey<'_>, program: &str, ran: &Ran, status: String) {
    let from = ran.log.plain.len().saturating_sub(TAIL);
    let lines = ran.log.plain.iter().skip(from);
    let lines = lines.map(|l| crate::event::harmless::line(l)).collect();
    let evidence = Evidence { source: program.to_owned(), status, lines };
    journey.run.emitter.emit(Event::Captured { host: journey.host.name.clone(), evidence });
}
