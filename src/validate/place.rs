//! A walk over a tree that parsed, with a cursor for those of its nodes alone that somebody asks
//! for: most are looked at and left, and to make cursors for them takes longer than to look. Pure.

use std::cell::OnceCell;

use rnix::{NodeOrToken, SyntaxKind, SyntaxNode, TextRange, TextSize};
use rowan::{GreenNodeData, GreenTokenData};

use super::names;

/// A node on a walk; `'g` is as long as the tree, `'p` as long as the walk is around it.
pub(super) struct Place<'g, 'p> {
    green: &'g GreenNodeData,
    kind: SyntaxKind,
    range: TextRange,
    outer: Option<&'p Place<'g, 'p>>,
    first: bool,
    cursor: OnceCell<SyntaxNode>,
}

/// A step of a walk.
#[derive(Clone, Copy)]
pub(super) enum Step<'g, 'p> {
    /// Before what is in a node.
    Enter(&'p Place<'g, 'p>),
    /// After it.
    Leave(&'p Place<'g, 'p>),
}

/// Walks over a tree. As deep as the tree is, so is the stack: see `super::nesting`.
pub(super) fn walk<'g>(root: &'g SyntaxNode, meet: &mut impl FnMut(Step<'g, '_>)) {
    let cursor = OnceCell::from(root.clone());
    let (kind, range) = (root.kind(), root.text_range());
    visit(&Place { green: root.green(), kind, range, outer: None, first: true, cursor }, meet);
}

fn visit<'g>(place: &Place<'g, '_>, meet: &mut impl FnMut(Step<'g, '_>)) {
    meet(Step::Enter(place));
    let mut first = true;
    for (green, range) in placed(place.green, place.range.start()) {
        let (kind, cursor) = (names::kind(green.kind()), OnceCell::new());
        visit(&Place { green, kind, range, outer: Some(place), first, cursor }, meet);
        first = false;
    }
    meet(Step::Leave(place));
}

impl<'g, 'p> Place<'g, 'p> {
    pub(super) fn kind(&self) -> SyntaxKind {
        self.kind
    }

    pub(super) fn green(&self) -> &'g GreenNodeData {
        self.green
    }

    pub(super) fn range(&self) -> TextRange {
        self.range
    }

    /// The node around it.
    pub(super) fn outer(&self) -> Option<&'p Place<'g, 'p>> {
        self.outer
    }

    /// Of which kind the node around it is.
    pub(super) fn within(&self) -> Option<SyntaxKind> {
        self.outer.map(Place::kind)
    }

    /// Whether no other node stands before it in the one around it.
    pub(super) fn is_first(&self) -> bool {
        self.first
    }

    /// The nodes in it, each with its place in the text.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&'g GreenNodeData, TextRange)> + use<'g> {
        placed(self.green, self.range.start())
    }

    /// The tokens in it.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &'g GreenTokenData> + use<'g> {
        self.green.children().filter_map(NodeOrToken::into_token)
    }

    /// A cursor for it, made when it is first asked for.
    pub(super) fn cursor(&self) -> &SyntaxNode {
        self.cursor.get_or_init(|| match self.outer {
            Some(outer) => below(outer.cursor(), self.range),
            None => SyntaxNode::new_root(self.green.to_owned()),
        })
    }
}

/// The node with that range in another; every node of a tree that parsed has some text.
fn below(outer: &SyntaxNode, range: TextRange) -> SyntaxNode {
    let child = outer.child_or_token_at_range(range).and_then(NodeOrToken::into_node);
    child.unwrap_or_else(|| outer.clone())
}

/// The nodes in a node that begins there, each with its place.
pub(super) fn placed(
    node: &GreenNodeData,
    mut at: TextSize,
) -> impl Iterator<Item = (&GreenNodeData, TextRange)> {
    let ranged = node.children().map(move |child| {
        let range = TextRange::at(at, child.text_len());
        at = range.end();
        (child, range)
    });
    ranged.filter_map(|(child, range)| Some((child.into_node()?, range)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_meets_the_nodes_of_the_tree_in_their_order() {
        let text =
            "{ a, b ? [ a ] }: let c = ''x ${a} y''; in { inherit (c) d; e.f = -c; g = { }; }";
        let root = rnix::Root::parse(text).syntax();
        let (mut met, mut left) = (Vec::new(), 0);
        walk(&root, &mut |step| match step {
            Step::Enter(place) => {
                assert_eq!((place.kind(), place.range()), {
                    let node = place.cursor();
                    (node.kind(), node.text_range())
                });
                assert_eq!(place.is_first(), place.cursor().prev_sibling().is_none());
                let outer = place.outer().map(|p| p.range());
                assert_eq!(outer, place.cursor().parent().map(|p| p.text_range()));
                met.push(place.cursor().clone());
            }
            Step::Leave(_) => left += 1,
        });
        assert_eq!(met, root.descendants().collect::<Vec<_>>());
        assert_eq!(left, met.len());
    }
}
