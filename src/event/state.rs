//! The fold: what a reader of the stream knows so far.
//!
//! Terminal, recap, summary, metrics and exit code all read this and nothing else, so they can
//! not disagree; and a stored log gives the same answers as the run itself.

use std::collections::BTreeMap;

use super::facts::{Changes, Evidence, Pointers, Step, Vitals};
use super::{Event, Finding, HostReport, Phase, PhaseResult, Stamped};
use crate::fleet::{Generation, HostName, StorePath};
use crate::plan::Plan;

/// Everything known of a run.
#[derive(Debug, Clone, Default)]
pub struct RunState {
    /// Short name of the run.
    pub run: String,
    /// The command with its arguments.
    pub command: Vec<String>,
    /// Who.
    pub operator: String,
    /// Version of the program.
    pub version: String,
    /// The flake.
    pub flake: Option<String>,
    /// Issue number.
    pub issue: Option<u64>,
    /// The user's sentence.
    pub message: Option<String>,
    /// The run whose transactions this one brings to their end.
    pub recovers: Option<String>,
    /// When it began, milliseconds since the epoch.
    pub started_ms: i64,
    /// Milliseconds since then.
    pub elapsed_ms: u64,
    /// When the run stood still for an answer: milliseconds since its start, from and to.
    pub waits: Vec<(u64, u64)>,
    /// Derivations that are built on this machine for all hosts together: done, in all.
    pub builds: (u64, u64),
    /// What was to be done.
    pub plan: Option<Plan>,
    /// Hosts in the order of the plan.
    pub hosts: Vec<HostState>,
    /// Name of the tree's content, files looked at, and why it was waived.
    pub cleared: Option<(String, usize, Option<String>)>,
    /// Findings in the tree.
    pub tree_findings: Vec<Finding>,
    /// Parts of phases that ended in the tree.
    pub tree_steps: Vec<Step>,
    /// The signal that asked to stop.
    pub interrupted: Option<String>,
    /// Whether the last event was seen.
    pub finished: bool,
    /// Whether its process still lives: known of a kept log only, and not from its events.
    pub alive: bool,
}

/// Everything known of one host.
#[derive(Debug, Clone)]
pub struct HostState {
    /// Which.
    pub name: HostName,
    /// The phase it is in.
    pub current: Option<(Phase, u64)>,
    /// Phases that began and did not end, with the milliseconds they began at.
    pub open: BTreeMap<Phase, u64>,
    /// Phases that ended: result, note, milliseconds.
    pub ended: BTreeMap<Phase, (PhaseResult, String, u64)>,
    /// When phases were at work: milliseconds into the run, from and to, in the order they ended.
    pub spans: Vec<(Phase, u64, u64)>,
    /// What it is doing, done, total, unit.
    pub progress: Option<(String, u64, u64, String)>,
    /// The phase that `progress` belongs to.
    pub progress_of: Option<Phase>,
    /// The latest line of output.
    pub line: Option<String>,
    /// Pointers before.
    pub pointers: Option<Pointers>,
    /// Milliseconds of a round trip.
    pub latency_ms: Option<u64>,
    /// Its new closure.
    pub toplevel: Option<StorePath>,
    /// Bytes that went over, and of the whole closure, as far as they are known.
    pub copied: Option<(u64, Option<u64>)>,
    /// Vitals before.
    pub vitals_before: Option<Vitals>,
    /// Vitals after.
    pub vitals_after: Option<Vitals>,
    /// What changes.
    pub changes: Option<Changes>,
    /// Transaction, and when its guard decides.
    pub armed: Option<(String, i64)>,
    /// Findings on the host.
    pub findings: Vec<(Phase, Finding)>,
    /// Output that explains a failure.
    pub evidence: Vec<Evidence>,
    /// Times contact was lost and found again.
    pub reconnects: u32,
    /// Parts of phases that ended.
    pub steps: Vec<Step>,
    /// Generations made or taken back: before, after.
    pub moves: Vec<(Option<Generation>, Option<Generation>)>,
    /// Advice.
    pub recommendations: Vec<String>,
    /// Earlier runs of which this one found out, or decided, how they end here; with their last
    /// words.
    pub settled: Vec<(String, HostReport)>,
    /// The last word; `None`: still at it, or the run was cut off.
    pub report: Option<HostReport>,
    /// Milliseconds into the run when its first phase began.
    pub began_ms: Option<u64>,
    /// Milliseconds into the run when it finished.
    pub finished_ms: Option<u64>,
    /// What is known beyond the run's own events.
    pub beyond: Beyond,
}

