//! `hooks install`: git's own pre-commit hook, without a framework around it.
//!
//! A hook that is there already is kept beside ours and run first; what it refuses is refused.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Error;
use crate::event::harmless;
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
/// When there is no repository, or a hook cannot be written or kept: one that is a folder, or a
/// link to nothing, would be run by nobody.
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
    let there = stands(&hook)?;
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
    let shared = match elsewhere(world, &folder).await {
        true => "\ncore.hooksPath leads there: every repository that uses it runs this hook",
        false => "",
    };
    super::report::show(&format!("installed: {}{note}{shared}\n", hook.display()))?;
    Ok(Exit::Done)
}

/// Whether a hook stands there, which git can run.
fn stands(hook: &Path) -> Result<bool, Error> {
    let Ok(meta) = std::fs::symlink_metadata(hook) else { return Ok(false) };
    let what = match std::fs::metadata(hook) {
        Ok(meta) if meta.is_file() => return Ok(true),
        Ok(meta) if meta.is_dir() => "a folder",
        Ok(_) => "no regular file",
        Err(_) if meta.is_symlink() => "a link to nothing",
        Err(_) => "nothing that can be looked at",
    };
    let place = harmless::line(&hook.display().to_string());
    Err(Error::usage(format!("no hook was installed: {place} is {what}"))
        .hint(format!("look at it, and take it away: ls -ld {place}")))
}

/// Whether hooks lie outside of the repository, and so are not its own alone.
async fn elsewhere(world: &World, folder: &Path) -> bool {
    let words = ["rev-parse", "--show-toplevel", "--git-common-dir"];
    let asked = Invocation::new("git", words)
        .within(&world.environment.folder)
        .timeout(Duration::from_secs(10));
    let Some(told) = world.run(asked).await.ok().filter(|told| told.ended.ok()) else {
        return false;
    };
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = real(folder);
    let own = told.out.iter().map(|own| real(&world.environment.folder.join(own)));
    !own.into_iter().any(|own| folder.starts_with(own))
}
