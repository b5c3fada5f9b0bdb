//! People: Ctrl-C, a deployer that dies, two operators at once; and what they type afterwards.

mod lab {
    use std::time::Duration;

    use crate::support::desk::Desk;
    use crate::support::rows::{COMMITTED, REVERTED, Row, differences, flat, has_row, rows};

    const LIMIT: Duration = Duration::from_secs(60);
    /// The program was killed: it said nothing, and nobody but the machine decides.
    const KILLED: Row = Row { exit: 137, result: "", knob: COMMITTED.knob, ..REVERTED };
    const INTERRUPTED: Row =
        Row { exit: 130, result: "interrupted", knob: COMMITTED.knob, ..REVERTED };

    rows! {
        a_deployer_that_is_killed_during_the_activation: Row {
            id: "F16 activation",
            knob: "lab.slowActivation = 8; lab.apps.greeter = { };",
            hosts: "verify_timeout_s = 3",
            during: |desk, running| {
                desk.until_activating();
                running.signal("KILL");
                let _ = desk.until_decided(LIMIT);
            },
            after: |desk, _, _| resumes(desk, 6, "no commit before the deadline"),
            ..KILLED
        };
        a_deployer_that_is_killed_during_a_hung_activation: Row {
            id: "F16 hung",
            knob: "lab.hangingActivation = true; lab.apps.greeter = { };",
            hosts: "activate_timeout_s = 10",
            during: |desk, running| {
                desk.until_activating();
                running.signal("KILL");
                let _ = desk.until_decided(LIMIT);
            },
            after: |desk, _, _| resumes(desk, 6, "the activation took too long"),
            ..KILLED
        };
        a_deployer_that_is_killed_during_the_verification: Row {
            id: "F16 verification",
            hosts: "soak_s = 10\nverify_timeout_s = 2",
            during: |desk, running| {
                desk.until_observing();
                running.signal("KILL");
                let _ = desk.until_decided(LIMIT);
            },
            after: |desk, _, _| resumes(desk, 6, "no commit before the deadline"),
            ..KILLED
        };
        a_deployer_that_is_killed_while_it_copies: Row {
            id: "F11",
            knob: "lab.closureMiB = 24; lab.closureSeed = \"UNIQUE\";",
            before: |desk| desk.lab().slow(desk.host(), 40_000),
            during: |desk, running| {
                running.heard("copy started");
                running.signal("KILL");
                desk.lab().heal(desk.host());
                let held = desk.run(&["status", desk.host()]);
                assert!(held.stdout.contains("phase hold"), "{}{}", held.stdout, held.stderr);
                // the lease is over
                let _ = desk.exec("echo 0 > /run/nixdeploy/current/lease");
                let _ = desk.until_decided(LIMIT);
            },
            after: |desk, _, _| {
                // two runs, and one document
                let said = desk.run(&["resume", "--json"]);
                let told: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
                assert_eq!((said.code, &told["exit"]), (0, &0.into()), "{told}");
                assert_eq!(told["hosts"][0]["outcome"]["outcome"], "committed");
                let found = told["resumed"]["hosts"][0]["note"].as_str().expect("a note");
                assert!(found.contains("the deployer did not renew its lease"), "{found}");
            },
            ..KILLED
        };
        a_deployer_that_is_killed_while_it_holds: Row {
            id: "F11 abort",
            knob: "lab.slowBuild = 4; lab.closurePaths = 1; lab.closureSeed = \"UNIQUE\";",
            during: |desk, running| {
                desk.until("the hold", LIMIT, "[ \"$(cat /run/nixdeploy/current/phase)\" = hold ]");
                running.signal("KILL");
                let said = desk.run(&["abort"]);
                assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
            },
            ..KILLED
        };
        an_abort_after_the_deployer_was_killed: Row {
            id: "abort",
            hosts: "soak_s = 100",
            during: |desk, running| {
                desk.until_observing();
                running.signal("KILL");
                let said = desk.run(&["abort"]);
                assert_eq!(said.code, 6, "{}{}", said.stdout, said.stderr);
                assert!(flat(&said).contains("aborted by the deployer"), "{}", said.stderr);
            },
            ..KILLED
        };
        a_resume_while_the_machine_waits: Row {
            id: "resume",
            hosts: "soak_s = 10\nverify_timeout_s = 3",
            during: |desk, running| {
                desk.until_observing();
                running.signal("KILL");
                resumes(desk, 6, "no commit before the deadline");
            },
            ..KILLED
        };
        a_deployer_that_sleeps_past_the_deadline: Row {
            id: "F32",
            hosts: "soak_s = 10\nverify_timeout_s = 2",
            knob: COMMITTED.knob,
            during: |desk, running| {
                desk.until_observing();
                running.signal("STOP");
                let _ = desk.until_decided(LIMIT);
                running.signal("CONT");
            },
            says: &["no commit before the deadline"],
            ..REVERTED
        };
        ctrl_c_during_the_verification: Row {
            id: "F31",
            hosts: "soak_s = 60",
            during: |desk, running| {
                desk.until_observing();
                running.signal("INT");
            },
            says: &["interrupted; reverted"],
            ..INTERRUPTED
        };
        ctrl_c_during_the_activation: Row {
            id: "Ctrl-C activation",
            knob: "lab.slowActivation = 8; lab.apps.greeter = { };",
            during: |desk, running| {
                desk.until_activating();
                running.signal("INT");
            },
            says: &["interrupted; reverted"],
            ..INTERRUPTED
        };
        ctrl_c_during_the_build: Row {
            id: "Ctrl-C before go",
            knob: "lab.slowBuild = 30; lab.closurePaths = 1; lab.closureSeed = \"UNIQUE\";",
            during: |desk, running| {
                running.heard(&format!("{} build started", desk.host()));
                running.signal("INT");
            },
            says: &["interrupted; unchanged"],
            ..INTERRUPTED
        };
        ctrl_c_during_the_copy: Row {
            id: "Ctrl-C copy",
            knob: "lab.closureMiB = 20; lab.closureSeed = \"UNIQUE\";",
            before: |desk| desk.lab().slow(desk.host(), 20_000),
            during: |desk, running| {
                running.heard(&format!("{} copy started", desk.host()));
                running.signal("INT");
            },
            says: &["interrupted; unchanged"],
            after: |desk, _, _| desk.lab().heal(desk.host()),
            ..INTERRUPTED
        };
        a_hangup: Row {
            id: "SIGHUP",
            hosts: "soak_s = 60",
            during: |desk, running| {
                desk.until_observing();
                running.signal("HUP");
            },
            says: &["interrupted; reverted"],
            ..INTERRUPTED
        };
        ctrl_c_twice: Row {
            id: "Ctrl-C twice",
            hosts: "soak_s = 60",
            exit: 8,
            result: "unknown",
            before: |desk| desk.lab().hook(desk.host(), "case $1:$2 in activate:test) \
                [ ! -e /etc/lab/once ] || sleep 2; touch /etc/lab/once ;; esac"),
            during: |desk, running| {
                desk.until_observing();
                running.signal("INT");
                running.heard("rollback started");
                running.signal("INT");
            },
            says: &[
                "left alone at the second request: transaction",
                "without a last word of it; the host decides by itself by",
                "nixdeploy resume",
            ],
            ..INTERRUPTED
        };
    }

