//! flake.lock as a commit: of that file alone, with an index of its own, so that whatever else is
//! staged stays staged and nothing of it comes along.
//!
//! The bytes that are committed are those that were checked, not those that lie in the working
//! tree by then. A commit on the branch that is checked out runs the repository's hooks, as every
//! commit of its user does; one for a branch of its own is written without touching the checkout.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::build::flake::LocalFlake;
use crate::build::tree;
use crate::event::harmless;
use crate::world::{Ended, Invocation, StartError, World};

/// Hooks run meanwhile, and a key may have to be unlocked.
const PATIENCE: Duration = Duration::from_secs(300);
/// Git writes nothing of its own accord.
const QUIET: [&str; 4] = ["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"];
/// What lies in git's folder while it is in the middle of something (gitrepository-layout(5)).
const UNDER_WAY: [(&str, &str); 5] = [
    ("MERGE_HEAD", "a merge"),
    ("CHERRY_PICK_HEAD", "a cherry-pick"),
    ("REVERT_HEAD", "a revert"),
    ("rebase-merge", "a rebase"),
    ("rebase-apply", "a rebase"),
];

/// Why there is no commit.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// Git is not there.
    #[error("{0}")]
    NotStarted(#[from] StartError),
    /// It refused, or one of its hooks did.
    #[error("git {what} failed: {why}")]
    Refused {
        /// What it was asked for.
        what: String,
        /// What it said.
        why: String,
    },
    /// The repository is not in a state for it.
    #[error("{0}")]
    State(String),
    /// There is nowhere to send a branch.
    #[error("the repository has no remote")]
    NoRemote,
    /// A commit, and no branch, is checked out.
    #[error("no branch is checked out to merge into")]
    NoBranch,
}

/// A flake.lock in its repository.
#[derive(Debug, Clone)]
pub struct Repository<'a> {
    /// The flake.
    pub flake: &'a LocalFlake,
    /// The file itself, links resolved.
    pub lock: &'a Path,
    /// Where an index of our own may lie.
    pub scratch: &'a Path,
}

/// A commit that has flake.lock with the bytes that were checked, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its name, all digits.
    pub id: String,
    /// Whether the user's own index has something else staged for flake.lock, which was left.
    pub staged_otherwise: bool,
    /// Whether a branch is checked out, which has it now.
    pub on_branch: bool,
}

/// Why there is no commit, and what could not be taken back.
fn refused(why: Option<GitError>, back: Option<GitError>) -> GitError {
    let why = why.unwrap_or_else(|| {
        let why = "a hook of the repository took it back".to_owned();
        GitError::State(format!("git says that it is, and HEAD is where it was: {why}"))
    });
    match back {
        None => why,
        Some(back) => GitError::State(format!("{why}; it is still staged: {back}")),
    }
}

/// flake.lock as a commit has it: mode and content.
#[derive(Debug, Clone)]
struct Entry {
    mode: String,
    blob: String,
}

