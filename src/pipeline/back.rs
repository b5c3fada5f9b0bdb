//! The beginning of a journey back: which of a host's own generations is meant; nothing is
//! evaluated.

use jiff::Timestamp;

use super::ending::{Halt, halt};
use super::host::Journey;
use super::learn::{Known, mastered, read_again};
use crate::event::{Event, Outcome, Phase};
use crate::fleet::{Generation, HostName};
use crate::preflight::facts::{Facts, Kept};
use crate::preflight::read::{self, Answered};

/// Generations that are told of a host that has more.
const NEAREST: usize = 6;

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
    let host = &journey.host.name;
    halt.causes.extend(kept(facts, to));
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

/// The generations of a host; of many those next to one, by default the last.
fn kept(facts: &Facts, to: Option<Generation>) -> Option<String> {
    let all = &facts.generations;
    let last = all.last()?.generation;
    let meant = to.unwrap_or(last);
    let mut near: Vec<&Kept> = all.iter().collect();
    near.sort_by_key(|k| k.generation.0.abs_diff(meant.0));
    near.truncate(NEAREST);
    near.sort_by_key(|k| k.generation);
    let one = |k: &&Kept| {
        let runs = facts.early.pointers.running.as_ref() == Some(&k.toplevel);
        let runs = if runs { ", runs" } else { "" };
        format!("{} ({}{runs})", k.generation, day(k))
    };
    let told: Vec<String> = near.iter().map(one).collect();
    let head = match all.len() - near.len() {
        0 => "there are".to_owned(),
        _ => format!("there are {}, nearest", all.len()),
    };
    Some(format!("{head}: {}", told.join(", ")))
}

/// When a generation was made, in UTC.
fn day(kept: &Kept) -> String {
    let made = i64::try_from(kept.made_s).ok().and_then(|s| Timestamp::from_second(s).ok());
    made.map_or_else(|| "no date".to_owned(), |at| at.strftime("%Y-%m-%d").to_string())
}

/// What to type where going back was possible and somebody said no: the newest system before the
/// one that was offered.
pub fn instead(host: &HostName, facts: &Facts, offered: Generation) -> String {
    let all = &facts.generations;
    let system = all.iter().find(|k| k.generation == offered).map(|k| &k.toplevel);
    let other = |k: &&Kept| another(facts, k) && Some(&k.toplevel) != system;
    match all.iter().filter(|k| k.generation < offered).rfind(other) {
        Some(k) => {
            let number = k.generation;
            format!("nixdeploy rollback {host} --to {number}  # another one, of {}", day(k))
        }
        None => format!("nixdeploy status {host}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::answer;

    /// A host of so many generations, each of a system of its own; the last but one runs.
    fn facts(many: u64) -> Facts {
        let path = |n: u64| format!("/nix/store/{n:032}-nixos-system-p620-25.11");
        let mut lines = vec!["nixdeploy-facts=1".to_owned()];
        lines.extend(
            ["running", "profile", "boot_default"].map(|key| format!("{key}={}", path(many - 1))),
        );
        lines.push("etc=1".to_owned());
        lines.push(format!("link=system-{}-link", many - 1));
        lines.extend((1..=many).map(|n| {
            let (made, profiles) = (1_795_301_223 + n * 86_400, "/nix/var/nix/profiles");
            format!("generation={made} '{profiles}/system-{n}-link' -> '{}'", path(n))
        }));
        let (facts, oddities) = answer::parse(&lines);
        assert_eq!(oddities, []);
        facts
    }

    #[test]
    fn the_generations_that_are_there_are_told_or_those_next_to_it() {
        let told = kept(&facts(3), Some(Generation(9)));
        let wanted = "there are: 1 (2026-11-22), 2 (2026-11-23, runs), 3 (2026-11-24)";
        assert_eq!(told.as_deref(), Some(wanted));
        let told = kept(&facts(40), Some(Generation(90))).expect("some");
        assert!(told.starts_with("there are 40, nearest: 35 ("), "{told}");
        assert!(told.ends_with(", 39 (2026-12-30, runs), 40 (2026-12-31)"), "{told}");
        let told = kept(&facts(40), Some(Generation(0))).expect("some");
        assert!(told.starts_with("there are 40, nearest: 1 (") && told.contains(" 6 ("), "{told}");
        assert_eq!(kept(&Facts::default(), None), None);
    }

    #[test]
    fn who_said_no_is_offered_the_system_before() {
        let host = HostName::new("p620").expect("a name");
        let facts = facts(5);
        let to = |number| instead(&host, &facts, Generation(number));
        assert_eq!(to(3), "nixdeploy rollback p620 --to 2  # another one, of 2026-11-23");
        assert_eq!(to(5), "nixdeploy rollback p620 --to 3  # another one, of 2026-11-24");
        assert_eq!(to(1), "nixdeploy status p620", "nothing is before it");
    }
}
