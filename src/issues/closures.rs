//! An inventory from the closures of hosts: all that a host without a flake tells.
//!
//! Nothing is known of attributes, modules and what somebody asked for. Where there is no other
//! system to compare with, whatever concerns a host is *persisting*.

use std::collections::{BTreeMap, BTreeSet};

use super::inventory::{Hardware, Inventory, Lock, Package};
use crate::package::{StoreName, Version};

/// Makes it from the names of store paths, by host.
pub fn inventory(systems: &BTreeMap<String, Vec<String>>, now_ms: i64) -> Inventory {
    let mut packages: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    let mut locks: Vec<Lock> = Vec::new();
    for (host, names) in systems {
        locks.extend(names.iter().filter_map(|name| lock(name)));
        for read in names.iter().filter_map(|name| StoreName::parse(name)) {
            let key = (read.full(), read.version.to_owned());
            let hosts = packages.entry(key).or_default();
            if hosts.last() != Some(host) {
                hosts.push(host.clone());
            }
        }
    }
    let package = |((pname, version), hosts): ((String, String), Vec<String>)| Package {
        pname,
        installed: Some(version.clone()),
        candidate: Some(version),
        hosts,
        ..Package::default()
    };
    // Of several revisions the oldest: what was closed before it is mended everywhere.
    let lock = locks.into_iter().min_by_key(|l| l.modified_ms).unwrap_or_default();
    let hosts = systems.keys().map(|name| (name.clone(), Hardware::default()));
    Inventory {
        now_ms,
        installed: lock.clone(),
        candidate: lock,
        packages: packages.into_iter().map(package).collect(),
        modules: None,
        hosts: hosts.collect(),
    }
}

/// The names of the store paths of two systems of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Systems {
    /// What runs.
    pub installed: Vec<String>,
    /// What is to run.
    pub candidate: Vec<String>,
}

/// The same for hosts of which it is known what they are to run. The locks are those of the flake
/// before and after; a moment that they do not tell is that of the systems.
pub fn between(systems: &BTreeMap<String, Systems>, locks: [Lock; 2], now_ms: i64) -> Inventory {
    let mut packages: BTreeMap<(String, Pair), Vec<String>> = BTreeMap::new();
    for (host, systems) in systems {
        for key in pairs(systems) {
            packages.entry(key).or_default().push(host.clone());
        }
    }
    let package = |((pname, (installed, candidate)), hosts)| Package {
        pname,
        installed,
        candidate,
        hosts,
        ..Package::default()
    };
    let told = |named: Lock, names: &dyn Fn(&Systems) -> Vec<Lock>| {
        let of_systems = systems.values().flat_map(names).min_by_key(|l| l.modified_ms);
        let of_systems = of_systems.unwrap_or_default();
        Lock {
            modified_ms: named.modified_ms.or(of_systems.modified_ms),
            release: named.release.or(of_systems.release),
        }
    };
    let all = |names: &[String]| names.iter().filter_map(|n| lock(n)).collect::<Vec<_>>();
    let [before, after] = locks;
    Inventory {
        now_ms,
        installed: told(before, &|s| all(&s.installed)),
        candidate: told(after, &|s| all(&s.candidate)),
        packages: packages.into_iter().map(package).collect(),
        modules: None,
        hosts: systems.keys().map(|name| (name.clone(), Hardware::default())).collect(),
    }
}

/// A version that runs, and the one that is to run in its place.
type Pair = (Option<String>, Option<String>);

/// Every package of a host with its versions. Of several versions the same ones belong together,
/// and of the rest the highest to the highest: `gcc` 13 and 14 to 14 and 15 is 13 to 15.
fn pairs(systems: &Systems) -> Vec<(String, Pair)> {
    let versions = |names: &[String]| {
        let mut all: BTreeMap<String, BTreeSet<Version>> = BTreeMap::new();
        for read in names.iter().filter_map(|name| StoreName::parse(name)) {
            all.entry(read.full()).or_default().insert(Version(read.version.to_owned()));
        }
        all
    };
    let (before, mut after) = (versions(&systems.installed), versions(&systems.candidate));
    let mut pairs = Vec::new();
    for (name, old) in before {
        let new = after.remove(&name).unwrap_or_default();
        let mut add = |old: Option<&Version>, new: Option<&Version>| {
            let text = |v: Option<&Version>| v.map(|v| v.0.clone());
            pairs.push((name.clone(), (text(old), text(new))));
        };
        old.intersection(&new).for_each(|both| add(Some(both), Some(both)));
        let mut gone: Vec<&Version> = old.difference(&new).collect();
        let mut come: Vec<&Version> = new.difference(&old).collect();
        loop {
            match (gone.pop(), come.pop()) {
                (None, None) => break,
                (old, new) => add(old, new),
            }
        }
    }
    let new = after.into_iter().flat_map(|(name, new)| {
        new.into_iter().map(move |version| (name.clone(), (None, Some(version.0))))
    });
    pairs.extend(new);
    pairs
}

