//! Which versions of what a title names, and how it means them: since, before, fixed in, good.

use super::issue::is_release;
use super::names::{Named, Names};
use super::title::Token;
use super::versions::Claim;

/// What a text says of versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Of the package that it is about.
    pub(super) own: Claim,
    /// Of other packages that are named with their version.
    pub(super) others: Vec<(Vec<usize>, Claim)>,
    /// It names a version of something that no package here is.
    pub(super) foreign: bool,
}

/// Software whose version is often named in an issue about something else.
const FOREIGN: [&str; 55] = [
    "python",
    "gcc",
    "clang",
    "kernel",
    "linux",
    "electron",
    "qt",
    "qt5",
    "qt6",
    "gtk",
    "gtk4",
    "cuda",
    "rocm",
    "nodejs",
    "node",
    "java",
    "jdk",
    "openjdk",
    "glibc",
    "llvm",
    "mesa",
    "nix",
    "nixos",
    "boost",
    "ffmpeg",
    "openssl",
    "go",
    "rust",
    "cargo",
    "php",
    "ruby",
    "perl",
    "postgresql",
    "mariadb",
    "mysql",
    "macos",
    "ubuntu",
    "windows",
    "cmake",
    "meson",
    "ghc",
    "zig",
    "dotnet",
    "icu",
    "protobuf",
    "numpy",
    "usb",
    "hdmi",
    "opengl",
    "vulkan",
    "tls",
    "http",
    "bluetooth",
    "urllib3",
    "wayland",
];
/// Units and things that numbers count.
const UNITS: [&str; 20] = [
    "ghz", "mhz", "hz", "gb", "gib", "mb", "mib", "kb", "tb", "ms", "s", "sec", "seconds", "min",
    "minutes", "hours", "days", "surround", "inch", "times",
];
/// Words between a name and its version.
const LIGHT: [&str; 7] = ["version", "versions", "release", "v", "at", "series", "ver"];

/// Where a version is meant to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Bad,
    From,
    Before,
    Until,
    Good,
}

/// Reads what words say of versions, when the text is about the packages `own`.
pub(super) fn read(words: &[Token], names: &Names, own: &[usize]) -> Said {
    let mut said = Said::default();
    let mut last: Option<Whose> = None;
    for (at, token) in words.iter().enumerate() {
        let Some(version) = version(token) else { continue };
        if !counts(words, at, version, names) {
            continue;
        }
        let follows = at > 1
            && matches!(words[at - 1].lower().as_str(), "and" | "or" | "," | "->" | "to")
            && words[..at - 1].iter().rev().take(1).any(|t| self::version(t).is_some());
        let whose = match last.take() {
            Some(whose) if follows => whose,
            _ => whose(words, at, names, own),
        };
        let claim = claim(role(words, at), version);
        match &whose {
            Whose::Own => said.own.join(claim),
            Whose::Other(packages) => match said.others.iter_mut().find(|(p, _)| p == packages) {
                Some((_, other)) => other.join(claim),
                None => said.others.push((packages.clone(), claim)),
            },
            Whose::Foreign => said.foreign = true,
        }
        last = Some(whose);
    }
    said
}

fn claim(role: Role, version: &str) -> Claim {
    let mut claim = Claim::default();
    let list = match role {
        Role::Bad => &mut claim.bad,
        Role::From => &mut claim.from,
        Role::Before => &mut claim.before,
        Role::Until => &mut claim.until,
        Role::Good => &mut claim.good,
    };
    list.push(version.to_owned());
    claim
}

/// A word that can be a version: it begins with a digit, and is no date, hash or ordinal.
fn version(token: &Token) -> Option<&str> {
    let Token::Word(word) = token else { return None };
    let bare = word.strip_prefix(['v', 'V']).unwrap_or(word);
    let first = bare.split(['.', '-', '_', '+']).next().unwrap_or(bare);
    let digits = first.bytes().take_while(u8::is_ascii_digit).count();
    let (year, dashed) = (first.len() == 4 && first.starts_with("20"), bare.contains('-'));
    let date = year && dashed && !bare.contains('.');
    let dotted = bare.contains('.');
    let good = digits > 0 && digits == first.len() && bare.len() <= 40 && !date;
    let letters = bare.bytes().filter(u8::is_ascii_alphabetic).count();
    (good && (dotted || bare.bytes().all(|b| b.is_ascii_digit() || b == b'-')) && letters <= 8)
        .then_some(bare)
}

