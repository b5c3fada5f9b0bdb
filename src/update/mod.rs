//! A flake's inputs moved on: what would come, held against what runs, and flake.lock kept safe.
//!
//! The user's flake.lock is never the work file. [`candidate`] has Nix write the new lock
//! elsewhere, and everything that is to be known is asked of that; [`keep`] puts it in the place
//! of the user's at once or not at all, when [`decision`] lets it, and can always put the user's
//! own bytes back.

pub mod candidate;
pub mod chosen;
pub mod coming;
pub mod decision;
pub mod fetching;
pub mod git;
pub mod holds;
pub mod journal;
pub mod keep;
pub mod lock;
pub mod packages;
pub mod pull_request;
