//! Whether a machine is the one that its name means, and no other name of the fleet as well.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::ending::{Halt, halt};
use super::host::Journey;
use super::learn::refuse;
use crate::event::{Outcome, Phase};
use crate::fleet::HostName;
use crate::preflight::facts::Early;
use crate::preflight::pins::{Pin, Pins};
use crate::preflight::{Refused, admit_early};

/// Which machines this run has met, by machine-id and boot: a clone has the first of another, and
/// only the machine itself has both.
#[derive(Debug, Default)]
pub struct Met(Mutex<BTreeMap<(String, String), HostName>>);

impl Met {
    /// The other name under which this run has met it.
    fn other(&self, name: &HostName, early: &Early) -> Option<HostName> {
        if early.machine_id.is_empty() || early.boot_id.is_empty() {
            return None;
        }
        let mut met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let machine = (early.machine_id.clone(), early.boot_id.clone());
        let first = met.entry(machine).or_insert_with(|| name.clone());
        Some(first.clone()).filter(|first| first != name)
    }
}

/// Whether the machine is the one known under this name, and under no other, and can be deployed.
///
/// # Errors
/// When it is not; nothing was changed.
pub fn right_host(journey: &Journey<'_>, early: &Early) -> Result<(), Halt> {
    let (pins, name) = (pins(journey), &journey.host.name);
    let file = pins.file(name);
    let pin = pins.read(name).map_err(|e| {
        let note = format!("cannot read {}: {e}", file.display());
        let mut halt = halt(Outcome::Internal, Phase::Facts, note);
        halt.next.push(format!("rm {}  # it is recorded anew", file.display()));
        halt
    })?;
    let refused = |refused: Refused| refuse(journey, None, &refused);
    admit_early(early, pin.as_ref(), &file).map_err(refused)?;
    let recorded = if pin.is_some() { None } else { on_record(journey, &pins, early) };
    // One that is refused for a record of before is none that this run has met.
    let other = recorded.or_else(|| journey.run.met.other(name, early));
    other.map_or(Ok(()), |other| Err(refused(Refused::Twin { other })))
}

/// Another host of the fleet that was this very machine, in this very boot, when it was met last.
fn on_record(journey: &Journey<'_>, pins: &Pins, early: &Early) -> Option<HostName> {
    if early.machine_id.is_empty() || early.boot_id.is_empty() {
        return None;
    }
    let others = journey.run.fleet.hosts.iter().map(|h| &h.name);
    let mut others = others.filter(|name| **name != journey.host.name);
    let same = |pin: Pin| pin.machine_id == early.machine_id && pin.boot_id == early.boot_id;
    others.find(|name| pins.read(name).ok().flatten().is_some_and(same)).cloned()
}

/// Writes down which machine bears this name.
pub fn remember(journey: &Journey<'_>, early: &Early) {
    let (machine_id, boot_id) = (early.machine_id.clone(), early.boot_id.clone());
    let pin = Pin { machine_id, boot_id };
    if let Err(error) = pins(journey).write(&journey.host.name, &pin) {
        tracing::warn!(%error, "cannot record the machine-id");
    }
}

fn pins(journey: &Journey<'_>) -> Pins {
    Pins::below(&journey.run.world.environment.state)
}
