//! A pull request for a new flake.lock, by `gh`: opened before a host is touched, merged when all
//! of them are healthy, closed with the reason when none keeps the new system.
//!
//! Where there is no `gh` the branch is made here, and the commands are told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::git::{Git, GitError};
use crate::event::harmless;
use crate::world::invocation::quote;
use crate::world::{Ended, Invocation, Output, World};

/// A server answers sooner.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// The remote.
    pub remote: String,
    /// The branch that is checked out, and that is to have the commit.
    pub branch: String,
    /// Commits of it that the remote does not have, and that come along.
    pub unpushed: u64,
}

/// One that is open, or a branch for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequest {
    /// Where it can be read; `None`: there is no `gh`.
    pub url: Option<String>,
    /// Its branch.
    pub branch: String,
    /// Its commit.
    pub commit: String,
    /// Where it goes.
    pub base: Base,
}

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// One line.
    pub title: String,
    /// Markdown.
    pub body: String,
}

/// Where a pull request of this checkout goes.
///
/// # Errors
/// When no branch is checked out, or there is nowhere to push it.
pub async fn base(git: Git<'_>) -> Result<Base, GitError> {
    let branch = git.line(&["symbolic-ref", "--short", "--quiet", "HEAD"]).await;
    let branch = branch.map_err(|_| GitError::NoBranch)?;
    let key = format!("branch.{branch}.remote");
    let named = git.line(&["config", "--get", &key]).await.ok();
    let remotes = git.run(&["remote"], "").await?;
    let remote = named
        .filter(|r| remotes.contains(r))
        .or_else(|| remotes.iter().find(|r| *r == "origin").or_else(|| remotes.first()).cloned());
    let remote = remote.ok_or(GitError::NoRemote)?;
    let range = format!("refs/remotes/{remote}/{branch}..HEAD");
    let unpushed = git.line(&["rev-list", "--count", &range]).await;
    let unpushed = unpushed.ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    Ok(Base { remote, branch, unpushed })
}

/// Opens it.
///
/// # Errors
/// When the branch cannot be pushed, or `gh` refuses: then the branch may be there.
pub async fn open(
    world: &World,
    git: Git<'_>,
    root: &Path,
    (base, branch, commit): (Base, String, String),
    text: &Text,
) -> Result<PullRequest, GitError> {
    if gh(world, root, &["--version"], "").await.is_err() {
        git.run(&["update-ref", &format!("refs/heads/{branch}"), &commit], "").await?;
        return Ok(PullRequest { url: None, branch, commit, base });
    }
    git.push(&base.remote, &commit, &branch).await?;
    let words = ["pr", "create", "--head", &branch, "--base", &base.branch, "--title"];
    let words = [&words[..], &[&text.title, "--body-file", "-"]].concat();
    let said = gh(world, root, &words, &text.body).await;
    // What it printed, and how it ended, are no proof: the forge has one, or it has none.
    let seen = view(world, root, &branch).await;
    let refused = |why| GitError::Refused { what: "push, gh pr create".to_owned(), why };
    match (seen, said) {
        (Ok(Seen { state, url, .. }), _) if state == "OPEN" && url.starts_with("https://") => {
            Ok(PullRequest { url: Some(harmless::line(&url)), branch, commit, base })
        }
        (_, Err(why)) => Err(refused(why)),
        (Ok(seen), Ok(_)) => Err(refused(format!("it is {}, not open", seen.told()))),
        (Err(why), Ok(_)) => {
            Err(refused(format!("whether it is open is not known: gh pr view: {why}")))
        }
    }
}

/// A pull request as the forge has it: `gh pr view --json`.
#[derive(Debug, Deserialize)]
struct Seen {
    /// `OPEN`, `CLOSED` or `MERGED`.
    state: String,
    #[serde(default)]
    url: String,
}

impl Seen {
    fn told(&self) -> String {
        harmless::line(&self.state).to_lowercase()
    }
}

async fn view(world: &World, root: &Path, which: &str) -> Result<Seen, String> {
    let said = gh(world, root, &["pr", "view", which, "--json", "state,url"], "").await?;
    serde_json::from_str(&said.concat()).map_err(|e| harmless::line(&e.to_string()))
}

/// What became of a pull request that was to be merged, or closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Became {
    /// It is what it was to be.
    Done,
    /// It is not, for this reason.
    Not(String),
    /// `gh` was asked for it and did not refuse, and it is still open: a queue, or a rule of the
    /// repository, may see to it later.
    Asked,
    /// It is neither open nor what it was to be.
    Else(String),
    /// The forge could not be asked.
    Unknown(String),
}

/// What a repository allows, as `gh repo view` says it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Allowed {
    merge_commit_allowed: bool,
    rebase_merge_allowed: bool,
    squash_merge_allowed: bool,
}

