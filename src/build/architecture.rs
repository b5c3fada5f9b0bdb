//! Whether anybody here builds for the system that a closure is for, before the rest of it is
//! fetched or built in vain.
//!
//! A closure for the kind of processor that we run on is asked about with no program. For any other
//! Nix says what it builds itself (`system`, `extra-platforms`) and whom it may ask (`builders`,
//! in the notation of nix.conf(5)); what can be fetched whole needs no builder at all.

use std::path::Path;
use std::time::Duration;

use super::failure::BuildError;
use super::{Evaluated, Options, derivation, nix};
use crate::world::{World, files};

/// Nix answers sooner.
const QUICK: Duration = Duration::from_secs(300);
/// Largest list of builders.
const LIMIT: u64 = 1 << 20;

/// Looks whether a closure can be built here or by Nix's builders; what is not known is allowed.
///
/// # Errors
/// When it is for another system, and nobody builds for that.
pub(super) async fn here(
    world: &World,
    evaluated: &Evaluated,
    options: &Options,
) -> Result<(), BuildError> {
    let Some(system) = derivation::system_of(&evaluated.drv) else { return Ok(()) };
    let there = evaluated.toplevel.as_ref().is_some_and(|t| Path::new(t.as_str()).exists());
    if system == format!("{}-linux", std::env::consts::ARCH) || there {
        return Ok(());
    }
    let Some(settings) = settings(world).await else { return Ok(()) };
    let known = known(&settings, &options.builders);
    if known.contains(&system) || !would_build(world, evaluated, options).await {
        return Ok(());
    }
    Err(BuildError::System { system, known })
}

async fn settings(world: &World) -> Option<serde_json::Value> {
    let shown = world.run(nix(["config", "show", "--json"]).timeout(QUICK)).await.ok()?;
    serde_json::from_str(&shown.out.join("\n")).ok()
}

/// Systems that are built for here, or by those that Nix may ask.
fn known(settings: &serde_json::Value, builders: &str) -> Vec<String> {
    let value = |name: &str| settings.pointer(&format!("/{name}/value"));
    let text = |name: &str| value(name).and_then(|v| v.as_str()).unwrap_or_default();
    let mut known = vec![text("system").to_owned()];
    let extra = value("extra-platforms").and_then(|v| v.as_array()).into_iter().flatten();
    known.extend(extra.filter_map(|v| v.as_str()).map(str::to_owned));
    let asked = if builders.is_empty() { text("builders") } else { builders };
    known.extend(systems(asked));
    known.sort_unstable();
    known.dedup();
    known.retain(|system| !system.is_empty());
    known
}

/// The systems of builders: machines between `;` or on lines, their systems second.
fn systems(builders: &str) -> Vec<String> {
    let mut found = Vec::new();
    for machine in builders.split([';', '\n']).map(str::trim) {
        if let Some(file) = machine.strip_prefix('@') {
            let text = files::read_text(Path::new(file), LIMIT).unwrap_or_default();
            let lines = text.lines().filter(|l| !l.trim_start().starts_with(['#', '@']));
            found.extend(systems(&lines.collect::<Vec<_>>().join("\n")));
        } else if let Some(listed) = machine.split_whitespace().nth(1) {
            found.extend(listed.split(',').filter(|s| *s != "-").map(str::to_owned));
        }
    }
    found
}

/// Whether any of it has to be built: what a cache has whole is fetched.
async fn would_build(world: &World, evaluated: &Evaluated, options: &Options) -> bool {
    let wanted = format!("{}^out", evaluated.drv);
    let building = options.building();
    let args = ["build", "--dry-run", "--no-link", "--log-format", "raw", &wanted];
    let args = args.into_iter().chain(building.iter().map(String::as_str));
    let told = world.run(nix(args).timeout(QUICK)).await;
    told.is_ok_and(|told| told.err.iter().any(|line| line.contains("will be built")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_builds_is_found_in_nix_s_own_notation() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("machines");
        let text = "# builders\nssh-ng://arm aarch64-linux,armv7l-linux - 8 1 -\n@/nowhere\n";
        std::fs::write(&file, text).expect("written");
        let settings = serde_json::json!({
            "system": { "value": "x86_64-linux" },
            "extra-platforms": { "value": ["i686-linux"] },
            "builders": { "value": format!("@{}", file.display()) },
        });
        let all = ["aarch64-linux", "armv7l-linux", "i686-linux", "x86_64-linux"];
        assert_eq!(known(&settings, ""), all);
        let ours = "ssh-ng://x riscv64-linux - 1 1 - ; ssh-ng://y - - 1 1 -";
        assert_eq!(known(&settings, ours), ["i686-linux", "riscv64-linux", "x86_64-linux"]);
        assert_eq!(known(&serde_json::json!({}), ""), [""; 0]);
    }
}
