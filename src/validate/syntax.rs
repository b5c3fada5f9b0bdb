//! One text against Nix's grammar and static rules: faults with spans. Pure.
//!
//! `rnix` alone takes what Nix refuses in about one of twenty broken files, so three passes share
//! one walk after a clean parse: [`super::grammar`], [`super::attributes`] and
//! [`super::variables`]; the rules may take part in it. After a parse error they are left out, and
//! of several parse errors only the first is told: as with Nix, the others mostly follow from it.

use std::ops::Range;

use rnix::{ParseError, SyntaxKind, SyntaxNode, TextRange};

use super::place::{self, Step};
use super::{attributes, grammar, nesting, quick, variables};
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
    /// What puts it right without changing what the text means.
    pub fix: Option<Edit>,
    /// Where a secret's value stands, which nothing may show.
    pub secret: Option<Range<usize>>,
    /// What it is about when not the text at its place: a finding is new if one of these is.
    pub keys: Vec<String>,
}

/// A piece of text in the place of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Bytes that go.
    pub range: Range<usize>,
    /// What comes.
    pub text: String,
}

impl Fault {
    /// A fault that blocks.
    pub(super) fn new(code: &'static str, range: TextRange, message: impl Into<String>) -> Self {
        let range = range.start().into()..range.end().into();
        Self::at(code, Severity::Block, range, message.into())
    }

    /// A fault with nothing but its message.
    pub fn at(
        code: &'static str,
        severity: Severity,
        range: Range<usize>,
        message: String,
    ) -> Self {
        let (hint, other, fix, secret, keys) = (None, None, None, None, Vec::new());
        Self { code, severity, range, message, hint, other, fix, secret, keys }
    }

    /// A doubt: Nix may well take it.
    pub(super) fn doubt(code: &'static str, range: Range<usize>, message: String) -> Self {
        Self::at(code, Severity::Warn, range, message)
    }

    /// Moves its places to those of another text.
    pub(super) fn moved(&mut self, moved: &dyn Fn(&Range<usize>) -> Range<usize>) {
        let others = [self.other.as_mut().map(|(range, _)| range), self.secret.as_mut()];
        let fix = self.fix.as_mut().map(|edit| &mut edit.range);
        for place in others.into_iter().flatten().chain(fix).chain([&mut self.range]) {
            *place = moved(place);
        }
    }

