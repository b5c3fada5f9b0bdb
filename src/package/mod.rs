//! What a store path's name says: package, version, the set it is from.
//!
//! Names are all that a closure on a host tells. `builtins.parseDrvName` splits at the first dash
//! that no letter follows, which is wrong for a tenth of a real system; [`StoreName::parse`] knows
//! outputs, wrappers, snapshots, kernel modules and the sets of interpreters. Knows nothing else.

pub mod version;

pub use version::{Version, compare, plain};

/// What nixpkgs and its wrappers put behind a version: outputs, and the names of what is made of
/// a package. No part of a version.
const SUFFIXES: [&str; 36] = [
    "-bin",
    "-bwrap",
    "-data",
    "-debug",
    "-dev",
    "-devdoc",
    "-dist",
    "-doc",
    "-drivers",
    "-env",
    "-fhs",
    "-fhsenv-profile",
    "-fhsenv-rootfs",
    "-firmware",
    "-fish-completions",
    "-info",
    "-lib",
    "-lib32",
    "-man",
    "-modules",
    "-modules-shrunk",
    "-nixos",
    "-only-plugins-qml",
    "-out",
    "-p11kit",
    "-python",
    "-static",
    "-su",
    "-terminfo",
    "-unwrapped",
    "-wrapped",
    "-wrapper",
    "-xz",
    "-zstd",
    "-zsh-completions",
    "-libgcc",
];
/// Beginnings of names that are parts of a system and no packages, whatever looks like a version
/// in them.
const PARTS: [&str; 7] =
    ["etc-", "initrd-", "nixos-system-", "unit-", "user-units", "system-units", "X-Restart-"];
/// Ends of names of files that are no packages.
const FILES: [&str; 21] = [
    ".bz2", ".conf", ".desktop", ".drv", ".gz", ".json", ".lock", ".mount", ".nix", ".patch",
    ".path", ".rules", ".service", ".sh", ".slice", ".socket", ".target", ".timer", ".toml", ".xz",
    ".zip",
];
/// Interpreters whose packages bear their name and version in front.
const INTERPRETERS: [&str; 7] = ["python", "perl", "lua", "luajit", "ruby", "ocaml", "ghc"];

/// A package as the name of a store path tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreName<'a> {
    /// The interpreter that it is for, with its version: `python3.12`.
    pub set: Option<&'a str>,
    /// Its name, without the set and without `-unwrapped`.
    pub name: &'a str,
    /// Its version, without the names of outputs and wrappers; [`plain`] makes it comparable.
    pub version: &'a str,
    /// The kernel that it was built for.
    pub kernel: Option<&'a str>,
}

impl<'a> StoreName<'a> {
    /// Reads a name, the hash left out; `None`: it has no version, or is a part of a system
    /// (units, files of /etc, scripts, the system itself).
    pub fn parse(name: &'a str) -> Option<Self> {
        if PARTS.iter().any(|p| name.starts_with(p)) || FILES.iter().any(|f| name.ends_with(f)) {
            return None;
        }
        let (whole, version) = split(without_suffixes(name))?;
        let (set, own) = match set(whole) {
            Some((set, own)) => (Some(set), own),
            None => (None, whole),
        };
        let (version, kernel) = match kernel(version) {
            Some((version, kernel)) => (version, Some(kernel)),
            None => (version, None),
        };
        let own = own.strip_suffix("-unwrapped").filter(|n| !n.is_empty()).unwrap_or(own);
        Some(Self { set, name: own, version, kernel })
    }

    /// The name as people write it: with its set in front.
    pub fn full(&self) -> String {
        self.set.map_or_else(|| self.name.to_owned(), |set| format!("{set}-{}", self.name))
    }
}

fn without_suffixes(mut name: &str) -> &str {
    while let Some(shorter) = SUFFIXES.iter().find_map(|s| name.strip_suffix(s)) {
        name = shorter;
    }
    name
}

/// The version begins at the first dash that a digit follows (nixpkgs manual, "Package naming"),
/// or a revision's hash; not at a word such as `100dpi` with a version behind it, but already at
/// `unstable` before a date.
fn split(name: &str) -> Option<(&str, &str)> {
    let mut dashes = name.match_indices('-').map(|(at, _)| at).filter(|at| *at > 0);
    let at = dashes.find(|at| begins_version(&name[at + 1..]))?;
    let (head, version) = (&name[..at], &name[at + 1..]);
    match head.strip_suffix("-unstable") {
        Some(own) if !own.is_empty() => Some((own, &name[own.len() + 1..])),
        _ => Some((head, version)),
    }
}

fn begins_version(rest: &str) -> bool {
    let (word, behind) = rest.split_once('-').unwrap_or((rest, ""));
    if !word.starts_with(|c: char| c.is_ascii_digit()) {
        return version::is_revision(word) && word.len() == rest.len();
    }
    let letters = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let is_word = letters.len() > 1 && letters.bytes().all(|b| b.is_ascii_alphabetic());
    let digit = |w: &str| w.starts_with(|c: char| c.is_ascii_digit()) && w.contains('.');
    !(is_word && behind.split('-').any(digit))
}

