//! Attributes defined twice, by Nix's own rule (2.26 and later). Pure.
//!
//! Sets written literally merge, at any depth and in any spelling (`a.b = 1; a = { c = 2; };`);
//! everything else may be defined once. Older versions refused more (NixOS/nix#7897): their rule
//! would block configurations that today's Nix takes.

use std::borrow::Cow;
use std::collections::HashMap;

use rnix::ast;
use rnix::{NodeOrToken, SyntaxKind, TextRange};
use rowan::GreenNodeData;
use rowan::ast::AstNode;

use super::names;
use super::place::{Place, placed};
use super::syntax::Fault;

/// Number of a set in [`Merge::sets`].
type Id = usize;

/// What is gathered on a walk over a tree that parsed.
#[derive(Default)]
pub(super) struct Merge<'g> {
    sets: Vec<Set<'g>>,
    /// Which literal set of the text became which.
    built: HashMap<TextRange, Id>,
    faults: Vec<Fault>,
    unclear: Vec<TextRange>,
}

#[derive(Default)]
struct Set<'g> {
    recursive: bool,
    /// The literal it was written as; `None`: made by a path.
    literal: Option<TextRange>,
    attributes: Attributes<'g>,
}

/// What is defined in a set, by name.
#[derive(Default)]
struct Attributes<'g> {
    all: Vec<(Cow<'g, str>, Definition)>,
    /// Where each stands; empty while they are few, which to look through is quicker.
    places: Option<HashMap<Cow<'g, str>, usize>>,
}

/// More attributes than this get a table.
const FEW: usize = 12;

impl<'g> Attributes<'g> {
    fn get(&self, name: &str) -> Option<Definition> {
        let at = match &self.places {
            Some(places) => places.get(name).copied(),
            None => self.all.iter().position(|(known, _)| known == name),
        };
        Some(self.all.get(at?)?.1)
    }

    /// Adds one that is not there.
    fn insert(&mut self, name: Cow<'g, str>, definition: Definition) {
        if let Some(places) = &mut self.places {
            places.insert(name.clone(), self.all.len());
        }
        self.all.push((name, definition));
        if self.all.len() > FEW && self.places.is_none() {
            let names = self.all.iter().map(|(name, _)| name.clone());
            self.places = Some(names.zip(0..).collect());
        }
    }
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

impl<'g> Merge<'g> {
    /// Inner sets first, as Nix's parser does.
    pub(super) fn leave(&mut self, place: &Place<'g, '_>) {
        use SyntaxKind::{NODE_ATTR_SET, NODE_LEGACY_LET, NODE_LET_IN};
        if matches!(place.kind(), NODE_ATTR_SET | NODE_LET_IN | NODE_LEGACY_LET) {
            self.set(place);
        }
    }

    /// The faults, and the places where merging changes what is in scope: when one side of a merge
    /// is `rec`, its names reach into the other side, or no longer into its own.
    pub(super) fn end(self) -> (Vec<Fault>, Vec<TextRange>) {
        (self.faults, self.unclear)
    }

    fn set(&mut self, place: &Place<'g, '_>) {
        let recursive = names::recursive(place.green());
        let literal = Some(place.range());
        let id = self.make(Set { recursive, literal, attributes: Attributes::default() });
        for (child, whole) in place.nodes() {
            let known = match names::kind(child.kind()) {
                SyntaxKind::NODE_ATTRPATH_VALUE => self.plain(id, child, whole),
                SyntaxKind::NODE_INHERIT => self.inherit_plain(id, child, whole),
                _ => Some(()),
            };
            if known.is_some() {
                continue;
            }
            let child = place.cursor().child_or_token_at_range(whole);
            let Some(NodeOrToken::Node(child)) = child else { continue };
            if let Some(value) = ast::AttrpathValue::cast(child.clone()) {
                self.binding(id, &value);
            } else if let Some(inherit) = ast::Inherit::cast(child) {
                self.inherit(id, &inherit);
            }
        }
        // What is bound to no name merges with nothing: it is let go, with what was made for it.
        let bound = [SyntaxKind::NODE_ATTRPATH_VALUE, SyntaxKind::NODE_PAREN];
        let bound = place.within().is_some_and(|kind| bound.contains(&kind));
        match place.kind() {
            SyntaxKind::NODE_ATTR_SET if bound => drop(self.built.insert(place.range(), id)),
            _ => self.sets.truncate(id),
        }
    }

