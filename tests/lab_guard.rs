//! The guard beside its model: traces that it leaves on machines are replayed there; and what the
//! model found out is tried on machines.

mod lab {
    use std::time::Duration;

    use crate::guard_model::replay::{TRACED, read, replay, write};
    use crate::guard_model::traces::{path, setting};
    use crate::support::desk::Desk;
    use crate::support::rows::{
        COMMIT_KILLED, COMMITTED, GUARD_KILLED, GUARD_KILLED_IN_COMMIT, GUARD_STOPPED, REVERTED,
        Row, Then, flat, rows, tried,
    };
    use crate::support::variable;

    use crate::lab_mutants::COLLECTED;

    const LIMIT: Duration = Duration::from_secs(60);
    const CHANGED: Row = Row { knob: COMMITTED.knob, ..REVERTED };
    const KILLED: Row = Row { exit: 137, result: "", ..CHANGED };

    fn hold_boot_loader(desk: &Desk) {
        desk.hold_boot_loader("boot-default");
    }

    /// A row whose guard leaves a trace; it must be a run of the model with the same end.
    fn traced(name: &str, row: &Row) {
        traced_with(name, row, &[TRACED]);
    }

    fn traced_with(name: &str, row: &Row, changes: &[(&str, &str)]) {
        let Some(desk) = Desk::any() else { return };
        let _ = desk.lab().exec(desk.host(), &["rm", "-f", "/run/guard.trace"]);
        let (_, said, wrong) = tried(row, &desk, changes);
        assert!(wrong.is_empty(), "{name}: {wrong:?}\n{}{}", said.stdout, said.stderr);
        let lines = read(&desk.exec("cat /run/guard.trace"));
        if variable("NIXDEPLOY_RECORD").is_some() {
            std::fs::write(path(name), write(&lines)).expect("a fixture");
        }
        let (setting, outcome) = setting(name);
        assert_eq!(replay(&lines, &setting), Ok(outcome), "{name}\n{}", write(&lines));
        let real = desk.exec("sed -n s/^outcome=//p /run/nixdeploy/current/outcome");
        assert_eq!(real.replace('_', ""), format!("{outcome:?}").to_lowercase(), "{name}");
    }

    #[test]
    fn trace_of_a_good_deploy() {
        traced("good", &COMMITTED);
    }

    #[test]
    fn trace_of_an_abort() {
        traced("abort", &Row { knob: "lab.brokenService = true;", ..REVERTED });
    }

    #[test]
    fn trace_of_a_deadline() {
        let during = |desk: &Desk, running: &crate::support::machines::Running| {
            desk.until_observing();
            running.signal("KILL");
            let _ = desk.until_decided(LIMIT);
        };
        traced("deadline", &Row { hosts: "soak_s = 10\nverify_timeout_s = 2", during, ..KILLED });
    }

    #[test]
    fn trace_of_a_lease() {
        let short = ("put lease $((uptime_s + $7))\n", "put lease $((uptime_s + 3))\n");
        let row = Row {
            knob: "lab.slowBuild = 6; lab.closurePaths = 1; lab.closureSeed = \"UNIQUE\";",
            during: |desk, running| {
                desk.until("the hold", LIMIT, "[ \"$(cat /run/nixdeploy/current/phase)\" = hold ]");
                running.signal("KILL");
                let _ = desk.until_decided(LIMIT);
            },
            ..KILLED
        };
        traced_with("lease", &row, &[TRACED, short]);
    }

    #[test]
    fn trace_of_a_killed_guard() {
        traced("guard-killed", &GUARD_KILLED);
    }

    #[test]
    fn trace_of_a_stopped_guard() {
        traced("guard-stopped", &GUARD_STOPPED);
    }

    #[test]
    fn trace_of_a_killed_commit() {
        traced("commit-killed", &COMMIT_KILLED);
    }

    #[test]
    fn trace_of_a_guard_killed_in_its_commit() {
        traced("guard-killed-in-commit", &GUARD_KILLED_IN_COMMIT);
    }

    #[test]
    fn trace_of_an_undo() {
        let row = Row { knob: "lab.bootloaderFails = true;", then: Then::Undone, ..REVERTED };
        traced("undo", &row);
    }

    #[test]
    fn trace_of_a_staged_system() {
        let row = Row {
            args: &["quick-deploy", "--boot"],
            exit: 7,
            result: "staged",
            then: Then::Staged,
            after: |desk, _, _| desk.spoil(),
            ..COMMITTED
        };
        traced("stage", &row);
    }

    #[test]
    fn trace_of_a_foreign_change() {
        let row = Row {
            hosts: "soak_s = 20",
            during: |desk, _| {
                desk.until_observing();
                let _ = desk.exec(
                    "p=/nix/var/nix/profiles/system; \
                    nix-env -p $p --switch-generation 1 && $p/bin/switch-to-configuration switch",
                );
                desk.spoil();
            },
            exit: 10,
            result: "foreign",
            then: Then::Own,
            ..CHANGED
        };
        traced("foreign", &row);
    }

    /// While it goes back after a stop by hand, it is killed: systemd starts it never again.
    fn stopped_and_killed(desk: &Desk) {
        let _ = desk.exec(
            "systemctl stop --no-block nixdeploy-guard; \
             until [ -e /etc/lab/once ]; do sleep 0.05; done; \
             systemctl kill -s KILL nixdeploy-guard; rm -f /etc/lab/hook /etc/lab/once",
        );
    }

