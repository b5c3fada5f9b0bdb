//! The gate before a new flake.lock: known issues of what was built, held against what the hosts
//! run, and a decision for each host.

use std::collections::BTreeMap;

use futures_util::StreamExt;

use super::who;
use crate::build::closure;
use crate::cli::{Effort, Global, Risk, RiskFlags};
use crate::command::issues as known_issues;
use crate::command::{launch, report::show};
use crate::error::Error;
use crate::event::stream::Stopwatch;
use crate::exit::Exit;
use crate::fleet::{Fleet, Host, HostName, StorePath};
use crate::issues::closures::{Systems, between};
use crate::issues::fetch::{Asking, Listing, State, fetch};
use crate::issues::{self, Inventory, Phase, Severity, Verdict, inventory};
use crate::report::{Look, choice, known};
use crate::update::decision::{Decision, Evidence, Terms, decide};
use crate::update::lock::Lock;
use crate::world::World;
use crate::world::signals::Signals;

/// Hosts asked at once.
const AT_ONCE: usize = 32;
/// A list that is older is no longer recent.
const RECENT_MS: i64 = 24 * 60 * 60 * 1000;

/// What the gate made of the hosts.
pub(super) struct Gate {
    /// Those that go on.
    pub(super) go: Vec<HostName>,
    /// Those that are left as they are, with the exit code of that and the reason.
    pub(super) held: Vec<(HostName, Exit, String)>,
}

/// What is asked of the gate.
pub(super) struct Question<'a> {
    /// Flags of every command.
    pub(super) global: &'a Global,
    /// The fleet.
    pub(super) fleet: &'a Fleet,
    /// What each host is to run.
    pub(super) toplevels: &'a BTreeMap<HostName, StorePath>,
    /// The flake's lock before and after.
    pub(super) locks: [&'a Lock; 2],
    /// What is accepted.
    pub(super) risk: &'a RiskFlags,
}

/// How to ask for issues, before it is known of which packages: the lists are the same.
///
/// # Errors
/// When hosts.toml or the environment names an address that is none.
pub(super) fn asking(fleet: &Fleet, anew: bool) -> Result<Asking, Error> {
    Ok(Asking { address: known_issues::address(&fleet.issues)?, anew })
}

/// Fetches what every list has, while something else goes on.
pub(super) async fn ahead(world: &World, asking: &Asking, locks: [&Lock; 2]) -> Listing {
    let [installed, candidate] = locks.map(revision);
    let now_ms = world.clock.epoch_ms();
    fetch(world, asking, &Inventory { now_ms, installed, candidate, ..Inventory::default() }).await
}

fn revision(lock: &Lock) -> inventory::Lock {
    let modified_s = lock.nixpkgs().and_then(|l| l.last_modified);
    inventory::Lock { modified_ms: modified_s.map(|s| s.saturating_mul(1000)), release: None }
}

/// What is known of the hosts before anything is decided.
struct Looked {
    inventory: Inventory,
    listing: Listing,
    unread: BTreeMap<HostName, String>,
}

/// Looks, shows what is known, and decides for each host; `None`: we were asked to stop.
///
/// # Errors
/// When standard output cannot be written, or hosts.toml is wrong about issues.
pub(super) async fn gate(
    world: &World,
    question: &Question<'_>,
    signals: &mut Signals,
) -> Result<Option<Gate>, Error> {
    let hosts: Vec<&HostName> = question.toplevels.keys().collect();
    if question.risk.no_issue_check {
        crate::report::err("known issues were not looked for (--no-issue-check)\n");
        return Ok(Some(Gate { go: hosts.into_iter().cloned().collect(), held: Vec::new() }));
    }
    let looked = tokio::select! {
        looked = look(world, question) => looked?,
        _ = signals.next() => return Ok(None),
    };
    let Looked { inventory, listing, unread } = &looked;
    let (rules, warnings) = known_issues::rules(&question.fleet.issues, inventory.now_ms);
    let verdict = issues::check(inventory, &listing.issues, &rules);
    let told = known_issues::put_together(inventory, listing, &verdict);
    let sentences = unread.iter().map(|(host, why)| format!("{host} was not checked: {why}"));
    let told = known::Known { unread: sentences.collect(), warnings, update: true, ..told };
    let shape = choice::look(&launch::setting(question.global), &world.environment);
    show(&known::page(&told, false, &shape))?;
    let mut gate = Gate { go: Vec::new(), held: Vec::new() };
    for host in hosts {
        let evidence = evidence(host, &looked, &verdict, question.risk);
        let decision = decide(evidence, who(world, question.global), terms(question.risk));
        match held(world, host, decision, evidence, signals).await {
            None => gate.go.push(host.clone()),
            Some((exit, why)) => gate.held.push((host.clone(), exit, why)),
        }
    }
    told_held(&gate, &verdict, &shape);
    Ok(Some(gate))
}

async fn look(world: &World, question: &Question<'_>) -> Result<Looked, Error> {
    let (systems, unread) = systems(world, question).await;
    let inventory = between(&systems, question.locks.map(revision), world.clock.epoch_ms());
    let listing = fetch(world, &asking(question.fleet, false)?, &inventory).await;
    Ok(Looked { inventory, listing, unread })
}

