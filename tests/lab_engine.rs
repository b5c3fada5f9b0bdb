//! nixos-rebuild switches, and the guard takes back what must not stay: whatever it says of itself.

mod lab {
    use std::time::Duration;

    use crate::support::desk::Desk;
    use crate::support::machines::State;
    use crate::support::rows::{COMMITTED, REVERTED, Row, Then, differences, flat, rows};

    const ENGINE: &[&str] = &["quick-deploy", "--engine", "nixos-rebuild"];
    const TAKEN_BACK: Row = Row {
        args: ENGINE,
        before: |desk| desk.lab().engine("new"),
        then: Then::Undone,
        ..REVERTED
    };
    /// It had set profile and boot default, and nobody has looked at the host.
    const UNVERIFIED: Row = Row { exit: 9, result: "stranded", then: Then::Own, ..TAKEN_BACK };

    fn runs_the_new_one(desk: &Desk, before: &State) {
        let after = desk.state();
        let new = after.get("running");
        assert!(after.is_all(new) && new != before.get("running"), "{after:?}");
    }

    /// switch-to-configuration is at work, as nixos-rebuild started it.
    const SWITCHING: &str = "systemctl is-active nixos-rebuild-switch-to-configuration.service && \
        pgrep -f '[l]ab-slow|[s]leep 6'";
    const QUICK: Duration = Duration::from_secs(60);

    rows! {
        a_good_switch: Row {
            id: "engine",
            args: ENGINE,
            before: |desk| desk.lab().engine("new"),
            says: &["1 changed"],
            ..COMMITTED
        };
        an_engine_that_exits_1: Row {
            id: "E1",
            knob: "lab.bootloaderFails = true; lab.apps.greeter = { };",
            says: &["nixos-rebuild (exit 1)", "the host is looked at all the same"],
            ..TAKEN_BACK
        };
        an_engine_that_exits_4: Row {
            id: "E2",
            knob: "lab.brokenService = true;",
            says: &["app-broken.service", "app-broken: cannot open database"],
            ..TAKEN_BACK
        };
        an_engine_that_is_killed: Row {
            id: "E3",
            knob: "lab.slowActivation = 6; lab.apps.greeter = { };",
            during: |desk, _| {
                desk.until("the switch", QUICK, SWITCHING);
                let host = desk.host();
                let kill = format!("pkill -KILL -f '[n]ixos-rebuild switch .*root@{host}'");
                assert_eq!(desk.lab().exec("deployer", &["sh", "-c", &kill]).code, 0);
            },
            says: &["nixos-rebuild ended by signal 9"],
            ..TAKEN_BACK
        };
        a_network_that_goes_while_it_switches: Row {
            id: "E4",
            knob: "lab.slowActivation = 6; lab.apps.greeter = { };",
            hosts: "activate_timeout_s = 15\nverify_timeout_s = 5",
            during: |desk, _| {
                desk.until("the switch", QUICK, SWITCHING);
                desk.lab().cut(desk.host());
                let _ = desk.until_decided(QUICK);
                desk.lab().heal(desk.host());
            },
            ..TAKEN_BACK
        };
        a_power_loss_before_it_was_verified: Row {
            id: "engine, power loss",
            knob: "lab.apps.greeter = { };",
            hosts: "soak_s = 15",
            during: |desk, _| {
                desk.until_observing();
                desk.reboot();
            },
            says: &[
                "rebooted into the new system, which was not verified",
                "nixdeploy deploy HOST verifies it",
            ],
            after: |desk, before, _| runs_the_new_one(desk, before),
            ..UNVERIFIED
        };
        a_power_loss_and_no_deployer_left: Row {
            id: "engine, both lost",
            knob: "lab.apps.greeter = { };",
            hosts: "soak_s = 100",
            during: |desk, running| {
                desk.until_observing();
                running.signal("KILL");
                desk.reboot();
            },
            exit: 137,
            result: "",
            after: |desk, before, _| {
                let said = desk.run(&["resume"]);
                assert_eq!(said.code, 9, "{}{}", said.stdout, said.stderr);
                assert!(flat(&said).contains("which was not verified"), "{}", said.stderr);
                runs_the_new_one(desk, before);
            },
            ..UNVERIFIED
        };
        a_folder_that_is_removed_while_it_switches: Row {
            id: "/run/nixdeploy removed",
            knob: "lab.slowActivation = 6; lab.apps.greeter = { };",
            during: |desk, _| {
                desk.until("the switch", QUICK, SWITCHING);
                let _ = desk.exec("rm -rf /run/nixdeploy");
            },
            ..TAKEN_BACK
        };
        a_guard_that_is_killed_while_it_takes_the_switch_back: Row {
            id: "engine, guard killed",
            knob: "lab.slowActivation = 6; lab.apps.greeter = { };",
            hosts: "activate_timeout_s = 15\nverify_timeout_s = 5",
            during: |desk, _| {
                desk.until("the switch", QUICK, SWITCHING);
                desk.hold_boot_loader("boot-default");
                let _ = desk.exec("touch /run/nixdeploy/current/req.abort");
                desk.in_the_commit("systemctl kill -s KILL nixdeploy-guard");
            },
            ..TAKEN_BACK
        };
    }

    #[test]
    fn an_old_engine_is_known_by_its_help_and_none_is_made_up_for() {
        let Some(desk) = Desk::any() else { return };
        let before = desk.good();
        desk.lab().engine("new");
        let host = desk.host().to_owned();
        let old = format!("echo old > /root/desks/{host}/engine");
        assert_eq!(desk.lab().exec("deployer", &["sh", "-c", &old]).code, 0);
        desk.knob("lab.apps.greeter = { port = 8081; };");
        let said = desk.run(&[ENGINE, &[&host]].concat());
        assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
        assert!(!flat(&said).contains("our own activation"), "{}", said.stderr);
        let first = desk.unguarded();
        assert_eq!(differences(Then::New, &before, &first), [""; 0]);
        desk.knob("lab.apps.greeter = { port = 8082; };");
        let none = "cd /root/desks/$1; export XDG_STATE_HOME=$PWD/state; rm engine; \
            PATH=/usr/sbin:/usr/bin:/sbin:/bin:/srv/share exec nixdeploy quick-deploy $1 \
            --engine nixos-rebuild";
        let said = desk.lab().exec("deployer", &["bash", "-c", none, "-", &host]);
        assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
        assert!(flat(&said).contains("our own activation instead of it"), "{}", said.stderr);
        assert_eq!(differences(Then::New, &first, &desk.unguarded()), [""; 0]);
    }
}
