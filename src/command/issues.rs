//! `issues [HOST...]`: what is known to be wrong with the packages that hosts run.
//!
//! The inventory is a file, or the closures of what the hosts run. Nothing is changed anywhere.

use std::collections::BTreeMap;
use std::path::Path;

use futures_util::StreamExt;

use super::glance::glance;
use super::report::show;
use super::{inventory as fleet_of, launch};
use crate::build::closure::{self, PathInfo};
use crate::cli::{Global, IssuesArgs};
use crate::error::Error;
use crate::event::harmless;
use crate::event::stream::Stopwatch;
use crate::exit::Exit;
use crate::fleet::{self, Host, IssueSeverity, StorePath};
use crate::issues::address::{Address, GITHUB, Named, REPOSITORY};
use crate::issues::fetch::{Asking, Listing, State, fetch};
use crate::issues::rules::Ignore;
use crate::issues::{
    self, Confidence, Gate, Inventory, Phase, Rules, Severity, Verdict, closures, inventory_file,
};
use crate::preflight::read::Effort;
use crate::report::{Format, Look, known};
use crate::world::ssh::Target;
use crate::world::{World, environment, files};

/// An inventory of a large fleet is some megabytes.
const LARGEST: u64 = 64 << 20;
/// Hosts asked at once.
const AT_ONCE: usize = 32;
/// Names another server.
const ADDRESS: &str = "NIXDEPLOY_GITHUB_API";

/// Looks, and shows.
///
/// # Errors
/// When hosts.toml or the inventory is wrong, or standard output can not be written.
pub async fn run(
    world: &World,
    global: &Global,
    args: &IssuesArgs,
    look: &Look,
) -> Result<Exit, Error> {
    let settings = fleet_of::issues(&world.environment, global, args.inventory_file.is_some())?;
    let address = address(&settings)?;
    let (inventory, unread) = match &args.inventory_file {
        Some(file) => (from_file(world, file)?, Vec::new()),
        None => from_hosts(world, global, args).await?,
    };
    let (rules, warnings) = rules(&settings, inventory.now_ms);
    let listing = fetch(world, &Asking { address, anew: global.no_cache }, &inventory, None).await;
    let verdict = issues::check(&inventory, &listing.issues, &rules);
    let known = known::Known { unread, warnings, ..put_together(&inventory, &listing, &verdict) };
    show(&match launch::setting(global).format {
        Format::Json | Format::Jsonl => known::document(&known),
        Format::Human | Format::Markdown | Format::Html | Format::Github => {
            known::page(&known, args.all, look)
        }
    })?;
    if args.inventory_file.is_none() {
        super::metrics::after_check(world, global, &known).await;
    }
    let whole = listing.state == State::Complete && known.unread.is_empty();
    Ok(if whole { Exit::Done } else { Exit::IssuesUnchecked })
}

/// Where to ask: what the environment says, else hosts.toml, else GitHub.
pub(super) fn address(settings: &fleet::Issues) -> Result<Address, Error> {
    let typed = environment::variables(|name| name == ADDRESS);
    let typed = typed.get(ADDRESS).map(|v| v.to_string_lossy().into_owned());
    let (text, named, place) = match (&typed, &settings.api) {
        (Some(text), _) if !text.is_empty() => (text.as_str(), Named::Person, ADDRESS),
        (_, Some(text)) => (text.as_str(), Named::Inventory, "`issues.api` of hosts.toml"),
        _ => (GITHUB, Named::Nobody, "GitHub's address"),
    };
    Address::parse(text, named).map_err(|why| {
        Error::usage(format!("{place} {why}"))
            .because(harmless::line(text))
            .hint(format!("GitHub's own: {GITHUB}"))
    })
}

fn from_file(world: &World, file: &Path) -> Result<Inventory, Error> {
    let environment = &world.environment;
    let path = environment.expand(&file.to_string_lossy(), &environment.folder);
    let told = |sentence: String| Error::usage(sentence).hint("nixdeploy help issues");
    let text = files::read_text(&path, LARGEST)
        .map_err(|e| told(format!("cannot read {}", path.display())).because(e))?;
    inventory_file::parse(&text, world.clock.epoch_ms())
        .map_err(|why| told(format!("{} is no inventory", path.display())).because(why))
}

/// What the hosts run, by the names of their closures, and which could not be read.
async fn from_hosts(
    world: &World,
    global: &Global,
    args: &IssuesArgs,
) -> Result<(Inventory, Vec<String>), Error> {
    let fleet = fleet_of::load(&world.environment, global)?;
    let hosts = fleet_of::hosts(&fleet, &args.hosts, &args.exclude, None)?;
    let read = futures_util::stream::iter(hosts.iter().map(|host| names(world, host)));
    let read: Vec<_> = read.buffered(AT_ONCE).collect().await;
    let (mut systems, mut unread) = (BTreeMap::new(), Vec::new());
    for (host, names) in hosts.iter().zip(read) {
        match names {
            Ok(names) => drop(systems.insert(host.name.to_string(), names)),
            Err(why) => unread.push(format!("{} was not checked: {why}", host.name)),
        }
    }
    Ok((closures::inventory(&systems, world.clock.epoch_ms()), unread))
}

