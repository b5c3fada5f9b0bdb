//! The closure to the target, before anything there changes.
//!
//! Copying adds store paths and nothing else, so every failure here leaves the host untouched.
//! How it is done, with Nix's traps, is `build::transfer`; here is what it means for a deploy.

use std::time::Duration;

use crate::build::closure::PathInfo;
use crate::build::line::Line;
use crate::build::relay::Relay;
use crate::build::substituter;
use crate::build::transfer::{Direction, Transfer, TransferError, transfer};
use crate::event::stream::Emitter;
use crate::event::{Phase, Step, harmless};
use crate::fleet::{Cache, HostName, StorePath};
use crate::world::World;
use crate::world::ssh::{Failure, Link, Target};

/// Fetches a closure on the host.
const FETCH: &str = include_str!("fetch.sh");
/// Longest fetch.
const FETCHING: Duration = Duration::from_secs(8 * 3600);

/// How a closure is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyOptions<'a> {
    /// The target fetches from its own substituters what it can.
    pub substitute_on_destination: bool,
    /// The target has it whole already, as its facts or its own build say.
    pub present: bool,
    /// The paths of the closure, for sizes; empty: not known.
    pub closure: &'a [PathInfo],
    /// A cache that the target fetches from first, and `PATH` there.
    pub cache: Option<(&'a Cache, &'a str)>,
}

impl Default for CopyOptions<'_> {
    fn default() -> Self {
        Self { substitute_on_destination: true, present: false, closure: &[], cache: None }
    }
}

/// What went over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copied {
    /// Store paths.
    pub paths: u64,
    /// Bytes of them; 0 where sizes are not known.
    pub bytes: u64,
}

/// Why the closure is not whole on the target. The host is untouched in every case.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// Its disk is full.
    #[error("no space left on {0} for the closure")]
    NoSpace(HostName),
    /// Its store wants signatures, and we are not trusted there.
    #[error("{host} accepts only signed store paths: {why}")]
    Unsigned {
        /// Which.
        host: HostName,
        /// What Nix said.
        why: String,
    },
    /// sudo there wants a password, or refuses.
    #[error("cannot become root on {host}: {why}")]
    NoElevation {
        /// Which.
        host: HostName,
        /// What sudo said.
        why: String,
    },
    /// No contact, no login, or a host key that is not the recorded one.
    #[error("no contact with {host}: {}", words(.failure))]
    Unreachable {
        /// Which.
        host: HostName,
        /// What ssh said.
        failure: Failure,
    },
    /// It began, and then nothing moved any more; twice.
    #[error("the copy to {0} stopped moving")]
    Stalled(HostName),
    /// The user stopped it.
    #[error("stopped")]
    Cancelled,
    /// Nix is not installed here, or fails otherwise.
    #[error("nix copy to {host} failed: {why}")]
    Other {
        /// Which.
        host: HostName,
        /// What Nix said.
        why: String,
    },
}

fn words(failure: &Failure) -> &str {
    match failure {
        Failure::Unreachable(w)
        | Failure::HostKey(w)
        | Failure::Denied(w)
        | Failure::NoElevation(w)
        | Failure::Broken(w) => w,
    }
}

impl CopyError {
    /// Stable name for the log and for `Outcome::Refused`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSpace(_) => "no-space",
            Self::Unsigned { .. } => "unsigned",
            Self::NoElevation { .. } => "no-elevation",
            Self::Unreachable { failure: Failure::HostKey(_), .. } => "host-key",
            Self::Unreachable { failure: Failure::Denied(_), .. } => "denied",
            Self::Unreachable { .. } => "unreachable",
            Self::Stalled(_) => "stalled",
            Self::Cancelled => "cancelled",
            Self::Other { .. } => "nix",
        }
    }

    /// What to type next, most likely first.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::NoSpace(host) => {
                vec![format!(
                    "ssh {host} 'df -h /nix; nix-collect-garbage --delete-older-than 60d'"
                )]
            }
            Self::Unsigned { host, .. } => vec![
                format!("# set `user = \"root\"` for {host} in hosts.toml, or give its user sudo"),
                "# nix store sign --recursive --key-file KEY PATH, and trust the key on the host"
                    .to_owned(),
            ],
            Self::NoElevation { host, .. } => vec![format!("ssh {host} sudo -n true")],
            Self::Unreachable { host, failure: Failure::HostKey(_) } => {
                vec![format!("nixdeploy trust {host}")]
            }
            Self::Unreachable { host, .. } | Self::Stalled(host) => {
                vec![format!("nixdeploy ping-hosts {host}"), format!("nixdeploy deploy {host}")]
            }
            Self::Cancelled => vec!["# run the same command again".to_owned()],
            Self::Other { host, .. } => vec![format!("nix store info --store ssh-ng://{host}")],
        }
    }

    /// Whether the same copy may succeed later, as it is.
    pub fn passes(&self) -> bool {
        let gone = |f: &Failure| matches!(f, Failure::Unreachable(_) | Failure::Broken(_));
        match self {
            Self::Stalled(_) => true,
            Self::Unreachable { failure, .. } => gone(failure),
            _ => false,
        }
    }
}

