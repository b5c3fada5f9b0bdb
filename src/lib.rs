#![doc = include_str!("ARCHITECTURE.md")]

pub mod activate;
pub mod build;
pub mod cli;
pub mod command;
pub mod commit;
pub mod error;
pub mod event;
pub mod exit;
pub mod fleet;
pub mod pipeline;
pub mod plan;
pub mod preflight;
pub mod report;
pub mod rollback;
pub mod validate;
pub mod verify;
pub mod world;

use std::process::ExitCode;

/// Parses, runs, and turns the result into an exit code.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
