//! Something that has to be built before evaluation can go on.

use rnix::SyntaxKind;
use rnix::ast::{Apply, Expr};
use rowan::ast::AstNode;

use super::{Check, File, Rule};
use crate::event::Severity;
use crate::validate::place::Place;
use crate::validate::resolve::{Call, Piece, Resolver};
use crate::validate::syntax::Fault;

pub(super) const RULE: Rule = Rule {
    id: "import-from-derivation",
    severity: Severity::Warn,
    flags: "`import`, `readFile` or `readDir` of something that a derivation builds",
    why: "Evaluation stops until it is built: a check or a dry run builds things, hosts are \
          evaluated one after the other, and another platform's derivation cannot be evaluated at \
          all without a builder. Fetch it as a flake input, or keep the generated file.",
    fixable: false,
    needs: &["import", "readFile", "readDir", "fileContents"],
    tops: &[],
    check: Check::Node(&[SyntaxKind::NODE_APPLY], found),
    bad: &[
        "{ pkgs }: import (pkgs.runCommand \"a\" { } \"\")",
        "{ pkgs }: builtins.readFile (pkgs.writeText \"a\" \"b\")",
        "{ pkgs }: import \"${pkgs.fetchFromGitHub { owner = \"a\"; }}/default.nix\" { }",
        "{ pkgs, lib }: let src = pkgs.fetchgit { url = \"x\"; }; in lib.importJSON (src + \
          \"/a.json\")",
        "{ pkgs }: builtins.readDir \"${pkgs.hello}/share\"",
        "{ pkgs }: with pkgs; import (applyPatches { src = ./.; })",
        "{ fetchFromGitHub }: import (fetchFromGitHub { owner = \"a\"; }) { }",
        "{ pkgs }: let d = pkgs.stdenv.mkDerivation { name = \"a\"; }; in builtins.readFile \
          \"${d}/x\"",
    ],
    good: &[
        "{ pkgs }: pkgs.writeText \"a\" (builtins.readFile ./x)",
        "{ pkgs }: import pkgs.path { }",
        "{ inputs }: import (inputs.a + \"/default.nix\")",
        "{ inputs }: import \"${inputs.nixpkgs}/nixos\"",
        "import (builtins.fetchTarball { url = \"x\"; sha256 = \"y\"; }) { }",
        "import (fetchTarball \"https://example.org/a.tar.gz\") { }",
        "{ pkgs }: pkgs.writeScript \"a\" \"cat ${pkgs.hello}/share\"",
        "{ pkgs }: import ./a.nix { src = pkgs.fetchurl { }; }",
        "{ pkgs }: builtins.readFile \"${pkgs.path}/nixos/x\"",
        "let runCommand = x: ./a.nix; in import (runCommand 1)",
    ],
};

const READERS: [&str; 5] = ["readFile", "readDir", "fileContents", "importJSON", "importTOML"];
const MAKERS: [&str; 9] = [
    "mkDerivation",
    "applyPatches",
    "symlinkJoin",
    "substituteAll",
    "replaceVars",
    "concatText",
    "linkFarm",
    "buildEnv",
    "fetchpatch",
];

fn found(file: &File<'_>, place: &Place<'_, '_>) -> Option<Fault> {
    let node = place.cursor();
    let apply = Apply::cast(node.clone())?;
    let resolver = file.resolver;
    let call = resolver.call(&Expr::Apply(apply))?;
    let reads = call.is_own("import") || READERS.iter().any(|r| call.is_builtin(r));
    let argument = call.args.first().filter(|_| reads && call.args.len() == 1)?;
    let what = builds(resolver, argument)?;
    let message = format!("evaluation has to build {what} before it can go on");
    let hint = "take it from a flake input, or keep the file itself".to_owned();
    Some(RULE.fault(node, message).hint(Some(hint)))
}

/// What an argument makes evaluation build.
fn builds(resolver: &Resolver, argument: &Expr) -> Option<String> {
    if let Some(made) = made(resolver, argument) {
        return Some(made);
    }
    let inner: Vec<Expr> = match resolver.reduce(argument) {
        Expr::Str(text) => text
            .parts()
            .filter_map(|part| match part {
                rnix::ast::InterpolPart::Interpolation(inner) => inner.expr(),
                rnix::ast::InterpolPart::Literal(_) => None,
            })
            .collect(),
        Expr::BinOp(sum) => sum.lhs().into_iter().collect(),
        _ => Vec::new(),
    };
    if let Some(made) = inner.iter().find_map(|e| made(resolver, e)) {
        return Some(made);
    }
    resolver.text(argument).iter().find_map(|piece| match piece {
        Piece::Value(words) => package(words),
        Piece::Known(_) => None,
    })
}

/// What a call makes.
fn made(resolver: &Resolver, expr: &Expr) -> Option<String> {
    let expr = resolver.reduce(expr);
    let call = resolver.call(&expr).filter(|_| matches!(expr, Expr::Apply(_)))?;
    makes(&call).then(|| call.function.join("."))
}

fn makes(call: &Call) -> bool {
    let (name, alone) = (call.name(), call.function.len() == 1);
    let own = call.function.first().is_some_and(|f| f == "builtins");
    // Bare `fetchurl` and the like may be the language's own.
    let fetches = name.starts_with("fetch") && (call.argument || !alone || name.contains("From"));
    let writes = ["runCommand", "writeText", "writeShell", "writeScript", "writers", "writeFile"];
    let known = MAKERS.contains(&name) || writes.iter().any(|w| name.starts_with(w));
    !own && (fetches || known) && call.function.iter().all(|w| w != "lib")
}

/// `pkgs.hello`, but not where nixpkgs itself lies.
fn package(words: &[String]) -> Option<String> {
    let [set, name, ..] = words else { return None };
    let rest = ["path", "lib", "system", "config", "stdenv"];
    (set == "pkgs" && !rest.contains(&name.as_str())).then(|| words.join("."))
}
