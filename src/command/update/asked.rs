//! What is asked of an update that deploys: the same for each of the commands that do.

use crate::build::flake::LocalFlake;
use crate::cli::{Engine, FlakeArgs, Global, SmartArgs, SystemArgs, UpdateFlags, WorkflowArgs};
use crate::fleet::{Fleet, HostName};
use crate::update::keep::Keep;
use crate::world::World;

/// Which inputs are to move.
#[derive(Debug, Clone, Default)]
pub(super) struct Which {
    /// These; none: all.
    pub(super) inputs: Vec<String>,
    /// But for these.
    pub(super) except: Vec<String>,
}

/// How much is decided without a person.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Manner {
    /// What was typed is done, or nothing.
    #[default]
    Plain,
    /// An input that alone brings trouble is left out.
    Smart,
    /// The same, and a person is led from step to step.
    Guided,
}

/// An update.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    /// Inputs.
    pub(super) which: Which,
    /// Hosts, as they are selected; none: all.
    pub(super) hosts: Vec<String>,
    /// What switches them.
    pub(super) engine: Engine,
    /// How much is decided without a person.
    pub(super) manner: Manner,
    /// Packages that are to be held back by a patch.
    pub(super) hold: Vec<String>,
    /// Nixpkgs is left out too, where it brings the trouble.
    pub(super) skip_blocked: bool,
    /// How.
    pub(super) flags: UpdateFlags,
}

impl From<&FlakeArgs> for Asked {
    fn from(args: &FlakeArgs) -> Self {
        let FlakeArgs { inputs, host, flags } = args.clone();
        let which = Which { inputs, except: flags.except.clone() };
        Self { which, hosts: host, flags, ..Self::default() }
    }
}

impl From<&SystemArgs> for Asked {
    fn from(args: &SystemArgs) -> Self {
        let SystemArgs { hosts, engine, flags } = args.clone();
        Self { engine, ..of(hosts, flags) }
    }
}

impl From<&SmartArgs> for Asked {
    fn from(args: &SmartArgs) -> Self {
        let SmartArgs { hosts, hold, skip_blocked, flags } = args.clone();
        Self { manner: Manner::Smart, hold, skip_blocked, ..of(hosts, flags) }
    }
}

impl From<&WorkflowArgs> for Asked {
    fn from(args: &WorkflowArgs) -> Self {
        let WorkflowArgs { hosts, flags } = args.clone();
        Self { manner: Manner::Guided, ..of(hosts, flags) }
    }
}

fn of(hosts: Vec<String>, flags: UpdateFlags) -> Asked {
    let which = Which { except: flags.except.clone(), ..Which::default() };
    Asked { which, hosts, flags, ..Asked::default() }
}

/// An update that goes on.
#[derive(Clone, Copy)]
pub(super) struct Update<'a> {
    /// All effects.
    pub(super) world: &'a World,
    /// Flags of every command.
    pub(super) global: &'a Global,
    /// What was typed.
    pub(super) asked: &'a Asked,
    /// The fleet.
    pub(super) fleet: &'a Fleet,
    /// Hosts that are meant.
    pub(super) hosts: &'a [HostName],
    /// The flake.
    pub(super) flake: &'a LocalFlake,
    /// Where its locks are kept.
    pub(super) keep: &'a Keep,
}
