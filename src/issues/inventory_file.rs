//! An inventory given as JSON: for machines that cannot be evaluated here. Whatever the text, the
//! answer is an inventory or a sentence.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::inventory::{Fact, Hardware, Inventory, Lock, Package};
use crate::event::harmless;

/// The file as it is written.
#[derive(Debug, Deserialize)]
struct Written {
    now: Option<String>,
    #[serde(default)]
    installed_lock: WrittenLock,
    candidate_lock: Option<WrittenLock>,
    packages: Vec<WrittenPackage>,
    modules_enabled: Option<Vec<String>>,
    #[serde(default)]
    hosts: BTreeMap<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
struct WrittenLock {
    #[serde(rename = "lastModified")]
    modified: Option<Value>,
    release: Option<String>,
}

#[derive(Debug, Deserialize)]
struct WrittenPackage {
    attr: Option<String>,
    pname: Option<String>,
    installed: Option<String>,
    /// Missing: as installed. `null`: it goes.
    #[serde(default, deserialize_with = "given")]
    candidate: Option<Option<String>>,
    hosts: Option<Vec<String>>,
    pinned_by_overlay: Option<bool>,
    dependency: Option<bool>,
}

fn given<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(d).map(Some)
}

/// Reads an inventory; `clock_ms` stands in for a missing `now`.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn parse(text: &str, clock_ms: i64) -> Result<Inventory, String> {
    let written: Written =
        serde_json::from_str(text).map_err(|e| harmless::line(&e.to_string()))?;
    let now_ms = match &written.now {
        Some(now) => {
            moment(now).ok_or_else(|| format!("`now` is no time: {}", harmless::line(now)))?
        }
        None => clock_ms,
    };
    let installed = lock(&written.installed_lock)?;
    let candidate = match &written.candidate_lock {
        Some(written) => lock(written)?,
        None => installed.clone(),
    };
    let mut packages = Vec::new();
    for written in written.packages {
        packages.push(package(written)?);
    }
    let hosts = written.hosts.iter().map(|(name, facts)| (harmless::line(name), hardware(facts)));
    Ok(Inventory {
        now_ms,
        installed,
        candidate,
        packages,
        modules: written.modules_enabled,
        hosts: hosts.collect(),
    })
}

fn package(written: WrittenPackage) -> Result<Package, String> {
    let last = |attr: &String| attr.rsplit('.').next().unwrap_or(attr).to_owned();
    let pname = written.pname.or_else(|| written.attr.as_ref().map(last));
    let Some(pname) = pname.filter(|p| !p.is_empty()) else {
        return Err("a package has neither `pname` nor `attr`".to_owned());
    };
    Ok(Package {
        pname: harmless::line(&pname),
        attr: written.attr,
        candidate: written.candidate.unwrap_or_else(|| written.installed.clone()),
        installed: written.installed,
        hosts: written.hosts.unwrap_or_default().iter().map(|h| harmless::line(h)).collect(),
        pinned: written.pinned_by_overlay.unwrap_or(false),
        dependency: written.dependency.unwrap_or(false),
    })
}

fn lock(written: &WrittenLock) -> Result<Lock, String> {
    let modified_ms = match &written.modified {
        None | Some(Value::Null) => None,
        Some(Value::Number(seconds)) => seconds.as_i64().and_then(|s| s.checked_mul(1000)),
        Some(Value::String(text)) => Some(
            moment(text)
                .ok_or_else(|| format!("`lastModified` is no time: {}", harmless::line(text)))?,
        ),
        Some(_) => return Err("`lastModified` is a time or seconds since the epoch".to_owned()),
    };
    Ok(Lock { modified_ms, release: written.release.clone() })
}

/// A time as GitHub and inventories write it, in milliseconds since the epoch.
pub(super) fn moment(text: &str) -> Option<i64> {
    let text = text.trim();
    let stamp = text.parse::<jiff::Timestamp>();
    stamp.or_else(|_| format!("{text}T00:00:00Z").parse()).ok().map(|t| t.as_millisecond())
}

fn hardware(facts: &Value) -> Hardware {
    let fact = |key: &str| match facts.get(key) {
        None => Fact::Unknown,
        Some(Value::String(word)) if word.is_empty() || word == "none" => Fact::Absent,
        Some(Value::String(word)) => Fact::Words(word.to_lowercase()),
        Some(Value::Array(words)) if words.is_empty() => Fact::Absent,
        Some(Value::Array(words)) => {
            let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
            Fact::Words(words.join(" ").to_lowercase())
        }
        Some(Value::Null | Value::Bool(false)) => Fact::Absent,
        Some(_) => Fact::Unknown,
    };
    Hardware {
        gpu: fact("gpu"),
        wifi: fact("wifi"),
        arch: fact("arch"),
        desktop: facts.get("desktop").and_then(Value::as_bool),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_missing_may_be_missing() {
        let inventory = parse(r#"{"packages": [{"attr": "a.b", "installed": "1"}]}"#, 7);
        let inventory = inventory.expect("an inventory");
        assert_eq!((inventory.now_ms, inventory.host_names()), (7, vec!["*"]));
        assert_eq!(inventory.packages[0].pname, "b");
        assert!(!inventory.packages[0].moves() && inventory.modules.is_none());
        let gone = r#"{"packages": [{"pname": "b", "installed": "1", "candidate": null}]}"#;
        assert_eq!(parse(gone, 0).expect("one").packages[0].candidate, None);
    }

    #[test]
    fn hardware_is_known_absent_or_not_known() {
        let text = r#"{"packages": [], "hosts": {"a": {"gpu": "NVIDIA", "wifi": null},
            "b": {"gpu": ["amd", "nvidia"]}, "c": 7}}"#;
        let hosts = parse(text, 0).expect("an inventory").hosts;
        assert_eq!(hosts["a"].gpu, Fact::Words("nvidia".to_owned()));
        assert_eq!((&hosts["a"].wifi, &hosts["a"].arch), (&Fact::Absent, &Fact::Unknown));
        assert_eq!(hosts["b"].gpu, Fact::Words("amd nvidia".to_owned()));
        assert_eq!(hosts["c"], Hardware::default());
    }

    #[test]
    fn mistakes_are_sentences() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"packages": [{}]}"#,
            r#"{"packages": [], "now": "soon"}"#,
            r#"{"packages": [], "installed_lock": {"lastModified": "\u001b[2J"}}"#,
        ] {
            let error = parse(text, 0).expect_err(text);
            assert!(!error.is_empty() && !error.chars().any(harmless::obeyed), "{error:?}");
        }
    }
}
