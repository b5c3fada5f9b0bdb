//! A function that only calls another.

use rnix::SyntaxKind;
use rnix::ast::{self, Expr, Param};
use rowan::ast::AstNode;

use super::{Check, File, Rule};
use crate::event::Severity;
use crate::validate::names;
use crate::validate::place::Place;
use crate::validate::syntax::Fault;

pub(super) const RULE: Rule = Rule {
    id: "trivial-wrapper",
    severity: Severity::Info,
    flags: "`f = a: b: g a b`",
    why: "It is `f = g`. Keep it where the arguments' names tell something, or shorten a long path \
          on purpose.",
    fixable: false,
    needs: &[],
    tops: &[],
    check: Check::Node(&[SyntaxKind::NODE_ATTRPATH_VALUE], found),
    bad: &["{ lib }: { f = a: b: lib.g a b; }", "{ lib }: let f = x: lib.g x; in f"],
    good: &[
        "{ lib }: { f = a: b: lib.g b a; }",
        "{ lib }: { f = a: lib.g a a; }",
        "{ f = a: a.g a; }",
        "{ lib }: { f = a: lib.g a 1; }",
        "{ f = a: b: a b; }",
        "{ lib }: { f = { a }: lib.g a; }",
        "{ lib }: { f = lib.g; }",
    ],
};

fn found(_: &File<'_>, place: &Place<'_, '_>) -> Option<Fault> {
    let value = place.nodes().last()?.0;
    if !matches!(names::kind(value.kind()), SyntaxKind::NODE_LAMBDA | SyntaxKind::NODE_PAREN) {
        return None;
    }
    let node = place.cursor();
    let binding = ast::AttrpathValue::cast(node.clone())?;
    let mut names_in = Vec::new();
    let mut body = names::unwrap(binding.value()?);
    while let Expr::Lambda(lambda) = &body {
        let Param::IdentParam(param) = lambda.param()? else { return None };
        names_in.push(param.syntax().text().to_string());
        body = names::unwrap(lambda.body()?);
    }
    let mut handed = Vec::new();
    while let Expr::Apply(apply) = &body {
        let Expr::Ident(argument) = apply.argument()? else { return None };
        handed.push(argument.syntax().text().to_string());
        body = apply.lambda()?;
    }
    handed.reverse();
    let plain = match &body {
        Expr::Ident(ident) => Some(ident.syntax().text().to_string()),
        Expr::Select(select) => match select.expr()? {
            Expr::Ident(ident) => Some(ident.syntax().text().to_string()),
            _ => None,
        },
        _ => None,
    }?;
    let same = !names_in.is_empty() && names_in == handed && !names_in.contains(&plain);
    let function = body.syntax().text();
    same.then(|| RULE.fault(node, format!("this is {function} itself")))
}
