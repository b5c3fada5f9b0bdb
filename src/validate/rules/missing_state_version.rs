//! A host that does not say which release its data is from.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use rnix::ast::{self, Expr};
use rnix::{SyntaxKind, SyntaxNode};
use rowan::ast::AstNode;
use serde::{Deserialize, Serialize};

use super::{Check, Rule};
use crate::event::Severity;
use crate::validate::names;
use crate::validate::resolve::{Literal, Resolver};
use crate::validate::syntax::Fault;

pub(super) const RULE: Rule = Rule {
    id: "missing-state-version",
    severity: Severity::Warn,
    flags: "a host whose modules, all of them listed, set no `system.stateVersion`",
    why: "Without it a new release may take over the data of the old one in a format that it does \
          not read. Set it to the release the machine was installed with, and leave it there. Only \
          hosts whose imports are all written out are judged, from their configuration.nix on, and \
          none while a file that no host imports sets one: it may be a module for all.",
    fixable: false,
    needs: &[],
    tops: &[],
    check: Check::Elsewhere,
    bad: &["{ imports = [ ]; networking.hostName = \"a\"; boot.loader.grub.enable = true; }"],
    good: &["{ imports = [ ./b.nix ]; system.stateVersion = \"24.05\"; }"],
};

/// What one file tells of a host's modules.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(in crate::validate) struct Entry {
    /// Files that it imports, counted from the tree's root.
    pub(in crate::validate) imports: Vec<PathBuf>,
    /// Something else is imported too.
    pub(in crate::validate) open: bool,
    /// It sets a stateVersion.
    pub(in crate::validate) version: bool,
    /// It is where a host begins.
    pub(in crate::validate) host: bool,
}

/// What a file tells; `None`: nothing of interest.
pub(in crate::validate) fn entries(path: &Path, text: &str, root: &SyntaxNode) -> Option<Entry> {
    let version = text.contains("stateVersion");
    let host = path.file_name().is_some_and(|n| n == "configuration.nix")
        && ["networking.hostName", "boot.loader", "hardware-configuration"]
            .iter()
            .any(|sign| text.contains(sign));
    let imports = text.contains("imports");
    if !version && !host && !imports {
        return None;
    }
    let mut entry = Entry { version, host, ..Entry::default() };
    if !imports {
        return Some(entry);
    }
    let resolver = Resolver::new();
    for node in root.descendants().filter(|n| n.kind() == SyntaxKind::NODE_ATTRPATH_VALUE) {
        let Some(binding) = ast::AttrpathValue::cast(node) else { continue };
        let last = binding.attrpath().and_then(|p| p.attrs().last());
        if last.is_some_and(|attr| names::is(&attr, "imports")) {
            entry.take(&resolver, path, binding.value());
        }
    }
    Some(entry)
}

impl Entry {
    /// What is known of a file of which no tree was made.
    pub(in crate::validate) fn unread(text: &str) -> Option<Self> {
        let (version, open) = (text.contains("stateVersion"), text.contains("imports"));
        (version || open).then(|| Self { version, open, ..Self::default() })
    }

    fn take(&mut self, resolver: &Resolver, path: &Path, list: Option<Expr>) {
        let list = list.map(|l| resolver.reduce(&l));
        let Some(Expr::List(list)) = list else {
            self.open = true;
            return;
        };
        for item in list.items() {
            match resolver.literal(&item) {
                Some(Literal::Path(file)) if !file.starts_with(['/', '~', '<']) => {
                    self.imports.push(beside(path, &file));
                }
                _ => self.open |= !matches!(names::unwrap(item), Expr::AttrSet(_)),
            }
        }
    }
}

/// Hosts that set no version, with what to say of them.
pub(in crate::validate) fn without_version(
    entries: &[(PathBuf, Entry)],
    known: &HashSet<&Path>,
) -> Vec<(PathBuf, Fault)> {
    let by_path: HashMap<&Path, &Entry> = entries.iter().map(|(p, e)| (p.as_path(), e)).collect();
    let mut reached: HashSet<PathBuf> = HashSet::new();
    let mut lacking = Vec::new();
    for (host, _) in entries.iter().filter(|(_, e)| e.host) {
        let (files, closed) = closure(host, &by_path, known);
        let set = files.iter().any(|f| by_path.get(f.as_path()).is_some_and(|e| e.version));
        if closed && !set {
            let message = "no module of this host sets system.stateVersion".to_owned();
            lacking.push((host.clone(), Fault::at(RULE.id, RULE.severity, 0..0, message)));
        }
        reached.extend(files);
    }
    let shared = entries.iter().any(|(path, e)| e.version && !reached.contains(path));
    if shared { Vec::new() } else { lacking }
}

/// The files that a host is made of, and whether those are all.
fn closure(
    host: &Path,
    entries: &HashMap<&Path, &Entry>,
    known: &HashSet<&Path>,
) -> (HashSet<PathBuf>, bool) {
    let (mut files, mut closed) = (HashSet::new(), true);
    let mut left = vec![host.to_path_buf()];
    while let Some(path) = left.pop() {
        let inner = path.join("default.nix");
        let path = if known.contains(inner.as_path()) { inner } else { path };
        closed &= known.contains(path.as_path());
        if !files.insert(path.clone()) {
            continue;
        }
        if let Some(entry) = entries.get(path.as_path()) {
            closed &= !entry.open;
            left.extend(entry.imports.iter().cloned());
        }
    }
    (files, closed)
}

/// A path as written in a file, counted from where the file's own path counts.
fn beside(path: &Path, file: &str) -> PathBuf {
    let mut whole = path.parent().unwrap_or(Path::new("")).to_path_buf();
    for part in Path::new(file).components() {
        match part {
            Component::ParentDir if whole.pop() => {}
            Component::ParentDir => whole.push(".."),
            Component::Normal(name) => whole.push(name),
            _ => {}
        }
    }
    whole
}
