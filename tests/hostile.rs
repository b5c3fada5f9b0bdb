//! What comes from outside is hostile: it runs nothing, draws nothing and hangs nobody
//! (`src/docs/security.md`; a test is named after its row).
//!
//! Each row has a test that fails on a program in which that row's rule is weakened; the table of
//! weakenings is `tests/hostile/weakened.rs`, and `tests/weakened` tries them all.

#[path = "hostile/canaries.rs"]
mod canaries;
#[path = "hostile/here.rs"]
mod here;
#[path = "hostile/machines.rs"]
mod machines;
#[path = "hostile/there.rs"]
mod there;
#[path = "hostile/weakened.rs"]
mod weakened;

use std::time::Duration;

use nixdeploy::event::Event;
use nixdeploy::exit::Exit;
use nixdeploy::fleet::{Address, SshControl, StorePath, UserName};
use nixdeploy::report::{Look, human, json, summary};
use nixdeploy::world::ssh::{Link, Target};
use nixdeploy::world::{Ended, Stream};

use crate::support::home::{Desk, assert_harmless};
use crate::support::scripted::{Play, Scripted, line};
use crate::support::stage::{FACTS, GO, NEW, OLD, Played, TX, deploy, good, is, play, session};
use crate::support::{program, variable};

/// Texts that would do something if any program took them for more than a name.
const HOSTILE: [&str; 9] = [
    "$(touch pwn)",
    "`touch pwn`",
    "a; touch pwn",
    "a'; touch pwn; '",
    "a\"; touch pwn; \"",
    "a\ntouch pwn",
    "-oProxyCommand=touch pwn",
    "--impure",
    "../../../tmp/pwn",
];
/// What a terminal would obey.
const DRAWS: &str =
    "\u{1b}]52;c;cHdu\u{7}\u{1b}]0;pwn\u{7}\u{1b}[2J\u{9b}31m\rsafe\u{202e}\u{2066}\u{85}\u{0}";

/// Programs that tell when they are started.
fn watched(hosts: &str) -> Desk {
    let desk = Desk::with_fleet(hosts);
    for name in ["ssh", "nix", "nix-store", "ssh-keyscan", "ssh-keygen", "sudo", "sh", "touch"] {
        desk.fake(name, "exit 1\n");
    }
    desk
}

/// It was refused, and nothing was started for it.
fn assert_refused(desk: &Desk, args: &[&str], what: &str) {
    let before = desk.files();
    let said = desk.run(args);
    assert_eq!(said.code, 2, "{what}\n{}{}", said.stdout, said.stderr);
    assert_eq!(desk.calls(), [""; 0], "{what}");
    assert_eq!(desk.files(), before, "{what}");
    assert_harmless(&(said.stdout + &said.stderr));
}

#[test]
fn s2_no_field_of_hosts_toml_takes_more_than_a_name() {
    let toml = |text: &str| serde_json::to_string(text).expect("a string");
    let desk = watched("");
    for text in HOSTILE.into_iter().chain([DRAWS, ""]) {
        let text = toml(text);
        for hosts in [
            format!("[hosts.{text}]"),
            format!("[hosts.p620]\naddress = {text}"),
            format!("[hosts.p620]\naddresses = ['p620', {text}]"),
            format!("[hosts.p620]\nuser = {text}"),
            format!("[defaults]\nuser = {text}\n[hosts.p620]"),
            format!("[hosts.p620]\nattr = {text}"),
            format!("[hosts.p620]\nbuild_on = {text}"),
            format!("[defaults]\ncanary = {text}\n[hosts.p620]"),
            format!("[defaults]\nflake = {text}\n[hosts.p620]"),
            format!("[hosts.p620]\ncritical_services = [{text}]"),
            format!("[hosts.p620]\ntags = [{text}]"),
            format!("[[hosts.p620.health]]\nunit = {text}"),
            format!("[[hosts.p620.health]]\ndns = {text}"),
            format!("[[hosts.p620.health]]\ntcp = {text}"),
            format!("[[hosts.p620.health]]\nhttp = {text}"),
            format!("[cache]\nurl = {text}\n[hosts.p620]"),
            format!("[cache]\nurl = 'http://c'\npublic_key = {text}\n[hosts.p620]"),
            format!("[builders.{text}]\n[hosts.p620]"),
            format!("[builders.b]\naddress = {text}\n[hosts.p620]"),
            format!("[builders.b]\nuser = {text}\n[hosts.p620]"),
            format!("[builders.b]\nsystems = [{text}]\n[hosts.p620]"),
            format!("[builders.b]\nfeatures = [{text}]\n[hosts.p620]"),
        ] {
            desk.write("hosts.toml", &hosts);
            assert_refused(&desk, &["quick-deploy", "p620"], &hosts);
        }
    }
}