/// What is known of a host without a last word, beyond the events of its run: told from other
/// kept logs.
#[derive(Debug, Clone, Default)]
pub enum Beyond {
    /// Nothing.
    #[default]
    Nothing,
    /// The run goes on in another process.
    Going,
    /// A later run found out what became of it.
    Found {
        /// That run.
        run: String,
        /// What it said of the host.
        report: Box<HostReport>,
    },
}

impl HostState {
    /// One of which nothing is known.
    pub(crate) fn new(name: HostName) -> Self {
        Self {
            name,
            current: None,
            open: BTreeMap::new(),
            ended: BTreeMap::new(),
            spans: Vec::new(),
            progress: None,
            progress_of: None,
            line: None,
            pointers: None,
            latency_ms: None,
            toplevel: None,
            copied: None,
            vitals_before: None,
            vitals_after: None,
            changes: None,
            armed: None,
            findings: Vec::new(),
            evidence: Vec::new(),
            reconnects: 0,
            steps: Vec::new(),
            moves: Vec::new(),
            recommendations: Vec::new(),
            settled: Vec::new(),
            report: None,
            began_ms: None,
            finished_ms: None,
            beyond: Beyond::Nothing,
        }
    }
}

impl RunState {
    /// Folds a whole log.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Stamped>) -> Self {
        let mut state = Self::default();
        for event in events {
            state.apply(event);
        }
        state
    }

    /// A host by name.
    pub fn host(&self, name: &HostName) -> Option<&HostState> {
        self.hosts.iter().find(|h| h.name == *name)
    }

    /// Takes in one event. Events may be missing or repeated; none is an error.
    pub fn apply(&mut self, stamped: &Stamped) {
        self.elapsed_ms = self.elapsed_ms.max(stamped.elapsed_ms);
        match &stamped.event {
            Event::RunStarted { .. } => self.begin(stamped),
            Event::Planned { plan } => {
                for step in plan.hosts() {
                    self.slot(&step.host);
                }
                self.plan = Some(plan.clone());
            }
            Event::Cleared { tree, waived, files } => {
                self.cleared = Some((tree.clone(), *files, waived.clone()));
            }
            Event::Found { host: None, finding, .. } => self.tree_findings.push(finding.clone()),
            Event::StepEnded { host: None, step } => self.tree_steps.push(step.clone()),
            Event::BuildsCounted { done, total } => self.builds = (*done, *total),
            Event::InterruptReceived { signal } => self.interrupted = Some(signal.clone()),
            Event::Answered { waited_ms } => {
                let from = stamped.elapsed_ms.saturating_sub(*waited_ms);
                self.waits.push((from, stamped.elapsed_ms));
            }
            Event::RunFinished { .. } => self.finished = true,
            Event::Unknown => {}
            other => self.apply_to_host(other, stamped.elapsed_ms),
        }
    }

    /// Milliseconds from one moment of the run to another, without those it stood still for an
    /// answer.
    pub fn worked_ms(&self, from: u64, to: u64) -> u64 {
        let waits = self.waits.iter().map(|(began, ended)| {
            let (began, ended) = (*began.max(&from), *ended.min(&to));
            ended.saturating_sub(began)
        });
        to.saturating_sub(from).saturating_sub(waits.sum())
    }

    fn begin(&mut self, stamped: &Stamped) {
        let Event::RunStarted {
            run,
            version,
            command,
            operator,
            flake,
            issue,
            message,
            recovers,
            ..
        } = &stamped.event
        else {
            return;
        };
        self.run.clone_from(run);
        self.version.clone_from(version);
        self.command.clone_from(command);
        self.operator.clone_from(operator);
        self.flake.clone_from(flake);
        self.issue = *issue;
        self.message.clone_from(message);
        self.recovers.clone_from(recovers);
        self.started_ms = stamped.at_ms - stamped.elapsed_ms.cast_signed();
    }

    fn slot(&mut self, name: &HostName) -> &mut HostState {
        let at = self.hosts.iter().position(|h| h.name == *name).unwrap_or_else(|| {
            self.hosts.push(HostState::new(name.clone()));
            self.hosts.len() - 1
        });
        &mut self.hosts[at]
    }

    fn apply_to_host(&mut self, event: &Event, elapsed_ms: u64) {
        let Some(name) = event.host() else { return };
        let host = self.slot(name);
        match event {
            Event::PhaseStarted { phase, .. } => {
                host.current = Some((*phase, elapsed_ms));
                host.open.insert(*phase, elapsed_ms);
                host.began_ms.get_or_insert(elapsed_ms);
                host.progress = None;
            }
            Event::PhaseEnded { phase, result, note, took_ms, .. } => {
                host.ended.insert(*phase, (result.clone(), note.clone(), *took_ms));
                let began = host.open.remove(phase);
                let began = began.unwrap_or_else(|| elapsed_ms.saturating_sub(*took_ms));
                host.spans.push((*phase, began.min(elapsed_ms), elapsed_ms));
                if host.current.is_some_and(|(current, _)| current == *phase) {
                    // Facts, checks and evaluation run side by side: another may still be open.
                    host.current = host.open.iter().next_back().map(|(p, at)| (*p, *at));
                }
            }
            Event::Progress { phase, what, done, total, unit, .. } => {
                host.progress_of = Some(*phase);
                host.progress = Some((what.clone(), *done, *total, unit.clone()));
            }
            Event::Line { text, .. } => host.line = Some(text.clone()),
            Event::HostFinished { report, .. } => {
                host.report = Some(report.clone());
                host.current = None;
                host.open.clear();
                host.finished_ms = Some(elapsed_ms);
            }
            other => host.learn(other),
        }
    }
}

