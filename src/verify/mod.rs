//! Phase 4: whether an activated host is healthy, over a connection that did not exist before.
//!
//! One ssh session carries everything: the checks, the request to commit and the reading back. It
//! is new from the first packet on, since commands over a living master still answer when nobody
//! can log in any more. `baseline` asks the same of the host
//! before the activation, over the shared link. This slice decides nothing: it brings findings,
//! and `plan::verdict` decides.

pub mod advice;
pub mod journal;
pub mod judge;
pub mod loopback;
pub mod network;
pub mod observe;
pub mod probe;
pub mod resources;
pub mod script;
pub mod session;
pub mod steps;
#[cfg(test)]
mod tests;
pub mod units;

use std::time::Duration;

pub use advice::advice;
pub use judge::{Expectation, judge};
pub use observe::{Baseline, Observed};
pub use probe::{ProbeResult, ProbeState};
pub use resources::full_disks;
pub use script::{Scripts, Unread};
pub use session::{Examined, GuardAnswer, Lost, Session};
use tokio::task::JoinHandle;
pub use units::{Restarts, UnitBefore, parse_restarts};

use crate::event::harmless;
use crate::event::stream::Emitter;
use crate::fleet::{Address, Host, StorePath};
use crate::plan::{Finding, Severity};
use crate::world::ssh::{Failure, Link, Target};
use crate::world::{StartError, World};

/// A look that was begun longer ago is begun anew.
const OUTDATED: Duration = Duration::from_secs(5);
/// The whole script of the session.
const SCRIPT: &str = concat!(
    include_str!("../commit/bootloader.sh"),
    include_str!("../activate/sample.sh"),
    include_str!("units.sh"),
    include_str!("network.sh"),
    include_str!("resources.sh"),
    include_str!("probes.sh"),
    include_str!("session.sh"),
);

/// What a session is opened with.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The host, with its health checks and budgets.
    pub host: &'a Host,
    /// How ssh reaches it.
    pub target: &'a Target,
    /// The transaction whose guard may be talked to; `None`: nothing was armed.
    pub transaction: Option<&'a str>,
    /// What ran before: its tools are used.
    pub old: &'a StorePath,
    /// What should run now.
    pub new: &'a StorePath,
    /// The journal's cursor from before the activation; empty: the journal is left out.
    pub cursor: &'a str,
    /// The health scripts, as validated.
    pub scripts: &'a Scripts,
    /// Names worth asking the resolver for: in a baseline whatever the fleet knows, afterwards
    /// those that resolved then.
    pub names: &'a [String],
    /// Units that were to be touched: the host tells how they do, whatever they are.
    pub planned: &'a [String],
    /// Only units and contact.
    pub fast: bool,
}

/// Why there is nothing to judge.
#[derive(Debug, Clone, thiserror::Error)]
pub enum VerifyError {
    /// ssh itself could not be started; says nothing of the host.
    #[error("{0}")]
    NoSsh(#[from] StartError),
    /// No new connection came about.
    #[error("no new ssh connection: {}", message_of(.0))]
    NotReached(Failure),
    /// A connection came about, and what answered is not our script.
    #[error("the host answered something else: {0}")]
    Garbled(String),
    /// The host could not tell of its units: silence is no health.
    #[error("the host did not tell of its units: systemctl failed there")]
    NoUnits,
    /// The connection ended before the checks did; a second one may tell.
    #[error("the connection ended during the checks: {0}")]
    Broken(String),
    /// The checks took longer than `verify_timeout_s`.
    #[error("the checks did not end within {0} s")]
    TooSlow(u64),
}

/// What ssh said.
fn message_of(failure: &Failure) -> String {
    let (Failure::Unreachable(text)
    | Failure::HostKey(text)
    | Failure::Denied(text)
    | Failure::NoElevation(text)
    | Failure::Broken(text)) = failure;
    if text.is_empty() { "no word from ssh".to_owned() } else { harmless::line(text) }
}

impl VerifyError {
    /// Whether a second attempt may go better.
    pub fn passes(&self) -> bool {
        match self {
            Self::NotReached(failure) => {
                matches!(failure, Failure::Unreachable(_) | Failure::Broken(_))
            }
            Self::Garbled(_) | Self::NoUnits | Self::Broken(_) => true,
            Self::NoSsh(_) | Self::TooSlow(_) => false,
        }
    }

