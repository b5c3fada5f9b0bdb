//! Variables that nothing defines, by Nix's static scopes. Pure.
//!
//! Below a `with` everything may be defined, and the language's own names differ between
//! versions: those of any version count, and so does every name that begins with two underscores.

use std::collections::HashSet;

use rnix::ast;
use rnix::{SyntaxKind, SyntaxNode, TextRange, WalkEvent};
use rowan::ast::AstNode;

use super::names;
use super::syntax::Fault;

/// Rule name of what is found here.
pub(super) const UNDEFINED: &str = "undefined-variable";

/// What Nix defines without a prefix, in any version.
const GLOBALS: [&str; 24] = [
    "abort",
    "baseNameOf",
    "break",
    "builtins",
    "derivation",
    "derivationStrict",
    "dirOf",
    "false",
    "fetchGit",
    "fetchMercurial",
    "fetchTarball",
    "fetchTree",
    "fromTOML",
    "import",
    "isNull",
    "map",
    "null",
    "placeholder",
    "removeAttrs",
    "scopedImport",
    "throw",
    "toString",
    "true",
    "or",
];

/// What a part of the text adds to what is in scope.
enum Scope {
    Names(HashSet<String>),
    /// Below a `with`, or where merging makes it unclear.
    Anything,
}

/// Faults of a tree that parsed; within the `unclear` ranges nothing is told.
pub(super) fn faults(root: &SyntaxNode, unclear: &[TextRange]) -> Vec<Fault> {
    let unclear: HashSet<TextRange> = unclear.iter().copied().collect();
    let mut scopes: Vec<Scope> = Vec::new();
    let mut outside: Vec<usize> = Vec::new();
    let mut faults = Vec::new();
    for event in root.preorder() {
        match event {
            WalkEvent::Enter(node) => {
                outside.push(scopes.len());
                open(&mut scopes, &node, &unclear);
                faults.extend(undefined(&node, &scopes));
            }
            WalkEvent::Leave(_) => scopes.truncate(outside.pop().unwrap_or(0)),
        }
    }
    faults
}

/// Adds the scopes that begin with this node and end with it.
fn open(scopes: &mut Vec<Scope>, node: &SyntaxNode, unclear: &HashSet<TextRange>) {
    let parent = node.parent().map(|p| p.kind());
    let with_body = parent == Some(SyntaxKind::NODE_WITH) && node.prev_sibling().is_some();
    if with_body || (!unclear.is_empty() && unclear.contains(&node.text_range())) {
        scopes.push(Scope::Anything);
    }
    match node.kind() {
        SyntaxKind::NODE_LAMBDA => scopes.push(Scope::Names(arguments(node))),
        SyntaxKind::NODE_LET_IN | SyntaxKind::NODE_LEGACY_LET | SyntaxKind::NODE_ATTR_SET
            if names::recursive(node) =>
        {
            scopes.push(Scope::Names(names::bound(node).into_iter().collect()));
        }
        _ => {}
    }
}

fn arguments(lambda: &SyntaxNode) -> HashSet<String> {
    let param = ast::Lambda::cast(lambda.clone()).and_then(|l| l.param());
    let idents: Vec<Option<ast::Ident>> = match param {
        Some(ast::Param::IdentParam(param)) => vec![param.ident()],
        Some(ast::Param::Pattern(pattern)) => {
            let bind = pattern.pat_bind().and_then(|b| b.ident());
            pattern.pat_entries().map(|e| e.ident()).chain([bind]).collect()
        }
        None => Vec::new(),
    };
    let name = |i: ast::Ident| i.ident_token().map(|t| t.text().to_owned());
    idents.into_iter().flatten().filter_map(name).collect()
}

fn undefined(node: &SyntaxNode, scopes: &[Scope]) -> Option<Fault> {
    let ident = ast::Ident::cast(node.clone())?;
    let token = ident.ident_token()?;
    let name = token.text();
    let parent = node.parent()?;
    let scopes = match parent.kind() {
        SyntaxKind::NODE_ATTRPATH | SyntaxKind::NODE_IDENT_PARAM | SyntaxKind::NODE_PAT_BIND => {
            return None;
        }
        SyntaxKind::NODE_PAT_ENTRY if node.prev_sibling().is_none() => return None,
        SyntaxKind::NODE_INHERIT => inherited_from(&parent, scopes)?,
        _ => scopes,
    };
    if known(name, scopes) {
        return None;
    }
    let message = format!("undefined variable '{name}'");
    let hint = nearest(name, scopes).map(|near| format!("did you mean '{near}'?"));
    Some(Fault::new(UNDEFINED, node.text_range(), message).hint(hint))
}

/// `inherit x;` looks outside of the set or `let` that it stands in; `inherit (s) x;` nowhere.
fn inherited_from<'a>(inherit: &SyntaxNode, scopes: &'a [Scope]) -> Option<&'a [Scope]> {
    if ast::Inherit::cast(inherit.clone())?.from().is_some() {
        return None;
    }
    let own = names::recursive(&inherit.parent()?);
    Some(if own { &scopes[..scopes.len().saturating_sub(1)] } else { scopes })
}

fn known(name: &str, scopes: &[Scope]) -> bool {
    let in_scope = scopes.iter().rev().any(|scope| match scope {
        Scope::Names(names) => names.contains(name),
        Scope::Anything => true,
    });
    in_scope || name.starts_with("__") || GLOBALS.contains(&name)
}

/// The name in scope that differs least: at most two letters, and not more than a third.
fn nearest<'a>(name: &str, scopes: &'a [Scope]) -> Option<&'a str> {
    let names = scopes.iter().flat_map(|scope| match scope {
        Scope::Names(names) => names.iter().map(String::as_str).collect(),
        Scope::Anything => Vec::new(),
    });
    let limit = (name.len() / 3).clamp(1, 2);
    let near = names.chain(GLOBALS).map(|n| (distance(name, n), n));
    near.filter(|(far, _)| *far <= limit).min().map(|(_, n)| n)
}

/// Letters to insert, delete or replace (Levenshtein); more than two need not be exact.
fn distance(a: &str, b: &str) -> usize {
    if a.len().abs_diff(b.len()) > 2 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
