//! What comes of an update in git: a commit of flake.lock alone, or a pull request.

use super::asked::Update;
use super::gate::Gate;
use super::texts::{Change, reason};
use super::told;
use crate::error::Error;
use crate::event::harmless;
use crate::event::state::RunState;
use crate::exit::Exit;
use crate::fleet::HostName;
use crate::report;
use crate::update::git::{Git, GitError, Repository};
use crate::update::keep::{Fate, Id};
use crate::update::pull_request::{self, Base, Became, PullRequest};
use crate::world::invocation::quote;
use crate::world::signals::Signals;

/// Git and `gh` at work: asked once to stop they are waited for, asked twice they are left.
///
/// # Errors
/// When they were left: what became of it is not known.
pub(super) async fn attended<T>(
    signals: &mut Signals,
    work: impl Future<Output = T>,
) -> Result<T, Error> {
    let told = || report::err("git and gh are waited for; asked once more, they are left\n");
    signals.unless_twice(work, told).await.ok_or_else(|| {
        Error::new(Exit::Interrupted, "git and gh were left at work")
            .because("whether there is a commit, a branch or a pull request is not known")
            .hint("git log -1 -- flake.lock")
            .hint("gh pr list")
    })
}

/// How a deploy ended, for what is recorded of it.
pub(super) struct Ended<'a> {
    /// Whether hosts run the new system.
    pub(super) fate: Fate,
    /// The deploy's own code; `None`: it did not begin.
    pub(super) exit: Option<Exit>,
    /// What is known of its hosts.
    pub(super) state: Option<&'a RunState>,
    /// Whether some were left out by the gate.
    pub(super) held: bool,
}

/// Whether what is to be recorded can be, before anything is done; a pull request's base.
///
/// # Errors
/// When the repository is in the middle of something, or has nowhere to send a pull request.
pub(super) async fn ready(update: &Update<'_>) -> Result<Option<Base>, Error> {
    let record = &update.asked.flags.record;
    if !record.commit && !record.pr {
        return Ok(None);
    }
    let scratch = update.keep.scratch();
    let repository = repository(update, &scratch);
    let failed = |e: GitError| {
        let hint = match &e {
            GitError::NoRemote => "git remote add origin URL",
            GitError::NoBranch => "git switch BRANCH",
            GitError::NotStarted(_) | GitError::Refused { .. } | GitError::State(_) => "git status",
        };
        let told = harmless::line(&e.to_string());
        let told = if record.pr { format!("no pull request from here: {told}") } else { told };
        Error::usage(told)
            .because("flake.lock could not be recorded afterwards; nothing was done")
            .hint(hint)
    };
    repository.ready().map_err(failed)?;
    if !record.pr {
        return Ok(None);
    }
    pull_request::base(repository.git(update.world)).await.map(Some).map_err(failed)
}

fn repository<'a>(update: &'a Update<'_>, scratch: &'a std::path::Path) -> Repository<'a> {
    Repository { flake: update.flake, lock: update.keep.lock(), scratch }
}

/// Opens a pull request with a new lock, before a host is touched.
///
/// # Errors
/// When it cannot be opened: no host was touched, and flake.lock is as it was.
pub(super) async fn open(
    update: &Update<'_>,
    base: Base,
    bytes: &[u8],
    (change, gate): (Change<'_>, &Gate),
) -> Result<PullRequest, Error> {
    let (id, file) = update.keep.back_up(bytes).map_err(|e| told(&e))?;
    let scratch = update.keep.scratch();
    let repository = repository(update, &scratch);
    let failed = |e: GitError| {
        Error::usage("the pull request could not be opened")
            .because(harmless::line(&e.to_string()))
            .because("no host was touched; flake.lock is as it was")
            .hint("gh auth status")
    };
    let commit = repository.aside(update.world, &file, &change.commit()).await.map_err(failed)?;
    let commit = commit.ok_or_else(|| {
        Error::usage("the last commit has this flake.lock already").hint("git log -- flake.lock")
    })?;
    let held: Vec<HostName> = gate.held.iter().map(|(host, ..)| host.clone()).collect();
    let text = change.pull_request(&gate.go, &held);
    let branch = format!("update/{}-{}", day(update), id.short());
    if base.unpushed > 0 {
        let branch = &base.branch;
        let text = match base.unpushed {
            1 => format!("a commit of {branch} that was not pushed comes along\n"),
            n => format!("{n} commits of {branch} that were not pushed come along\n"),
        };
        report::err(&text);
    }
    let (git, root) = (repository.git(update.world), &update.flake.root);
    let to = (base.remote.clone(), branch.clone());
    let opened = pull_request::open(update.world, git, root, (base, branch, commit), &text).await;
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) => return Err(remains(git, &to, failed(error)).await),
    };
    match &opened.url {
        Some(url) => report::err(&format!("pull request opened: {url}\n")),
        None => {
            report::err(&format!("there is no gh: the branch {} is here\n", opened.branch));
            commands(&opened.commands(&text.title));
        }
    }
    Ok(opened)
}

/// Says with an error whether the branch that was pushed is there.
async fn remains(git: Git<'_>, (remote, branch): &(String, String), error: Error) -> Error {
    let (at, name) = (quote(remote), quote(branch));
    match git.there(remote, branch).await {
        Ok(None) => error,
        Ok(Some(_)) => error
            .because(format!("the branch {name} is on {at}"))
            .hint(format!("git push {at} --delete {name}")),
        Err(_) => error
            .because(format!("whether the branch {name} is on {at} is not known"))
            .hint(format!("git ls-remote {at} {name}")),
    }
}