#[test]
fn s2_no_word_of_the_command_line_takes_more_than_a_name() {
    let desk = watched("[hosts.p620]\n");
    for text in HOSTILE.into_iter().filter(|t| !t.contains('\n')).chain([&DRAWS[..DRAWS.len() - 1]])
    {
        for args in [
            ["deploy", "--", text].as_slice(),
            &["deploy", "p620", "--exclude", text],
            &["deploy", "p620", "--build-on", text],
            &["deploy-via", text, "p620"],
            &["--flake", text, "deploy", "p620"],
            &["--inventory", text, "deploy", "p620"],
            &["deploy", "p620", "--mode", text],
            &["rollback", "--", text],
            &["rollback", "p620", "--to", text],
            &["trust", "--", text],
            &["logs", "--", text],
            &["report", "--", text],
            &["resume", "--", text],
            &["check", "--", text],
            &["init", "--inventory", "new.toml", "--flake", text],
        ] {
            if args[0] == "init" && !text.contains(['\n', '#']) && !text.starts_with('-') {
                continue; // Nix is asked, with the word as one argument
            }
            assert_refused(&desk, args, &format!("{args:?}"));
        }
    }
}

/// A store path by its definition: one component, a hash of base 32, a name.
fn is_store_path(text: &str) -> bool {
    let Some((hash, name)) = text.strip_prefix("/nix/store/").and_then(|t| t.split_once('-'))
    else {
        return false;
    };
    let base32 = "0123456789abcdfghijklmnpqrsvwxyz";
    let letters = "+-._?=";
    hash.len() == 32
        && hash.chars().all(|c| base32.contains(c))
        && (1..=211).contains(&name.len())
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || letters.contains(c))
}

#[test]
fn s3_of_a_hundred_thousand_texts_only_store_paths_are_taken() {
    let odd: Vec<char> = "/.\n\0 '\"$;`\\-oeut\u{1b}\u{202e}é~*?[]{}<>|&=09azAZ".chars().collect();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % below.max(1) as u64).expect("small")
    };
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..100_000 {
        let mut text: Vec<char> = NEW.chars().collect();
        for _ in 0..next(4) {
            let (at, letter) = (next(text.len() - 1), odd[next(odd.len())]);
            match next(4) {
                0 => text[at] = letter,
                1 => text.insert(at, letter),
                2 => drop(text.remove(at)),
                _ => text.truncate(at + 2),
            }
        }
        let text: String = text.into_iter().collect();
        let good = StorePath::new(text.as_str()).is_ok();
        assert_eq!(good, is_store_path(&text), "{text:?}");
        if good { taken += 1 } else { refused += 1 }
    }
    assert!(taken > 10_000 && refused > 10_000, "{taken} taken, {refused} refused");
}

#[test]
fn s5_variables_of_the_caller_do_not_reach_programs() {
    let desk = Desk::with_fleet("[hosts.p620]\n");
    let drv = "/nix/store/00000000000000000000000000000000-nixos-system-p620.drv";
    desk.fake("ssh", "env >> $DESK/env-ssh\nexit 255\n");
    desk.fake("nix", &format!("env >> $DESK/env-nix\necho {drv}\n"));
    std::fs::remove_file(desk.path("bin/git")).expect("removed");
    desk.fake("git", "env >> $DESK/env-git\nexec /usr/bin/git \"$@\"\n");
    let poison = [
        "NIX_SSHOPTS",
        "NIXOS_NO_CHECK",
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "SSH_ASKPASS",
        "GIT_DIR",
        "GIT_SSH_COMMAND",
        "GIT_EXTERNAL_DIFF",
        "BASH_ENV",
        "ENV",
    ];
    let poison = poison.map(|name| (name, "/poison"));
    let agent = [("SSH_AUTH_SOCK", "/agent")];
    let _ = desk.run_with(&["build", "p620"], &[poison.as_slice(), &agent].concat());
    let _ = desk.run_with(&["quick-deploy", "p620"], &[poison.as_slice(), &agent].concat());
    for name in ["ssh", "nix", "git"] {
        let env = std::fs::read_to_string(desk.path(&format!("env-{name}"))).expect(name);
        assert!(!env.contains("/poison"), "{name}\n{env}");
        assert!(env.contains("SSH_AUTH_SOCK=/agent"), "{name}: the agent is needed\n{env}");
    }
}

