//! Packages that are held back: `holds.nix` in the flake, which takes each from the nixpkgs of a
//! revision that is named there. A flake is pure, so that is a change of the flake, and printed as
//! a patch; what runs stays what the repository says. Pure.

/// Its name, beside flake.nix.
pub const FILE: &str = "holds.nix";
/// How a line begins that tells of a package.
const MARK: &str = "# hold ";

/// A package that is held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Its attribute in nixpkgs.
    pub package: String,
    /// Commit of the nixpkgs that it is taken from.
    pub rev: String,
    /// Hash of that.
    pub nar_hash: String,
    /// Until when, `2026-12-22`.
    pub until: String,
    /// The issue of nixpkgs for which.
    pub issue: Option<u64>,
}

/// Names that are not held alone, and why.
const NEVER: [(&[&str], &str); 4] = [
    (
        &["systemd", "glibc", "dbus", "dbus-broker", "openssl", "zlib", "gcc", "util-linux"],
        "everything is built upon it: all of that would be built anew, and security fixes kept out",
    ),
    (
        &["nvidia-x11", "zfs-kernel", "nvidia-open", "v4l2loopback"],
        "it belongs to its kernel: hold linux, which brings its modules along",
    ),
    (&["gdm", "gnome-shell", "mutter"], "they only work with each other's versions"),
    (&["mesa"], "only as a whole: hardware.graphics.package from the older nixpkgs"),
];

/// Whether a package can be held by itself.
///
/// # Errors
/// With the reason, when it cannot.
pub fn can(package: &str) -> Result<(), &'static str> {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let fine = |c: char| c.is_ascii_alphanumeric() || "_-'".contains(c);
    if !package.starts_with(first) || !package.chars().all(fine) {
        return Err("that is no name of an attribute in nixpkgs");
    }
    match NEVER.iter().find(|(names, _)| names.contains(&package)) {
        Some((_, why)) => Err(why),
        None => Ok(()),
    }
}

impl Hold {
    /// What is taken from the older nixpkgs: of a kernel the whole set, with its modules.
    fn attribute(&self) -> String {
        match self.package.strip_prefix("linux") {
            Some("") => "linuxPackages".to_owned(),
            Some(flavour @ ("-zen" | "-xanmod" | "-hardened" | "-latest" | "-lts")) => {
                format!("linuxPackages_{}", &flavour[1..])
            }
            _ => self.package.clone(),
        }
    }

    fn line(&self) -> String {
        let issue = self.issue.map(|n| format!(" issue={n}")).unwrap_or_default();
        format!(
            "{MARK}{} rev={} hash={} until={}{issue}",
            self.package, self.rev, self.nar_hash, self.until
        )
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix(MARK)?.split(' ');
        let package = words.next().filter(|p| can(p).is_ok())?.to_owned();
        let value = |key: &str| {
            let rest = words.clone().find_map(|w| w.strip_prefix(key)?.strip_prefix('='))?;
            let fine = |c: char| c.is_ascii_alphanumeric() || "+/=-".contains(c);
            rest.chars().all(fine).then(|| rest.to_owned())
        };
        let issue = value("issue").and_then(|n| n.parse().ok());
        let (rev, nar_hash, until) = (value("rev")?, value("hash")?, value("until")?);
        Some(Self { package, rev, nar_hash, until, issue })
    }
}

/// The packages that a file holds.
pub fn read(text: &str) -> Vec<Hold> {
    text.lines().filter_map(Hold::parse).collect()
}

const HEAD: &str = r#"# Packages that are held back from updates, each until a day. Imported by the
# hosts' configurations: imports = [ ./holds.nix ];
# nixdeploy reads the lines that begin with `# hold`, and tells when one can go.
"#;
const OVERLAY: &str = r#"{
  nixpkgs.overlays = [
    (
      _: prev:
      let
        from =
          rev: narHash:
          import
            (builtins.fetchTree {
              type = "github";
              owner = "NixOS";
              repo = "nixpkgs";
              inherit rev narHash;
            })
            {
              inherit (prev.stdenv.hostPlatform) system;
              inherit (prev) config;
            };
      in
      {
"#;
const TAIL: &str = "      }\n    )\n  ];\n}\n";

/// The file that holds these.
pub fn write(holds: &[Hold]) -> String {
    let mut text = HEAD.to_owned();
    holds.iter().for_each(|hold| text.push_str(&(hold.line() + "\n")));
    text.push_str(OVERLAY);
    for hold in holds {
        let (attribute, rev, hash) = (hold.attribute(), &hold.rev, &hold.nar_hash);
        text.push_str(&format!("        {attribute} = (from \"{rev}\" \"{hash}\").{attribute};\n"));
    }
    text + TAIL
}

/// A patch, as git reads it, that makes one text of another; `before`: `None`, there is no file.
pub fn patch(path: &str, before: Option<&str>, after: &str) -> String {
    let lines = |text: &str| text.lines().count();
    let old = before.unwrap_or_default();
    let new = "new file mode 100644\n--- /dev/null";
    let head = match before {
        Some(_) => format!("diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n"),
        None => format!("diff --git a/{path} b/{path}\n{new}\n+++ b/{path}\n"),
    };
    let from = if old.is_empty() { "0,0".to_owned() } else { format!("1,{}", lines(old)) };
    let mut text = format!("{head}@@ -{from} +1,{} @@\n", lines(after));
    old.lines().for_each(|line| text.push_str(&format!("-{line}\n")));
    if !old.is_empty() && !old.ends_with('\n') {
        text.push_str("\\ No newline at end of file\n");
    }
    after.lines().for_each(|line| text.push_str(&format!("+{line}\n")));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(package: &str, issue: Option<u64>) -> Hold {
        Hold {
            package: package.to_owned(),
            rev: "1f0c2ab".repeat(5) + "abcde",
            nar_hash: "sha256-AAAA+/BBBB=".to_owned(),
            until: "2026-12-22".to_owned(),
            issue,
        }
    }

    #[test]
    fn a_file_of_holds_is_nix_and_reads_back() {
        let holds = [hold("linux-firmware", Some(562_919)), hold("linux", None)];
        let text = write(&holds);
        let parsed = rnix::Root::parse(&text);
        assert!(parsed.errors().is_empty(), "{:?}\n{text}", parsed.errors());
        assert_eq!(read(&text), holds);
        assert!(text.contains("linuxPackages = (from \"1f0c2ab"), "the kernel with its modules");
        assert!(text.contains("linux-firmware = (from \"1f0c2ab"), "{text}");
        let hostile = "# hold x rev=\"; until=2026-12-22 hash=sha256-A\n# hold ../x rev=1 hash=1";
        assert_eq!(read(hostile), []);
    }

    #[test]
    fn what_belongs_together_is_not_held_apart() {
        for package in ["systemd", "glibc", "zfs-kernel", "mutter", "mesa", "a.b", "-x", "a b", ""]
        {
            assert!(can(package).is_err(), "{package}");
        }
        for package in ["linux-firmware", "linux", "hello", "python3"] {
            assert_eq!(can(package), Ok(()), "{package}");
        }
    }
}
