//! `hooks install`: git's own pre-commit hook, without a framework around it.
//!
//! A hook that is there already is kept beside ours and run first; what it refuses is refused.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;
use crate::exit::Exit;
use crate::world::{Invocation, World, files};

/// The hook; it says itself where the kept one is.
const HOOK: &str = include_str!("pre_commit.sh");
/// How ours is told from any other.
const MARK: &str = "Written by nixdeploy hooks install";
const KEPT: &str = "pre-commit.before-nixdeploy";

/// Installs the hook of the repository around the current folder.
///
/// # Errors
/// When there is no repository, or a hook cannot be written or kept.
pub(super) async fn install(world: &World) -> Result<Exit, Error> {
    let words = ["rev-parse", "--git-path", "hooks"];
    let asked = Invocation::new("git", words)
        .within(&world.environment.folder)
        .timeout(Duration::from_secs(10));
    let told = world
        .run(asked)
        .await
        .map_err(|e| Error::usage("git cannot be started").because(e).hint("install git"))?;
    let Some(folder) = told.out.first().filter(|_| told.ended.ok()) else {
        return Err(Error::usage("this is no git repository").hint("git init"));
    };
    let folder = world.environment.folder.join(PathBuf::from(folder));
    let hook = folder.join("pre-commit");
    let cannot =
        |e: std::io::Error| Error::usage(format!("cannot write {}", hook.display())).because(e);
    std::fs::create_dir_all(&folder).map_err(cannot)?;
    let there = std::fs::symlink_metadata(&hook).is_ok();
    let ours = files::read_text(&hook, 1 << 20).is_ok_and(|text| text.contains(MARK));
    let kept = folder.join(KEPT);
    if there && !ours {
        if std::fs::symlink_metadata(&kept).is_ok() {
            let error = Error::usage(format!("{} is there already", kept.display()));
            return Err(error.hint("look at both hooks and delete one of them"));
        }
        std::fs::rename(&hook, &kept).map_err(cannot)?;
    }
    files::replace(&hook, HOOK.as_bytes()).map_err(cannot)?;
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&hook, executable).map_err(cannot)?;
    let note = if std::fs::symlink_metadata(&kept).is_ok() {
        format!("\nkept, and run first: {}", kept.display())
    } else {
        String::new()
    };
    super::report::show(&format!("installed: {}{note}\n", hook.display()))?;
    Ok(Exit::Done)
}
