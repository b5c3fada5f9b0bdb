//! `check` as a person, a hook and a CI run it: what is looked at, what counts as new, how it is
//! told, and what is written.

use serde_json::Value;

use crate::support::home::Desk;
use crate::support::machines::Said;

const BAD: &str = "{ lib, c, ... }:\n{\n  a = lib.mkIf c true;\n}\n";
/// A Nix that refuses one file, and says so as Nix does.
const REFUSING: &str = r#"for f; do case $f in */theirs.nix)
  printf 'error: syntax error, unexpected end\n at %s:1:1:\n' "$f" >&2; exit 1;; esac; done
"#;
const GOOD: &str = "{ lib, c, ... }:\n{\n  a = c;\n}\n";

/// A repository whose first commit holds files.
fn committed(files: &[(&str, &str)]) -> Desk {
    let desk = Desk::new();
    desk.real("git");
    desk.git(&["init", "-q", "-b", "main"]);
    for (path, text) in files {
        desk.write(path, text);
    }
    desk.git(&["add", "-A"]);
    commit(&desk);
    desk
}

fn commit(desk: &Desk) {
    let person = ["-c", "user.name=t", "-c", "user.email=t@example.org"];
    desk.git(&[&person[..], &["commit", "-q", "--no-verify", "--allow-empty", "-m", "x"]].concat());
}

/// One line for each finding: new or old, severity, place, rule.
fn found(desk: &Desk, args: &[&str]) -> (i32, Vec<String>) {
    let said = desk.run(&[&["check", "--json"], args].concat());
    let document: Value = serde_json::from_str(&said.stdout).expect(&said.stderr);
    let word = |f: &Value, name: &str| f[name].as_str().expect("a text").to_owned();
    let line = |f: &Value| {
        let age = if f["new"].as_bool().expect("a flag") { "new" } else { "old" };
        let (severity, path, rule) = (word(f, "severity"), word(f, "path"), word(f, "rule"));
        format!("{age} {severity} {path}:{}:{} {rule}", f["line"], f["column"])
    };
    (said.code, document["findings"].as_array().expect("findings").iter().map(line).collect())
}

#[test]
fn of_a_huge_file_it_is_told_which_rules_were_asked() {
    let element = format!("  {{ services.a.x = true; }} # {}\n", "x".repeat(50_000));
    let text = |last: &str| format!("{{ lib, c }}: [\n{}{last}\n]\n", element.repeat(100));
    let desk = committed(&[("a.nix", &text("{ networking.firewall.enable = false; }"))]);
    let note = "new info a.nix:1:1 judged-in-pieces".to_owned();
    assert_eq!(found(&desk, &[]), (0, vec![note.clone()]));
    assert!(desk.run(&["check", "--all"]).stdout.contains("no other rule was asked"));
    let token = ["gh", "p_16C7e42F292c6912E7710c838347Ae178B4a"].concat();
    desk.write("a.nix", text(&format!("\"{token}\"")));
    let secret = "new block a.nix:102:2 hardcoded-secret".to_owned();
    assert_eq!(found(&desk, &[]), (3, vec![note, secret]));
}

#[test]
fn only_what_is_new_blocks() {
    let desk = committed(&[("a.nix", BAD), ("b.nix", GOOD)]);
    assert_eq!(found(&desk, &[]), (0, vec!["old block a.nix:3:7 mkif-true".to_owned()]));
    let moved = BAD.replace("{\n  a =", "{\n\n  b = 1;\n  a  =\n   ");
    desk.write("a.nix", &moved);
    let (code, told) = found(&desk, &[]);
    assert_eq!((code, told[0].starts_with("old")), (0, true), "moved, and no other: {told:?}");
    desk.write("a.nix", BAD.replace("}\n", "  d = lib.mkIf c true;\n}\n"));
    let (code, told) = found(&desk, &[]);
    assert_eq!(code, 3);
    assert_eq!(told.iter().filter(|t| t.starts_with("new")).count(), 1, "{told:?}");
    desk.write("b.nix", BAD);
    let (code, told) = found(&desk, &["b.nix"]);
    assert_eq!((code, told), (3, vec!["new block b.nix:3:7 mkif-true".to_owned()]));
}

