//! A firewall that is switched off.

use super::{Check, File, Rule};
use crate::event::Severity;
use crate::validate::resolve::Definition;
use crate::validate::syntax::Fault;

pub(super) const RULE: Rule = Rule {
    id: "firewall-disabled",
    severity: Severity::Warn,
    flags: "`networking.firewall.enable = false`",
    why: "Every service that listens is then reachable from every network the machine is in. Open \
          the ports that are meant; where another firewall stands before the machine, say so with \
          an allow comment.",
    fixable: false,
    needs: &["firewall"],
    tops: &["networking"],
    check: Check::Option(found),
    bad: &[
        "{ networking.firewall.enable = false; }",
        "{ networking.\"fire\\wall\".\"en\\able\" = false; }",
        "{ lib, ... }: { config.networking = { firewall.enable = lib.mkForce false; }; }",
        "{ lib, c, ... }: let off = false; in { networking.firewall = lib.mkIf c { enable = off; \
          }; }",
    ],
    good: &[
        "{ networking.firewall.enable = true; }",
        "{ c, ... }: { networking.firewall.enable = c; }",
        "{ options.networking.firewall.enable = false; }",
        "{ nodes.a.networking.firewall.enable = false; }",
        "{ lib, ... }: { networking.firewall = lib.mkIf false { enable = false; }; }",
        "{ a = \"networking.firewall.enable = false;\"; }",
        "{ services.a.firewall.enable = false; }",
    ],
};

fn found(file: &File<'_>, definition: &Definition<'_>) -> Option<Fault> {
    let meant = definition.is(&["networking", "firewall", "enable"]);
    let off = meant && file.resolver.boolean(definition.value) == Some(false);
    let hint = "open the ports that are meant instead".to_owned();
    off.then(|| RULE.fault(definition.at, "the firewall is switched off").hint(Some(hint)))
}
