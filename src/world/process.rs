//! The only place that starts a program: lines in order, limits, and no child left behind.
//!
//! Each child leads a process group of its own, so a Ctrl-C at the terminal reaches only us, and
//! ending it ends what it started too. Output is cut at a mebibyte a line and 64 MiB in all,
//! since it may come from a hostile host (security row S18).

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::elevate::Password;
use super::invocation::{Ended, Invocation, Line, Stream};
use crate::event::harmless;

/// A line longer than this is cut.
const LINE_LIMIT: usize = 1 << 20;
/// A program that prints more than this is ended.
const TOTAL_LIMIT: usize = 64 << 20;
/// Between asking a group to end and forcing it.
const MERCY: Duration = Duration::from_secs(2);
/// How long pipes are waited for, in all, after their program has ended: a background child of it
/// (ssh's master) can hold them for ever.
const LINGER: Duration = Duration::from_millis(50);
/// How much may come after that: no pipe holds more (pipe-max-size of pipe(7)), so the rest is
/// from a background child.
const LEFT_IN_PIPE: usize = 1 << 20;
/// Variables that could change what our children do (security row S5).
const DROPPED: [&str; 4] = ["NIX_SSHOPTS", "NIXOS_NO_CHECK", "BASH_ENV", "ENV"];

/// Starts programs; the tests have a scripted one.
pub trait Runner: Send + Sync {
    /// Starts one.
    fn start(&self, invocation: Invocation) -> BoxFuture<'_, Result<Conversation, StartError>>;
}

/// A program could not be started.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot start {program}: {cause}")]
pub struct StartError {
    /// Which.
    pub program: String,
    /// What the system said.
    pub cause: String,
    /// It is not installed.
    pub missing: bool,
}

/// A running program; dropping it ends the program and its whole group.
pub struct Conversation {
    lines: mpsc::Receiver<Line>,
    input: Option<mpsc::Sender<Vec<u8>>>,
    ended: oneshot::Receiver<Ended>,
    _stop: oneshot::Sender<()>,
}

/// The other ends of a conversation, held by whoever plays the program.
pub struct Backstage {
    /// Where its lines go.
    pub lines: mpsc::Sender<Line>,
    /// What is said to it.
    pub input: mpsc::Receiver<Vec<u8>>,
    /// Where its end goes.
    pub ended: oneshot::Sender<Ended>,
    /// Resolves when nobody listens any more.
    pub stop: oneshot::Receiver<()>,
}

impl Conversation {
    /// A conversation and the ends to play it with.
    pub fn pair() -> (Self, Backstage) {
        let (line_in, lines) = mpsc::channel(1024);
        let (input, input_out) = mpsc::channel(16);
        let (end_in, ended) = oneshot::channel();
        let (stop_in, stop) = oneshot::channel();
        let talk = Self { lines, input: Some(input), ended, _stop: stop_in };
        (talk, Backstage { lines: line_in, input: input_out, ended: end_in, stop })
    }

    /// The next line; `None` when there will be none.
    pub async fn line(&mut self) -> Option<Line> {
        self.lines.recv().await
    }

    /// Says something; false when nobody listens.
    pub async fn say(&mut self, text: &str) -> bool {
        match &self.input {
            Some(input) => input.send(text.as_bytes().to_vec()).await.is_ok(),
            None => false,
        }
    }

    /// Says no more.
    pub fn hush(&mut self) {
        self.input = None;
    }

    /// Waits for the end.
    pub async fn end(mut self) -> Ended {
        self.hush();
        self.lines.close();
        self.ended.await.unwrap_or(Ended::Killed)
    }
}

/// The real one.
pub struct System;

impl Runner for System {
    fn start(&self, invocation: Invocation) -> BoxFuture<'_, Result<Conversation, StartError>> {
        Box::pin(async move { start(invocation) })
    }
}

fn start(invocation: Invocation) -> Result<Conversation, StartError> {
    tracing::debug!(command = %harmless::redact(&invocation.to_string()), "start");
    let mut child = spawn(&invocation)?;
    let (talk, backstage) = Conversation::pair();
    let Backstage { lines, input, ended, stop } = backstage;
    let food = Food {
        secret: invocation.secret.clone(),
        first: invocation.stdin.clone(),
        source: match invocation.source.as_deref() {
            Some(source) => Some((spawn(source)?, lines.clone())),
            None => None,
        },
        more: invocation.converses.then_some(input),
    };
    tokio::spawn(feed(child.stdin.take(), food));
    let weighed = invocation.scale.clone().zip(child.id());
    let weighing = weighed.map(|(scale, pid)| tokio::spawn(scale.watch(pid)));
    tokio::spawn(async move {
        let end = supervise(child, lines, stop, &invocation).await;
        if let Some(weighing) = weighing {
            weighing.abort();
        }
        tracing::debug!(program = %invocation.program, %end, "ended");
        let _ = ended.send(end);
    });
    Ok(talk)
}

