//! Journal entries as JSON: read whatever journald makes of a message, and grouped by unit.
//!
//! A field is a string, an array of bytes when it holds control characters or is no UTF-8, and
//! null when it is longer than 4096 bytes and `--all` was not given (`systemd.journal-fields(7)`,
//! `journalctl(1)`, `--output=json`).

use std::collections::BTreeMap;

use serde_json::Value;

use super::judge::{Expectation, finding};
use super::observe::Observed;
use crate::event::harmless;
use crate::plan::{Finding, Severity};

/// Entries kept.
const ENTRIES: usize = 200;
/// Units named one by one; the rest is counted.
const GROUPS: usize = 5;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The unit it is about, else the program that said it.
    pub source: String,
    /// First line of the message, harmless.
    pub message: String,
}

/// Reads a line into the list; one that was cut or is no JSON is left out.
pub(super) fn take(entries: &mut Vec<Entry>, line: &str) {
    if entries.len() < ENTRIES
        && let Some(entry) = parse(line)
    {
        entries.push(entry);
    }
}

/// One line of `journalctl -o json`.
fn parse(line: &str) -> Option<Entry> {
    let Value::Object(fields) = serde_json::from_str(line).ok()? else { return None };
    let field = |name: &str| fields.get(name).map(text).filter(|t| !t.is_empty());
    let source = ["UNIT", "_SYSTEMD_UNIT", "SYSLOG_IDENTIFIER"].iter().find_map(|n| field(n));
    let message = field("MESSAGE").unwrap_or_default();
    Some(Entry {
        source: harmless::line(&source.unwrap_or_else(|| "kernel".to_owned())),
        message: harmless::line(message.lines().next().unwrap_or_default()),
    })
}

/// The lines of a message, for evidence.
pub(super) fn message_lines(line: &str) -> Vec<String> {
    let Ok(Value::Object(fields)) = serde_json::from_str(line) else { return Vec::new() };
    let message = fields.get("MESSAGE").map(text).unwrap_or_default();
    message.lines().take(50).map(harmless::line).collect()
}

fn text(field: &Value) -> String {
    match field {
        Value::String(text) => text.clone(),
        // a field that occurs twice comes as an array of strings
        Value::Array(items) if items.iter().any(Value::is_string) => {
            items.iter().find_map(Value::as_str).unwrap_or_default().to_owned()
        }
        Value::Array(items) => {
            let byte = |v: &Value| v.as_u64().and_then(|n| u8::try_from(n).ok());
            let bytes: Vec<u8> = items.iter().filter_map(byte).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        Value::Null => "(too long to be shown)".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => field.to_string(),
    }
}

/// Errors warn, by unit; they condemn nothing, since healthy programs log errors too.
pub(super) fn judge(_: &Expectation, seen: &Observed) -> Vec<Finding> {
    let mut groups: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for entry in seen.journal.iter().filter(|e| !super::units::is_ours(&e.source)) {
        groups.entry(&entry.source).or_insert((0, &entry.message)).0 += 1;
    }
    let mut by_count: Vec<_> = groups.into_iter().collect();
    by_count.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    let rest: usize = by_count.iter().skip(GROUPS).map(|(_, (count, _))| count).sum();
    let mut found: Vec<Finding> = by_count.iter().take(GROUPS).map(one_group).collect();
    if rest > 0 {
        let units = by_count.len() - GROUPS;
        let message = format!("{rest} more errors of {units} more units since the activation");
        found.push(finding("journal", Severity::Warn, "journal", message));
    }
    found
}

fn one_group((source, (count, first)): &(&str, (usize, &str))) -> Finding {
    let message = match count {
        1 => format!("1 error since the activation: {first}"),
        n => format!("{n} errors since the activation, first: {first}"),
    };
    finding("journal", Severity::Warn, source, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_may_be_text_bytes_or_null() {
        let entry = parse(r#"{"MESSAGE":"out of disk","UNIT":"a.service"}"#).expect("an entry");
        assert_eq!(entry, Entry { source: "a.service".into(), message: "out of disk".into() });
        let bytes = parse(r#"{"MESSAGE":[27,93,53,50,255],"SYSLOG_IDENTIFIER":"x"}"#).expect("one");
        assert_eq!(bytes.message, "\\u{1b}]52\u{fffd}");
        let null = parse(r#"{"MESSAGE":null}"#).expect("one");
        assert_eq!(
            (null.source.as_str(), null.message.as_str()),
            ("kernel", "(too long to be shown)")
        );
        let twice = parse(r#"{"MESSAGE":["one","two"]}"#).expect("one");
        assert_eq!(twice.message, "one");
        for bad in ["", "{", "[]", "7", "\u{0}"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
