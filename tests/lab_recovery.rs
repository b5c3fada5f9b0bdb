//! After an interruption the next command finds what happened, from the machine alone, says it in
//! one sentence, and goes on or cleans up; and a full disk is made room on, once.

mod lab {
    use std::time::Duration;

    use crate::support::desk::Desk;
    use crate::support::machines::{Running, Said, State};
    use crate::support::rows::{COMMITTED, REFUSED, REVERTED, Row, Then, differences, flat, rows};

    const LIMIT: Duration = Duration::from_secs(60);
    /// The program was killed, and said nothing.
    const KILLED: Row =
        Row { exit: 137, result: "", knob: COMMITTED.knob, then: Then::Own, ..REVERTED };

    /// Keeps the boot loader's installation busy before anything is written.
    fn hold_boot_loader(desk: &Desk) {
        desk.lab().hook(
            desk.host(),
            "case $1:$2 in boot-write:boot) if [ ! -e /etc/lab/once ]; then touch /etc/lab/once; \
             while [ -e /etc/lab/once ]; do sleep 0.1; done; fi ;; esac",
        );
    }

    /// Power loss after the profile was set and before the boot loader was written; nobody of
    /// the deployer's side lives to see it.
    fn cut_off(desk: &Desk, running: &Running) {
        desk.until("the boot loader's installation", LIMIT, "[ -e /etc/lab/once ]");
        running.signal("KILL");
        desk.reboot();
        let _ = desk.exec("rm -f /etc/lab/hook /etc/lab/once");
    }

    fn says(said: &Said, exit: i32, words: &[&str]) {
        let text = flat(said);
        assert_eq!(said.code, exit, "{text}");
        for word in words {
            assert!(text.contains(word), "not said: {word}\n{text}");
        }
    }

    /// What runs, boots and is to be built upon is the system from before.
    fn is_old(desk: &Desk, before: &State) {
        let after = desk.unguarded();
        assert!(after.is_all(before.get("running")), "{after:?}");
        assert_eq!(after.get("units_active"), before.get("units_active"));
        assert_eq!(after.get("units_failed"), "");
    }

    /// The next deploy ends what was left, says so, and does its own work.
    fn deploys(desk: &Desk, before: &State, words: &[&str]) {
        let said = desk.run(&["quick-deploy", desk.host()]);
        says(&said, 0, words);
        let after = desk.unguarded();
        let new = after.get("running");
        assert!(new != before.get("running") && after.is_all(new), "{after:?}");
        assert_eq!(after.get("units_failed"), "");
    }

    /// Garbage in the machine's store, and a disk with so much free.
    fn crowd(desk: &Desk, garbage_mib: u32, left_kib: u32) {
        let _ = desk.exec(&format!(
            "dd if=/dev/urandom of=/var/garbage bs=1M count={garbage_mib} status=none; \
             nix-store --add /var/garbage > /dev/null; rm /var/garbage; \
             fallocate -l $(($(df --output=avail -k /nix | tail -n 1) - {left_kib}))K /var/full"
        ));
    }

    /// Every generation of the machine is whole.
    fn generations_are_whole(desk: &Desk, _: &State, _: &Said) {
        let _ = desk.exec(
            "for g in /nix/var/nix/profiles/system-*-link; do nix-store --check-validity \
             $(nix-store -qR \"$(readlink -f $g)\") || exit 1; done; rm -f /var/full",
        );
    }

    /// The run that was cut off knows what a later one made of it, and is not done once more.
    fn settled(desk: &Desk) {
        let history = desk.run(&["history", "--json"]).stdout;
        let history: serde_json::Value = serde_json::from_str(&history).expect("a document");
        let runs = history["runs"].as_array().expect("runs");
        let cut = runs.iter().find(|r| r["complete"] == false).expect("the run that was killed");
        let found = format!("{} rolled back", desk.host());
        assert_eq!(cut["found"][1], found, "{cut}");
        let run = cut["run"].as_str().expect("its name");
        let (before, host) = (desk.state(), desk.host().to_owned());
        desk.knob("lab.apps.later = { port = 7799; };");
        says(&desk.run(&["resume", run]), 0, &["every host of it has its outcome"]);
        assert_eq!(desk.state().pointers(), before.pointers(), "{host}");
        let report = desk.run(&["report", run]);
        assert!(flat(&report).contains("found later: rolled back"), "{}", report.stdout);
    }

