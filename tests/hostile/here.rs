//! What lies on our own machine: a repository that wants to start something, state that somebody
//! else prepared, a tree that changes meanwhile (security rows S6, S8, S11, S16 and S20).

use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::support::home::Desk;
use crate::support::program;
use crate::support::stage::FACTS;

const DRV: &str = "/nix/store/00000000000000000000000000000000-nixos-system-p620.drv";

/// A host that answers well, and a flake that evaluates; nothing can be built.
fn desk() -> Desk {
    let desk = Desk::with_fleet("[hosts.p620]\n");
    desk.fake("nix", &format!("case $* in *--derivation*) echo {DRV} ;; *) exit 1 ;; esac\n"));
    desk.fake("ssh", "cat $DESK/facts\n");
    std::fs::write(desk.path("facts"), FACTS.replace("p510", "p620")).expect("written");
    desk
}

fn state(desk: &Desk) -> PathBuf {
    desk.path("home/.local/state/nixdeploy")
}

/// Everything below a folder, the folder too.
fn below(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut at) = (vec![folder.to_owned()], 0);
    while at < found.len() {
        if found[at].symlink_metadata().expect("there").is_dir() {
            let inner = found[at].read_dir().expect("a folder").flatten().map(|e| e.path());
            found.extend(inner.collect::<Vec<_>>());
        }
        at += 1;
    }
    found
}

