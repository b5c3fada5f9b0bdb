//! What a closure is made of: its paths with their sizes, and the small files of a toplevel that
//! admission compares.
//!
//! `nix path-info --recursive --size` prints a line for each path and looks alike in all
//! versions; its JSON has changed its shape three times and is one line of megabytes, which
//! `world` would cut.

use std::path::{Path, PathBuf};

use super::nix;
use crate::event::harmless;
use crate::fleet::StorePath;
use crate::world::ssh::{Link, Target};
use crate::world::{Invocation, StartError, World, files};

/// Asks a host for a closure.
const SCRIPT: &str = include_str!("closure.sh");
/// Largest of the small files.
const SMALL: u64 = 1 << 20;
/// Longest answer of a store.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// One store path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathInfo {
    /// Which.
    pub path: StorePath,
    /// Bytes of its archive: near what it takes on disk.
    pub nar_size: u64,
}

/// Why a closure could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClosureError {
    /// Nix could not be started.
    #[error("{0}")]
    NoNix(#[from] StartError),
    /// The store does not have it, or does not say.
    #[error("cannot read the closure of {0}: {1}")]
    Unknown(StorePath, String),
}

/// The closure of a path of the local store; one program, about 15 ms.
///
/// # Errors
/// When it is not in the local store.
pub async fn closure(world: &World, top: &StorePath) -> Result<Vec<PathInfo>, ClosureError> {
    let args = ["path-info", "--recursive", "--size", top.as_str()];
    let output = world.run(nix(args).timeout(PATIENCE)).await?;
    let paths: Vec<PathInfo> = output.out.iter().filter_map(|l| path_info(l)).collect();
    complete(top, paths, output.ended.ok(), &output.err)
}

/// The closure of what a host runs: from the local store where that has it, else from the host,
/// in one round trip. `path` is `PATH` there.
///
/// # Errors
/// When neither store can tell.
pub async fn closure_of(
    world: &World,
    target: &Target,
    path: &str,
    top: &StorePath,
) -> Result<Vec<PathInfo>, ClosureError> {
    if Path::new(top.as_str()).exists()
        && let Ok(paths) = closure(world, top).await
    {
        return Ok(paths);
    }
    let output = world.run(remote_closure(target, path, top)).await?;
    let (paths, whole) = parse(&output.out);
    complete(top, paths, whole, &output.err)
}

/// Asks a host for a closure of its store.
pub fn remote_closure(target: &Target, path: &str, top: &StorePath) -> Invocation {
    target.script(Link::Shared, SCRIPT, &[path, top.as_str()]).timeout(PATIENCE)
}

/// Reads the answer of [`remote_closure`]: what it lists, and whether it came to its end.
pub fn parse(lines: &[String]) -> (Vec<PathInfo>, bool) {
    let ours = lines.first().map(String::as_str) == Some("nixdeploy-closure=1");
    let whole = ours && lines.last().map(String::as_str) == Some("end=0");
    let listed = lines.iter().filter_map(|l| l.strip_prefix("path=")).filter(|_| ours);
    (listed.filter_map(path_info).collect(), whole)
}

fn complete(
    top: &StorePath,
    paths: Vec<PathInfo>,
    whole: bool,
    err: &[String],
) -> Result<Vec<PathInfo>, ClosureError> {
    if whole && paths.iter().any(|p| p.path == *top) {
        return Ok(paths);
    }
    let why = err.iter().rev().find(|l| !l.trim().is_empty());
    let why = why.map_or_else(|| "no whole answer".to_owned(), |l| harmless::line(l));
    Err(ClosureError::Unknown(top.clone(), why))
}

/// `PATH   SIZE`.
fn path_info(line: &str) -> Option<PathInfo> {
    let mut words = line.split_whitespace();
    let (path, size) = (words.next()?, words.next()?);
    Some(PathInfo { path: StorePath::new(path).ok()?, nar_size: size.parse().ok()? })
}