    rows! {
        a_deploy_after_a_reboot_that_cut_a_commit_off: Row {
            id: "cut off, deploy",
            before: hold_boot_loader,
            during: cut_off,
            after: |desk, before, _| {
                let said = desk.run(&["status", desk.host()]);
                says(&said, 0, &["a reboot cut run", "nixdeploy quick-deploy"]);
                deploys(desk, before, &["in its commit: the old system runs and boots, and the \
                    profile named the other; it was set right"]);
            },
            ..KILLED
        };
        a_resume_after_a_reboot_that_cut_a_commit_off: Row {
            id: "cut off, resume",
            before: hold_boot_loader,
            during: cut_off,
            after: |desk, before, _| {
                says(&desk.run(&["resume"]), 6, &["a reboot cut run", "set right"]);
                is_old(desk, before);
            },
            ..KILLED
        };
        an_abort_after_a_reboot_that_cut_a_commit_off: Row {
            id: "cut off, abort",
            before: hold_boot_loader,
            during: cut_off,
            after: |desk, before, _| {
                says(&desk.run(&["abort"]), 6, &["a reboot cut run", "set right"]);
                is_old(desk, before);
            },
            ..KILLED
        };
        a_deploy_after_one_that_died_while_it_held: Row {
            id: "died in hold, deploy",
            knob: "lab.slowBuild = 2; lab.closurePaths = 1; lab.closureSeed = \"UNIQUE\";",
            during: |desk, running| {
                desk.until("the hold", LIMIT, "[ \"$(cat /run/nixdeploy/current/phase)\" = hold ]");
                running.signal("KILL");
            },
            after: |desk, before, _| {
                let said = desk.run(&["status", desk.host()]);
                says(&said, 0, &["held by root@", "phase hold: nothing is changed yet"]);
                deploys(desk, before, &["was interrupted in phase hold; nothing had been changed"]);
            },
            ..KILLED
        };
        a_deploy_after_one_that_died_in_the_activation: Row {
            id: "died in activation, deploy",
            before: |desk| desk.lab().hook(desk.host(), "case $1:$2 in activate:test) \
                [ -e /etc/lab/once ] || { touch /etc/lab/once; sleep 15; } ;; esac"),
            during: |desk, running| {
                desk.until_activating();
                running.signal("KILL");
            },
            after: |desk, before, _| {
                deploys(desk, before, &["was interrupted in phase armed; it was taken back"]);
                settled(desk);
            },
            ..KILLED
        };
        a_deploy_after_one_that_died_in_the_verification: Row {
            id: "died in verification, deploy",
            hosts: "soak_s = 15",
            during: |desk, running| {
                desk.until_observing();
                running.signal("KILL");
                desk.inventory("");
            },
            after: |desk, before, _| {
                deploys(desk, before, &["was interrupted in phase observe; it was taken back"]);
            },
            ..KILLED
        };
        a_deploy_after_one_that_died_in_the_commit: Row {
            id: "died in commit, deploy",
            before: hold_boot_loader,
            during: |desk, running| {
                desk.until("the boot loader's installation", LIMIT, "[ -e /etc/lab/once ]");
                running.signal("KILL");
                let next = desk.start(&["quick-deploy", desk.host()]);
                next.heard("facts ok");
                let _ = desk.exec("rm -f /etc/lab/hook /etc/lab/once");
                says(&next.end(), 0, &["was interrupted in phase committing; its commit was \
                    finished"]);
            },
            then: Then::New,
            ..KILLED
        };
        a_guard_that_is_gone_for_good: Row {
            id: "orphan",
            hosts: "soak_s = 30",
            during: |desk, running| {
                desk.until_observing();
                running.signal("KILL");
                let _ = desk.exec("cd /run/nixdeploy/current && mv guard away \
                    && systemctl stop nixdeploy-guard nixdeploy-backstop.timer; mv away guard");
                let said = desk.run(&["resume"]);
                says(&said, 6, &["no commit before the deadline"]);
            },
            then: Then::AsBefore,
            ..KILLED
        };
        a_stage_whose_deployer_died: Row {
            id: "died in stage",
            args: &["deploy", "--yes", "--boot"],
            before: hold_boot_loader,
            during: |desk, running| {
                desk.until("the boot loader's installation", LIMIT, "[ -e /etc/lab/once ]");
                running.signal("KILL");
                let next = desk.start(&["resume"]);
                next.heard("facts ok");
                let _ = desk.exec("rm -f /etc/lab/hook /etc/lab/once");
                says(&next.end(), 7, &["staged for the next boot"]);
            },
            then: Then::Staged,
            after: |desk, _, _| desk.spoil(),
            ..KILLED
        };
        an_sshd_that_is_back_for_the_second_attempt: Row {
            id: "lost before",
            hosts: "ssh.control = \"none\"",
            before: |desk| {
                let _ = desk.exec("systemd-run -q --on-active=1.5 \
                    --timer-property=AccuracySec=50ms systemctl start sshd; systemctl stop sshd");
            },
            ..COMMITTED
        };
        a_store_that_garbage_fills: Row {
            id: "no space, admission",
            knob: "lab.closureMiB = 40; lab.closureSeed = \"UNIQUE\";",
            before: |desk| crowd(desk, 60, 50_000),
            says: &["was too full, so garbage was collected:", "no generation was touched"],
            after: generations_are_whole,
            ..COMMITTED
        };
        a_store_that_fills_while_copying_and_has_garbage: Row {
            id: "no space, copy",
            knob: "lab.closureMiB = 24; lab.closureSeed = \"UNIQUE\";",
            before: |desk| {
                let _ = desk.exec("dd if=/dev/urandom of=/var/garbage bs=1M count=60 status=none; \
                    nix-store --add /var/garbage > /dev/null; rm /var/garbage");
                desk.lab().slow(desk.host(), 40_000);
            },
            during: |desk, running| {
                running.heard("copy started");
                let _ = desk.exec("fallocate -l $(($(df --output=avail -k /nix | tail -n 1) \
                    - 8000))K /var/full");
            },
            says: &["was too full, so garbage was collected:", "no generation was touched"],
            after: |desk, before, said| {
                desk.lab().heal(desk.host());
                generations_are_whole(desk, before, said);
            },
            ..COMMITTED
        };
        a_builder_that_garbage_fills: Row {
            id: "no space, build",
            hosts: "build_on = \"target\"",
            knob: "lab.closureMiB = 40; lab.closureSeed = \"UNIQUE\";",
            before: |desk| crowd(desk, 80, 20_000),
            says: &["was too full, so garbage was collected:", "no generation was touched"],
            after: generations_are_whole,
            ..COMMITTED
        };
        a_store_that_stays_too_small: Row {
            id: "no space, nothing to collect",
            knob: "lab.closureMiB = 40; lab.closureSeed = \"UNIQUE\";",
            before: |desk| {
                let _ = desk.exec("nix-store --gc");
                crowd(desk, 1, 20_000);
            },
            says: &["garbage was collected: ", "too little space: need"],
            after: generations_are_whole,
            ..REFUSED
        };
        a_boot_with_stale_files: Row {
            id: "ESP stale",
            knob: "lab.kernelSeed = \"stale\"; lab.kernelMiB = 12;",
            before: |desk| {
                let _ = desk.exec("head -c 3000000 /dev/zero > /boot/EFI/nixos/old-kernel.efi; \
                    left=$(df --output=avail -k /boot | tail -n 1); \
                    fallocate -l $((left - 8000))K /boot/full");
            },
            says: &["kernel 12.0 MiB", "/boot/EFI/nixos/old-kernel.efi is stale: 2.9 MiB",
                "sudo rm /boot/EFI/nixos/old-kernel.efi"],
            after: |desk, _, _| {
                let _ = desk.exec("rm /boot/EFI/nixos/old-kernel.efi /boot/full");
            },
            ..REFUSED
        };
    }

