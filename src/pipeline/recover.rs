//! After an interruption: what happened is read from the host alone, said, and brought to an end.
//!
//! Our own journal only says which hosts to ask. The guard's files say what was decided; when they
//! are gone the host has rebooted, and its pointers say it.

use super::ending::{self, Halt, Why, returned};
use super::host::Journey;
use super::learn::ask_facts;
use super::leftover::{mend, orphaned, revived, set_right};
use super::reboot::{UNVERIFIED, looked_at};
use crate::activate::guard::{Ending, Tx, Verb};
use crate::activate::hand::{Answer, Hand};
use crate::activate::journal;
use crate::activate::returned::{Returned, of};
use crate::event::stream::Stopwatch;
use crate::event::{Decider, HostReport, Outcome, Phase};
use crate::preflight::cut_off::cut_off;
use crate::preflight::drifted;
use crate::preflight::facts::{Facts, Transaction};
use crate::preflight::read::Answered;
use crate::rollback;
use crate::world::ssh::Link;

/// What is said of a host that has no transaction in this boot: if one was begun there, it is over,
/// and how is not known any more.
pub const NOTHING_HELD: &str = "nothing is held or armed on the host";
/// A look at a transaction takes no longer.
const LOOK: std::time::Duration = std::time::Duration::from_secs(30);

/// Finds what was left, and ends it: `abort` takes back what is undecided, else it is waited for.
///
/// # Errors
/// With the host's last word, when that is not its goal.
pub async fn recover(journey: &Journey<'_>, abort: bool) -> Result<HostReport, Halt> {
    let answered = ask_facts(journey).await?;
    let current = answered.facts.transactions.iter().find(|t| t.current);
    let Some((current, tx)) = current.and_then(|t| Tx::new(&t.name).map(|tx| (t, tx))) else {
        return left_by_reboot(journey, &answered).await;
    };
    let ours = journey.run.request.recovers.as_deref();
    if ours.is_some_and(|run| !current.name.starts_with(run)) {
        return somebody_elses(journey, &answered.facts, current);
    }
    let (world, emitter) = (&journey.run.world, &journey.run.emitter);
    let hand = Hand::new(world, emitter, &journey.host.name, &answered.target, tx);
    let what = match (current.outcome.is_empty(), abort) {
        (false, _) => look(&hand).await,
        (true, _) if orphaned(&answered.facts, current) => revived(&hand, journey).await,
        (true, _) if !answered.facts.guarded() => return Err(never_went(journey, current)),
        (true, true) => rollback::back(&hand, &journey.step.policy).await,
        (true, false) => await_or_release(journey, &hand, current).await,
    };
    if matches!(what, Returned::Gone) {
        return left_by_reboot(journey, &answered).await;
    }
    let decided_ms = decided_ms(&answered.facts, current, journey.run.world.clock.epoch_ms());
    match said(journey, &answered, current, what) {
        Ok(report) => Ok(HostReport { decided_ms, ..report }),
        Err(halt) => Err(Box::new(HostReport { decided_ms, ..*halt })),
    }
}

/// When a transaction had its last word, by our clock; the host's may be another.
fn decided_ms(facts: &Facts, current: &Transaction, now_ms: i64) -> Option<i64> {
    let ago_s = facts.now_s.saturating_sub(current.ended_s?);
    Some(now_ms - i64::try_from(ago_s).ok()?.saturating_mul(1000))
}

/// The host's transaction is of another run: nothing of ours is left there, and it is not touched.
fn somebody_elses(
    journey: &Journey<'_>,
    facts: &Facts,
    current: &Transaction,
) -> Result<HostReport, Halt> {
    let mut report = nothing_left(journey, facts)?;
    if current.outcome.is_empty() {
        let (run, owner, phase) = (current.run(), &current.owner, &current.phase);
        report.note = format!("held by another run, {run} of {owner}, phase {phase}");
        report.outcome = Outcome::Refused { code: "locked".to_owned(), skipped: false };
        report.next = vec![format!("nixdeploy abort {run}  # if it is yours")];
        return Err(Box::new(report));
    }
    Ok(report)
}

async fn look(hand: &Hand) -> Returned {
    match hand.ask(Link::Shared, Verb::Show, None, LOOK).await {
        Answer::Told(status) => of(status),
        Answer::Gone => Returned::Gone,
        Answer::Lost(failure) => Returned::Unknown(failure, 0),
    }
}

/// One that was never told to go is released; anything further decides by itself.
async fn await_or_release(journey: &Journey<'_>, hand: &Hand, current: &Transaction) -> Returned {
    if current.phase.starts_with("hold") {
        rollback::back(hand, &journey.step.policy).await
    } else {
        rollback::outcome(hand, &journey.step.policy).await
    }
}

