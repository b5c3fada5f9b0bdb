//! An update that deploys: a candidate, everything built and checked, then flake.lock and the
//! hosts, then git.
//!
//! Until the gate lets it nothing but the store and our own folder is written. From then on the
//! journal of [`Keep`](crate::update::keep::Keep) says what is to be in place, whatever becomes of
//! this program.

use std::collections::BTreeMap;

use super::apply::apply;
use super::asked::{Asked, Manner, Update, Which};
use super::find::{Found, find, own_work};
use super::gate::{self, Gate};
use super::leave_out::{Culprit, culprit};
use super::texts::Change;
use super::{Place, held, hold, place, preview, publish};
use crate::cli::DeployFlags;
use crate::cli::Global;
use crate::command::launch::{self, Terms};
use crate::command::report::show;
use crate::command::{deploy, inventory};
use crate::error::Error;
use crate::exit::{self, Exit};
use crate::fleet::{HostName, StorePath};
use crate::issues::fetch::Listing;
use crate::plan::Request;
use crate::report::inputs;
use crate::report::known::Known;
use crate::report::{self, choice};
use crate::world::World;
use crate::world::signals::Signals;

/// A step of an update.
pub(super) enum Step<T> {
    /// It goes on with this.
    Go(T),
    /// It is over, and nothing was done.
    End(Exit),
}

/// Everything that is known before flake.lock is touched.
pub(super) struct Prepared {
    /// What moves.
    pub(super) found: Found,
    /// Which hosts go on.
    pub(super) gate: Gate,
    /// The run that built it.
    pub(super) built: String,
}

/// Updates.
///
/// # Errors
/// When it ended before any host was touched: flake.lock is as it was.
pub(super) async fn run(world: &World, global: &Global, asked: &Asked) -> Result<Exit, Error> {
    if asked.manner == Manner::Guided && !world.prompt.allowed() {
        let hosts = report::words::typed_line(&asked.hosts);
        return Err(Error::usage("update workflow asks at each step, and nobody can answer here")
            .hint(format!("nixdeploy update smart {hosts}")));
    }
    // From here on a signal ends nothing by itself: flake.lock is put right first.
    let mut signals = Signals::listen()
        .map_err(|e| Error::new(Exit::Internal, "cannot listen to signals").because(e))?;
    let Place { fleet, flake, keep } = place(world, global)?;
    let hosts = inventory::hosts(&fleet, &asked.hosts, &asked.flags.exclude, None)?;
    let hosts: Vec<HostName> = hosts.into_iter().map(|h| h.name.clone()).collect();
    let keep = held(world, keep)?;
    let (fleet, flake, keep) = (&fleet, &flake, &keep);
    let update = Update { world, global, asked, fleet, hosts: &hosts, flake, keep };
    if !asked.hold.is_empty() {
        return tokio::select! {
            shown = hold::show_patch(&update) => shown,
            _ = signals.next() => Ok(Exit::Interrupted),
        };
    }
    own_work(world, global, flake, asked.flags.allow_dirty_lock).await?;
    let base = publish::ready(&update).await?;
    let prepared = match prepare(&update, &mut signals).await? {
        Step::Go(prepared) => prepared,
        Step::End(exit) => return Ok(exit),
    };
    let Prepared { found, gate, .. } = &prepared;
    let opened = match base {
        None => None,
        Some(base) => {
            let bytes = &found.candidate.bytes;
            let change = (change(&update, found), gate);
            let opening = publish::open(&update, base, bytes, change);
            Some(publish::attended(&mut signals, opening).await??)
        }
    };
    if let (Some(opened), true) = (&opened, asked.flags.no_deploy) {
        publish::prepared(opened, &found.candidate.bytes);
        return Ok(exit::worst(gate.held.iter().map(|(_, exit, _)| *exit)));
    }
    apply(&update, &prepared, opened.as_ref(), signals).await
}

