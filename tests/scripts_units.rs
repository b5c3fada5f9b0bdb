//! The script that reads unit files, with real shells: hostile names reach no file and run nothing.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::Stdio;

const SCRIPT: &str = include_str!("../src/build/units.sh");

#[test]
fn only_unit_files_of_the_store_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let units = folder.path().join("top/etc/systemd/system");
    std::fs::create_dir_all(units.join("a.service.d")).expect("made");
    symlink("/nix/store/x/a.service", units.join("a.service")).expect("linked");
    symlink("/nix/store/x/o.conf", units.join("a.service.d/o.conf")).expect("linked");
    std::fs::write(units.join("plain.service"), "secret\n").expect("written");
    let script = folder.path().join("units.sh");
    std::fs::write(&script, SCRIPT).expect("written");
    let (top, none) = (folder.path().join("top"), folder.path().join("none"));
    for shell in ["dash", "bash"] {
        #[expect(clippy::disallowed_methods, reason = "the tests drive real programs themselves")]
        let mut child = std::process::Command::new(shell)
            .arg(&script)
            .arg(std::env::var_os("PATH").expect("a PATH"))
            .args([&top, &none])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let pwned = folder.path().join("pwned");
        let asked = format!(
            "1 a.service\n1 ../../shadow\n1 /etc/passwd\n1 plain.service\n3 x\n1 $(touch {0})\n\
             1 `touch {0}`\n1 a.service.d/o.conf\n",
            pwned.display()
        );
        child.stdin.take().expect("a pipe").write_all(asked.as_bytes()).expect("read");
        let output = child.wait_with_output().expect("an end");
        let said = String::from_utf8(output.stdout).expect("text");
        let (listed, texts) = said.split_once("ready=1\n").expect("a whole answer");
        let mut listed: Vec<&str> = listed.lines().collect();
        listed.sort_unstable();
        assert_eq!(
            listed,
            [
                "absent=2",
                "file=1 a.service /nix/store/x/a.service",
                "file=1 a.service.d/o.conf /nix/store/x/o.conf",
                "file=1 plain.service ",
                "nixdeploy-units=1",
            ],
            "{shell}"
        );
        let expected = "text=1 a.service\ntext=1 plain.service\ntext=1 a.service.d/o.conf\nend=0\n";
        assert_eq!(texts, expected, "{shell}");
        assert!(!pwned.exists() && !texts.contains("secret"), "{shell}");
    }
}
