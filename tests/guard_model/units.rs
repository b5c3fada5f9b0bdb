//! What is at work beside the guard: the units that it starts, time, the backstop, requests.

use super::host::{Activation, Decision, End, Loader, Request, Step, Sys, Time};
use super::machine::{At, LATE, Life, Model, Unit};
use super::mutant::Mutant;

impl Model {
    /// systemctl stop: ended, and recorded by its last process.
    pub(super) fn stop_act(&mut self) {
        if let Unit::Live(..) = self.act {
            self.act = Unit::Ending(End::Cut);
        }
        self.act_recorded();
    }

    pub(super) fn stop_commit(&mut self) {
        if let Unit::Live(..) = self.commit {
            self.commit = Unit::Ending(End::Cut);
        }
        self.commit_recorded();
    }

    pub(super) fn act_recorded(&mut self) {
        if let Unit::Ending(end) = self.act {
            let at = self.now;
            self.act = Unit::Gone;
            if self.folder && self.writable() {
                self.say("put act");
                self.files.act = Some((end, at));
            }
        }
    }

    pub(super) fn commit_recorded(&mut self) {
        if let Unit::Ending(end) = self.commit {
            self.commit = Unit::Gone;
            let code = match end {
                End::Exited(code) => code,
                End::TimedOut => 124,
                End::Cut | End::Unstarted => 137,
            };
            if self.folder && self.writable() {
                self.say(format!("put committed {code}"));
                self.files.committed = Some(code);
            }
        }
    }

    /// One step of the activation's unit: NEW's `switch-to-configuration test`.
    pub(crate) fn act_step(&mut self) {
        self.act_recorded();
        let Unit::Live(at, since) = self.act else { return };
        let activation = self.scene.activation;
        self.act = match at {
            0 => {
                self.is.services = None;
                Unit::Live(1, since)
            }
            1 if activation == Activation::Hangs => Unit::Live(1, since),
            1 => {
                if !self.stored[1] {
                    self.breaks(4, "what is activated was collected as garbage");
                }
                self.is.running = Sys::New;
                Unit::Live(2, since)
            }
            _ => {
                let works = activation == Activation::Works;
                self.is.services = works.then_some(Sys::New);
                Unit::Ending(End::Exited(if works { 0 } else { 4 }))
            }
        };
    }

    /// One step of the commit's unit.
    pub(crate) fn commit_step(&mut self) {
        self.commit_recorded();
        let Unit::Live(at, since) = self.commit else { return };
        let before = self.scene.pointers();
        let exit = |code| Unit::Ending(End::Exited(code));
        let foreign = self.is.profile() != before.profile() || self.is.boot != before.boot;
        self.commit = match at {
            0 if self.files.step != Some(Step::Begun) => exit(25),
            0 if !self.files.staging() && self.is.running != Sys::New => exit(20),
            1 if foreign => exit(21),
            2 => match self.put_there("step set", |f| f.step = Some(Step::Set)) {
                true => Unit::Live(3, since),
                false => exit(25),
            },
            3 => match self.put_there("boot_begun", |f| f.boot_begun = true) {
                true => Unit::Live(4, since),
                false => exit(25),
            },
            // nix-env makes the generation, then moves the link.
            4 => {
                self.say("set new");
                let generation = self.is.generation_for(Sys::New);
                self.is.generations.insert(generation, Sys::New);
                Unit::Live(5, since)
            }
            5 => {
                self.is.link = self.is.generations.keys().next_back().copied();
                Unit::Live(6, since)
            }
            6 => self.load(since),
            7 if self.scene.loader == Loader::FailsLate => exit(23),
            7 if self.is.profile() != Some(Sys::New) => exit(22),
            7 if self.is.boot != Sys::New => exit(24),
            7 => exit(0),
            0.. => Unit::Live(at + 1, since),
        };
    }

    pub(super) fn load(&mut self, since: Time) -> Unit {
        match self.scene.loader {
            Loader::Works | Loader::FailsLate => {
                self.install(Sys::New);
                Unit::Live(7, since)
            }
            Loader::Fails => {
                self.say("loader new");
                Unit::Ending(End::Exited(23))
            }
            Loader::Hangs => Unit::Live(6, since),
            Loader::Lies => Unit::Live(7, since),
        }
    }

    /// Time passes; systemd ends units whose time is up, and the backstop looks.
    pub(crate) fn pass(&mut self, seconds: Time) {
        self.now += seconds;
        let over = |unit: Unit, limit: Time, now: Time| match unit {
            Unit::Live(_, since) if now >= since + limit => Unit::Ending(End::TimedOut),
            other => other,
        };
        self.act = over(self.act, self.budgets.activate, self.now);
        self.commit = over(self.commit, self.budgets.commit, self.now);
    }

    /// The backstop's look, when it is due.
    pub(crate) fn backstop_due(&mut self) {
        let spares = self.is_mutant(Mutant::BackstopKillsOnly);
        if self.life == Life::Lost && self.backstop.is_some() && self.folder && !spares {
            if self.files.outcome.is_none() {
                (self.life, self.at) = (Life::Alive, At::Begin);
            }
            return;
        }
        let due = self.backstop.is_some_and(|at| self.now >= at);
        if !due || !self.folder || self.files.outcome.is_some() {
            return;
        }
        self.backstop = Some(self.now + LATE);
        let late = self.now >= self.files.deadline.unwrap_or(0);
        let frozen = self.life == Life::Frozen;
        let decided = self.files.decision;
        let act = match self.is_mutant(Mutant::BackstopSpares) {
            true => decided != Some(Decision::Commit),
            false => decided.is_none() || frozen,
        };
        if late && act && matches!(self.life, Life::Alive | Life::Frozen) {
            self.life = Life::Dead;
        }
    }

    /// A request as `request` of the guard takes it; whether it was taken.
    pub(crate) fn ask(&mut self, request: Request) -> bool {
        let early = request == Request::Commit
            && self.files.act.is_none()
            && !self.is_mutant(Mutant::EarlyCommit);
        if early || !self.folder || (self.full && !self.reserve) {
            return false;
        }
        self.put_there("request", |f| match request {
            Request::Go => f.go = true,
            Request::Stage => f.stage = true,
            Request::Abort => f.abort = true,
            Request::Commit => f.commit = true,
        });
        true
    }
}
