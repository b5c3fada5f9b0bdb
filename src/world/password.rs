//! sudo's password: asked once for all hosts, when the first of them wants one, and kept until the
//! run is over.
//!
//! It is never in an argument, an environment or a file of ours. While it is known no core of this
//! process is dumped and nobody but root can look into it (prctl(2), PR_SET_DUMPABLE).

use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use zeroize::Zeroizing;

use super::elevate::Password;
use super::prompt::Prompt;

/// A line longer than this is no password.
const LONGEST: usize = 1024;

/// Where the password comes from, and what was given.
#[derive(Default)]
pub struct Safe {
    file: Option<PathBuf>,
    /// `None`: nobody was asked yet.
    given: tokio::sync::Mutex<Option<Given>>,
}

/// What came of asking.
pub type Given = Result<Password, NotGiven>;

/// Why there is no password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotGiven {
    /// There is no terminal, and no file was named.
    #[error("nobody is there to be asked for it (--sudo-password-file)")]
    Nobody,
    /// The question was left unanswered.
    #[error("no password was given")]
    Declined,
    /// The file is of no use.
    #[error("cannot take the password from {0}: {1}")]
    Unreadable(String, String),
}

impl Safe {
    /// Takes the password from the first line of a file, when it is wanted.
    pub fn file(path: Option<PathBuf>) -> Self {
        Self { file: path, ..Self::default() }
    }
}

/// The password; the first to want it asks, and all others wait for that answer.
pub async fn password(prompt: &Arc<Prompt>, host: &str) -> Given {
    let mut given = prompt.safe().given.lock().await;
    if let Some(given) = &*given {
        return given.clone();
    }
    // Before there is anything to hide. Where it is not allowed, nothing else is lost.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let asked = match prompt.safe().file.clone() {
        Some(path) => {
            let shown = path.display().to_string();
            let line = tokio::task::spawn_blocking(move || first_line(&path)).await;
            let line = line.unwrap_or_else(|e| Err(std::io::Error::other(e.to_string())));
            line.map_err(|e| NotGiven::Unreadable(shown, e.to_string()))
        }
        None => typed(prompt, host).await,
    };
    let answer = asked.and_then(|word| Password::new(&word).ok_or(NotGiven::Declined));
    *given = Some(answer.clone());
    answer
}

async fn typed(prompt: &Arc<Prompt>, host: &str) -> Result<Zeroizing<String>, NotGiven> {
    if !prompt.allowed() {
        return Err(NotGiven::Nobody);
    }
    let _floor = prompt.floor().await;
    let _screen = prompt.draw_curtain();
    let _restored = Restored(prompt.clone());
    let question = format!("sudo password, for {host} and every host that wants one");
    let asker = prompt.clone();
    let answer = tokio::task::spawn_blocking(move || asker.hidden(&question)).await;
    answer.ok().flatten().ok_or(NotGiven::Declined)
}

/// Whoever stops waiting for the answer leaves a terminal that shows what is typed.
struct Restored(Arc<Prompt>);

impl Drop for Restored {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// The first line of a file, a pipe or standard input. A file that others can read is refused.
fn first_line(path: &Path) -> std::io::Result<Zeroizing<String>> {
    let mut file = std::fs::File::open(path)?;
    let meta = file.metadata()?;
    let mine = [0, rustix::process::geteuid().as_raw()].contains(&meta.uid());
    if meta.is_file() && (!mine || meta.permissions().mode() & 0o077 != 0) {
        let why = "others can read it: chmod 600, and it must be yours";
        return Err(std::io::Error::other(why));
    }
    // Byte by byte into memory that does not move: no copy is left anywhere.
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST));
    let mut byte = Zeroizing::new([0_u8]);
    while line.len() < LONGEST && file.read(&mut *byte)? == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    let text = std::str::from_utf8(&line).map_err(|_| std::io::Error::other("it is no UTF-8"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("word");
        std::fs::write(&path, text).expect("written");
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, mode).expect("its mode");
        (folder, path)
    }

    #[test]
    fn the_first_line_of_a_private_file_is_taken() {
        for text in ["word", "word\n", "word\r\nmore\n"] {
            let (_folder, path) = written(text, 0o600);
            assert_eq!(first_line(&path).expect("a line").as_str(), "word");
        }
        let (_folder, path) = written("word", 0o640);
        assert!(first_line(&path).is_err(), "others can read it");
    }

    #[tokio::test]
    async fn all_get_the_one_answer() {
        let (_folder, path) = written("word\n", 0o600);
        let curtain = || Box::new(()) as Box<dyn Send>;
        let prompt = Arc::new(Prompt::new(false).with(curtain, Safe::file(Some(path.clone()))));
        let first = password(&prompt, "p620").await.expect("a password");
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(password(&prompt, "p510").await, Ok(first));
        let nobody = Arc::new(Prompt::new(false));
        assert_eq!(password(&nobody, "p620").await, Err(NotGiven::Nobody));
    }
}
