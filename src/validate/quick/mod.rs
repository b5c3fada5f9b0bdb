//! The very tree that `rnix` makes of a text, made in a third of the time, of texts as they are
//! mostly written. Pure.
//!
//! Whatever is wrong with a text, or seldom in one (a URL without quotes, a number with a point, a
//! path with something computed in it), is none of this file's: it says nothing, and `rnix` is
//! asked. So nothing is ever told from here, and what is accepted is compared with `rnix`, tree by
//! tree, by the tests. Its tokens are such that `super::grammar::of_token` has nothing to say.

mod tree;
mod words;

use std::cell::RefCell;

use rnix::{SyntaxKind, SyntaxKind::*, SyntaxNode};
use rowan::{Checkpoint, NodeCache};

use super::nesting;
use tree::Tree;

/// A longer text is left to `rnix`: all words of a text are held here at once.
const LONGEST: usize = 1 << 20;
/// What stands deeper inside each other is left to `rnix`, which has a bound of its own.
const DEEPEST: usize = 200;
/// So much text is read before the trees' common parts, which are kept for the next, are let go.
const SHARED: usize = 128 << 10;

thread_local! {
    /// How much text was read, and the parts of its trees.
    static PARTS: RefCell<(usize, NodeCache)> = RefCell::default();
}

/// The tree of a text without faults that is written as most are; `None`: ask `rnix`.
pub(super) fn parse(text: &str) -> Option<SyntaxNode> {
    if text.len() > LONGEST {
        return None;
    }
    let words = words::of(text)?;
    if nesting::is_too_deep(words.iter().map(|w| w.kind)) {
        return None;
    }
    PARTS.with_borrow_mut(|(read, parts)| {
        *read += text.len();
        if *read > SHARED {
            (*read, *parts) = (text.len(), NodeCache::default());
        }
        let mut quick = Quick { tree: Tree::new(text, &words, parts), depth: 0 };
        quick.expr()?;
        quick.tree.end()
    })
}

struct Quick<'t> {
    tree: Tree<'t>,
    depth: usize,
}

/// How operators bind, the loosest first; `!` and the sign stand between them.
mod level {
    pub(super) const IMPLICATION: u8 = 1;
    pub(super) const OR: u8 = 2;
    pub(super) const AND: u8 = 3;
    pub(super) const EQUAL: u8 = 4;
    pub(super) const COMPARE: u8 = 5;
    pub(super) const UPDATE: u8 = 6;
    pub(super) const INVERT: u8 = 7;
    pub(super) const ADD: u8 = 8;
    pub(super) const MUL: u8 = 9;
    pub(super) const CONCAT: u8 = 10;
    pub(super) const HAS_ATTR: u8 = 11;
}

/// How an operator binds, and to which level its right side belongs.
fn binds(kind: SyntaxKind) -> Option<(u8, u8)> {
    use level::{ADD, AND, COMPARE, CONCAT, EQUAL, HAS_ATTR, IMPLICATION, MUL, OR, UPDATE};
    Some(match kind {
        TOKEN_IMPLICATION => (IMPLICATION, IMPLICATION),
        TOKEN_OR_OR => (OR, AND),
        TOKEN_AND_AND => (AND, EQUAL),
        TOKEN_EQUAL | TOKEN_NOT_EQUAL => (EQUAL, COMPARE),
        TOKEN_LESS | TOKEN_LESS_OR_EQ | TOKEN_MORE | TOKEN_MORE_OR_EQ => (COMPARE, UPDATE),
        TOKEN_UPDATE => (UPDATE, UPDATE),
        TOKEN_ADD | TOKEN_SUB => (ADD, MUL),
        TOKEN_MUL | TOKEN_DIV => (MUL, CONCAT),
        TOKEN_CONCAT => (CONCAT, CONCAT),
        TOKEN_QUESTION => (HAS_ATTR, HAS_ATTR),
        _ => return None,
    })
}

