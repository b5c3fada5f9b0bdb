//! Health scripts that hosts.toml names: one that cannot be read stops every deploy of its host, so
//! a check of the whole tree tells it before.

use std::path::{Path, PathBuf};

use crate::event::Severity;
use crate::fleet::Fleet;
use crate::validate::Examined;
use crate::validate::syntax::Fault;
use crate::verify::Scripts;

/// A health script that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// hosts.toml.
    file: PathBuf,
    /// The line there, from 1.
    line: usize,
    /// A sentence fragment.
    why: String,
}

/// Those of a fleet whose flake is a folder here; of any other flake nothing is known.
pub fn lacking(fleet: &Fleet, flake: &Path) -> Vec<Lacking> {
    if !flake.is_dir() {
        return Vec::new();
    }
    let unread = fleet.hosts.iter().filter_map(|host| Scripts::pin(flake, host).err());
    let told = unread.map(|u| Lacking { file: fleet.source.clone(), line: u.line, why: u.why });
    told.collect()
}

impl Lacking {
    /// Tells it as a finding of hosts.toml; `root` is that of the tree.
    pub(super) fn told(&self, root: &Path, examined: &mut Examined) {
        let file = self.file.canonicalize().unwrap_or_else(|_| self.file.clone());
        let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        let file = file.strip_prefix(root).unwrap_or(&file);
        let mut fault = Fault::at("health-script", Severity::Block, 0..0, self.why.clone());
        fault.hint = Some("write it, or take it out of hosts.toml".to_owned());
        examined.add_at(file, self.line, fault);
    }
}
