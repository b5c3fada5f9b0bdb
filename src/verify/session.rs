//! The conversation with `session.sh`: checks, questions, requests to the guard, the end.

use std::collections::BTreeMap;
use std::time::Duration;

use super::judge::{Expectation, judge};
use super::observe::{Observed, Reader};
use super::probe::{self, ProbeResult, ProbeState, Sent};
use super::{Request, SCRIPT, VerifyError, arguments, budget, journal, steps, units};
use crate::event::stream::Emitter;
use crate::event::{Event, Evidence, harmless};
use crate::fleet::{HostName, Probe};
use crate::plan::{Finding, Phase, Severity};
use crate::world::ssh::{Link, diagnose};
use crate::world::{Conversation, Ended, Stream, World};

/// From the start of ssh to the script's first line; ssh itself gives up connecting after ten.
const HELLO: Duration = Duration::from_secs(30);
/// For questions that only read.
const QUESTION: Duration = Duration::from_secs(30);
/// Units with evidence, and lines of each.
const CAPTURED: usize = 10;
const EVIDENCE_LINES: usize = 50;
/// Lines of an answer of the guard, and of ssh's own complaints.
const ANSWER_LINES: usize = 1000;
const COMPLAINTS: usize = 50;

/// An open session; dropping it ends ssh, and the script cleans up behind itself.
pub struct Session {
    world: World,
    emitter: Option<Emitter>,
    host: HostName,
    talk: Conversation,
    complaints: Vec<String>,
    probes: Vec<Probe>,
    answered: BTreeMap<usize, ProbeState>,
    checks_limit: Duration,
    /// From the start of ssh to the first word of the host, in milliseconds.
    greeted_ms: u64,
    /// It talks to the machine that we run on, over no connection.
    here: bool,
    guard_limit: Duration,
}

/// What the guard said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardAnswer {
    /// Its lines, as it printed them: outside text.
    pub lines: Vec<String>,
    /// Its exit status.
    pub rc: i32,
}

/// The session is gone: what was asked may have been done or not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the connection was lost: {reason}")]
pub struct Lost {
    /// What ssh said.
    pub reason: String,
}

/// What the checks found, judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Examined {
    /// What is true of the host.
    pub observed: Observed,
    /// What is wrong with it, the worst first.
    pub findings: Vec<Finding>,
}

/// Starts the script and sends the health checks.
pub(super) async fn start(
    world: &World,
    emitter: Option<Emitter>,
    request: &Request<'_>,
    mode: &str,
    link: Link,
) -> Result<Session, VerifyError> {
    begin(world, emitter, request, mode, link).await?.await
}

/// Starts ssh; what it gives waits for the script's first word and sends the health checks.
pub(super) async fn begin(
    world: &World,
    emitter: Option<Emitter>,
    request: &Request<'_>,
    mode: &str,
    link: Link,
) -> Result<impl Future<Output = Result<Session, VerifyError>> + use<>, VerifyError> {
    let probes = if mode == "fast" { Vec::new() } else { request.host.health.clone() };
    let (sent, answered) = probe::plan(&probes, request.scripts);
    let words = arguments(request, mode, sent.len());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let invocation = request.target.script(link, SCRIPT, &words).conversing();
    let host = request.host;
    let commit_s = u64::from(host.commit_timeout_s) + u64::from(host.activate_timeout_s) + 60;
    let began = world.clock.elapsed();
    let mut session = Session {
        talk: world.start(invocation).await?,
        world: world.clone(),
        emitter,
        host: host.name.clone(),
        complaints: Vec::new(),
        probes,
        answered,
        checks_limit: budget(host),
        greeted_ms: 0,
        here: request.target.here,
        guard_limit: Duration::from_secs(commit_s),
    };
    Ok(async move {
        session.greet(&sent).await?;
        let took = session.world.clock.elapsed().saturating_sub(began);
        session.greeted_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        Ok(session)
    })
}

