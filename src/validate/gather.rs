//! What was seen of many files becomes one thing, in the order of their names, whichever thread
//! came first. Pure.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::examine::{Depth, Seen};
use super::found::{Examined, Kept};
use super::packed::Packed;
use super::rules::Entry;
use super::syntax::Fault;
use super::variables;
use crate::event::Severity;

/// The rule whose findings are old where any file had them before.
pub(super) const PORTS: &str = "firewall-port-opened";

/// How many findings are kept with their lines, by the place of their file among the others. The
/// first of them are drawn: a file has room for as many as were not seen in those before it.
#[derive(Default)]
pub(super) struct Drawn(Mutex<Vec<(usize, usize)>>);

impl Drawn {
    /// How many may still be among the first `most`; more than will be while others are read.
    pub(super) fn room(&self, at: usize, most: usize) -> usize {
        if most == 0 {
            return 0;
        }
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before: usize = seen.iter().filter(|(of, _)| *of < at).map(|(_, count)| count).sum();
        most.saturating_sub(before)
    }

    pub(super) fn note(&self, at: usize, count: usize) {
        if count > 0 {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push((at, count));
        }
    }
}

/// What one thread saw, or all of them.
#[derive(Default)]
pub(super) struct Share {
    files: usize,
    scoped: bool,
    ports: Vec<String>,
    entries: Vec<(usize, PathBuf, Entry)>,
    kept: Vec<(usize, Kept)>,
}

impl Share {
    pub(super) fn add(&mut self, at: usize, seen: Seen) {
        self.files += usize::from(seen.read);
        self.scoped |= seen.scopes_others;
        self.ports.extend(seen.ports);
        self.entries.extend(seen.entry.map(|(path, entry)| (at, path, entry)));
        self.kept.extend(seen.kept.map(|kept| (at, kept)));
    }

    pub(super) fn join(&mut self, other: Self) {
        self.files += other.files;
        self.scoped |= other.scoped;
        self.ports.extend(other.ports);
        self.entries.extend(other.entries);
        self.kept.extend(other.kept);
    }

    /// All of it, and what files tell of hosts' modules.
    pub(super) fn end(self, depth: Depth) -> (Examined, Vec<(PathBuf, Entry)>) {
        let Self { files, scoped, ports, mut entries, mut kept } = self;
        kept.sort_unstable_by_key(|(at, _)| *at);
        first_drawn(&mut kept, depth);
        let mut kept: Vec<Kept> = kept.into_iter().map(|(_, kept)| kept).collect();
        kept.sort_by(|a, b| a.path.cmp(&b.path));
        let mut examined = Examined { files, kept };
        let open: HashSet<String> = ports.into_iter().collect();
        let undefined = |code: &str| scoped && code == variables::UNDEFINED;
        examined.change(
            |_, mark| undefined(mark.code) || mark.code == PORTS,
            |_, found| {
                for found in found {
                    if undefined(found.fault.code) {
                        soften(&mut found.fault);
                    }
                    let known = |key: &String| open.contains(key);
                    if found.fault.code == PORTS && found.fault.keys.iter().all(known) {
                        found.new = false;
                        found.fault.severity = Severity::Info;
                    }
                }
            },
        );
        entries.sort_by_key(|(at, ..)| *at);
        (examined, entries.into_iter().map(|(_, path, entry)| (path, entry)).collect())
    }
}

/// Leaves their lines to the first findings that are to be drawn, and to no others.
fn first_drawn(kept: &mut [(usize, Kept)], depth: Depth) {
    let mut count = 0;
    for (_, kept) in kept {
        let wanted = kept.packed.marks().filter(|mark| depth.draws(*mark)).count();
        if count + wanted > depth.drawn && matches!(kept.packed, Packed::Whole(_)) {
            let mut left = depth.drawn.saturating_sub(count);
            let mut found: Vec<_> = kept.packed.found().collect();
            for found in found.iter_mut().filter(|found| depth.draws(found.mark())) {
                if left == 0 {
                    found.excerpt = None;
                }
                left = left.saturating_sub(1);
            }
            kept.packed = Packed::of(found);
        }
        count += wanted;
    }
}

/// Some file gives variables to others, so nothing is undefined for certain.
fn soften(fault: &mut Fault) {
    fault.severity = Severity::Warn;
    fault.message.push_str(" (unless scopedImport gives it)");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::validate::{Base, Depth, Job, examine_jobs};

    #[test]
    fn which_findings_are_drawn_is_told_by_their_order_alone() {
        let job = |n: usize| Job {
            path: format!("{n:04}.nix").into(),
            bytes: Some(format!("{{ lib, b }}: [ {} ]", "(lib.mkIf b true) ".repeat(n % 3)).into()),
            base: Base::None,
        };
        let jobs: Vec<Job> = (0..300).map(job).collect();
        let depth = |drawn| Depth { rules: true, drawn, old: true };
        let drawn = |drawn| examine_jobs(Path::new("/"), &jobs, depth(drawn)).drawn(false, false);
        let (all, some) = (drawn(usize::MAX), drawn(100));
        assert!(all.len() > some.len());
        for _ in 0..8 {
            assert_eq!(drawn(100), some);
        }
        let boxes = |text: &str| -> Vec<bool> {
            text.split("\n\n").map(|drawing| drawing.contains('^')).collect()
        };
        let shown = boxes(&some);
        let (with, without) = shown.split_at(100);
        assert!(with.iter().all(|drawn| *drawn) && !without.iter().any(|drawn| *drawn));
    }
}
