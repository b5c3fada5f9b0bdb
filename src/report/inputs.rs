//! A flake's inputs: what they are locked to, and what an update moves.
//!
//! Plain data, filled in by `command`; texts in here are harmless for a terminal.

use serde::Serialize;

use super::look::{Ink, Look, Mark, columns_of, count};

/// Longest name of an input that is shown in a column.
const NAME: usize = 24;

/// An input, and what it is locked to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Input {
    /// Its name in the flake.
    pub input: String,
    /// The commit, its first digits.
    pub rev: Option<String>,
    /// The day of it.
    pub date: Option<String>,
    /// The input that it follows, and has no lock of its own.
    pub follows: Option<String>,
}

/// An input that an update moves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// Its name, after those of the inputs that it belongs to.
    pub input: String,
    /// The commit before.
    pub from: Option<String>,
    /// The day of it.
    pub from_date: Option<String>,
    /// The commit after.
    pub to: Option<String>,
    /// The day of it.
    pub to_date: Option<String>,
    /// Days between the two; below 0: it goes back in time.
    pub days: Option<i64>,
    /// Where what lies between can be read.
    pub compare: Option<String>,
}

/// A flake.lock that was kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Its name.
    pub id: String,
    /// When it was kept last, milliseconds since the epoch.
    pub kept_ms: i64,
    /// Whether it is in place.
    pub in_place: bool,
    /// What would move if it were put in place; `null`: it cannot be read.
    pub moves: Option<Vec<Moved>>,
}

/// The inputs of a lock, a line each.
pub fn locked(inputs: &[Input], look: &Look) -> Vec<String> {
    let width = name_width(inputs.iter().map(|i| &i.input));
    let row = |input: &Input| {
        let what = match &input.follows {
            Some(other) => format!("follows {other}"),
            None => stand(input.rev.as_deref(), input.date.as_deref()),
        };
        look.cut(format!("{} {what}", look.left(&input.input, width)).trim_end(), look.width)
    };
    inputs.iter().map(row).collect()
}

/// What moves: how many of all, then a line each, with where to read about it.
pub fn moves(moves: &[Moved], of: usize, look: &Look) -> Vec<String> {
    let verb = if moves.len() == 1 { "moves" } else { "move" };
    let mut lines = vec![format!("{} of {of} {verb}", count(moves.len(), "input", "inputs"))];
    let width = name_width(moves.iter().map(|m| &m.input));
    for moved in moves {
        lines.push(format!("  {}", row(moved, width, look)));
        if let Some(link) = &moved.compare {
            let shown = look.ink(Ink::Dim, link);
            // A link that is cut leads nowhere: it is whole, and the last thing of its line.
            lines.push(format!("    {shown}"));
        }
    }
    lines
}

fn row(moved: &Moved, width: usize, look: &Look) -> String {
    let name = look.left(&moved.input, width);
    let from = stand(moved.from.as_deref(), moved.from_date.as_deref());
    let to = stand(moved.to.as_deref(), moved.to_date.as_deref());
    let days = match moved.days {
        Some(days) if days < 0 => look.ink(
            Ink::Warn,
            &format!(" ({} back)", count(days.unsigned_abs() as usize, "day", "days")),
        ),
        Some(days) if days > 0 => format!(" ({})", count(days as usize, "day", "days")),
        _ => String::new(),
    };
    match (&moved.from, &moved.to) {
        (None, _) if moved.from_date.is_none() => format!("{name} new: {to}"),
        (_, None) if moved.to_date.is_none() => format!("{name} goes: {from}"),
        _ => format!("{name} {from} {} {to}{days}", look.mark(Mark::Arrow)),
    }
}

fn stand(rev: Option<&str>, date: Option<&str>) -> String {
    [rev, date].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn name_width<'a>(names: impl Iterator<Item = &'a String>) -> usize {
    names.map(|n| columns_of(n)).max().unwrap_or(0).min(NAME)
}

/// What was kept, newest first, and what differs in it from what is in place.
pub fn kept(all: &[Kept], look: &Look) -> Vec<String> {
    let mut lines = vec!["ID       KEPT              DIFFERS IN".to_owned()];
    for one in all {
        let names = |moves: &Vec<Moved>| -> String {
            let names: Vec<&str> = moves.iter().map(|m| m.input.as_str()).collect();
            if names.is_empty() { "nothing but its form".to_owned() } else { names.join(", ") }
        };
        let told = match (&one.moves, one.in_place) {
            (_, true) => "in place".to_owned(),
            (Some(moves), false) => names(moves),
            (None, false) => "cannot be read".to_owned(),
        };
        let id = one.id.get(..8).unwrap_or(&one.id);
        lines.push(look.cut(&format!("{id} {}  {told}", look.date(one.kept_ms)), look.width));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved() -> Moved {
        let some = |word: &str| Some(word.to_owned());
        Moved {
            input: "nixpkgs".to_owned(),
            from: some("1f0c2ab"),
            from_date: some("2026-08-19"),
            to: some("9be77d0"),
            to_date: some("2026-09-15"),
            days: Some(27),
            compare: some("https://github.com/NixOS/nixpkgs/compare/1f0c2ab...9be77d0"),
        }
    }

    #[test]
    fn what_moves_has_dates_and_a_link() {
        let new = Moved { input: "hm/systems".to_owned(), from: None, from_date: None, ..moved() };
        let back = Moved { days: Some(-1), compare: None, ..moved() };
        let new = Moved { compare: None, ..new };
        let lines = moves(&[moved(), back, new], 30, &Look::plain()).join("\n");
        insta::assert_snapshot!(lines, @r"
        3 inputs of 30 move
          nixpkgs    1f0c2ab 2026-08-19 -> 9be77d0 2026-09-15 (27 days)
            https://github.com/NixOS/nixpkgs/compare/1f0c2ab...9be77d0
          nixpkgs    1f0c2ab 2026-08-19 -> 9be77d0 2026-09-15 (1 day back)
          hm/systems new: 9be77d0 2026-09-15
        ");
    }

    #[test]
    fn what_was_kept_tells_how_it_differs() {
        let id = "0123456789".to_owned();
        let one = Kept { id, kept_ms: 0, in_place: true, moves: Some(Vec::new()) };
        let other = Kept { in_place: false, moves: Some(vec![moved()]), ..one.clone() };
        let broken = Kept { moves: None, ..other.clone() };
        let lines = kept(&[one, other, broken], &Look::plain()).join("\n");
        insta::assert_snapshot!(lines, @r"
        ID       KEPT              DIFFERS IN
        01234567 1970-01-01 00:00  in place
        01234567 1970-01-01 00:00  nixpkgs
        01234567 1970-01-01 00:00  cannot be read
        ");
    }
}
