//! Measurements: the data of `bench-host` and of the `perf` commands, their document and table.
//!
//! Every row says how often it was measured, and between which values the median lies. Keys of the
//! document are only ever added.

use serde::Serialize;

use super::look::{Ink, Look, bytes, columns_of, exact};
use super::{json, plot};

/// Columns of the bars.
const BAR: usize = 20;
/// Columns of names, at most.
const NAME: usize = 34;

/// What a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Milliseconds.
    Ms,
    /// Bytes.
    Bytes,
    /// Bytes in a second.
    BytesPerSecond,
    /// Things.
    Count,
}

/// One thing that was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What: a phase, a host, a number of workers, a cache.
    pub name: String,
    /// What of it.
    pub what: &'static str,
    /// Of the values.
    pub unit: Unit,
    /// As they came.
    pub values: Vec<f64>,
    /// How many.
    pub n: usize,
    /// The middle one.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
    /// How many times as fast as the first row of its kind; `null`: it has no first.
    pub speedup: Option<f64>,
}

impl Row {
    /// Of values; `None`: of none there is nothing to say.
    pub fn of(name: &str, what: &'static str, unit: Unit, values: Vec<f64>) -> Option<Self> {
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let upper = sorted[sorted.len() / 2];
        let median = f64::midpoint(sorted[(sorted.len() - 1) / 2], upper);
        let (name, n) = (name.to_owned(), values.len());
        Some(Self { name, what, unit, values, n, median, least, most, speedup: None })
    }
}

/// A measurement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// Version of the document.
    pub schema: u32,
    /// The command.
    pub command: &'static str,
    /// What was measured.
    pub rows: Vec<Row>,
    /// What the numbers mean, and what they do not.
    pub notes: Vec<String>,
    /// Hosts or caches that could not be measured, each with the reason.
    pub unmeasured: Vec<String>,
}

impl Measured {
    /// Nothing yet.
    pub fn new(command: &'static str) -> Self {
        let (rows, notes, unmeasured) = (Vec::new(), Vec::new(), Vec::new());
        Self { schema: json::SCHEMA, command, rows, notes, unmeasured }
    }
}

/// The document, with a line feed at its end.
pub fn document(measured: &Measured) -> String {
    serde_json::to_string_pretty(measured).unwrap_or_default() + "\n"
}

fn shown(value: f64, unit: Unit) -> String {
    // Values are counted or measured: none is negative, and what is lost is below one of them.
    let whole = value.round().max(0.0) as u64;
    match unit {
        Unit::Ms => exact(whole),
        Unit::Bytes => bytes(whole),
        Unit::BytesPerSecond => format!("{}/s", bytes(whole)),
        Unit::Count => whole.to_string(),
    }
}

/// The table, what its numbers mean, and what is missing.
pub fn table(measured: &Measured, look: &Look) -> String {
    let longest = measured.rows.iter().map(|r| columns_of(&r.name)).max().unwrap_or(0);
    let name = longest.clamp(4, NAME);
    let what = measured.rows.iter().map(|r| r.what.len()).max().unwrap_or(4).max(4);
    let head = format!("{:name$} {:what$}   N     MEDIAN      LEAST       MOST", "NAME", "WHAT");
    let mut lines = vec![look.ink(Ink::Dim, &look.fit(&head, look.width))];
    for row in &measured.rows {
        let of_kind = measured.rows.iter().filter(|r| (r.what, r.unit) == (row.what, row.unit));
        let largest = of_kind.map(|r| r.median).fold(0.0, f64::max);
        let mut line = format!(
            "{} {:what$} {:>3} {:>10} {:>10} {:>10}  ",
            look.left(&row.name, name),
            row.what,
            row.n,
            shown(row.median, row.unit),
            shown(row.least, row.unit),
            shown(row.most, row.unit),
        );
        let room = look.width.saturating_sub(columns_of(&line) + 6).min(BAR);
        line.push_str(&plot::bar(row.median, largest, room, look));
        if let Some(speedup) = row.speedup {
            line.push_str(&format!(" {speedup:.1}x"));
        }
        lines.push(line.trim_end().to_owned());
    }
    for note in &measured.notes {
        lines.extend(look.wrap("", "  ", note));
    }
    for missing in &measured.unmeasured {
        lines.extend(look.wrap("not measured: ", "  ", missing));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_how_sure_it_is() {
        assert_eq!(Row::of("x", "wall", Unit::Ms, Vec::new()), None);
        let row = Row::of("p620", "wall", Unit::Ms, vec![30.0, 10.0, 20.0, 40.0]).expect("values");
        assert_eq!((row.n, row.median, row.least, row.most), (4, 25.0, 10.0, 40.0));
        let fast = Row { speedup: Some(2.04), ..row.clone() };
        let of = |rows| Measured { rows, ..Measured::new("bench-host") };
        let half = Row::of("p510", "wall", Unit::Ms, vec![12.5]).expect("a value");
        let table = table(&of(vec![fast, half]), &Look::plain());
        let wanted = "\
NAME WHAT   N     MEDIAN      LEAST       MOST
p620 wall   4      0.03s      0.01s      0.04s  #################### 2.0x
p510 wall   1      0.01s      0.01s      0.01s  ##########
";
        assert_eq!(table, wanted);
    }
}
