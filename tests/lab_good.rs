//! What goes well: good changes, nothing to do, ways back, other ways to build, other users; and
//! every way to say it.

mod lab {
    use serde_json::Value;

    use crate::support::desk::Desk;
    use crate::support::machines::{Said, State};
    use crate::support::rows::{COMMITTED, Row, Then, differences, flat, has_row, rows};

    const LOGINS: &str = "journalctl -u sshd -o cat | grep -c '^Accepted publickey' || true";

    rows! {
        a_user_who_is_not_root: Row { id: "samsung", host: "samsung", ..COMMITTED };
        a_user_who_is_not_root_and_a_service_that_fails: Row {
            id: "samsung F20",
            host: "samsung",
            knob: "lab.brokenService = true;",
            says: &["app-broken: cannot open database"],
            ..crate::support::rows::REVERTED
        };
        built_on_the_target: Row {
            id: "build_on target",
            knob: "lab.apps.there = { };",
            args: &["quick-deploy", "--build-on", "target"],
            after: |desk, _, _| {
                let new = desk.state().get("running").to_owned();
                let here = desk.lab().exec("deployer", &["test", "-e", &new]);
                assert_eq!(here.code, 1, "it was built on the deployer");
            },
            ..COMMITTED
        };
        a_message_for_an_issue: Row {
            id: "--issue",
            args: &["quick-deploy", "--issue", "123", "--message", "new greeter"],
            after: |desk, _, _| {
                let report = desk.run(&["report"]);
                let text = flat(&report);
                assert!(text.contains("123") && text.contains("new greeter"), "{text}");
            },
            ..COMMITTED
        };
        fast: Row { id: "--mode fast", args: &["deploy-fast"], ..COMMITTED };
    }

    fn good(said: &Said) {
        assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    }

