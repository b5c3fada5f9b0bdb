//! flake.lock as a commit, in repositories as people have them: that file alone, whatever else is
//! staged or under way.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use nixdeploy::build::flake::LocalFlake;
use nixdeploy::update::git::Repository;
use nixdeploy::update::pull_request::{self, Base, Became, PullRequest, Text};
use nixdeploy::world::process::{Conversation, StartError};
use nixdeploy::world::{Invocation, Runner, World, process};

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
    let index = || place.said(&["ls-files", "--stage"]);
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
fn what_a_hook_makes_of_a_commit_is_read_back_and_told() {
    for (name, script, told) in [
        ("pre-commit", "git stash -q && git stash pop -q\n", "not have the one that was checked"),
        ("pre-commit", "echo >> flake.lock; git add flake.lock\n", "not have the one that was"),
        ("pre-commit", "echo no lock > flake.lock; git add flake.lock\n", "not have the one that"),
        ("pre-commit", "git add -A\n", "that a hook of the repository put there: more.nix"),
        ("post-commit", "git reset -q --soft HEAD~1\n", "HEAD is where it was"),
    ] {
        let place = Place::new();
        place.desk.write("more.nix", "1\n");
        place.hook(name, script);
        let head = place.said(&["rev-parse", "HEAD"]);
        let why = place.commit("x").expect_err(script);
        assert!(why.contains(told), "{script} {why}");
        let took_back = name == "post-commit";
        assert_eq!(place.said(&["rev-parse", "HEAD"]) == head, took_back, "{script}");
        assert!(took_back || why.contains(&format!("git reset --soft {}", &head[..7])), "{why}");
        // The next commit of the user takes nothing back.
        let staged = place.said(&["diff", "--cached", "--name-only"]);
        assert_eq!(staged, "other.nix", "{script}");
        assert_eq!(place.said(&["show", ":other.nix"]), "{ staged = 1; }");
    }
}

#[test]
fn an_index_that_cannot_be_written_is_told_before_there_is_a_commit() {
    let place = Place::new();
    let head = place.said(&["rev-parse", "HEAD"]);
    place.desk.write(".git/index.lock", "");
    let why = place.commit("x").expect_err("locked");
    assert!(why.contains("index.lock"), "{why}");
    assert_eq!(place.said(&["rev-parse", "HEAD"]), head);
}

#[test]
fn whoever_is_killed_during_a_hook_leaves_nothing_that_takes_the_lock_back() {
    let place = Place::new();
    let look = "unset GIT_INDEX_FILE; git show :flake.lock > seen\n";
    place.hook("pre-commit", look);
    assert_eq!(place.commit("x"), Ok(false));
    let seen = std::fs::read_to_string(place.root().join("seen")).expect("the hook ran");
    assert_eq!(seen, NEW, "git can end the commit by itself, and the index has the same");
}

#[test]
fn a_commit_that_no_branch_has_is_told() {
    let place = Place::new();
    place.desk.git(&["checkout", "-q", "--detach"]);
    let kept = place.desk.path("kept.lock");
    let made = place.with(async |world, r| r.commit(world, &kept, "x").await);
    let made = made.expect("made").expect("new");
    assert!(!made.on_branch && made.id == place.said(&["rev-parse", "HEAD"]), "{made:?}");
}

/// `gh` of the desk, and everything else as it is.
struct WithGh(PathBuf);

impl Runner for WithGh {
    fn start(&self, asked: Invocation) -> BoxFuture<'_, Result<Conversation, StartError>> {
        let stand_in = || self.0.display().to_string();
        let program = if asked.program == "gh" { stand_in() } else { asked.program.clone() };
        process::System.start(Invocation { program, ..asked })
    }
}

