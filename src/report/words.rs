//! Words for outcomes, phases and hosts: every renderer takes them from here, so no two disagree.

use super::look::{Ink, Mark, columns_of, count};
use crate::event::state::{Beyond, HostState, RunState};
use crate::event::{Finding, HostReport, Outcome, Phase, PhaseResult, Severity, UnitFate};
use crate::exit::{self, Exit};
use crate::fleet::Generation;
use crate::plan::Goal;
use crate::world::invocation::quote;

/// Every word for how a host ended, and whether it is one that somebody has to look at. What goes
/// on (`under-way`) has not ended, and to decline is an answer.
pub const WORDS: [(&str, bool); 21] = [
    ("changed", false),
    ("unchanged", false),
    ("unhealthy", true),
    ("rolled-back", true),
    ("built", false),
    ("would-change", false),
    ("staged", false),
    ("blocked", true),
    ("not-built", true),
    ("refused", true),
    ("unreachable", true),
    ("skipped", false),
    ("deferred", false),
    ("not-begun", false),
    ("declined", false),
    ("interrupted", true),
    ("foreign", true),
    ("unknown", true),
    ("unfinished", true),
    ("stranded", true),
    ("internal", true),
];

/// How an ending is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Something was done, as wanted.
    Good,
    /// Nothing was to be done, or nothing was done on purpose.
    Quiet,
    /// Not as wanted.
    Bad,
    /// There is no last word on the host.
    Open,
}

impl Tone {
    /// Its colour.
    pub fn ink(self) -> Ink {
        match self {
            Self::Good => Ink::Good,
            Self::Quiet => Ink::Dim,
            Self::Bad => Ink::Bad,
            Self::Open => Ink::Warn,
        }
    }
}

/// How a host's ending is to be taken.
pub fn tone(host: &HostState) -> Tone {
    match host.report.as_ref().map(|r| &r.outcome) {
        None => Tone::Open,
        Some(
            Outcome::Unchanged { .. }
            | Outcome::Planned { .. }
            | Outcome::NotBegun
            | Outcome::Refused { skipped: true, .. },
        ) => Tone::Quiet,
        Some(Outcome::Committed { .. } | Outcome::Staged) => Tone::Good,
        Some(_) => Tone::Bad,
    }
}

/// Whether the run that works on it lives in another process.
pub fn goes_on(host: &HostState) -> bool {
    matches!(host.beyond, Beyond::Going)
}

/// What a later run found of a host that was left undecided, and which run.
pub fn found(host: &HostState) -> Option<(&str, &HostReport)> {
    match &host.beyond {
        Beyond::Found { run, report } => Some((run, report)),
        Beyond::Nothing | Beyond::Going => None,
    }
}

/// One word for the recap: lower case, without spaces, stable.
pub fn result(host: &HostState, goal: Option<Goal>) -> &'static str {
    match &host.report {
        None if goes_on(host) => "under-way",
        None if host.armed.is_some() => "unknown",
        None => "unfinished",
        Some(report) => result_of(&report.outcome, goal),
    }
}

/// One word for how a host ended.
pub fn word(outcome: &Outcome) -> &'static str {
    result_of(outcome, None)
}

/// The same of what was found out later.
pub fn found_word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Unchanged { .. } => "nothing-left",
        other => result_of(other, None),
    }
}

fn result_of(outcome: &Outcome, goal: Option<Goal>) -> &'static str {
    match outcome {
        Outcome::Committed { .. } => "changed",
        Outcome::Unchanged { .. } => "unchanged",
        Outcome::Unhealthy => "unhealthy",
        Outcome::Planned { .. } if goal == Some(Goal::Build) => "built",
        Outcome::Planned { changes: true } => "would-change",
        Outcome::Planned { changes: false } => "unchanged",
        Outcome::Staged => "staged",
        Outcome::Blocked => "blocked",
        Outcome::NotBuilt => "not-built",
        Outcome::Refused { code, skipped: true } if code == "deferred" => "deferred",
        Outcome::Refused { skipped: true, .. } => "skipped",
        Outcome::Refused { code, .. } if code == "unreachable" => "unreachable",
        Outcome::Refused { .. } => "refused",
        Outcome::NotBegun => "not-begun",
        Outcome::RolledBack => "rolled-back",
        Outcome::Declined => "declined",
        Outcome::Interrupted { .. } => "interrupted",
        Outcome::Foreign => "foreign",
        Outcome::Unknown { .. } => "unknown",
        Outcome::Stranded => "stranded",
        Outcome::Internal => "internal",
    }
}

