//! Every way to be stale that we know of, against real git repositories. Nix is
//! played, as only its answers about itself matter here; the cases with real Nix are in
//! tests/bench/README.md.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;

use super::*;
use crate::world::prompt::Prompt;
use crate::world::{Clock, Conversation, Environment, Runner, StartError};

const LOCK: &str = r#"{"nodes":{"root":{}},"root":"root","version":7}"#;

/// Git is real; `nix` answers what it is told to.
struct Played {
    version: Mutex<String>,
    settings: Mutex<String>,
    asked: Mutex<u32>,
}

impl Runner for Played {
    fn start(&self, mut invocation: Invocation) -> BoxFuture<'_, Result<Conversation, StartError>> {
        if invocation.program == "nix" {
            *self.asked.lock().expect("asked") += 1;
            let version = invocation.args.iter().any(|a| a == "--version");
            let text = if version { &self.version } else { &self.settings };
            let text = text.lock().expect("text").clone();
            invocation = Invocation::new("printf", ["%s".to_owned(), text]);
        }
        Box::pin(async move { crate::world::process::System.start(invocation).await })
    }
}

/// A person's home with a repository, a Nix and a configuration in it.
struct Desk {
    home: tempfile::TempDir,
    world: World,
    nix: Arc<Played>,
    surroundings: Surroundings,
    flake: FlakeRef,
    command: Invocation,
}

impl Desk {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("folder");
        let at = |p: &str| home.path().join(p);
        for folder in ["repo/sub", "bin", ".config/nix"] {
            std::fs::create_dir_all(at(folder)).expect("made");
        }
        for (file, text) in [
            ("repo/flake.nix", "{ }"),
            ("repo/flake.lock", LOCK),
            ("repo/a.nix", "{ a = 1; }"),
            ("repo/sub/flake.nix", "{ }"),
            ("repo/sub/flake.lock", LOCK),
            ("bin/nix", "one"),
            (".config/nix/nix.conf", "include more.conf\n"),
            (".config/nix/more.conf", "cores = 1\n"),
        ] {
            std::fs::write(at(file), text).expect("written");
        }
        std::fs::set_permissions(at("bin/nix"), PermissionsExt::from_mode(0o755)).expect("mode");
        git(&at("repo"), "init -q -b main");
        git(&at("repo"), "add -A");
        git(&at("repo"), "commit -q -m one");
        let nix = Arc::new(Played {
            version: Mutex::new("nix 2.26.3".to_owned()),
            settings: Mutex::new(r#"{"pure-eval":{"value":true}}"#.to_owned()),
            asked: Mutex::new(0),
        });
        let mut environment = Environment::read().expect("environment");
        environment.cache = at("cache");
        let world = World {
            runner: nix.clone(),
            clock: Clock::start(),
            environment: Arc::new(environment),
            prompt: Arc::new(Prompt::new(false)),
        };
        let variables = [("PATH".to_owned(), at("bin").into_os_string())].into();
        let surroundings = Surroundings { home: home.path().to_path_buf(), variables };
        let flake = FlakeRef::local(&at("repo")).expect("flake");
        let command = Invocation::new("nix", ["path-info", "x"]);
        Self { home, world, nix, surroundings, flake, command }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        std::fs::write(self.at(path), text).expect("written");
    }

    fn git(&self, command: &str) {
        git(&self.at("repo"), command);
    }

    fn subject(&self) -> Subject<'_> {
        Subject {
            world: &self.world,
            flake: &self.flake,
            command: &self.command,
            surroundings: self.surroundings.clone(),
            derivation: |_| Some(format!("Derive([(\"out\",\"{}\",\"\",\"\")],", path("x"))),
        }
    }

    async fn try_take(&self) -> Result<Fingerprint, Uncacheable> {
        self.subject().before(self.reading()).await
    }

    fn reading(&self) -> Reading {
        tree::reading(&self.world, &self.flake)
    }

    async fn take(&self) -> Fingerprint {
        self.try_take().await.expect("a fingerprint")
    }

    /// Whether a deed changes the fingerprint.
    async fn changes(&self, deed: impl FnOnce(&Self)) -> bool {
        let before = self.take().await;
        deed(self);
        self.take().await != before
    }

    /// Why there is none after a deed; the next test begins anew.
    async fn refuses(deed: impl FnOnce(&Self)) -> Uncacheable {
        let desk = Self::new();
        desk.take().await;
        deed(&desk);
        desk.try_take().await.expect_err("none")
    }
}

fn git(folder: &Path, command: &str) {
    #[expect(clippy::disallowed_methods, reason = "the test prepares a real repository")]
    let output = std::process::Command::new("git")
        .args(["-c", "user.name=x", "-c", "user.email=x@x", "-c", "protocol.file.allow=always"])
        .args(command.split(' '))
        .current_dir(folder)
        .env_remove("GIT_DIR")
        .env_remove("GIT_INDEX_FILE")
        .output()
        .expect("git");
    assert!(output.status.success(), "git {command}: {output:?}");
}

