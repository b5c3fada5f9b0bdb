//! `update` up to where hosts come in: which inputs Nix is asked for, and that flake.lock is what
//! it was whenever nothing came of it.

use std::path::{Path, PathBuf};

use nixdeploy::update::keep::{Id, Keep};
use serde_json::Value;

use crate::support::home::{Desk, assert_harmless};
use crate::support::machines::Said;

/// The flake's own nixpkgs is the node `nixpkgs_2`; `nixpkgs` is another's.
fn lock(rev: &str) -> String {
    let github = |name: &str, rev: &str, day: u32| {
        format!(
            r#"{{"type": "github", "owner": "NixOS", "repo": "{name}", "rev": "{rev}",
                "lastModified": {}, "narHash": "sha256-{rev}"}}"#,
            1_787_000_000 + day * 86_400
        )
    };
    let (own, agenix, theirs) = (
        github("nixpkgs", rev, rev.len() as u32),
        github("agenix", "aaaa111", 1),
        github("nixpkgs", "bbbb222", 2),
    );
    format!(
        r#"{{"nodes": {{
            "root": {{"inputs": {{"agenix": "agenix", "nixpkgs": "nixpkgs_2",
                "tools": ["agenix", "nixpkgs"]}}}},
            "agenix": {{"inputs": {{"nixpkgs": "nixpkgs"}}, "locked": {agenix}}},
            "nixpkgs": {{"locked": {theirs}}}, "nixpkgs_2": {{"locked": {own}}}
        }}, "root": "root", "version": 7}}"#
    )
}

/// Nix as it is: writes the lock that is asked for, and evaluates nothing.
const NIX: &str = r#"
for word; do [ "$last" != --output-lock-file ] || cp "$DESK/new.lock" "$word"; last=$word; done
case "$*" in
  *"flake update"*) exit 0 ;;
  *attrNames*) cat "$DESK/names" && exit 0; printf 'error:\n  … x\n  error: no set\n' >&2; exit 1 ;;
esac
echo "error: attribute 'nothing' missing" >&2; exit 1
"#;
/// Nix before it had the flags.
const OLD_NIX: &str = r#"
case "$*" in
  *--output-lock-file*) echo "error: unrecognised flag '--output-lock-file'" >&2; exit 1 ;;
  *"flake lock"*) cat ../tracked.nix > "$DESK/seen"; cp "$DESK/new.lock" flake.lock; exit 0 ;;
esac
echo "error: attribute 'nothing' missing" >&2; exit 1
"#;

fn desk() -> Desk {
    let desk = Desk::with_fleet("");
    desk.write("hosts.toml", "[hosts.p620]\n[hosts.razer]\n");
    desk.write("flake.lock", lock("1f0c2ab"));
    desk.git(&["add", "-A"]);
    commit(&desk);
    std::fs::write(desk.path("new.lock"), lock("9be77d0c")).expect("written");
    desk.fake("nix", NIX);
    desk.fake("ssh", "exit 255\n");
    desk
}

fn commit(desk: &Desk) {
    let who = ["-c", "user.name=x", "-c", "user.email=x@example.org"];
    desk.git(&[&who[..], &["commit", "-qm", "x"]].concat());
}

fn bytes(desk: &Desk) -> Vec<u8> {
    std::fs::read(desk.work().join("flake.lock")).expect("the lock")
}

/// Runs, and asserts that flake.lock is byte for byte what it was.
fn unharmed(desk: &Desk, args: &[&str]) -> Said {
    let before = bytes(desk);
    let said = desk.run(args);
    assert_eq!(bytes(desk), before, "{args:?} {said:?}");
    let beside = std::fs::read_dir(desk.work()).expect("a folder").flatten();
    let left = beside.filter(|e| e.file_name().to_string_lossy().starts_with(".flake.lock"));
    assert_eq!(left.count(), 0, "{args:?}");
    assert_harmless(&said.stdout);
    assert_harmless(&said.stderr);
    said
}

fn updates(desk: &Desk) -> Vec<String> {
    let calls = desk.calls().into_iter().filter(|c| c.contains("flake update"));
    calls.filter_map(|c| Some(c.split("flake update").nth(1)?.trim().to_owned())).collect()
}

