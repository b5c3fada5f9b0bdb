//! The project's own rules as tests: rings, lengths, words, scripts, documents.
//!
//! What is allowed stands in `tests/tidy/tables.rs`; each rule is tried on planted violations
//! where it is written.

#[path = "tidy/map.rs"]
mod map;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/tables.rs"]
mod tables;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use source::Source;

use crate::support::{program, variable};

/// Every file of the repository: its path, and its text unless it is binary.
static FILES: LazyLock<Vec<(String, Option<String>)>> = LazyLock::new(|| {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in root().join(&folder).read_dir().expect("a folder of ours").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = folder.join(&name);
            let kind = entry.file_type().expect("a kind");
            if folder.as_os_str().is_empty() && tables::IGNORED.contains(&name.as_str()) {
                continue;
            }
            if kind.is_dir() {
                folders.push(path);
            } else {
                let text = std::fs::read(root().join(&path)).ok();
                let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
                files.push((path.to_string_lossy().into_owned(), text));
            }
        }
    }
    files.sort();
    files
});

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Texts of the files that a rule is about.
fn sources(wanted: impl Fn(&str) -> bool) -> Vec<Source> {
    let texts = FILES.iter().filter(|(path, _)| wanted(path));
    texts.filter_map(|(path, text)| Some(Source::new(path, text.as_ref()?))).collect()
}

fn paths() -> Vec<&'static str> {
    FILES.iter().map(|(path, _)| path.as_str()).collect()
}

fn rust(path: &str) -> bool {
    path.ends_with(".rs")
}

/// Fails with every violation at once.
fn nothing(violations: Vec<String>) {
    assert!(violations.is_empty(), "\n  {}\n", violations.join("\n  "));
}

#[test]
fn rings() {
    let sources = sources(|p| rust(p) && p.starts_with("src/"));
    nothing(sources.iter().filter(|s| !s.is_test()).flat_map(rules::rings).collect());
}

#[test]
fn lengths() {
    let sources = sources(|p| rust(p) && p.starts_with("src/"));
    let sources: Vec<&Source> = sources.iter().filter(|s| !s.is_test()).collect();
    nothing(rules::lengths(&sources));
}

#[test]
fn long_files() {
    nothing(sources(rust).iter().filter_map(rules::long_file).collect());
}

#[test]
fn words() {
    nothing(sources(|p| rust(p) && p != "src/lib.rs").iter().flat_map(rules::words).collect());
}

#[test]
fn columns() {
    let ours = |p: &str| {
        let kind = [".rs", ".md", ".sh"].iter().any(|ending| p.ends_with(ending));
        kind && !p.starts_with("tests/lab/") && !p.contains("/snapshots/")
    };
    nothing(sources(ours).iter().flat_map(rules::columns).collect());
}

#[test]
fn machine_paths() {
    nothing(sources(|_| true).iter().flat_map(rules::machine_paths).collect());
}

#[test]
fn top_level() {
    let tops = root().read_dir().expect("the repository").flatten();
    let names = tops.map(|e| e.file_name().to_string_lossy().into_owned());
    let odd = |n: &String| {
        let n = n.as_str();
        !n.starts_with('.') && !tables::TOP_LEVEL.contains(&n) && !tables::IGNORED.contains(&n)
    };
    nothing(names.filter(odd).map(|n| format!("{n} has no place at the top")).collect());
}

#[test]
fn forgotten_tests() {
    let list = sources(|p| p == "tests/main.rs").remove(0);
    nothing(rules::forgotten(&list, &paths()));
}

#[test]
fn complete_scripts() {
    let sent = sources(|p| p.starts_with("src/") && p.ends_with(".sh"));
    nothing(sent.iter().flat_map(rules::complete_script).collect());
}

/// Not optional: a machine without shellcheck fails here.
#[test]
fn shellcheck() {
    let shell = |source: &Source| {
        let head = source.text.lines().next().unwrap_or_default();
        let shebang = head.starts_with("#!") && head.ends_with("sh");
        shebang || source.path.ends_with(".sh")
    };
    let scripts = sources(|p| !rust(p) && !p.contains("/fixtures/"));
    let scripts: Vec<&Source> = scripts.iter().filter(|s| shell(s)).collect();
    let (whole, parts): (Vec<&Source>, Vec<&Source>) = scripts
        .iter()
        .partition(|s| s.text.starts_with("#!") || s.text.contains("# shellcheck shell="));
    for (scripts, dialect) in [(whole, &["-x"] as &[&str]), (parts, &["-x", "-s", "sh"])] {
        if scripts.is_empty() {
            continue;
        }
        let names = scripts.iter().map(|s| s.path.as_str());
        let checked = program("shellcheck").args(dialect).args(names).current_dir(root()).output();
        let checked = checked.expect("shellcheck is installed");
        assert!(checked.status.success(), "\n{}", String::from_utf8_lossy(&checked.stdout));
    }
}

#[test]
fn documents_name_existing_files() {
    let documents = sources(|p| p == "README.md" || (p.starts_with("src/") && p.ends_with(".md")));
    let paths = paths();
    nothing(documents.iter().flat_map(|d| rules::dead_mentions(d, &paths)).collect());
}

/// `NIXDEPLOY_TIDY=write cargo test --test main tidy::code_map` brings the map up to date.
#[test]
fn code_map() {
    let document = sources(|p| p == map::DOCUMENT).remove(0);
    let map = map::draw(&sources(|_| true));
    let wanted = map::replaced(&document.text, &map).expect("a place for the map in the document");
    if variable("NIXDEPLOY_TIDY").as_deref() == Some("write") {
        std::fs::write(root().join(map::DOCUMENT), wanted).expect("the document can be written");
        return;
    }
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (has, wants) = (lines(&document.text), lines(&wanted));
    let lost = wants.iter().filter(|l| !has.contains(l)).map(|l| format!("missing: {l}"));
    let stale = has.iter().filter(|l| !wants.contains(l)).map(|l| format!("stale:   {l}"));
    nothing(lost.chain(stale).collect());
    let other = has.iter().zip(&wants).find(|(has, wants)| has != wants);
    assert_eq!(other, None, "the order of the code map, by its first line that differs");
}

#[test]
fn exit_codes_of_the_readme() {
    let Some(readme) = sources(|p| p == "README.md").pop() else { return };
    let table = nixdeploy::exit::TABLE.iter().map(|(exit, text)| (*exit as u8, *text));
    nothing(rules::exit_table(&readme, &table.collect::<Vec<_>>()));
}
