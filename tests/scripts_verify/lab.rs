//! Over real ssh, from the lab's deployer to p620.

use super::*;

/// Runs ssh where the lab's key and network are.
struct OnDeployer {
    exec: PathBuf,
}

impl Runner for OnDeployer {
    fn start(&self, mut call: Invocation) -> BoxFuture<'_, Result<Conversation, StartError>> {
        let args = std::mem::take(&mut call.args);
        call.args = ["deployer".to_owned(), call.program].into_iter().chain(args).collect();
        call.program = self.exec.display().to_string();
        System.start(call)
    }
}

fn exec_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/exec")
}

/// A command in p620, through the lab's own door.
fn exec(command: &str) -> String {
    let output = program(exec_path()).args(["p620", "sh", "-c", command]).output().expect("exec");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

const BREAK: &str = "systemd-run -q --unit=vf-broken sh -c 'echo cannot open database; exit 3'; \
    systemd-run -q --unit=vf-loop -p Restart=always -p RestartSec=100ms \
    -p StartLimitIntervalSec=0 sh -c 'sleep 0.3; exit 7'; \
    cp /etc/resolv.conf /tmp/resolv.was; echo nameserver 10.99.255.253 > /tmp/resolv.dead; \
    mount --bind /tmp/resolv.dead /etc/resolv.conf; sleep 2";
const MEND: &str = "systemctl start sshd; systemctl stop vf-loop; umount /etc/resolv.conf; \
    systemctl reset-failed vf-broken vf-loop; rm -rf /run/nixdeploy/tx1; true";

fn setup() -> Setup {
    let tree = tempfile::tempdir().expect("a folder");
    let scripts = [
        ("daemon.sh", "#!/bin/sh\necho OK: fine\n(sleep 100; echo late) &\nexit 0\n"),
        ("loud.sh", "#!/bin/sh\nprintf '\\033]52;c;aGk=\\007'\nhead -c 200000000 /dev/zero\n"),
        ("slow.sh", "echo FAIL: asleep; sleep 100\n"),
    ];
    for (name, text) in scripts {
        std::fs::write(tree.path().join(name), text).expect("a script");
    }
    let mut health: Vec<Probe> =
        scripts.iter().map(|(name, _)| probe(Check::Script(name.into()), 3)).collect();
    health.push(probe(Check::Tcp("127.0.0.1:22".into()), 3));
    health.push(probe(Check::Command("test -e /etc/NIXOS || echo FAIL: no; exit 4".into()), 3));
    let path = StorePath::new(exec("readlink -f /run/current-system")).expect("a path");
    let mut setup = Setup::new(health);
    setup.scripts = Scripts::pin(tree.path(), &setup.host).expect("scripts");
    setup.cursor = exec("journalctl -n 1 --show-cursor -o cat | sed -n 's/^-- cursor: //p'");
    setup.old = path.clone();
    setup.new = path;
    setup
}

fn codes(found: &[nixdeploy::event::Finding]) -> Vec<String> {
    let blocks = found.iter().filter(|f| f.severity == Severity::Block);
    blocks.map(|f| format!("{} {}", f.code, f.subject)).collect()
}

#[test]
fn a_real_host_is_healthy_and_then_is_not() {
    let Some(desk) = crate::support::desk::Desk::of("p620") else { return };
    desk.factory(); // nothing of another test
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    exec(MEND);
    let tried = std::panic::catch_unwind(|| runtime.block_on(tried()));
    exec(MEND);
    tried.expect("the trial");
    assert_eq!(exec("ls -A /run/nixdeploy; ls /run/systemd/transient | grep nixdeploy; true"), "");
}

async fn tried() {
    let setup = setup();
    let (world, emitter, receiver) = world(OnDeployer { exec: exec_path() });
    let boot = exec("cat /proc/sys/kernel/random/boot_id");
    let (baseline, before) = verify::prelude(&world, &setup.request()).await.expect("a baseline");
    before.close().await;
    assert!(baseline.network.names.contains("p510"), "{baseline:?}");
    assert_eq!(baseline.probes.len(), 5);
    let expect = setup.expectation(&boot, &baseline);
    let mut session = verify::open(&world, &emitter, &setup.request()).await.expect("a session");
    let healthy = session.examine(&expect).await.expect("checks");
    assert_eq!(codes(&healthy.findings), Vec::<String>::new(), "{:#?}", healthy.findings);
    let warned = |label: &str| {
        let found = healthy.findings.iter().find(|f| f.subject == label);
        found.map(|f| f.message.clone()).unwrap_or_default()
    };
    assert!(warned("script loud.sh").starts_with("printed or wrote more than 8 MiB: \\u{1b}]52"));
    assert_eq!(
        warned("script slow.sh"),
        "no result within 3 s: FAIL: asleep; failed before as well"
    );
    assert_eq!(
        warned("script daemon.sh"),
        "what it started did not end within 3 s: OK: fine; failed before as well"
    );

    exec("mkdir -p /run/nixdeploy/tx1; echo 'echo asked=$*; exit 3' > /run/nixdeploy/tx1/guard");
    let answer = session.guard(&["commit", "a=b"]).await.expect("an answer");
    assert_eq!((answer.lines, answer.rc), (vec!["asked=commit a=b".into()], 3));
    session.close().await;

    exec(BREAK);
    let mut session = verify::open(&world, &emitter, &setup.request()).await.expect("a session");
    let broken = session.examine(&expect).await.expect("checks");
    let blocks = codes(&broken.findings);
    for code in ["unit-failed vf-broken.service", "crash-loop vf-loop.service", "dns resolver"] {
        assert!(blocks.contains(&code.to_owned()), "{code} in {blocks:?}");
    }
    let looped = broken.findings.iter().find(|f| f.code == "crash-loop").expect("a loop");
    assert!(looped.message.contains("last end: exited, status=7"), "{}", looped.message);
    session.close().await;
    let captured: Vec<_> = events(receiver)
        .into_iter()
        .filter_map(|e| match e {
            Event::Captured { evidence, .. } => Some(evidence),
            _ => None,
        })
        .collect();
    let journal = captured.iter().find(|e| e.source == "vf-broken.service").expect("evidence");
    assert!(journal.lines.iter().any(|l| l.contains("cannot open database")), "{journal:?}");

    exec("systemctl stop sshd");
    let refused = verify::open(&world, &emitter, &setup.request()).await.err().expect("refused");
    assert!(refused.to_string().contains("Connection refused"), "{refused}");
}
