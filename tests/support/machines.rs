//! The lab's machines (`tests/lab`) for tests: one method a verb, each host used by one test at
//! a time.
//!
//! ```text
//! let Some(lab) = Lab::from_env() else { return };
//! let lab = lab.hold(&["p620"]);
//! lab.knob("p620", "lab.brokenService = true;");
//! assert_eq!(lab.deploy(&["quick-deploy", "p620"]).code, 6);
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{program, variable, wait_until};

/// No verb of the lab and no deploy takes longer; what does is hung and is ended.
const LIMIT_S: u32 = 180;
/// Tests that could not be tried.
static SKIPPED: AtomicUsize = AtomicUsize::new(0);
/// Names one deploy of this test run.
static DEPLOYS: AtomicUsize = AtomicUsize::new(0);

/// A lab that is up; see [`Lab::hold`].
#[derive(Debug, Clone)]
pub(crate) struct Lab {
    folder: PathBuf,
}

/// A lab in which some hosts are ours alone until this is dropped.
pub(crate) struct Held {
    lab: Lab,
    _locks: Vec<File>,
}

/// What a program printed, and its status; 255 stands for a signal.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub(crate) struct Said {
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
    /// Exit code.
    pub(crate) code: i32,
}

/// What is true of a machine, read without our program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State(BTreeMap<String, String>);

/// A deploy under way on the deployer.
pub(crate) struct Running {
    lab: Lab,
    child: Child,
    pid_file: String,
    stdout: Heard,
    stderr: Heard,
}

/// What a program has printed so far, read as it comes.
struct Heard {
    text: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Lab {
    /// The lab named by `NIXDEPLOY_LAB`; without one the test has to return, and says so loudly.
    ///
    /// # Panics
    /// Without a lab where `CI=true`: there, not to try is to fail.
    #[expect(clippy::disallowed_methods, reason = "a skipped test must be seen though it passes")]
    pub(crate) fn from_env() -> Option<Self> {
        let folder = variable("NIXDEPLOY_LAB").map(PathBuf::from);
        if folder.is_none() {
            let skipped = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
            let _ =
                writeln!(std::io::stderr(), "SKIPPED: no lab (NIXDEPLOY_LAB), {skipped} so far");
            assert!(variable("CI").as_deref() != Some("true"), "CI without a lab proves nothing");
        }
        folder.map(|folder| Self { folder })
    }

    /// Where the lab keeps a machine's files, and where tests leave marks about it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Every machine but the deployer, in the order of the fleet.
    pub(crate) fn hosts(&self) -> Vec<String> {
        let names = std::fs::read_to_string(self.file("names")).expect("the names of the lab");
        names.lines().filter(|name| *name != "deployer").map(str::to_owned).collect()
    }

    /// Waits until no other test, also of another process, uses these hosts.
    pub(crate) fn hold(&self, hosts: &[&str]) -> Held {
        let mut hosts = hosts.to_vec();
        hosts.sort_unstable(); // one order for all, or two tests could wait for each other
        let lock = |host: &&str| {
            let file = self.lock_file(host);
            file.lock().expect("the lock");
            file
        };
        Held { lab: self.clone(), _locks: hosts.iter().map(lock).collect() }
    }

    /// A host that nobody uses, of these.
    pub(crate) fn try_hold(&self, host: &str) -> Option<Held> {
        let file = self.lock_file(host);
        file.try_lock().ok()?;
        Some(Held { lab: self.clone(), _locks: vec![file] })
    }

    fn lock_file(&self, host: &str) -> File {
        File::create(self.file(&format!("test-{host}.lock"))).expect("a lock")
    }

    /// A verb of the lab; fails when it fails.
    fn verb(&self, name: &str, args: &[&str]) -> Said {
        let said = self.try_verb(name, args);
        assert_eq!(said.code, 0, "tests/lab/{name} {args:?}\n{}{}", said.stdout, said.stderr);
        said
    }

    fn try_verb(&self, name: &str, args: &[&str]) -> Said {
        Said::of(&self.script(name).args(args).output().expect("timeout(1) starts"))
    }

    fn script(&self, name: &str) -> Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab").join(name);
        let mut command = program("timeout");
        command.args(["--kill-after=10", &LIMIT_S.to_string()]).arg(script);
        command.env("LAB_DIR", &self.folder).stdin(Stdio::null());
        command
    }