impl Session {
    /// Waits for the script's first line, and only then sends more (see session.sh).
    async fn greet(&mut self, sent: &[Sent]) -> Result<(), VerifyError> {
        match self.line(HELLO).await {
            Heard::Line(line) if line == "nixdeploy-verify=1" => {}
            Heard::Line(line) => return Err(VerifyError::Garbled(harmless::line(&line))),
            Heard::Nothing => {
                let silence = format!("timed out: no answer within {} s", HELLO.as_secs());
                return Err(VerifyError::NotReached(diagnose(&[silence])));
            }
            Heard::End => return Err(VerifyError::NotReached(diagnose(&self.complaints))),
        }
        for probe in sent {
            // a host that no longer listens shows when its answer is read
            self.talk.say(&probe.message()).await;
        }
        Ok(())
    }

    /// Milliseconds from the start of ssh to the host's first word.
    pub fn greeted_ms(&self) -> u64 {
        self.greeted_ms
    }

    /// What is true of the host; runs the checks from here meanwhile. Once per session.
    ///
    /// # Errors
    /// When the connection breaks, or the checks take too long.
    pub async fn observe(&mut self) -> Result<Observed, VerifyError> {
        let (world, probes) = (self.world.clone(), self.probes.clone());
        let from_here = probe::here(&world, &probes);
        let (read, here) = tokio::join!(self.read_checks(), from_here);
        let (mut seen, answers) = read?.finish();
        self.answered.extend(here);
        for (at, probe) in probes.iter().enumerate().take(probe::PROBES) {
            let result = match self.answered.get(&at) {
                Some(state) => ProbeResult {
                    label: probe::label(&probe.check),
                    state: state.clone(),
                    said: Vec::new(),
                },
                None => answers.result(at, probe),
            };
            seen.probes.push(result);
        }
        if let Some(emitter) = &self.emitter {
            let (host, vitals) = (self.host.clone(), seen.vitals.clone());
            if vitals.cpus > 0 {
                emitter.emit(Event::Measured { host, after: true, vitals });
            }
        }
        Ok(seen)
    }

    async fn read_checks(&mut self) -> Result<Reader, VerifyError> {
        let mut reader = Reader::default();
        let mut left = Budget::new(&self.world, self.checks_limit);
        loop {
            match self.line(left.rest()).await {
                Heard::Line(line) if reader.take(&line) => return Ok(reader),
                Heard::Line(_) => {}
                Heard::Nothing => return Err(VerifyError::TooSlow(self.checks_limit.as_secs())),
                Heard::End => return Err(VerifyError::Broken(self.last_words())),
            }
        }
    }

    /// Observes, asks again about units that are missing, judges, and keeps the evidence: as
    /// events and in the result.
    ///
    /// # Errors
    /// As [`Session::observe`].
    pub async fn examine(&mut self, expect: &Expectation<'_>) -> Result<Examined, VerifyError> {
        let mut observed = self.observe().await?;
        if !observed.complete() {
            return Err(VerifyError::NoUnits);
        }
        let mut missing = observed.missing(expect.units);
        missing.retain(|name| is_plain(name));
        if !missing.is_empty() {
            let words: Vec<&str> = [&["details"], missing.as_slice()].concat();
            let lines = self.ask(&words, QUESTION).await;
            let lines = lines.map_err(|lost| VerifyError::Broken(lost.reason))?.lines;
            for (key, value) in lines.iter().filter_map(|l| l.split_once('=')) {
                units::take(&mut observed.units, &mut observed.restarts, key, value);
            }
        }
        let mut findings = judge(expect, &observed);
        // evidence that cannot be had changes nothing about what was found
        let journals = self.journals(&observed, &findings).await.unwrap_or_default();
        explain(&mut findings, &journals);
        if let Some(emitter) = &self.emitter {
            for finding in &findings {
                let (host, finding) = (Some(self.host.clone()), finding.clone());
                emitter.emit(Event::Found { host, phase: Phase::Verify, finding });
            }
            let told = steps::steps(expect, &observed, &findings, self.greeted_ms);
            for step in told.into_iter().filter(|s| !self.here || s.name != steps::CONTACT) {
                emitter.step(Some(&self.host), step);
            }
        }
        self.keep_all(&observed, journals);
        Ok(Examined { observed, findings })
    }

