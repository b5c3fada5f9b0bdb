//! Runs a plan: ties the slices together, host by host.
pub mod cancel;
pub mod ending;