    /// Runs a command on a machine as root, through the lab's own door.
    pub(crate) fn exec(&self, host: &str, command: &[&str]) -> Said {
        self.try_verb("exec", &[&[host], command].concat())
    }

    /// Pulls the network cable.
    pub(crate) fn cut(&self, host: &str) {
        let _ = self.verb("cut", &[host]);
    }

    /// Puts it back.
    pub(crate) fn heal(&self, host: &str) {
        let _ = self.verb("heal", &[host]);
    }

    /// Power loss.
    pub(crate) fn kill(&self, host: &str) {
        let _ = self.verb("kill", &[host]);
    }

    /// Power on; returns when sshd answers.
    pub(crate) fn boot(&self, host: &str) {
        let _ = self.verb("boot", &[host]);
    }

    /// A slow line, in kilobits a second each way.
    pub(crate) fn slow(&self, host: &str, kbit: u32) {
        let _ = self.verb("slow", &[host, "0", &kbit.to_string()]);
    }

    /// Back to the factory disk, powered on, cables in.
    pub(crate) fn reset(&self, host: &str) {
        let _ = self.verb("reset", &[host]);
    }

    /// What every system of a host runs at the phases of its activation.
    pub(crate) fn hook(&self, host: &str, script: &str) {
        let _ = self.verb("hook", &[host, script]);
    }

    /// A stand-in of nixos-rebuild on the deployer: `new`, `old` or `none`.
    pub(crate) fn engine(&self, kind: &str) {
        let _ = self.verb("engine", &[kind]);
    }

    /// The password that samsung's admin needs for sudo; empty: none.
    pub(crate) fn sudo_password(&self, host: &str, word: &str) {
        let _ = self.verb("sudo-password", &[host, word]);
    }

    /// What is true of a machine; also when it is cut or off.
    pub(crate) fn state(&self, host: &str) -> State {
        State::read(&self.verb("state", &[host]).stdout)
    }

    /// The same as text, or why it is not to be had; ends no test.
    pub(crate) fn told_state(&self, host: &str) -> String {
        let said = self.try_verb("state", &[host]);
        said.stdout + &said.stderr
    }

    /// Waits until the state of a host is as wanted.
    pub(crate) fn wait_for(
        &self,
        host: &str,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&State) -> bool,
    ) -> State {
        wait_until(what, limit, || Some(self.state(host)).filter(|state| wanted(state)))
    }

    /// Starts our program on the deployer, in a folder that keeps its state too.
    pub(crate) fn start(&self, folder: &str, args: &[&str]) -> Running {
        let n = DEPLOYS.fetch_add(1, Ordering::Relaxed);
        let pid_file = format!("/run/deploy-{}-{n}", std::process::id());
        let shell = "echo $$ > \"$1\"; cd \"$2\" || exit; shift 2; \
            export XDG_STATE_HOME=$PWD/state; [ ! -d bin ] || PATH=$PWD/bin:$PATH; \
            [ ! -d nth/bin ] || PATH=$PWD/nth/bin:$PATH; \
            [ ! -d cache ] || export XDG_CACHE_HOME=$PWD/cache; exec nixdeploy \"$@\"";
        let fixed = ["deployer", "bash", "-c", shell, "deploy", &pid_file, folder];
        let mut command = self.script("exec");
        command.args(fixed).args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("timeout(1) starts");
        let stdout = Heard::from(child.stdout.take().expect("a pipe"));
        let stderr = Heard::from(child.stderr.take().expect("a pipe"));
        Running { lab: self.clone(), child, pid_file, stdout, stderr }
    }
}

