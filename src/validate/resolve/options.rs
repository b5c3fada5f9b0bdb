//! Which options a module defines: paths put together through sets, dotted keys, `mkIf` and its
//! kin, `//`, `let`, `with`, functions; each definition with what it depends on.

use rnix::ast::{self, Expr};
use rnix::{SyntaxKind, SyntaxNode};
use rowan::GreenNodeData;
use rowan::ast::AstNode;

use super::super::names;
use super::{Call, DEPTH, HOPS, Meaning, Resolver};

/// One word of an option's path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// As written.
    Name(String),
    /// Computed; its source.
    Computed(String),
}

impl Key {
    /// What a person would call it.
    pub(crate) fn shown(&self) -> &str {
        match self {
            Key::Name(text) | Key::Computed(text) => text,
        }
    }
}

/// A definition of an option: everything that is no set, wrapper or branch any more.
pub(crate) struct Definition<'a> {
    /// Words from the top of the module; shorter than the option's own where the rest is unknown.
    pub(crate) path: &'a [Key],
    /// What it is set to; a function call or an argument where it is unknown.
    pub(crate) value: &'a Expr,
    /// The binding, or the expression where there is none.
    pub(crate) at: &'a SyntaxNode,
    /// Conditions of `mkIf` and `if` around it.
    pub(crate) conditions: &'a [Expr],
    /// It may yield to another definition: `mkDefault`, or left of a `//`.
    pub(crate) weak: bool,
}

impl Definition<'_> {
    /// Whether it defines that option; `*` stands for any one word.
    pub(crate) fn is(&self, path: &[&str]) -> bool {
        self.path.len() == path.len() && self.below(path)
    }

    /// Whether it defines that option or a part of it.
    pub(crate) fn below(&self, path: &[&str]) -> bool {
        let same = |(key, word): (&Key, &&str)| {
            *word == "*" || matches!(key, Key::Name(name) if name == word)
        };
        self.path.len() >= path.len() && self.path.iter().zip(path).all(same)
    }

    /// The option as one would write it.
    pub(crate) fn shown(&self) -> String {
        self.path.iter().map(Key::shown).collect::<Vec<_>>().join(".")
    }
}

/// Walks modules.
pub(crate) struct Options<'a> {
    resolver: &'a Resolver,
    path: Vec<Key>,
    conditions: Vec<Expr>,
    weak: bool,
    hops: usize,
    depth: usize,
    /// First words of the options that are wanted; `None`: all are.
    about: Option<&'a [&'static str]>,
}

impl<'a> Options<'a> {
    pub(crate) fn new(resolver: &'a Resolver) -> Self {
        let (path, conditions) = (Vec::new(), Vec::new());
        Self { resolver, path, conditions, weak: false, hops: 0, depth: 0, about: None }
    }

