//! Each flag does what its help says: those that are decided before anything happens are asked of
//! the request and the plan, the others are run.

mod shown;

use std::path::Path;

use nixdeploy::cli::{DeployFlags, Global, parse};
use nixdeploy::command::deploy::{PRESETS, Wanted, preset, request, wanted};
use nixdeploy::fleet::{BuildOn, Fleet, Mode, hosts_toml};
use nixdeploy::plan::{Goal, Order, Phase, Plan, Request, decide};

use crate::support::home::{Desk, assert_harmless};
use crate::support::program;

fn fleet() -> Fleet {
    let text = "[defaults]\nbuild_on = 'target'\n[cache]\nurl = 'http://cache:5000'\n\
        [hosts.p620]\ntags = ['big']\n[hosts.razer]\nmode = 'fast'\n[builders.big]\n";
    hosts_toml::parse(Path::new("/fleet/hosts.toml"), text).expect("a fleet")
}

/// What a command line asks for.
fn asked(words: &str) -> Request {
    let argv = std::iter::once("nixdeploy").chain(words.split(' ')).map(Into::into);
    let cli = parse(argv).expect(words);
    let Wanted { preset, flags, .. } = wanted(&cli.command).expect(words);
    request(&preset, &cli.global, &flags, &fleet()).expect(words)
}

fn planned(words: &str) -> Plan {
    let fleet = fleet();
    decide(&asked(words), &fleet.hosts, &Order::of(&fleet.limits))
}

#[test]
fn the_mode_decides_what_is_checked() {
    let modes = |words: &str| {
        let plan = planned(words);
        plan.hosts().map(|h| (h.mode, h.policy.fast)).collect::<Vec<_>>()
    };
    let (standard, fast) = ((Mode::Standard, false), (Mode::Fast, true));
    assert_eq!(modes("deploy p620"), [standard, fast], "what hosts.toml says");
    assert_eq!(modes("deploy p620 --mode fast"), [fast, fast]);
    assert_eq!(modes("deploy p620 --mode standard"), [standard, standard]);
    assert_eq!(modes("deploy-fast p620"), [fast, fast]);
    let auto = planned("deploy p620 --mode auto");
    assert!(auto.hosts().all(|h| h.policy.auto && !h.policy.fast), "decided by what changes");
    assert_eq!(modes("deploy-fast p620 --mode standard"), [standard, standard], "a flag wins");
}

#[test]
fn closures_are_built_where_it_is_said() {
    let place = |words: &str| planned(words).hosts().next().map(|h| h.build_on.clone());
    let host = |name: &str| Some(BuildOn::Host(name.to_owned().try_into().expect("a name")));
    assert_eq!(place("deploy p620"), Some(BuildOn::Target), "what hosts.toml says");
    assert_eq!(place("deploy p620 --build-on local"), Some(BuildOn::Local));
    assert_eq!(place("deploy p620 --build-on razer"), host("razer"));
    assert_eq!(place("deploy p620 --build-on big"), host("big"));
    assert_eq!(place("deploy-local-build p620"), Some(BuildOn::Local));
    let flags = DeployFlags { build_on: Some("nobody".to_owned()), ..DeployFlags::default() };
    let error = request(&preset("deploy"), &Global::default(), &flags, &fleet());
    assert!(error.expect_err("no such host").to_string().contains("razer"));
}

#[test]
fn goals_and_questions_follow_the_flags() {
    assert_eq!(asked("deploy p620").goal, Goal::Deploy);
    assert_eq!(asked("deploy p620 --boot").goal, Goal::Boot);
    assert_eq!(asked("quick-deploy p620 --dry-run").goal, Goal::DryRun);
    let boot = planned("deploy p620 --boot");
    assert!(boot.hosts().all(|h| !h.phases.contains(&Phase::Activate)));
    let dry = planned("deploy p620 --dry-run");
    assert!(dry.hosts().all(|h| !h.phases.contains(&Phase::Copy)));
    let asks = |words: &str| planned(words).hosts().all(|h| h.policy.ask);
    assert!(asks("deploy p620") && !asks("deploy p620 --yes") && !asks("quick-deploy p620"));
    let drift = |words: &str| planned(words).hosts().all(|h| h.policy.accept_drift);
    assert!(drift("deploy p620 --accept-drift") && !drift("deploy p620"));
    for preset in PRESETS.iter().filter(|p| p.name.starts_with("deploy")) {
        assert!(preset.asks && preset.verifies_unchanged, "{preset:?}");
    }
}

