//! What stands at the end of every run: one row per host, then each failure with its evidence.
//!
//! The table is the same on a terminal, in a pipe and in CI, and is ASCII always: scripts read it.

use super::look::{Ink, Look, Mark, columns_of, growth, short};
use super::words::{self, Tone};
use crate::event::state::{HostState, RunState};
use crate::event::{
    Changes, Decider, Finding, Outcome, PackageChange, Phase, PhaseResult, Severity, UnitFate,
};

/// Lines of one piece of evidence in the recap; the report shows all.
const EVIDENCE: usize = 12;

/// Warnings below the table; the report shows all.
const UNWELL: usize = 12;

/// The table and the failures, as one text that ends with a line feed.
pub fn text(state: &RunState, look: &Look) -> String {
    let mut lines = table(state, look);
    for finding in state.tree_findings.iter().filter(|f| f.severity == Severity::Block) {
        lines.push(String::new());
        lines.extend(finding_lines(finding, look, "     "));
    }
    lines.extend(unwell(state, look));
    lines.extend(state.hosts.iter().flat_map(|host| deferred_lines(state, host, look)));
    for host in failed(state) {
        lines.push(String::new());
        lines.extend(failure(state, host, look));
    }
    lines.join("\n") + "\n"
}

/// Hosts that did not end well, and those that began and have no ending, in the order of the
/// plan.
pub fn failed(state: &RunState) -> impl Iterator<Item = &HostState> {
    state.hosts.iter().filter(|h| match words::tone(h) {
        Tone::Bad => true,
        Tone::Open => h.began_ms.is_some() || h.armed.is_some(),
        Tone::Good | Tone::Quiet => false,
    })
}

/// A host that is still to be deployed when it is back.
fn deferred_lines(state: &RunState, host: &HostState, look: &Look) -> Vec<String> {
    if words::result(host, words::goal(state)) != "deferred" {
        return Vec::new();
    }
    let truth = words::truth(host, words::goal(state), &|ms| look.clock(ms));
    look.wrap(&format!("{} {}  ", look.mark(Mark::Skip), host.name), "     ", &truth)
}

/// What does not work on hosts that ended well all the same (it did not before, or it was only to
/// warn), who is at work there, and what a question would have told before, where none was asked.
/// Nobody should have to open the report for that.
fn unwell(state: &RunState, look: &Look) -> Vec<String> {
    let well = state.hosts.iter().filter(|h| matches!(words::tone(h), Tone::Good | Tone::Quiet));
    let told =
        well.flat_map(|host| unwell_of(host, state.waits.is_empty()).map(move |f| (host, f)));
    let told: Vec<(&HostState, &Finding)> = told.collect();
    let mut lines: Vec<String> = Vec::new();
    for (host, finding) in told.iter().take(UNWELL) {
        let first = format!("{} {}  ", look.mark(Mark::Warn), host.name);
        let text = format!("{}: {} [{}]", finding.subject, finding.message, finding.code);
        lines.extend(look.wrap(&first, "     ", &text));
    }
    if let more @ 1.. = told.len().saturating_sub(UNWELL) {
        lines.push(format!("  and {more} more: nixdeploy report {}", state.run));
    }
    lines
}

fn unwell_of(host: &HostState, silent: bool) -> impl Iterator<Item = &Finding> {
    let told = ["health", "locked", "switch-running"];
    let new = silent && words::tone(host) == Tone::Good;
    let findings = host.findings.iter().filter(move |(phase, f)| {
        let ill = f.severity == Severity::Block || told.contains(&f.code.as_str());
        f.severity >= Severity::Warn && (ill || new && *phase == Phase::Admit)
    });
    findings.map(|(_, finding)| finding)
}

