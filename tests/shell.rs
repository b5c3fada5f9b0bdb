//! What a shell gets: candidates at the TAB key, its completion file, manual pages, examples.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use clap::CommandFactory;
use nixdeploy::cli::{self, Cli};
use nixdeploy::update::keep::Keep;

use crate::support::home::{Desk, assert_harmless};
use crate::support::program;

const FLEET: &str = "[hosts.p620]\ntags = ['server']\n[hosts.razer]\n[hosts.p510]\n\
    tags = ['server', 'media']\n[builders.big]\n";

fn desk() -> Desk {
    let desk = Desk::with_fleet(FLEET);
    desk.fake("ssh", "exit 255\n");
    desk.fake("nix", "exit 1\n");
    desk
}

/// What zsh is offered for the last word of a line: words, and what is said of them.
fn offered(desk: &Desk, line: &[&str]) -> Vec<String> {
    let index = line.len().to_string();
    let variables = [("NIXDEPLOY_COMPLETE", "zsh"), ("_CLAP_COMPLETE_INDEX", &*index)];
    let said = desk.run_with(&[&["--", "nixdeploy"], line].concat(), &variables);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{line:?}\n{}", said.stdout);
    assert_harmless(&said.stdout);
    said.stdout.lines().map(str::to_owned).collect()
}

fn words(desk: &Desk, line: &[&str]) -> Vec<String> {
    let word = |line: String| line.split(':').next().unwrap_or_default().to_owned();
    offered(desk, line).into_iter().map(word).collect()
}

#[test]
fn hosts_and_tags_are_offered_and_nothing_is_asked() {
    let desk = desk();
    let before = desk.files();
    let all = ["p620", "razer", "p510", "@media", "@server"];
    assert_eq!(words(&desk, &["deploy", ""]), all);
    assert_eq!(words(&desk, &["deploy", "p620", ""]), ["razer", "p510", "@media", "@server"]);
    assert_eq!(words(&desk, &["deploy", "@"]), ["@media", "@server"]);
    assert_eq!(words(&desk, &["deploy", "p620", "--canary", "p"]), ["p510"], "it is there already");
    assert_eq!(words(&desk, &["deploy", "p620", "--canary=r"]), ["--canary=razer"]);
    assert_eq!(words(&desk, &["deploy", "x", "--exclude", "p620,r"]), ["p620,razer"]);
    assert_eq!(words(&desk, &["p5"]), ["p510"], "a host alone is deployed");
    assert_eq!(words(&desk, &["deploy-via", "b"]), ["big"]);
    assert_eq!(words(&desk, &["build", "razer", "--build-on", "t"]), ["target"]);
    assert_eq!(words(&desk, &["help", "host"]), ["hosts"]);
    assert_eq!(words(&desk, &["check", "--explain", "mkif-t"]), ["mkif-true"]);
    assert_eq!(words(&desk, &["deploy", "p620", "--mode", ""]), ["standard", "fast", "auto"]);
    assert!(words(&desk, &["deploy", "--dry"]).contains(&"--dry-run".to_owned()));
    desk.write("other.toml", "[hosts.samsung]\n");
    assert_eq!(words(&desk, &["--inventory", "other.toml", "status", ""]), ["samsung"]);
    assert!(desk.calls().is_empty(), "{:?}", desk.calls());
    assert_eq!(desk.files().difference(&before).count(), 1, "other.toml is ours");
}

#[test]
fn runs_are_offered_newest_first_and_generations_of_the_host() {
    let desk = desk();
    let run = |host: &str| {
        let said = desk.run(&["build", host, "--json"]);
        let document: serde_json::Value = serde_json::from_str(&said.stdout).expect("a document");
        document["run"].as_str().expect("its name").to_owned()
    };
    let (first, second) = (run("p620"), run("razer"));
    assert_eq!(words(&desk, &["report", ""]), [second.as_str(), &first]);
    assert_eq!(words(&desk, &["resume", &first[..5]]), [first.as_str()]);
    assert_eq!(words(&desk, &["logs", "p620", "--run", ""]), [first.as_str()]);
    let told = offered(&desk, &["report", &second[..5]]);
    assert!(told[0].contains("build razer"), "{told:?}");

    let kept = desk.path("home/.local/state/nixdeploy/runs");
    for (run, generations) in [(&first, "[\"p620\",41],[\"p620\",42]"), (&second, "[\"razer\",7]")]
    {
        let file = kept.join(run).join("summary.json");
        let text = std::fs::read_to_string(&file).expect("a summary");
        let with = format!("\"generations\":[{generations}]");
        let text = text.replace("\"generations\":[]", &with);
        assert!(text.contains(&with), "{text}");
        std::fs::write(file, text).expect("written");
    }
    assert_eq!(words(&desk, &["rollback", "p620", "--to", ""]), ["42", "41"]);
    assert_eq!(words(&desk, &["rollback", "razer", "--to", ""]), ["7"]);
    assert_eq!(words(&desk, &["rollback", "p510", "--to", ""]), [""; 0]);

    // A run that was killed has no summary, and is what `resume` is for.
    std::fs::remove_file(kept.join(&first).join("summary.json")).expect("gone");
    let told = offered(&desk, &["resume", &first[..5]]);
    assert!(told[0].contains("interrupted"), "{told:?}");
}

