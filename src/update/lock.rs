//! flake.lock as data: which inputs a flake has itself, what each is locked to, and what moves
//! between two locks. Pure.
//!
//! The names of nodes mean nothing: the flake's own `nixpkgs` may well be the node `nixpkgs_8`,
//! and `nixpkgs` somebody else's. Only the way from the root tells, and that may lead over
//! `follows`, which the file writes as a list of names counted from the root.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `follows` of `follows` is some deep at most; a circle has no end, and strangers' locks are part
/// of the file.
const DEPTH: usize = 64;
/// Steps from input to input that one name is worth.
const STEPS: usize = 10_000;
/// Formats of the file that are alike in all that is read here (Nix, `src/libflake/lockfile.cc`).
const FORMATS: std::ops::RangeInclusive<u64> = 5..=7;

/// A lock file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Lock {
    nodes: BTreeMap<String, Node>,
    root: String,
    version: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Node {
    #[serde(default)]
    inputs: BTreeMap<String, Way>,
    locked: Option<Locked>,
}

/// Where an input leads.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
enum Way {
    Node(String),
    Follows(Vec<String>),
}

/// What an input is locked to.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Locked {
    /// The scheme: `github`, `git`, `path`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rev: Option<String>,
    /// The content's hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nar_hash: Option<String>,
    /// Seconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<i64>,
    /// Whose repository, on a forge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Which repository, on a forge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// The forge's machine, when it is not the usual one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// An input that an update moves.
#[derive(Debug, Clone, PartialEq)]
pub struct Move {
    /// Names from the root on: `nixpkgs`, or `home-manager/nixpkgs`.
    pub input: String,
    /// What it was locked to; `None`: there was none.
    pub from: Option<Locked>,
    /// What it is to be locked to; `None`: it goes.
    pub to: Option<Locked>,
}

impl Lock {
    /// Reads the file.
    ///
    /// # Errors
    /// With what is wrong about it, when it is no lock file that is understood.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let lock: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if !FORMATS.contains(&lock.version) {
            return Err(format!("its version is {}, which is not known", lock.version));
        }
        if !lock.nodes.contains_key(&lock.root) {
            return Err("it has no root".to_owned());
        }
        Ok(lock)
    }

    /// The inputs of the flake itself, by name; true: it follows another's, and moves with that.
    pub fn inputs(&self) -> BTreeMap<&str, bool> {
        let root = self.nodes.get(&self.root);
        let inputs = root.into_iter().flat_map(|node| &node.inputs);
        inputs.map(|(name, way)| (name.as_str(), matches!(way, Way::Follows(_)))).collect()
    }

    /// What an input of the flake itself follows, as names from the root on.
    pub fn follows(&self, input: &str) -> Option<String> {
        match self.nodes.get(&self.root)?.inputs.get(input)? {
            Way::Follows(names) => Some(names.join("/")),
            Way::Node(_) => None,
        }
    }

    /// What an input is locked to, found by names from the root on: `home-manager/nixpkgs`.
    pub fn locked(&self, input: &str) -> Option<&Locked> {
        let names: Vec<&str> = input.split('/').collect();
        self.nodes.get(self.resolve(&names, DEPTH, &mut { STEPS })?)?.locked.as_ref()
    }

    fn resolve<'a>(&'a self, names: &[&str], depth: usize, steps: &mut usize) -> Option<&'a str> {
        let depth = depth.checked_sub(1)?;
        let mut node = self.root.as_str();
        for name in names {
            *steps = steps.checked_sub(1)?;
            node = match self.nodes.get(node)?.inputs.get(*name)? {
                Way::Node(next) => next,
                Way::Follows(from_root) => {
                    let from_root: Vec<&str> = from_root.iter().map(String::as_str).collect();
                    self.resolve(&from_root, depth, steps)?
                }
            };
        }
        Some(node)
    }

    /// Every node that is locked, once, under the shortest names that lead to it.
    fn all(&self) -> BTreeMap<String, &Locked> {
        let (mut found, mut seen) = (BTreeMap::new(), BTreeSet::from([self.root.as_str()]));
        let mut near = vec![(String::new(), self.root.as_str())];
        while !near.is_empty() {
            let mut next = Vec::new();
            for (path, node) in near {
                let inputs = self.nodes.get(node).into_iter().flat_map(|n| &n.inputs);
                for (name, way) in inputs {
                    let Way::Node(to) = way else { continue };
                    let (Some(node), true) = (self.nodes.get(to), seen.insert(to)) else {
                        continue;
                    };
                    let path =
                        if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                    found.extend(node.locked.as_ref().map(|locked| (path.clone(), locked)));
                    next.push((path, to.as_str()));
                }
            }
            near = next;
        }
        found
    }

    /// How many inputs are locked, those of inputs too.
    pub fn count(&self) -> usize {
        self.all().len()
    }

    /// The nixpkgs of the flake itself: what `nixpkgs` leads to, else the first of its inputs
    /// that is a repository of that name.
    pub fn nixpkgs(&self) -> Option<&Locked> {
        let own = |name: &str| self.locked(name);
        let named = self.inputs().into_keys().filter_map(own);
        own("nixpkgs").or_else(|| named.into_iter().find(|l| l.repo.as_deref() == Some("nixpkgs")))
    }

    /// The input that moves it: `nixpkgs`, else the first that is a repository of that name, and
    /// where that follows another, the input in which that lies.
    pub fn nixpkgs_input(&self) -> Option<&str> {
        let inputs = self.inputs();
        let is =
            |name: &&str| self.locked(name).is_some_and(|l| l.repo.as_deref() == Some("nixpkgs"));
        let named = inputs.keys().copied().find(|name| *name == "nixpkgs");
        let name = named.or_else(|| inputs.keys().copied().find(is))?;
        match self.nodes.get(&self.root)?.inputs.get(name)? {
            Way::Follows(names) => names.first().map(String::as_str),
            Way::Node(_) => Some(name),
        }
    }
}

