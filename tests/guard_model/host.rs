//! A host as the guard finds it: pointers, units, roots, and the transaction's folder in /run.

use std::collections::BTreeMap;

/// Seconds since boot; the model's budgets are a few of them.
pub(crate) type Time = u32;

/// A system: the one that ran, the one that is to run, somebody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sys {
    Old,
    New,
    Other,
}

/// What the decision link says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Commit,
    Revert,
}

/// The last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Committed,
    Staged,
    Reverted,
    RevertFailed,
    Foreign,
    Expired,
}

/// How far the commit came (the file `step`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Begun,
    Set,
    Undo,
}

/// How the activation's unit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Exited(u8),
    TimedOut,
    Cut,
    Unstarted,
}

/// What the deployer can ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    Go,
    Stage,
    Abort,
    Commit,
}

/// `/run/nixdeploy/TX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Files {
    pub(crate) lease: Time,
    pub(crate) deadline: Option<Time>,
    pub(crate) started: bool,
    pub(crate) act: Option<(End, Time)>,
    pub(crate) observing: bool,
    pub(crate) decision: Option<Decision>,
    pub(crate) step: Option<Step>,
    pub(crate) made: Option<u32>,
    pub(crate) boot_begun: bool,
    pub(crate) committed: Option<u8>,
    pub(crate) undone: bool,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) refused: bool,
    pub(crate) go: bool,
    pub(crate) stage: bool,
    pub(crate) abort: bool,
    pub(crate) commit: bool,
}

impl Files {
    /// `staging` of the guard.
    pub(crate) fn staging(&self) -> bool {
        self.stage && self.deadline.is_none()
    }
}

/// What is true of the host without the transaction's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pointers {
    pub(crate) running: Sys,
    /// Whose services run; `None`: some are stopped.
    pub(crate) services: Option<Sys>,
    /// The generation that the profile's link names.
    pub(crate) link: Option<u32>,
    pub(crate) generations: BTreeMap<u32, Sys>,
    pub(crate) boot: Sys,
}

impl Pointers {
    /// The system of the profile.
    pub(crate) fn profile(&self) -> Option<Sys> {
        self.generations.get(&self.link?).copied()
    }

    fn highest(&self) -> u32 {
        self.generations.keys().next_back().copied().unwrap_or(0)
    }

    /// The number that nix-env takes next.
    pub(crate) fn next(&self) -> u32 {
        self.highest() + 1
    }

    /// The generation that `nix-env --set` uses: none is made for what is the highest already.
    pub(crate) fn generation_for(&self, system: Sys) -> u32 {
        let highest = self.highest();
        if self.generations.get(&highest) == Some(&system) { highest } else { highest + 1 }
    }
}

/// What a deploy meets; all of it harmless by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scene {
    pub(crate) stage: bool,
    pub(crate) profile: Before,
    pub(crate) activation: Activation,
    pub(crate) loader: Loader,
    pub(crate) way_back: WayBack,
}

/// Generations before the deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// No profile yet.
    First,
    /// OLD alone.
    Plain,
    /// NEW is there from an earlier deploy that was rolled back.
    RolledBack,
}

/// What NEW's `switch-to-configuration test` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    Works,
    Fails,
    Hangs,
    /// systemd does not start it.
    CannotStart,
}

/// What `NEW switch-to-configuration boot` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loader {
    Works,
    /// Says so, before the default is written.
    Fails,
    /// Says so, after the default was written.
    FailsLate,
    Hangs,
    /// Says that all is well and has not written the default.
    Lies,
}

/// What OLD's `switch-to-configuration test` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WayBack {
    Works,
    FailsTwice,
    Fails,
}

impl Default for Scene {
    fn default() -> Self {
        Self {
            stage: false,
            profile: Before::Plain,
            activation: Activation::Works,
            loader: Loader::Works,
            way_back: WayBack::Works,
        }
    }
}

impl Scene {
    /// The host before the deploy.
    pub(crate) fn pointers(&self) -> Pointers {
        let generations: &[(u32, Sys)] = match self.profile {
            Before::First => &[],
            Before::Plain => &[(1, Sys::Old)],
            Before::RolledBack => &[(1, Sys::Old), (2, Sys::New)],
        };
        Pointers {
            running: Sys::Old,
            services: Some(Sys::Old),
            link: generations.first().map(|g| g.0),
            generations: generations.iter().copied().collect(),
            boot: Sys::Old,
        }
    }
}
