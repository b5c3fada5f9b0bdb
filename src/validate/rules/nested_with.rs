//! A `with` inside another.

use rnix::ast::With;
use rnix::{SyntaxKind, SyntaxNode};
use rowan::ast::AstNode;

use super::{Check, File, Rule};
use crate::event::Severity;
use crate::validate::names;
use crate::validate::place::Place;
use crate::validate::syntax::Fault;

pub(super) const RULE: Rule = Rule {
    id: "nested-with",
    severity: Severity::Warn,
    flags: "a `with` in the body of another",
    why: "A name may then come from either set, the inner one first, and which it is changes when \
          either gains a name. `inherit (lib) mkIf;` says where a name is from.",
    fixable: false,
    needs: &[],
    tops: &[],
    check: Check::Anywhere(&[SyntaxKind::NODE_WITH], found),
    bad: &[
        "{ lib, pkgs }: with lib; { a = with pkgs; [ hello ]; }",
        "{ lib }: with lib; with types; str",
    ],
    good: &[
        "{ pkgs }: { a = with pkgs; [ hello ]; b = with pkgs; [ hello ]; }",
        "{ lib }: with lib; x: with x; y",
        "{ lib }: with (with lib; types); str",
        "{ lib }: { meta = with lib; { license = lib.licenses.mit; }; }",
        "\"with a; with b; c\"",
    ],
};

fn found(_: &File<'_>, place: &Place<'_, '_>) -> Option<Fault> {
    let node = place.cursor();
    let with = With::cast(node.clone())?;
    let mut inner = node.clone();
    let mut meta = false;
    loop {
        let outer = inner.parent()?;
        match outer.kind() {
            SyntaxKind::NODE_LAMBDA => return None,
            SyntaxKind::NODE_WITH => {
                let body = With::cast(outer.clone()).and_then(|w| w.body());
                if body.is_some_and(|b| *b.syntax() == inner) {
                    break;
                }
            }
            SyntaxKind::NODE_ATTRPATH_VALUE => meta |= is_meta(&outer),
            _ => {}
        }
        inner = outer;
    }
    meta |= inner.ancestors().any(|n| n.kind() == SyntaxKind::NODE_ATTRPATH_VALUE && is_meta(&n));
    let namespace = with.namespace()?.syntax().text().to_string();
    let range = rnix::TextRange::new(
        node.text_range().start(),
        with.namespace()?.syntax().text_range().end(),
    );
    let mut fault = Fault::new(RULE.id, range, format!("with {namespace} inside another with"));
    fault.severity = if meta { Severity::Info } else { RULE.severity };
    Some(fault.hint(Some(format!("inherit ({namespace}) ...; says where each name is from"))))
}

fn is_meta(node: &SyntaxNode) -> bool {
    let binding = rnix::ast::AttrpathValue::cast(node.clone());
    let first = binding.and_then(|b| b.attrpath()).and_then(|p| p.attrs().next());
    first.is_some_and(|attr| names::is(&attr, "meta"))
}