impl Repository<'_> {
    /// Whether a commit can be made here now.
    ///
    /// # Errors
    /// With the reason why none can.
    pub fn ready(&self) -> Result<(), GitError> {
        let git = tree::own_folder(&self.flake.root)
            .ok_or_else(|| GitError::State("its .git cannot be read".to_owned()))?;
        let busy = UNDER_WAY.iter().find(|(name, _)| git.join(name).exists());
        if let Some((_, what)) = busy {
            return Err(GitError::State(format!("{what} is under way in the repository")));
        }
        self.path().map(drop)
    }

    /// The file's name in the repository.
    fn path(&self) -> Result<String, GitError> {
        let outside = || GitError::State("flake.lock is a link out of the repository".to_owned());
        let root = self.flake.root.canonicalize().map_err(|_| outside())?;
        let path = self.lock.strip_prefix(root).map_err(|_| outside())?;
        path.to_str().map(str::to_owned).ok_or_else(outside)
    }

    /// Commits these bytes on what is checked out; `None`: they are there already.
    ///
    /// The user's own index gets the new file first, if it had the one before: whoever is killed
    /// from then on leaves at most that staged, and git can end the commit by itself.
    ///
    /// # Errors
    /// When git or a hook refuses: nothing was committed, and the user's index has what it had.
    /// And when the hooks made something else of the commit: that is told.
    pub async fn commit(
        &self,
        world: &World,
        bytes: &Path,
        message: &str,
    ) -> Result<Option<Commit>, GitError> {
        self.ready()?;
        let head = self.head(world).await?;
        let Some((before, new)) = self.staged(world, bytes).await? else { return Ok(None) };
        let followed = match self.follow(world, before.as_ref(), Some(&new)).await {
            Ok(followed) => followed,
            Err(error) => {
                let _ = std::fs::remove_file(self.scratch);
                return Err(error);
            }
        };
        let own = Git { index: Some(self.scratch), hooks: true, ..self.git(world) };
        let committed = own.run(&["commit", "--quiet", "--file=-"], message).await;
        let _ = std::fs::remove_file(self.scratch);
        let id = self.head(world).await?;
        if id == head {
            let back = match followed {
                true => self.follow(world, Some(&new), before.as_ref()).await.map(drop),
                false => Ok(()),
            };
            return Err(refused(committed.err(), back.err()));
        }
        self.read_back(world, (&head, &id), &new).await?;
        let on_branch = self.git(world).line(&["symbolic-ref", "--quiet", "HEAD"]).await.is_ok();
        Ok(Some(Commit { id, staged_otherwise: !followed, on_branch }))
    }

    /// The commit that is checked out.
    async fn head(&self, world: &World) -> Result<String, GitError> {
        self.git(world).line(&["rev-parse", "--verify", "HEAD"]).await
    }

    /// Whether the new commit has what was meant, and only that: hooks may have seen to more. The
    /// user's index follows what they did, else its reverse would stand there as staged.
    async fn read_back(
        &self,
        world: &World,
        (head, id): (&str, &str),
        new: &Entry,
    ) -> Result<(), GitError> {
        let (git, path, short) = (self.git(world), self.path()?, id.get(..7).unwrap_or(id));
        let names = git.run(&["diff-tree", "-r", "--name-only", head, id], "").await?;
        let found = self.entry(world, &["ls-tree", "--full-tree", id], &path).await?;
        let all: BTreeSet<&String> = names.iter().chain([&path]).collect();
        for name in all {
            let was = self.entry(world, &["ls-tree", "--full-tree", head], name).await?;
            let was = if *name == path { Some(new.clone()) } else { was };
            let is = self.entry(world, &["ls-tree", "--full-tree", id], name).await?;
            let _ = self.follow_file(world, name, was.as_ref(), is.as_ref()).await?;
        }
        let undo = format!(
            "look: git show {short}; back: git reset --soft {}",
            head.get(..7).unwrap_or(head)
        );
        if found.is_none_or(|f| f.blob != new.blob) {
            return Err(GitError::State(format!(
                "commit {short} does not have the one that was checked, a hook of the repository \
                 saw to that; {undo}"
            )));
        }
        let more: Vec<String> = names.into_iter().filter(|n| *n != path).take(4).collect();
        if more.is_empty() {
            return Ok(());
        }
        Err(GitError::State(format!(
            "commit {short} has it, and more that a hook of the repository put there: {}; {undo}",
            harmless::line(&more.join(", "))
        )))
    }

    /// The user's own index has the second file, if it had the first. False: it has another one.
    async fn follow(
        &self,
        world: &World,
        before: Option<&Entry>,
        new: Option<&Entry>,
    ) -> Result<bool, GitError> {
        self.follow_file(world, &self.path()?, before, new).await
    }

    async fn follow_file(
        &self,
        world: &World,
        path: &str,
        before: Option<&Entry>,
        new: Option<&Entry>,
    ) -> Result<bool, GitError> {
        let blob = |entry: Option<&Entry>| entry.map(|e| e.blob.clone());
        let entry = self.entry(world, &["ls-files", "--stage"], path).await?;
        if blob(entry.as_ref()) != blob(before) {
            return Ok(false);
        }
        let git = self.git(world);
        match new {
            Some(Entry { mode, blob }) => {
                let info = format!("{mode},{blob},{path}");
                git.run(&["update-index", "--add", "--cacheinfo", &info], "").await?;
            }
            None => drop(git.run(&["update-index", "--force-remove", "--", path], "").await?),
        }
        Ok(true)
    }

    /// The same as a commit that no branch has yet, upon what is checked out.
    ///
    /// # Errors
    /// When git refuses.
    pub async fn aside(
        &self,
        world: &World,
        bytes: &Path,
        message: &str,
    ) -> Result<Option<String>, GitError> {
        self.ready()?;
        if self.staged(world, bytes).await?.is_none() {
            return Ok(None);
        }
        let own = Git { index: Some(self.scratch), ..self.git(world) };
        let tree = own.line(&["write-tree"]).await;
        let _ = std::fs::remove_file(self.scratch);
        let words = ["commit-tree", &tree?, "-p", "HEAD", "-F", "-"];
        Ok(self.git(world).run(&words, message).await?.into_iter().next())
    }

    /// Our own index: what is checked out, with these bytes as flake.lock. Gives the file before
    /// and after; `None`: it is the same.
    async fn staged(
        &self,
        world: &World,
        bytes: &Path,
    ) -> Result<Option<(Option<Entry>, Entry)>, GitError> {
        let (git, path) = (self.git(world), self.path()?);
        let before = self.entry(world, &["ls-tree", "--full-tree", "HEAD"], &path).await?;
        let filters = format!("--path={path}");
        let file = bytes.display().to_string();
        let blob = git.line(&["hash-object", "-w", &filters, "--", &file]).await?;
        if before.as_ref().is_some_and(|b| b.blob == blob) {
            return Ok(None);
        }
        let mode = before.as_ref().map_or_else(|| "100644".to_owned(), |b| b.mode.clone());
        let _ = std::fs::remove_file(self.scratch);
        let own = Git { index: Some(self.scratch), ..git };
        own.run(&["read-tree", "HEAD"], "").await?;
        let info = format!("{mode},{blob},{path}");
        own.run(&["update-index", "--add", "--cacheinfo", &info], "").await?;
        Ok(Some((before, Entry { mode, blob })))
    }

    /// `MODE [TYPE] HASH [STAGE]<TAB>NAME` of the file, as `ls-tree` and `ls-files` print it.
    async fn entry(
        &self,
        world: &World,
        list: &[&str],
        path: &str,
    ) -> Result<Option<Entry>, GitError> {
        let named = [list, &["--", path][..]].concat();
        let lines = self.git(world).run(&named, "").await?;
        let words = |line: &String| -> Option<Entry> {
            let meta = line.split('\t').next()?;
            let words: Vec<&str> = meta.split(' ').collect();
            let is_hash = |w: &&&str| w.len() >= 40 && w.bytes().all(|b| b.is_ascii_hexdigit());
            let blob = words.iter().find(is_hash)?;
            Some(Entry { mode: (*words.first()?).to_owned(), blob: (*blob).to_owned() })
        };
        Ok(lines.first().and_then(words))
    }

    /// Git in this repository, writing nothing of its own accord.
    pub fn git<'a>(&'a self, world: &'a World) -> Git<'a> {
        Git { world, root: &self.flake.root, index: None, hooks: false }
    }
}