    /// As a finding that condemns, unless it is our own machine that failed.
    pub fn finding(&self) -> Finding {
        let (code, severity) = match self {
            Self::NoSsh(_) => ("ssh-missing", Severity::Warn),
            Self::NotReached(_) => ("ssh", Severity::Block),
            Self::Garbled(_) | Self::NoUnits | Self::Broken(_) | Self::TooSlow(_) => {
                ("verify", Severity::Block)
            }
        };
        judge::finding(code, severity, "ssh", self.to_string())
    }
}

/// What excuses the host later: run before the activation, over the shared link. The session
/// stays open, for the rehearsal and for `go`.
///
/// # Errors
/// When the host cannot be asked; the deploy can go on without a baseline, and is then stricter.
pub async fn prelude(
    world: &World,
    request: &Request<'_>,
) -> Result<(Baseline, Session), VerifyError> {
    let mut session = session::start(world, None, request, "baseline", Link::Shared).await?;
    let seen = session.observe().await?;
    Ok((seen.into(), session))
}

/// Opens the one fresh connection; the checks are already running when it returns.
///
/// # Errors
/// [`VerifyError::NotReached`] with ssh's own words when nobody can log in.
pub async fn open(
    world: &World,
    emitter: &Emitter,
    request: &Request<'_>,
) -> Result<Session, VerifyError> {
    let mode = if request.fast { "fast" } else { "verify" };
    session::start(world, Some(emitter.clone()), request, mode, Link::Fresh).await
}

/// A fresh connection that is being made while other things end; dropped, it ends.
pub struct Knock {
    opening: JoinHandle<Result<Session, VerifyError>>,
    since: Duration,
}

impl Knock {
    /// The session; `None`: it was begun so long ago that it tells of another moment.
    pub async fn answered(mut self, world: &World) -> Option<Result<Session, VerifyError>> {
        if world.clock.elapsed().saturating_sub(self.since) > OUTDATED {
            return None;
        }
        (&mut self.opening).await.ok()
    }
}

impl Drop for Knock {
    fn drop(&mut self) {
        self.opening.abort();
    }
}

/// Begins what [`open`] does, and does not wait for it.
pub async fn knock(world: &World, emitter: &Emitter, request: &Request<'_>) -> Option<Knock> {
    let (since, mode) = (world.clock.elapsed(), if request.fast { "fast" } else { "verify" });
    let opening = session::begin(world, Some(emitter.clone()), request, mode, Link::Fresh).await;
    Some(Knock { opening: tokio::spawn(opening.ok()?), since })
}

/// The same over the connection that is there, for evidence when no fresh one can be made.
///
/// # Errors
/// When that one is gone too.
pub async fn open_shared(
    world: &World,
    emitter: &Emitter,
    request: &Request<'_>,
) -> Result<Session, VerifyError> {
    session::start(world, Some(emitter.clone()), request, "fast", Link::Shared).await
}

/// Arguments of `main` in session.sh.
fn arguments(request: &Request<'_>, mode: &str, probes: usize) -> Vec<String> {
    let known = |name: &&String| Address::new(name.as_str()).is_ok() && !is_ip(name);
    let mut words = vec![
        mode.to_owned(),
        request.transaction.unwrap_or("-").to_owned(),
        request.old.to_string(),
        request.new.to_string(),
        request.cursor.to_owned(),
        probes.to_string(),
        planned(request.planned),
    ];
    words.extend(request.names.iter().filter(known).take(8).cloned());
    words
}

/// Names of units as one word of arguments; what is no such name is left out.
fn planned(units: &[String]) -> String {
    let named = units.iter().filter(|u| session::is_plain(u) && u.contains('.'));
    named.take(200).map(String::as_str).collect::<Vec<_>>().join(" ")
}

fn is_ip(name: &str) -> bool {
    name.parse::<std::net::IpAddr>().is_ok()
}

/// Time for the checks: the host's budget, and what its slowest health check may take.
fn budget(host: &Host) -> Duration {
    let slowest = host.health.iter().map(|p| p.timeout_s).max().unwrap_or(0);
    Duration::from_secs(u64::from(host.verify_timeout_s.max(slowest.saturating_add(25))))
}
