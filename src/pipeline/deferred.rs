//! Hosts with `optional = "defer"` that were asleep when their turn came: remembered in
//! `STATE/deferred/NAME.json` until a deploy has brought them where they were to be.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Run;
use crate::event::stream::Stopwatch;
use crate::event::{HostReport, Outcome};
use crate::fleet::{Fleet, Host, HostName, Optional};
use crate::plan::{Goal, HostPlan};
use crate::world::files;

/// Largest record read, in bytes.
const LIMIT: u64 = 1 << 16;
/// The code of the refusal: a stable name.
pub const CODE: &str = "deferred";

/// A host that is still to be deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deferred {
    /// Which.
    pub host: HostName,
    /// The first run that did not find it.
    pub run: String,
    /// When that was, milliseconds since the epoch.
    pub since_ms: i64,
    /// The hosts.toml that it is a host of: another may have one of its name.
    inventory: PathBuf,
}

/// Hosts of a fleet that are still to be deployed, in its order.
pub fn list(state: &Path, fleet: &Fleet) -> Vec<Deferred> {
    let waits = |host: &&Host| host.optional == Optional::Defer;
    fleet.hosts.iter().filter(waits).filter_map(|host| read(state, fleet, &host.name)).collect()
}

fn file(state: &Path, host: &HostName) -> PathBuf {
    state.join("deferred").join(format!("{host}.json"))
}

fn read(state: &Path, fleet: &Fleet, host: &HostName) -> Option<Deferred> {
    let text = match files::read_private(&file(state, host), LIMIT) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(%error, %host, "cannot read that it was deferred");
            return None;
        }
    };
    let deferred: Deferred = serde_json::from_str(&text).ok()?;
    (deferred.inventory == fleet.source && deferred.host == *host).then_some(deferred)
}

fn write(state: &Path, deferred: &Deferred) -> io::Result<()> {
    let file = file(state, &deferred.host);
    files::private_folder(file.parent().unwrap_or(state))?;
    files::replace(&file, serde_json::to_string(deferred)?.as_bytes())
}

/// Remembers a host that was asleep, forgets one that is done; what is said of it then.
pub(super) fn settle(run: &Run, step: &HostPlan, mut report: HostReport) -> HostReport {
    let state = &run.world.environment.state;
    let kept = || read(state, &run.fleet, &step.host);
    let deploys = matches!(run.plan.goal, Goal::Deploy | Goal::Boot);
    let defers = run.host(step).is_some_and(|host| host.optional == Optional::Defer);
    if !deploys || !defers {
        return report;
    }
    match &report.outcome {
        Outcome::Committed { .. }
        | Outcome::Unchanged { .. }
        | Outcome::Unhealthy
        | Outcome::Staged => {
            if kept().is_some()
                && let Err(error) = std::fs::remove_file(file(state, &step.host))
            {
                tracing::warn!(%error, "cannot forget that it was deferred");
            }
        }
        Outcome::Refused { code, skipped: true } if asleep(code) => {
            let deferred = kept().unwrap_or_else(|| Deferred {
                host: step.host.clone(),
                run: run.name.clone(),
                since_ms: run.world.clock.epoch_ms(),
                inventory: run.fleet.source.clone(),
            });
            match write(state, &deferred) {
                Ok(()) => {
                    report.outcome = Outcome::Refused { code: CODE.to_owned(), skipped: true };
                    report.next = vec!["nixdeploy retry".to_owned()];
                }
                Err(error) => report.causes.push(format!("it could not be remembered: {error}")),
            }
        }
        _ => {}
    }
    report
}

/// Whether a host that is left out for this may come back; one that the flake lacks does not.
fn asleep(code: &str) -> bool {
    ["unreachable", "stalled"].contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::hosts_toml::parse;

    #[test]
    fn what_is_remembered_is_of_one_fleet_and_of_hosts_that_defer() {
        let state = tempfile::tempdir().expect("a folder");
        let text = "[hosts.a]\noptional = 'defer'\n[hosts.b]\noptional = 'skip'\n";
        let fleet = parse(Path::new("/one/hosts.toml"), text).expect("a fleet");
        let deferred = |host: &str| Deferred {
            host: HostName::new(host).expect("a name"),
            run: "7f3a".to_owned(),
            since_ms: 5,
            inventory: fleet.source.clone(),
        };
        assert_eq!(list(state.path(), &fleet), []);
        for host in ["a", "b"] {
            write(state.path(), &deferred(host)).expect("written");
        }
        assert_eq!(list(state.path(), &fleet), [deferred("a")]);
        let other = parse(Path::new("/two/hosts.toml"), text).expect("a fleet");
        assert_eq!(list(state.path(), &other), [], "another fleet's");
        let damaged = file(state.path(), &deferred("a").host);
        std::fs::write(damaged, "{").expect("damaged");
        assert_eq!(list(state.path(), &fleet), []);
    }
}
