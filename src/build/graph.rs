//! Closures of several hosts, built here by as few programs as can be.
//!
//! Two programs of Nix that want the same derivation stand in each other's way: the one that comes
//! second asks every few seconds whether the first is done (`build-poll-interval`). So hosts that
//! want their closure at about the same time share one `nix build`. Whoever comes while one runs
//! waits for nobody: there may be two, so that a long build of one host holds up none of the
//! others. A host goes on as soon as its own closure is there, and what failed is the failure of
//! those hosts that need it.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot, watch};

use super::failure::{self, BuildError, Stage};
use super::output::{Heard, Log, Tally};
use super::relay::Relay;
use super::{BUILD, Evaluated, Options, nix};
use crate::event::stream::Emitter;
use crate::event::{Event, Phase};
use crate::fleet::{HostName, StorePath};
use crate::world::{Conversation, Ended, Invocation, Stream, World};

/// Programs that build at once.
const AT_ONCE: usize = 2;
/// Hosts that are about to come are waited for this part of what the run has taken so far.
const PART: u64 = 10;
/// Shortest and longest of that, in milliseconds.
const PATIENCE_MS: (u64, u64) = (20, 3_000);
/// Between two looks whether anybody still waits.
const LOOK: Duration = Duration::from_millis(500);
/// Between two reports of progress, per host that is told.
const PACE: Duration = Duration::from_millis(100);

/// Builds of a run.
pub struct Graph {
    queue: Mutex<Queue>,
    /// How far each program is, by the order in which they began.
    tallies: Mutex<Vec<Tally>>,
    coming: watch::Sender<BTreeSet<HostName>>,
    slots: Semaphore,
}

#[derive(Default)]
struct Queue {
    wishes: Vec<Wish>,
    dispatched: bool,
}

/// A host's closure, and who waits for it.
struct Wish {
    host: HostName,
    drv: StorePath,
    toplevel: StorePath,
    tell: Option<oneshot::Sender<Result<Together, BuildError>>>,
}

/// What was done for all hosts of one program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Together {
    /// Derivations built.
    pub(super) built: u64,
    /// Paths fetched.
    pub(super) fetched: u64,
    /// Hosts it was for.
    pub(super) hosts: usize,
}

impl Default for Graph {
    fn default() -> Self {
        Self {
            queue: Mutex::default(),
            tallies: Mutex::default(),
            coming: watch::Sender::new(BTreeSet::new()),
            slots: Semaphore::new(AT_ONCE),
        }
    }
}

impl Graph {
    /// A host will soon want its closure, or turn out to need none.
    pub fn comes(&self, host: &HostName) {
        self.coming.send_if_modified(|coming| coming.insert(host.clone()));
    }