fn path(name: &str) -> StorePath {
    StorePath::new(format!("/nix/store/{}-{name}", "0".repeat(32))).expect("path")
}

fn found() -> Remembered {
    Remembered { drv: path("x.drv"), toplevel: path("x") }
}

#[tokio::test]
async fn what_nix_sees_of_the_tree_changes_it() {
    let desk = Desk::new();
    let first = desk.take().await;
    assert_eq!(desk.take().await, first);
    assert!(desk.changes(|d| d.write("repo/a.nix", "{ a = 2; }")).await, "modified");
    desk.write("repo/a.nix", "{ a = 1; }");
    assert_eq!(desk.take().await, first, "reverted");
    assert!(desk.changes(|d| std::fs::remove_file(d.at("repo/a.nix")).expect("gone")).await);
    desk.git("checkout -q a.nix");
    let runs = |d: &Desk| {
        std::fs::set_permissions(d.at("repo/a.nix"), PermissionsExt::from_mode(0o755)).expect("m");
    };
    assert!(desk.changes(runs).await, "execute bit");
    desk.git("checkout -q a.nix");
    desk.git("reset -q --hard");
    assert_eq!(desk.take().await, first);
}

#[tokio::test]
async fn an_edit_of_the_same_size_and_time_changes_it() {
    let desk = Desk::new();
    let edit = |d: &Desk| {
        let time = d.at("repo/a.nix").metadata().and_then(|m| m.modified()).expect("time");
        d.write("repo/a.nix", "{ a = 7; }");
        let file = std::fs::File::options().write(true).open(d.at("repo/a.nix")).expect("open");
        file.set_modified(time).expect("set");
    };
    assert!(desk.changes(edit).await);
}

#[tokio::test]
async fn untracked_files_do_not_change_it_and_intended_ones_do() {
    let desk = Desk::new();
    assert!(!desk.changes(|d| d.write("repo/new.nix", "1")).await, "untracked");
    assert!(desk.changes(|d| d.git("add -N new.nix")).await, "intent to add");
    assert!(desk.changes(|d| d.write("repo/new.nix", "2")).await, "its bytes");
    assert!(desk.changes(|d| d.git("add new.nix")).await, "added");
}

#[tokio::test]
async fn the_commit_changes_it_as_a_flake_can_read_it() {
    let desk = Desk::new();
    assert!(desk.changes(|d| d.git("commit -q --amend -m other")).await, "self.rev");
    desk.write("repo/a.nix", "{ a = 2; }");
    desk.git("add -A");
    assert!(desk.changes(|d| d.git("commit -q -m two")).await, "no longer dirty");
    assert!(!desk.changes(|d| d.git("pack-refs --all")).await, "packed");
    assert!(!desk.changes(|d| d.git("checkout -q --detach")).await, "detached, same commit");
    let none = Desk::refuses(|d| d.git("checkout -q --orphan empty")).await;
    assert_eq!(none, Uncacheable::NoCommit);
}

#[tokio::test]
async fn a_link_counts_with_where_it_points_and_not_with_what_is_there() {
    let desk = Desk::new();
    desk.write("outside", "1");
    symlink(desk.at("outside"), desk.at("repo/link")).expect("link");
    desk.git("add -A");
    desk.git("commit -q -m link");
    assert!(!desk.changes(|d| d.write("outside", "2")).await);
    let elsewhere = |d: &Desk| {
        std::fs::remove_file(d.at("repo/link")).expect("gone");
        symlink(d.at("bin"), d.at("repo/link")).expect("link");
    };
    assert!(desk.changes(elsewhere).await);
}

#[tokio::test]
async fn what_git_is_told_to_overlook_refuses_it() {
    for flag in ["--assume-unchanged", "--skip-worktree"] {
        let why = Desk::refuses(|d| d.git(&format!("update-index {flag} a.nix"))).await;
        assert_eq!(why, Uncacheable::Hidden("a.nix".to_owned()), "{flag}");
    }
    let sparse = Desk::refuses(|d| d.git("sparse-checkout set sub")).await;
    assert!(matches!(sparse, Uncacheable::Hidden(_) | Uncacheable::Setting(_)), "{sparse}");
    for setting in ["core.autocrlf input", "core.filemode false", "core.trustctime false"] {
        let why = Desk::refuses(|d| d.git(&format!("config {setting}"))).await;
        assert!(matches!(why, Uncacheable::Setting(_)), "{setting}: {why}");
    }
}

