//! One host's journey on a stage: `pipeline::run` with every program played from recordings of the
//! lab (`tests/fixtures/journey`), so that what no machine does on demand can be asked for.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use nixdeploy::build::{FlakeRef, Workers};
use nixdeploy::event::state::RunState;
use nixdeploy::event::stream::{Stopwatch, channel};
use nixdeploy::event::{Event, HostReport, Stamped};
use nixdeploy::exit::{self, Exit};
use nixdeploy::fleet::Fleet;
use nixdeploy::fleet::hosts_toml::parse;
use nixdeploy::pipeline::budget::Budget;
use nixdeploy::pipeline::cancel::Stop;
use nixdeploy::pipeline::gates::Gates;
use nixdeploy::pipeline::{self, Run, Source};
use nixdeploy::plan::{Goal, Order, Request, decide};
use nixdeploy::validate::{self, Strictness, TreeView};
use nixdeploy::world::{Clock, Ended, Invocation, Line, Stream};

use super::scripted::{Play, Scripted, line};

/// What ran before, in the recordings.
pub(crate) const OLD: &str =
    "/nix/store/3cqp434micb6zpjlp4ymf6v8airn2n1y-nixos-system-p510-25.11.20261101.1ab2c3d";
/// What is to run.
pub(crate) const NEW: &str =
    "/nix/store/0bxmp47k2lqyildvjmsbcnk7zr55jww6-nixos-system-p510-25.11.20261101.1ab2c3d";
const DRV: &str =
    "/nix/store/j9vi5nkafdiw90msymq3qhiz44mghgda-nixos-system-p510-25.11.20261101.1ab2c3d.drv";
/// The run of the recordings; with the host's name it makes their transaction's.
const RUN: &str = "b79ed5";
/// How an answer says which transaction it is about.
pub(crate) const TX: &str = "tx=b79ed5ae88df";
pub(crate) const HOSTS: &str = "[defaults]\nuser = 'root'\nsoak_s = 2\nactivate_timeout_s = 20\n\
    verify_timeout_s = 20\ncommit_timeout_s = 20\n[hosts.p510]\n";

pub(crate) const FACTS: &str = include_str!("../fixtures/journey/facts.txt");
pub(crate) const VERIFY: &str = include_str!("../fixtures/journey/verify.txt");
pub(crate) const HOLD: &str = include_str!("../fixtures/journey/hold.txt");
const BASELINE: &str = include_str!("../fixtures/journey/baseline.txt");
const REHEARSE: &str = include_str!("../fixtures/journey/rehearse.txt");
pub(crate) const GO: &str = include_str!("../fixtures/journey/go.txt");

/// Everything a journey left behind.
pub(crate) struct Played {
    /// The stream.
    pub(crate) events: Vec<Stamped>,
    /// Its fold.
    pub(crate) state: RunState,
    /// Programs that were started.
    pub(crate) calls: Vec<Invocation>,
    /// Programs that no rule was for.
    pub(crate) unexpected: Vec<String>,
}

/// What a call is for.
pub(crate) fn purpose(call: &Invocation) -> String {
    let has = |word: &str| call.args.iter().any(|a| a == word);
    let script = |text: &str| String::from_utf8_lossy(&call.stdin).contains(text);
    let last = call.args.last().map_or("", String::as_str);
    if call.program == "nix" {
        let word = match () {
            () if has("--derivation") => "eval",
            () if has("build") => "build",
            () if has("copy") => "copy",
            () => "closure",
        };
        return word.to_owned();
    }
    if call.program != "ssh" {
        return call.program.clone();
    }
    if let Some((_, words)) = last.split_once("/guard ") {
        return words.split(' ').next().unwrap_or_default().to_owned();
    }
    let scripts =
        [("-s -- baseline ", "baseline"), ("-s -- verify ", "verify"), ("-s -- fast ", "verify")];
    if let Some((_, word)) = scripts.iter().find(|(text, _)| last.contains(text)) {
        return (*word).to_owned();
    }
    let scripts = [
        ("nixdeploy-facts=1", "facts"),
        ("nixdeploy-hold 1", "hold"),
        ("nixdeploy-rehearsal=1", "rehearse"),
        ("nixdeploy-toplevel=1", "describe"),
        ("sample_units <", "sample"),
        ("nixdeploy-closure=1", "old-closure"),
        ("at_work=1", "at-work"),
    ];
    scripts.iter().find(|(text, _)| script(text)).map_or("other", |(_, word)| word).to_owned()
}