impl Heard {
    fn from(mut pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let ours = text.clone();
        let reader = std::thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(n @ 1..) = pipe.read(&mut some) {
                let mut text = ours.lock().unwrap_or_else(PoisonError::into_inner);
                text.extend_from_slice(&some[..n]);
            }
        });
        Self { text, reader }
    }

    fn so_far(&self) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).into_owned()
    }

    fn all(self) -> String {
        let Self { text, reader } = self;
        reader.join().expect("a pipe is read");
        String::from_utf8_lossy(&text.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl std::ops::Deref for Held {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl Running {
    /// Sends a signal to our program: `INT`, `TERM`, `KILL`, `STOP`, `CONT`.
    pub(crate) fn signal(&self, signal: &str) {
        let limit = Duration::from_secs(10);
        let pid = wait_until("the pid of the deploy", limit, || {
            let said = self.lab.exec("deployer", &["cat", &self.pid_file]);
            Some(said.stdout.trim().to_owned()).filter(|pid| said.code == 0 && !pid.is_empty())
        });
        let sent = self.lab.exec("deployer", &["kill", &format!("-{signal}"), &pid]);
        assert_eq!(sent.code, 0, "kill -{signal} {pid}: {}", sent.stderr);
    }

    /// Waits until it has said something on standard error.
    pub(crate) fn heard(&self, words: &str) {
        let limit = Duration::from_secs(90);
        wait_until(&format!("the deploy to say {words:?}"), limit, || {
            Some(()).filter(|()| self.stderr.so_far().contains(words))
        });
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.stdout.reader.is_finished() && self.stderr.reader.is_finished()
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Said {
        let status = self.child.wait().expect("the deploy ends");
        let (stdout, stderr) = (self.stdout.all(), self.stderr.all());
        let said = Said { stdout, stderr, code: status.code().unwrap_or(255) };
        let _ = self.lab.exec("deployer", &["rm", "-f", &self.pid_file]);
        assert!(said.code != 124, "hung for {LIMIT_S} s\n{}", said.stderr);
        said
    }
}

impl Said {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code().unwrap_or(255),
        }
    }
}

impl State {
    fn read(text: &str) -> Self {
        let pair = |line: &str| line.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
        Self(text.lines().filter_map(pair).collect())
    }

    /// A value; empty when it is not known.
    ///
    /// # Panics
    /// When the lab has no such key: a typing mistake would otherwise pass for "not known".
    pub(crate) fn get(&self, key: &str) -> &str {
        self.0.get(key).unwrap_or_else(|| panic!("tests/lab/state has no {key}"))
    }

    /// A value that is a list.
    pub(crate) fn list(&self, key: &str) -> Vec<&str> {
        self.get(key).split(',').filter(|word| !word.is_empty()).collect()
    }

    /// A value that is a number; `None` when it is not known.
    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        self.get(key).parse().ok()
    }

    /// Whether running system, profile and boot default are all this toplevel.
    pub(crate) fn is_all(&self, toplevel: &str) -> bool {
        ["running", "etc_toplevel", "profile", "boot_default"]
            .iter()
            .all(|k| self.get(k) == toplevel)
    }

    /// What must be the same after a deploy that was taken back.
    pub(crate) fn pointers(&self) -> [(&str, &str); 7] {
        [
            "running",
            "etc_toplevel",
            "profile",
            "generation",
            "boot_default",
            "bootloader_installs",
            "units_active",
        ]
        .map(|key| (key, self.get(key)))
    }
}

#[test]
fn states_are_read_and_misspelt_keys_are_told() {
    let state = State::read("power=on\nrunning=/nix/store/a\nroots=a->b,c->d\ngeneration=\n");
    assert_eq!(state.get("power"), "on");
    assert_eq!(state.list("roots"), ["a->b", "c->d"]);
    assert_eq!(state.number("generation"), None);
    assert!(std::panic::catch_unwind(|| state.get("runing").len()).is_err());
}