/// What a program printed, byte for byte.
pub struct Bytes {
    /// How it ended.
    pub ended: Ended,
    /// Its standard output.
    pub out: Vec<u8>,
    /// Its standard error, as text.
    pub err: String,
}

/// Runs a program whose output is no text of lines, such as names that may hold a line's end, or
/// the content of files. It is ended when it prints more than `limit` bytes.
///
/// # Errors
/// When it could not be started.
pub async fn bytes(invocation: Invocation, limit: usize) -> Result<Bytes, StartError> {
    use tokio::io::AsyncReadExt;
    tracing::debug!(command = %harmless::redact(&invocation.to_string()), "start");
    let mut child = spawn(&invocation)?;
    let food = Food { secret: None, first: invocation.stdin.clone(), source: None, more: None };
    let fed = tokio::spawn(feed(child.stdin.take(), food));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (most, little) = (limit as u64 + 1, LINE_LIMIT as u64);
    let mut pipes = (
        child.stdout.take().map(|pipe| pipe.take(most)),
        child.stderr.take().map(|pipe| pipe.take(little)),
    );
    let heard = async {
        let out = async {
            match &mut pipes.0 {
                Some(pipe) => pipe.read_to_end(&mut out).await.map(drop),
                None => Ok(()),
            }
        };
        let err = async {
            match &mut pipes.1 {
                Some(pipe) => pipe.read_to_end(&mut err).await.map(drop),
                None => Ok(()),
            }
        };
        tokio::join!(out, err)
    };
    let deadline = invocation.timeout.map(|t| Instant::now() + t);
    let in_time = tokio::select! {
        _ = heard => true,
        () = until(deadline) => false,
    };
    let ended = match (in_time, out.len() > limit) {
        (true, false) => child.wait().await.map_or(Ended::Killed, of_status),
        (true, true) => Ended::TooMuch,
        (false, _) => Ended::TimedOut,
    };
    if matches!(ended, Ended::TooMuch | Ended::TimedOut) {
        end_group(&mut child).await;
    }
    fed.abort();
    Ok(Bytes { ended, out, err: String::from_utf8_lossy(&err).into_owned() })
}

fn spawn(invocation: &Invocation) -> Result<Child, StartError> {
    command(invocation).spawn().map_err(|e| StartError {
        program: invocation.program.clone(),
        missing: e.kind() == std::io::ErrorKind::NotFound,
        cause: e.to_string(),
    })
}

#[expect(clippy::disallowed_methods, reason = "the one door through which programs are started")]
fn command(invocation: &Invocation) -> Command {
    let mut command = Command::new(&invocation.program);
    command.args(&invocation.args).process_group(0).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if dropped(&name) {
            command.env_remove(name);
        }
    }
    command.env("LC_ALL", "C.UTF-8").envs(invocation.env.iter().map(|(k, v)| (k, v)));
    if let Some(folder) = &invocation.folder {
        command.current_dir(folder);
    }
    command
}

fn dropped(name: &str) -> bool {
    let agent = matches!(name, "SSH_AUTH_SOCK" | "SSH_AGENT_PID");
    let prefixed = ["LD_", "SSH_", "GIT_"].iter().any(|p| name.starts_with(p));
    DROPPED.contains(&name) || (prefixed && !agent)
}

/// What a program reads, in this order.
struct Food {
    secret: Option<Password>,
    first: Vec<u8>,
    /// With where its complaints go.
    source: Option<(Child, mpsc::Sender<Line>)>,
    more: Option<mpsc::Receiver<Vec<u8>>>,
}