/// A host that answers so; the answer comes from a file, or is made by a program.
fn answered(script: &str) -> (Desk, crate::support::machines::Said) {
    let desk = Desk::with_fleet("[hosts.p620]\n");
    desk.fake("ssh", script);
    let drv = "/nix/store/00000000000000000000000000000000-nixos-system-p620.drv";
    desk.fake("nix", &format!("case $* in *--derivation*) echo {drv} ;; *) exit 1 ;; esac\n"));
    let before = desk.files();
    let said = desk.run(&["quick-deploy", "p620", "-v"]);
    assert_eq!(desk.files(), before, "{script}");
    // the desk's own path is random and may hold any word
    let own = desk.path("").display().to_string();
    let calls = desk.calls().join("\n").replace(&own, "");
    assert!(!desk.path("work/pwn").exists() && !calls.contains("pwn"), "{calls}");
    let shown = format!("{}{}", said.stdout, said.stderr);
    assert_harmless(&shown);
    assert_harmless(&desk.run(&["report"]).stdout);
    // Without a terminal, escapes are taken out of what is printed; here they would be seen.
    let document = desk.run(&["report", "--json"]).stdout;
    assert_harmless(&document);
    assert!(!document.contains("\\u001b") && !document.contains("\\u009b"), "{document}");
    assert_harmless(&desk.run(&["logs", "p620"]).stdout);
    (desk, said)
}

#[test]
fn s18_an_answer_without_end_ends_the_program_that_gives_it() {
    for script in [
        "head -c 100M /dev/zero | tr '\\0' 'x'",
        "yes \"part=$(seq -s _ 500)\" | head -c 100M",
        "yes \"$(seq -s _ 2000)\" | head -c 100M >&2",
    ] {
        let (_, said) = answered(&format!("{script}\n"));
        assert_eq!(said.code, 5, "{script}\n{}", said.stdout);
        assert!(said.stdout.contains("printed more than"), "{script}\n{}", said.stdout);
        assert!(said.stdout.len() < 1 << 16, "{} bytes", said.stdout.len());
    }
}

/// Words that the redactor looks after, by the mebibyte: each must cost the same.
#[test]
fn s18_lines_full_of_secrets_do_not_hold_us_up() {
    for word in ["token ", "password:", "://a:b@c ", "-----BEGIN ", "Bearer ", "eyJ"] {
        let line = format!("$(yes '{word}' | head -c 1000000 | tr -d '\\n')");
        let (_, said) =
            answered(&format!("echo nixdeploy-facts=1; line={line}; echo \"$line\"; echo end=0\n"));
        assert_eq!(said.code, 5, "{word}\n{}", said.stdout);
    }
}

#[test]
fn s7_no_answer_draws_on_the_terminal() {
    let draws =
        "printf '\\033]52;c;cHdu\\007\\033[2J\\2331m\\rx\\342\\200\\256\\377\\000\\302\\205\\n'";
    for script in [
        format!("{draws} >&2; exit 255\n"),
        format!("{draws}; exit 0\n"),
        format!("echo nixdeploy-facts=1; {draws}; echo end=0\n"),
        format!(
            "echo nixdeploy-facts=1; printf 'uid=0\\nhost='; {draws}; echo part=1; echo end=0\n"
        ),
        format!("printf 'sudo: a password is required '; {draws} >&2; exit 1\n"),
        format!("printf 'Host key verification failed. ' >&2; {draws} >&2; exit 255\n"),
    ] {
        let (_, said) = answered(&script);
        assert_eq!(said.code, 5, "{script}\n{}{}", said.stdout, said.stderr);
    }
}

