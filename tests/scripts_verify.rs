//! The scripts and the session of `verify`: with played answers, with fake tools, and (module
//! `lab`) over real ssh against a real host.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use nixdeploy::event::stream::{Emitter, channel};
use nixdeploy::event::{Event, Severity, Stamped};
use nixdeploy::fleet::*;
use nixdeploy::verify::{self, Baseline, Expectation, Request, Scripts, VerifyError};
use nixdeploy::world::process::System;
use nixdeploy::world::prompt::Prompt;
use nixdeploy::world::ssh::Target;
use nixdeploy::world::{
    Clock, Conversation, Ended, Environment, Invocation, Line, Runner, StartError, Stream, World,
};
use tokio::sync::mpsc::UnboundedReceiver;

const HEALTHY: &str = include_str!("../src/verify/recorded/healthy.txt");
const FACTORY: &str =
    "/nix/store/2nk1qxqy866cimhgif2j0gn6pkr31jfp-nixos-system-factory-25.11.20261101.1ab2c3d";

/// A program as the standard library starts it.
#[expect(clippy::disallowed_methods, reason = "the tests drive real programs themselves")]
fn program(name: impl AsRef<std::ffi::OsStr>) -> std::process::Command {
    std::process::Command::new(name)
}

fn host(health: Vec<Probe>) -> Host {
    Host {
        name: HostName::new("p620").expect("a name"),
        addresses: vec![Address::new("p620").expect("an address")],
        attr: AttrName::new("p620").expect("an attribute"),
        tags: Vec::new(),
        wave: 1,
        role: Role::Plain,
        critical_services: vec!["sshd".into()],
        tailscale: None,
        limits: Limits { memory_percent: 99, disk_percent: 99 },
        health,
        user: Some(UserName::new("root").expect("a user")),
        sudo: Sudo::Auto,
        build_on: BuildOn::Local,
        mode: Mode::Standard,
        soak_s: 15,
        activate_timeout_s: 300,
        verify_timeout_s: 60,
        commit_timeout_s: 120,
        on_revert_failure: None,
        on_inhibitor: OnInhibitor::Refuse,
        reboot: Reboot::Never,
        optional: Optional::Fail,
        accept_flake_config: false,
        ssh_control: SshControl::None,
        jumps: Vec::new(),
        line: 1,
    }
}

fn probe(check: Check, timeout_s: u32) -> Probe {
    Probe { check, required: true, timeout_s, from: From::Target, line: 1 }
}

fn world(runner: impl Runner + 'static) -> (World, Emitter, UnboundedReceiver<Stamped>) {
    let clock = Clock::start();
    let (emitter, events) = channel(Arc::new(clock));
    let world = World {
        runner: Arc::new(runner),
        clock,
        environment: Arc::new(Environment::read().expect("a home")),
        prompt: Arc::new(Prompt::new(false)),
    };
    (world, emitter, events)
}

fn events(mut receiver: UnboundedReceiver<Stamped>) -> Vec<Event> {
    std::iter::from_fn(|| receiver.try_recv().ok()).map(|s| s.event).collect()
}

/// Everything a session is opened with.
struct Setup {
    host: Host,
    target: Target,
    old: StorePath,
    new: StorePath,
    scripts: Scripts,
    names: Vec<String>,
    cursor: String,
}

impl Setup {
    fn new(health: Vec<Probe>) -> Self {
        let host = host(health);
        let path = || StorePath::new(FACTORY).expect("a path");
        Self {
            target: Target { user: host.user.clone(), ..Target::plain(host.address().clone()) },
            host,
            old: path(),
            new: path(),
            scripts: Scripts::default(),
            names: vec!["p510".into(), "10.0.0.1".into(), "-x".into()],
            cursor: String::new(),
        }
    }

