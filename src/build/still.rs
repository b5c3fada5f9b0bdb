//! Whether a tree is still what it was when it was read, told from times alone where they leave
//! no doubt: a second question to git costs a program and, on a large tree, some ten milliseconds.
//!
//! A file's ctime moves with its content, its mode and its name, and nobody can set it
//! (inode(7)); a folder that was put in the place of another has a ctime of its own. So what bears
//! no ctime from after the reading began has not changed since. Anything else, also a file that
//! was saved a moment before, is git's to judge.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::flake::{FlakeRef, LocalFlake};
use super::tree::{self, Reading, Tree, TreeError, own_folder};
use crate::event::stream::Stopwatch;
use crate::world::World;

/// Timestamps of files are those of the kernel's last tick, ten milliseconds ago at most
/// (`CLOCK_REALTIME_COARSE`, clock_getres(2)); twice that is left.
const TICK_MS: i64 = 20;

/// When a reading began, by both clocks: a wall clock that was set proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    wall_ms: i64,
    steady_ms: u64,
}

impl Moment {
    /// Now; both clocks are read within a millisecond of each other, if that can be had.
    pub(super) fn now(world: &World) -> Self {
        let read = || {
            let (before, wall_ms) = (world.clock.monotonic_ms(), world.clock.epoch_ms());
            let steady_ms = world.clock.monotonic_ms();
            (steady_ms - before, Self { wall_ms, steady_ms })
        };
        let mut best = read();
        for _ in 0..8 {
            if best.0 <= 1 {
                break;
            }
            best = read();
        }
        best.1
    }

    /// Whether the wall clock went as the steady one did since.
    fn holds(&self, world: &World) -> bool {
        let now = Self::now(world);
        let steady = i64::try_from(now.steady_ms.saturating_sub(self.steady_ms));
        steady.is_ok_and(|steady| (now.wall_ms - self.wall_ms - steady).abs() <= TICK_MS / 2)
    }
}

/// The tree as it is now: the one that was read, if nothing has moved since.
///
/// # Errors
/// When git refuses, or a changed file cannot be read.
pub async fn now(world: &World, flake: &FlakeRef, read: &Reading) -> Result<Reading, TreeError> {
    let tree = read.clone().await?;
    if let FlakeRef::Local(local) = flake
        && tree.begun.holds(world)
        && untouched(local, &tree)
    {
        return Ok(read.clone());
    }
    Ok(tree::reading(world, flake))
}

fn untouched(local: &LocalFlake, tree: &Tree) -> bool {
    let before = tree.begun.wall_ms - TICK_MS;
    let old = |path: &Path| {
        let meta = path.symlink_metadata();
        meta.is_ok_and(|m| m.ctime() * 1000 + m.ctime_nsec() / 1_000_000 < before)
    };
    let index = own_folder(&local.root).is_some_and(|own| old(&own.join("index")));
    let mut folders = HashSet::new();
    let mut file = |path: &Path| {
        folders.extend(path.ancestors().skip(1).map(Path::to_owned));
        old(&local.root.join(path))
    };
    index
        && tree.entries.iter().all(|entry| file(&entry.path))
        && folders.iter().all(|folder| old(&local.root.join(folder)))
}
