//! What `rnix` lets through and Nix's grammar does not: one look at each node and token. Pure.

use rnix::ast;
use rnix::{NodeOrToken, SyntaxKind, SyntaxNode};
use rowan::GreenNodeData;
use rowan::ast::AstNode;

use super::names;
use super::place::Place;
use super::syntax::Fault;

/// What is wrong with a node of a tree that parsed.
pub(super) fn of_node(place: &Place<'_, '_>) -> Option<Fault> {
    match place.kind() {
        SyntaxKind::NODE_PAREN if !is_closed(place) => unclosed(place.cursor()),
        SyntaxKind::NODE_LAMBDA if is_operand(place) => bare_function(place.cursor()),
        SyntaxKind::NODE_STRING if is_indented_name(place) => {
            let message = "syntax error, an indented string is no attribute name";
            Some(Fault::new("syntax-error", place.range(), message))
        }
        SyntaxKind::NODE_LET_IN if !binds_words(place) => dynamic_let(place.cursor()),
        SyntaxKind::NODE_INHERIT if !is_of_words(place) => dynamic_inherit(place.cursor()),
        SyntaxKind::NODE_PATTERN if place.nodes().nth(1).is_some() => duplicate_formal(place),
        _ => None,
    }
}

/// Whether the last token of parentheses closes them: `rnix` takes any.
fn is_closed(place: &Place<'_, '_>) -> bool {
    let kinds = place.tokens().map(|t| names::kind(t.kind()));
    kinds.filter(|k| !k.is_trivia()).last().is_none_or(|k| k == SyntaxKind::TOKEN_R_PAREN)
}

/// Whether a function stands where none may without parentheses.
fn is_operand(place: &Place<'_, '_>) -> bool {
    use SyntaxKind::{
        NODE_APPLY, NODE_BIN_OP, NODE_HAS_ATTR, NODE_LIST, NODE_SELECT, NODE_UNARY_OP,
    };
    let simple = [NODE_APPLY, NODE_BIN_OP, NODE_HAS_ATTR, NODE_LIST, NODE_SELECT, NODE_UNARY_OP];
    place.within().is_some_and(|kind| simple.contains(&kind))
}

/// `''x''` is a string, but no name.
fn is_indented_name(place: &Place<'_, '_>) -> bool {
    let named = [SyntaxKind::NODE_ATTRPATH, SyntaxKind::NODE_INHERIT];
    let named = place.within().is_some_and(|kind| named.contains(&kind));
    named && place.tokens().next().is_some_and(|t| t.text() == "''")
}

/// Whether the path of each binding begins with a plain word.
fn binds_words(place: &Place<'_, '_>) -> bool {
    let of_kind = |node: &GreenNodeData, kind| names::kind(node.kind()) == kind;
    let bindings = place.nodes().map(|(node, _)| node);
    let mut bindings = bindings.filter(|n| of_kind(n, SyntaxKind::NODE_ATTRPATH_VALUE));
    bindings.all(|binding| names::path_in(binding).next().flatten().is_some())
}

/// Whether everything that is inherited is a plain word.
fn is_of_words(place: &Place<'_, '_>) -> bool {
    let from = |node: &GreenNodeData| names::kind(node.kind()) == SyntaxKind::NODE_INHERIT_FROM;
    let mut nodes = place.nodes().map(|(node, _)| node).filter(|n| !from(n));
    nodes.all(|node| names::plain_part(node).is_some())
}

/// Whether [`of_token`] has nothing to say of any token of a text, told from its characters alone;
/// false may mean that it has.
pub(super) fn is_plain(text: &str) -> bool {
    let strange = |c: char| !c.is_ascii() && c.is_whitespace();
    let mut last = [b' '; 3];
    let mut digits = 0;
    for (at, byte) in text.bytes().enumerate() {
        let odd = match byte {
            0 | 0x0b | 0x0c => true,
            b'>' => matches!(last[2], b'|' | b'/'),
            b'|' => last[2] == b'<',
            b'e' | b'E' if matches!(last[2], b'0'..=b'9' | b'.') => large_exponent(&text[at + 1..]),
            _ => false,
        };
        let odd = odd || (begins_with_zero(last) && !byte.is_ascii_digit());
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        if odd || digits >= LONG {
            return false;
        }
        last = [last[1], last[2], byte];
    }
    !begins_with_zero(last) && (text.is_ascii() || !text.contains(strange))
}

/// Whether `0.` is no part of a longer word or number.
fn begins_with_zero(last: [u8; 3]) -> bool {
    last[1..] == *b"0." && !last[0].is_ascii_alphanumeric() && last[0] != b'_'
}

/// Shorter runs of digits fit into 64 bits.
const LONG: usize = 19;

fn large_exponent(rest: &str) -> bool {
    let digits = rest.strip_prefix(['+', '-']).unwrap_or(rest).bytes();
    digits.take_while(u8::is_ascii_digit).count() > 2
}

