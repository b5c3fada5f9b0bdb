//! The pages that `nixdeploy help TOPIC` prints, for whoever reads the crate's documentation.

#[doc = include_str!("docs/check.md")]
pub mod check {}
#[doc = include_str!("docs/ci.md")]
pub mod ci {}
#[doc = include_str!("docs/faults.md")]
pub mod faults {}
#[doc = include_str!("docs/hosts.md")]
pub mod hosts {}
#[doc = include_str!("docs/issues.md")]
pub mod issues {}
#[doc = include_str!("docs/moving-in.md")]
pub mod moving_in {}
#[doc = include_str!("docs/protocol.md")]
pub mod protocol {}
#[doc = include_str!("docs/security.md")]
pub mod security {}
#[doc = include_str!("docs/speed.md")]
pub mod speed {}
#[doc = include_str!("docs/updates.md")]
pub mod updates {}
#[doc = include_str!("../README.md")]
pub mod readme {}
