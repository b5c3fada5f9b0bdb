//! The words of the deploy family: what each means, which hosts it has, and that several hosts are
//! worked on as it says.

use std::path::Path;

use nixdeploy::cli::parse;
use nixdeploy::command::deploy::{Wanted, request, wanted};
use nixdeploy::fleet::hosts_toml;
use nixdeploy::plan::Goal;
use serde_json::Value;

use crate::support::home::Desk;

fn typed(words: &str) -> Wanted {
    let argv = std::iter::once("nixdeploy").chain(words.split(' ')).map(Into::into);
    let cli = parse(argv).unwrap_or_else(|e| panic!("{words}\n{e}"));
    wanted(&cli.command).unwrap_or_else(|| panic!("{words} is of no family"))
}

/// Word, where a journey ends, and whether it keeps, asks, goes one by one, builds all first.
const MEANINGS: [(&str, Goal, [bool; 4]); 16] = [
    ("quick-deploy p620", Goal::Deploy, [true, false, false, false]),
    ("deploy p620", Goal::Deploy, [true, true, false, false]),
    ("deploy-fast p620", Goal::Deploy, [true, true, false, false]),
    ("deploy-all", Goal::Deploy, [true, true, true, false]),
    ("deploy-all --parallel", Goal::Deploy, [true, true, false, false]),
    ("deploy-all-parallel", Goal::Deploy, [true, true, false, false]),
    ("quick-all", Goal::Deploy, [true, true, false, true]),
    ("deploy-all --dry-run", Goal::DryRun, [true, true, true, false]),
    ("deploy-all-parallel --boot", Goal::Boot, [true, true, false, false]),
    ("test-host p620", Goal::Build, [false, false, false, false]),
    ("test-all", Goal::Build, [false, false, true, false]),
    ("test-all --parallel", Goal::Build, [false, false, false, false]),
    ("test-all-parallel", Goal::Build, [false, false, false, false]),
    ("quick-test", Goal::Build, [false, false, false, false]),
    ("build p620", Goal::Build, [true, false, false, false]),
    ("build-all-parallel", Goal::Build, [true, false, false, false]),
];

#[test]
fn each_word_means_what_it_says() {
    let fleet = hosts_toml::parse(Path::new("hosts.toml"), "[hosts.p620]\n").expect("a fleet");
    for (words, goal, marks) in MEANINGS {
        let wanted = typed(words);
        let asked = request(&wanted.preset, &Default::default(), &wanted.flags, &fleet);
        let asked = asked.expect(words);
        assert_eq!(asked.goal, goal, "{words}");
        let is = [asked.keep, asked.ask, wanted.preset.one_by_one, asked.build_first];
        assert_eq!(is, marks, "{words}");
        let all = !words.contains("p620");
        assert_eq!(wanted.selection.hosts == ["all"], all, "{words}");
    }
    assert_eq!(typed("deploy-all --exclude @laptop,p*").selection.exclude, ["@laptop", "p*"]);
}

/// Two at once are a matter of machines: what is built for three is built for three together.
const THREE: &str = "[defaults]\nmax_parallel = 2\n\
    [hosts.p620]\ntags = ['server']\n[hosts.p510]\ntags = ['server']\n\
    [hosts.razer]\ntags = ['laptop']\n";

/// A fleet of three whose nix tells when it builds, does `between`, and builds all but `broken`.
fn desk(between: &str, broken: &str) -> Desk {
    let desk = Desk::with_fleet(THREE);
    desk.fake("ssh", "exit 255\n");
    let store = "/nix/store/00000000000000000000000000000000-nixos-system";
    let script = format!(
        "for host in p620 p510 razer; do case $* in *$host*) break ;; esac; done\n\
         case $* in\n\
         *--derivation*) echo {store}-$host.drv ;;\n\
         *.drv^out*) echo begin >> $DESK/order; {between}\n\
         echo end >> $DESK/order; [ $host != '{broken}' ] || exit 1; echo {store}-$host ;;\n\
         *) exit 1 ;; esac\n"
    );
    desk.fake("nix", &script);
    desk
}

fn document(desk: &Desk, args: &[&str], code: i32) -> Value {
    let said = desk.run(&[args, &["--json"]].concat());
    assert_eq!(said.code, code, "{args:?}\n{}{}", said.stdout, said.stderr);
    serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{e}\n{}", said.stdout))
}

fn results(document: &Value) -> Vec<(&str, &str)> {
    let hosts = document["hosts"].as_array().expect("hosts").iter();
    let word = |host: &'_ Value, key: &str| host[key].as_str().expect("a word").to_owned().leak();
    hosts.map(|h| (&*word(h, "host"), &*word(h, "result"))).collect()
}

