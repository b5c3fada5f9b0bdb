//! A text that is too large for one tree, judged piece by piece. Pure.
//!
//! Files of many megabytes are made by programs, and are one long list or set with little around
//! it. Such a text is cut between the elements, and each piece is read with what stands around the
//! list or set, as a text of its own: elements in a row are elements, and neither a list nor a set
//! without `rec` puts the names of one element into the scope of another. What pieces could tell
//! only of each other (a name that two of them bind), whatever does not parse, and whatever is not
//! the same in all of them is no matter of this file: the text is then read as a whole, as others
//! are. Of the rules, those that always block are asked; the others want to see the whole text.

mod cuts;

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rnix::{SyntaxKind, SyntaxNode, TextSize};

use super::allow::{self, Allow};
use super::resolve::Resolver;
use super::syntax::{self, Fault};
use super::{names, nesting, rules};
use crate::event::Severity;
use cuts::Cuts;

/// A longer text is judged in pieces where that can be.
pub(super) const LARGE: usize = 4 << 20;
/// More threads than this gain nothing.
const MAX_WORKERS: usize = 8;

/// How a text is cut, in bytes.
#[derive(Clone, Copy)]
struct Sizes {
    /// Least of a piece.
    piece: usize,
    /// Most that may stand before the list or set, and behind it.
    around: usize,
}

const SIZES: Sizes = Sizes { piece: 128 << 10, around: 32 << 10 };

/// What is wrong with a text, and the comments that let something pass.
pub(super) struct Judged {
    pub(super) faults: Vec<Fault>,
    pub(super) allows: Vec<Allow>,
}

/// Judges a large text; `None`: it must be read as a whole. Has threads of its own.
pub(super) fn judged(text: &str, ask: bool) -> Option<Judged> {
    if text.len() <= LARGE {
        return None;
    }
    let workers = thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
    by_pieces(text, ask, SIZES, workers)
}

fn by_pieces(text: &str, ask: bool, sizes: Sizes, workers: usize) -> Option<Judged> {
    if text.starts_with('\u{feff}') {
        return None; // the cuts are places of its tokens, and the mark is none
    }
    let cuts = cuts::of(text, sizes)?;
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let seen: Mutex<Vec<Seen>> = Mutex::default();
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(piece) = Piece::of(text, &cuts, at) else { break };
            match piece.judged(ask) {
                Some(judged) => {
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(judged);
                }
                None => failed.store(true, Ordering::Relaxed),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..workers {
            let worker = thread::Builder::new().name("check".to_owned()).stack_size(nesting::STACK);
            if worker.spawn_scoped(scope, work).is_err() {
                break;
            }
        }
    });
    let seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
    let all = !failed.into_inner() && seen.len() + 1 == cuts.places.len();
    all.then(|| together(seen)).flatten()
}

/// A piece of a text within what stands around the list or set.
struct Piece {
    alone: String,
    open: usize,
    /// Where the elements stand in `alone`.
    inner: Range<usize>,
    /// How much later everything stands in the whole text, within the piece and behind it.
    later: [usize; 2],
}

/// What was seen of a piece, at its places in the whole text.
struct Seen {
    /// What Nix would refuse, in the elements and around them, and what rules tell.
    faults: [Vec<Fault>; 2],
    told: [Vec<Fault>; 2],
    /// In the elements and around them, too.
    allows: [Vec<Allow>; 2],
    /// The names that its elements bind in the set, each once.
    names: Vec<u64>,
}

impl Piece {
    fn of(text: &str, cuts: &Cuts, at: usize) -> Option<Self> {
        let (from, upto) = (*cuts.places.get(at)?, *cuts.places.get(at + 1)?);
        let (first, close) = (*cuts.places.first()?, *cuts.places.last()?);
        let alone = [&text[..first], &text[from..upto], &text[close..]].concat();
        let later = [from - first, text.len() - alone.len()];
        Some(Self { open: cuts.open, inner: first..first + upto - from, later, alone })
    }

