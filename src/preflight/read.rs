//! Asking a host for its facts: several addresses, three rounds, one round trip each.
//!
//! What is behind the first part costs a host some forty programs. Who may need it or not
//! ([`Rest`]) leaves the shell there waiting for the second half of its script.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::event::harmless;
use crate::fleet::{Host, Sudo};
use crate::world::password::password;
use crate::world::ssh::{self, Failure, Link, Target};
use crate::world::{Ended, Invocation, Stream, World};

use super::answer::{self, LAST, Oddity, PART};
use super::facts::{Early, Facts};
use super::refused::Refused;

/// The script, in the order in which it is sent.
pub const SCRIPT: &str = concat!(include_str!("../commit/bootloader.sh"), include_str!("facts.sh"));
/// The end of the first part in the script.
const FIRST_PART: &str = "\nearly \"$@\"\n";
/// What follows when the first part is all that is wanted.
const NO_REST: &str = r#"say login "${SUDO_USER:-${USER:-}}"
if [ "$guard" = busy ]; then
say tx "$(readlink "$root/run/nixdeploy/current")"
say tx_current 1
for name in owner phase; do word "$root/run/nixdeploy/current/$name"; say "tx_$name" "$word"; done
fi
say end 0
"#;
/// Wait before the second round; doubled before the third.
const BACK_OFF: Duration = Duration::from_secs(1);
/// After this long the rest is asked for, wanted or not: whoever waits does not wait in vain.
const PATIENCE: Duration = Duration::from_secs(5);
/// A host that needs longer has a sick disk or bus.
const LIMIT: Duration = Duration::from_secs(90);
/// What `sudo -n` says where it does not do (sudo 1.9, `sudo.c`).
const PASSWORD_WANTED: &str = "a password is required";
/// Lines kept of what a host says; its facts are a few hundred.
const MOST_LINES: usize = 50_000;

/// How much is asked, and how stubbornly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Rounds over all addresses.
    rounds: u32,
    /// All facts; else the first part and the login user.
    whole: bool,
    /// Seconds that a connection may take; `None`: as every command of ours.
    connect_s: Option<u32>,
    /// A host that says nothing for this long is given up.
    silence: Option<Duration>,
}

impl Effort {
    /// Before a deploy: worth waiting for.
    pub const DEPLOY: Self = Self { rounds: 3, whole: true, connect_s: None, silence: None };
    /// At a glance: everything, but a host that sleeps must not hold up the others.
    pub const GLANCE: Self =
        Self { rounds: 1, whole: true, connect_s: Some(5), silence: Some(Duration::from_secs(12)) };
    /// Whether it answers.
    pub const PING: Self =
        Self { whole: false, silence: Some(Duration::from_secs(6)), ..Self::GLANCE };

    /// After a deploy, for its pointers: a host that is only slow must not pass for lost.
    pub const POINTERS: Self =
        Self { rounds: 2, whole: false, connect_s: None, silence: Some(Duration::from_secs(20)) };

    /// After a way back: how the host is now, beside its pointers.
    pub const AFTERWARDS: Self = Self { whole: true, ..Self::POINTERS };

    /// What is sent at once, and what when the rest is wanted.
    fn script(self) -> (String, String) {
        let script = lean(SCRIPT);
        let at = script.find(FIRST_PART).map_or(script.len(), |at| at + FIRST_PART.len());
        let (first, rest) = script.split_at(at);
        (first.to_owned(), if self.whole { rest } else { NO_REST }.to_owned())
    }

    /// The whole command, with as much of its input.
    fn invocation(self, target: &Target, link: Link, input: &str) -> Invocation {
        let mut invocation = target.script(link, input, &[]).timeout(LIMIT);
        if let Some(seconds) = self.connect_s.filter(|_| !target.here) {
            // ssh takes the first value it is given.
            let option = ["-o".to_owned(), format!("ConnectTimeout={seconds}")];
            invocation.args.splice(..0, option);
        }
        match self.silence {
            Some(limit) => invocation.silence(limit),
            None => invocation,
        }
    }
}

/// Whether all facts of a host are wanted, or the first part may be enough.
#[derive(Debug, Clone)]
pub struct Rest(watch::Receiver<bool>);

/// Asks for the rest: of the connection that is open, and of each that may follow it.
#[derive(Debug)]
pub struct AskRest(watch::Sender<bool>);

impl Rest {
    /// Not before somebody asks.
    pub fn later() -> (AskRest, Self) {
        let (ask, rest) = watch::channel(false);
        (AskRest(ask), Self(rest))
    }

    /// Wanted, or nobody is left to say so.
    async fn wanted(mut self) {
        let _ = self.0.wait_for(|wanted| *wanted).await;
    }

    fn now(&self) -> bool {
        *self.0.borrow()
    }
}

impl AskRest {
    /// Asks.
    pub fn ask(&self) {
        self.0.send_replace(true);
    }
}

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
    /// What was tried in vain before: `ADDRESS: what ssh said`.
    pub attempts: Vec<String>,
}

/// What a host says first, and where: enough to tell that there is nothing to do.
#[derive(Debug, Clone, PartialEq)]
pub struct First {
    /// The first part of its facts.
    pub early: Early,
    /// Where it answers, and whether through sudo.
    pub target: Target,
}

/// A host at each of its addresses, in order.
pub fn targets(host: &Host, world: &World) -> Vec<Target> {
    host.addresses.iter().map(|a| Target::at(host, a.clone(), &world.environment)).collect()
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
    early: oneshot::Sender<First>,
) -> Result<Answered, Refused> {
    let (effort, rest) = (Effort::DEPLOY, None);
    rounds(Ways { world, targets, link, effort, rest }, &mut Some(early)).await
}

