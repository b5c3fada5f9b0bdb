//! `update preview HOST...`: what an update would bring, against what each host runs.
//!
//! Without `--build` nothing is built: names of derivations tell which packages move. With it the
//! candidate is built and compared as `diff` does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

use super::asked::{Asked, Update, Which};
use super::find::{Found, find};
use super::{Place, gate, held, place};
use crate::build::closure::PathInfo;
use crate::build::{self, FlakeRef, Options, Workers, nix};
use crate::cli::{DeployFlags, Global, PreviewArgs, RiskFlags, UpdateFlags};
use crate::command::issues::running;
use crate::command::launch::{self, Terms};
use crate::command::report::show;
use crate::command::{deploy, inventory};
use crate::error::Error;
use crate::event::stream::channel;
use crate::event::{PackageChange, harmless};
use crate::exit::Exit;
use crate::fleet::{Host, HostName, StorePath};
use crate::issues::closures::Systems;
use crate::plan::Request;
use crate::report::coming::{self, HostPreview, Preview, SCHEMA};
use crate::report::{self, Format, choice, inputs};
use crate::update::candidate::{self, Candidate};
use crate::update::coming::{Roles, after, changes, run_by, sorted};
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
    let hosts: Vec<HostName> = hosts.iter().map(|h| h.name.clone()).collect();
    let keep = held(world, keep)?;
    let asked = asked(args);
    let (fleet, flake, keep) = (&fleet, &flake, &keep);
    let update = Update { world, global, asked: &asked, fleet, hosts: &hosts, flake, keep };
    let looked = async {
        let found = find(world, fleet, flake, keep, &asked.which).await?;
        let preview = match args.build || found.moves.is_empty() {
            true => inputs_alone(&found),
            false => look(&update, &found).await?,
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
        return built(&update, (&found, args.detailed_exitcode)).await;
    }
    show(&match setting.format {
        Format::Json | Format::Jsonl => coming::document(&preview),
        Format::Human | Format::Markdown | Format::Html | Format::Github => {
            coming::page(&preview, args.all, &shape)
        }
    })?;
    // As `issues` ends: a list with gaps is no answer.
    let whole = preview.issues.as_ref().is_none_or(|known| known.check.state == "complete");
    match (found.moves.is_empty(), unread) {
        (_, true) => Ok(Exit::Refused),
        (true, false) => Ok(Exit::Done),
        (false, false) if !whole => Ok(Exit::IssuesUnchecked),
        (false, false) => Ok(changed),
    }
}

fn asked(args: &PreviewArgs) -> Asked {
    let risk = RiskFlags { no_issue_check: args.no_issue_check, ..RiskFlags::default() };
    Asked {
        which: Which { except: args.except.clone(), ..Which::default() },
        flags: UpdateFlags { risk, ..UpdateFlags::default() },
        ..Asked::default()
    }
}

fn inputs_alone(found: &Found) -> Preview {
    let (inputs, of) = (found.moves.clone(), found.candidate.lock.count());
    Preview { inputs, of, schema: SCHEMA, ..Preview::default() }
}

