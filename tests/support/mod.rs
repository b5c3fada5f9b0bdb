//! What several test files stand on: the lab's machines, a scripted runner, waiting with a limit.

// Not `lab`: by that name `tests/run` tells the tests that need machines from the others.
pub(crate) mod desk;
pub(crate) mod home;
pub(crate) mod machines;
pub(crate) mod nth;
pub(crate) mod prometheus;
pub(crate) mod rows;
pub(crate) mod scripted;
pub(crate) mod squad;
pub(crate) mod stage;
pub(crate) mod updates;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nixdeploy::world::prompt::Prompt;
use nixdeploy::world::{Clock, Environment, Runner, World};

/// A program that the tests themselves start.
#[expect(clippy::disallowed_methods, reason = "the tests' own door to programs")]
pub(crate) fn program(name: &str) -> Command {
    Command::new(name)
}

/// A variable of the test run.
#[expect(clippy::disallowed_methods, reason = "the tests' own door to the environment")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

/// Asks until the answer is there; fails after `limit` with what was waited for. The pause only
/// spares the processor: no test may count on its length.
#[expect(clippy::disallowed_methods, reason = "real machines and programs run on real time")]
pub(crate) fn wait_until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Lets a fault last: for how long a cable is out, never to wait for something.
#[expect(clippy::disallowed_methods, reason = "real machines and programs run on real time")]
pub(crate) fn last(length: Duration) {
    std::thread::sleep(length);
}

/// A world whose folders are all below one, with nobody at the terminal.
pub(crate) fn world(folder: &Path, runner: Arc<dyn Runner>) -> World {
    let environment = Environment {
        home: folder.join("home"),
        folder: folder.to_owned(),
        state: folder.join("state"),
        cache: folder.join("cache"),
        sockets: folder.join("sockets"),
        operator: "tester@here".to_owned(),
        machine: "here".to_owned(),
        interactive: false,
        screen: false,
        page: false,
        unicode: false,
        arguments: Vec::new(),
        step_summary: None,
        run: None,
    };
    World {
        runner,
        clock: Clock::start(),
        environment: Arc::new(environment),
        prompt: Arc::new(Prompt::new(false)),
    }
}
