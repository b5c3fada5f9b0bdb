//! What a text says of names, values and options, as far as it says so itself.
//!
//! Everything here is a partial answer: what depends on an argument, on a `with`, on another file
//! or on a function that is not known is unknown, and rules are silent about the unknown.
//! Following names is bounded (`HOPS`), nesting is bounded (`DEPTH`), and all work on a file draws
//! on one budget, so no text can make it long or deep.

mod calls;
mod literals;
mod options;
mod scope;

pub(super) use calls::Call;
pub(super) use literals::{Literal, Piece, Text};
pub(super) use options::{Definition, Key, Options, at_top, may_list_modules, modules};
pub(super) use scope::Meaning;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use rnix::ast::{self, Expr};
use rnix::{SyntaxKind, SyntaxNode, TextSize};
use rowan::ast::AstNode;

use super::names;

/// Names followed one after the other.
const HOPS: usize = 8;
/// Expressions inside each other that are walked into.
const DEPTH: usize = 400;
/// Steps of all resolving in one file: far more than any written file needs.
const STEPS: u32 = 20_000_000;
/// Steps for one question.
const STEPS_EACH: u32 = 4_000;

/// One text with what was found out about it.
pub(super) struct Resolver {
    bound: RefCell<HashMap<TextSize, Rc<scope::Bound>>>,
    taken: RefCell<HashMap<TextSize, Rc<HashSet<String>>>>,
    /// Calls that a rule asked for: the next rule asks for the same.
    calls: RefCell<HashMap<SyntaxNode, Option<Rc<Call>>>>,
    steps: Cell<u32>,
    /// Values that are being followed within each other.
    within: Cell<usize>,
    /// Steps when the question that is being answered was asked.
    asked: Cell<u32>,
}

impl Resolver {
    pub(super) fn new() -> Self {
        Self {
            bound: RefCell::default(),
            taken: RefCell::default(),
            calls: RefCell::default(),
            steps: Cell::new(0),
            within: Cell::new(0),
            asked: Cell::new(0),
        }
    }

    /// Counts a step; false when there were too many.
    fn step(&self) -> bool {
        let steps = self.steps.get().saturating_add(1);
        self.steps.set(steps);
        let each = self.within.get() == 0 || steps - self.asked.get().min(steps) < STEPS_EACH;
        steps < STEPS && each
    }

    /// Asks a question within the one that is being answered; `None`: that is too deep.
    fn asking<T>(&self, answer: impl FnOnce() -> T) -> Option<T> {
        let within = self.within.get();
        if within >= HOPS {
            return None;
        }
        if within == 0 {
            self.asked.set(self.steps.get());
        }
        self.within.set(within + 1);
        let answer = answer();
        self.within.set(within);
        Some(answer)
    }

    /// The expression that a value comes from: names followed, wrappers taken off. What cannot be
    /// followed stands for itself.
    pub(super) fn reduce(&self, expr: &Expr) -> Expr {
        let unwrapped = names::unwrap(expr.clone());
        let reduced = || {
            let (mut expr, mut hops) = (unwrapped.clone(), 0);
            while let Some(next) = self.reduced_once(&expr, &mut hops) {
                expr = names::unwrap(next);
            }
            expr
        };
        self.asking(reduced).unwrap_or(unwrapped)
    }

    fn reduced_once(&self, expr: &Expr, hops: &mut usize) -> Option<Expr> {
        if !self.step() {
            return None;
        }
        match expr {
            Expr::LetIn(e) => e.body(),
            Expr::With(e) => e.body(),
            Expr::Assert(e) => e.body(),
            Expr::Ident(_) | Expr::Select(_) if *hops < HOPS => {
                *hops += 1;
                self.followed(expr)
            }
            Expr::Apply(_) => {
                let call = self.call(expr)?;
                let wrapped = options::wrapped(&call)?;
                call.args.get(wrapped).cloned()
            }
            _ => None,
        }
    }

