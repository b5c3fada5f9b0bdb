//! Something fetched during evaluation without saying what is expected.

use rnix::SyntaxKind;
use rnix::ast::{self, Apply, Expr};
use rowan::ast::AstNode;

use super::{Check, File, Rule};
use crate::event::Severity;
use crate::validate::names;
use crate::validate::place::Place;
use crate::validate::syntax::Fault;

pub(super) const RULE: Rule = Rule {
    id: "unpinned-fetch",
    severity: Severity::Warn,
    flags: "builtins.fetchTarball, fetchurl or fetchGit without a hash or revision",
    why: "What is fetched can change between two evaluations, so the same revision of the flake is \
          another system tomorrow; pure evaluation refuses it. Give it a hash or a revision, or \
          make it a flake input.",
    fixable: false,
    needs: &["fetchTarball", "fetchurl", "fetchGit"],
    tops: &[],
    check: Check::Node(&[SyntaxKind::NODE_APPLY], found),
    bad: &[
        "builtins.fetchTarball \"https://example.org/a.tar.gz\"",
        "import (fetchTarball { url = \"https://example.org/a.tar.gz\"; }) { }",
        "builtins.fetchGit { url = \"https://example.org/a.git\"; ref = \"main\"; }",
        "let url = \"https://example.org/a\"; in builtins.fetchurl url",
        "with builtins; fetchurl { url = \"https://example.org/a\"; }",
    ],
    good: &[
        "builtins.fetchTarball { url = \"https://example.org/a\"; sha256 = \"x\"; }",
        "builtins.fetchGit { url = \"https://example.org/a\"; rev = \"x\"; }",
        "{ pkgs }: pkgs.fetchurl { url = \"https://example.org/a\"; }",
        "{ fetchurl }: fetchurl { url = \"https://example.org/a\"; }",
        "x: builtins.fetchTarball x",
        "x: builtins.fetchGit ({ url = \"a\"; } // x)",
        "{ url, sha256 }: builtins.fetchTarball { inherit url sha256; }",
        "let fetchTarball = x: x; in fetchTarball \"https://example.org/a\"",
        "\"builtins.fetchTarball https://example.org/a\"",
    ],
};

fn found(file: &File<'_>, place: &Place<'_, '_>) -> Option<Fault> {
    let node = place.cursor();
    let apply = Apply::cast(node.clone())?;
    let call = file.resolver.call(&Expr::Apply(apply))?;
    let own = ["fetchTarball", "fetchurl", "fetchGit"].iter().any(|n| call.is_own(n));
    let argument = call.args.first().filter(|_| own && !call.argument && call.args.len() == 1)?;
    let pinned = match file.resolver.reduce(argument) {
        Expr::AttrSet(set) => pins(&set),
        Expr::Str(_) | Expr::Literal(_) => false,
        _ => true, // not known
    };
    if pinned {
        return None;
    }
    let message = format!("{} fetches whatever is there today", call.name());
    let hint = "give it a hash or a revision, or make it a flake input".to_owned();
    Some(RULE.fault(node, message).hint(Some(hint)))
}

fn pins(set: &ast::AttrSet) -> bool {
    const PINS: [&str; 4] = ["sha256", "narHash", "rev", "hash"];
    let attrs = set.syntax().children().flat_map(|child| match child.kind() {
        SyntaxKind::NODE_ATTRPATH_VALUE => {
            let path = ast::AttrpathValue::cast(child).and_then(|b| b.attrpath());
            path.map(|p| p.attrs().collect::<Vec<_>>()).unwrap_or_default()
        }
        _ => ast::Inherit::cast(child).map(|i| i.attrs().collect()).unwrap_or_default(),
    });
    let mut names = attrs.map(|a| names::of_attribute(&a));
    names.any(|n| n.is_none_or(|n| PINS.contains(&n.as_str())))
}
