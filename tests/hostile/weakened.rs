//! What the tests of the security rows are worth: for each row, the program with that rule taken
//! out must fail one of them.
//!
//! Nothing of this is in the program's source, so no build of it can be weakened by a flag: the
//! weakenings are a patch, `tests/hostile/weakened.patch`, which `tests/weakened` applies to a
//! copy of the tree. The copy takes out the one rule that a file `row` names. Here it is seen that
//! the patch still fits, and that the page, the tests and the patch know the same rows.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::program;

/// Rows of `src/docs/security.md`.
const ROWS: std::ops::RangeInclusive<usize> = 1..=20;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn the_weakenings_fit_the_source() {
    let args = ["apply", "--check", "tests/hostile/weakened.patch"];
    let said = program("git").args(args).current_dir(root()).output().expect("git");
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said, "", "make the patch anew as tests/weakened says");
}

#[test]
fn every_row_has_a_weakening() {
    let patch = text("tests/hostile/weakened.patch");
    for row in ROWS {
        assert!(patch.contains(&format!("(\"s{row}\")")), "nothing takes row S{row} out");
    }
}

/// Tests that the page names in the last column of a row.
fn named(row: usize) -> Vec<String> {
    let page = text("src/docs/security.md");
    let line = page.lines().find(|l| l.starts_with(&format!("| S{row} |")));
    let line = line.unwrap_or_else(|| panic!("the page has no row S{row}")).to_owned();
    let last = line.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default().to_owned();
    let names = last.split('`').skip(1).step_by(2);
    names.map(str::to_owned).collect()
}

#[test]
fn every_row_of_the_page_names_tests_that_exist() {
    let mut all = BTreeSet::new();
    for row in ROWS {
        let names = named(row);
        let own = format!("s{row}_");
        assert!(names.iter().any(|n| n.contains(&format!("::{own}"))), "S{row}: {names:?}");
        for name in names {
            let (path, test) = name.rsplit_once("::").expect("a path");
            let path = path.trim_end_matches("::lab");
            let file = match path {
                "fuzz" => "tests/fuzz/targets.rs".to_owned(),
                path => format!("tests/{}.rs", path.replace("::", "/")),
            };
            let there = text(&file);
            let is =
                there.contains(&format!("fn {test}(")) || there.contains(&format!(" {test}: "));
            let is = is || (path == "fuzz" && there.contains(&format!("name: \"{test}\"")));
            assert!(is, "S{row}: there is no {test} in {file}");
            all.insert(test.to_owned());
        }
    }
    // And back: a test that bears a row's name stands on the page.
    for file in ["hostile", "hostile/here", "hostile/there", "hostile/canaries", "hostile/machines"]
    {
        let text = text(&format!("tests/{file}.rs"));
        let tests = text.lines().filter_map(|l| l.split_once("fn s")?.1.split_once('('));
        for (rest, _) in tests.filter(|(rest, _)| rest.starts_with(|c: char| c.is_ascii_digit())) {
            assert!(all.contains(&format!("s{rest}")), "the page does not name s{rest}");
        }
    }
}
