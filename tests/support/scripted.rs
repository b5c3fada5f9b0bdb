//! A runner that plays programs from a script: for what real ones do not do on demand.
//!
//! ```text
//! let runner = Scripted::new()
//!     .on(|i| i.program == "nix", Play::says(["{}"]))
//!     .on(|i| i.program == "ssh", Play::Hang);
//! ```

use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::future::BoxFuture;
use nixdeploy::world::process::Backstage;
use nixdeploy::world::{Conversation, Ended, Invocation, Line, Runner, StartError, Stream};

/// What a program does.
#[derive(Debug, Clone)]
pub(crate) enum Play {
    /// Prints lines, then ends.
    Says(Vec<Line>, Ended),
    /// Prints lines, then says and does nothing until nobody listens or its time is up.
    Hang(Vec<Line>),
    /// Answers what is said to it: each reply waits for a text that contains its key.
    Answers(Vec<(String, Vec<Line>)>, Ended),
    /// Prints lines, then answers whatever is said with the first reply whose key it holds; ends
    /// after the reply to `quit`, or when nothing more will be said.
    Talks(Vec<Line>, Vec<(String, Vec<Line>)>),
    /// Is not installed.
    Missing,
    /// Is there and cannot be started.
    Broken(String),
}

impl Play {
    /// Prints to standard output and exits with 0.
    pub(crate) fn says<S: Into<String>>(lines: impl IntoIterator<Item = S>) -> Self {
        Self::Says(lines.into_iter().map(|l| line(Stream::Out, l)).collect(), Ended::Exited(0))
    }

    /// Prints to standard error and exits with a code.
    pub(crate) fn fails<S: Into<String>>(code: i32, lines: impl IntoIterator<Item = S>) -> Self {
        Self::Says(lines.into_iter().map(|l| line(Stream::Err, l)).collect(), Ended::Exited(code))
    }
}

/// A line of output.
pub(crate) fn line(stream: Stream, text: impl Into<String>) -> Line {
    Line { stream, text: text.into() }
}

type Wanted = Box<dyn Fn(&Invocation) -> bool + Send + Sync>;

/// Plays the first rule that fits, and records every call; a call that fits none is a failure of
/// the test, told by [`Scripted::unexpected`] and played as a program that is missing.
#[derive(Default)]
pub(crate) struct Scripted {
    rules: Mutex<Vec<Rule>>,
    calls: Mutex<Vec<Invocation>>,
    unexpected: Mutex<Vec<String>>,
}

struct Rule {
    wanted: Wanted,
    play: Play,
    /// How often it may still be played; `None`: for ever.
    left: Option<usize>,
}

impl Scripted {
    /// No rules, no calls.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Plays this for every call that fits.
    #[must_use]
    pub(crate) fn on(
        self,
        wanted: impl Fn(&Invocation) -> bool + Send + Sync + 'static,
        play: Play,
    ) -> Self {
        self.rule(Box::new(wanted), play, None)
    }

    /// Plays this for the next call that fits, and no other.
    #[must_use]
    pub(crate) fn once(
        self,
        wanted: impl Fn(&Invocation) -> bool + Send + Sync + 'static,
        play: Play,
    ) -> Self {
        self.rule(Box::new(wanted), play, Some(1))
    }

    fn rule(self, wanted: Wanted, play: Play, left: Option<usize>) -> Self {
        held(&self.rules).push(Rule { wanted, play, left });
        self
    }

    /// For a world.
    pub(crate) fn shared(self) -> Arc<Self> {
        Arc::new(self)
    }

    /// Every call so far, in order.
    pub(crate) fn calls(&self) -> Vec<Invocation> {
        held(&self.calls).clone()
    }

    /// Calls that no rule was for, as one could type them.
    pub(crate) fn unexpected(&self) -> Vec<String> {
        held(&self.unexpected).clone()
    }

    fn choose(&self, invocation: &Invocation) -> Play {
        held(&self.calls).push(invocation.clone());
        let mut rules = held(&self.rules);
        let fits = |r: &&mut Rule| r.left != Some(0) && (r.wanted)(invocation);
        let Some(rule) = rules.iter_mut().find(fits) else {
            held(&self.unexpected).push(invocation.to_string());
            return Play::Missing;
        };
        rule.left = rule.left.map(|n| n - 1);
        rule.play.clone()
    }
}