#[test]
fn a_health_script_that_is_not_there_is_told_by_a_check_of_the_tree() {
    let desk = committed(&[("a.nix", GOOD), ("health/there.sh", "exit 0\n")]);
    let hosts = "[hosts.a]\naddress = \"a\"\n[[hosts.a.health]]\nscript = \
                 \"health/there.sh\"\n[[hosts.a.health]]\nscript = \"health/gone.sh\"\n";
    desk.write("hosts.toml", hosts);
    let (code, told) = found(&desk, &[]);
    assert_eq!((code, told), (3, vec!["new block hosts.toml:6:1 health-script".to_owned()]));
    let said = desk.run(&["validate-quick"]);
    assert!(said.stdout.contains("health script health/gone.sh is not in the flake"), "{said:?}");
    assert_eq!(found(&desk, &["a.nix"]), (0, Vec::new()));
    assert_eq!(desk.run(&["check-syntax"]).code, 0);
    desk.write("health/gone.sh", "exit 0\n");
    assert_eq!(found(&desk, &[]), (0, Vec::new()));
}

#[test]
fn syntax_and_secrets_block_however_old() {
    let secret = "{ a = builtins.readFile ./secrets/a; }\n";
    let desk = committed(&[("a.nix", "{ a = 1 }\n"), ("b.nix", secret)]);
    let expected = ["new block a.nix:1:9 syntax-error", "new block b.nix:1:7 eval-time-secret"];
    assert_eq!(found(&desk, &[]), (3, expected.map(str::to_owned).to_vec()));
}

#[test]
fn what_is_staged_is_checked_as_it_is_staged() {
    let desk = committed(&[("a.nix", GOOD), ("b.nix", BAD), ("gone.nix", BAD), ("c d.nix", GOOD)]);
    desk.write("a.nix", BAD);
    desk.git(&["add", "a.nix"]);
    desk.write("a.nix", GOOD); // the index is what counts
    desk.write("c d.nix", "{"); // not staged
    desk.git(&["mv", "b.nix", "moved.nix"]);
    desk.git(&["rm", "-q", "gone.nix"]);
    std::os::unix::fs::symlink("moved.nix", desk.work().join("link.nix")).expect("a link");
    desk.write("no.txt", "{");
    desk.git(&["add", "link.nix", "no.txt"]);
    let (code, told) = found(&desk, &["--staged"]);
    assert_eq!(told, ["new block a.nix:3:7 mkif-true", "old block moved.nix:3:7 mkif-true"]);
    assert_eq!(code, 3);
    let below = desk.work().join("x");
    std::fs::create_dir(&below).expect("a folder");
    assert_eq!(found(&desk, &["--staged", "moved.nix"]).0, 0, "only that one");
}

#[test]
fn the_index_of_a_hook_is_the_one_that_counts() {
    let desk = committed(&[("a.nix", GOOD)]);
    desk.write("a.nix", BAD);
    let index = desk.work().join(".git/other");
    std::fs::copy(desk.work().join(".git/index"), &index).expect("copied");
    let index = index.display().to_string();
    let git = crate::support::program("git")
        .args(["add", "a.nix"])
        .env("GIT_INDEX_FILE", &index)
        .current_dir(desk.work())
        .status();
    assert!(git.expect("git").success());
    assert_eq!(desk.run(&["check", "--staged"]).code, 0);
    let said = desk.run_with(&["check", "--staged"], &[("GIT_INDEX_FILE", ".git/other")]);
    assert_eq!(said.code, 3, "{}{}", said.stdout, said.stderr);
}

