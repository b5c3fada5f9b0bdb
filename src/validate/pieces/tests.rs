//! What is told of a text in pieces, held against what is told of it as a whole.

use super::*;
use crate::validate::rules::{self, Rule};

/// The same of a text that is read as a whole: syntax, and the rules that always block.
fn whole(text: &str) -> Vec<Fault> {
    let read = syntax::read(text);
    let mut faults = read.faults;
    let blocks = faults.iter().any(|f| f.severity == Severity::Block);
    if let Some(root) = read.root.filter(|_| !blocks) {
        let told = rules::faults(text, &root, &read.unused, &|| false);
        let always = |f: &Fault| rules::rule(f.code).is_some_and(Rule::always_blocks);
        let mut allows = allow::read(text, &root);
        faults.extend(told.into_iter().filter(always));
        faults.retain(|f| allow::reason(&mut allows, f).is_none());
    }
    faults.sort_by_key(|f| (f.range.start, f.range.end));
    faults
}

/// Whether a text is judged in pieces; then it is judged as it is as a whole.
fn same(text: &str) -> bool {
    let sizes = Sizes { piece: 12, around: text.len() / 3 };
    let Some(mut judged) = by_pieces(text, true, sizes, 1) else { return false };
    judged.faults.retain(|f| allow::reason(&mut judged.allows, f).is_none());
    assert_eq!(judged.faults, whole(text), "{text}");
    true
}

/// On a stack that is deep enough.
fn deep(work: impl FnOnce() + Send + 'static) {
    let worker = thread::Builder::new().stack_size(nesting::STACK).spawn(work);
    worker.expect("a thread").join().expect("no panic");
}

#[test]
fn lists_and_sets_are_judged_in_pieces_and_as_they_are_as_a_whole() {
    deep(|| {
        let token = ["gh", "p_16C7e42F292c6912E7710c838347Ae178B4a"].concat();
        let many = |part: &str| part.repeat(20);
        let named = |part: &str| (0..20).map(|n| part.replace('@', &n.to_string())).collect();
        let named: &dyn Fn(&str) -> String = &named;
        for text in [
            format!("[\n{}]\n", many("  { name = \"x\"; value = 1; }\n")),
            format!("{{ pkgs, ... }}: [ {} ]", many("pkgs.a.b or c 1 x.y or { } ")),
            format!("{{ a, b }}: self: {{\n{}}}\n", named("  a@ = a self.b; # x\n")),
            format!("{{\n{}}}", named("  a@ = with x; let b = 1; in assert c; d; ")),
            format!("let x = 1; in {{ {} b = rec {{ }}; }}", named("a@.b = x; a@.c = y; ")),
            format!("{{ a = rec {{ x = 1; }}; b = [ {} ]; }}", many("(y: y + z) ")),
            format!("{{ {} }}", named("inherit (x@) b@ c@; ")),
            format!("[ {} \"{token}\" {} ]", many("\"a\" "), many("''b ${c}'' ")),
            format!(
                "[\n{}\n # nixdeploy: allow(hardcoded-secret) -- x\n \"{token}\"\n ]",
                many("1 ")
            ),
            format!("{{ \"ä\" = 1; x = {{ {} }}; }}", named("\"ä@\" = \"ä\"; ")),
            format!("{{ {} }}", named("a@ = { b = 1; b = 2; }; ")),
            format!("with x; {{ {} ${{y}} = 1; }}", named("a@ = /* ; */ y; ")),
        ] {
            assert!(same(&text), "{text}");
        }
        for text in [
            format!("{{ a = 1; {} a = 2; }}", named("a@ = 1; ")),
            format!("{{ a.b = 1; {} a.c = 2; }}", named("a@ = 1; ")),
            format!("rec {{ {} }}", named("a@ = 1; ")),
            format!("let {} in x", named("a@ = 1; ")),
            format!("[ {} ) {} ]", many("a "), many("b ")),
            format!("{{ {} b = ; }}", named("a@ = 1; ")),
            format!("let {{ {} }}", named("a@ = 1; ")),
            format!("\u{feff}[ {} ]", many("1 ")),
            format!("({})", many("1 + ")),
        ] {
            assert!(!same(&text), "{text}");
        }
    });
}

#[test]
fn whatever_is_changed_in_a_text_pieces_tell_what_the_whole_tells() {
    deep(|| {
        let mut seed = 5_u64;
        let mut draw = move |upto: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize % upto
        };
        let frames = [
            ("{ lib, x }: {", "}"),
            ("{ a = rec { b = x; }; a = {", "}; a.c = 2; }"),
            ("rec { x = 1; b = {", "}; }"),
            ("{ a.b = 1; c = {", "}; inherit (c) d; }"),
            ("[", "]"),
            ("let x = 1; in [", "]"),
            ("x: { l = [", "] ++ y; }"),
            ("with x; { y = [ ", "]; }"),
        ];
        let bindings = [
            " a@ = 1;",
            " b.c@ = x;",
            " d@ = { d = 2; };",
            " \"e@\" = y;",
            " inherit (x) f@ g@;",
            " inherit a@;",
            " ${x} = 1;",
            " a = rec { x = 1; };",
            " h@ = with x; y;",
            " i@ = let j = x; in k;",
            " a.b@ = 2;",
            " n@ = { n, n }: 1;",
            " # c\n",
        ];
        let elements = [
            " { x = 1; }",
            " x",
            " y",
            " [ x y ]",
            " (x: x)",
            " x.y or z",
            " { a = b; c = b; }",
            " ./p",
            " 1.5",
            " # c\n",
            " \"s\"",
            " ''t ${x}''",
            " x.${y}",
        ];
        let noise = [
            " or",
            " .",
            " rec",
            "\n",
            " /* ; */",
            " ;",
            " }",
            " ]",
            " ''",
            " \"",
            " let",
            " in",
            " assert x;",
            " with x;",
            " x: x",
            " @",
            " -",
            " ''k'' = 1;",
            " inherit;",
            " {",
            " x:y",
        ];
        let mut read = 0;
        for _ in 0..3_000 {
            let frame = draw(frames.len());
            let (before, after) = frames[frame];
            let plain = if frame < 4 { &bindings } else { &elements };
            let mut text = before.to_owned();
            for n in 0..6 + draw(8) {
                let part = match draw(40) {
                    0 => noise[draw(noise.len())],
                    _ => plain[draw(plain.len())],
                };
                let name = if draw(30) == 0 { String::new() } else { n.to_string() };
                text.push_str(&part.replace('@', &name));
            }
            text.push_str(after);
            read += usize::from(same(&text));
        }
        assert!(read > 700, "{read}");
    });
}
