//! The beginning of a journey back: which of a host's own generations is meant; nothing is
//! evaluated.

use super::ending::{Halt, halt};
use super::host::Journey;
use super::learn::{Known, mastered, read_again};
use crate::event::{Event, Outcome, Phase};
use crate::fleet::Generation;
use crate::preflight::facts::{Facts, Kept};
use crate::preflight::read::{self, Answered};

/// Learns what a host is, and which of its generations is meant; nothing is evaluated.
///
/// # Errors
/// When the host ends the journey, or has no such generation; nothing was changed.
pub async fn learn_back(journey: &Journey<'_>, to: Option<Generation>) -> Result<Box<Known>, Halt> {
    let shared = mastered(&read::targets(journey.host, &journey.run.world));
    let answered = read_again(journey, None).await?;
    let at_ms = journey.run.emitter.elapsed_ms();
    let Answered { facts, target, .. } = answered;
    let mut kept = facts.generations.iter().rev();
    let chosen = match to {
        Some(to) => kept.find(|k| k.generation == to),
        None => kept.find(|k| earlier(&facts, k)),
    };
    let Some(chosen) = chosen else { return Err(no_generation(journey, &facts, to)) };
    let toplevel = Some(chosen.toplevel.clone());
    let (host, path) = (journey.host.name.clone(), chosen.toplevel.clone());
    journey.run.emitter.emit(Event::ClosureKnown { host, toplevel: path, cached: true });
    let known = Known { facts, target, evaluated: None, toplevel, at_ms, shared, ahead: None };
    Ok(Box::new(known))
}

/// Whether going back to it would change anything: a later generation may be the same system.
fn earlier(facts: &Facts, kept: &Kept) -> bool {
    let now = &facts.early.pointers;
    now.generation.is_none_or(|now| kept.generation < now) && another(facts, kept)
}

fn another(facts: &Facts, kept: &Kept) -> bool {
    !facts.early.pointers.all_are(&kept.toplevel)
}

fn no_generation(journey: &Journey<'_>, facts: &Facts, to: Option<Generation>) -> Halt {
    let note = match to {
        Some(to) => format!("there is no generation {to}"),
        None => "there is no generation before this one".to_owned(),
    };
    let code = "no-generation".to_owned();
    let mut halt = halt(Outcome::Refused { code, skipped: false }, Phase::Facts, note);
    let kept = facts.generations.iter().map(|k| k.generation.to_string());
    halt.causes.push(format!("kept: {}", kept.collect::<Vec<_>>().join(" ")));
    let host = &journey.host.name;
    let other = |k: &&Kept| another(facts, k);
    let nearest = match to {
        Some(to) => {
            let others = facts.generations.iter().filter(other);
            others.min_by_key(|k| k.generation.0.abs_diff(to.0))
        }
        None => facts.generations.iter().rfind(other),
    };
    halt.next.push(match nearest {
        Some(kept) => format!("nixdeploy rollback {host} --to {}", kept.generation),
        // Every generation that is left is the system that runs.
        None => format!("nixdeploy status {host}"),
    });
    halt
}
