//! From a flake to a derivation, through Nix's own evaluation cache.

use super::failure::{self, BuildError, Stage};
use super::fingerprint::{Fingerprint, REMEMBERS, Remembered, Subject};
use super::full;
use super::output::Log;
use super::relay::{Ran, Relay};
use super::tree::Reading;
use super::workers::{Weight, Workers, starved};
use super::{EVALUATION, Evaluated, FlakeRef, Options, derivation, nix, tree};
use crate::event::stream::Emitter;
use crate::event::{Event, Phase};
use crate::fleet::{AttrName, HostName, StorePath};
use crate::world::memory::Scale;
use crate::world::{Invocation, StartError, World};

/// Whose toplevel is wanted, and from which tree.
pub struct Wanted<'a> {
    /// The flake.
    pub flake: &'a FlakeRef,
    /// Its host.
    pub attr: &'a AttrName,
    /// Its tree, read by the run at its start.
    pub tree: &'a Reading,
    /// Where it is evaluated.
    pub workers: &'a Workers,
    /// Called when Nix evaluates indeed, and neither its cache nor our memory has the answer.
    pub afresh: &'a (dyn Fn() + Send + Sync),
}

/// Finds the derivation of a host's toplevel and where its output will be; begins and ends the
/// phase. Where nothing it depends on has changed, our own memory answers; else Nix does, in about
/// 25 ms where its cache has seen the tree.
///
/// # Errors
/// When the flake does not evaluate, or Nix is not there.
pub async fn evaluate(
    world: &World,
    emitter: &Emitter,
    host: &HostName,
    wanted: &Wanted<'_>,
    options: &Options,
) -> Result<Evaluated, BuildError> {
    let open = emitter.phase(host, Phase::Evaluate);
    let relay = Relay { world, emitter, host, phase: Phase::Evaluate };
    let result = match attempt(relay, wanted, options).await {
        Err(error) => Err(explain(world, wanted.flake, error).await),
        ok => ok,
    };
    match &result {
        Ok(evaluated) => open.ok(if evaluated.cached { "from cache" } else { "" }),
        Err(error) => open.failed(error.to_string()),
    }
    if let Ok(Evaluated { toplevel: Some(toplevel), cached, .. }) = &result {
        let (host, toplevel) = (host.clone(), toplevel.clone());
        emitter.emit(Event::ClosureKnown { host, toplevel, cached: *cached });
    }
    result
}

async fn attempt(
    relay: Relay<'_>,
    wanted: &Wanted<'_>,
    options: &Options,
) -> Result<Evaluated, BuildError> {
    let command = invocation(wanted.flake, wanted.attr, options);
    let subject = Subject::new(relay.world, wanted.flake, &command);
    let before = fingerprint(&subject, wanted.tree, options).await;
    if let Some((found, was)) = before.as_ref().and_then(|b| Some((subject.recall(b)?, b))) {
        let (drv, toplevel, tree) = (found.drv, Some(found.toplevel), Some(was.tree.clone()));
        return Ok(Evaluated { drv, toplevel, cached: true, tree });
    }
    let ran = worked(relay, wanted, &command).await.map_err(BuildError::unstarted)?;
    if !ran.ended.ok() {
        let error = failure::sort(&ran.log, ran.ended, Stage::Evaluation, "here");
        return Err(full::located(error, &relay.world.environment));
    }
    let drv = ran.out.iter().find_map(|l| StorePath::new(l.trim()).ok());
    let drv = drv.ok_or_else(|| BuildError::Nix("nix path-info named no derivation".to_owned()))?;
    let toplevel = derivation::head(&drv).as_deref().and_then(derivation::out_path);
    let tree = match (before, toplevel.clone()) {
        (Some(was), Some(toplevel)) => {
            let found = Remembered { drv: drv.clone(), toplevel };
            subject.remember(was, wanted.tree, &found).await
        }
        _ => None,
    };
    Ok(Evaluated { drv, toplevel, cached: ran.log.cached(), tree })
}

