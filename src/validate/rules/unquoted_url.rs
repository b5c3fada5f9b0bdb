//! A URL without quotes.

use rnix::{NodeOrToken, SyntaxKind};
use rowan::GreenTokenData;

use super::{Check, File, Rule};
use crate::event::Severity;
use crate::validate::names;
use crate::validate::place::Place;
use crate::validate::syntax::{Edit, Fault};

pub(super) const RULE: Rule = Rule {
    id: "unquoted-url",
    severity: Severity::Warn,
    flags: "a URL that is written without quotes",
    why: "Nix has deprecated it (RFC 45), and it hides mistakes: `x:x` is a URL and no function.",
    fixable: true,
    needs: &[],
    tops: &[],
    check: Check::Anywhere(&[SyntaxKind::NODE_LITERAL], found),
    bad: &["{ a = https://example.org/a; }", "x:x"],
    good: &[
        "{ a = \"https://example.org\"; }",
        "x: x",
        "# https://example.org\n{ }",
        "''https://example.org''",
    ],
};

fn found(_: &File<'_>, place: &Place<'_, '_>) -> Option<Fault> {
    let uri = |t: &GreenTokenData| names::kind(t.kind()) == SyntaxKind::TOKEN_URI;
    if !place.tokens().next().is_some_and(uri) {
        return None;
    }
    let node = place.cursor();
    let Some(NodeOrToken::Token(token)) = node.first_child_or_token() else { return None };
    if token.kind() != SyntaxKind::TOKEN_URI {
        return None;
    }
    let text = token.text();
    let (name, body) = text.split_once(':')?;
    let letters = |t: &str| t.chars().all(|c| c.is_ascii_alphanumeric() || "_-'".contains(c));
    let begins = |t: &str| t.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let fault = RULE.fault(node, "a URL without quotes");
    if letters(name) && letters(body) && begins(body) {
        let hint = format!("this is a URL, no function: write \"{name}: {body}\" if one is meant");
        return Some(fault.hint(Some(hint)));
    }
    let range = token.text_range().into();
    Some(fault.hint(Some("quote it".to_owned())).fix(Edit { range, text: format!("\"{text}\"") }))
}
