//! `status` and `ping-hosts`: every host asked at once, the flake evaluated beside it, one table.
//!
//! Nothing is changed anywhere, so there is no run and no log; a signal ends it at once. Rows are
//! made in [`super::standing`].

use std::cell::Cell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join;

use super::glance::glance;
use super::report::show;
use super::standing::{self, Known, not_evaluated, row};
use super::{inventory, launch};
use crate::activate::journal;
use crate::build::{self, Evaluated, FlakeRef, Options, Workers};
use crate::cli::{Global, StatusArgs};
use crate::error::Error;
use crate::event::harmless;
use crate::event::stream::{Emitter, Stopwatch, channel};
use crate::exit::{self, Exit};
use crate::fleet::{Fleet, Host, HostName};
use crate::pipeline::deferred;
use crate::preflight::Refused;
use crate::preflight::read::{Answered, Effort};
use crate::report::board::{Board, SCHEMA, Trouble, document, lines};
use crate::report::memory::{LastDeploy, LastSeen, last_deploys, last_seen};
use crate::report::store;
use crate::report::waiting::Waiting;
use crate::report::{Format, Look, table};
use crate::world::World;
use crate::world::signals::Signals;

/// Hosts asked at once. To look costs a host little, so this is more than a deploy's bound.
const AT_ONCE: usize = 32;
/// What takes longer is explained.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks at what is still awaited.
const PACE: Duration = Duration::from_millis(250);
/// Given to programs that are to end, before we do.
const MERCY: Duration = Duration::from_millis(50);

/// Which of the two commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// What hosts run and how they are.
    Status,
    /// Which hosts answer.
    Ping,
}

/// Looks, and shows.
///
/// # Errors
/// When hosts.toml is wrong, or standard output can not be written.
pub async fn run(
    world: &World,
    global: &Global,
    args: &StatusArgs,
    which: Which,
    look: &Look,
) -> Result<Exit, Error> {
    let fleet = inventory::load(&world.environment, global)?;
    let hosts = inventory::hosts(&fleet, &args.hosts, &args.exclude, None)?;
    let Some(board) = self::look(world, global, (&fleet, &hosts), which, look).await? else {
        return Ok(Exit::Interrupted);
    };
    let exit = [Exit::Refused, Exit::NotBuilt].into_iter().find(|e| *e as u8 == board.exit);
    let exit = exit.unwrap_or(Exit::Done);
    show(&text(&board, which, launch::setting(global).format, look))?;
    Ok(exit)
}

/// Asks these hosts; `None`: we were asked to stop.
///
/// # Errors
/// When signals cannot be listened to.
pub(super) async fn look(
    world: &World,
    global: &Global,
    (fleet, hosts): (&Fleet, &[&Host]),
    which: Which,
    look: &Look,
) -> Result<Option<Board>, Error> {
    let mut signals = Signals::listen()
        .map_err(|e| Error::new(Exit::Internal, "cannot listen to signals").because(e))?;
    let looking = Looking::new(world, global, fleet, hosts, which);
    tokio::select! {
        board = looking.board() => Ok(Some(board)),
        never = looking.tell(look) => match never {},
        _ = signals.next() => {
            world.clock.sleep(MERCY).await;
            Ok(None)
        }
    }
}

fn text(board: &Board, which: Which, format: Format, look: &Look) -> String {
    match (format, which) {
        (Format::Json, _) => document(board),
        (Format::Jsonl, _) => lines(board),
        (Format::Human | Format::Markdown | Format::Html | Format::Github, Which::Status) => {
            table::status(board, look)
        }
        (Format::Human | Format::Markdown | Format::Html | Format::Github, Which::Ping) => {
            table::ping(board, look)
        }
    }
}

/// What a flake says of each host, in the order of the hosts.
type Wanted = Vec<Result<Evaluated, Trouble>>;

/// Everything that is asked, and how much of it is awaited still.
struct Looking<'a> {
    world: &'a World,
    global: &'a Global,
    fleet: &'a Fleet,
    hosts: &'a [&'a Host],
    which: Which,
    began: Duration,
    unheard: Vec<Cell<bool>>,
    unevaluated: Vec<Cell<bool>>,
    workers: Workers,
}

