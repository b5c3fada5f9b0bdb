//! `update preview HOST...`: what an update would bring, against what each host runs.
//!
//! Without `--build` nothing is built: names of derivations tell which packages move. With it the
//! candidate is built and compared as `diff` does.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

use super::asked::Which;
use super::flake::{Found, find};
use super::{Place, held, place};
use crate::build::closure::PathInfo;
use crate::build::{self, FlakeRef, Options, Workers, nix};
use crate::cli::{DeployFlags, Global, PreviewArgs};
use crate::command::issues::running;
use crate::command::launch::{self, Terms};
use crate::command::report::show;
use crate::command::{deploy, inventory};
use crate::error::Error;
use crate::event::harmless;
use crate::event::stream::{Emitter, channel};
use crate::exit::Exit;
use crate::fleet::{Fleet, Host, HostName, StorePath};
use crate::plan::Request;
use crate::report::coming::{self, HostPreview, Preview, SCHEMA};
use crate::report::{self, Format, choice, inputs};
use crate::update::candidate;
use crate::update::coming::{Roles, changes, run_by, sorted};
use crate::update::fetching::{self, Fetching};
use crate::world::signals::Signals;
use crate::world::{Invocation, World, files};

/// Hosts asked at once.
const AT_ONCE: usize = 32;
/// A store answers sooner.
const PATIENCE: Duration = Duration::from_secs(300);
/// Largest unit file.
const UNIT: u64 = 1 << 20;

/// Shows it.
///
/// # Errors
/// When there is no candidate, or standard output cannot be written.
pub(super) async fn run(world: &World, global: &Global, args: &PreviewArgs) -> Result<Exit, Error> {
    let mut signals = Signals::listen()
        .map_err(|e| Error::new(Exit::Internal, "cannot listen to signals").because(e))?;
    let Place { fleet, flake, keep } = place(world, global)?;
    let selection = &args.selection;
    let hosts = inventory::hosts(&fleet, &selection.hosts, &selection.exclude, None)?;
    let names: Vec<HostName> = hosts.iter().map(|h| h.name.clone()).collect();
    let keep = held(world, keep)?;
    let wanted = Which { except: args.except.clone(), ..Which::default() };
    let looked = async {
        let found = find(world, &fleet, &flake, &keep, &wanted).await?;
        let preview = match args.build || found.moves.is_empty() {
            true => Preview {
                inputs: found.moves.clone(),
                of: found.candidate.lock.count(),
                schema: SCHEMA,
                ..Preview::default()
            },
            false => look(world, global, &fleet, &hosts, (&flake.root, &found)).await,
        };
        Ok::<_, Error>((found, preview))
    };
    let (found, preview) = tokio::select! {
        looked = looked => looked?,
        _ = signals.next() => return Ok(Exit::Interrupted),
    };
    let changed = if args.detailed_exitcode { Exit::Changes } else { Exit::Done };
    let setting = launch::setting(global);
    let shape = choice::look(&setting, &world.environment);
    if found.moves.is_empty() && setting.format != Format::Json {
        report::err("the inputs are current already: nothing to update\n");
        return Ok(Exit::Done);
    }
    let unread = preview.hosts.values().any(|h| h.unread.is_some());
    if args.build && !found.moves.is_empty() {
        if setting.format == Format::Human {
            show(&(inputs::moves(&preview.inputs, preview.of, &shape).join("\n") + "\n"))?;
        }
        return built(world, global, fleet, &names, (&found, args.detailed_exitcode)).await;
    }
    show(&match setting.format {
        Format::Json | Format::Jsonl => coming::document(&preview),
        Format::Human | Format::Markdown | Format::Github => {
            coming::page(&preview, args.all, &shape)
        }
    })?;
    match (found.moves.is_empty(), unread) {
        (_, true) => Ok(Exit::Refused),
        (true, false) => Ok(Exit::Done),
        (false, false) => Ok(changed),
    }
}

/// The flake and the lock that stand for the candidate.
pub(super) fn stand_in(found: &Found, global: &Global) -> (Global, Option<PathBuf>) {
    match &found.candidate.place {
        candidate::Place::Reference(file) => (global.clone(), Some(file.clone())),
        candidate::Place::Copy(flake, _) => {
            let folder = match flake {
                FlakeRef::Local(local) => local.path().display().to_string(),
                FlakeRef::Other(text) => text.clone(),
            };
            (Global { flake: Some(folder), ..global.clone() }, None)
        }
    }
}

/// Builds the candidate, and compares closures and unit files.
async fn built(
    world: &World,
    global: &Global,
    fleet: Fleet,
    hosts: &[HostName],
    (found, detailed): (&Found, bool),
) -> Result<Exit, Error> {
    let request =
        deploy::request(&deploy::preset("diff"), global, &DeployFlags::default(), &fleet)?;
    let (global, lock) = stand_in(found, global);
    let request = Request { command: "update".to_owned(), lock, ..request };
    let terms = Terms { detailed, ..Terms::default() };
    Ok(launch::launch_with(world, &global, fleet, hosts, request, terms).await?.0)
}