    /// Where a name or a selection leads within the text.
    pub(super) fn followed(&self, expr: &Expr) -> Option<Expr> {
        match expr {
            Expr::Ident(ident) => match self.meaning(ident) {
                Meaning::Value(value) => Some(value),
                Meaning::Member(set, name) => self.member(&set, &[name]),
                _ => None,
            },
            Expr::Select(select) if select.default_expr().is_none() => {
                let way: Option<Vec<String>> =
                    select.attrpath()?.attrs().map(|a| names::of_attribute(&a)).collect();
                self.member(&select.expr()?, &way?)
            }
            _ => None,
        }
    }

    /// The value of an attribute of a set that is written out.
    pub(super) fn member(&self, set: &Expr, way: &[String]) -> Option<Expr> {
        if !self.step() || way.len() > HOPS {
            return None;
        }
        let mut set = self.followed_set(set)?;
        let mut way = way;
        loop {
            let (value, used) = found(&set, way)?;
            way = &way[used..];
            if way.is_empty() {
                return Some(value);
            }
            set = self.followed_set(&value)?;
        }
    }

    /// The literal set behind an expression, names followed.
    fn followed_set(&self, expr: &Expr) -> Option<ast::AttrSet> {
        let mut expr = names::unwrap(expr.clone());
        for _ in 0..HOPS {
            match &expr {
                Expr::AttrSet(set) => return Some(set.clone()),
                Expr::LetIn(e) => expr = names::unwrap(e.body()?),
                Expr::Ident(ident) => match self.meaning(ident) {
                    Meaning::Value(value) => expr = names::unwrap(value),
                    _ => return None,
                },
                _ => return None,
            }
        }
        None
    }

    /// `config.age.secrets.x` as its words, aliases followed; a computed word is `*`, and what
    /// stands before the first dot is `?` when it is no name.
    pub(super) fn dotted(&self, expr: &Expr) -> Vec<String> {
        self.dotted_within(expr, HOPS)
    }

    fn dotted_within(&self, expr: &Expr, hops: usize) -> Vec<String> {
        if hops == 0 || !self.step() {
            return vec!["?".to_owned()];
        }
        match self.reduce(expr) {
            Expr::Ident(ident) => match self.meaning(&ident) {
                Meaning::Member(set, name) => {
                    let mut words = self.dotted_within(&set, hops - 1);
                    words.push(name);
                    words
                }
                _ => vec![ident.syntax().text().to_string()],
            },
            Expr::Select(select) => {
                let base = select.expr().map(|e| self.dotted_within(&e, hops - 1));
                let mut words = base.unwrap_or_default();
                let attrs = select.attrpath().into_iter().flat_map(|p| p.attrs());
                words.extend(attrs.map(|a| names::of_attribute(&a).unwrap_or("*".to_owned())));
                words
            }
            _ => vec!["?".to_owned()],
        }
    }
}

/// A value in a literal set and how many words of the way lead to it.
fn found(set: &ast::AttrSet, way: &[String]) -> Option<(Expr, usize)> {
    for child in set.syntax().children() {
        match child.kind() {
            SyntaxKind::NODE_ATTRPATH_VALUE => {
                let binding = ast::AttrpathValue::cast(child)?;
                let attrs: Vec<ast::Attr> = binding.attrpath()?.attrs().collect();
                let fits =
                    attrs.len() <= way.len() && attrs.iter().zip(way).all(|(a, w)| names::is(a, w));
                if fits {
                    return Some((binding.value()?, attrs.len()));
                }
            }
            SyntaxKind::NODE_INHERIT => {
                let attr = ast::Inherit::cast(child)?.attrs().find(|a| names::is(a, &way[0]));
                if let Some(ast::Attr::Ident(ident)) = attr {
                    return Some((Expr::Ident(ident), 1));
                }
            }
            _ => {}
        }
    }
    None
}