impl<'a> Looking<'a> {
    fn new(
        world: &'a World,
        global: &'a Global,
        fleet: &'a Fleet,
        hosts: &'a [&'a Host],
        which: Which,
    ) -> Self {
        let marks = |on: bool| hosts.iter().map(|_| Cell::new(on)).collect();
        let (unheard, unevaluated) = (marks(true), marks(which == Which::Status));
        let (began, workers) = (world.clock.elapsed(), Workers::of_this_machine());
        Self { world, global, fleet, hosts, which, began, unheard, unevaluated, workers }
    }

    /// Asks everything at once.
    async fn board(&self) -> Board {
        let names: Vec<HostName> = self.hosts.iter().map(|h| h.name.clone()).collect();
        let deploys = self.history(names, last_deploys);
        let (deploys, (answers, wanted)) = join(deploys, join(self.answers(), self.wanted())).await;
        let silent = self.hosts.iter().zip(&answers).filter(|(_, a)| a.is_err());
        let silent: Vec<HostName> = silent.map(|(h, _)| h.name.clone()).collect();
        let seen =
            if silent.is_empty() { BTreeMap::new() } else { self.history(silent, last_seen).await };
        self.put_together(&answers, wanted.as_ref(), &deploys, &seen)
    }

    /// Reads kept runs beside everything else.
    async fn history<T: Send + 'static>(
        &self,
        hosts: Vec<HostName>,
        read: fn(&Path, &[HostName]) -> BTreeMap<HostName, T>,
    ) -> BTreeMap<HostName, T> {
        let state = self.world.environment.state.clone();
        tokio::task::spawn_blocking(move || read(&state, &hosts)).await.unwrap_or_default()
    }

    async fn answers(&self) -> Vec<Result<Answered, Refused>> {
        let effort = match self.which {
            Which::Status => Effort::GLANCE,
            Which::Ping => Effort::PING,
        };
        let asked = self.hosts.iter().zip(&self.unheard).map(|(host, unheard)| async move {
            let answer = glance(self.world, host, effort).await;
            unheard.set(false);
            answer
        });
        futures_util::stream::iter(asked).buffered(AT_ONCE).collect().await
    }

    /// Evaluates, at most one host per processor at once; `None`: nobody asked.
    async fn wanted(&self) -> Option<Wanted> {
        if self.which == Which::Ping {
            return None;
        }
        let flake = self.flake();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (emitter, _) = channel(std::sync::Arc::new(self.world.clock));
        let evaluated = self.hosts.iter().zip(&self.unevaluated).map(|(host, open)| {
            let (flake, emitter) = (&flake, &emitter);
            async move {
                let wanted = match flake {
                    Ok(flake) => self.evaluate(emitter, flake, host).await,
                    Err(trouble) => Err(trouble.clone()),
                };
                open.set(false);
                wanted
            }
        });
        Some(futures_util::stream::iter(evaluated).buffered(cores).collect().await)
    }

    fn flake(&self) -> Result<FlakeRef, Trouble> {
        let environment = &self.world.environment;
        let text = inventory::flake(environment, self.global, self.fleet);
        FlakeRef::parse(&text, &environment.folder, environment).map_err(|error| Trouble {
            code: "flake".to_owned(),
            sentence: error.to_string(),
            causes: Vec::new(),
            next: error.hints(),
        })
    }

    /// Nobody listens to the events: only the answer counts.
    async fn evaluate(
        &self,
        emitter: &Emitter,
        flake: &FlakeRef,
        host: &Host,
    ) -> Result<Evaluated, Trouble> {
        let options = Options {
            accept_flake_config: host.accept_flake_config,
            no_cache: self.global.no_cache,
            keep_going: false,
            cache: None,
            builders: String::new(),
            keep: false,
            lock: None,
        };
        let (tree, workers) = (build::tree::reading(self.world, flake), &self.workers);
        let wanted =
            build::Wanted { flake, attr: &host.attr, tree: &tree, workers, afresh: &|| () };
        let evaluated = build::evaluate(self.world, emitter, &host.name, &wanted, &options).await;
        evaluated.map_err(|error| not_evaluated(&error))
    }

    fn put_together(
        &self,
        answers: &[Result<Answered, Refused>],
        wanted: Option<&Wanted>,
        deploys: &BTreeMap<HostName, LastDeploy>,
        seen: &BTreeMap<HostName, LastSeen>,
    ) -> Board {
        let now_ms = self.world.clock.epoch_ms();
        let (mut exit, mut rows) = (Exit::Done, Vec::new());
        let deferred = deferred::list(&self.world.environment.state, self.fleet);
        for (at, (host, answer)) in self.hosts.iter().zip(answers).enumerate() {
            let record = journal::read(&self.world.environment.state, &host.name);
            let known = Known {
                host,
                answer,
                wanted: wanted.and_then(|w| w.get(at)),
                goes_on: record.as_ref().is_some_and(|r| self.lives(r)),
                record: record.as_ref(),
                deferred: deferred.iter().find(|d| d.host == host.name),
                last_deploy: deploys.get(&host.name).cloned(),
                last_seen: seen.get(&host.name).cloned(),
                now_ms,
            };
            exit = exit::worst([exit, standing::exit(&known)]);
            rows.push(row(&known));
        }
        let flake = || inventory::flake(&self.world.environment, self.global, self.fleet);
        let flake = wanted.map(|_| harmless::line(&flake()));
        let took = self.world.clock.elapsed().saturating_sub(self.began);
        Board {
            schema: SCHEMA,
            command: if self.which == Which::Status { "status" } else { "ping-hosts" },
            at_ms: now_ms,
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            flake,
            exit: exit as u8,
            hosts: rows,
        }
    }

    fn lives(&self, record: &journal::Record) -> bool {
        store::lives(&self.world.environment.state, &record.run)
    }

    /// Says what is awaited, after a while.
    async fn tell(&self, look: &Look) -> Infallible {
        self.world.clock.sleep(PATIENCE).await;
        let mut waiting = Waiting::new(self.world.environment.screen, look);
        loop {
            if self.global.quiet == 0 {
                let elapsed = self.world.clock.elapsed().saturating_sub(self.began);
                waiting.tell(&self.awaited(), elapsed);
            }
            self.world.clock.sleep(PACE).await;
        }
    }

    fn awaited(&self) -> String {
        let names = |marks: &[Cell<bool>]| {
            let open = self.hosts.iter().zip(marks).filter(|(_, open)| open.get());
            open.map(|(host, _)| host.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        let (hosts, flake) = (names(&self.unheard), names(&self.unevaluated));
        match (hosts.is_empty(), flake.is_empty()) {
            (false, true) => format!("waiting for {hosts}"),
            (true, false) => format!("evaluating {flake}"),
            (false, false) => format!("waiting for {hosts}; evaluating {flake}"),
            (true, true) => "reading the history".to_owned(),
        }
    }
}
