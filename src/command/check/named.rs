//! Files and folders that are named to `check`: what is meant is found, or it is said why not.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::event::harmless;
use crate::fleet::hosts_toml::nearest;

/// What is meant by paths that were typed in a folder. A link inside of a tree is passed over;
/// one that was named leads to what it names.
///
/// # Errors
/// When something is not there, or is neither a file nor a folder.
pub(super) fn meant(folder: &Path, paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    paths.iter().map(|path| one(folder, path)).collect()
}

fn one(folder: &Path, path: &Path) -> Result<PathBuf, Error> {
    let shown = harmless::line(&path.display().to_string());
    let full = folder.join(path);
    let cannot =
        |e: std::io::Error| missing(Error::usage(format!("cannot check {shown}: {e}")), &full);
    let link = std::fs::symlink_metadata(&full).map_err(cannot)?.is_symlink();
    let meta = std::fs::metadata(&full).map_err(|e| {
        let where_to = std::fs::read_link(&full).unwrap_or_default();
        let where_to = harmless::line(&where_to.display().to_string());
        Error::usage(format!("cannot check {shown}: it is a link to {where_to}: {e}"))
            .hint("name the file itself")
    })?;
    if !meta.is_file() && !meta.is_dir() {
        return Err(Error::usage(format!(
            "cannot check {shown}: it is neither a file nor a folder"
        ))
        .hint("write it into a file: nixdeploy check FILE"));
    }
    if !link {
        return Ok(path.to_owned());
    }
    let real = full.canonicalize().map_err(cannot)?;
    let top = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let below = real.strip_prefix(&top).ok().filter(|below| !below.as_os_str().is_empty());
    Ok(below.map_or(real.clone(), Path::to_path_buf))
}

/// With the name beside it that was probably meant.
fn missing(told: Error, full: &Path) -> Error {
    let beside = full.parent().and_then(|above| std::fs::read_dir(above).ok());
    let names =
        beside.into_iter().flatten().flatten().filter_map(|f| f.file_name().into_string().ok());
    let names: Vec<String> = names.take(10_000).collect();
    let typed = full.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    match nearest(&typed, names.iter().map(String::as_str)) {
        Some(near) => told.hint(format!("did you mean {}?", harmless::line(near))),
        None => told.hint("everything below this folder: nixdeploy check"),
    }
}