/// A fleet whose ssh says nothing and whose nix evaluates and does not build.
fn desk() -> Desk {
    let desk = Desk::with_fleet(
        "[defaults]\n[cache]\nurl = 'http://cache:5000'\npublic_key = 'cache:AAAA'\n\
         [hosts.p620]\n[hosts.razer]\n",
    );
    desk.fake("ssh", "exit 255\n");
    let drv = "/nix/store/00000000000000000000000000000000-nixos-system-p620.drv";
    desk.fake("nix", &format!("case $* in *--derivation*) echo {drv} ;; *) exit 1 ;; esac\n"));
    desk
}

fn calls(desk: &Desk, args: &[&str]) -> String {
    let _ = desk.run(args);
    desk.calls().join("\n")
}

#[test]
fn nix_is_told_of_caches() {
    let plain = calls(&desk(), &["build", "p620"]);
    assert!(plain.contains("--derivation") && plain.contains(" build "), "{plain}");
    assert!(!plain.contains("eval-cache") && !plain.contains("substituters"), "{plain}");
    let fresh = calls(&desk(), &["build", "p620", "--no-cache"]);
    assert!(fresh.contains("--no-eval-cache"), "{fresh}");
    let cached = calls(&desk(), &["build", "p620", "--cached"]);
    assert!(cached.contains("--option extra-substituters http://cache:5000"), "{cached}");
    assert!(cached.contains("--option extra-trusted-public-keys cache:AAAA"), "{cached}");
    assert!(asked("deploy-cached p620").cached && asked("deploy p620 --cached").cached);
    assert!(!asked("deploy p620").cached);
}

#[test]
fn a_cache_that_nobody_named_is_no_silence() {
    let desk = Desk::with_fleet("[hosts.p620]\n");
    for words in [["build", "p620", "--cached"].as_slice(), &["deploy-cached", "p620"]] {
        let said = desk.run(words);
        assert_eq!(said.code, 2, "{words:?}\n{}", said.stderr);
        assert!(said.stderr.contains("[cache]\n        url = "), "{}", said.stderr);
        assert!(said.stderr.contains("hosts.toml names none"), "{}", said.stderr);
    }
}

#[test]
fn a_health_script_that_is_not_there_is_told_before_anything_is_done() {
    let desk = Desk::with_fleet(
        "[hosts.p620]\n\n[[hosts.p620.health]]\nscript = 'checks/web.sh'\nrequired = false\n",
    );
    let drv = "/nix/store/00000000000000000000000000000000-nixos-system-p620.drv";
    desk.fake("nix", &format!("case $* in *--derivation*) echo {drv} ;; *) exit 1 ;; esac\n"));
    let said = desk.run(&["build", "p620"]);
    assert_eq!(said.code, 3, "{}{}", said.stdout, said.stderr);
    for words in [
        "hosts.toml:4: health script checks/web.sh is not in the flake",
        "[health-script]",
        "blocked",
    ] {
        assert!(said.stdout.contains(words), "{words}\n{}", said.stdout);
    }
    assert!(desk.calls().iter().all(|call| !call.contains(" build ")), "nothing was built");
    desk.write("checks/web.sh", "exit 0\n");
    let said = desk.run(&["build", "p620"]);
    assert_eq!(said.code, 4, "it is there: the build is tried\n{}", said.stdout);
}

