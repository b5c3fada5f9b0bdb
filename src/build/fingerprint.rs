//! Our own memory of evaluations: what was evaluated under one name, and what came out.
//!
//! The name covers everything a pure evaluation can see: the tracked files as they are on disk,
//! the commit (a flake can read `self.rev`), the evaluator with its settings, and our own command
//! word by word. Where that cannot be said for certain there is no name ([`Uncacheable`]) and Nix
//! is asked. A hit spares the evaluation and nothing else: what a host runs is always read from
//! the host, and a closure is built and checked as ever.

use serde::{Deserialize, Serialize};

use super::evaluator::{Surroundings, evaluator};
use super::flake::{FlakeRef, LocalFlake};
use super::tree::{self, Reading, TreeError, TreeId};
use super::uncacheable::{self, Uncacheable};
use super::{derivation, memory, still};
use crate::fleet::StorePath;
use crate::world::{Invocation, World};

/// The switch: false makes every evaluation Nix's. It stands on because each way to be stale that
/// we know of has its test (fingerprint_tests.rs; with real Nix, tests/bench/README.md).
pub(super) const REMEMBERS: bool = true;
/// Raised when the same inputs would get another name.
const SCHEMA: &str = "nixdeploy evaluation 1";

/// A digest in which parts cannot run into each other.
pub(super) struct Digest(blake3::Hasher);

impl Digest {
    /// Begins one of a kind.
    pub(super) fn new(kind: &str) -> Self {
        let mut digest = Self(blake3::Hasher::new());
        digest.add(kind);
        digest
    }

    /// Adds a part, with its length before it.
    pub(super) fn add(&mut self, part: impl AsRef<[u8]>) -> &mut Self {
        let part = part.as_ref();
        self.0.update(&(part.len() as u64).to_le_bytes()).update(part);
        self
    }

    /// As 64 hexadecimal digits.
    pub(super) fn end(&self) -> String {
        self.0.finalize().to_hex().to_string()
    }
}

/// Everything that an evaluation depends on, under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fingerprint {
    name: String,
    /// The tree in it.
    pub(super) tree: TreeId,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Remembered {
    /// The derivation of a host's toplevel.
    pub(super) drv: StorePath,
    /// Its output.
    pub(super) toplevel: StorePath,
}

/// An evaluation that may be remembered.
pub(super) struct Subject<'a> {
    world: &'a World,
    flake: &'a FlakeRef,
    /// What would be run, word by word: flake, attribute, options.
    command: &'a Invocation,
    surroundings: Surroundings,
    /// Reads the beginning of a derivation; the tests have no store.
    derivation: fn(&StorePath) -> Option<String>,
}

impl<'a> Subject<'a> {
    /// This evaluation, as the process was started.
    pub(super) fn new(world: &'a World, flake: &'a FlakeRef, command: &'a Invocation) -> Self {
        let surroundings = Surroundings::read(world);
        Self { world, flake, command, surroundings, derivation: derivation::head }
    }

    /// Takes its fingerprint before it begins, of the tree as the run found it: also asks how git
    /// is set up.
    ///
    /// # Errors
    /// When there is none to be relied on.
    pub(super) async fn before(&self, tree: Reading) -> Result<Fingerprint, Uncacheable> {
        let FlakeRef::Local(local) = self.flake else { return Err(Uncacheable::NotGit) };
        if let Some(loose) = uncacheable::inputs(local) {
            return Err(loose); // told by one small file: such a flake must not wait for git
        }
        let settings = uncacheable::settings(self.world, local);
        let (fingerprint, settings) = tokio::join!(self.take(local, tree), settings);
        match settings {
            Err(error) => Err(unreadable(&error)),
            Ok(Some(reason)) => Err(reason),
            Ok(None) => fingerprint,
        }
    }

    async fn take(&self, local: &LocalFlake, tree: Reading) -> Result<Fingerprint, Uncacheable> {
        let (tree, head, evaluator) = tokio::join!(
            tree,
            tree::head(self.world, local),
            evaluator(self.world, &self.surroundings),
        );
        let tree = tree.map_err(|e| unreadable(&e))?;
        let head = head.map_err(|e| unreadable(&e))?.ok_or(Uncacheable::NoCommit)?;
        let config = self.surroundings.folder("XDG_CONFIG_HOME", ".config");
        if let Some(reason) = uncacheable::uncacheable(local, &tree, &config) {
            return Err(reason);
        }
        let mut digest = Digest::new(SCHEMA);
        digest.add(evaluator?).add(head).add(tree.id.as_str());
        digest.add(std::env::consts::ARCH).add(&self.command.program);
        self.command.args.iter().for_each(|a| {
            digest.add(a);
        });
        Ok(Fingerprint { name: digest.end(), tree: tree.id.clone() })
    }

    /// What it gave under this fingerprint, if the derivation is still there and says so itself:
    /// the garbage collector may have been at work.
    pub(super) fn recall(&self, fingerprint: &Fingerprint) -> Option<Remembered> {
        let found: Remembered = memory::read(self.world, &fingerprint.name)?;
        let says = derivation::out_path(&(self.derivation)(&found.drv)?)?;
        (says == found.toplevel).then_some(found)
    }

    /// Remembers what came out, if its fingerprint is still what it was before: nobody edited the
    /// tree meanwhile. Gives the tree that was surely evaluated.
    pub(super) async fn remember(
        &self,
        was: Fingerprint,
        tree: &Reading,
        found: &Remembered,
    ) -> Option<TreeId> {
        let FlakeRef::Local(local) = self.flake else { return None };
        let now = still::now(self.world, self.flake, tree).await.ok()?;
        let is = self.take(local, now).await.ok()?;
        if is != was {
            return None;
        }
        memory::write(self.world, &is.name, found);
        Some(is.tree)
    }
}

fn unreadable(error: &TreeError) -> Uncacheable {
    Uncacheable::Unreadable(error.to_string())
}

#[cfg(test)]
#[path = "fingerprint_tests.rs"]
mod tests;
