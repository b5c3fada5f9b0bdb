//! The rules, each from files to sentences about what breaks it.

use std::collections::BTreeMap;

use super::source::Source;
use super::tables::{
    BANNED_MODULES, COLUMNS, EARLY_STARTS, FILE_LIMIT, FUNCTION_LIMIT, LONG_FUNCTIONS, LONG_LINES,
    MEDIAN_LIMIT, P95_LIMIT, RINGS, SHELL_COLUMNS,
};

/// A path into the crate that the table of rings does not have.
pub(super) fn rings(source: &Source) -> Vec<String> {
    let Some(ring) = ring_of(&source.path) else { return Vec::new() };
    let Some((_, allowed)) = RINGS.iter().find(|(name, _)| *name == ring) else {
        return vec![format!(
            "{}: no ring for {ring}; add it to tests/tidy/tables.rs",
            source.path
        )];
    };
    let known = |word: &str| RINGS.iter().any(|(name, _)| *name == word);
    let fine = |edge: &str| {
        let head = edge.split("::").next().unwrap_or(edge);
        let everything = allowed.contains(&"*") && !["cli", "command"].contains(&head);
        head == ring
            || !known(head)
            || everything
            || allowed.contains(&head)
            || allowed.contains(&edge)
    };
    let broken = source.edges().into_iter().filter(|(_, edge)| !fine(edge));
    let told =
        broken.map(|(line, edge)| format!("{}:{line}: {ring} may not use {edge}", source.path));
    told.chain(around(source)).collect()
}

/// `super::` up to the top of the crate, past the rule above.
fn around(source: &Source) -> Vec<String> {
    let depth = source.path.trim_end_matches("/mod.rs").matches('/').count();
    let way = "super::".repeat(depth.max(1));
    let lines = source.code().into_iter().filter(|(_, line)| line.contains(&way));
    lines.map(|(n, _)| format!("{}:{n}: write crate:: instead of {way}", source.path)).collect()
}

/// `src/fleet/names.rs` and `src/fleet/mod.rs` are `fleet`, `src/exit.rs` is `exit`.
fn ring_of(path: &str) -> Option<&str> {
    let inner = path.strip_prefix("src/")?;
    Some(inner.split('/').next()?.trim_end_matches(".rs"))
}

/// Functions and files beyond their limits, and limits nobody needs any more.
pub(super) fn lengths(sources: &[&Source]) -> Vec<String> {
    let mut told = Vec::new();
    let mut all = Vec::new();
    for source in sources {
        for function in source.functions() {
            all.push(function.lines);
            let key = format!("{} {}", source.path, function.name);
            let limit = LONG_FUNCTIONS.iter().find(|(name, _)| *name == key);
            let limit = limit.map_or(FUNCTION_LIMIT, |(_, lines)| *lines);
            if function.lines > limit {
                told.push(format!("{key}: {} lines, at most {limit}", function.lines));
            }
        }
    }
    all.sort_unstable();
    let share = |percent: usize| all.get(all.len() * percent / 100).copied().unwrap_or(0);
    for (percent, limit) in [(50, MEDIAN_LIMIT), (95, P95_LIMIT)] {
        if share(percent) > limit {
            told.push(format!(
                "{percent} of 100 functions: {} lines, at most {limit}",
                share(percent)
            ));
        }
    }
    told
}

/// Files that are too long, tests and their data like any other.
pub(super) fn long_file(source: &Source) -> Option<String> {
    let lines = source.text.lines().count();
    let told = || format!("{}: {lines} lines, at most {FILE_LIMIT}", source.path);
    (lines > FILE_LIMIT).then(told)
}

