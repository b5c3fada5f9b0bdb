//! From a request to a finished run: the stream, its sinks, the verdict on the tree, the hosts.
//!
//! Every verb that works on hosts goes through here, so each has the same log, the same screens,
//! the same answer to Ctrl-C and the same exit code from the fold.

use std::sync::Arc;

use super::{inventory, local};
use crate::build::tree::{self, Reading, TreeError};
use crate::build::{FlakeRef, Workers};
use crate::cli::{Color, Format as Wanted, Global, Part};
use crate::error::Error;
use crate::event::state::RunState;
use crate::event::stream::{Emitter, Stopwatch, channel};
use crate::event::{self, Event, harmless};
use crate::exit::{self, Exit};
use crate::fleet::{self, Fleet, Host, HostName};
use crate::pipeline::budget::Budget;
use crate::pipeline::cancel::Stop;
use crate::pipeline::gates::Gates;
use crate::pipeline::{self, Run, Source};
use crate::plan::{self, Finding, Order, Plan, Request, Severity};
use crate::report::{self, Format, Setting};
use crate::validate::{self, Blocked, Clearance, Consent, Strictness, TreeView};
use crate::world::World;

/// The form that a word of `--format` asks for.
pub fn form(wanted: Wanted) -> Format {
    match wanted {
        // Sarif: `check` alone has it, and draws it itself; what is wrong with a command is told
        // to people, not into the file.
        Wanted::Human | Wanted::Sarif => Format::Human,
        Wanted::Json => Format::Json,
        Wanted::Jsonl => Format::Jsonl,
        Wanted::Markdown => Format::Markdown,
        Wanted::Html => Format::Html,
        Wanted::Github => Format::Github,
    }
}

/// What the flags say of the report.
pub fn setting(global: &Global) -> Setting {
    Setting {
        format: form(global.format()),
        colour: match global.color {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
        },
        quiet: global.quiet > 0,
        silent: global.quiet > 1,
        verbose: global.verbose,
        withheld: global.part == Part::First,
        resumed: match &global.part {
            Part::Last(document) => Some(document.clone()),
            Part::Whole | Part::First => None,
        },
    }
}

/// A run that has begun: its stream flows, its first event is in it.
pub struct Begun {
    /// Short name.
    pub name: String,
    /// Where events go.
    pub emitter: Emitter,
    /// Whether we were asked to stop.
    pub stop: Stop,
    screens: tokio::task::JoinHandle<RunState>,
}

/// Opens the stream and says what begins: under a name, and from which flake.
///
/// # Errors
/// When signals cannot be listened to.
pub fn begin(
    world: &World,
    global: &Global,
    request: &Request,
    (name, flake): (Option<String>, Option<String>),
    plan: Plan,
) -> Result<Begun, Error> {
    let clock: Arc<dyn Stopwatch> = Arc::new(world.clock);
    let (emitter, events) = channel(clock.clone());
    let sinks = report::sinks(&setting(global), &world.environment);
    let screens = tokio::spawn(report::drain(events, sinks, clock));
    let stop = Stop::listen(&emitter)
        .map_err(|e| Error::new(Exit::Internal, "cannot listen to signals").because(e))?;
    let name = name.unwrap_or_else(|| self::name(world));
    emitter.emit(Event::RunStarted {
        run: name.clone(),
        format: event::VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: typed(world, &request.command),
        operator: world.environment.operator.clone(),
        flake,
        issue: request.issue,
        message: request.message.as_deref().map(harmless::line),
        recovers: request.recovers.clone(),
    });
    emitter.emit(Event::Planned { plan });
    Ok(Begun { name, emitter, stop, screens })
}

/// Six hexadecimal digits that no run of this machine had lately; one that was begun for us has its
/// name already.
pub(super) fn name(world: &World) -> String {
    if let Some(run) = &world.environment.run {
        return run.clone();
    }
    let fresh = |salt: u32| {
        let seed = format!("{} {} {salt}", world.clock.epoch_ms(), std::process::id());
        blake3::hash(seed.as_bytes()).to_hex()[..6].to_owned()
    };
    let state = &world.environment.state;
    (0..100).map(fresh).find(|n| !report::store::taken(state, n)).unwrap_or_else(|| fresh(100))
}