#[test]
fn since_a_revision_counts_from_where_the_branch_parted() {
    let desk = committed(&[("a.nix", BAD), ("b.nix", GOOD)]);
    desk.git(&["checkout", "-q", "-b", "topic"]);
    desk.write("b.nix", BAD);
    desk.git(&["add", "-A"]);
    commit(&desk);
    desk.write("untracked.nix", BAD);
    let new = ["new block b.nix:3:7 mkif-true", "new block untracked.nix:3:7 mkif-true"];
    assert_eq!(found(&desk, &["--since", "main"]), (3, new.map(str::to_owned).to_vec()));
    assert_eq!(desk.run(&["check", "--since", "nowhere"]).code, 2);
    assert_eq!(desk.run(&["check", "--since=--output=x"]).code, 2);
    assert!(!desk.work().join("x").exists());
}

#[test]
fn ignored_files_links_and_other_folders_are_left_alone() {
    let desk = committed(&[(".gitignore", "result/\n"), ("a/b.nix", GOOD)]);
    desk.write("result/x.nix", "{");
    std::os::unix::fs::symlink("/", desk.work().join("everything")).expect("a link");
    assert_eq!(desk.run(&["check"]).code, 0);
    assert_eq!(desk.run(&["check", "result/x.nix"]).code, 3, "unless it is named");
    let said = desk.run(&["check", "a"]);
    assert!(said.stdout.starts_with("1 file, 0 errors"), "{}", said.stdout);
}

#[test]
fn without_git_everything_is_new() {
    let desk = Desk::new();
    desk.write("a/b.nix", BAD);
    desk.write(".hidden/c.nix", "{");
    assert_eq!(found(&desk, &[]), (3, vec!["new block a/b.nix:3:7 mkif-true".to_owned()]));
    assert_eq!(desk.run(&["check", "--staged"]).code, 2);
}

#[test]
fn a_port_that_was_open_somewhere_is_not_new() {
    let port = |n: u16| format!("{{ networking.firewall.allowedTCPPorts = [ {n} ]; }}\n");
    let desk = committed(&[("a.nix", &port(80)), ("b.nix", GOOD)]);
    desk.write("b.nix", port(80));
    let (_, told) = found(&desk, &[]);
    assert_eq!(told[1], "old info b.nix:1:3 firewall-port-opened");
    desk.write("b.nix", port(81));
    let (_, told) = found(&desk, &[]);
    assert_eq!(told[1], "new warn b.nix:1:3 firewall-port-opened");
}

#[test]
fn comments_let_findings_pass_with_a_reason() {
    let desk = Desk::new();
    let text = |before: &str, after: &str| {
        format!("{{ lib, c, ... }}:\n{{\n{before}  a = lib.mkIf c true;{after}\n}}\n")
    };
    let allow = "# nixdeploy: allow(mkif-true) -- another module sets it";
    for (text, expected) in [
        (text("", &format!(" {allow}")), vec![]),
        (text(&format!("  {allow}\n"), ""), vec![]),
        (
            text("", "")
                .replace("true;", "\n    true;")
                .replace("  a =", &format!("  {allow}\n  a =")),
            vec![],
        ),
        (format!("# nixdeploy: allow-file(mkif-true) -- all of it\n{}", text("", "")), vec![]),
        (text("", " # nixdeploy: allow(mkif-true)"), vec!["mkif-true", "unused-suppression"]),
        (text("", " # nixdeploy: allow(mkif-tru) -- x"), vec!["mkif-true", "unused-suppression"]),
        (format!("{allow}\n{GOOD}"), vec!["unused-suppression"]),
        (format!("# nixdeploy: allow(syntax-error) -- x\n{GOOD}"), vec!["unused-suppression"]),
        ("{ a = \"# nixdeploy: allow(mkif-true) -- x\"; }".to_owned(), vec![]),
    ] {
        desk.write("a.nix", &text);
        let (_, told) = found(&desk, &[]);
        let rules: Vec<&str> = told.iter().filter_map(|t| t.rsplit(' ').next()).collect();
        assert_eq!(rules, expected, "{text}");
    }
}