    fn hold_the_way_back(desk: &Desk) {
        let old = desk.state().get("running").to_owned();
        let script = format!(
            "case $1:$2:$3 in start:test:{old}) touch /etc/lab/once; \
             while [ -e /etc/lab/once ]; do sleep 0.1; done ;; esac"
        );
        desk.lab().hook(desk.host(), &script);
    }

    rows! {
        a_guard_that_is_stopped_and_killed: Row {
            id: "guard stopped and killed",
            hosts: "soak_s = 10",
            before: hold_the_way_back,
            during: |desk, _| {
                desk.until_observing();
                stopped_and_killed(desk);
            },
            says: &["the guard was stopped"],
            ..CHANGED
        };
        garbage_collections_from_hold_to_go: Row {
            id: "F14 loop",
            knob: COLLECTED.knob,
            before: COLLECTED.before,
            during: COLLECTED.during,
            ..COMMITTED
        };
        an_abort_after_the_decision: Row {
            id: "abort after commit",
            before: hold_boot_loader,
            during: |desk, _| desk.in_the_commit("\
                touch /run/nixdeploy/current/req.abort; systemctl kill -s KILL nixdeploy-guard"),
            ..COMMITTED
        };
        a_folder_that_is_removed: Row {
            id: "/run/nixdeploy removed",
            hosts: "soak_s = 10",
            during: |desk, _| {
                desk.until_observing();
                let _ = desk.exec("rm -rf /run/nixdeploy");
            },
            ..CHANGED
        };
        a_guard_that_is_lost_with_its_folder: Row {
            id: "/run/nixdeploy removed, guard killed",
            hosts: "soak_s = 100",
            during: |desk, running| {
                desk.until_observing();
                running.signal("KILL");
                let _ = desk.exec("systemctl kill -s STOP nixdeploy-guard; \
                    rm -rf /run/nixdeploy; systemctl kill -s KILL nixdeploy-guard");
                let said = desk.run(&["resume"]);
                assert_eq!(said.code, 9, "{}{}", said.stdout, said.stderr);
                let text = flat(&said);
                assert!(text.contains("its guard is lost, and the new system runs"), "{text}");
                assert!(text.contains("systemctl stop nixdeploy-guard"), "{text}");
                let _ = desk.exec("systemctl stop nixdeploy-guard");
                desk.spoil();
            },
            then: Then::Own,
            ..KILLED
        };
        a_folder_that_is_removed_from_a_slow_guard: Row {
            id: "/run/nixdeploy removed, and the guard is slow",
            hosts: "soak_s = 10",
            during: |desk, running| {
                desk.until_observing();
                // Until it is asked for the commit there is a guard, and no trace of its folder.
                let _ = desk.exec("\
                    systemctl kill -s STOP nixdeploy-guard; rm -rf /run/nixdeploy");
                running.heard(&format!("{} commit started", desk.host()));
                let _ = desk.exec("systemctl kill -s CONT nixdeploy-guard");
            },
            ..CHANGED
        };
        a_run_that_is_full: Row {
            id: "/run full",
            before: hold_boot_loader,
            during: |desk, _| {
                desk.in_the_commit("\
                    free() { df --output=\"$1\" -k /run | tail -n 1 | tr -d ' '; }; \
                    free size > /etc/lab/run; mount -o \"remount,size=$(free used)k\" /run");
            },
            after: |desk, _, _| {
                let _ = desk.exec("mount -o remount,size=$(cat /etc/lab/run)k /run");
            },
            ..COMMITTED
        };
    }

    /// A disk that takes what is written and does not keep it: what is read back proves nothing.
    #[test]
    fn a_disk_that_fails_when_all_is_written() {
        let Some(desk) = Desk::any() else { return };
        let row = Row {
            id: "sync fails",
            says: &["profile and boot default could not be brought to the disk"],
            then: Then::Undone,
            ..CHANGED
        };
        let fails = [("{ sync -f \"$(boot_mount", "sync() { false; }; { sync -f \"$(boot_mount")];
        let (_, said, wrong) = tried(&row, &desk, &fails);
        assert!(wrong.is_empty(), "{wrong:?}\n{}{}", said.stdout, said.stderr);
    }

    /// With nobody there but the backstop.
    #[test]
    fn a_guard_that_is_stopped_and_killed_and_nobody_is_there() {
        let Some(desk) = Desk::any() else { return };
        let row = Row {
            id: "guard stopped and killed, deployer dead",
            hosts: "soak_s = 10",
            before: hold_the_way_back,
            during: |desk, running| {
                desk.until_observing();
                running.signal("KILL");
                stopped_and_killed(desk);
                let _ = desk.until_decided(LIMIT);
            },
            ..KILLED
        };
        let early = [("--on-unit-inactive=30", "--on-unit-inactive=2")];
        let (_, said, wrong) = tried(&row, &desk, &early);
        assert!(wrong.is_empty(), "{wrong:?}\n{}{}", said.stdout, said.stderr);
    }

    /// The backstop comes early here, for the test's sake; what it looks at is as ever.
    #[test]
    fn a_guard_that_is_frozen_in_its_commit() {
        let Some(desk) = Desk::any() else { return };
        let row = Row {
            id: "guard frozen",
            before: hold_boot_loader,
            during: |desk, _| {
                desk.in_the_commit(
                    "systemctl kill -s STOP nixdeploy-guard; \
                echo 1 > /run/nixdeploy/current/deadline",
                )
            },
            ..COMMITTED
        };
        let early = [("--on-unit-inactive=30", "--on-unit-inactive=2")];
        let (_, said, wrong) = tried(&row, &desk, &early);
        assert!(wrong.is_empty(), "{wrong:?}\n{}{}", said.stdout, said.stderr);
    }
}
