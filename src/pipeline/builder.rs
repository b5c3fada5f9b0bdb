//! A third host that builds: one of the fleet, or one of `[builders]`.

use super::ending::{Halt, halt};
use super::host::Journey;
use super::learn::not_built;
use crate::build::{BuildError, Evaluated, derivation};
use crate::event::{Outcome, Phase};
use crate::fleet::{Address, Host, HostName};
use crate::world::ssh::Target;

/// How it is reached.
///
/// # Errors
/// When nobody knows it, or it builds for other systems than this one.
pub(super) fn found(
    journey: &Journey<'_>,
    name: &HostName,
    evaluated: &Evaluated,
) -> Result<Target, Halt> {
    suited(journey, name, evaluated)?;
    target(journey, name)
}

/// What `[builders]` says of a third host must fit what is to be built there.
fn suited(journey: &Journey<'_>, name: &HostName, evaluated: &Evaluated) -> Result<(), Halt> {
    let builder = journey.run.fleet.builders.get(name.as_str());
    let Some((builder, system)) = builder.zip(derivation::system_of(&evaluated.drv)) else {
        return Ok(());
    };
    if builder.systems.is_empty() || builder.systems.contains(&system) {
        return Ok(());
    }
    let error = BuildError::System { system, known: builder.systems.clone() };
    Err(not_built(journey, Phase::Build, &error))
}

fn target(journey: &Journey<'_>, name: &HostName) -> Result<Target, Halt> {
    let run = journey.run;
    let environment = &run.world.environment;
    if let Some(host) = run.fleet.hosts.iter().find(|h| h.name == *name) {
        return Ok(Target::new(host, environment));
    }
    let address = Address::new(name.as_str()).ok();
    let builder = run.fleet.builders.get(name.as_str());
    let address = builder.and_then(|b| b.address.clone()).or(address);
    let Some(address) = address else {
        let note = format!("{name} is neither a host nor a builder of hosts.toml");
        return Err(halt(Outcome::NotBuilt, Phase::Build, note));
    };
    let user = builder.and_then(|b| b.user.clone());
    let builder = Host { user, jumps: Vec::new(), ..journey.host.clone() };
    Ok(Target::at(&builder, address, environment))
}
