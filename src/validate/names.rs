//! Names of attributes and the shapes that several passes ask about. Pure.

use rnix::ast::{self, InterpolPart};
use rnix::{SyntaxKind, SyntaxNode};
use rowan::ast::AstNode;

/// The name of one part of an attribute path, as Nix's parser sees it; `None`: only known when
/// evaluated.
pub(super) fn of_attribute(attr: &ast::Attr) -> Option<String> {
    match attr {
        ast::Attr::Ident(ident) => Some(ident.ident_token()?.text().to_owned()),
        ast::Attr::Str(text) => of_string(text),
        ast::Attr::Dynamic(dynamic) => match unwrap(dynamic.expr()?) {
            ast::Expr::Str(text) => of_string(&text),
            _ => None,
        },
    }
}

/// Whether a part of an attribute path is that name.
pub(super) fn is(attr: &ast::Attr, name: &str) -> bool {
    match attr {
        ast::Attr::Ident(ident) => ident.ident_token().is_some_and(|t| t.text() == name),
        other => of_attribute(other).is_some_and(|n| n == name),
    }
}

/// The content of a string without interpolation.
fn of_string(text: &ast::Str) -> Option<String> {
    let parts = text.normalized_parts();
    let literal = |part: &InterpolPart<String>| match part {
        InterpolPart::Literal(text) => Some(text.clone()),
        InterpolPart::Interpolation(_) => None,
    };
    parts.iter().map(literal).collect()
}

/// An expression without the parentheses around it: Nix keeps none.
pub(super) fn unwrap(mut expr: ast::Expr) -> ast::Expr {
    while let ast::Expr::Paren(paren) = &expr {
        match paren.expr() {
            Some(inner) => expr = inner,
            None => break,
        }
    }
    expr
}

/// Names that a `let` or a set binds at its top, in order.
pub(super) fn bound(set: &SyntaxNode) -> Vec<String> {
    let mut names = Vec::new();
    for child in set.children() {
        if let Some(value) = ast::AttrpathValue::cast(child.clone()) {
            let first = value.attrpath().and_then(|p| p.attrs().next());
            names.extend(first.as_ref().and_then(of_attribute));
        } else if let Some(inherit) = ast::Inherit::cast(child) {
            names.extend(inherit.attrs().filter_map(|a| of_attribute(&a)));
        }
    }
    names
}

/// Whether what the set binds is in scope inside it.
pub(super) fn recursive(set: &SyntaxNode) -> bool {
    match set.kind() {
        SyntaxKind::NODE_LET_IN | SyntaxKind::NODE_LEGACY_LET => true,
        // It can only stand first; to look among all of what a set holds would take long.
        SyntaxKind::NODE_ATTR_SET => {
            let first = set.children_with_tokens().find(|c| !c.kind().is_trivia());
            first.is_some_and(|c| c.kind() == SyntaxKind::TOKEN_REC)
        }
        _ => false,
    }
}