impl HostState {
    fn learn(&mut self, event: &Event) {
        match event {
            Event::FactsRead { pointers, latency_ms, .. } => {
                self.pointers = Some(pointers.clone());
                self.latency_ms = Some(*latency_ms);
            }
            Event::Measured { after: false, vitals, .. } => {
                self.vitals_before = Some(vitals.clone())
            }
            Event::Measured { after: true, vitals, .. } => self.vitals_after = Some(vitals.clone()),
            Event::ChangesFound { changes, .. } => self.changes = Some(changes.clone()),
            Event::Armed { transaction, decides_by_ms, .. } => {
                self.armed = Some((transaction.clone(), *decides_by_ms));
            }
            // A host may be looked at twice; what was seen twice is one thing.
            Event::Found { phase, finding, .. } => {
                let seen = (*phase, finding.clone());
                if !self.findings.contains(&seen) {
                    self.findings.push(seen);
                }
            }
            Event::StepEnded { step, .. } => self.steps.push(step.clone()),
            Event::GenerationMoved { from, to, .. } => self.moves.push((*from, *to)),
            Event::Captured { evidence, .. } => self.evidence.push(evidence.clone()),
            Event::Reconnected { .. } => self.reconnects += 1,
            Event::ClosureKnown { toplevel, .. } => self.toplevel = Some(toplevel.clone()),
            Event::Copied { bytes, closure_bytes, .. } => {
                self.copied = Some((*bytes, *closure_bytes));
            }
            Event::Recommended { text, .. } => self.recommendations.push(text.clone()),
            Event::Settled { run, report, .. } => {
                self.settled.push((run.clone(), (**report).clone()));
            }
            _ => {}
        }
    }
}

impl Event {
    /// The host it is about.
    pub fn host(&self) -> Option<&HostName> {
        match self {
            Self::PhaseStarted { host, .. }
            | Self::PhaseEnded { host, .. }
            | Self::Progress { host, .. }
            | Self::Line { host, .. }
            | Self::FactsRead { host, .. }
            | Self::Measured { host, .. }
            | Self::ChangesFound { host, .. }
            | Self::Armed { host, .. }
            | Self::Captured { host, .. }
            | Self::Reconnected { host, .. }
            | Self::GenerationMoved { host, .. }
            | Self::ClosureKnown { host, .. }
            | Self::Copied { host, .. }
            | Self::Recommended { host, .. }
            | Self::Settled { host, .. }
            | Self::HostFinished { host, .. } => Some(host),
            Self::Found { host, .. } | Self::StepEnded { host, .. } => host.as_ref(),
            Self::RunStarted { .. }
            | Self::Planned { .. }
            | Self::Cleared { .. }
            | Self::BuildsCounted { .. }
            | Self::Answered { .. }
            | Self::InterruptReceived { .. }
            | Self::RunFinished { .. }
            | Self::Unknown => None,
        }
    }
}