    fn judged(&self, ask: bool) -> Option<Seen> {
        let text = self.alone.as_str();
        let parsed = syntax::parse(text).ok()?;
        let root = parsed.root.clone();
        let names = self.names(&root)?;
        let resolver = Resolver::new();
        // They look at each node once: there is no time after which they would give up.
        let mut walk = ask.then(|| rules::Walk::for_always(&resolver, text, &root, &|| false));
        let (faults, _) = parsed.judged(&mut |step| {
            if let Some(walk) = &mut walk {
                walk.meet(step);
            }
        });
        // A tree with such a fault may hold together what stands in a row.
        if faults.iter().any(|f| f.code == "syntax-error") {
            return None;
        }
        let told = walk.map(|walk| walk.end(&[])).unwrap_or_default();
        let mut allows = if ask { allow::read(text, &root) } else { Vec::new() };
        // What else it might let pass is not looked for.
        allows.iter_mut().for_each(Allow::count_as_used);
        let places = allows.iter().all(|a| !self.holds(a.place()) || a.stays_within(&self.inner));
        places.then_some(())?;
        Some(Seen {
            faults: self.parted(faults, |f| &f.range, Fault::moved),
            told: self.parted(told, |f| &f.range, Fault::moved),
            allows: self.parted(allows, Allow::place, Allow::moved),
            names,
        })
    }

    /// What is in the elements, and what is around them; all at its place in the whole text.
    fn parted<T>(
        &self,
        all: Vec<T>,
        place: impl Fn(&T) -> &Range<usize>,
        moved: impl Fn(&mut T, &dyn Fn(&Range<usize>) -> Range<usize>),
    ) -> [Vec<T>; 2] {
        let (mut inner, mut around): (Vec<T>, Vec<T>) =
            all.into_iter().partition(|each| self.holds(place(each)));
        for each in inner.iter_mut().chain(&mut around) {
            moved(each, &|range| self.moved(range));
        }
        [inner, around]
    }

    /// Whether a place is one of its elements.
    fn holds(&self, range: &Range<usize>) -> bool {
        self.inner.start <= range.start && range.end <= self.inner.end
    }

    /// The names that the elements bind; `None`: they do not stand in a list, or in a set without
    /// `rec`, that begins and ends where the text was cut.
    fn names(&self, root: &SyntaxNode) -> Option<Vec<u64>> {
        let at = TextSize::new(u32::try_from(self.open).ok()?);
        let around = root.token_at_offset(at).right_biased()?.parent()?;
        let range: Range<usize> = around.text_range().into();
        if range != (self.open..self.inner.end + 1) {
            return None;
        }
        let mut hashes: Vec<u64> = match around.kind() {
            SyntaxKind::NODE_LIST => Vec::new(),
            SyntaxKind::NODE_ATTR_SET => {
                let plain: Option<Vec<u64>> =
                    names::bound_words(around.green()).map(|word| word.map(hash)).collect();
                plain.unwrap_or_else(|| {
                    names::bound(&around).iter().map(|name| hash(name)).collect()
                })
            }
            _ => return None,
        };
        hashes.sort_unstable();
        hashes.dedup();
        Some(hashes)
    }

    fn moved(&self, range: &Range<usize>) -> Range<usize> {
        let [within, behind] = self.later;
        if self.holds(range) {
            return range.start + within..range.end + within;
        }
        let start = match range.start {
            start if start < self.inner.start => start,
            start if start < self.inner.end => start + within,
            start => start.saturating_add(behind),
        };
        let end = match range.end {
            end if end <= self.inner.start => end,
            end if end < self.inner.end => end + within,
            end => end.saturating_add(behind),
        };
        start..end
    }
}

/// What all pieces say; `None`: they do not agree on what is around them, or share a name.
fn together(seen: Vec<Seen>) -> Option<Judged> {
    let mut names: Vec<u64> = Vec::with_capacity(seen.iter().map(|s| s.names.len()).sum());
    let (mut faults, mut told, mut allows) = (Vec::new(), Vec::new(), Vec::new());
    let mut around: Option<[Vec<Fault>; 2]> = None;
    for piece in seen {
        let ([inner, outer], [rules, outer_rules]) = (piece.faults, piece.told);
        let [own, shared] = piece.allows;
        match &around {
            None => {
                around = Some([outer, outer_rules]);
                allows.extend(shared);
            }
            Some(known) if *known != [outer, outer_rules] => return None,
            Some(_) => {}
        }
        faults.extend(inner);
        told.extend(rules);
        allows.extend(own);
        names.extend(piece.names);
    }
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return None;
    }
    let [outer, outer_rules] = around?;
    faults.extend(outer);
    // What Nix refuses is told alone, as of any text.
    if faults.iter().any(|f| f.severity == Severity::Block) {
        allows.clear();
    } else {
        faults.extend(told.into_iter().chain(outer_rules));
    }
    faults.sort_by_key(|f| (f.range.start, f.range.end));
    Some(Judged { faults, allows })
}

fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
