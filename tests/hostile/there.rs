//! What reaches a host: words stay words, sudo stays quiet, and a stranger is not served
//! (security rows S1, S4, S9, S13, S14 and S17).

use std::io::Write as _;
use std::process::{Output, Stdio};

use nixdeploy::build::{FlakeRef, transfer};
use nixdeploy::exit::Exit;
use nixdeploy::fleet::{Address, AttrName, SshControl, Sudo, UserName};
use nixdeploy::world::ssh::{Link, Target};
use nixdeploy::world::{Ended, Invocation, Stream};

use super::{DRAWS, HOSTILE};
use crate::support::home::Desk;
use crate::support::program;
use crate::support::scripted::{Play, Scripted, line};
use crate::support::stage::{FACTS, deploy, good, is, play_with};

/// A login that is not root's.
fn admin() -> Target {
    Target {
        address: Address::new("p620").expect("an address"),
        user: Some(UserName::new("admin").expect("a user")),
        jumps: Vec::new(),
        sudo: Sudo::Auto,
        password: None,
        control: SshControl::Own,
        socket: None,
        here: false,
    }
}

/// What the login shell of a host makes of a call: its command line and its input, with a sudo
/// that writes down how it was asked and then does as it is told.
fn at_the_host(desk: &Desk, call: &Invocation) -> Output {
    desk.fake("sudo", "while [ \"$1\" != -- ]; do shift; done; shift; exec \"$@\"\n");
    let mut shell = program("sh");
    shell.args(["-c", call.args.last().expect("a command")]).current_dir(desk.work());
    shell.env_clear().env("PATH", format!("{}:/usr/bin:/bin", desk.path("bin").display()));
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = shell.spawn().expect("a shell");
    child.stdin.take().expect("a pipe").write_all(&call.stdin).expect("read by the shell");
    child.wait_with_output().expect("ended")
}

#[test]
fn s1_data_reaches_a_host_as_words_and_runs_nothing() {
    let desk = Desk::new();
    let draws = DRAWS.replace('\0', "");
    let hostile: Vec<&str> = HOSTILE.into_iter().chain([draws.as_str(), "", "*", "a b"]).collect();
    let wanted: String = hostile.iter().map(|word| format!("{word}\0")).collect();
    let script = "printf '%s\\0' \"$@\"\n";
    let printed = [&["printf", "%s\\0"], hostile.as_slice()].concat();
    for call in [
        admin().script(Link::Shared, script, &hostile),
        admin().script(Link::Fresh, script, &hostile),
        admin().remote(Link::Shared, &printed),
    ] {
        let said = at_the_host(&desk, &call);
        assert_eq!(String::from_utf8_lossy(&said.stdout), wanted, "{call}");
        assert_eq!(String::from_utf8_lossy(&said.stderr), "", "{call}");
        assert!(!desk.path("work/pwn").exists(), "{call}");
        let before_the_host = call.args.iter().rev().nth(2).map(String::as_str);
        assert_eq!(before_the_host, Some("--"), "{call}");
    }
}

#[test]
fn s4_an_attribute_is_quoted_and_nothing_else() {
    for bad in ["a\".b", "a b", "a#b", "${x}", "a\\", "a\"", "\".\"", "-a", "", "a\nb", "é"] {
        assert!(AttrName::new(bad).is_err(), "{bad:?}");
    }
    let flake = FlakeRef::Other("github:me/config".to_owned());
    let dotted = flake.installable(&AttrName::new("a.b").expect("an attribute"));
    assert!(dotted.contains("#nixosConfigurations.\"a.b\".config."), "{dotted}");
    let desk = Desk::with_fleet("[hosts.p620]\nattr = \"a.b\"\n");
    desk.fake("nix", "exit 1\n");
    assert_eq!(desk.run(&["build", "p620"]).code, 4);
    let asked = desk.calls();
    assert!(asked.iter().any(|c| c.contains("nixosConfigurations.\"a.b\".config")), "{asked:?}");
}

#[test]
fn s9_sudo_is_never_let_ask_and_is_asked_once() {
    let desk = Desk::new();
    let said = at_the_host(&desk, &admin().script(Link::Shared, "echo done\n", &["a"]));
    assert_eq!(String::from_utf8_lossy(&said.stdout), "done\n");
    let said = at_the_host(&desk, &admin().remote(Link::Shared, &["echo", "done"]));
    assert_eq!(String::from_utf8_lossy(&said.stdout), "done\n");
    let asked = desk.calls();
    assert_eq!(asked, ["sudo -n -- /bin/sh -s -- a", "sudo -n -- echo done"]);
    // One that wants a password is taken at its word: asking again could lock the account.
    let desk = Desk::with_fleet("[hosts.p620]\nuser = 'admin'\n");
    desk.fake("ssh", "echo 'sudo: a password is required' >&2; exit 1\n");
    desk.fake("nix", "exit 1\n");
    let said = desk.run(&["status", "p620"]);
    let asked = desk.calls().iter().filter(|c| c.contains("sudo")).count();
    assert_eq!(asked, 1, "{:?}", desk.calls());
    assert!(said.stdout.contains("sudo"), "{}{}", said.stdout, said.stderr);
}

