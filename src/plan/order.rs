//! In which order hosts are deployed: the canary, then the waves, and last, one at a time, those
//! that others, or we ourselves, need for being reached.

use serde::{Deserialize, Serialize};

use super::{Goal, Request};
use crate::fleet::{FleetLimits, Host, HostName, Role};

/// What the order depends on, beside the hosts themselves.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// What hosts.toml and the flags say.
    pub limits: &'a FleetLimits,
    /// Hosts that are the machine we run on.
    pub here: &'a [HostName],
}

impl<'a> Order<'a> {
    /// Of a run whose hosts are all other machines than ours.
    pub fn of(limits: &'a FleetLimits) -> Self {
        Self { limits, here: &[] }
    }
}

/// How fast a run goes on, and what stops it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pace {
    /// The host that goes first, alone; nothing follows it unless it ends well.
    pub canary: Option<HostName>,
    /// Hosts worked on at once.
    pub at_once: usize,
    /// Hosts that may be switched at once; one that is lost counts to the end of the run.
    pub max_unavailable: usize,
    /// Failed hosts after which none is begun.
    pub max_failures: Option<usize>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { canary: None, at_once: 1, max_unavailable: 1, max_failures: None }
    }
}

/// The pace of a run. One that changes nothing, or takes back, is stopped by no failure.
pub(super) fn pace(request: &Request, hosts: &[Host], order: &Order<'_>) -> Pace {
    let limits = order.limits;
    let changes = matches!(request.goal, Goal::Deploy | Goal::Boot);
    let selected = |name: &&HostName| hosts.iter().any(|h| h.name == **name);
    let canary = limits.canary.as_ref().filter(selected).filter(|_| changes && hosts.len() > 1);
    let at_once = limits.max_parallel.max(1);
    Pace {
        canary: canary.cloned(),
        at_once,
        max_unavailable: limits.max_unavailable.unwrap_or(at_once).max(1),
        max_failures: limits.max_failures.filter(|_| changes),
    }
}

/// The waves.
pub(super) fn waves<'a>(
    hosts: &'a [Host],
    canary: Option<&HostName>,
    here: &[HostName],
) -> Vec<Vec<&'a Host>> {
    let (mut late, mut others): (Vec<&Host>, Vec<&Host>) =
        hosts.iter().partition(|h| late(h, hosts, here).is_some());
    others.sort_by_key(|h| h.wave);
    let (first, others): (Vec<&Host>, Vec<&Host>) =
        others.into_iter().partition(|h| Some(&h.name) == canary);
    // Whoever is reached through another goes before it.
    late.sort_by_key(|h| (rank(h, hosts, here), std::cmp::Reverse(h.jumps.len()), h.wave));
    let alone = |host: &'a Host| vec![host];
    let waves = others.chunk_by(|a, b| a.wave == b.wave).map(<[&Host]>::to_vec);
    let waves: Vec<Vec<&Host>> = waves.collect();
    first.into_iter().map(alone).chain(waves).chain(late.into_iter().map(alone)).collect()
}

/// Why a host goes last, and alone, whatever its wave; `None`: it does not.
pub fn late(host: &Host, hosts: &[Host], here: &[HostName]) -> Option<&'static str> {
    match rank(host, hosts, here) {
        0 => None,
        1 => Some("its role is network"),
        2 => Some("others are reached through it"),
        _ => Some("it is this machine"),
    }
}

fn rank(host: &Host, hosts: &[Host], here: &[HostName]) -> u8 {
    if here.contains(&host.name) {
        return 3;
    }
    if hosts.iter().any(|other| host.leads_to(other)) {
        return 2;
    }
    u8::from(host.role == Role::Network)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::fleet::Fleet;
    use crate::fleet::hosts_toml::parse;

    fn fleet(text: &str) -> Fleet {
        parse(Path::new("hosts.toml"), text).expect("a fleet")
    }

    fn told(fleet: &Fleet, canary: Option<&str>, here: &[&str]) -> String {
        let name = |n: &str| HostName::new(n).expect("a name");
        let here: Vec<HostName> = here.iter().copied().map(name).collect();
        let canary = canary.map(name);
        let waves = waves(&fleet.hosts, canary.as_ref(), &here);
        let words =
            |w: &Vec<&Host>| w.iter().map(|h| h.name.as_str()).collect::<Vec<_>>().join(" ");
        waves.iter().map(words).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn waves_ascend_and_the_canary_goes_first() {
        let fleet = fleet("[hosts.a]\nwave = 2\n[hosts.b]\n[hosts.c]\nwave = 2\n[hosts.d]\n");
        assert_eq!(told(&fleet, None, &[]), "b d | a c");
        assert_eq!(told(&fleet, Some("c"), &[]), "c | b d | a");
    }

    #[test]
    fn what_others_need_goes_last_and_alone_whatever_its_wave() {
        let fleet = fleet(
            "[hosts.me]\n[hosts.gate]\n[hosts.inner]\njump = ['gate']\n[hosts.dns]\nrole = \
             'network'\n[hosts.router]\nrole = 'network'\n[hosts.deep]\njump = ['gate', 'inner']\n\
             wave = 3\n[hosts.plain]\nwave = 7\n",
        );
        let order = "deep | plain | dns | router | inner | gate | me";
        assert_eq!(told(&fleet, None, &["me"]), order);
        let hosts = &fleet.hosts;
        let why = |name: &str| late(fleet.host(name).expect("a host"), hosts, &[]);
        assert_eq!(why("gate"), Some("others are reached through it"));
        assert_eq!((why("deep"), why("me")), (None, None));
    }
}
