//! What a program finds on standard output, however a command ends: a document after a signal, and
//! a word where what was to be printed is lost.

use std::fs::{File, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::report::keeping::keep;
use crate::report::recorder;
use crate::support::home::{Desk, assert_harmless};
use crate::support::{program, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

fn command(desk: &Desk, args: &[&str]) -> Command {
    let mut command = program(env!("CARGO_BIN_EXE_nixdeploy"));
    command.args(args).current_dir(desk.work()).env_clear().stdin(Stdio::null());
    command.env("HOME", desk.path("home")).env("PATH", desk.path("bin"));
    command
}

#[test]
fn a_signal_leaves_a_document_that_says_so() {
    for args in [
        &["status", "--json"] as &[&str],
        &["ping-hosts", "--json"],
        &["issues", "p620", "--json"],
        &["bench-host", "p620", "1", "--json"],
        &["perf-memory", "--json"],
        &["perf-parallel", "--json"],
        &["update", "preview", "p620", "--json"],
    ] {
        let desk = Desk::with_fleet("[hosts.p620]\n");
        for name in ["nix", "nix-store", "nix-instantiate", "ssh"] {
            desk.fake(name, "exec sleep 600\n");
        }
        desk.write("flake.lock", include_bytes!("fixtures/update/flake.lock"));
        desk.git(&["add", "-A"]);
        let (out, err) = (desk.path("out"), desk.path("err"));
        let mut child = command(&desk, args)
            .stdout(File::create(&out).expect("a file"))
            .stderr(File::create(&err).expect("a file"))
            .spawn()
            .expect("started");
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        wait_until("a program that hangs", LIMIT, || {
            let over = child.try_wait().expect("a child");
            assert!(over.is_none(), "{args:?} {over:?} {}{}", read(&out), read(&err));
            (!desk.calls().is_empty()).then_some(())
        });
        let pid = child.id().to_string();
        assert!(program("kill").args(["-INT", &pid]).status().expect("kill").success());
        let ended = wait_until("its end", LIMIT, || child.try_wait().expect("a child"));
        assert_eq!((ended.code(), ended.signal()), (Some(130), None), "{args:?}");
        let document: Value = serde_json::from_str(&read(&out)).expect("one document");
        assert_eq!(document["exit"], 130, "{args:?}");
        assert!(document["error"]["sentence"].as_str().is_some_and(|s| s.contains("interrupted")));
    }
}

#[test]
fn what_is_lost_on_a_full_disk_is_said() {
    let desk = Desk::with_fleet("[hosts.p620]\n");
    desk.fake("nix", "exit 1\n");
    desk.fake("ssh", "exit 255\n");
    desk.write("a.nix", "{ a = 1; }\n");
    keep(&desk.path("home/.local/state/nixdeploy"), "aa01", recorder::committed());
    let code = |args: &[&str]| {
        let full = OpenOptions::new().write(true).open("/dev/full").expect("a full disk");
        let said = command(&desk, args).stdout(full).output().expect("started");
        let err = String::from_utf8_lossy(&said.stderr).into_owned();
        let told = err.matches("standard output can not be written").count();
        assert_eq!(told, 1, "{args:?} {err}");
        said.status.code()
    };
    assert_eq!(code(&["schema"]), Some(2));
    assert_eq!(code(&["--help"]), Some(2));
    assert_eq!(code(&["deploy", "--help"]), Some(2));
    assert_eq!(code(&["--version"]), Some(2));
    assert_eq!(code(&["check", "--json"]), Some(2));
    assert_eq!(code(&["history"]), Some(2));
    assert_eq!(code(&["history", "--json"]), Some(2));
    assert_eq!(code(&["check", "nosuch.nix", "--json"]), Some(2));
    // What became of the hosts is worse.
    let worse = desk.run(&["deploy", "p620", "--json"]).code;
    assert!(worse > 2, "{worse}");
    assert_eq!(code(&["deploy", "p620", "--json"]), Some(worse));
}

#[test]
fn the_version_is_a_document_where_one_is_asked_for() {
    let desk = Desk::with_fleet("");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(desk.run(&["--version"]).stdout, format!("nixdeploy {version}\n"));
    for args in [["--version", "--json"], ["--format=jsonl", "-V"]] {
        let said = desk.run(&args);
        let document: Value = serde_json::from_str(&said.stdout).expect("a document");
        assert_eq!((said.code, &document["version"]), (0, &version.into()), "{args:?}");
    }
}

#[test]
fn a_log_that_says_nothing_is_no_run_that_ended_well() {
    let desk = Desk::with_fleet("[hosts.p620]\n");
    let state = desk.path("home/.local/state/nixdeploy");
    keep(&state, "aa01", recorder::committed());
    keep(&state, "bb01", recorder::committed());
    let log = |run: &str| state.join("runs").join(run).join("events.jsonl");
    let noise: Vec<u8> =
        (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(log("aa01"), noise).expect("written");
    for format in ["human", "json", "jsonl", "markdown", "html", "github"] {
        let said = desk.run(&["report", "aa01", "--format", format]);
        assert_eq!(said.code, 2, "{format} {}", said.stdout);
        let all = said.stdout + &said.stderr;
        assert!(all.contains("the log of run aa01 can not be read"), "{format} {all}");
        assert!(!all.contains("1970"), "{format} {all}");
    }
    // With what was summed up of it gone as well, it is a name.
    let folder = log("aa01").parent().expect("its folder").to_path_buf();
    std::fs::remove_file(folder.join("summary.json")).expect("it was there");
    let row = format!("\naa01 {:16} {:>6}    - -  its log can not be read\n", "-", "-");
    assert!(desk.run(&["history"]).stdout.ends_with(&row), "{}", desk.run(&["history"]).stdout);
    let said = desk.run(&["history", "--json"]).stdout;
    let document: Value = serde_json::from_str(&said).expect("a document");
    let it = &document["runs"][1];
    assert_eq!((&it["run"], &it["unreadable"]), (&"aa01".into(), &true.into()), "{said}");
    assert_eq!((&it["started_ms"], &it["exit"]), (&Value::Null, &Value::Null), "{said}");
    let text = std::fs::read(log("bb01")).expect("a log");
    let armed = text.windows(7).position(|w| w == b"\"armed\"").expect("armed");
    std::fs::write(log("bb01"), &text[..armed]).expect("written");
    let said = desk.run(&["report", "bb01"]);
    assert!(said.stdout.contains("Exit code:         not known"), "{}", said.stdout);
    let said = desk.run(&["report", "bb01", "--json"]);
    let document: Value = serde_json::from_str(&said.stdout).expect("a document");
    assert_eq!((&document["exit"], &document["complete"]), (&Value::Null, &Value::Bool(false)));
}

#[test]
fn a_run_that_is_named_by_anything_is_told_short_and_harmless() {
    let desk = Desk::with_fleet("[hosts.p620]\n");
    let long = "x".repeat(5_000);
    for word in ["a\nb", "\u{1b}[2Jx", long.as_str()] {
        let said = desk.run(&["report", word]);
        assert_eq!(said.code, 2);
        let first = said.stderr.lines().next().expect("a line");
        assert!(
            first.starts_with("error: no run begins with '") && first.ends_with('\''),
            "{first}"
        );
        assert!(said.stderr.len() < 400, "{}", said.stderr);
        assert_harmless(&said.stderr);
    }
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let desk = Desk::with_fleet("[hosts.p620]\n");
    let pipe = |name: &str| {
        let path = desk.work().join(name);
        let _ = std::fs::remove_file(&path);
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).expect("a pipe");
    };
    pipe("justfile.pipe");
    let said = desk.run(&["init", "--from-justfile", "justfile.pipe"]);
    assert!(said.code == 2 && said.stderr.contains("no regular file"), "{}", said.stderr);
    desk.fake("nix", "exit 1\n");
    desk.fake("ssh", "exit 255\n");
    desk.write("flake.lock", "{}\n");
    desk.git(&["add", "-A", "flake.lock"]);
    pipe("flake.lock");
    let said = desk.run(&["deploy", "p620"]);
    assert!(said.code > 2, "{}{}", said.stdout, said.stderr);
    pipe("hosts.toml");
    for args in [&["status"] as &[&str], &["check"], &["metrics", "show"]] {
        let said = desk.run(args);
        assert!(said.code == 2 && said.stderr.contains("no regular file"), "{}", said.stderr);
    }
}
