//! Asking a host for its facts: several addresses, three rounds, one round trip each.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::event::harmless;
use crate::fleet::{Host, Sudo};
use crate::world::ssh::{self, Failure, Link, Target};
use crate::world::{Ended, Stream, World};

use super::answer::{self, LAST, Oddity, PART};
use super::facts::{Early, Facts};
use super::refused::Refused;

/// The script, in the order in which it is sent.
pub const SCRIPT: &str = concat!(include_str!("../commit/bootloader.sh"), include_str!("facts.sh"));
/// Rounds over all addresses.
const ROUNDS: u32 = 3;
/// Wait before the second round; doubled before the third.
const BACK_OFF: Duration = Duration::from_secs(1);
/// A host that needs longer has a sick disk or bus.
const LIMIT: Duration = Duration::from_secs(90);
/// Lines kept of what a host says; its facts are a few hundred.
const MOST_LINES: usize = 50_000;

/// What was read, and over which address.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The facts.
    pub facts: Facts,
    /// Lines that were not understood.
    pub oddities: Vec<Oddity>,
    /// From the start of ssh to the end of the first part.
    pub latency_ms: u64,
    /// Where it answered, and whether through sudo: what later phases are to use.
    pub target: Target,
}

/// A host at each of its addresses, in order.
pub fn targets(host: &Host, world: &World) -> Vec<Target> {
    let sockets = &world.environment.sockets;
    host.addresses.iter().map(|a| Target::at(host, a.clone(), sockets)).collect()
}

/// A script without its comments and indentation: bash reads its standard input byte by byte.
pub fn lean(script: &str) -> String {
    let kept = script.lines().map(str::trim_start).filter(|l| !l.is_empty() && !l.starts_with('#'));
    kept.fold(String::with_capacity(script.len()), |text, line| text + line + "\n")
}

/// Reads the facts of a host; the first part is sent on as soon as it is there. Dropping the
/// future ends ssh.
///
/// # Errors
/// When no address answers as it should.
pub async fn read(
    world: &World,
    targets: &[Target],
    link: Link,
    early: oneshot::Sender<Early>,
) -> Result<Answered, Refused> {
    let mut early = Some(early);
    let mut attempts = Vec::new();
    for round in 0..ROUNDS {
        if round > 0 {
            world.clock.sleep(BACK_OFF * (1 << (round - 1))).await;
        }
        for target in targets {
            match ask_as_root(world, target, link, &mut early).await {
                Ok(answered) => return Ok(answered),
                Err(Trouble::Again(what)) => attempts.push(format!("{}: {what}", target.address)),
                Err(Trouble::Refused(refused)) => return Err(refused),
            }
        }
    }
    Err(Refused::Unreachable { attempts })
}

/// Why there is no answer.
enum Trouble {
    /// Worth another attempt.
    Again(String),
    /// Not.
    Refused(Refused),
}

/// Asks; and once more through sudo when ssh's own configuration logged us in as somebody.
async fn ask_as_root(
    world: &World,
    target: &Target,
    link: Link,
    early: &mut Option<oneshot::Sender<Early>>,
) -> Result<Answered, Trouble> {
    let answer = ask(world, target, link, early).await;
    let Err(Trouble::Refused(Refused::NoElevation { ref said, .. })) = answer else {
        return answer;
    };
    if target.sudo != Sudo::Auto || target.elevates() || !said.is_empty() {
        return answer;
    }
    let through_sudo = Target { sudo: Sudo::Always, ..target.clone() };
    ask(world, &through_sudo, link, early).await
}

async fn ask(
    world: &World,
    target: &Target,
    link: Link,
    early: &mut Option<oneshot::Sender<Early>>,
) -> Result<Answered, Trouble> {
    let invocation = target.script(link, &lean(SCRIPT), &[]).timeout(LIMIT);
    let started = world.clock.elapsed();
    let mut talk = world.start(invocation).await.map_err(|e| no_ssh(&e.to_string()))?;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut latency = None;
    while let Some(line) = talk.line().await {
        match line.stream {
            Stream::Err if err.len() < 200 => err.push(line.text),
            Stream::Out if out.len() < MOST_LINES => {
                let part = line.text == PART;
                out.push(line.text);
                if part && latency.is_none() {
                    latency = Some(world.clock.elapsed().saturating_sub(started));
                    hand_over(&out, target, early)?;
                }
            }
            Stream::Err | Stream::Out => {}
        }
    }
    let ended = talk.end().await;
    if out.last().is_none_or(|l| l != LAST) {
        return Err(explain(target, ended, &err));
    }
    let (facts, oddities) = answer::parse(&out);
    let latency_ms = latency.map_or(0, |l| u64::try_from(l.as_millis()).unwrap_or(u64::MAX));
    Ok(Answered { facts, oddities, latency_ms, target: target.clone() })
}

/// Sends the first part on, unless it was read by somebody who is not root.
fn hand_over(
    out: &[String],
    target: &Target,
    early: &mut Option<oneshot::Sender<Early>>,
) -> Result<(), Trouble> {
    let (part, _) = answer::parse_early(out);
    if part.uid != Some(0) {
        let user = target.user.as_ref().map(ToString::to_string).unwrap_or_default();
        return Err(Trouble::Refused(Refused::NoElevation { user, said: String::new() }));
    }
    if let Some(sender) = early.take() {
        // Nobody may be waiting for it any more; that is no fault of the host.
        let _ = sender.send(part);
    }
    Ok(())
}

fn no_ssh(cause: &str) -> Trouble {
    Trouble::Refused(Refused::NoSsh { said: cause.to_owned() })
}

/// An answer without its last line: ssh's failure, sudo's, or the script's own.
fn explain(target: &Target, ended: Ended, err: &[String]) -> Trouble {
    let address = target.address.to_string();
    let user = target.user.as_ref().map(ToString::to_string).unwrap_or_default();
    let by_ssh = matches!(ended, Ended::Exited(255));
    match ssh::diagnose(err) {
        Failure::HostKey(said) if by_ssh => {
            Trouble::Refused(Refused::HostKey { address, said: harmless::line(&said) })
        }
        Failure::Denied(said) if by_ssh => {
            let destination = target.destination();
            Trouble::Refused(Refused::Denied { destination, said: harmless::line(&said) })
        }
        Failure::NoElevation(said) => {
            Trouble::Refused(Refused::NoElevation { user, said: harmless::line(&said) })
        }
        Failure::HostKey(said)
        | Failure::Denied(said)
        | Failure::Unreachable(said)
        | Failure::Broken(said) => match ended {
            Ended::Exited(code) if code != 255 => Trouble::Refused(unreadable(ended, err)),
            Ended::TooMuch => Trouble::Refused(unreadable(ended, err)),
            _ if said.is_empty() => Trouble::Again(ended.to_string()),
            _ => Trouble::Again(harmless::line(&said)),
        },
    }
}

fn unreadable(ended: Ended, err: &[String]) -> Refused {
    let last = err.iter().rev().take(3).rev().map(|l| harmless::line(l));
    Refused::Unreadable { said: std::iter::once(ended.to_string()).chain(last).collect() }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
