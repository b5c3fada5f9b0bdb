//! The way back when it is not easy: its rungs, each proven by what runs afterwards, and what is
//! said when none of them was enough.

mod lab {
    use crate::support::desk::Desk;
    use crate::support::rows::{REVERTED, Row, Then, rows};

    /// Keeps the old system's switch-to-configuration from ever ending.
    const HANGS: &str = "old=$(readlink -f /nix/var/nix/profiles/system); \
        case $1:$2:$3 in activate:test:$old) sleep 1000 ;; esac";
    /// The new system lacks a service of the old one, which cannot be started any more.
    const MASKED: Row = Row {
        knob: "lab.apps.other = { }; lab.brokenService = true;",
        before: |desk| masks(desk, "/run/systemd/system.control"),
        ..REVERTED
    };

    /// From the new system's activation on a service of the old one is masked.
    fn masks(desk: &Desk, folder: &str) {
        desk.committed("lab.apps.greeter = { };");
        let old = desk.state().get("running").to_owned();
        let script = format!(
            "case $1:$2:$3 in end:test:{old}) ;; end:test:*) mkdir -p {folder}; \
             ln -sf /dev/null {folder}/greeter.service ;; esac"
        );
        desk.lab().hook(desk.host(), &script);
        desk.spoil();
    }

    /// The last that the new system's activation does is to stop the bus.
    fn bus_stops(desk: &Desk) {
        let old = desk.state().get("running").to_owned();
        let script = format!(
            "case $1:$2:$3 in end:test:{old}) ;; end:test:*) \
             systemctl stop dbus.socket dbus.service ;; esac"
        );
        desk.lab().hook(desk.host(), &script);
    }

    fn bus_is_back(desk: &Desk) {
        let _ = desk.exec("systemctl is-active -q dbus.socket dbus.service");
    }

    rows! {
        lists_of_another_activation: Row {
            id: "F38",
            knob: "lab.brokenService = true;",
            before: |desk| desk.lab().hook(desk.host(), "case $1:$2 in end:test) \
                [ -e /etc/lab/once ] || echo nosuch.service >> /run/nixos/start-list; \
                touch /etc/lab/once ;; esac"),
            says: &["exited 4 on the way back", "compared one by one and are as before"],
            ..REVERTED
        };
        checks_of_the_old_system_that_refuse: Row {
            id: "F39",
            knob: "lab.brokenService = true;",
            before: |desk| {
                desk.committed("lab.preSwitchAsks = true;");
                let _ = desk.exec("touch /etc/lab/refuse; \
                    ! /run/current-system/bin/switch-to-configuration check");
            },
            says: &["pre-switch checks are left out on the way back"],
            after: |desk, _, _| {
                let _ = desk.exec("rm /etc/lab/refuse");
            },
            ..REVERTED
        };
        a_way_back_that_hangs: Row {
            id: "F40",
            knob: "lab.brokenService = true; lab.apps.greeter = { };",
            hosts: "activate_timeout_s = 6",
            before: |desk| desk.lab().hook(desk.host(), HANGS),
            says: &["back by rung 3 of 4: the old system's own activation"],
            ..REVERTED
        };
        a_service_that_cannot_come_back: Row {
            id: "F40 reboot",
            says: &[
                "rungs 1 to 3 failed and rung 4 is a reboot into the boot default",
                "not back: greeter.service",
                "rebooted into the old system (boot_id changed)",
                "restored: boot",
                "so are the services that were active",
            ],
            then: Then::Rebooted,
            ..MASKED
        };
        a_service_that_cannot_come_back_on_a_host_to_be_left: Row {
            id: "F40 leave",
            hosts: "on_revert_failure = \"leave\"",
            exit: 9,
            result: "stranded",
            says: &[
                "THE WAY BACK FAILED",
                "tried rungs 1 to 3 of 4; not back: greeter.service",
                "not rebooted: it is to be left for a person",
            ],
            then: Then::Own,
            after: |desk, before, _| {
                let after = desk.unguarded();
                for key in ["running", "profile", "boot_default", "boot_id"] {
                    assert_eq!(after.get(key), before.get(key), "{key}");
                }
            },
            ..MASKED
        };
        a_service_that_not_even_a_reboot_brings_back: Row {
            id: "F40 stated",
            before: |desk| masks(desk, "/etc/systemd/system.control"),
            exit: 9,
            result: "stranded",
            says: &[
                "rungs 1 to 3 failed and rung 4 is a reboot",
                "rebooted into the old system, but not all of it is back",
                "not back: greeter.service",
            ],
            then: Then::Own,
            after: |desk, before, _| {
                let after = desk.unguarded();
                assert!(after.is_all(before.get("running")), "{after:?}");
                assert_ne!(after.get("boot_id"), before.get("boot_id"));
            },
            ..MASKED
        };
        a_bus_that_dies: Row {
            id: "F49",
            knob: "lab.brokenService = true;",
            before: bus_stops,
            says: &["back by rung 2 of 4: D-Bus was dead and was started"],
            after: |desk, _, _| bus_is_back(desk),
            ..REVERTED
        };
        a_bus_that_cannot_be_started: Row {
            id: "F49 masked",
            knob: "lab.busMasked = true; lab.brokenService = true;",
            before: bus_stops,
            says: &["back by rung 3 of 4: the old system's own activation"],
            after: |desk, _, _| bus_is_back(desk),
            ..REVERTED
        };
        a_link_that_is_taken_down_by_hand: Row {
            id: "F17 by hand",
            knob: "lab.linkDown = true;",
            hosts: "verify_timeout_s = 5",
            says: &["back by rung 3 of 4"],
            ..REVERTED
        };
    }
}
