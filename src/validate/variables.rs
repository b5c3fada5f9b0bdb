//! Variables that nothing defines, by Nix's static scopes. Pure.
//!
//! Below a `with` everything may be defined, and the language's own names differ between
//! versions: those of any version count, and so does every name that begins with two underscores.

use std::borrow::Cow;
use std::collections::HashSet;

use rnix::{SyntaxKind, SyntaxNode, TextRange};
use rowan::GreenNodeData;

use super::names;
use super::place::{self, Place, Step};
use super::syntax::Fault;

/// Rule name of what is found here.
pub(super) const UNDEFINED: &str = "undefined-variable";

/// What Nix defines without a prefix, in any version.
const GLOBALS: [&str; 24] = [
    "abort",
    "baseNameOf",
    "break",
    "builtins",
    "derivation",
    "derivationStrict",
    "dirOf",
    "false",
    "fetchGit",
    "fetchMercurial",
    "fetchTarball",
    "fetchTree",
    "fromTOML",
    "import",
    "isNull",
    "map",
    "null",
    "placeholder",
    "removeAttrs",
    "scopedImport",
    "throw",
    "toString",
    "true",
    "or",
];

/// What a part of the text adds to what is in scope.
enum Scope<'g> {
    Names(Names<'g>),
    /// Below a `with`, or where merging makes it unclear.
    Anything,
}

/// Names of one scope.
struct Names<'g> {
    names: Words<'g>,
    /// The `rec` set that binds them.
    set: Option<TextRange>,
    used: bool,
}

/// Some words, most of them as they stand in the tree.
enum Words<'g> {
    /// So few that to look at each is quicker than a table.
    Few(Vec<Cow<'g, str>>),
    Many(HashSet<Cow<'g, str>>),
}

/// More words than this go into a table.
const FEW: usize = 12;

impl<'g> Words<'g> {
    fn of(words: Vec<Cow<'g, str>>) -> Self {
        match words.len() {
            0..=FEW => Words::Few(words),
            _ => Words::Many(words.into_iter().collect()),
        }
    }

    fn has(&self, word: &str) -> bool {
        match self {
            Words::Few(words) => words.iter().any(|w| w == word),
            Words::Many(words) => words.contains(word),
        }
    }

    fn all(&self) -> Vec<&str> {
        match self {
            Words::Few(words) => words.iter().map(Cow::as_ref).collect(),
            Words::Many(words) => words.iter().map(Cow::as_ref).collect(),
        }
    }
}

/// What is gathered on a walk over a tree that parsed.
#[derive(Default)]
pub(super) struct Variables<'g> {
    /// Where merging makes it unclear what is in scope: nothing is told there.
    unclear: HashSet<TextRange>,
    scopes: Vec<Scope<'g>>,
    /// How many scopes there were outside of each node.
    outside: Vec<usize>,
    faults: Vec<Fault>,
    unused: Vec<TextRange>,
}

impl<'g> Variables<'g> {
    pub(super) fn enter(&mut self, place: &Place<'g, '_>) {
        self.outside.push(self.scopes.len());
        open(&mut self.scopes, place, &self.unclear);
        if place.kind() == SyntaxKind::NODE_IDENT {
            self.faults.extend(undefined(place, &mut self.scopes));
        }
    }

    pub(super) fn leave(&mut self) {
        let outside = self.outside.pop().unwrap_or(0);
        if self.scopes.len() == outside {
            return;
        }
        let ended = self.scopes.drain(outside..);
        self.unused.extend(ended.filter_map(|scope| match scope {
            Scope::Names(names) if !names.used => names.set,
            _ => None,
        }));
    }

    /// The faults, and the sets whose `rec` nothing uses.
    pub(super) fn end(mut self) -> (Vec<Fault>, Vec<TextRange>) {
        let unclear = &self.unclear;
        self.unused.retain(|set| !unclear.contains(set));
        (self.faults, self.unused)
    }
}

/// The same on a walk of its own, silent within the `unclear` ranges.
pub(super) fn faults(root: &SyntaxNode, unclear: Vec<TextRange>) -> (Vec<Fault>, Vec<TextRange>) {
    let unclear = unclear.into_iter().collect();
    let mut variables = Variables { unclear, ..Variables::default() };
    place::walk(root, &mut |step| match step {
        Step::Enter(place) => variables.enter(place),
        Step::Leave(_) => variables.leave(),
    });
    variables.end()
}

