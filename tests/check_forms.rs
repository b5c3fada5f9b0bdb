//! The forms in which `nixdeploy check` tells what it found, and what none of them may hold.

use serde_json::Value;

use crate::support::home::Desk;
use crate::support::machines::Said;

const BAD: &str = "{ lib, c, ... }:\n{\n  a = lib.mkIf c true;\n}\n";

#[test]
fn no_output_holds_a_secret() {
    let token = ["gh", "p_16C7e42F292c6912E7710c838347Ae178B4a"].concat();
    let key = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ";
    let text = format!(
        "{{ lib, c, ... }}: {{\n  users.users.me.password = \"hunter2\"; a = lib.mkIf c true; \
         b = \"{token}\"; d = lib.mkIf c true;\n  \
         e = ''\n    -----BEGIN OPENSSH PRIVATE KEY-----\n    {key}\n  '';\n  \
         f = {{ inherit (lib) x; x = \"{token}\"; }};\n}}\n"
    );
    let desk = Desk::new();
    desk.write("a.nix", text.replace("inherit (lib) x; ", ""));
    desk.write("duplicate.nix", text);
    let summary = desk.path("summary");
    let variables = [("GITHUB_STEP_SUMMARY", summary.to_str().expect("a path"))];
    let forms: [&[&str]; 6] = [
        &["--all"],
        &["--compact"],
        &["--json"],
        &["--format", "github"],
        &["--format", "sarif"],
        &["--write-baseline", "-vv"],
    ];
    for form in forms {
        let said = desk.run_with(&[&["check"], form].concat(), &variables);
        assert_eq!(said.code, 3, "{}", said.stderr);
        let baseline = std::fs::read_to_string(desk.work().join(".nixdeploy-baseline"));
        let summary = std::fs::read_to_string(&summary).unwrap_or_default();
        let all = said.stdout + &said.stderr + &summary + &baseline.unwrap_or_default();
        for secret in ["hunter2", &token[..12], &key[..12]] {
            assert!(!all.contains(secret), "{form:?} {secret}\n{all}");
        }
    }
}

fn github(desk: &Desk) -> (Said, String) {
    let summary = desk.path("summary");
    let variables = [("GITHUB_STEP_SUMMARY", summary.to_str().expect("a path"))];
    let said = desk.run_with(&["check", "--format", "github"], &variables);
    (said, std::fs::read_to_string(summary).expect("a summary"))
}

#[test]
fn annotations_come_worst_first_at_most_ten_and_the_rest_is_counted() {
    let desk = Desk::new();
    let off = "{ networking.firewall.enable = false; }\n";
    (0..12).for_each(|n| desk.write(&format!("w{n:02}.nix"), off));
    desk.write("z,:%.nix", BAD);
    let (said, summary) = github(&desk);
    let lines: Vec<&str> = said.stdout.lines().filter(|l| l.starts_with("::")).collect();
    let first = "::error file=z%2C%3A%25.nix,line=3,endLine=3,col=7,endColumn=22,title=mkif-true::";
    assert!(lines[0].starts_with(first), "{}", lines[0]);
    assert_eq!(lines.len(), 10);
    assert_eq!(lines[9], "::notice title=nixdeploy check::4 more: see the summary");
    assert_eq!(summary.lines().filter(|l| l.starts_with("| warns")).count(), 12, "{summary}");
    assert!(summary.contains("13 new findings"), "{summary}");
}

#[test]
fn hostile_names_draw_nothing_and_command_nothing() {
    let desk = Desk::new();
    desk.write("a\n::error::x\u{1b}[31m.nix", BAD);
    for form in [&["--all"] as &[&str], &["--compact"], &["--format", "github"]] {
        let said = desk.run(&[&["check"], form].concat());
        crate::support::home::assert_harmless(&said.stdout);
        let commands = said.stdout.lines().filter(|l| l.starts_with("::error::x"));
        assert_eq!(commands.count(), 0, "{}", said.stdout);
    }
}

#[test]
fn sarif_has_the_shape_of_the_standard() {
    let desk = Desk::new();
    desk.write("hosts/a b.nix", BAD);
    let allow = "# nixdeploy: allow(firewall-disabled) -- lab";
    desk.write("b.nix", format!("{{\n  {allow}\n  networking.firewall.enable = false;\n}}\n"));
    let said = desk.run(&["check", "--format", "sarif"]);
    assert_eq!(said.code, 3);
    let document: Value = serde_json::from_str(&said.stdout).expect("JSON");
    sarif(&document);
    let results = document["runs"][0]["results"].as_array().expect("results");
    assert_eq!(results.len(), 2);
    assert_eq!(results[0]["suppressions"][0]["kind"], "inSource");
    assert_eq!(results[0]["suppressions"][0]["justification"], "lab");
    let location = &results[1]["locations"][0]["physicalLocation"];
    assert_eq!(location["artifactLocation"]["uri"], "hosts/a%20b.nix");
    assert_eq!(location["region"]["startLine"], 3);
    assert_eq!(location["region"]["endColumn"], 22);
}

