//! An issue as GitHub lists it, and the little of it that is kept.
//!
//! Everything in it was written by strangers. Titles become harmless here; of a body only the
//! form's facts, the versions and an advisory's list are kept.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::advisory::{self, Advisory};
use super::inventory_file::moment;
use crate::event::harmless;

/// Longest title that is looked at, in characters; GitHub's own limit is 256.
const TITLE: usize = 300;
/// How much of a body is looked at, in bytes.
const BODY: usize = 64 << 10;
/// Labels that are looked at.
const LABELS: usize = 32;
/// Lines of a body that tell a version.
const FACTS: usize = 4;

/// An issue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Issue {
    /// Its number in the repository.
    pub number: u64,
    /// Its title, harmless.
    pub title: String,
    /// Its labels, lower case.
    pub labels: Vec<String>,
    /// How it stands.
    pub state: State,
    /// When it was opened, milliseconds since the epoch.
    pub created_ms: i64,
    /// When anything last happened.
    pub updated_ms: i64,
    /// When it was closed; `None`: it is open.
    pub closed_ms: Option<i64>,
    /// The release that the reporter named in the form, `26.05`.
    pub release: Option<String>,
    /// Lines of the body that tell a version, `version: 1.2`.
    pub facts: Vec<String>,
    /// What the security tracker lists; nothing for what people wrote.
    pub advisory: Advisory,
}

/// How an issue stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It goes on.
    Open,
    /// It was mended, or GitHub does not say.
    Closed,
    /// It was closed, and nothing was mended for that.
    NotPlanned,
    /// Another issue tells the same.
    Duplicate,
}

/// Reads one item of GitHub's list; `None`: a pull request, or nothing that can be used.
pub fn read(item: &Value) -> Option<Issue> {
    if item.get("pull_request").is_some_and(|p| !p.is_null()) {
        return None;
    }
    let text = |key: &str| item.get(key).and_then(Value::as_str);
    let time = |key: &str| text(key).and_then(moment);
    let created_ms = time("created_at")?;
    let state = match (text("state")?, text("state_reason")) {
        ("open", _) => State::Open,
        (_, Some("not_planned")) => State::NotPlanned,
        (_, Some("duplicate")) => State::Duplicate,
        _ => State::Closed,
    };
    let updated_ms = time("updated_at").unwrap_or(created_ms);
    let closed_ms = match state {
        State::Open => None,
        _ => Some(time("closed_at").unwrap_or(updated_ms)),
    };
    let body = text("body").unwrap_or_default();
    let body = &body[..body.floor_char_boundary(BODY)];
    let title: String = text("title")?.chars().take(TITLE).collect();
    Some(Issue {
        number: item.get("number").and_then(Value::as_u64)?,
        title: harmless::line(&title),
        labels: labels(item.get("labels")),
        state,
        created_ms,
        updated_ms,
        closed_ms,
        release: release(body),
        facts: facts(body),
        advisory: advisory::read(body),
    })
}

fn labels(list: Option<&Value>) -> Vec<String> {
    let list = list.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let name = |label: &Value| {
        let name = label.get("name").unwrap_or(label).as_str()?;
        Some(harmless::line(&name.chars().take(80).collect::<String>()).to_lowercase())
    };
    list.iter().take(LABELS).filter_map(name).collect()
}

/// The release in the form's first field: the line below `### Nixpkgs version`.
fn release(body: &str) -> Option<String> {
    let (_, rest) = body.split_once("### Nixpkgs version")?;
    let line = rest.lines().map(str::trim).find(|l| !l.is_empty())?;
    let (_, behind) = line.split_once('(')?;
    let (release, _) = behind.split_once(')')?;
    is_release(release).then(|| release.to_owned())
}

/// Whether a word is a release of NixOS: they come in May and November.
pub(super) fn is_release(word: &str) -> bool {
    let Some((year, month)) = word.split_once('.') else { return false };
    let two = year.len() == 2 && year.bytes().all(|b| b.is_ascii_digit());
    two && matches!(month, "05" | "11" | "03" | "09") && year > "12"
}

/// Lines that say in so many words which version it is about.
fn facts(body: &str) -> Vec<String> {
    let fact = |line: &str| {
        let line = line.trim_start_matches(['-', '*', ' ', '>', '#']);
        let (key, value) = line.split_once(':')?;
        let key = key.trim().trim_matches(['*', '`', '_']).to_lowercase();
        let told = match key.as_str() {
            "version" | "package version" | "affected version" | "affected versions"
            | "broken version" | "installed version" => "",
            "last good version" | "last working version" | "working version" => "last good ",
            "fixed in" | "fixed version" => "fixed in ",
            _ => return None,
        };
        let value = value.trim().trim_matches(['*', '`', '_', ' ']);
        let short = value.len() <= 80 && value.starts_with(|c: char| c.is_ascii_alphanumeric());
        // `version: nix-env (Nix) 2.31` of nix-info is about Nix.
        let own = !value.contains("nix-env") && !value.contains("(Nix");
        (short && own).then(|| harmless::line(&format!("{told}{value}")))
    };
    body.lines().filter_map(fact).take(FACTS).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_needed_is_kept_and_harmless() {
        let item = json!({"number": 7, "title": "x: \u{1b}[2J\u{202e}y", "state": "closed",
            "state_reason": "not_planned", "created_at": "2026-09-01T00:00:00Z",
            "labels": [{"name": "0.kind: Bug"}, "plain"], "body":
            "### Nixpkgs version\n\n- Stable (26.05)\n\n### Describe the bug\n\n- Version: 1.2\n\
             - version: `nix-env (Nix) 2.31`\nLast good version: 1.1\n"});
        let issue = read(&item).expect("an issue");
        assert!(!issue.title.chars().any(harmless::obeyed), "{}", issue.title);
        assert_eq!(issue.labels, ["0.kind: bug", "plain"]);
        assert_eq!((issue.state, issue.closed_ms), (State::NotPlanned, Some(issue.created_ms)));
        assert_eq!(issue.release.as_deref(), Some("26.05"));
        assert_eq!(issue.facts, ["1.2", "last good 1.1"]);
    }

    #[test]
    fn pull_requests_and_nonsense_are_no_issues() {
        let good = json!({"number": 7, "title": "x", "state": "open",
            "created_at": "2026-09-01T00:00:00Z"});
        assert!(read(&good).is_some());
        for (key, value) in [
            ("pull_request", json!({})),
            ("number", json!("7")),
            ("title", json!(null)),
            ("state", json!(1)),
            ("created_at", json!("yesterday")),
        ] {
            let mut bad = good.clone();
            bad[key] = value;
            assert_eq!(read(&bad), None, "{key}");
        }
        assert_eq!(read(&json!([])), None);
    }
}
