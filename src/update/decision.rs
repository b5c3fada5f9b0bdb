//! Whether an update goes on: how whole the check of known issues is, the worst that would be
//! new, and who can be asked. Pure; one table.

use crate::issues::Severity;
use crate::issues::fetch::State;

/// What is known of a host's trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// How whole the list of issues is, or [`State::Unavailable`] where the host's packages could
    /// not be read.
    pub state: State,
    /// Whether the list is from within a day.
    pub recent: bool,
    /// The worst that would be new, without what was accepted by its number.
    pub worst: Option<Severity>,
}

/// Who is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Somebody at a terminal.
    Person,
    /// Somebody who said yes to every question.
    Yes,
    /// Nobody: a pipe, CI.
    Nobody,
}

/// What was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terms {
    /// What is no worse needs no person.
    pub max_risk: Option<Severity>,
    /// A list with gaps is enough.
    pub best_effort: bool,
    /// Nothing is checked at all.
    pub no_check: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Proceed,
    /// Ask; no answer is no.
    Ask,
    /// Ask for the host's name, typed.
    AskName,
    /// Leave the host as it is: what would be new is too bad.
    Refuse,
    /// Leave the host as it is: not enough is known.
    Unchecked,
}

/// Decides for one host.
pub fn decide(evidence: Evidence, who: Who, terms: Terms) -> Decision {
    let worst = evidence.worst.unwrap_or(Severity::Low);
    if worst == Severity::Critical {
        return Decision::Refuse;
    }
    match evidence.state {
        State::Complete => complete(worst, who, terms),
        State::Partial | State::Stale => incomplete(evidence, worst, who, terms),
        State::Unavailable if terms.no_check => Decision::Proceed,
        State::Unavailable if who == Who::Person => Decision::Ask,
        State::Unavailable => Decision::Unchecked,
    }
}

fn complete(worst: Severity, who: Who, terms: Terms) -> Decision {
    if worst == Severity::Low || terms.max_risk.is_some_and(|most| worst <= most) {
        return Decision::Proceed;
    }
    match (worst, who) {
        (Severity::Medium, Who::Person) => Decision::Ask,
        (Severity::Medium, Who::Yes) => Decision::Proceed,
        (_, Who::Person) => Decision::AskName,
        (_, Who::Yes | Who::Nobody) => Decision::Refuse,
    }
}

fn incomplete(evidence: Evidence, worst: Severity, who: Who, terms: Terms) -> Decision {
    let bad = worst >= Severity::High && terms.max_risk.is_none_or(|most| worst > most);
    match who {
        Who::Person if bad => Decision::AskName,
        Who::Person => Decision::Ask,
        Who::Yes if evidence.recent && !bad => Decision::Proceed,
        // With every gap accepted, what was found is judged as ever.
        Who::Yes | Who::Nobody if terms.best_effort => complete(worst, who, terms),
        Who::Yes | Who::Nobody => Decision::Unchecked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Option<Severity> = None;
    const LOW: Option<Severity> = Some(Severity::Low);
    const MEDIUM: Option<Severity> = Some(Severity::Medium);
    const HIGH: Option<Severity> = Some(Severity::High);
    const CRITICAL: Option<Severity> = Some(Severity::Critical);

    fn at(state: State, worst: Option<Severity>, who: Who) -> Decision {
        with(state, worst, who, Terms::default())
    }

    fn with(state: State, worst: Option<Severity>, who: Who, terms: Terms) -> Decision {
        decide(Evidence { state, recent: true, worst }, who, terms)
    }

    /// A row of the table: with a person, with yes, with nobody.
    fn row(state: State, worst: Option<Severity>, wanted: [Decision; 3]) {
        let found = [Who::Person, Who::Yes, Who::Nobody].map(|who| at(state, worst, who));
        assert_eq!(found, wanted, "{state:?} {worst:?}");
    }

    #[test]
    fn a_complete_check_is_judged_by_the_worst_that_is_new() {
        use Decision::{Ask, AskName, Proceed, Refuse};
        row(State::Complete, NONE, [Proceed; 3]);
        row(State::Complete, LOW, [Proceed; 3]);
        row(State::Complete, MEDIUM, [Ask, Proceed, Refuse]);
        row(State::Complete, HIGH, [AskName, Refuse, Refuse]);
        row(State::Complete, CRITICAL, [Refuse; 3]);
    }

    #[test]
    fn an_incomplete_check_is_never_clean() {
        use Decision::{Ask, AskName, Proceed, Refuse, Unchecked};
        for state in [State::Partial, State::Stale] {
            row(state, NONE, [Ask, Proceed, Unchecked]);
            row(state, LOW, [Ask, Proceed, Unchecked]);
            row(state, MEDIUM, [Ask, Proceed, Unchecked]);
            row(state, HIGH, [AskName, Unchecked, Unchecked]);
            row(state, CRITICAL, [Refuse; 3]);
            let old = Evidence { state, recent: false, worst: NONE };
            assert_eq!(decide(old, Who::Yes, Terms::default()), Unchecked, "a day is too old");
            assert_eq!(decide(old, Who::Person, Terms::default()), Ask);
        }
        row(State::Unavailable, NONE, [Ask, Unchecked, Unchecked]);
    }

    #[test]
    fn flags_allow_what_they_name_and_nothing_else() {
        use Decision::{Ask, Proceed, Refuse, Unchecked};
        let medium = Terms { max_risk: MEDIUM, ..Terms::default() };
        let high = Terms { max_risk: HIGH, ..Terms::default() };
        let all = Terms { max_risk: CRITICAL, best_effort: true, no_check: true };
        let complete = |worst, terms| with(State::Complete, worst, Who::Nobody, terms);
        assert_eq!(complete(MEDIUM, medium), Proceed);
        assert_eq!(complete(HIGH, medium), Refuse);
        assert_eq!(complete(HIGH, high), Proceed);
        for who in [Who::Person, Who::Yes, Who::Nobody] {
            for state in [State::Complete, State::Partial, State::Stale, State::Unavailable] {
                assert_eq!(with(state, CRITICAL, who, all), Refuse, "only by its number");
            }
        }
        let effort = Terms { best_effort: true, ..Terms::default() };
        assert_eq!(with(State::Partial, NONE, Who::Nobody, effort), Proceed);
        assert_eq!(with(State::Stale, MEDIUM, Who::Nobody, effort), Refuse, "found is found");
        assert_eq!(with(State::Stale, HIGH, Who::Yes, effort), Refuse);
        let found = Terms { best_effort: true, ..medium };
        assert_eq!(with(State::Stale, MEDIUM, Who::Nobody, found), Proceed);
        assert_eq!(with(State::Unavailable, NONE, Who::Nobody, effort), Unchecked);
        let unchecked = Terms { no_check: true, ..Terms::default() };
        assert_eq!(with(State::Unavailable, NONE, Who::Nobody, unchecked), Proceed);
        assert_eq!(with(State::Partial, NONE, Who::Person, unchecked), Ask);
    }
}
