//! Each flag of `nixdeploy check` does what its help says.

use crate::support::home::Desk;

/// A repository with a warning that is committed, and one that is staged.
fn checked() -> Desk {
    let desk = Desk::with_fleet("[hosts.p620]\n");
    let off = "{ networking.firewall.enable = false; }\n";
    desk.write("old.nix", off);
    desk.git(&["add", "-A"]);
    let person = ["-c", "user.name=t", "-c", "user.email=t@example.org"];
    desk.git(&[&person[..], &["commit", "-q", "-m", "x"]].concat());
    desk.write("staged.nix", off);
    desk.git(&["add", "-A"]);
    desk.write("new.nix", off);
    desk
}

#[test]
fn a_check_looks_at_what_is_meant() {
    let desk = checked();
    let files = |args: &[&str]| {
        let said = desk.run(&[&["check", "--all", "--compact"], args].concat()).stdout;
        let named = said.lines().filter_map(|l| l.split(".nix:").next().filter(|n| *n != l));
        named.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(files(&[]), ["new", "old", "staged"]);
    assert_eq!(files(&["--staged"]), ["staged"]);
    assert_eq!(files(&["--since", "HEAD"]), ["new", "staged"]);
    assert_eq!(files(&["old.nix"]), ["old"]);
}

#[test]
fn a_check_tells_as_much_as_is_wanted() {
    let desk = checked();
    let run = |args: &[&str]| desk.run(&[&["check"], args].concat());
    assert!(!run(&["--compact"]).stdout.contains("old.nix"));
    assert!(run(&["--all"]).stdout.contains("old.nix"));
    assert!(run(&["--compact"]).stdout.contains("new.nix:1:3: warn firewall-disabled"));
    assert_eq!((run(&[]).code, run(&["--deny", "warn"]).code), (0, 3));
    assert_eq!(run(&["--deny", "warn", "old.nix"]).code, 0, "what is old never blocks");
    assert!(run(&["--list-rules"]).stdout.contains("firewall-disabled"));
    assert!(run(&["--explain", "firewall-disabled"]).stdout.contains("Flagged"));
}

#[test]
fn a_check_writes_and_asks_only_when_told() {
    let desk = checked();
    desk.write("new.nix", "{ a = https://example.org; }\n");
    let read = || std::fs::read_to_string(desk.work().join("new.nix")).expect("read");
    let run = |args: &[&str]| desk.run(&[&["check"], args].concat());
    let before = desk.files();
    let _ = run(&[]);
    assert!(read().contains(" https") && desk.files() == before);
    let _ = run(&["--fix"]);
    assert!(read().contains("\"https") && desk.files() == before);
    desk.fake("nix-instantiate", "exit 0\n");
    let _ = run(&[]);
    assert_eq!(desk.calls(), Vec::<String>::new());
    assert_eq!(run(&["--nix"]).code, 0);
    assert_eq!(desk.calls().len(), 1);
    let _ = run(&["--write-baseline"]);
    assert!(desk.work().join(".nixdeploy-baseline").exists());
}
