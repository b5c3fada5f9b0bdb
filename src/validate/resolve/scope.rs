//! What a name is bound to, by the scopes around it.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use rnix::ast::{self, Expr};
use rnix::{SyntaxKind, SyntaxNode};
use rowan::ast::AstNode;

use super::super::names;
use super::Resolver;

/// What a name means where it stands.
#[derive(Debug, Clone)]
pub(crate) enum Meaning {
    /// What a `let` or `rec` binds it to.
    Value(Expr),
    /// An attribute of a set: `inherit (SET) NAME`.
    Member(Expr, String),
    /// An argument of a function.
    Argument,
    /// Bound, but in pieces (`a.b = 1; a.c = 2;`).
    Pieces,
    /// Not bound in this text: the language's own, or from a `with`.
    Free,
}

/// What one `let` or `rec` binds.
pub(super) type Bound = HashMap<String, Option<Expr>>;

impl Resolver {
    /// What a name means.
    pub(crate) fn meaning(&self, ident: &ast::Ident) -> Meaning {
        let Some(name) = names::word(ident.syntax()) else { return Meaning::Free };
        let mut at = ident.syntax().clone();
        // `inherit a;` in a set means the `a` outside of it, over and over.
        loop {
            let Some(inherit) = at.parent().and_then(ast::Inherit::cast) else { break };
            if let Some(set) = inherit.from().and_then(|f| f.expr()) {
                return Meaning::Member(set, name.to_owned());
            }
            let Some(set) = inherit.syntax().parent() else { return Meaning::Free };
            match self.looked_up(name, &set) {
                Meaning::Value(Expr::Ident(next)) if inherited(&next) => {
                    at = next.syntax().clone();
                }
                other => return other,
            }
            if !self.step() {
                return Meaning::Pieces;
            }
        }
        match self.looked_up(name, &at) {
            Meaning::Value(Expr::Ident(next)) if inherited(&next) => self.meaning(&next),
            other => other,
        }
    }

    /// Looks a name up from the scopes around a node, the node's own left out.
    pub(crate) fn looked_up(&self, name: &str, at: &SyntaxNode) -> Meaning {
        let mut node = at.parent();
        while let Some(scope) = node {
            if !self.step() {
                return Meaning::Pieces;
            }
            match scope.kind() {
                SyntaxKind::NODE_LAMBDA if self.taken(&scope).contains(name) => {
                    return Meaning::Argument;
                }
                SyntaxKind::NODE_LET_IN
                | SyntaxKind::NODE_LEGACY_LET
                | SyntaxKind::NODE_ATTR_SET
                    if names::recursive(scope.green()) =>
                {
                    match self.bound(&scope).get(name) {
                        Some(Some(value)) => return Meaning::Value(value.clone()),
                        Some(None) => return Meaning::Pieces,
                        None => {}
                    }
                }
                _ => {}
            }
            node = scope.parent();
        }
        Meaning::Free
    }

    /// Names of a function's arguments.
    fn taken(&self, lambda: &SyntaxNode) -> Rc<HashSet<String>> {
        let key = lambda.text_range().start();
        if let Some(taken) = self.taken.borrow().get(&key) {
            return taken.clone();
        }
        let names = names::arguments(lambda.green()).map(str::to_owned);
        let taken: Rc<HashSet<String>> = Rc::new(names.collect());
        self.taken.borrow_mut().insert(key, taken.clone());
        taken
    }

    fn bound(&self, set: &SyntaxNode) -> Rc<Bound> {
        let key = set.text_range().start();
        if let Some(bound) = self.bound.borrow().get(&key) {
            return bound.clone();
        }
        let mut bound = Bound::new();
        for child in set.children() {
            if let Some(binding) = ast::AttrpathValue::cast(child.clone()) {
                let mut attrs = binding.attrpath().into_iter().flat_map(|p| p.attrs());
                let first = attrs.next().as_ref().and_then(names::of_attribute);
                let whole = attrs.next().is_none();
                if let Some(name) = first {
                    let value = binding.value().filter(|_| whole);
                    let twice = bound.contains_key(&name);
                    bound.insert(name, value.filter(|_| !twice));
                }
            } else if let Some(inherit) = ast::Inherit::cast(child) {
                for attr in inherit.attrs() {
                    let ast::Attr::Ident(ident) = attr else { continue };
                    bound.insert(ident.syntax().text().to_string(), Some(Expr::Ident(ident)));
                }
            }
        }
        let bound = Rc::new(bound);
        self.bound.borrow_mut().insert(key, bound.clone());
        bound
    }
}

/// Whether a name stands in an `inherit`.
fn inherited(ident: &ast::Ident) -> bool {
    ident.syntax().parent().is_some_and(|p| p.kind() == SyntaxKind::NODE_INHERIT)
}
