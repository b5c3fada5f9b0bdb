//! Sentences of `status`: what is odd about a host, and what to type next. Pure.

use super::standing::{Known, at_work, staged};
use crate::activate::journal::Record;
use crate::fleet::StorePath;
use crate::pipeline::deferred::Deferred;
use crate::preflight::cut_off::cut_off;
use crate::preflight::facts::{self, Facts};
use crate::preflight::{self, admit_early};
use crate::report::board::{Note, Row, State, Transaction, Trouble};
use crate::report::look::{Look, bytes};
use crate::report::table::{ago, span};
use crate::verify::units::{full_name, serves};
use crate::world::invocation::quote;

/// All of a host, the most pressing first.
pub(super) fn notes(known: &Known<'_>, row: &Row, facts: Option<&Facts>) -> Vec<Note> {
    let mut notes: Vec<Note> = row.refused.iter().map(|t| unreachable(known, row, t)).collect();
    if let (Some(facts), Some(state)) = (facts, &row.state) {
        notes.extend(transaction(known, facts, state));
        notes.extend(switching(facts));
        notes.extend(drift(known, facts));
        notes.extend(condition(known, facts, state));
    } else if let Some(tx) = known.answer.as_ref().ok().and_then(|a| a.facts.unfinished()) {
        notes.push(held(known, tx));
    } else {
        notes.extend(known.record.filter(|r| r.is_armed()).map(left_there));
    }
    notes.extend(known.deferred.map(|deferred| put_off(known, deferred)));
    notes.extend(row.evaluation.iter().map(evaluation));
    notes
}

fn note(code: &str, text: impl Into<String>) -> Note {
    Note { code: code.to_owned(), text: text.into(), next: Vec::new() }
}

fn put_off(known: &Known<'_>, deferred: &Deferred) -> Note {
    let (ago, run) = (ago(known.now_ms, deferred.since_ms), &deferred.run);
    let text = format!("asleep when it was to be deployed, {ago} ago in run {run}");
    Note { next: vec!["nixdeploy retry".to_owned()], ..note("deferred", text) }
}

fn unreachable(known: &Known<'_>, row: &Row, trouble: &Trouble) -> Note {
    let because = trouble.causes.join("; ");
    let mut text = match (trouble.code.as_str(), because.is_empty()) {
        ("unreachable", false) => format!("did not answer: {because}"),
        (_, false) => format!("{}: {because}", trouble.sentence),
        (_, true) => trouble.sentence.clone(),
    };
    if row.optional && trouble.code == "unreachable" {
        text.push_str(" (it is optional)");
    }
    if let Some(seen) = &row.last_seen {
        let (date, ago) = (moment(seen.at_ms), ago(known.now_ms, seen.at_ms));
        let generation = seen.generation.map_or(String::new(), |g| format!(", at gen {g}"));
        text.push_str(&format!("\nlast seen {date}, {ago} ago{generation}, in run {}", seen.run));
    }
    Note { next: trouble.next.clone(), ..note(&trouble.code, text) }
}

/// With the zone's offset: it is read far from where it happened.
fn moment(at_ms: i64) -> String {
    let zone = jiff::tz::TimeZone::UTC;
    Look { zone, ..Look::plain() }.date(at_ms) + " UTC"
}

/// Both need the run's log, which is where it was begun.
fn resume_or_abort(known: &Known<'_>, tx: &Transaction) -> Vec<String> {
    let ours = known.record.is_some_and(|r| r.tx == tx.name);
    if ours && known.goes_on {
        // whoever runs it ends it; neither command would touch a run that lives
        return Vec::new();
    }
    let there = if ours { String::new() } else { format!("  # as {}", tx.owner) };
    let next = |verb| format!("nixdeploy {verb} {}{there}", tx.run);
    vec![next("resume"), next("abort")]
}