#[test]
fn s18_no_answer_is_taken_for_what_it_is_not() {
    let facts = |edit: &[(&str, &str)]| {
        edit.iter().fold(FACTS.replace("p510", "p620"), |text, (from, to)| text.replace(from, to))
    };
    let cases = [
        facts(&[("running=/nix/store/", "running=/nix/store/../../")]),
        facts(&[("running=/nix/store/", "running=$(touch pwn)/nix/store/")]),
        facts(&[("uid=0", "uid=1000")]),
        facts(&[("uid=0", "uid=99999999999999999999999999")]),
        facts(&[("nixos=1", "nixos=0")]),
        facts(&[("end=0", "end=1")]),
        facts(&[("nixdeploy-facts=1", "nixdeploy-facts=2")]),
        facts(&[("end=0\n", "")]),
    ];
    for case in cases {
        let desk = Desk::with_fleet("[hosts.p620]\n");
        std::fs::write(desk.path("facts"), &case).expect("written");
        desk.fake("ssh", "cat $DESK/facts\n");
        let drv = "/nix/store/00000000000000000000000000000000-nixos-system-p620.drv";
        desk.fake("nix", &format!("case $* in *--derivation*) echo {drv} ;; *) exit 1 ;; esac\n"));
        let said = desk.run(&["quick-deploy", "p620"]);
        assert_eq!(said.code, 5, "{}{}\n{case}", said.stdout, said.stderr);
        assert!(desk.calls().iter().all(|c| !c.contains(" copy ")), "{:?}", desk.calls());
        assert!(!desk.path("work/pwn").exists());
    }
}

#[tokio::test(start_paused = true)]
async fn s18_a_host_that_says_nothing_is_given_up() {
    let played = play(good(Scripted::new().on(is("facts"), Play::Hang(vec![]))), deploy()).await;
    assert_eq!(played.exit(), Exit::Refused);
    let greeting = vec![line(Stream::Out, "nixdeploy-verify=1")];
    for silence in [Play::Hang(vec![]), Play::Hang(greeting)] {
        let played = play(good(Scripted::new().on(is("verify"), silence)), deploy()).await;
        assert_eq!(played.exit(), Exit::RolledBack, "{:?}", played.report());
        assert!(took(&played) < Duration::from_secs(300), "{:?}", took(&played));
    }
    let played = play(good(Scripted::new().on(is("go"), Play::Hang(vec![]))), deploy()).await;
    assert_eq!(played.exit(), Exit::Unknown, "{:?}", played.report());
    assert!(took(&played) < Duration::from_secs(3600), "{:?}", took(&played));
}

/// Of the paused clock.
fn took(played: &Played) -> Duration {
    let last = played.events.last().map(|e| e.elapsed_ms);
    Duration::from_millis(last.unwrap_or(u64::MAX))
}

/// Everything that is ever shown of a run.
fn shown(played: &Played) -> String {
    let look = Look { unicode: true, colour: false, width: 80, whole: false, zone: jiff_utc() };
    let state = &played.state;
    let github = nixdeploy::report::github::annotations(state).join("\n");
    let lines: String = played.events.iter().map(|e| json::line(e).expect("a line")).collect();
    [
        human::text(state, &look),
        summary::markdown(state, &look),
        json::document(state),
        github,
        lines,
    ]
    .concat()
}

fn jiff_utc() -> jiff::tz::TimeZone {
    jiff::tz::TimeZone::UTC
}

