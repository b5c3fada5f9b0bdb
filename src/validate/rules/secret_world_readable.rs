//! A managed secret that everybody may read.

use super::{Check, File, Rule};
use crate::event::Severity;
use crate::validate::resolve::{Definition, Literal};
use crate::validate::syntax::Fault;

pub(super) const RULE: Rule = Rule {
    id: "secret-world-readable",
    severity: Severity::Warn,
    flags: "an age or sops secret whose mode lets others read it",
    why: "The secret is decrypted for one service; a last digit of 4 or more gives it to every \
          user of the machine. 0400 with an owner, or 0440 with a group, is enough.",
    fixable: false,
    needs: &["secrets"],
    tops: &["age", "sops"],
    check: Check::Option(found),
    bad: &[
        "{ age.secrets.a.mode = \"0644\"; }",
        "{ sops.secrets.\"a/b\" = { mode = \"444\"; owner = \"me\"; }; }",
        "{ lib, c, n, ... }: { age.secrets = lib.mkIf c { ${n}.mode = \"0755\"; }; }",
    ],
    good: &[
        "{ age.secrets.a.mode = \"0440\"; }",
        "{ sops.secrets.a.mode = \"0400\"; }",
        "{ environment.etc.a.mode = \"0644\"; }",
        "{ m, ... }: { age.secrets.a.mode = m; }",
        "{ age.secrets.a.path = \"0644\"; }",
    ],
};

fn found(file: &File<'_>, definition: &Definition<'_>) -> Option<Fault> {
    let kinds = ["age", "sops"];
    if !kinds.iter().any(|kind| definition.is(&[kind, "secrets", "*", "mode"])) {
        return None;
    }
    let mode = match file.resolver.literal(definition.value)? {
        Literal::Text(text) => text,
        Literal::Whole(number) => number.to_string(),
        _ => return None,
    };
    let octal = !mode.is_empty() && mode.bytes().all(|b| matches!(b, b'0'..=b'7'));
    let readable = octal && mode.bytes().last().is_some_and(|b| b >= b'4');
    let hint = "0400 with an owner, or 0440 with a group".to_owned();
    let message = format!("mode {mode} lets every user read this secret");
    readable.then(|| RULE.fault(definition.at, message).hint(Some(hint)))
}
