//! Store paths to a host whose sudo wants a password: exported here, imported there by root.
//!
//! Nix's own protocol begins to speak at once and leaves no room for a password (`remote-program`
//! with sudo fails: "a password is required"), and a login user who is no trusted user may not
//! bring unsigned paths. What `nix-store --export` prints is a plain stream that root imports as
//! it is (nix-store(1)). Only what the host lacks is sent, whole paths at a time, so that an
//! import that broke off goes on where it was.

use std::collections::HashSet;
use std::time::Duration;

use super::missing::missing;
use super::output::Log;
use super::relay::Relay;
use super::transfer::{Moved, Transfer, TransferError, sort};
use crate::fleet::StorePath;
use crate::world::ssh::{self, Failure, Link};
use crate::world::{Ended, Invocation};

/// Longest import of one batch; a cut line ends it long before, by ssh's keep-alive.
const LIMIT: Duration = Duration::from_secs(8 * 3600);
/// Paths of a batch: they are arguments of one program.
const BATCH: usize = 2000;
/// What runs on the host; nothing is pasted into it.
const IMPORT: &str = "PATH=/run/current-system/sw/bin; export PATH; exec nix-store --import";

/// Moves what the host lacks of a closure, or of a derivation with what it is built from.
///
/// # Errors
/// When it did not arrive whole.
pub(super) async fn import(
    relay: Relay<'_>,
    what: &Transfer<'_>,
    link: Link,
) -> Result<Moved, TransferError> {
    let all = requisites(relay, what.path).await?;
    let lacks = missing(relay.world, what.target, link, &all).await;
    let lacks = lacks.map_err(|said| TransferError::Link(unheard(said)))?;
    if !lacks.is_empty() {
        relay.line(format!("importing {} store paths as root", lacks.len()));
    }
    // As they stand in the closure: what a path needs comes before it, also from batch to batch.
    let lacks: HashSet<&str> = lacks.iter().map(StorePath::as_str).collect();
    let ordered: Vec<&StorePath> = all.iter().filter(|p| lacks.contains(p.as_str())).collect();
    for batch in ordered.chunks(BATCH) {
        let ran = relay.run(invocation(what, link, batch)).await.map_err(TransferError::NoNix)?;
        if !ran.ended.ok() {
            return Err(explain(&ran.log, ran.ended));
        }
    }
    Ok(Moved { paths: ordered.into_iter().map(ToString::to_string).collect() })
}

/// A path and everything it needs, what is needed first.
async fn requisites(relay: Relay<'_>, path: &StorePath) -> Result<Vec<StorePath>, TransferError> {
    let query = Invocation::new("nix-store", ["--query", "--requisites", path.as_str()]);
    let ran = relay.run(query.timeout(LIMIT)).await.map_err(TransferError::NoNix)?;
    match ran.ended.ok() {
        true => Ok(ran.out.iter().filter_map(|l| StorePath::new(l.trim()).ok()).collect()),
        false => Err(sort(&ran.log, ran.ended)),
    }
}

fn invocation(what: &Transfer<'_>, link: Link, batch: &[&StorePath]) -> Invocation {
    let export = ["--export"].into_iter().chain(batch.iter().map(|p| p.as_str()));
    let import = what.target.remote(link, &["/bin/sh", "-c", IMPORT]);
    import.fed_by(Invocation::new("nix-store", export)).timeout(LIMIT)
}

/// Nix on the host says more than ssh about why it stopped reading.
fn explain(log: &Log, ended: Ended) -> TransferError {
    let plain: Vec<String> = log.plain.iter().cloned().collect();
    match ssh::diagnose(&plain) {
        failure @ Failure::NoElevation(_) => TransferError::Link(failure),
        failure if ended == Ended::Exited(255) => TransferError::Link(failure),
        _ => sort(log, ended),
    }
}

fn unheard(said: String) -> Failure {
    ssh::diagnose(&[said])
}
