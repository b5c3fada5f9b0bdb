//! What `rnix` lets through and Nix's grammar does not: one look at each node and token. Pure.

use rnix::ast;
use rnix::{NodeOrToken, SyntaxKind, SyntaxNode};
use rowan::ast::AstNode;

use super::names;
use super::syntax::Fault;

/// What is wrong with a node of a tree that parsed.
pub(super) fn of_node(node: &SyntaxNode) -> Option<Fault> {
    match node.kind() {
        SyntaxKind::NODE_PAREN => unclosed(node),
        SyntaxKind::NODE_LAMBDA => bare_function(node),
        SyntaxKind::NODE_STRING => indented_name(node),
        SyntaxKind::NODE_LET_IN => dynamic_let(node),
        SyntaxKind::NODE_INHERIT => dynamic_inherit(node),
        SyntaxKind::NODE_PATTERN => duplicate_formal(node),
        _ => None,
    }
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

/// `rnix` takes any token for the closing parenthesis.
fn unclosed(node: &SyntaxNode) -> Option<Fault> {
    let tokens = node.children_with_tokens().filter_map(NodeOrToken::into_token);
    let last = tokens.filter(|t| !t.kind().is_trivia()).last()?;
    let closed = last.kind() == SyntaxKind::TOKEN_R_PAREN;
    let message = || format!("syntax error, unexpected '{}', expecting ')'", last.text());
    (!closed).then(|| Fault::new("syntax-error", last.text_range(), message()))
}

/// A function is no operand, argument or element without parentheses.
fn bare_function(node: &SyntaxNode) -> Option<Fault> {
    use SyntaxKind::{
        NODE_APPLY, NODE_BIN_OP, NODE_HAS_ATTR, NODE_LIST, NODE_SELECT, NODE_UNARY_OP,
    };
    let parent = node.parent()?.kind();
    let simple = [NODE_APPLY, NODE_BIN_OP, NODE_HAS_ATTR, NODE_LIST, NODE_SELECT, NODE_UNARY_OP];
    let colon = ast::Lambda::cast(node.clone())?.token_colon()?;
    simple.contains(&parent).then(|| {
        Fault::new("syntax-error", colon.text_range(), "syntax error, unexpected ':'")
            .hint(Some("put the function into parentheses".to_owned()))
    })
}

/// `''x''` is a string, but no name.
fn indented_name(node: &SyntaxNode) -> Option<Fault> {
    let parent = node.parent()?.kind();
    let named = matches!(parent, SyntaxKind::NODE_ATTRPATH | SyntaxKind::NODE_INHERIT);
    let indented = node.first_token()?.text() == "''";
    let message = "syntax error, an indented string is no attribute name";
    (named && indented).then(|| Fault::new("syntax-error", node.text_range(), message))
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

fn duplicate_formal(node: &SyntaxNode) -> Option<Fault> {
    let pattern = ast::Pattern::cast(node.clone())?;
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
