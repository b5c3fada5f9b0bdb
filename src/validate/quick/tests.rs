//! What is read here held against `rnix`, which is asked whenever this says nothing.

use super::*;
use crate::validate::grammar::of_token;

/// Whether a text is read here; then it is read as `rnix` reads it.
fn same(text: &str) -> bool {
    let Some(root) = parse(text) else { return false };
    let asked = rnix::Root::parse(text);
    assert!(asked.errors().is_empty(), "{text:?} {:?}", asked.errors());
    assert!(*root.green() == *asked.syntax().green(), "{text:?}\n{root:#?}");
    let mut words = rnix::tokenize(text);
    assert!(words.all(|(kind, word)| of_token(kind, word).is_none()), "{text:?}");
    true
}

#[test]
fn texts_as_they_are_mostly_written_are_read_and_the_same() {
    for text in [
        "{ config, pkgs ? null, ... }@args: { a.\"c\".${d} = 1; inherit (lib) x y; }",
        "args@{ a, b, }: let x = 1; y.z = 2; in rec { inherit a; } // { } // b",
        "a: b: with a; assert b == 1; if !a.b or c && d || e -> f then 1 else -2 + 3 * 4 / 5",
        "''\n  a ${b} ''${c} ''' $$ ''\\\n x\n'' + \"a \\\" \\${b} ${\"c${d}\"} $${e}\"",
        "[ ./a ../b/c.nix /etc/x <nixpkgs> <nixpkgs/lib> (x: x) [ ] { } 12 a.b a ]",
        "a ++ b ++ c == (d != e) && f // g <= h || j ? k.l ? m - -n",
        "# ä\n/* ** */ f x (g y) { } [ ] \"\" 1 # end",
        "{ }: { }@a: { ... }: x-y'z",
        "x: x",
        "{ lib, ... }:\n{\n  a = lib.mkIf true [ ./b.nix ];\n}\n",
    ] {
        assert!(same(text), "{text:?}");
    }
}

#[test]
fn whatever_is_read_is_read_as_by_the_other_parser() {
    let parts = "a b lib 1 23 \" '' ${ } { [ ] ( ) ; = . ... : , @ ? or rec let in with \
        inherit if then else assert ! - + ++ * / // < > <= == != && || -> ./x ../y /z <n> # \
        /*c*/ \\ $ $$ ' ä \0 _ ~ 0 9.5 \u{a0} |> x:y a. .a ''\\ ''$ ''' __curPos a/b";
    let parts: Vec<&str> = parts.split(' ').filter(|p| !p.is_empty()).chain(["\n"]).collect();
    let frames = [
        ("", ""),
        ("{ a = ", "; }"),
        ("[ ", " ]"),
        ("x: ", ""),
        ("{ a, ... }: (", ")"),
        ("let a = 1; in ", ""),
        ("\"", "\""),
        ("''", "''"),
    ];
    let mut seed = 11_u64;
    let mut draw = |upto: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % upto
    };
    let mut read = 0;
    for _ in 0..60_000 {
        let (before, after) = frames[draw(frames.len())];
        let mut text = before.to_owned();
        for _ in 0..=draw(7) {
            text.push_str(parts[draw(parts.len())]);
            text.push_str(if draw(3) > 0 { " " } else { "" });
        }
        text.push_str(after);
        read += usize::from(same(&text));
    }
    assert!(read > 2_000, "{read}");
}
