//! A person's desk: a home, a folder to work in, and on PATH only what a test puts there; the
//! built program is run on it. Programs put there write down that they were started.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::machines::Said;
use super::program;

/// Seconds that a run may take.
const LIMIT_S: u32 = 120;

/// Where a person works.
pub(crate) struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    /// With an empty home, an empty folder and nothing on PATH.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["home", "bin", "work"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        Self { folder }
    }

    /// With a hosts.toml and a flake in a git repository, and git on PATH.
    pub(crate) fn with_fleet(hosts: &str) -> Self {
        let desk = Self::new();
        desk.write("hosts.toml", hosts);
        desk.write("flake.nix", "{ outputs = _: { }; }\n");
        desk.git(&["init", "-q"]);
        desk.git(&["add", "-A"]);
        desk.real("git");
        desk
    }

    /// Runs git in the folder.
    pub(crate) fn git(&self, args: &[&str]) {
        let done = program("git").args(args).current_dir(self.work()).status().expect("git");
        assert!(done.success(), "git {args:?}");
    }

    /// The folder that the program is started in.
    pub(crate) fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// A file of the desk, from the desk's own folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the working folder.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.work().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder");
        std::fs::write(path, text).expect("written");
    }

    /// Puts the real program on PATH.
    pub(crate) fn real(&self, name: &str) {
        let found = ["/usr/bin", "/bin", "/usr/sbin"].map(|f| Path::new(f).join(name));
        let found = found.iter().find(|p| p.exists()).unwrap_or_else(|| panic!("no {name} here"));
        symlink(found, self.path("bin").join(name)).expect("linked");
    }

    /// Puts a shell script on PATH under a program's name. It is told in [`Desk::calls`], with its
    /// arguments; `$DESK` is the desk's folder, and the box's own programs are on its PATH.
    pub(crate) fn fake(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        let desk = self.folder.path().display();
        let begin = format!("#!/bin/sh\nPATH=/usr/bin:/bin DESK={desk}\n");
        let told = format!("printf '%s\\n' \"{name} $*\" >> {desk}/calls\n");
        std::fs::write(&path, begin + &told + script).expect("written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("executable");
    }

    /// Programs of [`Desk::fake`] that were started, with their arguments.
    pub(crate) fn calls(&self) -> Vec<String> {
        let text = std::fs::read(self.path("calls")).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
    }

    /// Runs the built program.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        self.run_with(args, &[])
    }

    /// Runs the built program with variables.
    pub(crate) fn run_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Said {
        let mut command = program("/usr/bin/timeout");
        command.args(["--kill-after=10", &LIMIT_S.to_string()]);
        command.arg(env!("CARGO_BIN_EXE_nixdeploy")).args(args).current_dir(self.work());
        command.env_clear().env("HOME", self.path("home")).env("PATH", self.path("bin"));
        command.envs([("LC_ALL", "C"), ("USER", "tester")]).envs(variables.iter().copied());
        let said = Said::of(&command.stdin(Stdio::null()).output().expect("timeout(1) starts"));
        assert!(said.code != 124, "hung for {LIMIT_S} s: {args:?}\n{}", said.stderr);
        said
    }

    /// What was printed, with the desk's own folder named alike in every run.
    pub(crate) fn shown(&self, said: &Said) -> String {
        let name = |text: &str| text.replace(&self.folder.path().display().to_string(), "/desk");
        let part = |title: &str, text: &str| match text {
            "" => String::new(),
            text => format!("{title}\n{}", name(text)),
        };
        format!("exit {}\n{}{}", said.code, part("out:", &said.stdout), part("err:", &said.stderr))
    }

    /// Every file but those of git, those of the programs put on PATH and our own state.
    pub(crate) fn files(&self) -> BTreeSet<PathBuf> {
        let own = ["home/.local/state/nixdeploy", "home/.cache/nixdeploy", "work/.git"];
        let own = own.map(|name| self.path(name));
        let (mut files, mut folders) = (BTreeSet::new(), vec![self.folder.path().to_owned()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
                let path = entry.path();
                match entry.file_type().is_ok_and(|t| t.is_dir()) {
                    true if own.contains(&path) => {}
                    true => folders.push(path),
                    false => drop(files.insert(path)),
                }
            }
        }
        files.remove(&self.path("calls"));
        files
    }
}

/// Fails when a text holds what a terminal would obey, line feeds and tabs apart.
pub(crate) fn assert_harmless(text: &str) {
    let bad = text.lines().find(|l| l.chars().any(obeyed));
    assert!(bad.is_none(), "this draws: {bad:?}");
}

/// C0, C1, and what changes the direction of a text.
fn obeyed(c: char) -> bool {
    let direction = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}');
    direction || (c.is_control() && c != '\t')
}