    /// After the deployer died, the next command says what happened.
    fn resumes(desk: &Desk, exit: i32, words: &str) {
        let said = desk.run(&["resume"]);
        assert_eq!(said.code, exit, "{}{}", said.stdout, said.stderr);
        assert!(flat(&said).contains(words), "{}{}", said.stdout, said.stderr);
    }

    #[test]
    fn two_operators_one_after_the_other() {
        let Some(desk) = Desk::any() else { return };
        let before = desk.good();
        desk.knob(COMMITTED.knob);
        desk.inventory("soak_s = 15");
        let first = desk.start(&["quick-deploy", desk.host()]);
        desk.until_observing();
        let second = desk.run(&["quick-deploy", desk.host()]);
        let first = first.end();
        assert_eq!((first.code, second.code), (0, 5), "{}\n{}", first.stderr, second.stderr);
        let text = flat(&second);
        assert!(text.contains("locked by root@") && text.contains("phase observe"), "{text}");
        assert!(text.contains(" s, run "), "since when, and which: {text}");
        assert!(has_row(&second, desk.host(), "refused"), "{text}");
        let wrong = differences(COMMITTED.then, &before, &desk.unguarded());
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn forty_operators_at_once() {
        let Some(desk) = Desk::any() else { return };
        let before = desk.good();
        desk.knob(COMMITTED.knob);
        let runs: Vec<_> = (0..40).map(|_| desk.start(&["quick-deploy", desk.host()])).collect();
        let said: Vec<_> = runs.into_iter().map(|run| run.end()).collect();
        // Who comes when it is over finds nothing to do; all others are refused.
        let told = |code: i32, result: &str| {
            said.iter().filter(|s| s.code == code && has_row(s, desk.host(), result)).count()
        };
        let (changed, refused) = (told(0, "changed"), told(5, "refused"));
        assert_eq!(changed, 1, "{said:#?}");
        // Whose facts are older than the one deploy stands down when it comes to hold the host.
        let late = told(0, "unchanged") + told(10, "foreign");
        assert_eq!(changed + refused + late, 40, "{said:#?}");
        assert!(refused > 0, "{said:#?}");
        let wrong = differences(COMMITTED.then, &before, &desk.unguarded());
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}