impl PullRequest {
    /// Merges it, if it still is the commit that was deployed, and reads what came of it.
    pub async fn merge(&self, world: &World, root: &Path) -> Became {
        let Some(url) = &self.url else { return Became::Not("there is no gh".to_owned()) };
        let asked = "mergeCommitAllowed,rebaseMergeAllowed,squashMergeAllowed";
        let said = gh(world, root, &["repo", "view", "--json", asked], "").await;
        let allowed = said.ok().and_then(|l| serde_json::from_str(&l.concat()).ok());
        let how = how(&allowed.unwrap_or_default());
        let commit = ["--match-head-commit", &self.commit, "--delete-branch"];
        let words = [&["pr", "merge", url, how][..], &commit].concat();
        became(world, root, (url, &words), "MERGED").await
    }

    /// Closes it, says why, and reads what came of it.
    pub async fn close(&self, world: &World, root: &Path, why: &str) -> Became {
        let Some(url) = &self.url else { return Became::Not("there is no gh".to_owned()) };
        let words = ["pr", "close", url, "--delete-branch", "--comment", why];
        became(world, root, (url, &words), "CLOSED").await
    }

    /// What is typed to open it where there is no `gh`.
    pub fn commands(&self, title: &str) -> Vec<String> {
        let (remote, branch) = (quote(&self.base.remote), quote(&self.branch));
        let (base, title) = (quote(&self.base.branch), quote(title));
        vec![
            format!("git push {remote} {branch}"),
            format!("gh pr create --head {branch} --base {base} --title {title} --body ''"),
        ]
    }

    /// What is typed to merge it; of a branch without a request: to have its commit here.
    pub fn merging(&self) -> String {
        match &self.url {
            Some(url) => format!("gh pr merge {} --match-head-commit {}", quote(url), self.commit),
            None => {
                let branch = quote(&self.branch);
                format!("git restore flake.lock && git merge --ff-only {branch}")
            }
        }
    }

    /// What is typed to look at it.
    pub fn looking(&self) -> String {
        format!("gh pr view {}", quote(self.url.as_ref().unwrap_or(&self.branch)))
    }

    /// What is typed to close it; of a branch without a request: to be rid of it.
    pub fn closing(&self) -> String {
        match &self.url {
            Some(url) => format!("gh pr close {}", quote(url)),
            None => format!("git branch -D {}", quote(&self.branch)),
        }
    }
}

/// A merge commit keeps the commit that was deployed; a squash makes another of the same files.
fn how(allowed: &Allowed) -> &'static str {
    match (allowed.merge_commit_allowed, allowed.rebase_merge_allowed, allowed.squash_merge_allowed)
    {
        (false, true, _) => "--rebase",
        (false, false, true) => "--squash",
        _ => "--merge",
    }
}

/// Asks for it, and reads what came of it, however `gh` ended.
async fn became(world: &World, root: &Path, (url, words): (&str, &[&str]), to_be: &str) -> Became {
    let asked = ask(world, root, words, "").await;
    match view(world, root, url).await {
        Ok(seen) if seen.state == to_be => Became::Done,
        Ok(seen) if seen.state != "OPEN" => Became::Else(seen.told()),
        Ok(_) => match asked {
            Ok(said) if matches!(said.ended, Ended::Exited(0) | Ended::TimedOut) => Became::Asked,
            Ok(said) => Became::Not(why(&said)),
            Err(error) => Became::Not(error),
        },
        Err(why) => Became::Unknown(why),
    }
}

/// Its lines, or why there are none.
async fn gh(world: &World, root: &Path, args: &[&str], stdin: &str) -> Result<Vec<String>, String> {
    let said = ask(world, root, args, stdin).await?;
    if said.ended.ok() { Ok(said.out) } else { Err(why(&said)) }
}

async fn ask(world: &World, root: &Path, args: &[&str], stdin: &str) -> Result<Output, String> {
    let asked = Invocation::new("gh", args.iter().copied())
        .within(PathBuf::from(root))
        .env("GH_PROMPT_DISABLED", "1")
        .env("NO_COLOR", "1")
        .stdin(stdin)
        .timeout(PATIENCE);
    world.run(asked).await.map_err(|e| e.to_string())
}

fn why(said: &Output) -> String {
    let line = said.err.iter().find(|l| !l.trim().is_empty());
    line.map_or_else(|| said.ended.to_string(), |l| harmless::line(l.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_request_that_never_was_no_command_speaks() {
        let base = Base { remote: "origin".to_owned(), branch: "main".to_owned(), unpushed: 0 };
        let branch = "update/2026-09-15-0681".to_owned();
        let here = PullRequest { url: None, branch, commit: "9be77d0".to_owned(), base };
        assert_eq!(
            here.merging(),
            "git restore flake.lock && git merge --ff-only update/2026-09-15-0681"
        );
        assert_eq!(here.closing(), "git branch -D update/2026-09-15-0681");
        let open = PullRequest { url: Some("https://github.com/me/x/pull/7".to_owned()), ..here };
        let merge = "gh pr merge https://github.com/me/x/pull/7 --match-head-commit 9be77d0";
        assert_eq!(open.merging(), merge);
        assert_eq!(open.closing(), "gh pr close https://github.com/me/x/pull/7");
    }
}
