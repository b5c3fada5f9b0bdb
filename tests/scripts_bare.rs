//! What is sent to a target uses what ran there before, and nothing else: a NixOS has nothing in
//! /usr/bin and /bin but `env` and `sh`.

use std::path::{Path, PathBuf};

/// Every shell script of the program.
fn scripts(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(scripts(&path));
        } else if path.extension().is_some_and(|e| e == "sh") {
            found.push(path);
        }
    }
    found
}

/// Without its comment; `#` inside a word is none.
fn code(line: &str) -> &str {
    let line = line.trim_start();
    if line.starts_with('#') { "" } else { line.split(" # ").next().unwrap_or(line) }
}

#[test]
fn no_script_names_a_program_by_a_path_that_nixos_lacks() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let scripts = scripts(&src);
    assert!(scripts.len() > 10, "{scripts:?}");
    for script in scripts {
        let text = std::fs::read_to_string(&script).expect("a script");
        for line in text.lines().map(code) {
            let line = line.replace("/bin/sh", "").replace("/sw/bin", "");
            let bad = ["/usr/", " /bin/", "\"/bin/", "=/bin/", "/sbin/"];
            let bad = bad.iter().find(|p| line.contains(**p));
            assert!(bad.is_none(), "{}: {line}", script.display());
        }
    }
}

/// Whoever logged in for the lock and says no word after all leaves no trace: half a word is none.
#[test]
fn a_lock_that_is_not_asked_for_is_not_taken() {
    use std::io::Write;
    use std::process::Stdio;
    let words = ["t0", "/old", "/new", "-", "-", "-", "1", "1", "1", "1", "me", "ask", "boot"];
    for (sh, word) in [("dash", ""), ("bash", ""), ("bash", "reb"), ("dash", "nothing\n")] {
        let mut child = crate::support::program(sh)
            .args(["-s", "--"])
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut input = child.stdin.take().expect("its input");
        input.write_all(nixdeploy::activate::guard::HOLD.as_bytes()).expect("the script");
        // said only when the whole script was read
        let mut first = [0; 17];
        let out = child.stdout.as_mut().expect("its output");
        std::io::Read::read_exact(out, &mut first).expect("a greeting");
        assert_eq!(&first, b"nixdeploy-hold=1\n", "{sh}");
        input.write_all(word.as_bytes()).expect("a word");
        drop(input);
        let rest = child.wait_with_output().expect("its end");
        assert_eq!(String::from_utf8_lossy(&rest.stdout), "", "{sh} after {word:?}");
    }
}

mod lab {
    use crate::support::desk::Desk;
    use crate::support::machines::Said;

    const HIDE: &str = include_str!("fixtures/bare/hide.sh");
    const NIX: &str = "nix --extra-experimental-features 'nix-command flakes'";

    /// Runs bash on a machine.
    fn bash(desk: &Desk, machine: &str, script: &str, args: &[&str]) -> Said {
        let said = desk.lab().exec(machine, &[&["bash", "-c", script, "-"], args].concat());
        assert_eq!(said.code, 0, "{machine}\n{}{}", said.stdout, said.stderr);
        said
    }

    /// Brings a configuration to the host, hides everything there, and deploys it.
    fn deployed_bare(desk: &Desk, settings: &str) -> Said {
        desk.knob(settings);
        let host = desk.host();
        let attribute = format!("'.#nixosConfigurations.\"{host}\".config.system.build.toplevel'");
        let build = format!(
            "cd /root/desks/{host}/flake; {NIX} build --no-link --print-out-paths {attribute}"
        );
        let built = bash(desk, "deployer", &build, &[]);
        let new = built.stdout.trim();
        let copy = format!("{NIX} copy --no-check-sigs --to ssh-ng://root@{host} \"$1\"");
        let _ = bash(desk, "deployer", &copy, &[new]);
        let old = desk.state().get("running").to_owned();
        let _ = bash(desk, host, HIDE, &[&old, new]);
        desk.run(&["quick-deploy", host])
    }

    /// What a session sees.
    fn assert_hidden(desk: &Desk) {
        let command = "PATH=/run/current-system/sw/bin; ls /usr/bin /usr/sbin";
        let look = desk.lab().exec("deployer", &["ssh", desk.host(), command]);
        let names = look.stdout.lines().filter(|l| !l.ends_with(':') && !l.is_empty());
        let names: Vec<&str> = names.collect();
        assert_eq!(names, ["sh"], "{}{}", look.stdout, look.stderr);
    }

    #[test]
    fn a_whole_transaction_needs_nothing_of_usr_bin() {
        let Some(desk) = Desk::any() else { return };
        let _ = desk.good();
        desk.spoil();
        // A master that is there already has logged in before anything was hidden.
        desk.inventory("ssh.control = \"none\"");
        let said = deployed_bare(&desk, "lab.apps.bare = { port = 7778; };");
        assert_hidden(&desk);
        assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
        let before = desk.unguarded();
        assert!(before.is_all(before.get("running")), "{before:?}");
        let sessions = desk.exec("cat /run/bare/sessions");
        for words in ["-s -- baseline ", "-s -- verify ", "/nix/store/"] {
            assert!(sessions.contains(words), "{words} in\n{sessions}");
        }
        // The way back.
        let said = deployed_bare(&desk, "lab.brokenService = true;");
        assert_hidden(&desk);
        assert_eq!(said.code, 6, "{}{}", said.stdout, said.stderr);
        assert_eq!(desk.unguarded().pointers(), before.pointers());
        // What is never told to go.
        let said = deployed_bare(&desk, "lab.preSwitchFails = true;");
        assert_eq!(said.code, 5, "{}{}", said.stdout, said.stderr);
        assert_eq!(desk.unguarded().pointers(), before.pointers());
    }
}