/// The names of the store paths of what a host runs.
async fn names(world: &World, host: &Host) -> Result<Vec<String>, String> {
    let (_, _, paths) = running(world, host).await?;
    Ok(paths.iter().map(|p| p.path.name().to_owned()).collect())
}

/// How a host answered, what it runs, and the closure of that.
pub(super) async fn running(
    world: &World,
    host: &Host,
) -> Result<(Target, StorePath, Vec<PathInfo>), String> {
    let plain = |e: &dyn std::fmt::Display| harmless::line(&e.to_string());
    let answered = glance(world, host, Effort::GLANCE).await;
    let answered = answered.map_err(|refused| refused.sentence())?;
    let Some(running) = &answered.facts.early.pointers.running else {
        return Err("what it runs could not be told".to_owned());
    };
    let path = format!("{running}/sw/bin");
    let paths = closure::closure_of(world, &answered.target, &path, running).await;
    let (running, paths) = (running.clone(), paths.map_err(|e| plain(&e))?);
    Ok((answered.target, running, paths))
}

/// What hosts.toml says, and what of it is over.
pub(super) fn rules(settings: &fleet::Issues, now_ms: i64) -> (Rules, Vec<String>) {
    let level = |severity: IssueSeverity| match severity {
        IssueSeverity::Low => Severity::Low,
        IssueSeverity::Medium => Severity::Medium,
        IssueSeverity::High => Severity::High,
        IssueSeverity::Critical => Severity::Critical,
    };
    let mut rules = Rules::default();
    for (key, severity) in &settings.severity {
        match key.trim_start_matches('#').parse::<u64>() {
            Ok(number) => drop(rules.by_number.insert(number, level(*severity))),
            Err(_) => drop(rules.at_most.insert(key.clone(), level(*severity))),
        }
    }
    rules.ignore = settings
        .ignore
        .iter()
        .map(|i| Ignore { id: i.id, until_ms: i.until_ms, reason: i.reason.clone() })
        .collect();
    let over = |i: &Ignore| {
        format!("hosts.toml ignored #{} until now ({}); it counts again", i.id, i.reason)
    };
    let warnings = rules.expired(now_ms).map(|i| harmless::line(&over(i))).collect();
    (rules, warnings)
}

/// What was found, as it is shown.
pub(super) fn put_together(
    inventory: &Inventory,
    listing: &Listing,
    verdict: &Verdict,
) -> known::Known {
    let whole = listing.state == State::Complete;
    let gate = |gate: Gate| match gate {
        // Nobody can say that nothing is new when not everything was read.
        Gate::Free if whole => "free",
        Gate::Free | Gate::Ask => "ask",
        Gate::Blocked => "blocked",
    };
    known::Known {
        schema: known::SCHEMA,
        check: known::Check {
            state: match listing.state {
                State::Complete => "complete",
                State::Stale => "stale",
                State::Partial => "partial",
                State::Unavailable => "unavailable",
            },
            covered_since: listing.covered_since_ms.map(stamp),
            fetched_at: listing.fetched_ms.map(stamp),
            issues: listing.issues.len(),
            requests: listing.requests,
            with_token: listing.with_token,
            token_helps: listing.token_helps,
            // A moment that has passed keeps nobody waiting.
            limit_until: listing.resets_ms.filter(|ms| *ms > inventory.now_ms).map(stamp),
            notes: listing.notes.clone(),
        },
        items: verdict.items.iter().map(item).collect(),
        gate: verdict.gate.iter().map(|(host, g)| (host.clone(), gate(*g))).collect(),
        ignored: verdict.ignored.iter().copied().collect(),
        packages: inventory.packages.len(),
        modules: inventory.modules.as_ref().map(Vec::len),
        update: inventory.installed != inventory.candidate
            || inventory.packages.iter().any(issues::inventory::Package::moves),
        ..known::Known::default()
    }
}

fn item(item: &issues::Item) -> known::Item {
    let differ = item.hosts.values().any(|s| *s != item.severity);
    let hosts = item.hosts.iter().filter(|_| differ);
    known::Item {
        number: item.number,
        package: item.package.clone(),
        installed: item.installed.as_deref().map(harmless::line),
        candidate: item.candidate.as_deref().map(harmless::line),
        phase: match item.phase {
            Phase::Introduced => "introduced",
            Phase::Persisting => "persisting",
            Phase::Fixed => "fixed",
        },
        severity: word(item.severity),
        confidence: match item.confidence {
            Confidence::Version => "version",
            Confidence::Subject => "subject",
            Confidence::Mention => "mention",
        },
        hosts: item.hosts.keys().cloned().collect(),
        severity_by_host: hosts.map(|(host, s)| (host.clone(), word(*s))).collect(),
        url: format!("https://github.com/{REPOSITORY}/issues/{}", item.number),
        title: item.title.clone(),
        opened_at: stamp(item.opened_ms),
        other_hardware: item.other_hardware,
        unchanged: item.unchanged,
    }
}

pub(super) fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}

fn stamp(ms: i64) -> String {
    jiff::Timestamp::from_second(ms.div_euclid(1000)).unwrap_or_default().to_string()
}
