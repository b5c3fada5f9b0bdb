//! The guard from its decision on: commit, undo, the way back, the last word.

use super::host::{Decision, Outcome, Step, Sys, WayBack};
use super::machine::{At, Model, Unit};
use super::mutant::Mutant;

impl Model {
    /// What runs or boots is not what it was when the host was taken hold of.
    pub(super) fn touched(&self) -> bool {
        let before = self.scene.pointers();
        self.is.running != before.running
            || self.is.profile() != before.profile()
            || self.is.boot != before.boot
    }

    pub(super) fn committing(&mut self) -> At {
        match (self.at, self.files.step) {
            (At::Committing, None) => {
                match self.put("step begun", |f| f.step = Some(Step::Begun)) {
                    true => At::CommitMade,
                    false => At::Undo,
                }
            }
            (At::Committing, Some(Step::Undo)) => At::Undo,
            (At::Committing, Some(_)) => At::CommitWait,
            (At::CommitMade, _) => {
                let next = self.is.next();
                self.kept_made = Some(next);
                match self.put("made", |f| f.made = Some(next)) {
                    true => At::CommitStart,
                    false => At::Undo,
                }
            }
            (At::CommitStart, _) => {
                self.say("start commit");
                self.commit = Unit::Live(0, self.now);
                At::CommitWait
            }
            _ => self.commit_ended(),
        }
    }

    pub(super) fn commit_ended(&mut self) -> At {
        let done = if self.staged { Outcome::Staged } else { Outcome::Committed };
        match self.files.committed {
            Some(0) => At::Finish(done),
            Some(21) => At::Finish(Outcome::Foreign),
            Some(_) => At::Undo,
            None if matches!(self.commit, Unit::Gone | Unit::None) => At::Undo,
            None => At::CommitWait,
        }
    }

    pub(super) fn undo(&mut self) -> At {
        let link0 = self.scene.pointers().link;
        match self.at {
            At::Undo => {
                self.reserve_freed();
                self.ghost.undos += 1;
                let written = self.put("step undo", |f| f.step = Some(Step::Undo));
                self.ghost.unsaid |= !written;
                self.undoing = true;
                At::UndoStop
            }
            At::UndoStop => {
                self.say("stop commit");
                self.stop_commit();
                self.made_good();
                self.begun = self.files.boot_begun;
                self.undo_made = self.files.made;
                if self.is_mutant(Mutant::NoUndo) { At::UndoLook } else { At::UndoLink }
            }
            At::UndoLink => {
                let as_it_was = self.is_mutant(Mutant::UndoForgets);
                let ours = self.is.profile() == Some(Sys::New) || as_it_was;
                let next = if as_it_was && self.is.link == link0 {
                    At::UndoLoader(1)
                } else {
                    At::UndoDelete
                };
                if as_it_was {
                    self.undo_made = self.is.link;
                }
                if ours && self.is.link != link0 {
                    self.say("switch back");
                    self.is.link = link0;
                    if let Some(number) = link0.filter(|_| !self.is_mutant(Mutant::UndoTrusts)) {
                        self.is.generations.entry(number).or_insert(Sys::Old);
                    }
                }
                next
            }
            At::UndoDelete => {
                self.delete_made();
                At::UndoLoader(1)
            }
            At::UndoLoader(try_) => {
                if !self.begun {
                    return At::UndoLook;
                }
                self.install(Sys::Old);
                if self.is.boot == Sys::Old || try_ == 3 {
                    At::UndoLook
                } else {
                    At::UndoLoader(try_ + 1)
                }
            }
            _ => {
                if self.is.boot != Sys::Old {
                    self.put("undone", |f| f.undone = true);
                }
                match (self.files.staging(), self.files.undone) {
                    (true, true) => At::Finish(Outcome::RevertFailed),
                    (true, false) => At::Finish(Outcome::Reverted),
                    (false, _) => At::Revert,
                }
            }
        }
    }

    pub(super) fn delete_made(&mut self) {
        let as_it_was = self.is_mutant(Mutant::UndoForgets);
        let Some(made) = self.undo_made else { return };
        let ours = as_it_was || self.is.generations.get(&made) == Some(&Sys::New);
        if ours && self.is.link != Some(made) {
            self.say("delete made");
            self.is.generations.remove(&made);
        }
    }

    pub(super) fn reserve_freed(&mut self) {
        if self.full && self.reserve {
            self.full = false;
        }
        self.reserve = false;
    }

