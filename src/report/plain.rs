//! One line per change of state, for pipes, files and CI: `HH:MM:SS host phase state key=value`.

use std::io;

use super::Sink;
use super::door;
use super::look::{Look, short, ticking};
use super::words;
use crate::event::state::RunState;
use crate::event::{Changes, Event, Finding, Phase, PhaseResult, Severity, Stamped};
use crate::fleet::{Generation, HostName};

/// Silence after which a line says that the run is alive.
const HEARTBEAT_MS: u64 = 30_000;

/// Where lines go.
pub type Out = Box<dyn FnMut(&str) -> io::Result<()> + Send>;

/// Writes lines.
pub struct Plain {
    look: Look,
    verbose: bool,
    spoke_ms: u64,
    out: Out,
}

impl Plain {
    /// On standard error.
    pub fn new(look: Look, verbose: bool) -> Self {
        Self::on(look, verbose, Box::new(door::try_err))
    }

    /// On anything.
    pub fn on(look: Look, verbose: bool, out: Out) -> Self {
        Self { look, verbose, spoke_ms: 0, out }
    }

    fn say(&mut self, at_ms: i64, text: &str) -> io::Result<()> {
        let line = self.look.shown(text);
        (self.out)(&format!("{} {}\n", self.look.clock(at_ms), line.trim_end()))
    }
}

/// The text of an event behind its time, or nothing for events that change no state.
pub fn line_of(stamped: &Stamped, state: &RunState, look: &Look, verbose: bool) -> Option<String> {
    match &stamped.event {
        Event::RunStarted { .. }
        | Event::Planned { .. }
        | Event::Cleared { .. }
        | Event::Answered { .. }
        | Event::InterruptReceived { .. }
        | Event::RunFinished { .. } => of_run(&stamped.event, state),
        Event::PhaseStarted { .. }
        | Event::PhaseEnded { .. }
        | Event::StepEnded { .. }
        | Event::Armed { .. }
        | Event::GenerationMoved { .. }
        | Event::Reconnected { .. }
        | Event::HostFinished { .. } => of_host(&stamped.event, state, look),
        Event::Line { host, phase, text } if verbose => {
            Some(format!("{host} {} line {text}", phase.word()))
        }
        Event::Found { host, phase, finding } if finding.severity >= Severity::Warn => {
            Some(found(host.as_ref(), *phase, finding))
        }
        Event::Captured { host, evidence } => {
            let (source, status) = (value(&evidence.source), value(&evidence.status));
            Some(format!("{host} - evidence source={source} status={status}"))
        }
        Event::ChangesFound { host, changes } => Some(changed(host, changes)),
        Event::Line { .. }
        | Event::Found { .. }
        | Event::Progress { .. }
        | Event::BuildsCounted { .. }
        | Event::FactsRead { .. }
        | Event::Measured { .. }
        | Event::ClosureKnown { .. }
        | Event::Copied { .. }
        | Event::Recommended { .. }
        | Event::Settled { .. }
        | Event::Unknown => None,
    }
}

fn of_run(event: &Event, state: &RunState) -> Option<String> {
    Some(match event {
        Event::RunStarted { run, command, operator, .. } => {
            let command = value(&words::typed_line(command));
            format!("- run started run={run} command={command} operator={}", value(operator))
        }
        Event::Planned { plan } => {
            format!("- run planned hosts={} waves={}", plan.hosts().count(), plan.waves.len())
        }
        Event::Cleared { tree, waived: None, files } => {
            format!("- check cleared files={files} tree={}", value(tree))
        }
        Event::Cleared { waived: Some(why), .. } => format!("- check waived reason={}", value(why)),
        Event::InterruptReceived { signal } => format!("- run interrupted signal={signal}"),
        Event::Answered { waited_ms } => format!("- run answered waited={}", short(*waited_ms)),
        Event::RunFinished { .. } => {
            let exit = words::exit_of_run(state) as u8;
            format!("- run finished took={} exit={exit}", short(words::total(state)))
        }
        _ => return None,
    })
}

