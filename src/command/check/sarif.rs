//! The findings as SARIF 2.1.0 (OASIS), for code scanning.
//!
//! Optional properties that have no value are left out, never null. Findings that a comment lets
//! pass are there with their `suppressions`.

use std::path::Path;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use super::json::Each;
use crate::event::Severity;
use crate::validate::rules::{RULES, Rule};
use crate::validate::{Examined, Found};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// All findings of a run.
pub(super) struct Document<'a>(pub(super) &'a Examined);

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_map(Some(3))?;
        document.serialize_entry("$schema", SCHEMA)?;
        document.serialize_entry("runs", &[Run(self.0)])?;
        document.serialize_entry("version", "2.1.0")?;
        document.end()
    }
}

struct Run<'a>(&'a Examined);

impl Serialize for Run<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tool = json!({ "driver": {
            "name": "nixdeploy",
            "version": env!("CARGO_PKG_VERSION"),
            "rules": RULES.iter().map(|r| rule(r)).collect::<Vec<_>>(),
        }});
        let all = self.0.all().map(|(path, found)| result(path, &found));
        let mut run = serializer.serialize_map(Some(3))?;
        run.serialize_entry("columnKind", "unicodeCodePoints")?;
        run.serialize_entry("results", &Each::of(all))?;
        run.serialize_entry("tool", &tool)?;
        run.end()
    }
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Block => "error",
        Severity::Warn => "warning",
        Severity::Info => "note",
    }
}

fn rule(rule: &Rule) -> Value {
    json!({
        "id": rule.id,
        "shortDescription": { "text": rule.flags },
        "fullDescription": { "text": rule.why },
        "defaultConfiguration": { "level": level(rule.severity) },
    })
}

fn result(path: &Path, found: &Found) -> Value {
    let fault = &found.fault;
    let message = match &fault.hint {
        Some(hint) => format!("{}; {hint}", fault.message),
        None => fault.message.clone(),
    };
    let mut value = json!({
        "ruleId": fault.code,
        "level": level(fault.severity),
        "message": { "text": message },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": uri(path), "uriBaseId": "%SRCROOT%" },
            "region": {
                "startLine": found.from.line,
                "startColumn": found.from.column,
                "endLine": found.upto.line,
                "endColumn": found.upto.column,
            },
        }}],
        "properties": { "new": found.new },
    });
    if let Some(index) = RULES.iter().position(|r| r.id == fault.code) {
        value["ruleIndex"] = json!(index);
    }
    if let Some(identity) = found.identity {
        value["partialFingerprints"] = json!({ "nixdeploy/v1": identity.hex() });
    }
    if let Some(reason) = &found.allowed {
        let mut suppression = json!({ "kind": "inSource" });
        if !reason.is_empty() {
            suppression["justification"] = json!(reason);
        }
        value["suppressions"] = json!([suppression]);
    }
    value
}

/// A path as a relative reference: RFC 3986.
fn uri(path: &Path) -> String {
    let mut uri = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~/".contains(byte);
        if plain {
            uri.push(char::from(*byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}
