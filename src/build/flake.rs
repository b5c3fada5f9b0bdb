//! Which flake a deploy is made from: text of hosts.toml or `--flake` to a reference.
//!
//! A folder must lie in a git repository: only then does Nix keep an evaluation cache (also of
//! dirty trees), and only then is there a tree that can be named. Other references are handed to
//! Nix as they are, but for indirect ones, which mean something else on every machine. Reads
//! folders and nothing more; what is in the flake is Nix's business.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::fleet::AttrName;
use crate::world::Environment;

/// Schemes that name one place wherever they are read.
const SCHEMES: [&str; 13] = [
    "github",
    "gitlab",
    "sourcehut",
    "git",
    "git+file",
    "git+http",
    "git+https",
    "git+ssh",
    "http",
    "https",
    "tarball+http",
    "tarball+https",
    "path",
];

/// A flake reference that Nix will read as we mean it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlakeRef {
    /// A folder in a git repository of this machine.
    Local(LocalFlake),
    /// Anything else, as written.
    Other(String),
}

/// A folder in a git repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFlake {
    /// Where the repository's working tree begins; absolute, links resolved.
    pub root: PathBuf,
    /// The flake's folder below `root`; empty: the root itself.
    pub folder: PathBuf,
}

/// Why a text is no flake to deploy from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlakeError {
    /// Nothing is there.
    #[error("there is no folder {0}")]
    NoSuchFolder(String),
    /// No flake in it.
    #[error("{0} holds no flake.nix")]
    NoFlakeNix(String),
    /// No repository around it.
    #[error("{0} is not in a git repository")]
    NotGit(String),
    /// A name that the machine's registry resolves.
    #[error("'{0}' is an indirect flake reference, which can mean another flake on each machine")]
    Indirect(String),
    /// No reference at all.
    #[error("'{0}' is no flake reference: {1}")]
    Malformed(String, &'static str),
}

impl FlakeError {
    /// What to type next.
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NoSuchFolder(_) => {
                "set `flake` in hosts.toml, or pass `--flake FOLDER`".to_owned()
            }
            Self::NoFlakeNix(folder) => format!("ls -l {folder}"),
            Self::NotGit(folder) => format!("git -C {folder} init && git -C {folder} add ."),
            Self::Indirect(name) => {
                format!(
                    "write ./{name} for the folder, or the whole reference: `github:OWNER/REPO`"
                )
            }
            Self::Malformed(..) => "a folder, or `github:OWNER/REPO[/REV]`".to_owned(),
        };
        vec![hint]
    }

    /// As the error that ends a command.
    pub fn error(&self) -> Error {
        self.hints().into_iter().fold(Error::usage(self.to_string()), Error::hint)
    }
}

impl FlakeRef {
    /// Reads a reference; relative folders count from `from`.
    ///
    /// # Errors
    /// When it is none that a deploy can rely on.
    pub fn parse(text: &str, from: &Path, environment: &Environment) -> Result<Self, FlakeError> {
        let shown: String = text.chars().take(200).flat_map(char::escape_debug).collect();
        if text.is_empty() || text.chars().any(|c| c.is_control() || c == '#') {
            return Err(FlakeError::Malformed(
                shown,
                "it may hold no '#' and no control characters",
            ));
        }
        if let Some((scheme, _)) = text.split_once(':').filter(|(s, _)| is_scheme(s)) {
            return match SCHEMES.contains(&scheme) {
                true => Ok(Self::Other(text.to_owned())),
                false if scheme == "flake" => Err(FlakeError::Indirect(shown)),
                false => Err(FlakeError::Malformed(shown, "its scheme is unknown")),
            };
        }
        let folder = environment.expand(text, from);
        if !text.starts_with(['/', '.', '~']) && !folder.is_dir() {
            return Err(FlakeError::Indirect(shown));
        }
        Self::local(&folder)
    }

