//! An ssh server that takes passwords.

use super::ssh_root_login::allows;
use super::{Check, File, Rule};
use crate::event::Severity;
use crate::validate::resolve::Definition;
use crate::validate::syntax::Fault;

pub(super) const RULE: Rule = Rule {
    id: "ssh-password-auth",
    severity: Severity::Warn,
    flags: "`PasswordAuthentication yes` for the ssh server",
    why: "Passwords can be guessed, and every scanner of the net tries. Keys cannot; make sure \
          that one is in `users.users.NAME.openssh.authorizedKeys` before passwords go.",
    fixable: false,
    needs: &["asswordAuthentication"],
    tops: &["services"],
    check: Check::Option(found),
    bad: &[
        "{ services.openssh.settings.PasswordAuthentication = true; }",
        "{ services.openssh.passwordAuthentication = true; }",
        "{ lib, ... }: { services.openssh.settings = { PasswordAuthentication = lib.mkForce true; \
          }; }",
        "{ services.openssh.extraConfig = \"PasswordAuthentication yes\"; }",
    ],
    good: &[
        "{ services.openssh.settings.PasswordAuthentication = false; }",
        "{ services.openssh = { enable = false; settings.PasswordAuthentication = true; }; }",
        "{ c, ... }: { services.openssh.settings.PasswordAuthentication = c; }",
        "{ services.openssh.extraConfig = ''\n  Match User a\n    PasswordAuthentication yes\n''; \
          }",
        "{ options.services.openssh.settings.PasswordAuthentication = true; }",
    ],
};

fn found(file: &File<'_>, definition: &Definition<'_>) -> Option<Fault> {
    let names = ["PasswordAuthentication", "passwordAuthentication"];
    let hint = "let keys in only".to_owned();
    allows(file.resolver, definition, names)
        .then(|| RULE.fault(definition.at, "ssh takes passwords").hint(Some(hint)))
}
