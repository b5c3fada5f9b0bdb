//! Which disk is full, where Nix did not name the file that it could not write.

use std::path::{Path, PathBuf};

use super::failure::BuildError;
use crate::world::Environment;

/// With less a disk is as good as full, in bytes.
const LEAST: u64 = 16 << 20;

/// The same failure; of this machine's with the disk that is full, when the store's is not.
pub(super) fn located(error: BuildError, environment: &Environment) -> BuildError {
    let folders = [environment.cache.clone(), std::env::temp_dir()];
    among(error, &folders, |folder| {
        let told = rustix::fs::statvfs(folder).ok()?;
        Some(told.f_bavail.saturating_mul(told.f_frsize))
    })
}

/// `free`: bytes left for us on the disk of a folder.
fn among(
    error: BuildError,
    folders: &[PathBuf],
    free: impl Fn(&Path) -> Option<u64>,
) -> BuildError {
    let here = matches!(&error, BuildError::NoSpace { place } if place == "here");
    let has_room = |folder: &Path| free(folder).is_some_and(|bytes| bytes >= LEAST);
    if !here || !has_room(Path::new("/nix/store")) {
        return error;
    }
    // A folder that is yet to be made lies on the disk of the one around it.
    let nearest =
        |folder: &PathBuf| folder.ancestors().find_map(|f| Some((f.to_owned(), free(f)?)));
    let full = folders.iter().filter_map(nearest).find(|(_, bytes)| *bytes < LEAST);
    match full {
        Some((folder, _)) => BuildError::Full { folder: folder.display().to_string() },
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_disk_is_the_one_that_has_nothing_left() {
        let told = |full: &'static [&'static str], place: &str| {
            let error = BuildError::NoSpace { place: place.to_owned() };
            let there = ["/nix/store", "/home/a", "/tmp"];
            among(error, &["/home/a/.cache/x".into(), "/tmp".into()], |folder| {
                let known = there.iter().find(|f| folder == Path::new(f))?;
                Some(if full.contains(known) { 0 } else { 1 << 30 })
            })
        };
        let below = |folder: &str| BuildError::Full { folder: folder.to_owned() };
        let store = |place: &str| BuildError::NoSpace { place: place.to_owned() };
        assert_eq!(told(&["/home/a"], "here"), below("/home/a"));
        assert_eq!(told(&["/tmp"], "here"), below("/tmp"));
        assert_eq!(told(&["/nix/store", "/tmp"], "here"), store("here"));
        assert_eq!(told(&[], "here"), store("here"));
        assert_eq!(told(&["/tmp"], "on p620"), store("on p620"));
    }
}
