//! What Nix itself refuses before it evaluates anything; told by the passes over syntax.

use super::{Check, Rule};
use crate::event::Severity;

const fn syntax(
    id: &'static str,
    flags: &'static str,
    why: &'static str,
    bad: &'static [&'static str],
    good: &'static [&'static str],
) -> Rule {
    let (severity, check) = (Severity::Block, Check::Syntax);
    Rule { id, severity, flags, why, fixable: false, needs: &[], tops: &[], check, bad, good }
}

pub(super) const SYNTAX_ERROR: Rule = syntax(
    "syntax-error",
    "a text that Nix cannot parse",
    "Nothing of a tree can be evaluated whose file does not parse. The verdict is that of Nix 2.26 \
     and later; after the first error of a file its other rules are left out, for what follows an \
     error mostly follows from it.",
    &["{ a = 1 }", "[ 1 2", "{ a = \"x; }"],
    &["{ a = 1; }", "{ a = \"b = ;\"; } # }"],
);

pub(super) const DUPLICATE_ATTR: Rule = syntax(
    "duplicate-attr",
    "an attribute that is defined twice",
    "Sets that are written out merge, at any depth and in any spelling; everything else may be \
     defined once. The rule is that of Nix 2.26: older versions also refuse some merges.",
    &["{ a = 1; a = 2; }", "{ a.b = 1; a = { b = 2; }; }"],
    &["{ a.b = 1; a = { c = 2; }; }", "x: { ${x} = 1; ${x + x} = 2; }"],
);

pub(super) const DUPLICATE_FORMAL: Rule = syntax(
    "duplicate-formal",
    "an argument that a function names twice",
    "A function that takes a set may name each attribute once, and not give the whole set the \
     name of one of them.",
    &["{ a, a }: a", "a@{ a }: a"],
    &["{ a, b }: a", "a: a: a"],
);

pub(super) const UNDEFINED_VARIABLE: Rule = syntax(
    "undefined-variable",
    "a name that nothing defines",
    "Nix refuses the file when it is read. Below a `with` every name may be defined, and nothing \
     is told there.",
    &["{ lib }: libb.id", "let a = 1; in b"],
    &["{ lib, ... }: lib.id", "with import ./x.nix; anything"],
);