fn keep(desk: &Desk) -> Keep {
    let work: PathBuf = desk.work().canonicalize().expect("real");
    Keep::look(&work.join(".git"), &work, Path::new("")).expect("a lock")
}

#[test]
fn only_inputs_that_there_are_are_asked_for() {
    let desk = desk();
    let flag = "--no-issue-check";
    for (args, asked) in [
        (&["update", "flake", flag][..], "--flake"),
        (&["update", "flake", "nixpkgs", flag], "nixpkgs --flake"),
        (&["update", "flake", "nixpkgs", "agenix", flag], "agenix nixpkgs --flake"),
        (&["update", "flake", "--except", "nixpkgs", flag], "agenix --flake"),
    ] {
        let before = updates(&desk).len();
        let said = unharmed(&desk, args);
        assert_eq!(said.code, 4, "{said:?}");
        let calls = updates(&desk);
        assert!(calls.len() == before + 1 && calls[before].starts_with(asked), "{calls:?}");
        assert!(
            said.stdout.starts_with("1 input of 3 moves\n  nixpkgs 1f0c2ab 2026-08-"),
            "{said:?}"
        );
        assert!(said.stderr.contains("flake.lock is as it was"), "{said:?}");
    }
    let before = desk.calls().len();
    for (args, told) in [
        (&["nixpkg"][..], "did you mean nixpkgs?"),
        (&["nixpkgs_2"], "flake.lock has no input 'nixpkgs_2'"),
        (&["tools"], "input tools follows agenix/nixpkgs"),
        (&["--except", "nixpkgs,agenix"], "no input is left"),
        (&["--except", "nixpgks"], "did you mean nixpkgs?"),
        (&["--host", "p602"], "did you mean the host p620?"),
    ] {
        let said = unharmed(&desk, &[&["update", "flake"], args].concat());
        assert!(said.code == 2 && said.stderr.contains(told), "{said:?}");
    }
    let nix = desk.calls()[before..].iter().filter(|c| c.starts_with("nix ")).count();
    assert_eq!(nix, 0, "nobody is asked for what is wrong");
}

#[test]
fn only_the_hosts_that_are_meant_are_built_and_with_the_candidate() {
    let desk = desk();
    let said = unharmed(&desk, &["update", "flake", "--host", "razer", "--no-issue-check"]);
    assert_eq!(said.code, 4, "{said:?}");
    let evaluated: Vec<String> =
        desk.calls().into_iter().filter(|c| c.contains("path-info")).collect();
    assert!(evaluated.iter().all(|c| c.contains("razer")), "{evaluated:?}");
    let file =
        format!("--reference-lock-file {}", desk.work().canonicalize().expect("real").display());
    let file = format!("{file}/.git/nixdeploy/draft.lock");
    assert!(evaluated.iter().any(|c| c.contains(&file)), "{file}\n{evaluated:?}");
}

#[test]
fn what_cannot_be_updated_leaves_the_lock_alone() {
    let desk = desk();
    desk.fake("nix", "echo 'error: unable to download x\u{1b}[2J' >&2; exit 1\n");
    let said = unharmed(&desk, &["update", "flake"]);
    assert!(said.code == 4 && said.stderr.contains("unable to download"), "{said:?}");
    for bad in ["", "{", "[]", "{\"version\": 99}"] {
        std::fs::write(desk.path("new.lock"), bad).expect("written");
        desk.fake("nix", NIX);
        let said = unharmed(&desk, &["update", "flake"]);
        assert!(said.code == 2 && said.stderr.contains("no lock"), "{said:?}");
    }
    std::fs::write(desk.path("new.lock"), lock("1f0c2ab")).expect("written");
    let said = unharmed(&desk, &["update", "flake"]);
    assert!(said.code == 0 && said.stderr.contains("current already"), "{said:?}");
    // Whoever is stopped while Nix is at it has changed nothing.
    desk.fake("nix", "kill -INT $PPID; sleep 60\n");
    let said = unharmed(&desk, &["update", "flake"]);
    assert!(said.code == 130 && said.stderr.contains("as it was"), "{said:?}");
}