/// What the schema of SARIF 2.1.0 demands of the properties that are used here: which ones an
/// object needs, which others it may have, and what they are (OASIS, sarif-schema-2.1.0.json).
fn sarif(document: &Value) {
    object(document, &["version", "runs"], &["$schema"]);
    assert_eq!(document["version"], "2.1.0");
    assert!(document["$schema"].as_str().is_some_and(|s| s.starts_with("https://")));
    for run in array(&document["runs"]) {
        object(run, &["tool"], &["results", "columnKind"]);
        assert!(["utf16CodeUnits", "unicodeCodePoints"].contains(&text(&run["columnKind"])));
        object(&run["tool"], &["driver"], &[]);
        let driver = &run["tool"]["driver"];
        object(driver, &["name"], &["version", "rules"]);
        let rules = array(&driver["rules"]);
        for rule in rules {
            let optional = ["shortDescription", "fullDescription", "defaultConfiguration"];
            object(rule, &["id"], &optional);
            object(&rule["defaultConfiguration"], &[], &["level"]);
            level(&rule["defaultConfiguration"]["level"]);
            text(&rule["shortDescription"]["text"]);
            text(&rule["fullDescription"]["text"]);
        }
        for result in array(&run["results"]) {
            let optional = [
                "ruleId",
                "ruleIndex",
                "level",
                "locations",
                "partialFingerprints",
                "suppressions",
                "properties",
            ];
            object(result, &["message"], &optional);
            level(&result["level"]);
            text(&result["message"]["text"]);
            let index = usize::try_from(result["ruleIndex"].as_u64().expect("a rule"));
            assert_eq!(rules[index.expect("small")]["id"], result["ruleId"]);
            for location in array(&result["locations"]) {
                place(&location["physicalLocation"]);
            }
            for suppression in result["suppressions"].as_array().into_iter().flatten() {
                object(suppression, &["kind"], &["justification"]);
                assert!(["inSource", "external"].contains(&text(&suppression["kind"])));
            }
            let prints = result["partialFingerprints"].as_object().expect("an object");
            assert!(prints.values().all(Value::is_string));
        }
    }
}

fn place(physical: &Value) {
    object(physical, &["artifactLocation", "region"], &[]);
    object(&physical["artifactLocation"], &["uri", "uriBaseId"], &[]);
    let uri = text(&physical["artifactLocation"]["uri"]);
    assert!(!uri.starts_with('/') && !uri.contains(' '), "{uri}");
    let region = &physical["region"];
    object(region, &[], &["startLine", "startColumn", "endLine", "endColumn"]);
    let number = |name: &str| region[name].as_u64().expect("a number");
    assert!(
        ["startLine", "startColumn", "endLine", "endColumn"].map(number).iter().all(|n| *n >= 1)
    );
    let (start, end) = (number("startLine"), number("endLine"));
    assert!(start < end || (start == end && number("startColumn") <= number("endColumn")));
}

fn object(value: &Value, needed: &[&str], optional: &[&str]) {
    let object = value.as_object().expect("an object");
    assert!(needed.iter().all(|n| object.contains_key(*n)), "{value}");
    let known = |k: &String| needed.contains(&k.as_str()) || optional.contains(&k.as_str());
    assert!(object.iter().all(|(k, v)| known(k) && !v.is_null()), "{value}");
}

fn array(value: &Value) -> &[Value] {
    value.as_array().expect("an array")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn level(value: &Value) {
    assert!(["none", "note", "warning", "error"].contains(&text(value)), "{value}");
}

#[test]
fn the_document_has_the_promised_shape() {
    let desk = Desk::new();
    desk.write("a.nix", "# ä\n{ b = 6/3; c = \"ä\" + https://x.org; }\n");
    let said = desk.run(&["check", "--json"]);
    let document: Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(document["version"], 1);
    let url = &document["findings"][1];
    let place =
        ["line", "column", "end_line", "end_column", "byte_offset"].map(|n| url[n].as_u64());
    assert_eq!(place, [2, 22, 2, 35, 27].map(Some));
    assert_eq!(url["fix"]["text"], "\"https://x.org\"");
    assert_eq!(document["summary"]["warnings"], 2);
}