/// `python3.12-requests`: the interpreter's version has a dot, so `python3-minimal` is no set.
fn set(name: &str) -> Option<(&str, &str)> {
    let (set, own) = name.split_once('-')?;
    let version = INTERPRETERS.iter().filter_map(|i| set.strip_prefix(i));
    let numbered = |v: &str| v.contains('.') && v.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    (version.into_iter().any(numbered) && !own.is_empty()).then_some((set, own))
}

/// Modules are built for one kernel and bear its version behind their own.
fn kernel(version: &str) -> Option<(&str, &str)> {
    let (own, kernel) = version.rsplit_once('-')?;
    let mut parts = kernel.split('.');
    let major = parts.next()?.parse::<u32>().ok()?;
    let rest: Vec<&str> = parts.collect();
    let numbers = rest.iter().all(|p| p.parse::<u32>().is_ok());
    let kernel_like = (4..=9).contains(&major) && matches!(rest.len(), 1 | 2) && numbers;
    (kernel_like && own.contains('.')).then_some((own, kernel))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(name: &str) -> Option<(Option<&str>, &str, &str, Option<&str>)> {
        StoreName::parse(name).map(|n| (n.set, n.name, n.version, n.kernel))
    }

    #[test]
    fn names_are_split_where_their_version_begins() {
        for (name, expected) in [
            ("firefox-141.0", ("firefox", "141.0")),
            ("sway-unstable-2024-05-01", ("sway", "unstable-2024-05-01")),
            ("foo-0-unstable-2024-05-01", ("foo", "0-unstable-2024-05-01")),
            ("font-bh-100dpi-1.0.4", ("font-bh-100dpi", "1.0.4")),
            ("nerd-fonts-0xproto-3.4.0", ("nerd-fonts-0xproto", "3.4.0")),
            ("linux-6.18.3-modules", ("linux", "6.18.3")),
            ("linux-firmware-20260810-zstd", ("linux-firmware", "20260810")),
            ("lz4-1.10.0-lib", ("lz4", "1.10.0")),
            ("git-2.48.1-doc", ("git", "2.48.1")),
            ("python3-3.12.8-env", ("python3", "3.12.8")),
            ("python3-minimal-3.13.1", ("python3-minimal", "3.13.1")),
            ("libreoffice-24.8.5.2-wrapped", ("libreoffice", "24.8.5.2")),
            ("firefox-unwrapped-141.0", ("firefox", "141.0")),
            ("gcc-14-20241116-lib", ("gcc", "14-20241116")),
            ("glibc-2.40-66", ("glibc", "2.40-66")),
            ("plex-1.41.5.9522-a96edc606", ("plex", "1.41.5.9522-a96edc606")),
            ("pod-1a2b3c4", ("pod", "1a2b3c4")),
            ("imagemagick-7.1.2-17", ("imagemagick", "7.1.2-17")),
            ("openssh-9.9p2", ("openssh", "9.9p2")),
        ] {
            assert_eq!(read(name), Some((None, expected.0, expected.1, None)), "{name}");
        }
    }

    #[test]
    fn sets_and_kernels_are_told_apart() {
        let requests = StoreName::parse("python3.12-requests-2.32.3").expect("a package");
        assert_eq!((requests.set, requests.name), (Some("python3.12"), "requests"));
        assert_eq!(requests.full(), "python3.12-requests");
        let uri = read("perl5.40.0-URI-5.21");
        assert_eq!(uri, Some((Some("perl5.40.0"), "URI", "5.21", None)));
        let nvidia = read("nvidia-x11-580.119.02-6.19");
        assert_eq!(nvidia, Some((None, "nvidia-x11", "580.119.02", Some("6.19"))));
        let zfs = read("zfs-kernel-2.3.4-6.12.50");
        assert_eq!(zfs, Some((None, "zfs-kernel", "2.3.4", Some("6.12.50"))));
    }

    #[test]
    fn parts_of_a_system_are_no_packages() {
        for name in [
            "nixos-system-p620-26.05.20260819.ffb3c9b",
            "initrd-linux-6.18.3",
            "nodejs_22",
            "steam-run",
            "unit-sshd.service",
            "unit-script-x-1.0-start",
            "etc-os-release",
            "etc",
            "linux-6.18.3.tar.xz",
            "x-1.0.patch",
            "-1",
            "x-",
            "",
        ] {
            assert_eq!(read(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_path_is_called_its_parts_are_of_it(name in "[0-9a-zA-Z+._?=-]{0,24}") {
            if let Some(read) = StoreName::parse(&name) {
                prop_assert!(!read.name.is_empty() && !read.version.is_empty());
                prop_assert!(name.contains(read.name) && name.contains(read.version));
            }
        }
    }
}