#[test]
fn where_hosts_and_flake_are_read() {
    let desk = desk();
    desk.write("other/hosts.toml", "[defaults]\nflake = '..'\n[hosts.samsung]\n");
    let args = ["--inventory", "other/hosts.toml", "build", "samsung"];
    let told = calls(&desk, &args);
    let root = desk.work().canonicalize().expect("a folder");
    let root = format!("git+file://{}#", root.display());
    assert!(told.contains(&root) && told.contains("\"samsung\""), "{told}");
    let told = calls(&desk, &["build", "p620", "--flake", "github:me/config"]);
    assert!(told.contains("github:me/config#nixosConfigurations.\"p620\""), "{told}");
}

#[test]
fn results_come_in_the_form_that_was_asked_for() {
    let desk = desk();
    let out = |args: &[&str]| desk.run(&[&["build", "p620"], args].concat()).stdout;
    assert!(out(&[]).starts_with("HOST"));
    let document: serde_json::Value = serde_json::from_str(&out(&["--json"])).expect("a document");
    assert_eq!(document["hosts"][0]["host"], "p620");
    let lines = out(&["--format", "jsonl"]);
    assert!(lines.lines().all(|l| serde_json::from_str::<serde_json::Value>(l).is_ok()), "{lines}");
    assert!(out(&["--format", "github"]).contains("::error"));
    for command in [["history"].as_slice(), &["report"], &["logs", "p620"], &["check"]] {
        for flags in [["--json"].as_slice(), &["--format", "json"]] {
            let said = desk.run(&[command, flags].concat());
            let document = serde_json::from_str::<serde_json::Value>(&said.stdout);
            assert!(document.is_ok_and(|d| d.is_object()), "{command:?}\n{}", said.stdout);
        }
    }
}

fn run_of(document: &str) -> String {
    let document: serde_json::Value = serde_json::from_str(document).expect("a document");
    document["run"].as_str().expect("its name").to_owned()
}

#[test]
fn colours_come_when_they_are_wanted() {
    let desk = desk();
    let said = |args: &[&str]| {
        let said = desk.run(args);
        said.stdout + &said.stderr
    };
    assert!(!said(&["build", "p620"]).contains('\u{1b}'), "no terminal");
    assert!(said(&["build", "p620", "--color", "always"]).contains('\u{1b}'));
    assert!(!said(&["build", "p620", "--color", "never"]).contains('\u{1b}'));
    desk.write("hosts.toml", "[host.p620]\n");
    assert!(said(&["build", "p620", "--color", "always"]).contains('\u{1b}'));
    assert!(!said(&["build", "p620", "--color", "auto"]).contains('\u{1b}'));
}

#[test]
fn less_and_more_is_said() {
    let desk = desk();
    let said = |flags: &[&str]| desk.run(&[&["build", "p620"], flags].concat());
    let lines = |flags: &[&str]| said(flags).stderr.lines().count();
    assert_eq!(lines(&["-q"]), 0);
    assert!(said(&["-q"]).stdout.contains("HOST"), "the recap stays");
    assert!(said(&["-qq"]).stdout.contains("FAIL"), "a failure is always said");
    let (plain, verbose, debug) = (lines(&[]), lines(&["-v"]), lines(&["-vv"]));
    assert!(0 < plain && plain <= verbose && verbose < debug, "{plain} {verbose} {debug}");
    let traced = said(&["-vv"]).stderr;
    assert!(traced.contains("start command=nix"), "every command that is run: {traced}");
}

#[test]
fn issue_and_message_are_in_the_report() {
    let desk = desk();
    let message = "for $(touch pwn) \u{1b}[31mand\u{202e}";
    let _ = desk.run(&["quick-deploy", "p620", "--issue", "123", "--message", message]);
    let report = desk.run(&["report"]).stdout;
    assert!(report.contains("#123") && report.contains("for $(touch pwn)"), "{report}");
    assert_harmless(&report);
    let json = desk.run(&["report", "--json"]).stdout;
    let document: serde_json::Value = serde_json::from_str(&json).expect("a document");
    assert_eq!(document["issue"], 123);
}