/// Whether a number is a version where it stands.
fn counts(words: &[Token], at: usize, version: &str, names: &Names) -> bool {
    let lower = |i: usize| words.get(i).map(Token::lower).unwrap_or_default();
    let next = lower(at + 1);
    let before = at.checked_sub(1).map(lower).unwrap_or_default();
    // `26.11` and `26.11.20261024.5c724ed` are systems, not packages.
    let system = version.get(..5).is_some_and(is_release)
        && version.get(5..).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    if UNITS.contains(&next.as_str()) || before == "#" || system {
        return false;
    }
    if version.contains('.') {
        return true;
    }
    // A number alone is a version only where something says so.
    let dated = version.len() == 8 && version.starts_with("20");
    let spoken = ["since", "version", ">=", ">", "<", "<=", "->", "to", "after"];
    let named = |word: &str| names.with_version(word).is_some() || FOREIGN.contains(&word);
    let last = !matches!(words.get(at + 1), Some(Token::Word(_)));
    let placed = matches!(before.as_str(), "in" | "on" | "with" | "before" | "until");
    placed && last && version.len() > 2
        || dated
        || lower(at).starts_with('v')
        || spoken.contains(&before.as_str())
        || before == ":"
        || named(&before)
        || version.contains('-')
}

enum Whose {
    Own,
    Other(Vec<usize>),
    Foreign,
}

/// Whose version it is: that of the name right before it, or behind it; else the subject's.
fn whose(words: &[Token], at: usize, names: &Names, own: &[usize]) -> Whose {
    let before = words[..at].iter().rev().find(|t| !LIGHT.contains(&t.lower().as_str()));
    let behind = words.get(at + 1);
    for token in [before, behind].into_iter().flatten() {
        let Token::Word(word) = token else { continue };
        if let Some(Named { packages, .. }) = names.with_version(word) {
            return match packages.iter().any(|p| own.contains(p)) {
                true => Whose::Own,
                false => Whose::Other(packages),
            };
        }
        // What something is built against is something else.
        if word == "against" || FOREIGN.contains(&word.to_lowercase().as_str()) {
            return Whose::Foreign;
        }
    }
    Whose::Own
}

/// How the version at a place is meant, by the words around it.
fn role(words: &[Token], at: usize) -> Role {
    let before: Vec<String> = words[at.saturating_sub(6)..at].iter().map(Token::lower).collect();
    let before: Vec<&str> =
        before.iter().map(String::as_str).filter(|w| !LIGHT.contains(w)).collect();
    let behind: Vec<String> = words[at + 1..].iter().take(2).map(Token::lower).collect();
    let behind: Vec<&str> = behind.iter().map(String::as_str).collect();
    let ends = |words: &[&str]| before.ends_with(words);
    let dotted = words[at].lower().contains('.');
    match behind.as_slice() {
        ["->", ..] => return Role::Good,
        ["+", ..] | ["onwards", ..] | ["onward", ..] => return Role::From,
        ["and" | "or", "later" | "newer" | "up" | "above" | "higher" | "onwards"] => {
            return Role::From;
        }
        ["and" | "or", "earlier" | "older" | "below" | "lower"] => return Role::Until,
        ["works" | "worked" | "fine" | "ok" | "okay" | "good" | "unaffected", ..] => {
            return Role::Good;
        }
        ["is" | "was" | "named", "fine" | "ok" | "okay" | "good" | "unaffected"] => {
            return Role::Good;
        }
        ["to", ..] if ends(&["from"]) => return Role::Good,
        _ => {}
    }
    let [.., second, first] = [&["", ""], before.as_slice()].concat()[..] else { return Role::Bad };
    match (second, first) {
        (_, "->") => Role::Bad,
        ("prior", "to") | (_, "before" | "<" | "below") => Role::Before,
        ("earlier" | "older" | "lower", "than") => Role::Before,
        ("fixed" | "fix" | "resolved" | "patched" | "solved", "in" | "by" | "with") => Role::Before,
        ("up", "to") | (_, "<=" | "through" | "until") => match worked(&before) {
            true => Role::Good,
            false => Role::Until,
        },
        ("regression" | "downgrade" | "downgraded", "from") => Role::Good,
        ("last", "good") | ("good" | "fine" | "ok", "in" | "on" | "with") => Role::Good,
        ("works" | "worked" | "working", "in" | "on" | "with") => Role::Good,
        ("downgrading" | "downgrade" | "reverting" | "revert" | "rollback" | "back", "to") => {
            Role::Good
        }
        (_, "between") => Role::Good,
        ("starting" | "beginning", "with" | "from") | ("as", "of") => Role::From,
        (_, "since" | ">=" | ">" | "after") | ("newer" | "later", "than") => Role::From,
        (_, "to") if updated(&before) && !dotted => Role::From,
        _ => Role::Bad,
    }
}

