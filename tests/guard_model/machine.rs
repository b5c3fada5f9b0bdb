//! The guard as a state machine: one step is one look or one effect, so that a crash, a reboot or
//! anybody else can come between any two. Names and order are those of `src/activate/guard.sh`.

use super::host::{Activation, Decision, End, Files, Outcome, Pointers, Scene, Step, Sys, Time};
use super::mutant::Mutant;

/// Budgets in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budgets {
    pub(crate) lease: Time,
    pub(crate) activate: Time,
    pub(crate) observe: Time,
    pub(crate) commit: Time,
}

pub(crate) const BUDGETS: Budgets = Budgets { lease: 6, activate: 8, observe: 7, commit: 6 };
/// From both deadlines to the backstop, and between its looks.
pub(super) const LATE: Time = 5;

/// Where the guard's process is in its script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Begin,
    Post,
    Hold,
    Expire,
    Prepare,
    ArmDeadline,
    ArmStarted,
    ArmUnit,
    Observe,
    ObserveFolder,
    ObserveAct,
    SeenDeadline,
    SeenObserving,
    SeenJudge,
    ObserveAbort,
    ObserveClock,
    ObserveCommit,
    ObserveVanished,
    Reason(Decision),
    Link(Decision),
    CarryOut,
    Committing,
    CommitMade,
    CommitStart,
    CommitWait,
    Undo,
    UndoStop,
    UndoLink,
    UndoDelete,
    UndoLoader(u8),
    UndoLook,
    Revert,
    RevertStop,
    RevertLook,
    RevertTest(u8, u8),
    RevertBack(u8),
    Finish(Outcome),
    FinishRoots(Outcome),
    FinishBackstop,
    Exit,
}

/// The guard's unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Alive,
    Frozen,
    /// Killed; systemd starts it again.
    Dead,
    /// Stopped by hand: its last process is at work.
    Stopping,
    /// That one was killed: only the backstop starts it again.
    Lost,
    /// Gone, and with it the lock.
    Over,
}

/// A unit that the guard starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    None,
    /// At a step, since when.
    Live(u8, Time),
    /// Its processes are over; systemd has yet to record how.
    Ending(End),
    Gone,
}

/// What nobody on the host keeps: who broke which promise, and what was true when.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ghost {
    /// The deployer has found NEW healthy, after its activation.
    pub(crate) verified: bool,
    /// Somebody else moved a pointer.
    pub(crate) foreign: bool,
    pub(crate) rebooted: bool,
    /// Somebody deleted generations.
    pub(crate) forgot: bool,
    /// Somebody removed the folder, and no guard was there.
    pub(crate) lost: bool,
    /// Another transaction has the host.
    pub(crate) swept: bool,
    /// /run was so full that the undo could not be written down.
    pub(crate) unsaid: bool,
    /// Pointers when the last word was said.
    pub(crate) truth: Option<Pointers>,
    pub(crate) installs: Vec<Sys>,
    pub(crate) undos: usize,
    pub(crate) broken: Vec<(u8, &'static str)>,
}

/// Everything.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) scene: Scene,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) budgets: Budgets,
    pub(crate) now: Time,
    pub(crate) is: Pointers,
    pub(crate) folder: bool,
    pub(crate) files: Files,
    /// Roots of OLD and NEW, and whether their closures are in the store.
    pub(crate) roots: [bool; 2],
    pub(crate) stored: [bool; 2],
    /// /run is full; whether the reserve is still there; whether freeing it helps.
    pub(crate) full: bool,
    pub(crate) reserve: bool,
    pub(crate) life: Life,
    pub(crate) at: At,
    /// What the process remembers: its decision, and that an activation or a commit was begun.
    pub(super) decided: Option<Decision>,
    pub(super) activating: bool,
    pub(super) kept_made: Option<u32>,
    pub(super) staged: bool,
    pub(super) undoing: bool,
    /// Read once by the undo: that the loader was begun, and the generation that was made.
    pub(super) begun: bool,
    pub(super) undo_made: Option<u32>,
    pub(super) clock: Time,
    pub(crate) act: Unit,
    pub(crate) commit: Unit,
    pub(crate) backstop: Option<Time>,
    pub(crate) ghost: Ghost,
    /// Effects since it was last asked, as a trace names them.
    pub(crate) said: Vec<String>,
}

