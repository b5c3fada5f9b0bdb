//! An inventory from the closures of what hosts run: all that a host without a flake tells.
//!
//! Nothing is known of attributes, modules and what somebody asked for, and there is no other
//! system to compare with: whatever concerns a host is *persisting*.

use std::collections::BTreeMap;

use super::inventory::{Hardware, Inventory, Lock, Package};
use crate::package::StoreName;

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
}
