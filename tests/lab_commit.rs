//! Faults while the profile and the boot default are set: decided once, finished or undone by the
//! machine alone.

mod lab {
    use std::time::Duration;

    use crate::support::desk::{DROP_SESSIONS, Desk};
    use crate::support::machines::{Said, State};
    use crate::support::rows::{
        COMMIT_KILLED, COMMITTED, GUARD_KILLED_IN_COMMIT, REFUSED, REVERTED, Row, Then, flat, rows,
    };

    const LIMIT: Duration = Duration::from_secs(30);
    /// The boot loader's installation is held.
    const HELD: &str = "[ -e /etc/lab/once ]";

    /// As a host is that was made from an image: a system runs and boots, and no profile has it.
    fn no_profile(desk: &Desk) {
        let _ = desk.exec("rm /nix/var/nix/profiles/system*");
    }

    /// Somebody else's system runs: theirs.
    const FOREIGN: Row = Row {
        knob: COMMITTED.knob,
        exit: 10,
        result: "foreign",
        says: &["somebody else changed the host meanwhile; stood down"],
        then: Then::Own,
        after: |desk, before, _| {
            let after = desk.unguarded();
            let theirs = desk.exec("readlink -f /nix/var/nix/profiles/system-1-link");
            assert!(after.is_all(&theirs), "{after:?}");
            assert_ne!(after.get("running"), before.get("running"));
            desk.spoil();
        },
        ..REVERTED
    };

    /// Until it is told otherwise the guard stands still from the rehearsal on.
    fn guard_stands_still(desk: &Desk, more: &str) {
        let script = format!(
            "case $1:$2 in check:dry-activate) \
             systemctl kill --kill-whom=main -s STOP nixdeploy-guard ;; {more} esac"
        );
        desk.lab().hook(desk.host(), &script);
    }

    /// Somebody takes switch-to-configuration's lock when we have said go and nothing has begun:
    /// the guard goes on when they have it, and have left the mark that says so.
    fn after_go(desk: &Desk, script: &str) {
        let go = "cd /run/nixdeploy/current && [ -e req.go ] && [ ! -e outcome ]";
        desk.until("go", LIMIT, go);
        let _ = desk.exec(&format!(
            "mkdir -p /run/nixos; systemd-run -q --unit=by-hand --collect bash -c {}; \
             until [ -e /etc/lab/once ]; do sleep 0.05; done; \
             systemctl kill --kill-whom=main -s CONT nixdeploy-guard",
            quoted(script)
        ));
    }

    /// Somebody's switch has the lock, and moves the profile, once ours has met it there.
    fn theirs_is_first(desk: &Desk, profile: &str) {
        let script = format!(
            "check:switch) touch /etc/lab/once; \
             until [ -e /run/nixdeploy/current/act ]; do sleep 0.1; done; \
             /run/current-system/sw/bin/nix-env -p /nix/var/nix/profiles/system {profile} ;;"
        );
        guard_stands_still(desk, &script);
    }

    fn quoted(script: &str) -> String {
        format!("'{}'", script.replace('\'', r"'\''"))
    }

    fn resumed(desk: &Desk, _: &State, _: &Said) {
        let said = desk.run(&["resume"]);
        assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
        let text = format!("{}{}", said.stdout, said.stderr);
        assert!(text.contains("committed"), "{text}");
    }

