//! Each way in which a tree can change, or seem to, on a real repository: when its name must
//! change, when it must stay, and when the name must not be trusted.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::build::uncacheable::{Uncacheable, settings, uncacheable};
use crate::world::prompt::Prompt;
use crate::world::{Clock, Environment, process};

struct Repository {
    folder: tempfile::TempDir,
    world: World,
}

impl Repository {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let world = World {
            runner: Arc::new(process::System),
            clock: Clock::start(),
            environment: Arc::new(Environment::below(folder.path())),
            prompt: Arc::new(Prompt::new(false)),
        };
        let repository = Self { folder, world };
        repository.git(&["init", "-q"]).await;
        repository.write("flake.nix", "{ }");
        repository.write("flake.lock", r#"{"nodes":{"root":{}},"root":"root","version":7}"#);
        repository.write("hosts/a b.nix", "one");
        repository.git(&["add", "."]).await;
        repository.commit("base").await;
        repository
    }

    async fn commit(&self, message: &str) {
        let who = ["-c", "user.name=x", "-c", "user.email=x@x", "-c", "commit.gpgsign=false"];
        self.git(&[&who[..], &["commit", "-qm", message]].concat()).await;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("folder");
        std::fs::write(path, text).expect("written");
    }

    async fn git(&self, args: &[&str]) {
        let invocation = Invocation::new("git", args.iter().copied()).within(self.folder.path());
        let output = self.world.run(invocation).await.expect("git");
        assert!(output.ended.ok(), "{args:?}: {:?}", output.err);
    }

    fn flake(&self) -> FlakeRef {
        FlakeRef::local(self.folder.path()).expect("a flake")
    }

    async fn tree(&self) -> Tree {
        tree(&self.world, &self.flake()).await.expect("a tree")
    }

    async fn id(&self) -> TreeId {
        self.tree().await.id
    }

    async fn reason(&self) -> Option<Uncacheable> {
        let FlakeRef::Local(local) = self.flake() else { panic!("local") };
        let settings = settings(&self.world, &local).await.expect("git");
        let (tree, config) = (self.tree().await, self.path("home/.config"));
        settings.or_else(|| uncacheable(&local, &tree, &config))
    }

    async fn revision(&self) -> Revision {
        let FlakeRef::Local(local) = self.flake() else { panic!("local") };
        revision(&self.world, &local).await.expect("git")
    }
}

#[tokio::test]
async fn the_name_changes_with_what_nix_sees() {
    let repository = Repository::new().await;
    let base = repository.id().await;
    assert_eq!(repository.reason().await, None);
    let mut seen = vec![base.clone()];
    let mut new = |id: TreeId, what: &str| {
        assert!(!seen.contains(&id), "{what}");
        seen.push(id);
    };
    repository.write("hosts/a b.nix", "two");
    new(repository.id().await, "modified");
    let times = repository.path("hosts/a b.nix").metadata().expect("meta").modified();
    repository.write("hosts/a b.nix", "six");
    let file = std::fs::File::options().write(true).open(repository.path("hosts/a b.nix"));
    file.expect("file").set_modified(times.expect("time")).expect("set");
    new(repository.id().await, "same size and time");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(repository.path("hosts/a b.nix"), mode).expect("mode");
    new(repository.id().await, "executable");
    std::fs::remove_file(repository.path("hosts/a b.nix")).expect("removed");
    new(repository.id().await, "removed");
    assert!(repository.tree().await.nix_files.iter().all(|f| !f.ends_with("a b.nix")));
    symlink("/etc/passwd", repository.path("hosts/a b.nix")).expect("link");
    new(repository.id().await, "a link");
    std::fs::remove_file(repository.path("hosts/a b.nix")).expect("removed");
    repository.write("new.nix", "new");
    repository.git(&["add", "-N", "new.nix"]).await;
    new(repository.id().await, "intent to add");
    repository.write("new.nix", "newer");
    new(repository.id().await, "intent to add, other content");
    repository.git(&["add", "new.nix"]).await;
    new(repository.id().await, "added");
    assert!(repository.revision().await.dirty);
}

#[tokio::test]
async fn the_name_stays_with_what_nix_sees() {
    let repository = Repository::new().await;
    let base = repository.id().await;
    repository.write("untracked.nix", "x");
    assert_eq!(repository.id().await, base, "untracked");
    let FlakeRef::Local(local) = repository.flake() else { panic!("local") };
    let untracked = untracked_nix(&repository.world, &local).await.expect("git");
    assert_eq!(untracked, [PathBuf::from("untracked.nix")]);
    assert!(is_untracked(&repository.world, &local, "untracked.nix").await);
    assert!(!is_untracked(&repository.world, &local, "flake.nix").await);
    assert!(!is_untracked(&repository.world, &local, "nowhere.nix").await);
    repository.write("hosts/a b.nix", "two");
    repository.write("hosts/a b.nix", "one");
    assert_eq!(repository.id().await, base, "changed and back");
    let revision = repository.revision().await;
    assert!(!revision.dirty && revision.head.is_some_and(|h| h.len() >= 40));
}