    fn unchanged(before: &State, after: &State) {
        let wrong = differences(Then::AsBefore, before, after);
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    /// From the factory's disk: deployed, still there after a power loss, then nothing to do.
    #[test]
    fn the_first_deploy_and_a_power_loss() {
        let Some(desk) = Desk::any() else { return };
        let _ = desk.good();
        desk.factory();
        let before = desk.state();
        let said = desk.run(&["quick-deploy", desk.host()]);
        good(&said);
        assert!(has_row(&said, desk.host(), "changed") && flat(&said).contains("1->2"));
        let deployed = desk.unguarded();
        let wrong = differences(Then::New, &before, &deployed);
        assert!(wrong.is_empty(), "{wrong:?}");
        desk.reboot();
        let after = desk.state();
        assert!(after.is_all(deployed.get("running")), "{after:?}");
        assert_eq!(after.get("booted"), deployed.get("running"));
        nothing_to_do(&desk, &after);
    }

    /// No build, no copy, no connection beyond the facts.
    fn nothing_to_do(desk: &Desk, before: &State) {
        good(&desk.run(&["quick-deploy", desk.host()])); // opens our master
        let logins = desk.exec(LOGINS);
        let said = desk.run(&["quick-deploy", "-vv", desk.host()]);
        good(&said);
        assert!(flat(&said).contains("nothing to do"), "{}", said.stderr);
        assert_eq!(desk.exec(LOGINS), logins, "somebody logged in");
        let started = |what: &str| {
            let what = format!("command={what}");
            said.stderr.lines().filter(|l| l.contains(&what)).count()
        };
        assert_eq!(started("ssh "), 1, "{}", said.stderr);
        for word in ["build started", "copy started", "nix build", "nix copy", "activate"] {
            assert!(!said.stderr.contains(word), "{word}: {}", said.stderr);
        }
        unchanged(before, &desk.state());
    }

    #[test]
    fn an_unchanged_host_is_verified_by_deploy() {
        let Some(desk) = Desk::any() else { return };
        let before = desk.good();
        let said = desk.run(&["deploy", desk.host()]);
        good(&said);
        assert!(flat(&said).contains("nothing to do, verified"), "{}", said.stderr);
        unchanged(&before, &desk.unguarded());
        let _ = desk.exec(
            "systemctl stop $(systemctl list-units --state=active --plain \
            --no-legend 'ollama*' 'plex*' 'tlp*' 'grafana*' 'web*' | cut -d' ' -f1)",
        );
        let said = desk.run(&["deploy", desk.host()]);
        good(&said);
        assert_eq!(desk.state().pointers()[..6], before.pointers()[..6]);
        desk.spoil();
    }

    #[test]
    fn the_name_alone_deploys() {
        let Some(desk) = Desk::any() else { return };
        let before = desk.good();
        desk.knob(COMMITTED.knob);
        good(&desk.run(&[desk.host()]));
        assert!(differences(Then::New, &before, &desk.unguarded()).is_empty());
    }

    #[test]
    fn what_only_tells_changes_nothing() {
        let Some(desk) = Desk::any() else { return };
        let before = desk.good();
        desk.knob("lab.apps.greeter = { }; lab.kernelSeed = \"told\";");
        let host = desk.host();
        let told = [
            (vec!["deploy", "--dry-run", host], 0),
            (vec!["deploy", "--dry-run", "--detailed-exitcode", host], 20),
            (vec!["diff", host], 0),
            (vec!["diff", "--detailed-exitcode", host], 20),
            (vec!["test-host", host], 0),
            (vec!["build", host], 0),
        ];
        for (args, code) in told {
            let said = desk.run(&args);
            assert_eq!(said.code, code, "{args:?} {}{}", said.stdout, said.stderr);
            unchanged(&before, &desk.state());
        }
        desk.knob("");
        let same = desk.run(&["diff", "--detailed-exitcode", host]);
        good(&same);
    }

    #[test]
    fn back_by_one_to_a_number_and_to_none() {
        let Some(desk) = Desk::any() else { return };
        let first = desk.good();
        desk.knob(COMMITTED.knob);
        let said = desk.run(&["quick-deploy", "--format", "json", desk.host()]);
        good(&said);
        let files = format!("\"hosts/{}/knobs.nix", desk.host());
        assert!(said.stdout.contains(&files), "{}", said.stdout);
        let second = desk.unguarded();
        good(&desk.run(&["rollback", desk.host(), "--yes"]));
        let back = desk.unguarded();
        assert!(back.is_all(first.get("running")), "{back:?}");
        assert_eq!(back.get("units_active"), first.get("units_active"));
        assert_eq!(back.number("bootloader_installs"), Some(2 + first_installs(&first)));
        good(&desk.run(&["rollback", desk.host(), "--to", second.get("generation"), "--yes"]));
        assert!(desk.unguarded().is_all(second.get("running")));
        let before = desk.state();
        let none = desk.run(&["rollback", desk.host(), "--to", "9999", "--yes"]);
        assert_eq!(none.code, 5, "{}{}", none.stdout, none.stderr);
        assert!(flat(&none).contains("there is no generation 9999"), "{}", none.stderr);
        unchanged(&before, &desk.state());
    }

    fn first_installs(state: &State) -> u64 {
        state.number("bootloader_installs").expect("a number")
    }

    #[test]
    fn what_it_is_and_whether_it_answers() {
        let Some(desk) = Desk::any() else { return };
        let before = desk.good();
        let status = desk.run(&["status", "--json"]);
        good(&status);
        assert!(
            json(&status.stdout).to_string().contains(before.get("running")),
            "{}",
            status.stdout
        );
        desk.knob(COMMITTED.knob);
        good(&desk.run(&["status"]));
        good(&desk.run(&["ping-hosts"]));
        unchanged(&before, &desk.state());
        desk.inventory("ssh.control = \"none\"");
        desk.lab().cut(desk.host());
        for command in ["status", "ping-hosts"] {
            let said = desk.run(&[command]);
            assert_eq!(said.code, 5, "{command} {}{}", said.stdout, said.stderr);
        }
        desk.lab().heal(desk.host());
    }

    #[test]
    fn built_on_another_host() {
        let (Some(desk), Some(builder)) = (Desk::any(), Desk::any()) else { return };
        let _ = builder.good();
        let before = desk.good();
        desk.inventory(&format!("[hosts.{}]\nuser = \"root\"", builder.host()));
        desk.knob("lab.apps.elsewhere = { };");
        let said = desk.run(&["deploy-via", builder.host(), desk.host()]);
        good(&said);
        let after = desk.unguarded();
        let wrong = differences(Then::New, &before, &after);
        assert!(wrong.is_empty(), "{wrong:?}");
        let _ = builder.exec(&format!("test -e {}", after.get("running")));
    }

    #[test]
    fn another_inventory_by_its_name() {
        let Some(desk) = Desk::any() else { return };
        let _ = desk.good();
        let host = desk.host();
        let text = format!(
            "[defaults]\nflake = \"/root/desks/{host}/flake\"\n[hosts.{host}]\nuser = \"root\"\n"
        );
        let _ = desk
            .lab()
            .exec("deployer", &["sh", "-c", "echo \"$1\" > /tmp/$2.toml", "-", &text, host]);
        let file = format!("/tmp/{host}.toml");
        good(&desk.run(&["quick-deploy", "--inventory", &file, host]));
        let missing = desk.run(&["quick-deploy", "--inventory", "/nonexistent.toml", host]);
        assert_eq!(missing.code, 2, "{}", missing.stderr);
    }

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    #[test]
    fn every_way_to_say_it() {
        let Some(desk) = Desk::any() else { return };
        let _ = desk.good();
        let host = desk.host();
        desk.knob("lab.brokenService = true;");
        let said = desk.run(&["quick-deploy", "--json", host]);
        let document = json(&said.stdout);
        assert_eq!((said.code, &document["exit"]), (6, &Value::from(6)), "{}", said.stderr);
        assert_eq!(document["hosts"][0]["result"], "rolled-back");
        let lines = desk.run(&["quick-deploy", "--format", "jsonl", host]);
        assert_eq!(lines.code, 6, "{}", lines.stderr);
        let events: Vec<Value> = lines.stdout.lines().map(json).collect();
        let last = events.last().map(ToString::to_string).unwrap_or_default();
        assert!(events.len() > 10 && last.contains("run_finished"), "{last}");
        let quiet = desk.run(&["quick-deploy", "-q", host]);
        assert_eq!(quiet.code, 6);
        assert!(has_row(&quiet, host, "rolled-back"), "{}{}", quiet.stdout, quiet.stderr);
        assert!(!quiet.stderr.contains("started"), "{}", quiet.stderr);
        kept(&desk);
    }

    /// What was said can be read again.
    fn kept(desk: &Desk) {
        let host = desk.host();
        let report = desk.run(&["report"]);
        good(&report);
        assert!(flat(&report).contains("app-broken: cannot open database"), "{}", report.stdout);
        assert_eq!(json(&desk.run(&["report", "--json"]).stdout)["exit"], 6);
        let logs = desk.run(&["logs", host]);
        good(&logs);
        for words in ["activating the configuration...", "app-broken: cannot open database"] {
            assert!(logs.stdout.contains(words), "{}", logs.stdout);
        }
        let history = desk.run(&["history"]);
        good(&history);
        assert!(history.stdout.contains("1 rolled back"), "{}", history.stdout);
        let runs = json(&desk.run(&["history", "--json"]).stdout);
        assert_eq!(runs["runs"][0]["exit"], 6, "{runs}");
    }
}