#[test]
fn hosts_toml_says_how_bad_findings_are_and_where() {
    let desk = committed(&[("a.nix", GOOD)]);
    desk.write("a.nix", BAD);
    desk.write("lab/a.nix", BAD);
    desk.write(
        "hosts.toml",
        "[check.rules]\nmkif-true = 'warn'\n[check.paths.'lab/**']\nmkif-true = 'off'\n",
    );
    assert_eq!(found(&desk, &[]), (0, vec!["new warn a.nix:3:7 mkif-true".to_owned()]));
    assert_eq!(desk.run(&["check", "--deny", "warn"]).code, 3);
    for wrong in ["mkif-tru = 'off'", "syntax-error = 'warn'", "mkif-true = 'loud'"] {
        desk.write("hosts.toml", format!("[check.rules]\n{wrong}\n"));
        let said = desk.run(&["check"]);
        assert_eq!(said.code, 2, "{wrong} {}", said.stdout);
    }
}

#[test]
fn a_baseline_holds_what_is_known_and_says_what_is_gone() {
    let desk = Desk::new();
    desk.real("git");
    desk.git(&["init", "-q"]);
    let secret = "{ a = builtins.readFile ./secrets/a; }\n";
    desk.write("a.nix", BAD);
    desk.write("b.nix", secret);
    let said = desk.run(&["check", "--write-baseline"]);
    assert_eq!(said.code, 3, "secrets are never in a baseline: {}", said.stdout);
    let text = std::fs::read_to_string(desk.work().join(".nixdeploy-baseline")).expect("written");
    assert!(text.contains("mkif-true") && !text.contains("eval-time"), "{text}");
    assert!(!text.contains(":3"), "no line numbers: {text}");
    desk.write("b.nix", GOOD);
    desk.write("a.nix", format!("\n\n{BAD}"));
    assert_eq!(found(&desk, &[]), (0, vec!["old block a.nix:5:7 mkif-true".to_owned()]));
    desk.write("a.nix", BAD.replace("}\n", "  b = lib.mkIf c true;\n}\n"));
    assert_eq!(found(&desk, &[]).0, 3, "each counts as often as it was");
    desk.write("a.nix", GOOD);
    let gone = "new warn .nixdeploy-baseline:3:1 unused-suppression";
    assert_eq!(found(&desk, &[]), (0, vec![gone.to_owned()]));
    desk.write(".nixdeploy-baseline", "what\n");
    assert_eq!(desk.run(&["check"]).code, 2);
}

#[test]
fn only_the_safe_four_are_mended_and_never_a_file_that_is_staged_in_part() {
    let fixable = "rec {\n  a = https://example.org;\n  b = 6/3;\n}\n";
    let mended = "{\n  a = \"https://example.org\";\n  b = 6 / 3;\n}\n";
    let desk = committed(&[("a.nix", GOOD), ("b.nix", GOOD), ("run.nix", fixable)]);
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(desk.work().join("run.nix"), executable).expect("set");
    desk.write("a.nix", fixable);
    desk.git(&["add", "a.nix"]);
    desk.write("a.nix", format!("{fixable}\n"));
    desk.write("b.nix", BAD);
    let said = desk.run(&["check", "--fix"]);
    assert_eq!(said.code, 3, "{}", said.stdout);
    let read = |name: &str| std::fs::read_to_string(desk.work().join(name)).expect("read");
    assert_eq!(read("a.nix"), format!("{fixable}\n"), "left alone");
    assert!(said.stdout.contains("left alone: a.nix: it is staged in part"), "{}", said.stdout);
    assert_eq!(read("b.nix"), BAD, "mkIf is never rewritten");
    assert_eq!(read("run.nix"), mended);
    let meta = std::fs::metadata(desk.work().join("run.nix")).expect("there");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o777, 0o755);
    assert_eq!(desk.files().len(), 4, "{:?}", desk.files());
}

