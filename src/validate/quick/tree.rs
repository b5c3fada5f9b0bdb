//! A tree while it grows, word by word. Pure.

use rnix::{NixLanguage, SyntaxKind, SyntaxKind::TOKEN_ERROR, SyntaxNode};
use rowan::{Checkpoint, GreenNodeBuilder, Language, NodeCache};

use super::words::Word;

/// A tree, and the words that are to come into it.
pub(super) struct Tree<'t> {
    text: &'t str,
    words: &'t [Word],
    /// Words that are in the tree.
    done: usize,
    /// The next that is neither blanks nor a comment.
    next: usize,
    builder: GreenNodeBuilder<'t>,
}

impl<'t> Tree<'t> {
    /// One that shares its parts with others.
    pub(super) fn new(text: &'t str, words: &'t [Word], parts: &'t mut NodeCache) -> Self {
        let builder = GreenNodeBuilder::with_cache(parts);
        let mut tree = Self { text, words, done: 0, next: 0, builder };
        tree.builder.start_node(NixLanguage::kind_to_raw(SyntaxKind::NODE_ROOT));
        tree.skip();
        tree
    }

    /// The whole tree, if all words are in it.
    pub(super) fn end(mut self) -> Option<SyntaxNode> {
        self.blanks();
        self.builder.finish_node();
        let whole = self.done == self.words.len();
        whole.then(|| SyntaxNode::new_root(self.builder.finish()))
    }

    /// The kind of the next word; an error at the end, which nothing expects.
    pub(super) fn peek(&self) -> SyntaxKind {
        self.words.get(self.next).map_or(TOKEN_ERROR, |w| w.kind)
    }

    /// The kinds of the two words after the next.
    pub(super) fn ahead(&self) -> [SyntaxKind; 2] {
        let rest = self.words.get(self.next + 1..).unwrap_or_default();
        let mut kinds = rest.iter().map(|w| w.kind).filter(|k| !k.is_trivia());
        [kinds.next().unwrap_or(TOKEN_ERROR), kinds.next().unwrap_or(TOKEN_ERROR)]
    }

    /// Finds the next word that is neither blanks nor a comment.
    pub(super) fn skip(&mut self) {
        self.next = self.done;
        while self.words.get(self.next).is_some_and(|w| w.kind.is_trivia()) {
            self.next += 1;
        }
    }

    /// Puts a word into the tree.
    pub(super) fn put(&mut self, kind: SyntaxKind) {
        let start = self.done.checked_sub(1).map_or(0, |at| self.words[at].end);
        let text = &self.text[start as usize..self.words[self.done].end as usize];
        self.builder.token(NixLanguage::kind_to_raw(kind), text);
        self.done += 1;
    }

    /// Puts blanks and comments into the tree: they belong to what is around the next node.
    pub(super) fn blanks(&mut self) {
        while self.done < self.next {
            self.put(self.words[self.done].kind);
        }
    }

    pub(super) fn bump_as(&mut self, kind: SyntaxKind) {
        self.blanks();
        self.put(kind);
        self.skip();
    }

    pub(super) fn bump(&mut self) {
        self.bump_as(self.peek());
    }

    pub(super) fn expect(&mut self, kind: SyntaxKind) -> Option<()> {
        (self.peek() == kind).then(|| self.bump())
    }

    pub(super) fn checkpoint(&mut self) -> Checkpoint {
        self.blanks();
        self.builder.checkpoint()
    }

    pub(super) fn start(&mut self, kind: SyntaxKind) {
        self.blanks();
        self.builder.start_node(NixLanguage::kind_to_raw(kind));
    }

    pub(super) fn start_at(&mut self, at: Checkpoint, kind: SyntaxKind) {
        self.builder.start_node_at(at, NixLanguage::kind_to_raw(kind));
    }

    pub(super) fn finish(&mut self) {
        self.builder.finish_node();
    }
}
