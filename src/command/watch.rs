//! `watch [HOST...]`: what is saved is checked, and, when that is asked for, built for the hosts.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::check::{self, Check};
use super::deploy::{self, Typed};
use super::{check_form, inventory, notify};
use crate::cli::{Cli, Command, Selection, WatchArgs};
use crate::error::Error;
use crate::event::harmless;
use crate::exit::Exit;
use crate::report::door;
use crate::report::look::count;
use crate::validate::tracked::unquote;
use crate::world::signals::Signals;
use crate::world::watching::{Seen, Watching};
use crate::world::{Environment, Invocation, World, files};

/// A save is over when nothing was heard for so long: editors write several files for one.
const QUIET: Duration = Duration::from_millis(120);
/// A tree that never rests is looked at all the same.
const LONGEST: Duration = Duration::from_secs(2);
/// Git lists a tree of forty thousand files in far less.
const GIT: Duration = Duration::from_secs(60);
/// Changed files that are named.
const NAMED: usize = 4;

/// Watches until it is stopped, or with `--once` until one save was looked at.
///
/// # Errors
/// When the folder is in no git repository or goes, hosts mean nothing, or the kernel allows no
/// watching.
pub(super) async fn run(world: &World, cli: &Cli, args: &WatchArgs) -> Result<Exit, Error> {
    let mut signals = Signals::listen()
        .map_err(|e| Error::new(Exit::Internal, "cannot listen to signals").because(e))?;
    if args.test || !args.hosts.is_empty() {
        // A name that means nothing is told now, and not after the first save.
        let fleet = inventory::load(&world.environment, &cli.global)?;
        inventory::hosts(&fleet, &args.hosts, &[], None)?;
    }
    let root = root(world).await?;
    let mut tree = Tree::begin(world, root).await?;
    if !args.once {
        let _ = look(world, cli, Vec::new()).await?;
    }
    let folders = count(tree.watching.folders(), "folder", "folders");
    let shown = harmless::line(&tree.root.display().to_string());
    door::err(&format!("watching {folders} of {shown}; Ctrl-C ends it\n"));
    loop {
        let saved = tokio::select! {
            saved = tree.saved(world) => saved?,
            _ = signals.next() => return Ok(Exit::Interrupted),
        };
        if saved.is_empty() {
            continue;
        }
        let exit = tokio::select! {
            exit = save(world, cli, args, &saved) => exit?,
            // A build hears the signal itself, and comes to a truthful end.
            _ = signals.next(), if !args.builds() => return Ok(Exit::Interrupted),
        };
        if args.once || exit == Exit::Interrupted {
            return Ok(exit);
        }
    }
}

/// The top of the repository that the current folder is in.
async fn root(world: &World) -> Result<PathBuf, Error> {
    let asked = Invocation::new("git", ["rev-parse", "--show-toplevel"]);
    let asked = asked.within(&world.environment.folder).timeout(GIT);
    let said = world.run(asked).await.ok().filter(|said| said.ended.ok());
    let root = said.and_then(|said| said.out.first().map(PathBuf::from));
    root.ok_or_else(|| {
        Error::usage("the current folder is in no git repository")
            .hint("cd into the flake: nixdeploy watch")
    })
}

/// What one save leads to: the check of what was saved, then the builds that were asked for.
async fn save(
    world: &World,
    cli: &Cli,
    args: &WatchArgs,
    saved: &[PathBuf],
) -> Result<Exit, Error> {
    let (there, gone): (Vec<&PathBuf>, Vec<&PathBuf>) =
        saved.iter().partition(|file| file.symlink_metadata().is_ok());
    for (what, files) in [("saved", there), ("removed", gone)] {
        if !files.is_empty() {
            door::err(&format!("{what}: {}\n", named(&files, &world.environment.folder)));
        }
    }
    let nix = saved.iter().filter(|p| p.extension().is_some_and(|e| e == "nix") && p.is_file());
    let nix: Vec<PathBuf> = nix.cloned().collect();
    let inventory = saved.iter().any(|p| p.file_name().is_some_and(|n| n == "hosts.toml"));
    if inventory && let Err(error) = inventory::if_there(&world.environment, &cli.global) {
        return ended(world, cli, complained(&error)).await;
    }
    let mut exit = Exit::Done;
    if !nix.is_empty() {
        exit = look(world, cli, nix).await?;
    }
    if exit != Exit::Done || !args.builds() {
        return ended(world, cli, exit).await;
    }
    match build(world, cli, args).await {
        Ok(exit) => Ok(exit),
        Err(error) => ended(world, cli, complained(&error)).await,
    }
}

