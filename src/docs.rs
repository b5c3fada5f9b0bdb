//! The pages that `nixdeploy help TOPIC` prints, for whoever reads the crate's documentation.

/// Pages of the documentation that `help` prints: name, what it tells, text.
pub const PAGES: &[(&str, &str, &str)] = &[
    (
        "check",
        "what check finds, and how it is told what to leave alone",
        include_str!("docs/check.md"),
    ),
    ("ci", "in GitHub Actions and other pipelines", include_str!("docs/ci.md")),
    ("faults", "what happens if", include_str!("docs/faults.md")),
    ("history", "runs that were kept, found again", include_str!("docs/history.md")),
    ("hosts", "hosts.toml: every key with its default", include_str!("docs/hosts.md")),
    (
        "issues",
        "what is known to be wrong with packages, and how it is matched",
        include_str!("docs/issues.md"),
    ),
    ("metrics", "what Prometheus is told, and alerts", include_str!("docs/metrics.md")),
    (
        "moving-in",
        "from a justfile, nixos-rebuild, deploy-rs or colmena",
        include_str!("docs/moving-in.md"),
    ),
    ("protocol", "how a deploy is done and undone", include_str!("docs/protocol.md")),
    ("readme", "the README: from the first deploy to every flag", include_str!("../README.md")),
    ("security", "what is trusted, and what is not", include_str!("docs/security.md")),
    ("speed", "how long a run takes by the number of hosts", include_str!("docs/speed.md")),
    (
        "updates",
        "how inputs are updated, and how flake.lock is kept safe",
        include_str!("docs/updates.md"),
    ),
];

#[doc = include_str!("docs/check.md")]
pub mod check {}
#[doc = include_str!("docs/ci.md")]
pub mod ci {}
#[doc = include_str!("docs/faults.md")]
pub mod faults {}
#[doc = include_str!("docs/history.md")]
pub mod history {}
#[doc = include_str!("docs/hosts.md")]
pub mod hosts {}
#[doc = include_str!("docs/issues.md")]
pub mod issues {}
#[doc = include_str!("docs/metrics.md")]
pub mod metrics {}
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
