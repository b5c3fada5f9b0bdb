//! Which Nix would evaluate, and how it is configured, under one name.
//!
//! `nix --version` and `nix config show` tell, but take longer than an evaluation that Nix has
//! cached; so their answer is kept under the name of everything it depends on: the program, its
//! libraries, every configuration file with what it includes, and Nix's variables. Configuration
//! files are small, so their content is compared and not only their times.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::fingerprint::Digest;
use super::memory;
use super::nix;
use super::uncacheable::Uncacheable;
use crate::world::{World, files};

/// Largest configuration file that is looked at.
const TEXT_LIMIT: u64 = 1 << 20;
/// Deepest chain of `include`.
const DEPTH: u32 = 8;
/// Where a Nix of a distribution keeps its libraries; one from a Nix store names them by its path.
const LIBRARIES: [&str; 6] = [
    "/usr/lib",
    "/usr/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/local/lib",
    "/usr/local/lib64",
];
/// Where the system's configuration may be; the first is what Nix is built with nearly always.
const SYSTEM: [&str; 2] = ["/etc/nix", "/usr/local/etc/nix"];

/// What the process was started in, as far as Nix heeds it.
#[derive(Debug, Clone, Default)]
pub(super) struct Surroundings {
    /// The person's home.
    pub(super) home: PathBuf,
    /// `PATH`, and all that begins with `NIX_` or `XDG_`.
    pub(super) variables: BTreeMap<String, OsString>,
}

impl Surroundings {
    /// As they are.
    pub(super) fn read(world: &World) -> Self {
        let wanted = |n: &str| n == "PATH" || n.starts_with("NIX_") || n.starts_with("XDG_");
        let variables = crate::world::environment::variables(wanted);
        Self { home: world.environment.home.clone(), variables }
    }

    /// A folder of XDG's, or its usual place.
    pub(super) fn folder(&self, variable: &str, usual: &str) -> PathBuf {
        let set = self.variables.get(variable).map(PathBuf::from).filter(|p| p.is_absolute());
        set.unwrap_or_else(|| self.home.join(usual))
    }

    /// The program that `nix` starts.
    fn program(&self) -> Option<PathBuf> {
        let found = std::env::split_paths(self.variables.get("PATH")?);
        let found = found
            .map(|f| f.join("nix"))
            .find(|p| p.metadata().is_ok_and(|m| m.is_file() && m.mode() & 0o111 != 0))?;
        found.canonicalize().ok()
    }

    /// Every file that may configure Nix, whether it is there or not (nix.conf(5)).
    fn configuration(&self) -> Vec<PathBuf> {
        let mut folders: Vec<PathBuf> = SYSTEM.map(PathBuf::from).to_vec();
        for variable in ["NIX_CONF_DIR", "NIX_CONFIG_HOME"] {
            folders.extend(self.variables.get(variable).map(PathBuf::from));
        }
        folders.push(self.folder("XDG_CONFIG_HOME", ".config").join("nix"));
        let dirs = self.variables.get("XDG_CONFIG_DIRS").cloned();
        let dirs = dirs.unwrap_or_else(|| "/etc/xdg".into());
        folders.extend(std::env::split_paths(&dirs).map(|f| f.join("nix")));
        let mut found: Vec<PathBuf> = folders.iter().map(|f| f.join("nix.conf")).collect();
        let named = self.variables.get("NIX_USER_CONF_FILES").cloned().unwrap_or_default();
        found.extend(std::env::split_paths(&named));
        // What the person allowed flakes to set, once and for all.
        found.push(self.folder("XDG_DATA_HOME", ".local/share").join("nix/trusted-settings.json"));
        let data = self.variables.get("NIX_DATA_HOME").map(PathBuf::from);
        found.extend(data.map(|f| f.join("trusted-settings.json")));
        found
    }
}

/// What Nix said of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Said {
    version: String,
    /// Digest of `nix config show --json`.
    settings: String,
    pure: bool,
}