#[test]
fn hosts_are_left_out() {
    let desk = desk();
    let json = desk.run(&["build", "all", "--exclude", "p620", "--json"]).stdout;
    let document: serde_json::Value = serde_json::from_str(&json).expect("a document");
    let hosts = document["hosts"].as_array().expect("hosts");
    assert_eq!((hosts.len(), &hosts[0]["host"]), (1, &serde_json::json!("razer")));
}

#[test]
fn history_is_cut_and_filtered() {
    let desk = desk();
    let run = |host: &str| run_of(&desk.run(&["build", host, "--json"]).stdout);
    let (first, second) = (run("p620"), run("razer"));
    let history = |args: &[&str]| desk.run(&[&["history"], args].concat()).stdout;
    assert!(history(&[]).contains(&first) && history(&[]).contains(&second));
    assert!(!history(&["--limit", "1"]).contains(&first), "the newest one is shown");
    assert!(history(&["p620"]).contains(&first) && !history(&["p620"]).contains(&second));
    assert_eq!(history(&["nobody"]), "");
    let logs = desk.run(&["logs", "p620", "--run", &first]);
    assert_eq!(logs.code, 0, "{}", logs.stderr);
    assert_eq!(desk.run(&["logs", "p620", "--run", &second]).code, 2);
}

