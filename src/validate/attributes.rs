//! Attributes defined twice, by Nix's own rule (2.26 and later). Pure.
//!
//! Sets written literally merge, at any depth and in any spelling (`a.b = 1; a = { c = 2; };`);
//! everything else may be defined once. Older versions refused more (NixOS/nix#7897): their rule
//! would block configurations that today's Nix takes.

use std::collections::HashMap;

use rnix::ast;
use rnix::{NodeOrToken, SyntaxKind, SyntaxNode, TextRange, TextSize};
use rowan::GreenNodeData;
use rowan::ast::AstNode;

use super::names;
use super::syntax::Fault;

/// Number of a set in [`Merge::sets`].
type Id = usize;

/// What is gathered on a walk over a tree that parsed.
#[derive(Default)]
pub(super) struct Merge {
    sets: Vec<Set>,
    /// Which literal set of the text became which.
    built: HashMap<TextRange, Id>,
    faults: Vec<Fault>,
    unclear: Vec<TextRange>,
}

#[derive(Default)]
struct Set {
    recursive: bool,
    /// The literal it was written as; `None`: made by a path.
    literal: Option<TextRange>,
    attributes: HashMap<String, Definition>,
}

#[derive(Clone, Copy)]
struct Definition {
    at: TextRange,
    /// The set it is, if it is one that merges.
    set: Option<Id>,
}

/// What is being added: the value with its outermost range.
#[derive(Clone, Copy)]
struct Added {
    definition: Definition,
    whole: TextRange,
}

impl Merge {
    /// Inner sets first, as Nix's parser does.
    pub(super) fn leave(&mut self, node: &SyntaxNode) {
        use SyntaxKind::{NODE_ATTR_SET, NODE_LEGACY_LET, NODE_LET_IN};
        if matches!(node.kind(), NODE_ATTR_SET | NODE_LET_IN | NODE_LEGACY_LET) {
            self.set(node);
        }
    }

    /// The faults, and the places where merging changes what is in scope: when one side of a merge
    /// is `rec`, its names reach into the other side, or no longer into its own.
    pub(super) fn end(self) -> (Vec<Fault>, Vec<TextRange>) {
        (self.faults, self.unclear)
    }

    fn set(&mut self, node: &SyntaxNode) {
        let literal = Some(node.text_range());
        let recursive = names::recursive(node);
        let id = self.make(Set { recursive, literal, attributes: HashMap::new() });
        let mut at = node.text_range().start();
        for child in node.green().children() {
            let whole = TextRange::at(at, child.text_len());
            at = whole.end();
            let NodeOrToken::Node(child) = child else { continue };
            if self.plain(id, child, whole).is_some() {
                continue;
            }
            let Some(NodeOrToken::Node(child)) = node.child_or_token_at_range(whole) else {
                continue;
            };
            if let Some(value) = ast::AttrpathValue::cast(child.clone()) {
                self.binding(id, &value);
            } else if let Some(inherit) = ast::Inherit::cast(child) {
                self.inherit(id, &inherit);
            }
        }
        if node.kind() == SyntaxKind::NODE_ATTR_SET {
            self.built.insert(node.text_range(), id);
        }
    }

    fn make(&mut self, set: Set) -> Id {
        self.sets.push(set);
        self.sets.len() - 1
    }

    fn inherit(&mut self, id: Id, inherit: &ast::Inherit) {
        for attr in inherit.attrs() {
            let Some(name) = names::of_attribute(&attr) else { continue };
            let definition = Definition { at: attr.syntax().text_range(), set: None };
            let added = Added { definition, whole: inherit.syntax().text_range() };
            self.add(id, name, added);
        }
    }

    /// A binding of one plain word, as nearly all are; `None`: it is another, or none.
    fn plain(&mut self, id: Id, binding: &GreenNodeData, whole: TextRange) -> Option<()> {
        if names::kind(binding.kind()) != SyntaxKind::NODE_ATTRPATH_VALUE {
            return None;
        }
        let mut nodes = placed(binding, whole.start());
        let (path, at) = nodes.next().filter(|(n, _)| is(n, SyntaxKind::NODE_ATTRPATH))?;
        let mut words = names::path_of(path);
        let (name, more) = (words.next()??, words.next());
        let (mut value, mut range) = nodes.next()?;
        if more.is_some() {
            return None;
        }
        while is(value, SyntaxKind::NODE_PAREN) {
            (value, range) = placed(value, range.start()).next()?;
        }
        let set = is(value, SyntaxKind::NODE_ATTR_SET).then(|| self.built.get(&range).copied());
        let definition = Definition { at, set: set.flatten() };
        self.add(id, name.to_owned(), Added { definition, whole });
        Some(())
    }

    fn binding(&mut self, mut id: Id, binding: &ast::AttrpathValue) -> Option<()> {
        let path = binding.attrpath()?;
        let attrs: Vec<ast::Attr> = path.attrs().collect();
        let (last, ways) = attrs.split_last()?;
        let at = path.syntax().text_range();
        let whole = binding.syntax().text_range();
        for way in ways {
            id = self.step(id, way, at, whole)?;
        }
        let value = names::unwrap(binding.value()?);
        let set = self.built.get(&value.syntax().text_range()).copied();
        let set = set.filter(|_| matches!(value, ast::Expr::AttrSet(_)));
        let name = names::of_attribute(last)?;
        self.add(id, name, Added { definition: Definition { at, set }, whole });
        Some(())
    }

    /// One part of a path before its last: the set that is there, or a new one.
    fn step(&mut self, id: Id, way: &ast::Attr, at: TextRange, whole: TextRange) -> Option<Id> {
        let Some(name) = names::of_attribute(way) else { return Some(self.make(Set::default())) };
        match self.sets[id].attributes.get(&name).copied() {
            Some(Definition { set: Some(inner), .. }) => {
                self.reaches_into(inner, whole);
                Some(inner)
            }
            Some(first) => {
                self.duplicate(&name, at, first.at);
                None
            }
            None => {
                let inner = self.make(Set::default());
                let definition = Definition { at, set: Some(inner) };
                self.sets[id].attributes.insert(name, definition);
                Some(inner)
            }
        }
    }

    fn add(&mut self, id: Id, name: String, added: Added) {
        let Some(first) = self.sets[id].attributes.get(&name).copied() else {
            self.sets[id].attributes.insert(name, added.definition);
            return;
        };
        let (Some(into), Some(from)) = (first.set, added.definition.set) else {
            return self.duplicate(&name, added.definition.at, first.at);
        };
        self.reaches_into(into, added.whole);
        let mut inner: Vec<_> =
            std::mem::take(&mut self.sets[from].attributes).into_iter().collect();
        inner.sort_by_key(|(_, definition)| definition.at.start());
        for (name, definition) in inner {
            self.add(into, name, Added { definition, whole: added.whole });
        }
    }

    /// Something written elsewhere becomes part of a set.
    fn reaches_into(&mut self, set: Id, whole: TextRange) {
        if self.sets[set].recursive {
            self.unclear.push(whole);
            self.unclear.extend(self.sets[set].literal);
        }
    }

    fn duplicate(&mut self, name: &str, at: TextRange, first: TextRange) {
        let message = format!("attribute '{name}' already defined");
        let fault = Fault::new("duplicate-attr", at, message);
        self.faults.push(fault.other(first, "first defined here"));
    }
}

fn is(node: &GreenNodeData, kind: SyntaxKind) -> bool {
    names::kind(node.kind()) == kind
}

/// The nodes in a node that begins there, each with its place.
fn placed(
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