#[test]
fn s6_a_key_is_recorded_when_a_person_saw_its_fingerprint_and_not_before() {
    let desk = desk();
    desk.real("ssh-keygen");
    let made = program("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
        .arg(desk.path("key"))
        .status();
    assert!(made.is_ok_and(|s| s.success()));
    let config = "hostname p620\nport 22\nuserknownhostsfile ~/.ssh/known_hosts\n";
    std::fs::write(desk.path("config"), config).expect("written");
    desk.fake("ssh", "cat $DESK/config\n");
    desk.fake("ssh-keyscan", "printf 'p620 '; cat $DESK/key.pub\n");
    let known = desk.path("home/.ssh/known_hosts");
    let said = desk.run(&["trust", "p620"]);
    assert_eq!(said.code, 2, "nobody is there to compare: {}{}", said.stdout, said.stderr);
    assert!(said.stdout.contains("SHA256:") && !known.exists(), "{}", said.stdout);
    let said = desk.run(&["trust", "p620", "--yes"]);
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    let recorded = std::fs::read_to_string(&known).expect("recorded");
    assert!(recorded.starts_with("p620 ssh-ed25519 "), "{recorded}");
    // Another key under the same name is never put in its place.
    std::fs::remove_file(desk.path("key")).expect("removed");
    let made = program("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
        .arg(desk.path("key"))
        .status();
    assert!(made.is_ok_and(|s| s.success()));
    let said = desk.run(&["trust", "p620", "--yes"]);
    assert_eq!(said.code, 5, "{}{}", said.stdout, said.stderr);
    assert_eq!(std::fs::read_to_string(&known).expect("still there"), recorded);
}

#[test]
fn s8_a_repository_starts_nothing() {
    let desk = desk();
    let pwn = desk.path("pwn");
    let start = desk.path("start");
    let script = format!("#!/bin/sh\n/usr/bin/touch {}\n", pwn.display());
    std::fs::write(&start, script).expect("written");
    std::fs::set_permissions(&start, PermissionsExt::from_mode(0o755)).expect("executable");
    let start = start.display().to_string();
    for hook in ["post-index-change", "post-checkout", "pre-commit", "reference-transaction"] {
        symlink(&start, desk.work().join(".git/hooks").join(hook)).expect("linked");
    }
    for key in ["core.fsmonitor", "core.pager", "core.editor", "diff.external", "core.sshCommand"] {
        desk.git(&["config", key, &start]);
    }
    let plain = program("git").args(["ls-files", "-m"]).current_dir(desk.work()).output();
    assert!(plain.is_ok() && pwn.exists(), "git by itself would start it");
    std::fs::remove_file(&pwn).expect("removed");
    desk.write("module.nix", "{ }\n");
    desk.write("flake.nix", "{ outputs = _: { a = 1; }; }\n");
    for args in [
        ["check"].as_slice(),
        &["check-syntax"],
        &["build", "p620"],
        &["quick-deploy", "p620"],
        &["status", "p620"],
        &["history"],
    ] {
        let _ = desk.run(args);
        assert!(!pwn.exists(), "{args:?} started what the repository names");
    }
    assert!(desk.calls().iter().any(|c| c.starts_with("nix ")), "nothing was even tried");
}

#[test]
fn s11_what_is_kept_here_is_ours_alone() {
    let desk = desk();
    let _ = desk.run(&["quick-deploy", "p620"]);
    let state = state(&desk);
    let kept = below(&state);
    assert!(kept.iter().any(|p| p.ends_with("events.jsonl")), "{kept:?}");
    assert!(kept.iter().any(|p| p.ends_with("hosts/p620.json")), "{kept:?}");
    let kept = kept.into_iter().chain(below(&desk.path("home/.cache/nixdeploy")));
    for path in kept.filter(|p| !p.ends_with(".cache/nixdeploy")) {
        let meta = path.symlink_metadata().expect("there");
        let wanted = if meta.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(meta.mode() & 0o777, wanted, "{}", path.display());
    }
    // A folder that others can enter is closed, not trusted as it is.
    std::fs::set_permissions(&state, PermissionsExt::from_mode(0o777)).expect("opened");
    let _ = desk.run(&["quick-deploy", "p620"]);
    assert_eq!(state.metadata().expect("there").mode() & 0o777, 0o700);
}

#[test]
fn s11_a_link_in_the_place_of_our_folder_is_not_followed() {
    let desk = desk();
    let (state, other) = (state(&desk), desk.path("other"));
    std::fs::create_dir_all(state.parent().expect("a folder")).expect("made");
    std::fs::create_dir(&other).expect("made");
    symlink(&other, &state).expect("linked");
    let said = desk.run(&["quick-deploy", "p620"]);
    let found = below(&other);
    assert_eq!(found, std::slice::from_ref(&other), "{}{}", said.stdout, said.stderr);
    // The same for a file: a log that somebody put there as a link is not appended to.
    let file = desk.path("file");
    std::fs::write(&file, "theirs").expect("written");
    let link = desk.path("link");
    symlink(&file, &link).expect("linked");
    assert!(nixdeploy::world::files::append(&link).is_err());
    assert!(nixdeploy::world::files::read_private(&link, 100).is_err());
    nixdeploy::world::files::replace(&link, b"ours").expect("the link itself is replaced");
    assert_eq!(std::fs::read_to_string(&file).expect("there"), "theirs");
}

#[test]
fn s16_a_tree_that_changes_while_it_is_evaluated_is_not_deployed() {
    for (file, stops) in [("flake.lock", true), ("hosts/p620.nix", true), ("untracked", false)] {
        let desk = desk();
        desk.write("flake.lock", "{ \"version\": 7 }\n");
        desk.write("hosts/p620.nix", "{ }\n");
        desk.git(&["add", "-A"]);
        desk.write("untracked", "");
        // It evaluates what it found, and the file changes before it is done.
        std::fs::remove_file(desk.path("bin/git")).expect("removed");
        let git = "/usr/bin/git \"$@\"; rc=$?; case $* in *ls-files*) touch $DESK/read ;; esac\n";
        desk.fake("git", &format!("{git}exit $rc\n"));
        let edit = "until [ -e $DESK/read ]; do sleep 0.01; done; echo '# changed' >>";
        let nix = format!("{edit} $DESK/work/{file}; echo {DRV}");
        desk.fake("nix", &format!("case $* in *--derivation*) {nix} ;; *) exit 1 ;; esac\n"));
        let said = desk.run(&["quick-deploy", "p620"]);
        let changed = said.stdout.contains("the tree changed while it was read");
        assert_eq!(changed, stops, "{file}: {}{}", said.stdout, said.stderr);
        // A build may have begun meanwhile; the host is told nothing of it.
        let calls = desk.calls();
        let told = calls.iter().any(|c| c.contains(" copy ") || c.contains("/bin/sh -s -- "));
        assert!(!told, "{file}: {calls:?}");
        assert_eq!(said.code, if stops { 3 } else { 4 }, "{file}: {}", said.stdout);
    }
}

#[test]
fn s20_a_run_that_failed_is_in_the_history_with_who_and_what() {
    let desk = desk();
    std::fs::write(desk.path("facts"), "nonsense\n").expect("written");
    assert_eq!(desk.run(&["quick-deploy", "p620"]).code, 5);
    let said = desk.run(&["history", "--json"]);
    let runs: serde_json::Value = serde_json::from_str(&said.stdout).expect("a document");
    let text = runs.to_string();
    assert!(text.contains("quick-deploy") && text.contains("p620"), "{text}");
    let logs = below(&state(&desk)).into_iter().filter(|p| p.ends_with("events.jsonl"));
    let logs: Vec<String> = logs.map(|p| std::fs::read_to_string(p).expect("a log")).collect();
    assert_eq!(logs.len(), 1, "one run, one log");
    for word in ["quick-deploy", "p620", "refused", "tester"] {
        assert!(logs[0].contains(word), "{word}: {}", logs[0]);
    }
}
