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
    Names(Names),
    /// Below a `with`, or where merging makes it unclear.
    Anything,
}

/// Names of one scope.
struct Names {
    names: HashSet<String>,
    /// The `rec` set that binds them.
    set: Option<TextRange>,
    used: bool,
}

/// What is gathered on a walk over a tree that parsed.
#[derive(Default)]
pub(super) struct Variables {
    /// Where merging makes it unclear what is in scope: nothing is told there.
    unclear: HashSet<TextRange>,
    scopes: Vec<Scope>,
    /// How many scopes there were outside of each node.
    outside: Vec<usize>,
    faults: Vec<Fault>,
    unused: Vec<TextRange>,
}

impl Variables {
    pub(super) fn enter(&mut self, node: &SyntaxNode) {
        self.outside.push(self.scopes.len());
        open(&mut self.scopes, node, &self.unclear);
        if node.kind() == SyntaxKind::NODE_IDENT {
            self.faults.extend(undefined(node, &mut self.scopes));
        }
    }

    pub(super) fn leave(&mut self) {
        let ended = self.scopes.drain(self.outside.pop().unwrap_or(0)..);
        self.unused.extend(ended.filter_map(|scope| match scope {
            Scope::Names(names) if !names.used => names.set,
            _ => None,
        }));
    }

    /// The faults, and the sets whose `rec` nothing uses.
    pub(super) fn end(mut self) -> (Vec<Fault>, Vec<TextRange>) {
        let unclear = &self.unclear;
        self.unused.retain(|set| !unclear.contains(set));
        (self.faults, self.unused)
    }
}

/// The same on a walk of its own, silent within the `unclear` ranges.
pub(super) fn faults(root: &SyntaxNode, unclear: Vec<TextRange>) -> (Vec<Fault>, Vec<TextRange>) {
    let unclear = unclear.into_iter().collect();
    let mut variables = Variables { unclear, ..Variables::default() };
    for event in root.preorder() {
        match event {
            WalkEvent::Enter(node) => variables.enter(&node),
            WalkEvent::Leave(_) => variables.leave(),
        }
    }
    variables.end()
}

/// Adds the scopes that begin with this node and end with it.
fn open(scopes: &mut Vec<Scope>, node: &SyntaxNode, unclear: &HashSet<TextRange>) {
    let parent = node.parent().map(|p| p.kind());
    let with_body = parent == Some(SyntaxKind::NODE_WITH) && node.prev_sibling().is_some();
    if with_body || (!unclear.is_empty() && unclear.contains(&node.text_range())) {
        scopes.push(Scope::Anything);
    }
    match node.kind() {
        SyntaxKind::NODE_LAMBDA => {
            scopes.push(Scope::Names(Names { names: arguments(node), set: None, used: true }))
        }
        SyntaxKind::NODE_LET_IN | SyntaxKind::NODE_LEGACY_LET | SyntaxKind::NODE_ATTR_SET
            if names::recursive(node) =>
        {
            let set = node.kind() == SyntaxKind::NODE_ATTR_SET;
            scopes.push(Scope::Names(Names {
                names: names::bound(node).into_iter().collect(),
                set: set.then(|| node.text_range()),
                used: false,
            }));
        }
        _ => {}
    }
}

/// Names of a function's arguments.
pub(super) fn arguments(lambda: &SyntaxNode) -> HashSet<String> {
    let param = ast::Lambda::cast(lambda.clone()).and_then(|l| l.param());
    let idents: Vec<Option<ast::Ident>> = match param {
        Some(ast::Param::IdentParam(param)) => vec![param.ident()],
        Some(ast::Param::Pattern(pattern)) => {
            let bind = pattern.pat_bind().and_then(|b| b.ident());
            pattern.pat_entries().map(|e| e.ident()).chain([bind]).collect()
        }
        None => Vec::new(),
    };
    let name = |i: ast::Ident| names::word(i.syntax()).map(str::to_owned);
    idents.into_iter().flatten().filter_map(name).collect()
}

fn undefined(node: &SyntaxNode, scopes: &mut [Scope]) -> Option<Fault> {
    let name = names::word(node)?;
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
fn inherited_from<'a>(inherit: &SyntaxNode, scopes: &'a mut [Scope]) -> Option<&'a mut [Scope]> {
    if ast::Inherit::cast(inherit.clone())?.from().is_some() {
        return None;
    }
    let own = names::recursive(&inherit.parent()?);
    let inner = scopes.len().saturating_sub(usize::from(own));
    Some(&mut scopes[..inner])
}

/// Whether something defines a name; what binds it counts as used, also below a `with`.
fn known(name: &str, scopes: &mut [Scope]) -> bool {
    let mut anything = false;
    for scope in scopes.iter_mut().rev() {
        match scope {
            Scope::Names(names) if names.names.contains(name) => {
                names.used = true;
                return true;
            }
            Scope::Names(_) => {}
            Scope::Anything => anything = true,
        }
    }
    anything || name.starts_with("__") || GLOBALS.contains(&name)
}

/// The name in scope that differs least: at most two letters, and not more than a third.
fn nearest<'a>(name: &str, scopes: &'a [Scope]) -> Option<&'a str> {
    let names = scopes.iter().flat_map(|scope| match scope {
        Scope::Names(names) => names.names.iter().map(String::as_str).collect(),
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
