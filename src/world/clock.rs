//! Now and later; paused by tests through tokio's own clock.

use std::time::Duration;

use tokio::time::Instant;

use crate::event::stream::Stopwatch;

/// The time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// Starts to count.
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// The moment so much later, as others want it.
    pub fn deadline(after: Duration) -> std::time::Instant {
        (Instant::now() + after).into_std()
    }

    /// Waits.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Time since the start, never going back.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Stopwatch for Clock {
    #[expect(clippy::disallowed_methods, reason = "the one door to the wall clock")]
    fn epoch_ms(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