    pub(super) fn revert(&mut self) -> At {
        match self.at {
            At::Revert
                if !self.activating && !self.files.started && self.is.running == Sys::Old =>
            {
                At::Finish(Outcome::Reverted)
            }
            At::Revert => At::RevertStop,
            At::RevertStop => {
                self.say("stop act");
                self.stop_act();
                At::RevertLook
            }
            At::RevertLook if self.is.running == Sys::Other => At::Finish(Outcome::Foreign),
            At::RevertLook => At::RevertTest(1, 0),
            At::RevertTest(try_, 0) => {
                self.say("test old");
                let committed = self.files.decision == Some(Decision::Commit);
                let unsaid = self.ghost.unsaid || !self.folder;
                if committed && self.files.step != Some(Step::Undo) && !unsaid {
                    self.breaks(3, "the way back was taken although the decision is commit");
                }
                if !self.stored[0] {
                    self.breaks(4, "the way back was collected as garbage");
                }
                // Without its folder the guard as it was knew no time limit, and ran nothing.
                if !self.folder {
                    return At::RevertBack(try_);
                }
                self.is.services = None;
                At::RevertTest(try_, 1)
            }
            At::RevertTest(try_, 1) => {
                self.is.running = Sys::Old;
                At::RevertTest(try_, 2)
            }
            At::RevertTest(try_, _) => {
                let works = match self.scene.way_back {
                    WayBack::Works => true,
                    WayBack::FailsTwice => try_ == 3,
                    WayBack::Fails => false,
                };
                self.is.services = works.then_some(Sys::Old);
                At::RevertBack(try_)
            }
            At::RevertBack(try_) => match (self.back(), try_) {
                (true, _) => At::Finish(Outcome::Reverted),
                (false, _) if self.theirs() => At::Finish(Outcome::Foreign),
                (false, 3..) => At::Finish(Outcome::RevertFailed),
                (false, _) => At::RevertTest(try_ + 1, 0),
            },
            _ => At::Revert,
        }
    }

    pub(super) fn back(&self) -> bool {
        let before = self.scene.pointers();
        self.is.running == Sys::Old
            && self.is.services == Some(Sys::Old)
            && self.is.profile() == before.profile()
            && self.is.boot == before.boot
    }

    /// OLD runs again, and what boots is somebody else's alone.
    fn theirs(&self) -> bool {
        let stands = self.is.running == Sys::Old && self.is.services == Some(Sys::Old);
        let before = self.scene.pointers();
        let other = |was: Option<Sys>, is: Option<Sys>| is == was || is == Some(Sys::Other);
        stands
            && other(before.profile(), self.is.profile())
            && other(Some(before.boot), Some(self.is.boot))
    }

    pub(super) fn finish(&mut self) -> At {
        match self.at {
            At::Finish(outcome) => {
                self.reserve_freed();
                let word = match outcome {
                    Outcome::Committed => "outcome committed",
                    Outcome::Staged => "outcome staged",
                    Outcome::Reverted => "outcome reverted",
                    Outcome::RevertFailed => "outcome revert_failed",
                    Outcome::Foreign => "outcome foreign",
                    Outcome::Expired => "outcome expired",
                };
                if self.put(word, |f| f.outcome = Some(outcome)) {
                    self.ghost.truth = Some(self.is.clone());
                } else if !self.is_mutant(Mutant::NoLastWord) {
                    return At::Finish(outcome);
                }
                At::FinishRoots(outcome)
            }
            At::FinishRoots(outcome) => {
                match outcome {
                    Outcome::RevertFailed | Outcome::Foreign => {}
                    Outcome::Expired => {
                        self.say("drop both");
                        self.roots = [false; 2];
                    }
                    _ => {
                        self.say("drop new");
                        self.roots[1] = false;
                    }
                }
                At::FinishBackstop
            }
            _ => {
                self.backstop = None;
                At::Exit
            }
        }
    }

    pub(super) fn set_profile(&mut self) {
        let generation = self.is.generation_for(Sys::New);
        self.is.generations.insert(generation, Sys::New);
        self.is.link = Some(generation);
    }

    pub(crate) fn install(&mut self, system: Sys) {
        self.say(if system == Sys::New { "loader new" } else { "loader old" });
        self.ghost.installs.push(system);
        let decided = self.files.decision == Some(Decision::Commit);
        if system == Sys::New && self.folder && !decided {
            self.breaks(3, "the boot loader was installed without a decision");
        }
        self.is.boot = system;
    }
}
