//! What an update would bring: the data of `update preview`, its document, and its page.
//!
//! Plain data, filled in by `command`. Keys of the document are only ever added within a
//! [`SCHEMA`]. Texts in here are harmless for a terminal.

use std::collections::BTreeMap;

use serde::Serialize;

use super::inputs::{self, Moved};
use super::known::{self, Known};
use super::look::{Ink, Look, bytes, columns_of, count};
use super::recap;
use crate::event::PackageChange;

/// Version of the document; raised when a key changes its meaning or goes.
pub const SCHEMA: u32 = 1;
/// Columns of what a line is about.
const TITLE: usize = 10;
/// Packages that a line names.
const NAMED: usize = 12;

/// What would come.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Preview {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Inputs that move.
    pub inputs: Vec<Moved>,
    /// Inputs that there are.
    pub of: usize,
    /// Each host.
    pub hosts: BTreeMap<String, HostPreview>,
    /// What is known of it; `null`: nobody looked.
    pub issues: Option<Known>,
}

/// What would come to a host.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct HostPreview {
    /// Boot-critical packages.
    pub boot: Vec<PackageChange>,
    /// What services run.
    pub services: Vec<PackageChange>,
    /// What is on PATH; everything that is not boot-critical where roles are not known.
    pub programs: Vec<PackageChange>,
    /// What came with these; `null`: roles are not known.
    pub libraries: Option<Vec<PackageChange>>,
    /// Parts whose versions say that a reboot is needed for them.
    pub reboot_for: Vec<String>,
    /// Paths to fetch; `null`: not known.
    pub fetch: Option<u64>,
    /// Bytes to download.
    pub download_bytes: Option<u64>,
    /// Bytes that are added to the store.
    pub unpacked_bytes: Option<u64>,
    /// Derivations to build.
    pub build: Option<u64>,
    /// Bytes of what runs now, kept until the garbage collector takes it.
    pub installed_bytes: Option<u64>,
    /// Why nothing can be said of it.
    pub unread: Option<String>,
}

/// The document.
pub fn document(preview: &Preview) -> String {
    serde_json::to_string(preview).unwrap_or_default() + "\n"
}

/// The page; each program and library with `all`.
pub fn page(preview: &Preview, all: bool, look: &Look) -> String {
    inputs::moves(&preview.inputs, preview.of, look).join("\n") + "\n" + &hosts(preview, all, look)
}

/// The hosts' part of it.
pub fn hosts(preview: &Preview, all: bool, look: &Look) -> String {
    let mut lines = Vec::new();
    for (host, coming) in &preview.hosts {
        let title = format!("Update preview for {host}");
        lines.push(String::new());
        lines.push(look.ink(Ink::Bold, &look.edges(&title, "nothing on it is changed")));
        match &coming.unread {
            Some(why) => lines.extend(look.wrap("  ", "  ", why)),
            None => lines.extend(of_host(coming, all, look)),
        }
    }
    let issues =
        preview.issues.as_ref().map(|known| format!("\n{}", known::page(known, all, look)));
    lines.join("\n") + "\n" + &issues.unwrap_or_default()
}

fn of_host(coming: &HostPreview, all: bool, look: &Look) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(listed("boot", &coming.boot, usize::MAX, look));
    lines.extend(listed("services", &coming.services, usize::MAX, look));
    lines.extend(listed("programs", &coming.programs, if all { usize::MAX } else { NAMED }, look));
    match &coming.libraries {
        Some(libraries) if all => lines.extend(listed("libraries", libraries, usize::MAX, look)),
        Some(libraries) if !libraries.is_empty() => {
            let told = format!("{} moved (--all lists them)", libraries.len());
            lines.extend(told_in("libraries", &told, look));
        }
        _ => {}
    }
    if lines.is_empty() {
        lines.extend(told_in("packages", "none moves", look));
    }
    let kernel = |part: &String| part == "linux" || part.starts_with("linux-") && !is_data(part);
    let reboot = match coming.reboot_for.as_slice() {
        [] => "not told by versions; --build knows".to_owned(),
        parts if parts.iter().any(kernel) => format!("needed for {}", parts.join(", ")),
        parts => format!("perhaps, for {}; --build knows", parts.join(", ")),
    };
    lines.extend(told_in("reboot", &reboot, look));
    let fetch = match (coming.fetch, coming.download_bytes, coming.build) {
        (Some(paths), Some(size), Some(build)) => {
            let paths = count(paths as usize, "path", "paths");
            format!("{} ({paths}), {build} to build", bytes(size))
        }
        _ => "not known".to_owned(),
    };
    lines.extend(told_in("download", &fetch, look));
    let sizes = [("new here", coming.unpacked_bytes), ("running now", coming.installed_bytes)];
    let sizes = sizes.iter().filter_map(|(what, size)| Some(format!("{} {what}", bytes((*size)?))));
    let sizes: Vec<String> = sizes.collect();
    lines.extend(told_in("size", &sizes.join(", "), look));
    lines
}

