//! Becoming root on a host: the words around a command, and sudo's password where it wants one.
//!
//! Where `sudo -n` does, nothing else is ever tried. Where it does not, the password goes over as
//! the first lines of standard input and nowhere else. Three traps lie there. sudo takes further
//! lines for further attempts, so the password is tried once by itself on an empty command before
//! anything follows it. A sudo that wants no password any more leaves it to the program, so
//! whatever runs first drops every line up to a mark of ours. And the shell in front must not
//! read ahead, which POSIX forbids its `read` (sh, "read", on input that cannot be sought).

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::invocation::quote;

/// The line after which the command's own input begins.
const MARK: &str = "nixdeploy-input";
/// Takes the password, tries it once (a sudo that wants none leaves it unread), and starts the
/// words it is given. `sudo -n` is not asked again: each refusal is an error in the journal there.
const GATE: &str = "IFS= read -r p || exit 1; \
    printf '%s\\n' \"$p\" | sudo -S -p '' -- /bin/sh -c : || exit 1; p=; \
    exec sudo -S -p '' -- /bin/sh -c 'while IFS= read -r l; do \
    [ \"$l\" != nixdeploy-input ] || exec \"$@\"; done; exit 1' sh \"$@\"";

/// What sudo is told: kept once, wiped when nobody needs it any more, never shown.
#[derive(Clone)]
pub struct Password(Arc<Zeroizing<Vec<u8>>>);

impl Password {
    /// A password as it was typed, without its line end; `None`: it could not be sent as a line.
    pub fn new(typed: &Zeroizing<String>) -> Option<Self> {
        if typed.is_empty() || typed.contains(['\n', '\r', '\0']) {
            return None;
        }
        // Room for all of it: a buffer that grows would leave its old self behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(typed.len() * 2 + MARK.len() + 3));
        for line in [typed.as_bytes(), typed.as_bytes(), MARK.as_bytes()] {
            bytes.extend_from_slice(line);
            bytes.push(b'\n');
        }
        Some(Self(Arc::new(bytes)))
    }

    /// What is written before a command's own input: the password for the attempt, the password
    /// for the command, the mark.
    pub fn lines(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Password {}

/// A command line that runs quoted words as root: by sudo without a password, or through the gate.
pub fn elevated(words: &str, password: bool) -> String {
    if password {
        format!("/bin/sh -c {} sh {words}", quote(GATE))
    } else {
        format!("sudo -n -- {words}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Invocation;
    use crate::world::process::{Runner, System};

    fn password(text: &str) -> Option<Password> {
        Password::new(&Zeroizing::new(text.to_owned()))
    }

    #[test]
    fn a_password_is_one_line_and_is_not_shown() {
        assert!(password("").is_none() && password("a\nb").is_none() && password("a\0").is_none());
        let given = password("s3cret").expect("a password");
        assert_eq!(given.lines(), b"s3cret\ns3cret\nnixdeploy-input\n");
        assert_eq!(format!("{given:?}"), "Password");
        let invocation = Invocation::new("ssh", ["x"]).secret(Some(given));
        assert!(!format!("{invocation:?} {invocation}").contains("s3cret"));
    }

    /// A sudo that takes `right` or, without a file, wants nothing; it records its attempts.
    const SUDO: &str = r#"#!/bin/sh
        asks=; [ ! -e "$FAKE/asks" ] || asks=1
        case $1 in
          -n) [ -z "$asks" ] || { echo 'sudo: a password is required' >&2; exit 1; }; shift 2 ;;
          -S) shift 4
            if [ -n "$asks" ]; then
              while :; do
                IFS= read -r p || { echo 'sudo: 1 incorrect password attempt' >&2; exit 1; }
                echo "$p" >> "$FAKE/attempts"
                [ "$p" != right ] || break
              done
            fi ;;
        esac
        exec "$@""#;

    async fn through_the_gate(asks: bool, word: &str) -> (Vec<String>, Vec<String>, String) {
        let folder = tempfile::tempdir().expect("folder");
        let sudo = folder.path().join("sudo");
        std::fs::write(&sudo, SUDO).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&sudo, mode).expect("a program");
        if asks {
            std::fs::write(folder.path().join("asks"), "").expect("written");
        }
        let line = elevated("cat", true);
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let invocation = Invocation::new("/bin/sh", ["-c", &line])
            .secret(password(word))
            .stdin("its own\ninput\n")
            .env("PATH", path)
            .env("FAKE", folder.path().display().to_string());
        let talk = System.start(invocation).await.expect("started");
        let output = crate::world::Output::collect(talk).await.expect("collected");
        let attempts = std::fs::read_to_string(folder.path().join("attempts")).unwrap_or_default();
        (output.out, output.err, attempts)
    }

    #[tokio::test]
    async fn the_right_password_opens_and_the_script_gets_its_own_input() {
        let (out, err, attempts) = through_the_gate(true, "right").await;
        assert_eq!((out, err), (vec!["its own".to_owned(), "input".to_owned()], vec![]));
        assert_eq!(attempts, "right\nright\n", "once tried, once used");
    }

    #[tokio::test]
    async fn a_wrong_password_is_tried_once_and_nothing_runs() {
        let (out, err, attempts) = through_the_gate(true, "wrong").await;
        assert!(out.is_empty() && err.len() == 1, "{out:?} {err:?}");
        assert_eq!(attempts, "wrong\n");
    }

    #[tokio::test]
    async fn a_sudo_that_wants_none_does_not_run_the_password() {
        let (out, err, attempts) = through_the_gate(false, "right").await;
        assert_eq!((out.len(), err.len(), attempts.as_str()), (2, 0, ""), "{out:?} {err:?}");
    }
}
