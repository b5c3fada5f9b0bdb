//! What the flags say of a run of several hosts, over what hosts.toml says of it.

use crate::cli::FleetFlags;
use crate::error::Error;
use crate::event::harmless;
use crate::fleet::hosts_toml::nearest;
use crate::fleet::{Fleet, Host, HostName};
use crate::plan::Plan;
use crate::plan::order::late;

/// Lets the flags win.
///
/// # Errors
/// When the canary is none of the hosts that are deployed.
pub(super) fn apply(
    flags: &FleetFlags,
    fleet: &mut Fleet,
    hosts: &[HostName],
) -> Result<(), Error> {
    let number = |typed: Option<u16>| typed.map(usize::from);
    let limits = &mut fleet.limits;
    limits.max_parallel = number(flags.max_parallel).unwrap_or(limits.max_parallel);
    limits.max_unavailable = number(flags.max_unavailable).or(limits.max_unavailable);
    let Some(word) = &flags.canary else { return Ok(()) };
    let Some(canary) = hosts.iter().find(|h| h.as_str() == word) else {
        let shown = harmless::line(word);
        let error = Error::usage(format!("the canary '{shown}' is none of the hosts to deploy"));
        let near = nearest(word, hosts.iter().map(HostName::as_str));
        return Err(error.hint(match near {
            Some(near) => format!("--canary {near}"),
            None => "nixdeploy help deploy".to_owned(),
        }));
    };
    limits.canary = Some(canary.clone());
    Ok(())
}

/// Whether the canary can go first.
///
/// # Errors
/// When it is one of those that go last.
pub(super) fn first(plan: &Plan, hosts: &[Host], here: &[HostName]) -> Result<(), Error> {
    let canary = plan.pace.canary.as_ref();
    let Some(host) = canary.and_then(|c| hosts.iter().find(|h| h.name == *c)) else {
        return Ok(());
    };
    let Some(why) = late(host, hosts, here) else { return Ok(()) };
    let other = hosts.iter().find(|h| late(h, hosts, here).is_none());
    let error = Error::usage(format!("{} cannot be the canary: {why}, so it goes last", host.name));
    Err(match other {
        Some(other) => error.hint(format!("--canary {}", other.name)),
        None => error.hint("nixdeploy help hosts"),
    })
}
