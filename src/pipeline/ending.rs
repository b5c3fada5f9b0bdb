//! Last words: from what a slice found to what is said of the host. Pure.

use crate::activate::guard::Status;
use crate::activate::returned::Returned;
use crate::event::{Decider, HostReport, Outcome, Phase, Pointers};
use crate::fleet::HostName;
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
        Returned::Gone => gone(&mut said, host),
        Returned::Unknown(failure, limit_s) => unknown(&mut said, host, &failure, limit_s, now_ms),
    }
    said
}

fn restored(said: &mut HostReport, host: &HostName, status: &Status, interrupted: bool) {
    said.after = Some(after(status));
    if interrupted {
        said.outcome = Outcome::Interrupted { reverted: true };
        said.note = "interrupted; reverted".to_owned();
    }
    said.next.push(format!("nixdeploy logs {host}"));
    if status.revert_status.is_some_and(|code| code != 0) {
        said.causes.push(format!(
            "switch-to-configuration of the old system exited {} on the way back; its units were \
             compared one by one and are as before",
            status.revert_status.unwrap_or(0)
        ));
    }
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
    said.note = format!("{}; THE WAY BACK FAILED", said.note);
    if !status.reason.is_empty() {
        said.causes.push(status.reason.clone());
    }
    if !status.missing.is_empty() {
        said.causes.push(format!("not back: {}", status.missing.join(", ")));
    }
    said.next.push(format!("nixdeploy status {host}"));
    if let Some(old) = &status.old {
        said.next.push(format!("ssh {host} sudo {old}/bin/switch-to-configuration test"));
    }
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