/// The command first, then everything else that was typed, made harmless.
fn typed(world: &World, command: &str) -> Vec<String> {
    let words = &world.environment.arguments;
    let at = words.iter().position(|w| w == command);
    let rest = words.iter().enumerate().filter(|(i, _)| Some(*i) != at);
    std::iter::once(command.to_owned()).chain(rest.map(|(_, w)| harmless::line(w))).collect()
}

impl Begun {
    /// Says the last word, waits for the screens, and gives the fold with its exit code.
    pub async fn finish(self, detailed: bool) -> (Exit, RunState) {
        let took_ms = self.emitter.elapsed_ms();
        self.emitter.emit(Event::RunFinished { took_ms });
        drop(self.emitter);
        match self.screens.await {
            Ok(state) => (exit::of_run(&state, detailed), state),
            Err(_) => (Exit::Internal, RunState::default()),
        }
    }
}

/// Runs a request on hosts, from the flake on.
///
/// # Errors
/// When it cannot begin: no host was touched.
pub async fn launch(
    world: &World,
    global: &Global,
    fleet: Fleet,
    hosts: &[HostName],
    request: Request,
    detailed: bool,
) -> Result<Exit, Error> {
    let terms = Terms { detailed, ..Terms::default() };
    Ok(launch_with(world, global, fleet, hosts, request, terms).await?.0)
}

/// What else there is to a run.
#[derive(Default)]
pub(super) struct Terms {
    /// Tell changes by the exit code.
    pub(super) detailed: bool,
    /// The tree need not be looked at, for a person said so.
    pub(super) consent: Option<Consent>,
    /// What it is called, where somebody has to know before it begins.
    pub(super) name: Option<String>,
}

/// The same, on terms; also gives what is known at its end.
///
/// # Errors
/// As [`launch`].
pub(super) async fn launch_with(
    world: &World,
    global: &Global,
    fleet: Fleet,
    hosts: &[HostName],
    request: Request,
    Terms { detailed, consent, name }: Terms,
) -> Result<(Exit, RunState), Error> {
    if local::wanted(world, &fleet, hosts, &request) {
        local::ask(world, global, &fleet, hosts, &request).await?;
        return local::run(world, global, detailed, name).await;
    }
    let flake = flake(world, global, &fleet)?;
    if name.is_none() && world.environment.run.is_none() && request.lock.is_none() {
        super::update::warn(&flake);
    }
    let named = (name, Some(harmless::line(&flake.to_string())));
    let begun = planned(world, global, &fleet, hosts, &request, named)?;
    let tree = tree::reading(world, &flake);
    // Whoever asks first starts it; if nobody does it is read all the same, beside the evaluation.
    drop(tokio::spawn(tree.clone()));
    let strictness = Strictness { rules: !all_fast(&begun.1), ..Strictness::default() };
    let cleared = verdict(
        world.clone(),
        begun.0.emitter.clone(),
        (flake.clone(), tree.clone()),
        (fleet.checks.clone(), strictness),
        consent,
    );
    let source = Source { flake, tree, cleared: pipeline::clear(cleared) };
    Ok(conclude(world, begun, fleet, request, Some(source), detailed).await)
}

/// Runs a request that needs nothing of the flake: back to a generation, or recovery.
///
/// # Errors
/// When it cannot begin: no host was touched.
pub async fn launch_without_source(
    world: &World,
    global: &Global,
    fleet: Fleet,
    hosts: &[HostName],
    request: Request,
) -> Result<(Exit, RunState), Error> {
    if local::wanted(world, &fleet, hosts, &request) {
        return local::run(world, global, false, None).await;
    }
    let begun = planned(world, global, &fleet, hosts, &request, (None, None))?;
    // Health scripts lie in the flake; without it they are not run, and that is said.
    let source = flake(world, global, &fleet).ok().map(|flake| {
        let cleared = pipeline::clear(async { Err(Blocked { findings: Vec::new() }) });
        Source { tree: tree::reading(world, &flake), flake, cleared }
    });
    Ok(conclude(world, begun, fleet, request, source, false).await)
}