/// What a toplevel of the local store says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Toplevel {
    /// Its kernel.
    pub kernel: Option<BootFile>,
    /// Its initrd.
    pub initrd: Option<BootFile>,
    /// Where `kernel-modules` leads.
    pub kernel_modules: Option<PathBuf>,
    /// `kernel-params`, without the end of the line.
    pub kernel_params: Option<String>,
    /// `init-interface-version`.
    pub init_interface_version: Option<String>,
    /// `nixos-version`.
    pub nixos_version: Option<String>,
    /// `switch-inhibitors`, as written (JSON); `None`: it has none.
    pub inhibitors: Option<String>,
}

/// A file that a boot loader copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFile {
    /// Where it is, links resolved; loaders name their copy after this.
    pub path: PathBuf,
    /// Its bytes.
    pub size: u64,
}

/// Reads what is there; what is missing or too large is `None`.
pub fn toplevel(top: &StorePath) -> Toplevel {
    toplevel_at(Path::new(top.as_str()))
}

fn toplevel_at(folder: &Path) -> Toplevel {
    let text = |name: &str| {
        let text = files::read_text(&folder.join(name), SMALL).ok()?;
        Some(text.trim_end_matches('\n').to_owned())
    };
    Toplevel {
        kernel: boot_file(&folder.join("kernel")),
        initrd: boot_file(&folder.join("initrd")),
        kernel_modules: folder.join("kernel-modules").canonicalize().ok(),
        kernel_params: text("kernel-params"),
        init_interface_version: text("init-interface-version"),
        nixos_version: text("nixos-version"),
        inhibitors: text("switch-inhibitors"),
    }
}

fn boot_file(link: &Path) -> Option<BootFile> {
    let path = link.canonicalize().ok()?;
    let size = path.metadata().ok()?.len();
    Some(BootFile { path, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: &str = include_str!("../../tests/fixtures/nix/closure.txt");

    #[test]
    fn a_closure_is_read_line_by_line() {
        let paths: Vec<PathInfo> = RECORDED.lines().filter_map(path_info).collect();
        assert_eq!(paths.len(), 34);
        assert!(paths.iter().map(|p| p.nar_size).sum::<u64>() > 8 << 20);
    }

    #[test]
    fn a_host_s_answer_counts_only_when_it_is_whole() {
        let body: Vec<String> = RECORDED.lines().map(|l| format!("path={l}")).collect();
        let answer = |first: &str, last: &str| {
            let mut lines = vec![first.to_owned()];
            lines.extend(body.clone());
            lines.push(last.to_owned());
            parse(&lines)
        };
        assert_eq!(answer("nixdeploy-closure=1", "end=0").0.len(), 34);
        assert!(answer("nixdeploy-closure=1", "end=0").1);
        assert!(!answer("nixdeploy-closure=1", "end=1").1);
        assert!(!answer("nixdeploy-closure=1", "path=/nix/store/x 1").1);
        assert_eq!(answer("nixdeploy-closure=2", "end=0"), (Vec::new(), false));
        let hostile = ["nixdeploy-closure=1", "path=/etc/passwd 1", "path=", "path=x", "end=0"];
        assert_eq!(parse(&hostile.map(str::to_owned)), (Vec::new(), true));
    }

    #[test]
    fn a_toplevel_is_read_as_far_as_it_goes() {
        let folder = tempfile::tempdir().expect("folder");
        assert_eq!(toplevel_at(folder.path()), Toplevel::default());
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("bzImage"), [0; 10]).expect("written");
        std::os::unix::fs::symlink("bzImage", at("kernel")).expect("linked");
        std::fs::write(at("kernel-params"), "quiet loglevel=4\n").expect("written");
        let read = toplevel_at(folder.path());
        assert_eq!(read.kernel.map(|k| k.size), Some(10));
        assert_eq!(read.kernel_params.as_deref(), Some("quiet loglevel=4"));
        assert_eq!(read.inhibitors, None);
    }
}
