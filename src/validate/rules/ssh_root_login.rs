//! An ssh server that lets root in with a password.

use super::{Check, File, Rule};
use crate::event::Severity;
use crate::validate::resolve::{Definition, Literal, Piece, Resolver};
use crate::validate::syntax::Fault;

pub(super) const RULE: Rule = Rule {
    id: "ssh-root-login",
    severity: Severity::Warn,
    flags: "`PermitRootLogin yes` for the ssh server",
    why: "It lets root in by password, which every scanner of the net tries. `prohibit-password` \
          still lets keys in, which is all that a deploy needs.",
    fixable: false,
    needs: &["ermitRootLogin"],
    tops: &["services"],
    check: Check::Option(found),
    bad: &[
        "{ services.openssh.settings.PermitRootLogin = \"yes\"; }",
        "{ services.openssh.permitRootLogin = \"yes\"; }",
        "{ services.\"open\\ssh\".settings.\"Permit\\RootLogin\" = \"yes\"; }",
        "{ services.${\"open\" + \"ssh\"}.settings.\"Permit${\"Root\"}Login\" = \"yes\"; }",
        "{ services.openssh = { enable = true; settings = { PermitRootLogin = true; }; }; }",
        "{ services.openssh.extraConfig = ''\n  Port 22\n  PermitRootLogin yes # really\n''; }",
    ],
    good: &[
        "{ services.openssh.settings.PermitRootLogin = \"prohibit-password\"; }",
        "{ services.openssh.settings.PermitRootLogin = \"no\"; }",
        "{ services.openssh.extraConfig = ''\n  # PermitRootLogin yes\n''; }",
        "{ services.openssh = { enable = false; settings.PermitRootLogin = \"yes\"; }; }",
        "{ c, ... }: { services.openssh.settings.PermitRootLogin = c; }",
        "{ programs.ssh.extraConfig = \"PermitRootLogin yes\"; }",
    ],
};

fn found(file: &File<'_>, definition: &Definition<'_>) -> Option<Fault> {
    let names = ["PermitRootLogin", "permitRootLogin"];
    let hint = "\"prohibit-password\" still lets keys in".to_owned();
    allows(file.resolver, definition, names)
        .then(|| RULE.fault(definition.at, "root may log in by password").hint(Some(hint)))
}

/// Whether a definition says yes to a keyword of sshd, as a setting, as the option of older
/// releases, or in a line of the server's `extraConfig`.
pub(super) fn allows(resolver: &Resolver, at: &Definition<'_>, names: [&str; 2]) -> bool {
    let [keyword, old] = names;
    let server = ["services", "openssh"];
    if at.is(&[server[0], server[1], "settings", keyword]) || at.is(&[server[0], server[1], old]) {
        return match resolver.literal(at.value) {
            Some(Literal::Bool(on)) => on,
            Some(Literal::Text(text)) => text == "yes",
            _ => false,
        };
    }
    if !at.is(&[server[0], server[1], "extraConfig"]) {
        return false;
    }
    let known = resolver.text(at.value).into_iter().filter_map(|piece| match piece {
        Piece::Known(text) => Some(text),
        Piece::Value(_) => None,
    });
    let text: Vec<String> = known.collect();
    // What stands below a Match is for some users or addresses only.
    let text = text.join("?");
    let mut lines = text.lines().take_while(|l| !word(l, 0).eq_ignore_ascii_case("match"));
    lines.any(|l| word(l, 0).eq_ignore_ascii_case(keyword) && word(l, 1) == "yes")
}

fn word(line: &str, at: usize) -> &str {
    line.split([' ', '\t', '=']).filter(|w| !w.is_empty()).nth(at).unwrap_or_default()
}