/// For [`Scripted::on`].
pub(crate) fn is(word: &'static str) -> impl Fn(&Invocation) -> bool + Send + Sync {
    move |call| purpose(call) == word
}

/// A recording as it was printed.
pub(crate) fn recorded(text: &str) -> Play {
    Play::says(text.lines())
}

/// A complete answer of the guard.
pub(crate) fn guard(lines: &[&str]) -> Play {
    Play::says([TX].into_iter().chain(lines.iter().copied()).chain(["end=0"]))
}

/// The guard's last word after it went back.
pub(crate) fn reverted() -> Play {
    let pointers = [format!("running={OLD}"), format!("profile={OLD}"), format!("boot={OLD}")];
    let words = [TX, "outcome=reverted", "reason=aborted by the deployer", "link=system-2-link"];
    Play::says(words.map(str::to_owned).into_iter().chain(pointers).chain(["end=0".to_owned()]))
}

/// The session of the verification; `edit` changes what its checks say.
pub(crate) fn session(edit: impl Fn(&str) -> String) -> Play {
    let (checks, rest) = VERIFY.split_once("checks=done\n").expect("the checks' end");
    let (details, rest) = rest.split_once("done=0\n").expect("the details' end");
    let commit = rest.trim_end().strip_suffix("end=0").expect("the session's end");
    let lines = |text: &str| text.lines().map(|l| line(Stream::Out, l)).collect::<Vec<Line>>();
    let replies = [
        ("details", format!("{details}done=0")),
        ("evidence", "done=0".to_owned()),
        ("guard", commit.to_owned()),
        ("quit", "end=0".to_owned()),
    ];
    let replies = replies.map(|(key, text)| (key.to_owned(), lines(&text)));
    Play::Talks(lines(&(edit(checks) + "checks=done")), replies.to_vec())
}

/// A host that does all that is wanted; rules added before these win.
pub(crate) fn good(runner: Scripted) -> Scripted {
    runner
        .on(is("at-work"), Play::says([""; 0]))
        .on(is("eval"), Play::says([DRV]))
        .on(is("build"), Play::says([NEW]))
        .on(is("closure"), Play::says([format!("{NEW} 1024")]))
        .on(
            is("old-closure"),
            Play::says(["nixdeploy-closure=1", &format!("path={OLD} 1024"), "end=0"]),
        )
        .on(is("copy"), Play::Says(Vec::new(), Ended::Exited(0)))
        .on(is("facts"), recorded(FACTS))
        .on(is("hold"), recorded(HOLD))
        .on(is("renew"), guard(&[]))
        .on(is("baseline"), session_of(BASELINE))
        .on(is("rehearse"), recorded(REHEARSE))
        .on(is("sample"), Play::says([""; 0]))
        .on(is("go"), recorded(GO))
        .on(is("abort"), reverted())
        .on(is("await"), reverted())
        .on(is("verify"), session(str::to_owned))
}

fn session_of(checks: &str) -> Play {
    let checks = checks.split("end=0").next().unwrap_or_default();
    let lines = checks.lines().map(|l| line(Stream::Out, l)).collect();
    // The open session does not know the guard here, so each request is made on its own.
    let replies = [("rehearse", "done=1"), ("guard", "done=1"), ("quit", "end=0")];
    let replies = replies.map(|(key, said)| (key.to_owned(), vec![line(Stream::Out, said)]));
    Play::Talks(lines, replies.to_vec())
}

/// A deploy that never asks.
pub(crate) fn deploy() -> Request {
    Request {
        command: "quick-deploy".to_owned(),
        goal: Goal::Deploy,
        mode: None,
        build_on: None,
        cached: false,
        yes: false,
        verify_unchanged: false,
        ask: false,
        accept_drift: false,
        external: false,
        nh: false,
        emergency: false,
        trial_boot: false,
        no_cache: false,
        keep: true,
        build_first: false,
        wait_s: 0,
        issue: None,
        message: None,
        recovers: None,
        lock: None,
    }
}

/// Plays a journey of p510.
pub(crate) async fn play(runner: Scripted, request: Request) -> Played {
    play_at(("root", "root"), runner, request, 0).await
}