/// What is true of the machine now, as a sentence fragment; `clock` names a moment.
pub fn truth(host: &HostState, goal: Option<Goal>, clock: &dyn Fn(i64) -> String) -> String {
    if let Some((run, found)) = found(host) {
        let told = match found.outcome {
            Outcome::Unchanged { .. } => "nothing of it was left on the host".to_owned(),
            _ => truth_of(&found.outcome, goal, clock),
        };
        return format!("run {run} found it: {told}");
    }
    let decides = host.armed.as_ref().map(|(_, by)| *by);
    match (&host.report, decides) {
        (Some(report), _) => truth_of(&report.outcome, goal, clock),
        (None, Some(by)) if goes_on(host) => {
            format!("under way; left alone, the host would decide by itself by {}", clock(by))
        }
        (None, None) if goes_on(host) => match host.current {
            Some((phase, _)) => format!("under way, in phase {}", phase.word()),
            None => "under way".to_owned(),
        },
        (None, Some(by)) => format!("unknown: the host decides by itself by {}", clock(by)),
        (None, None) => "the log ends before anything was changed on it".to_owned(),
    }
}

fn truth_of(outcome: &Outcome, goal: Option<Goal>, clock: &dyn Fn(i64) -> String) -> String {
    let told = match outcome {
        Outcome::Committed { reboot_required: true } => {
            "deployed and verified; a reboot is needed for the new kernel or initrd"
        }
        Outcome::Committed { reboot_required: false } => "deployed and verified",
        Outcome::Unchanged { verified: true } => "nothing to do; its health was verified",
        Outcome::Unchanged { verified: false } if goal == Some(Goal::DryRun) => {
            "no difference: a deploy would change nothing"
        }
        Outcome::Unchanged { verified: false } => "nothing to do",
        Outcome::Unhealthy => "nothing to do, but it is not healthy; left alone",
        Outcome::Planned { .. } if goal == Some(Goal::Build) => "built; the host was not touched",
        Outcome::Planned { changes: true } => "a deploy would change it; nothing was changed",
        Outcome::Planned { changes: false } => "a deploy would change nothing",
        Outcome::Staged => "staged for the next boot; not running yet",
        Outcome::Blocked => "findings block the deploy; the host is unchanged",
        Outcome::NotBuilt => "evaluation or build failed; the host is unchanged",
        Outcome::Refused { code, skipped: true } if code == "deferred" => {
            "deferred: it is deployed with the next deploy of several hosts, or by `nixdeploy \
             retry`; unchanged"
        }
        Outcome::Refused { skipped: true, .. } => "left out, for it is optional; unchanged",
        Outcome::Refused { code, .. } => return format!("refused ({code}); the host is unchanged"),
        Outcome::NotBegun => "not begun, for others failed before it; the host is unchanged",
        Outcome::RolledBack => "failed; it is back as before, and that was verified",
        Outcome::Declined => "the answer was no; the host is unchanged",
        Outcome::Interrupted { reverted: true } => "interrupted; it was taken back as before",
        Outcome::Interrupted { reverted: false } => "interrupted; the host is unchanged",
        Outcome::Foreign => "somebody else changed the host meanwhile; we stood down",
        Outcome::Unknown { decides_by_ms } => {
            return format!(
                "without a last word of it; the host decides by itself by {}",
                clock(*decides_by_ms)
            );
        }
        Outcome::Stranded => "the way back failed or is unproven: a person is needed",
        Outcome::Internal => "internal error; see the evidence",
    };
    told.to_owned()
}

/// `SUCCESS`, `NOTHING TO DO`, `FAILED`, ...: the status line of a host's report.
pub fn status(host: &HostState, goal: Option<Goal>) -> String {
    if let Some((_, found)) = found(host) {
        let then = spaced(result(host, goal)).to_uppercase();
        return format!("{then}, found later: {}", spaced(found_word(&found.outcome)));
    }
    match (tone(host), host.report.as_ref().map(|r| &r.outcome)) {
        (_, Some(Outcome::Committed { .. })) => "SUCCESS".to_owned(),
        (_, Some(Outcome::Unchanged { .. })) => "NOTHING TO DO".to_owned(),
        (Tone::Bad, _) => format!("FAILED, {}", spaced(result(host, goal)).to_uppercase()),
        _ => spaced(result(host, goal)).to_uppercase(),
    }
}

/// A word of the recap within a sentence.
pub fn spaced(word: &str) -> String {
    word.replace('-', " ")
}

/// The exit code of one host.
pub fn exit_of_host(host: &HostState) -> Exit {
    exit::of_host(host)
}

/// The exit code of the run, where it is known: a log that ends before the run did tells no more
/// than that the hosts decide.
pub fn known_exit(state: &RunState) -> Option<Exit> {
    let exit = exit_of_run(state);
    let open = !state.alive && matches!(exit, Exit::Unknown | Exit::Stranded);
    (state.finished || open).then_some(exit)
}

