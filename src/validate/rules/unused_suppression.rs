//! A comment that allows what is not there.

use super::{Check, Rule};
use crate::event::Severity;

pub(super) const RULE: Rule = Rule {
    id: "unused-suppression",
    severity: Severity::Warn,
    flags: "an allow comment, or an entry of the baseline, that nothing needs",
    why: "It would hide the next finding of that kind without anybody having looked at it. An \
          allow comment also counts as unused when it gives no reason or names no rule.",
    fixable: true,
    needs: &[],
    tops: &[],
    check: Check::Elsewhere,
    bad: &["# nixdeploy: allow(firewall-disabled) -- behind the router\n{ a = 1; }"],
    good: &["{\n  # nixdeploy: allow(firewall-disabled) -- behind the router\n  \
          networking.firewall.enable = false;\n}"],
};
