//! What a deploy would change on a host, in full for `diff` and in short before the one question:
//! `+` came, `-` went, `~` changed, and a count last.

use super::look::{Ink, Look, growth};
use super::{recap, words};
use crate::event::state::{HostState, RunState};
use crate::event::{BackTo, Changes, FileChange, PackageChange, UnitFileChange};
use crate::fleet::HostName;
use crate::plan::Goal;

/// Packages, and units of a kind, that a question names.
const ASKED: usize = 15;

/// The result of a run for a person: the differences where they were what was asked for, then the
/// recap, which is always last.
pub fn result(state: &RunState, look: &Look) -> String {
    differences(state, look) + &recap::text(state, look)
}

/// The differences of every host that has any; empty unless they are what was asked for.
pub fn differences(state: &RunState, look: &Look) -> String {
    if words::goal(state) != Some(Goal::DryRun) {
        return String::new();
    }
    let mut text = String::new();
    for host in &state.hosts {
        if let Some(changes) = &host.changes {
            text.push_str(&of_host(host, changes, look).join("\n"));
            text.push_str("\n\n");
        }
    }
    text
}

fn of_host(host: &HostState, changes: &Changes, look: &Look) -> Vec<String> {
    let runs = host.pointers.as_ref().filter(|p| p.running == p.profile);
    let generation = runs.and_then(|p| p.generation).map(|g| format!(" (generation {g})"));
    let title = format!("{}, against what runs there{}", host.name, generation.unwrap_or_default());
    let mut lines = vec![look.ink(Ink::Bold, &look.fit(&title, look.width))];
    lines.push("packages".to_owned());
    match &changes.packages {
        None => {}
        Some(all) => lines.extend(all.iter().map(|p| package(p, look))),
    }
    lines.push(format!("  {}", recap::volume(changes)));
    lines.push("unit files".to_owned());
    match &changes.unit_files {
        None => lines.push("  could not be read".to_owned()),
        Some(all) if all.is_empty() => lines.push("  none".to_owned()),
        Some(all) => {
            lines.extend(all.iter().flat_map(|file| unit_file(file, look)));
            lines.push(format!("  {}", file_count(all)));
            let said = "these are files; which running units a switch stops or restarts, the host \
                        tells after the copy: a deploy shows it before it asks";
            lines.extend(look.wrap("  ", "  ", said).iter().map(|l| look.ink(Ink::Dim, l)));
        }
    }
    lines.extend(staged(changes));
    lines.extend(begun(changes, look));
    lines.extend(reboot(changes, look, ""));
    lines
}

/// What is new and wanted by a target that is active: that much is certain without the host's word.
fn begun(changes: &Changes, look: &Look) -> Vec<String> {
    let names: Vec<&str> = changes.units.start.iter().map(|u| words::unit(u)).collect();
    match names.as_slice() {
        [] => Vec::new(),
        names => look.wrap("  start    ", "           ", &names.join(" ")),
    }
}

fn staged(changes: &Changes) -> Option<String> {
    let generation = changes.staged?;
    Some(format!("  generation {generation} already, staged for the next boot: now it is to run"))
}

/// `back to generation 2 of 2026-11-21 23:59: nixos-system-p620-25.11`.
pub fn back_to(to: &BackTo, look: &Look) -> String {
    format!("back to generation {} of {}: {}", to.generation, look.date(to.made_ms), to.name)
}

/// `~ firefox 120.0 -> 121.0`.
fn package(change: &PackageChange, look: &Look) -> String {
    let (sign, ink) = match (change.before.is_empty(), change.after.is_empty()) {
        (true, _) => ('+', Ink::Good),
        (_, true) => ('-', Ink::Bad),
        _ => ('~', Ink::Warn),
    };
    let versions = match sign {
        '+' => change.after.join(", "),
        '-' => change.before.join(", "),
        _ => recap::versions(change, look),
    };
    let text = look.fit(&format!("{} {versions}", change.name), look.width.saturating_sub(4));
    format!("  {} {text}", look.ink(ink, &sign.to_string()))
}

fn sign_of(kind: FileChange) -> (&'static str, Ink) {
    match kind {
        FileChange::Added => ("+", Ink::Good),
        FileChange::Removed => ("-", Ink::Bad),
        FileChange::Changed => ("~", Ink::Warn),
    }
}