#[test]
fn the_hook_is_installed_beside_the_one_that_was_there() {
    let desk = committed(&[("a.nix", GOOD)]);
    let hooks = desk.work().join(".git/hooks");
    std::fs::create_dir_all(&hooks).expect("a folder");
    let old = hooks.join("pre-commit");
    std::fs::write(&old, "#!/bin/sh\necho ran > ran\n[ ! -e refuse ]\n").expect("written");
    std::fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("set");
    for _ in 0..2 {
        let said = desk.run(&["hooks", "install"]);
        assert_eq!(said.code, 0, "{}", said.stderr);
    }
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_nixdeploy"));
    let path = format!("{}:/usr/bin:/bin", program.parent().expect("a folder").display());
    let attempt = |name: &str, text: &str| {
        desk.write(name, text);
        desk.git(&["add", "-A"]);
        let words = ["-c", "user.name=t", "-c", "user.email=t@e", "commit", "-q", "-m", "x"];
        let git = crate::support::program("git")
            .args(words)
            .env("PATH", &path)
            .env("HOME", desk.path("home"))
            .current_dir(desk.work())
            .output();
        Said::of(&git.expect("git"))
    };
    let said = attempt("a.nix", BAD);
    assert_ne!(said.code, 0);
    let all = said.stdout + &said.stderr;
    assert!(all.contains("mkif-true") && desk.work().join("ran").exists(), "{all}");
    assert_eq!(attempt("a.nix", &GOOD.replace("c;", "1;")).code, 0);
    desk.write("refuse", "");
    assert_ne!(attempt("b.nix", GOOD).code, 0, "the old hook refused");
}

#[test]
fn rules_are_listed_and_explained() {
    let desk = Desk::new();
    let list = desk.run(&["check", "--list-rules"]);
    assert_eq!(list.code, 0);
    let ids: Vec<&str> = list.stdout.lines().filter_map(|l| l.split_whitespace().nth(1)).collect();
    assert!(ids.len() >= 30, "{}", list.stdout);
    for id in ids {
        let said = desk.run(&["check", "--explain", id]);
        assert!(said.code == 0 && said.stdout.starts_with(id), "{id} {}", said.stderr);
        assert!(
            said.stdout.lines().all(|l| l.starts_with("    ") || l.chars().count() <= 100),
            "{}",
            said.stdout
        );
    }
    let said = desk.run(&["check", "--explain", "mkif-tru"]);
    assert!(said.code == 2 && said.stderr.contains("mkif-true"), "{}", said.stderr);
}

#[test]
fn nix_has_the_last_word_on_syntax() {
    let desk = Desk::new();
    desk.write("ours.nix", "{ a = 1; a = 2; }");
    desk.write("theirs.nix", "{ }");
    assert_eq!(desk.run(&["check", "--nix"]).code, 2, "there is no Nix");
    desk.fake("nix-instantiate", REFUSING);
    let (code, told) = found(&desk, &["--nix"]);
    assert_eq!(
        told,
        ["new warn ours.nix:1:10 duplicate-attr", "new block theirs.nix:1:1 syntax-error"]
    );
    assert_eq!(code, 3);
    desk.fake("nix-instantiate", "exit 0\n");
    assert_eq!(desk.run(&["check", "--nix"]).code, 0);
    let calls = desk.calls();
    assert_eq!(calls.iter().filter(|c| c.contains("--parse")).count(), 3, "{calls:?}");
    assert_eq!(desk.run(&["check-syntax"]).code, 3);
    assert_eq!(desk.run(&["validate-quick"]).code, 3);
}

