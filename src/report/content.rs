//! What the report of a run says, section by section, without a form: Markdown and the text for
//! the terminal are drawn from the same list.
//!
//! In this order: status and times, what changed, each phase,
//! health, warnings with their number and what to do, the system against its baseline, advice.

use super::look::{Look, Mark, bytes, count, exact, growth, short};
use super::words;
use super::{changes as differences, recap, words::Tone};
use crate::event::facts::Step;
use crate::event::state::{HostState, RunState};
use crate::event::{
    Changes, Decider, FileChange, Finding, Outcome, PackageChange, Phase, PhaseResult, Pointers,
    Severity, UnitFileChange, Vitals,
};
use crate::plan::Goal;

/// Packages named; a new nixpkgs moves thousands.
const PACKAGES: usize = 100;

/// One thing that is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A name and its value.
    Fact(String, String),
    /// A sign and a sentence; then what belongs to it.
    Line(Mark, String, Vec<String>),
    /// A numbered sentence; then what belongs to it.
    Numbered(String, Vec<String>),
    /// Outside text as it was, under a caption.
    Quote(String, Vec<String>),
    /// A command to type.
    Command(String),
}

/// Items under a title.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Its title.
    pub title: String,
    /// Its items; never empty.
    pub items: Vec<Item>,
}

/// The run itself.
pub fn run(state: &RunState, look: &Look) -> Vec<Item> {
    let fact = |key: &str, value: String| Item::Fact(key.to_owned(), value);
    let mut items = vec![
        fact("Run", format!("{} of {}", state.run, look.date(state.started_ms))),
        fact("Command", words::typed_line(&state.command)),
        fact("Operator", state.operator.clone()),
    ];
    items.extend(state.flake.iter().map(|f| fact("Flake", f.clone())));
    items.extend(state.issue.map(|n| fact("Issue", format!("#{n}"))));
    let waited = state.elapsed_ms.saturating_sub(words::total(state));
    let apart = format!(", and {} for an answer", short(waited));
    let apart = if waited > 0 { apart } else { String::new() };
    items.push(fact("Total time", short(words::total(state)) + &apart));
    items.push(fact("Result", words::tally(state)));
    items.extend(state.interrupted.iter().map(|s| fact("Interrupted by", s.clone())));
    if state.alive {
        // there is no exit code before the end
        items.push(fact("Log", "the run goes on".to_owned()));
        return items;
    }
    if let Some((_, _, Some(waived))) = &state.cleared {
        items.push(fact("Checks", format!("waived: {waived}")));
    }
    if !state.finished {
        items.push(fact("Log", "ends before the run did".to_owned()));
    }
    let exit = words::known_exit(state).map(|exit| (exit as u8).to_string());
    items.push(fact("Exit code", exit.unwrap_or_else(|| "not known".to_owned())));
    items
}

/// Everything about one host, sections without items left out.
pub fn host(state: &RunState, host: &HostState, look: &Look) -> Vec<Section> {
    let sections = [
        ("Status", status(state, host, look)),
        (
            changes_title(host),
            host.changes.iter().flat_map(|c| changes(state, host, c, look)).collect(),
        ),
        ("Before the deployment", before(state, host)),
        ("Deployment", phases(state, host, deploying)),
        ("After the deployment", health(state, host)),
        ("Failure", failure(host)),
        ("Warnings", warnings(state, host)),
        (
            match host.vitals_after {
                Some(_) => "System, against before",
                None => "System, before",
            },
            system(host),
        ),
        ("Recommendations", advice(host)),
        ("Next", words::next(state, host).iter().flat_map(|n| next(n)).collect()),
    ];
    let filled = sections.into_iter().filter(|(_, items): &(_, Vec<Item>)| !items.is_empty());
    filled.map(|(title, items)| Section { title: title.to_owned(), items }).collect()
}

/// A command to be copied as it is, and what is to be known of it.
fn next(line: &str) -> Vec<Item> {
    let (command, remark) = words::typed(line);
    let command = command.map(|c| Item::Command(c.to_owned()));
    let remark = remark.map(|text| Item::Line(Mark::Bullet, text.to_owned(), vec![]));
    command.into_iter().chain(remark).collect()
}

/// What was not kept must not be called applied.
fn changes_title(host: &HostState) -> &'static str {
    match words::tone(host) {
        Tone::Good => "Changes applied",
        Tone::Quiet | Tone::Open => "Changes",
        Tone::Bad => "Changes, not kept",
    }
}

fn before(state: &RunState, host: &HostState) -> Vec<Item> {
    let mut items = phases(state, host, |p| p < Phase::Copy);
    let unchanged = host.report.as_ref().is_some_and(|r| {
        matches!(
            r.outcome,
            Outcome::Unchanged { .. } | Outcome::Unhealthy | Outcome::Planned { changes: false }
        )
    });
    let told = if host.changes.is_some() {
        "change detection: configuration changed"
    } else if unchanged {
        "change detection: nothing changed"
    } else {
        return items;
    };
    items.push(Item::Line(Mark::Ok, told.to_owned(), vec![]));
    items
}