#[tokio::test]
async fn content_that_differs_between_git_and_disk_refuses_it() {
    for attribute in ["filter=lfs", "text eol=crlf", "ident", "working-tree-encoding=UTF-16"] {
        let tracked = |d: &Desk| {
            d.write("repo/.gitattributes", &format!("*.nix {attribute}\n"));
            d.git("add .gitattributes");
        };
        let why = Desk::refuses(tracked).await;
        assert_eq!(why, Uncacheable::Filtered(".gitattributes".to_owned()), "{attribute}");
    }
    let private = |d: &Desk| d.write("repo/.git/info/attributes", "*.nix filter=x\n");
    assert!(matches!(Desk::refuses(private).await, Uncacheable::Filtered(_)));
    let own = |d: &Desk| {
        std::fs::create_dir_all(d.at(".config/git")).expect("made");
        d.write(".config/git/attributes", "*.nix filter=x\n");
    };
    assert!(matches!(Desk::refuses(own).await, Uncacheable::Filtered(_)));
}

#[tokio::test]
async fn submodules_and_unmerged_files_refuse_it() {
    let submodule = |d: &Desk| d.git("submodule --quiet add ../repo inner");
    assert_eq!(Desk::refuses(submodule).await, Uncacheable::Submodules);
    let unmerged = |d: &Desk| {
        d.git("checkout -q -b other");
        d.write("repo/a.nix", "2");
        d.git("commit -q -a -m two");
        d.git("checkout -q main");
        d.write("repo/a.nix", "3");
        d.git("commit -q -a -m three");
        // ends with a conflict
        #[expect(clippy::disallowed_methods, reason = "the test prepares a real repository")]
        let merge = std::process::Command::new("git")
            .args(["merge", "-q", "other"])
            .current_dir(d.at("repo"))
            .output();
        assert!(!merge.expect("git").status.success());
    };
    assert_eq!(Desk::refuses(unmerged).await, Uncacheable::Unmerged("a.nix".to_owned()));
}

#[tokio::test]
async fn inputs_outside_of_the_tree_refuse_it() {
    let loose = r#"{"nodes":{"root":{},"n":{"locked":{"type":"path","path":"/x","narHash":"h"}}},
        "root":"root","version":7}"#;
    let why = Desk::refuses(|d| d.write("repo/flake.lock", loose)).await;
    assert_eq!(why, Uncacheable::LooseInput("n".to_owned()));
    let gone = Desk::refuses(|d| std::fs::remove_file(d.at("repo/flake.lock")).expect("gone"));
    assert_eq!(gone.await, Uncacheable::NoLock);
    // Nix does not see a lock that git does not track.
    let untracked = Desk::refuses(|d| d.git("rm -q --cached flake.lock"));
    assert_eq!(untracked.await, Uncacheable::NoLock);
}

#[tokio::test]
async fn a_worktree_has_one_and_a_folder_counts() {
    let mut desk = Desk::new();
    let root = desk.take().await;
    desk.flake = FlakeRef::local(&desk.at("repo/sub")).expect("flake");
    desk.command = Invocation::new("nix", ["path-info", "x?dir=sub"]);
    assert_ne!(desk.take().await, root, "flake in a folder");
    desk.git("worktree add -q ../tree");
    desk.flake = FlakeRef::local(&desk.at("tree")).expect("flake");
    assert!(desk.changes(|d| d.write("tree/a.nix", "2")).await, "worktree");
    let private = |d: &Desk| {
        std::fs::create_dir_all(d.at("repo/.git/info")).expect("made");
        d.write("repo/.git/info/attributes", "* filter=x\n");
    };
    private(&desk);
    assert!(matches!(desk.try_take().await, Err(Uncacheable::Filtered(_))), "shared attributes");
    desk.flake = FlakeRef::Other("path:/x".to_owned());
    assert_eq!(desk.try_take().await, Err(Uncacheable::NotGit));
}

#[tokio::test]
async fn every_word_of_the_command_counts() {
    let mut desk = Desk::new();
    let mut seen = vec![desk.take().await];
    for words in [
        vec!["path-info", "y"],
        vec!["path-info", "x", "--accept-flake-config"],
        vec!["path-info", "x", "--override-input", "n", "path:/y"],
        vec!["path-info", "x", "--option", "system", "aarch64-linux"],
        vec!["path-info x"],
    ] {
        desk.command = Invocation::new("nix", words);
        seen.push(desk.take().await);
    }
    let all: std::collections::HashSet<_> = seen.iter().map(|f| f.name.clone()).collect();
    assert_eq!(all.len(), seen.len());
}

