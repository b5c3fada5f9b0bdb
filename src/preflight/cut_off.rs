//! A commit that a reboot cut off, told from the host alone.
//!
//! A commit sets the profile first and the boot default last; an undo goes the same way back. A
//! reboot between the two leaves them apart, and takes the guard and its files with it. What stays
//! are the roots of the transaction: they name both systems. So a host that runs and boots one of
//! them while its profile names the other was not changed by somebody else.

use crate::fleet::StorePath;

use super::drifted;
use super::facts::{Facts, run_of};

/// What was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutOff {
    /// The transaction.
    pub tx: String,
    /// What runs and boots.
    pub runs: StorePath,
    /// Whether that is the transaction's new system.
    pub new: bool,
}

impl CutOff {
    /// One lower-case sentence without full stop.
    pub fn sentence(&self) -> String {
        let (run, which) = (run_of(&self.tx), if self.new { "new" } else { "old" });
        format!(
            "a reboot cut run {run} off in its commit: the {which} system runs and boots, and the \
             profile named the other"
        )
    }
}

/// Finds it; `None`: nothing was cut off, or the host is not as that would leave it.
pub fn cut_off(facts: &Facts) -> Option<CutOff> {
    if !drifted(facts) || facts.guarded() || facts.unfinished().is_some() {
        return None;
    }
    let pointers = &facts.early.pointers;
    let (runs, profile) = (pointers.running.as_ref()?, pointers.profile.as_ref()?);
    // Where the boot default cannot be told it is what was booted: there was a reboot just now.
    let boots = pointers.boot_default.as_ref().or(pointers.booted.as_ref())?;
    if boots != runs || profile == runs {
        return None;
    }
    let root = |tx: &str, end: &str| {
        let name = format!("{tx}-{end}");
        facts.roots.iter().find(|(n, _)| *n == name).map(|(_, to)| to.as_str())
    };
    let names = facts.roots.iter().filter_map(|(n, _)| n.strip_suffix("-new"));
    names.into_iter().find_map(|tx| {
        let (new, old) = (root(tx, "new")?, root(tx, "old")?);
        let ours = |path: &StorePath| [new, old].contains(&path.as_str());
        // A mending that was cut off in its turn has the same system for both.
        let known = ours(runs) && (ours(profile) || new == old);
        let here = facts.transactions.iter().any(|t| t.name == tx);
        let new = new != old && runs.as_str() == new;
        (known && !here).then(|| CutOff { tx: tx.to_owned(), runs: runs.clone(), new })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Pointers;

    fn path(name: &str) -> StorePath {
        StorePath::new(format!("/nix/store/{}-{name}", "0".repeat(32))).expect("path")
    }

    fn host(running: &str, profile: &str, boot: &str, roots: [&str; 2]) -> Facts {
        let mut facts = Facts::default();
        facts.early.pointers = Pointers {
            running: Some(path(running)),
            booted: Some(path(running)),
            profile: Some(path(profile)),
            boot_default: Some(path(boot)),
            ..Pointers::default()
        };
        let root = |end, to| (format!("7f3a012345-{end}"), path(to).to_string());
        facts.roots = vec![root("old", roots[0]), root("new", roots[1])];
        facts
    }

    #[test]
    fn only_what_the_roots_explain_was_cut_off() {
        let found = |r, p, b, roots| cut_off(&host(r, p, b, roots)).map(|c| c.new);
        assert_eq!(found("a", "b", "a", ["a", "b"]), Some(false), "a commit");
        assert_eq!(found("b", "a", "b", ["a", "b"]), Some(true), "an undo");
        assert_eq!(found("a", "b", "a", ["a", "a"]), Some(false), "a mending");
        assert_eq!(found("a", "a", "a", ["a", "b"]), None, "nothing is apart");
        assert_eq!(found("a", "b", "b", ["a", "b"]), None, "it will boot another system");
        assert_eq!(found("a", "c", "a", ["a", "b"]), None, "a profile of somebody else's");
        assert_eq!(found("c", "b", "c", ["a", "b"]), None, "a system of somebody else's");
        let mut facts = host("a", "b", "a", ["a", "b"]);
        facts.transactions.push(crate::preflight::facts::Transaction {
            name: "7f3a012345".to_owned(),
            current: true,
            outcome: "foreign".to_owned(),
            ..Default::default()
        });
        assert_eq!(cut_off(&facts), None, "it was no reboot: the guard had its last word");
    }
}
