//! Several hosts and one question: every host is held, built, copied to and rehearsed first, then
//! all their changes are shown, one answer is given for all, and only then the waves begin.

use std::collections::BTreeMap;

use futures_util::StreamExt;

use super::host::{Begun, Half, Ready, give_back, prepare, proceed};
use super::preview::{Answer, ask};
use super::schedule::{Ears, not_begun, waves};
use super::{Run, at_once, last_word, unknown_host};
use crate::fleet::HostName;
use crate::plan::HostPlan;

/// Hosts that wait for the answer. Each is held by its own guard's lease, which is renewed, and
/// lets go of the host by itself if we die.
type Waiting = BTreeMap<HostName, Ready>;

/// Runs every host of a plan that asks.
pub(super) async fn run(run: &Run, mut ears: Ears<'_>) {
    let steps: Vec<&HostPlan> = run.plan.hosts().collect();
    let prepared = ears.of(&steps, at_once(run)).map(|(step, begun)| first_half(run, step, begun));
    let prepared = prepared.buffer_unordered(at_once(run));
    let mut waiting: Waiting = prepared.filter_map(std::future::ready).collect().await;
    if waiting.is_empty() {
        return;
    }
    // In the order of the plan, as everything else is told.
    let offers = steps.iter().filter_map(|step| {
        waiting.get(&step.host).map(|ready| (&step.host, &ready.offered.changes))
    });
    let answer = ask(run, &offers.collect::<Vec<_>>()).await;
    for wave in waves(run) {
        let held: Vec<(&HostPlan, Ready)> =
            wave.iter().filter_map(|step| Some((*step, waiting.remove(&step.host)?))).collect();
        let halves = held.into_iter().map(|(step, ready)| second_half(run, step, ready, answer));
        futures_util::stream::iter(halves).buffer_unordered(at_once(run)).collect::<()>().await;
    }
}

async fn first_half(run: &Run, step: &HostPlan, begun: Begun) -> Option<(HostName, Ready)> {
    let half = match run.host(step) {
        Some(host) => prepare(run, step, host, begun).await,
        None => Half::Over(Box::new(unknown_host())),
    };
    match half {
        Half::Ready(ready) => Some((step.host.clone(), *ready)),
        Half::Over(report) => {
            last_word(run, step, *report);
            None
        }
    }
}

async fn second_half(run: &Run, step: &HostPlan, ready: Ready, answer: Answer) {
    let report = match (run.host(step), run.budget.halted()) {
        (None, _) => unknown_host(),
        (Some(host), Some(why)) if answer == Answer::Yes => {
            let halt = Box::new(not_begun(&step.host, why));
            give_back(run, step, host, ready, halt).await
        }
        (Some(host), _) => proceed(run, step, host, ready, answer).await,
    };
    last_word(run, step, report);
}
