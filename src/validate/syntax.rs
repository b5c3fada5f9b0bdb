//! One text against Nix's grammar and static rules: faults with spans. Pure.
//!
//! `rnix` alone takes what Nix refuses in about one of twenty broken files, so three passes follow
//! a clean parse: [`super::grammar`], [`super::attributes`] and [`super::variables`]. After a parse
//! error they are left out, and of several parse errors only the first is told: as with Nix, the
//! others mostly follow from it.

use std::ops::Range;

use rnix::{ParseError, SyntaxKind, TextRange};

use super::{attributes, grammar, nesting, variables};
use crate::event::Severity;

/// Something wrong at a place of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Stable name of the rule.
    pub code: &'static str,
    /// How bad.
    pub severity: Severity,
    /// Bytes of the text it is about.
    pub range: Range<usize>,
    /// One sentence fragment.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Another place that belongs to it, and what is there.
    pub other: Option<(Range<usize>, &'static str)>,
}

impl Fault {
    /// A fault that blocks.
    pub(super) fn new(code: &'static str, range: TextRange, message: impl Into<String>) -> Self {
        let range = range.start().into()..range.end().into();
        let message = message.into();
        Self { code, severity: Severity::Block, range, message, hint: None, other: None }
    }

    /// A doubt: Nix may well take it.
    pub(super) fn doubt(code: &'static str, range: Range<usize>, message: String) -> Self {
        Self { code, severity: Severity::Warn, range, message, hint: None, other: None }
    }

    pub(super) fn hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    pub(super) fn other(mut self, range: TextRange, label: &'static str) -> Self {
        self.other = Some((range.start().into()..range.end().into(), label));
        self
    }
}

/// Where a byte is for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

impl Position {
    /// Finds a byte of a text; beyond its end is its end.
    pub fn of(text: &str, byte: usize) -> Self {
        let before = &text[..text.floor_char_boundary(byte)];
        let start = before.rfind('\n').map_or(0, |n| n + 1);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        Self { line, column: before[start..].chars().count() + 1 }
    }
}

/// Everything wrong with a text, in its order.
///
/// Parser and passes recurse up to the bound of [`super::nesting`]: call it on a thread with
/// [`nesting::STACK`] bytes of stack.
pub fn faults(text: &str) -> Vec<Fault> {
    if let Some(at) = nesting::too_deep(text) {
        let message = "nested too deep to be checked here; Nix itself decides".to_owned();
        return vec![Fault::doubt("too-deep", at..at + 1, message)];
    }
    // Nix skips a byte order mark; three blanks instead keep every byte in its place.
    let unmarked = text.strip_prefix('\u{feff}').map(|rest| format!("   {rest}"));
    let parsed = rnix::Root::parse(unmarked.as_deref().unwrap_or(text));
    if let Some(fault) = first_error(text, parsed.errors()) {
        return vec![fault];
    }
    let root = parsed.syntax();
    let mut faults = grammar::faults(&root);
    let (duplicates, unclear) = attributes::faults(&root);
    faults.extend(duplicates);
    faults.extend(variables::faults(&root, &unclear));
    faults.sort_by_key(|f| (f.range.start, f.range.end));
    faults
}

fn first_error(text: &str, errors: &[ParseError]) -> Option<Fault> {
    let depth = errors.iter().position(|e| *e == ParseError::RecursionLimitExceeded);
    // What rnix says after its own limit (512 expressions) is about our limit, not about the text.
    let first = errors[..depth.unwrap_or(errors.len())].iter().map(|e| describe(text, e));
    let first = first.min_by_key(|f| f.range.start);
    first.or_else(|| {
        let message = "more than 512 expressions inside each other; Nix itself decides".to_owned();
        depth.map(|_| Fault::doubt("too-deep", 0..0, message))
    })
}

