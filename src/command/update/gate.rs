//! The gate before a new flake.lock: known issues of what was built, held against what the hosts
//! run, and a decision for each host.

use std::collections::BTreeMap;

use futures_util::StreamExt;

use super::asked::Update;
use super::{ways, who};
use crate::build::closure;
use crate::cli::{Effort, Risk, RiskFlags};
use crate::command::issues as known_issues;
use crate::command::{launch, report::show};
use crate::error::Error;
use crate::event::stream::Stopwatch;
use crate::exit::Exit;
use crate::fleet::{Fleet, Host, HostName, StorePath};
use crate::issues::closures::{self, Systems, between};
use crate::issues::fetch::{Asking, Listing, State, fetch};
use crate::issues::{self, Inventory, Phase, Rules, Severity, Verdict, inventory};
use crate::report::{choice, known};
use crate::update::decision::{Decision, Evidence, Terms, decide};
use crate::update::lock::Lock;
use crate::world::World;
use crate::world::signals::Signals;

/// Hosts asked at once.
pub(super) const AT_ONCE: usize = 32;
/// A list that is older is no longer recent.
const RECENT_MS: i64 = 24 * 60 * 60 * 1000;

/// What the gate made of the hosts.
pub(super) struct Gate {
    /// Those that go on.
    pub(super) go: Vec<HostName>,
    /// Those that are left as they are, with the exit code of that and the reason.
    pub(super) held: Vec<(HostName, Exit, String)>,
    /// What that rests on; `None`: nothing was looked for.
    pub(super) judged: Option<Judged>,
}

/// What is known of systems.
pub(super) struct Checked {
    /// What the hosts run and are to run.
    pub(super) inventory: Inventory,
    /// The list, and how whole it is.
    pub(super) listing: Listing,
    /// What hosts.toml says of issues.
    pub(super) rules: Rules,
    /// What concerns the hosts.
    pub(super) verdict: Verdict,
    /// The same, as it is shown.
    pub(super) told: known::Known,
}

/// What is known of the hosts before anything is decided.
pub(super) struct Judged {
    /// Of what they run and are to run.
    pub(super) checked: Checked,
    /// What each host runs and is to run, by the names of its packages.
    pub(super) systems: BTreeMap<String, Systems>,
    /// What is to be done with each.
    pub(super) decisions: Vec<(HostName, Evidence, Decision)>,
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
    fetch(world, asking, &Inventory { now_ms, installed, candidate, ..Inventory::default() }, None)
        .await
}

/// When the nixpkgs of a lock is from.
pub(super) fn revision(lock: &Lock) -> inventory::Lock {
    let modified_s = lock.nixpkgs().and_then(|l| l.last_modified);
    inventory::Lock { modified_ms: modified_s.map(|s| s.saturating_mul(1000)), release: None }
}

/// Holds known issues against what hosts run and are to run; the lists were asked for `earlier`.
///
/// # Errors
/// When hosts.toml or the environment names an address that is none.
pub(super) async fn check(
    update: &Update<'_>,
    systems: &BTreeMap<String, Systems>,
    unread: &BTreeMap<HostName, String>,
    locks: [&Lock; 2],
    earlier: Option<&Listing>,
) -> Result<Checked, Error> {
    let world = update.world;
    let inventory = between(systems, locks.map(revision), world.clock.epoch_ms());
    let listing = fetch(world, &asking(update.fleet, false)?, &inventory, earlier).await;
    let (rules, warnings) = known_issues::rules(&update.fleet.issues, inventory.now_ms);
    let verdict = issues::check(&inventory, &listing.issues, &rules);
    let told = known_issues::put_together(&inventory, &listing, &verdict);
    let sentences = unread.iter().map(|(host, why)| format!("{host} was not checked: {why}"));
    let told = known::Known { unread: sentences.collect(), warnings, update: true, ..told };
    let mut checked = Checked { inventory, listing, rules, verdict, told };
    let accepted = &update.asked.flags.risk.accept_issue;
    for host in update.hosts {
        let left = evidence(host, true, &checked, accepted).worst;
        if let Some(gate) = checked.told.gate.get_mut(host.as_str())
            && *gate == "blocked"
            && left < Some(Severity::Critical)
        {
            *gate = "accepted";
        }
    }
    Ok(checked)
}

/// Looks, shows what is known, and decides for each host as far as that needs no answer; `None`:
/// nothing is looked for. What was `seen` already is not shown a second time.
///
/// # Errors
/// When standard output cannot be written, or hosts.toml is wrong about issues.
pub(super) async fn judge(
    update: &Update<'_>,
    toplevels: &BTreeMap<HostName, StorePath>,
    locks: [&Lock; 2],
    (seen, earlier): (Option<&known::Known>, Option<&Listing>),
) -> Result<Option<Judged>, Error> {
    let (world, risk) = (update.world, &update.asked.flags.risk);
    if risk.no_issue_check {
        crate::report::err("known issues were not looked for (--no-issue-check)\n");
        return Ok(None);
    }
    let (systems, unread) = systems(update, toplevels).await;
    let checked = check(update, &systems, &unread, locks, earlier).await?;
    let shape = choice::look(&launch::setting(update.global), &world.environment);
    match seen {
        Some(seen) if seen.says_the_same_as(&checked.told) => {
            crate::report::err("known issues of what was built: as told before\n");
        }
        _ => show(&known::page(&checked.told, false, &shape)).map(drop)?,
    }
    let (who, terms) = (who(world, update.global), terms(risk));
    let decided = toplevels.keys().map(|host| {
        let read = !unread.contains_key(host);
        let evidence = evidence(host, read, &checked, &risk.accept_issue);
        (host.clone(), evidence, decide(evidence, who, terms))
    });
    let decisions = decided.collect();
    Ok(Some(Judged { checked, systems, decisions }))
}

