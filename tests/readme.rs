//! What the README claims, tried: its commands and flags are the program's, its examples are
//! understood, its exit codes are those of the table.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use clap::CommandFactory;
use nixdeploy::cli::{self, Cli};
use nixdeploy::exit::TABLE;
use nixdeploy::fleet::hosts_toml;

use crate::support::home::Desk;

const README: &str = include_str!("../README.md");

/// The text of a section, without those below it.
fn section(title: &str) -> &'static str {
    let after = README.split(&format!("\n## {title}\n")).nth(1);
    let after = after.unwrap_or_else(|| panic!("a section called {title}"));
    after.split("\n## ").next().unwrap_or(after)
}

/// The rows of a section's tables, cell by cell, heads and rulers left out. `\|` is a bar.
fn rows(title: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = section(title).lines().collect();
    let ruler = |n: usize| lines.get(n).is_some_and(|l| l.starts_with("|-"));
    let body = (0..lines.len()).filter(|n| lines[*n].starts_with('|') && !ruler(*n));
    let cells = |n: usize| -> Vec<String> {
        let line = lines[n].replace("\\|", "\u{0}");
        let cells = line.trim_matches('|').split('|');
        cells.map(|c| c.trim().replace('\u{0}', "|")).collect()
    };
    body.filter(|n| !ruler(n + 1)).map(cells).collect()
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Fenced blocks of a language.
fn fenced<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let open = format!("\n```{language}\n");
    page.split(&open).skip(1).filter_map(|rest| rest.split("\n```").next()).collect()
}

/// Command lines of ours in fenced blocks: `$ nixdeploy ...` in a recording, a line that begins
/// with `nixdeploy` in a script, `- run: nixdeploy ...` in a workflow.
fn command_lines(page: &str) -> Vec<&str> {
    let shown = fenced(page, "console").into_iter().flat_map(str::lines);
    let shown = shown.filter_map(|l| l.strip_prefix("$ "));
    let scripts = ["sh", "yaml"].into_iter().flat_map(|l| fenced(page, l)).flat_map(str::lines);
    let scripts = scripts.map(|l| l.trim_start().trim_start_matches("- run: "));
    let scripts = scripts.map(|l| l.trim_start_matches("exec ").trim_start_matches("run: "));
    let bare = |l| str::split(l, " #").next().unwrap_or(l).trim();
    shown.chain(scripts).map(bare).filter(|l| l.starts_with("nixdeploy ")).collect()
}

/// Its words, as a shell would hand them on: what it redirects and pipes left out.
fn typed(line: &str) -> Vec<String> {
    let line = line.split(['>', '|', '&', ';']).next().unwrap_or(line);
    line.split_whitespace().skip(1).map(|w| w.trim_matches(['\'', '"']).to_owned()).collect()
}

#[test]
fn every_command_is_listed_once() {
    let names = rows("Commands").into_iter().map(|row| row[0].clone());
    let names: Vec<String> = names
        .filter(|cell| !cell.starts_with("`--"))
        .filter_map(|cell| Some(quoted(&cell).next()?.split(' ').next()?.to_owned()))
        .collect();
    let top = Cli::command();
    let hidden = |name: &String| top.find_subcommand(name).is_some_and(|c| c.is_hide_set());
    let known: Vec<String> = cli::command_names().into_iter().filter(|n| !hidden(n)).collect();
    let (listed, wanted) = (names.iter().collect::<BTreeSet<_>>(), known.iter().collect());
    assert_eq!(listed, wanted);
    assert_eq!(names.len(), known.len(), "{names:?}");
}

#[test]
fn every_flag_is_listed_once() {
    let mut listed: Vec<String> = Vec::new();
    for row in rows("Commands").iter().filter(|row| row[0].starts_with("`--")) {
        listed.extend(quoted(&row[0]).filter_map(|f| Some(f.split(' ').next()?.to_owned())));
    }
    let mut top = Cli::command();
    top.build();
    let mut commands = vec![&top];
    let mut at = 0;
    while let Some(command) = commands.get(at) {
        let below = command.get_subcommands();
        commands.extend(below.filter(|c| !c.is_hide_set() && c.get_name() != "help"));
        at += 1;
    }
    let all = commands.into_iter().flat_map(clap::Command::get_arguments);
    let long = all.filter(|a| !a.is_hide_set()).filter_map(clap::Arg::get_long);
    let known: BTreeSet<String> = long.map(|l| format!("--{l}")).collect();
    assert_eq!(listed.iter().cloned().collect::<BTreeSet<_>>(), known);
    assert_eq!(listed.len(), known.len(), "{listed:?}");
}