/// The flake has two inputs of its own, and a third that follows.
const LOCK: &str = r#"{"nodes": {
    "root": {"inputs": {"agenix": "agenix", "nixpkgs": "nixpkgs_2", "tools": ["nixpkgs"]}},
    "agenix": {"inputs": {"nixpkgs": "nixpkgs"}, "locked": {"type": "path"}},
    "nixpkgs": {"locked": {"type": "path"}},
    "nixpkgs_2": {"locked": {"type": "github", "rev": "1f0c2ab77777"}}
}, "root": "root", "version": 7}"#;

#[test]
fn inputs_and_kept_locks_are_offered_from_the_flake_alone() {
    let desk = desk();
    // Where nothing stands for a word, flags are offered.
    let found = |line: &[&str]| {
        let words = words(&desk, line).into_iter();
        words.filter(|word| !word.starts_with('-')).collect::<Vec<_>>()
    };
    assert_eq!(found(&["update", "flake", ""]), [""; 0], "there is no lock");
    desk.write("flake.lock", LOCK);
    assert_eq!(offered(&desk, &["update", "flake", ""]), ["agenix", "nixpkgs:1f0c2ab"]);
    assert_eq!(words(&desk, &["update", "flake", "nixpkgs", ""]), ["agenix"]);
    assert_eq!(
        words(&desk, &["update", "smart", "p620", "--except", "agenix,n"]),
        ["agenix,nixpkgs"]
    );
    assert_eq!(found(&["update", "lock", "restore", ""]), [""; 0], "none was kept");
    let keep = Keep::look(&desk.work().join(".git"), &desk.work(), Path::new(""));
    let keep = keep.and_then(Keep::hold).expect("a lock");
    let (here, _) = keep.back_up(LOCK.as_bytes()).expect("kept");
    let (other, path) = keep.back_up(b"{}").expect("kept");
    let old = std::fs::File::options().write(true).open(path).expect("its file");
    old.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1)).expect("made older");
    let told = offered(&desk, &["update", "lock", "restore", ""]);
    assert_eq!(words(&desk, &["update", "lock", "show", ""]), [here.short(), other.short()]);
    assert!(told[0].ends_with(", in place") && told[1].contains("kept 1970-01-01"), "{told:?}");
    assert_eq!(words(&desk, &["update", "lock", "restore", &other.short()[..3]]), [other.short()]);
    assert!(desk.calls().is_empty(), "{:?}", desk.calls());
    // What another flake has is found by the flag that names it.
    desk.write("hosts.toml", format!("[defaults]\nflake = '/nowhere'\n{FLEET}"));
    assert_eq!(found(&["update", "flake", ""]), [""; 0]);
    assert_eq!(words(&desk, &["--flake", ".", "update", "flake", "a"]), ["agenix"]);
    desk.write("flake.lock", LOCK.replace("\"agenix\": \"agenix\"", "\"a\\u001b[2J\": \"agenix\""));
    assert_eq!(found(&["--flake", ".", "update", "flake", ""]), ["nixpkgs"], "and no other");
    desk.write("flake.lock", "{");
    assert_eq!(found(&["--flake", ".", "update", "flake", ""]), [""; 0]);
}

#[test]
fn what_is_broken_offers_nothing_and_says_nothing() {
    let desk = desk();
    desk.write("hosts.toml", "[hosts.p620\n\u{1b}[2J");
    assert_eq!(words(&desk, &["deploy", "p"]), [""; 0]);
    assert!(!words(&desk, &[""]).is_empty(), "commands are known all the same");
    let said = desk.run_with(&["--", "nixdeploy", ""], &[("NIXDEPLOY_COMPLETE", "csh")]);
    assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (0, "", ""));
}