fn complained(error: &Error) -> Exit {
    crate::report::complain(error);
    error.exit
}

/// What a person who does not look is told; a build has done that itself.
async fn ended(world: &World, cli: &Cli, exit: Exit) -> Result<Exit, Error> {
    if let Ok(Some(fleet)) = inventory::if_there(&world.environment, &cli.global) {
        notify::checked(world, &fleet, exit).await;
    }
    Ok(exit)
}

/// Checks these files, or with none the whole tree.
async fn look(world: &World, cli: &Cli, paths: Vec<PathBuf>) -> Result<Exit, Error> {
    let fleet = inventory::if_there(&world.environment, &cli.global).ok().flatten();
    let settings = fleet.map(|fleet| fleet.checks).unwrap_or_default();
    let (form, colour) = check_form(world, cli);
    let check = Check { paths, form, colour, ..Check::default() };
    match check::run(world, &check, &settings).await {
        Ok(answer) => super::report::show_with(|out| answer.write(out)).map(|()| answer.exit),
        Err(error) => Ok(complained(&error)),
    }
}

/// A run like any other, of `test-host` or `quick-test`: kept, and reported as if it was typed.
async fn build(world: &World, cli: &Cli, args: &WatchArgs) -> Result<Exit, Error> {
    let selection = Selection { hosts: args.hosts.clone(), exclude: Vec::new() };
    let command = match args.hosts.is_empty() {
        true => Command::QuickTest(crate::cli::BuildEveryArgs::default()),
        false => Command::TestHost(crate::cli::BuildArgs { selection, flags: Default::default() }),
    };
    let name = if args.hosts.is_empty() { "quick-test" } else { "test-host" };
    // `retry` repeats what the run says was typed.
    let arguments = std::iter::once(name.to_owned()).chain(args.hosts.clone()).collect();
    let environment = Environment { arguments, ..(*world.environment).clone() };
    let world = World { environment: Arc::new(environment), ..world.clone() };
    let typed = Typed { global: &cli.global, bare: None };
    match deploy::wanted(&command) {
        Some(wanted) => deploy::run(&world, &typed, &wanted).await,
        None => Ok(Exit::Done),
    }
}

/// With their folders, as they are seen from where it was started.
fn named(saved: &[&PathBuf], from: &Path) -> String {
    let name = |path: &&PathBuf| {
        harmless::line(&path.strip_prefix(from).unwrap_or(path).to_string_lossy())
    };
    let mut text = saved.iter().take(NAMED).map(name).collect::<Vec<_>>().join(", ");
    if saved.len() > NAMED {
        text.push_str(&format!(" and {} more", saved.len() - NAMED));
    }
    text
}

/// The files of a repository as they were when they were looked at last.
struct Tree {
    root: PathBuf,
    watching: Watching,
    known: HashMap<PathBuf, Option<blake3::Hash>>,
}

impl Tree {
    async fn begin(world: &World, root: PathBuf) -> Result<Self, Error> {
        let unwatched = |error: std::io::Error| {
            Error::usage(format!("cannot watch {}", root.display()))
                .because(error)
                .hint("allow more: sysctl fs.inotify.max_user_watches=524288")
        };
        let mut watching = Watching::new().map_err(unwatched)?;
        let files = listed(world, &root, &[]).await;
        let mut folders = BTreeSet::from([root.clone()]);
        for file in &files {
            let above = file.ancestors().skip(1).take_while(|f| f.starts_with(&root));
            folders.extend(above.map(Path::to_owned));
        }
        for folder in &folders {
            watching.add(folder).map_err(unwatched)?;
        }
        let known = files.into_iter().map(|file| (file.clone(), hash(&file))).collect();
        Ok(Self { root, watching, known })
    }

