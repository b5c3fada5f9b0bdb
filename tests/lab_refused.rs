//! What is seen before anything changes: refused, with the arithmetic or the name of the culprit.

mod lab {
    use std::time::Duration;

    use crate::support::desk::Desk;
    use crate::support::rows::{COMMITTED, REFUSED, REVERTED, Row, Then, flat, has_row, rows};
    use crate::support::wait_until;

    /// Leaves so many KiB of a file system.
    fn fill(desk: &Desk, place: &str, file: &str, left_kib: u32) {
        let _ = desk.exec(&format!(
            "fallocate -l $(($(df --output=avail -k {place} | tail -n 1) - {left_kib}))K {file}"
        ));
    }

    fn change_host_key(desk: &Desk) {
        let _ = desk.exec(
            "rm /etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N '' \
            -f /etc/ssh/ssh_host_ed25519_key; systemctl restart sshd",
        );
        desk.spoil();
    }

    const MIGRATES: &str = "systemd.services.app-migrate = { \
        wantedBy = [ \"multi-user.target\" ]; \
        unitConfig.X-NixdeployIrreversible = \"its schema is migrated\"; \
        serviceConfig = { Type = \"oneshot\"; RemainAfterExit = true; }; script = \"true\"; };";

    const CUT: Row = Row {
        hosts: "ssh.control = \"none\"",
        knob: COMMITTED.knob,
        before: |desk| desk.lab().cut(desk.host()),
        after: |desk, _, _| desk.lab().heal(desk.host()),
        ..REFUSED
    };