    /// Leaves out options that begin with other words.
    pub(crate) fn about(mut self, words: Option<&'a [&'static str]>) -> Self {
        self.about = words;
        self
    }

    /// Whether what is defined below a path is wanted.
    fn is_wanted(&self) -> bool {
        let Some(about) = self.about else { return true };
        match top(&self.path) {
            [Key::Name(first), ..] => first == "specialisation" || about.contains(&first.as_str()),
            _ => true,
        }
    }

    /// Starts below a path instead of at the top.
    pub(crate) fn below(mut self, path: &[&str]) -> Self {
        self.path = path.iter().map(|w| Key::Name((*w).to_owned())).collect();
        self
    }

    /// Shows every definition of a module, in the order of the text.
    pub(crate) fn each(mut self, module: &Expr, show: &mut dyn FnMut(&Definition<'_>)) {
        self.value(module, module.syntax(), show);
    }

    fn value(&mut self, expr: &Expr, at: &SyntaxNode, show: &mut dyn FnMut(&Definition<'_>)) {
        if self.depth >= DEPTH || !self.resolver.step() {
            return self.end(expr, at, show);
        }
        self.depth += 1;
        self.inner(&names::unwrap(expr.clone()), at, show);
        self.depth -= 1;
    }

    fn inner(&mut self, expr: &Expr, at: &SyntaxNode, show: &mut dyn FnMut(&Definition<'_>)) {
        let body = match expr {
            Expr::AttrSet(set) => return self.set(set, show),
            Expr::LetIn(e) => e.body(),
            Expr::With(e) => e.body(),
            Expr::Assert(e) => e.body(),
            Expr::Lambda(e) => e.body(),
            Expr::IfElse(e) => return self.branches(e, at, show),
            Expr::BinOp(e) if e.operator() == Some(ast::BinOpKind::Update) => {
                return self.update(e, at, show);
            }
            Expr::List(list) => return self.list(list, at, show),
            Expr::Apply(_) => return self.call(expr, at, show),
            Expr::Ident(_) | Expr::Select(_) => return self.name(expr, at, show),
            _ => None,
        };
        match body {
            Some(body) => self.value(&body, at, show),
            None => self.end(expr, at, show),
        }
    }

    fn end(&mut self, value: &Expr, at: &SyntaxNode, show: &mut dyn FnMut(&Definition<'_>)) {
        let Self { path, conditions, weak, .. } = self;
        let path = top(path);
        if path.first().is_some_and(|k| matches!(k, Key::Name(n) if n == "options")) {
            return;
        }
        show(&Definition { path, value, at, conditions, weak: *weak });
    }

    fn set(&mut self, set: &ast::AttrSet, show: &mut dyn FnMut(&Definition<'_>)) {
        for child in set.syntax().children() {
            match child.kind() {
                SyntaxKind::NODE_ATTRPATH_VALUE => {
                    self.binding(&child, show);
                }
                SyntaxKind::NODE_INHERIT => {
                    let inherit = ast::Inherit::cast(child);
                    for attr in inherit.into_iter().flat_map(|i| i.attrs()) {
                        let ast::Attr::Ident(ident) = attr else { continue };
                        self.path.push(Key::Name(ident.syntax().text().to_string()));
                        let at = ident.syntax().clone();
                        self.value(&Expr::Ident(ident), &at, show);
                        self.path.pop();
                    }
                }
                _ => {}
            }
        }
    }

    /// A list, and below it what its elements say.
    fn list(&mut self, list: &ast::List, at: &SyntaxNode, show: &mut dyn FnMut(&Definition<'_>)) {
        self.end(&Expr::List(list.clone()), at, show);
        if self.path.is_empty() {
            return;
        }
        self.path.push(Key::Computed("*".to_owned()));
        let sets = list.syntax().children().filter(|n| n.kind() == SyntaxKind::NODE_ATTR_SET);
        for set in sets.filter_map(ast::AttrSet::cast) {
            self.depth += 1;
            if self.depth < DEPTH && self.resolver.step() {
                self.set(&set, show);
            }
            self.depth -= 1;
        }
        self.path.pop();
    }

    fn binding(&mut self, node: &SyntaxNode, show: &mut dyn FnMut(&Definition<'_>)) -> Option<()> {
        let (before, weak) = (self.path.len(), self.weak);
        if names::path_in(node.green()).all(|word| word.is_some()) {
            let words = names::path_in(node.green()).flatten();
            self.path.extend(words.map(|word| Key::Name(word.to_owned())));
        } else {
            let path = ast::AttrpathValue::cast(node.clone())?.attrpath()?;
            let keys: Vec<Key> = path.attrs().map(|a| self.key(a)).collect();
            self.path.extend(keys);
        }
        let declares = matches!(self.path.first(), Some(Key::Name(first)) if first == "options");
        let wanted = !declares && self.is_wanted();
        if let Some(value) = wanted.then(|| names::value_in(node)).flatten() {
            self.value(&value, node, show);
        }
        self.path.truncate(before);
        self.weak = weak;
        Some(())
    }

    /// A word of a path; one that is computed from what the text writes out is known too.
    fn key(&self, attr: ast::Attr) -> Key {
        let known = || match &attr {
            ast::Attr::Dynamic(dynamic) => self.resolver.string(&dynamic.expr()?),
            ast::Attr::Str(text) => self.resolver.string(&Expr::Str(text.clone())),
            ast::Attr::Ident(_) => None,
        };
        match names::of_attribute(&attr).or_else(known) {
            Some(name) => Key::Name(name),
            None => Key::Computed(attr.syntax().text().to_string()),
        }
    }

    fn branches(
        &mut self,
        branch: &ast::IfElse,
        at: &SyntaxNode,
        show: &mut dyn FnMut(&Definition<'_>),
    ) {
        let Some(condition) = branch.condition() else { return };
        let known = self.resolver.boolean(&condition);
        self.conditions.push(condition);
        for (side, body) in [(true, branch.body()), (false, branch.else_body())] {
            if let Some(body) = body.filter(|_| known.is_none_or(|k| k == side)) {
                self.value(&body, at, show);
            }
        }
        self.conditions.pop();
    }

    fn update(&mut self, e: &ast::BinOp, at: &SyntaxNode, show: &mut dyn FnMut(&Definition<'_>)) {
        let (weak, right) = (self.weak, e.rhs());
        if let Some(left) = e.lhs() {
            let known = right.as_ref().is_some_and(|r| self.written(r));
            self.weak = weak || !known;
            self.value(&left, at, show);
        }
        self.weak = weak;
        if let Some(right) = right {
            self.value(&right, at, show);
        }
    }

    /// Whether an expression is a set that the text writes out.
    fn written(&self, expr: &Expr) -> bool {
        matches!(self.resolver.reduce(expr), Expr::AttrSet(_))
    }

    fn name(&mut self, expr: &Expr, at: &SyntaxNode, show: &mut dyn FnMut(&Definition<'_>)) {
        match self.resolver.followed(expr).filter(|_| self.hops < HOPS) {
            Some(next) => {
                self.hops += 1;
                self.value(&next, at, show);
                self.hops -= 1;
            }
            None => self.end(expr, at, show),
        }
    }

    fn call(&mut self, expr: &Expr, at: &SyntaxNode, show: &mut dyn FnMut(&Definition<'_>)) {
        let Some(call) = self.resolver.call(expr) else { return self.end(expr, at, show) };
        let conditional = ["mkIf", "optionalAttrs"].iter().any(|n| call.is_lib(n));
        if conditional && let [condition, value] = call.args.as_slice() {
            if self.resolver.boolean(condition) == Some(false) {
                return;
            }
            self.conditions.push(condition.clone());
            self.value(value, at, show);
            self.conditions.pop();
            return;
        }
        if call.is_lib("mkMerge") && call.args.len() == 1 {
            return self.merge(&call.args[0], at, show);
        }
        let both = ["recursiveUpdate", "mergeAttrs"].iter().any(|n| call.is_lib(n));
        if both && call.args.len() == 2 {
            return call.args.iter().for_each(|arg| self.value(arg, at, show));
        }
        match wrapped(&call).and_then(|n| call.args.get(n)) {
            Some(value) => {
                let weak = self.weak;
                self.weak |= call.is_lib("mkDefault") || call.is_lib("mkOptionDefault");
                self.value(value, at, show);
                self.weak = weak;
            }
            None => self.end(expr, at, show),
        }
    }

    /// The branches of a `mkMerge`; those that are not written out stand for themselves.
    fn merge(&mut self, list: &Expr, at: &SyntaxNode, show: &mut dyn FnMut(&Definition<'_>)) {
        match self.resolver.reduce(list) {
            Expr::List(list) => list.items().for_each(|item| self.value(&item, at, show)),
            Expr::BinOp(sum) if sum.operator() == Some(ast::BinOpKind::Concat) => {
                for side in [sum.lhs(), sum.rhs()].into_iter().flatten() {
                    self.depth += 1;
                    if self.depth < DEPTH && self.resolver.step() {
                        self.merge(&side, at, show);
                    }
                    self.depth -= 1;
                }
            }
            other => match self.resolver.call(&other) {
                Some(call) if call.is_lib("optionals") && call.args.len() == 2 => {
                    self.conditions.push(call.args[0].clone());
                    self.depth += 1;
                    if self.depth < DEPTH {
                        self.merge(&call.args[1], at, show);
                    }
                    self.depth -= 1;
                    self.conditions.pop();
                }
                _ => self.end(&other, at, show),
            },
        }
    }
}

/// The path without the `config` at the top of a module, and from within a specialisation.
fn top(path: &[Key]) -> &[Key] {
    let named = |at: usize, name: &str| matches!(path.get(at), Some(Key::Name(n)) if n == name);
    if named(0, "config") {
        return top(&path[1..]);
    }
    if named(0, "specialisation") && named(2, "configuration") {
        return &path[3..];
    }
    path
}

/// Which argument of a call is the value itself, for functions that only say how it counts.
pub(super) fn wrapped(call: &Call) -> Option<usize> {
    const FIRST: [&str; 8] = [
        "mkForce",
        "mkDefault",
        "mkOptionDefault",
        "mkVMOverride",
        "mkImageMediaOverride",
        "mkBefore",
        "mkAfter",
        "lowPrio",
    ];
    let name = call.name();
    let at = match name {
        "mkOverride" | "mkOrder" | "mkAssert" => call.args.len().checked_sub(1)?,
        _ if FIRST.contains(&name) => 0,
        _ => return None,
    };
    let complete = call.args.len() == if at == 0 { 1 } else { at + 1 };
    (call.is_lib(name) && complete && !matches!(name, "lowPrio")).then_some(at)
}

/// Expressions that are modules of their own wherever they stand: what is listed under `imports`
/// or `modules`, and what a flake offers as `nixosModules`.
pub(crate) fn modules(resolver: &Resolver, binding: &SyntaxNode) -> Vec<Expr> {
    let mut words = names::path_in(binding.green()).rev();
    let (last, parent) = (words.next().flatten(), words.next().flatten());
    let value = || names::value_in(binding);
    match (parent, last) {
        (_, Some("imports" | "modules" | "sharedModules" | "extraModules")) => {
            let items = value().map(|v| resolver.elements(&v)).unwrap_or_default();
            let items = items.into_iter().map(names::unwrap);
            items.filter(|e| matches!(e, Expr::AttrSet(_) | Expr::Lambda(_))).collect()
        }
        (Some("nixosModules" | "nixosModule"), _) | (_, Some("nixosModule")) => {
            value().into_iter().collect()
        }
        (_, Some("nixosModules")) => {
            let Some(Expr::AttrSet(set)) = value().map(names::unwrap) else { return Vec::new() };
            let bindings = set.syntax().children().filter_map(ast::AttrpathValue::cast);
            bindings.filter_map(|b| b.value()).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether [`modules`] may find some in a binding.
pub(crate) fn may_list_modules(binding: &GreenNodeData) -> bool {
    let mut words = names::path_in(binding).rev();
    let (last, parent) = (words.next().flatten(), words.next().flatten());
    let lists = |w: &str| {
        matches!(w, "imports" | "modules" | "sharedModules" | "extraModules")
            || w.starts_with("nixosModule")
    };
    last.is_some_and(lists) || parent.is_some_and(|w| w.starts_with("nixosModule"))
}

/// Whether a set or expression stands at the top of its text: only functions, `let` and the like
/// are around it.
pub(crate) fn at_top(node: &SyntaxNode) -> bool {
    use SyntaxKind::{NODE_ASSERT, NODE_LAMBDA, NODE_LET_IN, NODE_PAREN, NODE_ROOT, NODE_WITH};
    let mut ancestors = node.ancestors().skip(1);
    ancestors.all(|n| {
        matches!(
            n.kind(),
            NODE_ASSERT | NODE_LAMBDA | NODE_LET_IN | NODE_PAREN | NODE_ROOT | NODE_WITH
        )
    })
}

impl Resolver {
    /// Whether a bare name is the language's own: nothing in the text binds it.
    pub(crate) fn is_free(&self, ident: &ast::Ident) -> bool {
        matches!(self.meaning(ident), Meaning::Free)
    }
}
