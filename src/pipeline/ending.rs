//! Last words: from what a slice found to what is said of the host. Pure.

use crate::activate::copy::CopyError;
use crate::activate::guard::{ActEnd, Ending, Status};
use crate::activate::hold::WayBack;
use crate::activate::returned::Returned;
use crate::event::{Decider, HostReport, Outcome, Phase, Pointers};
use crate::fleet::{Host, HostName, Optional, StorePath};
use crate::world::ssh::Failure;

/// A journey that ended before its goal.
pub type Halt = Box<HostReport>;

/// A last word with nothing but its outcome, phase and note.
pub fn report(outcome: Outcome, phase: Phase, note: impl Into<String>) -> HostReport {
    HostReport {
        outcome,
        phase: Some(phase),
        note: note.into(),
        causes: Vec::new(),
        before: None,
        after: None,
        decided_by: Decider::Nobody,
        decided_ms: None,
        next: Vec::new(),
    }
}

/// The same, as the end of a journey.
pub fn halt(outcome: Outcome, phase: Phase, note: impl Into<String>) -> Halt {
    Box::new(report(outcome, phase, note))
}

/// Stopped by the user before anything was changed.
pub fn interrupted(phase: Phase) -> Halt {
    let mut halt = halt(Outcome::Interrupted { reverted: false }, phase, "interrupted; unchanged");
    halt.next.push("nixdeploy resume".to_owned());
    halt
}

/// A host that its closure did not come to.
pub fn not_copied(host: &Host, error: &CopyError) -> Halt {
    let skipped = error.passes() && host.optional != Optional::Fail;
    let code = error.code().to_owned();
    let mut halt = halt(Outcome::Refused { code, skipped }, Phase::Copy, error.to_string());
    halt.next = error.hints();
    halt
}

/// Why a host is being taken back, to be joined with what came of it.
#[derive(Debug, Clone)]
pub struct Why {
    /// The phase that failed.
    pub phase: Phase,
    /// One line for the recap.
    pub note: String,
    /// Outermost first.
    pub causes: Vec<String>,
    /// Who decided.
    pub decided_by: Decider,
    /// The user asked for it.
    pub interrupted: bool,
}

/// What is said of a host after the way back, or instead of it.
pub fn returned(host: &HostName, why: Why, before: &Pointers, back: Returned, now_ms: i64) -> Halt {
    let mut said = halt(Outcome::RolledBack, why.phase, why.note.clone());
    said.causes = why.causes;
    said.before = Some(before.clone());
    said.decided_by = why.decided_by;
    match back {
        Returned::Restored(status) => restored(&mut said, host, &status, why.interrupted),
        Returned::Untouched(status) => untouched(&mut said, host, &status, why.interrupted),
        Returned::Stranded(status) => stranded(&mut said, host, &status),
        Returned::Foreign(status) => foreign(&mut said, host, &status),
        Returned::Kept(status) => kept(&mut said, host, &status),
        Returned::Rebooting(status) => rebooting(&mut said, host, &status, now_ms),
        Returned::Gone => gone(&mut said, host),
        Returned::Unknown(failure, limit_s) => unknown(&mut said, host, &failure, limit_s, now_ms),
    }
    said
}

/// How long a host may take to come back from a reboot, in milliseconds.
const REBOOT_MS: i64 = 300_000;

/// What the guard gives as its reason when we asked it to go back.
const ABORTED: &str = "aborted by the deployer";

fn restored(said: &mut HostReport, host: &HostName, status: &Status, interrupted: bool) {
    said.after = Some(after(status));
    if interrupted {
        said.outcome = Outcome::Interrupted { reverted: true };
        said.note = "interrupted; reverted".to_owned();
    } else if !["", ABORTED, said.note.as_str()].contains(&status.reason.as_str()) {
        // It had decided before we asked: what we saw then is no cause, but what came of it.
        let seen = std::mem::replace(&mut said.note, status.reason.clone());
        said.causes.insert(0, seen);
        said.decided_by = Decider::Guard;
    }
    said.next.push(format!("nixdeploy logs {host}"));
    said.causes.extend(rung(status));
    if let Some(code) = status.revert_status.filter(|code| *code != 0) {
        let what = match status.rung {
            Some(3) => "the old system's activation",
            _ => "switch-to-configuration of the old system",
        };
        said.causes.push(format!(
            "{what} exited {code} on the way back; its units were compared one by one and are as \
             before"
        ));
    }
}

/// What the guard gives as its reason when nobody asked it for a commit in time.
const OVERDUE: &str = "no commit before the deadline";

/// Whether a host was taken back for want of its deployer, or of its power: nothing speaks against
/// what it was given.
pub fn forsaken(report: &HostReport) -> bool {
    let alone = report.decided_by == Decider::Reboot || report.note == OVERDUE;
    report.outcome == Outcome::RolledBack && alone
}

/// Whether the activation ended well, and the guard went back only because there was no contact.
pub fn unheard(status: &Status, way_back: &WayBack) -> bool {
    let ended = matches!(status.act, Some(ActEnd::Exited(0 | 4)));
    ended && status.reason == OVERDUE && way_back.hand.longest_gap_s().is_some()
}

/// Says of a host that its guard took back why nobody asked it for a commit.
pub fn not_reached(said: &mut HostReport, gap_s: Option<u64>, waited_s: Option<u64>) {
    let because = match (gap_s, waited_s) {
        _ if said.note != OVERDUE => return,
        (Some(gap), _) => format!("the host could not be reached for {gap} s"),
        (None, Some(waited)) => format!("its guard heard nothing for {waited} s"),
        (None, None) => return,
    };
    let note = format!("{because}; it took itself back");
    said.causes.insert(0, std::mem::replace(&mut said.note, note));
}