fn deploying(phase: Phase) -> bool {
    matches!(phase, Phase::Copy | Phase::Activate | Phase::Commit | Phase::Rollback)
}

fn status(state: &RunState, host: &HostState, look: &Look) -> Vec<Item> {
    let fact = |key: &str, value: String| Item::Fact(key.to_owned(), value);
    let clock = |ms| look.clock(ms);
    let goal = words::goal(state);
    let arrow = format!(" {} ", look.mark(Mark::Arrow));
    let mut items = vec![
        fact("Deployment status", words::status(host, goal)),
        fact("Now", words::truth(host, goal, &clock)),
        fact("Time", short(words::took(state, host, state.elapsed_ms))),
        fact("Generation", words::generations(host).text(&arrow, " <- ")),
    ];
    let Some(report) = &host.report else { return items };
    if let Some(phase) = report.phase.filter(|_| words::tone(host) == Tone::Bad) {
        items.push(fact("Phase reached", phase.word().to_owned()));
    }
    if let Some(by) = decider(report.decided_by) {
        items.push(fact("Decided by", by.to_owned()));
    }
    let before = report.before.as_ref().or(host.pointers.as_ref());
    items.extend(pointers(before, report.after.as_ref(), look));
    items
}

fn decider(by: Decider) -> Option<&'static str> {
    match by {
        Decider::Deployer => Some("this program"),
        Decider::Guard => Some("the guard on the host"),
        Decider::Reboot => Some("a reboot"),
        Decider::Nobody => None,
    }
}

/// Running, profile and boot default where they moved or disagree.
fn pointers(before: Option<&Pointers>, after: Option<&Pointers>, look: &Look) -> Vec<Item> {
    let Some(before) = before else { return Vec::new() };
    let short = |path: &Option<crate::fleet::StorePath>| {
        path.as_ref().map_or("unknown".to_owned(), |p| p.hash()[..8].to_owned())
    };
    let row = |name: &str, of: fn(&Pointers) -> &Option<crate::fleet::StorePath>| {
        let old = short(of(before));
        let text = match after.map(|a| short(of(a))) {
            // nobody but a reboot moves it, and it is not always read again
            Some(new) if name == "Booted" && new == "unknown" => old,
            Some(new) if new != old => format!("{old} {} {new}", look.mark(Mark::Arrow)),
            _ => old,
        };
        Item::Fact(name.to_owned(), text)
    };
    vec![
        row("Running", |p| &p.running),
        row("Booted", |p| &p.booted),
        row("Profile", |p| &p.profile),
        row("Boot default", |p| &p.boot_default),
    ]
}

fn changes(state: &RunState, host: &HostState, changes: &Changes, look: &Look) -> Vec<Item> {
    let mut items = Vec::new();
    let bullet = |text: String, more| Item::Line(Mark::Bullet, text, more);
    items.extend(changes.back_to.iter().map(|to| bullet(differences::back_to(to, look), vec![])));
    items.push(match changes.files.as_deref() {
        None if matches!(words::goal(state), Some(Goal::Rollback { .. })) => {
            bullet("Files: not looked at, this goes back to a generation".to_owned(), vec![])
        }
        None => bullet("Files: unknown, the tree deployed last is not known".to_owned(), vec![]),
        Some([]) => bullet("Files: none".to_owned(), vec![]),
        Some(files) => {
            bullet(format!("Modified: {}", count(files.len(), "file", "files")), files.to_vec())
        }
    });
    items.push(match changes.packages.as_deref() {
        None => bullet("Packages: unknown".to_owned(), vec![]),
        Some([]) => bullet("Packages: none".to_owned(), vec![]),
        Some(packages) => {
            let row = |p: &PackageChange| format!("{} {}", p.name, recap::versions(p, look));
            let mut rows: Vec<String> = packages.iter().take(PACKAGES).map(row).collect();
            if packages.len() > PACKAGES {
                rows.push(format!("{} more, in --format json", packages.len() - PACKAGES));
            }
            bullet(format!("Packages: {}", recap::volume(changes)), rows)
        }
    });
    items.extend(units(host, changes));
    items.extend(unit_files(changes));
    if let Some(delta) = changes.size_delta {
        items.push(bullet(format!("Closure: {}", growth(delta)), vec![]));
    }
    if changes.reboot_required {
        let why = match changes.reboot_for.as_slice() {
            [] => String::new(),
            parts => format!(": another {}", parts.join(", ")),
        };
        let text = format!("A reboot is needed for all of it{why}");
        items.push(Item::Line(Mark::Warn, text, vec![]));
    }
    items
}