fn of_host(event: &Event, state: &RunState, look: &Look) -> Option<String> {
    Some(match event {
        Event::PhaseStarted { host, phase } => format!("{host} {} started", phase.word()),
        Event::PhaseEnded { host, phase, result, note, took_ms } => {
            let took = short(*took_ms);
            format!("{host} {} {} took={took}", phase.word(), ended(result, note))
        }
        Event::StepEnded { host, step } => {
            let place = host.as_ref().map_or("-", |h| h.as_str());
            let (phase, name) = (step.phase.word(), value(&step.name));
            let ended = ended(&step.result, &step.note);
            let took = match step.took_ms {
                0 => String::new(),
                ms => format!(" took={}", short(ms)),
            };
            format!("{place} {phase} step={name} {ended}{took}")
        }
        Event::Armed { host, transaction, decides_by_ms } => {
            let by = look.clock(*decides_by_ms);
            format!("{host} activate armed transaction={transaction} decides_by={by}")
        }
        Event::Reconnected { host, gap_ms } => {
            format!("{host} - reconnected gap={}", short(*gap_ms))
        }
        Event::GenerationMoved { host, from, to } => {
            let text = |g: &Option<Generation>| g.map_or("-".to_owned(), |g| g.to_string());
            format!("{host} commit generation from={} to={}", text(from), text(to))
        }
        Event::HostFinished { host, report } => {
            let known = state.host(host);
            let word = known.map_or("finished", |h| words::result(h, words::goal(state)));
            let code = crate::exit::of_outcome(&report.outcome) as u8;
            let phase = report.phase.map_or("-", |p| p.word());
            let note = key("note", &report.note);
            format!("{host} {phase} finished result={word} exit={code}{note}")
        }
        _ => return None,
    })
}

fn found(host: Option<&HostName>, phase: Phase, finding: &Finding) -> String {
    let place = host.map_or("-", |h| h.as_str());
    let word = if finding.severity == Severity::Block { "block" } else { "warn" };
    let (subject, message) = (value(&finding.subject), value(&finding.message));
    let (phase, code) = (phase.word(), &finding.code);
    format!("{place} {phase} {word} code={code} subject={subject} message={message}")
}

fn changed(host: &HostName, changes: &Changes) -> String {
    let units = changes.units.restart.len() + changes.units.start.len();
    let packages = changes.packages.as_ref().map_or("unknown".to_owned(), |p| p.len().to_string());
    let reboot = changes.reboot_required;
    format!("{host} build changes packages={packages} units={units} reboot={reboot}")
}

fn key(key: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" {key}={}", value(text)) }
}

fn ended(result: &PhaseResult, note: &str) -> String {
    match result {
        PhaseResult::Ok => format!("ok{}", key("note", note)),
        PhaseResult::Skipped { because } => format!("skipped{}", key("because", because)),
        PhaseResult::Failed { because } => format!("failed{}", key("because", because)),
    }
}

/// A value that can be split off again: quoted when it holds a space or a quote.
fn value(text: &str) -> String {
    if !text.is_empty() && !text.contains([' ', '"', '=', '\n']) {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// `working="p620 build 72s, razer copy 3s"`: at most five hosts.
fn alive(state: &RunState, now_ms: u64) -> String {
    let busy: Vec<String> = state
        .hosts
        .iter()
        .filter_map(|h| h.current.map(|(phase, began)| (h, phase, began)))
        .map(|(h, phase, began)| {
            let doing = h.progress.as_ref().filter(|p| !p.0.is_empty());
            let doing = doing.map_or(String::new(), |p| format!(" ({})", p.0));
            let time = ticking(now_ms.saturating_sub(began));
            format!("{} {} {time}{doing}", h.name, phase.word())
        })
        .collect();
    let more = busy.len().saturating_sub(5);
    let mut text = busy.into_iter().take(5).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(", {more} more"));
    }
    format!("- run alive elapsed={} working={}", ticking(now_ms), value(&text))
}

impl Sink for Plain {
    fn event(&mut self, stamped: &Stamped, state: &RunState) -> io::Result<()> {
        match line_of(stamped, state, &self.look, self.verbose) {
            Some(text) => {
                self.spoke_ms = stamped.elapsed_ms;
                self.say(stamped.at_ms, &text)
            }
            None => Ok(()),
        }
    }

    fn tick(&mut self, state: &RunState, now_elapsed_ms: u64) {
        if now_elapsed_ms.saturating_sub(self.spoke_ms) >= HEARTBEAT_MS {
            self.spoke_ms = now_elapsed_ms;
            let at = state.started_ms.saturating_add(now_elapsed_ms.cast_signed());
            let _ = self.say(at, &alive(state, now_elapsed_ms));
        }
    }

    fn finish(&mut self, _state: &RunState) -> io::Result<()> {
        Ok(())
    }
}