#[test]
fn hosts_are_worked_on_one_at_a_time_or_side_by_side() {
    for (args, alone) in [
        (["test-all"].as_slice(), true),
        (&["test-all", "--parallel"], false),
        (&["quick-test"], false),
        (&["build-all-parallel"], false),
    ] {
        // One alone waits for nobody; side by side each waits until all three have begun.
        let meet = "n=0; while [ $(grep -c begin $DESK/order) != 3 ] && [ $n != 600 ]; do \
            n=$((n+1)); sleep 0.05; done";
        let desk = desk(if alone { ":" } else { meet }, "");
        let told = document(&desk, args, 0);
        assert_eq!(told["hosts"].as_array().map(Vec::len), Some(3), "{told}");
        let order = std::fs::read_to_string(desk.path("order")).expect("an order");
        let sequence = "begin\nend\n".repeat(3);
        assert_eq!(order == sequence, alone, "{args:?}\n{order}");
        assert!(alone || order.starts_with("begin\nbegin\nbegin\n"), "{order}");
    }
}

#[test]
fn what_is_built_is_kept_and_what_is_tested_is_not() {
    let built = desk(":", "");
    let told = document(&built, &["build", "p620"], 0);
    assert_eq!(results(&told), [("p620", "built")]);
    let calls = built.calls().join("\n");
    assert!(calls.contains("--out-link") && !calls.contains("ssh"), "{calls}");
    let tested = desk(":", "");
    let told = document(&tested, &["test-all-parallel", "--exclude", "@lap*"], 0);
    assert_eq!(results(&told), [("p620", "built"), ("p510", "built")]);
    let calls = tested.calls().join("\n");
    assert!(calls.contains("--no-link") && !calls.contains("ssh"), "{calls}");
    assert!(!calls.contains("--out-link"), "{calls}");
    assert!(tested.run(&["report"]).stdout.contains("it builds"), "and that is said");
}

#[test]
fn a_host_that_does_not_build_stops_no_other_and_is_named() {
    let desk = desk(":", "p510");
    let said = desk.run(&["test-all"]);
    assert_eq!(said.code, 4, "{}", said.stderr);
    assert!(said.stdout.contains("3 hosts: 2 built, 1 not built"), "{}", said.stdout);
    assert!(said.stdout.contains("FAIL p510  build"), "{}", said.stdout);
    assert_eq!(said.stdout.matches("FAIL").count(), 1, "{}", said.stdout);
}

#[test]
fn nothing_is_deployed_anywhere_when_one_host_does_not_build() {
    let desk = desk(":", "p510");
    let told = document(&desk, &["quick-all"], 4);
    let results = results(&told);
    let wanted = [("p620", "would-change"), ("p510", "not-built"), ("razer", "would-change")];
    assert_eq!(results, wanted);
    assert!(told.to_string().contains("built, and not deployed: p510 does not build"), "{told}");
    assert!(!desk.calls().join("\n").contains("ssh"), "no host was asked");
}

#[test]
fn words_that_mean_no_host_are_told_with_the_nearest() {
    let desk = desk(":", "");
    for (args, told) in [
        (["deploy-all", "--exclude", "p602"].as_slice(), "did you mean the host p620?"),
        (&["deploy-all", "--exclude", "@sever"], "did you mean @server?"),
        (&["build", "@lapto"], "did you mean @laptop?"),
        (&["build", "x*"], "no host matches 'x*'"),
        (&["test-all", "--exclude", "all"], "no host is left"),
        (&["deploy-al"], "deploy-all"),
    ] {
        let said = desk.run(args);
        assert_eq!(said.code, 2, "{args:?}");
        assert!(said.stderr.contains(told), "{args:?}\n{}", said.stderr);
    }
}