/// Words that must not stand in a Rust file. They are put together here, or they would be found.
pub(super) fn words(source: &Source) -> Vec<String> {
    let mut told = Vec::new();
    if !source.text.starts_with("//! ") {
        told.push(format!("{}: opens with no //! that says what it holds", source.path));
    }
    let banned = [
        ("#[al", "low"),
        ("#![al", "low"),
        ("to", "do!("),
        ("unimple", "mented!("),
        ("FIX", "ME"),
        ("XX", "X"),
    ]
    .map(|(a, b)| format!("{a}{b}"));
    for (n, line) in source.text.lines().enumerate() {
        let found = banned.iter().filter(|word| line.contains(word.as_str()));
        told.extend(found.map(|word| format!("{}:{}: {word}", source.path, n + 1)));
    }
    if !source.is_test() {
        let unwraps = source.code().into_iter().filter(|(_, l)| l.contains(".unwrap()"));
        told.extend(unwraps.map(|(n, _)| format!("{}:{n}: say why with expect", source.path)));
    }
    let parts = source.path.trim_end_matches(".rs").split('/');
    let banned = parts.filter(|part| BANNED_MODULES.contains(part));
    told.extend(banned.map(|part| format!("{}: {part} is no name for an idea", source.path)));
    told
}

/// Lines that do not fit; tables and links of documents cannot be broken.
pub(super) fn columns(source: &Source) -> Vec<String> {
    let table =
        |line: &str| source.path.ends_with(".md") && line.trim_start().starts_with(['|', '[', '<']);
    let limit = if source.path.ends_with(".sh") { SHELL_COLUMNS } else { COLUMNS };
    let long = |(_, line): &(usize, &str)| line.chars().count() > limit && !table(line);
    let lines: Vec<usize> = (1..).zip(source.text.lines()).filter(long).map(|(n, _)| n).collect();
    let allowed = LONG_LINES.iter().find(|(path, _)| *path == source.path).map_or(0, |(_, n)| *n);
    if lines.len() <= allowed {
        return Vec::new();
    }
    let lines: Vec<String> = lines.iter().map(usize::to_string).collect();
    let (path, lines) = (&source.path, lines.join(", "));
    vec![format!("{path}: longer than {limit} columns: {lines} (allowed: {allowed})")]
}

/// Paths that exist on one machine only.
pub(super) fn machine_paths(source: &Source) -> Vec<String> {
    let mut told = Vec::new();
    for place in
        ["wo", "fa"].map(|half| format!("/{half}r{}", if half == "wo" { "k" } else { "m" }))
    {
        for (at, _) in source.text.match_indices(&place) {
            let before = source.text[..at].chars().next_back().unwrap_or(' ');
            let after = source.text[at + place.len()..].chars().next().unwrap_or(' ');
            let inner = |c: char| c.is_alphanumeric() || "_-.}$*".contains(c);
            let whole = after == '.' || !inner(after);
            if whole && !inner(before) {
                let line = source.text[..at].matches('\n').count() + 1;
                told.push(format!("{}:{line}: {place} is a path of one machine", source.path));
            }
        }
    }
    told
}

/// A script that is sent must be complete: what is cut off on its way must not run half. Outside
/// of functions it may set things; only its very last line may start something.
pub(super) fn complete_script(source: &Source) -> Vec<String> {
    let excused = |line: &str| EARLY_STARTS.contains(&(source.path.as_str(), line));
    let lines: Vec<&str> = source.text.lines().collect();
    let starts = |n: &usize| !sets(lines[*n]) && !excused(lines[*n]);
    let last = lines.iter().rposition(|line| !line.is_empty());
    let ends = |n: &usize| Some(*n) == last && lines[*n].contains("main \"$@\"");
    let early = (0..lines.len()).filter(starts).filter(|n| !ends(n));
    early.map(|n| format!("{}:{}: starts before the last line", source.path, n + 1)).collect()
}

/// Whether a line of a script is within a function, defines one, or sets something.
fn sets(line: &str) -> bool {
    let first = line.split([' ', '=']).next().unwrap_or_default();
    let word = !first.is_empty() && first.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let assigns = word && line[first.len()..].starts_with('=') && !line.contains("$(");
    let function = first.ends_with("()") && line[first.len()..].trim_start().starts_with('{');
    let setting = matches!(first, "set" | "umask" | "export" | "unset" | "readonly");
    let inner = line.is_empty() || line == "}" || line.starts_with(['#', ' ', '\t']);
    inner || function || setting || assigns
}

