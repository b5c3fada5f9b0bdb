//! What a person reads of real machines: what waits for a boot, what changed a host last, how many
//! services there are, what became of a run that was killed, and one question for several hosts.

mod lab {
    use serde_json::Value;

    use crate::support::desk::Desk;
    use crate::support::machines::Said;
    use crate::support::rows::{flat, has_row};

    fn document(desk: &Desk, args: &[&str]) -> Value {
        let said = desk.run(args);
        let document = serde_json::from_str(&said.stdout);
        document.unwrap_or_else(|e| panic!("{args:?}: {e}\n{}{}", said.stdout, said.stderr))
    }

    /// The host's row of `status`.
    fn row(desk: &Desk) -> Value {
        document(desk, &["status", desk.host(), "--json"])["hosts"][0].clone()
    }

    fn done(said: &Said, code: i32) {
        assert_eq!(said.code, code, "{}{}", said.stdout, said.stderr);
    }

    #[test]
    fn what_waits_for_a_boot_is_staged_and_no_drift() {
        let Some(desk) = Desk::any() else { return };
        let host = desk.host().to_owned();
        let _ = desk.good();
        desk.knob("lab.apps.waits = { port = 7781; };");
        done(&desk.run(&["deploy", &host, "--boot"]), 7);
        let it = row(&desk);
        assert_eq!((&it["vs_flake"], &it["state"]["drift"]), (&"staged".into(), &false.into()));
        assert_eq!(it["last_deploy"]["result"], "staged");
        // The same once more finds it done; without --boot it is switched to.
        let said = desk.run(&["deploy", &host, "--boot"]);
        done(&said, 7);
        assert!(said.stdout.contains("staged for the next boot already"), "{}", said.stdout);
        let said = desk.run(&["deploy", &host, "--dry-run"]);
        done(&said, 0);
        assert!(flat(&said).contains("already, staged for the next boot"), "{}", said.stdout);
        let before = desk.state();
        done(&desk.run(&["deploy", &host]), 0);
        let after = desk.state();
        assert!(after.is_all(before.get("profile")), "{after:?}");
        assert_eq!(after.get("generation"), before.get("generation"));
        desk.knob("lab.apps.waits = { port = 7780; };");
        done(&desk.run(&["deploy", &host, "--boot"]), 7);
        let said = desk.run(&["status", &host]).stdout;
        assert!(said.contains("a reboot applies it") && !said.contains(" drift "), "{said}");
        assert!(said.contains("sudo reboot"), "{said}");
        desk.knob("lab.apps.later = { port = 7782; };");
        let said = flat(&desk.run(&["status", &host]));
        assert!(said.contains("the flake wants another one by now"), "{said}");
        let said = desk.run(&["quick-deploy", &host]);
        done(&said, 5);
        assert!(flat(&said).contains("staged for the next boot"), "{}", said.stdout);
    }

    #[test]
    fn the_last_change_is_none_that_changed_nothing_and_rollbacks_count() {
        let Some(desk) = Desk::any() else { return };
        let host = desk.host().to_owned();
        let _ = desk.good();
        desk.knob("lab.apps.last = { port = 7783; };");
        let changed = document(&desk, &["quick-deploy", &host, "--json"]);
        done(&desk.run(&["quick-deploy", &host]), 0);
        done(&desk.run(&["deploy", &host, "--dry-run"]), 0);
        let it = row(&desk);
        assert_eq!(it["last_deploy"]["run"], changed["run"], "{it}");
        assert_eq!(it["last_deploy"]["rollback"], false);
        let verified = document(&desk, &["deploy", &host, "--json"]);
        counted_alike(&desk, &it, &verified);
        let back = document(&desk, &["rollback", &host, "--json"]);
        let to = &back["hosts"][0]["changes"]["back_to"];
        let now = it["state"]["pointers"]["generation"].as_u64().expect("a generation");
        assert!(to["generation"].as_u64().is_some_and(|to| to < now), "{to}");
        assert!(to["name"].as_str().is_some_and(|n| n.starts_with("nixos-system-")), "{to}");
        let note = back["hosts"][0]["note"].as_str().expect("a note");
        assert!(note.contains(&format!("gen {}'s system again", to["generation"])), "{note}");
        let it = row(&desk);
        assert_eq!(it["last_deploy"]["run"], back["run"], "{it}");
        assert_eq!(it["last_deploy"]["rollback"], true);
        let said = desk.run(&["status", &host]).stdout;
        assert!(said.contains("rollback, changed"), "{said}");
        // There is something to go back to, and it is not what runs.
        let said = desk.run(&["rollback", &host, "--to", "9999"]);
        done(&said, 5);
        let next = said.stdout.lines().find(|l| l.contains("next")).expect("a next command");
        let words: Vec<&str> = next.split_whitespace().skip(2).take(4).collect();
        let said = desk.run(&words);
        assert!(said.code == 0 && has_row(&said, &host, "changed"), "{next}\n{}", said.stdout);
    }

    /// `status`, the check and the report count services in one way.
    fn counted_alike(desk: &Desk, status: &Value, verified: &Value) {
        let units = &status["state"]["units"];
        let told = format!("{}/{} active", units["active"], units["total"]);
        let steps = verified["hosts"][0]["steps"].as_array().expect("steps");
        let services = steps.iter().find(|s| s["name"] == "services").expect("the check");
        assert_eq!(services["note"], told.as_str());
        let report = desk.run(&["report", verified["run"].as_str().expect("a run")]).stdout;
        let line = report.lines().find(|l| l.trim_start().starts_with("Services:"));
        assert!(line.is_some_and(|l| l.contains(&told)), "{told}\n{report}");
    }

