//! The report as one page for a browser: nothing is loaded from anywhere, no script runs.
//!
//! Outside text must stay text: whatever is put into the page passes [`escape`], and the page
//! itself tells the browser to load and run nothing (`Content-Security-Policy`). It says what the
//! other reports say, from the same list ([`content`]), and draws when each host was at what.

mod timeline;

use super::content::{self, Item};
use super::human::worth_telling;
use super::look::{Look, Mark, short};
use super::words::{self, Tone};
use crate::event::Phase;
use crate::event::state::{HostState, RunState};
use crate::exit::Exit;

const STYLE: &str = include_str!("html/page.css");

/// The whole page, with a line feed at its end.
pub fn page(state: &RunState, look: &Look) -> String {
    // A browser shows every letter and breaks lines by itself.
    let look = Look { unicode: true, colour: false, whole: true, ..look.clone() };
    let title = escape(&title(state));
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
    );
    page.push_str(&header(state, &title, &look));
    page.push_str(&timeline::section(state));
    page.push_str(&table(state));
    for host in state.hosts.iter().filter(|h| state.hosts.len() == 1 || worth_telling(h)) {
        page.push_str(&of_host(state, host, &look));
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn title(state: &RunState) -> String {
    match state.hosts.as_slice() {
        [host] => format!("Deployment report: {}", host.name),
        hosts => format!("Deployment report: {} hosts", hosts.len()),
    }
}

/// The class of a tone: what gives it its colour.
fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Quiet => "quiet",
        Tone::Bad => "bad",
        Tone::Open => "open",
    }
}

fn header(state: &RunState, title: &str, look: &Look) -> String {
    let exit = words::exit_of_run(state);
    let tone = match exit {
        _ if state.alive => Tone::Open,
        Exit::Done => Tone::Good,
        Exit::Staged | Exit::Changes => Tone::Quiet,
        _ => Tone::Bad,
    };
    let facts: String = content::run(state, look).iter().map(item).collect();
    format!(
        "<header class=\"{}\">\n<h1>{title}</h1>\n<p class=\"verdict\">{}</p>\n\
         <dl>\n{facts}</dl>\n</header>\n",
        class(tone),
        escape(&words::tally(state)),
    )
}

/// Phases that have a column.
const COLUMNS: [Phase; 8] = [
    Phase::Facts,
    Phase::Evaluate,
    Phase::Build,
    Phase::Copy,
    Phase::Activate,
    Phase::Verify,
    Phase::Commit,
    Phase::Rollback,
];

fn table(state: &RunState) -> String {
    if state.hosts.is_empty() {
        return String::new();
    }
    let goal = words::goal(state);
    let used = |p: &Phase| state.hosts.iter().any(|h| h.ended.contains_key(p));
    let columns: Vec<Phase> = COLUMNS.into_iter().filter(used).collect();
    let heads: String = columns.iter().map(|p| format!("<th class=\"n\">{}", p.word())).collect();
    let mut text = format!(
        "<section>\n<h2>Hosts</h2>\n<div class=\"wide\">\n<table>\n<thead><tr><th>Host<th>Result\
         <th>Generation{heads}<th class=\"n\">Total<th>Note</tr></thead>\n<tbody>\n"
    );
    for host in &state.hosts {
        let spent =
            |phase: &Phase| host.ended.get(phase).map_or("–".to_owned(), |(_, _, ms)| short(*ms));
        let times: String =
            columns.iter().map(|p| format!("<td class=\"n\">{}", spent(p))).collect();
        let name = escape(host.name.as_str());
        let told = state.hosts.len() == 1 || worth_telling(host);
        let name = if told { format!("<a href=\"#host-{name}\">{name}</a>") } else { name };
        text.push_str(&format!(
            "<tr><th scope=\"row\">{name}<td><span class=\"word {}\">{}</span>\
             <td class=\"gen\">{}{times}<td class=\"n\">{}<td>{}</tr>\n",
            class(words::tone(host)),
            words::spaced(words::result(host, goal)),
            escape(&words::generations(host).text(" → ", " ← ")),
            short(words::took(state, host, state.elapsed_ms)),
            escape(&words::why(host)),
        ));
    }
    text.push_str("</tbody>\n</table>\n</div>\n</section>\n");
    text
}

fn of_host(state: &RunState, host: &HostState, look: &Look) -> String {
    let (name, tone) = (escape(host.name.as_str()), words::tone(host));
    let word = words::spaced(words::result(host, words::goal(state)));
    // What went well among many is there for who asks.
    let open = if state.hosts.len() == 1 || tone != Tone::Good { " open" } else { "" };
    let mut text = format!(
        "<details class=\"host\" id=\"host-{name}\"{open}>\n<summary><h2>{name}</h2> \
         <span class=\"word {}\">{word}</span></summary>\n<div class=\"parts\">\n",
        class(tone)
    );
    for section in content::host(state, host, look) {
        text.push_str(&format!("<section>\n<h3>{}</h3>\n", escape(&section.title)));
        text.push_str(&items(&section.items));
        text.push_str("</section>\n");
    }
    text.push_str("</div>\n</details>\n");
    text
}

/// Items of one kind that follow each other are one list.
fn items(items: &[Item]) -> String {
    let list = |item: &Item| match item {
        Item::Fact(..) => "dl",
        Item::Line(..) => "ul",
        Item::Numbered(..) => "ol",
        Item::Quote(..) | Item::Command(_) => "div",
    };
    let mut text = String::new();
    for run in items.chunk_by(|a, b| list(a) == list(b)) {
        let tag = run.first().map_or("div", list);
        text.push_str(&format!("<{tag}>\n"));
        text.extend(run.iter().map(item));
        text.push_str(&format!("</{tag}>\n"));
    }
    text
}

fn item(item: &Item) -> String {
    match item {
        Item::Fact(key, value) => {
            format!("<div><dt>{}<dd>{}</div>\n", escape(key), escape(value))
        }
        Item::Line(mark, text, more) => {
            let class = mark_class(*mark);
            format!("<li class=\"{class}\">{}{}</li>\n", escape(text), below(more))
        }
        Item::Numbered(text, more) => format!("<li>{}{}</li>\n", escape(text), below(more)),
        Item::Quote(caption, lines) => format!(
            "<figure><figcaption>{}</figcaption><pre>{}</pre></figure>\n",
            escape(caption),
            lines.iter().map(|l| escape(l) + "\n").collect::<String>(),
        ),
        Item::Command(command) => format!("<pre class=\"command\">{}</pre>\n", escape(command)),
    }
}

fn below(more: &[String]) -> String {
    if more.is_empty() {
        return String::new();
    }
    let lines: String = more.iter().map(|l| format!("<li>{}</li>", escape(l))).collect();
    format!("<ul class=\"more\">{lines}</ul>")
}

fn mark_class(mark: Mark) -> &'static str {
    match mark {
        Mark::Ok => "ok",
        Mark::Fail => "fail",
        Mark::Skip => "skip",
        Mark::Warn => "warn",
        Mark::Running => "running",
        Mark::Back => "back",
        Mark::Info | Mark::Arrow | Mark::Bullet | Mark::Cut => "bullet",
    }
}

/// Text that is nothing but text wherever it stands in the page, also within quotation marks.
pub fn escape(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            '\'' => shown.push_str("&#39;"),
            '\n' | '\t' => shown.push(' '),
            c if crate::event::harmless::obeyed(c) => shown.push('\u{fffd}'),
            c => shown.push(c),
        }
    }
    shown
}