    fn request(&self) -> Request<'_> {
        Request {
            host: &self.host,
            target: &self.target,
            transaction: Some("tx1"),
            old: &self.old,
            new: &self.new,
            cursor: &self.cursor,
            scripts: &self.scripts,
            names: &self.names,
            planned: &[],
            fast: false,
        }
    }

    fn expectation<'a>(&'a self, boot_id: &'a str, baseline: &'a Baseline) -> Expectation<'a> {
        Expectation {
            host: &self.host,
            new: &self.new,
            boot_id,
            fast: false,
            units: &[],
            vitals: None,
            baseline,
            sample: None,
            profile: None,
            boot_default: None,
        }
    }
}

/// Plays an ssh that answers from a text; what it was told is kept.
#[derive(Clone, Default)]
struct Played {
    out: String,
    err: String,
    /// Answers to each later line from us.
    later: Vec<String>,
    told: Arc<Mutex<Vec<String>>>,
}

impl Runner for Played {
    fn start(&self, invocation: Invocation) -> BoxFuture<'_, Result<Conversation, StartError>> {
        let played = self.clone();
        let (talk, mut stage) = Conversation::pair();
        self.told.lock().expect("a lock").push(invocation.to_string());
        tokio::spawn(async move {
            let line = |stream, text: &str| Line { stream, text: text.to_owned() };
            for text in played.err.lines() {
                let _ = stage.lines.send(line(Stream::Err, text)).await;
            }
            for text in played.out.lines() {
                let _ = stage.lines.send(line(Stream::Out, text)).await;
            }
            for answer in &played.later {
                let Some(said) = stage.input.recv().await else { break };
                let said = String::from_utf8_lossy(&said).into_owned();
                played.told.lock().expect("a lock").push(said);
                for text in answer.lines() {
                    let _ = stage.lines.send(line(Stream::Out, text)).await;
                }
            }
            let _ = stage.ended.send(Ended::Exited(255));
        });
        Box::pin(async move { Ok(talk) })
    }
}

fn until_done(text: &str) -> String {
    let end = text.find("checks=done").expect("an end") + "checks=done".len();
    text[..end].to_owned()
}

#[tokio::test]
async fn a_session_checks_asks_the_guard_and_ends() {
    let played = Played {
        out: until_done(HEALTHY),
        later: vec!["line=state=COMMITTED\nline=done=0\ndone=0".into(), "end=0".into()],
        ..Played::default()
    };
    let (world, emitter, receiver) = world(played.clone());
    let setup = Setup::new(Vec::new());
    let mut session = verify::open(&world, &emitter, &setup.request()).await.expect("a session");
    let baseline = Baseline::default();
    let boot = "f2856013-8147-47f8-af13-a707c8b267e8";
    let examined = session.examine(&setup.expectation(boot, &baseline)).await.expect("checks");
    assert_eq!(examined.findings.iter().filter(|f| f.severity == Severity::Block).count(), 0);
    let answer = session.guard(&["commit", "nonce=1"]).await.expect("an answer");
    // a line of the guard that looks like the end of the answer is none
    assert_eq!((answer.lines, answer.rc), (vec!["state=COMMITTED".into(), "done=0".into()], 0));
    assert!(session.guard(&["a;b"]).await.is_err(), "only words are passed on");
    session.close().await;
    let told = played.told.lock().expect("a lock").clone();
    assert!(told[0].contains("ControlPath=none"), "the link is fresh: {}", told[0]);
    assert!(told[0].contains(" p510'"), "names are passed on: {}", told[0]);
    assert!(!told[0].contains("10.0.0.1") && !told[0].contains(" -x"), "but only names");
    assert_eq!(told[1..], ["guard commit nonce=1\n", "quit\n"]);
    let measured = |e: &Event| matches!(e, Event::Measured { after: true, .. });
    assert!(events(receiver).iter().any(measured));
}

#[tokio::test]
async fn a_login_that_is_refused_says_why() {
    let err = "ssh: connect to host p620 port 22: Connection refused".to_owned();
    let (world, emitter, _receiver) = world(Played { err, ..Played::default() });
    let setup = Setup::new(Vec::new());
    let Err(refused) = verify::open(&world, &emitter, &setup.request()).await else {
        panic!("nobody answered");
    };
    assert!(matches!(refused, VerifyError::NotReached(_)));
    assert_eq!(refused.finding().code, "ssh");
    assert!(refused.to_string().ends_with("Connection refused"), "{refused}");
}