/// What happened to units, as far as it was seen; what was only said beforehand is told as such.
fn units(host: &HostState, changes: &Changes) -> Vec<Item> {
    let mut items = Vec::new();
    for (fate, units) in changes.units.kinds() {
        let treated = words::treated(host, fate);
        let said = units.iter().filter(|unit| !treated.iter().any(|(name, _)| name == *unit));
        let said: Vec<String> = said.map(|u| words::unit(u).to_owned()).collect();
        let timed = |(unit, ms): &(&str, u64)| match ms {
            0 => words::unit(unit).to_owned(),
            ms => format!("{} ({})", words::unit(unit), exact(*ms)),
        };
        let seen: Vec<String> = treated.iter().map(timed).collect();
        let (done, to_do) = words::fates(fate);
        for (title, names) in [(done, seen), (to_do, said)] {
            if !names.is_empty() {
                let text = format!("{title}: {}", names.join(", "));
                items.push(Item::Line(Mark::Bullet, text, vec![]));
            }
        }
    }
    items
}

/// The count, and each file with what is different in it.
fn unit_files(changes: &Changes) -> Vec<Item> {
    let Some(files) = changes.unit_files.as_deref().filter(|f| !f.is_empty()) else {
        return Vec::new();
    };
    let row = |file: &UnitFileChange| {
        let word = match file.kind {
            FileChange::Added => "added",
            FileChange::Removed => "removed",
            FileChange::Changed => "changed",
        };
        format!("{} {word}", file.name)
    };
    let text = format!("Unit files: {}", differences::file_count(files));
    let mut items = vec![Item::Line(Mark::Bullet, text, files.iter().map(row).collect())];
    let told = files.iter().filter(|f| !f.diff.is_empty());
    items.extend(told.map(|f| Item::Quote(f.name.clone(), f.diff.clone())));
    items
}

fn phases(state: &RunState, host: &HostState, wanted: fn(Phase) -> bool) -> Vec<Item> {
    let mut items = Vec::new();
    for (phase, (result, note, took)) in host.ended.iter().filter(|(p, _)| wanted(**p)) {
        let steps = steps(state, host, *phase).filter(|s| s.phase != Phase::Activate);
        items.push(outcome_line(phase.word(), result, note, *took, steps.map(step_text).collect()));
    }
    items.extend(
        host.open
            .keys()
            .filter(|p| wanted(**p))
            .map(|phase| Item::Line(Mark::Running, format!("{} had begun", phase.word()), vec![])),
    );
    items
}

fn steps<'a>(
    state: &'a RunState,
    host: &'a HostState,
    phase: Phase,
) -> impl Iterator<Item = &'a Step> {
    state.tree_steps.iter().chain(&host.steps).filter(move |s| s.phase == phase)
}

fn step_text(step: &Step) -> String {
    step_line(step, "failed: ")
}

fn step_line(step: &Step, failed: &str) -> String {
    let time = if step.took_ms > 0 { format!(" ({})", exact(step.took_ms)) } else { String::new() };
    let told = match &step.result {
        PhaseResult::Ok => step.note.clone(),
        PhaseResult::Skipped { because } => because.clone(),
        PhaseResult::Failed { because } => format!("{failed}{because}"),
    };
    let gap = if told.is_empty() { "" } else { ": " };
    format!("{}{gap}{told}{time}", step.name)
}

fn outcome_line(what: &str, result: &PhaseResult, note: &str, ms: u64, more: Vec<String>) -> Item {
    let gap = |text: &str| if text.is_empty() { String::new() } else { format!(": {text}") };
    match result {
        PhaseResult::Ok => {
            Item::Line(Mark::Ok, format!("{what}{} ({})", gap(note), exact(ms)), more)
        }
        PhaseResult::Skipped { because } => {
            Item::Line(Mark::Skip, format!("{what}{}", gap(because)), more)
        }
        PhaseResult::Failed { because } => {
            Item::Line(Mark::Fail, format!("{what}{} ({})", gap(because), exact(ms)), more)
        }
    }
}

/// The verification: each check by its name where it was told, else the phase's own words.
fn health(state: &RunState, host: &HostState) -> Vec<Item> {
    let mut items = Vec::new();
    for step in steps(state, host, Phase::Verify) {
        let mark = match step.result {
            PhaseResult::Ok if step.warned => Mark::Warn,
            PhaseResult::Ok => Mark::Ok,
            PhaseResult::Skipped { .. } => Mark::Skip,
            PhaseResult::Failed { .. } => Mark::Fail,
        };
        // the sign says already that it failed
        items.push(Item::Line(mark, step_line(step, ""), vec![]));
    }
    if let Some((result, note, took)) = host.ended.get(&Phase::Verify) {
        items.push(outcome_line(Phase::Verify.word(), result, note, *took, vec![]));
    }
    let bad = host.findings.iter().filter(|(p, f)| after(*p) && f.severity == Severity::Block);
    items.extend(bad.map(|(_, f)| finding(Mark::Fail, f)));
    if host.reconnects > 0 {
        let times = count(host.reconnects as usize, "time", "times");
        items.push(Item::Line(Mark::Warn, format!("contact was lost and found {times}"), vec![]));
    }
    items
}

