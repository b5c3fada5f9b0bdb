//! A password that is written out.

use super::{Check, File, Rule};
use crate::event::Severity;
use crate::validate::resolve::{Definition, Literal};
use crate::validate::syntax::Fault;
use crate::validate::wording;

pub(super) const RULE: Rule = Rule {
    id: "plaintext-password",
    severity: Severity::Warn,
    flags: "an option for a password, key or token with a text written out",
    why: "It lies in the repository and in the world-readable store of every machine. Use the \
          option's *File variant with agenix or sops-nix, or a hashed password for a login.",
    fixable: false,
    needs: &["pass", "api", "secret", "token"],
    tops: &[],
    check: Check::Option(found),
    bad: &[
        "{ users.users.me.initialPassword = \"hunter2\"; }",
        "{ services.a.\"pass\\word\" = \"hunter2\"; }",
        "{ users.users.me.password = \"hunter2\"; }",
        "let p = \"hunter2\"; in { services.a.settings.database.password = p; }",
        "{ services.a.config.adminpass = \"hunter2\"; }",
        "{ services.a = { settings = { api_key = \"abcdef123\"; }; }; }",
        "{ services.a.settings.\"client-secret\" = \"abcdef123\"; }",
        "{ services.a.smtpPassword = \"hunter2\"; }",
        "{ services.a.authToken = \"abcdef123\"; }",
        "{ services.k3s.token = \"K10a1b2c3d4e5f60718293a4b5c6d7e8f9\"; }",
        "{ services.a.listeners = [ { port = 1; users.b.password = \"hunter2\"; } ]; }",
    ],
    good: &[
        "{ services.a.token = \"bearer\"; services.b.token = \"a text of some words, 1 and 2\"; }",
        "{ services.a.passwordFile = \"/run/secrets/a\"; }",
        "{ users.users.me.hashedPassword = \"$6$abc$def\"; }",
        "{ users.users.me.initialHashedPassword = \"\"; }",
        "{ services.a.password = \"@PASSWORD@\"; b.password = \"$__file{/run/x}\"; }",
        "{ services.a.requirePassword = true; b.password = null; c.password = \"!\"; }",
        "{ services.a.passwordCommand = \"pass a\"; b.passwordPrompt = \"Password:\"; }",
        "{ config, ... }: { services.a.password = config.sops.placeholder.a; }",
        "{ services.a = { enable = false; password = \"hunter2\"; }; }",
        "{ options.services.a.password = \"hunter2\"; }",
        "{ x, ... }: { services.a.password = \"${x}\"; }",
        "{ nodes.a.users.users.me.password = \"hunter2\"; }",
        "{ virtualisation.vmVariant.users.users.me.password = \"hunter2\"; }",
        "{ imports = [ <nixpkgs/nixos/modules/installer/cd-dvd/installation-cd-minimal.nix> ]; }",
        "{ services.a.password = \"\"; b.password = \"yes\"; c.password = \"/run/secrets/a\"; }",
        "{ services.a.settings.password = \"$PASSWORD\"; b.password = \"%{env:X}\"; }",
        "{ programs.a.passwordMinLength = \"8\"; b.description.password = \"x\"; }",
    ],
};

/// Last words, alone or with the word before them, of options that hold a secret.
const LAST: [&str; 9] = [
    "password",
    "passwd",
    "adminpass",
    "passphrase",
    "apikey",
    "secretkey",
    "authtoken",
    "accesstoken",
    "clientsecret",
];
/// Parts of a configuration that are no machine of their own.
const GUESTS: [&str; 5] =
    ["nodes", "containers", "vmVariant", "vmVariantWithBootLoader", "microvm"];

fn found(file: &File<'_>, definition: &Definition<'_>) -> Option<Fault> {
    let last = definition.path.last()?.shown();
    if !ends_like_a_secret(last) {
        return None;
    }
    let words = wording::words(last);
    let (end, before) = words.split_last()?;
    let pair = before.last().map(|b| format!("{b}{end}"));
    let named = LAST.contains(&end.as_str())
        || pair.as_deref().is_some_and(|p| LAST.contains(&p))
        || (end == "token" && definition.below(&["services"]))
        || definition.is(&["users", "users", "*", "initialPassword"]);
    let hashed = before.iter().any(|w| matches!(w.as_str(), "hashed" | "hash" | "encrypted"));
    if !named || hashed || definition.path.len() < 2 {
        return None;
    }
    let guest = |key: &crate::validate::resolve::Key| {
        GUESTS.contains(&key.shown()) || key.shown() == "description"
    };
    let Literal::Text(text) = file.resolver.literal(definition.value)? else { return None };
    let drawn = end == "token" && !pair.as_deref().is_some_and(|p| LAST.contains(&p));
    if definition.path.iter().any(guest) || !plain(&text) || (drawn && !by_lot(&text)) {
        return None;
    }
    let hint = "use the option's *File variant with agenix or sops-nix".to_owned();
    let message = format!("{} holds a text that is written here", definition.shown());
    let mut fault = RULE.fault(definition.at, message).hint(Some(hint));
    let literal = file.resolver.reduce(definition.value);
    fault.secret = Some(rowan::ast::AstNode::syntax(&literal).text_range().into());
    fault.keys = vec![format!("{} {}", definition.shown(), blake3::hash(text.as_bytes()).to_hex())];
    Some(fault)
}

/// Whether a text looks drawn by lot: what is called a token is not always a secret.
fn by_lot(text: &str) -> bool {
    let one = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:+/=".contains(&b));
    let both = text.contains(|c: char| c.is_ascii_digit())
        && text.contains(|c: char| c.is_ascii_alphabetic());
    one && both && text.len() >= 16
}

/// Whether a name ends with the end of one of [`LAST`]: nearly none does.
fn ends_like_a_secret(name: &str) -> bool {
    const ENDS: [&str; 7] = ["word", "pass", "wd", "phrase", "key", "token", "secret"];
    let ends = |end: &&str| {
        let from = name.len().checked_sub(end.len());
        from.and_then(|n| name.get(n..)).is_some_and(|n| n.eq_ignore_ascii_case(end))
    };
    ENDS.iter().any(ends)
}

/// Whether a text is a secret itself, and no placeholder, hash, place or switch.
fn plain(text: &str) -> bool {
    const SWITCHES: [&str; 16] = [
        "", "!", "*", "x", "yes", "no", "true", "false", "on", "off", "none", "null", "ask",
        "prompt", "required", "optional",
    ];
    let text = text.trim();
    let begins = ["/", "$", "@", "%", "{{", "<", "file:", "env:", "ENC[", "!", "~/", "./"];
    let lower = text.to_ascii_lowercase();
    let kept = ["$__", "${", "{env", "placeholder"].iter().any(|k| text.contains(k));
    !SWITCHES.contains(&lower.as_str()) && !begins.iter().any(|b| text.starts_with(b)) && !kept
}