/// Copies; begins and ends the phase.
///
/// # Errors
/// When the closure is not whole on the target; the target is unchanged.
pub async fn copy(
    world: &World,
    emitter: &Emitter,
    host: &HostName,
    target: &Target,
    top: &StorePath,
    options: CopyOptions<'_>,
) -> Result<Copied, CopyError> {
    let open = emitter.phase(host, Phase::Copy);
    if options.present {
        open.skipped("the closure is there");
        return Ok(Copied::default());
    }
    let relay = Relay { world, emitter, host, phase: Phase::Copy };
    if let Some((cache, path)) = options.cache {
        fetch(relay, target, top, cache, path).await;
    }
    let line = Line::to(world, target);
    let slow = line.slow();
    let what = Transfer {
        target,
        direction: Direction::To,
        path: top,
        derivation: false,
        substitute: options.substitute_on_destination,
        largest: options.closure.iter().map(|p| p.nar_size).max(),
        compress: slow.is_some(),
        sizes: options.closure,
    };
    let began_ms = emitter.elapsed_ms();
    let moved = transfer(relay, what).await;
    match moved.map_err(|e| explain(host, e)) {
        Ok(moved) => {
            let copied = weighed(&moved.paths, options.closure);
            let took_ms = emitter.elapsed_ms().saturating_sub(began_ms);
            line.learn(copied.bytes, took_ms, slow.is_some());
            open.ok(
                note(copied) + &slow.filter(|_| copied.paths > 0).map_or_else(String::new, told)
            );
            Ok(copied)
        }
        Err(error) => {
            open.failed(error.to_string());
            Err(error)
        }
    }
}

/// Lets the target fetch what it can; what it cannot is copied after it.
async fn fetch(relay: Relay<'_>, target: &Target, top: &StorePath, cache: &Cache, path: &str) {
    let options = substituter(cache);
    let mut args = vec![path, top.as_str()];
    args.extend(options.iter().map(String::as_str));
    let script = target.script(Link::Shared, FETCH, &args).timeout(FETCHING);
    let began_ms = relay.emitter.elapsed_ms();
    let fetched = match relay.run(script).await {
        Ok(ran) => ran.out.last().is_some_and(|l| l == "end=0"),
        Err(_) => false,
    };
    let told = format!("from {}", harmless::line(&cache.url));
    let step = match fetched {
        true => Step::ok(Phase::Copy, "fetched by the host", told),
        false => Step::skipped(Phase::Copy, "fetched by the host", format!("not {told}")),
    };
    let took_ms = relay.emitter.elapsed_ms().saturating_sub(began_ms);
    relay.emitter.step(Some(relay.host), step.took(took_ms));
}

/// Why it was compressed.
fn told(bytes_s: u64) -> String {
    format!(", compressed: the line made {} KiB/s", bytes_s >> 10)
}

/// Adds up what went over; Nix's plain log names paths, not sizes.
fn weighed(moved: &[String], closure: &[PathInfo]) -> Copied {
    let names: std::collections::HashSet<&str> = moved.iter().map(String::as_str).collect();
    let of = closure.iter().filter(|p| names.contains(p.path.as_str()));
    let bytes = of.fold(0_u64, |sum, p| sum.saturating_add(p.nar_size));
    Copied { paths: moved.len() as u64, bytes }
}

fn note(copied: Copied) -> String {
    let Copied { paths, bytes } = copied;
    let count = if paths == 1 { "1 path".to_owned() } else { format!("{paths} paths") };
    match (paths, bytes) {
        (0, _) => "everything was there".to_owned(),
        (_, 0) => count,
        (_, bytes) if bytes < 10 << 20 => format!("{count}, {} KiB", bytes.div_ceil(1024)),
        (_, bytes) => format!("{count}, {} MiB", bytes.div_ceil(1 << 20)),
    }
}

fn explain(host: &HostName, error: TransferError) -> CopyError {
    let host = host.clone();
    match error {
        TransferError::NoSpace => CopyError::NoSpace(host),
        TransferError::Unsigned(why) => CopyError::Unsigned { host, why },
        TransferError::Link(Failure::NoElevation(why)) => CopyError::NoElevation { host, why },
        TransferError::Link(failure) => CopyError::Unreachable { host, failure },
        TransferError::Stalled => CopyError::Stalled(host),
        TransferError::Cancelled => CopyError::Cancelled,
        TransferError::NoNix(error) => CopyError::Other { host, why: error.to_string() },
        TransferError::Other(why) => CopyError::Other { host, why },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_over_is_added_up() {
        let path = |c: char, size| {
            let path = format!("/nix/store/{}-x", c.to_string().repeat(32));
            PathInfo { path: StorePath::new(path).expect("path"), nar_size: size }
        };
        let closure = [path('1', 1000), path('2', 2000), path('3', 4000)];
        let moved = ['1', '3'].map(|c| path(c, 0).path.to_string());
        assert_eq!(weighed(&moved, &closure), Copied { paths: 2, bytes: 5000 });
        assert_eq!(note(weighed(&moved, &closure)), "2 paths, 5 KiB");
        assert_eq!(note(weighed(&moved[..1], &[])), "1 path");
        assert_eq!(note(Copied::default()), "everything was there");
    }

    #[test]
    fn every_failure_has_a_sentence_a_code_and_something_to_type() {
        let host = HostName::new("p620").expect("name");
        let why = || "x".to_owned();
        for error in [
            TransferError::NoSpace,
            TransferError::Unsigned(why()),
            TransferError::Link(Failure::NoElevation(why())),
            TransferError::Link(Failure::HostKey(why())),
            TransferError::Link(Failure::Unreachable(why())),
            TransferError::Stalled,
            TransferError::Cancelled,
            TransferError::Other(why()),
        ] {
            let error = explain(&host, error);
            assert!(!error.hints().is_empty() && !error.code().is_empty(), "{error}");
        }
        let broken = explain(&host, TransferError::Link(Failure::Broken(why())));
        assert!(broken.passes() && !explain(&host, TransferError::NoSpace).passes());
    }
}
