//! `world::process` with real programs: what it ends, what it keeps, what it hides from them.

use std::time::Duration;

use nixdeploy::world::process::System;
use nixdeploy::world::{Conversation, Ended, Invocation, Output, Runner, Stream};

use crate::support::{program, variable, wait_until};

/// Longest that anything here may take; far beyond what it does take.
const LIMIT: Duration = Duration::from_secs(60);

fn sh(script: &str) -> Invocation {
    Invocation::new("sh", ["-c", script])
}

async fn start(invocation: Invocation) -> Conversation {
    System.start(invocation).await.expect("sh starts")
}

/// Runs to the end; fails when it hangs.
async fn run(invocation: Invocation) -> Output {
    let output =
        tokio::time::timeout(LIMIT, async { Output::collect(start(invocation).await).await });
    output.await.expect("it hangs").expect("never by itself")
}

/// Whether a process is gone; one that only waits to be buried counts as gone.
fn gone(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('Z'))
}

fn wait_gone(pid: &str) {
    wait_until("the end of a child", LIMIT, || gone(pid).then_some(()));
}

#[tokio::test]
async fn a_timeout_ends_the_whole_group() {
    let invocation = sh("sleep 1000 & echo $!; wait").timeout(Duration::from_millis(300));
    let output = run(invocation).await;
    assert_eq!(output.ended, Ended::TimedOut);
    wait_gone(&output.out[0]);
}

#[tokio::test]
async fn a_child_that_ignores_the_first_signal_is_forced() {
    let script = "trap '' TERM; echo $$; while :; do sleep 1000 & wait; done";
    let output = run(sh(script).timeout(Duration::from_millis(300))).await;
    assert_eq!(output.ended, Ended::TimedOut);
    wait_gone(&output.out[0]);
}

#[tokio::test]
async fn a_grandchild_that_ignores_the_first_signal_is_forced_too() {
    let script = "(trap '' TERM; sh -c 'echo $PPID'; while :; do sleep 1000 & wait; done) & wait";
    let output = run(sh(script).timeout(Duration::from_millis(300))).await;
    assert_eq!(output.ended, Ended::TimedOut);
    wait_gone(&output.out[0]);
}

#[tokio::test]
async fn a_background_child_that_goes_on_printing_does_not_hang_us() {
    for pause in ["sleep 0.01", ":"] {
        let script = format!("(while echo x; do {pause}; done) & exit 3");
        assert_eq!(run(sh(&script)).await.ended, Ended::Exited(3), "{pause}");
    }
}

#[tokio::test]
async fn dropping_a_conversation_ends_its_program() {
    let mut talk = start(sh("echo $$; sleep 1000")).await;
    let pid = talk.line().await.expect("its pid").text;
    drop(talk);
    // The supervisor needs this thread, so it is not blocked while waiting.
    tokio::task::spawn_blocking(move || wait_gone(&pid)).await.expect("gone");
}

#[tokio::test]
async fn silence_is_limited_and_every_line_breaks_it() {
    let script = "for i in 1 2 3; do echo $i; sleep 0.1; done; sleep 1000";
    let output = run(sh(script).silence(Duration::from_secs(1))).await;
    assert_eq!((output.ended, output.out.len()), (Ended::Silent, 3));
}

#[tokio::test]
async fn a_background_child_that_holds_the_pipe_does_not_hang_us() {
    let output = run(sh("sleep 1000 & echo $!; exit 3")).await;
    assert_eq!(output.ended, Ended::Exited(3));
    let killed = program("kill").arg(&output.out[0]).status().expect("kill");
    assert!(killed.success(), "a program that ended by itself keeps its background child");
}

#[tokio::test]
async fn more_than_64_mebibytes_end_a_program() {
    let output = run(sh("yes $(seq -s _ 1000)")).await;
    assert_eq!(output.ended, Ended::TooMuch);
    let bytes: usize = output.out.iter().map(|l| l.len() + 1).sum();
    assert!((60 << 20..80 << 20).contains(&bytes), "{bytes}");
}