#[test]
fn work_that_is_not_committed_is_not_taken_for_an_accident() {
    let desk = desk();
    let own = lock("1f0c2ab") + "\n\n";
    desk.write("flake.lock", &own);
    let said = unharmed(&desk, &["update", "flake", "--no-issue-check"]);
    assert!(said.code == 2 && said.stderr.contains("--allow-dirty-lock"), "{said:?}");
    assert_eq!(updates(&desk).len(), 0);
    let args = ["update", "flake", "--no-issue-check", "--allow-dirty-lock"];
    let said = unharmed(&desk, &args);
    assert!(said.code == 4 && said.stderr.contains("differs from the last commit"), "{said:?}");
    let kept = keep(&desk).bytes(&Id::of(own.as_bytes())).expect("kept");
    assert_eq!(kept, own.as_bytes(), "what was there is kept, not what was committed");
    desk.git(&["rm", "-q", "--cached", "flake.lock"]);
    let said = unharmed(&desk, &args);
    assert!(said.code == 2 && said.stderr.contains("git add flake.lock"), "{said:?}");
}

#[test]
fn a_nix_without_the_flags_works_on_a_copy() {
    let desk = desk();
    desk.write("sub/flake.nix", "{ outputs = _: { }; }\n");
    desk.write("sub/flake.lock", lock("1f0c2ab"));
    desk.write("tracked.nix", "1");
    desk.git(&["add", "-A"]);
    commit(&desk);
    desk.write("tracked.nix", "\"as it is on disk\"");
    desk.fake("nix", OLD_NIX);
    let before = std::fs::read(desk.work().join("sub/flake.lock")).expect("read");
    let said = unharmed(&desk, &["--flake", "./sub", "update", "flake", "--no-issue-check"]);
    assert_eq!(said.code, 4, "{said:?}");
    assert!(said.stdout.starts_with("1 input of 3 moves"), "{said:?}");
    assert_eq!(std::fs::read(desk.work().join("sub/flake.lock")).expect("read"), before);
    assert_eq!(std::fs::read_to_string(desk.path("seen")).expect("seen"), "\"as it is on disk\"");
    let calls = desk.calls();
    let update = "flake lock --update-input agenix --update-input nixpkgs";
    assert!(calls.iter().any(|c| c.ends_with(update)), "{calls:?}");
    let evaluated = calls.iter().find(|c| c.contains("path-info")).expect("an evaluation");
    assert!(!evaluated.contains("reference-lock-file"), "{evaluated}");
    let cache = desk.path("home/.cache/nixdeploy");
    assert!(
        evaluated
            .contains(&format!("git+file://{}", cache.canonicalize().expect("real").display()))
    );
    let left = std::fs::read_dir(cache).expect("a folder").flatten();
    let left = left.filter(|e| e.file_name().to_string_lossy().starts_with(".tmp")).count();
    assert_eq!(left, 0, "the copy is gone");
}

#[test]
fn locks_that_were_kept_are_listed_shown_and_restored() {
    let desk = desk();
    let said = desk.run(&["update", "lock", "list"]);
    assert!(said.code == 0 && said.stderr.contains("no flake.lock was kept yet"), "{said:?}");
    assert_eq!(unharmed(&desk, &["update", "flake", "--no-issue-check"]).code, 4);
    let (old, new) = (lock("1f0c2ab"), lock("9be77d0c"));
    let _ = keep(&desk).back_up(new.as_bytes()).expect("kept");
    let [here, other] = [&old, &new].map(|l| Id::of(l.as_bytes()));
    let said = desk.run(&["update", "lock", "list"]);
    let line = |id: &Id, end: &str| {
        said.stdout.lines().any(|l| l.starts_with(id.short()) && l.ends_with(end))
    };
    assert!(line(&here, "in place") && line(&other, "nixpkgs"), "{said:?}");
    let said = desk.run(&["update", "lock", "list", "--json"]);
    let listed: Value = serde_json::from_str(&said.stdout).expect("a document");
    assert_eq!(listed["kept"].as_array().map(Vec::len), Some(2), "{listed}");
    let said = desk.run(&["update", "lock", "show", other.short()]);
    assert!(said.stdout.contains("nixpkgs 9be77d0"), "{said:?}");
    assert!(said.stdout.contains("tools   follows agenix/nixpkgs"), "{said:?}");
    let said = desk.run(&["update", "lock", "restore", other.short()]);
    assert_eq!((said.code, bytes(&desk)), (0, new.into_bytes()), "{said:?}");
    let said = desk.run(&["update", "lock", "restore"]);
    assert_eq!((said.code, bytes(&desk)), (0, old.into_bytes()), "the newest other one {said:?}");
    let said = unharmed(&desk, &["update", "lock", "restore", "zzzz"]);
    assert!(said.code == 2 && said.stderr.contains("update lock list"), "{said:?}");
}