#[tokio::test]
async fn odd_names_are_read_and_told_apart() {
    let repository = Repository::new().await;
    repository.write("line\nbreak\t\"ä\".nix", "x");
    repository.git(&["add", "."]).await;
    let tree = repository.tree().await;
    assert!(tree.nix_files.contains(&PathBuf::from("line\nbreak\t\"ä\".nix")));
    repository.write("line\nbreak\t\"ä\".nix", "y");
    assert_ne!(repository.id().await, tree.id);
}

#[tokio::test]
async fn a_name_that_could_lie_is_not_trusted() {
    for flag in ["--assume-unchanged", "--skip-worktree"] {
        let repository = Repository::new().await;
        repository.git(&["update-index", flag, "flake.nix"]).await;
        let hidden = Uncacheable::Hidden("flake.nix".to_owned());
        assert_eq!(repository.reason().await, Some(hidden), "{flag}");
    }
    let repository = Repository::new().await;
    repository.write("sub/.gitattributes", "*.age filter=crypt\n");
    repository.git(&["add", "."]).await;
    assert!(matches!(repository.reason().await, Some(Uncacheable::Filtered(_))));
    let repository = Repository::new().await;
    repository.git(&["config", "core.autocrlf", "input"]).await;
    assert!(matches!(repository.reason().await, Some(Uncacheable::Setting(_))));
    let repository = Repository::new().await;
    std::fs::remove_file(repository.path("flake.lock")).expect("removed");
    assert_eq!(repository.reason().await, Some(Uncacheable::NoLock));
    let repository = Repository::new().await;
    repository.write(".gitmodules", "");
    repository.git(&["add", "."]).await;
    assert_eq!(repository.reason().await, Some(Uncacheable::Submodules));
}

#[tokio::test]
async fn files_that_changed_are_named_whoever_committed_them() {
    use super::super::manifest::Manifest;
    let repository = Repository::new().await;
    let root = repository.folder.path();
    let of = async |before: Option<&Manifest>| {
        Manifest::of(root, &repository.tree().await, before).expect("read")
    };
    repository.write("gone.nix", "g");
    repository.write("kept.nix", "k");
    repository.git(&["add", "-A"]).await;
    let first = of(None).await;
    assert_eq!(of(Some(&first)).await.since(&first), Vec::<String>::new());
    repository.write("hosts/a b.nix", "changed and not committed");
    repository.write("new.nix", "n");
    repository.git(&["add", "new.nix"]).await;
    repository.git(&["rm", "-q", "-f", "gone.nix"]).await;
    let second = of(Some(&first)).await;
    let changed = ["gone.nix (removed)", "hosts/a b.nix", "new.nix (new)"];
    assert_eq!(second.since(&first), changed);
    // what was deployed dirty and is committed now has not changed
    repository.git(&["add", "-A"]).await;
    repository.commit("as deployed").await;
    assert_eq!(of(Some(&second)).await.since(&second), Vec::<String>::new());
    assert_eq!(of(Some(&first)).await.since(&first), changed);
}

type Deed = fn(&Repository);

#[tokio::test]
async fn a_tree_is_still_what_it_was_unless_something_moved() {
    let repository = Repository::new().await;
    let flake = repository.flake();
    let deeds: [(&str, Deed); 6] = [
        ("written again", |r| r.write("hosts/a b.nix", "one")),
        ("made runnable", |r| {
            let runs = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(r.path("flake.nix"), runs).expect("set");
        }),
        ("gone", |r| std::fs::remove_file(r.path("hosts/a b.nix")).expect("removed")),
        ("a folder in its place", |r| {
            std::fs::rename(r.path("hosts"), r.path("before")).expect("moved");
            std::fs::rename(r.path("other"), r.path("hosts")).expect("moved");
        }),
        ("another index", |r| {
            std::fs::copy(r.path(".git/index"), r.path("index")).expect("copied");
            std::fs::rename(r.path("index"), r.path(".git/index")).expect("moved");
        }),
        ("a file beside them", |r| r.write("new.nix", "n")),
    ];
    for (what, deed) in deeds {
        repository.write("hosts/a b.nix", "one");
        repository.write("other/a b.nix", "one");
        // times of files are those of the last tick: until then nothing can be told from them
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let read = reading(&repository.world, &flake);
        read.clone().await.expect("a tree");
        let now = super::super::still::now(&repository.world, &flake, &read).await;
        assert!(now.expect("told").ptr_eq(&read), "before: {what}");
        deed(&repository);
        let now = super::super::still::now(&repository.world, &flake, &read).await;
        assert!(!now.expect("told").ptr_eq(&read), "{what}");
    }
}
