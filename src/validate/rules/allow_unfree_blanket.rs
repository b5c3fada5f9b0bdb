//! All unfree packages allowed at once.

use super::{Check, File, Rule};
use crate::event::Severity;
use crate::validate::resolve::Definition;
use crate::validate::syntax::Fault;

pub(super) const RULE: Rule = Rule {
    id: "allow-unfree-blanket",
    severity: Severity::Info,
    flags: "`nixpkgs.config.allowUnfree = true`",
    why: "It is a policy, not a fault. `allowUnfreePredicate` names the packages that are meant, \
          so that a new one is a decision.",
    fixable: false,
    needs: &["allowUnfree"],
    tops: &["nixpkgs"],
    check: Check::Option(found),
    bad: &[
        "{ nixpkgs.config.allowUnfree = true; }",
        "{ nixpkgs }: import nixpkgs { config.allowUnfree = true; }",
        "import <nixpkgs> { config = { allowUnfree = true; }; }",
    ],
    good: &[
        "{ nixpkgs.config.allowUnfree = false; }",
        "{ foo.allowUnfree = true; }",
        "{ lib, ... }: { nixpkgs.config.allowUnfreePredicate = p: true; }",
    ],
};

fn found(file: &File<'_>, definition: &Definition<'_>) -> Option<Fault> {
    let meant = definition.is(&["nixpkgs", "config", "allowUnfree"]);
    let on = meant && file.resolver.boolean(definition.value) == Some(true);
    let hint = "allowUnfreePredicate names the packages that are meant".to_owned();
    on.then(|| RULE.fault(definition.at, "all unfree packages are allowed").hint(Some(hint)))
}
