//! `metrics dashboard|alerts|show|write`, and what every run does of it at its end.
//!
//! A run is over when its metrics are written: whatever goes wrong with them is a warning, and
//! nothing of it takes longer than [`PATIENCE`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::status::{self, Which};
use super::{inventory, launch, report::show};
use crate::cli::{Global, MetricsAction};
use crate::error::Error;
use crate::event::harmless;
use crate::event::stream::Stopwatch;
use crate::exit::Exit;
use crate::fleet::{Fleet, Optional};
use crate::report::known::Known;
use crate::report::metrics::kept::{self, Found, Hold, Kept};
use crate::report::metrics::{ALERTS, Listed, dashboard, text};
use crate::report::{Look, err};
use crate::world::http::{Http, Put};
use crate::world::{World, files};

/// For a Pushgateway's answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks whether another process is done with the file.
const PACE: Duration = Duration::from_millis(20);
/// How often it is looked.
const LOOKS: usize = 50;
/// The file in a folder that holds metrics of others too.
const FILE: &str = "nixdeploy.prom";

/// Does what was typed.
///
/// # Errors
/// When hosts.toml is wrong, names no place for metrics, or nothing could be written there.
pub(super) async fn run(
    world: &World,
    global: &Global,
    action: &MetricsAction,
    look: &Look,
) -> Result<Exit, Error> {
    match action {
        MetricsAction::Dashboard => show(&dashboard::document()),
        MetricsAction::Alerts => show(ALERTS),
        MetricsAction::Show => {
            let fleet = inventory::if_there(&world.environment, global)?;
            if fleet.is_none() {
                err("there is no hosts.toml here: what is known of every host follows\n");
            }
            let listed = fleet.as_ref().map(listed);
            let kept = kept::read(&world.environment.state);
            show(&text(&kept, listed.as_deref()))
        }
        MetricsAction::Write => write(world, global, look).await,
    }
}

/// Asks every host, and writes what is known then.
async fn write(world: &World, global: &Global, look: &Look) -> Result<Exit, Error> {
    let fleet = inventory::load(&world.environment, global)?;
    if fleet.metrics.textfile.is_none() && fleet.metrics.push.is_none() {
        return Err(Error::usage("hosts.toml names no place for metrics")
            .hint("in hosts.toml: [metrics]\n        textfile = \"/var/lib/prometheus-node\"")
            .hint("print them instead: nixdeploy metrics show"));
    }
    let hosts = inventory::hosts(&fleet, &["all".to_owned()], &[], None)?;
    let Some(board) = status::look(world, global, (&fleet, &hosts), Which::Status, look).await?
    else {
        return Ok(Exit::Interrupted);
    };
    let state = &world.environment.state;
    let unwritten = |e: std::io::Error| {
        let place = state.display();
        Error::usage(format!("cannot write below {place}"))
            .because(e)
            .hint(format!("df -h {place}"))
    };
    let Some(hold) = held(world).await.map_err(unwritten)? else {
        return Err(Error::usage("another nixdeploy is writing metrics").hint("try again"));
    };
    let kept = kept::update(state, &hold, |kept| kept.board(&board)).map_err(unwritten)?;
    let told = hand_out(world, &fleet, &kept, &hold).await;
    if let [first, more @ ..] = told.as_slice() {
        let error = Error::usage(first.clone()).hint("where they go: [metrics] of hosts.toml");
        return Err(more.iter().fold(error, |error, line| error.because(line)));
    }
    let answered = board.hosts.iter().filter(|row| row.reach.is_some()).count();
    if launch::setting(global).quiet {
        return Ok(Exit::Done);
    }
    let places = [fleet.metrics.textfile.clone(), fleet.metrics.push.clone()];
    let places: Vec<String> = places.into_iter().flatten().map(|p| look.shown(&p)).collect();
    let asked = board.hosts.len();
    show(&format!("{answered} of {asked} hosts answered; written: {}\n", places.join(", ")))
}

/// Hosts with whether they may be asleep.
fn listed(fleet: &Fleet) -> Vec<Listed> {
    fleet.hosts.iter().map(|h| (h.name.clone(), h.optional != Optional::Fail)).collect()
}