#[test]
fn validate_ends_with_nixs_own_check_of_the_flake() {
    let desk = committed(&[("flake.nix", "{ outputs = _: { }; }\n")]);
    desk.fake("nix-instantiate", "exit 0\n");
    desk.fake("nix", "echo 'error: attribute missing' >&2; exit 1\n");
    let said = desk.run(&["validate"]);
    assert_eq!(said.code, 4, "{}", said.stderr);
    assert!(said.stderr.contains("attribute missing"), "{}", said.stderr);
    desk.fake("nix", "exit 0\n");
    assert_eq!(desk.run(&["validate"]).code, 0);
    let document = desk.run(&["validate", "--json"]).stdout;
    assert!(serde_json::from_str::<serde_json::Value>(&document).is_ok(), "{document}");
    assert!(desk.calls().iter().any(|c| c.starts_with("nix flake check")), "{:?}", desk.calls());
}

#[test]
fn the_rules_are_a_document_too_and_forms_that_are_not_there_are_refused() {
    let desk = committed(&[]);
    let said = desk.run(&["check", "--list-rules", "--json"]);
    let document: serde_json::Value = serde_json::from_str(&said.stdout).expect("a document");
    let rules = document["rules"].as_array().expect("rules");
    assert!(rules.iter().any(|r| r["id"] == "mkif-true"), "{document}");
    for words in [
        &["check", "--list-rules", "--format", "sarif"][..],
        &["check", "--explain", "mkif-true", "--json"],
    ] {
        assert_eq!(desk.run(words).code, 2, "{words:?}");
    }
}

#[test]
fn a_link_that_was_named_is_followed() {
    use std::os::unix::fs::symlink;
    let double = "{ a = 1; a = 2; }\n";
    for repository in [true, false] {
        let desk = if repository { committed(&[("b.nix", GOOD)]) } else { Desk::new() };
        desk.write("real.nix", double);
        desk.write("sub/real.nix", double);
        let link = |to: &str, name: &str| symlink(to, desk.work().join(name)).expect("a link");
        link("real.nix", "link.nix");
        link("sub", "folder");
        link("loop.nix", "loop.nix");
        link("nowhere", "dangling.nix");
        for (name, real) in [("link.nix", "real.nix"), ("folder", "sub/real.nix")] {
            let said = desk.run(&["check-syntax", name]);
            assert_eq!(said.code, 3, "{name} {}", said.stdout);
            assert!(said.stdout.contains(&format!("{real}:1:10")), "{name} {}", said.stdout);
        }
        desk.write("elsewhere/x", "");
        std::fs::rename(desk.work().join("elsewhere"), desk.path("elsewhere")).expect("moved");
        std::fs::write(desk.path("elsewhere/out.nix"), double).expect("written");
        link("../elsewhere/out.nix", "out.nix");
        assert_eq!(desk.run(&["check", "out.nix"]).code, 3);
        let pipe = desk.work().join("pipe.nix");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).expect("a pipe");
        let _socket = std::os::unix::net::UnixListener::bind(desk.work().join("socket.nix"));
        for (name, why) in [
            ("loop.nix", "it is a link to loop.nix: "),
            ("dangling.nix", "it is a link to nowhere: "),
            ("pipe.nix", "neither a file nor a folder"),
            ("socket.nix", "neither a file nor a folder"),
        ] {
            let said = desk.run(&["check", name]);
            assert_eq!(said.code, 2, "{name} {}", said.stdout);
            assert!(said.stderr.contains(why), "{name} {}", said.stderr);
        }
    }
}

