//! Names of attributes and the shapes that several passes ask about. Pure.

use rnix::ast::{self, InterpolPart};
use rnix::{NixLanguage, NodeOrToken, SyntaxKind, SyntaxNode};
use rowan::ast::AstNode;
use rowan::{GreenNodeData, GreenTokenData, Language};

/// The name of one part of an attribute path, as Nix's parser sees it; `None`: only known when
/// evaluated.
pub(super) fn of_attribute(attr: &ast::Attr) -> Option<String> {
    match attr {
        ast::Attr::Ident(ident) => Some(word(ident.syntax())?.to_owned()),
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
        ast::Attr::Ident(ident) => word(ident.syntax()) == Some(name),
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

/// The kind of what stands in a tree below a node, which is looked at without going there: that
/// costs nothing, and most of what is looked at is none of what is looked for.
pub(super) fn kind(raw: rowan::SyntaxKind) -> SyntaxKind {
    NixLanguage::kind_from_raw(raw)
}

/// The text of the token that a node begins with: a name, for an identifier.
pub(super) fn word(node: &SyntaxNode) -> Option<&str> {
    first_word(node.green())
}

/// The same of a node that is no cursor.
pub(super) fn first_word(node: &GreenNodeData) -> Option<&str> {
    match node.children().next()? {
        NodeOrToken::Token(token) => Some(token.text()),
        NodeOrToken::Node(_) => None,
    }
}

/// The parts of a path, as far as they are plain words; `None`: it must be asked
/// [`of_attribute`].
pub(super) fn path_of(path: &GreenNodeData) -> impl DoubleEndedIterator<Item = Option<&str>> {
    path.children().filter_map(NodeOrToken::into_node).map(plain_part)
}

/// The same of a binding's path.
pub(super) fn path_in(binding: &GreenNodeData) -> impl DoubleEndedIterator<Item = Option<&str>> {
    let mut nodes = binding.children().filter_map(NodeOrToken::into_node);
    let path = nodes.next().filter(|n| kind(n.kind()) == SyntaxKind::NODE_ATTRPATH);
    path.into_iter().flat_map(path_of)
}

/// The name that a call has for its last argument, parentheses left out.
pub(super) fn argument_word(apply: &GreenNodeData) -> Option<&str> {
    let mut argument = last_node(apply)?;
    while kind(argument.kind()) == SyntaxKind::NODE_PAREN {
        argument = last_node(argument)?;
    }
    (kind(argument.kind()) == SyntaxKind::NODE_IDENT).then(|| first_word(argument)).flatten()
}

fn last_node(node: &GreenNodeData) -> Option<&GreenNodeData> {
    node.children().filter_map(NodeOrToken::into_node).next_back()
}

/// What a binding binds its path to.
pub(super) fn value_in(binding: &SyntaxNode) -> Option<ast::Expr> {
    ast::Expr::cast(binding.last_child()?)
}

/// A part of a path, if it is a plain word.
pub(super) fn plain_part(part: &GreenNodeData) -> Option<&str> {
    match kind(part.kind()) {
        SyntaxKind::NODE_IDENT => first_word(part),
        SyntaxKind::NODE_STRING => {
            let mut tokens = part.children().map(NodeOrToken::into_token);
            let parts = [tokens.next()??, tokens.next()??, tokens.next()??];
            let text = GreenTokenData::text(parts[1]);
            (tokens.next().is_none() && !text.contains(['\\', '$'])).then_some(text)
        }
        _ => None,
    }
}

/// What a part of a function's pattern names: an argument, or all of them.
pub(super) fn formal(part: &GreenNodeData) -> Option<&str> {
    let mut nodes = part.children().filter_map(NodeOrToken::into_node);
    let named = |n: &&GreenNodeData| kind(n.kind()) == SyntaxKind::NODE_IDENT;
    nodes.find(named).and_then(first_word)
}

/// Names of a function's arguments.
pub(super) fn arguments(lambda: &GreenNodeData) -> impl Iterator<Item = &str> {
    let param = lambda.children().find_map(NodeOrToken::into_node);
    let of_kind = move |wanted| param.filter(|p| kind(p.kind()) == wanted);
    let alone = of_kind(SyntaxKind::NODE_IDENT_PARAM).and_then(formal);
    let pattern = of_kind(SyntaxKind::NODE_PATTERN).into_iter().flat_map(GreenNodeData::children);
    alone.into_iter().chain(pattern.filter_map(NodeOrToken::into_node).filter_map(formal))
}

/// Names that a `let` or a set binds at its top, in order; `None` for one that is no plain word.
pub(super) fn bound_words(set: &GreenNodeData) -> impl Iterator<Item = Option<&str>> {
    let nodes = set.children().filter_map(NodeOrToken::into_node);
    nodes.flat_map(|node| {
        let (binding, inherit) = match kind(node.kind()) {
            SyntaxKind::NODE_ATTRPATH_VALUE => (Some(path_in(node).next().flatten()), None),
            SyntaxKind::NODE_INHERIT => (None, Some(node)),
            _ => (None, None),
        };
        let inherited = inherit.into_iter().flat_map(|n| n.children());
        let inherited = inherited.filter_map(NodeOrToken::into_node);
        let from = |n: &&GreenNodeData| kind(n.kind()) == SyntaxKind::NODE_INHERIT_FROM;
        binding.into_iter().chain(inherited.filter(move |n| !from(n)).map(plain_part))
    })
}

/// The same, worked out for those that are no plain words.
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
pub(super) fn recursive(set: &GreenNodeData) -> bool {
    match kind(set.kind()) {
        SyntaxKind::NODE_LET_IN | SyntaxKind::NODE_LEGACY_LET => true,
        // It can only stand first; to look among all of what a set holds would take long.
        SyntaxKind::NODE_ATTR_SET => {
            let mut kinds = set.children().map(|c| kind(c.kind()));
            kinds.find(|k| !k.is_trivia()) == Some(SyntaxKind::TOKEN_REC)
        }
        _ => false,
    }
}
