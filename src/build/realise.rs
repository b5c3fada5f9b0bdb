//! From a derivation to a closure that the garbage collector leaves alone: here, on the target,
//! or on a third host.
//!
//! A third host's closure comes here first and goes on to the target like any other. Straight
//! from builder to target would be one pass less, but then admission could not do its sums from
//! the local store, a deferred host would need the builder again, and a second host with the
//! same closure would fetch it again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::failure::{self, BuildError, Stage};
use super::graph::{Graph, Together};
use super::output::Log;
use super::relay::{Ran, Relay};
use super::transfer::{Direction, Transfer, TransferError, transfer};
use super::{BUILD, Built, Evaluated, Options, architecture, nix};
use crate::event::stream::Emitter;
use crate::event::{Event, Phase};
use crate::fleet::{HostName, StorePath};
use crate::world::ssh::{self, Failure, Link, Target};
use crate::world::{Ended, Invocation, World, files};

/// Builds and roots on a host.
const SCRIPT: &str = include_str!("realise.sh");
/// Where a host keeps what was built there for deployment.
const REMOTE_ROOTS: &str = "/nix/var/nix/gcroots/nixdeploy/built";
/// Closures of each host that are kept here: this one, the one before, and one to spare.
const SLOTS: [&str; 3] = ["a", "b", "c"];

/// Where a closure is built. `path` is `PATH` there: OLD/sw/bin, or `/run/current-system/sw/bin`
/// where nobody knows OLD.
#[derive(Clone, Copy)]
pub enum Where<'a> {
    /// Here, with Nix's own remote builders if there are any.
    Local,
    /// The same, together with other hosts of the run.
    Together(&'a Arc<Graph>),
    /// On the host that it is for; it stays there.
    Target {
        /// How to reach it.
        target: &'a Target,
        /// `PATH` there.
        path: &'a str,
    },
    /// On another host, and then here.
    Host {
        /// Its name, for messages.
        name: &'a HostName,
        /// How to reach it.
        target: &'a Target,
        /// `PATH` there.
        path: &'a str,
    },
}

/// Builds; begins and ends the phase.
///
/// # Errors
/// When it does not build, or the host that was to build cannot.
pub async fn build(
    world: &World,
    emitter: &Emitter,
    host: &HostName,
    evaluated: &Evaluated,
    place: Where<'_>,
    options: &Options,
) -> Result<Built, BuildError> {
    let open = emitter.phase(host, Phase::Build);
    let relay = Relay { world, emitter, host, phase: Phase::Build };
    let result = match place {
        Where::Local | Where::Together(_) => here(relay, evaluated, place, options).await,
        Where::Target { target, path } => {
            let there = Remote { name: host, target, path };
            remote(relay, evaluated, there, options).await
        }
        Where::Host { name, target, path } => {
            third(relay, evaluated, Remote { name, target, path }, options).await
        }
    };
    match &result {
        Ok(built) => open.ok(note(built)),
        Err(error) => open.failed(error.to_string()),
    }
    if let (Ok(built), None) = (&result, &evaluated.toplevel) {
        let (host, toplevel) = (host.clone(), built.toplevel.clone());
        emitter.emit(Event::ClosureKnown { host, toplevel, cached: false });
    }
    result
}

fn note(built: &Built) -> String {
    let shared = match built.together {
        0 | 1 => String::new(),
        hosts => format!(" for {hosts} hosts together"),
    };
    match (built.built, built.fetched) {
        (0, 0) => "nothing to build".to_owned(),
        (built, 0) => format!("{built} built{shared}"),
        (0, fetched) => format!("{fetched} fetched{shared}"),
        (built, fetched) => format!("{built} built, {fetched} fetched{shared}"),
    }
}

/// A host that builds.
#[derive(Clone, Copy)]
struct Remote<'a> {
    name: &'a HostName,
    target: &'a Target,
    path: &'a str,
}

async fn here(
    relay: Relay<'_>,
    evaluated: &Evaluated,
    place: Where<'_>,
    options: &Options,
) -> Result<Built, BuildError> {
    architecture::here(relay.world, evaluated, options).await?;
    match place {
        Where::Together(graph) => together(relay, evaluated, graph, options).await,
        Where::Local | Where::Target { .. } | Where::Host { .. } => {
            local(relay, evaluated, options).await
        }
    }
}

