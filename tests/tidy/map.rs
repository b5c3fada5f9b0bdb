//! The code map of src/ARCHITECTURE.md, made from what each file says of itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::source::Source;
use super::tables::COLUMNS;

/// The document that holds it.
pub(super) const DOCUMENT: &str = "src/ARCHITECTURE.md";
const BEGIN: &str =
    "<!-- code map: NIXDEPLOY_TIDY=write cargo test --test main tidy::code_map -->\n";
const END: &str = "<!-- end of code map -->";

/// Places at the top in reading order; any other comes after them.
const ORDER: [&str; 21] = [
    "main.rs",
    "lib.rs",
    "cli.rs",
    "exit.rs",
    "error.rs",
    "command",
    "fleet",
    "plan",
    "event",
    "pipeline",
    "preflight",
    "validate",
    "build",
    "activate",
    "verify",
    "commit",
    "rollback",
    "update",
    "world",
    "report",
    "docs",
];
/// Column of the sentences.
const SENTENCE: usize = 22;

/// Draws the map of all files below `src` that people read; tests and recordings apart.
pub(super) fn draw(sources: &[Source]) -> String {
    let mut places: BTreeMap<(usize, &str), Vec<&Source>> = BTreeMap::new();
    for source in sources.iter().filter(|s| s.path.starts_with("src/") && !s.is_test()) {
        let place = source.path["src/".len()..].split('/').next().unwrap_or_default();
        let read = [".rs", ".sh", ".md"].iter().any(|ending| source.path.ends_with(ending));
        if read && source.path != DOCUMENT {
            let order = ORDER.iter().position(|o| *o == place).unwrap_or(ORDER.len());
            places.entry((order, place)).or_default().push(source);
        }
    }
    let mut map = format!("{BEGIN}```text\n");
    for ((_, place), mut files) in places {
        files.sort_by_key(|f| (!f.path.ends_with("/mod.rs"), f.path.as_str()));
        let alone = files.iter().all(|f| f.path.matches('/').count() == 1);
        if alone {
            files.iter().for_each(|f| row(&mut map, 0, place, &sentence(f)));
            continue;
        }
        let about = files.iter().find(|f| f.path.ends_with("/mod.rs")).map(|f| sentence(f));
        row(&mut map, 0, &format!("{place}/"), &about.unwrap_or_default());
        let parts = files.iter().filter(|f| !f.path.ends_with("/mod.rs"));
        for file in parts {
            let name = &file.path["src//".len() + place.len()..];
            row(&mut map, 1, name, &sentence(file));
        }
    }
    map + "```\n" + END
}

/// The document with its map replaced; `None` when it has no place for one.
pub(super) fn replaced(document: &str, map: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{map}{after}"))
}

fn row(map: &mut String, depth: usize, name: &str, sentence: &str) {
    let name = format!("{}{name}", "  ".repeat(depth));
    let room = COLUMNS - SENTENCE - 1;
    let mut shown = String::new();
    for word in sentence.split_whitespace() {
        if shown.chars().count() + word.chars().count() + 1 > room - 3 {
            shown.push_str("...");
            break;
        }
        let gap = if shown.is_empty() { "" } else { " " };
        let _ = write!(shown, "{gap}{word}");
    }
    let line = format!("{name:SENTENCE$} {shown}");
    let _ = writeln!(map, "{}", line.trim_end());
}

/// The first sentence that a file says of itself.
fn sentence(source: &Source) -> String {
    let mark = match source.path.rsplit('.').next() {
        Some("rs") => "//!",
        Some("sh") => "#",
        _ => "#",
    };
    let mut words = String::new();
    for line in source.text.lines().filter(|l| !l.starts_with("#!")) {
        let Some(text) = line.strip_prefix(mark) else { break };
        if text.trim().is_empty() {
            break;
        }
        words.push_str(text.trim_start_matches('#'));
    }
    if words.is_empty() && source.path == "src/lib.rs" {
        words = "The crate; this text is its documentation.".to_owned();
    }
    let words = words.replace("[`", "`").replace("`]", "`");
    let end = words.find(". ").map_or(words.len(), |n| n + 1);
    words[..end].trim().trim_end_matches(['.', ':']).to_owned()
}

#[test]
fn a_map_has_a_line_for_each_file_and_replaces_itself() {
    let sources = [
        Source::new("src/zoo.rs", "//! Animals.\n"),
        Source::new("src/fleet/names.rs", "//! Names of\n//! hosts. More.\n"),
        Source::new("src/fleet/mod.rs", "//! Who: [`Host`] and\n//!\n//! More.\n"),
        Source::new("src/fleet/names_tests.rs", "//! Tests.\n"),
        Source::new("src/main.rs", "//! The program.\n"),
        Source::new("src/fleet/read.sh", "#!/bin/sh\n# Reads.\nx\n"),
    ];
    let map = draw(&sources);
    let lines: Vec<&str> = map.lines().skip(2).take_while(|l| *l != "```").collect();
    assert_eq!(
        lines,
        [
            "main.rs                The program",
            "fleet/                 Who: `Host` and",
            "  names.rs             Names of hosts",
            "  read.sh              Reads",
            "zoo.rs                 Animals",
        ]
    );
    let document = format!("a\n{BEGIN}old\n{END}\nb\n");
    assert_eq!(replaced(&document, &map), Some(format!("a\n{map}\nb\n")));
}
