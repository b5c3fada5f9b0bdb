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

mod lab {
    use crate::support::machines::{Held, Lab, Said};

    const HIDE: &str = include_str!("fixtures/bare/hide.sh");
    const NIX: &str = "nix --extra-experimental-features 'nix-command flakes'";

    /// Runs bash on a machine.
    fn bash(lab: &Held, host: &str, script: &str, args: &[&str]) -> Said {
        let said = lab.exec(host, &[&["bash", "-c", script, "-"], args].concat());
        assert_eq!(said.code, 0, "{host}\n{}{}", said.stdout, said.stderr);
        said
    }

    /// Brings a configuration to the host, hides everything there, and deploys it.
    fn deployed_bare(lab: &Held, settings: &str) -> Said {
        lab.knob("p510", settings);
        let attribute = "'.#nixosConfigurations.\"p510\".config.system.build.toplevel'";
        let build = format!("cd /root/flake; {NIX} build --no-link --print-out-paths {attribute}");
        let built = bash(lab, "deployer", &build, &[]);
        let new = built.stdout.trim();
        let copy = format!("{NIX} copy --no-check-sigs --to ssh-ng://root@p510 \"$1\"");
        let _ = bash(lab, "deployer", &copy, &[new]);
        let old = lab.state("p510").get("running").to_owned();
        let _ = bash(lab, "p510", HIDE, &[&old, new]);
        // Sessions over a master that is there already come through sshd as well.
        lab.deploy(&["quick-deploy", "p510"])
    }

    /// What a session sees.
    fn assert_hidden(lab: &Held) {
        let command = "PATH=/run/current-system/sw/bin; ls /usr/bin /usr/sbin";
        let look = lab.exec("deployer", &["ssh", "p510", command]);
        let names = look.stdout.lines().filter(|l| !l.ends_with(':') && !l.is_empty());
        let names: Vec<&str> = names.collect();
        assert_eq!(names, ["sh"], "{}{}", look.stdout, look.stderr);
    }

    #[test]
    fn a_whole_transaction_needs_nothing_of_usr_bin() {
        let Some(lab) = Lab::from_env() else { return };
        let lab = lab.hold(&["p510", "deployer"]);
        lab.reset("p510");
        let said = deployed_bare(&lab, "lab.apps.bare = { port = 7778; };");
        assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
        let before = lab.state("p510");
        assert!(before.is_all(before.get("running")), "{before:?}");
        assert_eq!(before.number("generation"), Some(2), "{before:?}");
        let sessions = lab.exec("p510", &["cat", "/run/bare/sessions"]).stdout;
        for words in ["/guard go ", "-s -- verify ", "-s -- baseline ", "/nix/store/"] {
            assert!(sessions.contains(words), "{words} in\n{sessions}");
        }
        // The way back.
        let said = deployed_bare(&lab, "lab.brokenService = true;");
        assert_hidden(&lab);
        assert_eq!(said.code, 6, "{}{}", said.stdout, said.stderr);
        assert_eq!(lab.state("p510").pointers(), before.pointers());
        // What is never told to go.
        let said = deployed_bare(&lab, "lab.preSwitchFails = true;");
        assert_eq!(said.code, 5, "{}{}", said.stdout, said.stderr);
        assert_eq!(lab.state("p510").pointers(), before.pointers());
        lab.reset("p510");
    }
}
