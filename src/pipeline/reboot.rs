//! A host that went down in a transaction: found again, read again, held against what it was.
//!
//! The guard's files do not survive a boot. The pointers tell what was decided, as the boot
//! default is written last; that the old system is back as it was, its services have to show.

use std::time::Duration;

use super::arrive::look;
use super::ending::Halt;
use super::host::Journey;
use super::learn::Known;
use super::leftover::mended;
use crate::activate::hold::WayBack;
use crate::event::{Decider, Outcome, Phase, Pointers};
use crate::fleet::HostName;
use crate::preflight::facts::{Early, Facts};
use crate::preflight::read as preflight;
use crate::world::ssh::Link;

/// How long a host may take to come back from a reboot.
const REBOOT: Duration = Duration::from_secs(300);
/// How long its services may take once it answers.
const SERVICES: Duration = Duration::from_secs(120);
/// Between attempts to find it.
const KNOCK: Duration = Duration::from_secs(2);

/// Looks for the host and says what is true of it; `rebooting`: its guard was about to reboot it,
/// so the boot that we know is none to judge by.
pub async fn found_again(
    journey: &Journey<'_>,
    known: &Known,
    way_back: &WayBack,
    mut said: Halt,
    rebooting: bool,
) -> Halt {
    let boots: &[&str] = if rebooting { &[&known.facts.early.boot_id] } else { &[] };
    let Some(early) = await_other_boot(journey, known, boots).await else {
        if rebooting {
            said.outcome = Outcome::Stranded;
        }
        said.causes.push("it did not come back within five minutes".to_owned());
        return said;
    };
    said.decided_by = Decider::Reboot;
    said.after = Some(early.pointers.clone());
    if early.boot_id == known.facts.early.boot_id {
        return taken_over(journey, known, way_back, &early.pointers, said);
    }
    if early.pointers.all_are(&way_back.new) {
        new_by_now(&journey.host.name, &mut said);
    } else if same_pointers(&early.pointers, known.before()) {
        restored(journey, known, &early, &mut said).await;
    } else {
        match mended(journey).await {
            Ok(Some(right)) => said = right,
            Ok(None) => {
                said.outcome = Outcome::Stranded;
                said.causes.push(differing(&early.pointers, known.before()));
                let drift = format!("nixdeploy deploy {} --accept-drift", journey.host.name);
                said.next.push(drift);
            }
            Err(wrong) => {
                said.outcome = Outcome::Stranded;
                said.causes.push(wrong.note);
            }
        }
        said.before = Some(known.before().clone());
    }
    said
}

/// Every pointer is the new system: a commit that was asked for came to its end, or another engine
/// had set profile and boot default before anybody looked.
fn new_by_now(host: &HostName, said: &mut Halt) {
    if said.phase == Some(Phase::Commit) {
        said.outcome = Outcome::Committed { reboot_required: false };
        said.note = "committed, then rebooted".to_owned();
        said.next = Vec::new();
        return;
    }
    said.outcome = Outcome::Stranded;
    said.causes.insert(0, std::mem::replace(&mut said.note, UNVERIFIED.to_owned()));
    said.next = looked_at(host);
}

/// What is true of a new system that runs and boots, and was never asked to stay.
pub const UNVERIFIED: &str = "rebooted into the new system, which was not verified";

/// A new system that nobody has verified is looked at, or left.
pub fn looked_at(host: &HostName) -> Vec<String> {
    vec![format!("nixdeploy deploy {host}  # verifies it"), format!("nixdeploy rollback {host}")]
}

/// Looks for the host until it answers out of another boot than these; `None`: in vain.
pub async fn await_other_boot(
    journey: &Journey<'_>,
    known: &Known,
    boots: &[&str],
) -> Option<Early> {
    let clock = &journey.run.world.clock;
    let began = clock.elapsed();
    loop {
        let early = look(journey, known).await;
        if let Some(early) = early.filter(|e| !boots.contains(&e.boot_id.as_str())) {
            return Some(early);
        }
        if clock.elapsed() - began > REBOOT {
            return None;
        }
        clock.sleep(KNOCK).await;
    }
}