    rows! {
        no_contact: Row {
            id: "F01",
            result: "unreachable",
            says: &["unreachable after", "attempts", "ping HOST"],
            ..CUT
        };
        no_contact_with_a_live_master: Row {
            id: "F01 master",
            hosts: "",
            result: "unreachable",
            says: &["unreachable after"],
            ..CUT
        };
        no_contact_with_an_optional_host: Row {
            id: "F01 optional",
            hosts: "ssh.control = \"none\"\noptional = \"skip\"",
            exit: 0,
            result: "skipped",
            ..CUT
        };
        another_host_key: Row {
            id: "F02",
            hosts: "ssh.control = \"none\"",
            before: change_host_key,
            args: &["quick-deploy", "-vv"],
            says: &["the host key of HOST is not trusted", "nixdeploy trust HOST"],
            after: |_, _, said| {
                let tries = said.stderr.lines().filter(|l| l.contains("command=ssh ")).count();
                assert_eq!(tries, 1, "it was tried again\n{}", said.stderr);
            },
            ..REFUSED
        };
        sudo_that_wants_a_password: Row {
            id: "F03",
            host: "samsung",
            before: |desk| {
                desk.lab().sudo_password(desk.host(), "secret");
                desk.spoil();
            },
            says: &["admin cannot become root", "NOPASSWD", "--sudo-password-file"],
            ..REFUSED
        };
        a_store_that_is_too_small: Row {
            id: "F04",
            knob: "lab.closureMiB = 40;",
            before: |desk| fill(desk, "/nix", "/var/full", 50_000),
            says: &["too little space: need", " on /nix", " MiB free",
                "of the closure are not on the host", "nix-store --gc"],
            ..REFUSED
        };
        a_boot_that_is_too_small: Row {
            id: "F05",
            knob: "lab.kernelSeed = \"big\"; lab.kernelMiB = 12;",
            before: |desk| fill(desk, "/boot", "/boot/full", 8_000),
            says: &["too little space for the boot loader: need", "kernel 12.0 MiB", "to spare"],
            ..REFUSED
        };
        an_inhibitor_that_differs: Row {
            id: "F06",
            before: |desk| desk.committed("lab.inhibitor = \"one\";"),
            knob: "lab.inhibitor = \"two\";",
            says: &["lab: one -> two", "--boot"],
            ..REFUSED
        };
        an_inhibitor_that_differs_by_policy: Row {
            id: "F07",
            before: |desk| desk.committed("lab.inhibitor = \"one\";"),
            knob: "lab.inhibitor = \"two\";",
            hosts: "on_inhibitor = \"stage\"",
            exit: 7,
            result: "staged",
            says: &["reboot"],
            then: Then::Staged,
            after: |desk, _, _| desk.reboot(),
            ..REVERTED
        };
        switching_by_hand: Row {
            id: "F09",
            before: |desk| {
                let _ = desk.exec("mkdir -p /run/nixos; systemd-run -q --unit=by-hand --collect \
                    flock /run/nixos/switch-to-configuration.lock sleep 1000; \
                    cd /run/nixos; \
                    until ! flock -n switch-to-configuration.lock true; do sleep 0.05; done");
            },
            knob: COMMITTED.knob,
            says: &["switch-to-configuration is running already, process",
                "flock /run/nixos/switch-to-configuration.lock"],
            after: |desk, _, _| {
                let _ = desk.exec("systemctl stop by-hand");
            },
            ..REFUSED
        };
        drift: Row {
            id: "drift",
            before: drifted,
            knob: COMMITTED.knob,
            says: &["running system, profile and boot default are not the same", "--accept-drift",
                "rollback HOST --to 1"],
            after: |desk, _, _| {
                let plain = desk.run(&["rollback", desk.host()]);
                assert_eq!(plain.code, 5, "{}{}", plain.stdout, plain.stderr);
                let said = desk.run(&["rollback", desk.host(), "--to", "1"]);
                assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
                let now = desk.unguarded();
                assert!(now.is_all(&desk.exec("readlink -f /nix/var/nix/profiles/system-1-link")));
                desk.spoil();
            },
            ..REFUSED
        };
        drift_that_is_accepted: Row {
            id: "drift accepted",
            args: &["quick-deploy", "--accept-drift"],
            before: drifted,
            ..COMMITTED
        };
        drift_that_is_accepted_and_a_service_that_fails: Row {
            id: "drift accepted, reverted",
            args: &["quick-deploy", "--accept-drift"],
            before: drifted,
            knob: "lab.brokenService = true;",
            after: |desk, _, _| desk.spoil(),
            ..REVERTED
        };
        a_unit_without_a_way_back: Row {
            id: "irreversible",
            knob: MIGRATES,
            says: &[
                "there is no way back from it, by its own word",
                "app-migrate.service: its schema is migrated",
                "quick-deploy HOST --yes",
            ],
            ..REFUSED
        };
        a_unit_without_a_way_back_and_a_yes: Row {
            id: "irreversible, yes",
            knob: MIGRATES,
            args: &["quick-deploy", "--yes"],
            after: |desk, _, _| {
                // it is there now, and unchanged: nothing is asked of the next one
                desk.knob(&format!("{MIGRATES} lab.apps.greeter = {{ }};"));
                let said = desk.run(&["quick-deploy", desk.host()]);
                assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
            },
            ..COMMITTED
        };
        a_boot_menu_of_one: Row {
            id: "F50",
            before: |desk| {
                desk.committed("boot.loader.systemd-boot.configurationLimit = lib.mkForce 1;");
                desk.spoil();
            },
            knob: "boot.loader.systemd-boot.configurationLimit = lib.mkForce 1; lab.apps.x = { };",
            says: &["the boot loader keeps 1 generations", "would lose its entry",
                "configurationLimit"],
            ..REFUSED
        };
        a_boot_menu_that_the_running_system_would_fall_out_of: Row {
            id: "F50 window",
            before: |desk| {
                let limit = "boot.loader.systemd-boot.configurationLimit = lib.mkForce 2;";
                desk.committed(limit);
                desk.committed(&format!("{limit} lab.apps.x = {{ }};"));
                let _ = desk.exec("p=/nix/var/nix/profiles/system; \
                    n=$(readlink $p | tr -dc 0-9); nix-env -p $p --switch-generation $((n - 1)) \
                    && $p/bin/switch-to-configuration switch");
                desk.spoil();
            },
            knob: "boot.loader.systemd-boot.configurationLimit = lib.mkForce 2; lab.apps.y = { };",
            says: &["the boot loader keeps 2 generations", "would lose its entry"],
            ..REFUSED
        };
        a_tree_that_does_not_evaluate: Row {
            id: "eval",
            knob: "lab.evalError = true;",
            exit: 4,
            result: "not-built",
            says: &["lab.evalError is set"],
            ..REFUSED
        };
        a_tree_that_does_not_build: Row {
            id: "build",
            knob: "lab.buildError = true;",
            exit: 4,
            result: "not-built",
            ..REFUSED
        };
        a_disk_that_fills_while_copying: Row {
            id: "F12",
            knob: "lab.closureMiB = 24; lab.closureSeed = \"UNIQUE\";",
            before: |desk| desk.lab().slow(desk.host(), 40_000),
            during: |desk, running| {
                running.heard("copy started");
                // The copy takes space meanwhile: most of it at once, then what is left.
                fill(desk, "/nix", "/var/full", 12_000);
                let _ = desk.exec("cat /dev/zero > /var/brim 2> /dev/null; true");
            },
            says: &["no space left on HOST"],
            after: |desk, _, _| {
                desk.lab().heal(desk.host());
                desk.spoil();
            },
            ..REFUSED
        };
        a_link_that_is_cut_while_copying: Row {
            id: "F13",
            knob: "lab.closureMiB = 24; lab.closureSeed = \"UNIQUE\";",
            before: |desk| desk.lab().slow(desk.host(), 40_000),
            during: |desk, running| {
                running.heard("copy started");
                let copying = "pgrep -f '[n]ix-daemon --stdio'";
                desk.until("the copy", Duration::from_secs(90), copying);
                desk.lab().cut(desk.host());
                // Out until ssh gives up, some 20 s later; the new connection waits for 10.
                let lost = "contact lost; once more over a new connection";
                wait_until("the loss to be noticed", Duration::from_secs(60), || {
                    let logs = desk.run(&["logs", desk.host()]).stdout;
                    Some(()).filter(|()| logs.contains(lost))
                });
                desk.lab().heal(desk.host());
            },
            ..COMMITTED
        };
    }

    #[test]
    fn one_machine_under_two_names() {
        let Some(desk) = Desk::any() else { return };
        let before = desk.good();
        let host = desk.host().to_owned();
        let other = if host == "razer" { "p510" } else { "razer" };
        desk.inventory(&format!("[hosts.twin]\naddress = \"HOST\"\nattr = \"{other}\""));
        let said = desk.run(&["quick-deploy", "twin", &host]);
        assert_eq!(said.code, 5, "{}{}", said.stdout, said.stderr);
        let text = flat(&said);
        assert!(text.contains(&format!("it is the machine that {host} is")), "{text}");
        assert!(has_row(&said, &host, "unchanged"), "{text}");
        assert_eq!(desk.state().pointers(), before.pointers());
    }

    /// The factory's system runs, for the time being; profile and boot default stay.
    fn drifted(desk: &Desk) {
        let _ = desk.exec("/nix/var/nix/profiles/system-1-link/bin/switch-to-configuration test");
    }
}
