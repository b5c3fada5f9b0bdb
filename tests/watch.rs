//! `watch`: a save is checked however an editor saves, and nothing else is; the end of a run is
//! told by no shell.

use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::support::home::Desk;
use crate::support::{program, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

/// A flake in git, with one good file, on a desk whose `nix` does not evaluate.
fn desk(more: &str) -> Desk {
    let desk = Desk::with_fleet(&format!("[hosts.p620]\n[hosts.razer]\n{more}"));
    desk.write("a.nix", "{ a = 1; }\n");
    desk.write("sub/b.nix", "{ b = 1; }\n");
    desk.write(".gitignore", "out/\n");
    desk.git(&["add", "-A"]);
    desk.fake("nix", "exit 1\n");
    desk.fake("ssh", "exit 255\n");
    desk
}

/// `watch`, begun: it says so once every folder is watched.
struct Watch<'a> {
    desk: &'a Desk,
    child: Child,
}

impl<'a> Watch<'a> {
    fn begin(desk: &'a Desk, words: &[&str]) -> Self {
        let mut command = program(env!("CARGO_BIN_EXE_nixdeploy"));
        command.arg("watch").args(words).current_dir(desk.work()).env_clear();
        command.env("HOME", desk.path("home")).env("PATH", desk.path("bin"));
        let file = |name: &str| std::fs::File::create(desk.path(name)).expect("a file");
        command.stdout(file("out")).stderr(file("err")).stdin(Stdio::null());
        let watch = Self { desk, child: command.spawn().expect("started") };
        watch.until("err", "watching ");
        watch
    }

    fn said(&self, name: &str) -> String {
        std::fs::read_to_string(self.desk.path(name)).unwrap_or_default()
    }

    fn until(&self, name: &str, words: &str) {
        wait_until(words, LIMIT, || self.said(name).contains(words).then_some(()));
    }

    fn end(mut self) -> (Option<i32>, String, String) {
        let code = wait_until("its end", LIMIT, || self.child.try_wait().expect("a child"));
        (code.code(), self.said("out"), self.said("err"))
    }

