//! The resolver's check, with real shells and a `getent` that fails when it is told to.

use std::os::unix::fs::PermissionsExt;

const SCRIPT: &str = include_str!("../src/verify/network.sh");
/// Fails at its first call for each name but `gone`, for which it always fails.
const GETENT: &str = "#!/bin/sh\nfor name; do :; done\n[ \"$name\" != gone ] || exit 2\n\
                      [ -e \"$CALLS/$name\" ] || { : > \"$CALLS/$name\"; exit 2; }\n";

/// What `network_dns TRIES NAME...` prints, by the shell.
fn asked(shell: &str, tries: &str) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let getent = folder.path().join("getent");
    std::fs::write(&getent, GETENT).expect("written");
    std::fs::set_permissions(&getent, std::fs::Permissions::from_mode(0o755)).expect("runs");
    let script = format!(
        "PATH={}:$PATH\nput() {{ echo \"$1=$2\"; }}\n{SCRIPT}\nnetwork_dns \"$@\"\n",
        folder.path().display()
    );
    #[expect(clippy::disallowed_methods, reason = "the tests drive real programs themselves")]
    let output = std::process::Command::new(shell)
        .args(["-c", &script, "sh", tries, "late", "gone", "later"])
        .env("CALLS", folder.path())
        .output()
        .expect("a shell");
    let text = String::from_utf8(output.stdout).expect("text");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_resolver_that_answers_at_the_second_time_condemns_nobody() {
    for shell in ["dash", "bash"] {
        assert_eq!(asked(shell, "2"), ["dns=late", "dns=later"], "{shell}");
        assert_eq!(asked(shell, "1"), Vec::<String>::new(), "{shell}");
    }
}
