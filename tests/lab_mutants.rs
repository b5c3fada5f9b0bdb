//! Guards that are wrong in one way each, on machines: the row that a right one passes must fail.
//!
//! The guard is changed on its way to the machine (`Desk::change_guard`); nothing in the program
//! knows of it.

use std::time::Duration;

use crate::support::rows::{COMMITTED, Row};

/// A garbage collection between the new system's own check, whose processes keep it, and `go`: the
/// deployer stands still meanwhile.
pub(crate) const COLLECTED: Row = Row {
    id: "F14 loop",
    knob: "lab.apps.greeter = { }; lab.closureSeed = \"UNIQUE\"; lab.closurePaths = 3;",
    before: |desk| {
        desk.lab().hook(
            desk.host(),
            "case $1:$2 in check:dry-activate) touch /etc/lab/once; \
             while [ -e /etc/lab/once ]; do sleep 0.1; done ;; esac",
        );
    },
    during: |desk, running| {
        desk.until("the check", Duration::from_secs(90), "[ -e /etc/lab/once ]");
        running.signal("STOP");
        let collected = desk.exec(
            "rm -f /etc/lab/hook /etc/lab/once; \
             while pgrep -f '[s]witch-to-configuration dry' > /dev/null; do sleep 0.1; done; \
             nix-store --gc > /dev/null 2>&1; cat /run/nixdeploy/current/phase",
        );
        assert_eq!(collected, "hold");
        running.signal("CONT");
    },
    ..COMMITTED
};

mod lab {
    use std::time::Duration;

    use crate::support::desk::Desk;
    use crate::support::rows::{COMMITTED, REVERTED, Row, Then, check_weakened, tried};

    const LIMIT: Duration = Duration::from_secs(60);

    #[test]
    fn a_decision_that_is_not_atomic() {
        let row = Row {
            id: "commit begun before it is decided",
            before: |desk| {
                desk.lab().hook(
                    desk.host(),
                    "case $1:$2 in boot-default:boot) \
                if [ ! -e /etc/lab/once ]; then touch /etc/lab/once; \
                while [ -e /etc/lab/once ]; do sleep 0.1; done; fi ;; esac",
                )
            },
            during: |desk, _| {
                desk.until("the boot loader", LIMIT, "[ -e /etc/lab/once ]");
                let _ = desk.exec(
                    "touch /run/nixdeploy/current/req.abort; \
                    systemctl kill -s KILL nixdeploy-guard; rm -f /etc/lab/hook /etc/lab/once",
                );
            },
            ..COMMITTED
        };
        let late = (
            "  decided=$1\n",
            "  decided=$1\n  if [ \"$1\" = commit ] && [ ! -e \"$d/decision\" ]; then\n    \
             put step begun; put made \"$(next_generation)\"; commit_start; sleep 10\n  fi\n",
        );
        check_weakened(&row, &[late]);
    }

    #[test]
    fn a_root_that_is_dropped_early() {
        check_weakened(
            &super::COLLECTED,
            &[("  phase hold\n", "  phase hold\n  rm -f \"$roots/$tx-new\"\n")],
        );
    }

    #[test]
    fn an_undo_that_is_left_out() {
        let row = Row { knob: "lab.bootloaderFails = true;", then: Then::Undone, ..REVERTED };
        check_weakened(&row, &[("\nundo() {\n", "\nundo() {\n  revert\n")]);
    }

    #[test]
    fn a_boot_default_that_is_written_first() {
        let first = "  phase armed\n  nix-env -p \"$profile\" --set \"$new\"\n  \
            \"$new/bin/switch-to-configuration\" boot > /dev/null 2>&1\n";
        let row = Row { knob: "lab.brokenService = true;", ..REVERTED };
        check_weakened(&row, &[("  phase armed\n", first)]);
    }

    /// The one whose row waits for what does not come: it is looked at when the deadline is over.
    #[test]
    fn a_deadline_that_is_ignored() {
        let Some(desk) = Desk::any() else { return };
        let row = Row {
            id: "F16 verification",
            knob: COMMITTED.knob,
            hosts: "soak_s = 10\nverify_timeout_s = 1",
            during: |desk, running| {
                desk.until_observing();
                running.signal("KILL");
                desk.until(
                    "the deadline to be over",
                    LIMIT,
                    "read -r up _ < /proc/uptime; \
                    [ \"${up%.*}\" -ge $(($(cat /run/nixdeploy/current/deadline) + 3)) ]",
                );
            },
            exit: 137,
            result: "",
            then: Then::Own,
            ..REVERTED
        };
        let ignored =
            ("    [ \"$uptime_s\" -lt \"${v:-0}\" ] || decide revert \"$(overdue)\"\n", "");
        let (before, _, wrong) = tried(&row, &desk, &[ignored]);
        assert!(wrong.is_empty(), "{wrong:?}");
        // A right guard has begun to go back half a second after the deadline.
        let decision = desk.exec("readlink /run/nixdeploy/current/decision || true");
        let after = desk.state();
        assert!(decision.is_empty() && after.get("running") != before.get("running"), "{after:?}");
        let _ = desk.exec("systemctl stop nixdeploy-guard");
        desk.spoil();
    }
}
