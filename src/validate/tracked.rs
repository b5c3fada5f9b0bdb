//! Which files a tree has: what git tracks, as Nix sees it in a flake.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::world::{Invocation, World};

/// Why it cannot be told what is tracked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Untold {
    /// There is no git, or the folder belongs to no repository.
    NoRepository,
    /// Git's own last word.
    Failed(String),
}

/// The tracked `.nix` files below a folder, counted from it, in git's order.
///
/// # Errors
/// When git is missing or refuses.
pub async fn nix_files(world: &World, folder: &Path) -> Result<Vec<PathBuf>, Untold> {
    let listed = match world.run(list(folder)).await {
        Ok(listed) => listed,
        Err(error) if error.missing => return Err(Untold::NoRepository),
        Err(error) => return Err(Untold::Failed(error.to_string())),
    };
    let cause = listed.err_tail(1);
    match listed.ended.ok() {
        true => {}
        false if listed.err.iter().any(|l| l.contains("not a git repository")) => {
            return Err(Untold::NoRepository);
        }
        false => return Err(Untold::Failed(format!("{}: {cause}", listed.ended))),
    }
    let mut paths: Vec<PathBuf> = listed.out.iter().map(|line| unquote(line)).collect();
    paths.dedup(); // a file in conflict is listed once for each side
    Ok(paths)
}

/// The `.nix` files that lie below a folder, counted from it, by name; hidden folders and links
/// are passed over, so neither `.git` nor a build's `result` is walked into.
pub fn lying_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        for entry in std::fs::read_dir(folder.join(&below)).into_iter().flatten().flatten() {
            let path = below.join(entry.file_name());
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !hidden => folders.push(path),
                Ok(kind) if kind.is_file() && path.extension().is_some_and(|e| e == "nix") => {
                    files.push(path);
                }
                _ => {}
            }
        }
    }
    files.sort();
    files
}

/// One name a line: with `-z` the whole list would be a single line, and lines are cut at a
/// mebibyte. Names that do not fit a line come quoted.
fn list(folder: &Path) -> Invocation {
    let settings = ["-c", "core.quotePath=true", "-c", "core.fsmonitor=false"];
    let words = ["ls-files", "--cached", "--", "*.nix"];
    Invocation::new("git", settings.into_iter().chain(words))
        .within(folder)
        .timeout(Duration::from_secs(60))
}

/// Undoes git's quoting: C escapes, and octal for every byte that is no ASCII.
pub fn unquote(line: &str) -> PathBuf {
    let Some(inner) = line.strip_prefix('"').and_then(|l| l.strip_suffix('"')) else {
        return PathBuf::from(line);
    };
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'\\' { escaped(&mut rest) } else { byte });
    }
    PathBuf::from(OsString::from_vec(bytes))
}

fn escaped(rest: &mut impl Iterator<Item = u8>) -> u8 {
    match rest.next() {
        Some(b'a') => 7,
        Some(b'b') => 8,
        Some(b't') => b'\t',
        Some(b'n') => b'\n',
        Some(b'v') => 11,
        Some(b'f') => 12,
        Some(b'r') => b'\r',
        Some(digit @ b'0'..=b'3') => {
            let low = rest.take(2).fold(0u8, |n, d| (n << 3) | (d & 7));
            ((digit & 7) << 6) | low
        }
        Some(other) => other,
        None => b'\\',
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::unquote;

    #[test]
    fn names_survive_gits_quoting() {
        assert_eq!(unquote("a b.nix").as_os_str(), "a b.nix");
        assert_eq!(unquote(r#""a\"b\\c\n\t.nix""#).as_os_str(), "a\"b\\c\n\t.nix");
        assert_eq!(unquote(r#""\303\244.nix""#).as_os_str(), "ä.nix");
        assert_eq!(unquote(r#""\377.nix""#).as_os_str().as_bytes(), b"\xff.nix");
        let _ = unquote("\"\\");
        let _ = unquote("\"\\3\"");
    }
}