/// Writes the input; a program that does not read it is no error of ours.
async fn feed(stdin: Option<ChildStdin>, food: Food) {
    let Some(mut stdin) = stdin else { return };
    let Food { secret, first, source, more } = food;
    if let Some(secret) = secret
        && stdin.write_all(secret.lines()).await.is_err()
    {
        return;
    }
    if stdin.write_all(&first).await.is_err() {
        return;
    }
    if let Some((source, lines)) = source {
        return pour(source, stdin, lines).await;
    }
    let Some(mut more) = more else { return };
    while let Some(bytes) = more.recv().await {
        if stdin.write_all(&bytes).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
}

/// Writes what another program prints; what it complains of is told as the reader's own. It ends
/// with its reader, at the latest.
async fn pour(mut source: Child, mut stdin: ChildStdin, lines: mpsc::Sender<Line>) {
    drop(source.stdin.take());
    let (_gone, told) = watch::channel(false);
    let ear = Ear { stream: Stream::Err, lines, meter: Arc::new(Meter::new()), gone: told };
    let (out, err) = (source.stdout.take(), source.stderr.take());
    let carry = async {
        if let Some(mut out) = out {
            let _ = tokio::io::copy(&mut out, &mut stdin).await;
        }
        // Only now does the reader see the end.
        drop(stdin);
    };
    let listen = async {
        if let Some(err) = err {
            ear.read(err).await;
        }
    };
    tokio::join!(carry, listen);
    end_group(&mut source).await;
}

async fn supervise(
    mut child: Child,
    lines: mpsc::Sender<Line>,
    mut stop: oneshot::Receiver<()>,
    limits: &Invocation,
) -> Ended {
    let meter = Arc::new(Meter::new());
    let (gone, _) = watch::channel(false);
    let ear =
        |stream| Ear { stream, lines: lines.clone(), meter: meter.clone(), gone: gone.subscribe() };
    let (out, err) = (ear(Stream::Out), ear(Stream::Err));
    let readers = [
        child.stdout.take().map(|pipe| tokio::spawn(out.read(pipe))),
        child.stderr.take().map(|pipe| tokio::spawn(err.read(pipe))),
    ];
    drop(lines);
    let deadline = limits.timeout.map(|t| Instant::now() + t);
    let end = tokio::select! {
        status = child.wait() => status.map_or(Ended::Killed, of_status),
        () = until(deadline) => Ended::TimedOut,
        () = meter.silent(limits.silence) => Ended::Silent,
        () = meter.full() => Ended::TooMuch,
        _ = &mut stop => Ended::Killed,
    };
    if !matches!(end, Ended::Exited(_) | Ended::Signalled(_)) {
        end_group(&mut child).await;
    }
    let _ = gone.send(true);
    for reader in readers.into_iter().flatten() {
        let _ = reader.await;
    }
    end
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn of_status(status: std::process::ExitStatus) -> Ended {
    use std::os::unix::process::ExitStatusExt;
    status.code().map_or_else(|| Ended::Signalled(status.signal().unwrap_or(0)), Ended::Exited)
}

/// Asks the group to end, then forces it.
async fn end_group(child: &mut Child) {
    let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) else { return };
    let _ = kill_process_group(pid, Signal::TERM);
    let _ = timeout(MERCY, child.wait()).await;
    // Also when the leader has ended: what it started may ignore TERM.
    let _ = kill_process_group(pid, Signal::KILL);
    let _ = child.wait().await;
}

/// Counts what comes in, for the limits.
struct Meter {
    total: std::sync::atomic::AtomicUsize,
    heard: tokio::sync::Notify,
}

impl Meter {
    fn new() -> Self {
        Self { total: 0.into(), heard: tokio::sync::Notify::new() }
    }

    fn count(&self, bytes: usize) {
        self.total.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
        self.heard.notify_waiters();
    }

    async fn silent(&self, limit: Option<Duration>) {
        let Some(limit) = limit else { return std::future::pending().await };
        while timeout(limit, self.heard.notified()).await.is_ok() {}
    }

    async fn full(&self) {
        while self.total.load(std::sync::atomic::Ordering::Relaxed) <= TOTAL_LIMIT {
            self.heard.notified().await;
        }
    }
}

/// Listens to one pipe.
struct Ear {
    stream: Stream,
    lines: mpsc::Sender<Line>,
    meter: Arc<Meter>,
    /// Becomes true when the program has ended.
    gone: watch::Receiver<bool>,
}

impl Ear {
    async fn read(mut self, pipe: impl AsyncRead + Unpin) {
        let mut reader = BufReader::with_capacity(1 << 16, pipe);
        let mut line = Vec::new();
        let (mut patience, mut left) = (LINGER, LEFT_IN_PIPE);
        while left > 0 {
            let chunk = tokio::select! {
                biased;
                chunk = reader.fill_buf() => chunk,
                () = lingered(&mut self.gone, &mut patience) => break,
            };
            let (used, complete) = match chunk {
                Ok([]) | Err(_) => break,
                Ok(chunk) => take(chunk, &mut line),
            };
            reader.consume(used);
            self.meter.count(used);
            left -= if *self.gone.borrow() { used.min(left) } else { 0 };
            if complete && !send(&self.lines, self.stream, &mut line).await {
                return;
            }
        }
        if !line.is_empty() {
            send(&self.lines, self.stream, &mut line).await;
        }
    }
}

/// Resolves when patience is at its end after the program has ended; what was waited in vain is
/// taken from it when this is dropped half-way.
async fn lingered(gone: &mut watch::Receiver<bool>, patience: &mut Duration) {
    const STEP: Duration = Duration::from_millis(5);
    if gone.wait_for(|gone| *gone).await.is_err() {
        return;
    }
    while *patience > Duration::ZERO {
        *patience = patience.saturating_sub(STEP);
        tokio::time::sleep(STEP).await;
    }
}

/// Moves bytes up to a line's end (or `\r`, which progress meters use) into the line.
fn take(chunk: &[u8], line: &mut Vec<u8>) -> (usize, bool) {
    let end = chunk.iter().position(|b| *b == b'\n');
    let upto = end.unwrap_or(chunk.len());
    let room = LINE_LIMIT.saturating_sub(line.len());
    line.extend_from_slice(&chunk[..upto.min(room)]);
    (end.map_or(upto, |e| e + 1), end.is_some())
}

async fn send(lines: &mpsc::Sender<Line>, stream: Stream, line: &mut Vec<u8>) -> bool {
    let text = String::from_utf8_lossy(line).trim_end_matches('\r').to_owned();
    line.clear();
    lines.send(Line { stream, text }).await.is_ok()
}
