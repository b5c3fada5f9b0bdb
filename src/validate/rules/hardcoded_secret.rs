//! A secret that is written into the configuration itself.

use rnix::{NodeOrToken, SyntaxKind, SyntaxNode, TextRange, TextSize};

use super::{Check, File, Rule};
use crate::event::Severity;
use crate::validate::place::Place;
use crate::validate::secrets::{self, key_in, token_in};
use crate::validate::syntax::Fault;

pub(super) const RULE: Rule = Rule {
    id: "hardcoded-secret",
    severity: Severity::Block,
    flags: "a private key or a token of a known service in a string",
    why: "It lies in the repository, in everybody's clone, and in the world-readable store of \
          every machine. Taking it out of the file does not take it back: revoke or rotate it \
          first, then keep the new one with agenix or sops-nix. Only four characters of it are \
          ever printed.",
    fixable: false,
    needs: &secrets::SIGNS,
    tops: &[],
    check: Check::Node(&[SyntaxKind::NODE_STRING], found),
    bad: &[
        concat!("{ a = \"gh", "p_16C7e42F292c6912E7710c838347Ae178B4a\"; }"),
        concat!("{ a = \"token: github_", "pat_11ABCDEFG0aBcDeFgHiJkL_mNoPqRsTuV\"; }"),
        concat!("{ a = ''\n  export GL=gl", "pat-x9Yk2LmN8pQ4rT6vW1zB\n''; }"),
        concat!("{ a = \"AK", "IAQX7B2M4NPL9ZK3TR\"; }"),
        concat!("{ a = \"xox", "b-2384729384-aBcDeFgH1234jKlM\"; }"),
        concat!("{ a = \"sk-", "ant-api03-aB3dE5gH7jK9mN1pQ3\"; }"),
        concat!("{ a = \"AGE-SECRET-", "KEY-1QYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYRS7T\"; }"),
        concat!("{ a = \"tskey-", "auth-kF3nD8sJ2m1CNTRL-x8Y7z6W5v4U3\"; }"),
        concat!(
            "{ a = ''\n  -----BEGIN OPENSSH PRIVATE",
            " KEY-----\n  b3BlbnNzaC1rZXktdjEAAAAABG5vbmU\n''; }"
        ),
        concat!("{ a = \"-----BEGIN RSA PRIVATE", " KEY-----\\nMIIEpAIBAAKCAQEA7\\n\"; }"),
        concat!("{ a = \"-----BEGIN PRIVATE", " KEY-----\"; }"),
    ],
    good: &[
        "{ a = \"ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"; }",
        "{ a = \"xoxo-kisses-and-hugs-forever\"; b = \"xoxb-kisses-and-hugs-forever\"; }",
        "{ a = \"ghp_YOUR_TOKEN_GOES_IN_HERE\"; b = \"ghp_\"; }",
        concat!("{ a = \"AK", "IAIOSFODNN7EXAMPLE\"; }"),
        concat!("{ a = \"nogh", "p_16C7e42F292c6912E7710c838347Ae178B4a\"; }"),
        "{ a = \"sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\"; }",
        "{ a = \"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\"; }",
        "{ a = \"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJx9f4x3v8wQ me@host\"; }",
        "{ a = \"-----BEGIN PUBLIC KEY-----\\nMIIBIjANBgkqhkiG9w0\\n\"; }",
        concat!("# gh", "p_16C7e42F292c6912E7710c838347Ae178B4a\n{ }"),
        "{ a = ''grep -q -e \"-----BEGIN OPENSSH PRIVATE KEY-----\" \"$1\"''; }",
        "{ lib, x }: { a = lib.hasPrefix \"-----BEGIN RSA PRIVATE KEY-----\" x; }",
        "{ a = \"-----BEGIN PRIVATE KEY-----\\nxxxxxxxxxxxxxxxxxxxx\\n\"; }",
        "{ x }: { a = \"ghp_${x}\"; b = \"ghp_$TOKEN_FROM_THE_ENVIRONMENT\"; }",
        "{ x }: { a = ''-----BEGIN PRIVATE KEY-----\n${x}\n''; }",
    ],
};

fn found(_: &File<'_>, place: &Place<'_, '_>) -> Option<Fault> {
    let likely = |text: &str| token_in(text).is_some() || text.contains("-----BEGIN ");
    if !place.tokens().any(|t| likely(t.text())) {
        return None;
    }
    let node = place.cursor();
    let mut earlier = false;
    for child in node.children_with_tokens() {
        let NodeOrToken::Token(token) = child else {
            earlier = true;
            continue;
        };
        if token.kind() != SyntaxKind::TOKEN_STRING_CONTENT {
            continue;
        }
        let text = token.text();
        let alone = bound(node);
        let last =
            token.next_sibling_or_token().is_none_or(|n| n.kind() != SyntaxKind::NODE_INTERPOL);
        let found = token_in(text).or_else(|| key_in(text, alone && last && !earlier));
        if let Some((range, kind)) = found {
            let start = token.text_range().start();
            let at = |n: usize| start + TextSize::new(u32::try_from(n).unwrap_or(0));
            let within = TextRange::new(at(range.start), at(range.end));
            let mut fault = told(within, &text[range], kind);
            fault.secret = Some(node.text_range().into());
            return Some(fault);
        }
        earlier = true;
    }
    None
}

fn told(range: TextRange, secret: &str, kind: &str) -> Fault {
    let shown: String = secret.trim_start_matches('-').chars().take(4).collect();
    let message = format!("a secret is written here: {kind} ({shown}...)");
    Fault::new(RULE.id, range, message)
        .hint(Some("rotate it, then keep the new one with agenix or sops-nix".to_owned()))
}

/// Whether a string is the value of a binding, and no argument of something that looks for it.
fn bound(node: &SyntaxNode) -> bool {
    node.parent().is_some_and(|p| p.kind() == SyntaxKind::NODE_ATTRPATH_VALUE)
}
