//! Space in a store that is full: what no root keeps is deleted, as much as is needed.
//!
//! Never more than that: generations are roots (`/nix/var/nix/profiles`), and so are the closures
//! of a transaction and those that were built to be deployed, so nothing that one could go back to
//! is touched. What goes is what a build or a copy makes anew.

use std::time::Duration;

use crate::world::ssh::{Link, Target};
use crate::world::{Invocation, World};

const SCRIPT: &str = include_str!("collect.sh");
/// A store of a million paths takes minutes to walk.
const LIMIT: Duration = Duration::from_secs(1800);

/// What a collection came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freed {
    /// In Nix's own words: `12 store paths deleted, 61.05 MiB freed`.
    pub said: String,
    /// Bytes that are free on the store's file system now.
    pub free_bytes: u64,
}

/// Collects here, or on a host with its tools at `path`; `None`: it could not be done.
pub async fn collect(world: &World, there: Option<(&Target, &str)>, bytes: u64) -> Option<Freed> {
    let bytes = bytes.to_string();
    let invocation = match there {
        Some((target, path)) => target.script(Link::Shared, SCRIPT, &[path, &bytes]),
        None => Invocation::new("/bin/sh", ["-s", "--", "", &bytes]).stdin(SCRIPT),
    };
    let output = world.run(invocation.timeout(LIMIT)).await.ok()?;
    read(&output.out)
}

fn read(lines: &[String]) -> Option<Freed> {
    let value = |key: &str| lines.iter().find_map(|l| l.strip_prefix(key));
    if lines.first().map(String::as_str) != Some("nixdeploy-collect=1") || value("end=").is_none() {
        return None;
    }
    let said = crate::event::harmless::line(value("said=")?);
    let free_kib: u64 = value("free_kib=")?.parse().ok()?;
    Some(Freed { said, free_bytes: free_kib.saturating_mul(1024) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_breaks_off_is_none() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let whole = "nixdeploy-collect=1\nsaid=2 store paths deleted, 1.00 MiB freed\n\
                     free_kib=2048\nend=0";
        let freed = read(&lines(whole)).expect("an answer");
        assert_eq!(freed.said, "2 store paths deleted, 1.00 MiB freed");
        assert_eq!(freed.free_bytes, 2 << 20);
        for cut in ["\nend=0", "\nfree_kib=2048", "nixdeploy-collect=1\n"] {
            assert_eq!(read(&lines(&whole.replace(cut, ""))), None, "{cut}");
        }
    }
}