/// What is recorded of an update.
pub(super) fn change<'a>(update: &'a Update<'_>, found: &'a Found) -> Change<'a> {
    let flags = &update.asked.flags;
    let (accepted, issue) = (&flags.risk.accept_issue, flags.record.issue);
    Change { moves: &found.moves, accepted, issue }
}

/// A candidate that hosts may go on with, built and judged; inputs that alone bring trouble are
/// left out where that was asked for.
async fn prepare(update: &Update<'_>, signals: &mut Signals) -> Result<Step<Prepared>, Error> {
    let mut which = update.asked.which.clone();
    loop {
        let found = tokio::select! {
            found = find(update.world, update.fleet, update.flake, update.keep, &which) => found?,
            _ = signals.next() => return Ok(Step::End(unchanged(Exit::Interrupted))),
        };
        if found.moves.is_empty() {
            report::err("the inputs are current already: nothing to update\n");
            if update.asked.manner != Manner::Plain {
                tokio::select! {
                    standing = gate::standing(update, &found.lock) => standing?,
                    _ = signals.next() => return Ok(Step::End(Exit::Interrupted)),
                }
            }
            return Ok(Step::End(Exit::Done));
        }
        let look = choice::look(&launch::setting(update.global), &update.world.environment);
        let of = found.candidate.lock.count();
        show(&(inputs::moves(&found.moves, of, &look).join("\n") + "\n"))?;
        let seen = match update.asked.manner {
            Manner::Guided => match agreed(update, &found, signals).await? {
                Step::Go(seen) => seen,
                Step::End(exit) => return Ok(Step::End(unchanged(exit))),
            },
            Manner::Plain | Manner::Smart => None,
        };
        let run = launch::name(update.world);
        let (exit, toplevels, lists) = build(update, &found, &run).await?;
        if exit != Exit::Done {
            return Ok(Step::End(unchanged(exit)));
        }
        let told = (seen.as_ref(), lists.as_ref());
        match judge(update, &which, &found, &toplevels, (told, &mut *signals)).await? {
            Judgement::Again(input) => which.except.push(input),
            Judgement::Go(gate) => {
                return Ok(Step::Go(Prepared { found, gate: *gate, built: run }));
            }
            Judgement::End(exit) => return Ok(Step::End(unchanged(exit))),
        }
    }
}

/// What comes of the gate.
enum Judgement {
    /// Once more, without this input.
    Again(String),
    /// These go on.
    Go(Box<Gate>),
    /// Nobody does.
    End(Exit),
}

async fn judge(
    update: &Update<'_>,
    which: &Which,
    found: &Found,
    toplevels: &BTreeMap<HostName, StorePath>,
    (told, signals): ((Option<&Known>, Option<&Listing>), &mut Signals),
) -> Result<Judgement, Error> {
    let locks = [&found.lock, &found.candidate.lock];
    let judged = tokio::select! {
        judged = gate::judge(update, toplevels, locks, told) => judged?,
        _ = signals.next() => return Ok(Judgement::End(Exit::Interrupted)),
    };
    if let Some(judged) = &judged {
        hold::remarks(update, judged);
    }
    if let (Some(judged), true) = (&judged, update.asked.manner != Manner::Plain) {
        let troubles = judged.troubles(&update.asked.flags.risk.accept_issue);
        let traced = tokio::select! {
            traced = culprit(update, which, found, &troubles) => traced,
            _ = signals.next() => return Ok(Judgement::End(Exit::Interrupted)),
        };
        if let Some(input) = leave_out(update, traced, &troubles) {
            return Ok(Judgement::Again(input));
        }
    }
    let gate = gate::settle(update, toplevels, judged, signals).await;
    if stopped(signals) {
        return Ok(Judgement::End(Exit::Interrupted));
    }
    if gate.go.is_empty() {
        return Ok(Judgement::End(exit::worst(gate.held.iter().map(|(_, exit, _)| *exit))));
    }
    Ok(Judgement::Go(Box::new(gate)))
}