async fn look(
    world: &World,
    global: &Global,
    fleet: &Fleet,
    hosts: &[&Host],
    (root, found): (&std::path::Path, &Found),
) -> Preview {
    let (global, lock) = stand_in(found, global);
    let text = inventory::flake(&world.environment, &global, fleet);
    let flake = FlakeRef::parse(&text, root, &world.environment);
    let (emitter, _) = channel(Arc::new(world.clock));
    let workers = Workers::of_this_machine();
    let looked = hosts.iter().map(|host| {
        let (flake, lock, emitter, workers) = (&flake, &lock, &emitter, &workers);
        let no_cache = global.no_cache;
        async move {
            let looked = match flake {
                Err(error) => Err(error.to_string()),
                Ok(flake) => {
                    let options = Options {
                        accept_flake_config: host.accept_flake_config,
                        no_cache,
                        keep_going: false,
                        cache: None,
                        builders: String::new(),
                        keep: false,
                        lock: lock.clone(),
                    };
                    of_host(world, emitter, (flake, workers, &options), host).await
                }
            };
            let unread = |why| HostPreview { unread: Some(why), ..HostPreview::default() };
            (host.name.to_string(), looked.unwrap_or_else(unread))
        }
    });
    let hosts: Vec<_> = futures_util::stream::iter(looked).buffered(AT_ONCE).collect().await;
    let (inputs, of) = (found.moves.clone(), found.candidate.lock.count());
    Preview { schema: SCHEMA, inputs, of, hosts: hosts.into_iter().collect() }
}

/// What it runs and what it is to run are asked at once.
async fn of_host(
    world: &World,
    emitter: &Emitter,
    (flake, workers, options): (&FlakeRef, &Workers, &Options),
    host: &Host,
) -> Result<HostPreview, String> {
    let tree = build::tree::reading(world, flake);
    let wanted = build::Wanted { flake, attr: &host.attr, tree: &tree, workers, afresh: &|| () };
    let evaluated = build::evaluate(world, emitter, &host.name, &wanted, options);
    let (runs, evaluated) = tokio::join!(running(world, host), evaluated);
    let (_, running, closure) = runs.map_err(|why| format!("what it runs is not known: {why}"))?;
    let evaluated = evaluated.map_err(|e| harmless::line(&e.to_string()))?;
    let (names, missing, roles) = tokio::join!(
        derivations(world, &evaluated.drv),
        missing(world, &evaluated.drv),
        roles(world, &running),
    );
    Ok(put_together(&closure, &names?, missing, roles.as_ref()))
}

fn put_together(
    closure: &[PathInfo],
    derivations: &[String],
    missing: Option<Fetching>,
    roles: Option<&Roles>,
) -> HostPreview {
    let installed: Vec<String> = closure.iter().map(|p| p.path.name().to_owned()).collect();
    let coming = sorted(changes(&installed, derivations), roles);
    let boots = |name: &str| {
        name == "linux" || name.starts_with("linux-") || name.starts_with("microcode-")
    };
    let reboot_for = coming.boot.iter().filter(|c| boots(&c.name) || c.name == "systemd");
    HostPreview {
        reboot_for: reboot_for.map(|c| c.name.clone()).collect(),
        boot: coming.boot,
        services: coming.services,
        programs: coming.programs,
        libraries: roles.is_some().then_some(coming.libraries),
        fetch: missing.map(|m| m.fetch),
        download_bytes: missing.map(|m| m.download),
        unpacked_bytes: missing.map(|m| m.unpacked),
        build: missing.map(|m| m.build),
        installed_bytes: Some(closure.iter().fold(0, |sum, p| p.nar_size.saturating_add(sum))),
        unread: None,
    }
}

/// The names of all that a derivation is made of.
async fn derivations(world: &World, drv: &StorePath) -> Result<Vec<String>, String> {
    let args = ["path-info", "--recursive", drv.as_str()];
    let said = world.run(nix(args).timeout(PATIENCE)).await;
    let said = said.map_err(|e| harmless::line(&e.to_string()))?;
    if !said.ended.ok() {
        return Err(harmless::line(&said.err_tail(1)));
    }
    let paths = said.out.iter().filter_map(|l| StorePath::new(l.trim()).ok());
    let drvs = paths.filter(|p| p.as_str().ends_with(".drv"));
    Ok(drvs.map(|p| p.name().to_owned()).collect())
}

/// What a build would fetch and build, by the store and the caches of this machine.
async fn missing(world: &World, drv: &StorePath) -> Option<Fetching> {
    let args = ["--realise", "--dry-run", drv.as_str()];
    let asked = Invocation::new("nix-store", args).env("LC_ALL", "C").timeout(PATIENCE);
    let said = world.run(asked).await.ok()?;
    said.ended.ok().then(|| fetching::parse(&said.err)).flatten()
}

/// Which packages services run and which are on PATH; `None`: the system is not in this store.
async fn roles(world: &World, top: &StorePath) -> Option<Roles> {
    let top = PathBuf::from(top.as_str());
    let units = std::fs::read_dir(top.join("etc/systemd/system")).ok()?.flatten();
    let units = units.filter(|e| e.file_name().to_string_lossy().ends_with(".service"));
    let texts = units.filter_map(|e| files::read_text(&e.path(), UNIT).ok());
    let services = texts.flat_map(|text| run_by(&text).collect::<Vec<_>>()).collect();
    let sw = top.join("sw").canonicalize().ok()?.display().to_string();
    let asked = Invocation::new("nix-store", ["--query", "--references", &sw]).timeout(PATIENCE);
    let said = world.run(asked).await.ok().filter(|said| said.ended.ok())?;
    let named = said.out.iter().filter_map(|l| StorePath::new(l.trim()).ok());
    let name = |path: StorePath| crate::package::StoreName::parse(path.name()).map(|n| n.full());
    Some(Roles { services, programs: named.filter_map(name).collect() })
}