/// A wall clock that is set by so many milliseconds with every second look at it.
struct Jumping {
    clock: Clock,
    step_ms: i64,
    looks: AtomicI64,
}

impl Stopwatch for Jumping {
    fn epoch_ms(&self) -> i64 {
        let looks = self.looks.fetch_add(1, Ordering::Relaxed);
        self.clock.epoch_ms() + looks / 2 * self.step_ms
    }

    fn monotonic_ms(&self) -> u64 {
        self.clock.monotonic_ms()
    }
}

/// The same by a wall clock that jumps.
pub(crate) async fn play_by(runner: Scripted, request: Request, step_ms: i64) -> Played {
    play_at(("root", "root"), runner, request, step_ms).await
}

/// Plays a journey of p510 with another setting in the place of one of its own.
pub(crate) async fn play_with(was: &str, is: &str, runner: Scripted, request: Request) -> Played {
    play_at((was, is), runner, request, 0).await
}

async fn play_at(
    (was, is): (&str, &str),
    runner: Scripted,
    request: Request,
    step_ms: i64,
) -> Played {
    assert!(HOSTS.contains(was), "no {was}");
    let hosts = HOSTS.replace(was, is);
    let folder = tempfile::tempdir().expect("a folder");
    let runner = runner.shared();
    let world = super::world(folder.path(), runner.clone());
    let fleet: Fleet = parse(Path::new("/fleet/hosts.toml"), &hosts).expect("a fleet");
    let wall = Jumping { clock: world.clock, step_ms, looks: AtomicI64::new(0) };
    let (emitter, mut events) = channel(Arc::new(wall));
    let plan = decide(&request, &fleet.hosts, &Order::of(&fleet.limits));
    let view = TreeView {
        id: "tree".to_owned(),
        root: "/".into(),
        files: Vec::new(),
        levels: validate::levels::Levels::default(),
        baseline: validate::baseline::Baseline::default(),
    };
    let (clear, here) = (emitter.clone(), world.clone());
    let cleared =
        pipeline::clear(
            async move { validate::run(&here, &clear, &view, Strictness::default()).await },
        );
    emitter.emit(Event::Planned { plan: plan.clone() });
    let (_asks, stop) = Stop::manual();
    let flake = FlakeRef::Other("github:me/config".to_owned());
    let tree = nixdeploy::build::tree::reading(&world, &flake);
    let source = Some(Source { flake, tree, cleared });
    let run = Run {
        world,
        emitter: emitter.clone(),
        fleet,
        request,
        budget: Budget::new(&plan),
        plan,
        source,
        stop,
        name: RUN.to_owned(),
        workers: Workers::of_this_machine(),
        graph: Arc::default(),
        gates: Gates::default(),
        early: Default::default(),
        met: Default::default(),
        asleep: Default::default(),
    };
    pipeline::run(&run).await;
    drop(run);
    emitter.emit(Event::RunFinished { took_ms: emitter.elapsed_ms() });
    drop(emitter);
    let mut kept = Vec::new();
    while let Ok(event) = events.try_recv() {
        kept.push(event);
    }
    let mut state = RunState::default();
    kept.iter().for_each(|event| state.apply(event));
    Played { events: kept, state, calls: runner.calls(), unexpected: runner.unexpected() }
}

impl Played {
    /// The last word on the host; there is exactly one, and the run ends after it.
    pub(crate) fn report(&self) -> &HostReport {
        let words = self.events.iter().filter(|e| matches!(e.event, Event::HostFinished { .. }));
        assert_eq!(words.count(), 1, "one last word");
        let last = self.events.last().map(|e| &e.event);
        assert!(matches!(last, Some(Event::RunFinished { .. })), "{last:?}");
        assert_eq!(self.unexpected, [""; 0]);
        self.state.hosts[0].report.as_ref().expect("a last word")
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        exit::of_run(&self.state, false)
    }

    /// What was asked of the host and its guard, in order, repetitions apart.
    pub(crate) fn requests(&self) -> Vec<String> {
        let wanted =
            ["hold", "go", "stage", "verify", "commit", "abort", "await", "follow", "show"];
        let words = self.calls.iter().map(purpose).filter(|w| wanted.contains(&w.as_str()));
        let mut words: Vec<String> = words.collect();
        words.dedup();
        words
    }
}