impl Locked {
    /// The first seven digits of its commit.
    pub fn short(&self) -> Option<&str> {
        self.rev.as_deref().map(|rev| rev.get(..7).unwrap_or(rev))
    }

    /// Where the forge shows what came between two commits of one repository.
    pub fn compare(&self, to: &Self) -> Option<String> {
        let same = self.kind == to.kind && self.owner == to.owner && self.repo == to.repo;
        let plain = |word: &str| {
            !word.is_empty()
                && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let of = |locked: &'_ Self| {
            let words = (locked.owner.clone()?, locked.repo.clone()?, locked.rev.clone()?);
            (plain(&words.0) && plain(&words.1) && plain(&words.2)).then_some(words)
        };
        let ((owner, repo, old), (_, _, new)) = (of(self)?, of(to)?);
        let (usual, between) = match self.kind.as_str() {
            "github" => ("github.com", "/compare/"),
            "gitlab" => ("gitlab.com", "/-/compare/"),
            _ => return None,
        };
        let host = self.host.as_deref().unwrap_or(usual);
        (same && self.host == to.host && plain(host) && old != new)
            .then(|| format!("https://{host}/{owner}/{repo}{between}{old}...{new}"))
    }
}

/// What moves between two locks, by the names of inputs: the flake's own first.
pub fn moves(old: &Lock, new: &Lock) -> Vec<Move> {
    let (before, after) = (old.all(), new.all());
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let one = |all: &BTreeMap<String, &Locked>, name: &str| all.get(name).map(|l| (*l).clone());
    let mut moves: Vec<Move> = names
        .into_iter()
        .map(|name| Move { input: name.clone(), from: one(&before, name), to: one(&after, name) })
        .filter(|m| m.from != m.to)
        .collect();
    moves.sort_by_key(|m| (m.input.contains('/'), m.input.clone()));
    moves
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The flake's own nixpkgs is `nixpkgs_8`; `nixpkgs` is agenix's.
    fn text(rev: &str) -> String {
        format!(
            r#"{{"version": 7, "root": "root", "nodes": {{
              "root": {{"inputs": {{"nixpkgs": "nixpkgs_8", "agenix": "agenix",
                "unstable": ["agenix", "nixpkgs"], "round": ["round"]}}}},
              "agenix": {{"inputs": {{"nixpkgs": "nixpkgs", "systems": ["nixpkgs"]}},
                "locked": {{"type": "github", "owner": "ryantm", "repo": "agenix", "rev": "aaa"}}}},
              "nixpkgs": {{"locked": {{"type": "github", "owner": "NixOS", "repo": "nixpkgs",
                "rev": "0123456789", "lastModified": 5}}}},
              "nixpkgs_8": {{"locked": {{"type": "github", "owner": "NixOS", "repo": "nixpkgs",
                "rev": "{rev}", "lastModified": 1787000000, "narHash": "sha256-x"}}}}
            }}}}"#
        )
    }

    fn lock(rev: &str) -> Lock {
        Lock::parse(text(rev).as_bytes()).expect("a lock")
    }

    fn rev<'a>(lock: &'a Lock, input: &str) -> Option<&'a str> {
        lock.locked(input)?.rev.as_deref()
    }

    #[test]
    fn inputs_are_found_from_the_root_and_never_by_the_names_of_nodes() {
        let lock = lock("9be77d0aaaa");
        assert_eq!(rev(&lock, "nixpkgs"), Some("9be77d0aaaa"));
        assert_eq!(rev(&lock, "agenix/nixpkgs"), Some("0123456789"));
        assert_eq!(rev(&lock, "unstable"), Some("0123456789"), "over follows");
        assert_eq!(
            rev(&lock, "agenix/systems"),
            Some("9be77d0aaaa"),
            "follows count from the root"
        );
        assert_eq!(lock.follows("unstable").as_deref(), Some("agenix/nixpkgs"));
        assert_eq!(lock.locked("round"), None, "a circle is no input");
        assert_eq!(lock.nixpkgs().and_then(Locked::short), Some("9be77d0"));
        let inputs: Vec<_> = lock.inputs().into_iter().collect();
        let own = [("agenix", false), ("nixpkgs", false), ("round", true), ("unstable", true)];
        assert_eq!(inputs, own);
        assert_eq!(lock.count(), 3);
    }

    #[test]
    fn what_moves_is_told_by_the_names_of_inputs() {
        let (old, new) = (lock("1f0c2ab"), lock("9be77d0"));
        let moves = moves(&old, &new);
        let told: Vec<&str> = moves.iter().map(|m| m.input.as_str()).collect();
        assert_eq!(told, ["nixpkgs"]);
        let (Some(from), Some(to)) = (&moves[0].from, &moves[0].to) else { panic!("{moves:?}") };
        let link = "https://github.com/NixOS/nixpkgs/compare/1f0c2ab...9be77d0";
        assert_eq!(from.compare(to).as_deref(), Some(link));
        let odd = Locked { rev: Some("x\u{1b}[2J".to_owned()), ..to.clone() };
        assert_eq!(from.compare(&odd), None);
        assert_eq!(from.compare(from), None);
        assert_eq!(super::moves(&old, &old), []);
    }

    #[test]
    fn a_lock_that_has_no_end_is_given_up() {
        let level = |n: u32| {
            let below = n - 1;
            format!(r#""x{n}": ["x{below}", "i"], "x{below}b": ["x{below}"]"#)
        };
        let levels: Vec<String> = (1..60).map(level).collect();
        let text = format!(
            r#"{{"version": 7, "root": "root", "nodes": {{"root": {{"inputs": {{"x0": "n", {}}}}},
              "n": {{"inputs": {{"i": ["x58"]}}, "locked": {{}}}}}}}}"#,
            levels.join(", ")
        );
        let lock = Lock::parse(text.as_bytes()).expect("a lock");
        assert_eq!(lock.locked("x59"), None);
        assert!(lock.locked("x0").is_some());
    }

    #[test]
    fn what_is_no_lock_is_refused() {
        let newer = text("x").replace("\"version\": 7", "\"version\": 8");
        for bad in [
            "",
            "{",
            "[]",
            "{}",
            &newer,
            &text("x").replace("\"root\": \"root\"", "\"root\": \"r\""),
        ] {
            assert!(Lock::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