/// What is wrong with a token.
pub(super) fn of_token(kind: SyntaxKind, text: &str) -> Option<&'static str> {
    match kind {
        SyntaxKind::TOKEN_WHITESPACE if text.contains(|c| !" \t\r\n".contains(c)) => {
            Some("syntax error, this blank is none to Nix (only space, tab and line ends are)")
        }
        SyntaxKind::TOKEN_INTEGER if text.parse::<i64>().is_err() => {
            Some("syntax error, the integer does not fit into 64 bits")
        }
        SyntaxKind::TOKEN_FLOAT if text.parse::<f64>().is_ok_and(f64::is_infinite) => {
            Some("syntax error, the number is too large")
        }
        SyntaxKind::TOKEN_FLOAT if text == "0." => {
            Some("syntax error, no digit follows the point of a number that begins with 0")
        }
        SyntaxKind::TOKEN_PATH_SEARCH if text.ends_with("/>") => {
            Some("syntax error, a path in angle brackets ends with no slash")
        }
        SyntaxKind::TOKEN_STRING_CONTENT if text.contains('\0') => {
            Some("syntax error, a string holds no null byte")
        }
        SyntaxKind::TOKEN_PIPE_LEFT | SyntaxKind::TOKEN_PIPE_RIGHT => {
            Some("syntax error, pipe operators are an experimental feature that is off")
        }
        _ => None,
    }
}

fn unclosed(node: &SyntaxNode) -> Option<Fault> {
    let tokens = node.children_with_tokens().filter_map(NodeOrToken::into_token);
    let last = tokens.filter(|t| !t.kind().is_trivia()).last()?;
    let message = format!("syntax error, unexpected '{}', expecting ')'", last.text());
    Some(Fault::new("syntax-error", last.text_range(), message))
}

/// A function is no operand, argument or element without parentheses.
fn bare_function(node: &SyntaxNode) -> Option<Fault> {
    let colon = ast::Lambda::cast(node.clone())?.token_colon()?;
    let fault = Fault::new("syntax-error", colon.text_range(), "syntax error, unexpected ':'");
    Some(fault.hint(Some("put the function into parentheses".to_owned())))
}

/// Only the first part of a path counts: `let a.${x} = 1;` is a set named `a`.
fn dynamic_let(node: &SyntaxNode) -> Option<Fault> {
    let values = node.children().filter_map(ast::AttrpathValue::cast);
    let mut firsts = values.filter_map(|v| v.attrpath()?.attrs().next());
    let dynamic = firsts.find(|a| names::of_attribute(a).is_none())?;
    let range = dynamic.syntax().text_range();
    Some(Fault::new("syntax-error", range, "dynamic attributes not allowed in let"))
}

fn dynamic_inherit(node: &SyntaxNode) -> Option<Fault> {
    let mut attrs = ast::Inherit::cast(node.clone())?.attrs();
    let dynamic = attrs.find(|a| names::of_attribute(a).is_none())?;
    let range = dynamic.syntax().text_range();
    Some(Fault::new("syntax-error", range, "dynamic attributes not allowed in inherit"))
}

fn duplicate_formal(place: &Place<'_, '_>) -> Option<Fault> {
    let mut names: Vec<&str> = place.nodes().filter_map(|(n, _)| names::formal(n)).collect();
    names.sort_unstable();
    if names.windows(2).all(|pair| pair[0] != pair[1]) {
        return None;
    }
    let pattern = ast::Pattern::cast(place.cursor().clone())?;
    let entries = pattern.pat_entries().filter_map(|e| e.ident());
    let all = entries.chain(pattern.pat_bind().and_then(|b| b.ident()));
    let mut seen = std::collections::HashMap::new();
    for ident in all {
        let token = ident.ident_token()?;
        let range = token.text_range();
        if let Some(first) = seen.insert(token.text().to_owned(), range) {
            let message = format!("duplicate formal function argument '{}'", token.text());
            return Some(Fault::new("duplicate-formal", range, message).other(first, "first here"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_text_has_no_token_at_fault() {
        let blanks = ["\u{a0}", "\u{b}", "\u{c}", "\u{2028}", "\u{85}"];
        let faulty = [
            "0.",
            "[ 0. .0 ]",
            "0.e5",
            "1.0e999",
            "1.5E+400",
            "99999999999999999999",
            "<nixpkgs/>",
            "a |> f",
            "f <| a",
            "\"\0\"",
            "-0. ",
            "x 0.",
        ];
        for text in faulty.into_iter().chain(blanks) {
            let wrong = rnix::tokenize(text).any(|(kind, word)| of_token(kind, word).is_some());
            assert!(wrong || text.starts_with("0.e"), "{text:?}");
            assert!(!is_plain(text), "{text:?}");
        }
        for text in ["{ a = 1.0 + 0.5; b10.c = x0.d; }", "# ä – ö\n\"10.0.0.1\"", "\"5e3d\""] {
            assert!(is_plain(text), "{text:?}");
        }
    }

    #[test]
    fn any_text_that_is_plain_has_no_token_at_fault() {
        let parts = [
            "0",
            ".",
            "e",
            "E",
            "9",
            "99999999999999999",
            "+",
            "|",
            ">",
            "<",
            "/",
            "a",
            "\"",
            " ",
            "\u{a0}",
            "\0",
            "_",
            "'",
            "-",
            "${",
            "}",
            "ä",
            "\u{c}",
            "1",
        ];
        let mut seed = 7_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..8 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                text.push_str(parts[(seed >> 33) as usize % parts.len()]);
            }
            let wrong = rnix::tokenize(&text).any(|(kind, word)| of_token(kind, word).is_some());
            assert!(!(wrong && is_plain(&text)), "{text:?}");
        }
    }
}
