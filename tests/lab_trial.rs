//! Trial boots: a system that needs a reboot is started once, and becomes the boot default only
//! when it was healthy; after a hang, a panic, a power cut the machine starts as before.

mod lab {
    use std::time::Duration;

    use crate::support::desk::Desk;
    use crate::support::machines::{Running, State};
    use crate::support::rows::{REFUSED, REVERTED, Row, Then, flat, rows, tried};
    use crate::support::wait_until;

    const LIMIT: Duration = Duration::from_secs(90);
    const TRIAL: Row = Row {
        args: &["deploy", "--yes", "--trial-boot"],
        knob: "lab.kernelSeed = \"UNIQUE\"; lab.kernelParams = [ \"tried=1\" ];",
        then: Then::Own,
        before: clear_console,
        after: as_before,
        ..REVERTED
    };

    /// The console of earlier boots would be taken for this trial's.
    fn clear_console(desk: &Desk) {
        std::fs::write(console(desk), "").expect("the console's log");
    }

    fn console(desk: &Desk) -> std::path::PathBuf {
        desk.lab().file(&format!("m/{}/console.log", desk.host()))
    }

    /// Waits until the machine's console has shown the trial entry, and this after it.
    fn until_tried(desk: &Desk, sign: &str) {
        wait_until("the trial boot", LIMIT, || {
            let text = std::fs::read_to_string(console(desk)).unwrap_or_default();
            let (_, trial) = text.rsplit_once("boot: nixdeploy-trial.conf")?;
            trial.contains(sign).then_some(())
        });
    }

    /// Power off, and on again.
    fn power_cycle(desk: &Desk, sign: &str) {
        until_tried(desk, sign);
        desk.reboot();
    }

    /// Everything is as it was, and nothing of the trial is left; it has rebooted meanwhile.
    fn as_before(desk: &Desk, before: &State, _: &crate::support::machines::Said) {
        let after = desk.unguarded();
        let keys = [
            "running",
            "etc_toplevel",
            "profile",
            "generation",
            "boot_default",
            "boot_entries",
            "boot_oneshot",
            "bootloader_installs",
            "units_active",
            "units_failed",
        ];
        for key in keys {
            assert_eq!(after.get(key), before.get(key), "{key}");
        }
        assert_eq!(after.get("booted"), before.get("boot_default"));
        assert_ne!(after.get("boot_id"), before.get("boot_id"));
        let _ = desk.exec(
            "[ ! -e /boot/EFI/nixdeploy ] && [ ! -e /boot/loader/entries/nixdeploy-trial.conf ]",
        );
    }

