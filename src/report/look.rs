//! How text is brought onto a screen: width, marks, colours, times and sizes.
//!
//! Everything that is printed for a person passes [`Look::fit`] or [`Look::wrap`], so that a
//! screen never holds more columns than it has, nor a character the locale can not show. Knows
//! no event.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::event::harmless::obeyed;

/// What the screen can show.
#[derive(Debug, Clone)]
pub struct Look {
    /// More than ASCII.
    pub unicode: bool,
    /// Colours.
    pub colour: bool,
    /// Columns.
    pub width: usize,
    /// Nobody looks at it through a window of so many columns (a pipe, a file, CI): what may be
    /// longer is not cut.
    pub whole: bool,
    /// For times of day.
    pub zone: TimeZone,
}

/// Why something is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// As wanted.
    Good,
    /// Look here.
    Warn,
    /// Failed.
    Bad,
    /// Of less weight.
    Dim,
    /// Of more weight.
    Bold,
}

/// Signs, each with an ASCII twin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// As wanted.
    Ok,
    /// Failed.
    Fail,
    /// Not done.
    Skip,
    /// Look here.
    Warn,
    /// Worth knowing.
    Info,
    /// Going on.
    Running,
    /// From, to.
    Arrow,
    /// Went back.
    Back,
    /// Item of a list.
    Bullet,
    /// Cut here.
    Cut,
}

impl Look {
    /// Eighty columns of ASCII, no colour, UTC: what every screen must be able to live with.
    pub fn plain() -> Self {
        Self { unicode: false, colour: false, width: 80, whole: false, zone: TimeZone::UTC }
    }

    /// The sign in the best form that can be shown.
    pub fn mark(&self, mark: Mark) -> &'static str {
        let (unicode, ascii) = match mark {
            Mark::Ok => ("✓", "ok"),
            Mark::Fail => ("✗", "FAIL"),
            Mark::Skip => ("–", "skip"),
            Mark::Warn => ("!", "!"),
            Mark::Info => ("i", "i"),
            Mark::Running => ("▸", ">"),
            Mark::Arrow => ("→", "->"),
            Mark::Back => ("↩", "<-"),
            Mark::Bullet => ("•", "*"),
            Mark::Cut => ("…", "..."),
        };
        if self.unicode { unicode } else { ascii }
    }

    /// The text in colour, or as it is.
    pub fn ink(&self, ink: Ink, text: &str) -> String {
        if !self.colour || text.is_empty() {
            return text.to_owned();
        }
        let code = match ink {
            Ink::Good => 32,
            Ink::Warn => 33,
            Ink::Bad => 31,
            Ink::Dim => 2,
            Ink::Bold => 1,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// Without what a terminal obeys or the locale can not show.
    pub fn shown(&self, text: &str) -> String {
        let mut shown = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '\n' | '\t' => shown.push(' '),
                c if obeyed(c) => shown.push('?'),
                c if c.is_ascii() || self.unicode => shown.push(c),
                '…' => shown.push_str("..."),
                '→' => shown.push_str("->"),
                '–' | '—' => shown.push('-'),
                '‘' | '’' => shown.push('\''),
                '“' | '”' => shown.push('"'),
                _ => shown.push('?'),
            }
        }
        shown
    }

    /// The text in at most so many columns; a mark stands where it was cut.
    pub fn fit(&self, text: &str, columns: usize) -> String {
        let text = self.shown(text);
        if columns_of(&text) <= columns {
            return text;
        }
        let mark = self.mark(Mark::Cut);
        let room = columns.saturating_sub(columns_of(mark));
        let mut cut = head(&text, room).trim_end().to_owned();
        cut.push_str(head(mark, columns));
        cut
    }

    /// The text in at most so many columns, or as long as it is where nothing is to be cut.
    pub fn cut(&self, text: &str, columns: usize) -> String {
        if self.whole { self.shown(text) } else { self.fit(text, columns) }
    }

    /// The text in exactly so many columns, filled up on the right.
    pub fn left(&self, text: &str, columns: usize) -> String {
        let text = self.fit(text, columns);
        let gap = columns.saturating_sub(columns_of(&text));
        text + &" ".repeat(gap)
    }

    /// The text in exactly so many columns, filled up on the left.
    pub fn right(&self, text: &str, columns: usize) -> String {
        let text = self.fit(text, columns);
        " ".repeat(columns.saturating_sub(columns_of(&text))) + &text
    }

    /// `left` at the left edge and `right` at the right one, in one line of the whole width.
    pub fn edges(&self, left: &str, right: &str) -> String {
        let right = self.fit(right, self.width / 3);
        let room = self.width.saturating_sub(columns_of(&right) + 1);
        format!("{} {right}", self.left(left, room)).trim_end().to_owned()
    }

    /// The text in lines of the whole width: the first behind `first`, others behind `other`.
    pub fn wrap(&self, first: &str, other: &str, text: &str) -> Vec<String> {
        let text = self.shown(text);
        let mut lines = Vec::new();
        let mut line = first.to_owned();
        let mut fresh = true;
        for word in text.split(' ').filter(|w| !w.is_empty()) {
            let gap = usize::from(!fresh);
            if !fresh && columns_of(&line) + gap + columns_of(word) > self.width {
                lines.push(std::mem::replace(&mut line, other.to_owned()));
                fresh = true;
            }
            if !fresh {
                line.push(' ');
            }
            fresh = false;
            let mut word = word;
            while columns_of(&line) + columns_of(word) > self.width {
                let part = head(word, self.width.saturating_sub(columns_of(&line)).max(1));
                line.push_str(part);
                word = &word[part.len()..];
                lines.push(std::mem::replace(&mut line, other.to_owned()));
            }
            line.push_str(word);
        }
        lines.push(line.trim_end().to_owned());
        lines
    }

    /// `HH:MM:SS` of a moment.
    pub fn clock(&self, epoch_ms: i64) -> String {
        self.moment(epoch_ms, "%H:%M:%S")
    }

    /// `YYYY-MM-DD HH:MM` of a moment.
    pub fn date(&self, epoch_ms: i64) -> String {
        self.moment(epoch_ms, "%Y-%m-%d %H:%M")
    }

    fn moment(&self, epoch_ms: i64, form: &str) -> String {
        match Timestamp::from_millisecond(epoch_ms) {
            Ok(at) => at.to_zoned(self.zone.clone()).strftime(form).to_string(),
            Err(_) => "-".to_owned(),
        }
    }
}

