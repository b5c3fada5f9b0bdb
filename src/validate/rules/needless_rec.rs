//! A `rec` that nothing uses.

use rnix::ast::{self, AttrSet};
use rnix::{SyntaxKind, SyntaxNode};
use rowan::ast::AstNode;

use super::{Check, Rule};
use crate::event::Severity;
use crate::validate::names;
use crate::validate::syntax::{Edit, Fault};

pub(super) const RULE: Rule = Rule {
    id: "needless-rec",
    severity: Severity::Info,
    flags: "a `rec` set none of whose members is used inside it",
    why: "`rec` makes every name of the set shadow the ones outside, and turns a slip of the pen \
          into infinite recursion. Drop it where nothing needs it.",
    fixable: true,
    needs: &[],
    tops: &[],
    check: Check::Recursion,
    bad: &[
        "rec { a = 1; b = 2; }",
        "{ version, other }: rec { a = other.version; version = version: 1; }",
        "x: rec { a = 1; inherit (x) b; }",
        "rec { a = b: b; b = \"a\"; }",
    ],
    good: &[
        "rec { a = 1; b = a; }",
        "rec { a = 1; b = \"${a}\"; }",
        "rec { a = 1; b = { inherit a; }; }",
        "rec { a = 1; b = { c ? a }: c; }",
        "rec { a = 1; b = x: y: a; }",
        "x: rec { a = 1; inherit (a) b; }",
        "{ a = 1; }",
    ],
};

/// Told by the pass over variables, which sees every use.
pub(super) fn found(node: &SyntaxNode) -> Option<Fault> {
    let set = AttrSet::cast(node.clone())?;
    let rec = set.rec_token()?;
    let computed = node.children().filter_map(ast::AttrpathValue::cast).any(|binding| {
        let mut attrs = binding.attrpath().into_iter().flat_map(|p| p.attrs());
        attrs.any(|a| names::of_attribute(&a).is_none())
    });
    let mut fault = Fault::new(RULE.id, rec.text_range(), "nothing in this set uses its rec");
    fault.severity = RULE.severity;
    if computed {
        return Some(fault);
    }
    // The blank after it goes too, unless a comment or a line's end stands there.
    let mut range: std::ops::Range<usize> = rec.text_range().into();
    let next = rec.next_token().filter(|t| t.kind() == SyntaxKind::TOKEN_WHITESPACE);
    range.end += next.filter(|t| !t.text().contains('\n')).map_or(0, |t| t.text().len());
    Some(fault.fix(Edit { range, text: String::new() }))
}