/// What the kernel reads and is no kernel.
fn is_data(part: &str) -> bool {
    part == "linux-firmware"
}

fn listed(title: &str, changes: &[PackageChange], most: usize, look: &Look) -> Vec<String> {
    if changes.is_empty() {
        return Vec::new();
    }
    let shown = |c: &PackageChange| format!("{} {}", c.name, recap::versions(c, look));
    let mut words: Vec<String> = changes.iter().take(most).map(shown).collect();
    let more = changes.len().saturating_sub(most);
    if more > 0 {
        words.push(format!("{more} more (--all)"));
    }
    packed(title, &words, look)
}

/// Words that are not broken, as many in a line as fit.
fn packed(title: &str, words: &[String], look: &Look) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if columns_of(line) + 3 + columns_of(word) <= look.width => {
                line.push_str(" | ");
                line.push_str(word);
            }
            Some(_) => lines.push(format!("{:TITLE$}{word}", "")),
            None => lines.push(format!("{title:TITLE$}{word}")),
        }
    }
    lines.iter().map(|line| look.cut(line, look.width)).collect()
}

fn told_in(title: &str, text: &str, look: &Look) -> Vec<String> {
    look.wrap(&format!("{title:TITLE$}"), &" ".repeat(TITLE), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(name: &str, before: &str, after: &str) -> PackageChange {
        let some = |v: &str| if v.is_empty() { Vec::new() } else { vec![v.to_owned()] };
        PackageChange { name: name.to_owned(), before: some(before), after: some(after) }
    }

    #[test]
    fn what_matters_most_stands_first() {
        let programs = (0..14).map(|n| change(&format!("tool{n}"), "1", "2")).collect();
        let host = HostPreview {
            boot: vec![change("linux", "7.1.9", "7.2.4")],
            services: vec![change("pipewire", "1.6.4", "1.6.5")],
            programs,
            libraries: Some(vec![change("zlib", "1.3", "")]),
            reboot_for: vec!["linux".to_owned()],
            fetch: Some(1530),
            download_bytes: Some(2_040_109_465),
            unpacked_bytes: Some(5_905_580_032),
            build: Some(6),
            installed_bytes: Some(8_000_000_000),
            unread: None,
        };
        let gone = HostPreview { unread: Some("it does not answer".to_owned()), ..host.clone() };
        let hosts = BTreeMap::from([("ws".to_owned(), host.clone()), ("lap".to_owned(), gone)]);
        let preview = Preview { schema: SCHEMA, of: 3, hosts, ..Preview::default() };
        insta::assert_snapshot!(page(&preview, false, &Look::plain()), @r"
        0 inputs of 3 move

        Update preview for lap                                  nothing on it is changed
          it does not answer

        Update preview for ws                                   nothing on it is changed
        boot      linux 7.1.9 -> 7.2.4
        services  pipewire 1.6.4 -> 1.6.5
        programs  tool0 1 -> 2 | tool1 1 -> 2 | tool2 1 -> 2 | tool3 1 -> 2
                  tool4 1 -> 2 | tool5 1 -> 2 | tool6 1 -> 2 | tool7 1 -> 2
                  tool8 1 -> 2 | tool9 1 -> 2 | tool10 1 -> 2 | tool11 1 -> 2
                  2 more (--all)
        libraries 1 moved (--all lists them)
        reboot    needed for linux
        download  1.9 GiB (1530 paths), 6 to build
        size      5.5 GiB new here, 7.5 GiB running now
        ");
        let data = HostPreview { reboot_for: vec!["linux-firmware".to_owned()], ..host };
        let told = of_host(&data, false, &Look::plain()).join("\n");
        assert!(told.contains("perhaps, for linux-firmware"), "{told}");
        assert!(page(&preview, true, &Look::plain()).contains("tool13"));
    }
}