/// Columns a text takes.
pub fn columns_of(text: &str) -> usize {
    console::measure_text_width(text)
}

/// As much of the beginning as fits.
fn head(text: &str, columns: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += if c.is_ascii() { 1 } else { columns_of(c.encode_utf8(&mut [0; 4])) };
        if used > columns {
            return &text[..at];
        }
    }
    text
}

/// `0.03s`, `38.10s`, `1m12s`: for the time of a phase.
pub fn exact(ms: u64) -> String {
    let tens = (ms + 5) / 10;
    if tens < 6000 { format!("{}.{:02}s", tens / 100, tens % 100) } else { short(ms) }
}

/// `0.1s`, `38.1s`, `1m12s`, `2h05m`: for tables.
pub fn short(ms: u64) -> String {
    let tenths = (ms + 50) / 100;
    let seconds = (ms + 500) / 1000;
    match seconds {
        _ if tenths < 600 => format!("{}.{}s", tenths / 10, tenths % 10),
        0..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// `7s`, `1m12s`: for a clock that ticks.
pub fn ticking(ms: u64) -> String {
    if ms < 60_000 { format!("{}s", ms / 1000) } else { short(ms / 1000 * 1000) }
}

/// `182 MiB`: at most four characters of number.
pub fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = 0;
    let mut number = count as f64;
    while number >= 1023.5 && unit + 1 < units.len() {
        number /= 1024.0;
        unit += 1;
    }
    if unit > 0 && number < 9.95 {
        format!("{number:.1} {}", units[unit])
    } else {
        format!("{number:.0} {}", units[unit])
    }
}

/// `212/340 MiB`, or `900 KiB/3.0 MiB` where the units differ.
pub fn bytes_of(done: u64, total: u64) -> String {
    let (done, total) = (bytes(done), bytes(total));
    match (done.split_once(' '), total.split_once(' ')) {
        (Some((number, unit)), Some((_, of))) if unit == of => format!("{number}/{total}"),
        _ => format!("{done}/{total}"),
    }
}

/// `+120 MiB`, `-3 KiB`.
pub fn growth(delta: i64) -> String {
    let sign = if delta < 0 { '-' } else { '+' };
    format!("{sign}{}", bytes(delta.unsigned_abs()))
}

/// `1 host`, `3 hosts`.
pub fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_and_sizes_are_short() {
        assert_eq!(
            (exact(30), exact(38_096), exact(61_000)),
            ("0.03s".into(), "38.10s".into(), "1m01s".into())
        );
        assert_eq!(
            (short(96), short(59_960), short(108_000)),
            ("0.1s".into(), "1m00s".into(), "1m48s".into())
        );
        assert_eq!(short(7_500_000), "2h05m");
        assert_eq!(
            (bytes(0), bytes(1023), bytes(1 << 20)),
            ("0 B".into(), "1023 B".into(), "1.0 MiB".into())
        );
        assert_eq!(growth(-(182 << 20)), "-182 MiB");
    }

    #[test]
    fn words_are_wrapped_behind_their_indentation() {
        let look = Look { width: 12, ..Look::plain() };
        assert_eq!(
            look.wrap("* ", "  ", "one two three fourteenletters"),
            ["* one two", "  three", "  fourteenle", "  tters"]
        );
    }

    proptest! {
        #[test]
        fn nothing_is_wider_than_asked(text in any::<String>(), columns in 1usize..90, unicode: bool) {
            let look = Look { unicode, width: 80, ..Look::plain() };
            prop_assert!(columns_of(&look.fit(&text, columns)) <= columns);
            prop_assert_eq!(columns_of(&look.left(&text, columns)), columns);
            for line in look.wrap("    ", "    ", &text) {
                prop_assert!(columns_of(&line) <= 80, "{}", line);
            }
            prop_assert!(unicode || look.fit(&text, columns).is_ascii());
        }
    }
}