    /// A folder of this machine.
    ///
    /// # Errors
    /// When it is no folder, holds no flake.nix, or lies in no git repository.
    pub fn local(folder: &Path) -> Result<Self, FlakeError> {
        let shown = folder.display().to_string();
        let real = folder.canonicalize().ok().filter(|f| f.is_dir());
        let real = real.ok_or_else(|| FlakeError::NoSuchFolder(shown.clone()))?;
        if !real.join("flake.nix").is_file() {
            return Err(FlakeError::NoFlakeNix(shown));
        }
        // A worktree or a submodule has a file there, so existence is all that counts.
        let root = real.ancestors().find(|f| f.join(".git").exists()).map(Path::to_path_buf);
        let root = root.ok_or(FlakeError::NotGit(shown))?;
        let folder = real.strip_prefix(&root).unwrap_or(Path::new("")).to_path_buf();
        Ok(Self::Local(LocalFlake { root, folder }))
    }

    /// The toplevel of a host's configuration, as Nix's command line takes it.
    pub fn installable(&self, attr: &AttrName) -> String {
        format!("{self}#nixosConfigurations.\"{attr}\".config.system.build.toplevel")
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

impl LocalFlake {
    /// The flake's own folder.
    pub fn path(&self) -> PathBuf {
        self.root.join(&self.folder)
    }
}

/// As Nix reads it.
impl fmt::Display for FlakeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let local = match self {
            Self::Other(text) => return f.write_str(text),
            Self::Local(local) => local,
        };
        write!(f, "git+file://{}", encoded(&local.root))?;
        if local.folder.as_os_str().is_empty() {
            return Ok(());
        }
        write!(f, "?dir={}", encoded(&local.folder))
    }
}

/// A path inside a URL: everything that could end it or mean something there is escaped.
fn encoded(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
    path.as_os_str().as_bytes().iter().fold(String::new(), |mut url, byte| {
        match plain(*byte) {
            true => url.push(char::from(*byte)),
            false => url.push_str(&format!("%{byte:02X}")),
        }
        url
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(home: &Path) -> Environment {
        Environment { home: home.to_path_buf(), ..Environment::below(home) }
    }

    fn read(text: &str, home: &Path) -> Result<FlakeRef, FlakeError> {
        FlakeRef::parse(text, home, &environment(home))
    }

    #[test]
    fn a_folder_must_hold_a_flake_in_a_repository() {
        let home = tempfile::tempdir().expect("folder");
        let at = home.path().join("a b");
        assert!(matches!(read("./a b", home.path()), Err(FlakeError::NoSuchFolder(_))));
        std::fs::create_dir_all(at.join("sub")).expect("made");
        assert!(matches!(read("./a b", home.path()), Err(FlakeError::NoFlakeNix(_))));
        std::fs::write(at.join("sub/flake.nix"), "{}").expect("written");
        assert!(matches!(read("~/a b/sub", home.path()), Err(FlakeError::NotGit(_))));
        std::fs::create_dir(at.join(".git")).expect("made");
        let flake = read("~/a b/sub", home.path()).expect("a flake");
        let real = home.path().canonicalize().expect("real");
        assert_eq!(flake.to_string(), format!("git+file://{}/a%20b?dir=sub", real.display()));
        let attr = AttrName::new("p620").expect("attr");
        let tail = "#nixosConfigurations.\"p620\".config.system.build.toplevel";
        assert!(flake.installable(&attr).ends_with(tail));
    }

    #[test]
    fn only_references_that_mean_the_same_everywhere_are_taken() {
        let home = tempfile::tempdir().expect("folder");
        for good in ["github:me/config", "git+https://example.org/x?ref=main", "path:/srv/x"] {
            assert_eq!(read(good, home.path()), Ok(FlakeRef::Other(good.to_owned())));
        }
        for bad in ["nixpkgs", "flake:nixpkgs", "nixpkgs/nixos-25.11"] {
            assert!(matches!(read(bad, home.path()), Err(FlakeError::Indirect(_))), "{bad}");
        }
        for bad in ["", "x:y", "./a#b", "a\nb", "github:a/b#c"] {
            assert!(matches!(read(bad, home.path()), Err(FlakeError::Malformed(..))), "{bad}");
        }
        assert!(read("--impure", home.path()).is_err());
    }
}
