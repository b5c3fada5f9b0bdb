//! The output path of a derivation, read from its own file (ATerm), so that one program less is
//! started. Pure, total and bounded; knows as much of the format as that takes.
//!
//! The format is `Derive([("out","/nix/store/...","",""),...],...)` (Nix manual, "Derivation
//! ATerm format"); a content-addressed derivation has an empty path there.

use std::io::Read;

use crate::fleet::StorePath;

/// How much of a derivation's file is read: the outputs come first.
const HEAD: u64 = 64 << 10;
/// How much of one is read for what comes behind its inputs.
const WHOLE: u64 = 16 << 20;

/// Longest string read; a path is at most 211 characters longer than the store's.
const LIMIT: usize = 4096;

/// The beginning of a derivation's file; `None`: it is not there.
pub fn head(drv: &StorePath) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(drv.as_str()).ok()?.take(HEAD).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The path of output `out`; `None`: not known before it is built, or no derivation at all.
pub fn out_path(text: &str) -> Option<StorePath> {
    let mut rest = text.strip_prefix("Derive([")?;
    loop {
        let mut fields = ["", "", "", ""].map(str::to_owned);
        rest = rest.strip_prefix('(')?;
        for (n, field) in fields.iter_mut().enumerate() {
            if n > 0 {
                rest = rest.strip_prefix(',')?;
            }
            (*field, rest) = string(rest)?;
        }
        rest = rest.strip_prefix(')')?;
        if fields[0] == "out" {
            return StorePath::new(fields[1].as_str()).ok();
        }
        rest = rest.strip_prefix(',')?;
    }
}

/// The system that a derivation is built on; `None`: its file is not there, or is no derivation.
pub fn system_of(drv: &StorePath) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(drv.as_str()).ok()?.take(WHOLE).read_to_end(&mut bytes).ok()?;
    system(&String::from_utf8_lossy(&bytes))
}

/// The string behind outputs, derivations and sources that go in.
fn system(text: &str) -> Option<String> {
    let mut rest = text.strip_prefix("Derive(")?;
    for _ in 0..3 {
        rest = behind_list(rest)?.strip_prefix(',')?;
    }
    string(rest).map(|(system, _)| system)
}

/// What follows a list; brackets within strings are none.
fn behind_list(text: &str) -> Option<&str> {
    let (mut depth, mut quoted, mut escaped) = (0_u32, false, false);
    for (at, c) in text.char_indices() {
        match (c, quoted) {
            _ if escaped => escaped = false,
            ('\\', true) => escaped = true,
            ('"', _) => quoted = !quoted,
            ('[', false) => depth += 1,
            (']', false) => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return (at > 0).then(|| &text[at + 1..]);
        }
    }
    None
}

/// One quoted string and what follows it.
fn string(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut read = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((read, &inner[at + 1..])),
            '\\' => read.push(chars.next()?.1),
            other => read.push(other),
        }
        if at > LIMIT {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_path_of_out_is_found_among_the_outputs() {
        let recorded = include_str!("../../tests/fixtures/nix/toplevel.drv");
        let out = out_path(recorded).expect("a path");
        assert_eq!(out.name(), "nixos-system-p510-25.11.20261101.1ab2c3d");
        let path = "/nix/store/0c0d1f2g3h4i5j6k7l8m9n0p1q2r3s4v-x";
        let two =
            format!("Derive([(\"dev\",\"{path}-dev\",\"\",\"\"),(\"out\",\"{path}\",\"\",\"\")],");
        assert_eq!(out_path(&two).expect("a path").as_str(), path);
    }

    #[test]
    fn the_system_stands_behind_what_goes_in() {
        let recorded = include_str!("../../tests/fixtures/nix/toplevel.drv");
        assert_eq!(system(recorded).as_deref(), Some("x86_64-linux"));
        let odd = "Derive([(\"out\",\"a]\\\"\",\"\",\"\")],[],[\"x\"],\"aarch64-linux\",";
        assert_eq!(system(odd).as_deref(), Some("aarch64-linux"));
        assert_eq!(system("Derive([],[]"), None);
        assert_eq!(system("Derive(x"), None);
    }

    #[test]
    fn a_path_that_is_not_known_yet_is_none() {
        assert_eq!(out_path("Derive([(\"out\",\"\",\"r:sha256\",\"\")],[],[]"), None);
        assert_eq!(out_path("DrvWithVersion(\"xp-dyn-drv\",[])"), None);
        assert_eq!(out_path(""), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "(Derive\\(\\[)?[(\",\\\\a-z/\\])é]{0,80}") {
            let _ = (out_path(&text), system(&text));
        }
    }
}
