//! Every effect: processes, ssh, files, the clock, the person at the terminal.
//!
//! Nothing outside this folder (and the renderers' writes in `report`) spawns, reads a clock or
//! an environment variable, or writes a file; clippy's configuration enforces it. This folder
//! knows no phase of a deploy.

pub mod clock;
pub mod elevate;
pub mod environment;
pub mod files;
pub mod here;
pub mod http;
pub mod invocation;
pub mod jump;
pub mod memory;
pub mod password;
pub mod process;
pub mod prompt;
pub mod signals;
pub mod ssh;
pub mod watching;

use std::sync::Arc;

pub use clock::Clock;
pub use environment::Environment;
pub use invocation::{Ended, Invocation, Line, Output, Stream};
pub use process::{Conversation, Runner, StartError};

/// All effects of a run, handed down from `command` to the slices.
#[derive(Clone)]
pub struct World {
    /// Starts programs.
    pub runner: Arc<dyn Runner>,
    /// Tells and waits.
    pub clock: Clock,
    /// Folders, terminal, names.
    pub environment: Arc<Environment>,
    /// Asks the person, one question at a time.
    pub prompt: Arc<prompt::Prompt>,
}

impl World {
    /// Runs a program to its end.
    ///
    /// # Errors
    /// When it could not be started; how it ended is in the output.
    pub async fn run(&self, invocation: Invocation) -> Result<Output, StartError> {
        Output::collect(self.runner.start(invocation).await?).await
    }

    /// Starts a program to talk with.
    ///
    /// # Errors
    /// When it could not be started.
    pub async fn start(&self, invocation: Invocation) -> Result<Conversation, StartError> {
        self.runner.start(invocation).await
    }
}
