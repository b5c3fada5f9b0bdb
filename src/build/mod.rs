//! Slice 2: from a pinned tree to a closure, locally, on the target or on a third host.
//!
//! Evaluated once and built once. Nix's own evaluation cache answers an unchanged tree, dirty
//! trees too, but only to `nix build` and `nix path-info` (never to `nix eval`), so the
//! derivation is asked for with the latter and its output path read from its file. Nothing here
//! changes a host, apart from what its store holds.

mod architecture;
pub mod closure;
pub mod collect;
pub mod derivation;
pub mod diff;
pub mod evaluate;
mod evaluator;
pub mod failure;
mod fingerprint;
pub mod flake;
mod full;
pub mod graph;
mod import;
pub mod line;
pub mod manifest;
pub mod measure;
mod memory;
pub mod missing;
pub mod output;
pub mod realise;
pub mod relay;
pub mod remembered;
pub mod still;
pub mod transfer;
pub mod tree;
pub mod uncacheable;
pub mod units;
pub mod workers;

use std::path::PathBuf;
use std::time::Duration;

use crate::fleet::{Builder, Cache, Fleet, Host, StorePath};
use crate::plan::Request;

pub use evaluate::{Wanted, evaluate};
pub use failure::BuildError;
pub use flake::{FlakeError, FlakeRef};
pub use graph::Graph;
pub use realise::{Where, build};
pub use tree::{Tree, TreeId, tree};
pub use workers::Workers;

/// Longest evaluation.
const EVALUATION: Duration = Duration::from_secs(3600);
/// Longest build of one closure.
const BUILD: Duration = Duration::from_secs(8 * 3600);

/// What hosts.toml and the command line say of evaluating and building.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The flake's own `nixConfig` counts.
    pub accept_flake_config: bool,
    /// Neither Nix's evaluation cache nor our own memory is asked.
    pub no_cache: bool,
    /// A failed derivation does not end the others.
    pub keep_going: bool,
    /// A substituter besides the configured ones.
    pub cache: Option<Cache>,
    /// Nix's `builders`, in its own notation; empty: as configured.
    pub builders: String,
    /// What is built is kept from the garbage collector.
    pub keep: bool,
    /// Stands in for the flake's own lock.
    pub lock: Option<PathBuf>,
}

impl Options {
    /// For one host of a run; `several`: the run has more hosts than this.
    pub fn of(fleet: &Fleet, host: &Host, request: &Request, several: bool) -> Self {
        let builders = fleet.builders.iter().map(|(name, b)| builder(name, b));
        Self {
            accept_flake_config: host.accept_flake_config,
            no_cache: request.no_cache,
            keep_going: fleet.limits.keep_going.unwrap_or(several),
            cache: fleet.cache.clone().filter(|_| request.cached),
            builders: builders.collect::<Vec<_>>().join(" ; "),
            keep: request.keep,
            lock: request.lock.clone(),
        }
    }

    /// Options of every Nix program that may build.
    fn building(&self) -> Vec<String> {
        let mut args = Vec::new();
        if self.keep_going {
            args.push("--keep-going".to_owned());
        }
        args.extend(self.cache.iter().flat_map(substituter));
        args
    }
}

/// Options that name a cache and its key beside those that are configured.
pub fn substituter(cache: &Cache) -> Vec<String> {
    let key = cache.public_key.iter().flat_map(|key| option("extra-trusted-public-keys", key));
    option("extra-substituters", &cache.url).into_iter().chain(key).collect()
}

fn option(name: &str, value: &str) -> [String; 3] {
    ["--option".to_owned(), name.to_owned(), value.to_owned()]
}

/// One builder as nix.conf(5) has it: address, systems, key, jobs, speed, features.
fn builder(name: &str, builder: &Builder) -> String {
    let list = |words: &[String]| if words.is_empty() { "-".to_owned() } else { words.join(",") };
    let address = builder.address.as_ref().map_or(name, |a| a.as_str());
    let user = builder.user.as_ref().map_or(String::new(), |u| format!("{u}@"));
    let (systems, features) = (list(&builder.systems), list(&builder.features));
    format!("ssh-ng://{user}{address} {systems} - {} 1 {features}", builder.jobs)
}

/// A host's toplevel, not built yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluated {
    /// Its derivation.
    pub drv: StorePath,
    /// Where it will be; `None`: only its build tells (content-addressed derivations).
    pub toplevel: Option<StorePath>,
    /// Whether Nix's evaluation cache or our own memory answered.
    pub cached: bool,
    /// The tree that was surely evaluated: it was the same before and after. `None`: not known.
    pub tree: Option<TreeId>,
}

/// A host's toplevel, built and kept from the garbage collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The closure's top.
    pub toplevel: StorePath,
    /// What it was built from.
    pub drv: StorePath,
    /// Derivations built for it now.
    pub built: u64,
    /// Paths fetched for it now.
    pub fetched: u64,
    /// Whether the closure is in the local store; else it is on the target already.
    pub here: bool,
    /// Hosts that it was built for together; 0: for this one.
    pub together: usize,
}

/// Nix's new command line, whatever the configuration has enabled.
pub(crate) fn nix<'a>(args: impl IntoIterator<Item = &'a str>) -> crate::world::Invocation {
    let always = ["--extra-experimental-features", "nix-command flakes"];
    crate::world::Invocation::new("nix", always.into_iter().chain(args))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_builder_is_written_as_nix_reads_it() {
        let mut plain = Builder {
            address: None,
            user: None,
            systems: Vec::new(),
            jobs: 4,
            features: Vec::new(),
        };
        assert_eq!(builder("p620", &plain), "ssh-ng://p620 - - 4 1 -");
        plain.systems = vec!["x86_64-linux".to_owned(), "i686-linux".to_owned()];
        plain.features = vec!["kvm".to_owned()];
        let text = builder("p620", &plain);
        assert_eq!(text, "ssh-ng://p620 x86_64-linux,i686-linux - 4 1 kvm");
    }
}