    /// Whoever changes nothing need not wait for somebody who does, and is told of him.
    fn looks_all_the_same(desk: &Desk) {
        for words in [["diff"].as_slice(), &["deploy", "--dry-run"]] {
            let look = desk.run(&[words, &[desk.host()]].concat());
            says(&look, 0, &["would-change"]);
            let last = look.stdout.lines().rfind(|l| l.starts_with("! "));
            assert!(last.is_some_and(|l| l.contains("locked by root@")), "{}", look.stdout);
        }
        let ping = desk.run(&["ping-hosts", desk.host()]);
        let status = format!("nixdeploy status {}", desk.host());
        says(&ping, 0, &["held by root@", ", run ", "phase armed", &status]);
    }

    #[test]
    fn a_second_operator_is_told_who_since_when_and_in_which_phase() {
        let Some(desk) = Desk::any() else { return };
        let before = desk.good();
        desk.inventory("soak_s = 15");
        desk.knob(COMMITTED.knob);
        desk.lab().hook(
            desk.host(),
            "case $1:$2 in activate:test | boot-write:boot) touch /etc/lab/once; \
             while [ -e /etc/lab/once ]; do sleep 0.1; done ;; esac",
        );
        let first = desk.start(&["quick-deploy", desk.host()]);
        let held = "[ -e /etc/lab/once ]";
        let observes = "[ \"$(cat /run/nixdeploy/current/phase)\" = observe ]";
        for (phase, sign) in [("armed", held), ("observe", observes), ("committing", held)] {
            desk.until(phase, LIMIT, sign);
            let second = desk.run(&["quick-deploy", desk.host()]);
            says(&second, 5, &["locked by root@", " for ", &format!("phase {phase}")]);
            if phase == "armed" {
                looks_all_the_same(&desk);
            }
            let _ = desk.exec("rm -f /etc/lab/once");
        }
        says(&first.end(), 0, &[]);
        let wrong = differences(Then::New, &before, &desk.unguarded());
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}