#[test]
fn an_inventory_is_replaced_only_when_forced() {
    let desk = desk();
    desk.fake("nix", "echo '[\"dex5550\",\"p620\"]'\n");
    let kept = std::fs::read(desk.work().join("hosts.toml")).expect("read");
    assert_eq!(desk.run(&["init"]).code, 2);
    assert_eq!(std::fs::read(desk.work().join("hosts.toml")).expect("read"), kept);
    let said = desk.run(&["init", "--force"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let text = std::fs::read_to_string(desk.work().join("hosts.toml")).expect("read");
    assert!(text.contains("[hosts.dex5550]"), "{text}");
}

#[test]
fn the_engine_that_switches_is_chosen() {
    let external = |words: &str| planned(words).hosts().all(|h| h.policy.external);
    assert!(external("deploy p620 --engine nixos-rebuild"));
    assert!(!external("deploy p620") && !external("deploy p620 --engine native"));
    assert!(!external("deploy p620 --engine nixos-rebuild --dry-run"));
    let nh = |words: &str| planned(words).hosts().all(|h| h.policy.external && h.policy.nh);
    assert!(nh("deploy p620 --engine nh") && !nh("deploy p620 --engine nixos-rebuild"));
}

#[test]
fn a_password_for_sudo_is_read_when_it_is_wanted() {
    let desk = Desk::with_fleet("[defaults]\nuser = 'admin'\n[hosts.p620]\n[hosts.razer]\n");
    desk.fake(
        "ssh",
        "case $* in *'sudo -n'*) echo 'sudo: a password is required' >&2; exit 1 ;; esac\n\
         head -n 1 >> $DESK/given; echo 'sudo: 1 incorrect password attempt' >&2; exit 1\n",
    );
    let given = || std::fs::read_to_string(desk.path("given")).unwrap_or_default();
    let said = desk.run(&["ping-hosts"]);
    assert!(said.code == 5 && said.stdout.contains("nobody is"), "{}", said.stdout);
    assert_eq!(given(), "", "nobody knows it");
    desk.write("word", "s3cret\n");
    let chmod = program("chmod").arg("600").arg(desk.work().join("word")).status();
    assert!(chmod.is_ok_and(|s| s.success()));
    let said = desk.run(&["-vv", "ping-hosts", "--sudo-password-file", "word"]);
    assert_eq!((said.code, given().as_str()), (5, "s3cret\ns3cret\n"), "once for each host");
    let all = format!("{}{}{}", said.stdout, said.stderr, desk.calls().join("\n"));
    assert!(!all.contains("s3cret"), "{all}");
}

/// What it does to a machine is shown in `lab_trial`.
#[test]
fn a_trial_boot_is_planned() {
    let trial = |words: &str| planned(words).hosts().all(|h| h.policy.trial_boot);
    assert!(trial("deploy p620 --trial-boot") && !trial("deploy p620"));
    let words = ["nixdeploy", "deploy", "p620", "--trial-boot", "--boot"];
    assert!(parse(words.map(Into::into)).is_err(), "one start or the next boot, not both");
}

mod lab {
    use crate::support::desk::Desk;
    use crate::support::machines::{Said, State};

    /// A machine that is ours, in a good state, and a change for it.
    fn with_change(settings: &str) -> Option<(Desk, State)> {
        let desk = Desk::any()?;
        let state = desk.good();
        desk.knob(settings);
        Some((desk, state))
    }

    fn deploy(desk: &Desk, command: &str, code: i32) -> Said {
        let command = command.replace("HOST", desk.host());
        let said = desk.run(&command.split(' ').collect::<Vec<_>>());
        assert_eq!(said.code, code, "{command}\n{}{}", said.stdout, said.stderr);
        said
    }

    fn same(before: &State, after: &State) {
        assert_eq!(before.pointers(), after.pointers());
    }

    #[test]
    fn a_dry_run_changes_nothing_and_tells_by_its_code() {
        let Some((desk, before)) = with_change("lab.apps.dry = { port = 7771; };") else { return };
        let said = deploy(&desk, "deploy HOST --dry-run", 0);
        assert!(said.stdout.contains("would be deployed"), "{}", said.stdout);
        let _ = deploy(&desk, "deploy HOST --dry-run --detailed-exitcode", 20);
        let _ = deploy(&desk, "diff HOST --detailed-exitcode", 20);
        let after = desk.state();
        same(&before, &after);
        assert_eq!(after.get("roots"), before.get("roots"));
        let _ = deploy(&desk, "quick-deploy HOST", 0);
        let _ = deploy(&desk, "deploy HOST --dry-run --detailed-exitcode", 0);
        let _ = deploy(&desk, "diff HOST --detailed-exitcode", 0);
    }

    #[test]
    fn boot_changes_the_next_boot_alone_and_drift_must_be_accepted() {
        let Some((desk, before)) = with_change("lab.apps.boot = { port = 7772; };") else { return };
        let _ = deploy(&desk, "deploy HOST --boot", 7);
        let staged = desk.state();
        assert_eq!(staged.get("running"), before.get("running"));
        assert_eq!(staged.get("units_active"), before.get("units_active"));
        assert_ne!(staged.get("boot_default"), before.get("boot_default"));
        assert_eq!(staged.get("profile"), staged.get("boot_default"));
        // Now what runs and what would boot are not the same.
        desk.knob("lab.apps.drift = { port = 7773; };");
        let said = deploy(&desk, "quick-deploy HOST", 5);
        assert!(said.stdout.contains("--accept-drift"), "{}", said.stdout);
        same(&staged, &desk.state());
        let _ = deploy(&desk, "deploy HOST --accept-drift", 0);
        let after = desk.state();
        assert!(after.is_all(after.get("running")), "{after:?}");
    }

    #[test]
    fn a_generation_is_gone_back_to() {
        let Some((desk, first)) = with_change("lab.apps.next = { port = 7774; };") else { return };
        let _ = deploy(&desk, "quick-deploy HOST", 0);
        let second = desk.state();
        let (host, lock) = (desk.host().to_owned(), "flake/flake.lock");
        let on_desk = |script: &str| {
            let script = format!("set -e; cd /root/desks/{host}; {script}");
            let said = desk.lab().exec("deployer", &["bash", "-c", &script]);
            assert_eq!(said.code, 0, "{script}\n{}", said.stderr);
        };
        on_desk(&format!("cp {lock} lock; echo >> {lock}; git -C flake add -A"));
        let _ = deploy(&desk, "rollback HOST --with-lock", 0);
        assert!(desk.state().is_all(first.get("running")), "the one before");
        on_desk(&format!("cmp lock {lock}; rm lock"));
        let generation = second.number("generation").expect("a generation");
        let _ = deploy(&desk, &format!("rollback HOST --to {generation}"), 0);
        assert!(desk.state().is_all(second.get("running")));
        let said = deploy(&desk, "rollback HOST --to 9999", 5);
        assert!(said.stdout.contains("no generation 9999"), "{}", said.stdout);
    }

    #[test]
    fn a_person_is_asked_once_and_can_say_no() {
        let Some((desk, before)) = with_change("lab.apps.ask = { port = 7775; };") else { return };
        let deploy = format!("deploy {}", desk.host());
        let said = desk.at_terminal("n", &deploy);
        assert_eq!(said.code, 11, "{}{}", said.stdout, said.stderr);
        assert!(said.stdout.contains("[Y/n]"), "{}", said.stdout);
        same(&before, &desk.state());
        let said = desk.at_terminal("n", &format!("{deploy} --yes"));
        assert_eq!(said.code, 0, "{}", said.stdout);
        assert!(!said.stdout.contains("[Y/n]"), "{}", said.stdout);
        desk.knob("lab.apps.asked = { port = 7776; };");
        let said = desk.at_terminal("n", &format!("{deploy} --no-input"));
        assert!(!said.stdout.contains("[Y/n]"), "{}", said.stdout);
        assert_eq!(said.code, 0, "as without a terminal: {}", said.stdout);
        let (rollback, before) = (format!("rollback {}", desk.host()), desk.state());
        let said = desk.at_terminal("n", &rollback);
        assert_eq!(said.code, 11, "{}{}", said.stdout, said.stderr);
        let other = format!("next   nixdeploy {rollback} --to ");
        assert!(said.stdout.contains(&other), "another one is offered: {}", said.stdout);
        same(&before, &desk.state());
    }

    #[test]
    fn a_closure_is_built_where_it_is_said() {
        let Some((desk, _)) = with_change("lab.apps.there = { port = 7779; };") else { return };
        let _ = deploy(&desk, "quick-deploy HOST --build-on target", 0);
        let running = desk.state().get("running").to_owned();
        let here = desk.lab().exec("deployer", &["test", "-e", &running]);
        assert_ne!(here.code, 0, "{running} was built on the target and is not here");
    }
}

#[test]
fn the_pace_of_a_fleet_is_what_is_typed() {
    let desk = Desk::with_fleet(
        "[defaults]\nmax_parallel = 5\ncanary = 'b'\n[hosts.a]\n[hosts.b]\n[hosts.c]\nrole = \
         'network'\n",
    );
    let pace = |words: &str| {
        let words = format!("{words} --format jsonl");
        let said = desk.run(&words.split(' ').collect::<Vec<_>>());
        let planned = said.stdout.lines().find(|l| l.contains("\"event\":\"planned\""));
        let event: serde_json::Value =
            serde_json::from_str(planned.expect("a plan")).expect("an event");
        let pace = &event["plan"]["pace"];
        let order = event["plan"]["waves"].as_array().expect("waves").iter();
        let order = order.map(|wave| wave[0]["host"].as_str().expect("a host").to_owned());
        let told = [&pace["at_once"], &pace["max_unavailable"], &pace["canary"]];
        (told.map(ToString::to_string), order.collect::<Vec<_>>().join(" "))
    };
    let of = |words: [&str; 3], order: &str| (words.map(str::to_owned), order.to_owned());
    assert_eq!(pace("quick-deploy all"), of(["5", "5", "\"b\""], "b a c"));
    assert_eq!(pace("quick-deploy a c"), of(["5", "5", "null"], "a c"), "b is not among them");
    assert_eq!(
        pace("quick-deploy all --max-parallel 3 --max-unavailable 2 --canary a"),
        of(["3", "2", "\"a\""], "a b c")
    );
    for (canary, why) in [("c", "its role is network"), ("nobody", "none of the hosts")] {
        let said = desk.run(&["quick-deploy", "all", "--canary", canary]);
        assert!(said.code == 2 && said.stderr.contains(why), "{}", said.stderr);
    }
    assert_eq!(desk.run(&["quick-deploy", "all", "--max-parallel", "0"]).code, 2);
}