/// The file, and below it what is different in it: those lines are as long as they are.
fn unit_file(file: &UnitFileChange, look: &Look) -> Vec<String> {
    let (sign, ink) = sign_of(file.kind);
    let unread = file.kind == FileChange::Changed && file.diff.is_empty();
    let note = if unread { "  (its text could not be read)" } else { "" };
    let name = look.fit(&format!("{}{note}", file.name), look.width.saturating_sub(4));
    let mut lines = vec![format!("  {} {name}", look.ink(ink, sign))];
    lines.extend(file.diff.iter().map(|line| {
        let shown = look.shown(line);
        let shown = match line.chars().next() {
            Some('+') => look.ink(Ink::Good, &shown),
            Some('-') => look.ink(Ink::Bad, &shown),
            Some('@') => look.ink(Ink::Dim, &shown),
            _ => shown,
        };
        format!("      {shown}").trim_end().to_owned()
    }));
    lines
}

/// `~2 unit files  +1 -0`.
pub fn file_count(files: &[UnitFileChange]) -> String {
    let of = |kind| files.iter().filter(|f| f.kind == kind).count();
    let (added, removed) = (of(FileChange::Added), of(FileChange::Removed));
    format!("~{} unit files  +{added} -{removed}", of(FileChange::Changed))
}

/// `reboot wanted: kernel, initrd`.
fn reboot(changes: &Changes, look: &Look, indent: &str) -> Option<String> {
    let why = match changes.reboot_for.as_slice() {
        [] => String::new(),
        parts => format!(": {}", parts.join(", ")),
    };
    let text = format!("reboot wanted{why}");
    changes.reboot_required.then(|| format!("{indent}{}", look.ink(Ink::Warn, &text)))
}

/// What is worth knowing before one says yes, host by host; hosts on which the same changes are
/// told together.
pub fn offers(offers: &[(&HostName, &Changes)], look: &Look) -> String {
    let mut told: Vec<(String, Vec<&str>)> = Vec::new();
    for (host, changes) in offers {
        let text = offer(changes, look);
        match told.iter_mut().find(|(known, _)| *known == text) {
            Some((_, hosts)) => hosts.push(host.as_str()),
            None => told.push((text, vec![host.as_str()])),
        }
    }
    let block = |(text, hosts): (String, Vec<&str>)| {
        let names = look.wrap("", "  ", &hosts.join(", "));
        let names: Vec<String> = names.iter().map(|l| look.ink(Ink::Bold, l)).collect();
        names.join("\n") + "\n" + &text
    };
    told.into_iter().map(block).collect()
}

/// Packages, size, units by what becomes of them.
fn offer(changes: &Changes, look: &Look) -> String {
    let mut lines = Vec::new();
    let to = changes.back_to.iter().flat_map(|to| look.wrap("  ", "    ", &back_to(to, look)));
    lines.extend(to);
    lines.extend(staged(changes));
    let all = changes.packages.as_deref().unwrap_or_default();
    lines.extend(all.iter().take(ASKED).map(|p| package(p, look)));
    if all.len() > ASKED {
        lines.push(format!("    and {} more", all.len() - ASKED));
    }
    lines.push(match (&changes.packages, changes.size_delta) {
        (Some(all), Some(delta)) if all.is_empty() => {
            format!("  no package changes  {}", growth(delta))
        }
        _ => format!("  {}", recap::volume(changes)),
    });
    for (fate, units) in changes.units.kinds() {
        if !units.is_empty() {
            let more = units.len().saturating_sub(ASKED);
            let names: Vec<&str> = units.into_iter().take(ASKED).map(words::unit).collect();
            let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
            let first = format!("  {:8} ", fate.verb());
            let text = format!("{}{rest}", names.join(" "));
            lines.extend(look.wrap(&first, &" ".repeat(11), &text));
        }
    }
    if changes.units.kinds().iter().all(|(_, units)| units.is_empty()) {
        lines.push("  nothing that runs is touched, and nothing new is started".to_owned());
    }
    lines.extend(reboot(changes, look, "  "));
    for warning in &changes.warnings {
        let told = look.wrap("  warning  ", "           ", warning);
        lines.extend(told.iter().map(|line| look.ink(Ink::Warn, line)));
    }
    lines.join("\n") + "\n"
}