/// The exit code of the run, as the command line asked for it.
pub fn exit_of_run(state: &RunState) -> Exit {
    let detailed = state.command.iter().any(|word| word == "--detailed-exitcode");
    exit::of_run(state, detailed)
}

/// Where every journey of the run ends.
pub fn goal(state: &RunState) -> Option<Goal> {
    state.plan.as_ref().map(|p| p.goal)
}

/// `4 hosts: 1 changed, 1 unchanged`, in the order of their first host.
pub fn tally(state: &RunState) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for host in &state.hosts {
        let word = result(host, goal(state));
        match counts.iter_mut().find(|(w, _)| *w == word) {
            Some((_, n)) => *n += 1,
            None => counts.push((word, 1)),
        }
    }
    let parts: Vec<String> = counts.iter().map(|(w, n)| format!("{n} {}", spaced(w))).collect();
    let hosts = count(state.hosts.len(), "host", "hosts");
    if parts.is_empty() { hosts } else { format!("{hosts}: {}", parts.join(", ")) }
}

/// Generation before and after; the one that was tried, if it was taken back.
pub struct Generations {
    /// Before.
    pub before: Option<Generation>,
    /// Now.
    pub now: Option<Generation>,
    /// Made and taken back.
    pub tried: Option<Generation>,
}

/// Reads them from the last word and, without one, from what is known so far.
pub fn generations(host: &HostState) -> Generations {
    let of = |p: &crate::event::Pointers| p.generation;
    let report = host.report.as_ref();
    let first = host.pointers.as_ref().and_then(of);
    let before = report.and_then(|r| r.before.as_ref()).and_then(of).or(first);
    let after = report.and_then(|r| r.after.as_ref()).and_then(of);
    let now = after.or(before);
    let made = host.moves.iter().find_map(|(_, to)| to.filter(|to| Some(*to) != before));
    Generations { before, now, tried: made.filter(|m| Some(*m) != now) }
}

impl Generations {
    /// `1235->1236`, `902`, `881<-882` or `-`.
    pub fn text(&self, to: &str, from: &str) -> String {
        match (self.before, self.now, self.tried) {
            (_, Some(now), Some(tried)) => format!("{now}{from}{tried}"),
            (Some(before), Some(now), None) if before != now => format!("{before}{to}{now}"),
            (_, Some(now), None) => now.to_string(),
            _ => "-".to_owned(),
        }
    }
}

/// The phase a host failed in, with the reason.
pub fn failed_phase(host: &HostState) -> Option<(Phase, &str, u64)> {
    host.ended.iter().find_map(|(phase, (result, _, took))| match result {
        PhaseResult::Failed { because } => Some((*phase, because.as_str(), *took)),
        PhaseResult::Ok | PhaseResult::Skipped { .. } => None,
    })
}

/// Why a host ended as it did, in one line.
pub fn why(host: &HostState) -> String {
    let report = host.report.as_ref();
    let note = report.map(|r| r.note.clone()).filter(|n| !n.is_empty());
    let cause = || report.and_then(|r| r.causes.first().cloned());
    let phase = || failed_phase(host).map(|(_, because, _)| because.to_owned());
    note.or_else(phase).or_else(cause).unwrap_or_default()
}

/// Milliseconds from a host's first phase to its last word, or to now; not those in which a person
/// was waited for.
pub fn took(state: &RunState, host: &HostState, now_ms: u64) -> u64 {
    let ended = host.finished_ms.unwrap_or(now_ms);
    state.worked_ms(host.began_ms.unwrap_or_default(), ended)
}

/// The same of the whole run.
pub fn total(state: &RunState) -> u64 {
    state.worked_ms(0, state.elapsed_ms)
}

/// Warnings and worse, the host's own and then the tree's.
pub fn warnings<'a>(
    state: &'a RunState,
    host: &'a HostState,
) -> impl Iterator<Item = (Phase, &'a Finding)> {
    let own = host.findings.iter().map(|(phase, finding)| (*phase, finding));
    let tree = state.tree_findings.iter().map(|finding| (Phase::Validate, finding));
    own.chain(tree).filter(|(_, f)| f.severity >= Severity::Warn)
}

/// Columns for the names of hosts in a table.
pub fn name_width(state: &RunState) -> usize {
    let longest = state.hosts.iter().map(|h| columns_of(h.name.as_str())).max();
    longest.unwrap_or(0).clamp(8, 20)
}

/// The sign of a severity.
pub fn severity_mark(severity: Severity) -> Mark {
    match severity {
        Severity::Info => Mark::Info,
        Severity::Warn => Mark::Warn,
        Severity::Block => Mark::Fail,
    }
}