/// One row per host between a head and a count.
pub fn table(state: &RunState, look: &Look) -> Vec<String> {
    let name = words::name_width(state);
    let goal = words::goal(state);
    let mut lines = Vec::new();
    if !state.hosts.is_empty() {
        let head =
            format!("{:name$} RESULT       GEN         BUILD  COPY ACTIV VERIFY NOTE", "HOST");
        lines.push(look.ink(Ink::Dim, &look.fit(&head, look.width)));
    }
    for host in &state.hosts {
        let result = words::result(host, goal);
        let row = format!(
            "{} {} {:10} {:>6} {:>5} {:>5} {:>6} {}",
            look.left(host.name.as_str(), name),
            look.ink(words::tone(host).ink(), &format!("{result:12}")),
            words::generations(host).text("->", "<-"),
            spent(host, Phase::Build),
            spent(host, Phase::Copy),
            spent(host, Phase::Activate),
            spent(host, Phase::Verify),
            look.cut(&note(host), look.width.saturating_sub(name + 51)),
        );
        lines.push(row.trim_end().to_owned());
    }
    let room = Look { width: look.width.saturating_sub(9), ..look.clone() };
    let mut tally = room.wrap("", "  ", &words::tally(state));
    if let Some(last) = tally.pop() {
        tally.push(look.edges(&last, &short(words::total(state))));
    }
    lines.extend(tally);
    lines
}

/// A failed host needs its reason in the row; elsewhere the note may say more than the columns.
fn note(host: &HostState) -> String {
    if words::tone(host) == Tone::Bad { words::why(host) } else { own_note(host) }
}

fn own_note(host: &HostState) -> String {
    host.report.as_ref().map(|r| r.note.clone()).unwrap_or_default()
}

fn spent(host: &HostState, phase: Phase) -> String {
    match host.ended.get(&phase) {
        Some((PhaseResult::Ok | PhaseResult::Failed { .. }, _, ms)) => short(*ms),
        Some((PhaseResult::Skipped { .. }, ..)) | None => "-".to_owned(),
    }
}

/// The head of a failure: which host, in which phase, why.
pub fn failure_head(state: &RunState, host: &HostState, look: &Look) -> Vec<String> {
    let (phase, took) = match words::failed_phase(host) {
        Some((phase, _, took)) => (Some(phase), Some(took)),
        None => (host.report.as_ref().and_then(|r| r.phase), None),
    };
    let why = words::why(host);
    let told = match phase {
        Some(phase) if !why.is_empty() => format!("{}: {why}", phase.word()),
        Some(phase) => phase.word().to_owned(),
        None => why,
    };
    let label = match host.report.as_ref().map(|r| &r.outcome) {
        None => "OPEN",
        // nothing failed: somebody said so
        Some(Outcome::Declined | Outcome::Interrupted { .. }) => "STOP",
        Some(_) => "FAIL",
    };
    let exit = format!("exit {}", words::exit_of_host(host) as u8);
    let right = took.map_or(exit.clone(), |ms| format!("{}  {exit}", short(ms)));
    let head = look.edges(&format!("{label} {}  {told}", host.name), &right);
    let clock = |ms| look.clock(ms);
    let truth = words::truth(host, words::goal(state), &clock);
    let sign = if returned(host) { look.mark(Mark::Back) } else { look.mark(Mark::Bullet) };
    let text = returned_text(host).unwrap_or(truth);
    let cut = !head.contains(&*look.shown(&told));
    let head = head.replacen(label, &look.ink(words::tone(host).ink(), label), 1);
    let mut lines = vec![head];
    if cut && !repeated(host, &words::why(host)) {
        lines.extend(look.wrap("     ", "     ", &words::why(host)));
    }
    lines.extend(look.wrap(&format!("     {sign} "), "        ", &text));
    lines
}

/// Whether a finding below says it in full.
fn repeated(host: &HostState, why: &str) -> bool {
    let blocks = host.findings.iter().filter(|(_, f)| f.severity == Severity::Block);
    blocks.map(|(_, f)| format!("{}: {}", f.subject, f.message)).any(|said| said == why)
}

fn returned(host: &HostState) -> bool {
    let outcome = host.report.as_ref().map(|r| &r.outcome);
    matches!(outcome, Some(Outcome::RolledBack | Outcome::Interrupted { reverted: true }))
}