/// After a run: what it was is added to what is known, written and pushed. Never an error.
pub(super) async fn after_run(world: &World, fleet: &Fleet) {
    add(world, fleet, |_| ()).await;
}

async fn add(world: &World, fleet: &Fleet, more: impl FnOnce(&mut Kept)) {
    if fleet.metrics.textfile.is_none() && fleet.metrics.push.is_none() {
        return;
    }
    let told = match held(world).await {
        Ok(Some(hold)) => match kept::update(&world.environment.state, &hold, more) {
            Ok(kept) => hand_out(world, fleet, &kept, &hold).await,
            Err(error) => vec![format!("metrics were not kept: {error}")],
        },
        Ok(None) => vec!["metrics were not written: another nixdeploy is at it".to_owned()],
        Err(error) => vec![format!("metrics were not kept: {error}")],
    };
    for line in told {
        err(&format!("warning: {line}\n"));
    }
}

/// After a check of what hosts run; those that could not be read keep what was known.
pub(super) async fn after_check(world: &World, global: &Global, known: &Known) {
    let Ok(fleet) = inventory::load(&world.environment, global) else { return };
    let mut found: BTreeMap<String, Found> =
        known.gate.keys().map(|host| (host.clone(), Found::new())).collect();
    for item in &known.items {
        for host in &item.hosts {
            let found = found.entry(host.clone()).or_default();
            let severity = item.severity_by_host.get(host).unwrap_or(&item.severity);
            *found.entry((*severity).to_owned()).or_default() += 1;
        }
    }
    let (state, now_ms) = (known.check.state, world.clock.epoch_ms());
    add(world, &fleet, |kept| kept.issues(state, now_ms, found)).await;
}

async fn held(world: &World) -> std::io::Result<Option<Hold>> {
    for _ in 0..LOOKS {
        if let Some(hold) = kept::hold(&world.environment.state)? {
            return Ok(Some(hold));
        }
        world.clock.sleep(PACE).await;
    }
    Ok(None)
}

/// Writes and pushes; gives what did not go as it should.
async fn hand_out(world: &World, fleet: &Fleet, kept: &Kept, _hold: &Hold) -> Vec<String> {
    let text = text(kept, Some(&listed(fleet)));
    let mut told = Vec::new();
    if let Some(written) = &fleet.metrics.textfile {
        let beside = fleet.source.parent().unwrap_or_else(|| Path::new("/"));
        let path = file(world.environment.expand(written, beside));
        if let Err(error) = files::publish(&path, text.as_bytes()) {
            let path = harmless::line(&path.display().to_string());
            told.push(format!("metrics were not written to {path}: {error}"));
        }
    }
    if let Some(address) = &fleet.metrics.push
        && let Err(why) = push(world, address, text).await
    {
        told.push(format!("metrics were not pushed to {address}: {why}"));
    }
    told
}

/// `.prom` names the file itself.
fn file(place: PathBuf) -> PathBuf {
    if place.extension().is_some_and(|e| e == "prom") { place } else { place.join(FILE) }
}

/// Replaces what a Pushgateway knows from this machine.
async fn push(world: &World, address: &str, text: String) -> Result<(), String> {
    let instance = segment(&world.environment.machine);
    let url = format!("{}/metrics/job/nixdeploy/instance{instance}", address.trim_end_matches('/'));
    let headers = vec![("Content-Type", "text/plain; version=0.0.4".to_owned())];
    let put = Put { url, headers, body: text.into_bytes(), patience: PATIENCE };
    let answer = Http::default().put(put).await.map_err(|e| harmless::line(&e.to_string()))?;
    if (200..300).contains(&answer.status) {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&answer.body);
    let said: String = harmless::line(said.lines().next().unwrap_or_default());
    Err(format!("it answered {} {}", answer.status, said.chars().take(200).collect::<String>()))
}

/// The name of this machine as a part of a path, with what would mean something there replaced.
fn segment(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let name: String = name.chars().map(plain).collect();
    format!("/{}", if name.is_empty() { "unknown" } else { &name })
}
