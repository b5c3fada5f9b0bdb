//! Faults that only a look at the new system shows; and those that were there before.

mod lab {
    use crate::support::desk::Desk;
    use crate::support::machines::Said;
    use crate::support::rows::{COMMITTED, REVERTED, Row, Then, flat, rows};

    /// A health script that is content until `sick.service` runs.
    const PROBE: &str = "[[hosts.HOST.health]]\nscript = \"health/probe.sh\"\ntimeout_s = 2";
    const SICK: &str = "lab.apps.sick = { };";

    fn probe(desk: &Desk, when_sick: &str) {
        let text = format!(
            "#!/bin/sh\nif systemctl is-active -q sick; then {when_sick}; fi\necho OK: fine\n"
        );
        desk.write("health/probe.sh", &text);
    }

    rows! {
        a_service_that_dies_five_seconds_later: Row {
            id: "F26",
            knob: "lab.lateFailure = 5;",
            hosts: "soak_s = 7",
            says: &["app-late.service", "exit status 5", "app-late: gave up", "s before the check"],
            ..REVERTED
        };
        a_service_that_talks_and_fails: Row {
            id: "F20 lines",
            knob: "systemd.services.app-chatty = { wantedBy = [ \"multi-user.target\" ]; \
                serviceConfig.Type = \"oneshot\"; \
                script = \"for i in $(seq 100 180); do echo word-$i; done; exit 3\"; };",
            says: &["app-chatty.service", "exit status 3"],
            after: |desk, _, _| {
                let report = desk.run(&["report", "--json"]).stdout;
                let words = report.matches("word-1").count();
                assert!((40..=50).contains(&words) && report.contains("word-180"), "{report}");
            },
            ..REVERTED
        };
        a_crash_loop_that_counts_as_failed: Row {
            id: "F27 loud",
            knob: "lab.crashLoop = true;",
            hosts: "soak_s = 3",
            says: &["app-loop.service", "app-loop: crash"],
            ..REVERTED
        };
        a_crash_loop_that_never_counts_as_failed: Row {
            id: "F27",
            knob: "lab.quietCrashLoop = true;",
            hosts: "soak_s = 4",
            says: &["app-quiet.service", "crash loop:", "restarts", "app-quiet: crash"],
            ..REVERTED
        };
        a_health_script_that_fails: Row {
            id: "F28",
            before: |desk| probe(desk, "echo FAIL: no answer from the database; exit 3"),
            knob: SICK,
            hosts: PROBE,
            says: &["probe.sh", "exit status 3", "FAIL: no answer from the database"],
            ..REVERTED
        };
        a_health_script_that_hangs: Row {
            id: "F28 hangs",
            before: |desk| probe(desk, "echo FAIL: asleep; sleep 1000"),
            knob: SICK,
            hosts: PROBE,
            says: &["probe.sh", "no result within 2 s"],
            ..REVERTED
        };
        a_health_script_that_floods: Row {
            id: "F47",
            before: |desk| probe(
                desk,
                "printf '\\033]52;c;aGk=\\007'; head -c 200000000 /dev/zero | tr '\\0' x; exit 0",
            ),
            knob: SICK,
            hosts: PROBE,
            says: &["probe.sh", "printed or wrote more than 8 MiB"],
            after: |_, _, said| {
                let text = format!("{}{}", said.stdout, said.stderr);
                assert!(!text.contains('\u{1b}') && text.len() < 20_000, "{} bytes", text.len());
            },
            ..REVERTED
        };
        a_health_script_that_leaves_a_child: Row {
            id: "F47 child",
            before: |desk| probe(desk, "echo OK: so far; sleep 1000 & exit 0"),
            knob: SICK,
            hosts: PROBE,
            says: &["probe.sh", "what it started did not end within 2 s"],
            after: |desk, _, _| {
                assert_eq!(desk.exec("pgrep -fx 'sleep 1000' | wc -l"), "0", "a child is left");
            },
            ..REVERTED
        };
        a_health_script_whose_child_ends: Row {
            id: "F47 child ends",
            before: |desk| probe(desk, "sleep 0.3 & exit 0"),
            knob: SICK,
            hosts: PROBE,
            ..COMMITTED
        };
        a_health_script_that_failed_before: Row {
            id: "F28 before",
            before: |desk| desk.write("health/probe.sh", "echo FAIL: always; exit 1\n"),
            hosts: PROBE,
            after: |_, _, said| {
                let told = flat(&Said { stderr: String::new(), ..said.clone() });
                assert!(told.contains("FAIL: always; failed before as well [health]"), "{told}");
            },
            ..COMMITTED
        };
        a_health_script_that_only_warns: Row {
            id: "F28 warns",
            before: |desk| probe(desk, "echo FAIL: a bit slow; exit 3"),
            knob: SICK,
            hosts: "[[hosts.HOST.health]]\nscript = \"health/probe.sh\"\nrequired = false",
            says: &["FAIL: a bit slow", "healthy, 1 warning"],
            ..COMMITTED
        };
        a_command_that_fails: Row {
            id: "F28 command",
            knob: SICK,
            hosts: "[[hosts.HOST.health]]\ncommand = \"! systemctl is-active -q sick\"",
            says: &["! systemctl is-active -q sick"],
            ..REVERTED
        };
        a_unit_that_is_no_longer_there: Row {
            id: "F28 unit",
            before: |desk| desk.committed("lab.apps.greeter = { };"),
            knob: "lab.apps.other = { };",
            hosts: "[[hosts.HOST.health]]\nunit = \"greeter.service\"",
            says: &["unit greeter.service"],
            ..REVERTED
        };
        a_word_in_the_journal: Row {
            id: "F28 journal",
            knob: "systemd.services.app-noise = { wantedBy = [ \"multi-user.target\" ]; \
                script = \"echo corrupt page; exec sleep infinity\"; };",
            hosts: "[[hosts.HOST.health]]\njournal = \"corrupt [a-z]+\"",
            says: &["corrupt page"],
            ..REVERTED
        };
        a_critical_service_that_is_gone: Row {
            id: "critical",
            before: |desk| desk.committed("lab.apps.greeter = { };"),
            knob: "lab.apps.other = { };",
            hosts: "critical_services = [\"greeter\"]",
            says: &["greeter.service", "critical service is"],
            ..REVERTED
        };
        a_critical_service_that_is_gone_and_nothing_to_do: Row {
            id: "critical, unchanged",
            before: |desk| {
                desk.committed("lab.apps.greeter = { };");
                let _ = desk.exec("systemctl stop greeter");
            },
            knob: "lab.apps.greeter = { };",
            hosts: "critical_services = [\"greeter\"]",
            args: &["deploy", "--yes"],
            exit: 5,
            result: "unhealthy",
            says: &["FAIL HOST", "greeter.service: critical service is inactive", "left alone"],
            after: |desk, _, _| {
                let status = desk.run(&["status", desk.host()]);
                let told = "critical, and not running: greeter.service";
                assert!(flat(&status).contains(told), "{}", status.stdout);
            },
            ..REVERTED
        };
        a_dead_name_server: Row {
            id: "F30 dns",
            knob: "lab.breakDns = true;",
            says: &["no longer does"],
            ..REVERTED
        };
        a_default_route_that_is_gone: Row {
            id: "F30 route",
            knob: "lab.dropRoute = true;",
            says: &["the IPv4 default route is gone"],
            ..REVERTED
        };
        tailscale_that_stops: Row {
            id: "tailscale",
            before: |desk| desk.committed("lab.tailscale = \"Running\";"),
            knob: "lab.tailscale = \"Stopped\";",
            says: &["tailscale: its state is Stopped"],
            ..REVERTED
        };
        tailscale_that_hangs: Row {
            id: "tailscale hangs",
            before: |desk| desk.committed("lab.tailscale = \"Running\";"),
            knob: "lab.tailscale = \"hang\";",
            says: &["tailscale: its state is timeout"],
            ..REVERTED
        };
        tailscale_that_was_down_before: Row {
            id: "tailscale before",
            before: |desk| desk.committed("lab.tailscale = \"Stopped\";"),
            knob: "lab.tailscale = \"Stopped\"; lab.apps.greeter = { };",
            ..COMMITTED
        };
        a_unit_that_failed_before_too: Row {
            id: "F21",
            before: |desk| {
                desk.knob("lab.brokenService = true;");
                let said = desk.run(&["quick-deploy", desk.host()]);
                assert_eq!(said.code, 6, "{}{}", said.stdout, said.stderr);
                let _ = desk.exec("new=$(cat /run/nixdeploy/current/new); \
                    nix-env -p /nix/var/nix/profiles/system --set $new; \
                    $new/bin/switch-to-configuration switch; [ $? = 4 ]");
                desk.spoil();
            },
            knob: "lab.brokenService = true; lab.apps.greeter = { };",
            then: Then::Own,
            after: |desk, before, _| {
                let after = desk.unguarded();
                assert!(after.get("running") != before.get("running"));
                assert!(after.is_all(after.get("running")), "{after:?}");
                assert_eq!(after.get("units_failed"), "app-broken.service");
                let report = desk.run(&["report", "--json"]).stdout;
                assert!(report.contains("failed before as well"), "{report}");
            },
            ..COMMITTED
        };
        a_host_that_is_degraded_before: Row {
            id: "F29",
            before: |desk| {
                let _ = desk.exec("systemd-run -q --unit=old-failure false; \
                    until systemctl is-failed -q old-failure; do sleep 0.05; done");
            },
            after: |desk, _, _| {
                // switch-to-configuration forgets it on its way
                let report = desk.run(&["report", "--json"]).stdout;
                let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
                let before = &report["hosts"][0]["vitals_before"]["units_failed"];
                assert_eq!(before[0], "old-failure.service", "{report}");
            },
            ..COMMITTED
        };
        another_key_after_the_activation: Row {
            id: "S6",
            before: |desk| {
                desk.lab().hook(desk.host(), "case $1:$2 in end:test) \
                    if [ ! -e /etc/lab/once ]; then touch /etc/lab/once; \
                    rm /etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N '' \
                    -f /etc/ssh/ssh_host_ed25519_key; systemctl restart sshd; fi ;; esac");
                desk.spoil();
            },
            knob: "lab.apps.greeter = { };",
            says: &["no new ssh connection: Host key for"],
            ..REVERTED
        };
    }
}