#[tokio::test(start_paused = true)]
async fn s13_a_plain_user_copies_through_root_and_is_refused_with_words() {
    let store = transfer::store_url(&admin());
    assert!(store.ends_with("&remote-program=sudo%20-n%20nix-daemon"), "{store}");
    let said = include_str!("../fixtures/nix/copy-unsigned.log").lines();
    let said = said.map(|text| line(Stream::Err, text)).collect();
    let rules = Scripted::new().on(is("copy"), Play::Says(said, Ended::Exited(1)));
    let played = play_with("'root'", "'admin'", good(rules), deploy()).await;
    assert_eq!(played.exit(), Exit::Refused, "{:?}", played.report());
    let report = played.report();
    let words = [vec![report.note.clone()], report.causes.clone(), report.next.clone()].concat();
    let words = words.join("\n");
    assert!(words.contains("signature") && !words.contains("trusted-users"), "{words}");
    for call in played.calls.iter().filter(|c| c.program == "nix") {
        let text = call.to_string();
        assert!(!text.contains("require-sigs") && !text.contains("trusted"), "{text}");
    }
}

/// Programs that the page's narrow rule names.
fn programs_of_the_rule() -> Vec<&'static str> {
    let page = include_str!("../../src/docs/security.md");
    let rule = page.lines().find_map(|l| l.trim().strip_prefix("deploy ALL=(root) NOPASSWD: /"));
    let rule = rule.expect("a rule").split(", ");
    rule.map(|path| path.rsplit('/').next().unwrap_or(path)).collect()
}

#[tokio::test(start_paused = true)]
async fn s14_sudo_starts_what_the_page_says_and_no_more() {
    let allowed = programs_of_the_rule();
    assert_eq!(allowed, ["sh", "nix-daemon"]);
    let page = include_str!("../../src/docs/security.md")
        .split_whitespace()
        .filter(|word| !word.starts_with("```"))
        .collect::<Vec<_>>();
    let page = page.join(" ");
    assert!(page.contains("this is worth exactly as much as deploy ALL=(root) NOPASSWD: ALL"));
    assert!(page.contains("The user must be guarded as root is"));
    let played = play_with("'root'", "'admin'", good(Scripted::new()), deploy()).await;
    assert_eq!(played.exit(), Exit::Done, "{:?}", played.report());
    let mut started = Vec::new();
    for call in &played.calls {
        let text = call.args.join(" ").replace("%20", " ");
        for (at, _) in text.match_indices("sudo -n ") {
            let words = text[at + "sudo -n ".len()..].split([' ', '&']);
            let word = words.into_iter().find(|w| *w != "--").expect("a program");
            started.push(word.to_owned());
        }
        assert_eq!(text.matches("sudo").count(), text.matches("sudo -n ").count(), "{text}");
    }
    started.sort();
    started.dedup();
    assert_eq!(started, ["/bin/sh", "nix-daemon"], "root is asked for by these, and no other");
}

#[test]
fn s17_another_machine_under_a_known_name_is_refused() {
    let desk = Desk::with_fleet("[hosts.p620]\n");
    let drv = "/nix/store/00000000000000000000000000000000-nixos-system-p620.drv";
    desk.fake("nix", &format!("case $* in *--derivation*) echo {drv} ;; *) exit 1 ;; esac\n"));
    desk.fake("ssh", "cat $DESK/facts\n");
    let facts = FACTS.replace("p510", "p620");
    std::fs::write(desk.path("facts"), &facts).expect("written");
    let known = desk.run(&["quick-deploy", "p620"]);
    assert!(!known.stdout.contains("machine-id"), "{}", known.stdout);
    let other = facts.replace("machine_id=3dd3", "machine_id=4ee4");
    assert_ne!(other, facts);
    std::fs::write(desk.path("facts"), other).expect("written");
    let said = desk.run(&["quick-deploy", "p620"]);
    assert_eq!(said.code, 5, "{}{}", said.stdout, said.stderr);
    assert!(said.stdout.contains("machine-id"), "{}", said.stdout);
    std::fs::write(desk.path("facts"), &facts).expect("written");
    let again = desk.run(&["quick-deploy", "p620"]);
    assert!(!again.stdout.contains("machine-id"), "the first is still known\n{}", again.stdout);
}
