//! How fast the line to a host was when something was copied to it, kept between runs: a slow one
//! is worth compressing for, a fast one is not.
//!
//! ssh compresses with one processor, some tens of MiB a second, to about a third for what lies
//! in a store; so what pays is a line of less than [`SLOW`].

use serde::{Deserialize, Serialize};

use super::fingerprint::Digest;
use super::memory;
use crate::world::World;
use crate::world::ssh::Target;

/// Bytes a second of a line below which a copy is compressed: 100 Mbit.
const SLOW: u64 = 12_500_000;
/// What is compressed is about this many times as much.
const RATIO: u64 = 3;
/// A smaller copy says nothing of the line.
const LEAST: u64 = 1 << 20;

/// A line to a host.
pub struct Line<'a> {
    world: &'a World,
    name: String,
    known: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    bytes_s: u64,
}

impl<'a> Line<'a> {
    /// As it was when it was last used.
    pub fn to(world: &'a World, target: &Target) -> Self {
        let mut digest = Digest::new("line");
        digest.add(target.destination());
        for hop in &target.jumps {
            digest.add(hop.to_string());
        }
        let name = format!("line-{}", &digest.end()[..32]);
        let known = memory::read::<Kept>(world, &name).map(|kept| kept.bytes_s);
        Self { world, name, known }
    }

    /// Whether a copy should be compressed; then, the bytes a second that say so.
    pub fn slow(&self) -> Option<u64> {
        self.known.filter(|known| *known < SLOW)
    }

    /// Learns from a copy of so many bytes.
    pub fn learn(&self, bytes: u64, took_ms: u64, compressed: bool) {
        let Some(bytes_s) = speed(bytes, took_ms, compressed) else { return };
        let little = self.known.is_some_and(|known| bytes_s.abs_diff(known) < known / 10);
        if !little {
            memory::write(self.world, &self.name, &Kept { bytes_s });
        }
    }
}

fn speed(bytes: u64, took_ms: u64, compressed: bool) -> Option<u64> {
    let over = if compressed { bytes / RATIO } else { bytes };
    (bytes >= LEAST).then(|| over.saturating_mul(1000) / took_ms.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_as_fast_as_what_went_over_it() {
        assert_eq!(speed(LEAST - 1, 10, false), None);
        assert_eq!(speed(30_000_000, 1_000, false), Some(30_000_000));
        assert_eq!(speed(30_000_000, 1_000, true), Some(10_000_000));
        assert!(speed(u64::MAX, 0, false).is_some());
    }
}
