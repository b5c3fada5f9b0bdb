//! Runs of several hosts: who goes when, what stops the others, and what is said of each.

mod lab {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use serde_json::Value;

    use crate::support::machines::Said;
    use crate::support::rows::{Then, flat, has_row, unique};
    use crate::support::squad::Squad;

    const SHARED: &str = r#"environment.systemPackages = [
        (derivation {
          name = "NAME"; system = "x86_64-linux"; builder = "/bin/sh";
          args = [ "-c" "echo >> /tmp/NAME; /bin/sleep 1; /bin/mkdir $out" ];
        })
      ];"#;
    const BROKEN: &str = "lab.brokenService = true;";

    /// F43: one fails, one is cut off by its own change, one is asleep and optional, one is good;
    /// each has its own ending, and nobody's is another's.
    #[test]
    fn four_hosts_with_four_endings() {
        let Some(squad) = Squad::of(&["dex5550", "p510", "p620", "razer"]) else { return };
        squad.inventory("", &[("razer", "optional = \"skip\"")]);
        squad.change("fleet");
        squad.knob("p510", BROKEN);
        squad.knob("p620", "lab.dropNetwork = \"firewall\";");
        let asleep = squad.machine("razer");
        asleep.lab().cut("razer");
        let said = squad.desk().run(&["quick-deploy", "all"]);
        asleep.lab().heal("razer");
        assert_eq!(said.code, 6, "{}{}", said.stdout, said.stderr);
        squad.assert(
            &said,
            &[
                ("dex5550", "changed", Then::New),
                ("p510", "rolled-back", Then::AsBefore),
                ("p620", "rolled-back", Then::AsBefore),
                ("razer", "skipped", Then::AsBefore),
            ],
        );
        assert!(flat(&said).contains("app-broken: cannot open database"), "{}", said.stderr);
    }

    /// F44, and a wave that is not begun because the one before failed.
    #[test]
    fn a_failure_stops_those_whose_turn_it_was_to_stop() {
        let Some(squad) = Squad::of(&["dex5550", "p510", "razer"]) else { return };
        squad.inventory("", &[("dex5550", "role = \"network\"")]);
        squad.change("fleet");
        squad.knob("p510", BROKEN);
        let said = squad.desk().run(&["quick-deploy", "all", "--canary", "p510"]);
        assert_eq!(said.code, 6, "{}{}", said.stdout, said.stderr);
        let untouched = [
            ("p510", "rolled-back", Then::AsBefore),
            ("razer", "not-begun", Then::AsBefore),
            ("dex5550", "not-begun", Then::AsBefore),
        ];
        squad.assert(&said, &untouched);
        assert!(!flat(&said).contains("razer copy"), "{}", said.stderr);
        let report = squad.desk().run(&["report"]);
        let told = "the canary p510 failed and was taken back";
        assert!(flat(&report).contains(told), "{}", report.stdout);

        // Without a canary the wave ends, and the budget keeps the next from beginning.
        squad.inventory("max_failures = 1", &[("dex5550", "wave = 2")]);
        let said = squad.desk().run(&["quick-deploy", "all"]);
        assert_eq!(said.code, 6, "{}{}", said.stdout, said.stderr);
        let ends = [("p510", "rolled-back", Then::AsBefore), ("razer", "changed", Then::New)];
        squad.assert(&said, &ends);
        squad.assert(&said, &[("dex5550", "not-begun", Then::AsBefore)]);
        assert!(flat(&said).contains("p510 failed, which is all"), "{}", said.stdout);
    }

    /// The network host is last whatever its wave, one host is switched at a time, and the others
    /// are copied to meanwhile.
    #[test]
    fn one_is_switched_at_a_time_and_what_others_need_goes_last() {
        let Some(squad) = Squad::of(&["dex5550", "p510", "razer"]) else { return };
        squad.inventory("", &[("dex5550", "role = \"network\""), ("razer", "wave = 2")]);
        squad.change("fleet");
        let said = squad.desk().run(&["quick-deploy", "all", "--format", "jsonl"]);
        assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
        let order: Vec<String> = switched(&said).into_iter().map(|(host, ..)| host).collect();
        assert_eq!(order, ["p510", "razer", "dex5550"], "one wave after the other");

        squad.inventory("", &[]);
        squad.change("again");
        let args = ["quick-deploy", "all", "--max-unavailable", "1", "--format", "jsonl"];
        let said = squad.desk().run(&args);
        assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
        let switched = switched(&said);
        assert_eq!(switched.len(), 3);
        for pair in switched.windows(2) {
            let ((one, _, ended), (two, began, _)) = (&pair[0], &pair[1]);
            assert!(ended <= began, "{two} went down before {one} was up");
        }
        for host in ["dex5550", "p510", "razer"] {
            let after = squad.machine(host).unguarded();
            assert!(after.is_all(after.get("running")), "{host}: {after:?}");
        }
    }

    /// Hosts in the order of `go`, each with the places of that and of its last word in the stream.
    fn switched(said: &Said) -> Vec<(String, u64, u64)> {
        let events = said.stdout.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
        let mut spans: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for event in events {
            let host = event["host"].as_str().unwrap_or_default().to_owned();
            let at = event["index"].as_u64().expect("a place in the stream");
            match event["event"].as_str() {
                Some("armed") => drop(spans.insert(host, (at, u64::MAX))),
                Some("host_finished") => {
                    spans.entry(host).and_modify(|span| span.1 = at);
                }
                _ => {}
            }
        }
        let mut spans: Vec<_> = spans.into_iter().map(|(h, (a, b))| (h, a, b)).collect();
        spans.sort_by_key(|(_, began, _)| *began);
        spans
    }

    /// A host that cannot be evaluated, one that does not build, and one that does not answer: each
    /// with its own cause, and the fourth is deployed.
    #[test]
    fn no_host_s_error_is_another_s() {
        let Some(squad) = Squad::of(&["dex5550", "p510", "p620", "razer"]) else { return };
        squad.inventory("", &[]);
        squad.change("fleet");
        squad.knob("p510", "lab.evalError = true;");
        squad.knob("p620", "lab.buildError = true;");
        let cut = squad.machine("dex5550");
        cut.lab().cut("dex5550");
        let said = squad.desk().run(&["quick-deploy", "all"]);
        cut.lab().heal("dex5550");
        assert_eq!(said.code, 5, "{}{}", said.stdout, said.stderr);
        squad.assert(
            &said,
            &[
                ("dex5550", "unreachable", Then::AsBefore),
                ("p510", "not-built", Then::AsBefore),
                ("p620", "not-built", Then::AsBefore),
                ("razer", "changed", Then::New),
            ],
        );
        let text = flat(&said);
        for told in ["lab.evalError is set", "compiler exploded"] {
            assert!(text.contains(told), "{told}\n{}", said.stdout);
        }
        cut.until("an answer", Duration::from_secs(90), "true");
        assert!(has_row(&said, "razer", "changed"));
    }

    /// Closures of several hosts are built by one program, and an evaluation that the kernel ends
    /// for its memory is begun once more, alone.
    #[test]
    fn what_is_built_together_and_what_is_tried_again_alone() {
        let Some(squad) = Squad::of(&["p510", "razer"]) else { return };
        squad.inventory("", &[]);
        squad.change("together");
        let starved = r#"
            bin=/root/desks/p510/bin; mkdir -p $bin; touch $bin/hungry
            printf '#!/bin/sh\ncase "$*" in *path-info*razer*) rm %s/hungry && kill -9 $$ ;; esac
            PATH=${PATH#*:} exec nix "$@"\n' $bin > $bin/nix
            chmod +x $bin/nix"#;
        let _ = squad.desk().deployer(starved, &[]);
        let said = squad.desk().run(&["build", "all", "-v"]);
        let _ = squad.desk().deployer("rm -r /root/desks/p510/bin", &[]);
        assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
        let text = flat(&said);
        assert!(text.contains("want of memory; once more, alone"), "{}", said.stderr);

        // What both need is built once: its builder leaves a line each time it runs.
        let shared = format!("shared-{}", unique());
        for host in ["p510", "razer"] {
            let knob = SHARED.replace("NAME", &shared);
            squad.knob(host, &knob);
        }
        let said = squad.desk().run(&["build", "all", "--format", "jsonl"]);
        assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
        assert!(said.stdout.contains(r#""event":"builds_counted""#), "{}", said.stdout);
        let times = squad.desk().deployer("wc -l < /tmp/$1; rm /tmp/$1", &[&shared]);
        assert_eq!(times.stdout.trim(), "1", "{}", said.stdout);
        // Whether one program did it depends on who was ready when; that each has its own does not.
        for host in ["p510", "razer"] {
            let kept = format!("ls /root/desks/p510/state/nixdeploy/roots/{host}");
            let _ = squad.desk().deployer(&kept, &[]);
        }
        for host in ["p510", "razer"] {
            assert!(squad.wrong(host, Then::AsBefore).is_empty());
        }
    }
}