/// The flake and the lock that stand for a candidate.
pub(super) fn stand_in(candidate: &Candidate, global: &Global) -> (Global, Option<PathBuf>) {
    match &candidate.place {
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
async fn built(update: &Update<'_>, (found, detailed): (&Found, bool)) -> Result<Exit, Error> {
    let Update { world, global, fleet, hosts, .. } = *update;
    let request = deploy::request(&deploy::preset("diff"), global, &DeployFlags::default(), fleet)?;
    let (global, lock) = stand_in(&found.candidate, global);
    let request = Request { command: "update".to_owned(), lock, ..request };
    let terms = Terms { detailed, ..Terms::default() };
    Ok(launch::launch_with(world, &global, fleet.clone(), hosts, request, terms).await?.0)
}

/// What would come to each host, and what is known of that; the lists of issues are fetched
/// beside the evaluation.
///
/// # Errors
/// When hosts.toml or the environment names an address for issues that is none.
pub(super) async fn look(update: &Update<'_>, found: &Found) -> Result<Preview, Error> {
    let Update { world, fleet, hosts, asked, .. } = *update;
    let workers = Workers::of_this_machine();
    let chosen = hosts.iter().filter_map(|name| fleet.host(name.as_str()));
    let looked = chosen.map(|host| {
        let looked = of_host(update, &found.candidate, (host, &workers));
        async move { (host.name.clone(), looked.await) }
    });
    let checks = !asked.flags.risk.no_issue_check;
    let locks = [&found.lock, &found.candidate.lock];
    let asking = gate::asking(fleet, update.global.no_cache)?;
    let ahead = async {
        match checks {
            true => Some(gate::ahead(world, &asking, locks).await),
            false => None,
        }
    };
    let looked = futures_util::stream::iter(looked).buffered(AT_ONCE).collect::<Vec<_>>();
    let (looked, lists) = tokio::join!(looked, ahead);
    let mut preview = inputs_alone(found);
    let (mut systems, mut unread) = (BTreeMap::new(), BTreeMap::new());
    for (host, looked) in looked {
        let shown = match looked {
            Ok((shown, both)) => {
                systems.insert(host.to_string(), both);
                shown
            }
            Err(why) => {
                unread.insert(host.clone(), why.clone());
                HostPreview { unread: Some(why), ..HostPreview::default() }
            }
        };
        preview.hosts.insert(host.to_string(), shown);
    }
    if checks {
        let checked = gate::check(update, &systems, &unread, locks, lists.as_ref()).await?;
        preview.issues = Some(checked.told);
    }
    Ok(preview)
}

/// What a host is to run, evaluated with a candidate.
async fn evaluated(
    update: &Update<'_>,
    candidate: &Candidate,
    (host, workers): (&Host, &Workers),
) -> Result<StorePath, String> {
    let Update { world, fleet, flake, .. } = *update;
    let (global, lock) = stand_in(candidate, update.global);
    let text = inventory::flake(&world.environment, &global, fleet);
    let flake = FlakeRef::parse(&text, &flake.root, &world.environment);
    let flake = &flake.map_err(|e| e.to_string())?;
    let options = Options {
        accept_flake_config: host.accept_flake_config,
        no_cache: global.no_cache,
        keep_going: false,
        cache: None,
        builders: String::new(),
        keep: false,
        lock,
    };
    let (emitter, _) = channel(Arc::new(world.clock));
    let tree = build::tree::reading(world, flake);
    let wanted = build::Wanted { flake, attr: &host.attr, tree: &tree, workers, afresh: &|| () };
    let evaluated = build::evaluate(world, &emitter, &host.name, &wanted, &options).await;
    Ok(evaluated.map_err(|e| harmless::line(&e.to_string()))?.drv)
}

/// The names of all that a host's system is made of, with a candidate.
pub(super) async fn graph(
    update: &Update<'_>,
    candidate: &Candidate,
    host: &Host,
) -> Result<Vec<String>, String> {
    let workers = Workers::of_this_machine();
    let drv = evaluated(update, candidate, (host, &workers)).await?;
    derivations(update.world, &drv).await
}

/// What it runs and what it is to run are asked at once.
async fn of_host(
    update: &Update<'_>,
    candidate: &Candidate,
    (host, workers): (&Host, &Workers),
) -> Result<(HostPreview, Systems), String> {
    let world = update.world;
    let evaluated = evaluated(update, candidate, (host, workers));
    let (runs, drv) = tokio::join!(running(world, host), evaluated);
    let (_, running, closure) = runs.map_err(|why| format!("what it runs is not known: {why}"))?;
    let drv = drv?;
    let (names, missing, roles) =
        tokio::join!(derivations(world, &drv), missing(world, &drv), roles(world, &running));
    let installed: Vec<String> = closure.iter().map(|p| p.path.name().to_owned()).collect();
    let changes = changes(&installed, &names?);
    let candidate = after(&installed, &changes);
    let shown = put_together(&closure, changes, missing, roles.as_ref());
    Ok((shown, Systems { installed, candidate }))
}

fn put_together(
    closure: &[PathInfo],
    changes: Vec<PackageChange>,
    missing: Option<Fetching>,
    roles: Option<&Roles>,
) -> HostPreview {
    let coming = sorted(changes, roles);
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