fn terms(risk: &RiskFlags) -> Terms {
    Terms {
        max_risk: risk.max_risk.map(|risk| match risk {
            Risk::Medium => Severity::Medium,
            Risk::High => Severity::High,
        }),
        best_effort: risk.issues == Some(Effort::BestEffort),
        no_check: risk.no_issue_check,
    }
}

fn evidence(
    host: &HostName,
    Looked { inventory, listing, unread }: &Looked,
    verdict: &Verdict,
    risk: &RiskFlags,
) -> Evidence {
    let new = verdict.items.iter().filter(|i| i.phase == Phase::Introduced);
    let new = new.filter(|i| !risk.accept_issue.contains(&i.number));
    let age_ms = listing.fetched_ms.map(|at| inventory.now_ms.saturating_sub(at));
    Evidence {
        state: if unread.contains_key(host) { State::Unavailable } else { listing.state },
        recent: age_ms.is_some_and(|age| age < RECENT_MS),
        worst: new.filter_map(|i| i.hosts.get(host.as_str())).max().copied(),
    }
}

/// Why a host is left as it is, with the exit code of that; `None`: it goes on.
async fn held(
    world: &World,
    host: &HostName,
    decision: Decision,
    evidence: Evidence,
    signals: &mut Signals,
) -> Option<(Exit, String)> {
    let worst = evidence.worst.map_or("nothing", known_issues::word);
    let refused = || Some((Exit::Declined, format!("the worst that would be new is {worst}")));
    let no = || Some((Exit::Declined, "the answer was no".to_owned()));
    match decision {
        Decision::Proceed => None,
        Decision::Refuse => refused(),
        Decision::Unchecked => {
            Some((Exit::IssuesUnchecked, "its known issues could not all be checked".to_owned()))
        }
        Decision::Ask => {
            let prompt = world.prompt.clone();
            let question = format!("Update {host} all the same?");
            let answer = move || prompt.confirm(&question, false);
            if asked(world, signals, answer).await == Some(true) { None } else { no() }
        }
        Decision::AskName => {
            let (prompt, name) = (world.prompt.clone(), host.to_string());
            let question = format!("To update {name} all the same, type its name");
            let answer = move || prompt.line(&question);
            let typed = asked(world, signals, answer).await;
            if typed.is_some_and(|t| t.trim() == host.as_str()) { None } else { no() }
        }
    }
}

/// An answer; `None`: nobody gave one, or we are to stop.
async fn asked<T: Send + 'static>(
    world: &World,
    signals: &mut Signals,
    answer: impl FnOnce() -> Option<T> + Send + 'static,
) -> Option<T> {
    tokio::select! {
        answer = tokio::task::spawn_blocking(answer) => answer.ok().flatten(),
        _ = signals.next() => {
            world.prompt.abandon();
            None
        }
    }
}

/// What each host runs and is to run, and of which that could not be read.
async fn systems(
    world: &World,
    question: &Question<'_>,
) -> (BTreeMap<String, Systems>, BTreeMap<HostName, String>) {
    let hosts = question
        .toplevels
        .iter()
        .filter_map(|(name, top)| question.fleet.host(name.as_str()).map(|host| (host, top)));
    let read = hosts.map(|(host, top)| async move { (host, both(world, host, top).await) });
    let read: Vec<_> = futures_util::stream::iter(read).buffered(AT_ONCE).collect().await;
    let (mut systems, mut unread) = (BTreeMap::new(), BTreeMap::new());
    for (host, both) in read {
        match both {
            Ok(both) => drop(systems.insert(host.name.to_string(), both)),
            Err(why) => drop(unread.insert(host.name.clone(), why)),
        }
    }
    (systems, unread)
}

async fn both(world: &World, host: &Host, top: &StorePath) -> Result<Systems, String> {
    let (target, running, old) = known_issues::running(world, host).await?;
    let path = format!("{running}/sw/bin");
    let new = closure::closure_of(world, &target, &path, top).await;
    let new = new.map_err(|e| crate::event::harmless::line(&e.to_string()))?;
    let names = |paths: &[closure::PathInfo]| -> Vec<String> {
        paths.iter().map(|p| p.path.name().to_owned()).collect()
    };
    Ok(Systems { installed: names(&old), candidate: names(&new) })
}

/// Which hosts are held, and what can be typed.
fn told_held(gate: &Gate, verdict: &Verdict, look: &Look) {
    for (host, _, why) in &gate.held {
        let lines = look.wrap("", "  ", &format!("{host} is held: {why}"));
        crate::report::err(&(lines.join("\n") + "\n"));
    }
    let critical = |i: &&issues::Item| {
        let held = gate.held.iter().any(|(host, ..)| i.hosts.contains_key(host.as_str()));
        held && i.phase == Phase::Introduced && i.severity == Severity::Critical
    };
    let numbers: Vec<String> =
        verdict.items.iter().filter(critical).map(|i| i.number.to_string()).collect();
    if !numbers.is_empty() {
        let numbers = numbers.join(",");
        crate::report::err(&format!(
            "  leave an input out      --except INPUT\n  \
             accept it by its number --accept-issue {numbers}\n"
        ));
    }
}
