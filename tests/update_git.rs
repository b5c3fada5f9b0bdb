//! flake.lock as a commit, in repositories as people have them: that file alone, whatever else is
//! staged or under way.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nixdeploy::build::flake::LocalFlake;
use nixdeploy::update::git::Repository;
use nixdeploy::update::pull_request;
use nixdeploy::world::{World, process};

use crate::support::home::Desk;
use crate::support::{program, world};

const NEW: &str = "{\"new\": true}\n";

/// A flake whose new lock lies beside it, with something else staged.
struct Place {
    desk: Desk,
    world: World,
    flake: LocalFlake,
}

impl Place {
    fn new() -> Self {
        let desk = Desk::with_fleet("");
        desk.write("flake.lock", "{}\n");
        desk.write("other.nix", "{ }\n");
        for (key, value) in [("user.name", "x"), ("user.email", "x@example.org")] {
            desk.git(&["config", key, value]);
        }
        desk.git(&["add", "-A"]);
        desk.git(&["commit", "-qm", "x"]);
        desk.write("other.nix", "{ staged = 1; }\n");
        desk.git(&["add", "other.nix"]);
        desk.write("other.nix", "{ staged = 1; changed = 2; }\n");
        desk.write("flake.lock", NEW);
        std::fs::write(desk.path("kept.lock"), NEW).expect("written");
        let root = desk.work().canonicalize().expect("real");
        let world = world(&desk.path("home"), Arc::new(process::System));
        Self { flake: LocalFlake { root, folder: PathBuf::new() }, world, desk }
    }

    fn root(&self) -> &Path {
        &self.flake.root
    }

    fn said(&self, args: &[&str]) -> String {
        let said = program("git").args(args).current_dir(self.root()).output().expect("git");
        String::from_utf8_lossy(&said.stdout).trim().to_owned()
    }

    /// Runs something on the repository.
    fn with<T>(&self, what: impl AsyncFnOnce(&World, Repository<'_>) -> T) -> T {
        let (lock, scratch) = (self.root().join("flake.lock"), self.desk.path("index"));
        let repository = Repository { flake: &self.flake, lock: &lock, scratch: &scratch };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let done = runtime.expect("a runtime").block_on(what(&self.world, repository));
        assert!(!scratch.exists(), "the index of our own is gone");
        done
    }

    fn commit(&self, message: &str) -> Result<bool, String> {
        let kept = self.desk.path("kept.lock");
        let made = self.with(async |world, r| r.commit(world, &kept, message).await);
        made.map(|c| c.is_some_and(|c| c.staged_otherwise)).map_err(|e| e.to_string())
    }

    fn hook(&self, name: &str, script: &str) {
        self.desk.write(&format!(".git/hooks/{name}"), format!("#!/bin/sh\n{script}"));
        let path = self.root().join(".git/hooks").join(name);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path, mode).expect("executable");
    }
}

#[test]
fn a_commit_has_the_lock_alone_and_what_was_staged_stays_staged() {
    let place = Place::new();
    place.hook("pre-commit", "git diff --cached --name-only > seen\n");
    // Somebody has written another one since.
    place.desk.write("flake.lock", "{\"newer\": true}\n");
    assert_eq!(place.commit("flake: update x (#123)\n\nx 1 -> 2\n"), Ok(false));
    assert_eq!(
        place.said(&["show", "--format=%s", "--name-only"]),
        "flake: update x (#123)\n\nflake.lock"
    );
    assert_eq!(place.said(&["show", "HEAD:flake.lock"]), NEW.trim(), "the bytes that were checked");
    assert_eq!(place.said(&["diff", "--cached", "--name-only"]), "other.nix");
    assert_eq!(place.said(&["show", ":other.nix"]), "{ staged = 1; }");
    assert_eq!(place.said(&["diff", "--name-only"]), "flake.lock\nother.nix");
    let seen = std::fs::read_to_string(place.root().join("seen")).expect("the hook ran");
    assert_eq!(seen, "flake.lock\n");
    assert_eq!(place.commit("again"), Ok(false), "nothing is left to commit");
    assert_eq!(place.said(&["rev-list", "--count", "HEAD"]), "2");
}

#[test]
fn a_lock_that_is_staged_otherwise_stays_staged() {
    let place = Place::new();
    place.desk.write("flake.lock", "{\"mine\": true}\n");
    place.desk.git(&["add", "flake.lock"]);
    assert_eq!(place.commit("x"), Ok(true));
    assert_eq!(place.said(&["show", ":flake.lock"]), "{\"mine\": true}");
}

#[test]
fn what_refuses_a_commit_leaves_everything() {
    let place = Place::new();
    let index = || std::fs::read(place.root().join(".git/index")).expect("the index");
    let head = place.said(&["rev-parse", "HEAD"]);
    let before = index();
    place.hook("pre-commit", "echo 'not on a Friday' >&2; exit 1\n");
    let why = place.commit("x").expect_err("refused");
    assert!(why.contains("not on a Friday"), "{why}");
    place.hook("pre-commit", "exit 0\n");
    place.desk.write(".git/MERGE_HEAD", &head);
    let why = place.commit("x").expect_err("refused");
    assert!(why.contains("a merge is under way"), "{why}");
    assert_eq!((place.said(&["rev-parse", "HEAD"]), index()), (head, before));
}

#[test]
fn a_branch_is_made_without_touching_the_checkout() {
    let place = Place::new();
    let index = std::fs::read(place.root().join(".git/index")).expect("the index");
    let head = place.said(&["rev-parse", "HEAD"]);
    let kept = place.desk.path("kept.lock");
    let none = place.with(async |world, r| pull_request::base(r.git(world)).await);
    assert!(none.expect_err("no remote").to_string().contains("has no remote"));
    let remote = place.desk.path("remote.git").display().to_string();
    place.desk.git(&["init", "-q", "--bare", &remote]);
    place.desk.git(&["remote", "add", "origin", &remote]);
    let base = place.with(async |world, r| pull_request::base(r.git(world)).await).expect("a base");
    assert_eq!(
        (base.remote.as_str(), base.branch),
        ("origin", place.said(&["branch", "--show-current"]))
    );
    let made = place.with(async |world, r| {
        let commit = r.aside(world, &kept, "flake: update x").await.expect("made").expect("new");
        r.git(world).push("origin", &commit, "update/x").await.expect("pushed");
        commit
    });
    assert_eq!(place.said(&["rev-parse", &format!("{made}^")]), head);
    assert_eq!(place.said(&["diff", "--name-only", &head, &made]), "flake.lock");
    assert_eq!(
        place.said(&["ls-remote", "origin", "update/x"]).split('\t').next(),
        Some(made.as_str())
    );
    assert_eq!(place.said(&["rev-parse", "HEAD"]), head);
    assert_eq!(std::fs::read(place.root().join(".git/index")).expect("the index"), index);
}