/// How git is started.
#[derive(Clone, Copy)]
pub struct Git<'a> {
    world: &'a World,
    root: &'a Path,
    index: Option<&'a Path>,
    hooks: bool,
}

impl Git<'_> {
    /// Its lines.
    ///
    /// # Errors
    /// With what it said, when it fails.
    pub async fn run(&self, args: &[&str], stdin: &str) -> Result<Vec<String>, GitError> {
        let options: &[&str] = if self.hooks { &[] } else { &QUIET };
        let words = options.iter().chain(args).copied();
        let mut asked = Invocation::new("git", words).within(PathBuf::from(self.root));
        asked = asked.env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0").timeout(PATIENCE);
        if let Some(index) = self.index {
            asked = asked.env("GIT_INDEX_FILE", index.display().to_string());
        }
        let said = self.world.run(asked.stdin(stdin)).await?;
        if said.ended.ok() {
            return Ok(said.out);
        }
        let lines = said.err.iter().chain(&said.out).filter(|l| !l.trim().is_empty());
        let lines: Vec<String> = lines.take(4).map(|l| harmless::line(l.trim())).collect();
        let why = match (said.ended, lines.as_slice()) {
            (Ended::Exited(_), [_, ..]) => lines.join("; "),
            (ended, _) => ended.to_string(),
        };
        let what = args.first().copied().unwrap_or_default().to_owned();
        Err(GitError::Refused { what, why })
    }

    /// Its first line.
    ///
    /// # Errors
    /// As [`Self::run`], and when it says nothing.
    pub async fn line(&self, args: &[&str]) -> Result<String, GitError> {
        let lines = self.run(args, "").await?;
        lines.into_iter().next().map(|l| l.trim().to_owned()).ok_or_else(|| GitError::Refused {
            what: args.first().copied().unwrap_or_default().to_owned(),
            why: "it said nothing".to_owned(),
        })
    }

    /// Which commit a remote has as a branch now; `None`: it has no such branch.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn there(&self, remote: &str, branch: &str) -> Result<Option<String>, GitError> {
        let name = format!("refs/heads/{branch}");
        let lines = self.run(&["ls-remote", "--", remote, &name], "").await?;
        Ok(lines.first().and_then(|l| l.split('\t').next()).map(str::to_owned))
    }

    /// Pushes a commit as a branch; the repository's hooks for that run.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn push(&self, remote: &str, commit: &str, branch: &str) -> Result<(), GitError> {
        let what = format!("{commit}:refs/heads/{branch}");
        Git { hooks: true, ..*self }.run(&["push", "--quiet", remote, &what], "").await.map(drop)
    }
}
