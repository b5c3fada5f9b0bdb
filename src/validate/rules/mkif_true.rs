//! `mkIf CONDITION true`.

use rnix::SyntaxKind;
use rnix::SyntaxNode;
use rnix::ast::{Apply, Expr};
use rowan::ast::AstNode;

use super::{Check, File, Rule};
use crate::event::Severity;
use crate::validate::names;
use crate::validate::place::Place;
use crate::validate::resolve::Meaning;
use crate::validate::syntax::Fault;

pub(super) const RULE: Rule = Rule {
    id: "mkif-true",
    severity: Severity::Block,
    flags: "`mkIf CONDITION true`",
    why: "`a = mkIf c true;` reads as `a = c;` and mostly should be written so. But the two \
          differ: the first says nothing when c is false, so a default or another module decides \
          then; the second says `false`, which overrules a default of true, flips a `mkDefault \
          true`, and conflicts with another module that says true. So it is never rewritten by \
          itself: assign the condition, or keep the mkIf, say why with an allow comment, and go \
          on. `mkIf c false` is no finding.",
    fixable: false,
    needs: &["mkIf"],
    tops: &[],
    check: Check::Node(&[SyntaxKind::NODE_APPLY], found),
    bad: &[
        "{ lib, config, ... }: { services.a.enable = lib.mkIf config.b true; }",
        "{ lib, config, ... }: with lib; { a = mkIf (config.b && config.c) (true); }",
        "{ lib, c, ... }: let inherit (lib) mkIf; in { a = mkIf c true; }",
        "{ lib, c, ... }: let when = lib.mkIf c; in { a = when true; }",
        "{ inputs, c, ... }: { a = inputs.nixpkgs.lib.modules.mkIf c true; }",
        "{ lib, c, ... }: { a = lib.mkMerge [ (lib.mkIf c true) ]; }",
        "{ lib, c, ... }: { a = (lib.mkIf c) true; }",
    ],
    good: &[
        "{ lib, c, ... }: { a = lib.mkIf c false; }",
        "{ lib, c, ... }: { a = lib.mkIf c { b = true; }; }",
        "{ lib, c, ... }: { a = lib.mkIf c (lib.mkDefault true); }",
        "{ lib, c, ... }: { a = \"lib.mkIf c true\"; /* mkIf c true */ }",
        "let mkIf = a: b: b; in { a = mkIf 1 true; }",
        "{ mkIf, c, ... }: { a = mkIf c true; }",
        "{ c, ... }: let my = { mkIf = a: b: b; }; in { a = my.mkIf c true; }",
        "{ lib, c, true, ... }: { a = lib.mkIf c true; }",
        "{ lib, c, ... }: { options.a = lib.mkOption { example = lib.mkIf c true; }; }",
        "{ lib, c, ... }: { a = lib.mkIf c true true; }",
    ],
};

fn found(file: &File<'_>, place: &Place<'_, '_>) -> Option<Fault> {
    if names::argument_word(place.green()) != Some("true") {
        return None;
    }
    let node = place.cursor();
    let apply = Apply::cast(node.clone())?;
    // Cheap first: the last argument says `true` itself.
    let Expr::Ident(ident) = names::unwrap(apply.argument()?) else { return None };
    if ident.ident_token()?.text() != "true" {
        return None;
    }
    let call = file.resolver.call(&Expr::Apply(apply.clone()))?;
    let more = applied(node);
    let bare = matches!(file.resolver.meaning(&ident), Meaning::Free);
    if more || !bare || call.args.len() != 2 || !call.is_lib("mkIf") {
        return None;
    }
    let condition = call.args[0].syntax().text().to_string();
    let shown = if condition.len() <= 40 { condition.as_str() } else { "the condition" };
    let hint = format!(
        "assign {shown} itself, or keep the mkIf if another module may also set this option: \
         the two differ (--explain mkif-true)"
    );
    Some(RULE.fault(node, "mkIf around a plain `true`").hint(Some(hint)))
}

/// Whether the result is called with yet another argument.
fn applied(node: &SyntaxNode) -> bool {
    let mut node = node.clone();
    while let Some(parent) = node.parent() {
        match parent.kind() {
            SyntaxKind::NODE_PAREN => node = parent,
            SyntaxKind::NODE_APPLY => {
                return parent.first_child().is_some_and(|f| f == node);
            }
            _ => return false,
        }
    }
    false
}
