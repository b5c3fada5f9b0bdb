//! What a deploy changes in packages: two lists of store paths, compared by name and version.
//! Pure.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::closure::PathInfo;
use crate::event::PackageChange;

/// Outputs that nixpkgs splits packages into; they are no part of a version.
const OUTPUTS: [&str; 13] = [
    "-bin",
    "-data",
    "-debug",
    "-dev",
    "-devdoc",
    "-doc",
    "-info",
    "-lib",
    "-man",
    "-modules",
    "-out",
    "-static",
    "-terminfo",
];

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
    for (name, version) in names.into_iter().filter_map(split) {
        all.entry(name.to_owned()).or_default().insert(Version(version.to_owned()));
    }
    all
}

/// Name and version: the version begins at the first dash that a digit follows (nixpkgs manual,
/// "Package naming"). An output's name at the end is dropped.
fn split(name: &str) -> Option<(&str, &str)> {
    let name = OUTPUTS.iter().find_map(|o| name.strip_suffix(o)).unwrap_or(name);
    let bytes = name.as_bytes();
    let digit = |at: usize| bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
    let at = (1..bytes.len()).find(|at| bytes[*at] == b'-' && digit(*at))?;
    Some((&name[..at], &name[at + 1..]))
}

/// A version, ordered as Nix orders them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version(String);

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        // Versions that Nix holds for equal (`1.0`, `1-0`) are still two.
        compare(&self.0, &other.0).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// `builtins.compareVersions`.
pub fn compare(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one, other);
    while !one.is_empty() || !other.is_empty() {
        let (a, b) = (component(&mut one), component(&mut other));
        if lower(a, b) {
            return Ordering::Less;
        }
        if lower(b, a) {
            return Ordering::Greater;
        }
    }
    Ordering::Equal
}

/// The next run of digits, or of what is neither digit nor separator; empty at the end.
fn component<'a>(rest: &mut &'a str) -> &'a str {
    let text = rest.trim_start_matches(['.', '-']);
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| matches!(c, '.' | '-') || c.is_ascii_digit() != digits);
    let (head, tail) = text.split_at(end.unwrap_or(text.len()));
    *rest = tail;
    head
}

/// Nix's order of components: numbers by value, `pre` before the end, words before numbers.
fn lower(a: &str, b: &str) -> bool {
    let number = |s: &str| !s.is_empty() && s.bytes().all(|c| c.is_ascii_digit());
    match (number(a), number(b)) {
        (true, true) => {
            let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
            (a.len(), a) < (b.len(), b)
        }
        _ if a.is_empty() && number(b) => true,
        _ if a == "pre" && b != "pre" => true,
        _ if b == "pre" => false,
        (false, true) => true,
        (true, false) => false,
        (false, false) => a < b,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_split_at_the_first_dash_before_a_digit() {
        for (name, expected) in [
            ("firefox-141.0", Some(("firefox", "141.0"))),
            ("python3.12-requests-2.32.3", Some(("python3.12-requests", "2.32.3"))),
            ("curl-8.9.1-bin", Some(("curl", "8.9.1"))),
            ("glibc-2.40-66", Some(("glibc", "2.40-66"))),
            ("linux-6.18.2-modules", Some(("linux", "6.18.2"))),
            ("unit-sshd.service", None),
            ("etc", None),
            ("-1", None),
            ("x-", None),
        ] {
            assert_eq!(split(name), expected, "{name}");
        }
    }

    #[test]
    fn versions_are_compared_as_in_nix_s_manual() {
        use Ordering::{Equal, Greater, Less};
        for (a, b, expected) in [
            ("1.0", "2.3", Less),
            ("2.1", "2.3", Less),
            ("2.3", "2.3", Equal),
            ("2.5", "2.3", Greater),
            ("3.1", "2.3", Greater),
            ("2.3.1", "2.3", Greater),
            ("2.3.1", "2.3a", Greater),
            ("2.3pre1", "2.3", Less),
            ("2.3pre3", "2.3pre12", Less),
            ("2.3a", "2.3c", Less),
            ("2.3pre1", "2.3c", Less),
            ("2.3pre1", "2.3q", Less),
            ("2.10", "2.9", Greater),
            ("007", "7", Equal),
        ] {
            assert_eq!(compare(a, b), expected, "{a} {b}");
        }
    }

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
        assert_eq!(direction(&packages(["a-2"], ["a-1"])[0]), Direction::Down);
        assert_eq!(direction(&packages(["a-2"], [])[0]), Direction::Removed);
    }

    proptest! {
        #[test]
        fn the_order_of_versions_is_one(a in "[0-9a-z.-]{0,12}", b in "[0-9a-z.-]{0,12}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            let _ = split(&a);
        }
    }
}
