//! The report of a run for a person at a terminal: eighty columns, no boxes.

use super::content::{self, Item};
use super::look::{Ink, Look, Mark};
use super::recap;
use super::words::{self, Tone};
use crate::event::state::{HostState, RunState};

/// The whole report.
pub fn text(state: &RunState, look: &Look) -> String {
    let mut lines = Vec::new();
    if state.hosts.len() != 1 {
        lines.push(look.ink(Ink::Bold, "DEPLOYMENT REPORT"));
        lines.extend(content::run(state, look).iter().flat_map(|i| item(i, 0, look)));
        lines.push(String::new());
        lines.extend(recap::table(state, look));
        lines.push(String::new());
    }
    for host in state.hosts.iter().filter(|h| state.hosts.len() == 1 || worth_telling(h)) {
        lines.extend(of_host(state, host, look));
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines.join("\n") + "\n"
}

/// In a report of many hosts those without news have their row in the table.
pub fn worth_telling(host: &HostState) -> bool {
    words::tone(host) != Tone::Quiet || !host.findings.is_empty()
}

fn of_host(state: &RunState, host: &HostState, look: &Look) -> Vec<String> {
    let title = look.fit(&format!("DEPLOYMENT REPORT: {}", host.name), look.width);
    let rule = if look.unicode { "═" } else { "=" };
    let mut lines = vec![look.ink(Ink::Bold, &title), rule.repeat(look.width.min(60))];
    if state.hosts.len() == 1 {
        lines.extend(content::run(state, look).iter().flat_map(|i| item(i, 0, look)));
        lines.push(String::new());
    }
    for section in content::host(state, host, look) {
        lines.push(look.ink(Ink::Bold, &format!("{}:", section.title)));
        let mut number = 0;
        for one in &section.items {
            number += usize::from(matches!(one, Item::Numbered(..)));
            lines.extend(item(one, number, look));
        }
        lines.push(String::new());
    }
    lines
}

fn item(item: &Item, number: usize, look: &Look) -> Vec<String> {
    match item {
        Item::Fact(key, value) => {
            let key = format!("  {:18} ", look.fit(&format!("{key}:"), 18));
            look.wrap(&key, &" ".repeat(21), value)
        }
        Item::Line(mark, text, more) => {
            let sign = look.mark(*mark);
            let first = format!("  {sign:4} ");
            let mut lines = look.wrap(&first, "       ", text);
            if let (Some(line), Some(ink)) = (lines.first_mut(), ink(*mark)) {
                *line = line.replacen(sign, &look.ink(ink, sign), 1);
            }
            lines.extend(more.iter().flat_map(|m| look.wrap("         ", "           ", m)));
            lines
        }
        Item::Numbered(text, more) => {
            let mut lines = look.wrap(&format!("  {number:2}. "), "      ", text);
            lines.extend(more.iter().flat_map(|m| look.wrap("      ", "      ", m)));
            lines
        }
        Item::Quote(caption, text) => {
            let mut lines = look.wrap("  ", "  ", caption);
            lines.extend(text.iter().flat_map(|l| look.wrap("    | ", "    | ", l)));
            lines
        }
        // A command is to be copied: it is never wrapped.
        Item::Command(command) => vec![format!("  {}", look.shown(command))],
    }
}

fn ink(mark: Mark) -> Option<Ink> {
    match mark {
        Mark::Ok => Some(Ink::Good),
        Mark::Fail => Some(Ink::Bad),
        Mark::Warn => Some(Ink::Warn),
        Mark::Skip => Some(Ink::Dim),
        Mark::Info | Mark::Running | Mark::Arrow | Mark::Back | Mark::Bullet | Mark::Cut => None,
    }
}