fn flake(world: &World, global: &Global, fleet: &Fleet) -> Result<FlakeRef, Error> {
    let text = inventory::flake(&world.environment, global, fleet);
    FlakeRef::parse(&text, &world.environment.folder, &world.environment).map_err(|e| e.error())
}

/// Decides what is done to these hosts, and begins.
fn planned(
    world: &World,
    global: &Global,
    fleet: &Fleet,
    hosts: &[HostName],
    request: &Request,
    named: (Option<String>, Option<String>),
) -> Result<(Begun, Plan), Error> {
    let chosen: Vec<Host> = hosts.iter().filter_map(|n| fleet.host(n.as_str())).cloned().collect();
    let here = local::here(world, fleet, hosts);
    let plan = plan::decide(request, &chosen, &Order { limits: &fleet.limits, here: &here });
    super::limits::first(&plan, &chosen, &here)?;
    Ok((begin(world, global, request, named, plan.clone())?, plan))
}

/// Brings every host to its last word, and the run to its end.
async fn conclude(
    world: &World,
    (begun, plan): (Begun, Plan),
    fleet: Fleet,
    request: Request,
    source: Option<Source>,
    detailed: bool,
) -> (Exit, RunState) {
    let run = Run {
        world: world.clone(),
        emitter: begun.emitter.clone(),
        source,
        fleet,
        request,
        stop: begun.stop.clone(),
        name: begun.name.clone(),
        budget: Budget::new(&plan),
        workers: Workers::of_this_machine(),
        graph: Arc::default(),
        gates: Gates::default(),
        plan,
        early: Default::default(),
        met: Default::default(),
        asleep: Default::default(),
    };
    pipeline::run(&run).await;
    let fleet = run.fleet.clone();
    drop(run);
    let (exit, state) = begun.finish(detailed).await;
    super::metrics::after_run(world, &fleet).await;
    super::history::forget(world, &fleet);
    super::notify::told(world, &fleet, exit, &state).await;
    (exit, state)
}

/// Whether every host wants no more than its syntax checked.
fn all_fast(plan: &Plan) -> bool {
    plan.hosts().all(|host| host.policy.fast)
}

/// Looks at the tree that is being evaluated; a flake that is not on this machine has none.
async fn verdict(
    world: World,
    emitter: Emitter,
    (flake, tree): (FlakeRef, Reading),
    (checks, strictness): (fleet::Checks, Strictness),
    consent: Option<Consent>,
) -> Result<Clearance, Blocked> {
    let (id, root, files) = match (&flake, tree.await) {
        (FlakeRef::Local(local), Ok(tree)) => {
            (tree.id.as_str().to_owned(), local.root.clone(), tree.nix_files.clone())
        }
        (FlakeRef::Other(text), _) => (harmless::line(text), "/".into(), Vec::new()),
        (FlakeRef::Local(_), Err(error)) => return Err(unreadable(&error)),
    };
    if let Some(consent) = consent {
        return Ok(validate::waive(&emitter, &id, consent));
    }
    let (levels, baseline) = super::check::settings(&checks, &root).map_err(|message| {
        let (code, subject, suggestion) = ("check", "[check]", "nixdeploy check");
        blocked(code, subject, message, suggestion)
    })?;
    let view = TreeView { id, root, files, levels, baseline };
    validate::run(&world, &emitter, &view, strictness).await
}

fn blocked(code: &str, subject: &str, message: String, suggestion: &str) -> Blocked {
    let finding = Finding {
        code: code.to_owned(),
        severity: Severity::Block,
        subject: subject.to_owned(),
        message,
        suggestion: Some(suggestion.to_owned()),
    };
    Blocked { findings: vec![finding] }
}

fn unreadable(error: &TreeError) -> Blocked {
    let (message, suggestion) = match error {
        TreeError::NoGit(error) if error.missing => {
            ("there is no git on this machine".to_owned(), "install git and open a new shell")
        }
        other => (other.to_string(), "git status"),
    };
    blocked("tree", "the tree", message, suggestion)
}
