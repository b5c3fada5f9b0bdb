//! What can happen: steps of each process in any order, and everything that goes wrong between
//! them; a trace of it is applied to the model, and shrinks to the few events that matter.

use proptest::prelude::*;

use super::host::{
    Activation, Before, Decision, End, Files, Loader, Outcome, Request, Scene, Sys, WayBack,
};
use super::machine::{At, Life, Model, Unit};
use super::mutant::Mutant;

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// Everybody who can takes that many steps in turn, and no time passes.
    Fair(u8),
    Guard,
    Activation,
    Commit,
    Deployer,
    Pass(u8),
    /// systemd starts a killed guard again, and the backstop looks if it is due.
    Systemd,
    /// A request that comes once more.
    Again(Request),
    /// A request that no deployer makes there.
    Odd(Request),
    KillGuard,
    /// The unit is killed; whether systemd still ran its last process.
    KillActivation(bool),
    KillCommit(bool),
    Freeze,
    Thaw,
    Stop,
    Reboot,
    Collect,
    /// Every generation but the profile's is deleted.
    Forget,
    ForeignProfile,
    ForeignSwitch,
    Second,
    /// /run is full; whether freeing the reserve helps.
    Fill(bool),
    Empty,
    Remove,
}

/// A deployer that does what ours does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deployer {
    Idle,
    Asked,
    Commit,
    Abort,
    /// What it told: an outcome, or that the transaction is gone.
    Told(Option<Outcome>),
}

/// A run of the model.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) model: Model,
    pub(crate) deployer: Deployer,
    /// Decisions that were seen, to tell when one changes.
    seen: Option<Decision>,
}

impl Run {
    pub(crate) fn new(scene: Scene, mutant: Option<Mutant>) -> Self {
        Self { model: Model::new(scene, mutant), deployer: Deployer::Idle, seen: None }
    }

    /// Lets it happen, and looks at what must hold at every instant.
    pub(crate) fn apply(&mut self, event: Event) {
        if self.model.ghost.swept || self.model.ghost.rebooted {
            return;
        }
        match event {
            Event::Fair(rounds) => (0..rounds).for_each(|_| self.round()),
            Event::Deployer => self.deploy(),
            Event::Again(request) if self.asked(request) => {
                let _ = self.model.ask(request);
            }
            Event::Again(_) => {}
            Event::Odd(request) => self.odd(request),
            Event::Guard => self.guard(),
            other => self.disturb(other),
        }
        self.look();
    }

    fn round(&mut self) {
        self.guard();
        self.model.act_step();
        self.look();
        self.model.commit_step();
        self.look();
        self.deploy();
    }

    fn guard(&mut self) {
        self.model.step();
        self.look();
    }

    /// Whether a deployer that repeats itself could have asked this before.
    fn asked(&self, request: Request) -> bool {
        let files = &self.model.files;
        match request {
            Request::Go => files.go,
            Request::Stage => files.stage,
            Request::Abort => files.abort,
            Request::Commit => files.commit,
        }
    }

    /// Not an abort, which is always meant, nor a commit that the guard must take for verified.
    fn odd(&mut self, request: Request) {
        let unarmed = self.model.files.deadline.is_none();
        let odd = match request {
            Request::Go => self.model.files.stage,
            Request::Stage => !unarmed,
            Request::Commit => self.model.files.act.is_none(),
            Request::Abort => false,
        };
        if odd {
            let _ = self.model.ask(request);
        }
    }

