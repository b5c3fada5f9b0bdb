//! Faults while the new system is activated: the machine is as before, by its own guard if need be.

mod lab {
    use std::time::Duration;

    use crate::support::desk::DROP_SESSIONS;
    use crate::support::rows::{
        COMMITTED, GUARD_KILLED, GUARD_STOPPED, REFUSED, REVERTED, Row, Then, rows,
    };

    /// The guard gives up 6 s after an activation that nobody follows.
    const IMPATIENT: &str = "verify_timeout_s = 5";

    /// Nobody could tell the guard anything; the deployer found the host again afterwards.
    const BY_ITSELF: &[&str] = &[
        "; it took itself back",
        "by its guard; back to generation",
        "no commit before the deadline",
    ];

    rows! {
        a_service_that_fails: Row {
            id: "F20",
            knob: "lab.brokenService = true;",
            says: &["app-broken.service", "exit status 3", "app-broken: cannot open database"],
            ..REVERTED
        };
        an_activation_script_that_fails: Row {
            id: "F22",
            knob: "lab.failActivation = true;",
            says: &["an activation script failed (exit 2)", "lab-fail"],
            ..REVERTED
        };
        an_activation_that_hangs: Row {
            id: "F19",
            knob: "lab.hangingActivation = true; lab.apps.greeter = { };",
            hosts: "activate_timeout_s = 4",
            says: &["the activation took too long", "activating the configuration..."],
            ..REVERTED
        };
        an_activation_that_fills_the_disk: Row {
            id: "F22 full",
            knob: "lab.fillDisk = true;",
            says: &["an activation script failed (exit 2)", "/: 100 % in use, ",
                " % before; ", " MiB free [disk]", "next ssh HOST sudo nix-store --gc"],
            after: |desk, _, _| desk.spoil(),
            ..REVERTED
        };
        an_init_interface_that_changes: Row {
            id: "F23",
            knob: "lab.initInterface = true;",
            says: &["init:", "--boot"],
            ..REFUSED
        };
        an_init_interface_that_changes_by_policy: Row {
            id: "F23 stage",
            knob: "lab.initInterface = true;",
            hosts: "on_inhibitor = \"stage\"",
            exit: 7,
            result: "staged",
            then: Then::Staged,
            after: |desk, _, _| desk.spoil(),
            ..REVERTED
        };
        a_check_of_the_new_system_that_refuses: Row {
            id: "pre-switch",
            knob: "lab.preSwitchFails = true;",
            says: &["the new system's own check refused it", "lab.preSwitchFails"],
            ..REFUSED
        };
        sshd_with_a_bad_configuration: Row {
            id: "F18 config",
            knob: "lab.breakSshd = \"config\";",
            says: &[
                "Connection refused",
                "sshd.service: failed: exit status 255",
                "Failed to start sshd.service",
            ],
            ..REVERTED
        };
        sshd_on_another_port: Row {
            id: "F18 port",
            knob: "lab.breakSshd = \"port\";",
            says: &["no new ssh connection"],
            ..REVERTED
        };
        sshd_that_is_gone: Row {
            id: "F18 off",
            knob: "lab.breakSshd = \"off\";",
            says: &["sshd is not started any more", "Connection refused"],
            ..REVERTED
        };
        a_firewall_that_drops_ssh: Row {
            id: "F17 firewall",
            knob: "lab.dropNetwork = \"firewall\";",
            hosts: IMPATIENT,
            says: BY_ITSELF,
            ..REVERTED
        };
        another_address: Row {
            id: "F17 address",
            knob: "lab.dropNetwork = \"address\";",
            hosts: IMPATIENT,
            says: BY_ITSELF,
            ..REVERTED
        };
        a_link_that_goes_down: Row {
            id: "F17 down",
            knob: "lab.dropNetwork = \"down\";",
            hosts: IMPATIENT,
            says: BY_ITSELF,
            ..REVERTED
        };
        a_link_that_goes_down_late: Row {
            id: "F17 late",
            knob: "lab.dropNetwork = \"late\";",
            hosts: "soak_s = 7\nverify_timeout_s = 5",
            says: BY_ITSELF,
            ..REVERTED
        };
        a_cable_that_is_pulled: Row {
            id: "F16",
            hosts: "soak_s = 10\nverify_timeout_s = 4",
            during: |desk, _| {
                desk.until_observing();
                desk.lab().cut(desk.host());
                let _ = desk.until_decided(Duration::from_secs(60));
                desk.lab().heal(desk.host());
            },
            says: BY_ITSELF,
            ..as_before_with_a_change()
        };
        sessions_that_are_dropped: Row {
            id: "F15",
            knob: "lab.slowActivation = 8; lab.apps.greeter = { };",
            during: |desk, _| {
                desk.until_activating();
                let _ = desk.exec(DROP_SESSIONS);
            },
            says: &["reconnected"],
            after: |desk, _, _| {
                let journal = "journalctl -o cat -u \"nixdeploy-act-$(readlink \
                    /run/nixdeploy/current)\" | grep -v '^Start\\|^Deactivated\\|^nixdeploy-act'";
                let logs = desk.run(&["logs", desk.host()]);
                for line in desk.exec(journal).lines() {
                    assert!(logs.stdout.contains(line), "lost: {line}\n{}", logs.stdout);
                }
                assert!(logs.stdout.contains("activating the configuration..."), "{}", logs.stdout);
            },
            ..COMMITTED
        };
        a_power_loss: Row {
            id: "F25",
            knob: "lab.slowActivation = 10; lab.apps.greeter = { };",
            during: |desk, _| {
                desk.until_activating();
                desk.reboot();
            },
            says: &["boot_id changed", "so are the services that were active"],
            then: Then::Rebooted,
            ..REVERTED
        };
        a_garbage_collection_before_it: Row {
            id: "F14",
            knob: "lab.apps.greeter = { }; lab.closureSeed = \"UNIQUE\"; lab.closurePaths = 3;",
            before: |desk| desk.lab().hook(desk.host(), "case $1:$2 in check:dry-activate) \
                nix-store --gc > /dev/null 2>&1 && touch /etc/lab/once ;; esac"),
            after: |desk, _, _| {
                let _ = desk.exec("[ -e /etc/lab/once ]"); // it did collect, before the activation
            },
            ..COMMITTED
        };
        a_guard_that_is_killed_in_a_good_deploy: Row { id: "guard killed", ..GUARD_KILLED };
        a_guard_that_is_killed_in_a_bad_deploy: Row {
            id: "guard killed, activation",
            knob: "lab.brokenService = true; lab.slowActivation = 8;",
            during: |desk, _| {
                desk.until_activating();
                let _ = desk.exec("systemctl kill -s KILL nixdeploy-guard");
            },
            says: &["app-broken: cannot open database"],
            ..REVERTED
        };
        a_guard_that_is_stopped: Row {
            id: "guard stopped",
            says: &["the guard was stopped"],
            ..GUARD_STOPPED
        };
    }

    /// A change without a fault of its own: the fault comes from outside.
    const fn as_before_with_a_change() -> Row {
        Row { knob: COMMITTED.knob, ..REVERTED }
    }
}