    /// It wants it now, or needs none.
    pub fn came(&self, host: &HostName) {
        self.coming.send_if_modified(|coming| coming.remove(host));
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tallied<T>(&self, change: impl FnOnce(&mut Vec<Tally>) -> T) -> T {
        change(&mut self.tallies.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until a closure is there, or cannot be. Where nobody can tell it is as good as there:
    /// whoever roots it builds it then, and hears why not.
    pub(super) async fn built(
        self: &Arc<Self>,
        relay: Relay<'_>,
        evaluated: &Evaluated,
        options: &Options,
    ) -> Result<Together, BuildError> {
        self.came(relay.host);
        let Some(toplevel) = evaluated.toplevel.clone().filter(|t| !is_here(t)) else {
            return Ok(Together::default());
        };
        let (tell, ear) = oneshot::channel();
        let (host, drv) = (relay.host.clone(), evaluated.drv.clone());
        let first = {
            let mut queue = self.queue();
            queue.wishes.push(Wish { host, drv, toplevel, tell: Some(tell) });
            !std::mem::replace(&mut queue.dispatched, true)
        };
        if first {
            let (world, emitter) = (relay.world.clone(), relay.emitter.clone());
            tokio::spawn(self.clone().dispatch(world, emitter, options.clone()));
        }
        ear.await.unwrap_or(Ok(Together::default()))
    }

    /// Builds for all that have come by the time that there is room.
    async fn dispatch(self: Arc<Self>, world: World, emitter: Emitter, options: Options) {
        let patience = (emitter.elapsed_ms() / PART).clamp(PATIENCE_MS.0, PATIENCE_MS.1);
        let mut coming = self.coming.subscribe();
        tokio::select! {
            _ = coming.wait_for(BTreeSet::is_empty) => {}
            () = world.clock.sleep(Duration::from_millis(patience)) => {}
        }
        let slot = self.slots.acquire().await;
        let wishes = {
            let mut queue = self.queue();
            queue.dispatched = false;
            std::mem::take(&mut queue.wishes)
        };
        let wishes: Vec<Wish> = wishes.into_iter().filter(Wish::is_awaited).collect();
        if !wishes.is_empty() {
            let number = self.tallied(|tallies| {
                tallies.push(Tally::default());
                tallies.len() - 1
            });
            Batch { graph: self.clone(), number, world, emitter, wishes }.run(&options).await;
        }
        drop(slot);
    }
}

/// Whether it lies in the store; half a path of a build that is cut off does too.
fn is_here(path: &StorePath) -> bool {
    Path::new(path.as_str()).exists()
}

impl Wish {
    fn is_awaited(&self) -> bool {
        self.tell.as_ref().is_some_and(|tell| !tell.is_closed())
    }

    fn grant(&mut self, answer: Result<Together, BuildError>) {
        if let Some(tell) = self.tell.take() {
            let _ = tell.send(answer);
        }
    }
}

/// One program, and the hosts it builds for.
struct Batch {
    graph: Arc<Graph>,
    number: usize,
    world: World,
    emitter: Emitter,
    wishes: Vec<Wish>,
}

impl Batch {
    async fn run(mut self, options: &Options) {
        let command = command(self.wishes.iter().map(|w| &w.drv), options);
        let conversation = match self.world.start(command).await {
            Ok(conversation) => conversation,
            Err(error) => {
                let error = BuildError::unstarted(error);
                return self.wishes.iter_mut().for_each(|w| w.grant(Err(error.clone())));
            }
        };
        let Some((log, ended)) = self.follow(conversation).await else { return };
        self.count(&log);
        let together = self.together(&log);
        for at in 0..self.wishes.len() {
            let answer = match ended.ok() || !self.wishes[at].is_awaited() {
                true => Ok(together),
                false => self.failed(&self.wishes[at], &log, ended).await.map_or(Ok(together), Err),
            };
            self.wishes[at].grant(answer);
        }
    }

    /// Listens to its end; `None`: nobody waits for it any more.
    async fn follow(&mut self, mut conversation: Conversation) -> Option<(Log, Ended)> {
        let (mut log, mut told) = (Log::default(), Duration::ZERO);
        loop {
            let line = tokio::select! {
                line = conversation.line() => Some(line),
                () = self.world.clock.sleep(LOOK) => None,
            };
            if !self.wishes.iter().any(Wish::is_awaited) {
                return None;
            }
            let line = match line {
                None => continue,
                Some(None) => return Some((log, conversation.end().await)),
                Some(Some(line)) if line.stream == Stream::Out => continue,
                Some(Some(line)) => line,
            };
            match log.take(&line.text) {
                Heard::Progress => self.progress(&log, &mut told),
                Heard::Line(text) => self.line(text),
                Heard::Nothing => {}
            }
            let together = self.together(&log);
            for drv in std::mem::take(&mut log.ended) {
                let done = |w: &&mut Wish| w.drv.as_str() == drv && is_here(&w.toplevel);
                self.wishes.iter_mut().filter(done).for_each(|w| w.grant(Ok(together)));
            }
        }
    }

    fn together(&self, log: &Log) -> Together {
        Together { built: log.builds.done, fetched: log.fetched, hosts: self.wishes.len() }
    }

    fn relays(&self) -> impl Iterator<Item = Relay<'_>> {
        let Self { world, emitter, wishes, .. } = self;
        let awaited = wishes.iter().filter(|w| w.is_awaited());
        awaited.map(move |w| Relay { world, emitter, host: &w.host, phase: Phase::Build })
    }

    /// The more hosts wait for it, the less often each is told.
    fn progress(&self, log: &Log, told: &mut Duration) {
        let now = self.world.clock.elapsed();
        let pace = PACE * u32::try_from(self.wishes.len().div_ceil(8)).unwrap_or(u32::MAX);
        if now.saturating_sub(*told) >= pace {
            *told = now;
            self.count(log);
            self.relays().for_each(|relay| relay.show(log));
        }
    }

    /// How much all programs have built, of how much.
    fn count(&self, log: &Log) {
        let (done, total) = self.graph.tallied(|tallies| {
            tallies[self.number] = log.builds;
            let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum();
            (sum(|tally| tally.done), sum(|tally| tally.expected))
        });
        if total > 0 {
            self.emitter.emit(Event::BuildsCounted { done, total });
        }
    }

    /// A builder's words are told once, whoever waits for it.
    fn line(&self, text: String) {
        if let Some(relay) = self.relays().next() {
            relay.line(text);
        }
    }

    /// Why a host has no closure; `None`: nothing that it needs is known to have failed.
    async fn failed(&self, wish: &Wish, log: &Log, ended: Ended) -> Option<BuildError> {
        if !matches!(ended, Ended::Exited(_)) {
            return Some(failure::sort(log, ended, Stage::Build, "here"));
        }
        if is_here(&wish.toplevel) {
            return None;
        }
        let query = ["--query", "--requisites", wish.drv.as_str()];
        let needs =
            self.world.run(Invocation::new("nix-store", query).timeout(BUILD)).await.ok()?;
        let needs: HashSet<String> = needs.out.into_iter().collect();
        failure::of_one(log, |drv| needs.contains(drv))
    }
}

fn command<'a>(drvs: impl Iterator<Item = &'a StorePath>, options: &Options) -> Invocation {
    let mut args = ["build", "--no-link", "--keep-going", "--log-format", "internal-json"]
        .map(str::to_owned)
        .to_vec();
    if !options.builders.is_empty() {
        args.extend(["--builders".to_owned(), options.builders.clone()]);
    }
    // There may be another of ours, or of somebody else.
    args.extend(super::option("build-poll-interval", "1"));
    args.extend(options.building().into_iter().filter(|arg| arg != "--keep-going"));
    args.extend(drvs.map(|drv| format!("{drv}^out")));
    nix(args.iter().map(String::as_str)).timeout(BUILD)
}
