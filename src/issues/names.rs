//! The names of an inventory: from a word of a title to the packages that are meant.

use std::collections::{BTreeMap, BTreeSet};

use super::inventory::{Inventory, Package};
use super::title::normal;
use super::versions::Claim;

/// What a word stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// Places in [`Inventory::packages`]; never empty.
    pub(super) packages: Vec<usize>,
    /// The version that the name itself bears: `blender-4.0.2`, `postgresql_16`.
    pub(super) claim: Claim,
    /// The version chooses among packages, such as `postgresql_16`: another is another package.
    pub(super) sibling: bool,
}

/// All names of an inventory.
#[derive(Debug)]
pub(super) struct Names {
    by_name: BTreeMap<String, Vec<usize>>,
    /// Only a subject, or with a version, means these.
    strict: BTreeSet<String>,
    families: Vec<Option<String>>,
}

/// Names under which people speak of packages.
const ALIASES: &str = include_str!("aliases.txt");
/// Words that seldom mean the package.
const COMMON: &str = include_str!("common_words.txt");
/// Sets whose members are known by their own name, too.
const TRANSPARENT: [&str; 22] = [
    "linuxpackages",
    "linuxkernel",
    "kdepackages",
    "libsforqt",
    "plasma",
    "gnome",
    "xorg",
    "xfce",
    "mate",
    "cinnamon",
    "pantheon",
    "lxqt",
    "cudapackages",
    "rocmpackages",
    "llvmpackages",
    "pythonpackages",
    "python",
    "nodepackages",
    "haskellpackages",
    "perlpackages",
    "rubypackages",
    "pkgsilinux",
];
/// Kernels that are built otherwise than the plain one.
const FLAVOURS: [&str; 9] =
    ["zen", "xanmod", "hardened", "lqx", "libre", "rt", "rpi", "cachyos", "testing"];

impl Names {
    /// Collects the names of an inventory.
    pub(super) fn of(inventory: &Inventory) -> Self {
        let mut names =
            Self { by_name: BTreeMap::new(), strict: BTreeSet::new(), families: Vec::new() };
        let aliases: Vec<(&str, Vec<&str>)> = ALIASES
            .lines()
            .filter(|l| !l.starts_with('#'))
            .filter_map(|l| l.split_once('='))
            .map(|(name, others)| (name.trim(), others.split(',').map(str::trim).collect()))
            .collect();
        for (at, package) in inventory.packages.iter().enumerate() {
            let own = own_names(package);
            let flavoured = own.iter().any(|n| is_flavour(n));
            for (name, others) in &aliases {
                let known = own.contains(&normal(name))
                    || others.iter().any(|o| own.contains(&normal(o)) && o.contains('-'));
                if known && !flavoured {
                    names.add(&normal(name), at);
                    others.iter().for_each(|o| names.add(&normal(o), at));
                }
            }
            own.iter().for_each(|n| names.add(n, at));
            let set = package.attr.as_deref().and_then(|a| a.rsplit_once('.'));
            let family = set.map(|(set, _)| family(set));
            if family.is_some_and(|f| f == "pythonpackages" || f == "perlpackages") {
                names.strict.extend(own.iter().filter(|n| !n.contains('.')).cloned());
            }
            names.families.push(set.map(|(set, _)| self::family(set)));
        }
        names.strict.extend(common().map(normal));
        names
    }

    fn add(&mut self, name: &str, at: usize) {
        let places = self.by_name.entry(name.to_owned()).or_default();
        if !name.is_empty() && !places.contains(&at) {
            places.push(at);
        }
    }

    /// The packages that a subject names.
    pub(super) fn subject(&self, word: &str) -> Option<Named> {
        let name = normal(word);
        let other = synonym(&name);
        let name = other.as_ref().filter(|_| !self.by_name.contains_key(&name)).unwrap_or(&name);
        if let Some(named) = self.exact(name) {
            return Some(named);
        }
        let (set, last) = match name.rsplit_once('.') {
            Some((set, last)) if !last.starts_with(|c: char| c.is_ascii_digit()) => {
                (Some(set), last)
            }
            _ => (None, name.as_str()),
        };
        if let Some(set) = set {
            let family = family(set);
            if is_flavour(set) || !TRANSPARENT.contains(&family.as_str()) {
                return None;
            }
            let mut named = self.exact(last).or_else(|| self.versioned(last))?;
            named.packages.retain(|at| {
                let own = self.families.get(*at).and_then(Option::as_ref);
                own.is_none_or(|own| *own == family)
            });
            return Some(named).filter(|n| !n.packages.is_empty());
        }
        self.versioned(last)
    }

