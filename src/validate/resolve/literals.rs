//! Values that a text writes out, and texts that it writes out in part.

use rnix::ast::{self, Expr, InterpolPart};
use rnix::{NodeOrToken, SyntaxNode};
use rowan::ast::AstNode;

use super::{Meaning, Resolver};

/// Pieces of a text, and parts of a list, that are looked at; what has more is unknown.
const TEXT_LIMIT: usize = 256;

/// A value that is written out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Whole(i64),
    /// A string, its interpolations known too.
    Text(String),
    /// A path, as written.
    Path(String),
    /// `null`.
    Null,
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    /// As written.
    Known(String),
    /// Another value: its words (`config`, `age`, `secrets`, `x`), or `?`.
    Value(Vec<String>),
}

/// A text of known and unknown pieces.
pub(crate) type Text = Vec<Piece>;

impl Resolver {
    /// The value that is written out, names followed.
    pub(crate) fn literal(&self, expr: &Expr) -> Option<Literal> {
        match self.reduce(expr) {
            Expr::Literal(literal) => match literal.kind() {
                ast::LiteralKind::Integer(n) => Some(Literal::Whole(n.value().ok()?)),
                ast::LiteralKind::Uri(uri) => Some(Literal::Text(uri.to_string())),
                ast::LiteralKind::Float(_) => None,
            },
            Expr::Ident(ident) if matches!(self.meaning(&ident), Meaning::Free) => {
                match ident.ident_token()?.text() {
                    "true" => Some(Literal::Bool(true)),
                    "false" => Some(Literal::Bool(false)),
                    "null" => Some(Literal::Null),
                    _ => None,
                }
            }
            text @ (Expr::Str(_) | Expr::BinOp(_)) => whole(self.text(&text)).map(Literal::Text),
            path @ (Expr::PathAbs(_) | Expr::PathRel(_) | Expr::PathHome(_)) => {
                whole(self.text(&path)).map(Literal::Path)
            }
            Expr::PathSearch(path) => Some(Literal::Path(path.syntax().text().to_string())),
            _ => None,
        }
    }

    /// `true` or `false`, if that is written out.
    pub(crate) fn boolean(&self, expr: &Expr) -> Option<bool> {
        match self.literal(expr)? {
            Literal::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// A string, if it is written out.
    pub(crate) fn string(&self, expr: &Expr) -> Option<String> {
        match self.literal(expr)? {
            Literal::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The pieces of a string or path: interpolations, `+` and `toString` are put together.
    pub(crate) fn text(&self, expr: &Expr) -> Text {
        let mut pieces = Vec::new();
        // What is still to be put together, the next piece last.
        let mut left = vec![Part::Expr(expr.clone())];
        let mut looked = 0;
        while let Some(part) = left.pop() {
            looked += 1;
            if looked > TEXT_LIMIT || !self.step() {
                pieces.push(unknown());
                break;
            }
            match part {
                Part::Done(piece) => pieces.push(piece),
                Part::Expr(expr) => self.parts(&expr, &mut left, &mut pieces),
            }
        }
        pieces
    }

    fn parts(&self, expr: &Expr, left: &mut Vec<Part>, pieces: &mut Text) {
        let expr = self.reduce(expr);
        match &expr {
            Expr::Str(text) => left.extend(of_string(text).into_iter().rev()),
            Expr::PathAbs(_) | Expr::PathRel(_) | Expr::PathHome(_) | Expr::PathSearch(_) => {
                left.extend(of_path(expr.syntax()).into_iter().rev());
            }
            Expr::BinOp(sum) if sum.operator() == Some(ast::BinOpKind::Add) => {
                left.extend(sum.rhs().map(Part::Expr));
                left.extend(sum.lhs().map(Part::Expr));
            }
            Expr::Apply(_) => match self.call(&expr) {
                Some(call) if turns_into_text(&call) => {
                    left.extend(call.args.first().cloned().map(Part::Expr));
                }
                _ => pieces.push(unknown()),
            },
            Expr::Ident(_) | Expr::Select(_) => pieces.push(Piece::Value(self.dotted(&expr))),
            _ => pieces.push(unknown()),
        }
    }

    /// The elements of a list that is written out, `++` put together; unknown parts are left out.
    pub(crate) fn elements(&self, expr: &Expr) -> Vec<Expr> {
        let mut elements = Vec::new();
        let mut left = vec![expr.clone()];
        let mut looked = 0;
        while let Some(expr) = left.pop() {
            looked += 1;
            if looked > TEXT_LIMIT || !self.step() {
                break;
            }
            match self.reduce(&expr) {
                Expr::List(list) => elements.extend(list.items()),
                Expr::BinOp(sum) if sum.operator() == Some(ast::BinOpKind::Concat) => {
                    left.extend(sum.rhs());
                    left.extend(sum.lhs());
                }
                _ => {}
            }
        }
        elements
    }
}

enum Part {
    Expr(Expr),
    Done(Piece),
}

fn unknown() -> Piece {
    Piece::Value(vec!["?".to_owned()])
}

fn turns_into_text(call: &super::Call) -> bool {
    ["toString", "toPath", "unsafeDiscardStringContext", "storePath"]
        .iter()
        .any(|name| call.is_builtin(name) && call.args.len() == 1)
}

fn of_string(text: &ast::Str) -> Vec<Part> {
    let part = |part: InterpolPart<String>| match part {
        InterpolPart::Literal(text) => Part::Done(Piece::Known(text)),
        InterpolPart::Interpolation(inner) => {
            inner.expr().map_or_else(|| Part::Done(unknown()), Part::Expr)
        }
    };
    text.normalized_parts().into_iter().map(part).collect()
}

fn of_path(path: &SyntaxNode) -> Vec<Part> {
    let part = |child: rnix::SyntaxElement| match child {
        NodeOrToken::Token(token) => Some(Part::Done(Piece::Known(token.text().to_owned()))),
        NodeOrToken::Node(node) => ast::Interpol::cast(node)?.expr().map(Part::Expr),
    };
    path.children_with_tokens().filter_map(part).collect()
}

fn whole(text: Text) -> Option<String> {
    let known = |piece: Piece| match piece {
        Piece::Known(text) => Some(text),
        Piece::Value(_) => None,
    };
    text.into_iter().map(known).collect()
}
