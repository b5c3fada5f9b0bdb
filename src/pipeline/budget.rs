//! Whether a run may begin one more host: what became of the canary, how many failed, how many are
//! down.
//!
//! A host is down from `go` to its last word, and one whose last word is that it is lost stays down
//! for the rest of the run.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::deferred;
use crate::event::Outcome;
use crate::exit::{self, Exit};
use crate::fleet::HostName;
use crate::plan::{Goal, Pace, Plan};

/// What a run has used up.
pub struct Budget {
    pace: Pace,
    goal: Goal,
    told: Mutex<Told>,
    seats: Semaphore,
}

#[derive(Default)]
struct Told {
    done: Vec<HostName>,
    failed: Vec<String>,
    lost: Vec<String>,
    /// Why nothing follows the canary.
    canary: Option<String>,
}

impl Budget {
    /// Nothing is used up yet.
    pub fn new(plan: &Plan) -> Self {
        let (pace, goal) = (plan.pace.clone(), plan.goal);
        let seats = Semaphore::new(pace.max_unavailable.max(1));
        Self { pace, goal, told: Mutex::default(), seats }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A host has had its last word.
    pub fn word(&self, host: &HostName, outcome: &Outcome) {
        let mut told = self.told();
        told.done.push(host.clone());
        if failed(outcome) {
            told.failed.push(host.to_string());
        }
        if lost(outcome) {
            told.lost.push(host.to_string());
            if told.lost.len() >= self.pace.max_unavailable {
                self.seats.close();
            }
        }
        if self.pace.canary.as_ref() == Some(host) && !proves(outcome, self.goal) {
            told.canary = Some(format!("the canary {host} {}", fate(outcome)));
        }
    }

    /// A host is put off: nothing follows a canary that has shown nothing yet.
    pub fn put_off(&self, host: &HostName) {
        if self.pace.canary.as_ref() == Some(host) {
            self.told().canary = Some(format!("the canary {host} did not answer"));
        }
    }

    /// Why a host that was put off is not begun: a canary does not wait for itself.
    pub fn halted_late(&self, host: &HostName) -> Option<String> {
        if self.pace.canary.as_ref() == Some(host) { self.exhausted() } else { self.halted() }
    }

    /// Whether a host has had its last word.
    pub fn is_done(&self, host: &HostName) -> bool {
        self.told().done.contains(host)
    }

    /// Why no further host is begun; `None`: it may be.
    pub fn halted(&self) -> Option<String> {
        let canary = self.told().canary.clone();
        canary.or_else(|| self.exhausted())
    }

    /// How many failed, or are lost.
    fn exhausted(&self) -> Option<String> {
        let told = self.told();
        if self.pace.max_failures.is_some_and(|most| told.failed.len() >= most) {
            let verb = "failed, which is all that max_failures allows";
            return Some(format!("{} {verb}", told.failed.join(", ")));
        }
        let all = matches!(self.goal, Goal::Deploy | Goal::Boot)
            && told.lost.len() >= self.pace.max_unavailable;
        let verb = "lost, and no more may be down (max_unavailable)";
        all.then(|| format!("{} {verb}", told.lost.join(", ")))
    }

    /// Waits until one more host may be down.
    ///
    /// # Errors
    /// With the reason, when none may any more.
    pub async fn seat(&self) -> Result<SemaphorePermit<'_>, String> {
        let seat = self.seats.acquire().await;
        match self.halted() {
            Some(why) => Err(why),
            None => seat.map_err(|closed| closed.to_string()),
        }
    }
}

/// Whether it ended as nobody wanted.
fn failed(outcome: &Outcome) -> bool {
    let left = matches!(outcome, Outcome::NotBegun | Outcome::Interrupted { .. });
    !left && !matches!(exit::of_outcome(outcome), Exit::Done | Exit::Staged)
}

/// Whether nobody can say that it serves.
pub fn lost(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Stranded | Outcome::Unknown { .. })
}

/// Whether it shows that others may follow.
fn proves(outcome: &Outcome, goal: Goal) -> bool {
    match outcome {
        Outcome::Committed { .. } | Outcome::Unchanged { .. } | Outcome::Planned { .. } => true,
        Outcome::Staged => goal == Goal::Boot,
        _ => false,
    }
}

fn fate(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::RolledBack => "failed and was taken back",
        Outcome::NotBuilt => "does not build",
        Outcome::Refused { code, .. } if ["unreachable", deferred::CODE].contains(&&**code) => {
            "did not answer"
        }
        Outcome::Refused { .. } => "was refused",
        Outcome::Unhealthy => "is not healthy",
        Outcome::Blocked => "is blocked by findings",
        Outcome::Declined => "was declined",
        Outcome::Staged => "is only staged for the next boot",
        Outcome::Interrupted { .. } => "was interrupted",
        Outcome::Foreign => "was changed by somebody else",
        Outcome::Unknown { .. } => "gave no last word",
        Outcome::Stranded => "could not be taken back",
        Outcome::Internal => "met an internal error",
        Outcome::NotBegun
        | Outcome::Committed { .. }
        | Outcome::Unchanged { .. }
        | Outcome::Planned { .. } => "was not deployed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(pace: Pace) -> Budget {
        Budget::new(&Plan { goal: Goal::Deploy, waves: Vec::new(), pace })
    }

    fn name(name: &str) -> HostName {
        HostName::new(name).expect("a name")
    }

    #[test]
    fn nothing_follows_a_canary_that_proved_nothing() {
        let good = Outcome::Committed { reboot_required: false };
        let asleep = Outcome::Refused { code: "unreachable".to_owned(), skipped: true };
        for (outcome, why) in [
            (good, None),
            (Outcome::Unchanged { verified: false }, None),
            (asleep, Some("the canary a did not answer")),
            (Outcome::RolledBack, Some("the canary a failed and was taken back")),
            (Outcome::Staged, Some("the canary a is only staged for the next boot")),
        ] {
            let budget = budget(Pace { canary: Some(name("a")), ..Pace::default() });
            budget.word(&name("b"), &Outcome::RolledBack);
            assert_eq!(budget.halted(), None);
            budget.word(&name("a"), &outcome);
            assert_eq!(budget.halted().as_deref(), why);
        }
    }

    #[test]
    fn failures_are_counted_and_what_was_left_out_is_none() {
        let budget = budget(Pace { max_failures: Some(2), ..Pace::default() });
        for (host, outcome) in [
            ("a", Outcome::NotBuilt),
            ("b", Outcome::Refused { code: "unreachable".to_owned(), skipped: true }),
            ("c", Outcome::NotBegun),
            ("d", Outcome::Committed { reboot_required: false }),
        ] {
            budget.word(&name(host), &outcome);
        }
        assert_eq!(budget.halted(), None);
        budget.word(&name("e"), &Outcome::RolledBack);
        let why = budget.halted().expect("halted");
        assert!(why.starts_with("a, e failed"), "{why}");
    }

    #[tokio::test]
    async fn a_host_that_is_lost_keeps_its_seat_to_the_end() {
        let budget = budget(Pace { max_unavailable: 2, ..Pace::default() });
        let (one, two) = (budget.seat().await.expect("one"), budget.seat().await.expect("two"));
        one.forget();
        budget.word(&name("a"), &Outcome::Stranded);
        assert_eq!(budget.halted(), None, "one more may be down");
        drop(two);
        let three = budget.seat().await.expect("the second seat is free again");
        three.forget();
        budget.word(&name("b"), &Outcome::Unknown { decides_by_ms: 1 });
        let why = budget.seat().await.expect_err("no seat is left");
        assert!(why.starts_with("a, b lost"), "{why}");
    }
}