impl Runner for Scripted {
    fn start(&self, invocation: Invocation) -> BoxFuture<'_, Result<Conversation, StartError>> {
        let refuse = |cause: &str, missing| {
            let (program, cause) = (invocation.program.clone(), cause.to_owned());
            Err(StartError { program, cause, missing })
        };
        let result = match self.choose(&invocation) {
            Play::Missing => refuse("no such program", true),
            Play::Broken(cause) => refuse(&cause, false),
            play => {
                let (conversation, backstage) = Conversation::pair();
                tokio::spawn(perform(play, backstage, invocation.timeout));
                Ok(conversation)
            }
        };
        Box::pin(async move { result })
    }
}

async fn perform(play: Play, stage: Backstage, limit: Option<std::time::Duration>) {
    let Backstage { lines, mut input, ended, mut stop } = stage;
    let end = match play {
        Play::Says(said, end) => {
            say(&lines, said).await;
            end
        }
        Play::Answers(replies, end) => {
            for (key, said) in replies {
                tokio::select! {
                    () = heard(&mut input, &key) => say(&lines, said).await,
                    _ = &mut stop => return,
                }
            }
            end
        }
        Play::Hang(said) => {
            say(&lines, said).await;
            let patience = async {
                match limit {
                    Some(limit) => tokio::time::sleep(limit).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = patience => Ended::TimedOut,
                _ = &mut stop => Ended::Killed,
            }
        }
        Play::Talks(first, replies) => {
            say(&lines, first).await;
            tokio::select! {
                () = converse(&lines, &mut input, &replies) => Ended::Exited(0),
                _ = &mut stop => return,
            }
        }
        Play::Missing | Play::Broken(_) => Ended::Killed,
    };
    drop(lines);
    let _ = ended.send(end);
}

async fn converse(
    lines: &tokio::sync::mpsc::Sender<Line>,
    input: &mut tokio::sync::mpsc::Receiver<Vec<u8>>,
    replies: &[(String, Vec<Line>)],
) {
    while let Some(bytes) = input.recv().await {
        let said = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((_, reply)) = replies.iter().find(|(key, _)| said.contains(key.as_str())) {
            say(lines, reply.clone()).await;
        }
        if said.starts_with("quit") {
            return;
        }
    }
}

async fn say(lines: &tokio::sync::mpsc::Sender<Line>, said: Vec<Line>) {
    for line in said {
        if lines.send(line).await.is_err() {
            return;
        }
    }
}

/// Until something that contains the key was said; for ever if nothing more will be.
async fn heard(input: &mut tokio::sync::mpsc::Receiver<Vec<u8>>, key: &str) {
    while let Some(bytes) = input.recv().await {
        if String::from_utf8_lossy(&bytes).contains(key) {
            return;
        }
    }
    std::future::pending().await
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[tokio::test]
async fn plays_go_as_written_and_calls_are_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let runner = Scripted::new()
        .once(|i| i.program == "nix", Play::fails(1, ["error: no"]))
        .on(|i| i.program == "nix", Play::says(["yes"]))
        .on(|i| i.args == ["log"], Play::Broken("no memory".to_owned()))
        .on(
            |i| i.program == "cat",
            Play::Answers(vec![("b".to_owned(), vec![line(Stream::Out, "B")])], Ended::Exited(3)),
        )
        .shared();
    let world = super::world(folder.path(), runner.clone());
    let first = world.run(Invocation::new("nix", ["build"])).await.expect("starts");
    assert_eq!((first.ended, first.err), (Ended::Exited(1), vec!["error: no".to_owned()]));
    assert_eq!(world.run(Invocation::new("nix", ["build"])).await.expect("starts").out, ["yes"]);
    assert!(world.run(Invocation::new("git", ["status"])).await.expect_err("no rule").missing);
    let broken = world.run(Invocation::new("git", ["log"])).await.expect_err("it is broken");
    assert!(!broken.missing);
    let mut talk = world.start(Invocation::new("cat", [""; 0]).conversing()).await.expect("starts");
    assert!(talk.say("a\n").await && talk.say("b\n").await);
    assert_eq!(talk.line().await.map(|l| l.text).as_deref(), Some("B"));
    assert_eq!(talk.end().await, Ended::Exited(3));
    assert_eq!(runner.calls().len(), 5);
    assert_eq!(runner.unexpected(), ["git status"]);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_program_ends_with_its_time_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let runner = Scripted::new().on(|_| true, Play::Hang(vec![line(Stream::Out, "...")])).shared();
    let world = super::world(folder.path(), runner);
    let hung = Invocation::new("ssh", ["p620"]).timeout(std::time::Duration::from_secs(3600));
    let output = world.run(hung).await.expect("starts");
    assert_eq!((output.ended, output.out), (Ended::TimedOut, vec!["...".to_owned()]));
}