fn after(phase: Phase) -> bool {
    phase >= Phase::Activate
}

fn finding(mark: Mark, finding: &Finding) -> Item {
    let text = format!("{}: {} [{}]", finding.subject, finding.message, finding.code);
    Item::Line(mark, text, finding.suggestion.clone().into_iter().collect())
}

fn failure(host: &HostState) -> Vec<Item> {
    let causes = host.report.iter().flat_map(|r| &r.causes);
    let mut items: Vec<Item> =
        causes.map(|c| Item::Line(Mark::Bullet, format!("cause: {c}"), vec![])).collect();
    for evidence in &host.evidence {
        let caption = format!("{} ({})", evidence.source, evidence.status);
        items.push(Item::Quote(caption, evidence.lines.clone()));
    }
    items
}

fn warnings(state: &RunState, host: &HostState) -> Vec<Item> {
    words::warnings(state, host)
        .filter(|(phase, f)| f.severity == Severity::Warn || !after(*phase))
        .map(|(_, f)| {
            let block = if f.severity == Severity::Block { "blocks: " } else { "" };
            let text = format!("{block}{}: {} [{}]", f.subject, f.message, f.code);
            Item::Numbered(text, f.suggestion.clone().into_iter().collect())
        })
        .collect()
}

fn advice(host: &HostState) -> Vec<Item> {
    let lines = host.recommendations.iter();
    lines.map(|text| Item::Line(Mark::Bullet, text.clone(), vec![])).collect()
}

fn system(host: &HostState) -> Vec<Item> {
    let Some(now) = host.vitals_after.as_ref().or(host.vitals_before.as_ref()) else {
        return Vec::new();
    };
    let before = host.vitals_after.as_ref().and(host.vitals_before.as_ref());
    let mut items = vec![memory(now, before), load(now, before)];
    items.extend(now.disks.iter().map(|disk| {
        let used = bytes(disk.size_kib.saturating_sub(disk.free_kib) * 1024);
        let old = before.and_then(|b| b.disks.iter().find(|d| d.mount == disk.mount));
        let moved = moved(i64::from(disk.used_percent()), old.map(|d| i64::from(d.used_percent())));
        let size = bytes(disk.size_kib * 1024);
        let text = format!("{used} / {size} ({}%){moved}", disk.used_percent());
        Item::Fact(format!("Disk {}", disk.mount), text)
    }));
    items.push(services(now, before));
    items
}

fn used_percent(vitals: &Vitals) -> u64 {
    let used = vitals.memory_total_kib.saturating_sub(vitals.memory_available_kib);
    used * 100 / vitals.memory_total_kib.max(1)
}

fn memory(now: &Vitals, before: Option<&Vitals>) -> Item {
    let used = bytes(now.memory_total_kib.saturating_sub(now.memory_available_kib) * 1024);
    let percent = used_percent(now);
    let moved = moved(percent.cast_signed(), before.map(|b| used_percent(b).cast_signed()));
    let text = format!("{used} / {} ({percent}%){moved}", bytes(now.memory_total_kib * 1024));
    Item::Fact("Memory".to_owned(), text)
}

fn load(now: &Vitals, before: Option<&Vitals>) -> Item {
    let cpus = count(now.cpus as usize, "processor", "processors");
    let moved = before.map(|before| format!(" [{:.2} before]", before.load_1));
    let text = format!("{:.2} on {cpus}{}", now.load_1, moved.unwrap_or_default());
    Item::Fact("Load".to_owned(), text)
}

/// ` [+2% from before]`, if it moved.
fn moved(now: i64, before: Option<i64>) -> String {
    match before.map(|b| now - b) {
        None => String::new(),
        Some(0) => " [as before]".to_owned(),
        Some(delta) => format!(" [{delta:+}% from before]"),
    }
}

fn services(now: &Vitals, before: Option<&Vitals>) -> Item {
    let ((active, all), failed) = (now.units(), now.units_failed.len());
    let mut text = format!("{active}/{all} active");
    if failed > 0 {
        let new =
            before.map(|b| now.units_failed.iter().filter(|u| !b.units_failed.contains(u)).count());
        let new = new.map(|n| format!(", {n} of them new")).unwrap_or_default();
        text.push_str(&format!("; failed{new}: {}", now.units_failed.join(", ")));
    }
    Item::Fact("Services".to_owned(), text)
}