    pub(super) fn hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    pub(super) fn fix(mut self, edit: Edit) -> Self {
        self.fix = Some(edit);
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

/// A text that was read.
pub(super) struct Read {
    /// Everything wrong with it, in its order.
    pub(super) faults: Vec<Fault>,
    /// Its tree; `None` when it does not parse, or is too deep.
    pub(super) root: Option<SyntaxNode>,
    /// The sets whose `rec` nothing uses.
    pub(super) unused: Vec<TextRange>,
}

/// Reads a text.
///
/// Parser and passes recurse up to the bound of [`super::nesting`]: call it on a thread with
/// [`nesting::STACK`] bytes of stack.
pub(super) fn read(text: &str) -> Read {
    match parse(text) {
        Ok(parsed) => {
            let root = parsed.root.clone();
            let (faults, unused) = parsed.judged(&mut |_| {});
            Read { faults, root: Some(root), unused }
        }
        Err(fault) => Read { faults: vec![*fault], root: None, unused: Vec::new() },
    }
}

/// A text that parses.
pub(super) struct Parsed {
    pub(super) root: SyntaxNode,
    /// What its tokens show.
    faults: Vec<Fault>,
}

/// Parses a text; the fault for which it cannot be.
pub(super) fn parse(text: &str) -> Result<Parsed, Box<Fault>> {
    // Nix skips a byte order mark; three blanks instead keep every byte in its place.
    let unmarked = text.strip_prefix('\u{feff}').map(|rest| format!("   {rest}"));
    let unmarked = unmarked.as_deref().unwrap_or(text);
    if let Some(root) = quick::parse(unmarked) {
        // Wherever assertions are on, in every test and under the fuzzer, both are asked.
        debug_assert!(*root.green() == *rnix::Root::parse(unmarked).syntax().green());
        return Ok(Parsed { root, faults: Vec::new() });
    }
    if let Some(at) = nesting::endless_run(unmarked) {
        let message = "chained too long to be checked here; Nix itself decides".to_owned();
        return Err(Box::new(Fault::doubt("too-deep", at..at + 1, message)));
    }
    let mut faults = Vec::new();
    let (mut scan, mut start) = (nesting::Scan::default(), 0);
    // Most texts need no look at their tokens; to parse them goes through these once more.
    let plain = nesting::is_shallow(unmarked) && grammar::is_plain(unmarked);
    for (kind, word) in (!plain).then(|| rnix::tokenize(unmarked)).into_iter().flatten() {
        if scan.too_deep(kind) {
            let message = "nested too deep to be checked here; Nix itself decides".to_owned();
            return Err(Box::new(Fault::doubt("too-deep", start..start + 1, message)));
        }
        let end = start + word.len();
        faults.extend(grammar::of_token(kind, word).map(|message| {
            Fault::at("syntax-error", Severity::Block, start..end, message.to_owned())
        }));
        start = end;
    }
    let parsed = rnix::Root::parse(unmarked);
    match first_error(text, parsed.errors()) {
        Some(fault) => Err(Box::new(fault)),
        None => Ok(Parsed { root: parsed.syntax(), faults }),
    }
}

impl Parsed {
    /// Its faults and the sets whose `rec` nothing uses; `also` sees the same walk.
    pub(super) fn judged(
        self,
        also: &mut dyn for<'p> FnMut(Step<'_, 'p>),
    ) -> (Vec<Fault>, Vec<TextRange>) {
        let Self { root, mut faults } = self;
        let mut merge = attributes::Merge::default();
        let mut variables = variables::Variables::default();
        place::walk(&root, &mut |step| {
            match step {
                Step::Enter(place) => {
                    faults.extend(grammar::of_node(place));
                    variables.enter(place);
                }
                Step::Leave(place) => {
                    merge.leave(place);
                    variables.leave();
                }
            }
            also(step);
        });
        let (duplicates, unclear) = merge.end();
        // Rare enough to walk once more, now that it is known what is in doubt.
        let (undefined, unused) = match unclear.is_empty() {
            true => variables.end(),
            false => variables::faults(&root, unclear),
        };
        faults.extend(duplicates);
        faults.extend(undefined);
        faults.sort_by_key(|f| (f.range.start, f.range.end));
        (faults, unused)
    }
}

fn first_error(text: &str, errors: &[ParseError]) -> Option<Fault> {
    if errors.is_empty() {
        return None;
    }
    if let Some(at) = dotted_path(text) {
        let message = "a path that begins with three dots is not understood here; Nix decides";
        return Some(Fault::doubt("check-failed", at..at + 3, message.to_owned()));
    }
    let depth = errors.iter().position(|e| *e == ParseError::RecursionLimitExceeded);
    // What rnix says after its own limit (512 expressions) is about our limit, not about the text.
    let first = errors[..depth.unwrap_or(errors.len())].iter().map(|e| describe(text, e));
    let first = first.min_by_key(|f| f.range.start);
    first.or_else(|| {
        let message = "more than 512 expressions inside each other; Nix itself decides".to_owned();
        depth.map(|_| Fault::doubt("too-deep", 0..0, message))
    })
}

/// Where a path such as `.../x` stands, which is one to Nix and three dots to `rnix`.
fn dotted_path(text: &str) -> Option<usize> {
    let within = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    let path = |at: &usize| {
        let rest = text[at + 3..].trim_start_matches(within);
        rest.strip_prefix('/').is_some_and(|r| r.starts_with(within))
    };
    text.match_indices("...").map(|(at, _)| at).find(path)
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
    Fault::at("syntax-error", Severity::Block, range, message)
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