#[tokio::test]
async fn an_answer_that_is_not_ours_or_breaks_off_is_told_apart() {
    let setup = Setup::new(Vec::new());
    let open = async |out: &str| {
        let (world, emitter, _receiver) = world(Played { out: out.into(), ..Played::default() });
        let mut session = verify::open(&world, &emitter, &setup.request()).await?;
        session.observe().await.map(|_| ())
    };
    let garbled = open("Welcome to \u{1b}[2J").await;
    assert!(matches!(&garbled, Err(VerifyError::Garbled(text)) if text.contains("\\u{1b}")));
    assert!(matches!(open("nixdeploy-verify=1\nboot_id=x").await, Err(VerifyError::Broken(_))));
    let endless = format!("nixdeploy-verify=1\n{}checks=done", "x=y\n".repeat(60_000));
    assert!(open(&endless).await.is_ok(), "a flood is cut, not kept");
}

/// Runs functions of the scripts with a PATH that holds fake tools first.
fn shell(sh: &str, files: &[&str], tools: &[(&str, &str)], main: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, body) in tools {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("a tool");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("a mode");
    }
    let script = format!("set -eu\n{}\n{main}\n", files.join("\n"));
    let output = program(sh)
        .args(["-c", &script, "test"])
        .arg(folder.path())
        .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
        .output()
        .expect("a shell");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{sh}: {err}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const SAMPLE: &str = include_str!("../src/activate/sample.sh");
const UNITS: &str = include_str!("../src/verify/units.sh");
const NETWORK: &str = include_str!("../src/verify/network.sh");
const PROBES: &str = include_str!("../src/verify/probes.sh");
const PUT: &str = "put() { printf '%s=%s\\n' \"$1\" \"$2\"; }";
const SHELLS: [&str; 2] = ["dash", "bash"];

/// As systemd 257 prints it for a unit under a memory limit.
const SHOWN: &str = "cat << 'END'
Type=notify
RemainAfterExit=no
Result=success
NRestarts=2
ExecMainCode=0
ExecMainStatus=0
MemoryCurrent=891289600
MemoryMax=1073741824
Id=prometheus.service
RequiredBy=
WantedBy=multi-user.target
TriggeredBy=
LoadState=loaded
ActiveState=active
SubState=running
FragmentPath=/etc/systemd/system/prometheus.service
StateChangeTimestamp=@1795298529
ActiveEnterTimestamp=@1795298528
InactiveExitTimestampMonotonic=5000000
ActiveEnterTimestampMonotonic=5800000
ConditionResult=yes

Type=simple
MemoryCurrent=[not set]
MemoryMax=infinity
Id=a\\x2db@1.service
FragmentPath=/run/systemd/transient/a b.service
LoadState=loaded
END";

#[test]
fn details_of_units_are_one_line_each() {
    for sh in SHELLS {
        let out = shell(
            sh,
            &[SAMPLE, UNITS],
            &[("systemctl", SHOWN)],
            "units_details prometheus.service",
        );
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(
            lines,
            [
                "unit=prometheus.service loaded active running notify success 2 0 0 @1795298529 \
                 891289600 1073741824 we @1795298528 800000",
                "unit=a\\x2db@1.service loaded - - simple - - - - - - infinity - - -",
            ],
            "{sh}"
        );
    }
}

#[test]
fn a_list_of_units_is_told_from_none() {
    let systemctl = "case $1 in list-units) printf '%s\\n' 'a.service loaded active running A' \
        'b.service loaded inactive dead B' 'c.socket loaded failed failed C' ;; \
        show) printf 'Id=a.service\\n' ;; esac";
    for sh in SHELLS {
        let run = |tool: &str| {
            shell(sh, &[PUT, SAMPLE, UNITS], &[("systemctl", tool)], "units_checks ''; put end 0")
        };
        let lines = "listed=units\nstate=a.service loaded active running\n\
            state=c.socket loaded failed failed\nunit=a.service ";
        assert!(run(systemctl).starts_with(lines), "{sh}: {}", run(systemctl));
        assert_eq!(run("echo Connection timed out >&2; exit 1"), "end=0\n", "{sh}");
    }
}