    fn disturb(&mut self, event: Event) {
        let model = &mut self.model;
        match event {
            Event::Activation => model.act_step(),
            Event::Commit => model.commit_step(),
            Event::Pass(seconds) => model.pass(u32::from(seconds)),
            Event::Systemd => {
                model.backstop_due();
                if model.life == Life::Dead && model.folder {
                    (model.life, model.at) = (Life::Alive, At::Begin);
                }
            }
            Event::KillGuard if matches!(model.life, Life::Alive | Life::Frozen) => {
                model.life = Life::Dead;
                model.ghost.lost |= !model.folder;
            }
            Event::KillGuard if model.life == Life::Stopping => {
                model.life = Life::Lost;
                model.ghost.lost |= !model.folder;
            }
            Event::KillActivation(recorded) => kill(&mut model.act, recorded),
            Event::KillCommit(recorded) => kill(&mut model.commit, recorded),
            Event::Freeze if model.life == Life::Alive => {
                model.life = Life::Frozen;
                model.ghost.lost |= !model.folder;
            }
            Event::Thaw if model.life == Life::Frozen => model.life = Life::Alive,
            Event::Stop if matches!(model.life, Life::Alive | Life::Frozen) => {
                (model.life, model.at) = (Life::Stopping, At::Post);
                if !model.folder {
                    model.ghost.lost = true;
                }
            }
            Event::Collect => collect(model),
            Event::Forget if !model.switching() => {
                model.ghost.forgot = true;
                let link = model.is.link;
                model.is.generations.retain(|number, _| Some(*number) == link);
            }
            Event::Reboot => reboot(model),
            Event::ForeignProfile if !model.switching() => foreign(model, false),
            Event::ForeignSwitch if !model.switching() => foreign(model, true),
            Event::Second => second(model),
            Event::Fill(helps) => {
                model.full = true;
                model.reserve &= helps;
            }
            Event::Empty => model.full = false,
            Event::Remove => {
                model.folder = false;
                model.files = Files::default();
                // A process that has not read the folder yet has nothing to make it from.
                let read = model.life == Life::Alive && model.at != At::Begin;
                model.ghost.lost |= !read;
                self.seen = None;
            }
            _ => {}
        }
    }

    /// One step of the deployer: ask, judge, ask, read.
    fn deploy(&mut self) {
        let model = &mut self.model;
        let told = matches!(self.deployer, Deployer::Told(_));
        if told || !model.folder {
            return;
        }
        if model.files.outcome.is_some() {
            self.deployer = Deployer::Told(model.files.outcome);
            self.look_at_the_word();
            return;
        }
        let healthy = model.is.running == Sys::New && model.is.services == Some(Sys::New);
        let over = matches!(model.act, Unit::Gone);
        self.deployer = match self.deployer {
            Deployer::Idle => {
                let request = if model.scene.stage { Request::Stage } else { Request::Go };
                if model.ask(request) { Deployer::Asked } else { Deployer::Idle }
            }
            Deployer::Asked if model.files.act.is_some() && model.files.decision.is_none() => {
                if healthy && over {
                    model.ghost.verified = true;
                }
                let request = if healthy { Request::Commit } else { Request::Abort };
                match (model.ask(request), healthy) {
                    (true, true) => Deployer::Commit,
                    (true, false) => Deployer::Abort,
                    (false, _) => Deployer::Asked,
                }
            }
            other => other,
        };
    }

    /// What must be true whenever anybody looks.
    fn look(&mut self) {
        let model = &mut self.model;
        let staged = model.files.staging() && model.files.decision == Some(Decision::Commit);
        let verified = model.ghost.verified || model.scene.stage || staged;
        match model.is.boot {
            Sys::New if !verified => model.breaks(1, "an unverified system is the boot default"),
            Sys::Other if !model.ghost.foreign => model.breaks(1, "the boot default is nobody's"),
            _ => {}
        }
        let now = model.files.decision;
        if self.seen.is_some() && model.folder && now != self.seen {
            model.breaks(3, "the decision changed");
        }
        self.seen = now;
        self.look_at_the_lock();
    }

