//! What git knows of the files that are checked: what is staged, what changed since a revision,
//! and what was there before.
//!
//! Names and contents are taken as bytes, never as lines of text. In a hook git may point to an
//! index of its own (`git commit FILE`), which is then the one that counts: githooks(5).

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::examine::{Base, Job};
use crate::world::process::{self, Bytes};
use crate::world::{Invocation, World, environment};

/// Longest answer of git that is taken: names of a tree, or contents of what changed.
const LIMIT: usize = 256 << 20;
const TIMEOUT: Duration = Duration::from_secs(60);

/// Why git could not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Untold {
    /// There is no git, or the folder belongs to no repository.
    NoRepository,
    /// There is no revision of that name.
    NoRevision(String),
    /// A revision that has no commit in common with HEAD.
    Unrelated(String),
    /// Git's own last word.
    Failed(String),
}

/// A file that differs from a base.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    /// Where it is now; `None`: it is gone.
    path: Option<PathBuf>,
    /// What was there, or where it came from.
    was: Option<String>,
    /// What is there, when git has it.
    is: Option<String>,
    /// It is a plain file now.
    plain: bool,
}

/// A repository seen from a folder.
pub struct Repository {
    /// Top of its working copy.
    pub root: PathBuf,
    folder: PathBuf,
    env: Vec<(String, OsString)>,
}

impl Repository {
    /// The one that a folder belongs to. Its top is asked for beside other questions.
    pub fn seen_from(world: &World, folder: &Path) -> Self {
        Self { root: PathBuf::new(), folder: folder.to_owned(), env: environment(world) }
    }

    /// The top of the working copy.
    ///
    /// # Errors
    /// When there is none, or git refuses.
    pub async fn top(&self) -> Result<PathBuf, Untold> {
        let mut bytes = self.git(&["rev-parse", "--show-toplevel"], Vec::new()).await?;
        while bytes.last().is_some_and(|b| *b == b'\n') {
            bytes.pop();
        }
        Ok(PathBuf::from(OsString::from_vec(bytes)))
    }

    async fn git(&self, words: &[&str], stdin: Vec<u8>) -> Result<Vec<u8>, Untold> {
        let settings = ["-c", "core.fsmonitor=false", "-c", "core.quotePath=false"];
        let all = settings.into_iter().chain(words.iter().copied());
        let mut invocation = Invocation::new("git", all).within(&self.folder).timeout(TIMEOUT);
        for (name, value) in &self.env {
            invocation = invocation.env(name, value.to_string_lossy());
        }
        let told = process::bytes(invocation.stdin(stdin), LIMIT).await;
        let Bytes { ended, out, err } = match told {
            Ok(bytes) => bytes,
            Err(error) if error.missing => return Err(Untold::NoRepository),
            Err(error) => return Err(Untold::Failed(error.to_string())),
        };
        if ended.ok() {
            return Ok(out);
        }
        if err.contains("not a git repository") {
            return Err(Untold::NoRepository);
        }
        let last = err.lines().last().unwrap_or_default();
        Err(Untold::Failed(format!("{ended}: {last}")))
    }

    /// The staged `.nix` files, as they are in the index, with what HEAD has of them.
    ///
    /// # Errors
    /// When git refuses.
    pub async fn staged(&self, below: &[PathBuf]) -> Result<Vec<Job>, Untold> {
        let changes = self.below(self.changes(&["--cached"]).await?, below).await?;
        let kept: Vec<Change> = changes.into_iter().filter(|c| c.plain && c.is.is_some()).collect();
        let wanted = kept.iter().flat_map(|c| [c.is.clone(), c.was.clone()]).flatten();
        let mut blobs = self.blobs(wanted).await?;
        let job = |change: Change| {
            Some(Job {
                path: change.path?,
                bytes: Some(blobs.get(&change.is?)?.clone()),
                base: base(change.was.as_ref(), &mut blobs),
            })
        };
        Ok(kept.into_iter().filter_map(job).collect())
    }

    /// Files whose working copy is not what is staged.
    ///
    /// # Errors
    /// When git refuses.
    pub async fn partly_staged(&self) -> Result<Vec<PathBuf>, Untold> {
        let staged = self.changes(&["--cached"]).await?;
        let further = self.changes(&[]).await?;
        let further: Vec<PathBuf> = further.into_iter().filter_map(|c| c.path).collect();
        let both = staged.into_iter().filter_map(|c| c.path).filter(|p| further.contains(p));
        Ok(both.collect())
    }

