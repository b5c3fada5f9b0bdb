//! What is asked of an update that deploys: the same for each of the commands that do.

use crate::cli::{Engine, FlakeArgs, SystemArgs, UpdateFlags};

/// Which inputs are to move.
#[derive(Debug, Clone, Default)]
pub(super) struct Which {
    /// These; none: all.
    pub(super) inputs: Vec<String>,
    /// But for these.
    pub(super) except: Vec<String>,
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
        let which = Which { except: flags.except.clone(), ..Which::default() };
        Self { which, hosts, engine, flags }
    }
}