#[test]
fn an_update_that_was_cut_off_is_put_right_by_the_next_and_two_never_go_on_at_once() {
    let desk = desk();
    let (old, new) = (bytes(&desk), lock("9be77d0c").into_bytes());
    let first = keep(&desk).hold().expect("held");
    first.apply(&old, &new, 7).expect("applied");
    let said = unharmed(&desk, &["update", "flake"]);
    let pid = std::process::id();
    assert!(said.code == 2 && said.stderr.contains(&format!("process {pid}")), "{said:?}");
    // Gone without another word.
    drop(first);
    assert_eq!(bytes(&desk), new);
    let said = desk.run(&["update", "lock", "restore"]);
    assert!(said.code == 0 && said.stderr.contains("an earlier update was cut off"), "{said:?}");
    assert_eq!(bytes(&desk), old);
    let first = keep(&desk).hold().expect("held");
    first.apply(&old, &new, 7).expect("applied");
    first.opened("https://github.com/me/flake/pull/7").expect("written");
    let elsewhere = desk.path("lost/nixdeploy");
    first.deploying("abcdef", &elsewhere, &["p620".to_owned()]).expect("written");
    drop(first);
    for args in [&["update", "flake", "--no-issue-check"][..], &["update", "lock", "restore"]] {
        let said = unharmed(&desk, args);
        assert!(said.code == 8 && said.stderr.contains("is not known yet"), "{said:?}");
        for part in ["lost/nixdeploy", "nixdeploy status p620", Id::of(&new).short()] {
            assert!(said.stderr.contains(part), "{part} {said:?}");
        }
    }
    assert_eq!(bytes(&desk), new, "whoever has no log does not know that no host runs it");
    let said = unharmed(&desk, &["update", "lock", "restore", "zzzz"]);
    assert!(said.code == 2 && keep(&desk).journal().expect("read").is_some(), "{said:?}");
    // Who looked at the hosts names one.
    let said = desk.run(&["update", "lock", "restore", Id::of(&old).short()]);
    assert_eq!((said.code, keep(&desk).journal().expect("read")), (0, None), "{said:?}");
    let close = "gh pr close https://github.com/me/flake/pull/7";
    assert!(said.stderr.contains(close), "{said:?}");
    assert_eq!(bytes(&desk), old);
}

#[test]
fn the_log_of_an_update_is_found_where_it_was_written() {
    let desk = desk();
    let (old, new) = (bytes(&desk), lock("9be77d0c").into_bytes());
    let root = desk.path("root/nixdeploy");
    let log = root.join("runs/abcdef/events.jsonl");
    std::fs::create_dir_all(log.parent().expect("a folder")).expect("made");
    let event = |rest: &str| format!("{{\"index\":0,\"at_ms\":0,\"elapsed_ms\":0,{rest}}}\n");
    let started = event(
        r#""event":"run_started","run":"abcdef","format":1,"version":"0","command":["deploy"],
        "operator":"x","flake":null,"issue":null,"message":null,"recovers":null"#,
    );
    let finished = event(
        r#""event":"host_finished","host":"p620","outcome":"committed","reboot_required":false,
        "phase":"commit","note":"","causes":[],"before":null,"after":null,
        "decided_by":"deployer","next":[]"#,
    );
    let lines = [started, finished].map(|l| l.trim_end().replace('\n', " ") + "\n");
    std::fs::write(&log, lines.concat()).expect("written");
    let first = keep(&desk).hold().expect("held");
    first.apply(&old, &new, 7).expect("applied");
    first.deploying("abcdef", &root, &["p620".to_owned()]).expect("written");
    drop(first);
    let said = unharmed(&desk, &["update", "lock", "restore"]);
    assert!(said.code == 0 && said.stderr.contains("stays, as hosts run it"), "{said:?}");
    assert_eq!(bytes(&desk), new);
    let journal = desk.work().join(".git/nixdeploy/journal.json");
    for text in ["{\"schema\":99}", "garbage", ""] {
        std::fs::write(&journal, text).expect("written");
        for args in [&["update", "lock", "restore"][..], &["update", "flake"]] {
            let said = unharmed(&desk, args);
            assert!(said.code == 8 && said.stderr.contains("cannot be read"), "{said:?}");
        }
        assert_eq!(std::fs::read_to_string(&journal).expect("still there"), text);
    }
}