/// A transaction that is not over, or one of ours whose end we have not heard.
fn transaction(known: &Known<'_>, facts: &Facts, state: &State) -> Option<Note> {
    match &state.transaction {
        Some(tx) if tx.guarded => {
            let (owner, age, run) = (&tx.owner, span(tx.age_s), &tx.run);
            let ours = known.record.is_some_and(|r| r.tx == tx.name);
            let here =
                if ours && known.goes_on { "; the run goes on in another process" } else { "" };
            let text = format!(
                "held by {owner} for {age}, run {run}, phase {}: {}{here}",
                tx.phase,
                decides(tx)
            );
            let next = resume_or_abort(known, tx);
            Some(Note { next, ..note("transaction", text) })
        }
        Some(tx) => {
            let (run, owner, age) = (&tx.run, &tx.owner, span(tx.age_s));
            let decided = match tx.decision.as_str() {
                "" => "before anything was decided".to_owned(),
                word => format!("after it was decided to {word}"),
            };
            let text = format!(
                "run {run} of {owner} was interrupted {age} ago in phase {}, {decided}",
                tx.phase
            );
            let next = resume_or_abort(known, tx);
            Some(Note { next, ..note("interrupted", text) })
        }
        None if facts.guarded() && !facts.transactions.iter().any(|t| t.current) => {
            let next = vec![format!("nixdeploy status {}", known.host.name)];
            Some(Note { next, ..note("transaction", "somebody is taking it for a deploy now") })
        }
        None => known.record.filter(|r| r.is_armed()).map(|r| unheard(facts, r)),
    }
}

/// All that is known where only the first part was asked for.
fn held(known: &Known<'_>, tx: &facts::Transaction) -> Note {
    let text = format!("held by {}, run {}, phase {}", tx.owner, tx.run(), tx.phase);
    let next = vec![format!("nixdeploy status {}  # until when", known.host.name)];
    Note { next, ..note("transaction", text) }
}

/// When and what the guard decides.
fn decides(tx: &Transaction) -> String {
    match (tx.decision.as_str(), tx.decides_in_s) {
        ("commit", _) => "it is committing".to_owned(),
        ("", Some(0)) => "it is about to decide by itself".to_owned(),
        ("", Some(seconds)) => format!("it decides by itself in {}", span(seconds)),
        ("", None) => "nothing is changed yet".to_owned(),
        (_, _) => "it is going back".to_owned(),
    }
}

/// We were interrupted; the host has come to an end of its own.
fn unheard(facts: &Facts, record: &Record) -> Note {
    let ended = facts.transactions.iter().find(|t| t.name == record.tx && !t.outcome.is_empty());
    let running = facts.early.pointers.running.as_ref();
    let runs = match running {
        Some(path) if *path == record.new => "it runs the new system",
        Some(path) if *path == record.old => "it runs the system from before",
        _ => "it runs another system",
    };
    let how = match ended {
        Some(tx) => format!("the host ended it: {}", tx.outcome),
        None if facts.early.boot_id != record.boot_id => "the host was rebooted since".to_owned(),
        None => "the host keeps no trace of it".to_owned(),
    };
    let text = format!("run {} was interrupted here; {how}; {runs}", record.run);
    let next = vec![format!("nixdeploy resume {}", record.run)];
    Note { next, ..note("interrupted", text) }
}

/// An armed transaction on a host that does not answer.
fn left_there(record: &Record) -> Note {
    let text = format!("run {} left a transaction there: the host decides by itself", record.run);
    let next = vec![format!("nixdeploy resume {}", record.run)];
    Note { next, ..note("interrupted", text) }
}

fn switching(facts: &Facts) -> Option<Note> {
    let held = facts.switching.as_ref().filter(|_| facts.unfinished().is_none())?;
    let text = format!("switch-to-configuration runs, process {}: {}", held.pid, held.command);
    Some(note("switch-running", text))
}

fn drift(known: &Known<'_>, facts: &Facts) -> Option<Note> {
    if !preflight::drifted(facts) || at_work(facts) {
        return None;
    }
    let host = &known.host.name;
    if let Some(found) = cut_off(facts) {
        let next = vec![format!("nixdeploy quick-deploy {host}  # sets it right, then goes on")];
        return Some(Note { next, ..note("cut-off", found.sentence()) });
    }
    let pointers = &facts.early.pointers;
    let name = |path: &Option<StorePath>| system(facts, path.as_ref());
    if staged(facts) {
        return Some(waits(known, facts));
    }
    let text = format!(
        "drift: running {}, profile {}, boot default {}",
        name(&pointers.running),
        name(&pointers.profile),
        name(&pointers.boot_default)
    );
    Some(Note { next: preflight::drift(facts).hints(host), ..note("drift", text) })
}

