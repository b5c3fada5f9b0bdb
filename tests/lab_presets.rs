//! The words for a whole fleet, on machines: what became of each host, truly told.

mod lab {
    use std::time::Duration;

    use serde_json::Value;

    use crate::support::desk::Desk;
    use crate::support::machines::{Said, State};
    use crate::support::rows::{Then, differences, flat, has_row, unique};

    /// p510 and razer; one order for all who hold more than one machine.
    fn two() -> Option<(Desk, Desk)> {
        let desk = Desk::of("p510")?;
        Some((desk, Desk::of("razer")?))
    }

    fn app(host: &str, port: u32) -> (String, String) {
        let knob = format!("{{ lab.apps.app{port} = {{ port = {port}; }}; }}\n");
        (format!("hosts/{host}/knobs.nix"), knob)
    }

    fn done(said: &Said, code: i32) {
        assert_eq!(said.code, code, "{}{}", said.stdout, said.stderr);
    }

    fn all_new(before: &State, after: &State) {
        assert!(after.is_all(after.get("running")), "{after:?}");
        assert_ne!(after.get("running"), before.get("running"));
    }

    /// Hosts in the order in which they were switched and had their last word.
    fn order(lines: &str) -> Vec<(String, &'static str)> {
        let mut seen = Vec::new();
        for line in lines.lines() {
            let event: Value = serde_json::from_str(line).expect("an event");
            let Some(host) = event["host"].as_str() else { continue };
            let switched = event["event"] == "phase_started" && event["phase"] == "activate";
            if switched || event["event"] == "host_finished" {
                seen.push((host.to_owned(), if switched { "switched" } else { "end" }));
            }
        }
        seen
    }

    #[test]
    fn every_row_of_four_hosts_is_true() {
        let Some(cut) = Desk::of("dex5550") else { return };
        let Some((bad, good)) = two() else { return };
        let before = [&cut, &bad, &good].map(|desk| desk.good());
        bad.inventory(
            "[hosts.razer]\n[hosts.dex5550]\n[hosts.nobody]\naddress = \"10.99.255.254\"\n\
             optional = \"skip\"",
        );
        bad.write("hosts/p510/knobs.nix", "{ lab.brokenService = true; }\n");
        for (path, knob) in [app("razer", 7790), app("dex5550", 7790)] {
            bad.write(&path, &knob);
        }
        bad.lab().cut("dex5550");
        let said = bad.run(&["deploy-all-parallel"]);
        cut.lab().heal("dex5550");
        done(&said, 6);
        for (host, result) in [
            ("p510", "rolled-back"),
            ("razer", "changed"),
            ("dex5550", "unreachable"),
            ("nobody", "skipped"),
        ] {
            assert!(has_row(&said, host, result), "{host} {result}\n{}", said.stdout);
        }
        let told = "4 hosts: 1 rolled back, 1 changed, 1 unreachable, 1 skipped";
        assert!(said.stdout.contains(told), "{}", said.stdout);
        let failures = said.stdout.split(told).nth(1).unwrap_or_default();
        assert!(failures.contains("FAIL p510  verify: app-broken.service"), "{failures}");
        assert!(failures.contains("| app-broken: cannot open database"), "{failures}");
        assert!(failures.contains("next   nixdeploy logs p510"), "{failures}");
        assert!(failures.contains("FAIL dex5550"), "{failures}");
        let after = [&cut, &bad, &good].map(Desk::unguarded);
        all_new(&before[2], &after[2]);
        for n in [0, 1] {
            let same = ["running", "profile", "generation", "boot_default", "units_active"];
            let same = same.iter().all(|key| before[n].get(key) == after[n].get(key));
            assert!(same, "{:?}\n{:?}", before[n], after[n]);
        }
    }

