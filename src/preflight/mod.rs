//! Slice 0: what a host is before anything is decided, and whether it may be deployed.
//!
//! [`read::read`] asks every host once, beside the evaluation; [`admit_early`] and
//! [`admit_facts`] decide from the answer alone, [`admission::admit`] from the answer and the
//! built closure, [`rehearse::rehearse`] from what the copied system says on the host. None of
//! them changes anything there, and each refusal carries what to type next.

pub mod admission;
pub mod answer;
pub mod calm;
pub mod cut_off;
pub mod exposure;
pub mod facts;
pub mod pins;
pub mod read;
pub mod refused;
pub mod rehearse;
pub mod toplevel;

use std::path::Path;

use crate::event::{Finding, Pointers, Severity};
use crate::fleet::StorePath;
use crate::plan::policy::Policy;

pub use facts::{Early, Facts};
pub use pins::{Pin, Pins};
pub use read::{Answered, read, targets};
pub use refused::Refused;

/// Decides from the first part: the right machine, root, a NixOS system. Enough to say "nothing
/// to do".
///
/// # Errors
/// When it is another machine, or none that can be deployed to.
pub fn admit_early(early: &Early, pin: Option<&Pin>, record: &Path) -> Result<(), Refused> {
    if early.uid != Some(0) {
        return Err(Refused::NoElevation { user: String::new(), said: String::new() });
    }
    if let Some(pin) = pin.filter(|p| p.machine_id != early.machine_id) {
        return Err(Refused::WrongHost {
            known: crate::event::harmless::line(&pin.machine_id),
            found: early.machine_id.clone(),
            record: record.display().to_string(),
        });
    }
    if early.pointers.running.is_none() {
        return Err(Refused::NotNixOs { what: "/run/current-system is no store path".to_owned() });
    }
    if !early.nixos {
        let what = "the running system has no switch-to-configuration".to_owned();
        return Err(Refused::NotNixOs { what });
    }
    Ok(())
}

/// Decides from all facts; what is only worth a warning is returned.
///
/// # Errors
/// When the host is locked, switching, left undecided, drifted, or not fit for a transaction.
/// Where nothing is to be changed, somebody who is at work is only a warning; a closure that is
/// staged already may be switched to.
pub fn admit_facts(
    facts: &Facts,
    policy: &Policy,
    wanted: Option<&StorePath>,
) -> Result<Vec<Finding>, Refused> {
    let mut found = odd(facts);
    let at_work = match held(facts) {
        Err(refused @ (Refused::Locked { .. } | Refused::SwitchRunning { .. }))
            if policy.reads_only =>
        {
            let message = format!("{}; this is told against what runs now", refused.sentence());
            // what somebody is doing is not what somebody left
            found.retain(|f| f.code != "interrupted");
            found.push(warn(refused.code(), "host", &message, None));
            true
        }
        other => other.map(|()| false)?,
    };
    fit(facts)?;
    if !drifted(facts) {
        return Ok(found);
    }
    let pointers = &facts.early.pointers;
    if wanted.is_some_and(|wanted| staged_is(facts, wanted)) {
        let which = pointers.generation.map_or("it".to_owned(), |g| format!("generation {g}"));
        let message =
            format!("{which} is this very closure, staged for the next boot: now it is to run");
        found.push(warn("staged", "boot default", &message, None));
    } else if policy.accept_drift || at_work {
        let message = "running system, profile and boot default are not the same";
        found.push(warn("drift", "pointers", message, None));
    } else {
        return Err(drift(facts));
    }
    Ok(found)
}

/// The refusal of a host whose pointers disagree.
pub fn drift(facts: &Facts) -> Refused {
    let pointers = &facts.early.pointers;
    let is = |k: &&facts::Kept| Some(&k.toplevel) == pointers.running.as_ref();
    let runs = facts.generations.iter().filter(is).map(|k| k.generation).max();
    Refused::Drift { pointers: Box::new(pointers.clone()), staged: staged(facts), runs }
}

/// Whether what waits for the next boot is this closure.
pub fn staged_is(facts: &Facts, wanted: &StorePath) -> bool {
    facts.early.pointers.profile.as_ref() == Some(wanted) && staged(facts)
}