    /// The packages that a word within a sentence names.
    pub(super) fn mention(&self, word: &str) -> Option<Named> {
        let name = normal(word);
        if name.len() <= 3 || self.strict.contains(&name) {
            return None;
        }
        self.exact(&name).or_else(|| self.versioned(&name).filter(|n| !n.sibling))
    }

    /// The packages of a module whose name is only the beginning of theirs: `paperless` is that of
    /// paperless-ngx. More than one such name is none.
    pub(super) fn beginning(&self, name: &str) -> Vec<usize> {
        let begin = format!("{name}-");
        let found = self.by_name.range(begin.clone()..).take_while(|(n, _)| n.starts_with(&begin));
        let places: BTreeSet<usize> =
            found.flat_map(|(_, places)| places.iter().copied()).collect();
        if places.len() == 1 { places.into_iter().collect() } else { Vec::new() }
    }

    /// The packages that a word names with a version behind it.
    pub(super) fn with_version(&self, word: &str) -> Option<Named> {
        self.exact(&normal(word))
    }

    fn exact(&self, name: &str) -> Option<Named> {
        let daemon = name.strip_suffix('d').filter(|n| n.len() >= 5);
        let bare = name.strip_suffix("-unwrapped");
        let found = [Some(name), bare, daemon].into_iter().flatten();
        let packages = found.filter_map(|n| self.by_name.get(n)).next()?.clone();
        Some(Named { packages, claim: Claim::default(), sibling: false })
    }

    /// `blender-4.0.2`, `postgresql-16`, `nextcloud32`, `linux-6-18`: a name with its version.
    fn versioned(&self, name: &str) -> Option<Named> {
        if is_flavour(name) {
            return None;
        }
        let digit = |c: char| c.is_ascii_digit();
        let dashes = name.match_indices('-').filter(|(at, _)| name[at + 1..].starts_with(digit));
        for (at, _) in dashes {
            let (head, version) = (&name[..at], &name[at + 1..]);
            let sibling = !version.contains('.');
            if let Some(packages) = self.by_name.get(head) {
                let numbers = version.split('-').all(|p| p.chars().all(digit));
                let version =
                    if sibling && numbers { version.replace('-', ".") } else { version.to_owned() };
                let claim = Claim::bad(&version);
                return Some(Named { packages: packages.clone(), claim, sibling });
            }
        }
        let head = name.trim_end_matches(digit);
        let version = &name[head.len()..];
        if head.len() < 4 || version.is_empty() || version.len() > 3 {
            return None;
        }
        let packages = self.by_name.get(head)?.clone();
        Some(Named { packages, claim: Claim::bad(version), sibling: true })
    }
}

/// Whether a word is one that seldom means the package it names.
pub(super) fn common() -> impl Iterator<Item = &'static str> {
    COMMON.lines().filter(|l| !l.starts_with('#')).flat_map(str::split_whitespace)
}

/// A set without its versions: `python313Packages` and `python3Packages` are of one family.
fn family(set: &str) -> String {
    let last = set.split('.').next().unwrap_or(set);
    let name: String = normal(last).chars().filter(|c| c.is_ascii_alphabetic()).collect();
    let cut = name.strip_suffix("latest").unwrap_or(&name);
    // `linuxKernel.packages.linux_6_18` is `linuxPackages_6_18`.
    if cut == "linuxkernel" { "linuxpackages".to_owned() } else { cut.to_owned() }
}

/// The other name of what has two (nixpkgs, `pkgs/top-level/linux-kernels.nix`): a set of packages
/// for a kernel bears its name, and `nvidia_x11` is `nvidiaPackages.stable`.
fn synonym(name: &str) -> Option<String> {
    let set = name.strip_suffix(".kernel").unwrap_or(name);
    let kernel = set.strip_prefix("linuxpackages").filter(|k| !k.contains('.'));
    if let Some(kernel) = kernel.filter(|k| k.is_empty() || k.starts_with('-')) {
        return Some(format!("linux{kernel}"));
    }
    let set = name.strip_suffix("nvidiapackages.stable")?;
    (set.is_empty() || set.ends_with('.')).then(|| format!("{set}nvidia-x11"))
}

fn is_flavour(name: &str) -> bool {
    let name = normal(name);
    let kernel = name.starts_with("linux");
    kernel && name.split(['-', '.']).any(|part| FLAVOURS.contains(&part))
}

