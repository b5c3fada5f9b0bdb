//! Memory and processors of this machine, and how much memory a program takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Between the first two looks at a program; then twice as long, up to [`LATER`].
const FIRST: Duration = Duration::from_millis(5);
/// Between two looks at a program that has run for a while.
const LATER: Duration = Duration::from_millis(200);

/// MiB that programs may still take without swapping (`MemAvailable` of proc_meminfo(5)); `None`:
/// the system does not say.
pub fn available_mib() -> Option<u64> {
    kib(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:").map(|kib| kib >> 10)
}

/// Processors that we may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What a program weighed at its heaviest, as far as anybody looked.
#[derive(Debug, Clone, Default)]
pub struct Scale(Arc<AtomicU64>);

/// Two scales are never told apart: what a program weighs is no part of what it is told.
impl PartialEq for Scale {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Scale {}

impl Scale {
    /// MiB of its largest resident set; 0: it was over before anybody looked.
    pub fn mib(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Looks at a program until this is dropped (`VmHWM` of proc_pid_status(5)).
    pub(super) async fn watch(self, pid: u32) {
        let (file, mut pause) = (format!("/proc/{pid}/status"), FIRST);
        while let Ok(status) = std::fs::read_to_string(&file) {
            if let Some(kib) = kib(&status, "VmHWM:") {
                self.0.fetch_max(kib >> 10, Ordering::Relaxed);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LATER);
        }
    }
}

/// The figure behind a word at the beginning of a line, in KiB as the kernel gives it.
fn kib(text: &str, word: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(word))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_their_word() {
        let text = "MemTotal:       24000000 kB\nMemAvailable:    2097152 kB\n";
        assert_eq!(kib(text, "MemAvailable:"), Some(2_097_152));
        assert_eq!(kib(text, "VmHWM:"), None);
        assert!(available_mib().is_some_and(|mib| mib > 0) && cores() > 0);
    }

    #[tokio::test]
    async fn a_program_is_weighed_while_it_lives() {
        let scale = Scale::default();
        let watching = tokio::spawn(scale.clone().watch(std::process::id()));
        while scale.mib() == 0 {
            tokio::task::yield_now().await;
        }
        watching.abort();
        scale.clone().watch(u32::MAX).await; // nobody: it ends at once
    }
}