    fn look_at_the_lock(&mut self) {
        let model = &mut self.model;
        let open = model.folder && model.files.outcome.is_none() && !model.ghost.lost;
        let (before, begun) = (model.scene.pointers(), model.files.started);
        if open && begun && !matches!(model.at, At::Expire | At::Finish(Outcome::Expired)) {
            if model.roots != [true; 2] {
                model.breaks(4, "a root is gone before the outcome");
            }
            if model.stored != [true; 2] {
                model.breaks(4, "a closure was collected before the outcome");
            }
        }
        if open && model.life == Life::Over {
            model.breaks(5, "the lock is free and nothing is decided");
        }
        let asked = model.files.go || model.files.stage || model.files.deadline.is_some();
        let others = model.ghost.foreign || model.ghost.forgot;
        let quiet = !asked && !others && model.files.decision.is_none() && open;
        if quiet && !begun && model.is != before {
            model.breaks(7, "something changed before go");
        }
        let new = model.ghost.installs.iter().filter(|s| **s == Sys::New).count();
        let old = model.ghost.installs.len() - new;
        if new > 1 || old > 3 * model.ghost.undos {
            model.breaks(10, "the boot loader was installed too often");
        }
    }

    /// The last word, against what was true when it was said.
    fn look_at_the_word(&mut self) {
        let model = &mut self.model;
        let (Some(word), Some(is)) = (model.files.outcome, model.ghost.truth.clone()) else {
            return;
        };
        let all = |system| is.profile() == Some(system) && is.boot == system;
        let before = model.scene.pointers();
        let same = is.running == Sys::Old && is.boot == before.boot && is.link == before.link;
        let kept = is.generations == before.generations || model.ghost.forgot;
        let kept = kept && is.profile() == before.profile();
        let same = same && kept && is.services == Some(Sys::Old);
        let right = match word {
            // What somebody else does between the last look and the word, the pointers tell.
            _ if model.ghost.foreign || model.ghost.lost => true,
            Outcome::Committed => all(Sys::New) && is.running == Sys::New,
            Outcome::Staged => all(Sys::New) && is.running == Sys::Old,
            Outcome::Reverted | Outcome::Expired => same,
            Outcome::RevertFailed | Outcome::Foreign => true,
        };
        if !right {
            model.breaks(6, "the last word is not true");
        }
        let decided = model.files.decision;
        let fits = match word {
            Outcome::Committed | Outcome::Staged => decided == Some(Decision::Commit),
            _ => true,
        };
        if !fits {
            model.breaks(3, "committed without such a decision");
        }
    }

    /// Nobody disturbs any more, the deployer is dead, and time passes: to a final state.
    pub(crate) fn calm(&mut self) {
        let down = |run: &Self| run.model.ghost.rebooted || run.model.ghost.swept;
        let lost = |run: &Self| run.model.ghost.lost && !run.model.folder;
        for second in 0..80 {
            if self.model.life == Life::Over || down(self) || lost(self) {
                break;
            }
            if second == 40 {
                self.model.full = false;
            }
            for _ in 0..16 {
                self.guard();
                self.model.act_step();
                self.look();
                self.model.commit_step();
                self.look();
            }
            self.model.pass(1);
            self.disturb(Event::Systemd);
        }
        let undecided = self.model.files.outcome.is_none() && self.model.folder;
        // Frozen before go it holds the lock and nothing else.
        let held = self.model.files.deadline.is_none() && self.model.files.decision.is_none();
        // Where the folder was removed and made again its files tell less than what was done.
        let nothing = self.model.act == Unit::None && self.model.commit == Unit::None;
        let held = held || (nothing && self.model.backstop.is_none());
        let idle = held && matches!(self.model.life, Life::Frozen | Life::Lost);
        if undecided && !down(self) && !lost(self) && !idle {
            self.model.breaks(2, "no final state, long after every deadline");
        }
        let said = self.model.ghost.truth.is_some();
        let stranded = !self.model.folder && self.model.is.running == Sys::New && !said;
        if stranded && !down(self) && !lost(self) {
            self.model.breaks(2, "the new system runs and nobody decides");
        }
        if !down(self) {
            self.look_at_the_word();
        }
    }
}

fn kill(unit: &mut Unit, recorded: bool) {
    if let Unit::Live(..) = *unit {
        *unit = if recorded { Unit::Ending(End::Cut) } else { Unit::Gone };
    }
}