/// Builds with others, and then keeps what is there by now.
async fn together(
    relay: Relay<'_>,
    evaluated: &Evaluated,
    graph: &Arc<Graph>,
    options: &Options,
) -> Result<Built, BuildError> {
    let Together { built, fetched, hosts } = graph.built(relay, evaluated, options).await?;
    let own = local(relay, evaluated, options).await?;
    Ok(Built { built: built + own.built, fetched: fetched + own.fetched, together: hosts, ..own })
}

async fn local(
    relay: Relay<'_>,
    evaluated: &Evaluated,
    options: &Options,
) -> Result<Built, BuildError> {
    let link = match options.keep {
        true => Some(slot(relay, evaluated.toplevel.as_ref())?),
        false => None,
    };
    let ran = relay.run(local_build(&evaluated.drv, link.as_deref(), options)).await;
    let ran = ran.map_err(BuildError::unstarted)?;
    if !ran.ended.ok() {
        let error = failure::sort(&ran.log, ran.ended, Stage::Build, "here");
        return Err(super::full::located(error, &relay.world.environment));
    }
    let out = ran.out.iter().find_map(|l| StorePath::new(l.trim()).ok());
    let toplevel = checked(out, evaluated)?;
    Ok(built(toplevel, evaluated, &ran.log, true))
}

fn local_build(drv: &StorePath, link: Option<&Path>, options: &Options) -> Invocation {
    let wanted = format!("{drv}^out");
    let mut args = ["build", &wanted, "--print-out-paths"].map(str::to_owned).to_vec();
    match link {
        Some(link) => args.extend(["--out-link".to_owned(), link.display().to_string()]),
        None => args.push("--no-link".to_owned()),
    }
    args.extend(["--log-format", "internal-json"].map(str::to_owned));
    if !options.builders.is_empty() {
        args.extend(["--builders".to_owned(), options.builders.clone()]);
    }
    args.extend(options.building());
    nix(args.iter().map(String::as_str)).timeout(BUILD)
}

fn built(toplevel: StorePath, evaluated: &Evaluated, log: &Log, here: bool) -> Built {
    let (built, fetched) = (log.builds.done, log.fetched);
    Built { toplevel, drv: evaluated.drv.clone(), built, fetched, here, together: 0 }
}

/// The path that came out must be the one that was announced: a host could name any.
fn checked(out: Option<StorePath>, evaluated: &Evaluated) -> Result<StorePath, BuildError> {
    let out = out.ok_or_else(|| BuildError::Nix("the build named no store path".to_owned()))?;
    match &evaluated.toplevel {
        Some(expected) if *expected != out => {
            Err(BuildError::Nix(format!("expected {expected}, but {out} came out")))
        }
        _ => Ok(out),
    }
}

/// The link that will root this host's closure here.
fn slot(relay: Relay<'_>, toplevel: Option<&StorePath>) -> Result<PathBuf, BuildError> {
    let folder = relay.world.environment.state.join("roots").join(relay.host.as_str());
    files::private_folder(&folder)
        .map_err(|e| BuildError::Nix(format!("cannot make {}: {e}", folder.display())))?;
    Ok(choose(&folder, toplevel))
}