fn describe(text: &str, error: &ParseError) -> Fault {
    let end = text.trim_end().len();
    let (range, message) = match error {
        ParseError::UnexpectedWanted(kind, range, wanted) => {
            let range = first_word(text, *range);
            let got = spell(*kind, &text[range.clone()]);
            (range, format!("unexpected {got}, expecting {}", list(wanted)))
        }
        ParseError::Unexpected(range) => {
            let range = first_word(text, *range);
            let got = format!("unexpected '{}'", &text[range.clone()]);
            (range, got)
        }
        ParseError::UnexpectedExtra(range) => {
            let range = first_word(text, *range);
            let got = format!("unexpected '{}', expecting end of file", &text[range.clone()]);
            (range, got)
        }
        ParseError::UnexpectedDoubleBind(range) => {
            (first_word(text, *range), "the argument is named twice with '@'".to_owned())
        }
        ParseError::UnexpectedEOFWanted(wanted) => {
            (end..end, format!("unexpected end of file, expecting {}", list(wanted)))
        }
        other => (end..end, other.to_string()),
    };
    let message = format!("syntax error, {message}");
    let severity = Severity::Block;
    Fault { code: "syntax", severity, range, message, hint: None, other: None }
}

/// The first token of a range: rnix's ranges reach to where it found its way again.
fn first_word(text: &str, range: TextRange) -> Range<usize> {
    let (start, end): (usize, usize) = (range.start().into(), range.end().into());
    let rest = text.get(start..end).unwrap_or_default();
    let Some((kind, word)) = rnix::tokenize(rest).next() else { return start..start };
    // Alone, an error token may reach to the end of the text; show one line, and not all of it.
    let line = word.split('\n').next().unwrap_or_default();
    let limit = if kind == SyntaxKind::TOKEN_ERROR { 1 } else { 40 };
    start..start + line.ceil_char_boundary(line.len().min(limit))
}

fn list(kinds: &[SyntaxKind]) -> String {
    let words: Vec<String> = kinds.iter().map(|k| spell(*k, "")).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

/// A token as a person would name it; `seen` is its text, if there is one.
fn spell(kind: SyntaxKind, seen: &str) -> String {
    use SyntaxKind::{
        TOKEN_ASSIGN, TOKEN_AT, TOKEN_COLON, TOKEN_COMMA, TOKEN_DOT, TOKEN_ELLIPSIS, TOKEN_ELSE,
        TOKEN_IDENT, TOKEN_IN, TOKEN_INTERPOL_END, TOKEN_INTERPOL_START, TOKEN_L_BRACE,
        TOKEN_L_BRACK, TOKEN_L_PAREN, TOKEN_OR, TOKEN_R_BRACE, TOKEN_R_BRACK, TOKEN_R_PAREN,
        TOKEN_REC, TOKEN_SEMICOLON, TOKEN_STRING_CONTENT, TOKEN_STRING_END, TOKEN_STRING_START,
        TOKEN_THEN,
    };
    let word = match kind {
        TOKEN_IDENT if seen.is_empty() => return "a name".to_owned(),
        TOKEN_STRING_START => return "a string".to_owned(),
        TOKEN_STRING_CONTENT => return "text".to_owned(),
        TOKEN_STRING_END => return "end of string".to_owned(),
        _ if !seen.is_empty() => seen,
        TOKEN_ASSIGN => "=",
        TOKEN_AT => "@",
        TOKEN_COLON => ":",
        TOKEN_COMMA => ",",
        TOKEN_DOT => ".",
        TOKEN_ELLIPSIS => "...",
        TOKEN_ELSE => "else",
        TOKEN_IN => "in",
        TOKEN_INTERPOL_END | TOKEN_R_BRACE => "}",
        TOKEN_INTERPOL_START => "${",
        TOKEN_L_BRACE => "{",
        TOKEN_L_BRACK => "[",
        TOKEN_L_PAREN => "(",
        TOKEN_OR => "or",
        TOKEN_R_BRACK => "]",
        TOKEN_R_PAREN => ")",
        TOKEN_REC => "rec",
        TOKEN_SEMICOLON => ";",
        TOKEN_THEN => "then",
        other => return format!("{other:?}").trim_start_matches("TOKEN_").to_lowercase(),
    };
    format!("'{word}'")
}
