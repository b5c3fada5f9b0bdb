//! Evaluations and builds that are done to be measured: always anew, one program each, with the
//! largest resident set that was seen of it.

use super::nix;
use super::{FlakeRef, Options};
use crate::event::harmless;
use crate::event::stream::Stopwatch;
use crate::fleet::{AttrName, StorePath};
use crate::world::memory::Scale;
use crate::world::{Invocation, World};

/// Longest evaluation or build that is waited for.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(8 * 3600);

/// What one program took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Took {
    /// Milliseconds from start to end.
    pub ms: u64,
    /// MiB of its largest resident set; 0: it was over before anybody looked.
    pub peak_mib: u64,
    /// The store path that it named.
    pub path: StorePath,
}

/// Evaluates a host, with Nix's evaluation cache left out; gives its derivation.
///
/// # Errors
/// With what Nix said.
pub async fn evaluation(
    world: &World,
    flake: &FlakeRef,
    attr: &AttrName,
    options: &Options,
) -> Result<Took, String> {
    let installable = flake.installable(attr);
    let mut args = vec!["path-info", "--derivation", &installable, "--no-update-lock-file"];
    args.push("--no-eval-cache");
    if options.accept_flake_config {
        args.push("--accept-flake-config");
    }
    measured(world, nix(args)).await
}

/// Builds a derivation, where it is not built; gives what it makes.
///
/// # Errors
/// With what Nix said.
pub async fn build(world: &World, drv: &StorePath) -> Result<Took, String> {
    let installable = format!("{drv}^out");
    measured(world, nix(["build", &installable, "--no-link", "--print-out-paths"])).await
}

async fn measured(world: &World, invocation: Invocation) -> Result<Took, String> {
    let (scale, began) = (Scale::default(), world.clock.monotonic_ms());
    let weighed = invocation.timeout(LIMIT).weighed(scale.clone());
    let output = world.run(weighed).await.map_err(|e| e.to_string())?;
    let ms = world.clock.monotonic_ms().saturating_sub(began);
    if !output.ended.ok() {
        let said = harmless::line(&output.err_tail(3));
        return Err(if said.is_empty() { format!("nix: {}", output.ended) } else { said });
    }
    let path = output.out.iter().find_map(|line| StorePath::new(line.trim()).ok());
    let path = path.ok_or_else(|| "nix named no store path".to_owned())?;
    Ok(Took { ms, peak_mib: scale.mib(), path })
}