/// The revision that a system was made from: `nixos-system-HOST-26.05.20260819.ffb3c9b` (nixpkgs,
/// `nixos/modules/misc/version.nix`) tells the day.
fn lock(name: &str) -> Option<Lock> {
    let rest = name.strip_prefix("nixos-system-")?;
    let (_, version) = rest.rsplit_once('-')?;
    let mut parts = version.split('.');
    let (year, month) = (parts.next()?, parts.next()?);
    let month = month.strip_suffix("pre").unwrap_or(month);
    let day = parts.next()?;
    let date = (day.len() == 8 && day.is_ascii())
        .then(|| format!("{}-{}-{}T00:00:00Z", &day[..4], &day[4..6], &day[6..]))?;
    let modified_ms = super::inventory_file::moment(&date);
    Some(Lock { modified_ms, release: Some(format!("{year}.{month}")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closures_tell_packages_hosts_and_the_day_of_the_revision() {
        let names = |all: &[&str]| all.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let systems = BTreeMap::from([
            ("a".to_owned(), names(&["nixos-system-a-26.05.20260819.ffb3c9b", "git-2.54.0-doc"])),
            ("b".to_owned(), names(&["nixos-system-b-1-26.05.20260820.x", "git-2.54.0", "etc"])),
        ]);
        let inventory = inventory(&systems, 7);
        let git = Package {
            pname: "git".to_owned(),
            installed: Some("2.54.0".to_owned()),
            candidate: Some("2.54.0".to_owned()),
            hosts: names(&["a", "b"]),
            ..Package::default()
        };
        assert_eq!(inventory.packages, [git]);
        assert_eq!(inventory.installed.release.as_deref(), Some("26.05"));
        let day = super::super::inventory_file::moment("2026-08-19");
        assert_eq!((inventory.installed.modified_ms, inventory.now_ms), (day, 7));
        for odd in ["nixos-system-a-26.05.日本語日.x", "nixos-system-a", "nixos-system-a-x.y.z"]
        {
            assert_eq!(lock(odd).and_then(|l| l.modified_ms), None, "{odd}");
        }
    }

    #[test]
    fn two_systems_of_a_host_tell_which_version_becomes_which() {
        let names = |all: &[&str]| all.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let installed = names(&["gcc-13.3", "gcc-14.2", "git-2.54.0", "htop-3", "x-1-doc"]);
        let candidate = names(&["gcc-14.2", "gcc-15.1", "git-2.54.0-man", "jq-1.8", "x-2"]);
        let systems = Systems { installed, candidate };
        let systems =
            BTreeMap::from([("a".to_owned(), systems.clone()), ("b".to_owned(), systems)]);
        let named = Lock { modified_ms: Some(5), release: None };
        let inventory = between(&systems, [named.clone(), Lock::default()], 7);
        let told = |p: &Package| {
            let version = |v: &Option<String>| v.clone().unwrap_or_default();
            format!("{} {}>{}", p.pname, version(&p.installed), version(&p.candidate))
        };
        let told: Vec<String> = inventory.packages.iter().map(told).collect();
        let wanted = ["gcc 13.3>15.1", "gcc 14.2>14.2", "git 2.54.0>2.54.0", "htop 3>", "jq >1.8"];
        assert_eq!(told, [&wanted[..], &["x 1>2"]].concat());
        assert!(inventory.packages.iter().all(|p| p.hosts == ["a", "b"]));
        assert_eq!((inventory.installed, inventory.candidate), (named, Lock::default()));
    }
}