/// Every name that is a package's own, normal.
fn own_names(package: &Package) -> Vec<String> {
    let mut names = vec![normal(&package.pname)];
    let mut pname = package.pname.as_str();
    if let Some((set, own)) = pname.split_once('-')
        && set.starts_with("python")
        && set.contains('.')
    {
        pname = own;
        names.push(normal(own));
    }
    let Some(attr) = &package.attr else {
        names.push(base(&normal(pname)).to_owned());
        return names;
    };
    let attr = normal(attr);
    let last = attr.rsplit('.').next().unwrap_or(&attr);
    if last != "kernel" {
        names.push(last.to_owned());
        names.push(base(last).to_owned());
    }
    names.push(base(&names[0]).to_owned());
    names.push(attr);
    names.sort_unstable();
    names.dedup();
    names
}

/// `electron-41` is electron.
fn base(name: &str) -> &str {
    let mut name = name;
    while let Some((head, tail)) = name.rsplit_once('-') {
        if tail.is_empty() || !tail.bytes().all(|b| b.is_ascii_digit()) || head.len() < 2 {
            break;
        }
        name = head;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(attrs: &[(&str, &str)]) -> Names {
        let package = |(attr, pname): &(&str, &str)| Package {
            attr: Some((*attr).to_owned()),
            pname: (*pname).to_owned(),
            ..Package::default()
        };
        let packages = attrs.iter().map(package).collect();
        Names::of(&Inventory { packages, ..Inventory::default() })
    }

    #[test]
    fn subjects_are_found_by_all_their_names() {
        let names = names(&[
            ("linux_6_18", "linux"),
            ("linuxPackages.nvidia_x11", "nvidia-x11"),
            ("postgresql_17", "postgresql"),
            ("python313Packages.requests", "requests"),
            ("pipx", "pipx"),
            ("nextcloud33", "nextcloud"),
        ]);
        for (subject, expected) in [
            ("kernel", Some(0)),
            ("linux_6_18", Some(0)),
            ("linux_zen", None),
            ("linuxPackages_zen.nvidia_x11", None),
            ("linuxPackages_latest.nvidia_x11", Some(1)),
            ("linuxPackages", Some(0)),
            ("linuxPackages_latest", Some(0)),
            ("linuxPackages_6_18.kernel", Some(0)),
            ("linuxKernel.kernels.linux_6_18", Some(0)),
            ("linuxKernel.packages.linux_6_18.nvidia_x11", Some(1)),
            ("linuxPackages_zen", None),
            ("linuxPackages_6_18_hardened", None),
            ("linux_6_18_hardened", None),
            ("linuxPackages_zen.kernel", None),
            ("linuxPackages_rt_6_18", None),
            ("linuxPackagesFor", None),
            ("linuxPackages_latest.bcachefs", None),
            ("nvidiaPackages.stable", Some(1)),
            ("linuxPackages_latest.nvidiaPackages.stable", Some(1)),
            ("linuxPackages.nvidiaPackages.beta", None),
            ("linuxPackages_zen.nvidiaPackages.stable", None),
            ("linuxKernel.packages.linux_zen.nvidia_x11", None),
            ("nvidia-open", Some(1)),
            ("postgres", Some(2)),
            ("python314Packages.requests", Some(3)),
            ("perlPackages.requests", None),
            ("python313Packages.pipx", Some(4)),
            ("vimPlugins.requests", None),
            ("firefox", None),
        ] {
            let found = names.subject(subject).map(|n| n.packages[0]);
            assert_eq!(found, expected, "{subject}");
        }
        let sibling = names.subject("postgresql_16").expect("named");
        assert!(sibling.sibling && sibling.claim == Claim::bad("16"));
        let other = names.subject("nextcloud32").expect("named");
        assert!(other.sibling && other.claim == Claim::bad("32"));
        for subject in ["linux_7_2", "linuxPackages_7_2", "linuxPackages_7_2.kernel"] {
            let kernel = names.subject(subject).expect("named");
            assert!(kernel.sibling && kernel.claim == Claim::bad("7.2"), "{subject}");
        }
        for word in ["requests", "linuxPackages", "linuxPackages_latest"] {
            assert_eq!(names.mention(word), None, "a word of the language, or where it happened");
        }
    }

    #[test]
    fn parts_of_names_and_common_words_mean_nothing() {
        let names = names(&[("git", "git"), ("firefox", "firefox"), ("file", "file")]);
        for word in ["git", "git-wt", "gitFull", "firefox-beta", "file", "pyfirefox", "go"] {
            assert_eq!(names.mention(word), None, "{word}");
        }
        assert!(names.subject("git").is_some() && names.mention("Firefox").is_some());
        assert!(names.mention("firefox-141.0").is_some());
    }
}
