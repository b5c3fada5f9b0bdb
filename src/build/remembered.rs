//! The closure last deployed to a host, kept here: what the next deploy is compared with, without
//! asking Nix or the host again. A file that is for another toplevel counts as none.

use std::io;
use std::path::{Path, PathBuf};

use super::closure::PathInfo;
use crate::fleet::{HostName, StorePath};
use crate::world::files;

/// A closure of a hundred thousand paths is some ten megabytes.
const LIMIT: u64 = 32 << 20;

fn file(state: &Path, host: &HostName) -> PathBuf {
    state.join("hosts").join(format!("{host}.closure"))
}

/// Keeps the closure of what a host runs from now on.
///
/// # Errors
/// Whatever the system says; nothing depends on it.
pub fn keep(state: &Path, host: &HostName, top: &StorePath, paths: &[PathInfo]) -> io::Result<()> {
    let file = file(state, host);
    files::private_folder(file.parent().unwrap_or(state))?;
    let mut text = format!("{top}\n");
    for path in paths {
        text.push_str(&format!("{} {}\n", path.path, path.nar_size));
    }
    files::put(&file, text.as_bytes())
}

/// The closure of what a host runs, if it is the one that was kept.
pub fn recall(state: &Path, host: &HostName, top: &StorePath) -> Option<Vec<PathInfo>> {
    let text = files::read_text(&file(state, host), LIMIT).ok()?;
    let (first, rest) = text.split_once('\n')?;
    if first != top.as_str() {
        return None;
    }
    let line = |line: &str| {
        let (path, size) = line.split_once(' ')?;
        Some(PathInfo { path: StorePath::new(path).ok()?, nar_size: size.parse().ok()? })
    };
    let paths: Option<Vec<PathInfo>> = rest.lines().map(line).collect();
    paths.filter(|paths| paths.iter().any(|p| p.path == *top))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_closure_that_was_kept_is_recalled() {
        let state = tempfile::tempdir().expect("folder");
        let path = |n: &str| StorePath::new(format!("/nix/store/{}-{n}", "0".repeat(32)));
        let (top, other) = (path("system").expect("path"), path("other").expect("path"));
        let host = HostName::new("p620").expect("name");
        let paths = [PathInfo { path: top.clone(), nar_size: 7 }];
        assert_eq!(recall(state.path(), &host, &top), None);
        keep(state.path(), &host, &top, &paths).expect("kept");
        assert_eq!(recall(state.path(), &host, &top).as_deref(), Some(paths.as_slice()));
        assert_eq!(recall(state.path(), &host, &other), None);
    }
}
