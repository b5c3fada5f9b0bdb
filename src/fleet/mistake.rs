//! A mistake in hosts.toml: where, what, and what was probably meant; drawn like rustc's.

use std::ops::Range;
use std::path::Path;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// More than these help nobody.
const SHOWN: usize = 20;

/// One thing wrong with a hosts.toml.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Bytes of the text it is about.
    pub span: Range<usize>,
    /// Sentence fragment: "unknown key `soak` in `[hosts.p620]`".
    pub message: String,
    /// The nearest thing that would be right.
    pub nearest: Option<String>,
    /// What would be right in general.
    pub note: Option<String>,
}

impl Mistake {
    pub(super) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: harmless(&message.into()), nearest: None, note: None }
    }

    pub(super) fn nearest<'a>(
        mut self,
        word: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        self.nearest = nearest(word, known).map(harmless);
        self
    }

    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(harmless(&note.into()));
        self
    }
}

/// Whether a terminal would obey the character; `event::harmless` knows more of them, but what
/// stands in a file is also shown as it is.
fn obeyed(c: char) -> bool {
    let mark = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}');
    let direction = mark || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || direction
}

/// A file from elsewhere may name its keys with escapes; none of them may reach a terminal.
fn harmless(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        if obeyed(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    shown
}

/// The text of a file as it may be drawn: what a terminal would obey is replaced, and every other
/// byte keeps its place, so that spans still fit.
pub fn drawable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c.len_utf8() {
            _ if !obeyed(c) || c == '\n' => shown.push(c),
            1 => shown.push(if c == '\t' || c == '\r' { ' ' } else { '?' }),
            2 => shown.push('\u{bf}'),
            _ => shown.push('\u{fffd}'),
        }
    }
    shown
}

/// Draws mistakes with file, line, column and the line itself, in the order of the file.
pub fn render(mistakes: &[Mistake], source: &Path, text: &str, colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.decor_style(DecorStyle::Ascii).term_width(80);
    let (path, text) = (harmless(&source.display().to_string()), &drawable(text));
    let mut drawn: Vec<String> =
        mistakes.iter().take(SHOWN).map(|m| draw(&renderer, m, &path, text)).collect();
    if mistakes.len() > SHOWN {
        drawn.push(format!("and {} more mistakes in {path}", mistakes.len() - SHOWN));
    }
    drawn.join("\n\n")
}

fn draw(renderer: &Renderer, mistake: &Mistake, path: &str, text: &str) -> String {
    let span = within(&mistake.span, text);
    let mark = AnnotationKind::Primary.span(span);
    let mark = match &mistake.nearest {
        Some(nearest) => mark.label(format!("did you mean `{nearest}`?")),
        None => mark,
    };
    let snippet = Snippet::source(text).path(path).annotation(mark);
    let mut group = Level::ERROR.primary_title(mistake.message.as_str()).element(snippet);
    if let Some(note) = &mistake.note {
        group = group.element(Level::HELP.message(note.as_str()));
    }
    renderer.render(&[group])
}

/// The first line of a span, inside the text and between characters: a whole table is no mark.
fn within(span: &Range<usize>, text: &str) -> Range<usize> {
    let start = floor(span.start, text);
    let end = floor(span.end.max(start), text);
    let line = text[start..end].find('\n').map_or(end, |at| start + at);
    start..line
}

fn floor(at: usize, text: &str) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// The nearest of the known words, if it is near enough to have been meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the word may be wrong, or two letters of a short one; not all of it.
    let length = word.chars().count();
    let bound = (length / 3).max(2).min(length.saturating_sub(1));
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= bound)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Letters to add, remove, replace or swap with their neighbour.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(64).flat_map(char::to_lowercase).collect();
    let right: Vec<char> = right.chars().take(64).flat_map(char::to_lowercase).collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, r) in right.iter().enumerate() {
            let mut best = (last[j] + usize::from(l != r)).min(last[j + 1] + 1).min(row[j] + 1);
            let swapped = i > 0 && j > 0 && *l == right[j - 1] && left[i - 1] == *r;
            if swapped {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_one_that_could_have_been_meant() {
        let keys = ["soak_s", "user", "tags", "activate_timeout_s"];
        assert_eq!(nearest("soak", keys), Some("soak_s"));
        assert_eq!(nearest("tasg", keys), Some("tags"));
        assert_eq!(nearest("activation_timeout_s", keys), Some("activate_timeout_s"));
        assert_eq!(nearest("P62O", ["p620", "p510"]), Some("p620"));
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(nearest("x", ["y"]), None);
        assert_eq!(nearest("", ["a"]), None);
    }

    #[test]
    fn a_mark_stays_inside_the_text_and_on_one_line() {
        let text = "a = 'é'\nb = 1\n";
        for start in 0..40 {
            for end in 0..40 {
                let mark = within(&(start..end), text);
                assert!(text.get(mark.clone()).is_some_and(|t| !t.contains('\n')), "{mark:?}");
            }
        }
    }
}
