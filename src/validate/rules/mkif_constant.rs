//! `mkIf true` and `mkIf false`.

use rnix::SyntaxKind;
use rnix::ast::{Apply, Expr};
use rowan::ast::AstNode;

use super::{Check, File, Rule};
use crate::event::Severity;
use crate::validate::names;
use crate::validate::place::Place;
use crate::validate::syntax::Fault;

pub(super) const RULE: Rule = Rule {
    id: "mkif-constant",
    severity: Severity::Info,
    flags: "`mkIf` with a condition that is written out as true or false",
    why: "The condition decides nothing: with true it can go, with false all of it is dead.",
    fixable: false,
    needs: &["mkIf"],
    tops: &[],
    check: Check::Node(&[SyntaxKind::NODE_APPLY], found),
    bad: &[
        "{ lib, ... }: { a = lib.mkIf true { b = 1; }; }",
        "{ lib, ... }: with lib; { a = mkIf (false) { b = 1; }; }",
    ],
    good: &[
        "{ lib, config, ... }: { a = lib.mkIf config.x { b = true; }; }",
        "{ lib, true, ... }: { a = lib.mkIf true { }; }",
        "let mkIf = a: b: b; in mkIf true 1",
        "{ lib, ... }: let debug = true; in { a = lib.mkIf debug { }; }",
    ],
};

fn found(file: &File<'_>, place: &Place<'_, '_>) -> Option<Fault> {
    if !matches!(names::argument_word(place.green()), Some("true" | "false")) {
        return None;
    }
    let node = place.cursor();
    let apply = Apply::cast(node.clone())?;
    let Expr::Ident(ident) = names::unwrap(apply.argument()?) else { return None };
    let word = ident.ident_token()?;
    if !matches!(word.text(), "true" | "false") || !file.resolver.is_free(&ident) {
        return None;
    }
    let call = file.resolver.call(&Expr::Apply(apply))?;
    let first = call.args.len() == 1 && call.is_lib("mkIf");
    first.then(|| RULE.fault(node, format!("this mkIf is always {}", word.text())))
}
