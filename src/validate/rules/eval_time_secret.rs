//! A secret that is read while the configuration is evaluated.

use rnix::SyntaxKind;
use rnix::SyntaxNode;
use rnix::ast::{Apply, Expr};
use rowan::ast::AstNode;

use super::{Check, File, Rule};
use crate::event::Severity;
use crate::validate::place::Place;
use crate::validate::resolve::{Call, Piece, Text};
use crate::validate::syntax::Fault;
use crate::validate::wording;

pub(super) const RULE: Rule = Rule {
    id: "eval-time-secret",
    severity: Severity::Block,
    flags: "readFile and its kin on a file that holds a secret",
    why: "What is read during evaluation becomes part of the configuration, and that lies in the \
          Nix store, which every user of every machine it is copied to can read. Use the option's \
          own *File variant, or LoadCredential, so that the secret is read when the service \
          starts.",
    fixable: false,
    needs: &READERS,
    tops: &[],
    check: Check::Node(&[SyntaxKind::NODE_APPLY], found),
    bad: &[
        "{ config, ... }: { a.password = builtins.readFile config.age.secrets.a.path; }",
        "{ config, ... }: { a = builtins.readFile \"${config.sops.secrets.\"a/b\".path}\"; }",
        "{ lib, ... }: { a = lib.fileContents ./secrets/token.txt; }",
        "{ lib, ... }: { a = lib.strings.fileContents /run/secrets/a; }",
        "{ a = builtins.fromJSON (builtins.readFile ./api-key.json); }",
        "{ lib, ... }: with lib; { a = importJSON (./. + \"/secrets/a.json\"); }",
        "with builtins; { a = readFile /run/agenix/a; }",
        "let inherit (builtins) readFile; in { a = readFile ./wifiPassword; }",
        "let read = builtins.readFile; dir = \"/run/keys\"; in { a = read \"${dir}/x\"; }",
        "{ config, ... }: let s = config.age.secrets; in { a = builtins.readFile s.b.path; }",
        "{ config, ... }: let inherit (config.age) secrets; in builtins.readFile secrets.b.path",
        "{ self, ... }: { a = builtins.readFile \"${self}/secrets/b.age\"; }",
        "{ self, ... }: { a = builtins.readFile (self + \"/hosts/id_ed25519\"); }",
        "name: builtins.readFile (toString ./private + \"/${name}\")",
        "{ lib, ... }: { a = lib.importTOML ./credentials.toml; }",
        "cfg: builtins.readFile \"${cfg.dir}/github_token\"",
        "{ a = map builtins.readFile [ ./secrets/a ./secrets/b ]; }",
        "{ lib, ... }: { a = lib.pipe ./secrets/a [ builtins.readFile lib.trim ]; }",
        "let p = f: builtins.readFile f; in { a = p ./secrets/x; }",
    ],
    good: &[
        "{ a = builtins.readFile ./id_ed25519.pub; }",
        "{ config, ... }: { a.passwordFile = config.age.secrets.a.path; }",
        "{ a = builtins.readFile ./secretary.txt; b = builtins.readFile ./tokenizer.json; }",
        "{ a = builtins.readFile ./keyboard.kbd; b = builtins.readFile ./secrets/README.md; }",
        "{ a = builtins.readFile ./secrets/ca.crt; b = import ./secrets/secrets.nix; }",
        "{ a = builtins.pathExists ./secrets/a; b = ./secrets/a; }",
        "let readFile = x: x; in { a = readFile ./secrets/a; }",
        "{ readFile }: { a = readFile ./secrets/a; }",
        "let my = { readFile = x: x; }; in { a = my.readFile ./secrets/a; }",
        "{ a = \"cat /run/secrets/a\"; /* builtins.readFile ./secrets/a */ }",
        "{ pkgs, ... }: { a = pkgs.writeScript \"a\" ''$(cat ${./secrets/a})''; }",
        "{ a = builtins.readFile ./known_hosts; b = builtins.readFile ./authorized_keys; }",
        "{ name }: builtins.readFile \"/etc/${name}.pub\"",
        "{ lib, ... }: { options.a = lib.mkOption { example = builtins.readFile ./secrets/a; }; }",
        "{ config, ... }: { a = builtins.readFile config.services.a.configFile; }",
        "{ a = builtins.readFile ./scripts/rotate-password.sh; }",
        "{ a = builtins.readDir ./secrets; b = builtins.hashFile \"sha256\" ./secrets/a; }",
        "{ a = builtins.readFile ./secrets/id_rsa.pub; }",
    ],
};