fn day(update: &Update<'_>) -> String {
    use crate::event::stream::Stopwatch;
    let at = jiff::Timestamp::from_millisecond(update.world.clock.epoch_ms()).unwrap_or_default();
    at.strftime("%Y-%m-%d").to_string()
}

fn commands(all: &[String]) {
    all.iter().for_each(|command| report::err(&format!("  {command}\n")));
}

/// Records how it ended: commits, merges or closes.
pub(super) async fn conclude(
    update: &Update<'_>,
    opened: Option<&PullRequest>,
    (change, bytes): (Change<'_>, &[u8]),
    ended: &Ended<'_>,
) {
    match opened {
        Some(opened) if opened.url.is_some() => return request(update, opened, ended).await,
        Some(branch) => return branch_alone(branch, &change.subject(), ended.fate),
        None => {}
    }
    if !update.asked.flags.record.commit {
        return;
    }
    // Hosts that were held are not worse off; one that failed is no reason to go on from.
    let healthy = matches!(ended.exit, Some(Exit::Done | Exit::Staged));
    if ended.fate != Fate::Runs || !healthy {
        report::err("flake.lock was not committed: not every host came to run it\n");
        if ended.fate == Fate::Runs {
            let subject = quote(&change.subject());
            commands(&[format!("git commit --only flake.lock -m {subject}")]);
        }
        return;
    }
    commit(update, change, bytes).await;
}

/// Commits this lock, and says so.
pub(super) async fn commit(update: &Update<'_>, change: Change<'_>, bytes: &[u8]) {
    let scratch = update.keep.scratch();
    let repository = repository(update, &scratch);
    let subject = change.subject();
    let made = match update.keep.back_up(bytes) {
        Ok((_, file)) => repository.commit(update.world, &file, &change.commit()).await,
        Err(error) => Err(GitError::State(error.to_string())),
    };
    match made {
        Ok(Some(commit)) => {
            let id = commit.id.get(..7).unwrap_or_default();
            report::err(&format!("flake.lock committed {id} \"{subject}\"\n"));
            if commit.staged_otherwise {
                report::err("  another flake.lock was staged, and still is: git diff --staged\n");
            }
            if !commit.on_branch {
                report::err(&format!(
                    "  no branch has it, as none is checked out: git branch NAME {id}\n"
                ));
            }
        }
        Ok(None) => report::err("the last commit has this flake.lock already\n"),
        Err(error) => {
            let why = harmless::line(&error.to_string());
            report::err(&format!("warning: flake.lock was not committed: {why}\n"));
            commands(&[format!("git commit --only flake.lock -m {}", quote(&subject))]);
        }
    }
}

/// Where there is no `gh` nothing was opened, so nothing is merged or closed: the branch is here.
fn branch_alone(opened: &PullRequest, title: &str, fate: Fate) {
    let branch = &opened.branch;
    match fate {
        Fate::Nowhere => {
            report::err(&format!("no host keeps the flake.lock of {branch}; to be rid of it:\n"));
            commands(&[opened.closing()]);
        }
        Fate::Runs | Fate::Open => {
            report::err(&format!(
                "no pull request was opened, for there is no gh: flake.lock is committed in the \
                 branch {branch} alone\nto open one:\n"
            ));
            commands(&opened.commands(title));
            report::err(&format!("or, to have it in {} without one:\n", opened.base.branch));
            commands(&[opened.merging()]);
        }
    }
}

/// Merged when all is well, closed when nothing came of it, left open in every other case.
async fn request(update: &Update<'_>, opened: &PullRequest, ended: &Ended<'_>) {
    let (world, root) = (update.world, &update.flake.root);
    let (became, command, what) = match (ended.fate, ended.exit) {
        (Fate::Runs, Some(Exit::Done)) if !ended.held => {
            (opened.merge(world, root).await, opened.merging(), "merged")
        }
        (Fate::Nowhere, _) => {
            let why = match ended.state {
                Some(state) => reason(state),
                None => "Not merged: no host was deployed.".to_owned(),
            };
            (opened.close(world, root, &why).await, opened.closing(), "closed")
        }
        (fate, _) => {
            let why = match fate {
                Fate::Open => "what became of its hosts is not known yet",
                _ => "not every host runs it, and it is verified there",
            };
            report::err(&format!("the pull request was left open: {why}\n"));
            return commands(&[opened.merging(), opened.closing()]);
        }
    };
    let url = opened.url.as_deref().unwrap_or(&opened.branch);
    let (told, next) = match became {
        Became::Done if what == "merged" => {
            let base = &opened.base;
            let pull = format!("git pull {} {}", quote(&base.remote), quote(&base.branch));
            (format!("pull request merged: {url}"), format!("git restore flake.lock && {pull}"))
        }
        Became::Done => return report::err(&format!("pull request closed: {url}\n")),
        Became::Not(why) => (format!("the pull request was not {what}: {why}"), command),
        Became::Asked => {
            let text = format!("the pull request is to be {what}, and is still open: {url}");
            (text, opened.looking())
        }
        Became::Else(state) => {
            (format!("the pull request is {state}, not {what}: {url}"), opened.looking())
        }
        Became::Unknown(why) => {
            let text = format!("whether the pull request was {what} is not known: {why}");
            (text, opened.looking())
        }
    };
    report::err(&format!("{told}\n"));
    commands(&[next]);
}

/// What is said of a lock that only a branch has.
pub(super) fn prepared(opened: &PullRequest, bytes: &[u8]) {
    let id = Id::of(bytes);
    report::err(&format!(
        "built, and nothing was deployed; flake.lock is as it was, {} has the new one ({})\n",
        opened.branch,
        id.short()
    ));
    // Without a request there is none to merge; how to open one was told with the branch.
    if opened.url.is_some() {
        commands(&[opened.merging()]);
    }
}
