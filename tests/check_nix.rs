//! Our verdict on syntax against Nix's own, on files with one token deleted, doubled, swapped or
//! replaced.
//!
//! The files are those of the lab and of the rules' examples; the mutants are drawn anew from
//! `NIXDEPLOY_MUTANTS=SEED:COUNT`, and from a fixed seed without it. With a lab, 200 of them are
//! shown to the Nix of its deployer; without one, Nix is the program that
//! `NIXDEPLOY_NIX_INSTANTIATE` names, and nobody is asked when it names none.

use std::path::{Path, PathBuf};

use nixdeploy::event::Severity;
use nixdeploy::validate::examine;
use nixdeploy::validate::rules::RULES;
use rnix::SyntaxKind;

use crate::support::{program, variable};

/// A sequence of numbers from a seed (splitmix64).
struct Lot(u64);

impl Lot {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % (limit.max(1) as u64)).expect("below the limit")
    }
}

/// Texts of the shapes that people write.
fn originals() -> Vec<String> {
    let files = crate::check::nix_files();
    let mut texts: Vec<String> =
        files.iter().map(|f| std::fs::read_to_string(f).expect("a text")).collect();
    // Half of all mutants come from files of some size, half from the many short ones.
    let long = texts.clone();
    let examples = RULES.iter().flat_map(|r| r.good().iter().chain(r.bad()));
    let examples: Vec<String> = examples.map(|t| (*t).to_owned()).collect();
    while texts.len() < examples.len() {
        texts.extend(long.clone());
    }
    texts.extend(examples);
    texts
}

/// A text with one token changed.
fn mutant(texts: &[String], lot: &mut Lot) -> String {
    let text = &texts[lot.below(texts.len())];
    let mut words: Vec<(SyntaxKind, String)> =
        rnix::tokenize(text).map(|(kind, word)| (kind, word.to_owned())).collect();
    let solid: Vec<usize> = (0..words.len())
        .filter(|n| {
            !matches!(words[*n].0, SyntaxKind::TOKEN_WHITESPACE | SyntaxKind::TOKEN_COMMENT)
        })
        .collect();
    let at = solid[lot.below(solid.len())];
    let other = solid[lot.below(solid.len())];
    match lot.below(4) {
        0 => drop(words.remove(at)),
        1 => words.insert(at, words[at].clone()),
        2 => words.swap(at, other),
        _ => words[at] = words[other].clone(),
    }
    words.into_iter().map(|(_, word)| word).collect()
}

fn mutants(seed: u64, count: usize) -> Vec<String> {
    let (texts, mut lot) = (originals(), Lot(seed));
    (0..count).map(|_| mutant(&texts, &mut lot)).collect()
}

/// Whether we take each text.
fn ours(folder: &Path, count: usize) -> Vec<bool> {
    let paths: Vec<PathBuf> = (0..count).map(|n| format!("{n:05}.nix").into()).collect();
    let examined = examine(folder, &paths);
    let refused = |path: &PathBuf| {
        let file = examined.faulty().find(|f| f.path == *path);
        file.is_some_and(|f| f.faults.iter().any(|x| x.fault.severity == Severity::Block))
    };
    paths.iter().map(|p| !refused(p)).collect()
}

fn written(texts: &[String], folder: &Path) {
    std::fs::create_dir_all(folder).expect("a folder");
    for (n, text) in texts.iter().enumerate() {
        std::fs::write(folder.join(format!("{n:05}.nix")), text).expect("written");
    }
}

/// Fails when Nix and we differ on more than one in two hundred, and shows each difference.
fn compare(texts: &[String], ours: &[bool], nix: &[bool], seed: u64) {
    let mut told = Vec::new();
    for (n, text) in texts.iter().enumerate().filter(|(n, _)| ours[*n] != nix[*n]) {
        let who = if nix[n] { "Nix takes" } else { "Nix refuses" };
        told.push(format!("-- {who} {n}\n{text}"));
    }
    let refused = nix.iter().filter(|taken| !**taken).count();
    let line = format!(
        "seed {seed}: {} mutants, {refused} refused by Nix, {} differences",
        texts.len(),
        told.len()
    );
    if let Some(path) = variable("NIXDEPLOY_MUTANTS_TOLD") {
        std::fs::write(path, format!("{}\n{line}\n", told.join("\n"))).expect("written");
    }
    assert!(told.len() * 200 <= texts.len(), "{line}\n{}", told.join("\n"));
    assert!(refused > texts.len() / 4, "{line}: mutants that change nothing prove nothing");
}

/// Seed and number, `usual` unless they are given.
fn drawn(usual: usize) -> (u64, usize) {
    let given = variable("NIXDEPLOY_MUTANTS");
    let given = given.as_deref().and_then(|g| g.split_once(':'));
    let parsed = given.and_then(|(s, c)| Some((s.parse().ok()?, c.parse().ok()?)));
    parsed.unwrap_or((20_261_122, usual))
}