    rows! {
        a_boot_loader_that_fails: Row {
            id: "F33",
            knob: "lab.bootloaderFails = true;",
            says: &["the boot loader could not be installed", "install-systemd-boot: lab"],
            then: Then::Undone,
            ..REVERTED
        };
        a_boot_that_is_full_by_then: Row {
            id: "F33 full",
            knob: "lab.kernelSeed = \"full\"; lab.kernelMiB = 6;",
            before: |desk| desk.lab().hook(desk.host(), "case $1:$2:$(cat /proc/uptime) in \
                start:test:*) [ -e /etc/lab/once ] || { touch /etc/lab/once; \
                free=$(df --output=avail -k /boot | tail -n 1); \
                fallocate -l $((free - 2000))K /boot/full; } ;; \
                esac"),
            says: &["the boot loader could not be installed", "No space left", "Avail", "/boot"],
            after: |desk, before, said| {
                // what was free there, by the host's own df, is less than the kernel's 6 MiB
                let text = flat(said);
                let figures = text.split(" /boot").next().unwrap_or_default();
                let free = figures.split_whitespace().nth_back(1).unwrap_or_default();
                assert!(free.ends_with('M') && free.trim_end_matches('M').parse::<f32>().
                    is_ok_and(|mib| mib < 6.0), "free: {free} in {text}");
                assert_eq!(desk.state().get("boot_files"), before.get("boot_files"));
            },
            then: Then::Undone,
            ..REVERTED
        };
        a_boot_loader_that_hangs: Row {
            id: "F34",
            knob: "lab.bootloaderHangs = 1000;",
            hosts: "commit_timeout_s = 3",
            says: &["setting the profile and the boot default took too long"],
            then: Then::Undone,
            ..REVERTED
        };
        a_boot_loader_that_is_slow: Row {
            id: "F34 slow",
            knob: "lab.bootloaderSlow = 2; lab.bootloaderLate = 1;",
            ..COMMITTED
        };
        a_deployer_that_dies_after_its_request: Row {
            id: "F35",
            before: |desk| desk.hold_boot_loader("boot-write"),
            during: |desk, running| {
                desk.until("the commit", LIMIT, HELD);
                running.signal("KILL");
                desk.in_the_commit(":");
                let _ = desk.until_decided(LIMIT);
            },
            exit: 137,
            result: "",
            after: resumed,
            ..COMMITTED
        };
        an_answer_that_is_lost: Row {
            id: "F36",
            before: |desk| desk.hold_boot_loader("boot-done"),
            during: |desk, _| {
                desk.in_the_commit(DROP_SESSIONS);
            },
            ..COMMITTED
        };
        a_commit_that_is_killed: Row {
            id: "F37",
            says: &["setting the profile and the boot default was cut off"],
            ..COMMIT_KILLED
        };
        a_guard_that_is_killed_while_it_commits: Row {
            id: "F37 guard",
            ..GUARD_KILLED_IN_COMMIT
        };
        a_power_loss_after_the_loader_was_written: Row {
            id: "F48",
            before: |desk| desk.hold_boot_loader("boot-done"),
            during: |desk, _| {
                desk.until("the commit", LIMIT, HELD);
                desk.reboot();
                desk.in_the_commit(":");
            },
            says: &["committed, then rebooted"],
            then: Then::NewRebooted,
            ..COMMITTED
        };
        a_power_loss_before_the_loader_was_written: Row {
            id: "F48 before",
            knob: COMMITTED.knob,
            before: |desk| desk.hold_boot_loader("boot-write"),
            during: |desk, _| {
                desk.until("the commit", LIMIT, HELD);
                desk.reboot();
                desk.in_the_commit(":");
            },
            says: &["a reboot cut run", "the old system runs and boots", "set right"],
            then: Then::Own,
            after: |desk, before, _| {
                let after = desk.state();
                for key in [
                    "running", "profile", "profile_link", "generations", "boot_default",
                    "units_active",
                ] {
                    assert_eq!(after.get(key), before.get(key), "{key}");
                }
            },
            ..REVERTED
        };
        somebody_else_switches_first: Row {
            id: "F24 (a)",
            before: |desk| theirs_is_first(desk, "--switch-generation 1"),
            during: |desk, _| after_go(desk, "exec \
                /nix/var/nix/profiles/system-1-link/bin/switch-to-configuration switch"),
            says: &["-switch-to-configuration switch"],
            ..FOREIGN
        };
        somebody_else_deploys_the_same_first: Row {
            id: "F24 (a) same",
            before: |desk| theirs_is_first(desk, "--set $(cat /run/nixdeploy/current/new)"),
            during: |desk, _| after_go(desk, "exec \
                $(cat /run/nixdeploy/current/new)/bin/switch-to-configuration switch"),
            after: |desk, before, _| {
                let after = desk.unguarded();
                assert!(after.is_all(after.get("running")), "{after:?}");
                assert_ne!(after.get("running"), before.get("running"));
            },
            ..FOREIGN
        };
        somebody_else_switched_while_it_was_held: Row {
            id: "F24 held",
            before: |desk| guard_stands_still(desk, ""),
            during: |desk, _| after_go(desk, "p=/nix/var/nix/profiles/system; \
                nix-env -p $p --switch-generation 1; \
                $p/bin/switch-to-configuration switch; touch /etc/lab/once"),
            says: &["while it was held, before anything was begun"],
            ..FOREIGN
        };
        somebody_else_goes_back_while_it_goes_back: Row {
            id: "F24 back",
            knob: "lab.brokenService = true;",
            before: |desk| {
                let old = desk.state().get("running").to_owned();
                desk.lab().hook(desk.host(), &format!("case $1:$2:$3 in start:test:{old}) \
                    /run/current-system/sw/bin/nix-env -p /nix/var/nix/profiles/system \
                    --switch-generation 1 ;; esac"));
            },
            says: &["the old system runs again, and somebody else set what boots"],
            after: |desk, before, _| {
                let after = desk.unguarded();
                assert_eq!(after.get("running"), before.get("running"));
                assert_eq!(after.get("profile_link"), "system-1-link", "theirs");
                assert_eq!(after.get("boot_default"), before.get("boot_default"));
                desk.spoil();
            },
            ..FOREIGN
        };
        somebody_collects_garbage_in_a_commit_that_fails: Row {
            id: "F33 collected",
            knob: COMMITTED.knob,
            before: |desk| desk.lab().hook(desk.host(), "case $1:$2 in boot-write:boot) \
                [ -e /etc/lab/once ] || { touch /etc/lab/once; \
                /run/current-system/sw/bin/nix-collect-garbage -d; exit 1; } ;; esac"),
            says: &["the boot loader could not be installed"],
            then: Then::Own,
            after: |desk, before, _| {
                let after = desk.unguarded();
                for key in ["running", "profile", "profile_link", "boot_default"] {
                    assert_eq!(after.get(key), before.get(key), "{key}");
                }
                assert_eq!(after.get("generations"), before.get("generation"));
                desk.spoil();
            },
            ..REVERTED
        };
        somebody_else_has_the_lock: Row {
            id: "F24 (b)",
            before: |desk| guard_stands_still(desk, ""),
            knob: COMMITTED.knob,
            during: |desk, _| after_go(desk, "exec flock /run/nixos/switch-to-configuration.lock \
                bash -c 'touch /etc/lab/once; \
                until [ -L /run/nixdeploy/current/decision ]; do sleep 0.1; done'"),
            says: &[
                "another switch-to-configuration is running (exit 11)",
                "has its lock: flock /run/nixos/switch-to-configuration.lock",
            ],
            ..REFUSED
        };
        somebody_else_switches_meanwhile: Row {
            id: "F24",
            hosts: "soak_s = 15",
            knob: COMMITTED.knob,
            during: |desk, _| {
                desk.until_observing();
                let _ = desk.exec("p=/nix/var/nix/profiles/system; \
                    nix-env -p $p --switch-generation 1 && $p/bin/switch-to-configuration switch");
            },
            ..FOREIGN
        };
        for_the_next_boot_only: Row {
            id: "F46",
            args: &["quick-deploy", "--boot"],
            exit: 7,
            result: "staged",
            says: &["staged for the next boot; not running yet", "reboot"],
            then: Then::Staged,
            after: |desk, before, _| {
                let staged = desk.state();
                desk.reboot();
                let after = desk.state();
                assert!(after.is_all(staged.get("boot_default")), "{after:?}");
                assert_ne!(after.get("running"), before.get("running"));
            },
            ..COMMITTED
        };
        for_the_next_boot_only_and_the_loader_fails: Row {
            id: "F46 fails",
            args: &["quick-deploy", "--boot"],
            knob: "lab.bootloaderFails = true;",
            says: &["the boot loader could not be installed"],
            then: Then::Undone,
            ..REVERTED
        };
        the_first_generation: Row {
            id: "F41",
            before: no_profile,
            says: &["committed; no previous generation", "generation - -> 1"],
            then: Then::Own,
            after: |desk, before, _| {
                let after = desk.unguarded();
                assert!(after.is_all(after.get("running")), "{after:?}");
                assert_ne!(after.get("running"), before.get("running"));
                assert_eq!(after.get("profile_link"), "system-1-link");
                assert_eq!(after.get("generations"), "1");
                desk.spoil(); // others go back to the factory's system as generation 1
            },
            ..COMMITTED
        };
        the_first_generation_of_a_service_that_fails: Row {
            id: "F41 fails",
            before: no_profile,
            knob: "lab.brokenService = true;",
            after: |desk, _, _| desk.spoil(),
            ..REVERTED
        };
        the_first_generation_and_the_loader_fails: Row {
            id: "F41 undone",
            before: no_profile,
            knob: "lab.bootloaderFails = true;",
            says: &["the boot loader could not be installed"],
            then: Then::Own,
            after: |desk, before, _| {
                let after = desk.unguarded();
                for key in ["running", "etc_toplevel", "profile", "generations", "boot_default"] {
                    assert_eq!(after.get(key), before.get(key), "{key}");
                }
                desk.reboot();
                assert_eq!(desk.state().get("running"), before.get("running"));
                desk.spoil();
            },
            ..REVERTED
        };
        another_kernel: Row {
            id: "F42",
            knob: "lab.kernelSeed = \"another\";",
            says: &["committed; reboot wanted"],
            after: |desk, _, _| {
                let report = flat(&desk.run(&["report"]));
                assert!(report.contains("not verified until then"), "{report}");
                desk.spoil(); // the running kernel differs from now on
            },
            ..COMMITTED
        };
    }
}