/// As bash calls the function of its file: with the words as it breaks them.
#[test]
fn bash_completes_with_the_file_that_is_printed() {
    let desk = desk();
    symlink(env!("CARGO_BIN_EXE_nixdeploy"), desk.path("bin/nixdeploy")).expect("linked");
    let file = desk.run(&["completions", "bash"]);
    assert_eq!(file.code, 0, "{}", file.stderr);
    desk.write("nixdeploy.bash", &file.stdout);
    let asked = |words: &str, index: usize, word: &str| {
        let script = format!(
            ". ./nixdeploy.bash; COMP_WORDS=({words}); COMP_CWORD={index}; COMP_TYPE=9
             _clap_complete_nixdeploy nixdeploy '{word}' x 2>/dev/null
             printf '%s\\n' \"${{COMPREPLY[@]}}\"; complete -p nixdeploy"
        );
        let mut bash = program("/bin/bash");
        bash.args(["--norc", "-c", &script]).current_dir(desk.work()).env_clear();
        bash.env("HOME", desk.path("home")).env("PATH", desk.path("bin"));
        let said = bash.output().expect("bash");
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        let (found, last) = text.trim_end().rsplit_once('\n').expect("two lines");
        assert!(last.ends_with(" nixdeploy"), "{text}");
        found.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(asked("nixdeploy deploy ra", 2, "ra"), ["razer"]);
    assert_eq!(asked("nixdeploy deploy @ se", 3, "@se"), ["@server"]);
    assert_eq!(asked("nixdeploy deploy p620 --canary = r", 5, "r"), ["razer"]);
    assert_eq!(asked("nixdeploy status @", 2, "@"), ["@media", "@server"]);
}

#[test]
fn every_shell_has_its_file() {
    let desk = desk();
    for (shell, wanted) in [
        ("bash", "complete -o"),
        ("elvish", "edit:completion"),
        ("fish", "complete --keep-order"),
        ("powershell", "Register-ArgumentCompleter"),
        ("zsh", "#compdef nixdeploy"),
    ] {
        let said = desk.run(&["completions", shell]);
        assert_eq!(said.code, 0, "{}", said.stderr);
        assert!(said.stdout.contains(wanted), "{shell}\n{}", said.stdout);
        assert!(said.stdout.contains("NIXDEPLOY_COMPLETE"), "{shell} asks at the TAB key");
        assert!(!said.stdout.contains("target/"), "nixdeploy is found by PATH, not by its place");
    }
    assert_eq!(desk.run(&["completions", "csh"]).code, 2);
}

/// Every command below another, with its words.
fn commands() -> Vec<(Vec<String>, clap::Command)> {
    let mut top = Cli::command();
    top.build();
    let mut all = vec![(Vec::new(), top)];
    let mut at = 0;
    while let Some((path, command)) = all.get(at).cloned() {
        for below in command.get_subcommands() {
            all.push(([path.clone(), vec![below.get_name().to_owned()]].concat(), below.clone()));
        }
        at += 1;
    }
    all
}

#[test]
fn every_command_has_a_manual_page_with_its_flags() {
    let desk = desk();
    let said = desk.run(&["man", "share/man1"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let folder = desk.work().join("share/man1");
    let names = folder.read_dir().expect("a folder").flatten();
    let written: BTreeSet<String> =
        names.map(|f| f.file_name().to_string_lossy().into_owned()).collect();
    let mut wanted = BTreeSet::new();
    for (path, command) in commands() {
        let name = format!("{}.1", [vec!["nixdeploy".to_owned()], path].concat().join("-"));
        let text = std::fs::read_to_string(folder.join(&name)).expect(&name);
        assert!(text.contains(".TH NIXDEPLOY") && text.contains("EXIT STATUS"), "{name}");
        let about = command.get_about().expect("what it does").to_string();
        assert!(
            text.contains(&about.replace('-', "\\-").replace('\'', "\\*(Aq")),
            "{name}: {about}"
        );
        for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
            let flag = format!("\\-\\-{}", flag.replace('-', "\\-"));
            assert!(text.contains(&flag), "{name} has no {flag}");
        }
        wanted.insert(name);
    }
    assert_eq!(written, wanted);
    let page = desk.run(&["man"]).stdout;
    assert_eq!(page, std::fs::read_to_string(folder.join("nixdeploy.1")).expect("the first"));
    assert!(page.contains("\\&nixdeploy rollback p620"), "examples stand as they are: {page}");
    desk.write("file", "");
    let said = desk.run(&["man", "file"]);
    assert!(said.code == 2 && said.stderr.contains("cannot write"), "{}", said.stderr);
}

/// Examples of every help stand first, and are understood.
#[test]
fn every_example_of_the_help_is_understood() {
    let mut found = 0;
    for (path, command) in commands().into_iter().filter(|(path, _)| path != &["help"]) {
        let examples = command.get_before_long_help().map(ToString::to_string).unwrap_or_default();
        assert!(examples.starts_with("Example"), "{path:?} has no example");
        for line in examples.lines().skip(1) {
            // What is said of it comes after two spaces, what the shell does after > or |.
            let line = line.trim_start().split("  ").next().unwrap_or_default();
            let line = line.split(['>', '|']).next().unwrap_or_default();
            let words = line.split_whitespace().map(|w| OsString::from(w.trim_matches('\'')));
            if let Err(error) = cli::parse(words) {
                panic!("{path:?}: {line}\n{error}");
            }
            let named = path.iter().all(|word| line.contains(word.as_str()));
            let bare = path == ["deploy"] || path == ["emergency"];
            assert!(named || bare, "{path:?}: {line}");
            found += 1;
        }
    }
    assert!(found > 50, "{found}");
}