    /// The files of one save whose content is another than before; empty: none is.
    async fn saved(&mut self, world: &World) -> Result<Vec<PathBuf>, Error> {
        let lost = |e| Error::new(Exit::Internal, "cannot watch any longer").because(e);
        let mut seen = vec![self.watching.next().await.map_err(lost)?];
        let begun = world.clock.elapsed();
        while world.clock.elapsed() - begun < LONGEST {
            tokio::select! {
                more = self.watching.next() => seen.push(more.map_err(lost)?),
                () = world.clock.sleep(QUIET) => break,
            }
        }
        let (mut files, mut all) = (BTreeSet::new(), false);
        for seen in seen {
            match seen {
                Seen::File(file) => drop(files.insert(file)),
                Seen::Gone(folder) if folder == self.root => return Err(gone(&folder)),
                Seen::Gone(_) => {}
                Seen::Folder(folder) if hidden(&folder) => {}
                Seen::Folder(folder) => {
                    self.watching.add(&folder).map_err(lost)?;
                    // What was put into it before it was watched.
                    let within = listed(world, &self.root, std::slice::from_ref(&folder)).await;
                    for below in within.iter().flat_map(|file| file.ancestors().skip(1)) {
                        if below.starts_with(&folder) {
                            self.watching.add(below).map_err(lost)?;
                        }
                    }
                    files.extend(within);
                }
                Seen::Lost => all = true,
            }
        }
        // A folder above it may have gone, of which nothing is told.
        if !self.root.is_dir() {
            return Err(gone(&self.root));
        }
        if all {
            files.extend(listed(world, &self.root, &[]).await);
        }
        Ok(self.changed(world, files.into_iter().collect()).await)
    }

    async fn changed(&mut self, world: &World, mut files: Vec<PathBuf>) -> Vec<PathBuf> {
        files.retain(|file| !file.starts_with(self.root.join(".git")));
        let strange: Vec<PathBuf> =
            files.iter().filter(|f| !self.known.contains_key(*f)).cloned().collect();
        if !strange.is_empty() {
            // Git says whether it is a file of the tree, or what an editor leaves beside one.
            let ours = listed(world, &self.root, &strange).await;
            files.retain(|f| self.known.contains_key(f) || ours.contains(f));
        }
        files.retain(|file| {
            let now = hash(file);
            self.known.insert(file.clone(), now) != Some(now)
        });
        files
    }
}

/// What lies under the name now, if anything does, is another folder.
fn gone(root: &Path) -> Error {
    let shown = harmless::line(&root.display().to_string());
    Error::usage(format!("{shown} was removed or replaced: there is nothing left to watch"))
        .hint("cd into the flake: nixdeploy watch")
}

fn hidden(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// `None`: it is gone, or no file.
fn hash(file: &Path) -> Option<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut files::open(file).ok()?, &mut hasher).ok()?;
    Some(hasher.finalize())
}

/// Files that git tracks, and those that it would: of the whole tree, or of these.
async fn listed(world: &World, root: &Path, only: &[PathBuf]) -> Vec<PathBuf> {
    let settings =
        ["-c", "core.quotePath=true", "-c", "core.fsmonitor=false", "--literal-pathspecs"];
    let words = ["ls-files", "--cached", "--others", "--exclude-standard", "--"];
    let words = settings.into_iter().chain(words).map(str::to_owned);
    let only = only.iter().map(|p| p.to_string_lossy().into_owned());
    let asked = Invocation::new("git", words.chain(only)).within(root).timeout(GIT);
    let said = world.run(asked).await;
    let said = said.ok().filter(|said| said.ended.ok());
    let lines = said.map(|said| said.out).unwrap_or_default();
    let files = lines.iter().map(|line| root.join(unquote(line)));
    // An editor's own: `file~`, `#file#`, `.file.swp`, vim's `4913`.
    let own = |name: &str| {
        name.ends_with('~')
            || name.starts_with(['#', '.']) && !name.starts_with(".git")
            || name.bytes().all(|b| b.is_ascii_digit())
    };
    files.filter(|f| f.file_name().is_some_and(|n| !own(&n.to_string_lossy()))).collect()
}