#[test]
fn that_there_was_nothing_to_check_is_said() {
    let desk = committed(&[("readme", "")]);
    std::fs::create_dir(desk.work().join("sub")).expect("a folder");
    for (args, place) in [(&["check"] as &[&str], "work"), (&["check", "sub"], "sub")] {
        let said = desk.run(args);
        assert_eq!(said.code, 0, "right for a hook: {}", said.stderr);
        let told = said.stdout.lines().next().expect("a line");
        assert!(told.starts_with("no .nix files in ") && told.ends_with(place), "{told}");
    }
    assert!(!desk.run(&["check", "--staged"]).stdout.contains("no .nix files"));
    desk.write("flake.nix", GOOD);
    assert!(!desk.run(&["check"]).stdout.contains("no .nix files"));
    let said = desk.run(&["check", "flak.nix"]);
    assert!(said.stderr.contains("hint: did you mean flake.nix?"), "{}", said.stderr);
    let said = desk.run(&["check", "--since", "nosuch"]);
    assert_eq!(said.code, 2);
    assert!(said.stderr.contains("no revision called 'nosuch'"), "{}", said.stderr);
    desk.git(&["checkout", "-q", "--orphan", "other"]);
    // The same files in the same second would be the same commit.
    desk.git(&["add", "-A"]);
    commit(&desk);
    let said = desk.run(&["check", "--since", "main"]);
    assert!(said.stderr.contains("no commit in common"), "{}", said.stderr);
}

#[test]
fn what_is_mended_stays_whose_it_is_and_one_file() {
    use std::os::unix::fs::{MetadataExt, chown};
    let fixable = "rec {\n  b = 6/3;\n}\n";
    let desk = committed(&[("mine.nix", GOOD), ("two.nix", GOOD)]);
    desk.write("mine.nix", fixable);
    desk.write("two.nix", fixable);
    std::fs::hard_link(desk.work().join("two.nix"), desk.path("again.nix")).expect("linked");
    let root = rustix::process::geteuid().is_root();
    if root {
        chown(desk.work().join("mine.nix"), Some(1000), Some(1000)).expect("given away");
    }
    let at = |name: &str| std::fs::metadata(desk.work().join(name)).expect("there");
    let before = at("mine.nix");
    let said = desk.run(&["check", "--fix"]);
    assert!(said.stdout.contains("left alone: two.nix: it has other names"), "{}", said.stdout);
    let read = |name: &str| std::fs::read_to_string(desk.work().join(name)).expect("read");
    assert_ne!(read("mine.nix"), fixable);
    let after = at("mine.nix");
    let whose = |m: &std::fs::Metadata| (m.uid(), m.gid(), m.mode());
    assert_eq!(whose(&after), whose(&before));
    assert_eq!((read("two.nix").as_str(), at("two.nix").nlink()), (fixable, 2));
}

#[test]
fn what_stands_in_the_place_of_a_hook_is_left_and_said() {
    let desk = committed(&[("a.nix", GOOD)]);
    let hooks = desk.work().join(".git/hooks");
    let _ = std::fs::remove_dir_all(&hooks);
    std::fs::create_dir_all(hooks.join("pre-commit")).expect("a folder");
    let said = desk.run(&["hooks", "install"]);
    assert!(said.code == 2 && said.stderr.contains("pre-commit is a folder"), "{}", said.stderr);
    std::fs::remove_dir(hooks.join("pre-commit")).expect("removed");
    std::os::unix::fs::symlink("gone", hooks.join("pre-commit")).expect("a link");
    let said = desk.run(&["hooks", "install"]);
    assert!(said.code == 2 && said.stderr.contains("is a link to nothing"), "{}", said.stderr);
    assert_eq!(std::fs::read_dir(&hooks).expect("a folder").count(), 1, "nothing was moved");
    std::fs::remove_file(hooks.join("pre-commit")).expect("removed");
    assert!(!desk.run(&["hooks", "install"]).stdout.contains("core.hooksPath"));
    let shared = desk.path("shared");
    desk.git(&["config", "core.hooksPath", &shared.display().to_string()]);
    let said = desk.run(&["hooks", "install"]);
    assert!(said.code == 0 && said.stdout.contains("every repository that uses it"), "{said:?}");
    assert!(shared.join("pre-commit").exists());
}
