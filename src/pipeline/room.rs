//! No space: garbage is collected where it is missing, once, and it is said what that came to.

use super::host::Journey;
use crate::build::collect::{Freed, collect};
use crate::event::{Event, Finding, Phase, Severity};
use crate::fleet::HostName;
use crate::preflight::admission::Room;
use crate::preflight::facts::Facts;
use crate::world::ssh::Target;

/// More than is missing is freed, or the next step would lack it.
const SPARE: u64 = 64 << 20;
/// What a build needs is not known beforehand.
const FOR_A_BUILD: u64 = 5 << 30;

/// Where a store is full.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// On this machine.
    Here,
    /// On a host, with its tools there.
    There(&'a HostName, &'a Target, &'a str),
}

/// Makes room on the host that is deployed, if its store is what is too small; its facts then.
pub async fn on_target(
    journey: &Journey<'_>,
    facts: &Facts,
    there: (&Target, &str),
    room: &Room,
) -> Option<Facts> {
    let store = facts.space("/nix/store")?.mount.clone();
    if room.place != store {
        return None;
    }
    let bytes = room.need.saturating_sub(room.free) + SPARE;
    let place = Place::There(&journey.host.name, there.0, there.1);
    let freed = free(journey, Phase::Admit, place, bytes).await?;
    let mut facts = facts.clone();
    for space in facts.space.iter_mut().filter(|s| s.disk.mount == store) {
        space.disk.free_kib = freed.free_bytes / 1024;
    }
    Some(facts)
}

/// Makes room where a build or a copy found none; whether anything came of it.
pub async fn anywhere(journey: &Journey<'_>, phase: Phase, place: Place<'_>) -> bool {
    free(journey, phase, place, FOR_A_BUILD).await.is_some()
}

async fn free(journey: &Journey<'_>, phase: Phase, place: Place<'_>, bytes: u64) -> Option<Freed> {
    let world = &journey.run.world;
    let (name, freed) = match place {
        Place::Here => ("this machine".to_owned(), collect(world, None, bytes).await),
        Place::There(name, target, path) => {
            (name.to_string(), collect(world, Some((target, path)), bytes).await)
        }
    };
    let message = match &freed {
        Some(freed) => format!(
            "was too full, so garbage was collected: {}; no generation was touched",
            freed.said
        ),
        None => "is too full, and garbage could not be collected".to_owned(),
    };
    let finding = Finding {
        code: "garbage-collected".to_owned(),
        severity: Severity::Warn,
        subject: name,
        message,
        suggestion: None,
    };
    let host = Some(journey.host.name.clone());
    journey.run.emitter.emit(Event::Found { host, phase, finding });
    freed
}
