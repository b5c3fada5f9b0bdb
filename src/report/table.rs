//! `status` and `ping-hosts` as tables: one row per host, a count, and below it what a row has no
//! room for. ASCII always; a column is as wide as its widest cell, and the last takes the rest.

use std::collections::BTreeMap;

use super::board::{Against, Board, Note, Row, State};
use super::look::{Ink, Look, columns_of, count, short};
use super::words;

/// Columns for the names of hosts, at most.
const NAME: usize = 20;

/// A cell in its colour.
type Cell = (String, Option<Ink>);

/// `status`: what every host runs and how it is.
pub fn status(board: &Board, look: &Look) -> String {
    let head =
        ["HOST", "REACH", "GEN", "AGE", "VS-FLAKE", "UNITS", "DISK", "REBOOT", "LAST-DEPLOY"];
    let mut rows: Vec<Vec<Cell>> = board.hosts.iter().map(cells).collect();
    let widths = widths(&head, &rows);
    let used: usize = widths.iter().take(8).map(|w| w + 1).sum();
    for (row, cells) in board.hosts.iter().zip(&mut rows) {
        let room = if look.whole { usize::MAX } else { look.width.saturating_sub(used) };
        cells.push(plain(last_deploy(row, board.at_ms, room)));
    }
    below(board, look, draw(&head, &rows, &widths, look))
}

/// `ping-hosts`: which hosts answer, where, and as whom.
pub fn ping(board: &Board, look: &Look) -> String {
    let head = ["HOST", "REACH", "USER", "SUDO", "ADDRESS"];
    let row = |row: &Row| {
        let user = row.reach.as_ref().and_then(|r| r.user.clone());
        let (sudo, ink) = match (&row.reach, &row.refused) {
            (Some(reach), _) if reach.sudo => ("ok", None),
            (Some(_), _) => ("unneeded", None),
            (None, Some(trouble)) if trouble.code == "no-elevation" => ("no", Some(Ink::Bad)),
            (None, _) => ("-", None),
        };
        let address = row.reach.as_ref().map_or("-", |r| r.address.as_str());
        let name = plain(row.host.as_str());
        vec![name, reach(row), plain(or_dash(user)), (sudo.to_owned(), ink), plain(address)]
    };
    let rows: Vec<Vec<Cell>> = board.hosts.iter().map(row).collect();
    let widths = widths(&head, &rows);
    below(board, look, draw(&head, &rows, &widths, look))
}

fn plain(text: impl Into<String>) -> Cell {
    (text.into(), None)
}

fn or_dash(text: Option<String>) -> String {
    text.filter(|t| !t.is_empty()).unwrap_or_else(|| "-".to_owned())
}

/// Every cell but the last.
fn cells(row: &Row) -> Vec<Cell> {
    let state = row.state.as_ref();
    let generation = state.and_then(|s| s.pointers.generation).map(|g| g.to_string());
    let age = state.and_then(|s| s.generation_age_s).map(span);
    vec![
        plain(row.host.as_str()),
        reach(row),
        plain(or_dash(generation)),
        plain(or_dash(age)),
        against(row.vs_flake),
        state.map_or(plain("-"), units),
        state.map_or(plain("-"), disk),
        reboot(state),
    ]
}

fn reach(row: &Row) -> Cell {
    match &row.reach {
        Some(reach) if reach.latency_ms < 1000 => plain(format!("{}ms", reach.latency_ms)),
        Some(reach) => plain(short(reach.latency_ms)),
        None => ("-".to_owned(), Some(if row.optional { Ink::Dim } else { Ink::Bad })),
    }
}

fn against(against: Option<Against>) -> Cell {
    let ink = match against {
        Some(Against::Current) => Some(Ink::Good),
        Some(Against::Differs | Against::Staged | Against::Drift) => Some(Ink::Warn),
        Some(Against::Error) => Some(Ink::Bad),
        Some(Against::Unknown) | None => None,
    };
    (against.map_or("-", Against::word).to_owned(), ink)
}

fn units(state: &State) -> Cell {
    let Some(units) = &state.units else { return plain("-") };
    let told = format!("{}/{}", units.active, units.total);
    if units.failed.is_empty() { plain(told) } else { (told + "!", Some(Ink::Bad)) }
}

fn disk(state: &State) -> Cell {
    let Some(fullest) = &state.fullest else { return plain("-") };
    let told = format!("{}%", fullest.used_percent);
    if fullest.over() { (told + "!", Some(Ink::Bad)) } else { plain(told) }
}

fn reboot(state: Option<&State>) -> Cell {
    if state.is_some_and(|s| s.staged) {
        return ("staged".to_owned(), Some(Ink::Warn));
    }
    match state.and_then(|s| s.reboot.as_ref()) {
        Some(parts) if parts.is_empty() => plain("no"),
        Some(_) => ("yes".to_owned(), Some(Ink::Warn)),
        None => plain("-"),
    }
}

/// As much as there is room for, the outcome first.
fn last_deploy(row: &Row, now_ms: i64, room: usize) -> String {
    let Some(last) = &row.last_deploy else { return "-".to_owned() };
    let ago = ago(now_ms, last.at_ms);
    let what = if last.rollback { "rollback, " } else { "" };
    let whole = format!("{what}{} {} {ago}", last.result, last.run);
    let shorter = format!("{what}{} {ago}", last.result);
    let mut forms = [whole, shorter].into_iter();
    forms.find(|f| columns_of(f) <= room).unwrap_or_else(|| last.result.clone())
}

