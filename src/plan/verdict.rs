//! From findings to a decision: pure.

use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Shown as a warning; changes nothing.
    Warn,
    /// Stops a deploy before `go`, or condemns it after.
    Block,
}

/// Something seen by a check, with what it was seen on and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable name of the check: `unit-failed`, `syntax`, `dns`.
    pub code: String,
    /// How bad.
    pub severity: Severity,
    /// What it is about: a unit, a file with its line, a probe.
    pub subject: String,
    /// One sentence fragment with the number or text behind it.
    pub message: String,
    /// What to do about it, if we know.
    pub suggestion: Option<String>,
}

/// What is done with an activated host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Commit it.
    Keep,
    /// Take it back.
    RollBack,
}

/// One blocking finding condemns; nothing else does.
pub fn verdict(findings: &[Finding]) -> Verdict {
    let condemned = findings.iter().any(|f| f.severity == Severity::Block);
    if condemned { Verdict::RollBack } else { Verdict::Keep }
}
