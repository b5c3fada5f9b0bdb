//! What an issue says of versions, and whether a version is meant by it.
//!
//! Numbers are compared by component. A part with letters is equal or it is not known which is
//! greater, so a hash or a patch level never decides anything by itself.

use std::cmp::Ordering;

use crate::package::plain;

/// What a text says of the versions of one package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Claim {
    /// Versions that are named bad; each stands for all that begin with its components.
    pub(super) bad: Vec<String>,
    /// Versions from which on it is bad.
    pub(super) from: Vec<String>,
    /// Versions before which it is bad, one per branch: where it was mended.
    pub(super) before: Vec<String>,
    /// Versions up to which it is bad, themselves included.
    pub(super) until: Vec<String>,
    /// Versions that are named good; what is after the highest is bad if nothing else is said.
    pub(super) good: Vec<String>,
    /// Series that everything above is said of; none: of all there are.
    pub(super) within: Vec<String>,
}

/// Whether a version is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meant {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// It cannot be told.
    Unknown,
}

impl Claim {
    /// One version that is named bad.
    pub(super) fn bad(version: &str) -> Self {
        Self { bad: vec![version.to_owned()], ..Self::default() }
    }

    /// Whether it says nothing.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Takes another claim in.
    pub(super) fn join(&mut self, other: Self) {
        self.bad.extend(other.bad);
        self.from.extend(other.from);
        self.before.extend(other.before);
        self.until.extend(other.until);
        self.good.extend(other.good);
        self.within.extend(other.within);
    }

    /// Whether some version that it names is of one of these series.
    pub(super) fn speaks_of(&self, series: &[String]) -> bool {
        let lists = [&self.bad, &self.from, &self.before, &self.until, &self.good];
        lists.into_iter().flatten().any(|v| series.iter().any(|s| begins(v, s)))
    }

    /// Whether it is only of some series, and the version is of one of them.
    pub(super) fn encloses(&self, version: &str) -> bool {
        self.within.iter().any(|series| begins(version, series))
    }

    /// Whether a version is meant.
    pub(super) fn means(&self, version: &str) -> Meant {
        if self.is_empty() {
            return Meant::Unknown;
        }
        if !self.within.is_empty() && !self.encloses(version) {
            let odd = self.within.iter().any(|series| order(version, series).is_none());
            return if odd { Meant::Unknown } else { Meant::No };
        }
        if self.good.iter().any(|g| begins(version, g)) {
            return Meant::No;
        }
        if self.bad.iter().any(|b| begins(version, b)) {
            return Meant::Yes;
        }
        let ranged = !self.from.is_empty() || !self.before.is_empty() || !self.until.is_empty();
        if ranged {
            return all([self.lower(version), self.upper(version)]);
        }
        if self.bad.is_empty() {
            return any(self.good.iter().map(|g| after(version, g)));
        }
        // What cannot be compared with a version that is named cannot be told from it.
        let odd = |b: &&String| order(version, b).is_none();
        if self.bad.iter().any(|b| odd(&b)) { Meant::Unknown } else { Meant::No }
    }

    fn lower(&self, version: &str) -> Meant {
        if self.from.is_empty() {
            return match self.good.is_empty() {
                true => Meant::Yes,
                false => any(self.good.iter().map(|g| after(version, g))),
            };
        }
        any(self.from.iter().map(|f| match begins(version, f) {
            true => Meant::Yes,
            false => after(version, f),
        }))
    }

    fn upper(&self, version: &str) -> Meant {
        let before = match nearest(version, &self.before) {
            None => Meant::Yes,
            Some(b) if begins(version, b) => Meant::No,
            Some(b) => after(b, version),
        };
        let until = self.until.iter().map(|u| match begins(version, u) {
            true => Meant::Yes,
            false => after(u, version),
        });
        let until = if self.until.is_empty() { Meant::Yes } else { any(until) };
        all([before, until])
    }
}

/// Of several branches that were mended, the one that a version is of; else the highest.
fn nearest<'a>(version: &str, bounds: &'a [String]) -> Option<&'a String> {
    let branch = |b: &&String| {
        let mut parts: Vec<&str> = components(b);
        parts.pop();
        let own = components(version);
        parts.len() < own.len() && parts.iter().zip(&own).all(|(a, b)| same(a, b))
    };
    let branches = bounds.iter().filter(|b| components(b).len() > 1);
    branches
        .clone()
        .find(branch)
        .or_else(|| bounds.iter().max_by(|a, b| order(a, b).unwrap_or(Ordering::Equal)))
}

fn any(all: impl IntoIterator<Item = Meant>) -> Meant {
    all.into_iter().fold(Meant::No, |sum, one| match (sum, one) {
        (Meant::Yes, _) | (_, Meant::Yes) => Meant::Yes,
        (Meant::Unknown, _) | (_, Meant::Unknown) => Meant::Unknown,
        _ => Meant::No,
    })
}

fn all(all: impl IntoIterator<Item = Meant>) -> Meant {
    all.into_iter().fold(Meant::Yes, |sum, one| match (sum, one) {
        (Meant::No, _) | (_, Meant::No) => Meant::No,
        (Meant::Unknown, _) | (_, Meant::Unknown) => Meant::Unknown,
        _ => Meant::Yes,
    })
}

