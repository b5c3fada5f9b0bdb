//! Slice 2: from a pinned tree to a closure, locally, on the target or on a third host.

pub mod derivation;
pub mod flake;
pub mod output;
pub mod tree;
