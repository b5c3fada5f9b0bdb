//! Which function is called, under the name it has in its library.

use std::rc::Rc;

use rnix::ast::Expr;
use rowan::ast::AstNode;

use super::super::names;
use super::{HOPS, Meaning, Resolver};

/// A call with all its arguments.
pub(crate) struct Call {
    /// Words of the function: `lib`, `mkIf`; one word when it is bare.
    pub(crate) function: Vec<String>,
    /// The bare name is an argument of an enclosing function.
    pub(crate) argument: bool,
    /// In order.
    pub(crate) args: Vec<Expr>,
}

impl Call {
    /// The function's own name.
    pub(crate) fn name(&self) -> &str {
        self.function.last().map_or("", String::as_str)
    }

    /// Whether it is that function of nixpkgs' library: bare, or below any set of another text.
    pub(crate) fn is_lib(&self, name: &str) -> bool {
        self.name() == name && !(self.argument && self.function.len() == 1)
    }

    /// Whether it is that function of the language or of the library, which has many of them.
    pub(crate) fn is_builtin(&self, name: &str) -> bool {
        let known = |w: &String| matches!(w.as_str(), "builtins" | "lib" | "l" | "?");
        let alone = self.function.len() == 1;
        self.is_lib(name) && (alone || self.function.iter().any(known))
    }

    /// Whether it is a builtin: bare (from a `with`, or the language's own) or below `builtins`.
    pub(crate) fn is_own(&self, name: &str) -> bool {
        let below = matches!(self.function.first().map(String::as_str), Some("builtins"));
        self.is_lib(name) && (self.function.len() == 1 || (below && self.function.len() == 2))
    }
}

impl Resolver {
    /// The call that an expression is; a function that the text itself defines has no name.
    pub(crate) fn call(&self, expr: &Expr) -> Option<Rc<Call>> {
        let ask = || self.asking(|| self.called(expr)).flatten().map(Rc::new);
        if self.within.get() > 0 {
            // What is left of the budget of the question around it counts.
            return ask();
        }
        if let Some(known) = self.calls.borrow().get(expr.syntax()) {
            return known.clone();
        }
        let call = ask();
        self.calls.borrow_mut().insert(expr.syntax().clone(), call.clone());
        call
    }

    fn called(&self, expr: &Expr) -> Option<Call> {
        let mut args = Vec::new();
        let mut function = names::unwrap(expr.clone());
        for _ in 0..HOPS {
            while let Expr::Apply(apply) = &function {
                args.push(Expr::cast(apply.syntax().last_child()?)?);
                function = names::unwrap(Expr::cast(apply.syntax().first_child()?)?);
            }
            match self.followed(&function) {
                Some(next) => function = names::unwrap(next),
                None => break,
            }
            if !self.step() {
                return None;
            }
        }
        args.reverse();
        self.named(&function, args)
    }

    /// The function that an expression is, if it is called by nobody here.
    pub(crate) fn function(&self, expr: &Expr) -> Option<Call> {
        match self.reduce(expr) {
            known @ (Expr::Ident(_) | Expr::Select(_)) => self.named(&known, Vec::new()),
            _ => None,
        }
    }

    fn named(&self, function: &Expr, args: Vec<Expr>) -> Option<Call> {
        match function {
            Expr::Ident(ident) => match self.meaning(ident) {
                Meaning::Member(set, name) => self.below(&set, vec![name], args),
                Meaning::Value(_) | Meaning::Pieces => None,
                meaning => {
                    let argument = matches!(meaning, Meaning::Argument);
                    let function = vec![ident.syntax().text().to_string()];
                    Some(Call { function, argument, args })
                }
            },
            Expr::Select(select) => {
                let attrs = select.attrpath()?.attrs().map(|a| names::of_attribute(&a));
                self.below(&select.expr()?, attrs.collect::<Option<_>>()?, args)
            }
            _ => None,
        }
    }

    /// A function in a set; one that the text writes out itself is none of the library's.
    fn below(&self, set: &Expr, name: Vec<String>, args: Vec<Expr>) -> Option<Call> {
        if matches!(self.reduce(set), Expr::AttrSet(_) | Expr::Lambda(_)) {
            return None;
        }
        let mut function = self.dotted(set);
        function.extend(name);
        Some(Call { function, argument: false, args })
    }
}