fn said(
    journey: &Journey<'_>,
    answered: &Answered,
    current: &Transaction,
    what: Returned,
) -> Result<HostReport, Halt> {
    done(journey);
    let (host, before) = (&journey.host.name, &answered.facts.early.pointers);
    let note = format!("transaction {} of {}", current.name, current.owner);
    if let Returned::Kept(status) = &what {
        let reboot_required = answered.facts.reboot_pending().is_some_and(|p| !p.is_empty());
        let (outcome, word) = match status.ending {
            Some(Ending::Staged) => (Outcome::Staged, "staged for the next boot"),
            _ if reboot_required => {
                (Outcome::Committed { reboot_required }, "committed; reboot wanted")
            }
            _ => (Outcome::Committed { reboot_required }, "committed"),
        };
        let mut report = ending::report(outcome, Phase::Commit, format!("{note}: {word}"));
        report.after = Some(ending::after(status));
        report.decided_by = Decider::Guard;
        return Ok(report);
    }
    let reason = match &what {
        Returned::Restored(s) | Returned::Untouched(s) => format!("{note}: {}", s.reason),
        _ => note,
    };
    let untouched = matches!(what, Returned::Untouched(_));
    let why = Why {
        phase: Phase::Rollback,
        note: reason,
        causes: Vec::new(),
        decided_by: Decider::Guard,
        interrupted: false,
    };
    let now_ms = journey.run.world.clock.epoch_ms();
    let halt = returned(host, why, before, what, now_ms);
    if untouched {
        return Ok(HostReport { outcome: Outcome::Unchanged { verified: false }, ..*halt });
    }
    Err(halt)
}

/// The guard is gone, and had never been told to go.
fn never_went(journey: &Journey<'_>, current: &Transaction) -> Halt {
    let note = format!(
        "transaction {} was left in phase {}; nothing had been changed",
        current.name, current.phase
    );
    let outcome = Outcome::Unchanged { verified: false };
    let mut halt = ending::halt(outcome, Phase::Rollback, note);
    halt.next.push(format!("nixdeploy quick-deploy {}", journey.host.name));
    halt
}

/// A commit that a reboot cut off is set right; else the pointers tell.
async fn left_by_reboot(journey: &Journey<'_>, answered: &Answered) -> Result<HostReport, Halt> {
    let Some(found) = cut_off(&answered.facts) else {
        return nothing_left(journey, &answered.facts);
    };
    let status = mend(journey, answered, &found).await?;
    done(journey);
    Err(set_right(journey, &found, &status))
}

/// No transaction of this boot: none there was, or the host has rebooted since.
fn nothing_left(journey: &Journey<'_>, facts: &Facts) -> Result<HostReport, Halt> {
    let state = &journey.run.world.environment.state;
    let record = journal::read(state, &journey.host.name).filter(journal::Record::is_armed);
    let pointers = facts.early.pointers.clone();
    let mut report =
        ending::report(Outcome::Unchanged { verified: false }, Phase::Facts, NOTHING_HELD);
    report.after = Some(pointers.clone());
    let record = match record {
        Some(record) if record.boot_id != facts.early.boot_id => record,
        Some(record) if pointers.running.as_ref() == Some(&record.new) && drifted(facts) => {
            return Err(guard_lost(journey, &record, report));
        }
        _ => {
            done(journey);
            return Ok(report);
        }
    };
    report.decided_by = Decider::Reboot;
    if pointers.all_are(&record.new) && record.step == journal::Step::Commit {
        report.outcome = Outcome::Committed { reboot_required: false };
        report.note = format!("transaction {} was committed; the host rebooted since", record.tx);
        done(journey);
        return Ok(report);
    }
    if pointers.all_are(&record.new) {
        report.outcome = Outcome::Stranded;
        report.note = format!("transaction {}: {UNVERIFIED}", record.tx);
        report.next = looked_at(&journey.host.name);
        done(journey);
        return Err(Box::new(report));
    }
    if pointers.running.as_ref() == Some(&record.old) && !drifted(facts) {
        report.outcome = Outcome::RolledBack;
        report.causes.push(
            "running system, profile and boot default are the old one; which services ran before \
             is not known any more"
                .to_owned(),
        );
        report.note = format!("transaction {}: rebooted into the old system", record.tx);
        done(journey);
    } else if pointers.running.as_ref() == Some(&record.new)
        && pointers.boot_default.as_ref() == Some(&record.old)
    {
        let (policy, clock) = (&journey.step.policy, &journey.run.world.clock);
        // As trial.sh counts it, in seconds since the boot.
        let limit = policy.soak_s + policy.verify_timeout_s + policy.commit_timeout_s + 180;
        let left = u64::from(limit).saturating_sub(facts.uptime_s);
        let decides_by_ms = clock.epoch_ms() + (left * 1000).cast_signed();
        report.outcome = Outcome::Unknown { decides_by_ms };
        report.note = format!(
            "transaction {}: on trial; it reboots into the old system by itself",
            record.tx
        );
    } else {
        report.outcome = Outcome::Stranded;
        let into = match pointers.running.as_ref() == Some(&record.old) {
            true => "the old system, but its profile or its boot default is another",
            false => "something else",
        };
        report.note = format!("transaction {}: the host rebooted into {into}", record.tx);
    }
    report.next.push(format!("nixdeploy status {}", journey.host.name));
    Err(Box::new(report))
}

/// The new system runs, in the boot it was activated in, and nobody will take it back.
fn guard_lost(journey: &Journey<'_>, record: &journal::Record, mut report: HostReport) -> Halt {
    let address = journey.host.address();
    report.outcome = Outcome::Stranded;
    report.note = format!("transaction {}: its guard is lost, and the new system runs", record.tx);
    report.causes.push("/run/nixdeploy was removed, and the guard killed".to_owned());
    let back = format!("{}/bin/switch-to-configuration test", record.old);
    report.next = vec![
        format!("ssh {address} 'sudo systemctl stop nixdeploy-guard; sudo {back}'"),
        format!("nixdeploy status {}", journey.host.name),
    ];
    Box::new(report)
}

/// Our journal need not name this host any more.
fn done(journey: &Journey<'_>) {
    let state = &journey.run.world.environment.state;
    if let Some(record) = journal::read(state, &journey.host.name) {
        journal::close(state, &record.host, &record.tx);
    }
}