/// GitHub as a file: none, or what state the pull request is in.
const GH: &str = r#"
case "$1 $2" in
  "pr view") [ -s "$DESK/state" ] || { echo "no pull request" >&2; exit 1; }
    printf '{"state":"%s","url":"https://github.com/me/flake/pull/7"}\n' "$(cat "$DESK/state")" ;;
  "pr create") cat > "$DESK/body"; cat "$DESK/creates" > "$DESK/state" ;;
  "pr merge" | "pr close") printf "$(cat "$DESK/becomes")" > "$DESK/state"
    echo "refused by a rule" >&2; exit "$(cat "$DESK/code")" ;;
esac
"#;

#[test]
fn what_became_of_a_pull_request_is_read_from_the_forge() {
    let mut place = Place::new();
    place.desk.fake("gh", GH);
    let gh = Arc::new(WithGh(place.desk.path("bin/gh")));
    place.world = world(&place.desk.path("home"), gh);
    let write = |name: &str, text: &str| {
        std::fs::write(place.desk.path(name), text).expect("written");
    };
    let url = "https://github.com/me/flake/pull/7";
    let base = Base { remote: "origin".to_owned(), branch: "main".to_owned(), unpushed: 0 };
    let (branch, commit) = ("update/x".to_owned(), "0".repeat(40));
    let opened = PullRequest { url: Some(url.to_owned()), branch, commit, base };
    let not = Became::Not("refused by a rule".to_owned());
    let merged = Became::Else("merged".to_owned());
    for (becomes, code, merge, close) in [
        ("OPEN", "0", Some(Became::Asked), Some(Became::Asked)),
        ("OPEN", "1", Some(not.clone()), Some(not)),
        ("MERGED", "1", Some(Became::Done), Some(merged.clone())),
        ("MERGED", "0", Some(Became::Done), Some(merged)),
        ("CLOSED", "0", Some(Became::Else("closed".to_owned())), Some(Became::Done)),
        ("", "0", None, None),
    ] {
        write("becomes", becomes);
        write("code", code);
        let root = place.root();
        let told = place.with(async |world, _| {
            (opened.merge(world, root).await, opened.close(world, root, "x").await)
        });
        for (told, wanted) in [(told.0, merge), (told.1, close)] {
            let unknown = matches!(told, Became::Unknown(ref why) if why == "no pull request");
            assert!(wanted.map_or(unknown, |w| w == told), "{becomes} {code} {told:?}");
        }
    }
}

#[test]
fn a_pull_request_is_open_when_the_forge_says_so_and_the_branch_of_one_that_is_not_is_found() {
    let mut place = Place::new();
    place.desk.fake("gh", GH);
    let gh = Arc::new(WithGh(place.desk.path("bin/gh")));
    place.world = world(&place.desk.path("home"), gh);
    let remote = place.desk.path("remote.git").display().to_string();
    place.desk.git(&["init", "-q", "--bare", &remote]);
    place.desk.git(&["remote", "add", "origin", &remote]);
    let text = Text { title: "x".to_owned(), body: "y".to_owned() };
    let head = place.said(&["rev-parse", "HEAD"]);
    let open = |branch: &str, creates: &str| {
        std::fs::write(place.desk.path("creates"), creates).expect("written");
        let branch = branch.to_owned();
        place.with(async |world, r| {
            let base = pull_request::base(r.git(world)).await.expect("a base");
            let to = (base, branch.clone(), head.clone());
            let opened = pull_request::open(world, r.git(world), place.root(), to, &text).await;
            (opened, r.git(world).there("origin", &branch).await.expect("asked"))
        })
    };
    for creates in ["", "CLOSED"] {
        let (opened, there) = open("update/none", creates);
        assert!(opened.is_err(), "gh ended well, and there is none: {opened:?}");
        assert_eq!(there.as_ref(), Some(&head), "the branch is there, and that can be told");
    }
    let (opened, _) = open("update/some", "OPEN");
    let url = opened.expect("open").url;
    assert_eq!(url.as_deref(), Some("https://github.com/me/flake/pull/7"), "gh printed none");
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