/// The link that holds the closure already, or a free one, or the oldest; Nix renews a link's
/// time whenever it is used, and registers each link by its name, so none is ever renamed.
fn choose(folder: &Path, toplevel: Option<&StorePath>) -> PathBuf {
    let links = SLOTS.map(|name| folder.join(name));
    let holds = |link: &&PathBuf| {
        let to = link.read_link().ok();
        to.is_some() && to.as_deref() == toplevel.map(|t| Path::new(t.as_str()))
    };
    let age = |link: &&PathBuf| {
        let modified = link.symlink_metadata().and_then(|m| m.modified());
        modified.unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let chosen = links.iter().find(holds).or_else(|| links.iter().min_by_key(age));
    chosen.unwrap_or(&links[0]).clone()
}

async fn third(
    relay: Relay<'_>,
    evaluated: &Evaluated,
    there: Remote<'_>,
    options: &Options,
) -> Result<Built, BuildError> {
    let made = remote(relay, evaluated, there, options).await?;
    let (direction, path) = (Direction::From, &made.toplevel);
    let what = Transfer {
        target: there.target,
        direction,
        path,
        derivation: false,
        substitute: false,
        largest: None,
        compress: false,
        sizes: &[],
    };
    transfer(relay, what).await.map_err(|e| unmoved(e, there.name, "here"))?;
    if !options.keep {
        return Ok(Built { here: true, ..made });
    }
    let link = slot(relay, Some(path))?;
    let root =
        ["build", path.as_str(), "--out-link", &link.display().to_string()].map(str::to_owned);
    let ran = relay.run(nix(root.iter().map(String::as_str)).timeout(BUILD)).await;
    let ran = ran.map_err(BuildError::unstarted)?;
    match ran.ended.ok() {
        true => Ok(Built { here: true, ..made }),
        false => Err(failure::sort(&ran.log, ran.ended, Stage::Build, "here")),
    }
}

async fn remote(
    relay: Relay<'_>,
    evaluated: &Evaluated,
    there: Remote<'_>,
    options: &Options,
) -> Result<Built, BuildError> {
    let (direction, path) = (Direction::To, &evaluated.drv);
    let what = Transfer {
        target: there.target,
        direction,
        path,
        derivation: true,
        substitute: false,
        largest: Some(16 << 20),
        compress: false,
        sizes: &[],
    };
    let place = format!("on {}", there.name);
    transfer(relay, what).await.map_err(|e| unmoved(e, there.name, &place))?;
    let mut answer = realise(relay, evaluated, there, Link::Shared, options).await?;
    // Without its last word the connection broke; what was built is not built again.
    if answer.1.end.is_none() && matches!(answer.0.ended, Ended::Exited(_) | Ended::Silent) {
        relay.line("contact lost; once more over a new connection".to_owned());
        answer = realise(relay, evaluated, there, Link::Fresh, options).await?;
    }
    let (ran, record) = answer;
    match record.end {
        Some(0) => {
            let toplevel = checked(record.out, evaluated)?;
            Ok(built(toplevel, evaluated, &ran.log, false))
        }
        Some(127) => Err(BuildError::NoNix(place)),
        Some(code) => Err(failure::sort(&ran.log, Ended::Exited(code), Stage::Build, &place)),
        None => Err(contact(&ran, there.name)),
    }
}

async fn realise(
    relay: Relay<'_>,
    evaluated: &Evaluated,
    there: Remote<'_>,
    link: Link,
    options: &Options,
) -> Result<(Ran, Record), BuildError> {
    let root = if options.keep { format!("{REMOTE_ROOTS}/{}", relay.host) } else { String::new() };
    let mut building = options.building();
    building.extend(super::option("build-poll-interval", "1"));
    let mut args = vec![there.path, evaluated.drv.as_str(), &root];
    args.extend(building.iter().map(String::as_str));
    let invocation = there.target.script(link, SCRIPT, &args).timeout(BUILD);
    let ran = relay.run(invocation).await.map_err(BuildError::unstarted)?;
    let record = record(&ran.out);
    Ok((ran, record))
}

/// What the script answered.
#[derive(Debug, Default, PartialEq, Eq)]
struct Record {
    out: Option<StorePath>,
    /// Its last word; `None`: the connection broke, or it is another script.
    end: Option<i32>,
}

fn record(lines: &[String]) -> Record {
    if lines.first().map(String::as_str) != Some("nixdeploy-realise=1") {
        return Record::default();
    }
    let value = |key: &str| lines.iter().find_map(|l| l.strip_prefix(key));
    let out = value("out=").and_then(|p| StorePath::new(p).ok());
    let end = lines.last().and_then(|l| l.strip_prefix("end=")?.parse().ok());
    Record { out, end }
}

fn contact(ran: &Ran, name: &HostName) -> BuildError {
    match ran.ended {
        Ended::TimedOut | Ended::Silent => BuildError::TimedOut("the build"),
        Ended::Killed => BuildError::Cancelled,
        Ended::Exited(_) | Ended::Signalled(_) | Ended::TooMuch => {
            let plain: Vec<String> = ran.log.plain.iter().cloned().collect();
            unlinked(&ssh::diagnose(&plain), name)
        }
    }
}

/// A transfer that failed on the way to or from the host that builds.
fn unmoved(error: TransferError, name: &HostName, receiver: &str) -> BuildError {
    match error {
        TransferError::NoSpace => BuildError::NoSpace { place: receiver.to_owned() },
        TransferError::NoNix(error) => BuildError::unstarted(error),
        TransferError::Cancelled => BuildError::Cancelled,
        TransferError::Stalled => BuildError::TimedOut("copying to or from the builder"),
        TransferError::Other(message) => BuildError::Nix(message),
        TransferError::Link(failure) => unlinked(&failure, name),
        TransferError::Unsigned(why) => {
            let hint =
                "sign on the builder (`secret-key-files` in its nix.conf) and trust its key here";
            BuildError::Remote { host: name.to_string(), why, hints: vec![hint.to_owned()] }
        }
    }
}

fn unlinked(failure: &Failure, name: &HostName) -> BuildError {
    let (why, hint) = match failure {
        Failure::Unreachable(why) | Failure::Broken(why) => {
            (why, format!("nixdeploy ping-hosts {name}"))
        }
        Failure::HostKey(why) => (why, format!("nixdeploy trust {name}")),
        Failure::Denied(why) => (why, format!("ssh {name} true")),
        Failure::NoElevation(why) => (why, format!("ssh {name} sudo -n true")),
    };
    BuildError::Remote { host: name.to_string(), why: why.clone(), hints: vec![hint] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_its_last_line_is_no_answer() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let path = "/nix/store/0c0d1f2g3h4i5j6k7l8m9n0p1q2r3s4v-x";
        let good = record(&lines(&format!("nixdeploy-realise=1\nout={path}\nend=0")));
        assert_eq!(good, Record { out: StorePath::new(path).ok(), end: Some(0) });
        assert_eq!(record(&lines(&format!("nixdeploy-realise=1\nout={path}"))).end, None);
        assert_eq!(record(&lines("nixdeploy-realise=2\nend=0")), Record::default());
        assert_eq!(record(&lines("nixdeploy-realise=1\nend=x")), Record::default());
        assert_eq!(record(&lines("nixdeploy-realise=1\nout=/etc/passwd\nend=0")).out, None);
        assert_eq!(record(&[]), Record::default());
    }

    /// Gives a link an age; links made within one tick of the clock have the same.
    fn made_at(link: &Path, seconds: i64) {
        let time = rustix::fs::Timespec { tv_sec: 1_000 + seconds, tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(rustix::fs::CWD, link, &times, flags).expect("times set");
    }

    #[test]
    fn the_link_of_a_closure_is_used_again_and_else_the_oldest_goes() {
        let folder = tempfile::tempdir().expect("folder");
        let path = |c: char| {
            let path = format!("/nix/store/{}-x", c.to_string().repeat(32));
            StorePath::new(path).expect("path")
        };
        for (n, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
            let top = path(char::from(b'0' + u8::try_from(n).expect("small")));
            let link = choose(folder.path(), Some(&top));
            assert_eq!(link, folder.path().join(if name == "d" { "a" } else { name }));
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink(top.as_str(), &link).expect("linked");
            made_at(&link, i64::try_from(n).expect("small"));
        }
        assert_eq!(choose(folder.path(), Some(&path('2'))), folder.path().join("c"));
        assert_eq!(choose(folder.path(), None), folder.path().join("b"));
    }

    #[test]
    fn another_path_than_announced_is_refused() {
        let path = |name: &str| {
            let path = format!("/nix/store/0c0d1f2g3h4i5j6k7l8m9n0p1q2r3s4v-{name}");
            StorePath::new(path).expect("path")
        };
        let evaluated =
            Evaluated { drv: path("x.drv"), toplevel: Some(path("x")), cached: false, tree: None };
        assert!(checked(Some(path("y")), &evaluated).is_err());
        assert!(checked(None, &evaluated).is_err());
        assert_eq!(checked(Some(path("x")), &evaluated), Ok(path("x")));
    }
}
