//! Hosts and runs that are named to a command which reads what was kept: what is meant, and what
//! was probably meant.

use super::inventory;
use crate::cli::Global;
use crate::error::Error;
use crate::fleet::hosts_toml::nearest;
use crate::fleet::select::select;
use crate::fleet::{Fleet, HostName};
use crate::report::store::{Entry, FindError};
use crate::world::Environment;

/// The fleet, where there is a hosts.toml without a mistake: what was kept can be read without.
pub(super) fn fleet(environment: &Environment, global: &Global) -> Option<Fleet> {
    inventory::load(environment, global).ok()
}

/// The hosts that a word means: those of the fleet, and those that are gone from it but had a part
/// in a run that is kept.
///
/// # Errors
/// When neither knows it, with the nearest name.
pub(super) fn hosts(
    entries: &[Entry],
    fleet: Option<&Fleet>,
    word: &str,
) -> Result<Vec<HostName>, Error> {
    let meant = fleet.map(|fleet| select(fleet, &[word.to_owned()], &[]));
    if let Some(Ok(hosts)) = meant {
        return Ok(hosts.iter().map(|h| h.name.clone()).collect());
    }
    let mut kept: Vec<&HostName> = entries.iter().flat_map(|e| &e.names).collect();
    kept.sort();
    kept.dedup();
    if let Some(name) = kept.iter().find(|n| n.as_str() == word) {
        return Ok(vec![(*name).clone()]);
    }
    let ours = fleet.iter().flat_map(|f| &f.hosts).map(|h| h.name.as_str());
    let known = ours.chain(kept.iter().map(|n| n.as_str()));
    let shown: String = word.escape_debug().take(64).collect();
    let mut told = Error::usage(format!("no host is called '{shown}'"));
    if let Some(nearest) = nearest(word, known) {
        told = told.hint(format!("did you mean {nearest}?"));
    }
    Err(told.hint("nixdeploy history"))
}

/// A run that was not found: the nearest, or the last one of the host whose name was typed.
pub(super) fn no_run(entries: &[Entry], command: &str, word: &str, error: &FindError) -> Error {
    let mut told = Error::usage(error.to_string());
    match error {
        FindError::Nothing => return told.hint("nixdeploy deploy HOST"),
        FindError::Ambiguous(..) => {}
        FindError::Unknown(_) => {
            let names = entries.iter().flat_map(|e| &e.names).map(HostName::as_str);
            let host = nearest(word, names);
            let of_host = entries.iter().find(|e| e.names.iter().any(|n| Some(n.as_str()) == host));
            let runs = entries.iter().map(|e| e.run.as_str());
            if let Some(entry) = of_host {
                let (host, run) = (host.unwrap_or(word), &entry.run);
                told = told.hint(format!("the last run of {host}: nixdeploy {command}{run}"));
            } else if let Some(run) = nearest(word, runs) {
                told = told.hint(format!("did you mean {run}?"));
            }
        }
    }
    told.hint("nixdeploy history")
}
