//! Modules that are imported because they lie in a folder.

use std::collections::HashSet;

use rnix::ast::{self, Expr};
use rnix::{SyntaxKind, TextRange};
use rowan::ast::AstNode;

use super::{Check, File, Rule};
use crate::event::Severity;
use crate::validate::names;
use crate::validate::place::Place;
use crate::validate::resolve::{Meaning, Resolver};
use crate::validate::syntax::Fault;

pub(super) const RULE: Rule = Rule {
    id: "auto-import",
    severity: Severity::Warn,
    flags: "`imports` or `modules` made from what lies in a folder",
    why: "Whatever is put into that folder becomes part of the system, a copy or a half-done file \
          too, and nobody can see from the text what a host consists of. List the modules.",
    fixable: false,
    needs: &["readDir", "listFilesRecursive"],
    tops: &[],
    check: Check::Node(&[SyntaxKind::NODE_ATTRPATH_VALUE], found),
    bad: &[
        "{ imports = map (f: ./modules + \"/${f}\") (builtins.attrNames (builtins.readDir \
          ./modules)); }",
        "{ lib, ... }: { imports = lib.filesystem.listFilesRecursive ./modules; }",
        "let all = dir: map (f: dir + \"/${f}\") (builtins.attrNames (builtins.readDir dir)); in { \
          imports = [ ./a.nix ] ++ all ./modules; }",
        "{ lib, ... }: let files = with builtins; attrNames (readDir ./.); in { imports = \
          lib.filter (f: f != \"default.nix\") files; }",
        "{ lib, ... }: let inherit (lib.filesystem) listFilesRecursive; in lib.nixosSystem { \
          modules = listFilesRecursive ./x; }",
    ],
    good: &[
        "{ imports = [ ./a.nix ./b.nix ]; }",
        "{ environment.etc = builtins.mapAttrs (n: _: { text = n; }) (builtins.readDir ./etc); }",
        "{ imports = [ { environment.etc.a.text = toString (builtins.attrNames (builtins.readDir \
          ./etc)); } ]; }",
        "let readDir = x: [ ]; in { imports = readDir ./x; }",
        "let modules = builtins.readDir ./x; in { environment.etc = modules; }",
        "let vms = builtins.readDir ./vms; in { imports = [ ./a.nix ]; microvm.vms = vms; }",
        "{ imports = [ ./a.nix ]; /* builtins.readDir ./x */ }",
    ],
};

/// Expressions that are looked at for one list.
const LIMIT: usize = 2_000;

fn found(file: &File<'_>, place: &Place<'_, '_>) -> Option<Fault> {
    let named = names::path_in(place.green()).next_back()??;
    if !matches!(named, "imports" | "modules") {
        return None;
    }
    let node = place.cursor();
    let local = || node.parent().is_some_and(|p| p.kind() == SyntaxKind::NODE_LET_IN);
    if local() {
        return None;
    }
    let binding = ast::AttrpathValue::cast(node.clone())?;
    let flows = from_folder(file.resolver, binding.value()?);
    let hint = "list the modules by name".to_owned();
    flows.then(|| RULE.fault(node, "modules come from whatever lies in a folder").hint(Some(hint)))
}

/// Whether a list is made from the content of a folder. What stands within sets is a module's own
/// affair.
fn from_folder(resolver: &Resolver, list: Expr) -> bool {
    let mut left = vec![list.syntax().clone()];
    let mut seen: HashSet<TextRange> = HashSet::new();
    while let Some(node) = left.pop() {
        if !seen.insert(node.text_range()) || seen.len() > LIMIT {
            continue;
        }
        match Expr::cast(node.clone()) {
            Some(Expr::AttrSet(_)) => continue,
            Some(Expr::Ident(ident)) => {
                if reads(resolver, &Expr::Ident(ident.clone())) {
                    return true;
                }
                if let Meaning::Value(value) = resolver.meaning(&ident) {
                    left.push(value.syntax().clone());
                }
            }
            Some(select @ Expr::Select(_)) if reads(resolver, &select) => return true,
            _ => {}
        }
        left.extend(node.children());
    }
    false
}

fn reads(resolver: &Resolver, expr: &Expr) -> bool {
    let known = ["readDir", "listFilesRecursive"];
    let text = expr.syntax().text();
    // Most names are none of these: a look at the last letters spares following them.
    let written = known.iter().any(|k| text.to_string().ends_with(k));
    let function = || resolver.function(expr);
    written && function().is_some_and(|f| known.iter().any(|k| f.is_lib(k)))
}