/// Which rung of the ladder brought the host back, when the first did not.
fn rung(status: &Status) -> Option<String> {
    let how = match status.rung? {
        2 => "D-Bus was dead and was started, then switch-to-configuration of the old system",
        3 => {
            "the old system's own activation, its units one by one: its \
              switch-to-configuration did not bring it back"
        }
        4 => "a reboot into the boot default",
        _ => return None,
    };
    Some(format!("back by rung {} of 4: {how}", status.rung?))
}

/// What was left out on the way back, for the phase's line.
pub fn bypass(status: &Status) -> &'static str {
    match status.rung {
        Some(1 | 2) => "; pre-switch checks are left out on the way back",
        _ => "",
    }
}

/// Nothing else brought the old system back, so its guard reboots it.
fn rebooting(said: &mut HostReport, host: &HostName, status: &Status, now_ms: i64) {
    said.outcome = Outcome::Unknown { decides_by_ms: now_ms + REBOOT_MS };
    said.decided_by = Decider::Guard;
    said.causes.insert(0, said.note.clone());
    said.note = format!("{}; the way back failed, the host reboots", said.note);
    said.causes.push(tried(status));
    said.next.push(format!("nixdeploy resume  # or: nixdeploy status {host}"));
}

/// How far the ladder was climbed, and what was still missing.
fn tried(status: &Status) -> String {
    let missing = match status.missing.as_slice() {
        [] => "what is missing is not known".to_owned(),
        missing => format!("not back: {}", missing.join(", ")),
    };
    let far = match status.rung {
        Some(4) => "rungs 1 to 3 failed and rung 4 is a reboot into the boot default; ".to_owned(),
        Some(1) => "tried rung 1 of 4; ".to_owned(),
        Some(n) => format!("tried rungs 1 to {n} of 4; "),
        None => String::new(),
    };
    far + &missing
}

fn untouched(said: &mut HostReport, host: &HostName, status: &Status, interrupted: bool) {
    said.outcome = if interrupted {
        Outcome::Interrupted { reverted: false }
    } else {
        Outcome::Refused { code: "expired".to_owned(), skipped: false }
    };
    said.after = Some(after(status));
    said.causes.push(status.reason.clone());
    said.next.push(format!("nixdeploy quick-deploy {host}"));
}

fn stranded(said: &mut HostReport, host: &HostName, status: &Status) {
    said.outcome = Outcome::Stranded;
    said.after = Some(after(status));
    said.note = match status.ending {
        Some(Ending::Committed | Ending::Staged) => {
            format!("{}; its guard is done, and it is not all new", said.note)
        }
        _ => format!("{}; THE WAY BACK FAILED", said.note),
    };
    if !status.reason.is_empty() {
        said.causes.push(status.reason.clone());
    }
    if status.rung.is_some() || !status.missing.is_empty() {
        said.causes.push(tried(status));
    }
    if !status.stays.is_empty() {
        said.causes.push(format!("not rebooted: {}", status.stays));
    }
    said.next.push(format!("nixdeploy status {host}"));
    if let Some(old) = &status.old {
        match status.after.running.as_ref() == Some(old) {
            // Only what boots is not as it was: `status` says what makes it so.
            true => said.causes.extend(boots(status, old)),
            false => {
                said.next.push(format!("ssh {host} sudo {old}/bin/switch-to-configuration test"));
            }
        }
        if status.after.boot_default.as_ref() == Some(old) {
            said.next.push(format!("ssh {host} sudo reboot  # boots the old system"));
        }
    }
}

/// What a reboot would start, where that is not what runs.
fn boots(status: &Status, old: &StorePath) -> Option<String> {
    let boots = status.after.boot_default.as_ref().filter(|boots| *boots != old)?;
    Some(format!("the old system runs, and a reboot would start {}", boots.name()))
}

fn foreign(said: &mut HostReport, host: &HostName, status: &Status) {
    said.outcome = Outcome::Foreign;
    said.after = Some(after(status));
    said.note = "somebody else changed the host meanwhile; stood down".to_owned();
    said.causes.push(status.reason.clone());
    said.next.push(format!("nixdeploy status {host}"));
}

/// We wanted it back, but the commit had been decided: the host is new, and was verified.
fn kept(said: &mut HostReport, host: &HostName, status: &Status) {
    said.outcome = Outcome::Committed { reboot_required: false };
    said.note = format!("committed before it could be taken back ({})", said.note);
    said.after = Some(after(status));
    said.next.push(format!("nixdeploy rollback {host}"));
}

/// The pipeline replaces this when it can read the pointers again.
fn gone(said: &mut HostReport, host: &HostName) {
    said.outcome = Outcome::Stranded;
    said.decided_by = Decider::Reboot;
    said.note = "the host has rebooted".to_owned();
    said.next.push(format!("nixdeploy status {host}"));
}

fn unknown(said: &mut HostReport, host: &HostName, failure: &Failure, limit_s: u64, now_ms: i64) {
    said.outcome = Outcome::Unknown { decides_by_ms: now_ms + (limit_s * 1000).cast_signed() };
    said.decided_by = Decider::Guard;
    said.note = "no contact; the host decides by itself".to_owned();
    said.causes.push(failure.text().to_owned());
    said.next.push(format!("nixdeploy resume  # or: nixdeploy status {host}"));
}

/// Pointers as the guard read them at its end.
pub fn after(status: &Status) -> Pointers {
    Pointers { etc_matches: true, ..status.after.clone() }
}