#[test]
fn every_command_line_is_understood() {
    let mut found = 0;
    for (page, _, text) in nixdeploy::docs::PAGES {
        // In a sentence `...` and `[RUN]` stand for what may be typed.
        let inline = text.split("\n```").step_by(2).flat_map(quoted);
        let inline = inline.filter(|l| l.starts_with("nixdeploy ") && !l.contains(['[', '\n']));
        let inline = inline.filter(|l| !l.contains(" ..."));
        for line in command_lines(text).into_iter().chain(inline) {
            let words = typed(&line.replace("...", ""));
            // `nixdeploy trust` in a sentence is the command's name.
            let named = words.len() == 1 && cli::command_names().contains(&words[0]);
            let words = std::iter::once("nixdeploy".to_owned()).chain(words).map(OsString::from);
            match cli::parse(words) {
                Ok(_) => found += 1,
                Err(error) if named || error.kind() == clap::error::ErrorKind::DisplayHelp => {}
                Err(error) => panic!("{page}: {line}\n{error}"),
            }
        }
    }
    assert!(found > 50, "{found}");
}

const FLEET: &str = "[cache]\nurl = 'http://p620:5000'\n[metrics]\ntextfile = '~'\n\
    [hosts.p620]\n[hosts.p510]\n";

/// Where nobody answers and nothing builds, every command of the README ends with a word about
/// that, and never as a mistake of whoever typed what stands there. What they do where machines
/// answer is tried in the lab.
#[test]
fn every_command_line_runs() {
    let pipelines = command_lines(include_str!("../src/docs/ci.md"));
    let lines = command_lines(README).into_iter().chain(pipelines);
    let mut lines: Vec<String> = lines.map(str::to_owned).collect();
    for row in rows("Commands").iter().filter(|row| !row[0].starts_with("`--")) {
        let line = quoted(&row[0]).next().expect("a command");
        let needed = line.split(" [").next().unwrap_or(line).replace("...", "");
        if line.starts_with("watch") {
            continue; // it ends when it is ended: tests/watch.rs
        }
        let host = if line.starts_with("emergency") { "p620 --confirm p620" } else { "p620" };
        let filled = needed.replace("HOST", host).replace("BUILDER", "p510");
        lines.push(format!("nixdeploy {}", filled.replace("SHELL", "bash")));
    }
    lines.sort();
    lines.dedup();
    assert!(lines.len() > 40, "{lines:?}");
    let mut mistakes = Vec::new();
    for line in &lines {
        let desk = Desk::with_fleet(FLEET);
        desk.fake("nix-instantiate", "exit 1\n");
        desk.write("flake.lock", "{\"version\":7,\"root\":\"root\",\"nodes\":{\"root\":{}}}\n");
        desk.fake("ssh", "exit 255\n");
        desk.fake("ssh-keyscan", "exit 1\n");
        let names = "case $* in *attrNames*) echo '[\"p620\"]' ;; *) exit 1 ;; esac\n";
        desk.fake("nix", names);
        desk.git(&["add", "-A"]);
        let me = ["-c", "user.name=t", "-c", "user.email=t@example.org"];
        desk.git(&[&me[..], &["commit", "-qm", "all"]].concat());
        let _ = desk.run(&["build", "p620"]);
        if line.starts_with("nixdeploy init") {
            std::fs::remove_file(desk.work().join("hosts.toml")).expect("removed");
        }
        let words = typed(line);
        let said = desk.run(&words.iter().map(String::as_str).collect::<Vec<_>>());
        if said.code == 2 || said.code == 1 {
            mistakes.push(format!("{line}: {}\n{}{}", said.code, said.stdout, said.stderr));
        }
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}

#[test]
fn every_hosts_toml_is_understood() {
    let examples = fenced(README, "toml");
    assert!(!examples.is_empty());
    for example in examples {
        if let Err(mistakes) = hosts_toml::parse(Path::new("hosts.toml"), example) {
            let drawn = hosts_toml::render(&mistakes, Path::new("hosts.toml"), example, false);
            panic!("{drawn}");
        }
    }
}

/// In the table's order; `tests/tidy.rs` compares the codes wherever they stand.
#[test]
fn the_exit_codes_are_the_table() {
    let rows = rows("Exit codes");
    let shown: Vec<(&str, &str)> = rows.iter().map(|r| (r[0].as_str(), r[1].as_str())).collect();
    let codes: Vec<String> = TABLE.iter().map(|(exit, _)| (*exit as u8).to_string()).collect();
    let texts = TABLE.iter().map(|(_, text)| *text);
    let table: Vec<(&str, &str)> = codes.iter().map(String::as_str).zip(texts).collect();
    assert_eq!(shown, table);
}

/// What was recorded came from an eighty-column terminal.
#[test]
fn recordings_fit_eighty_columns() {
    for line in fenced(README, "console").into_iter().flat_map(str::lines) {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

/// Every file of `src/docs` is named, so that a reader finds it.
#[test]
fn every_page_is_named() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/docs");
    for page in pages.read_dir().expect("src/docs").flatten() {
        let path = format!("src/docs/{}", page.file_name().to_string_lossy());
        assert!(README.contains(&format!("`{path}`")), "{path} is not named in the README");
    }
}

const PAGES: [(&str, &str); 3] = [
    ("README.md", README),
    ("src/docs/protocol.md", include_str!("../src/docs/protocol.md")),
    ("src/docs/faults.md", include_str!("../src/docs/faults.md")),
];

/// Tests that a page names, as `module::lab::name` of this test program.
fn tests_named(page: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let words = quoted(page).filter(|w| w.contains("::") && !w.contains([' ', '/']));
    words.filter_map(|word| Some((word.split("::").next()?, word.rsplit("::").next()?)))
}

#[test]
fn every_test_that_is_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (page, text) in PAGES {
        let mut found = 0;
        for (module, name) in tests_named(text) {
            let file = root.join(format!("tests/{module}.rs"));
            let Ok(text) = std::fs::read_to_string(file) else {
                continue; // a path into the crate
            };
            let there =
                text.contains(&format!("fn {name}(")) || text.contains(&format!(" {name}: "));
            assert!(there, "{page}: there is no test {module} {name}");
            found += 1;
        }
        assert!(found > 10, "{page}: {found}");
    }
}

/// From a row of "what happens" one can go to the test that proves it.
#[test]
fn everything_that_happens_is_tried() {
    let table = README.split("| what happens |").nth(1).expect("the table");
    let rows: Vec<_> = table.lines().skip(2).take_while(|l| l.starts_with('|')).collect();
    assert!(rows.len() > 10, "{rows:?}");
    for row in rows {
        assert!(tests_named(row).next().is_some(), "no test is named: {row}");
    }
}

/// The page of faults has every fault that is tried: rows of the matrix begin with F and a number.
#[test]
fn every_fault_is_on_its_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page: BTreeSet<_> = tests_named(PAGES[2].1).collect();
    let mut faults = BTreeSet::new();
    for module in
        ["lab_activate", "lab_back", "lab_commit", "lab_operators", "lab_refused", "lab_verify"]
    {
        let text = std::fs::read_to_string(root.join(format!("tests/{module}.rs")));
        let text = text.expect("a file of rows");
        for row in text.split(": Row {\n").collect::<Vec<_>>().windows(2) {
            let name = row[0].rsplit([' ', '\n']).next().unwrap_or_default();
            let id = row[1].split('"').nth(1).unwrap_or_default();
            let Some(number) = id.strip_prefix('F').and_then(|id| id.get(..2)) else { continue };
            faults.insert(number.to_owned());
            let there = page.iter().any(|(m, n)| *m == module && *n == name);
            // what a killed deployer leaves is one fault with several ends
            assert!(there || id == "F11 abort", "{module}::lab::{name} ({id}) is on no row");
        }
    }
    assert!(faults.len() > 40, "{faults:?}");
}
