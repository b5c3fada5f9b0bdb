//! What is usual for a host, told from its own past: medians, and what is slower than that.
//!
//! Times of a host are its phases added up: what it waited for other hosts, or for a person, says
//! nothing of it. Nothing is called slow before there is a past to hold it against.

use crate::event::PhaseResult;
use crate::event::state::HostState;

/// Fewer values than these are no past.
pub const ENOUGH: usize = 5;
/// Older values than these say nothing of today.
pub const LOOKED_AT: usize = 20;
/// Below this, in milliseconds, a difference is of no account.
const NOTHING_MS: u64 = 1000;

/// What was usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Usual {
    /// How many values that is told from.
    pub n: usize,
    /// Half of them took at most so many milliseconds.
    pub median_ms: u64,
    /// The longest of them, in milliseconds.
    pub longest_ms: u64,
}

impl Usual {
    /// Of the newest [`LOOKED_AT`] values, the last being the newest; `None`: too few.
    pub fn of(values_ms: &[u64]) -> Option<Self> {
        let newest = &values_ms[values_ms.len().saturating_sub(LOOKED_AT)..];
        let (median_ms, longest_ms) = (median(newest)?, newest.iter().copied().max()?);
        Some(Self { n: newest.len(), median_ms, longest_ms }).filter(|usual| usual.n >= ENOUGH)
    }

    /// Whether a value is slow: longer than all of them, by half more than the median, and by more
    /// than a second.
    pub fn slower(&self, ms: u64) -> bool {
        let half_more = self.median_ms.saturating_add(self.median_ms / 2);
        ms > self.longest_ms && ms > half_more && ms - self.median_ms > NOTHING_MS
    }
}

/// The value in the middle, or half-way between the two there; `None`: of nothing.
pub fn median(values: &[u64]) -> Option<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some(lower + (upper - lower) / 2)
}

/// Milliseconds that a host's phases took together.
pub fn worked_ms(host: &HostState) -> u64 {
    let done = host.ended.values().filter(|(r, ..)| !matches!(r, PhaseResult::Skipped { .. }));
    done.fold(0, |sum, (.., took)| sum.saturating_add(*took))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_few_runs_are_no_past_and_one_that_was_slow_before_is_no_news() {
        assert_eq!(Usual::of(&[10_000; ENOUGH - 1]), None);
        let usual = Usual::of(&[10_000, 11_000, 9_000, 10_500, 30_000]).expect("enough");
        assert_eq!((usual.n, usual.median_ms, usual.longest_ms), (5, 10_500, 30_000));
        assert!(!usual.slower(29_000), "it took longer once");
        assert!(usual.slower(31_000));
        let quick = Usual::of(&[200; 6]).expect("enough");
        assert!(!quick.slower(1100), "a second is nothing");
        let steady = Usual::of(&[40_000; 6]).expect("enough");
        assert!(!steady.slower(55_000) && steady.slower(61_000));
    }

    #[test]
    fn only_the_newest_count() {
        let mut values = vec![90_000; 30];
        values.extend([1000; LOOKED_AT]);
        assert_eq!(Usual::of(&values).map(|u| (u.n, u.longest_ms)), Some((LOOKED_AT, 1000)));
    }

    proptest! {
        #[test]
        fn half_of_all_are_on_either_side(values in prop::collection::vec(any::<u64>(), 1..40)) {
            let median = median(&values).expect("some");
            prop_assert!(values.iter().filter(|v| **v < median).count() * 2 <= values.len());
            prop_assert!(values.iter().filter(|v| **v > median).count() * 2 <= values.len());
            if let Some(usual) = Usual::of(&values) {
                prop_assert!(!usual.slower(usual.longest_ms) && !usual.slower(usual.median_ms));
            }
        }
    }
}
