//! The health scripts that hosts.toml names: that they are there is part of the tree's clearance;
//! what is sent is read when it is sent, from the tree that was cleared.

use super::ending::{Halt, halt};
use super::host::Journey;
use super::learn::still_cleared;
use crate::event::{Event, Finding, Outcome, Phase, Severity};
use crate::verify::{Scripts, Unread};

/// Looks whether every health script of the host can be read, before anything is begun.
///
/// # Errors
/// When one cannot be.
pub fn present(journey: &Journey<'_>) -> Result<(), Halt> {
    read(journey).map(drop)
}

/// The scripts as they lie in the folder, which must still be the tree that was cleared: a build
/// can take an hour. Who goes back does not wait for the scripts of a tree that he leaves behind.
///
/// # Errors
/// When one cannot be read, or the folder holds another tree by now.
pub async fn pinned(journey: &Journey<'_>) -> Result<Scripts, Halt> {
    let scripts = match read(journey) {
        Err(_) if journey.run.goes_back() => return Ok(Scripts::default()),
        read => read?,
    };
    if !scripts.is_empty() {
        still_cleared(journey).await?;
    }
    Ok(scripts)
}

fn read(journey: &Journey<'_>) -> Result<Scripts, Halt> {
    let Some(root) = journey.run.folder() else { return Ok(Scripts::default()) };
    Scripts::pin(&root, journey.host).map_err(|unread| refused(journey, unread))
}

fn refused(journey: &Journey<'_>, unread: Unread) -> Halt {
    let place = format!("{}:{}", journey.run.fleet.source.display(), unread.line);
    let note = format!("{place}: {}", unread.why);
    let mut refused = halt(Outcome::Blocked, Phase::Validate, note);
    let name = &journey.host.name;
    refused.next.push(format!("nixdeploy deploy {name} --dry-run  # when that is mended"));
    let mend = format!("write it, or take it out of {place}");
    let finding = Finding {
        code: "health-script".to_owned(),
        severity: Severity::Block,
        subject: place,
        message: unread.why,
        suggestion: Some(mend),
    };
    let host = Some(journey.host.name.clone());
    journey.run.emitter.emit(Event::Found { host, phase: Phase::Validate, finding });
    refused
}
