//! Store paths from one store to another: `nix copy` over our own ssh, with its traps avoided.
//!
//! `max-connections` stays 1, because more than one over a shared master hangs Nix 2.26 and fails
//! in 2.34 (NixOS/nix #8329, #14132). Nix has no timeout of its own: a cut cable is noticed by
//! ssh's keep-alive (three times five seconds; measured: 19 s), and a long silence ends it in any
//! case. What broke is tried once more over a connection of its own; whole paths that had arrived
//! are kept. Signatures are not asked for on our side: whether the other side does is its own
//! configuration, which is never touched.
//!
//! The log is Nix's plain one, a line for each path. In `internal-json` it reports each write of
//! eight bytes: 20,000 small files made 60 MB of log and took 3.8 s in place of 1.0.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::closure::PathInfo;
use super::import::import;
use super::nix;
use super::output::Log;
use super::relay::Relay;
use crate::fleet::StorePath;
use crate::world::ssh::{self, Failure, Link, Target};
use crate::world::{Ended, Invocation, StartError, World, files};

/// Without a word for this long, and for as long as the largest path takes at [`SLOW`], nothing
/// moves any more. A cut cable ends it long before.
const SILENCE: Duration = Duration::from_secs(90);
/// Bytes a second of the slowest line that we wait for.
const SLOW: u64 = 32 << 10;
/// The largest path where sizes are not known.
const LARGE: u64 = 256 << 20;
/// Longest transfer.
const LIMIT: Duration = Duration::from_secs(8 * 3600);

/// What moves where.
#[derive(Debug, Clone, Copy)]
pub struct Transfer<'a> {
    /// The other store.
    pub target: &'a Target,
    /// Into the other store, or out of it.
    pub direction: Direction,
    /// The top of what moves.
    pub path: &'a StorePath,
    /// The derivation itself and what it is built from, not its outputs.
    pub derivation: bool,
    /// The other store may fetch from its own substituters what it can.
    pub substitute: bool,
    /// Bytes of the largest path that could move.
    pub largest: Option<u64>,
    /// ssh compresses it, over a connection of its own: what a master carries it carries as it is.
    pub compress: bool,
    /// The paths that could move, with their sizes; empty: not known.
    pub sizes: &'a [PathInfo],
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From here into the other store.
    To,
    /// From the other store to here.
    From,
}

/// What was moved over the line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Moved {
    /// Store paths.
    pub paths: Vec<String>,
}

/// Why it was not; the receiving store may have some paths more, nothing else changed.
#[derive(Debug, Clone)]
pub enum TransferError {
    /// The receiving disk is full.
    NoSpace,
    /// The receiving store wants signatures that are not there.
    Unsigned(String),
    /// No contact, no login, or none any more.
    Link(Failure),
    /// It stopped moving.
    Stalled,
    /// Nix could not be started here.
    NoNix(StartError),
    /// The user stopped it.
    Cancelled,
    /// Anything else that Nix says.
    Other(String),
}

/// Moves; tries once more what a new connection can mend.
///
/// # Errors
/// When it did not arrive whole.
pub async fn transfer(relay: Relay<'_>, what: Transfer<'_>) -> Result<Moved, TransferError> {
    let link = if what.compress { Link::Fresh } else { Link::Shared };
    let first = attempt(relay, &what, link).await;
    match first {
        Err(TransferError::Stalled | TransferError::Link(Failure::Broken(_))) => {
            relay.line("contact lost; once more over a new connection".to_owned());
            attempt(relay, &what, Link::Fresh).await
        }
        other => other,
    }
}

async fn attempt(
    relay: Relay<'_>,
    what: &Transfer<'_>,
    link: Link,
) -> Result<Moved, TransferError> {
    if what.target.here {
        return Ok(Moved::default()); // one store
    }
    if what.target.password.is_some() && what.direction == Direction::To {
        return import(relay, what, link).await;
    }
    let sshopts = ssh_options(relay.world, what.target, link);
    let sshopts =
        sshopts.map_err(|e| TransferError::Other(format!("cannot write for ssh: {e}")))?;
    let compression = if what.compress { " -o Compression=yes" } else { "" };
    let invocation = invocation(what, sshopts + compression);
    let ran = relay.run_weighed(invocation, what.sizes).await.map_err(TransferError::NoNix)?;
    match ran.ended.ok() {
        true => Ok(Moved { paths: ran.log.begun }),
        false => Err(sort(&ran.log, ran.ended)),
    }
}

