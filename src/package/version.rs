//! Versions, ordered as Nix orders them, and the part of one that people compare.

use std::cmp::Ordering;

/// A version, ordered as Nix orders them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(pub String);

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

/// A version without what names a snapshot only: build data behind `+`, and a revision's hash.
pub fn plain(version: &str) -> &str {
    let version = version.split_once('+').map_or(version, |(head, _)| head);
    match version.rsplit_once('-') {
        Some((head, tail)) if is_revision(tail) && !head.is_empty() => head,
        _ => version,
    }
}

/// Whether a word is the hash of a revision: 7 to 40 hexadecimal digits, a letter among them, so
/// that a date is none.
pub fn is_revision(word: &str) -> bool {
    let hexadecimal = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (7..=40).contains(&word.len())
        && word.bytes().all(hexadecimal)
        && word.bytes().any(|b| b.is_ascii_alphabetic())
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
    fn a_snapshot_s_name_is_no_part_of_what_is_compared() {
        for (version, expected) in [
            ("1.41.5.9522-a96edc606", "1.41.5.9522"),
            ("0.48.1+date=2025-05-01_1a2b3c4", "0.48.1"),
            ("14-20241116", "14-20241116"),
            ("7.1.2-17", "7.1.2-17"),
            ("9.9p2", "9.9p2"),
            ("1a2b3c4", "1a2b3c4"),
            ("", ""),
        ] {
            assert_eq!(plain(version), expected, "{version}");
        }
    }

    proptest! {
        #[test]
        fn the_order_of_versions_is_one(a in "[0-9a-z.-]{0,12}", b in "[0-9a-z.-]{0,12}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
        }
    }
}