/// The widest cell of each column.
fn widths(head: &[&str], rows: &[Vec<Cell>]) -> Vec<usize> {
    let widest = |(at, head): (usize, &&str)| {
        let cells = rows.iter().filter_map(|r| r.get(at)).map(|(text, _)| columns_of(text));
        let widest = cells.max().unwrap_or(0).max(head.len());
        if at == 0 { widest.min(NAME) } else { widest }
    };
    head.iter().enumerate().map(widest).collect()
}

/// Head and rows; the last column is not filled up.
fn draw(head: &[&str], rows: &[Vec<Cell>], widths: &[usize], look: &Look) -> Vec<String> {
    let line = |cells: &[Cell]| {
        let mut line = String::new();
        let mut used = 0;
        for (at, ((text, ink), width)) in cells.iter().zip(widths).enumerate() {
            let last = at + 1 == cells.len();
            let room = look.width.saturating_sub(used);
            let text = if last { look.cut(text, room) } else { look.left(text, *width) };
            used += width + 1;
            line.push_str(&ink.map_or(text.clone(), |ink| look.ink(ink, &text)));
            if !last {
                line.push(' ');
            }
        }
        line.trim_end().to_owned()
    };
    let head: Vec<Cell> = head.iter().map(|h| plain(*h)).collect();
    let mut drawn = vec![look.ink(Ink::Dim, &line(&head))];
    drawn.extend(rows.iter().map(|row| line(row)));
    drawn
}

/// The table, the count, and the sentences.
fn below(board: &Board, look: &Look, mut lines: Vec<String>) -> String {
    lines.push(look.edges(&tally(board), &short(board.took_ms)));
    let name = board.hosts.iter().map(|r| columns_of(r.host.as_str())).max().unwrap_or(0);
    let name = name.clamp(4, NAME);
    // Hosts of one flake share its faults: each is told once.
    let mut shared: BTreeMap<&str, (Vec<&str>, &Note)> = BTreeMap::new();
    for row in &board.hosts {
        let (common, own): (Vec<&Note>, Vec<&Note>) =
            row.notes.iter().partition(|n| n.code == "evaluation");
        for note in common {
            shared.entry(&note.text).or_insert((Vec::new(), note)).0.push(row.host.as_str());
        }
        if own.is_empty() {
            continue;
        }
        lines.push(String::new());
        let mut first = look.left(row.host.as_str(), name) + "  ";
        let indent = " ".repeat(name + 2);
        for note in own {
            lines.extend(sentence(note, &first, &indent, look));
            first.clone_from(&indent);
        }
    }
    for (text, (hosts, note)) in shared {
        lines.push(String::new());
        let text = format!("{}: {text}", hosts.join(", "));
        lines.extend(sentence(&Note { text, ..note.clone() }, "", "  ", look));
    }
    lines.join("\n") + "\n"
}

/// A sentence and what to type next; a command is to be copied, so it is never wrapped.
fn sentence(note: &Note, first: &str, indent: &str, look: &Look) -> Vec<String> {
    let mut lines = Vec::new();
    for (at, text) in note.text.lines().enumerate() {
        lines.extend(look.wrap(if at == 0 { first } else { indent }, indent, text));
    }
    for (command, remark) in note.next.iter().map(|next| words::typed(next)) {
        lines.extend(command.map(|c| format!("{indent}next  {}", look.shown(c))));
        let first = if command.is_some() { "      " } else { "hint  " };
        let (first, other) = (format!("{indent}{first}"), format!("{indent}      "));
        lines.extend(remark.into_iter().flat_map(|text| look.wrap(&first, &other, text)));
    }
    lines
}

/// `5 hosts: 4 answered, 1 did not; 3 current, 1 drift`.
fn tally(board: &Board) -> String {
    let hosts = count(board.hosts.len(), "host", "hosts");
    let reached = board.hosts.iter().filter(|r| r.reach.is_some()).count();
    let missed = board.hosts.len() - reached;
    // Somebody who lets nobody in has answered.
    let silent = |r: &&Row| r.refused.as_ref().is_some_and(|t| t.code == "unreachable");
    let silent = board.hosts.iter().filter(silent).count();
    let mut text = match (reached, missed - silent) {
        (_, 0) if missed == 0 => format!("{hosts}: all answered"),
        (0, 0) => format!("{hosts}: none answered"),
        (_, 0) => format!("{hosts}: {reached} answered, {missed} did not"),
        (_, refused) if silent == 0 => format!("{hosts}: {reached} answered, {refused} refused us"),
        (_, refused) => {
            format!("{hosts}: {reached} answered, {refused} refused us, {silent} did not")
        }
    };
    use Against::{Current, Differs, Drift, Error, Staged};
    let words = [Current, Differs, Staged, Drift, Error];
    let counted = words.iter().filter_map(|word| {
        let n = board.hosts.iter().filter(|r| r.vs_flake == Some(*word)).count();
        (n > 0).then(|| match word {
            Differs => count(n, word.word(), "differ"),
            Error => count(n, word.word(), "errors"),
            _ => format!("{n} {}", word.word()),
        })
    });
    let counted: Vec<String> = counted.collect();
    if !counted.is_empty() {
        text.push_str(&format!("; {}", counted.join(", ")));
    }
    text
}

/// `42s`, `12m`, `3h`, `6d`: how long ago a moment was.
pub fn ago(now_ms: i64, then_ms: i64) -> String {
    span(u64::try_from(now_ms.saturating_sub(then_ms) / 1000).unwrap_or(0))
}

/// `42s`, `12m`, `3h`, `6d`.
pub fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
