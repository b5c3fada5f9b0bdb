//! What a build would fetch and what it would build, as Nix says it. Pure.
//!
//! The figures exist only as text on standard error (`printMissing` in Nix's
//! `src/libmain/shared.cc`); what is not understood is not known. A path that no reachable cache
//! has counts as one to build, so without a network everything does.

/// What is still missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fetching {
    /// Derivations to build.
    pub build: u64,
    /// Paths to fetch.
    pub fetch: u64,
    /// Bytes to download.
    pub download: u64,
    /// Bytes that take their place in the store.
    pub unpacked: u64,
}

/// Reads it; `None`: a line of it is not understood.
pub fn parse(lines: &[String]) -> Option<Fetching> {
    let mut found = Fetching::default();
    for line in lines {
        let line = line.trim();
        let head = |tail: &str| line.split_once(tail).map(|(head, rest)| (head.to_owned(), rest));
        if let Some((head, _)) = head(" will be built:") {
            found.build = number(&head, "derivation")?;
        } else if let Some((head, rest)) = head(" will be fetched (") {
            found.fetch = number(&head, "path")?;
            let (download, rest) = rest.split_once(" download, ")?;
            (found.download, found.unpacked) =
                (size(download)?, size(rest.split_once(" unpacked)")?.0)?);
        } else if line.contains("don't know how to build these paths") {
            return None;
        }
    }
    Some(found)
}

/// `these 12 paths`, `this path`.
fn number(head: &str, noun: &str) -> Option<u64> {
    match head.strip_prefix("these ") {
        Some(rest) => {
            let number: u64 =
                rest.strip_suffix(&format!(" {noun}s"))?.replace(',', "").parse().ok()?;
            // Of nothing Nix says nothing.
            Some(number).filter(|n| *n > 0)
        }
        None => (head == format!("this {noun}")).then_some(1),
    }
}

/// `1.20 MiB`.
fn size(text: &str) -> Option<u64> {
    let (number, unit) = text.split_once(' ')?;
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = units.iter().position(|u| *u == unit)?;
    let number: f64 = number.parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0)?;
    Some((number * 1024_f64.powi(i32::try_from(power).ok()?)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Fetching> {
        parse(&text.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn figures_are_read_in_singular_and_plural() {
        let many = "warning: x\nthese 6 derivations will be built:\n  /nix/store/a.drv\n\
            these 1530 paths will be fetched (1945.60 MiB download, 5.5 GiB unpacked):\n  /nix/b";
        let (download, unpacked) = (2_040_109_465, 5_905_580_032);
        assert_eq!(read(many), Some(Fetching { build: 6, fetch: 1530, download, unpacked }));
        let one = "this derivation will be built:\n  /nix/store/a.drv\n\
            this path will be fetched (0.00 MiB download, 0.50 KiB unpacked):";
        let one = read(one);
        assert_eq!(one, Some(Fetching { build: 1, fetch: 1, download: 0, unpacked: 512 }));
        assert_eq!(read(""), Some(Fetching::default()));
        for odd in [
            "some paths will be fetched (x)",
            "these x derivations will be built:",
            "this path will be fetched (much download, 1 B unpacked):",
            "these 0 paths will be fetched (1 MiB download, 1 MiB unpacked):",
            "these -1 paths will be fetched (",
            "don't know how to build these paths:",
        ] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }
}