/// Names the evaluator.
///
/// # Errors
/// When it cannot be told, or evaluates impurely.
pub(super) async fn evaluator(
    world: &World,
    surroundings: &Surroundings,
) -> Result<String, Uncacheable> {
    let unknown = |why: &str| Uncacheable::UnknownNix(why.to_owned());
    let program = surroundings.program().ok_or_else(|| unknown("it is not on PATH"))?;
    let depends = depends(surroundings, &program)?;
    let name = format!("nix-{}", &depends[..32]);
    let said = match memory::read::<Said>(world, &name) {
        Some(said) => said,
        None => {
            let said = ask(world).await?;
            memory::write(world, &name, &said);
            said
        }
    };
    if !said.pure {
        return Err(Uncacheable::Impure);
    }
    let mut digest = Digest::new("evaluator");
    digest.add(&depends).add(&said.version).add(&said.settings);
    Ok(digest.end())
}

/// Digest of everything that its answers depend on.
fn depends(surroundings: &Surroundings, program: &Path) -> Result<String, Uncacheable> {
    let mut digest = Digest::new("nix");
    stamp(&mut digest, program);
    if !program.starts_with("/nix/store") {
        libraries().iter().for_each(|l| stamp(&mut digest, l));
    }
    for (name, value) in surroundings.variables.iter().filter(|(n, _)| *n != "PATH") {
        digest.add(name).add(value.as_bytes());
    }
    for file in surroundings.configuration() {
        configuration(&mut digest, &file, 0)?;
    }
    Ok(digest.end())
}

/// Which file this is, without reading it: its inode's change time cannot be set.
fn stamp(digest: &mut Digest, file: &Path) {
    digest.add(file.as_os_str().as_bytes());
    if let Ok(meta) = file.metadata() {
        let (size, inode) = (meta.len(), meta.ino());
        let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
        digest.add(format!("{size} {inode} {times:?}"));
    }
}

fn libraries() -> Vec<PathBuf> {
    let ours = |p: &PathBuf| {
        let name = p.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        name.starts_with("libnix") || name.starts_with("liblix")
    };
    let folders = LIBRARIES.iter().flat_map(|f| std::fs::read_dir(f).into_iter().flatten());
    let mut found: Vec<PathBuf> = folders.flatten().map(|e| e.path()).filter(ours).collect();
    found.sort();
    found
}

/// A file with all that it includes (`include FILE`, `!include FILE`).
fn configuration(digest: &mut Digest, file: &Path, depth: u32) -> Result<(), Uncacheable> {
    let unknown = |why: String| Uncacheable::UnknownNix(format!("{}: {why}", file.display()));
    if depth > DEPTH {
        return Err(unknown("includes too deeply".to_owned()));
    }
    digest.add(file.as_os_str().as_bytes());
    let text = match files::read_text(file, TEXT_LIMIT) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        // Nix cannot read what we cannot, as it runs as the same person.
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => return Ok(()),
        Err(e) => return Err(unknown(e.to_string())),
    };
    digest.add(&text);
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if let (Some("include" | "!include"), Some(other)) = (words.next(), words.next()) {
            let other = file.parent().unwrap_or(Path::new("/")).join(other);
            configuration(digest, &other, depth + 1)?;
        }
    }
    Ok(())
}

async fn ask(world: &World) -> Result<Said, Uncacheable> {
    let limit = std::time::Duration::from_secs(60);
    let run = |args: &'static [&'static str]| world.run(nix(args.iter().copied()).timeout(limit));
    let (version, settings) = tokio::join!(run(&["--version"]), run(&["config", "show", "--json"]));
    let unknown = |why: String| Uncacheable::UnknownNix(why);
    let (version, settings) = (
        version.map_err(|e| unknown(e.to_string()))?,
        settings.map_err(|e| unknown(e.to_string()))?,
    );
    if !version.ended.ok() || !settings.ended.ok() {
        return Err(unknown("it does not say".to_owned()));
    }
    let text = settings.out.join("\n");
    let read: serde_json::Value =
        serde_json::from_str(&text).map_err(|e| unknown(e.to_string()))?;
    let pure = read.pointer("/pure-eval/value").and_then(serde_json::Value::as_bool);
    let mut digest = Digest::new("settings");
    digest.add(&text);
    let (version, settings) = (version.out.join("\n"), digest.end());
    Ok(Said { version, settings, pure: pure.unwrap_or(false) })
}