/// Adds the scopes that begin with this node and end with it.
fn open<'g>(scopes: &mut Vec<Scope<'g>>, place: &Place<'g, '_>, unclear: &HashSet<TextRange>) {
    let with_body = place.within() == Some(SyntaxKind::NODE_WITH) && !place.is_first();
    if with_body || (!unclear.is_empty() && unclear.contains(&place.range())) {
        scopes.push(Scope::Anything);
    }
    match place.kind() {
        SyntaxKind::NODE_LAMBDA => {
            let names = Words::of(names::arguments(place.green()).map(Cow::Borrowed).collect());
            scopes.push(Scope::Names(Names { names, set: None, used: true }))
        }
        SyntaxKind::NODE_LET_IN | SyntaxKind::NODE_LEGACY_LET | SyntaxKind::NODE_ATTR_SET
            if names::recursive(place.green()) =>
        {
            let set = place.kind() == SyntaxKind::NODE_ATTR_SET;
            scopes.push(Scope::Names(Names {
                names: Words::of(bound(place)),
                set: set.then(|| place.range()),
                used: false,
            }));
        }
        _ => {}
    }
}

/// Names that a `let` or a set binds at its top.
fn bound<'g>(place: &Place<'g, '_>) -> Vec<Cow<'g, str>> {
    let plain = names::bound_words(place.green());
    let plain: Option<Vec<_>> = plain.map(|word| Some(Cow::Borrowed(word?))).collect();
    plain.unwrap_or_else(|| names::bound(place.cursor()).into_iter().map(Cow::Owned).collect())
}

fn undefined(place: &Place<'_, '_>, scopes: &mut [Scope<'_>]) -> Option<Fault> {
    let name = names::first_word(place.green())?;
    let scopes = match place.within()? {
        SyntaxKind::NODE_ATTRPATH | SyntaxKind::NODE_IDENT_PARAM | SyntaxKind::NODE_PAT_BIND => {
            return None;
        }
        SyntaxKind::NODE_PAT_ENTRY if place.is_first() => return None,
        SyntaxKind::NODE_INHERIT => inherited_from(place.outer()?, scopes)?,
        _ => scopes,
    };
    if known(name, scopes) {
        return None;
    }
    let message = format!("undefined variable '{name}'");
    let hint = nearest(name, scopes).map(|near| format!("did you mean '{near}'?"));
    Some(Fault::new(UNDEFINED, place.range(), message).hint(hint))
}

/// `inherit x;` looks outside of the set or `let` that it stands in; `inherit (s) x;` nowhere.
fn inherited_from<'s, 'g>(
    inherit: &Place<'_, '_>,
    scopes: &'s mut [Scope<'g>],
) -> Option<&'s mut [Scope<'g>]> {
    let from = |n: &GreenNodeData| names::kind(n.kind()) == SyntaxKind::NODE_INHERIT_FROM;
    if inherit.nodes().any(|(node, _)| from(node)) {
        return None;
    }
    let own = names::recursive(inherit.outer()?.green());
    let inner = scopes.len().saturating_sub(usize::from(own));
    Some(&mut scopes[..inner])
}

/// Whether something defines a name; what binds it counts as used, also below a `with`.
fn known(name: &str, scopes: &mut [Scope<'_>]) -> bool {
    let mut anything = false;
    for scope in scopes.iter_mut().rev() {
        match scope {
            Scope::Names(names) if names.names.has(name) => {
                names.used = true;
                return true;
            }
            Scope::Names(_) => {}
            Scope::Anything => anything = true,
        }
    }
    anything || name.starts_with("__") || GLOBALS.contains(&name)
}

/// The name in scope that differs least: at most two letters, and not more than a third.
fn nearest<'a>(name: &str, scopes: &'a [Scope<'_>]) -> Option<&'a str> {
    let names = scopes.iter().flat_map(|scope| match scope {
        Scope::Names(names) => names.names.all(),
        Scope::Anything => Vec::new(),
    });
    let limit = (name.len() / 3).clamp(1, 2);
    let near = names.chain(GLOBALS).map(|n| (distance(name, n), n));
    near.filter(|(far, _)| *far <= limit).min().map(|(_, n)| n)
}

/// Letters to insert, delete or replace (Levenshtein); more than two need not be exact.
fn distance(a: &str, b: &str) -> usize {
    if a.len().abs_diff(b.len()) > 2 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
