//! How bad a match is: by evidence first, by words last.

use super::inventory::{Hardware, Package};
use super::issue::{Issue, State};
use super::phase::{Standing, YEAR_MS};
use super::words::{Fit, Harm};
use super::{Confidence, Phase, Severity};

/// Everything that a severity is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) issue: &'a Issue,
    pub(super) package: Option<&'a Package>,
    pub(super) standing: Standing,
    pub(super) confidence: Confidence,
    pub(super) harm: Harm,
    pub(super) kind: Kind,
    /// It is about a module that is enabled.
    pub(super) module: bool,
    /// It is about a version of something that nobody here is known to have.
    pub(super) foreign: bool,
    pub(super) age_ms: i64,
}

/// What sort of issue it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Security,
    BuildFailure,
    Regression,
    Other,
}

impl Case<'_> {
    /// Its severity on a host.
    pub(super) fn severity(&self, host: Option<&Hardware>, fit: Fit) -> Severity {
        let mut severity = match self.kind {
            _ if self.standing.elsewhere => Severity::Low,
            Kind::Security => self.weakness(),
            Kind::BuildFailure => self.build_failure(),
            Kind::Regression | Kind::Other => match self.confidence {
                Confidence::Version => self.certain(host),
                Confidence::Subject => self.likely(host),
                Confidence::Mention => self.mentioned(),
            },
        };
        let versioned = self.confidence == Confidence::Version;
        if self.has("stale") && !versioned {
            severity = Severity::Low;
        }
        if self.issue.labels.is_empty() {
            severity = severity.min(if versioned { Severity::High } else { Severity::Medium });
        }
        let minus = [
            fit != Fit::Fits,
            self.standing.mended && self.standing.phase == Phase::Introduced,
            self.foreign && !versioned,
            self.issue.state == State::NotPlanned,
            self.package.is_some_and(|p| p.dependency) && self.kind != Kind::Security,
        ];
        for _ in minus.iter().filter(|m| **m) {
            severity = severity.less();
        }
        let block = versioned && self.standing.phase == Phase::Introduced;
        if block { severity } else { severity.min(Severity::High) }
    }

    fn has(&self, word: &str) -> bool {
        self.issue.labels.iter().any(|l| l.contains(word))
    }

    fn weakness(&self) -> Severity {
        let severity = match self.issue.advisory.cvss {
            Some(score) if score >= 9.0 => Severity::Critical,
            Some(score) if score >= 7.0 => Severity::High,
            Some(score) if score >= 4.0 => Severity::Medium,
            Some(_) => Severity::Low,
            None => Severity::High,
        };
        let old = self.age_ms > 2 * YEAR_MS && self.confidence != Confidence::Version;
        match self.confidence {
            Confidence::Mention => severity.min(Severity::Medium),
            _ if old => severity.less(),
            _ => severity,
        }
    }

    fn build_failure(&self) -> Severity {
        match (self.confidence, self.standing.phase) {
            (Confidence::Version, Phase::Introduced) => Severity::High,
            (Confidence::Subject, Phase::Introduced) => Severity::Medium,
            // What is installed was built.
            _ => Severity::Low,
        }
    }

    fn certain(&self, host: Option<&Hardware>) -> Severity {
        if self.is_critical(host) {
            return Severity::Critical;
        }
        let harm = self.harm.grave || self.harm.network || self.kind == Kind::Regression;
        if harm { Severity::High } else { Severity::Medium }
    }

    /// It stops a machine, or what a machine lives of.
    fn is_critical(&self, host: Option<&Hardware>) -> bool {
        let desktop = host.is_none_or(|h| h.desktop != Some(false));
        let vital = |p: &Package| p.is_boot_critical() || p.draws() && desktop;
        (self.harm.boot || self.harm.data) && self.package.is_some_and(vital)
    }

    fn likely(&self, host: Option<&Hardware>) -> Severity {
        if self.age_ms > YEAR_MS {
            return Severity::Low;
        }
        let open = self.issue.state == State::Open;
        let cut_off = open && self.module && self.harm.network && self.harm.grave;
        let regression = self.kind == Kind::Regression && self.standing.phase != Phase::Fixed;
        match self.standing.phase {
            _ if regression || cut_off => Severity::High,
            Phase::Introduced if self.is_critical(host) => Severity::High,
            Phase::Introduced => Severity::Medium,
            Phase::Persisting if self.is_critical(host) => Severity::Medium,
            Phase::Fixed if self.harm.grave => Severity::Medium,
            Phase::Persisting | Phase::Fixed => Severity::Low,
        }
    }

    fn mentioned(&self) -> Severity {
        let harm = self.harm.boot || self.harm.network && self.harm.grave;
        let told = self.kind == Kind::Regression || self.has("bug");
        match self.standing.phase {
            Phase::Introduced if harm && told && self.age_ms <= YEAR_MS => Severity::Medium,
            _ => Severity::Low,
        }
    }
}

impl Severity {
    /// One less; the least stays.
    #[must_use]
    pub(super) fn less(self) -> Self {
        match self {
            Self::Critical => Self::High,
            Self::High => Self::Medium,
            Self::Medium | Self::Low => Self::Low,
        }
    }
}
