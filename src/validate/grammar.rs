//! What `rnix` lets through and Nix's grammar does not: one look at each node and token. Pure.

use rnix::ast;
use rnix::{NodeOrToken, SyntaxKind, SyntaxNode};
use rowan::ast::AstNode;

use super::names;
use super::syntax::Fault;

/// What is wrong with a node of a tree that parsed.
pub(super) fn of_node(node: &SyntaxNode) -> Option<Fault> {
    match node.kind() {
        SyntaxKind::NODE_PAREN => unclosed(node),
        SyntaxKind::NODE_LAMBDA => bare_function(node),
        SyntaxKind::NODE_STRING => indented_name(node),
        SyntaxKind::NODE_LET_IN => dynamic_let(node),
        SyntaxKind::NODE_INHERIT => dynamic_inherit(node),
        SyntaxKind::NODE_PATTERN => duplicate_formal(node),
        _ => None,
    }
}

/// What is wrong with a token.
pub(super) fn of_token(kind: SyntaxKind, text: &str) -> Option<&'static str> {
    match kind {
        SyntaxKind::TOKEN_WHITESPACE if text.contains(|c| !" \t\r\n".contains(c)) => {
            Some("syntax error, this blank is none to Nix (only space, tab and line ends are)")
        }
        SyntaxKind::TOKEN_INTEGER if text.parse::<i64>().is_err() => {
            Some("syntax error, the integer does not fit into 64 bits")
        }
        SyntaxKind::TOKEN_FLOAT if text.parse::<f64>().is_ok_and(f64::is_infinite) => {
            Some("syntax error, the number is too large")
        }
        SyntaxKind::TOKEN_FLOAT if text == "0." => {
            Some("syntax error, no digit follows the point of a number that begins with 0")
        }
        SyntaxKind::TOKEN_PATH_SEARCH if text.ends_with("/>") => {
            Some("syntax error, a path in angle brackets ends with no slash")
        }
        SyntaxKind::TOKEN_STRING_CONTENT if text.contains('\0') => {
            Some("syntax error, a string holds no null byte")
        }
        SyntaxKind::TOKEN_PIPE_LEFT | SyntaxKind::TOKEN_PIPE_RIGHT => {
            Some("syntax error, pipe operators are an experimental feature that is off")
        }
        _ => None,
    }
}

/// `rnix` takes any token for the closing parenthesis.
fn unclosed(node: &SyntaxNode) -> Option<Fault> {
    let tokens = node.children_with_tokens().filter_map(NodeOrToken::into_token);
    let last = tokens.filter(|t| !t.kind().is_trivia()).last()?;
    let closed = last.kind() == SyntaxKind::TOKEN_R_PAREN;
    let message = || format!("syntax error, unexpected '{}', expecting ')'", last.text());
    (!closed).then(|| Fault::new("syntax-error", last.text_range(), message()))
}

/// A function is no operand, argument or element without parentheses.
fn bare_function(node: &SyntaxNode) -> Option<Fault> {
    use SyntaxKind::{
        NODE_APPLY, NODE_BIN_OP, NODE_HAS_ATTR, NODE_LIST, NODE_SELECT, NODE_UNARY_OP,
    };
    let parent = node.parent()?.kind();
    let simple = [NODE_APPLY, NODE_BIN_OP, NODE_HAS_ATTR, NODE_LIST, NODE_SELECT, NODE_UNARY_OP];
    let colon = ast::Lambda::cast(node.clone())?.token_colon()?;
    simple.contains(&parent).then(|| {
        Fault::new("syntax-error", colon.text_range(), "syntax error, unexpected ':'")
            .hint(Some("put the function into parentheses".to_owned()))
    })
}

/// `''x''` is a string, but no name.
fn indented_name(node: &SyntaxNode) -> Option<Fault> {
    let parent = node.parent()?.kind();
    let named = matches!(parent, SyntaxKind::NODE_ATTRPATH | SyntaxKind::NODE_INHERIT);
    let indented = node.first_token()?.text() == "''";
    let message = "syntax error, an indented string is no attribute name";
    (named && indented).then(|| Fault::new("syntax-error", node.text_range(), message))
}

/// Only the first part of a path counts: `let a.${x} = 1;` is a set named `a`.
fn dynamic_let(node: &SyntaxNode) -> Option<Fault> {
    let values = node.children().filter_map(ast::AttrpathValue::cast);
    let mut firsts = values.filter_map(|v| v.attrpath()?.attrs().next());
    let dynamic = firsts.find(|a| names::of_attribute(a).is_none())?;
    let range = dynamic.syntax().text_range();
    Some(Fault::new("syntax-error", range, "dynamic attributes not allowed in let"))
}

fn dynamic_inherit(node: &SyntaxNode) -> Option<Fault> {
    let mut attrs = ast::Inherit::cast(node.clone())?.attrs();
    let dynamic = attrs.find(|a| names::of_attribute(a).is_none())?;
    let range = dynamic.syntax().text_range();
    Some(Fault::new("syntax-error", range, "dynamic attributes not allowed in inherit"))
}

fn duplicate_formal(node: &SyntaxNode) -> Option<Fault> {
    let pattern = ast::Pattern::cast(node.clone())?;
    let entries = pattern.pat_entries().filter_map(|e| e.ident());
    let all = entries.chain(pattern.pat_bind().and_then(|b| b.ident()));
    let mut seen = std::collections::HashMap::new();
    for ident in all {
        let token = ident.ident_token()?;
        let range = token.text_range();
        if let Some(first) = seen.insert(token.text().to_owned(), range) {
            let message = format!("duplicate formal function argument '{}'", token.text());
            return Some(Fault::new("duplicate-formal", range, message).other(first, "first here"));
        }
    }
    None
}