    fn make(&mut self, set: Set<'g>) -> Id {
        self.sets.push(set);
        self.sets.len() - 1
    }

    fn inherit(&mut self, id: Id, inherit: &ast::Inherit) {
        for attr in inherit.attrs() {
            let Some(name) = names::of_attribute(&attr) else { continue };
            let definition = Definition { at: attr.syntax().text_range(), set: None };
            let added = Added { definition, whole: inherit.syntax().text_range() };
            self.add(id, Cow::Owned(name), added);
        }
    }

    /// The same of plain words, as nearly all are; `None`: there are others.
    fn inherit_plain(
        &mut self,
        id: Id,
        inherit: &'g GreenNodeData,
        whole: TextRange,
    ) -> Option<()> {
        let from = |n: &GreenNodeData| is(n, SyntaxKind::NODE_INHERIT_FROM);
        let words = || placed(inherit, whole.start()).filter(|(n, _)| !from(n));
        if words().any(|(word, _)| names::plain_part(word).is_none()) {
            return None;
        }
        for (word, at) in words() {
            let name = Cow::Borrowed(names::plain_part(word)?);
            self.add(id, name, Added { definition: Definition { at, set: None }, whole });
        }
        Some(())
    }

    /// A binding whose path is plain words, as nearly all are; `None`: it is another.
    fn plain(&mut self, mut id: Id, binding: &'g GreenNodeData, whole: TextRange) -> Option<()> {
        let mut nodes = placed(binding, whole.start());
        let (path, at) = nodes.next().filter(|(n, _)| is(n, SyntaxKind::NODE_ATTRPATH))?;
        let (mut value, mut range) = nodes.next()?;
        if names::path_of(path).any(|word| word.is_none()) {
            return None;
        }
        while is(value, SyntaxKind::NODE_PAREN) {
            (value, range) = placed(value, range.start()).next()?;
        }
        let mut words = names::path_of(path).flatten();
        let last = words.next_back()?;
        for word in words {
            let Some(inner) = self.step(id, Cow::Borrowed(word), at, whole) else {
                return Some(());
            };
            id = inner;
        }
        let set = is(value, SyntaxKind::NODE_ATTR_SET).then(|| self.built.get(&range).copied());
        let definition = Definition { at, set: set.flatten() };
        self.add(id, Cow::Borrowed(last), Added { definition, whole });
        Some(())
    }

    fn binding(&mut self, mut id: Id, binding: &ast::AttrpathValue) -> Option<()> {
        let path = binding.attrpath()?;
        let attrs: Vec<ast::Attr> = path.attrs().collect();
        let (last, ways) = attrs.split_last()?;
        let at = path.syntax().text_range();
        let whole = binding.syntax().text_range();
        for way in ways {
            id = match names::of_attribute(way) {
                Some(name) => self.step(id, Cow::Owned(name), at, whole)?,
                None => self.make(Set::default()),
            };
        }
        let value = names::unwrap(binding.value()?);
        let set = self.built.get(&value.syntax().text_range()).copied();
        let set = set.filter(|_| matches!(value, ast::Expr::AttrSet(_)));
        let name = Cow::Owned(names::of_attribute(last)?);
        self.add(id, name, Added { definition: Definition { at, set }, whole });
        Some(())
    }

    /// One part of a path before its last: the set that is there, or a new one.
    fn step(&mut self, id: Id, name: Cow<'g, str>, at: TextRange, whole: TextRange) -> Option<Id> {
        match self.sets[id].attributes.get(&name) {
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

    fn add(&mut self, id: Id, name: Cow<'g, str>, added: Added) {
        let Some(first) = self.sets[id].attributes.get(&name) else {
            self.sets[id].attributes.insert(name, added.definition);
            return;
        };
        let (Some(into), Some(from)) = (first.set, added.definition.set) else {
            return self.duplicate(&name, added.definition.at, first.at);
        };
        self.reaches_into(into, added.whole);
        let mut inner = std::mem::take(&mut self.sets[from].attributes).all;
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