/// A later generation waits for the next boot; it need not be the flake's.
fn waits(known: &Known<'_>, facts: &Facts) -> Note {
    let pointers = &facts.early.pointers;
    let name = |path: &Option<StorePath>| system(facts, path.as_ref());
    let wanted = known.wanted.and_then(|w| w.as_ref().ok()?.toplevel.as_ref());
    let other = wanted.is_some_and(|wanted| pointers.profile.as_ref() != Some(wanted));
    let other = if other { "; the flake wants another one by now" } else { "" };
    let text = format!(
        "staged: {} boots next, {} runs: a reboot applies it{other}",
        name(&pointers.boot_default),
        name(&pointers.running),
    );
    let next = vec![
        format!("ssh {} sudo reboot", known.host.address()),
        format!("nixdeploy deploy {} --accept-drift  # or replace it", known.host.name),
    ];
    Note { next, ..note("staged", text) }
}

/// `gen 12`, or the beginning of its hash with its name.
fn system(facts: &Facts, path: Option<&StorePath>) -> String {
    let Some(path) = path else { return "not known".to_owned() };
    let numbered = |g: &&crate::preflight::facts::Kept| g.toplevel == *path;
    match facts.generations.iter().rev().find(numbered) {
        Some(kept) => format!("gen {}", kept.generation),
        None => {
            let hash = path.as_str().strip_prefix("/nix/store/").and_then(|p| p.get(..8));
            format!("{} ({}), of no generation", path.name(), hash.unwrap_or_default())
        }
    }
}

/// Units, disks, reboot, and what is odd but stops nothing.
fn condition(known: &Known<'_>, facts: &Facts, state: &State) -> Vec<Note> {
    let mut notes = Vec::new();
    if let Err(refused) = admit_early(&facts.early, None, std::path::Path::new("")) {
        notes.push(note(refused.code(), refused.sentence()));
    }
    if !facts.complete {
        notes.push(note("incomplete", "its answer broke off: figures may be missing"));
    }
    notes.extend(units(known, state));
    notes.extend(critical(known, facts));
    let over = state.vitals.disks.iter().filter(|d| {
        let limit = known.host.limits.disk_percent;
        d.size_kib > 0 && d.used_percent() > limit
    });
    notes.extend(over.map(|disk| {
        let (free, used) = (bytes(disk.free_kib.saturating_mul(1024)), disk.used_percent());
        let limit = known.host.limits.disk_percent;
        note("disk", format!("{} is {used}% full, {free} free; the limit is {limit}%", disk.mount))
    }));
    if let Some(parts) = state.reboot.as_ref().filter(|p| !p.is_empty()) {
        let text = format!("a reboot is pending: other {} than booted", parts.join(", "));
        notes.push(note("reboot", text));
    }
    if let Some(name) = &state.specialisation {
        notes.push(note("specialisation", format!("runs the specialisation {name}")));
    }
    let passing = |code: &str| at_work(facts) && matches!(code, "stale-lists" | "etc-mismatch");
    let told = |code: &str| code != "interrupted" && !passing(code);
    let odd = preflight::odd(facts).into_iter().filter(|f| told(&f.code));
    notes.extend(odd.map(|f| {
        // Most messages name their subject.
        let named = f.message.contains(&f.subject);
        let text = if named { f.message } else { format!("{}: {}", f.subject, f.message) };
        note(&f.code, text)
    }));
    notes
}

fn units(known: &Known<'_>, state: &State) -> Vec<Note> {
    let Some(units) = &state.units else {
        return vec![note("systemd", "systemctl does not answer")];
    };
    let mut notes = Vec::new();
    if let Some(first) = units.failed.first() {
        let text = format!("failed: {}", units.failed.join(", "));
        let unit = quote(first);
        let next = vec![format!("ssh {} journalctl -n 50 -u {unit}", known.host.address())];
        notes.push(Note { next, ..note("failed", text) });
    }
    if !units.pending.is_empty() {
        notes.push(note("pending", format!("not active yet: {}", units.pending.join(", "))));
    }
    notes
}

/// What the operator called critical and does not run; a unit that failed is told of already.
fn critical(known: &Known<'_>, facts: &Facts) -> Vec<Note> {
    let names = known.host.critical_services.iter().map(|n| full_name(n));
    let dead = names.filter(|_| facts.systemd).filter(|name| {
        let active = facts.units.get(name).map_or("inactive", |unit| &unit.active);
        !serves(active) && !matches!(active, "activating" | "failed")
    });
    let address = known.host.address();
    dead.map(|name| {
        let next = vec![format!("ssh {address} systemctl status {}", quote(&name))];
        Note { next, ..note("critical-service", format!("critical, and not running: {name}")) }
    })
    .collect()
}

/// What hosts of one flake may share, so it names none.
fn evaluation(trouble: &Trouble) -> Note {
    Note { next: trouble.next.clone(), ..note("evaluation", trouble.sentence.clone()) }
}
