//! What the security tracker writes into an issue: the attributes with their versions, and the
//! score. Such a title need not name a package at all.

use serde::{Deserialize, Serialize};

/// Entries that are kept; a wide advisory lists some dozen.
const LISTED: usize = 200;
/// Versions of an entry that are kept.
const VERSIONS: usize = 16;

/// What an advisory says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Advisory {
    /// Attributes and the versions of each that are affected.
    pub affected: Vec<(String, Vec<String>)>,
    /// The highest CVSS score that it names.
    pub cvss: Option<f64>,
}

/// Reads a body: entries of the form `` `attr` (version@channel, version@channel) ``.
pub fn read(body: &str) -> Advisory {
    let mut affected: Vec<(String, Vec<String>)> = Vec::new();
    for line in body.lines().filter(|l| l.contains('@')) {
        for (attr, versions) in entries(line) {
            if affected.len() < LISTED {
                affected.push((attr, versions));
            }
        }
    }
    let score = body
        .lines()
        .filter_map(score)
        .fold(None, |best: Option<f64>, score| Some(best.map_or(score, |best| best.max(score))));
    Advisory { cvss: score, affected }
}

fn entries(line: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some((_, behind)) = rest.split_once('`') {
        let Some((attr, behind)) = behind.split_once('`') else { break };
        rest = behind;
        let Some(list) = behind.trim_start().strip_prefix('(') else { continue };
        let Some((list, behind)) = list.split_once(')') else { break };
        rest = behind;
        let version = |one: &str| {
            let (version, _) = one.trim().trim_matches('`').split_once('@')?;
            is_plain(version).then(|| version.to_owned())
        };
        let versions: Vec<String> =
            list.split([',', ';']).filter_map(version).take(VERSIONS).collect();
        if is_plain(attr) && !versions.is_empty() {
            found.push((attr.to_owned(), versions));
        }
    }
    found
}

fn is_plain(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+-~".contains(c);
    (1..=80).contains(&word.len()) && word.chars().all(plain)
}

/// `CVSS 3.1: 9.8 (CRITICAL)`, `CVSSv3=7.5`: the last number of the line that can be a score and
/// is no version of the scale itself.
fn score(line: &str) -> Option<f64> {
    let upper = line.to_ascii_uppercase();
    let at = upper.find("CVSS")?;
    let mut rest = upper.get(at + 4..)?;
    let mut score = None;
    while let Some(begin) = rest.find(|c: char| c.is_ascii_digit()) {
        let number = &rest[begin..];
        let end = number.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(number.len());
        let before = rest[..begin].trim_end();
        let scale = before.is_empty() || before.ends_with(['V', '_', ':']) && score.is_none();
        let value = number[..end].trim_end_matches('.').parse::<f64>().ok();
        let scale = scale && matches!(value, Some(2.0 | 3.0 | 3.1 | 4.0)) && end < number.len();
        if let Some(value) = value.filter(|v| (0.0..=10.0).contains(v) && !scale) {
            score = score.or(Some(value));
        }
        rest = &number[end..];
    }
    score
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_versions_and_score_are_read() {
        let body = "Affected:\n- `sqlite` (3.53.1@nixos-26.05, 3.53.1@nixos-unstable)\n\
            - `python313Packages.x` (1.0@nixos-unstable) and `y` (2@a)\n`no` version\n\
            CVSS 3.1: 9.8 (CRITICAL)\nCVSSv3=7.5\n";
        let read = read(body);
        let names: Vec<&str> = read.affected.iter().map(|(a, _)| a.as_str()).collect();
        assert_eq!(names, ["sqlite", "python313Packages.x", "y"]);
        assert_eq!(read.affected[0].1, ["3.53.1", "3.53.1"]);
        assert_eq!(read.cvss, Some(9.8));
    }

    #[test]
    fn scores_are_told_from_scales() {
        for (line, expected) in [
            ("CVSS 3.1: 9.8", Some(9.8)),
            ("CVSSv3=7.5 (nixos-20.03)", Some(7.5)),
            ("CVSS score 4.3, MEDIUM", Some(4.3)),
            ("CVSS: 10.0", Some(10.0)),
            ("CVSS:3.1/AV:N/AC:L", None),
            ("CVSS v4: 6.1", Some(6.1)),
            ("CVSS", None),
            ("no score 9.8", None),
        ] {
            assert_eq!(score(line), expected, "{line}");
        }
    }

    #[test]
    fn prose_is_no_advisory() {
        for body in ["mail me@example.org", "`a` (b)", "`a` (1@", "(1@b)", "``(@)", ""] {
            assert_eq!(read(body).affected, [], "{body}");
        }
    }
}
