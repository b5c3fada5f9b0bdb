//! What an update brings to a host, told before anything is built: the names of what runs held
//! against the names of the derivations that are to run. Pure.
//!
//! A graph of derivations also has what is only needed to build (compilers' first stages, sources),
//! so it cannot tell what is new on a host; but a package that runs, and whose version no longer
//! stands in the graph, moves for certain.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::PackageChange;
use crate::issues::inventory::Package;
use crate::package::{StoreName, Version};

/// What moves, by how much it matters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coming {
    /// A machine may not come back, or not be reached, when it is broken.
    pub boot: Vec<PackageChange>,
    /// Run by a service of the host.
    pub services: Vec<PackageChange>,
    /// Asked for by name.
    pub programs: Vec<PackageChange>,
    /// Came with something else.
    pub libraries: Vec<PackageChange>,
}

/// What a system says of its packages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roles {
    /// Names of packages that its services run.
    pub services: BTreeSet<String>,
    /// Names of packages on its PATH.
    pub programs: BTreeSet<String>,
}

/// Packages of a closure that are to have other versions. `installed`: names of store paths;
/// `derivations`: names of derivations, with or without `.drv`.
pub fn changes(installed: &[String], derivations: &[String]) -> Vec<PackageChange> {
    let bare = derivations.iter().map(|name| name.strip_suffix(".drv").unwrap_or(name));
    let (runs, graph) = (versions(installed.iter().map(String::as_str)), versions(bare));
    let moved = |(name, old): (String, BTreeSet<Version>)| {
        let new = graph.get(&name);
        change(name, &old, new)
    };
    runs.into_iter().filter_map(moved).collect()
}

fn change(
    name: String,
    old: &BTreeSet<Version>,
    graph: Option<&BTreeSet<Version>>,
) -> Option<PackageChange> {
    let text = |all: Vec<&Version>| all.into_iter().map(|v| v.0.clone()).collect();
    let none = BTreeSet::new();
    let graph = graph.unwrap_or(&none);
    let gone = old.difference(graph).count();
    if gone == 0 {
        return None;
    }
    // What only a build needs is older than what runs: of the others the highest come.
    let mut come: Vec<&Version> = graph.difference(old).filter(|v| !is_part(v, graph)).collect();
    let come = come.split_off(come.len().saturating_sub(gone));
    let stay = old.intersection(graph);
    let mut after: Vec<&Version> = stay.chain(come).collect();
    after.sort();
    Some(PackageChange { name, before: text(old.iter().collect()), after: text(after) })
}

/// `1.2-vendor` beside `1.2`: a part of its build.
fn is_part(version: &Version, all: &BTreeSet<Version>) -> bool {
    let longer =
        |v: &Version| version.0.strip_prefix(&v.0).is_some_and(|rest| rest.starts_with('-'));
    all.iter().any(longer)
}

fn versions<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<String, BTreeSet<Version>> {
    let mut all: BTreeMap<String, BTreeSet<Version>> = BTreeMap::new();
    for read in names.filter_map(StoreName::parse) {
        all.entry(read.full()).or_default().insert(Version(read.version.to_owned()));
    }
    all
}

/// The names of a system that these changes make of another.
pub fn after(installed: &[String], changes: &[PackageChange]) -> Vec<String> {
    let moves = |name: &&String| {
        let read = StoreName::parse(name);
        read.is_some_and(|read| changes.iter().any(|c| c.name == read.full()))
    };
    let stay = installed.iter().filter(|name| !moves(name)).cloned();
    let come = changes.iter().flat_map(|c| c.after.iter().map(|v| format!("{}-{v}", c.name)));
    stay.chain(come).collect()
}

/// Puts changes in their order: boot-critical, services, programs, and what came with them. With
/// nobody to tell roles, everything else is a program.
pub fn sorted(changes: Vec<PackageChange>, roles: Option<&Roles>) -> Coming {
    let mut coming = Coming::default();
    for change in changes {
        let package = Package { pname: change.name.clone(), ..Package::default() };
        let place = match roles {
            _ if package.is_boot_critical() || package.draws() => &mut coming.boot,
            Some(roles) if roles.services.contains(&change.name) => &mut coming.services,
            Some(roles) if !roles.programs.contains(&change.name) => &mut coming.libraries,
            _ => &mut coming.programs,
        };
        place.push(change);
    }
    coming
}

/// Packages that the `Exec` lines of a unit file name.
pub fn run_by(unit: &str) -> impl Iterator<Item = String> {
    let lines = unit.lines().filter(|l| l.starts_with("Exec"));
    let paths = lines.flat_map(|line| line.split("/nix/store/").skip(1));
    paths.filter_map(|path| {
        let (_, name) = path.split(['/', ' ', '"', '\'']).next()?.split_once('-')?;
        StoreName::parse(name).map(|read| read.full())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn what_runs_and_is_not_built_any_more_moves() {
        let runs = [
            "linux-7.1.9",
            "linux-7.1.9-modules",
            "gcc-14.2.1-lib",
            "firefox-143.0",
            "firefox-unwrapped-143.0",
            "pipewire-1.6.4",
            "zlib-1.3.1",
            "hello-1.0",
            "unit-x.service",
            "glibc-2.40-66",
            "go-mod-1.2",
        ];
        let graph = [
            "linux-7.2.4.drv",
            "linux-7.2.4.tar.xz.drv",
            "gcc-14.3.0.drv",
            "gcc-8.6.0.drv",
            "firefox-144.0.drv",
            "firefox-unwrapped-144.0.drv",
            "pipewire-1.6.5.drv",
            "zlib-1.3.1.drv",
            "glibc-2.40-66.drv",
            "go-mod-1.3.drv",
            "go-mod-1.3-go-modules.drv",
            "jq-1.8.drv",
        ];
        let found = changes(&names(&runs), &names(&graph));
        let told: Vec<String> = found
            .iter()
            .map(|c| format!("{} {}>{}", c.name, c.before.join(","), c.after.join(",")))
            .collect();
        assert_eq!(
            told,
            [
                "firefox 143.0>144.0",
                "gcc 14.2.1>14.3.0",
                "go-mod 1.2>1.3",
                "hello 1.0>",
                "linux 7.1.9>7.2.4",
                "pipewire 1.6.4>1.6.5",
            ]
        );
        let runs = after(&names(&runs), &found);
        for (name, there) in
            [("linux-7.2.4", true), ("linux-7.1.9-modules", false), ("zlib-1.3.1", true)]
        {
            assert_eq!(runs.iter().any(|n| n == name), there, "{name}");
        }
        assert!(!runs.iter().any(|n| n.starts_with("hello")), "it goes");
        let unit = "[Service]\nEnvironment=PATH=/nix/store/aaa-gcc-14.2.1/bin\n\
            ExecStart=\"/nix/store/abc-pipewire-1.6.4/bin/pipewire\" -c /nix/store/x-unit-x\n";
        let services = run_by(unit).collect();
        let programs = BTreeSet::from(["firefox".to_owned(), "hello".to_owned()]);
        let coming = sorted(found.clone(), Some(&Roles { services, programs }));
        let only = |all: &[PackageChange]| all.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
        assert_eq!(only(&coming.boot), ["linux"]);
        assert_eq!(only(&coming.services), ["pipewire"]);
        assert_eq!(only(&coming.programs), ["firefox", "hello"]);
        assert_eq!(only(&coming.libraries), ["gcc", "go-mod"]);
        assert_eq!(sorted(found, None).programs.len(), 5);
    }
}
