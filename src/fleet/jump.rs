//! `jump` in hosts.toml: through which hosts a host is reached.
//!
//! A word is `[USER@]ADDRESS`, or the name of a host of the file: then that host's first address
//! and user are meant, and if it stands first, its own way comes before it. In `[defaults]` it
//! holds for every host but those that are on the way themselves: what leads to them ends there.

use std::collections::BTreeMap;

use super::meaning::Judge;
use super::{Address, Hop, Host, UserName};

/// More hops than this are a mistake; ssh starts a process for each.
const MOST: usize = 8;

/// What each host says of its way, and whether it says so itself.
pub(super) type Ways = BTreeMap<String, (bool, Vec<String>)>;

/// Gives each host its hops.
pub(super) fn resolve(judge: &mut Judge<'_, '_>, ways: &Ways, hosts: &mut [Host]) {
    let known = hosts.to_vec();
    let mut told = false;
    for host in hosts {
        let name = host.name.as_str();
        match way(name, ways, &known, 0) {
            Ok(hops) => host.jumps = hops,
            Err(wrong) => {
                let (own, _) = ways.get(name).map_or((false, 0), |(own, way)| (*own, way.len()));
                // What `[defaults]` says is wrong once, not once for each host.
                if own {
                    judge.refuse(&["hosts", name, "jump"], wrong);
                } else if !std::mem::replace(&mut told, true) {
                    judge.refuse(&["defaults", "jump"], wrong);
                }
            }
        }
    }
}

fn way(name: &str, ways: &Ways, hosts: &[Host], depth: usize) -> Result<Vec<Hop>, String> {
    if depth > MOST {
        return Err(format!("`jump` of `{name}` leads in a circle"));
    }
    let words = ways.get(name).map_or(&[][..], |(_, words)| words.as_slice());
    let mut hops = Vec::new();
    // Whoever is on the way itself has arrived there.
    for word in words.iter().take_while(|word| *word != name) {
        let host = hosts.iter().find(|h| h.name.as_str() == word);
        match host {
            Some(host) => {
                if hops.is_empty() {
                    hops = way(word, ways, hosts, depth + 1)?;
                }
                hops.push(Hop { user: host.user.clone(), address: host.address().clone() });
            }
            None => hops.push(hop(word)?),
        }
    }
    if hops.len() > MOST {
        return Err(format!("`jump` has more than {MOST} hops"));
    }
    Ok(hops)
}

fn hop(word: &str) -> Result<Hop, String> {
    let (user, address) = match word.split_once('@') {
        Some((user, address)) => (Some(user), address),
        None => (None, word),
    };
    let user = user.map(UserName::new).transpose().map_err(|e| format!("user in `jump` {e}"))?;
    let address = Address::new(address).map_err(|e| format!("address in `jump` {e}"))?;
    Ok(Hop { user, address })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::hosts_toml::parse;

    fn ways(text: &str) -> Vec<String> {
        let fleet = parse(Path::new("hosts.toml"), text).expect("a fleet");
        let way = |h: &super::Host| {
            let hops: Vec<String> = h.jumps.iter().map(ToString::to_string).collect();
            format!("{}: {}", h.name, hops.join(" "))
        };
        fleet.hosts.iter().map(way).collect()
    }

    #[test]
    fn a_hop_is_an_address_or_a_host_of_the_file_with_its_own_way() {
        let text = "[hosts.gate]\naddress = 'gate.example.org'\nuser = 'ops'\n\
            [hosts.inner]\njump = ['gate']\n[hosts.deep]\njump = ['inner', 'me@10.0.0.9']\n";
        assert_eq!(
            ways(text),
            [
                "gate: ",
                "inner: ops@gate.example.org",
                "deep: ops@gate.example.org inner me@10.0.0.9"
            ]
        );
    }

    #[test]
    fn a_way_for_all_ends_at_whoever_is_on_it() {
        let text = "[defaults]\njump = ['a', 'b']\n[hosts.a]\n[hosts.b]\n[hosts.c]\n\
            [hosts.d]\njump = []\n";
        assert_eq!(ways(text), ["a: ", "b: a", "c: a b", "d: "]);
    }

    #[test]
    fn what_leads_nowhere_is_a_mistake_at_its_place() {
        for (text, wrong) in [
            ("[hosts.a]\njump = ['b']\n[hosts.b]\njump = ['a']\n", "circle"),
            ("[hosts.a]\njump = ['-oProxyCommand=x']\n", "address in `jump`"),
            ("[hosts.a]\njump = ['-l@b']\n", "user in `jump`"),
            ("[defaults]\njump = ['x y']\n[hosts.a]\n[hosts.b]\n", "address in `jump`"),
        ] {
            let mistakes = parse(Path::new("hosts.toml"), text).expect_err(text);
            assert!(mistakes[0].message.contains(wrong), "{text}: {mistakes:?}");
            assert!(!text.starts_with("[defaults]") || mistakes.len() == 1, "{mistakes:?}");
        }
    }
}
