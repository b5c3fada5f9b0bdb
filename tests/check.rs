//! What the syntax check accepts and refuses: Nix's verdict (2.26 and later) is the reference.

use std::path::{Path, PathBuf};

use nixdeploy::event::Severity;
use nixdeploy::validate::{Examined, examine};

/// Checks texts as the files `0.nix`, `1.nix`, ... of a folder.
fn check_all(texts: &[&[u8]]) -> Examined {
    let folder = tempfile::tempdir().expect("a folder");
    let paths: Vec<PathBuf> = (0..texts.len()).map(|n| PathBuf::from(format!("{n}.nix"))).collect();
    for (path, text) in paths.iter().zip(texts) {
        std::fs::write(folder.path().join(path), text).expect("a file");
    }
    examine(folder.path(), &paths)
}

fn check(text: &str) -> Examined {
    check_all(&[text.as_bytes()])
}

/// Severity, place and message of each finding.
fn told(examined: &Examined) -> Vec<String> {
    let told = |f: nixdeploy::event::Finding| {
        let at = f.subject.split_once(':').map_or("", |(_, at)| at).to_owned();
        format!("{:?} {at} {}: {}", f.severity, f.code, f.message)
    };
    examined.findings().into_iter().map(told).collect()
}

#[test]
fn good_texts_are_accepted() {
    for text in [
        "1",
        "\u{feff}{ }",
        "{ }\r\n",
        "{ lib, config, ... }@args: { a = lib.mkIf config.x args; }",
        "{ a.b = 1; a.c = 2; a = { d.e = 3; }; a.d = { f = 4; }; }",
        "{ modules.containers.k3d = 1; modules = { containers.docker = 2; }; }",
        "{ a = { }; a = ({ b = 1; }); }",
        "{ ${x or \"y\"} = 1; } ? a",
        "let a = b; b = 1; in { inherit a; }",
        "let inherit (a) b; a.b = 1; in b",
        "let a.${\"x\"} = 1; a.y = a.x; in a",
        "let ${\"x\"} = 1; in x",
        "let \"a b\" = 1; c = 2; in c",
        "rec { a = { inherit b; }; b = 1; }",
        "rec { inherit (c) a; c.a = b; b = 1; }",
        "let { a = 1; body = a; }",
        "with import ./x.nix; anything",
        "x: with x; y: z y",
        "{ a ? b, b ? 1 }@c: c.a",
        "a@{ b ? a, ... }: b",
        "x: x.y.\"z\".${x} or x ? a.b",
        "__add 1 (builtins.length [ true null ])",
        "__curPos.line",
        "let f = x: x; in [ (f: f) f.or or f ]",
        "rec { x = 1; inherit (rec { y = x; }) y; }",
        "let x = 1; in { inherit x; y = rec { inherit x; }; }",
        // Names of a `rec` that merges reach over; nothing is told there.
        "{ a = rec { x = 1; }; a = { y = x; }; }",
        "{ a = rec { y = x; }; a = { x = 1; }; }",
        "{ a = rec { x = 1; }; a.y = x; }",
        "9223372036854775807",
        "''\n  ${\"a\"} ''${b} '''\n''",
        "./a/${\"b\"}/c",
        "<nixpkgs/lib>",
        "https://example.org",
        "if true then x: x else assert true; with { }; let in 1",
    ] {
        let text = text.replace("x or \"y\"", "(x: x) or \"y\"");
        assert_eq!(told(&check(&text)), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn bad_texts_are_refused_where_nix_refuses_them() {
    for (text, expected) in [
        ("{ a = 1 }", "1:9 syntax-error: syntax error, unexpected '}', expecting ';'"),
        (
            "{ a = ; }",
            "1:7 syntax-error: syntax error, unexpected ';', expecting '(', 'rec', '{', '[', a",
        ),
        ("{ a = 1;", "1:9 syntax-error: syntax error, unexpected end of file"),
        ("{\n  a = [ 1 2;\n}", "2:12 syntax-error: syntax error, unexpected ';', expecting"),
        ("{ } }", "1:5 syntax-error: syntax error, unexpected '}', expecting end of file"),
        ("(1 ]", "1:4 syntax-error: syntax error, unexpected ']', expecting ')'"),
        ("[ x: x ]", "1:4 syntax-error: syntax error, unexpected ':'"),
        ("true y: y", "1:7 syntax-error: syntax error, unexpected ':'"),
        ("1 + x: x", "1:6 syntax-error: syntax error, unexpected ':'"),
        ("{ } lib: 1", "1:8 syntax-error: syntax error, unexpected ':'"),
        (
            "{ ''a'' = 1; }",
            "1:3 syntax-error: syntax error, an indented string is no attribute name",
        ),
        ("{\u{a0}}", "1:2 syntax-error: syntax error, this blank is none to Nix"),
        ("9223372036854775808", "1:1 syntax-error: syntax error, the integer does not fit"),
        ("[ 0. ]", "1:3 syntax-error: syntax error, no digit follows the point"),
        ("<nixpkgs/>", "1:1 syntax-error: syntax error, a path in angle brackets ends"),
        ("\"a\0b\"", "1:2 syntax-error: syntax error, a string holds no null byte"),
        ("1 |> (x: x)", "1:3 syntax-error: syntax error, pipe operators are an experimental"),
        ("1.0e400", "1:1 syntax-error: syntax error, the number is too large"),
        (
            "let ${\"a\" + \"b\"} = 1; in 1",
            "1:5 syntax-error: dynamic attributes not allowed in let",
        ),
        (
            "{ inherit ${\"a\" + \"b\"}; }",
            "1:11 syntax-error: dynamic attributes not allowed in inherit",
        ),
        ("{ a, a }: 1", "1:6 duplicate-formal: duplicate formal function argument 'a'"),
        ("a@{ a }: 1", "duplicate-formal: duplicate formal function argument 'a'"),
        ("{ a = 1; a = 2; }", "1:10 duplicate-attr: attribute 'a' already defined"),
        ("{ a.b = 1; a = { b = 2; }; }", "duplicate-attr: attribute 'b' already defined"),
        ("{ a = 1; a.b = 2; }", "1:10 duplicate-attr: attribute 'a' already defined"),
        ("{ a.b = { }; a.b.c.d = 1; a.b.c = 2; }", "duplicate-attr: attribute 'c' already"),
        ("let a = 1; a = 2; in a", "1:12 duplicate-attr: attribute 'a' already defined"),
        ("x: { inherit x; x = 1; }", "1:17 duplicate-attr: attribute 'x' already defined"),
        ("x: { inherit x; x.y = 1; }", "1:17 duplicate-attr: attribute 'x' already defined"),
        ("x: { inherit x x; }", "1:16 duplicate-attr: attribute 'x' already defined"),
        ("{ \"a\" = 1; a = 2; }", "duplicate-attr: attribute 'a' already defined"),
        ("{ a = { }; a = x: x; }", "duplicate-attr: attribute 'a' already defined"),
        ("{ lib }: libb", "1:10 undefined-variable: undefined variable 'libb'"),
        ("{ a = 1; b = a; }", "1:14 undefined-variable: undefined variable 'a'"),
        ("rec { inherit a; }", "1:15 undefined-variable: undefined variable 'a'"),
        ("let inherit a; in 1", "1:13 undefined-variable: undefined variable 'a'"),
        ("rec { a.b = 1; c = b; }", "1:20 undefined-variable: undefined variable 'b'"),
        ("with a; 1", "1:6 undefined-variable: undefined variable 'a'"),
        ("{ a ? b }: 1", "1:7 undefined-variable: undefined variable 'b'"),
        ("\"${a}\"", "1:4 undefined-variable: undefined variable 'a'"),
        ("{ }.${a}", "1:7 undefined-variable: undefined variable 'a'"),
        ("# ä\n\"ä\" + b", "2:7 undefined-variable: undefined variable 'b'"),
    ] {
        let told = told(&check(text));
        assert_eq!(told.len(), 1, "{text}: {told:?}");
        let expected = format!("Block {expected}");
        let holds = expected.split_once("duplicate-").map_or_else(
            || told[0].starts_with(&expected),
            |(_, rule)| told[0].starts_with("Block ") && told[0].contains(rule),
        );
        assert!(holds, "{text}\nexpected {expected}\ntold     {}", told[0]);
    }
}

#[test]
fn a_misspelt_name_comes_with_the_nearest() {
    let findings = check("{ config, ... }: conifg.x").findings();
    assert_eq!(findings[0].suggestion.as_deref(), Some("did you mean 'config'?"));
}

#[test]
fn scoped_import_makes_undefined_names_a_doubt() {
    let examined = check_all(&[b"builtins.scopedImport { a = 1; } ./1.nix", b"a"]);
    assert_eq!(examined.count(Severity::Block), 0);
    assert_eq!(examined.count(Severity::Warn), 1);
}

#[test]
fn no_depth_and_no_length_overflows_a_stack() {
    let n = 1_900; // just below the bound of the scan
    for text in [
        format!("1{}", "+1".repeat(n / 2)),
        format!("1{}", "++1".repeat(n / 2)),
        format!("{}1", "-".repeat(n)),
        format!("{}1", "!".repeat(n)),
        "[".repeat(n),
        format!("{}{}", "[".repeat(n), "]".repeat(n)),
        format!("[ {{}}{} ]", ".b or {}".repeat(n / 4)),
        format!("f{}", " 1".repeat(n)),
        "(".repeat(n),
        "\"${".repeat(n),
        "{a=".repeat(n),
        "[".repeat(5_000_000),
        format!("1{}", " + 1".repeat(1_000_000)),
    ] {
        let examined = check(&text);
        assert_eq!(examined.files, 1, "{}", &text[..20]);
    }
}

#[test]
fn what_only_nix_can_judge_is_a_warning() {
    let deep = format!("{}1{}", "(".repeat(600), ")".repeat(600));
    let deeper = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let large = format!("{{ }} # {}", "x".repeat(33 << 20));
    let examined = check_all(&[deep.as_bytes(), deeper.as_bytes(), large.as_bytes()]);
    let severities: Vec<Severity> = examined.findings().iter().map(|f| f.severity).collect();
    assert_eq!(severities, [Severity::Warn; 3]);
    assert_eq!(examined.files, 2);
}

/// A list of five megabytes, most of them in comments; `last` is its last element.
fn huge(last: &str) -> String {
    let comment = "x".repeat(50_000);
    let element = format!("  {{ name = \"a\"; value = x 1; }} # {comment}\n");
    format!("{{ x }}: [\n{}  {last}\n]\n", element.repeat(100))
}

#[test]
fn a_huge_text_is_judged_as_others_are() {
    assert!(told(&check(&huge("{ b = x; }"))).is_empty());
    for (last, what) in [
        ("{ b = y; }", "Block 102:9 undefined-variable: undefined variable 'y'"),
        ("{ b = 1; b = x; }", "Block 102:12 duplicate-attr: attribute 'b' already defined"),
        ("{ b = ; }", "Block 102:9 syntax-error: syntax error, unexpected ';'"),
        ("( x", "Block 103:2 syntax-error: syntax error, unexpected end of file"),
        ("y: x", "Block 102:4 syntax-error: syntax error, unexpected ':'"),
    ] {
        let told = told(&check(&huge(last)));
        assert!(told[0].starts_with(what), "{last} {told:?}");
    }
}

#[test]
fn bytes_that_are_no_utf_8_are_placed_and_do_not_hide_the_rest() {
    let told_of = |bytes: &[u8]| told(&check_all(&[bytes]));
    assert_eq!(
        told_of(b"# \xe4\n1"),
        ["Warn 1:3 not-utf-8: no UTF-8 from byte 2 on (Nix takes any byte in text)"]
    );
    assert_eq!(told_of(b"{ a = \"\xe4\"; b = c; }").len(), 2);
    assert!(told_of(b"{ \xe4 = 1; }")[0].starts_with("Block 1:3 syntax-error"));
}

#[test]
fn links_and_vanished_files_are_passed_over() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("bad"), "{").expect("a file");
    std::os::unix::fs::symlink("bad", folder.path().join("link.nix")).expect("a link");
    std::fs::create_dir(folder.path().join("dir.nix")).expect("a folder");
    let paths = ["link.nix", "gone.nix", "dir.nix"].map(PathBuf::from);
    assert_eq!(examine(folder.path(), &paths), Examined::default());
}

#[test]
fn many_files_come_in_the_order_of_their_names() {
    let texts: Vec<&[u8]> =
        (0..200).map(|n| if n % 2 == 0 { b"{" as &[u8] } else { b"{ }" }).collect();
    let examined = check_all(&texts);
    assert_eq!((examined.files, examined.faulty().count()), (200, 100));
    assert!(examined.faulty().map(|f| f.path).is_sorted_by(|a, b| a < b));
}

/// The lab's own Nix files, and our flake.
pub(crate) fn nix_files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("flake.nix")];
    let mut folders = vec![root.join("tests/lab")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "nix") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

#[test]
fn the_labs_own_flake_is_clean() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let paths = nix_files();
    let examined = examine(root, &paths);
    assert_eq!(told(&examined), Vec::<String>::new());
    assert!(paths.len() > 10);
}

#[test]
fn a_fault_is_drawn_with_its_line() {
    let examined = check("{ lib, ... }:\n{\n  a.b = 1;\n  a = { b = lib; };\n  c = lbi;\n}\n");
    insta::assert_snapshot!(examined.drawn(false, false));
}
