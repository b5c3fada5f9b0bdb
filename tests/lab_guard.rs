//! The guard beside its model: traces that it leaves on machines are replayed there; and what the
//! model found out is tried on machines.

mod lab {
    use std::time::Duration;

    use crate::guard_model::replay::{TRACED, read, replay, write};
    use crate::guard_model::traces::{path, setting};
    use crate::support::desk::Desk;
    use crate::support::rows::{COMMITTED, REVERTED, Row, Then, rows, tried};
    use crate::support::variable;

    use crate::lab_mutants::COLLECTED;

    const LIMIT: Duration = Duration::from_secs(60);
    const CHANGED: Row = Row { knob: COMMITTED.knob, ..REVERTED };
    const KILLED: Row = Row { exit: 137, result: "", ..CHANGED };

    /// Keeps the boot loader's installation busy until the mark is taken away.
    fn hold_boot_loader(desk: &Desk) {
        let script = "case $1:$2 in boot-default:boot) if [ ! -e /etc/lab/once ]; then \
             touch /etc/lab/once; while [ -e /etc/lab/once ]; do sleep 0.1; done; fi ;; esac";
        desk.lab().hook(desk.host(), script);
    }

    /// Does something while the boot loader is being installed, and lets that go on.
    fn in_the_commit(desk: &Desk, what: &str) {
        desk.until("the boot loader's installation", LIMIT, "[ -e /etc/lab/once ]");
        let _ = desk.exec(&format!("{what}; rm -f /etc/lab/hook /etc/lab/once"));
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
        traced("deadline", &Row { hosts: "soak_s = 3\nverify_timeout_s = 2", during, ..KILLED });
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
        let row = Row {
            hosts: "soak_s = 3",
            during: |desk, _| {
                desk.until_observing();
                let _ = desk.exec("systemctl kill -s KILL nixdeploy-guard");
            },
            ..COMMITTED
        };
        traced("guard-killed", &row);
    }

    #[test]
    fn trace_of_a_stopped_guard() {
        let row = Row {
            hosts: "soak_s = 5",
            during: |desk, _| {
                desk.until_observing();
                let _ = desk.exec("systemctl stop nixdeploy-guard");
            },
            ..CHANGED
        };
        traced("guard-stopped", &row);
    }

    #[test]
    fn trace_of_a_killed_commit() {
        let row = Row {
            before: hold_boot_loader,
            during: |desk, _| in_the_commit(desk, "systemctl kill -s KILL 'nixdeploy-commit-*'"),
            then: Then::Undone,
            ..CHANGED
        };
        traced("commit-killed", &row);
    }

    #[test]
    fn trace_of_a_guard_killed_in_its_commit() {
        let row = Row {
            before: hold_boot_loader,
            during: |desk, _| in_the_commit(desk, "systemctl kill -s KILL nixdeploy-guard"),
            ..COMMITTED
        };
        traced("guard-killed-in-commit", &row);
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

    rows! {
        garbage_collections_from_hold_to_go: Row {
            id: "F14 loop",
            knob: COLLECTED.knob,
            during: COLLECTED.during,
            ..COMMITTED
        };
        an_abort_after_the_decision: Row {
            id: "abort after commit",
            before: hold_boot_loader,
            during: |desk, _| in_the_commit(desk, "\
                touch /run/nixdeploy/current/req.abort; systemctl kill -s KILL nixdeploy-guard"),
            ..COMMITTED
        };
        a_folder_that_is_removed: Row {
            id: "/run/nixdeploy removed",
            hosts: "soak_s = 4",
            during: |desk, _| {
                desk.until_observing();
                let _ = desk.exec("rm -rf /run/nixdeploy");
            },
            ..CHANGED
        };
        a_run_that_is_full: Row {
            id: "/run full",
            before: hold_boot_loader,
            during: |desk, _| {
                in_the_commit(desk, "\
                    free() { df --output=\"$1\" -k /run | tail -n 1 | tr -d ' '; }; \
                    free size > /etc/lab/run; mount -o \"remount,size=$(free used)k\" /run");
            },
            after: |desk, _, _| {
                let _ = desk.exec("mount -o remount,size=$(cat /etc/lab/run)k /run");
            },
            ..COMMITTED
        };
    }

    /// The backstop comes early here, for the test's sake; what it looks at is as ever.
    #[test]
    fn a_guard_that_is_frozen_in_its_commit() {
        let Some(desk) = Desk::any() else { return };
        let row = Row {
            id: "guard frozen",
            before: hold_boot_loader,
            during: |desk, _| {
                in_the_commit(
                    desk,
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
