//! `--wait`: hosts that do not answer are put off until all others have had their turn, and are
//! deployed in the same run when they come back.
//!
//! Meanwhile their closures are built from the tree as it is now: who waits for two hours goes on
//! editing, and what was checked is what is deployed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::oneshot;

use super::ending::{self, Halt};
use super::host::{self, Begun, Journey, journey};
use super::preview::Answer;
use super::schedule::not_begun;
use super::{Run, built_at_once, early, say, unknown_host};
use crate::event::facts::Step;
use crate::event::{Event, HostReport, Outcome, Phase};
use crate::fleet::{Host, HostName};
use crate::plan::policy::Policy;
use crate::plan::{Goal, HostPlan};
use crate::preflight::read::{self, Effort};
use crate::world::ssh::Link;

/// Between two looks for a host.
const PACE: Duration = Duration::from_secs(5);

/// Hosts that were put off.
#[derive(Default)]
pub struct Asleep {
    hosts: Mutex<Vec<HostName>>,
    declined: AtomicBool,
}

impl Asleep {
    fn take(&self) -> Vec<HostName> {
        std::mem::take(&mut self.hosts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether a last word is not the last: the host did not answer, and is to be waited for.
pub(super) fn put_off(run: &Run, step: &HostPlan, report: &HostReport) -> bool {
    if report.outcome == Outcome::Declined {
        run.asleep.declined.store(true, Ordering::Relaxed);
    }
    let awaited = run.request.wait_s > 0 && matches!(run.plan.goal, Goal::Deploy | Goal::Boot);
    if !awaited || !silent(report) || run.stop.asked() {
        return false;
    }
    let mut hosts = run.asleep.hosts.lock().unwrap_or_else(PoisonError::into_inner);
    hosts.push(step.host.clone());
    drop(hosts);
    let because = "no answer: it is waited for when all others are done";
    run.emitter.step(Some(&step.host), Step::skipped(Phase::Facts, "reached", because));
    true
}

/// It did not answer before anything was done to it.
fn silent(report: &HostReport) -> bool {
    let Outcome::Refused { code, .. } = &report.outcome else { return false };
    code == "unreachable" && report.phase == Some(Phase::Facts)
}

/// Waits for all that were put off, and brings each to its last word.
pub(super) async fn run(run: &Run) {
    let until_ms = run.emitter.elapsed_ms() + u64::from(run.request.wait_s) * 1000;
    let asleep = run.asleep.take();
    // How many build at once is limited; waiting is not.
    let steps: Vec<&HostPlan> = run.plan.hosts().filter(|s| asleep.contains(&s.host)).collect();
    let built = steps.iter().map(|step| prepared(run, step));
    let built = futures_util::stream::iter(built).buffer_unordered(built_at_once(run));
    let built: Vec<(&HostPlan, Option<Halt>)> = built.collect().await;
    let last_words = built.into_iter().map(|(step, ended)| async move {
        let report = match (ended, run.host(step)) {
            (Some(halt), _) => *halt,
            (None, Some(host)) => awaited(run, step, host, until_ms).await,
            (None, None) => unknown_host(),
        };
        say(run, step, report);
    });
    futures_util::future::join_all(last_words).await;
}

/// Builds what the host is to run, unless the host itself is to do that.
async fn prepared<'a>(run: &Run, step: &'a HostPlan) -> (&'a HostPlan, Option<Halt>) {
    let Some(host) = run.host(step) else { return (step, None) };
    if run.asleep.declined.load(Ordering::Relaxed) {
        return (step, Answer::No.of(&step.host).err());
    }
    let journey = Journey { run, step, host };
    let ended = early::prepare(&journey).await.err();
    run.graph.came(&step.host);
    (step, ended)
}

/// Tries until it comes back, or the time is over.
async fn awaited(run: &Run, step: &HostPlan, host: &Host, until_ms: u64) -> HostReport {
    // Whoever could be asked has gone by then; the answer to the question before counts for all.
    let policy = Policy { ask: false, ..step.policy.clone() };
    let step = &HostPlan { policy, ..step.clone() };
    loop {
        match back(run, host, until_ms).await {
            Ok(true) => {}
            Ok(false) => return never_came(run, host),
            Err(halt) => return *halt,
        }
        if let Some(why) = run.budget.halted_late(&host.name) {
            return not_begun(&host.name, why);
        }
        let report = match host::learn(run, step, host).await {
            Begun::Over(report) => *report,
            begun => journey(run, step, host, begun).await,
        };
        if !silent(&report) || run.stop.asked() {
            return report;
        }
    }
}

/// Whether the host answers before it is too late.
async fn back(run: &Run, host: &Host, until_ms: u64) -> Result<bool, Halt> {
    let open = run.emitter.phase(&host.name, Phase::Facts);
    tokio::select! {
        back = looked_for(run, host, until_ms) => {
            match back {
                true => open.ok("it answers"),
                false => open.failed("still no answer"),
            }
            Ok(back)
        }
        () = run.stop.once() => {
            open.failed("interrupted");
            Err(ending::interrupted(Phase::Facts))
        }
    }
}

async fn looked_for(run: &Run, host: &Host, until_ms: u64) -> bool {
    let (world, emitter) = (&run.world, &run.emitter);
    let (targets, began_ms) = (read::targets(host, world), emitter.elapsed_ms());
    loop {
        let now_ms = emitter.elapsed_ms();
        if now_ms >= until_ms {
            return false;
        }
        emitter.emit(Event::Progress {
            host: host.name.clone(),
            phase: Phase::Facts,
            what: "asleep, waited for".to_owned(),
            done: (now_ms - began_ms) / 1000,
            total: (until_ms - began_ms) / 1000,
            unit: "seconds".to_owned(),
        });
        let (early_in, _early_out) = oneshot::channel();
        let answered = read::look(world, &targets, Link::Shared, Effort::PING, early_in).await;
        // Any other refusal is told by the journey, in its own words.
        if !answered.is_err_and(|refused| refused.unreachable()) {
            return true;
        }
        let left = Duration::from_millis(until_ms.saturating_sub(emitter.elapsed_ms()));
        world.clock.sleep(PACE.min(left)).await;
    }
}

fn never_came(run: &Run, host: &Host) -> HostReport {
    let skipped = host.optional != crate::fleet::Optional::Fail;
    let outcome = Outcome::Refused { code: "unreachable".to_owned(), skipped };
    let minutes = run.request.wait_s.div_ceil(60);
    let waited = match run.request.wait_s {
        seconds if seconds < 120 => format!("{seconds} s"),
        _ => format!("{minutes} minutes"),
    };
    let note = format!("no answer, and it was waited for {waited}; what it is to run is built");
    let mut report = ending::report(outcome, Phase::Facts, note);
    report.next = vec![format!("nixdeploy retry {}", run.name)];
    report
}