const READERS: [&str; 4] = ["readFile", "fileContents", "importJSON", "importTOML"];

fn found(file: &File<'_>, place: &Place<'_, '_>) -> Option<Fault> {
    let node = place.cursor();
    let apply = Apply::cast(node.clone())?;
    let call = file.resolver.call(&Expr::Apply(apply.clone()));
    let Some(call) = call else { return local(file, &apply) };
    let (reader, files) = reading(file, &call)?;
    let secret = files.iter().find_map(|f| secret(&file.resolver.text(f)))?;
    Some(told(node, &reader, secret))
}

fn told(node: &SyntaxNode, reader: &str, secret: &str) -> Fault {
    let message = format!("{reader} reads {secret} into the world-readable store");
    let hint = "use the option's *File variant, so that it is read when the service starts";
    RULE.fault(node, message).hint(Some(hint.to_owned()))
}

/// The reader that a call is, and what it reads.
fn reading(file: &File<'_>, call: &Call) -> Option<(String, Vec<Expr>)> {
    let reads = |call: &Call| READERS.iter().any(|name| call.is_builtin(name));
    if reads(call) && call.args.len() == 1 {
        return Some((call.name().to_owned(), call.args.clone()));
    }
    let [first, second] = call.args.as_slice() else { return None };
    let function = |e: &Expr| file.resolver.function(e).filter(reads);
    if call.is_lib("map") || call.is_lib("concatMapStrings") {
        let reader = function(first)?;
        return Some((reader.name().to_owned(), file.resolver.elements(second)));
    }
    if call.is_lib("pipe") {
        let reader = function(file.resolver.elements(second).first()?)?;
        return Some((reader.name().to_owned(), vec![first.clone()]));
    }
    None
}

/// A function of the text's own that hands its argument to a reader: `f = p: readFile p`.
fn local(file: &File<'_>, apply: &Apply) -> Option<Fault> {
    let Expr::Lambda(lambda) = file.resolver.reduce(&apply.lambda()?) else { return None };
    let rnix::ast::Param::IdentParam(param) = lambda.param()? else { return None };
    let call = file.resolver.call(&crate::validate::names::unwrap(lambda.body()?))?;
    let (reader, files) = reading(file, &call)?;
    let handed = files.iter().any(|f| f.syntax().text() == param.syntax().text());
    let secret = secret(&file.resolver.text(&apply.argument()?)).filter(|_| handed)?;
    Some(told(apply.syntax(), &reader, secret))
}

/// What kind of secret a path names, if it does.
fn secret(path: &Text) -> Option<&'static str> {
    if let Some(kind) = path.iter().find_map(managed) {
        return Some(kind);
    }
    // Unknown pieces are a mark that is part of no word.
    let text: String =
        path.iter().map(|p| if let Piece::Known(t) = p { t } else { "\0" }).collect();
    let text = text.trim_matches(['<', '>']);
    let (folders, name) = text.rsplit_once('/').unwrap_or(("", text));
    if public(name) {
        return None;
    }
    let run = ["/run/secrets", "/run/agenix", "/run/keys"].iter().any(|p| text.starts_with(p));
    if run || name.ends_with(".age") {
        return Some("a managed secret");
    }
    let private = |f: &str| matches!(f, "secrets" | ".secrets" | "private");
    if folders.split('/').any(private) {
        return Some("a file among secrets");
    }
    (!wording::is_code(name) && wording::names_a_secret(name)).then_some("a secret file")
}

/// `config.age.secrets.NAME` and the like, through any alias of `config`.
fn managed(piece: &Piece) -> Option<&'static str> {
    let Piece::Value(words) = piece else { return None };
    let pair = |w: &[String]| match (w[0].as_str(), w[1].as_str()) {
        ("age", "secrets" | "secretsDir") => Some("an agenix secret"),
        ("sops", "secrets") => Some("a sops secret"),
        _ => None,
    };
    let file = words.last().is_none_or(|w| !matches!(w.as_str(), "sopsFile" | "file"));
    words.windows(2).find_map(pair).filter(|_| file || words.len() < 4)
}

/// Files that are no secret wherever they lie.
fn public(name: &str) -> bool {
    let endings = [".pub", ".crt", ".cer", ".csr", ".md", ".nix"];
    let names = ["known_hosts", "authorized_keys"];
    endings.iter().any(|e| name.ends_with(e)) || names.iter().any(|n| name.starts_with(n))
}