#[test]
fn what_cannot_be_recorded_is_told_before_anything_is_done() {
    let desk = desk();
    let said = unharmed(&desk, &["update", "smart", "p620", "--pr"]);
    assert!(said.code == 2 && said.stderr.contains("the repository has no remote"), "{said:?}");
    assert!(said.stderr.contains("git remote add origin URL"), "{said:?}");
    desk.git(&["checkout", "-q", "--detach"]);
    let said = unharmed(&desk, &["update", "smart", "p620", "--pr"]);
    assert!(said.code == 2 && said.stderr.contains("git switch BRANCH"), "{said:?}");
    desk.write(".git/MERGE_HEAD", "");
    let said = unharmed(&desk, &["update", "flake", "--commit", "--issue", "12"]);
    assert!(said.code == 2 && said.stderr.contains("a merge is under way"), "{said:?}");
    let said = unharmed(&desk, &["update", "workflow", "p620"]);
    assert!(said.code == 2 && said.stderr.contains("nixdeploy update smart p620"), "{said:?}");
    assert_eq!(updates(&desk), [""; 0], "no candidate was made");
    let said = desk.run(&["update", "p602"]);
    assert!(said.code == 2 && said.stderr.contains("did you mean the host p620?"), "{said:?}");
}

#[test]
fn a_package_is_held_by_a_patch_that_applies() {
    let desk = desk();
    let said = unharmed(&desk, &["update", "p620", "--hold", "hello"]);
    assert!(said.code == 4 && said.stderr.contains("because: no set"), "{said:?}");
    let names = r#"["hello", "linux-firmware", "linuxPackages"]"#;
    std::fs::write(desk.path("names"), names).expect("written");
    let said = unharmed(&desk, &["update", "p620", "--hold", "helo"]);
    assert!(said.code == 2 && said.stderr.contains("did you mean hello?"), "{said:?}");
    assert_eq!(said.stdout, "", "no patch of a package that there is not");
    let said = unharmed(&desk, &["update", "p620", "--hold", "linux-firmware"]);
    assert!(said.code == 0 && said.stderr.contains("nothing was changed"), "{said:?}");
    std::fs::write(desk.path("patch"), &said.stdout).expect("written");
    let patch = desk.path("patch").display().to_string();
    desk.git(&["apply", &patch]);
    let held = std::fs::read_to_string(desk.work().join("holds.nix")).expect("a file");
    for part in ["rev = \"1f0c2ab\";", "narHash = \"sha256-1f0c2ab\";", "}).linux-firmware;"] {
        assert!(held.contains(part), "{part} {held}");
    }
    let more = ["update", "smart", "p620", "--hold", "linux,hello", "--accept-issue", "7"];
    let said = unharmed(&desk, &more);
    std::fs::write(desk.path("patch"), &said.stdout).expect("written");
    desk.git(&["apply", &patch]);
    let held = std::fs::read_to_string(desk.work().join("holds.nix")).expect("a file");
    for part in ["}).linux-firmware;", "}).linuxPackages;", "}).hello;", "issue=7"] {
        assert!(held.contains(part), "{part} {held}");
    }
    for (package, why) in [("glibc", "built upon it"), ("a;b", "no name"), ("mesa", "as a whole")] {
        let said = unharmed(&desk, &["update", "smart", "p620", "--hold", package]);
        assert!(said.code == 2 && said.stderr.contains(why), "{said:?}");
    }
}