fn invocation(what: &Transfer<'_>, sshopts: String) -> Invocation {
    let store = store_url(what.target);
    let mut args = vec!["copy", "--no-check-sigs", "--log-format", "raw"];
    args.push(if what.direction == Direction::To { "--to" } else { "--from" });
    args.push(&store);
    if what.derivation {
        args.push("--derivation");
    }
    if what.substitute {
        args.push("--substitute-on-destination");
    }
    args.push(what.path.as_str());
    let patience = SILENCE + Duration::from_secs(what.largest.unwrap_or(LARGE) / SLOW);
    nix(args).env("NIX_SSHOPTS", sshopts).timeout(LIMIT).silence(patience)
}

/// `NIX_SSHOPTS` for whatever starts Nix's own ssh; what does not fit into it is written down.
///
/// # Errors
/// When it cannot be written.
pub fn ssh_options(world: &World, target: &Target, link: Link) -> std::io::Result<String> {
    let (options, file) = sshopts(target, link, &world.environment.sockets);
    if let Some((path, text)) = file {
        files::put(&path, text.as_bytes())?;
    }
    Ok(options)
}

/// Options for Nix's own ssh. Where no master runs, Nix waits for a line that it makes ssh's
/// `LocalCommand` print (`echo started`, its own and harmless); if that is forbidden, it waits
/// for ever (seen with 2.26: both ends sat in `read`).
fn sshopts(target: &Target, link: Link, folder: &Path) -> (String, Option<(PathBuf, String)>) {
    let (options, file) = target.nix_sshopts(link, folder);
    (options.replace("-o PermitLocalCommand=no ", ""), file)
}

/// A host's store as Nix names it. A login user that is not root talks to a daemon started
/// through sudo, which is trusted without any change of the host's configuration. Where sudo wants
/// a password only what needs no trust is asked of that store: to read it.
pub fn store_url(target: &Target) -> String {
    let destination = target.destination();
    let (user, address) = destination.rsplit_once('@').unwrap_or(("", &destination));
    let at = if user.is_empty() { "" } else { "@" };
    let address = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    let program = if target.elevates() && target.password.is_none() {
        "&remote-program=sudo%20-n%20nix-daemon"
    } else {
        ""
    };
    format!("ssh-ng://{user}{at}{address}?max-connections=1{program}")
}