    /// The `.nix` files of the working copy that changed since it parted from a revision.
    ///
    /// # Errors
    /// When git does not know the revision.
    pub async fn since(&self, revision: &str, below: &[PathBuf]) -> Result<Vec<Job>, Untold> {
        if revision.starts_with('-') {
            return Err(Untold::Failed("a revision does not begin with '-'".to_owned()));
        }
        let parted = match self.git(&["merge-base", revision, "HEAD"], Vec::new()).await {
            Ok(parted) => parted,
            Err(untold @ Untold::NoRepository) => return Err(untold),
            Err(untold) => {
                let commit = format!("{revision}^{{commit}}");
                return Err(match (self.knows(&commit).await, self.knows("HEAD^{commit}").await) {
                    (false, true) => Untold::NoRevision(revision.to_owned()),
                    (true, true) => Untold::Unrelated(revision.to_owned()),
                    _ => untold,
                });
            }
        };
        let parted = String::from_utf8_lossy(&parted).trim().to_owned();
        let changes = self.changes(&[&parted]).await?;
        let changes = self.below(changes, below).await?.into_iter();
        let changes: Vec<Change> = changes.filter(|c| c.plain).collect();
        let mut blobs = self.blobs(changes.iter().filter_map(|c| c.was.clone())).await?;
        let mut jobs: Vec<Job> = changes
            .into_iter()
            .filter_map(|change| {
                let base = base(change.was.as_ref(), &mut blobs);
                Some(Job { path: change.path?, bytes: None, base })
            })
            .collect();
        let untracked = self.listed(below).await?.into_iter().filter(|(_, tracked)| !tracked);
        let new = untracked.map(|(path, _)| Job { path, bytes: None, base: Base::None });
        jobs.extend(new);
        Ok(jobs)
    }

    async fn knows(&self, commit: &str) -> bool {
        let words = ["rev-parse", "--verify", "--quiet", "--end-of-options", commit];
        self.git(&words, Vec::new()).await.is_ok()
    }

    /// Every `.nix` file that git does not ignore, with what HEAD has of those that changed.
    ///
    /// # Errors
    /// When git refuses.
    pub async fn whole(&self, below: &[PathBuf]) -> Result<Vec<Job>, Untold> {
        let (listed, changes) = tokio::join!(self.listed(below), self.changes(&["HEAD"]));
        let listed = listed?;
        // Without a first commit there is no HEAD, and everything is new.
        let Ok(changes) = changes else {
            let new = |(path, _)| Job { path, bytes: None, base: Base::None };
            return Ok(listed.into_iter().map(new).collect());
        };
        let mut blobs = self.blobs(changes.iter().filter_map(|c| c.was.clone())).await?;
        let mut changed: HashMap<PathBuf, Base> = HashMap::new();
        for change in changes {
            if let Some(path) = change.path {
                changed.insert(path, base(change.was.as_ref(), &mut blobs));
            }
        }
        let job = |(path, tracked): (PathBuf, bool)| {
            let unchanged = if tracked { Base::Same } else { Base::None };
            let base = changed.remove(&path).unwrap_or(unchanged);
            Job { path, bytes: None, base }
        };
        Ok(listed.into_iter().map(job).collect())
    }

    /// Names counted from the top, and whether git tracks them.
    async fn listed(&self, below: &[PathBuf]) -> Result<Vec<(PathBuf, bool)>, Untold> {
        let mut words = vec!["ls-files", "-z", "-t", "--cached", "--others", "--exclude-standard"];
        let paths = pathspec(below);
        words.extend(["--full-name", "--"]);
        words.extend(paths.iter().map(String::as_str));
        let told = self.git(&words, Vec::new()).await?;
        let entry = |entry: &[u8]| {
            let (tag, name) = (entry.first()?, entry.get(2..)?);
            let path = PathBuf::from(OsString::from_vec(name.to_vec()));
            path.extension().is_some_and(|e| e == "nix").then_some((path, *tag != b'?'))
        };
        let mut all: Vec<(PathBuf, bool)> = told.split(|b| *b == 0).filter_map(entry).collect();
        drop(told);
        all.sort(); // a file in conflict is listed once for each side
        all.dedup_by(|a, b| a.0 == b.0);
        Ok(all)
    }

    /// Those of the changes that lie below paths. Git itself would not see a rename from elsewhere.
    async fn below(
        &self,
        mut changes: Vec<Change>,
        below: &[PathBuf],
    ) -> Result<Vec<Change>, Untold> {
        if below.is_empty() {
            return Ok(changes);
        }
        let top = self.top().await?;
        let whole = |path: &PathBuf| {
            let path = self.folder.join(path);
            let path = path.canonicalize().unwrap_or(path);
            path.strip_prefix(&top).map(Path::to_path_buf).unwrap_or(path)
        };
        let tops: Vec<PathBuf> = below.iter().map(whole).collect();
        let meant = |path: &PathBuf| tops.iter().any(|top| path.starts_with(top));
        changes.retain(|c| c.path.as_ref().is_some_and(meant));
        Ok(changes)
    }

    /// What differs, renames followed.
    async fn changes(&self, how: &[&str]) -> Result<Vec<Change>, Untold> {
        let mut words = vec!["diff", "--raw", "-z", "-M", "--no-abbrev", "--no-ext-diff"];
        words.extend(["--no-textconv", "--no-relative", "--ignore-submodules"]);
        words.extend(how);
        words.push("--");
        Ok(parsed(&self.git(&words, Vec::new()).await?))
    }

