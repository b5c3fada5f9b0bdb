//! From a flake to a derivation, through Nix's own evaluation cache.

use std::io::Read;

use super::failure::{self, BuildError, Stage};
use super::relay::Relay;
use super::{EVALUATION, Evaluated, FlakeRef, Options, derivation, nix, tree};
use crate::event::stream::Emitter;
use crate::event::{Event, Phase};
use crate::fleet::{AttrName, HostName, StorePath};
use crate::world::{Invocation, World};

/// How much of a derivation's file is read: the outputs come first.
const HEAD: u64 = 64 << 10;

/// Finds the derivation of a host's toplevel and where its output will be; begins and ends the
/// phase. One program, about 25 ms where the tree did not change.
///
/// # Errors
/// When the flake does not evaluate, or Nix is not there.
pub async fn evaluate(
    world: &World,
    emitter: &Emitter,
    host: &HostName,
    flake: &FlakeRef,
    attr: &AttrName,
    options: &Options,
) -> Result<Evaluated, BuildError> {
    let open = emitter.phase(host, Phase::Evaluate);
    let relay = Relay { world, emitter, host, phase: Phase::Evaluate };
    let result = match attempt(relay, flake, attr, options).await {
        Err(error) => Err(explain(world, flake, error).await),
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
    flake: &FlakeRef,
    attr: &AttrName,
    options: &Options,
) -> Result<Evaluated, BuildError> {
    let ran = relay.run(invocation(flake, attr, options)).await.map_err(BuildError::unstarted)?;
    if !ran.ended.ok() {
        return Err(failure::sort(&ran.log, ran.ended, Stage::Evaluation, "here"));
    }
    let drv = ran.out.iter().find_map(|l| StorePath::new(l.trim()).ok());
    let drv = drv.ok_or_else(|| BuildError::Nix("nix path-info named no derivation".to_owned()))?;
    let toplevel = head(&drv).as_deref().and_then(derivation::out_path);
    Ok(Evaluated { drv, toplevel, cached: ran.log.cached() })
}

/// The beginning of a derivation's file.
fn head(drv: &StorePath) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(drv.as_str()).ok()?.take(HEAD).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
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
    }
}