/// Test files that no list names: they would never run.
pub(super) fn forgotten(list: &Source, files: &[&str]) -> Vec<String> {
    let named = |name: &str| list.text.lines().any(|l| l.trim() == format!("mod {name};"));
    let names = files.iter().filter_map(|f| f.strip_prefix("tests/")?.strip_suffix(".rs"));
    let lost = names.filter(|n| !n.contains('/') && *n != "main" && !named(n));
    lost.map(|n| format!("tests/{n}.rs: not in {}, it never runs", list.path)).collect()
}

/// Files in a document's backticks that do not exist.
pub(super) fn dead_mentions(document: &Source, files: &[&str]) -> Vec<String> {
    let exists = |path: &str| {
        let path = path.trim_end_matches('/');
        files.iter().any(|f| *f == path || f.starts_with(&format!("{path}/")))
    };
    let is_path = |word: &str| {
        ["src/", "tests/", ".ci/"].iter().any(|p| word.starts_with(p))
            && !word.contains(['*', ' ', '{', '<', '$'])
    };
    let mut told = Vec::new();
    for (n, line) in (1..).zip(document.text.lines()) {
        for word in line.split('`').skip(1).step_by(2).filter(|w| is_path(w)) {
            let path = word.split("::").next().unwrap_or(word);
            if !exists(path) {
                told.push(format!("{}:{n}: there is no {path}", document.path));
            }
        }
    }
    told
}

/// Exit codes of the README that differ from the program's.
pub(super) fn exit_table(readme: &Source, table: &[(u8, &str)]) -> Vec<String> {
    let mut rows = BTreeMap::new();
    for line in readme.text.lines().filter(|l| l.starts_with('|')) {
        let mut cells = line.trim_matches('|').split('|').map(|c| c.trim().trim_matches('`'));
        if let (Some(Ok(code)), Some(text)) = (cells.next().map(str::parse::<u8>), cells.next()) {
            rows.insert(code, text);
        }
    }
    let wrong = table.iter().filter(|(code, text)| rows.get(code) != Some(text));
    let told =
        wrong.map(|(code, text)| format!("{}: wants the row | {code} | {text} |", readme.path));
    let known = |code: &u8| table.iter().any(|(c, _)| c == code);
    let extra = rows.keys().filter(|code| !known(code));
    told.chain(extra.map(|code| format!("{}: {code} is no exit code", readme.path))).collect()
}

/// Each rule on a violation planted for it, and on its good neighbour.
mod planted {
    use super::*;

    fn rs(path: &str, text: &str) -> Source {
        Source::new(path, &format!("//! Holds x.\n{text}"))
    }

    #[test]
    fn rings_are_kept() {
        let broken = |path: &str, text: &str| !rings(&rs(path, text)).is_empty();
        assert!(broken("src/report/plain.rs", "use crate::verify::Verified;\n"));
        assert!(broken("src/report/plain.rs", "use crate::world::process;\n"));
        assert!(!broken("src/report/store.rs", "use crate::world::files;\n"));
        assert!(broken("src/validate/mod.rs", "use crate::{event, build::Built};\n"));
        assert!(!broken("src/activate/mod.rs", "use crate::preflight::Admitted;\n"));
        assert!(broken("src/verify/mod.rs", "use crate::commit::Committed;\n"));
        assert!(broken("src/fleet/names.rs", "fn a() -> crate::world::World {}\n"));
        assert!(broken("src/fleet/names.rs", "use super::super::world;\n"));
        assert!(broken("src/exit.rs", "use super::world;\n"));
        assert!(!broken("src/fleet/names.rs", "use super::Host;\n"));
        assert!(broken("src/drawer/mod.rs", ""));
        assert!(broken("src/pipeline/mod.rs", "use crate::command;\n"));
        assert!(!broken("src/pipeline/mod.rs", "use crate::verify;\n"));
    }

    #[test]
    fn lengths_are_kept() {
        let long = format!("fn a() {{\n{}}}\n", "    x();\n".repeat(70));
        assert_eq!(lengths(&[&rs("src/a.rs", &long)]).len(), 3, "limit, median and 95th");
        assert_eq!(lengths(&[&rs("src/a.rs", "fn a() {}\n")]), Vec::<String>::new());
        assert!(long_file(&Source::new("tests/a.rs", &"// x\n".repeat(501))).is_some());
        assert!(long_file(&Source::new("src/a.rs", &"// x\n".repeat(500))).is_none());
    }

