//! Packages installed by hand from a script.

use rnix::{NodeOrToken, SyntaxKind, TextRange, TextSize};
use rowan::GreenTokenData;

use super::{Check, File, Rule};
use crate::event::Severity;
use crate::validate::names;
use crate::validate::place::Place;
use crate::validate::syntax::Fault;

pub(super) const RULE: Rule = Rule {
    id: "nix-env-in-script",
    severity: Severity::Warn,
    flags: "`nix-env -i` and the like, or `nix profile install`, in a script",
    why: "What a script installs by hand is in no configuration: it is not updated, not rolled \
          back and not on the next machine. Declare the package, or use `nix run` and `nix shell`.",
    fixable: false,
    needs: &["nix-env", "nix profile"],
    tops: &[],
    check: Check::Node(&[SyntaxKind::NODE_STRING], found),
    bad: &[
        "{ a = ''\n  nix-env -iA nixpkgs.hello\n''; }",
        "{ a = \"cd /tmp && sudo nix-env --install hello\"; }",
        "{ a = ''\n  if true; then nix profile install nixpkgs#hello; fi\n''; }",
        "{ a = \"nix-env -f x -u\"; }",
        "{ pkgs }: { a = ''${pkgs.nix}/bin/nix-env -i hello''; }",
        "{ a = \"nix profile add nixpkgs#hello\"; }",
        "{ a = \"FOO=1 nix-env -e hello\"; }",
        "{ environment.etc.a.text = ''\n  #!/bin/sh\n  nix-env -i hello\n''; }",
    ],
    good: &[
        "{ a = \"nix-env --list-generations\"; b = \"nix-env --delete-generations old\"; }",
        "{ a = \"nix-env -p /nix/var/nix/profiles/system --set x\"; }",
        "{ a = ''\n  # nix-env -i hello\n''; }",
        "{ a = \"echo nix-env -i hello\"; }",
        "{ a = \"Do not use nix-env -i for this.\"; }",
        "{ description = \"nix-env -i hello\"; }",
        "# nix-env -i hello\n{ a = \"nix profile list\"; }",
        "{ a = \"nix-env -p /nix/var/nix/profiles/system -i x\"; }",
        "{ a = \"nix-env -q --installed\"; }",
        "{ home = { file.\"a/README\".text = ''\n  nix-env -iA is not used here\n''; }; }",
    ],
};

fn found(_: &File<'_>, place: &Place<'_, '_>) -> Option<Fault> {
    let mentions = |text: &str| text.contains("nix-env") || text.contains("nix profile");
    if !place.tokens().any(|t| mentions(t.text())) || is_page(place) {
        return None;
    }
    let node = place.cursor();
    let mut tokens = node.children_with_tokens().filter_map(NodeOrToken::into_token);
    let token =
        tokens.find(|t| t.kind() == SyntaxKind::TOKEN_STRING_CONTENT && mentions(t.text()))?;
    let mut at = 0;
    for line in token.text().split('\n') {
        if let Some((from, upto)) = installs(line) {
            let start = token.text_range().start();
            let place = |n: usize| start + TextSize::new(u32::try_from(at + n).unwrap_or(0));
            let range = TextRange::new(place(from), place(upto));
            let mut fault = Fault::new(RULE.id, range, "this installs packages by hand");
            fault.severity = RULE.severity;
            return Some(fault.hint(Some("declare them in the configuration".to_owned())));
        }
        at += line.len() + 1;
    }
    None
}

/// Whether it is the text of a file that nobody runs: `environment.etc.NAME.text` and the like,
/// unless it begins as a script does.
fn is_page(place: &Place<'_, '_>) -> bool {
    const FOLDERS: [&str; 4] = ["etc", "file", "configFile", "dataFile"];
    let mut words = Vec::new();
    let mut around = place.outer();
    while let Some(outer) = around {
        if outer.kind() == SyntaxKind::NODE_ATTRPATH_VALUE {
            words.extend(names::path_in(outer.green()).rev().flatten());
        }
        around = outer.outer();
    }
    let content = |t: &&GreenTokenData| names::kind(t.kind()) == SyntaxKind::TOKEN_STRING_CONTENT;
    let runs =
        place.tokens().find(content).is_some_and(|t| t.text().trim_start().starts_with("#!"));
    words.first() == Some(&"text") && words.iter().any(|w| FOLDERS.contains(w)) && !runs
}

/// Where a line of a script installs something: a command of its own, not a word of another.
fn installs(line: &str) -> Option<(usize, usize)> {
    let mut from = 0;
    // Each simple command of the line.
    for command in line.split([';', '|', '&', '(', '`']) {
        if command.trim_start().starts_with('#') {
            return None;
        }
        let words: Vec<&str> = command.split_whitespace().collect();
        let leads = |w: &&&str| {
            matches!(**w, "sudo" | "then" | "do" | "else" | "exec" | "!" | "{" | "if" | "$")
                || (w.contains('=') && !w.starts_with('-'))
        };
        let skipped = words.iter().take_while(leads).count();
        if is_install(&words[skipped..]) {
            let start = from + command.find(words[skipped])?;
            return Some((start, from + command.trim_end().len()));
        }
        from += command.len() + 1;
    }
    None
}

fn is_install(words: &[&str]) -> bool {
    let Some((program, rest)) = words.split_first() else { return false };
    match program.rsplit('/').next() {
        Some("nix-env") => {
            let system = rest.iter().any(|w| w.contains("/profiles/system") || *w == "--set");
            let asks = rest.iter().any(|w| matches!(*w, "-q" | "--query"));
            let acts = |w: &&&str| {
                let long = ["--install", "--upgrade", "--uninstall"].contains(*w);
                long || ["-i", "-iA", "-ibA", "-u", "-uA", "-e", "-riA", "-irA"].contains(*w)
            };
            !system && !asks && rest.iter().any(|w| acts(&w))
        }
        Some("nix") => {
            let words: Vec<&&str> = rest.iter().filter(|w| !w.starts_with('-')).collect();
            matches!(words.as_slice(), [first, second, ..]
                if **first == "profile" && matches!(**second, "install" | "add"))
        }
        _ => false,
    }
}
