//! The baseline: findings that were there when somebody began to check, by what they are and not
//! by where they stand.
//!
//! One line each: rule, identity, path. Lines can be sorted, merged and deleted by hand.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::found::Examined;
use super::identity::Identity;
use super::rules::{Rule, rule};
use super::syntax::Fault;
use crate::event::Severity;

/// Where it lies in a tree unless hosts.toml says otherwise.
pub const FILE_NAME: &str = ".nixdeploy-baseline";

const HEAD: &str = "\
# Findings of `nixdeploy check` that do not block. Written by --write-baseline; delete a line when
# its finding is gone. What it holds is the rule, the finding's identity and the file.
";

/// What a baseline holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Baseline {
    /// How often each finding may be there, and the line that says so first.
    entries: BTreeMap<(String, String, Identity), (usize, usize)>,
}

impl Baseline {
    /// Reads one.
    ///
    /// # Errors
    /// With the number of the first line that is none.
    pub fn parse(text: &str) -> Result<Self, usize> {
        let mut baseline = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.splitn(3, ' ');
            let (Some(id), Some(hex), Some(path)) = (words.next(), words.next(), words.next())
            else {
                return Err(number);
            };
            let identity = Identity::parse(hex).ok_or(number)?;
            let key = (path.to_owned(), id.to_owned(), identity);
            baseline.entries.entry(key).or_insert((0, number)).0 += 1;
        }
        Ok(baseline)
    }

    /// One with everything that was found and may be in one.
    pub fn of(examined: &Examined) -> String {
        let mut lines: Vec<String> = examined
            .told()
            .filter(|(_, found)| eligible(found.fault.code))
            .filter_map(|(path, found)| {
                let identity = found.identity?.hex();
                let path = path.to_str().filter(|p| !p.contains('\n'))?;
                Some(format!("{} {identity} {path}", found.fault.code))
            })
            .collect();
        lines.sort();
        let mut text = HEAD.to_owned();
        lines.iter().for_each(|line| {
            let _ = writeln!(text, "{line}");
        });
        text
    }

    /// Marks what it holds as old. When `whole`, the entire tree was looked at, and entries that
    /// nothing needs are told as findings of the file itself.
    pub fn apply(mut self, examined: &mut Examined, file: &Path, whole: bool) {
        let known = !self.entries.is_empty();
        examined.change(
            |_, _| known,
            |path, found| {
                let path = path.to_string_lossy().into_owned();
                for found in found.iter_mut().filter(|f| f.allowed.is_none()) {
                    let Some(identity) = found.identity else { continue };
                    let key = (path.clone(), found.fault.code.to_owned(), identity);
                    if let Some((left, _)) =
                        self.entries.get_mut(&key).filter(|(left, _)| *left > 0)
                    {
                        *left -= 1;
                        found.new &= !eligible(found.fault.code);
                    }
                }
            },
        );
        if whole {
            let idle = self.entries.into_iter().filter(|(_, (left, _))| *left > 0);
            let mut idle: Vec<_> =
                idle.map(|((path, id, _), (_, line))| (line, path, id)).collect();
            idle.sort();
            for (line, path, id) in idle.into_iter().rev() {
                let message = format!("{path} has no such {id} any more");
                let fault = Fault::at("unused-suppression", Severity::Warn, 0..0, message);
                examined.add_at(file, line, fault);
            }
        }
    }
}

/// Whether a rule's findings may be in a baseline.
fn eligible(id: &str) -> bool {
    rule(id).is_some_and(|r: &Rule| !r.always_blocks())
}
