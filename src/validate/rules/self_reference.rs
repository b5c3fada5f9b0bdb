//! A name whose value needs itself.

use rnix::SyntaxKind;
use rnix::ast::{self, BinOpKind, Expr, InterpolPart};
use rowan::ast::AstNode;

use super::{Check, File, Rule};
use crate::event::Severity;
use crate::validate::names;
use crate::validate::place::Place;
use crate::validate::syntax::Fault;

pub(super) const RULE: Rule = Rule {
    id: "self-reference",
    severity: Severity::Block,
    flags: "a name in `let` or `rec` whose value needs itself at once",
    why: "`let` and `rec` bind their names within themselves, so `let x = x + 1;` does not add to \
          an outer x: it never ends. Functions, sets and lists may mention themselves, for they \
          are not looked into until later. Give the new value a name of its own.",
    fixable: false,
    needs: &[],
    tops: &[],
    check: Check::Anywhere(&[SyntaxKind::NODE_ATTRPATH_VALUE], found),
    bad: &[
        "x: let x = x; in x",
        "let x = x + 1; in x",
        "let a = 1; b = a + (2 * b); in b",
        "{ pkgs }: let pkgs = pkgs // { a = 1; }; in pkgs",
        "{ lib }: let lib = lib.extend (a: b: { }); in lib",
        "rec { path = \"${path}:/bin\"; }",
        "let f = f 1; in f",
        "let x = if x then 1 else 2; in x",
        "let l = l ++ [ 1 ]; in l",
        "let b = !b; in b",
        "let b = b && true; in b",
    ],
    good: &[
        "let x = [ x ]; in x",
        "let f = n: if n == 0 then 1 else n * f (n - 1); in f",
        "let x = { y = x; }; in x",
        "let x = 1; in { x = x + 1; }",
        "x: { x = x; y = { inherit x; }; }",
        "c: let x = c && x; in x",
        "c: let x = c || x; in x",
        "c: let x = if c then 1 else x; in x",
        "let x = y.x; y = { x = 1; }; in x",
        "let x = map (y: x) [ ]; in x",
        "f: let x = f x; in x",
        "{ lib }: { lib = lib; }",
        "let a.x = 1; b = a.x; in b",
        "let s = \"x + 1\"; in s",
    ],
};

fn found(_: &File<'_>, place: &Place<'_, '_>) -> Option<Fault> {
    let recursive = place.outer().is_some_and(|o| names::recursive(o.green()));
    if !recursive || names::path_in(place.green()).nth(1).is_some() {
        return None;
    }
    let node = place.cursor();
    let binding = ast::AttrpathValue::cast(node.clone())?;
    let name = names::of_attribute(&binding.attrpath()?.attrs().next()?)?;
    if !needs(binding.value()?, &name) {
        return None;
    }
    let hint = format!("within it, '{name}' is this very binding; give one of them another name");
    let message = format!("'{name}' needs itself: infinite recursion");
    Some(RULE.fault(node, message).hint(Some(hint)))
}

/// Whether an expression cannot be evaluated without that name. Only what is evaluated whatever
/// happens is looked into, and none of that can bind the name anew.
fn needs(expr: Expr, name: &str) -> bool {
    let mut left = vec![expr];
    while let Some(expr) = left.pop() {
        match expr {
            Expr::Ident(ident) if ident.ident_token().is_some_and(|t| t.text() == name) => {
                return true;
            }
            Expr::Paren(e) => left.extend(e.expr()),
            Expr::UnaryOp(e) => left.extend(e.expr()),
            Expr::Select(e) => left.extend(e.expr()),
            Expr::HasAttr(e) => left.extend(e.expr()),
            Expr::Apply(e) => left.extend(e.lambda()),
            Expr::IfElse(e) => left.extend(e.condition()),
            Expr::Assert(e) => left.extend(e.condition()),
            Expr::BinOp(e) => {
                left.extend(e.lhs());
                let lazy = [BinOpKind::And, BinOpKind::Or, BinOpKind::Implication];
                if e.operator().is_some_and(|o| !lazy.contains(&o)) {
                    left.extend(e.rhs());
                }
            }
            Expr::Str(text) => left.extend(text.parts().filter_map(|part| match part {
                InterpolPart::Interpolation(inner) => inner.expr(),
                InterpolPart::Literal(_) => None,
            })),
            _ => {}
        }
    }
    false
}
