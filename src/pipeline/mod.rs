//! Runs a plan: ties the slices together, host by host.