    /// Contents by their names.
    async fn blobs(
        &self,
        names: impl Iterator<Item = String>,
    ) -> Result<HashMap<String, Vec<u8>>, Untold> {
        let names: Vec<String> = names.collect();
        if names.is_empty() {
            return Ok(HashMap::new());
        }
        let asked = names.iter().map(|n| format!("{n}\n")).collect::<String>().into_bytes();
        let told = self.git(&["cat-file", "--batch"], asked).await?;
        let mut rest = told.as_slice();
        let mut blobs = HashMap::new();
        // Each is `NAME TYPE SIZE\n` and so many bytes, then a line feed: git-cat-file(1).
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let head = String::from_utf8_lossy(&rest[..end]).into_owned();
            rest = &rest[end + 1..];
            let mut words = head.split(' ');
            let (name, _, size) = (words.next(), words.next(), words.next());
            let Some(size) = size.and_then(|s| s.parse::<usize>().ok()) else { continue };
            let Some(bytes) = rest.get(..size) else { break };
            blobs.insert(name.unwrap_or_default().to_owned(), bytes.to_vec());
            rest = rest.get(size + 1..).unwrap_or_default();
        }
        Ok(blobs)
    }
}

/// What HEAD has of the files that differ from it, below the top of a repository; everything that
/// is not named here is as in HEAD.
///
/// # Errors
/// When git refuses, as without a first commit.
pub async fn against_head(world: &World, root: &Path) -> Result<HashMap<PathBuf, Base>, Untold> {
    let env = environment(world);
    let repository = Repository { root: root.to_owned(), folder: root.to_owned(), env };
    let changes = repository.changes(&["HEAD"]).await?;
    let mut blobs = repository.blobs(changes.iter().filter_map(|c| c.was.clone())).await?;
    let known = |c: Change| Some((c.path?, base(c.was.as_ref(), &mut blobs)));
    Ok(changes.into_iter().filter_map(known).collect())
}

/// What git was told of its repository when it started us as a hook.
fn environment(world: &World) -> Vec<(String, OsString)> {
    let passed = |n: &str| matches!(n, "GIT_INDEX_FILE" | "GIT_DIR" | "GIT_WORK_TREE");
    let absolute = |value: OsString| world.environment.folder.join(value).into_os_string();
    environment::variables(passed).into_iter().map(|(n, v)| (n, absolute(v))).collect()
}

fn base(was: Option<&String>, blobs: &mut HashMap<String, Vec<u8>>) -> Base {
    was.and_then(|name| blobs.get(name)).map_or(Base::None, |bytes| Base::Was(bytes.clone()))
}

/// What is meant, literally; without a path everything.
fn pathspec(below: &[PathBuf]) -> Vec<String> {
    match below {
        [] => vec![":(top)".to_owned()],
        paths => paths.iter().map(|p| format!(":(literal){}", p.display())).collect(),
    }
}

/// `:OLDMODE NEWMODE OLDNAME NEWNAME STATUS\0PATH\0`, and a second path for renames and copies:
/// git-diff-index(1).
fn parsed(raw: &[u8]) -> Vec<Change> {
    let mut fields = raw.split(|b| *b == 0);
    let mut changes = Vec::new();
    while let Some(head) = fields.next().filter(|h| h.first() == Some(&b':')) {
        let head = String::from_utf8_lossy(&head[1..]).into_owned();
        let words: Vec<&str> = head.split(' ').collect();
        let [_, mode, was, is, status] = words.as_slice() else { break };
        let Some(mut path) = fields.next() else { break };
        if status.starts_with(['R', 'C'])
            && let Some(new) = fields.next()
        {
            path = new;
        }
        let named = |name: &str| (name.bytes().any(|b| b != b'0')).then(|| name.to_owned());
        let path = PathBuf::from(OsString::from_vec(path.to_vec()));
        let nix = path.extension().is_some_and(|e| e == "nix");
        if nix && !status.starts_with('U') {
            changes.push(Change {
                path: (!status.starts_with('D')).then_some(path),
                was: named(was),
                is: named(is),
                plain: mode.starts_with("100"),
            });
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_differences_are_read_whatever_the_names() {
        let raw = b":100644 100644 aa bb M\0a\nb.nix\0:100644 000000 cc 0000 D\0gone.nix\0\
            :100644 100644 dd ee R090\0old.nix\0new.nix\0:000000 120000 00 ff A\0link.nix\0\
            :100644 100644 11 22 M\0readme\0";
        let changes = parsed(raw);
        let paths: Vec<_> = changes.iter().map(|c| c.path.clone()).collect();
        let path = |p: &str| Some(PathBuf::from(p));
        assert_eq!(paths, [path("a\nb.nix"), None, path("new.nix"), path("link.nix")]);
        assert_eq!(changes[2].was.as_deref(), Some("dd"));
        assert_eq!(changes[3].was, None);
        assert!(changes[0].plain && !changes[3].plain);
    }

    #[test]
    fn what_git_should_not_say_is_no_panic() {
        for raw in [b"" as &[u8], b":", b":\0", b":a b c d M", b":1 2 3 4 R\0a", b"\0\0\0"] {
            assert_eq!(parsed(raw), Vec::new());
        }
    }
}