impl Model {
    /// The lock is taken, nothing asked yet.
    pub(crate) fn new(scene: Scene, mutant: Option<Mutant>) -> Self {
        Self {
            scene,
            mutant,
            budgets: BUDGETS,
            now: 0,
            is: scene.pointers(),
            folder: true,
            files: Files { lease: BUDGETS.lease, ..Files::default() },
            roots: [true; 2],
            stored: [true; 2],
            full: false,
            reserve: true,
            life: Life::Alive,
            at: At::Begin,
            decided: None,
            activating: false,
            kept_made: None,
            staged: false,
            undoing: false,
            begun: false,
            undo_made: None,
            clock: 0,
            act: Unit::None,
            commit: Unit::None,
            backstop: None,
            ghost: Ghost::default(),
            said: Vec::new(),
        }
    }

    pub(crate) fn is_mutant(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub(crate) fn breaks(&mut self, invariant: u8, how: &'static str) {
        self.ghost.broken.push((invariant, how));
    }

    pub(super) fn say(&mut self, what: impl Into<String>) {
        self.said.push(what.into());
    }

    /// Whether the guard's process can take a step.
    pub(crate) fn lives(&self) -> bool {
        matches!(self.life, Life::Alive | Life::Stopping)
    }

    /// Whether NEW's or OLD's switch-to-configuration holds its lock.
    pub(crate) fn switching(&self) -> bool {
        matches!(self.act, Unit::Live(1.., _))
            || (self.lives() && matches!(self.at, At::RevertTest(_, 1..)))
            || matches!(self.commit, Unit::Live(5.., _))
    }

    /// Makes room, or the folder, once; whether something can be written then.
    pub(super) fn writable(&mut self) -> bool {
        if self.full && self.reserve {
            (self.full, self.reserve) = (false, false);
        }
        self.folder && !self.full
    }

    /// The guard itself can also make the folder again.
    pub(super) fn made_good(&mut self) -> bool {
        if !self.folder && !self.is_mutant(Mutant::FolderStrands) {
            self.restore();
        }
        self.writable()
    }

    pub(super) fn restore(&mut self) {
        self.folder = true;
        self.files = Files {
            started: !self.staged,
            deadline: Some(0).filter(|_| !self.staged),
            stage: self.staged,
            decision: self.decided,
            made: self.kept_made,
            boot_begun: self.kept_made.is_some(),
            step: self.undoing.then_some(Step::Undo),
            ..Files::default()
        };
    }

    pub(super) fn put(&mut self, what: &str, write: impl FnOnce(&mut Files)) -> bool {
        let able = self.made_good();
        self.put_if(able, what, write)
    }

    /// What another process writes.
    pub(super) fn put_there(&mut self, what: &str, write: impl FnOnce(&mut Files)) -> bool {
        let able = self.writable();
        self.put_if(able, what, write)
    }

    fn put_if(&mut self, able: bool, what: &str, write: impl FnOnce(&mut Files)) -> bool {
        if able {
            self.say(format!("put {what}"));
            write(&mut self.files);
        }
        able
    }

    /// One step of the guard's process.
    pub(crate) fn step(&mut self) {
        if !self.lives() {
            return;
        }
        self.at = match self.at {
            At::Begin => self.begin(),
            At::Post => self.post(),
            At::Hold => self.hold(),
            At::Expire => {
                if self.is_mutant(Mutant::RootsFirst) {
                    self.roots = [false; 2];
                }
                At::Finish(Outcome::Expired)
            }
            At::Prepare | At::ArmDeadline | At::ArmStarted | At::ArmUnit => self.arm(),
            At::Observe
            | At::ObserveFolder
            | At::ObserveAct
            | At::ObserveAbort
            | At::ObserveClock
            | At::ObserveCommit
            | At::ObserveVanished => self.observe(),
            At::SeenDeadline | At::SeenObserving | At::SeenJudge => self.activated(),
            At::Reason(_) | At::Link(_) | At::CarryOut => self.decide(),
            At::Committing | At::CommitMade | At::CommitStart | At::CommitWait => self.committing(),
            At::Undo
            | At::UndoStop
            | At::UndoLink
            | At::UndoDelete
            | At::UndoLoader(_)
            | At::UndoLook => self.undo(),
            At::Revert
            | At::RevertStop
            | At::RevertLook
            | At::RevertTest(..)
            | At::RevertBack(_) => self.revert(),
            At::Finish(_) | At::FinishRoots(_) | At::FinishBackstop => self.finish(),
            At::Exit => At::Exit,
        };
        if self.at == At::Exit {
            self.life = Life::Over;
        }
    }

    pub(super) fn begin(&mut self) -> At {
        let armed = self.files.deadline.is_some() || self.files.decision.is_some();
        if self.files.outcome.is_some() {
            return At::Exit;
        }
        if armed && self.backstop.is_none() {
            self.backstop = Some(self.now + self.budgets.commit + self.budgets.observe + LATE);
        }
        self.decided = self.files.decision;
        self.kept_made = self.files.made;
        self.activating = self.files.started;
        self.staged = self.files.staging() && self.decided.is_some();
        self.undoing = false;
        match (self.files.decision, self.files.deadline) {
            (Some(_), _) => At::CarryOut,
            (None, Some(_)) => At::Observe,
            (None, None) => At::Hold,
        }
    }

    pub(super) fn post(&mut self) -> At {
        self.kept_made = self.files.made;
        self.activating = self.files.started;
        self.staged = self.files.staging();
        match (self.files.outcome, self.files.decision, self.files.deadline) {
            (Some(_), _, _) => At::Exit,
            (None, Some(_), _) => At::CarryOut,
            (None, None, None) => At::Expire,
            (None, None, Some(_)) => At::Reason(Decision::Revert),
        }
    }

    pub(super) fn hold(&mut self) -> At {
        if self.is_mutant(Mutant::RootDropped) {
            self.roots[1] = false;
        }
        self.clock = self.now;
        if self.files.abort {
            At::Expire
        } else if self.files.stage || self.files.go {
            At::Prepare
        } else if self.clock >= self.files.lease {
            At::Expire
        } else {
            At::Hold
        }
    }

    pub(super) fn arm(&mut self) -> At {
        match self.at {
            At::Prepare if !self.stored[1] => {
                self.put("refused", |f| (f.refused, f.go, f.stage) = (true, false, false));
                At::Hold
            }
            At::Prepare if self.touched() => At::Finish(Outcome::Foreign),
            At::Prepare if self.files.stage => {
                self.backstop = Some(self.now + self.budgets.commit + self.budgets.observe + LATE);
                self.staged = true;
                At::Link(Decision::Commit)
            }
            At::Prepare => At::ArmDeadline,
            At::ArmDeadline => {
                if self.is_mutant(Mutant::BootFirst) {
                    self.set_profile();
                    self.install(Sys::New);
                }
                self.clock = self.now;
                let deadline = self.now + self.budgets.activate;
                match self.put("deadline", |f| f.deadline = Some(deadline)) {
                    true => {
                        let budgets = self.budgets;
                        self.backstop = Some(self.now + budgets.activate + budgets.observe + LATE);
                        At::ArmStarted
                    }
                    false => At::Reason(Decision::Revert),
                }
            }
            At::ArmStarted => match self.put("started", |f| f.started = true) {
                true => {
                    self.activating = true;
                    At::ArmUnit
                }
                false => At::Reason(Decision::Revert),
            },
            _ if self.scene.activation == Activation::CannotStart => {
                self.say("start act");
                self.act = Unit::Ending(End::Unstarted);
                self.act_recorded();
                At::Observe
            }
            _ => {
                self.say("start act");
                self.act = Unit::Live(0, self.now);
                At::Observe
            }
        }
    }

    pub(super) fn observe(&mut self) -> At {
        let revert = At::Reason(Decision::Revert);
        match self.at {
            At::Observe if self.files.started => At::ObserveFolder,
            At::Observe => revert,
            At::ObserveFolder if self.folder || self.is_mutant(Mutant::FolderStrands) => {
                At::ObserveAct
            }
            At::ObserveFolder => revert,
            At::ObserveAct if self.files.act.is_some() && !self.files.observing => At::SeenDeadline,
            At::ObserveAct => At::ObserveAbort,
            At::ObserveAbort if self.files.abort => revert,
            At::ObserveAbort => At::ObserveClock,
            At::ObserveClock => {
                self.clock = self.now;
                let over = self.clock >= self.files.deadline.unwrap_or(0);
                let over = over && !self.is_mutant(Mutant::DeadlineIgnored);
                if over { revert } else { At::ObserveCommit }
            }
            At::ObserveCommit if self.files.commit && self.files.observing => {
                if self.clock >= self.files.deadline.unwrap_or(0) {
                    self.breaks(2, "a commit was taken after the deadline");
                }
                At::Reason(Decision::Commit)
            }
            At::ObserveCommit => At::ObserveVanished,
            _ => {
                let gone = matches!(self.act, Unit::Gone | Unit::None);
                if gone && self.files.act.is_none() { revert } else { At::ObserveFolder }
            }
        }
    }

    pub(super) fn activated(&mut self) -> At {
        let Some((end, ended)) = self.files.act else { return At::ObserveFolder };
        match self.at {
            At::SeenDeadline => {
                let deadline = ended + self.budgets.observe;
                self.put("deadline", |f| f.deadline = Some(deadline));
                At::SeenObserving
            }
            At::SeenObserving => {
                self.put("observing", |f| f.observing = true);
                At::SeenJudge
            }
            _ => match end {
                End::TimedOut | End::Unstarted => At::Reason(Decision::Revert),
                End::Exited(_) | End::Cut => At::ObserveAbort,
            },
        }
    }

    pub(super) fn decide(&mut self) -> At {
        match self.at {
            At::Reason(decision) => {
                self.made_good();
                self.decided = Some(decision);
                if self.is_mutant(Mutant::DecisionLate) && decision == Decision::Commit {
                    self.start_commit();
                }
                At::Link(decision)
            }
            At::Link(decision) => {
                self.decided = Some(decision);
                if self.folder && !self.full && self.files.decision.is_none() {
                    self.link(decision);
                }
                At::CarryOut
            }
            _ => {
                self.made_good();
                let commit = self.files.decision == Some(Decision::Commit);
                if commit { At::Committing } else { At::Revert }
            }
        }
    }

    pub(super) fn link(&mut self, decision: Decision) {
        self.files.decision = Some(decision);
        self.say(match decision {
            Decision::Commit => "link commit",
            Decision::Revert => "link revert",
        });
        let over = matches!(self.act, Unit::Gone);
        if decision == Decision::Commit && !self.files.staging() && !over {
            self.breaks(11, "a commit was taken while the activation was at work");
        }
    }

    pub(super) fn start_commit(&mut self) {
        self.put("step begun", |f| f.step = Some(Step::Begun));
        let next = self.is.next();
        self.files.made = Some(next);
        self.kept_made = Some(next);
        self.say("start commit");
        self.commit = Unit::Live(0, self.now);
    }
}