    /// The last journal lines of each unit that condemns.
    async fn journals(&mut self, seen: &Observed, found: &[Finding]) -> Result<Journals, Lost> {
        let condemned = found.iter().filter(|f| f.severity == Severity::Block);
        let mut names: Vec<&str> = condemned.map(|f| f.subject.as_str()).collect();
        names.retain(|name| is_plain(name) && seen.units.contains_key(*name));
        names.truncate(CAPTURED);
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let words: Vec<&str> = [&["evidence"], names.as_slice()].concat();
        let answer = self.ask(&words, QUESTION).await?;
        Ok(evidence(&answer.lines))
    }

    fn keep_all(&self, seen: &Observed, journals: Journals) {
        for (name, lines) in journals {
            let status = seen.units.get(&name).map_or(String::new(), units::Unit::status);
            self.keep(&name, &status, lines);
        }
        for result in seen.probes.iter().take(probe::PROBES) {
            if let ProbeState::Failed(status) | ProbeState::Unknown(status) = &result.state {
                let from = result.said.len().saturating_sub(EVIDENCE_LINES);
                self.keep(&result.label, status, result.said[from..].to_vec());
            }
        }
    }

    fn keep(&self, source: &str, status: &str, lines: Vec<String>) {
        let Some(emitter) = &self.emitter else { return };
        let evidence =
            Evidence { source: harmless::line(source), status: harmless::line(status), lines };
        emitter.emit(Event::Captured { host: self.host.clone(), evidence });
    }

    /// Asks the guard of the transaction: commit, abort, state. Words only, see session.sh.
    ///
    /// # Errors
    /// When the connection breaks or nothing is heard in time: the guard may have acted or not.
    pub async fn guard(&mut self, words: &[&str]) -> Result<GuardAnswer, Lost> {
        let mut lines = Vec::new();
        let rc = self.guard_heard(words, &mut |line| lines.push(line.to_owned())).await?;
        Ok(GuardAnswer { lines, rc })
    }

    /// The same, each line handed on as it comes; gives the guard's exit status.
    ///
    /// # Errors
    /// As [`Session::guard`].
    pub async fn guard_heard(
        &mut self,
        words: &[&str],
        heard: &mut (dyn FnMut(&str) + Send),
    ) -> Result<i32, Lost> {
        let words: Vec<&str> = [&["guard"], words].concat();
        self.ask_heard(&words, self.guard_limit, heard).await
    }

    /// What the new system says of itself: the script that came with the guard.
    ///
    /// # Errors
    /// When the connection breaks or nothing is heard in time; nothing was changed.
    pub async fn rehearse(&mut self, new: &str, seconds: u32) -> Result<GuardAnswer, Lost> {
        let (each, mut lines) = (seconds.to_string(), Vec::new());
        let limit = Duration::from_secs(u64::from(seconds) * 2 + 30);
        let words = ["rehearse", new, &each];
        let rc = self.ask_heard(&words, limit, &mut |line| lines.push(line.to_owned())).await?;
        Ok(GuardAnswer { lines, rc })
    }

    /// Relayed lines, without what marks them as such.
    async fn ask_heard(
        &mut self,
        words: &[&str],
        limit: Duration,
        heard: &mut (dyn FnMut(&str) + Send),
    ) -> Result<i32, Lost> {
        self.ask_each(words, limit, &mut |line| heard(line.strip_prefix("line=").unwrap_or(line)))
            .await
    }

    /// One line out, lines back until `done=`.
    async fn ask(&mut self, words: &[&str], limit: Duration) -> Result<GuardAnswer, Lost> {
        let mut lines = Vec::new();
        let mut keep = |line: &str| {
            if lines.len() < ANSWER_LINES {
                lines.push(line.to_owned());
            }
        };
        let rc = self.ask_each(words, limit, &mut keep).await?;
        Ok(GuardAnswer { lines, rc })
    }