#[tokio::test(start_paused = true)]
async fn s7_nothing_a_guard_or_a_check_says_draws_or_decides_wrongly() {
    let json_line = serde_json::json!({ "MESSAGE": DRAWS, "__CURSOR": DRAWS }).to_string();
    let noise = [DRAWS, "end", "end=zero", "{", "{}", "[[[[", "outcome", "=", "", &json_line]
        .map(|l| line(Stream::Out, l));
    let hostile = |text: &str| {
        let lines = text.lines().map(|l| line(Stream::Out, l));
        Play::Says(noise.iter().cloned().chain(lines).collect(), Ended::Exited(0))
    };
    let draws = DRAWS.replace('\n', "");
    let checks = |text: &str| {
        format!("{}\nunit={draws}\nroute4={draws}\nmemory_total_kib=1e99\n", text.trim_end())
    };
    let units =
        |text: &str| text.replace("nginx.service loaded active", &format!("{draws} loaded failed"));
    let locked =
        format!("locked={draws}\nowner={draws}\nphase={draws}\nage_s={}\nend=1", "9".repeat(20));
    let acted = format!("{TX}\nact=result={draws}\nstarted=1\nend=0");
    let refused = format!("{TX}\nrefused={draws}\nend=0");
    let reason =
        GO.replace("phase=observe", &format!("phase={draws}\nreason={draws}\nowner={draws}"));
    for (rules, exit) in [
        (Scripted::new().on(is("go"), hostile(GO)), Exit::Done),
        (Scripted::new().on(is("go"), hostile(&reason)), Exit::Done),
        (Scripted::new().on(is("hold"), hostile(&locked)), Exit::Refused),
        (Scripted::new().on(is("hold"), hostile("end=7")), Exit::Refused),
        (Scripted::new().on(is("go"), hostile(&refused)), Exit::Refused),
        (Scripted::new().on(is("go"), hostile(&acted)), Exit::RolledBack),
        (Scripted::new().on(is("rehearse"), hostile("end=0")), Exit::Refused),
        (Scripted::new().on(is("verify"), session(checks)), Exit::Done),
        (Scripted::new().on(is("verify"), session(units)), Exit::RolledBack),
        (Scripted::new().on(is("verify"), hostile("checks=done\nend=0")), Exit::RolledBack),
    ] {
        let played = play(good(rules), deploy()).await;
        let report = played.report();
        assert!(played.exit() == exit, "{exit:?} wanted: {report:?}");
        assert_harmless(&shown(&played));
    }
}

#[tokio::test(start_paused = true)]
async fn s3_a_store_path_from_a_host_is_one_or_nothing() {
    let bad = GO.replace("old=/nix/store/", "old=/nix/store/../").replace(NEW, "$(touch pwn)");
    let bad = Play::says(bad.replace("status=0", "status=2").lines());
    let back = [
        TX.to_owned(),
        "outcome=revert_failed".to_owned(),
        format!("running={OLD}/../../tmp"),
        "end=0".to_owned(),
    ];
    let rules = Scripted::new().on(is("go"), bad).on(is("abort"), Play::says(back));
    let played = play(good(rules), deploy()).await;
    assert_eq!(played.exit(), Exit::Stranded);
    let report = played.report();
    assert_eq!(report.after.as_ref().and_then(|p| p.running.clone()), None);
    assert!(
        report.next.iter().all(|n| !n.contains("pwn") && !n.contains("..")),
        "{:?}",
        report.next
    );
    let finished = played.events.iter().filter(|e| matches!(e.event, Event::HostFinished { .. }));
    assert_eq!(finished.count(), 1);
}

#[test]
fn s19_ssh_itself_takes_our_options_for_what_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("config");
    let hostile = "Host *\n ForwardAgent yes\n ForwardX11 yes\n StrictHostKeyChecking no\n \
        PermitLocalCommand yes\n LocalCommand touch pwn\n RequestTTY force\n \
        RemoteForward 2222 localhost:22\n EscapeChar ~\n UpdateHostKeys yes\n BatchMode no\n";
    std::fs::write(&config, hostile).expect("written");
    let target = Target {
        user: Some(UserName::new("root").expect("a user")),
        control: SshControl::Own,
        socket: Some("/run/user/0/nixdeploy/socket".into()),
        ..Target::plain(Address::new("p620").expect("an address"))
    };
    let mut text = String::new();
    for (name, link) in [("shared", Link::Shared), ("fresh", Link::Fresh)] {
        let call = target.command(link, "true");
        let options = call.args.iter().take_while(|a| *a != "--");
        let mut ssh = program("ssh");
        ssh.arg("-F").arg(&config).arg("-G").args(options).args(["--", "p620"]);
        let said = ssh.output().expect("ssh");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let ours: Vec<String> = call
            .args
            .iter()
            .filter_map(|a| a.split_once('='))
            .map(|(key, _)| key.to_lowercase())
            .collect();
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let mut kept: Vec<&str> = said
            .lines()
            .filter(|l| {
                let key = l.split(' ').next().unwrap_or_default();
                ours.iter().any(|o| o == key) || ["remoteforward", "user"].contains(&key)
            })
            .collect();
        kept.sort_unstable();
        text += &format!("{name}\n  {}\n", kept.join("\n  "));
    }
    assert!(variable("PATH").is_some());
    insta::assert_snapshot!(text);
}
