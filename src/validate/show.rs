//! Findings in a text drawn as compilers do: the line, what is wrong under it, what to do. Pure.

use std::ops::Range;
use std::path::Path;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::found::{Examined, Found};
use super::packed::Mark;
use crate::event::{Severity, harmless};
use crate::fleet::hosts_toml::drawable;

/// Widest drawing: every screen fits 80 columns.
const WIDTH: usize = 80;

impl Examined {
    /// Every fault, drawn; with colours and with more than ASCII where the reader can show them.
    pub fn drawn(&self, colour: bool, unicode: bool) -> String {
        self.drawings(colour, unicode, |mark| Some(mark.severity)).collect()
    }

    /// The faults that are wanted, drawn with the severity that is given for each.
    pub fn drawings(
        &self,
        colour: bool,
        unicode: bool,
        wanted: impl Fn(Mark) -> Option<Severity>,
    ) -> impl Iterator<Item = String> {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let style = if unicode { DecorStyle::Unicode } else { DecorStyle::Ascii };
        let renderer = renderer.term_width(WIDTH).decor_style(style);
        // Most are old or notes, and not even unpacked.
        let any = self.counted().any(|mark| wanted(mark).is_some());
        let told = any.then(|| self.told()).into_iter().flatten();
        told.filter_map(move |(path, mut found)| {
            found.fault.severity = wanted(found.mark())?;
            Some(draw(&renderer, path, &found) + "\n\n")
        })
    }
}

fn draw(renderer: &Renderer, path: &Path, found: &Found) -> String {
    let fault = &found.fault;
    let path = harmless::line(&path.display().to_string());
    let message = harmless::line(&fault.message);
    let level = match fault.severity {
        Severity::Block => Level::ERROR,
        Severity::Warn => Level::WARNING,
        Severity::Info => Level::INFO,
    };
    let title = level.primary_title(message).id(fault.code);
    let mut group = match &found.excerpt {
        None => {
            let at = found.from;
            let origin = annotate_snippets::Origin::path(path).line(at.line).char_column(at.column);
            title.element(origin)
        }
        Some(excerpt) => {
            let within = |range: &Range<usize>| {
                let end = excerpt.start + excerpt.text.len();
                range.start - excerpt.start..range.end.max(range.start).min(end) - excerpt.start
            };
            let snippet = Snippet::source(drawable(&excerpt.text)).line_start(excerpt.first);
            let primary = AnnotationKind::Primary.span(within(&fault.range));
            let mut snippet = snippet.path(path).annotation(primary);
            if let Some((range, label)) = &fault.other {
                let other = AnnotationKind::Context.span(within(range)).label(*label);
                snippet = snippet.annotation(other);
            }
            title.element(snippet)
        }
    };
    if let Some(hint) = &fault.hint {
        group = group.element(Level::HELP.message(harmless::line(hint)));
    }
    let groups: Vec<Group<'_>> = vec![group];
    renderer.render(&groups)
}