/// Nobody else may be at work, and nobody may have left off after deciding.
fn held(facts: &Facts) -> Result<(), Refused> {
    if let Some(tx) = facts.unfinished() {
        if facts.guarded() {
            return Err(Refused::Locked {
                owner: tx.owner.clone(),
                run: tx.run().to_owned(),
                age_s: facts.now_s.saturating_sub(tx.since_s),
                phase: tx.phase.clone(),
            });
        }
        if !tx.decision.is_empty() {
            return Err(Refused::Leftover {
                transaction: tx.name.clone(),
                decision: tx.decision.clone(),
                phase: tx.phase.clone(),
            });
        }
    } else if facts.guarded() && !facts.transactions.iter().any(|t| t.current) {
        let (owner, phase) = ("somebody".to_owned(), "starting".to_owned());
        return Err(Refused::Locked { owner, run: String::new(), age_s: 0, phase });
    }
    match &facts.switching {
        Some(s) => Err(Refused::SwitchRunning { pid: s.pid, command: s.command.clone() }),
        None => Ok(()),
    }
}

fn fit(facts: &Facts) -> Result<(), Refused> {
    let unfit = |what: String| Err(Refused::Unfit { what });
    if !facts.complete {
        return unfit("its facts are incomplete".to_owned());
    }
    if !facts.systemd {
        return unfit("systemctl does not answer".to_owned());
    }
    if facts.state == "stopping" {
        return unfit("it is shutting down".to_owned());
    }
    let needed = |tool: &&String| tool.as_str() != "flock";
    match facts.missing.iter().find(needed) {
        Some(tool) => unfit(format!("its running system has no {tool}")),
        None => Ok(()),
    }
}

/// Whether running system, profile and boot default disagree. A host without a profile (before
/// its first deploy) or whose boot default cannot be told does not disagree by that; a
/// specialisation of the profile stands for it.
pub fn drifted(facts: &Facts) -> bool {
    let Pointers { running, profile, boot_default, .. } = &facts.early.pointers;
    let special = facts.specialisation.is_some();
    let other = |pointer: &Option<_>, than: &Option<_>| pointer.is_some() && pointer != than;
    let stands = if special { profile } else { running };
    other(profile, stands) || other(boot_default, stands)
}

/// Whether what would boot next is a later generation than the one that runs, made since that was
/// switched to: installed with `--boot`, or as `nixos-rebuild boot` does; a reboot brings it.
/// An older system that was started for a trial is none of that.
pub fn staged(facts: &Facts) -> bool {
    let Pointers { running, profile, boot_default, generation, .. } = &facts.early.pointers;
    let earlier = |k: &facts::Kept| {
        Some(&k.toplevel) == running.as_ref() && generation.is_some_and(|now| k.generation < now)
    };
    profile.is_some()
        && profile == boot_default
        && profile != running
        && facts.generations.iter().any(earlier)
        && facts.generations.iter().any(|k| {
            let since = facts.switched_s.is_some_and(|switched| k.made_s >= switched);
            Some(k.generation) == *generation && since
        })
}

/// What is odd, but no reason to leave the host alone.
pub fn odd(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    let pointers = &facts.early.pointers;
    if pointers.boot_default.is_none() {
        let message = "what the boot loader would start cannot be told";
        found.push(warn("boot-default-unverified", "boot default", message, None));
    }
    if !pointers.etc_matches {
        let message = "/etc is not the running system's: an activation was interrupted";
        found.push(warn("etc-mismatch", "/etc", message, None));
    }
    if !facts.lists.is_empty() {
        let message = format!("an interrupted switch left {}", facts.lists.join(", "));
        let hint = Some("the next switch replays them and may end with exit 4".to_owned());
        found.push(warn("stale-lists", "/run/nixos", &message, hint));
    }
    if let Some(tx) = facts.unfinished() {
        let message = format!("{} of {} was interrupted in phase {}", tx.name, tx.owner, tx.phase);
        found.push(warn("interrupted", "/run/nixdeploy", &message, None));
    }
    let orphan = |name: &str| {
        let tx = name.strip_suffix("-new").or_else(|| name.strip_suffix("-old"));
        !facts.transactions.iter().any(|t| Some(t.name.as_str()) == tx)
    };
    let orphans: Vec<&str> = facts
        .roots
        .iter()
        .map(|(n, _)| n.as_str())
        .filter(|n| n.ends_with("-new") && orphan(n))
        .collect();
    if !orphans.is_empty() {
        let message = format!("roots of interrupted transactions: {}", orphans.join(", "));
        found.push(warn("orphan-roots", "/nix/var/nix/gcroots/nixdeploy", &message, None));
    }
    found
}

fn warn(code: &str, subject: &str, message: &str, suggestion: Option<String>) -> Finding {
    let (code, subject, message) = (code.to_owned(), subject.to_owned(), message.to_owned());
    Finding { code, severity: Severity::Warn, subject, message, suggestion }
}

#[cfg(test)]
#[path = "admit_tests.rs"]
pub(crate) mod tests;