    #[test]
    fn words_are_kept() {
        let broken = |path: &str, text: &str| words(&Source::new(path, text)).len();
        assert_eq!(broken("src/a.rs", "//! Holds.\nfn a() { b.expect(\"c\") }\n"), 0);
        assert_eq!(broken("src/a.rs", "fn a() {}\n"), 1);
        assert_eq!(broken("src/a.rs", "//! Holds.\nfn a() { b.unwrap() }\n"), 1);
        assert_eq!(broken("src/a.rs", "//! Holds.\n#[cfg(test)]\nmod tests { b.unwrap() }\n"), 0);
        assert_eq!(broken("tests/a.rs", "//! Holds.\nfn a() { b.unwrap() }\n"), 0);
        assert_eq!(broken("src/a.rs", concat!("//! Holds.\n#[al", "low(x)]\n")), 1);
        assert_eq!(broken("src/a.rs", concat!("//! Holds.\n// FIX", "ME\n")), 1);
        assert_eq!(broken("src/utils/mod.rs", "//! Holds.\n"), 1);
        assert_eq!(broken("src/a/helpers.rs", "//! Holds.\n"), 1);
    }

    #[test]
    fn columns_are_kept() {
        let long = "x".repeat(101);
        assert_eq!(columns(&Source::new("src/a.rs", &long)).len(), 1);
        assert_eq!(columns(&Source::new("src/a.md", &format!("| {long} |"))).len(), 0);
        assert_eq!(columns(&Source::new("src/a.rs", &"ä".repeat(100))).len(), 0);
    }

    #[test]
    fn machine_paths_are_found() {
        let found = |text: &str| machine_paths(&Source::new("a", text)).len();
        assert_eq!(found(concat!("see /wo", "rk/x")), 1);
        assert_eq!(found(concat!("see \"/fa", "rm\".")), 1);
        assert_eq!(found(concat!("$x/wo", "rk ./wo", "rk a/wo", "rk /wo", "rking")), 0);
    }

    #[test]
    fn scripts_are_complete() {
        let broken = |text: &str| !complete_script(&Source::new("src/a.sh", text)).is_empty();
        assert!(!broken("# x\na() {\n  b\n}\nmain() {\n  a\n}\nmain \"$@\"\n"));
        assert!(!broken("# x\na() {\n  b\n}\n"));
        assert!(broken("# x\na() {\n  b\n}\na\n"));
        assert!(broken("set -eu\nmain() {\n  a\n}\nmain\n"));
        assert!(broken("main() {\n  a\n}\nmain \"$@\"\nb\n"));
        assert!(broken("a=$(reboot)\n"));
        assert!(!broken(
            "set -eu\na=b\nput() { c; }\nput_main() {\n  a\n}\nput_main \"$@\"; exit\n"
        ));
    }

    #[test]
    fn forgotten_tests_are_found() {
        let list = Source::new("tests/main.rs", "mod a;\n// mod b;\n");
        let files = ["tests/main.rs", "tests/a.rs", "tests/b.rs", "tests/a/c.rs", "tests/lab/x"];
        assert_eq!(forgotten(&list, &files), ["tests/b.rs: not in tests/main.rs, it never runs"]);
    }

    #[test]
    fn dead_mentions_are_found() {
        let text = "`src/a.rs` `src/` `src/b.rs` `tests/c.rs::x` `cargo test`\n";
        let told = dead_mentions(&Source::new("README.md", text), &["src/a.rs", "tests/c.rs"]);
        assert_eq!(told, ["README.md:1: there is no src/b.rs"]);
    }

    #[test]
    fn exit_codes_are_compared() {
        let table = [(0, "done"), (1, "broken")];
        let told = |text: &str| exit_table(&Source::new("README.md", text), &table).len();
        assert_eq!(told("| code | meaning |\n|---|---|\n| 0 | done |\n| `1` | broken |\n"), 0);
        assert_eq!(told("| 0 | done |\n| 1 | other |\n| 2 | x |\n"), 2);
    }
}