/// The same, where the rest may not be wanted.
///
/// # Errors
/// When no address answers as it should.
pub async fn read_if(
    world: &World,
    targets: &[Target],
    link: Link,
    early: oneshot::Sender<First>,
    rest: &Rest,
) -> Result<Answered, Refused> {
    let (effort, rest) = (Effort::DEPLOY, Some(rest));
    rounds(Ways { world, targets, link, effort, rest }, &mut Some(early)).await
}

/// Reads with another effort, for whoever only looks.
///
/// # Errors
/// When no address answers as it should.
pub async fn look(
    world: &World,
    targets: &[Target],
    link: Link,
    effort: Effort,
    early: oneshot::Sender<First>,
) -> Result<Answered, Refused> {
    rounds(Ways { world, targets, link, effort, rest: None }, &mut Some(early)).await
}

/// How a host is asked, over which addresses.
#[derive(Clone, Copy)]
struct Ways<'a> {
    world: &'a World,
    targets: &'a [Target],
    link: Link,
    effort: Effort,
    rest: Option<&'a Rest>,
}

async fn rounds(
    ways: Ways<'_>,
    early: &mut Option<oneshot::Sender<First>>,
) -> Result<Answered, Refused> {
    let Ways { world, targets, link, effort, rest } = ways;
    let mut attempts = Vec::new();
    for round in 0..effort.rounds {
        if round > 0 {
            world.clock.sleep(BACK_OFF * (1 << (round - 1))).await;
        }
        for target in targets {
            let ask = Ask { world, target, link, effort, rest };
            match ask.as_root(early).await {
                Ok(answered) => return Ok(Answered { attempts, ..answered }),
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

/// One question to one address.
#[derive(Clone, Copy)]
struct Ask<'a> {
    world: &'a World,
    target: &'a Target,
    link: Link,
    effort: Effort,
    rest: Option<&'a Rest>,
}

impl Ask<'_> {
    /// Asks; once more through sudo when ssh's own configuration logged us in as somebody; and once
    /// more with the password where sudo wants one.
    async fn as_root(
        self,
        early: &mut Option<oneshot::Sender<First>>,
    ) -> Result<Answered, Trouble> {
        let mut target = self.target.clone();
        let mut answer = Ask { target: &target, ..self }.once(early).await;
        // With a master that persists, ssh takes a ProxyCommand's words away (`ssh_proxy_connect`
        // in sshconnect.c): why a host on the way refused is only said to whoever comes without.
        if !target.jumps.is_empty() && matches!(answer, Err(Trouble::Again(_))) {
            answer = Ask { target: &target, link: Link::Fresh, ..self }.once(early).await;
        }
        if let Some(said) = unelevated(&answer)
            && target.sudo == Sudo::Auto
            && !target.elevates()
            && said.is_empty()
        {
            target.sudo = Sudo::Always;
            answer = Ask { target: &target, ..self }.once(early).await;
        }
        let Some(said) = unelevated(&answer).filter(|s| s.contains(PASSWORD_WANTED)) else {
            return answer;
        };
        match password(&self.world.prompt, target.address.as_str()).await {
            Ok(given) => {
                target.password = Some(given);
                Ask { target: &target, ..self }.once(early).await
            }
            Err(why) => {
                let user = target.user.as_ref().map(ToString::to_string).unwrap_or_default();
                let said = format!("{said}; {why}");
                Err(Trouble::Refused(Refused::NoElevation { user, said }))
            }
        }
    }

    async fn once(self, early: &mut Option<oneshot::Sender<First>>) -> Result<Answered, Trouble> {
        let Self { world, target, link, effort, rest } = self;
        let started = world.clock.elapsed();
        let (first, second) = effort.script();
        let rest = rest.filter(|rest| !rest.now());
        let invocation = match rest {
            Some(_) => effort.invocation(target, link, &first).conversing(),
            None => effort.invocation(target, link, &(first + &second)),
        };
        let mut talk = world.start(invocation).await.map_err(|e| no_ssh(&e.to_string()))?;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut latency = None;
        let mut wanted = pin!(async {
            match rest {
                Some(rest) => tokio::select! {
                    () = rest.clone().wanted() => {}
                    () = world.clock.sleep(PATIENCE) => {}
                },
                None => std::future::pending().await,
            }
        });
        let mut held = rest.is_some();
        loop {
            let line = tokio::select! {
                biased;
                line = talk.line() => line,
                () = &mut wanted, if held => {
                    held = false;
                    talk.say(&second).await;
                    talk.hush();
                    continue;
                }
            };
            let Some(line) = line else { break };
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
        let (target, attempts) = (target.clone(), Vec::new());
        Ok(Answered { facts, oddities, latency_ms, target, attempts })
    }
}

/// What sudo said, if it was in the way; nothing, if it was not tried.
fn unelevated(answer: &Result<Answered, Trouble>) -> Option<String> {
    match answer {
        Err(Trouble::Refused(Refused::NoElevation { said, .. })) => Some(said.clone()),
        _ => None,
    }
}

/// Sends the first part on, unless it was read by somebody who is not root.
fn hand_over(
    out: &[String],
    target: &Target,
    early: &mut Option<oneshot::Sender<First>>,
) -> Result<(), Trouble> {
    let (part, _) = answer::parse_early(out);
    if part.uid != Some(0) {
        let user = target.user.as_ref().map(ToString::to_string).unwrap_or_default();
        return Err(Trouble::Refused(Refused::NoElevation { user, said: String::new() }));
    }
    if let Some(sender) = early.take() {
        // Nobody may be waiting for it any more; that is no fault of the host.
        let _ = sender.send(First { early: part, target: target.clone() });
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