    rows! {
        a_good_kernel: Row {
            id: "trial, good",
            before: |desk| {
                clear_console(desk);
                // A name that only this host relies on is asked for before and after.
                let _ = desk.exec("mkdir -p /etc/nix; \
                    echo 'extra-substituters = http://ok.lab.test:9' >> /etc/nix/nix.conf");
            },
            exit: 0,
            result: "changed",
            says: &["booted on trial, verified, committed"],
            after: |desk, before, said| {
                assert!(!flat(said).contains("no longer does"), "{}", said.stdout);
                desk.spoil();
                let after = desk.unguarded();
                let new = after.get("running");
                assert!(new != before.get("running") && after.is_all(new), "{after:?}");
                assert_eq!(after.get("booted"), new, "its kernel is the one that runs");
                assert_eq!((after.get("boot_oneshot"), after.get("units_failed")), ("", ""));
                let installs = |s: &State| s.number("bootloader_installs").unwrap_or(0);
                assert_eq!(installs(&after), installs(before) + 1);
                // The dead-man is stopped, and what it was given goes with the next boot.
                let _ = desk.exec("grep -q tried=1 /run/lab/cmdline \
                    && ! systemctl -q is-active nixdeploy-trial.timer \
                    && [ ! -e /boot/EFI/nixdeploy ]");
                desk.reboot();
                assert!(desk.state().is_all(new), "it stays");
            },
            ..TRIAL
        };
        a_kernel_that_panics: Row {
            id: "trial, panic",
            knob: "lab.kernelSeed = \"UNIQUE\"; lab.bootFails = true;",
            during: |desk, _| {
                until_tried(desk, "kernel panic");
                let end = desk.lab().file(&format!("m/{}/panic", desk.host()));
                wait_until("its end", LIMIT, || end.exists().then_some(()));
                desk.lab().boot(desk.host());
            },
            says: &["the trial boot fell back: the new system did not come up, the old one runs"],
            ..TRIAL
        };
        a_kernel_that_hangs: Row {
            id: "trial, hang",
            knob: "lab.kernelSeed = \"UNIQUE\"; lab.bootHangs = true;",
            during: |desk, _| power_cycle(desk, "lab.bootHangs"),
            says: &["the trial boot fell back"],
            ..TRIAL
        };
        a_power_cut_in_the_trial: Row {
            id: "trial, power cut",
            hosts: "soak_s = 20",
            during: |desk, _| power_cycle(desk, "Stage 2"),
            exit: 6,
            ..TRIAL
        };
        a_service_that_fails_under_the_new_kernel: Row {
            id: "trial, sick",
            knob: "lab.kernelSeed = \"UNIQUE\"; lab.brokenService = true;",
            says: &["app-broken.service", "rebooted into the old system"],
            ..TRIAL
        };
        a_service_that_is_not_back_after_the_trial: Row {
            id: "trial, not back",
            knob: "lab.kernelSeed = \"UNIQUE\"; lab.brokenService = true; lab.apps.greeter = { };",
            before: |desk| {
                desk.committed("lab.apps.greeter = { };");
                clear_console(desk);
            },
            hosts: "soak_s = 15",
            during: |desk, _| {
                until_tried(desk, "Stage 2");
                desk.until("sshd", LIMIT, "systemctl -q is-active sshd");
                let _ = desk.exec("d=/etc/systemd/system.control; mkdir -p $d; \
                    ln -s /dev/null $d/greeter.service");
            },
            exit: 9,
            result: "stranded",
            says: &[
                "rebooted into the old system, but not all of it is back",
                "not back: greeter.service",
                "app-broken.service",
            ],
            after: |desk, before, _| {
                let after = desk.unguarded();
                assert!(after.is_all(before.get("running")), "{after:?}");
                desk.spoil();
            },
            ..TRIAL
        };
        a_new_kernel_without_network: Row {
            id: "trial, unreachable",
            knob: "lab.kernelSeed = \"UNIQUE\"; lab.breakSshd = \"off\";",
            hosts: "soak_s = 1\nverify_timeout_s = 2\ncommit_timeout_s = 2",
            during: dead_man_at_once,
            says: &["the trial boot fell back"],
            ..TRIAL
        };
        a_deployer_that_dies_in_the_trial: Row {
            id: "trial, deployer killed",
            hosts: "soak_s = 60",
            during: |desk, running| {
                until_tried(desk, "Stage 2");
                running.signal("KILL");
                desk.until("the dead-man", LIMIT, "systemctl -q is-active nixdeploy-trial.timer");
                let said = desk.run(&["resume"]);
                assert_eq!(said.code, 8, "{}", said.stderr);
                // Its hour has come.
                let _ = desk.exec("systemctl --no-block start nixdeploy-trial.service");
                let back = "systemctl -q is-active sshd multi-user.target \
                    && ! grep -q tried=1 /run/lab/cmdline";
                desk.until("the old system", LIMIT, back);
                let said = desk.run(&["resume"]);
                assert_eq!(said.code, 6, "{}", said.stderr);
            },
            exit: 137,
            result: "",
            after: |desk, before, _| {
                let after = desk.state();
                assert!(after.is_all(before.get("running")), "{after:?}");
                desk.spoil();
            },
            ..TRIAL
        };
        ctrl_c_in_the_trial: Row {
            id: "trial, Ctrl-C",
            hosts: "soak_s = 60",
            exit: 130,
            result: "interrupted",
            during: |_, running| {
                running.heard("verify started");
                running.signal("INT");
            },
            says: &["rebooted into the old system"],
            ..TRIAL
        };
        a_loader_that_takes_no_entry_for_one_start: Row {
            id: "trial, refused",
            before: |desk| {
                desk.knob("lab.bootctl = false;");
                assert_eq!(desk.run(&["quick-deploy", desk.host()]).code, 0);
            },
            knob: "lab.bootctl = false; lab.kernelSeed = \"UNIQUE\";",
            says: &["no trial boot here: the running system has no bootctl"],
            args: &["deploy", "--yes", "--trial-boot"],
            ..REFUSED
        };
    }

    /// systemctl fails, and nothing else does.
    #[test]
    fn a_reboot_that_systemd_refuses() {
        let Some(desk) = Desk::any() else { return };
        let row = Row {
            id: "trial, no reboot",
            args: TRIAL.args,
            knob: TRIAL.knob,
            says: &["no trial boot here: systemd would not reboot"],
            ..REFUSED
        };
        let fails = [("timeout 30 systemctl --no-block reboot", "timeout 30 false")];
        let (_, said, wrong) = tried(&row, &desk, &fails);
        assert!(wrong.is_empty(), "{wrong:?}\n{}{}", said.stdout, said.stderr);
    }

    /// Nobody can log in: the dead-man's hour comes.
    fn dead_man_at_once(desk: &Desk, _: &Running) {
        until_tried(desk, "Stage 2");
        desk.until("the dead-man", LIMIT, "systemctl -q is-active nixdeploy-trial.timer");
        let _ = desk.exec("systemctl --no-block start nixdeploy-trial.service");
    }
}
