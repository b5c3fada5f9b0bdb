//! The workflow that can be copied: what it may do, in which order, and that its commands are ours.

use crate::support::home::Desk;

const PAGE: &str = include_str!("../src/docs/ci.md");

/// The workflow, as it stands on the page.
fn workflow() -> &'static str {
    let block = PAGE.split("\n```yaml\n").nth(1).expect("a workflow");
    block.split("\n```").next().expect("its end")
}

/// A job's lines.
fn job(name: &str) -> String {
    let mut lines = workflow().lines().skip_while(|l| *l != format!("  {name}:")).skip(1);
    let mut text = String::new();
    for line in lines.by_ref().take_while(|l| l.starts_with("    ") || l.is_empty()) {
        text.push_str(line);
        text.push('\n');
    }
    assert!(!text.is_empty(), "no job {name}");
    text
}

/// What is a mapping there is one here: two spaces a level, no tabs, `key: value` or `- `.
#[test]
fn the_workflow_is_well_formed() {
    let mut block: Option<usize> = None;
    for line in workflow().lines().filter(|l| !l.trim().is_empty()) {
        let depth = line.len() - line.trim_start().len();
        if block.is_some_and(|b| depth > b) {
            continue; // the lines of a script
        }
        block = line.ends_with('|').then_some(depth);
        let text = line.trim_start().trim_start_matches("- ");
        let key = text.split(": ").next().unwrap_or(text).trim_end_matches(':');
        let plain = !key.is_empty()
            && key.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-' || b == b'_');
        assert!(depth % 2 == 0 && !line.contains('\t') && plain, "{line}");
        assert!(text.contains(": ") || text.ends_with(':') || block.is_some(), "{line}");
    }
}

#[test]
fn only_the_approved_job_of_the_main_branch_gets_the_key() {
    let (check, test, deploy) = (job("check"), job("test"), job("deploy"));
    assert!(!check.contains("secrets.") && !test.contains("secrets."), "{check}{test}");
    for words in [
        "needs: test",
        "environment: production",
        "group: nixdeploy",
        "cancel-in-progress: false",
        "github.ref == 'refs/heads/main'",
        "github.event_name != 'pull_request'",
        "nixdeploy quick-deploy all --no-input --format github",
    ] {
        assert!(deploy.contains(words), "{words}\n{deploy}");
    }
    assert!(test.contains("needs: check") && test.contains("test-all-parallel"), "{test}");
    assert!(check.contains("--format sarif > nixdeploy.sarif") && check.contains("if: always()"));
    assert!(!workflow().contains("pull_request_target"), "a stranger's code beside our key");
    let permissions = workflow().split("\npermissions:\n").nth(1).expect("permissions");
    assert!(permissions.starts_with("  contents: read\n\n"), "nothing else by default");
    // Outside text never becomes part of a script.
    let scripts = workflow().lines().filter(|l| l.trim_start().starts_with("- run:"));
    assert!(scripts.into_iter().all(|l| !l.contains("${{")), "{}", workflow());
}

/// What the check hands in is SARIF, also when it finds something that blocks.
#[test]
fn what_is_handed_in_is_there_when_the_check_blocks() {
    let desk = Desk::with_fleet("[hosts.p620]\n");
    desk.write("a.nix", "{ a = ; }\n");
    desk.git(&["add", "-A"]);
    let said = desk.run(&["check", "--format", "sarif"]);
    assert_eq!(said.code, 3, "{}", said.stderr);
    let sarif: serde_json::Value = serde_json::from_str(&said.stdout).expect("SARIF");
    assert_eq!(sarif["runs"][0]["results"].as_array().map(Vec::len), Some(1), "{sarif}");
}

#[test]
fn the_page_is_printed() {
    assert_eq!(Desk::new().run(&["help", "ci"]).stdout, PAGE);
}