fn worked(before: &[&str]) -> bool {
    before.iter().any(|w| matches!(*w, "works" | "worked" | "fine" | "good"))
}

fn updated(before: &[&str]) -> bool {
    before.iter().any(|w| w.starts_with("updat") || w.starts_with("upgrad") || *w == "bump")
}

#[cfg(test)]
mod tests {
    use super::super::inventory::{Inventory, Package};
    use super::super::title::tokens;
    use super::*;

    fn read_all(text: &str) -> Said {
        let package = |p: &str| Package { pname: p.to_owned(), ..Package::default() };
        let packages = ["x", "linux", "mesa", "go"].map(package).to_vec();
        let names = Names::of(&Inventory { packages, ..Inventory::default() });
        read(&tokens(text), &names, &[0])
    }

    #[test]
    fn words_around_a_version_say_what_it_is() {
        for (text, role, versions) in [
            ("x: 1.2 crashes", Role::Bad, &["1.2"][..]),
            ("x: 254 and 255.x crash", Role::Bad, &["254", "255.x"]),
            ("x: crash since 6.17", Role::From, &["6.17"]),
            ("x: crash with 6.17+", Role::From, &["6.17"]),
            ("x: crash in 6.17 and later", Role::From, &["6.17"]),
            ("x >= 6.17 crash", Role::From, &["6.17"]),
            ("x: broken after updating to 42", Role::From, &["42"]),
            ("x: broken after updating to 42.1", Role::Bad, &["42.1"]),
            ("x before version 10.01.2 affected", Role::Before, &["10.01.2"]),
            ("x < 3.1", Role::Before, &["3.1"]),
            ("x: hang (fixed in 3.5.7 and 3.6.3)", Role::Before, &["3.5.7"]),
            ("x: regression from 2.10", Role::Good, &["2.10"]),
            ("x: crash, 1.1 works", Role::Good, &["1.1"]),
            ("x: crash (worked in 1.1)", Role::Good, &["1.1"]),
            ("x: crash up to 1.1", Role::Until, &["1.1"]),
            ("x: 2026-09-01 crash #1234 on 25.11, 3 times, 2.4 GHz", Role::Bad, &[]),
        ] {
            let own = read_all(text).own;
            let list = match role {
                Role::Bad => &own.bad,
                Role::From => &own.from,
                Role::Before => &own.before,
                Role::Until => &own.until,
                Role::Good => &own.good,
            };
            assert_eq!(
                list.iter().take(2).take(versions.len().max(1)).collect::<Vec<_>>(),
                versions.iter().collect::<Vec<_>>(),
                "{text}: {own:?}"
            );
        }
        let moved = read_all("nixos/x: 257.7 -> 257.8 fails").own;
        assert_eq!((moved.good, moved.bad), (vec!["257.7".into()], vec!["257.8".into()]));
    }

    #[test]
    fn a_version_is_that_of_the_name_before_it() {
        let said = read_all("x: crash with mesa 26.1 on kernel version 6.18");
        assert!(said.own.is_empty());
        assert_eq!(said.others, [(vec![2], Claim::bad("26.1")), (vec![1], Claim::bad("6.18"))]);
        assert!(read_all("x: crash with electron 39").foreign);
        assert_eq!(read_all("cannot boot with 6.12.2 kernel").others[0].0, [1]);
    }
}
