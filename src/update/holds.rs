//! Packages that are held back: `holds.nix` in the flake, which takes each from the nixpkgs of a
//! revision that is named there. A flake is pure, so that is a change of the flake, and printed as
//! a patch; what runs stays what the repository says. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::lock::Locked;
use super::packages::quoted;

/// Its name, beside flake.nix.
pub const FILE: &str = "holds.nix";
/// How a line begins that tells of a package.
const MARK: &str = "# hold ";
/// What stands before the place of a nixpkgs that is not the usual one.
const FROM: &str = " from=";

/// A package that is held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Its attribute in nixpkgs.
    pub package: String,
    /// The nixpkgs that it is taken from.
    pub source: Source,
    /// Until when, `2026-12-22`.
    pub until: String,
    /// The issue of nixpkgs for which.
    pub issue: Option<u64>,
}

/// Where a nixpkgs is fetched from: as flake.lock says, a fork or a mirror like the usual one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The commit; `None`: an archive, which its hash alone fixes.
    rev: Option<String>,
    nar_hash: String,
    /// The other arguments of `builtins.fetchTree` (Nix manual).
    from: BTreeMap<String, Value>,
}

impl Source {
    /// What an input is locked to.
    ///
    /// # Errors
    /// With the reason, when that names nothing that is the same everywhere and forever.
    pub fn of(locked: &Locked) -> Result<Self, &'static str> {
        let Ok(Value::Object(from)) = serde_json::to_value(locked) else {
            return Err("it cannot be read");
        };
        let mut from: BTreeMap<String, Value> = from.into_iter().collect();
        // Of a flake below the root the packages lie at the root all the same.
        for key in ["rev", "narHash", "lastModified", "revCount", "dir"] {
            from.remove(key);
        }
        let nar_hash = locked.nar_hash.clone().ok_or("it has no hash")?;
        let source = Self { rev: locked.rev.clone(), nar_hash, from };
        if !source.fixed() {
            return Err("it names no revision");
        }
        let relative = |path: &Value| path.as_str().is_some_and(|path| !path.starts_with('/'));
        if source.from.get("path").is_some_and(relative) {
            return Err("it lies in the flake itself");
        }
        if source.fine() { Ok(source) } else { Err("it cannot be written as Nix") }
    }

    /// Whether it is the same forever: by its revision, or as an archive by its hash alone.
    fn fixed(&self) -> bool {
        let kind = self.from.get("type").and_then(Value::as_str);
        self.rev.is_some() || matches!(kind, Some("tarball" | "path"))
    }

    /// Nothing in it means more in a comment or in Nix than a name or a text.
    fn fine(&self) -> bool {
        let word = |w: &String| w.chars().all(|c| c.is_ascii_alphanumeric() || "+/=-".contains(c));
        let key = |k: &String| !k.is_empty() && k.chars().all(|c| c.is_ascii_alphabetic());
        let plain = |value: &Value| match value {
            Value::String(text) => {
                !text.chars().any(|c| c.is_control() || "\u{2028}\u{2029}".contains(c))
            }
            Value::Bool(_) => true,
            Value::Number(n) => n.is_u64(),
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        };
        self.rev.iter().chain([&self.nar_hash]).all(word)
            && self.from.iter().all(|(k, v)| key(k) && plain(v))
    }

    /// The usual one.
    fn usual() -> BTreeMap<String, Value> {
        let all = [("type", "github"), ("owner", "NixOS"), ("repo", "nixpkgs")];
        all.map(|(key, value)| (key.to_owned(), Value::from(value))).into()
    }

    /// As the attributes of a set.
    fn nix(&self) -> Vec<String> {
        let value = |value: &Value| match value {
            Value::String(text) => quoted(text),
            other => other.to_string(),
        };
        let from = self.from.iter().map(|(key, v)| format!("{key} = {};", value(v)));
        let rev = self.rev.iter().map(|rev| format!("rev = {};", quoted(rev)));
        let hash = format!("narHash = {};", quoted(&self.nar_hash));
        from.chain(rev).chain([hash]).collect()
    }
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
    pub fn attribute(&self) -> String {
        match self.package.strip_prefix("linux") {
            Some("") => "linuxPackages".to_owned(),
            Some(flavour @ ("-zen" | "-xanmod" | "-hardened" | "-latest" | "-lts")) => {
                format!("linuxPackages_{}", &flavour[1..])
            }
            _ => self.package.clone(),
        }
    }

    fn line(&self) -> String {
        let Source { rev, nar_hash, from } = &self.source;
        let rev = rev.as_ref().map(|rev| format!(" rev={rev}")).unwrap_or_default();
        let issue = self.issue.map(|n| format!(" issue={n}")).unwrap_or_default();
        // Last, for its texts may hold spaces.
        let from = match *from == Source::usual() {
            true => String::new(),
            false => format!("{FROM}{}", serde_json::json!(from)),
        };
        format!("{MARK}{}{rev} hash={nar_hash} until={}{issue}{from}", self.package, self.until)
    }

    fn parse(line: &str) -> Option<Self> {
        let (words, from) = match line.split_once(FROM) {
            Some((words, from)) => (words, serde_json::from_str(from).ok()?),
            None => (line, Source::usual()),
        };
        let mut words = words.strip_prefix(MARK)?.split(' ');
        let package = words.next().filter(|p| can(p).is_ok())?.to_owned();
        let value = |key: &str| {
            let rest = words.clone().find_map(|w| w.strip_prefix(key)?.strip_prefix('='))?;
            let fine = |c: char| c.is_ascii_alphanumeric() || "+/=-".contains(c);
            rest.chars().all(fine).then(|| rest.to_owned())
        };
        let issue = value("issue").and_then(|n| n.parse().ok());
        let (rev, nar_hash, until) = (value("rev"), value("hash")?, value("until")?);
        let source = Source { rev, nar_hash, from };
        (source.fixed() && source.fine()).then_some(Self { package, source, until, issue })
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
          source:
          import (builtins.fetchTree source) {
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
        let attribute = hold.attribute();
        text.push_str(&format!("        {attribute} =\n          (from {{\n"));
        hold.source.nix().iter().for_each(|l| text.push_str(&format!("            {l}\n")));
        text.push_str(&format!("          }}).{attribute};\n"));
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

    fn hold(package: &str, issue: Option<u64>, locked: &str) -> Hold {
        let locked: Locked = serde_json::from_str(locked).expect("locked");
        let source = Source::of(&locked).expect("a source");
        Hold { package: package.to_owned(), source, until: "2026-12-22".to_owned(), issue }
    }

    const USUAL: &str = r#"{"type": "github", "owner": "NixOS", "repo": "nixpkgs",
        "rev": "1f0c2ab", "narHash": "sha256-AAAA+/BBBB=", "lastModified": 7}"#;
    const OWN: &str = r#"{"type": "git", "url": "file:///root/my np", "ref": "main", "rev": "2a",
        "narHash": "sha256-A", "shallow": true, "revCount": 4, "lastModified": 7}"#;
    const ARCHIVE: &str = r#"{"type": "tarball", "url": "https://x.example/${a}\"b\\.tar.xz",
        "narHash": "sha256-B"}"#;

    #[test]
    fn a_file_of_holds_is_nix_and_reads_back() {
        let holds = [
            hold("linux-firmware", Some(562_919), USUAL),
            hold("linux", None, USUAL),
            hold("firefox", Some(7), OWN),
            hold("hello", None, ARCHIVE),
        ];
        let text = write(&holds);
        let parsed = rnix::Root::parse(&text);
        assert!(parsed.errors().is_empty(), "{:?}\n{text}", parsed.errors());
        assert_eq!(read(&text), holds);
        for part in ["linuxPackages =\n          (from {\n", "}).linuxPackages;", "}).firefox;"] {
            assert!(text.contains(part), "{part} {text}");
        }
        let line = "# hold linux-firmware rev=1f0c2ab hash=sha256-AAAA+/BBBB= until=2026-12-22 \
            issue=562919\n";
        assert!(text.contains(line), "{text}");
        let hostile = [
            "# hold x rev=\"; hash=sha256-A until=2026-12-22",
            "# hold ../x rev=1 hash=1 until=2026-12-22",
            "# hold x hash=1 until=1 from={\"type\": \"tarball\", \"a = 1; b\": 1}",
            "# hold x hash=1 until=1 from={\"type\": \"tarball\", \"a\": []}",
            "# hold x hash=1 until=1 from={\"type\": \"git\"}",
        ];
        assert_eq!(read(&hostile.join("\n")), []);
        let fine = "# hold x hash=1 until=1 from={\"type\": \"tarball\"}";
        assert_eq!(read(fine).len(), 1, "the same without what is hostile");
    }

    #[test]
    fn a_package_is_taken_from_where_the_lock_says() {
        let text = write(&[hold("firefox", None, OWN)]);
        for part in [
            "ref = \"main\";",
            "rev = \"2a\";",
            "narHash = \"sha256-A\";",
            "shallow = true;",
            "type = \"git\";",
            "url = \"file:///root/my np\";",
        ] {
            assert!(text.contains(&format!("            {part}\n")), "{part} {text}");
        }
        assert!(!text.contains("github") && !text.contains("lastModified"), "{text}");
        let archive = write(&[hold("hello", None, ARCHIVE)]);
        assert!(archive.contains(r#"url = "https://x.example/\${a}\"b\\.tar.xz";"#), "{archive}");
        for (locked, why) in [
            (r#"{"type": "git", "url": "file:///x", "narHash": "sha256-A"}"#, "no revision"),
            (r#"{"type": "github", "owner": "NixOS", "repo": "nixpkgs", "rev": "1"}"#, "no hash"),
            (r#"{"type": "path", "path": "./np", "narHash": "sha256-A"}"#, "flake itself"),
            (r#"{"type": "git", "url": "a\nb", "rev": "1", "narHash": "sha256-A"}"#, "as Nix"),
        ] {
            let locked: Locked = serde_json::from_str(locked).expect("locked");
            let said = Source::of(&locked).expect_err("refused");
            assert!(said.contains(why), "{said}");
        }
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