/// Whether a version comes after another and does not begin with it.
fn after(version: &str, other: &str) -> Meant {
    match order(version, other) {
        _ if begins(version, other) => Meant::No,
        Some(Ordering::Greater) => Meant::Yes,
        Some(_) => Meant::No,
        None => Meant::Unknown,
    }
}

/// Whether a version begins with the components of another: `254.6` does with `254`, `2540` and
/// `255.1` do not.
pub(super) fn begins(version: &str, with: &str) -> bool {
    let (own, with) = (components(version), components(with));
    !with.is_empty() && with.len() <= own.len() && with.iter().zip(&own).all(|(a, b)| same(a, b))
}

fn same(a: &str, b: &str) -> bool {
    let number = |s: &str| s.bytes().all(|b| b.is_ascii_digit()) && !s.is_empty();
    match number(a) && number(b) {
        true => a.trim_start_matches('0') == b.trim_start_matches('0'),
        false => a.eq_ignore_ascii_case(b),
    }
}

/// `None`: the first parts that differ are not both numbers.
pub(super) fn order(a: &str, b: &str) -> Option<Ordering> {
    let (a, b) = (components(a), components(b));
    for (a, b) in a.iter().zip(&b) {
        if same(a, b) {
            continue;
        }
        let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
        let (x, y) = (&a[..digits(a)], &b[..digits(b)]);
        let (p, q) = (x.trim_start_matches('0'), y.trim_start_matches('0'));
        if x.is_empty() || y.is_empty() || p == q {
            return None;
        }
        return Some((p.len(), p).cmp(&(q.len(), q)));
    }
    Some(a.len().cmp(&b.len()))
}

/// The parts between `.`, `-` and `_`; a last `x` or `*` stands for anything and is none.
fn components(version: &str) -> Vec<&str> {
    let version = plain(version.trim_start_matches(['v', 'V']));
    let mut parts: Vec<&str> =
        version.split(['.', '-', '_']).filter(|part| !part.is_empty()).collect();
    while parts.last().is_some_and(|p| matches!(*p, "x" | "X" | "*")) {
        parts.pop();
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owned(all: &[&str]) -> Vec<String> {
        all.iter().map(|v| (*v).to_owned()).collect()
    }

    fn mended_in(version: &str) -> Claim {
        Claim { before: owned(&[version]), ..Claim::default() }
    }

    #[test]
    fn a_named_version_stands_for_what_begins_with_it() {
        for (named, version, expected) in [
            ("254", "254.6", Meant::Yes),
            ("254", "255.1", Meant::No),
            ("254", "2540", Meant::No),
            ("254.x", "254.6", Meant::Yes),
            ("6.18.3", "6.18.3", Meant::Yes),
            ("6.18.3", "6.18", Meant::No),
            ("v1.2", "1.2.0", Meant::Yes),
            ("10.3p1", "10.3p1", Meant::Yes),
            ("10.3p1", "10.3p2", Meant::Unknown),
            ("10.2", "10.3p2", Meant::No),
            ("1.41.5", "1.41.5-a96edc606", Meant::Yes),
        ] {
            assert_eq!(Claim::bad(named).means(version), expected, "{named} {version}");
        }
    }

    #[test]
    fn ranges_have_ends() {
        let since = Claim { from: owned(&["6.17"]), ..Claim::default() };
        let told = ["6.16.9", "6.17", "6.17.2", "6.18"].map(|v| since.means(v));
        assert_eq!(told, [Meant::No, Meant::Yes, Meant::Yes, Meant::Yes]);
        let mended = Claim { before: owned(&["3.5.7", "3.6.3"]), ..Claim::default() };
        let told = ["3.5.6", "3.5.7", "3.6.2", "3.6.3", "3.4.1", "4.0"].map(|v| mended.means(v));
        use Meant::{No, Yes};
        assert_eq!(told, [Yes, No, Yes, No, Yes, No]);
        let good = Claim { good: owned(&["2.10"]), ..Claim::default() };
        assert_eq!(["2.9", "2.10", "2.10.1", "2.11"].map(|v| good.means(v)), [No, No, No, Yes]);
        let until = Claim { until: owned(&["1.2"]), ..Claim::default() };
        assert_eq!(["1.1", "1.2.5", "1.3"].map(|v| until.means(v)), [Yes, Yes, No]);
        let both = Claim { bad: owned(&["2.1"]), good: owned(&["2.0"]), ..Claim::default() };
        assert_eq!(["2.0.1", "2.1", "2.2"].map(|v| both.means(v)), [No, Yes, No]);
        assert_eq!(Claim::default().means("1"), Meant::Unknown);
        let within = Claim { within: owned(&["7.2"]), ..mended_in("7.2.5") };
        let told = ["6.18", "7.2.4", "7.2.5", "7.3", "git"].map(|v| within.means(v));
        assert_eq!(told, [No, Yes, No, No, Meant::Unknown]);
    }

    proptest! {
        #[test]
        fn nothing_comes_before_and_after(a in "[0-9a-z.-]{0,10}", b in "[0-9a-z.-]{0,10}") {
            if let (Some(one), Some(other)) = (order(&a, &b), order(&b, &a)) {
                prop_assert_eq!(one, other.reverse());
            }
            let _ = Claim::bad(&a).means(&b);
        }
    }
}