/// The collector keeps roots, what runs, what was booted, and every generation.
fn collect(model: &mut Model) {
    let kept = |system: Sys| {
        model.is.running == system || model.is.generations.values().any(|s| *s == system)
    };
    let keeps = [kept(Sys::Old) || model.roots[0], kept(Sys::New) || model.roots[1]];
    for (stored, keeps) in model.stored.iter_mut().zip(keeps) {
        *stored &= keeps;
    }
}

fn reboot(model: &mut Model) {
    let boots = model.is.boot;
    model.ghost.rebooted = true;
    (model.is.running, model.is.services) = (boots, Some(boots));
    (model.folder, model.files) = (false, Files::default());
    (model.act, model.commit, model.backstop) = (Unit::None, Unit::None, None);
    model.life = Life::Over;
}

fn foreign(model: &mut Model, switches: bool) {
    model.ghost.foreign = true;
    let generation = model.is.next();
    model.is.generations.insert(generation, Sys::Other);
    model.is.link = Some(generation);
    if switches {
        model.is.boot = Sys::Other;
        (model.is.running, model.is.services) = (Sys::Other, Some(Sys::Other));
    }
}

/// A second operator: the unit's name is the lock; who gets it sweeps away what is over.
fn second(model: &mut Model) {
    if model.life == Life::Over {
        (model.folder, model.files) = (false, Files::default());
        model.roots = [false; 2];
        model.ghost.swept = true;
    }
}

fn request() -> impl Strategy<Value = Request> {
    use Request::{Abort, Commit, Go, Stage};
    prop_oneof![Just(Go), Just(Stage), Just(Commit), Just(Abort)]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => (1u8..8).prop_map(Event::Fair),
        12 => Just(Event::Guard),
        3 => Just(Event::Activation),
        3 => Just(Event::Commit),
        3 => Just(Event::Deployer),
        3 => (1u8..4).prop_map(Event::Pass),
        1 => Just(Event::Pass(60)),
        5 => Just(Event::Systemd),
        1 => request().prop_map(Event::Again),
        1 => request().prop_map(Event::Odd),
        3 => Just(Event::KillGuard),
        1 => any::<bool>().prop_map(Event::KillActivation),
        1 => any::<bool>().prop_map(Event::KillCommit),
        1 => prop_oneof![Just(Event::Freeze), Just(Event::Thaw), Just(Event::Stop)],
        1 => prop_oneof![Just(Event::Reboot), Just(Event::Second), Just(Event::Remove)],
        1 => Just(Event::Collect),
        1 => Just(Event::Forget),
        1 => prop_oneof![Just(Event::ForeignProfile), Just(Event::ForeignSwitch)],
        1 => prop_oneof![any::<bool>().prop_map(Event::Fill), Just(Event::Empty)],
    ]
}

/// Any deploy, with anything between its steps.
pub(crate) fn trace() -> impl Strategy<Value = (Scene, Vec<Event>)> {
    let scene = (
        prop_oneof![4 => Just(false), 1 => Just(true)],
        prop_oneof![
            4 => Just(Before::Plain),
            1 => Just(Before::RolledBack),
            1 => Just(Before::First)
        ],
        prop_oneof![
            4 => Just(Activation::Works),
            1 => Just(Activation::Fails),
            1 => Just(Activation::Hangs),
            1 => Just(Activation::CannotStart)
        ],
        prop_oneof![
            4 => Just(Loader::Works),
            1 => Just(Loader::Fails),
            1 => Just(Loader::FailsLate),
            1 => Just(Loader::Hangs),
            1 => Just(Loader::Lies)
        ],
        prop_oneof![
            4 => Just(WayBack::Works),
            1 => Just(WayBack::FailsTwice),
            1 => Just(WayBack::Fails)
        ],
    );
    let scene = scene.prop_map(|(stage, profile, activation, loader, way_back)| Scene {
        stage,
        profile,
        activation,
        loader,
        way_back,
    });
    (scene, prop::collection::vec(event(), 0..60))
}
