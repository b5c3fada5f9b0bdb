//! A model of the guard: what its state machine promises under every interleaving, with a crash
//! of any process at any step; and what it says of traces that the guard itself left on machines.

#[path = "guard_model/ending.rs"]
mod ending;
#[path = "guard_model/events.rs"]
mod events;
#[path = "guard_model/host.rs"]
pub(crate) mod host;
#[path = "guard_model/machine.rs"]
mod machine;
#[path = "guard_model/mutant.rs"]
mod mutant;
#[path = "guard_model/properties.rs"]
mod properties;
#[path = "guard_model/replay.rs"]
pub(crate) mod replay;
#[path = "guard_model/secrets.rs"]
mod secrets;
#[path = "guard_model/traces.rs"]
pub(crate) mod traces;
#[path = "guard_model/units.rs"]
mod units;
