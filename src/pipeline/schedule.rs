//! When each host's turn comes: all hosts are learned at once, then changed wave by wave.
//!
//! What a host is, what it is to be, and its closure need nothing of other hosts, so that all of it
//! begins at the start of the run, whatever the wave. What is done to a host waits for its wave,
//! for room among those that are worked on, and for the budget's leave.

use std::collections::BTreeMap;

use futures_util::stream::{FuturesUnordered, iter};
use futures_util::{Stream, StreamExt};
use tokio::sync::oneshot;

use super::host::{self, Begun};
use super::{Run, at_once, ending, last_word, preview, together, unknown_host};
use crate::event::{HostReport, Outcome, Phase};
use crate::fleet::HostName;
use crate::plan::{Goal, HostPlan};

/// What was learned of each host, as soon as it is; nothing is heard of one that had its last word.
pub(super) struct Ears<'a>(BTreeMap<&'a HostName, oneshot::Receiver<Begun>>);

impl Ears<'_> {
    /// What was learned of hosts: as it comes in, or, where only one is worked on at once, in the
    /// order of the plan. That one host answers sooner is no reason to go before another.
    pub(super) fn of<'s>(
        &mut self,
        steps: &[&'s HostPlan],
        at_once: usize,
    ) -> impl Stream<Item = (&'s HostPlan, Begun)> + use<'s> {
        let ears = steps.iter().filter_map(|step| Some((*step, self.0.remove(&step.host)?)));
        let ears: Vec<_> = ears.collect();
        let heard =
            ears.into_iter().map(|(step, ear)| async move { Some((step, ear.await.ok()?)) });
        let heard = match at_once {
            1 => iter(heard).buffered(1).left_stream(),
            _ => heard.collect::<FuturesUnordered<_>>().right_stream(),
        };
        heard.filter_map(std::future::ready)
    }
}

/// Runs every host to its last word.
pub(super) async fn run(run: &Run) {
    let (mut ears, learning) = (BTreeMap::new(), FuturesUnordered::new());
    for step in run.plan.hosts() {
        let (tell, ear) = oneshot::channel();
        ears.insert(&step.host, ear);
        learning.push(learn(run, step, tell));
    }
    let ears = Ears(ears);
    let asking = run.plan.hosts().filter(|step| preview::asks(run, step)).count() > 1;
    let changing = async {
        match asking {
            true => together::run(run, ears).await,
            false => by_waves(run, ears).await,
        }
    };
    tokio::join!(learning.collect::<()>(), changing);
}

async fn learn(run: &Run, step: &HostPlan, tell: oneshot::Sender<Begun>) {
    let begun = match run.host(step) {
        Some(host) => host::learn(run, step, host).await,
        None => Begun::Over(Box::new(unknown_host())),
    };
    run.graph.came(&step.host);
    match begun {
        Begun::Over(report) => last_word(run, step, *report),
        begun => drop(tell.send(begun)),
    }
}

async fn by_waves(run: &Run, mut ears: Ears<'_>) {
    for wave in waves(run) {
        let turns = ears.of(&wave, at_once(run)).map(|(step, begun)| turn(run, step, begun));
        turns.buffer_unordered(at_once(run)).collect::<()>().await;
    }
}

/// The waves; where nothing is changed they have no meaning.
pub(super) fn waves(run: &Run) -> Vec<Vec<&HostPlan>> {
    match run.plan.goal {
        Goal::Build | Goal::DryRun => vec![run.plan.hosts().collect()],
        _ => run.plan.waves.iter().map(|wave| wave.iter().collect()).collect(),
    }
}

async fn turn(run: &Run, step: &HostPlan, begun: Begun) {
    let report = match (run.host(step), run.budget.halted()) {
        (None, _) => unknown_host(),
        (_, Some(why)) => {
            begun.forget().await;
            not_begun(&step.host, why)
        }
        (Some(host), None) => host::journey(run, step, host, begun).await,
    };
    last_word(run, step, report);
}

/// The last word on a host whose turn did not come.
pub(super) fn not_begun(host: &HostName, why: String) -> HostReport {
    let mut report = ending::report(Outcome::NotBegun, Phase::Facts, why);
    report.next = vec![format!("nixdeploy deploy {host}")];
    report
}
