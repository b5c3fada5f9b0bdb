//! Packages known to be insecure or broken, used all the same.

use super::{Check, File, Rule};
use crate::event::Severity;
use crate::validate::resolve::Definition;
use crate::validate::syntax::Fault;

pub(super) const RULE: Rule = Rule {
    id: "permitted-insecure-packages",
    severity: Severity::Warn,
    flags: "permittedInsecurePackages, allowInsecure or allowBroken",
    why: "nixpkgs marks a package insecure because a known hole stays open. Say in an allow \
          comment why it is needed and until when; an exception nobody remembers is never taken \
          back.",
    fixable: false,
    needs: &["permittedInsecurePackages", "allowBroken", "allowInsecure"],
    tops: &["nixpkgs"],
    check: Check::Option(found),
    bad: &[
        "{ nixpkgs.config.permittedInsecurePackages = [ \"a-1.0\" ]; }",
        "{ nixpkgs.config = { allowBroken = true; }; }",
        "{ nixpkgs }: import nixpkgs { config.permittedInsecurePackages = [ \"a-1\" ]; }",
        "{ inputs, system }: let p = import inputs.nixpkgs-stable { inherit system; config = { \
          allowInsecure = true; }; }; in p",
        "{ lib, ... }: { nixpkgs.config.permittedInsecurePackages = lib.mkForce ([ \"a\" ] ++ [ \
          ]); }",
    ],
    good: &[
        "{ nixpkgs.config.permittedInsecurePackages = [ ]; }",
        "{ nixpkgs.config.allowBroken = false; }",
        "{ foo.config.permittedInsecurePackages = [ \"a\" ]; }",
        "{ foo }: import foo { config.allowBroken = true; }",
        "{ c, ... }: { nixpkgs.config.allowBroken = c; }",
    ],
};

fn found(file: &File<'_>, definition: &Definition<'_>) -> Option<Fault> {
    if !definition.is(&["nixpkgs", "config", "*"]) {
        return None;
    }
    let name = definition.path.last()?.shown();
    let message = match name {
        "permittedInsecurePackages" => {
            let elements = file.resolver.elements(definition.value);
            let names: Vec<String> =
                elements.iter().filter_map(|e| file.resolver.string(e)).collect();
            if elements.is_empty() {
                return None;
            }
            format!("known to be insecure and used: {}", names.join(", "))
        }
        "allowBroken" | "allowInsecure" => {
            if file.resolver.boolean(definition.value) != Some(true) {
                return None;
            }
            let kind = if name == "allowBroken" { "broken" } else { "insecure" };
            format!("every package that is marked {kind} may be used")
        }
        _ => return None,
    };
    let hint = "say why and until when: # nixdeploy: allow(permitted-insecure-packages) -- ...";
    Some(RULE.fault(definition.at, message).hint(Some(hint.to_owned())))
}
