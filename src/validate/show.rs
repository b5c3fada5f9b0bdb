//! Findings in a text drawn as compilers do: the line, what is wrong under it, what to do. Pure.

use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::examine::{Examined, Faulty};
use super::syntax::{Fault, Position};
use crate::event::{Severity, harmless};

/// Widest drawing: every screen fits 80 columns.
const WIDTH: usize = 80;
/// A longer line is no help to a person; the drawing then stands without it.
const LINE_LIMIT: usize = 2_000;

impl Examined {
    /// Every fault, drawn; with colours and with more than ASCII where the reader can show them.
    pub fn drawn(&self, colour: bool, unicode: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let style = if unicode { DecorStyle::Unicode } else { DecorStyle::Ascii };
        let renderer = renderer.term_width(WIDTH).decor_style(style);
        let faults = self.faulty.iter().flat_map(|file| file.faults.iter().map(move |f| (file, f)));
        faults.map(|(file, fault)| draw(&renderer, file, fault) + "\n\n").collect()
    }
}

fn draw(renderer: &Renderer, file: &Faulty, fault: &Fault) -> String {
    let path = harmless::line(&file.path.display().to_string());
    let message = harmless::line(&fault.message);
    let level = match fault.severity {
        Severity::Block => Level::ERROR,
        Severity::Warn => Level::WARNING,
        Severity::Info => Level::INFO,
    };
    let title = level.primary_title(message).id(fault.code);
    let Some((text, first_line, start)) = excerpt(&file.text, fault) else {
        let at = Position::of(&file.text, fault.range.start);
        let origin = annotate_snippets::Origin::path(path).line(at.line).char_column(at.column);
        return renderer.render(&[title.element(origin)]);
    };
    let text = &crate::fleet::hosts_toml::drawable(text);
    let within = |range: &Range<usize>| {
        range.start - start..range.end.max(range.start).min(start + text.len()) - start
    };
    let mut snippet = Snippet::source(text).line_start(first_line).path(path);
    snippet = snippet.annotation(AnnotationKind::Primary.span(within(&fault.range)));
    if let Some((range, label)) = &fault.other {
        snippet = snippet.annotation(AnnotationKind::Context.span(within(range)).label(*label));
    }
    let mut groups: Vec<Group<'_>> = vec![title.element(snippet)];
    if let Some(hint) = &fault.hint {
        groups[0] = std::mem::replace(&mut groups[0], Group::with_level(Level::HELP))
            .element(Level::HELP.message(harmless::line(hint)));
    }
    renderer.render(&groups)
}

/// The lines that hold a fault: their text, number of the first, and byte where it starts; `None`
/// when there is no text or it is not for people.
fn excerpt<'a>(text: &'a str, fault: &Fault) -> Option<(&'a str, usize, usize)> {
    let other = fault.other.as_ref().map(|(range, _)| range);
    let from = other.map_or(fault.range.start, |o| o.start.min(fault.range.start));
    let upto = other.map_or(fault.range.end, |o| o.end.max(fault.range.end)).min(text.len());
    let start = text.get(..from)?.rfind('\n').map_or(0, |n| n + 1);
    let end = text.get(upto..)?.find('\n').map_or(text.len(), |n| upto + n);
    let lines = text.get(start..end)?;
    let readable = !text.is_empty() && lines.lines().all(|l| l.len() <= LINE_LIMIT);
    readable.then(|| (lines, Position::of(text, start).line, start))
}