fn returned_text(host: &HostState) -> Option<String> {
    let generation = words::generations(host).now.filter(|_| returned(host))?;
    let (_, note, ms) = host.ended.get(&Phase::Rollback)?;
    let note = if note.is_empty() { "the return was verified" } else { note };
    // What we waited for a guard that had decided by itself is not how long that took.
    let by = match host.report.as_ref().map(|r| r.decided_by) {
        Some(Decider::Guard) => "by its guard".to_owned(),
        _ => format!("in {}", short(*ms)),
    };
    Some(format!("rolled back to gen {generation} {by}; {note}"))
}

/// Everything one needs after a failure: what is true now, evidence, cause, what to type.
pub fn failure(state: &RunState, host: &HostState, look: &Look) -> Vec<String> {
    let mut lines = failure_head(state, host, look);
    let indent = "     ";
    for (_, finding) in host.findings.iter().filter(|(_, f)| f.severity == Severity::Block) {
        lines.extend(finding_lines(finding, look, indent));
    }
    for evidence in &host.evidence {
        let head = format!("{} ({})", evidence.source, evidence.status);
        lines.extend(look.wrap(indent, "       ", &head));
        let left_out = evidence.lines.len().saturating_sub(EVIDENCE);
        for line in &evidence.lines[left_out..] {
            lines.extend(look.wrap("       | ", "       | ", line));
        }
    }
    // what is wrong with the host that it went back to
    let left =
        host.findings.iter().filter(|(p, f)| *p == Phase::Rollback && f.severity == Severity::Warn);
    lines.extend(left.flat_map(|(_, finding)| finding_lines(finding, look, indent)));
    let skip = usize::from(words::why(host) == first_cause(host));
    for cause in host.report.iter().flat_map(|r| r.causes.iter().skip(skip)) {
        lines.extend(look.wrap("     cause  ", "            ", cause));
    }
    lines.extend(words::next(state, host).iter().flat_map(|next| next_lines(next, look)));
    lines
}

/// What to type next. A command is to be copied: it is never wrapped, and nothing stands behind it.
fn next_lines(next: &str, look: &Look) -> Vec<String> {
    let (command, remark) = words::typed(next);
    let mut lines: Vec<String> =
        command.map(|c| format!("     next   {}", look.shown(c))).into_iter().collect();
    let first = if command.is_some() { "            " } else { "     hint   " };
    lines.extend(remark.into_iter().flat_map(|text| look.wrap(first, "            ", text)));
    lines
}

fn first_cause(host: &HostState) -> String {
    host.report.as_ref().and_then(|r| r.causes.first().cloned()).unwrap_or_default()
}

/// `FAIL syntax  modules/db.nix:41: ...` with what to do about it.
pub fn finding_lines(finding: &Finding, look: &Look, indent: &str) -> Vec<String> {
    let Finding { code, severity, subject, message, suggestion } = finding;
    let mark = look.mark(words::severity_mark(*severity));
    let deeper = format!("{indent}  ");
    let mut lines =
        look.wrap(&format!("{indent}{mark} "), &deeper, &format!("{subject}: {message} [{code}]"));
    if let Some(text) = suggestion {
        lines.extend(look.wrap(&deeper, &deeper, text));
    }
    lines
}

/// The short summary of a host that ended well: three lines at most.
pub fn compact(state: &RunState, host: &HostState, look: &Look) -> Vec<String> {
    let goal = words::goal(state);
    let arrow = format!(" {} ", look.mark(Mark::Arrow));
    let generation = words::generations(host).text(&arrow, " <- ");
    let took = short(words::took(state, host, state.elapsed_ms));
    let sign = look.mark(Mark::Ok);
    let mut head = format!("{sign} {}  gen {generation}  {took}", host.name);
    match (&host.changes, words::result(host, goal)) {
        (Some(changes), "changed" | "would-change" | "staged" | "built") => {
            head.push_str("   ");
            head.push_str(&volume(changes));
        }
        (_, "changed" | "staged") => {}
        _ => head.push_str(&format!("   {}", words::truth(host, goal, &|ms| look.clock(ms)))),
    }
    let head = look.fit(&head, look.width);
    let mut lines = vec![head.replacen(sign, &look.ink(Ink::Good, sign), 1)];
    if let Some(changes) = &host.changes
        && words::tone(host) != Tone::Bad
    {
        lines.extend(packages_line(changes, look));
    }
    lines.extend(tail_line(state, host, look));
    lines
}

