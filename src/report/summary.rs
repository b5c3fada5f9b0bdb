//! The report as Markdown: for step summaries, pull requests and issues.
//!
//! Outside text must stay text: every character that means something in Markdown or HTML is
//! escaped, and quotes stand in fences longer than any they hold.

use super::content::{self, Item};
use super::human::worth_telling;
use super::look::{Look, Mark, short};
use super::words;
use crate::event::Phase;
use crate::event::state::{HostState, RunState};

/// GitHub refuses a step summary beyond this many bytes.
const LIMIT: usize = 1 << 20;

/// The whole report.
pub fn markdown(state: &RunState, look: &Look) -> String {
    let mut text = format!("# {}\n\n", escape(&title(state)));
    text.push_str(&list(&content::run(state, look)));
    text.push('\n');
    text.push_str(&table(state));
    for host in state.hosts.iter().filter(|h| state.hosts.len() == 1 || worth_telling(h)) {
        let part = of_host(state, host, look);
        if text.len() + part.len() > LIMIT - 100 {
            text.push_str("\nThe rest was left out: it is too long.\n");
            break;
        }
        text.push_str(&part);
    }
    text
}

fn title(state: &RunState) -> String {
    match state.hosts.as_slice() {
        [host] => format!("Deployment report: {}", host.name),
        hosts => format!("Deployment report: {} hosts", hosts.len()),
    }
}

fn table(state: &RunState) -> String {
    let mut text = "| Host | Result | Generation | Build | Copy | Activate | Verify | Note |\n\
                    |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    let goal = words::goal(state);
    for host in &state.hosts {
        let spent = |phase| host.ended.get(&phase).map_or("-".to_owned(), |e| short(e.2));
        let note = words::why(host);
        text.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} |\n",
            escape(host.name.as_str()),
            words::spaced(words::result(host, goal)),
            escape(&words::generations(host).text(" → ", " ← ")),
            spent(Phase::Build),
            spent(Phase::Copy),
            spent(Phase::Activate),
            spent(Phase::Verify),
            escape(&note),
        ));
    }
    text
}

fn of_host(state: &RunState, host: &HostState, look: &Look) -> String {
    let mut text = format!("\n## {}\n", escape(host.name.as_str()));
    for section in content::host(state, host, look) {
        text.push_str(&format!("\n### {}\n\n", escape(&section.title)));
        text.push_str(&list(&section.items));
    }
    text
}

fn list(items: &[Item]) -> String {
    let mut text = String::new();
    let mut number = 0;
    for item in items {
        match item {
            Item::Fact(key, value) => {
                text.push_str(&format!("- **{}:** {}\n", escape(key), escape(value)));
            }
            Item::Line(mark, line, more) => {
                text.push_str(&format!("- {}{}\n", sign(*mark), escape(line)));
                more.iter().for_each(|m| text.push_str(&format!("  - {}\n", escape(m))));
            }
            Item::Numbered(line, more) => {
                number += 1;
                text.push_str(&format!("{number}. {}\n", escape(line)));
                more.iter().for_each(|m| text.push_str(&format!("   - {}\n", escape(m))));
            }
            Item::Quote(caption, lines) => {
                let gap = if text.is_empty() { "" } else { "\n" };
                text.push_str(&format!("{gap}{}\n\n{}", escape(caption), fence(lines)));
            }
            Item::Command(command) => text.push_str(&fence(std::slice::from_ref(command))),
        }
    }
    text
}

fn sign(mark: Mark) -> &'static str {
    match mark {
        Mark::Ok => "✓ ",
        Mark::Fail => "✗ ",
        Mark::Warn => "⚠ ",
        Mark::Skip => "– ",
        Mark::Running => "… ",
        Mark::Back => "↩ ",
        Mark::Info | Mark::Arrow | Mark::Bullet | Mark::Cut => "",
    }
}

/// Lines between fences longer than any row of backticks in them.
fn fence(lines: &[String]) -> String {
    let longest = lines.iter().map(|l| ticks(l)).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let shown = |line: &String| Look { unicode: true, ..Look::plain() }.shown(line);
    let body: Vec<String> = lines.iter().map(shown).collect();
    format!("{fence}text\n{}\n{fence}\n", body.join("\n"))
}

fn ticks(line: &str) -> usize {
    line.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// Text that Markdown and HTML show as it is, in one line.
pub fn escape(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            // A mention or a reference would call people and issues that have no part in it.
            '@' => shown.push_str("&#64;"),
            '#' => shown.push_str("&#35;"),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '|' | '~' | '!' | '$' => {
                shown.push('\\');
                shown.push(c);
            }
            ':' => shown.push(c),
            c if crate::event::harmless::obeyed(c) => shown.push(' '),
            c => shown.push(c),
        }
    }
    // A line that begins like a list or a rule is not one.
    match shown.chars().next() {
        Some('-' | '+' | '=') => format!("\\{shown}"),
        _ => shown,
    }
}