impl Quick<'_> {
    fn deeper(&mut self, inner: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        self.depth += 1;
        let done = (self.depth < DEEPEST).then(|| inner(self)).flatten();
        self.depth -= 1;
        done
    }

    fn expr(&mut self) -> Option<()> {
        self.deeper(|quick| match quick.tree.peek() {
            TOKEN_LET => quick.let_in(),
            TOKEN_WITH => quick.of_two(NODE_WITH),
            TOKEN_ASSERT => quick.of_two(NODE_ASSERT),
            TOKEN_IF => quick.branches(),
            _ => quick.operators(level::IMPLICATION).map(drop),
        })
    }

    fn let_in(&mut self) -> Option<()> {
        let at = self.tree.checkpoint();
        self.tree.bump();
        if self.tree.peek() == TOKEN_L_BRACE {
            return None;
        }
        self.tree.start_at(at, NODE_LET_IN);
        self.bindings(TOKEN_IN)?;
        self.expr()?;
        self.tree.finish();
        Some(())
    }

    fn of_two(&mut self, kind: SyntaxKind) -> Option<()> {
        self.tree.start(kind);
        self.tree.bump();
        self.expr()?;
        self.tree.expect(TOKEN_SEMICOLON)?;
        self.expr()?;
        self.tree.finish();
        Some(())
    }

    fn branches(&mut self) -> Option<()> {
        self.tree.start(NODE_IF_ELSE);
        self.tree.bump();
        self.expr()?;
        self.tree.expect(TOKEN_THEN)?;
        self.expr()?;
        self.tree.expect(TOKEN_ELSE)?;
        self.expr()?;
        self.tree.finish();
        Some(())
    }

    /// Operators that bind at least that tightly.
    fn operators(&mut self, least: u8) -> Option<Checkpoint> {
        let at = self.tree.checkpoint();
        let mut most = level::HAS_ATTR;
        match self.tree.peek() {
            TOKEN_INVERT if least <= level::INVERT => {
                self.tree.start(NODE_UNARY_OP);
                self.tree.bump();
                self.deeper(|quick| quick.operators(level::INVERT).map(drop))?;
                self.tree.finish();
                most = level::UPDATE;
            }
            _ => self.signed()?,
        }
        while let Some((level, right)) = binds(self.tree.peek()) {
            if level < least || level > most {
                break;
            }
            if level == level::HAS_ATTR {
                self.tree.start_at(at, NODE_HAS_ATTR);
                self.tree.bump();
                self.path()?;
            } else {
                self.tree.start_at(at, NODE_BIN_OP);
                self.tree.bump();
                self.deeper(|quick| quick.operators(right).map(drop))?;
            }
            self.tree.finish();
            // Only once in a row may one compare, and what binds to the right took it all.
            let alone = matches!(level, level::EQUAL | level::COMPARE) || right == level;
            most = if alone && level != level::HAS_ATTR { level - 1 } else { level };
        }
        Some(at)
    }

    fn signed(&mut self) -> Option<()> {
        if self.tree.peek() != TOKEN_SUB {
            return self.call();
        }
        self.tree.start(NODE_UNARY_OP);
        self.tree.bump();
        self.deeper(Self::signed)?;
        self.tree.finish();
        Some(())
    }

    fn call(&mut self) -> Option<()> {
        let at = self.tree.checkpoint();
        self.simple()?;
        while self.tree.peek().is_fn_arg() {
            self.tree.start_at(at, NODE_APPLY);
            self.simple()?;
            self.tree.finish();
        }
        Some(())
    }

    fn simple(&mut self) -> Option<()> {
        let at = self.tree.checkpoint();
        self.deeper(|quick| quick.primary(at))?;
        match self.tree.peek() {
            TOKEN_DOT => {
                self.tree.start_at(at, NODE_SELECT);
                self.tree.bump();
                self.path()?;
                if self.tree.peek() == TOKEN_OR {
                    self.tree.bump();
                    self.deeper(Self::simple)?;
                }
                self.tree.finish();
            }
            TOKEN_OR => return None,
            _ => {}
        }
        Some(())
    }

    fn primary(&mut self, at: Checkpoint) -> Option<()> {
        let alone = match self.tree.peek() {
            TOKEN_IDENT => return self.named(at),
            TOKEN_STRING_START => return self.string(),
            TOKEN_L_BRACE if self.is_pattern() => return self.function(),
            TOKEN_L_BRACE | TOKEN_REC => return self.set(),
            TOKEN_L_BRACK => return self.list(),
            TOKEN_L_PAREN => {
                self.tree.start(NODE_PAREN);
                self.tree.bump();
                self.expr()?;
                self.tree.expect(TOKEN_R_PAREN)?;
                self.tree.finish();
                return Some(());
            }
            TOKEN_INTEGER => NODE_LITERAL,
            TOKEN_PATH_ABS => NODE_PATH_ABS,
            TOKEN_PATH_REL => NODE_PATH_REL,
            TOKEN_PATH_SEARCH => NODE_PATH_SEARCH,
            _ => return None,
        };
        self.tree.start(alone);
        self.tree.bump();
        self.tree.finish();
        Some(())
    }

    fn is_pattern(&self) -> bool {
        matches!(
            self.tree.ahead(),
            [TOKEN_IDENT, TOKEN_COMMA | TOKEN_QUESTION | TOKEN_R_BRACE]
                | [TOKEN_ELLIPSIS, TOKEN_R_BRACE]
                | [TOKEN_R_BRACE, TOKEN_COLON | TOKEN_AT]
        )
    }

    fn ident(&mut self) -> Option<()> {
        self.tree.start(NODE_IDENT);
        self.tree.expect(TOKEN_IDENT)?;
        self.tree.finish();
        Some(())
    }

    /// A name, or a function of one argument.
    fn named(&mut self, at: Checkpoint) -> Option<()> {
        let [next, _] = self.tree.ahead();
        self.ident()?;
        match next {
            TOKEN_COLON => {
                self.tree.start_at(at, NODE_LAMBDA);
                self.tree.start_at(at, NODE_IDENT_PARAM);
                self.tree.finish();
            }
            TOKEN_AT => {
                self.tree.start_at(at, NODE_LAMBDA);
                self.tree.start_at(at, NODE_PATTERN);
                self.tree.start_at(at, NODE_PAT_BIND);
                self.tree.bump();
                self.tree.finish();
                self.tree.expect(TOKEN_L_BRACE)?;
                self.formals()?;
                self.tree.finish();
            }
            _ => return Some(()),
        }
        self.body()
    }

    /// A function whose argument is a pattern.
    fn function(&mut self) -> Option<()> {
        self.tree.start(NODE_LAMBDA);
        self.tree.start(NODE_PATTERN);
        self.tree.bump();
        self.formals()?;
        if self.tree.peek() == TOKEN_AT {
            self.tree.start(NODE_PAT_BIND);
            self.tree.bump();
            self.ident()?;
            self.tree.finish();
        }
        self.tree.finish();
        self.body()
    }

    fn body(&mut self) -> Option<()> {
        self.tree.expect(TOKEN_COLON)?;
        self.expr()?;
        self.tree.finish();
        Some(())
    }

    fn formals(&mut self) -> Option<()> {
        loop {
            match self.tree.peek() {
                TOKEN_ELLIPSIS => {
                    self.tree.bump();
                    return self.tree.expect(TOKEN_R_BRACE);
                }
                TOKEN_IDENT => {
                    self.tree.start(NODE_PAT_ENTRY);
                    self.ident()?;
                    if self.tree.peek() == TOKEN_QUESTION {
                        self.tree.bump();
                        self.expr()?;
                    }
                    self.tree.finish();
                }
                _ => return self.tree.expect(TOKEN_R_BRACE),
            }
            if self.tree.peek() != TOKEN_COMMA {
                return self.tree.expect(TOKEN_R_BRACE);
            }
            self.tree.bump();
        }
    }

    fn list(&mut self) -> Option<()> {
        self.tree.start(NODE_LIST);
        self.tree.bump();
        while self.tree.peek() != TOKEN_R_BRACK {
            self.simple()?;
        }
        self.tree.bump();
        self.tree.finish();
        Some(())
    }

    fn set(&mut self) -> Option<()> {
        self.tree.start(NODE_ATTR_SET);
        if self.tree.peek() == TOKEN_REC {
            self.tree.bump();
        }
        self.tree.expect(TOKEN_L_BRACE)?;
        self.bindings(TOKEN_R_BRACE)?;
        self.tree.finish();
        Some(())
    }

    fn bindings(&mut self, until: SyntaxKind) -> Option<()> {
        while self.tree.peek() != until {
            if self.tree.peek() == TOKEN_INHERIT {
                self.inherit()?;
                continue;
            }
            self.tree.start(NODE_ATTRPATH_VALUE);
            self.path()?;
            self.tree.expect(TOKEN_ASSIGN)?;
            self.expr()?;
            self.tree.expect(TOKEN_SEMICOLON)?;
            self.tree.finish();
        }
        self.tree.bump();
        Some(())
    }

    fn inherit(&mut self) -> Option<()> {
        self.tree.start(NODE_INHERIT);
        self.tree.bump();
        if self.tree.peek() == TOKEN_L_PAREN {
            self.tree.start(NODE_INHERIT_FROM);
            self.tree.bump();
            self.expr()?;
            self.tree.expect(TOKEN_R_PAREN)?;
            self.tree.finish();
        }
        while self.tree.peek() != TOKEN_SEMICOLON {
            self.part()?;
        }
        self.tree.bump();
        self.tree.finish();
        Some(())
    }

    fn path(&mut self) -> Option<()> {
        self.tree.start(NODE_ATTRPATH);
        self.part()?;
        while self.tree.peek() == TOKEN_DOT {
            self.tree.bump();
            self.part()?;
        }
        self.tree.finish();
        Some(())
    }

    /// One part of a path.
    fn part(&mut self) -> Option<()> {
        match self.tree.peek() {
            TOKEN_INTERPOL_START => self.interpolation(NODE_DYNAMIC),
            TOKEN_STRING_START => self.string(),
            TOKEN_IDENT | TOKEN_OR => {
                self.tree.start(NODE_IDENT);
                self.tree.bump_as(TOKEN_IDENT);
                self.tree.finish();
                Some(())
            }
            _ => None,
        }
    }

    fn interpolation(&mut self, kind: SyntaxKind) -> Option<()> {
        self.tree.start(kind);
        self.tree.bump();
        self.expr()?;
        self.tree.expect(TOKEN_INTERPOL_END)?;
        self.tree.finish();
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        self.tree.start(NODE_STRING);
        self.tree.bump();
        loop {
            match self.tree.peek() {
                TOKEN_STRING_CONTENT => self.tree.bump(),
                TOKEN_INTERPOL_START => self.interpolation(NODE_INTERPOL)?,
                _ => break,
            }
        }
        self.tree.expect(TOKEN_STRING_END)?;
        self.tree.finish();
        Some(())
    }
}

#[cfg(test)]
mod tests;