/// `~15 pkgs  +1 -0  +120 MiB`.
pub fn volume(changes: &Changes) -> String {
    let size = changes.size_delta.map(|d| format!("  {}", growth(d))).unwrap_or_default();
    let Some(packages) = &changes.packages else { return format!("packages unknown{size}") };
    let new = packages.iter().filter(|p| p.before.is_empty()).count();
    let gone = packages.iter().filter(|p| p.after.is_empty()).count();
    format!("~{} pkgs  +{new} -{gone}{size}", packages.len() - new - gone)
}

/// `120.0 -> 121.0`, `new 1.0`, `1.0 gone`.
pub fn versions(package: &PackageChange, look: &Look) -> String {
    match (package.before.is_empty(), package.after.is_empty()) {
        (true, _) => format!("new {}", package.after.join(", ")),
        (_, true) => format!("{} gone", package.before.join(", ")),
        _ => {
            let (before, after) = (package.before.join(", "), package.after.join(", "));
            format!("{before} {} {after}", look.mark(Mark::Arrow))
        }
    }
}

fn packages_line(changes: &Changes, look: &Look) -> Option<String> {
    let packages = changes.packages.as_ref().filter(|p| !p.is_empty())?;
    let mut line = "  ".to_owned();
    let mut shown = 0;
    for package in packages {
        let reboot = package.name == "linux" && changes.reboot_required;
        let reboot = if reboot { " (reboot needed)" } else { "" };
        let item = format!("{} {}{reboot}", package.name, versions(package, look));
        // Room for " | NNNN more" is kept until the last.
        if shown > 0 && columns_of(&line) + columns_of(&item) + 15 > look.width {
            break;
        }
        line.push_str(if shown == 0 { " " } else { " | " });
        line.push_str(&item);
        shown += 1;
    }
    if shown < packages.len() {
        line.push_str(&format!(" | {} more", packages.len() - shown));
    }
    Some(look.fit(&line, look.width))
}

fn tail_line(state: &RunState, host: &HostState, look: &Look) -> Option<String> {
    let restarted = words::treated(host, UnitFate::Restart);
    let restarted: Vec<&str> = restarted.into_iter().map(|(unit, _)| words::unit(unit)).collect();
    let warnings = words::warnings(state, host).count();
    let mut parts = Vec::new();
    if !restarted.is_empty() && words::tone(host) == Tone::Good {
        let room = look.width.saturating_sub(48);
        parts.push(look.fit(&format!("restarted: {}", restarted.join(" ")), room.max(20)));
    }
    if warnings > 0 {
        parts.push(format!("warnings: {warnings} (nixdeploy report {})", state.run));
    }
    (!parts.is_empty()).then(|| look.fit(&format!("   {}", parts.join("    ")), look.width))
}

/// The line that stays on the screen when one of several hosts is done.
pub fn done_line(state: &RunState, host: &HostState, look: &Look) -> String {
    let word = words::result(host, words::goal(state));
    let (sign, ink) = match words::tone(host) {
        Tone::Quiet if word == "skipped" => (Mark::Skip, Ink::Dim),
        Tone::Good | Tone::Quiet => (Mark::Ok, Ink::Good),
        Tone::Bad => (Mark::Fail, Ink::Bad),
        Tone::Open => (Mark::Skip, Ink::Warn),
    };
    let sign = look.mark(sign);
    let arrow = format!(" {} ", look.mark(Mark::Arrow));
    let generation = words::generations(host).text(&arrow, " <- ");
    let note = note(host);
    let changed = host.changes.as_ref().filter(|_| words::tone(host) == Tone::Good).map(volume);
    let note = changed.unwrap_or(note);
    let name = look.left(host.name.as_str(), words::name_width(state));
    let word = words::spaced(word);
    let left = format!("{sign:4} {name} {word:11}  gen {generation}  {note}");
    let line = look.edges(&left, &short(words::took(state, host, state.elapsed_ms)));
    line.replacen(sign, &look.ink(ink, sign), 1)
}