    #[test]
    fn a_fleet_is_built_first_and_deployed_after_or_not_at_all() {
        let Some((desk, other)) = two() else { return };
        let before = [desk.good(), other.good()];
        desk.inventory("[hosts.razer]");
        let (path, knob) = app("p510", 7791);
        desk.write(&path, &knob);
        desk.write("hosts/razer/knobs.nix", "{ lab.buildError = true; }\n");
        let said = desk.run(&["quick-all"]);
        done(&said, 4);
        assert!(has_row(&said, "razer", "not-built"), "{}", said.stdout);
        assert!(said.stdout.contains("razer does not build"), "{}", said.stdout);
        assert_eq!(desk.state().pointers(), before[0].pointers(), "not one was touched");
        let (path, knob) = app("razer", 7791);
        desk.write(&path, &knob);
        let said = desk.run(&["quick-all", "--format", "jsonl"]);
        done(&said, 0);
        let built = r#""event":"phase_started","host":"razer","phase":"build""#;
        assert_eq!(said.stdout.matches(built).count(), 1, "once\n{}", said.stdout);
        let after = [desk.unguarded(), other.unguarded()];
        all_new(&before[0], &after[0]);
        all_new(&before[1], &after[1]);
        let ((slow, knob), (path, other_knob)) = (app("p510", 7792), app("razer", 7792));
        desk.write(&slow, &knob.replace("{ lab", "{ lab.evalCost = 8; lab"));
        desk.write(&path, &other_knob);
        let said = desk.run(&["deploy-all", "--format", "jsonl"]);
        done(&said, 0);
        let own = |host: &str, word: &'static str| (host.to_owned(), word);
        let wanted = ["p510", "razer"].map(|h| [own(h, "switched"), own(h, "end")]).concat();
        assert_eq!(order(&said.stdout), wanted, "in order, though razer was known first");
        all_new(&after[0], &desk.unguarded());
        all_new(&after[1], &other.unguarded());
    }

    #[test]
    fn a_host_that_was_asleep_is_deployed_in_the_same_run_when_it_is_back() {
        let Some((desk, other)) = two() else { return };
        let before = [desk.good(), other.good()];
        desk.inventory("[hosts.razer]");
        for (path, knob) in [app("p510", 7793), app("razer", 7793)] {
            desk.write(&path, &knob);
        }
        other.lab().cut("razer");
        let running = desk.start(&["quick-deploy", "razer", "p510", "--wait", "2m"]);
        let _ = desk.until_decided(Duration::from_secs(90));
        running.heard("razer build ok");
        // what was checked and built is deployed, whatever is written meanwhile
        desk.write("hosts/razer/knobs.nix", "{ lab.brokenService = true; }\n");
        other.lab().heal("razer");
        let said = running.end();
        done(&said, 0);
        assert!(said.stderr.contains("it is waited for when all others are done"), "{said:?}");
        let after = [desk.unguarded(), other.unguarded()];
        all_new(&before[0], &after[0]);
        all_new(&before[1], &after[1]);
        assert!(after[1].list("units_active").iter().any(|u| u.contains("7793")), "{after:?}");
        let said = desk.run(&["retry"]);
        assert!(said.code == 0 && said.stderr.contains("no host of it failed"), "{}", said.stderr);
    }