/// `unit.service` without its suffix.
pub fn unit(name: &str) -> &str {
    name.strip_suffix(".service").unwrap_or(name)
}

/// Units that were seen to be treated so, by steps like `restart prometheus.service`, with the
/// milliseconds it took.
pub fn treated(host: &HostState, fate: UnitFate) -> Vec<(&str, u64)> {
    let steps = host.steps.iter();
    let steps = steps.filter(|s| s.phase == Phase::Activate && s.result == PhaseResult::Ok);
    steps
        .filter_map(|step| {
            let unit = step.name.strip_prefix(fate.verb())?.strip_prefix(' ')?;
            Some((unit, step.took_ms))
        })
        .collect()
}

/// What a fate is called where it was seen, and where it was only said beforehand.
pub fn fates(fate: UnitFate) -> (&'static str, &'static str) {
    match fate {
        UnitFate::Stop => ("Stopped", "To stop"),
        UnitFate::Restart => ("Restarted", "To restart"),
        UnitFate::Reload => ("Reloaded", "To reload"),
        UnitFate::Start => ("Started", "To start"),
        UnitFate::Skip => ("Left alone", "Left alone"),
    }
}

/// Words of a command line as they would be typed.
pub fn typed_line(words: &[String]) -> String {
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

/// A line of what to type next: the command, if it is one, and what is to be known of it. What
/// begins with `# ` is no command.
pub fn typed(next: &str) -> (Option<&str>, Option<&str>) {
    match (next.strip_prefix("# "), next.split_once("  # ")) {
        (Some(hint), _) => (None, Some(hint)),
        (None, Some((command, remark))) => (Some(command), Some(remark)),
        (None, None) => (Some(next), None),
    }
}

/// What to type next; never empty for a host that did not end well.
pub fn next(state: &RunState, host: &HostState) -> Vec<String> {
    if goes_on(host) {
        return Vec::new();
    }
    if let Some((_, found)) = found(host) {
        return found.next.clone();
    }
    let own = host.report.as_ref().map(|r| r.next.clone()).unwrap_or_default();
    let logs = |run: &str| format!("nixdeploy logs {} --run {run}", host.name);
    if !own.is_empty() || matches!(tone(host), Tone::Good | Tone::Quiet) {
        // Of a recovery, what explains it was said in the run that it recovers.
        let bare = format!("nixdeploy logs {}", host.name);
        let run = state.recovers.as_ref().unwrap_or(&state.run);
        return own.into_iter().map(|n| if n == bare { logs(run) } else { n }).collect();
    }
    if host.report.is_none() {
        return vec![match goal(state) {
            // nothing was to be changed anywhere
            Some(Goal::Build | Goal::DryRun) => {
                let typed = typed_line(&state.command);
                format!("nixdeploy {}", typed.strip_prefix("nixdeploy ").unwrap_or(&typed))
            }
            _ => format!("nixdeploy resume {}", state.run),
        }];
    }
    vec![logs(&state.run)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::HostName;

    #[test]
    fn every_ending_has_its_word_and_what_failed_is_what_is_drawn_so() {
        let refused = |code: &str, skipped| Outcome::Refused { code: code.to_owned(), skipped };
        let endings = [
            Outcome::Committed { reboot_required: false },
            Outcome::Unchanged { verified: true },
            Outcome::Unhealthy,
            Outcome::Planned { changes: true },
            Outcome::Planned { changes: false },
            Outcome::Staged,
            Outcome::Blocked,
            Outcome::NotBuilt,
            refused("deferred", true),
            refused("asleep", true),
            refused("unreachable", false),
            refused("locked", false),
            Outcome::NotBegun,
            Outcome::RolledBack,
            Outcome::Declined,
            Outcome::Interrupted { reverted: true },
            Outcome::Foreign,
            Outcome::Unknown { decides_by_ms: 1 },
            Outcome::Stranded,
            Outcome::Internal,
        ];
        let name = HostName::new("p620").expect("a name");
        let mut met = Vec::new();
        let mut host = HostState::new(name);
        for ending in endings.map(Some).into_iter().chain([None]) {
            host.report = ending.map(|outcome| HostReport {
                outcome,
                phase: None,
                note: String::new(),
                causes: Vec::new(),
                before: None,
                after: None,
                decided_by: crate::event::Decider::Nobody,
                decided_ms: None,
                next: Vec::new(),
            });
            for goal in [Goal::Deploy, Goal::Build] {
                let word = result(&host, Some(goal));
                let failed = matches!(tone(&host), Tone::Bad | Tone::Open) && word != "declined";
                assert!(WORDS.contains(&(word, failed)), "{word} {failed}");
                met.push(word);
            }
        }
        assert!(WORDS.iter().all(|(word, _)| met.contains(word)), "{met:?}");
    }
}