pub(super) fn sort(log: &Log, ended: Ended) -> TransferError {
    match ended {
        Ended::Silent | Ended::TimedOut => return TransferError::Stalled,
        Ended::Killed => return TransferError::Cancelled,
        Ended::Exited(_) | Ended::Signalled(_) | Ended::TooMuch => {}
    }
    let said = |words: &[&str]| {
        log.errors.iter().map(|e| &e.message).find(|m| words.iter().any(|w| m.contains(w)))
    };
    let plain: Vec<String> = log.plain.iter().cloned().collect();
    if said(&["No space left on device", "database or disk is full"]).is_some() {
        return TransferError::NoSpace;
    }
    if let Some(message) = said(&["lacks a signature by a trusted key", "is not trusted"]) {
        return TransferError::Unsigned(message.clone());
    }
    // What ssh and sudo say says more than Nix's own word about the end of the line.
    let broken = [
        "failed to start SSH connection",
        "Nix daemon disconnected unexpectedly",
        "unexpected end-of-file",
        "Broken pipe",
        "protocol mismatch",
        "Connection reset",
    ];
    let last = log.errors.last().map(|e| e.message.clone());
    if let Some(message) = said(&broken) {
        let failure =
            if plain.is_empty() { Failure::Broken(message.clone()) } else { ssh::diagnose(&plain) };
        return TransferError::Link(match failure {
            // It was reached: ssh says "timed out" of a line that was cut, too.
            Failure::Unreachable(why) if !log.begun.is_empty() => Failure::Broken(why),
            other => other,
        });
    }
    TransferError::Other(last.or(plain.last().cloned()).unwrap_or_else(|| ended.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{Address, SshControl, UserName};

    fn target(user: Option<&str>, address: &str) -> Target {
        Target {
            user: user.map(|u| UserName::new(u).expect("user")),
            control: SshControl::Own,
            socket: Some("/run/x".into()),
            ..Target::plain(Address::new(address).expect("address"))
        }
    }

    macro_rules! recorded {
        ($name:literal) => {{
            let mut log = Log::default();
            for line in include_str!(concat!("../../tests/fixtures/nix/", $name, ".log")).lines() {
                log.take(line);
            }
            sort(&log, Ended::Exited(1))
        }};
    }

    #[test]
    fn stores_are_named_as_nix_reads_them() {
        let of = |user, address| store_url(&target(user, address));
        assert_eq!(of(Some("root"), "p620"), "ssh-ng://root@p620?max-connections=1");
        assert_eq!(of(None, "p620.ts.net"), "ssh-ng://p620.ts.net?max-connections=1");
        assert_eq!(of(Some("root"), "fd7a::1"), "ssh-ng://root@[fd7a::1]?max-connections=1");
        let sudo = "ssh-ng://admin@x?max-connections=1&remote-program=sudo%20-n%20nix-daemon";
        assert_eq!(of(Some("admin"), "x"), sudo);
    }

    #[test]
    fn the_command_names_our_connection_and_no_other() {
        let target = target(Some("root"), "p620");
        let path = StorePath::new("/nix/store/0c0d1f2g3h4i5j6k7l8m9n0p1q2r3s4v-x").expect("path");
        let what = Transfer {
            target: &target,
            direction: Direction::To,
            path: &path,
            derivation: false,
            substitute: true,
            largest: Some(64 << 20),
            compress: false,
            sizes: &[],
        };
        let of = |link| invocation(&what, sshopts(&target, link, Path::new("/run")).0);
        let shared = of(Link::Shared);
        assert!(shared.env[0].1.contains("ControlPath=/run/x"), "{:?}", shared.env);
        assert!(shared.to_string().contains("--substitute-on-destination"));
        assert_eq!(shared.silence, Some(Duration::from_secs(90 + 2048)));
        let fresh = of(Link::Fresh);
        assert!(fresh.env[0].1.contains("ControlPath=none"), "{:?}", fresh.env);
        assert!(!fresh.env[0].1.contains("LocalCommand"), "{:?}", fresh.env);
    }

    #[test]
    fn each_recorded_failure_is_told_apart() {
        use TransferError::{Link, NoSpace, Unsigned};
        assert!(matches!(recorded!("copy-nospace"), NoSpace));
        assert!(matches!(recorded!("copy-unsigned"), Unsigned(_)));
        assert!(matches!(recorded!("copy-untrusted"), Unsigned(_)));
        assert!(matches!(recorded!("copy-denied"), Link(Failure::Denied(_))));
        assert!(matches!(recorded!("copy-unreachable"), Link(Failure::Unreachable(_))));
        assert!(matches!(recorded!("copy-refused"), Link(Failure::Unreachable(_))));
        assert!(matches!(recorded!("copy-sudo-password"), Link(Failure::NoElevation(_))));
    }

    #[test]
    fn a_host_that_was_reached_is_lost_and_not_unreachable() {
        let said = |before: &str| {
            let mut log = Log::default();
            log.take(before);
            log.take("Read from remote host p620: Connection timed out");
            log.take("error: unexpected end-of-file");
            sort(&log, Ended::Exited(1))
        };
        assert!(matches!(said(""), TransferError::Link(Failure::Unreachable(_))));
        let begun = said("copying path '/nix/store/x' to 'ssh-ng://root@p620'...");
        assert!(matches!(begun, TransferError::Link(Failure::Broken(_))));
    }
}