/// The pointers are what they were; the host is as before only when its services are.
async fn restored(journey: &Journey<'_>, known: &Known, early: &Early, said: &mut Halt) {
    said.next = vec![format!("nixdeploy quick-deploy {}", journey.host.name)];
    let boots = [&known.facts.early.boot_id, &early.boot_id].map(|id| id.get(..8).unwrap_or(id));
    said.outcome = Outcome::RolledBack;
    said.note = "rebooted into the old system (boot_id changed)".to_owned();
    if services_back(journey, known, said).await {
        said.causes.push(format!(
            "restored: boot {} became {}; running system, profile and boot default are what they \
             were, and so are the services that were active",
            boots[0], boots[1]
        ));
    }
}

/// Whether the services are back that were active before a reboot into the old system; where they
/// are not, or nobody tells, that is the host's last word.
pub async fn services_back(journey: &Journey<'_>, known: &Known, said: &mut Halt) -> bool {
    let note = match booted(journey, known).await.map(|later| known.facts.not_back(&later)) {
        Some(missing) if missing.is_empty() => return true,
        Some(missing) => {
            said.causes.push(format!("not back: {}", missing.join(", ")));
            "rebooted into the old system, but not all of it is back"
        }
        None => "rebooted into the old system; its services could not be read",
    };
    said.outcome = Outcome::Stranded;
    said.note = note.to_owned();
    said.next.push(format!("nixdeploy status {}", journey.host.name));
    false
}

/// The facts once everything is back that was active, or the host has done all it will.
async fn booted(journey: &Journey<'_>, known: &Known) -> Option<Facts> {
    let clock = &journey.run.world.clock;
    let began = clock.elapsed();
    let mut last = None;
    loop {
        let (early_in, _early_out) = tokio::sync::oneshot::channel();
        let targets = [known.target.clone()];
        let read = preflight::read(&journey.run.world, &targets, Link::Shared, early_in).await;
        if let Ok(answered) = read {
            let facts = answered.facts;
            let settled = matches!(facts.state.as_str(), "running" | "degraded");
            if facts.complete && known.facts.not_back(&facts).is_empty() {
                return Some(facts);
            }
            if settled && last.is_some() {
                return Some(facts);
            }
            last = Some(facts).filter(|f| f.complete).or(last);
        }
        if clock.elapsed() - began > SERVICES {
            return last;
        }
        clock.sleep(KNOCK).await;
    }
}

/// Which pointers a power loss left changed.
pub fn differing(now: &Pointers, before: &Pointers) -> String {
    let of = |name, now, before| (now != before).then_some(name);
    let changed = [
        of("the running system", &now.running, &before.running),
        of("the profile", &now.profile, &before.profile),
        of("the boot default", &now.boot_default, &before.boot_default),
    ];
    let changed: Vec<&str> = changed.into_iter().flatten().collect();
    format!("not as before: {}", changed.join(", "))
}

/// The transaction was swept away by a later deploy, of whoever: the pointers say what is true.
fn taken_over(
    journey: &Journey<'_>,
    known: &Known,
    way_back: &WayBack,
    now: &Pointers,
    mut said: Halt,
) -> Halt {
    said.decided_by = Decider::Guard;
    if same_pointers(now, known.before()) {
        said.outcome = Outcome::RolledBack;
        said.note = "another deploy has taken over; the old system runs".to_owned();
    } else {
        said.outcome = Outcome::Foreign;
        let ours = if now.all_are(&way_back.new) { "the same" } else { "another" };
        said.note = format!("another deploy has taken over; {ours} system runs now");
    }
    said.next = vec![format!("nixdeploy status {}", journey.host.name)];
    said
}

/// Whether running system, profile and boot default are what they were.
pub fn same_pointers(now: &Pointers, before: &Pointers) -> bool {
    now.running == before.running
        && now.profile == before.profile
        && now.boot_default == before.boot_default
}