#[test]
fn what_failed_is_tried_again_with_the_flags_it_had() {
    let broken = desk(":", "p510");
    broken.write("hosts.toml", format!("[cache]\nurl = 'http://cache:5000'\n{THREE}"));
    let told = document(&broken, &["build", "all", "--cached", "--exclude", "razer"], 4);
    assert_eq!(results(&told), [("p620", "built"), ("p510", "not-built")]);
    let told = document(&broken, &["retry"], 4);
    assert_eq!(results(&told), [("p510", "not-built")], "and no other");
    let _ = broken.run(&["diff", "p620"]);
    let _ = broken.run(&["quick-deploy", "p620", "--dry-run"]);
    // mended: the fake of another desk, at this one
    let sound = std::fs::read_to_string(desk(":", "").path("bin/nix")).expect("a script");
    let sound = sound.lines().skip(3).collect::<Vec<_>>().join("\n");
    let before = broken.calls().len();
    broken.fake("nix", &sound);
    let told = document(&broken, &["retry"], 0);
    assert_eq!(results(&told), [("p510", "built")], "what only looked is no run to repeat");
    let calls = broken.calls().split_off(before).join("\n");
    assert!(calls.contains("extra-substituters http://cache:5000"), "{calls}");
    assert!(calls.contains("--out-link"), "{calls}");
    let said = broken.run(&["retry"]);
    assert!(said.code == 0 && said.stderr.contains("no host of it failed"), "{}", said.stderr);
    let idle = broken.run(&["retry", "--json"]);
    let told: Value = serde_json::from_str(&idle.stdout).expect("a document, of nothing too");
    assert_eq!((idle.code, &told["exit"], &told["hosts"]), (0, &0.into(), &Value::Array(vec![])));
    let gone = desk(":", "razer");
    document(&gone, &["build", "all"], 4);
    gone.write("hosts.toml", "[hosts.p620]\n[hosts.p510]\n");
    let said = gone.run(&["retry"]);
    assert_eq!(said.code, 2, "a host waits for it: {}", said.stderr);
    assert!(said.stderr.contains("razer failed or was left out"), "{}", said.stderr);
    assert!(said.stderr.contains("[hosts.razer]"), "{}", said.stderr);
    let said = desk(":", "").run(&["retry"]);
    assert!(said.code == 2 && said.stderr.contains("no run was kept"), "{}", said.stderr);
}

#[test]
fn a_host_that_sleeps_is_waited_for_and_what_it_is_to_run_is_built() {
    let desk = desk(":", "");
    let told = document(&desk, &["quick-deploy", "p620", "--wait", "1s"], 5);
    assert_eq!(results(&told), [("p620", "unreachable")]);
    let text = told.to_string();
    assert!(text.contains("it was waited for 1 s; what it is to run is built"), "{text}");
    assert!(text.contains("nixdeploy retry "), "{text}");
    let calls = desk.calls().join("\n");
    assert_eq!(calls.matches("--out-link").count(), 1, "{calls}");
    for wrong in ["2", "h", "-1s", "8d", "1.5h", "2w", "99999999999d", "0s"] {
        assert_eq!(desk.run(&["quick-deploy", "p620", "--wait", wrong]).code, 2, "{wrong}");
    }
}

#[test]
fn an_emergency_wants_the_hosts_name_once_more() {
    let desk = desk(":", "");
    for (args, told) in [
        (["emergency", "p620"].as_slice(), "nixdeploy emergency p620 --confirm p620"),
        (&["emergency-deploy", "p620", "--yes"], "it wants the host's name once more"),
        (&["emergency", "p620", "--confirm", "p510"], "--confirm names 'p510', and not p620"),
        (&["emergency", "p620", "--confirm", ""], "--confirm names '', and not p620"),
        (&["emergency", "p602", "--confirm", "p602"], "did you mean the host p620?"),
        (&["emergency", "p*", "--confirm", "p*"], "an emergency is about one host"),
        (&["emergency", "all", "--confirm", "all"], "an emergency is about one host"),
    ] {
        let said = desk.run(args);
        assert_eq!(said.code, 2, "{args:?}\n{}", said.stderr);
        assert!(said.stderr.contains(told), "{args:?}\n{}", said.stderr);
    }
    assert_eq!(desk.calls(), [""; 0], "nothing was begun");
    let told = document(&desk, &["emergency", "p620", "--confirm", "p620"], 5);
    assert_eq!(results(&told), [("p620", "unreachable")]);
}

/// What was asleep goes along with the next deploy of several hosts, unless that leaves it out.
#[test]
fn a_deferred_host_goes_along_with_several() {
    let fleet = THREE.replace("['laptop']", "['laptop']\noptional = 'defer'");
    let desk = Desk::with_fleet(&fleet);
    desk.fake("ssh", "exit 255\n");
    desk.fake("nix", "exec sleep 60 # until its host is known to be asleep\n");
    let rows = |args: &[&str]| {
        let hosts = document(&desk, args, 5)["hosts"].clone();
        let hosts = hosts.as_array().cloned().unwrap_or_default();
        let row = |host: &Value| {
            let word = |key: &str| host[key].as_str().unwrap_or_default().to_owned();
            format!("{} {}", word("host"), word("result"))
        };
        hosts.iter().map(row).collect::<Vec<_>>().join(", ")
    };
    let two = "p620 unreachable, p510 unreachable";
    assert_eq!(rows(&["quick-deploy", "p620", "p510"]), two);
    assert_eq!(rows(&["quick-deploy", "all"]), format!("{two}, razer deferred"));
    assert_eq!(rows(&["quick-deploy", "@server"]), format!("{two}, razer deferred"));
    assert_eq!(rows(&["quick-deploy", "@server", "--exclude", "@laptop"]), two);
    assert_eq!(rows(&["quick-deploy", "p620"]), "p620 unreachable");
}