/// Which input is left out, and said; `None`: none is.
fn leave_out(
    update: &Update<'_>,
    traced: Option<Culprit>,
    troubles: &[gate::Trouble],
) -> Option<String> {
    let mut numbers: Vec<String> = troubles.iter().map(|t| format!("#{}", t.number)).collect();
    numbers.sort();
    numbers.dedup();
    let numbers = numbers.join(", ");
    match traced? {
        Culprit::Input(input) => {
            report::err(&format!(
                "input {input} is left out: it alone brings {numbers}; the others are updated\n"
            ));
            Some(input)
        }
        Culprit::Nixpkgs(input) if update.asked.skip_blocked => {
            report::err(&format!(
                "input {input} is left out (--skip-blocked): it brings {numbers}\n"
            ));
            Some(input)
        }
        Culprit::Nixpkgs(input) => {
            let hosts = report::words::typed_line(&update.asked.hosts);
            report::err(&format!(
                "{numbers} comes with {input}; to update everything else:\n  \
                 nixdeploy update smart {hosts} --except {input}\n"
            ));
            None
        }
        Culprit::Only(input) => {
            report::err(&format!("{numbers} comes with {input}, and nothing else moves\n"));
            None
        }
    }
}

/// Whether a person wants it, after a look at what would come; what was shown of known issues.
async fn agreed(
    update: &Update<'_>,
    found: &Found,
    signals: &mut Signals,
) -> Result<Step<Option<Known>>, Error> {
    let preview = tokio::select! {
        preview = preview::look(update, found) => preview?,
        _ = signals.next() => return Ok(Step::End(Exit::Declined)),
    };
    let look = choice::look(&launch::setting(update.global), &update.world.environment);
    show(&report::coming::hosts(&preview, false, &look))?;
    if update.global.yes {
        return Ok(Step::Go(preview.issues));
    }
    let prompt = update.world.prompt.clone();
    // The look was at names of derivations; what is built is looked at once more, and told where
    // that says something else.
    let question = move || prompt.confirm("Build it?", true);
    let answer = gate::asked(update.world, signals, question).await;
    let yes = answer == Some(true);
    Ok(if yes { Step::Go(preview.issues) } else { Step::End(Exit::Declined) })
}

/// Whether we were asked to stop while nothing listened.
pub(super) fn stopped(signals: &mut Signals) -> bool {
    futures_util::FutureExt::now_or_never(signals.next()).is_some()
}

fn unchanged(exit: Exit) -> Exit {
    report::err("flake.lock is as it was\n");
    exit
}

/// Builds every host with the candidate, and fetches the lists of issues meanwhile.
async fn build(
    update: &Update<'_>,
    found: &Found,
    run: &str,
) -> Result<(Exit, BTreeMap<HostName, StorePath>, Option<Listing>), Error> {
    let Update { world, global, fleet, hosts, asked, .. } = *update;
    let preset = deploy::preset("build");
    let request = deploy::request(&preset, global, &DeployFlags::default(), fleet)?;
    let (global, lock) = preview::stand_in(&found.candidate, global);
    let message = Some(change(update, found).message(None));
    let request = Request { command: "update".to_owned(), message, lock, ..request };
    let terms = Terms { name: Some(run.to_owned()), ..Terms::default() };
    let asking = gate::asking(fleet, global.no_cache)?;
    let issues = async {
        let locks = [&found.lock, &found.candidate.lock];
        match asked.flags.risk.no_issue_check {
            true => None,
            false => Some(gate::ahead(world, &asking, locks).await),
        }
    };
    let fleet = fleet.clone();
    let built = launch::launch_with(world, &global, fleet, hosts, request, terms);
    let (built, lists) = tokio::join!(built, issues);
    let (exit, state) = built?;
    let toplevels = state.hosts.into_iter().filter_map(|h| Some((h.name, h.toplevel?)));
    Ok((exit, toplevels.collect(), lists))
}