#[test]
fn mutants_come_from_their_seed_alone() {
    let (a, b) = (mutants(7, 50), mutants(7, 50));
    assert_eq!(a, b);
    assert_ne!(a, mutants(8, 50));
}

/// Texts on which we differ from Nix 2.26, with what each of us says: taken or not. Those that only
/// Nix refuses are found when they are evaluated; none that Nix takes is refused here.
const KNOWN: [(&str, bool, bool); 7] = [
    ("[ 0. .0 ]", false, false), // agreed on since numbers are looked at
    ("x: [ x or ]", true, false),
    ("x: (x or) 1", true, false),
    ("__nothing", true, false), // a builtin of some version
    ("1 # a\rb", true, false),  // a bare carriage return ends a comment
    ("\u{feff}1", true, false), // 2.26.3 refuses the mark, others skip it
    (".../x.nix", true, true),  // a doubt, no verdict
];

#[test]
fn known_differences_are_still_those() {
    let texts: Vec<String> = KNOWN.iter().map(|(text, _, _)| (*text).to_owned()).collect();
    let folder = tempfile::tempdir().expect("a folder");
    written(&texts, folder.path());
    let taken: Vec<bool> = KNOWN.iter().map(|(_, ours, _)| *ours).collect();
    assert_eq!(ours(folder.path(), texts.len()), taken);
    assert!(KNOWN.iter().all(|(_, ours, nix)| *ours || !nix), "what Nix takes is not refused");
}

#[test]
fn a_named_nix_agrees_on_mutants() {
    let Some(nix) = variable("NIXDEPLOY_NIX_INSTANTIATE") else { return };
    let (seed, count) = drawn(2_000);
    let texts = mutants(seed, count);
    let folder = tempfile::tempdir().expect("a folder");
    written(&texts, folder.path());
    let takes = |n: usize| {
        let path = folder.path().join(format!("{n:05}.nix"));
        let said = program(&nix).arg("--parse").arg(path).output().expect("it starts");
        said.status.success()
    };
    let nix: Vec<bool> = (0..count).map(takes).collect();
    compare(&texts, &ours(folder.path(), count), &nix, seed);
}

mod lab {
    use super::{compare, drawn, mutants, ours, written};
    use crate::support::desk::Desk;
    use crate::support::machines::Lab;
    use crate::support::rows::flat;

    /// Prints the files that Nix takes.
    const TAKEN: &str = "cd \"/srv/share/$1\" && for file in *.nix; do \
        ! nix-instantiate --parse \"$file\" > /dev/null 2>&1 || echo \"$file\"; done";

    #[test]
    fn the_deployers_nix_agrees_on_mutants() {
        let Some(lab) = Lab::from_env() else { return };
        let (seed, count) = drawn(200);
        let texts = mutants(seed, count);
        let folder = tempfile::tempdir_in(lab.file("share")).expect("a folder");
        written(&texts, folder.path());
        let name = folder.path().file_name().and_then(|n| n.to_str()).expect("a name");
        let said = lab.exec("deployer", &["sh", "-c", TAKEN, "sh", name]);
        assert_eq!(said.code, 0, "{}", said.stderr);
        let taken: Vec<&str> = said.stdout.lines().collect();
        let nix: Vec<bool> = (0..count).map(|n| taken.contains(&&*format!("{n:05}.nix"))).collect();
        assert!(nix.contains(&true), "{}", said.stderr);
        compare(&texts, &ours(folder.path(), count), &nix, seed);
    }

    /// A file that we would refuse stops a deploy, unless Nix takes it.
    #[test]
    fn nix_has_the_last_word_before_a_deploy() {
        let Some(desk) = Desk::any() else { return };
        let _ = desk.good();
        desk.write("unused.nix", "{ a = 1; a = 2; }");
        desk.knob("lab.apps.greeter = { port = 8081; };");
        let said = desk.run(&["quick-deploy", desk.host()]);
        assert_eq!(said.code, 3, "{}{}", said.stdout, said.stderr);
        assert!(flat(&said).contains("attribute 'a' already defined"), "{}", said.stderr);
        let takes = "mkdir -p \"/root/desks/$1/bin\"; cd \"/root/desks/$1/bin\"; \
            printf '#!/bin/sh\\necho \"$@\" >> asked\\n' > nix-instantiate; \
            chmod +x nix-instantiate";
        let _ = desk.deployer(takes, &[desk.host()]);
        let said = desk.run(&["quick-deploy", desk.host()]);
        assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
        assert!(flat(&said).contains("Nix takes it: please report this"), "{}", said.stderr);
        let asked = desk.deployer("cat \"/root/desks/$1/asked\"", &[desk.host()]).stdout;
        assert_eq!(asked.lines().count(), 1, "{asked}");
        assert!(asked.contains("unused.nix") && !asked.contains("flake.nix"), "{asked}");
        desk.write("unused.nix", "");
    }
}
