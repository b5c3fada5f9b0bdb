//! `check --format sarif` held against SARIF 2.1.0: OASIS Standard, 27 March 2020, and its schema.
//!
//! `tests/fixtures/sarif.json` is written by hand from them: the objects that are printed, with all
//! that the standard requires of these, and closed, so that a property that it does not know there
//! is a fault. What its prose asks beyond the schema is asked below.

use std::collections::HashSet;

use serde_json::Value;

use crate::support::home::Desk;

/// What is wrong with a value, by a schema of the fixture's form.
fn faults(schemas: &Value, schema: &Value, value: &Value, at: &str, told: &mut Vec<String>) {
    let schema = schema["$ref"].as_str().map_or(schema, |name| &schemas[name]);
    assert!(schema.is_object(), "{at}: no such schema");
    if let Some(words) = schema["enum"].as_array() {
        if !words.contains(value) {
            told.push(format!("{at}: {value} is none of {words:?}"));
        }
        return;
    }
    let right = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => {
            let least = schema["minimum"].as_i64().unwrap_or(i64::MIN);
            value.as_i64().is_some_and(|n| n >= least)
        }
        other => panic!("{at}: the schema says {other:?}"),
    };
    if !right {
        return told.push(format!("{at}: {value} is no {}", schema["type"]));
    }
    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
        faults(schemas, &schema["items"], item, &format!("{at}[{n}]"), told);
    }
    if let Some(items) = value.as_array().filter(|_| schema["unique"] == true) {
        let all: HashSet<String> = items.iter().map(Value::to_string).collect();
        told.extend((all.len() != items.len()).then(|| format!("{at}: items are not unique")));
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{key}");
        match (&schema["properties"][key], &schema["values"]) {
            (Value::Null, Value::Null) if schema["open"] == true => {}
            (Value::Null, Value::Null) => told.push(format!("{at}: the standard knows none")),
            (Value::Null, values) => faults(schemas, values, inner, &at, told),
            (known, _) => faults(schemas, known, inner, &at, told),
        }
    }
    for key in schema["required"].as_array().into_iter().flatten() {
        let there = value.get(key.as_str().expect("a name")).is_some();
        told.extend((!there).then(|| format!("{at}: {key} is missing")));
    }
}

fn wrong(document: &Value) -> Vec<String> {
    let schemas: Value = serde_json::from_str(include_str!("fixtures/sarif.json")).expect("JSON");
    let mut told = Vec::new();
    faults(&schemas, &schemas["sarifLog"], document, "$", &mut told);
    for run in document["runs"].as_array().into_iter().flatten() {
        let rules = &run["tool"]["driver"]["rules"];
        for result in run["results"].as_array().into_iter().flatten() {
            // 3.27.6: the rule that the index leads to is that of the result.
            if let Some(index) = result["ruleIndex"].as_u64() {
                let rule = &rules[usize::try_from(index).expect("an index")]["id"];
                told.extend((*rule != result["ruleId"]).then(|| format!("rule {rule}: {result}")));
            }
            let place = &result["locations"][0]["physicalLocation"];
            let region = &place["region"];
            let end = |line: &str, column: &str| (region[line].as_u64(), region[column].as_u64());
            // 3.30.2: a region does not end before it begins.
            let ends = end("startLine", "startColumn") <= end("endLine", "endColumn");
            // 3.4.4: with a base the reference is relative, and RFC 3986 says what it may hold.
            let uri = place["artifactLocation"]["uri"].as_str().unwrap_or("/");
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/%".contains(&b);
            let relative = !uri.starts_with('/') && uri.bytes().all(plain);
            told.extend((!ends || !relative).then(|| format!("place: {place}")));
            // 3.11.3: a message is a sentence, and holds something.
            let empty = result["message"]["text"].as_str().is_none_or(|t| t.trim().is_empty());
            told.extend(empty.then(|| format!("message: {result}")));
        }
    }
    told
}

fn printed(desk: &Desk, more: &[&str]) -> Value {
    let said = desk.run(&[&["check", "--format", "sarif"], more].concat());
    serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{e}: {}", said.stderr))
}

#[test]
fn every_finding_is_told_as_the_standard_asks() {
    let desk = Desk::new();
    for (n, rule) in nixdeploy::validate::rules::RULES.iter().enumerate() {
        for (m, text) in rule.bad().iter().enumerate() {
            desk.write(&format!("r{n:02}/{m:02}/configuration.nix"), text);
        }
    }
    desk.write(
        "with blank, ä and %.nix",
        "{\n  # nixdeploy: allow(firewall-disabled) -- tested\n  networking.firewall.enable = \
         false;\n  # nixdeploy: allow(needless-rec)\n  a = rec { b = \"ä\"; };\n}\n",
    );
    desk.write("not-utf-8.nix", b"{ a = \"\xff\"; }");
    desk.write("empty.nix", "");
    let document = printed(&desk, &[]);
    assert_eq!(wrong(&document), Vec::<String>::new());
    let results = document["runs"][0]["results"].as_array().expect("results");
    let told: HashSet<&str> = results.iter().filter_map(|r| r["ruleId"].as_str()).collect();
    for rule in nixdeploy::validate::rules::RULES {
        assert!(told.contains(rule.id), "{} is not told", rule.id);
    }
    let suppressed = results.iter().filter(|r| r.get("suppressions").is_some()).count();
    assert_eq!(suppressed, 2);
}

#[test]
fn a_clean_tree_is_told_so() {
    let desk = Desk::new();
    desk.write("a.nix", "{ }\n");
    let document = printed(&desk, &[]);
    assert_eq!(wrong(&document), Vec::<String>::new());
    assert_eq!(document["runs"][0]["results"], serde_json::json!([]));
}

#[test]
fn what_the_standard_does_not_know_is_found() {
    let desk = Desk::new();
    desk.write("a.nix", "{ networking.firewall.enable = false; }\n");
    let good = printed(&desk, &[]);
    let places: [(&str, Value); 7] = [
        ("/runs/0/results/0/level", serde_json::json!("warn")),
        ("/runs/0/results/0/ruleIndex", serde_json::json!(0)),
        ("/runs/0/results/0/message/text", serde_json::json!(" ")),
        ("/runs/0/results/0/message", serde_json::json!({ "text": "a", "hint": null })),
        ("/runs/0/results/0/locations/0/physicalLocation/region/endLine", serde_json::json!(0)),
        ("/runs/0/results/0/locations/0/physicalLocation/artifactLocation/uri", "/a b".into()),
        ("/version", serde_json::json!("2.2.0")),
    ];
    for (place, value) in places {
        let mut bad = good.clone();
        *bad.pointer_mut(place).expect("there") = value;
        assert!(!wrong(&bad).is_empty(), "{place}");
    }
}
