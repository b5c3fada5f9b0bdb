//! How many evaluations run at once: one per processor, as long as what they took before fits into
//! memory together.
//!
//! Each host is evaluated by a program of its own, which shares nothing with the others but Nix's
//! caches: on several processors that is faster than one program for all, an error stays with its
//! host, and one that the kernel kills for its memory takes no other with it. It is tried once more
//! while no other runs.

use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::FlakeRef;
use super::fingerprint::Digest;
use super::memory;
use super::relay::Ran;
use crate::fleet::AttrName;
use crate::world::memory::{Scale, available_mib, cores};
use crate::world::{Ended, World};

/// MiB that a host is taken to need which nobody has weighed yet: what large configurations need.
const UNKNOWN_MIB: u64 = 3072;
/// Of the memory that is free, this much is used: in percent.
const SHARE: u64 = 80;

/// Processors and memory for evaluations.
pub struct Workers {
    processors: Semaphore,
    memory: Semaphore,
    mib: u32,
}

/// A place to evaluate at.
pub struct Worker<'a> {
    _processor: SemaphorePermit<'a>,
    _memory: SemaphorePermit<'a>,
}

impl Workers {
    /// As many as fit onto this machine now.
    pub fn of_this_machine() -> Self {
        let free = available_mib().map_or(u64::from(u32::MAX >> 4), |mib| mib * SHARE / 100);
        Self::new(cores(), free)
    }

    fn new(processors: usize, mib: u64) -> Self {
        let mib = u32::try_from(mib.max(1)).unwrap_or(u32::MAX >> 4).min(u32::MAX >> 4);
        Self {
            processors: Semaphore::new(processors.max(1)),
            memory: Semaphore::new(mib as usize),
            mib,
        }
    }

    /// Waits for a place that is large enough; what needs more than there is has all of it.
    pub(super) async fn place(&self, mib: u64) -> Option<Worker<'_>> {
        let mib = u32::try_from(mib).unwrap_or(u32::MAX).clamp(1, self.mib);
        let memory = self.memory.acquire_many(mib).await.ok()?;
        let processor = self.processors.acquire().await.ok()?;
        Some(Worker { _processor: processor, _memory: memory })
    }

    /// Waits until no other runs.
    pub(super) async fn alone(&self) -> Option<Worker<'_>> {
        self.place(u64::from(self.mib)).await
    }
}

/// What the evaluation of a host weighed, kept between runs.
pub(super) struct Weight<'a> {
    world: &'a World,
    name: String,
    known: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    mib: u64,
}

impl<'a> Weight<'a> {
    /// As it is known by now.
    pub(super) fn of(world: &'a World, flake: &FlakeRef, attr: &AttrName) -> Self {
        let mut digest = Digest::new("weight");
        digest.add(flake.to_string()).add(attr.as_str());
        let name = format!("weight-{}", &digest.end()[..32]);
        let known = memory::read::<Kept>(world, &name).map(|kept| kept.mib);
        Self { world, name, known }
    }

    /// What to make room for.
    pub(super) fn mib(&self) -> u64 {
        self.known.map_or(UNKNOWN_MIB, |mib| mib + mib / 10)
    }

    /// Learns from an evaluation that nothing was spared of.
    pub(super) fn learn(&self, scale: &Scale) {
        let mib = learned(self.known, scale.mib());
        if let Some(mib) = mib.filter(|mib| Some(*mib) != self.known) {
            memory::write(self.world, &self.name, &Kept { mib });
        }
    }
}

/// What is known after it weighed so much: a lighter one is believed slowly, and what differs
/// little changes nothing.
fn learned(known: Option<u64>, now: u64) -> Option<u64> {
    match known {
        _ if now == 0 => known,
        None => Some(now),
        Some(known) if now > known + known / 20 => Some(now),
        Some(known) if now + now / 5 < known => Some(known - (known - now) / 4),
        Some(known) => Some(known),
    }
}

/// Whether it ended for want of memory: by the kernel's hand, or by its own.
pub(super) fn starved(ran: &Ran) -> bool {
    let words = ["out of memory", "Cannot allocate memory", "std::bad_alloc"];
    let said = |text: &str| words.iter().any(|w| text.contains(w));
    match ran.ended {
        Ended::Signalled(9) => true,
        Ended::Exited(0) | Ended::TimedOut | Ended::Silent | Ended::TooMuch | Ended::Killed => {
            false
        }
        Ended::Exited(_) | Ended::Signalled(_) => {
            ran.log.errors.iter().any(|e| said(&e.message))
                || ran.log.plain.back().is_some_and(|l| said(l))
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::build::output::Log;

    #[tokio::test]
    async fn what_fits_runs_at_once_and_what_does_not_waits() {
        let workers = Workers::new(3, 1000);
        let one = workers.place(400).await.expect("a place");
        let two = workers.place(400).await.expect("a place");
        let third = workers.place(400);
        let mut third = std::pin::pin!(third);
        assert!(third.as_mut().now_or_never().is_none(), "no memory is left");
        drop(one);
        drop(third.await);
        let alone = workers.alone();
        let mut alone = std::pin::pin!(alone);
        assert!(alone.as_mut().now_or_never().is_none(), "another runs");
        drop(two);
        drop(alone.await);
        // More than there is: it has all.
        assert!(workers.place(u64::MAX).await.is_some());
        let few = Workers::new(1, 1000);
        let _one = few.place(1).await;
        let mut two = std::pin::pin!(few.place(1));
        assert!(two.as_mut().now_or_never().is_none(), "no processor is left");
    }

    #[test]
    fn more_is_believed_at_once_and_less_slowly() {
        assert_eq!(learned(None, 800), Some(800));
        assert_eq!(learned(None, 0), None);
        assert_eq!(learned(Some(800), 0), Some(800));
        assert_eq!(learned(Some(800), 2000), Some(2000));
        assert_eq!(learned(Some(2000), 800), Some(1700));
        assert_eq!(learned(Some(800), 810), Some(800));
    }

    #[test]
    fn want_of_memory_is_told_by_its_end() {
        let ran = |ended, line: &str| {
            let mut log = Log::default();
            log.take(line);
            Ran { ended, out: Vec::new(), log }
        };
        assert!(starved(&ran(Ended::Signalled(9), "")));
        assert!(starved(&ran(Ended::Exited(1), "error: out of memory")));
        assert!(starved(&ran(Ended::Signalled(6), "terminate: std::bad_alloc")));
        assert!(!starved(&ran(Ended::Exited(1), "error: attribute 'x' missing")));
        assert!(!starved(&ran(Ended::Killed, "")));
    }
}