#[tokio::test]
async fn nix_and_its_configuration_count() {
    let mut desk = Desk::new();
    desk.take().await;
    desk.take().await;
    assert_eq!(*desk.nix.asked.lock().expect("asked"), 2, "version and settings, once");
    assert!(desk.changes(|d| d.write(".config/nix/nix.conf", "cores = 2\n")).await);
    desk.write(".config/nix/nix.conf", "include more.conf\n");
    assert!(desk.changes(|d| d.write(".config/nix/more.conf", "cores = 3\n")).await, "included");
    let trusted = |d: &Desk| {
        std::fs::create_dir_all(d.at(".local/share/nix")).expect("made");
        d.write(".local/share/nix/trusted-settings.json", "{}");
    };
    assert!(desk.changes(trusted).await, "trusted settings");
    let before = desk.take().await;
    desk.surroundings.variables.insert("NIX_CONFIG".to_owned(), "cores = 4".into());
    assert_ne!(desk.take().await, before, "NIX_CONFIG");
    assert!(desk.changes(|d| d.write("bin/nix", "two")).await, "another program");
    let asked = *desk.nix.asked.lock().expect("asked");
    *desk.nix.version.lock().expect("version") = "nix 2.34.8".to_owned();
    assert!(desk.changes(|d| d.write("bin/nix", "three")).await, "another version");
    assert!(*desk.nix.asked.lock().expect("asked") > asked);
    *desk.nix.settings.lock().expect("set") = r#"{"pure-eval":{"value":false}}"#.to_owned();
    desk.write("bin/nix", "four");
    assert_eq!(desk.try_take().await, Err(Uncacheable::Impure));
    *desk.nix.settings.lock().expect("set") = "no JSON".to_owned();
    desk.write("bin/nix", "five");
    assert!(matches!(desk.try_take().await, Err(Uncacheable::UnknownNix(_))));
    std::fs::remove_file(desk.at("bin/nix")).expect("gone");
    assert!(matches!(desk.try_take().await, Err(Uncacheable::UnknownNix(_))));
}

#[tokio::test]
async fn what_was_found_is_recalled_while_its_derivation_is_there() {
    let desk = Desk::new();
    let (subject, taken) = (desk.subject(), desk.take().await);
    assert_eq!(subject.recall(&taken), None);
    let tree = subject.remember(taken.clone(), &desk.reading(), &found()).await;
    assert_eq!(tree.as_ref(), Some(&taken.tree));
    assert_eq!(subject.recall(&taken), Some(found()));
    let collected = Subject { derivation: |_| None, ..desk.subject() };
    assert_eq!(collected.recall(&taken), None, "no derivation");
    let other = |_: &StorePath| Some(format!("Derive([(\"out\",\"{}\",\"\",\"\")],", path("y")));
    let changed = Subject { derivation: other, ..desk.subject() };
    assert_eq!(changed.recall(&taken), None, "another output");
    desk.write("repo/a.nix", "2");
    assert_eq!(subject.recall(&desk.take().await), None, "another tree");
}

#[tokio::test]
async fn an_edit_during_the_evaluation_is_not_remembered() {
    let desk = Desk::new();
    let (before, read) = (desk.take().await, desk.reading());
    read.clone().await.expect("a tree");
    desk.write("repo/a.nix", "2");
    assert_eq!(desk.subject().remember(before.clone(), &read, &found()).await, None);
    assert_eq!(desk.subject().recall(&before), None);
    assert_eq!(desk.subject().recall(&desk.take().await), None);
}

#[tokio::test]
async fn a_file_that_is_not_just_as_we_wrote_it_is_a_miss() {
    let desk = Desk::new();
    let taken = desk.take().await;
    let file = desk.at("cache/eval").join(&taken.name);
    let keep = || async {
        let _ = std::fs::remove_file(&file);
        desk.subject().remember(taken.clone(), &desk.reading(), &found()).await.expect("kept");
        std::fs::read_to_string(&file).expect("text")
    };
    let text = keep().await;
    for bad in [
        text.replace("-x.drv", "-y.drv"),
        text.replace("memory-1", "memory-0"),
        text[..text.len() / 2].to_owned(),
        String::new(),
        format!("{text}more\n"),
    ] {
        std::fs::write(&file, bad).expect("written");
        assert_eq!(desk.subject().recall(&taken), None);
    }
    keep().await;
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).expect("mode");
    assert_eq!(desk.subject().recall(&taken), None, "others may write it");
    keep().await;
    std::fs::rename(&file, desk.at("elsewhere")).expect("moved");
    symlink(desk.at("elsewhere"), &file).expect("link");
    assert_eq!(desk.subject().recall(&taken), None, "a link");
    keep().await;
    let mode = desk.at("cache/eval").metadata().expect("meta").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    // Under another name it is somebody else's answer.
    desk.write("repo/a.nix", "2");
    let other = desk.take().await;
    std::fs::copy(&file, desk.at("cache/eval").join(&other.name)).expect("copied");
    assert_eq!(desk.subject().recall(&other), None, "copied");
}