/// Runs it where there is room; once more, alone, where memory was missing after all.
async fn worked(
    relay: Relay<'_>,
    wanted: &Wanted<'_>,
    command: &Invocation,
) -> Result<Ran, StartError> {
    let (workers, weight) = (wanted.workers, Weight::of(relay.world, wanted.flake, wanted.attr));
    let mut place = workers.place(weight.mib()).await;
    let (mut again, mut told) = (false, false);
    loop {
        let scale = Scale::default();
        let watch = |log: &Log| {
            if !log.cached() && !std::mem::replace(&mut told, true) {
                (wanted.afresh)();
            }
        };
        let ran = relay.watch(command.clone().weighed(scale.clone()), watch).await?;
        let starved = starved(&ran);
        if starved || !ran.log.cached() {
            weight.learn(&scale);
        }
        if !starved || again {
            return Ok(ran);
        }
        again = true;
        relay.line("the evaluation was ended for want of memory; once more, alone".to_owned());
        drop(place);
        place = workers.alone().await;
    }
}

/// `None`: this evaluation is Nix's alone.
async fn fingerprint(
    subject: &Subject<'_>,
    tree: &Reading,
    options: &Options,
) -> Option<Fingerprint> {
    // Another lock is nothing that the name of the tree tells.
    if !REMEMBERS || options.no_cache || options.lock.is_some() {
        return None;
    }
    let taken = subject.before(tree.clone()).await;
    taken.inspect_err(|reason| tracing::debug!(%reason, "this evaluation is not remembered")).ok()
}

/// One `-v` makes Nix name each file it evaluates, which shows both progress and cache hits.
fn invocation(flake: &FlakeRef, attr: &AttrName, options: &Options) -> Invocation {
    let installable = flake.installable(attr);
    let mut args = vec!["path-info", "--derivation", &installable, "--no-update-lock-file"];
    args.extend(["--log-format", "internal-json", "-v"]);
    if options.accept_flake_config {
        args.push("--accept-flake-config");
    }
    if options.no_cache {
        args.push("--no-eval-cache");
    }
    let lock = options.lock.as_ref().map(|file| file.display().to_string());
    if let Some(file) = &lock {
        args.extend(["--reference-lock-file", file]);
    }
    nix(args).timeout(EVALUATION)
}

/// A file that Nix misses may be there, only unknown to git.
async fn explain(world: &World, flake: &FlakeRef, error: BuildError) -> BuildError {
    let (FlakeRef::Local(local), Some(path)) = (flake, failure::missing_path(&error)) else {
        return error;
    };
    if tree::is_untracked(world, local, path).await {
        return BuildError::Untracked { file: path.to_owned() };
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_served_by_nix_s_cache_and_changes_no_lock() {
        let flake = FlakeRef::Other("github:me/config".to_owned());
        let attr = AttrName::new("p620").expect("attr");
        let mut options = Options {
            accept_flake_config: true,
            no_cache: false,
            keep_going: false,
            cache: None,
            builders: String::new(),
            keep: true,
            lock: None,
        };
        let shown = invocation(&flake, &attr, &options).to_string();
        assert!(shown.contains("path-info --derivation"), "{shown}");
        assert!(shown.contains("--no-update-lock-file"), "{shown}");
        assert!(shown.contains("--accept-flake-config"), "{shown}");
        assert!(!shown.contains("eval-cache"), "{shown}");
        options.no_cache = true;
        options.accept_flake_config = false;
        let shown = invocation(&flake, &attr, &options).to_string();
        assert!(shown.ends_with("--no-eval-cache"), "{shown}");
        assert!(!shown.contains("accept-flake-config"), "{shown}");
        options.lock = Some("/k/x.lock".into());
        let shown = invocation(&flake, &attr, &options).to_string();
        assert!(shown.ends_with("--reference-lock-file /k/x.lock"), "{shown}");
    }
}
