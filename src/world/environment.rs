//! What the process was started in: folders, terminal, names.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::Context;
use etcetera::BaseStrategy;

/// Names a run for the process that is to do it.
pub const RUN: &str = "NIXDEPLOY_RUN";

/// Read once at start.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The person's home.
    pub home: PathBuf,
    /// Where the program was started.
    pub folder: PathBuf,
    /// `XDG_STATE_HOME/nixdeploy`: runs, roots, journal of transactions.
    pub state: PathBuf,
    /// `XDG_CACHE_HOME/nixdeploy`: fingerprints.
    pub cache: PathBuf,
    /// Sockets of ssh masters: `XDG_RUNTIME_DIR/nixdeploy`, else below the cache.
    pub sockets: PathBuf,
    /// `USER@MACHINE`.
    pub operator: String,
    /// Name of this machine.
    pub machine: String,
    /// Whether standard input is a terminal and this is no CI.
    pub interactive: bool,
    /// Whether standard error is a terminal that can be drawn on.
    pub screen: bool,
    /// Whether standard output is a terminal.
    pub page: bool,
    /// Whether the locale can show more than ASCII.
    pub unicode: bool,
    /// Words of the command line, the program's own name left out.
    pub arguments: Vec<String>,
    /// `GITHUB_STEP_SUMMARY`.
    pub step_summary: Option<PathBuf>,
    /// `NIXDEPLOY_RUN`: the name that this run has already, as it was begun by another process.
    pub run: Option<String>,
}

impl Environment {
    /// For tests: every folder below one, and nobody at the terminal.
    #[cfg(test)]
    pub fn below(folder: &Path) -> Self {
        let at = |name: &str| folder.join(name);
        Self {
            home: at("home"),
            folder: folder.to_path_buf(),
            state: at("state"),
            cache: at("cache"),
            sockets: at("sockets"),
            operator: "me@here".to_owned(),
            machine: "here".to_owned(),
            interactive: false,
            screen: false,
            page: false,
            unicode: false,
            arguments: Vec::new(),
            step_summary: None,
            run: None,
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// When there is no home folder.
    pub fn read() -> anyhow::Result<Self> {
        let base = etcetera::choose_base_strategy().context("there is no home folder")?;
        let cache = base.cache_dir().join("nixdeploy");
        let state = base.state_dir().unwrap_or_else(|| base.home_dir().join(".local/state"));
        let runtime = base.runtime_dir().filter(|d| d.is_dir());
        let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let ci = var("CI").is_some_and(|v| v != "false");
        let dumb = var("TERM").is_none_or(|t| t == "dumb");
        Ok(Self {
            home: base.home_dir().to_path_buf(),
            folder: std::env::current_dir().context("the current folder is gone")?,
            state: state.join("nixdeploy"),
            sockets: runtime.map_or_else(|| cache.join("ssh"), |d| d.join("nixdeploy")),
            cache,
            operator: format!("{}@{machine}", var("USER").unwrap_or_else(|| "unknown".to_owned())),
            machine,
            interactive: std::io::stdin().is_terminal() && !ci,
            screen: rustix::termios::isatty(rustix::stdio::stderr()) && !ci && !dumb,
            page: rustix::termios::isatty(rustix::stdio::stdout()),
            unicode: ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|n| var(n)).is_some_and(|v| {
                let v = v.to_ascii_lowercase();
                v.contains("utf-8") || v.contains("utf8")
            }),
            arguments: std::env::args_os()
                .skip(1)
                .map(|a| a.to_string_lossy().into_owned())
                .collect(),
            step_summary: var("GITHUB_STEP_SUMMARY").map(PathBuf::from),
            run: var(RUN).filter(|r| r.len() == 6 && r.bytes().all(|b| b.is_ascii_hexdigit())),
        })
    }

    /// Replaces a leading `~/`, and counts relative paths from the given folder.
    pub fn expand(&self, path: &str, from: &Path) -> PathBuf {
        match path.strip_prefix("~/") {
            Some(rest) => self.home.join(rest),
            None if path == "~" => self.home.clone(),
            None => from.join(path),
        }
    }
}

/// The file of this program.
///
/// # Errors
/// Whatever the system says.
pub fn program() -> std::io::Result<PathBuf> {
    std::env::current_exe()
}

/// Variables whose names are wanted, for what must know all that a program of ours will see.
pub fn variables(wanted: impl Fn(&str) -> bool) -> BTreeMap<String, OsString> {
    let named = std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v)));
    named.filter(|(name, _)| wanted(name)).collect()
}

#[expect(clippy::disallowed_methods, reason = "the one door to the environment")]
fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}