    #[test]
    fn errors_in_the_journal_have_a_warning_sign() {
        let Some(desk) = Desk::any() else { return };
        let host = desk.host().to_owned();
        let _ = desk.good();
        desk.knob("lab.apps.sign = { port = 7784; };");
        desk.lab()
            .hook(&host, "case $1:$2 in end:test) logger -p user.err 'a disk groans' ;; esac");
        desk.inventory("soak_s = 8");
        let running = desk.start(&["quick-deploy", &host]);
        desk.until_observing();
        desk.exec("systemd-cat -p err echo a disk groans");
        done(&running.end(), 0);
        let report = desk.run(&["report"]).stdout;
        // the numbered warning names it too
        let mut told = report.lines().filter(|l| l.contains("since the activation"));
        assert!(told.any(|l| l.trim_start().starts_with("!  ")), "{report}");
    }

    #[test]
    fn a_killed_run_is_told_as_interrupted_with_what_was_found_later() {
        let Some(desk) = Desk::any() else { return };
        let host = desk.host().to_owned();
        let _ = desk.good();
        desk.inventory("soak_s = 15");
        desk.knob("lab.apps.killed = { port = 7785; };");
        let running = desk.start(&["quick-deploy", &host]);
        desk.until_observing();
        let going = document(&desk, &["history", "--json"]);
        assert_eq!(going["runs"][0]["alive"], true, "{going}");
        running.signal("KILL");
        let _ = running.end();
        let killed = document(&desk, &["history", "--json"])["runs"][0].clone();
        let run = killed["run"].as_str().expect("a run").to_owned();
        assert_eq!((&killed["exit"], &killed["open"][0]), (&Value::Null, &host.as_str().into()));
        let told = desk.run(&["history"]).stdout;
        assert!(told.contains("interrupted: it ended without a last word"), "{told}");
        assert!(told.contains(&format!("nixdeploy resume {run}")), "{told}");
        done(&desk.run(&["abort", &run]), 6);
        let told = desk.run(&["history"]).stdout;
        assert!(told.contains("found: 1 host: 1 rolled back"), "{told}");
        let it = row(&desk);
        assert_eq!(
            (&it["last_deploy"]["run"], &it["last_deploy"]["result"]),
            (&run.as_str().into(), &"rolled-back".into())
        );
    }

    #[test]
    fn several_hosts_are_shown_first_and_asked_about_once() {
        // One order for all who hold more than one machine.
        let Some(desk) = Desk::of("p510") else { return };
        let Some(other) = Desk::of("razer") else { return };
        let (first, second) = (desk.good(), other.good());
        desk.inventory(
            "[hosts.razer]\n[hosts.nobody]\naddress = \"10.99.255.254\"\noptional = \"skip\"",
        );
        desk.write("hosts/p510/knobs.nix", "{ lab.apps.here = { port = 7786; }; }\n");
        desk.write("hosts/razer/knobs.nix", "{ lab.apps.there = { port = 7787; }; }\n");
        let said = desk.at_terminal("n", "deploy p510 razer");
        done(&said, 11);
        let asked = said.stdout.matches("Deploy to p510, razer?").count();
        assert!((1..=2).contains(&asked), "once, and its answer drawn: {}", said.stdout);
        let before = said.stdout.split("Deploy to").next().unwrap_or_default();
        for shown in ["p510", "start    here", "razer", "start    there"] {
            assert!(before.contains(shown), "{shown} before the question\n{}", said.stdout);
        }
        assert_eq!(desk.unguarded().pointers(), first.pointers());
        assert_eq!(other.unguarded().pointers(), second.pointers());
        let said = desk.at_terminal("y", "deploy p510 razer");
        done(&said, 0);
        for (desk, before) in [(&desk, &first), (&other, &second)] {
            let after = desk.unguarded();
            assert!(after.is_all(after.get("running")), "{after:?}");
            assert_ne!(after.get("running"), before.get("running"));
        }
    }

    #[test]
    fn a_failure_is_told_once_on_a_terminal() {
        let Some(desk) = Desk::any() else { return };
        let _ = desk.good();
        desk.knob("lab.preSwitchFails = true;");
        let said = desk.at_terminal("y", &format!("quick-deploy {}", desk.host()));
        done(&said, 5);
        let told = said.stdout.matches("own check refused it").count();
        let heads = said.stdout.matches("FAIL").count();
        assert_eq!(heads, 1, "{}", said.stdout);
        assert!(said.stdout.contains("admit: the new system"), "its phase: {}", said.stdout);
        assert!(said.stdout.contains("/bin/switch-to-configuration check"), "{}", said.stdout);
        assert!(told <= 4, "the live row, the recap, the failure: {}", said.stdout);
    }

    #[test]
    fn an_evaluation_error_is_nixs_last_word_and_its_place() {
        let Some(desk) = Desk::any() else { return };
        let _ = desk.good();
        desk.knob("lab.apps.bad = { port = throw ''no port\nis free''; };");
        let said = desk.run(&["quick-deploy", desk.host()]);
        done(&said, 4);
        let told: Vec<&str> = said.stdout.lines().filter(|l| l.contains("cause")).collect();
        assert!(told.len() <= 3, "{}", said.stdout);
        assert!(said.stdout.contains("evaluation failed: no port"), "{}", said.stdout);
        assert!(!said.stdout.contains("while"), "no trace: {}", said.stdout);
        let logs = desk.run(&["logs", desk.host()]).stdout;
        assert!(logs.contains("while") && logs.contains("no port"), "the trace: {logs}");
    }
}
