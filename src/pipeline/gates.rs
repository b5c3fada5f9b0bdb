//! How much is asked of others at once: of the network by questions, of a host on the way by
//! logins, of a builder by builds.
//!
//! sshd refuses the eleventh session of a connection (`MaxSessions` of sshd_config(5)) and begins
//! to drop logins at ten that are not through yet (`MaxStartups`). Of its own sessions a journey
//! has at most five open, so a host that builds for others is asked for so few that both fit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::fleet::{Fleet, Host, HostName};

/// Hosts whose facts are read at once: each is a connection, a program and two pipes of ours.
const ASKED: usize = 32;
/// Logins through one host at once.
const THROUGH: usize = 8;
/// Builds at once on a host that says nothing of its jobs, and at most.
const BUILDS: usize = 4;

/// What is open.
pub struct Gates {
    asked: Semaphore,
    others: Mutex<BTreeMap<String, Arc<Semaphore>>>,
}

/// Leave to ask a host.
pub struct Leave<'a> {
    _asked: SemaphorePermit<'a>,
    _through: Option<OwnedSemaphorePermit>,
}

impl Default for Gates {
    fn default() -> Self {
        Self { asked: Semaphore::new(ASKED), others: Mutex::default() }
    }
}

impl Gates {
    /// Waits until a host may be asked for its facts.
    pub async fn ask(&self, host: &Host) -> Option<Leave<'_>> {
        let through = match host.jumps.first() {
            Some(hop) => Some(self.of(format!("through {hop}"), THROUGH).await?),
            None => None,
        };
        Some(Leave { _asked: self.asked.acquire().await.ok()?, _through: through })
    }

    /// Waits until a builder has room for one more closure.
    pub async fn build(&self, name: &HostName, fleet: &Fleet) -> Option<OwnedSemaphorePermit> {
        let jobs = fleet.builders.get(name.as_str()).map(|b| b.jobs as usize);
        self.of(format!("on {name}"), jobs.unwrap_or(BUILDS).clamp(1, BUILDS)).await
    }

    async fn of(&self, what: String, most: usize) -> Option<OwnedSemaphorePermit> {
        let gate = {
            let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
            others.entry(what).or_insert_with(|| Arc::new(Semaphore::new(most))).clone()
        };
        gate.acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use futures_util::FutureExt;

    use super::*;
    use crate::fleet::hosts_toml::parse;

    #[test]
    fn what_is_full_is_waited_for() {
        let text = "[builders.big]\njobs = 2\n[hosts.gate]\n[hosts.in]\njump = ['gate']\n";
        let fleet = parse(Path::new("hosts.toml"), text).expect("a fleet");
        let (gates, name) = (Gates::default(), |n: &str| HostName::new(n).expect("a name"));
        let build = |n| gates.build(&name(n), &fleet).now_or_never().flatten();
        let held = [build("big"), build("big")];
        assert!(held.iter().all(Option::is_some) && build("big").is_none(), "its jobs");
        let others: Vec<_> = (0..BUILDS).map(|_| build("gate")).collect();
        assert!(others.iter().all(Option::is_some) && build("gate").is_none());
        let inner = fleet.host("in").expect("a host");
        let through: Vec<_> = (0..THROUGH).map(|_| gates.ask(inner).now_or_never()).collect();
        assert!(through.iter().all(Option::is_some), "as many as it may be");
        assert!(gates.ask(inner).now_or_never().is_none(), "no more through one host");
        let outer = fleet.host("gate").expect("a host");
        assert!(gates.ask(outer).now_or_never().is_some(), "others are not held up");
    }
}
