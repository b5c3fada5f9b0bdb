//! What a deploy changes in packages: two lists of store paths, compared by name and version.
//! Pure.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::closure::PathInfo;
use crate::event::PackageChange;
use crate::package::{StoreName, Version};

/// Which way a package moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// To a higher version.
    Up,
    /// To a lower version.
    Down,
    /// Neither: a version more or less of several.
    Changed,
}

/// Packages that came, went or moved, by name. Paths without a version (units, files of /etc)
/// are no packages and are left out; so is what was only built anew.
pub fn packages<'a>(
    before: impl IntoIterator<Item = &'a str>,
    after: impl IntoIterator<Item = &'a str>,
) -> Vec<PackageChange> {
    let (before, after) = (versions(before), versions(after));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let of = |all: &BTreeMap<String, BTreeSet<Version>>, name: &String| -> Vec<String> {
        all.get(name).into_iter().flatten().map(|v| v.0.clone()).collect()
    };
    let change = |name: &String| PackageChange {
        name: name.clone(),
        before: of(&before, name),
        after: of(&after, name),
    };
    names.into_iter().map(change).filter(|c| c.before != c.after).collect()
}

/// The same from two closures, with the bytes by which the closure grows.
pub fn closures(before: &[PathInfo], after: &[PathInfo]) -> (Vec<PackageChange>, i64) {
    let names = |paths: &'_ [PathInfo]| -> Vec<String> {
        paths.iter().map(|p| p.path.name().to_owned()).collect()
    };
    let size = |paths: &[PathInfo]| {
        let sum = paths.iter().fold(0_u64, |sum, p| sum.saturating_add(p.nar_size));
        i64::try_from(sum).unwrap_or(i64::MAX)
    };
    let (old, new) = (names(before), names(after));
    let changes = packages(old.iter().map(String::as_str), new.iter().map(String::as_str));
    (changes, size(after).saturating_sub(size(before)))
}

/// Bytes that the receiving store lacks.
pub fn missing(before: &[PathInfo], after: &[PathInfo]) -> u64 {
    let there: BTreeSet<&str> = before.iter().map(|p| p.path.as_str()).collect();
    let lacking = after.iter().filter(|p| !there.contains(p.path.as_str()));
    lacking.fold(0, |sum, p| sum.saturating_add(p.nar_size))
}

/// Which way a change goes, by its highest versions.
pub fn direction(change: &PackageChange) -> Direction {
    let highest = |all: &[String]| all.iter().cloned().map(Version).max();
    match (highest(&change.before), highest(&change.after)) {
        (None, _) => Direction::Added,
        (_, None) => Direction::Removed,
        (Some(before), Some(after)) => match after.cmp(&before) {
            Ordering::Greater => Direction::Up,
            Ordering::Less => Direction::Down,
            Ordering::Equal => Direction::Changed,
        },
    }
}

fn versions<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, BTreeSet<Version>> {
    let mut all: BTreeMap<String, BTreeSet<Version>> = BTreeMap::new();
    for name in names.into_iter().filter_map(StoreName::parse) {
        all.entry(name.full()).or_default().insert(Version(name.version.to_owned()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_moved_is_listed() {
        let before = ["git-2.50.1", "git-2.50.1-doc", "htop-3.4.1", "gcc-13.3", "gcc-14.2", "etc"];
        let after = ["git-2.51.0", "htop-3.4.1", "gcc-14.2", "jq-1.8.1", "unit-x.service"];
        let changes = packages(before, after);
        let told: Vec<_> = changes.iter().map(|c| (c.name.as_str(), direction(c))).collect();
        let expected =
            [("gcc", Direction::Changed), ("git", Direction::Up), ("jq", Direction::Added)];
        assert_eq!(told, expected);
        assert_eq!(changes[0].before, ["13.3", "14.2"]);
        let kernels = packages(["nvidia-x11-580.1-6.18"], ["nvidia-x11-580.1-6.19"]);
        assert_eq!(kernels, [], "a module for another kernel is built anew");
        assert_eq!(direction(&packages(["a-2"], ["a-1"])[0]), Direction::Down);
        assert_eq!(direction(&packages(["a-2"], [])[0]), Direction::Removed);
    }
}