#[tokio::test]
async fn a_host_that_does_not_tell_of_its_units_is_not_healthy() {
    let setup = Setup::new(Vec::new());
    let examined = async |out: &str| {
        let (world, emitter, _receiver) =
            world(Played { out: until_done(out), ..Played::default() });
        let mut session = verify::open(&world, &emitter, &setup.request()).await?;
        let baseline = Baseline::default();
        session.examine(&setup.expectation("x", &baseline)).await.map(|_| ())
    };
    assert!(examined(HEALTHY).await.is_ok());
    let detail = HEALTHY.lines().find(|l| l.starts_with("unit=")).expect("a unit");
    for silent in ["listed=units", detail] {
        let silence = examined(&HEALTHY.replacen(&format!("{silent}\n"), "", 1)).await;
        let error = silence.expect_err(silent);
        assert!(matches!(error, VerifyError::NoUnits) && error.passes(), "{error}");
        assert_eq!(error.finding().severity, Severity::Block);
    }
}

#[test]
fn restarts_are_sampled_of_services_that_live() {
    let systemctl = "case $1 in list-units) printf '%s\\n' \
        'a.service loaded active running A' 'b.service loaded active exited B' \
        'c.service loaded activating auto-restart C' 'd.service loaded inactive dead D' ;;
        show) shift 5; for u in \"$@\"; do printf 'NRestarts=3\\nId=%s\\n\\n' \"$u\"; done ;; esac";
    for sh in SHELLS {
        let out = shell(sh, &[SAMPLE], &[("systemctl", systemctl)], "sample_units");
        assert_eq!(out, "restarts=a.service 3\nrestarts=c.service 3\n", "{sh}");
        let restarts = verify::parse_restarts(out.lines());
        assert_eq!(restarts.get("c.service"), Some(&3));
    }
}

#[test]
fn tailscale_is_up_hangs_or_is_absent() {
    let state = "printf '{\\n  \"BackendState\": \"Running\",\\n}\\n'";
    for sh in SHELLS {
        let files = [PUT, NETWORK];
        let run = |tools: &[(&str, &str)]| shell(sh, &files, tools, "network_tailscale");
        assert_eq!(run(&[("tailscale", state)]), "tailscale=Running\n");
        assert_eq!(run(&[("tailscale", "echo broken; exit 1")]), "tailscale=unknown\n");
        assert_eq!(run(&[("tailscale", ""), ("timeout", "exit 124")]), "tailscale=timeout\n");
        assert_eq!(run(&[]), "tailscale=absent\n");
    }
}

#[test]
fn health_checks_arrive_byte_by_byte_or_not_at_all() {
    let receive = |sh: &str, input: &str| {
        let main = format!(
            "printf '{input}' | {{ probes_receive \"$1\" 2 && rest=$(cat) && cat \"$1/probes\" \
             && od -An -c \"$1/1.text\" && echo \"rest $rest\" || echo refused; }}"
        );
        shell(sh, &[PUT, PROBES], &[], &main)
    };
    for sh in SHELLS {
        let good = receive(sh, "probe 0 unit 5 1\\nxprobe 1 script 9 5\\na\\nb\\n\\nguard x\\n");
        assert_eq!(good, "0 unit 5\n1 script 9\n   a  \\n   b  \\n  \\n\nrest guard x\n", "{sh}");
        for bad in ["probe 0 unit 5 3\\nab", "probe ../x unit 5 1\\na", "quit\\n", ""] {
            assert_eq!(receive(sh, bad), "refused\n", "{sh} {bad}");
        }
    }
}

mod lab;
