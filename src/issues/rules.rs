//! What hosts.toml says of issues: which are ignored until when, and how bad some are.

use std::collections::BTreeMap;

use super::Severity;

/// `[issues]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Issues that are known and lived with.
    pub ignore: Vec<Ignore>,
    /// Severities by the number of an issue.
    pub by_number: BTreeMap<u64, Severity>,
    /// The highest severity that issues of a package have here.
    pub at_most: BTreeMap<String, Severity>,
}

/// An issue that is lived with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignore {
    /// Its number.
    pub id: u64,
    /// The first moment at which it counts again, milliseconds since the epoch.
    pub until_ms: i64,
    /// Why.
    pub reason: String,
}

impl Rules {
    /// Whether an issue is left out now.
    pub fn ignores(&self, number: u64, now_ms: i64) -> bool {
        self.ignore.iter().any(|i| i.id == number && now_ms < i.until_ms)
    }

    /// Those whose time is over.
    pub fn expired(&self, now_ms: i64) -> impl Iterator<Item = &Ignore> {
        self.ignore.iter().filter(move |i| now_ms >= i.until_ms)
    }

    /// The severity of an issue here: what its number was given, else at most what its package
    /// may have.
    pub fn severity(&self, number: u64, package: &str, found: Severity) -> Severity {
        let most = self.at_most.get(package).copied().unwrap_or(Severity::Critical);
        self.by_number.get(&number).copied().unwrap_or_else(|| found.min(most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_issue_comes_back_and_severities_are_given() {
        let ignore = vec![Ignore { id: 7, until_ms: 100, reason: "known".to_owned() }];
        let by_number = BTreeMap::from([(8, Severity::Critical)]);
        let at_most = BTreeMap::from([("steam".to_owned(), Severity::Low)]);
        let rules = Rules { ignore, by_number, at_most };
        assert!(rules.ignores(7, 99) && !rules.ignores(7, 100) && !rules.ignores(8, 0));
        assert_eq!((rules.expired(99).count(), rules.expired(100).count()), (0, 1));
        let given = [(8, "x"), (9, "steam"), (9, "x")];
        let given = given.map(|(number, name)| rules.severity(number, name, Severity::High));
        assert_eq!(given, [Severity::Critical, Severity::Low, Severity::High]);
    }
}