/// Asks where a person decides, and says which hosts are held; `None`: we were asked to stop.
pub(super) async fn settle(
    update: &Update<'_>,
    toplevels: &BTreeMap<HostName, StorePath>,
    judged: Option<Judged>,
    signals: &mut Signals,
) -> Gate {
    let Some(judged) = judged else {
        return Gate { go: toplevels.keys().cloned().collect(), held: Vec::new(), judged: None };
    };
    let (mut go, mut kept) = (Vec::new(), Vec::new());
    for (host, evidence, decision) in &judged.decisions {
        match held(update.world, host, *decision, *evidence, signals).await {
            None => go.push(host.clone()),
            Some((exit, why)) => kept.push((host.clone(), exit, why)),
        }
    }
    let gate = Gate { go, held: kept, judged: Some(judged) };
    ways::told_held(update, &gate);
    gate
}

impl Judged {
    /// What would be new on a host and is not let pass without a person: the worst of it.
    pub(super) fn troubles(&self, accepted: &[u64]) -> Vec<Trouble> {
        let troubled = self.decisions.iter().filter(|(_, evidence, decision)| {
            // What is a plain question is asked.
            !matches!(decision, Decision::Proceed | Decision::Ask)
                && evidence.worst > Some(Severity::Low)
        });
        let of_host = |(host, evidence, _): &(HostName, Evidence, Decision)| {
            let new = self.checked.verdict.items.iter().filter(|i| i.phase == Phase::Introduced);
            let new = new.filter(|i| !accepted.contains(&i.number));
            let worst = new.filter(|i| i.hosts.get(host.as_str()).copied() == evidence.worst);
            let trouble = |i: &issues::Item| {
                let version = i.candidate.clone()?;
                Some(Trouble {
                    host: host.clone(),
                    package: i.package.clone(),
                    version,
                    number: i.number,
                })
            };
            worst.map(trouble).collect::<Vec<_>>()
        };
        let all: Vec<Option<Trouble>> = troubled.flat_map(of_host).collect();
        // Whatever no version tells of cannot be traced to an input.
        all.into_iter().collect::<Option<Vec<_>>>().unwrap_or_default()
    }

    /// Whether an issue is closed.
    pub(super) fn is_closed(&self, number: u64) -> bool {
        self.checked.listing.issues.iter().any(|i| i.number == number && i.closed_ms.is_some())
    }
}

/// Something that would be new on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// The host.
    pub(super) host: HostName,
    /// The package.
    pub(super) package: String,
    /// Its version that is to come.
    pub(super) version: String,
    /// The issue.
    pub(super) number: u64,
}

/// Where nothing is to be updated: what is bad about what runs.
///
/// # Errors
/// When standard output cannot be written, or hosts.toml is wrong about issues.
pub(super) async fn standing(update: &Update<'_>, lock: &Lock) -> Result<(), Error> {
    if update.asked.flags.risk.no_issue_check {
        return Ok(());
    }
    let hosts = update.hosts.iter().filter_map(|h| update.fleet.host(h.as_str()));
    let hosts: Vec<&Host> = hosts.collect();
    let read = hosts.iter().map(|host| known_issues::running(update.world, host));
    let read: Vec<_> = futures_util::stream::iter(read).buffered(AT_ONCE).collect().await;
    let mut systems = BTreeMap::new();
    for (host, running) in hosts.iter().zip(read) {
        let Ok((_, _, paths)) = running else {
            crate::report::err(&format!("known issues of {} were not checked\n", host.name));
            continue;
        };
        let names = paths.iter().map(|p| p.path.name().to_owned()).collect();
        systems.insert(host.name.to_string(), names);
    }
    let mut inventory = closures::inventory(&systems, update.world.clock.epoch_ms());
    inventory.installed.modified_ms =
        revision(lock).modified_ms.or(inventory.installed.modified_ms);
    inventory.candidate = inventory.installed.clone();
    let listing = fetch(update.world, &asking(update.fleet, false)?, &inventory, None).await;
    let (rules, _) = known_issues::rules(&update.fleet.issues, inventory.now_ms);
    let verdict = issues::check(&inventory, &listing.issues, &rules);
    let mut told = known_issues::put_together(&inventory, &listing, &verdict);
    told.items.retain(|item| matches!(item.severity, "critical" | "high"));
    if told.items.is_empty() && listing.state == State::Complete {
        return Ok(());
    }
    let shape = choice::look(&launch::setting(update.global), &update.world.environment);
    show(&known::page(&told, false, &shape)).map(drop)
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

fn evidence(host: &HostName, read: bool, checked: &Checked, accepted: &[u64]) -> Evidence {
    let Checked { inventory, listing, verdict, .. } = checked;
    let new = verdict.items.iter().filter(|i| i.phase == Phase::Introduced);
    let new = new.filter(|i| !accepted.contains(&i.number));
    let age_ms = listing.fetched_ms.map(|at| inventory.now_ms.saturating_sub(at));
    Evidence {
        state: if read { listing.state } else { State::Unavailable },
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
            let question = ways::question(host, evidence);
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
pub(super) async fn asked<T: Send + 'static>(
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
    update: &Update<'_>,
    toplevels: &BTreeMap<HostName, StorePath>,
) -> (BTreeMap<String, Systems>, BTreeMap<HostName, String>) {
    let world = update.world;
    let hosts = toplevels
        .iter()
        .filter_map(|(name, top)| update.fleet.host(name.as_str()).map(|host| (host, top)));
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