#[tokio::test]
async fn a_line_without_end_is_cut_at_a_mebibyte() {
    let output = run(sh("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo next")).await;
    let lengths: Vec<usize> = output.out.iter().map(String::len).collect();
    assert_eq!((output.ended, lengths), (Ended::Exited(0), vec![1 << 20, 4]));
}

#[tokio::test]
async fn bytes_that_are_no_utf_8_are_replaced() {
    let output = run(sh("printf 'a\\377b\\r\\n\\303'")).await;
    assert_eq!(output.out, ["a\u{fffd}b", "\u{fffd}"]);
}

#[tokio::test]
async fn nothing_is_lost_to_a_slow_reader() {
    let mut talk = start(sh("seq 1 20000; echo last >&2")).await;
    let mut lines = 0;
    let mut last = false;
    // Far more than the channel and the pipe hold; the program has ended long before we are done.
    while let Some(line) = talk.line().await {
        match line.stream {
            Stream::Out => {
                lines += 1;
                assert_eq!(line.text, lines.to_string());
            }
            Stream::Err => last = line.text == "last",
        }
        if lines % 1000 == 0 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!((lines, last, talk.end().await), (20_000, true, Ended::Exited(0)));
}

#[tokio::test]
async fn input_is_given_and_a_conversation_stays_open() {
    assert_eq!(run(Invocation::new("cat", [""; 0]).stdin("a\nb\n")).await.out, ["a", "b"]);
    let mut talk = start(Invocation::new("cat", [""; 0]).stdin("first\n").conversing()).await;
    assert_eq!(talk.line().await.map(|l| l.text).as_deref(), Some("first"));
    assert!(talk.say("second\n").await);
    assert_eq!(talk.line().await.map(|l| l.text).as_deref(), Some("second"));
    assert_eq!(talk.end().await, Ended::Exited(0));
}

#[tokio::test]
async fn a_program_that_does_not_read_is_no_error() {
    let input = vec![b'x'; 1 << 20];
    assert_eq!(run(sh("exec <&-; exit 0").stdin(input)).await.ended, Ended::Exited(0));
}

#[tokio::test]
async fn a_missing_program_is_told_apart() {
    let missing = System.start(Invocation::new("no-such-program-here", [""; 0])).await;
    assert!(missing.err().is_some_and(|e| e.missing));
    let folder = System.start(Invocation::new("/", [""; 0])).await;
    assert!(folder.err().is_some_and(|e| !e.missing));
}

/// Runs itself once more with a poisoned environment: to change our own is not safe.
#[tokio::test]
async fn variables_that_change_children_are_dropped() {
    const INNER: &str = "NIXDEPLOY_TEST_POISONED";
    if variable(INNER).is_some() {
        let env = run(Invocation::new("env", [""; 0]).env("NIX_SSHOPTS", "ours")).await;
        return print(&env.out);
    }
    let me = std::env::current_exe().expect("the test binary");
    let mut inner = program(&me.to_string_lossy());
    inner.args(["--exact", "process::variables_that_change_children_are_dropped", "--nocapture"]);
    let poison = [
        "NIX_SSHOPTS",
        "NIXOS_NO_CHECK",
        "SSH_ASKPASS",
        "SSH_ASKPASS_REQUIRE",
        "GIT_DIR",
        "GIT_SSH",
        "LD_AUDIT",
        "LD_DEBUG_OUTPUT",
        "BASH_ENV",
        "ENV",
        "SSH_AUTH_SOCK",
        "SSH_AGENT_PID",
    ];
    let output = inner.envs(poison.map(|n| (n, "poison"))).env(INNER, "1").output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let kept: Vec<&str> = text.lines().filter_map(|l| l.strip_suffix("=poison")).collect();
    assert_eq!(kept.len(), 2, "{text}");
    assert!(kept.contains(&"SSH_AUTH_SOCK") && kept.contains(&"SSH_AGENT_PID"), "{text}");
    assert!(text.contains("NIX_SSHOPTS=ours") && text.contains("LC_ALL=C.UTF-8"), "{text}");
}

#[expect(clippy::print_stdout, reason = "the outer test reads it")]
fn print(lines: &[String]) {
    println!("\n{}", lines.join("\n"));
}