    #[test]
    fn a_host_that_was_asleep_is_remembered_until_it_is_done() {
        let Some((desk, other)) = two() else { return };
        let before = [desk.good(), other.good()];
        desk.inventory("[hosts.razer]\nssh.control = \"none\"\noptional = \"defer\"");
        for (path, knob) in [app("p510", 7794), app("razer", 7794)] {
            desk.write(&path, &knob);
        }
        other.lab().cut("razer");
        let said = desk.run(&["quick-deploy", "all"]);
        done(&said, 0);
        assert!(has_row(&said, "razer", "deferred"), "{}", said.stdout);
        assert!(said.stdout.contains("2 hosts: 1 changed, 1 deferred"), "{}", said.stdout);
        assert!(flat(&said).contains("razer deferred: it is deployed with"), "{}", said.stdout);
        let still = "razer: still to be deployed: it was asleep";
        let said = desk.run(&["quick-deploy", "p510"]);
        done(&said, 0);
        assert!(said.stderr.contains(still), "one host alone is not kept waiting: {said:?}");
        assert!(!has_row(&said, "razer", "deferred"), "{}", said.stdout);
        let said = desk.run(&["status"]);
        let told = "asleep when it was to be deployed";
        assert!(flat(&said).contains(told), "{}{}", said.stdout, said.stderr);
        other.lab().heal("razer");
        let said = desk.run(&["retry"]);
        done(&said, 0);
        assert!(has_row(&said, "razer", "changed"), "{}", said.stdout);
        assert!(!has_row(&said, "p510", "unchanged"), "{}", said.stdout);
        let after = [desk.unguarded(), other.unguarded()];
        all_new(&before[0], &after[0]);
        all_new(&before[1], &after[1]);
        let said = desk.run(&["quick-deploy", "p510"]);
        assert!(said.code == 0 && !said.stderr.contains("asleep"), "it is done: {said:?}");
    }

    #[test]
    fn auto_looks_closely_where_something_could_be_hurt_and_says_why() {
        let Some(desk) = Desk::any() else { return };
        let before = desk.good();
        let checked = |said: &Said, word: &str| {
            assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
            assert!(
                said.stderr.contains(&format!("step=mode ok note=\"{word}")),
                "{}",
                said.stderr
            );
        };
        desk.knob("lab.closureMiB = 1; lab.closureSeed = \"calm\";");
        let said = desk.run(&["deploy", desk.host(), "--mode", "auto"]);
        checked(&said, "fast: no unit, kernel, network or user changes");
        assert!(!said.stderr.contains("step=DNS"), "{}", said.stderr);
        let calm = desk.unguarded();
        assert_eq!(differences(Then::New, &before, &calm), [""; 0]);
        desk.knob("lab.apps.greeter = { port = 8081; };");
        let said = desk.run(&["deploy", desk.host(), "--mode", "auto"]);
        checked(&said, "standard: ");
        assert!(said.stderr.contains("step=DNS"), "{}", said.stderr);
        assert_eq!(differences(Then::New, &calm, &desk.unguarded()), [""; 0]);
    }

    /// At a terminal of 80 columns and 24 rows; everything that was written to it.
    fn seen(desk: &Desk, words: &str) -> Said {
        let script = r#"cd /root/desks/$1; export XDG_STATE_HOME=$PWD/state LC_ALL=C.UTF-8
            script -qec "stty cols 80 rows 24; nixdeploy $2" /dev/null < /dev/null"#;
        desk.lab().exec("deployer", &["bash", "-c", script, "-", desk.host(), words])
    }

    #[test]
    fn a_terminal_shows_each_host_what_is_built_and_what_has_come_over() {
        let Some((desk, other)) = two() else { return };
        let _ = (desk.good(), other.good());
        desk.inventory("[hosts.razer]");
        for host in ["p510", "razer"] {
            let seed = unique();
            let knob = format!(
                "{{ lab.slowBuild = 2; lab.closureMiB = 40; lab.closurePaths = 4; \
                 lab.closureSeed = \"{seed}\"; }}\n"
            );
            desk.write(&format!("hosts/{host}/knobs.nix"), &knob);
        }
        for host in ["p510", "razer"] {
            desk.lab().slow(host, 80_000);
        }
        let said = seen(&desk, "deploy-all-parallel --yes");
        desk.lab().heal("p510");
        desk.lab().heal("razer");
        done(&said, 0);
        let text = console::strip_ansi_codes(&said.stdout).into_owned();
        for shown in ["deploy-all-parallel 2 hosts", "building ", "MiB/s", " paths, "] {
            assert!(text.contains(shown), "{shown} is nowhere\n{text}");
        }
        let finished = text.rfind("2 hosts: 2 changed").expect("the recap");
        let kept = text[..finished].matches("  gen ").count();
        assert!(kept >= 2, "a line that stays for each host\n{text}");
    }
}