    fn interrupt(&self) {
        let pid = self.child.id().to_string();
        assert!(program("kill").args(["-INT", &pid]).status().expect("kill").success());
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_save_is_checked_however_it_is_done() {
    let desk = desk("");
    for (how, file) in [("in place", "a.nix"), ("by rename", "a.nix"), ("below", "sub/b.nix")] {
        let watch = Watch::begin(&desk, &["--once"]);
        match how {
            "by rename" => {
                desk.write(".a.nix.swp", "{ a = ; }\n");
                let (from, to) = (desk.work().join(".a.nix.swp"), desk.work().join("a.nix"));
                std::fs::rename(from, to).expect("renamed");
            }
            _ => desk.write(file, "{ a = ; }\n"),
        }
        let (code, out, err) = watch.end();
        assert_eq!(code, Some(3), "{how}\n{out}{err}");
        assert!(
            out.contains(&format!("{file}:1")) && out.contains("[syntax-error]"),
            "{how}\n{out}"
        );
        assert!(!out.contains("sub/b.nix") || how == "below", "only what was saved: {out}");
        assert!(err.contains(&format!("saved: {file}")), "{err}");
        desk.write(file, "{ a = 1; }\n");
    }
}

#[test]
fn what_is_no_change_of_the_tree_is_no_save() {
    let desk = desk("");
    let watch = Watch::begin(&desk, &["--once"]);
    // The same text once more, an editor's own files, what git ignores, git itself.
    for (file, text) in [
        ("a.nix", "{ a = 1; }\n"),
        ("a.nix~", "{ a = ; }\n"),
        ("#a.nix#", "{ a = ; }\n"),
        ("4913", ""),
        ("out/c.nix", "{ a = ; }\n"),
    ] {
        desk.write(file, text);
    }
    desk.git(&["add", "a.nix"]);
    // A folder that comes with a file in it.
    desk.write("new/folder/d.nix", "{ d = 1; }\n");
    let (code, out, err) = watch.end();
    assert_eq!(code, Some(0), "{out}{err}");
    assert_eq!(err.matches("saved: ").count(), 1, "{err}");
    assert!(err.contains("saved: new/folder/d.nix\n"), "{err}");
}

#[test]
fn hosts_are_built_after_a_check_that_blocks_nothing() {
    let desk = desk("");
    let watch = Watch::begin(&desk, &["razer", "--once"]);
    desk.write("a.nix", "{ a = 2; }\n");
    let (code, out, err) = watch.end();
    assert_eq!(code, Some(4), "its flake does not evaluate\n{out}{err}");
    assert!(out.contains("razer") && !out.contains("p620"), "{out}");
    let history = desk.run(&["history", "--json"]).stdout;
    assert!(history.contains("[\"test-host\",\"razer\"]"), "as if it was typed: {history}");
    let calls = desk.calls().len();
    let watch = Watch::begin(&desk, &["--test", "--once"]);
    desk.write("a.nix", "{ a = ; }\n");
    assert_eq!(watch.end().0, Some(3));
    assert!(!desk.calls()[calls..].iter().any(|c| c.starts_with("nix ")), "nothing is built");
    let said = desk.run(&["watch", "nobody"]);
    assert!(said.code == 2 && said.stderr.contains("nobody"), "{}", said.stderr);
}

#[test]
fn it_goes_on_until_it_is_interrupted() {
    let desk = desk("");
    desk.write("c.nix", "{ c = ; }\n");
    desk.git(&["add", "-A"]);
    let watch = Watch::begin(&desk, &[]);
    assert!(watch.said("out").contains("c.nix:1"), "the whole tree first: {}", watch.said("out"));
    desk.write("a.nix", "{ a = ; }\n");
    watch.until("out", "a.nix:1");
    desk.write("hosts.toml", "[host.p620]\n");
    watch.until("err", "unknown key `host`");
    desk.write("hosts.toml", "[hosts.p620]\n");
    desk.write("sub/b.nix", "{ b = ; }\n");
    watch.until("out", "sub/b.nix:1");
    watch.interrupt();
    assert_eq!(watch.end().0, Some(130));
    let outside = Desk::new();
    outside.real("git");
    let said = outside.run(&["watch", "--once"]);
    assert!(said.code == 2 && said.stderr.contains("no git repository"), "{}", said.stderr);
}

#[test]
fn it_ends_with_the_folder_that_it_watches() {
    for removed in [true, false] {
        let desk = desk("");
        let watch = Watch::begin(&desk, &[]);
        match removed {
            true => std::fs::remove_dir_all(desk.work()).expect("removed"),
            false => std::fs::rename(desk.work(), desk.path("moved")).expect("moved"),
        }
        let (code, out, err) = watch.end();
        assert_eq!(code, Some(2), "{out}{err}");
        assert!(err.contains("was removed or replaced"), "{err}");
        assert!(!err.contains("saved: "), "what is gone was not saved: {err}");
    }
}

#[test]
fn what_is_removed_is_not_called_saved_and_a_folder_that_moves_is_watched_whole() {
    let desk = desk("");
    desk.write("sub/deep/c.nix", "{ c = 1; }\n");
    desk.git(&["add", "-A"]);
    let watch = Watch::begin(&desk, &[]);
    std::fs::remove_file(desk.work().join("a.nix")).expect("removed");
    watch.until("err", "removed: a.nix\n");
    assert!(!watch.said("err").contains("saved: a.nix"), "{}", watch.said("err"));
    std::fs::rename(desk.work().join("sub"), desk.work().join("other")).expect("moved");
    watch.until("err", "c.nix");
    desk.write("other/deep/c.nix", "{ c = ; }\n");
    watch.until("out", "other/deep/c.nix:1");
}

#[test]
fn the_end_of_a_run_is_told_by_no_shell() {
    let desk = desk("[notify]\ncommand = ['./told.sh', '$(touch pwned)', 'a b']\n");
    let script = "#!/bin/sh\nPATH=/usr/bin:/bin\n{ echo \"$#:$1:$2\"\n\
        env | grep ^NIXDEPLOY_ | sort\n\
        echo; cat; } > told\nexit $(cat code)\n";
    desk.write("told.sh", script);
    desk.write("code", "0");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(desk.work().join("told.sh"), mode).expect("executable");
    let message = "for $(touch pwned) `touch pwned`\u{1b}[2J";
    let said = desk.run(&["deploy", "p620", "--message", message]);
    let told = std::fs::read_to_string(desk.work().join("told")).expect("it was started");
    let (head, document) = told.split_once("\n\n").expect("two parts");
    assert!(head.starts_with("2:$(touch pwned):a b\n"), "{head}");
    assert!(head.contains(&format!("NIXDEPLOY_EXIT={}\n", said.code)), "{head}");
    assert!(head.contains("NIXDEPLOY_RESULT=1 host: 1 "), "{head}");
    assert!(head.contains("NIXDEPLOY_COMMAND=deploy p620 --message"), "{head}");
    let document: serde_json::Value = serde_json::from_str(document).expect("a document");
    assert_eq!(document["hosts"][0]["host"], "p620");
    assert!(!desk.work().join("pwned").exists());
    // What it does itself changes no outcome, and is said.
    desk.write("code", "7");
    let again = desk.run(&["deploy", "p620"]);
    assert_eq!(again.code, said.code);
    assert!(again.stderr.contains("warning: [notify]"), "{}", again.stderr);
    assert!(!again.stderr.contains('\u{7}'), "no bell was asked for");
}

#[test]
fn what_is_told_is_what_was_asked_for() {
    let desk = desk("[notify]\ncommand = ['told']\non = 'failure'\nbell = true\n");
    desk.fake("told", "cat > $DESK/heard\n");
    let told = || desk.calls().iter().filter(|c| c.starts_with("told")).count();
    let watch = Watch::begin(&desk, &["--once"]);
    desk.write("a.nix", "{ a = 3; }\n");
    assert_eq!(watch.end().0, Some(0));
    assert_eq!(told(), 0, "it is as wanted");
    let watch = Watch::begin(&desk, &["--once"]);
    desk.write("a.nix", "{ a = ; }\n");
    let (code, out, err) = watch.end();
    assert_eq!((code, told()), (Some(3), 1));
    assert!(!out.contains('\u{7}') && !err.contains('\u{7}'), "no terminal, no bell");
    assert!(std::fs::read_to_string(desk.path("heard")).expect("JSON").contains("\"exit\":3"));
    desk.write("hosts.toml", "[hosts.p620]\n[notify]\ncommand = ['']\non = 'never'\n");
    let said = desk.run(&["status"]);
    assert!(said.code == 2 && said.stderr.contains("never"), "{}", said.stderr);
}
