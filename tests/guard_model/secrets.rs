//! I12 on the script itself: what is passed to it and is no request leaves no trace.

use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::program;

/// What hold.sh leaves on the target as `guard`.
const GUARD: &str = concat!(
    include_str!("../../src/commit/bootloader.sh"),
    include_str!("../../src/activate/sample.sh"),
    include_str!("../../src/activate/signature.sh"),
    include_str!("../../src/activate/ladder.sh"),
    include_str!("../../src/activate/trial.sh"),
    include_str!("../../src/activate/guard.sh"),
);

fn holds(folder: &Path, secret: &str) -> bool {
    folder.read_dir().expect("the folder").flatten().any(|entry| {
        let text = std::fs::read(entry.path()).unwrap_or_default();
        entry.file_name() != "guard" && String::from_utf8_lossy(&text).contains(secret)
    })
}

#[test]
fn i12_what_is_passed_is_neither_kept_nor_said() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path().join("a1b2c3");
    std::fs::create_dir(&folder).expect("the transaction's folder");
    let put = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("a file");
    put("guard", GUARD);
    // A system without any program: the shell's own are enough to refuse.
    put("old", &format!("{}\n", place.path().join("system").display()));
    put("new", "/nix/store/00000000000000000000000000000000-new\n");
    let words = ("(go|stage|commit|renewal|secret)", "[A-Za-z0-9+/=]{16,40}");
    let config = Config { cases: 32, failure_persistence: None, ..Config::default() };
    let tried = TestRunner::new(config).run(&words, |(verb, secret)| {
        let guard = folder.join("guard");
        let path = format!("/nix/store/{}-{secret}", "1".repeat(32));
        for argument in [secret.clone(), path] {
            let said = program("sh").arg(&guard).args([&verb, &argument]).output();
            let said = said.expect("sh starts");
            let text = [said.stdout, said.stderr].concat();
            prop_assert_eq!(said.status.code(), Some(2));
            prop_assert!(!String::from_utf8_lossy(&text).contains(&secret));
            prop_assert!(!holds(&folder, &secret));
        }
        Ok(())
    });
    assert!(tried.is_ok(), "{tried:?}");
}
