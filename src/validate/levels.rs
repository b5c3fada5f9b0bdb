//! How bad findings are here: severities that hosts.toml gives, for the tree or for some paths.

use std::path::Path;

use super::rules::rule;
use crate::event::Severity;

/// What becomes of a rule's findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// They have this severity.
    As(Severity),
    /// They are not told.
    Off,
}

impl Level {
    /// `block`, `warn`, `info` or `off`.
    pub fn named(word: &str) -> Option<Self> {
        match word {
            "block" => Some(Level::As(Severity::Block)),
            "warn" => Some(Level::As(Severity::Warn)),
            "info" => Some(Level::As(Severity::Info)),
            "off" => Some(Level::Off),
            _ => None,
        }
    }
}

/// Severities that differ from the rules' own; the last that fits counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Levels {
    given: Vec<(Option<String>, String, Level)>,
}

impl Levels {
    /// Adds a rule's level for paths that fit a glob, or for all.
    ///
    /// # Errors
    /// When there is no such rule, or it is one of Nix's own grammar.
    pub fn give(&mut self, glob: Option<&str>, id: &str, level: Level) -> Result<(), String> {
        let Some(rule) = rule(id) else { return Err(format!("there is no rule `{id}`")) };
        if rule.is_syntax() {
            return Err(format!("`{id}` always blocks: Nix refuses such a file"));
        }
        self.given.push((glob.map(str::to_owned), id.to_owned(), level));
        Ok(())
    }

    /// What a finding of a rule in a file is, when that is given.
    pub fn of(&self, id: &str, path: &Path) -> Option<Level> {
        if self.given.is_empty() {
            return None;
        }
        let path = path.to_string_lossy();
        let fits = |(glob, rule, _): &&(Option<String>, String, Level)| {
            rule == id && glob.as_deref().is_none_or(|g| matches(g, &path))
        };
        self.given.iter().rev().find(fits).map(|(_, _, level)| *level)
    }
}

/// Whether a path fits a glob: `*` and `?` stay within a folder, `**` crosses them.
pub fn matches(glob: &str, path: &str) -> bool {
    let (glob, path) = (glob.as_bytes(), path.as_bytes());
    let (mut g, mut p) = (0, 0);
    // Where to go on after the last star took one more letter, and whether it crosses folders.
    let mut star: Option<(usize, usize, bool)> = None;
    let mut wide: Option<(usize, usize)> = None;
    loop {
        let crossing = glob[g.min(glob.len())..].starts_with(b"**");
        match glob.get(g) {
            Some(b'*') => {
                g += if crossing { 2 } else { 1 };
                if crossing && glob.get(g) == Some(&b'/') {
                    g += 1; // `a/**/b` also fits `a/b`
                }
                star = Some((g, p, crossing));
                if crossing {
                    wide = Some((g, p));
                }
                continue;
            }
            Some(b'?') if path.get(p).is_some_and(|c| *c != b'/') => {
                (g, p) = (g + 1, p + 1);
                continue;
            }
            Some(c) if path.get(p) == Some(c) => {
                (g, p) = (g + 1, p + 1);
                continue;
            }
            None if p == path.len() => return true,
            _ => {}
        }
        let narrow =
            star.filter(|(_, at, crossing)| path.get(*at).is_some_and(|c| *crossing || *c != b'/'));
        match (narrow, wide) {
            (Some((back, at, crossing)), _) => {
                star = Some((back, at + 1, crossing));
                if crossing {
                    wide = Some((back, at + 1));
                }
                (g, p) = (back, at + 1);
            }
            (None, Some((back, at))) if at < path.len() => {
                wide = Some((back, at + 1));
                star = None;
                (g, p) = (back, at + 1);
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_know_folders() {
        for (glob, path, fits) in [
            ("hosts/*/microvm/**", "hosts/p620/microvm/a/b.nix", true),
            ("hosts/*/microvm/**", "hosts/p620/x/microvm/a.nix", false),
            ("modules/installer/**", "modules/installer/a.nix", true),
            ("*.nix", "a.nix", true),
            ("*.nix", "a/b.nix", false),
            ("**/*.nix", "a/b/c.nix", true),
            ("**/*.nix", "c.nix", true),
            ("a/**/b.nix", "a/b.nix", true),
            ("a/**/b.nix", "a/x/y/b.nix", true),
            ("**/test?/*", "x/y/test1/z", true),
            ("a", "ab", false),
            ("", "", true),
        ] {
            assert_eq!(matches(glob, path), fits, "{glob} {path}");
        }
    }

    #[test]
    fn the_last_level_that_fits_counts_and_syntax_has_none() {
        let mut levels = Levels::default();
        levels.give(None, "firewall-disabled", Level::Off).expect("a rule");
        levels.give(Some("lab/**"), "firewall-disabled", Level::As(Severity::Info)).expect("one");
        assert_eq!(levels.of("firewall-disabled", Path::new("a.nix")), Some(Level::Off));
        let lab = levels.of("firewall-disabled", Path::new("lab/a.nix"));
        assert_eq!(lab, Some(Level::As(Severity::Info)));
        assert_eq!(levels.of("mkif-true", Path::new("lab/a.nix")), None);
        assert!(levels.give(None, "syntax-error", Level::Off).is_err());
        assert!(levels.give(None, "nonsense", Level::Off).is_err());
    }
}
