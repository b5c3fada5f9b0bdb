//! The findings as one JSON document.

use std::cell::Cell;
use std::path::Path;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use super::{Outcome, text::word};
use crate::event::Severity;
use crate::validate::Found;

/// Lines and columns count from 1, in characters; the offset is in bytes, from 0. Every finding is
/// listed; `new` tells which block.
pub(super) struct Document<'a>(pub(super) &'a Outcome);

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let told = self.0.examined.told().map(|(path, found)| finding(path, &found));
        let mut document = serializer.serialize_map(Some(3))?;
        document.serialize_entry("findings", &Each::of(told))?;
        document.serialize_entry("summary", &summary(self.0))?;
        document.serialize_entry("version", &1)?;
        document.end()
    }
}

/// Values that are written as they come.
pub(super) struct Each<I>(Cell<Option<I>>);

impl<I: Iterator<Item = Value>> Each<I> {
    pub(super) fn of(values: I) -> Self {
        Self(Cell::new(Some(values)))
    }
}

impl<I: Iterator<Item = Value>> Serialize for Each<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.take().into_iter().flatten())
    }
}

fn summary(outcome: &Outcome) -> Value {
    let examined = &outcome.examined;
    let blocking = examined.counted().filter(|m| m.new && m.severity == Severity::Block);
    let allowed = examined.marks().filter(|mark| mark.allowed);
    json!({
        "files": examined.files,
        "errors": examined.count(Severity::Block),
        "warnings": examined.count(Severity::Warn),
        "notes": examined.count(Severity::Info),
        "new": examined.counted().filter(|mark| mark.new).count(),
        "blocking": blocking.count(),
        "allowed": allowed.count(),
        "fixed": outcome.fixed,
        "elapsed_ms": outcome.took_ms,
    })
}

fn finding(path: &Path, found: &Found) -> Value {
    let fault = &found.fault;
    let mut value = json!({
        "rule": fault.code,
        "severity": word(fault.severity),
        "new": found.new,
        "path": path.display().to_string(),
        "line": found.from.line,
        "column": found.from.column,
        "end_line": found.upto.line,
        "end_column": found.upto.column,
        "byte_offset": fault.range.start,
        "message": fault.message,
    });
    if let Some(hint) = &fault.hint {
        value["hint"] = json!(hint);
    }
    if let Some(fix) = &fault.fix {
        value["fix"] = json!({
            "byte_offset": fix.range.start,
            "byte_length": fix.range.len(),
            "text": fix.text,
        });
    }
    value
}
