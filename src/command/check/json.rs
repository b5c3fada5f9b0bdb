//! The findings as one JSON document.

use serde_json::{Value, json};

use super::{Outcome, text::word};
use crate::event::Severity;
use crate::validate::{Faulty, Found};

/// Lines and columns count from 1, in characters; the offset is in bytes, from 0. Every finding is
/// listed; `new` tells which block.
pub(super) fn document(outcome: &Outcome<'_>) -> Value {
    let examined = outcome.examined;
    let blocking = examined.told().filter(|(_, f)| f.new && f.fault.severity == Severity::Block);
    let allowed = examined.faulty.iter().flat_map(|f| &f.faults).filter(|f| f.allowed.is_some());
    json!({
        "version": 1,
        "findings": examined.told().map(|(file, found)| finding(file, found)).collect::<Vec<_>>(),
        "summary": {
            "files": examined.files,
            "errors": examined.count(Severity::Block),
            "warnings": examined.count(Severity::Warn),
            "notes": examined.count(Severity::Info),
            "new": examined.told().filter(|(_, f)| f.new).count(),
            "blocking": blocking.count(),
            "allowed": allowed.count(),
            "fixed": outcome.fixed,
            "elapsed_ms": outcome.took_ms,
        },
    })
}

fn finding(file: &Faulty, found: &Found) -> Value {
    let fault = &found.fault;
    let mut value = json!({
        "rule": fault.code,
        "severity": word(fault.severity),
        "new": found.new,
        "path": file.path.display().to_string(),
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