    async fn ask_each(
        &mut self,
        words: &[&str],
        limit: Duration,
        heard: &mut (dyn FnMut(&str) + Send),
    ) -> Result<i32, Lost> {
        if let Some(bad) = words.iter().find(|w| !is_plain(w)) {
            return Err(Lost { reason: format!("'{}' is no word", harmless::line(bad)) });
        }
        let line = format!("{}\n", words.join(" "));
        if !self.talk.say(&line).await {
            return Err(Lost { reason: self.last_words() });
        }
        let mut left = Budget::new(&self.world, limit);
        loop {
            match self.line(left.rest()).await {
                Heard::Line(line) => match line.strip_prefix("done=") {
                    Some(rc) => return Ok(rc.parse().unwrap_or(-1)),
                    None => heard(&line),
                },
                Heard::Nothing => {
                    return Err(Lost { reason: format!("no answer within {} s", limit.as_secs()) });
                }
                Heard::End => return Err(Lost { reason: self.last_words() }),
            }
        }
    }

    /// Ends it in good order.
    pub async fn close(mut self) {
        self.talk.say("quit\n").await;
        let mut left = Budget::new(&self.world, Duration::from_secs(5));
        while let Heard::Line(_) = self.line(left.rest()).await {}
    }

    /// The next line of the script; what ssh says on the side is kept for a diagnosis.
    async fn line(&mut self, limit: Duration) -> Heard {
        let sleep = self.world.clock.sleep(limit);
        tokio::pin!(sleep);
        loop {
            let line = tokio::select! {
                line = self.talk.line() => line,
                () = &mut sleep => return Heard::Nothing,
            };
            match line {
                None => return Heard::End,
                Some(line) if line.stream == Stream::Out => return Heard::Line(line.text),
                Some(line) if self.complaints.len() < COMPLAINTS => self.complaints.push(line.text),
                Some(_) => {}
            }
        }
    }

    fn last_words(&self) -> String {
        let last = self.complaints.iter().rev().find(|l| !l.trim().is_empty());
        last.map_or_else(|| Ended::Killed.to_string(), |l| harmless::line(l))
    }
}

enum Heard {
    Line(String),
    /// For too long.
    Nothing,
    End,
}

/// Time that is left of a limit.
struct Budget {
    clock: crate::world::Clock,
    until: Duration,
}

impl Budget {
    fn new(world: &World, limit: Duration) -> Self {
        Self { clock: world.clock, until: world.clock.elapsed() + limit }
    }

    fn rest(&mut self) -> Duration {
        self.until.saturating_sub(self.clock.elapsed())
    }
}

/// Units with their last journal lines.
type Journals = Vec<(String, Vec<String>)>;

/// A unit that loops is running again when one looks: how it ended is in its journal only.
fn explain(findings: &mut [Finding], journals: &Journals) {
    for finding in findings.iter_mut().filter(|f| f.code == "crash-loop") {
        let journal = journals.iter().find(|(name, _)| *name == finding.subject);
        let ends = journal.into_iter().flat_map(|(_, lines)| lines);
        let last = ends.filter_map(|l| l.split_once("Main process exited, code=")).next_back();
        if let Some((_, how)) = last {
            finding.message = harmless::line(&format!("{}; last end: {how}", finding.message));
        }
    }
}

/// The same set as in session.sh.
pub(super) fn is_plain(word: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._:/+=@\\-".contains(&b);
    !word.is_empty() && word.bytes().all(plain)
}

/// The answer to `evidence`: each unit with its lines, the last fifty.
fn evidence(lines: &[String]) -> Journals {
    let mut units = Journals::new();
    for line in lines {
        if let Some(name) = line.strip_prefix("evidence=") {
            units.push((name.to_owned(), Vec::new()));
        } else if let Some((_, kept)) = units.last_mut() {
            kept.extend(journal::message_lines(line));
        }
    }
    for (_, kept) in &mut units {
        kept.drain(..kept.len().saturating_sub(EVIDENCE_LINES));
    }
    units
}
