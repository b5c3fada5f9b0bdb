//! `update` on machines: a flake with two revisions of a package set, what comes of each way an
//! update can end, and that flake.lock agrees with what the machines run.

mod lab {
    use crate::support::rows::{Then, differences, flat};
    use crate::support::updates::Place;

    #[test]
    fn an_update_waits_for_its_gate_and_its_lock_is_what_runs() {
        let Some(place) = Place::new() else { return };
        assert_eq!(place.versions(), "hello 1.0");
        // What no earlier test has built.
        let new = format!("1.1.{}", std::process::id());
        place.revision(&new, "20260910", "");
        place.previewed(&new);
        place.desk.inventory("[issues]\napi = \"http://127.0.0.1:9\"");
        // Nobody can be asked, and nobody answers: not known is not good.
        let said = place.unharmed(&["tools"], 12);
        let way = "go on without a check nixdeploy update flake tools --no-issue-check";
        for part in ["could not all be checked", way, "Known issues: nothing was checked"] {
            assert!(flat(&said).contains(part), "{part} {said:?}");
        }
        assert!(!flat(&said).contains("with a token"), "no help against silence {said:?}");
        let said = place.desk.run(&["update", "preview", place.desk.host()]);
        assert_eq!(said.code, 12, "as that of `issues` {said:?}");
        place.issues("linux-firmware: 20260910 freezes during boot with amdgpu, 20260810 is good");
        let said = place.unharmed(&["tools"], 11);
        assert!(said.stdout.contains("CRITICAL"), "{said:?}");
        assert!(
            flat(&said).contains("is held: the worst that would be new is critical"),
            "{said:?}"
        );
        for args in [["--yes", "--max-risk", "high"], ["--issues", "best-effort", "--yes"]] {
            let _ = place.unharmed(&args, 11);
        }
        assert_eq!(differences(Then::AsBefore, &place.before, &place.desk.unguarded()), [""; 0]);
        let accept = ["--accept-issue", "562919"];
        let old = place.lock();
        let _ = place.update(&[&accept[..], &["--no-deploy"]].concat(), 0);
        assert_ne!(place.lock(), old, "prepared");
        let said = place.desk.run(&["update", "lock", "restore"]);
        assert_eq!((said.code, place.lock()), (0, old.clone()), "{said:?}");
        let said = place.update(&accept, 0);
        assert!(said.stderr.contains("flake.lock stays, as hosts run it"), "{said:?}");
        assert!(flat(&said).contains("flake: update tools"), "in the report {said:?}");
        assert!(said.stdout.contains("was accepted (--accept-issue)"), "{said:?}");
        assert!(!flat(&said).contains("is held"), "{said:?}");
        let after = place.desk.unguarded();
        assert_eq!(differences(Then::New, &place.before, &after), [""; 0]);
        assert_eq!(place.versions(), format!("hello {new}"));
        assert_ne!(place.lock(), old);
        let commit = "cd /root/desks/$1/flake; git commit -qam 'what runs'";
        let _ = place.desk.deployer(commit, &[place.desk.host()]);
        // A lesser report is a question, and where nobody is asked a flag answers it.
        place.revision("1.2", "20260910", "");
        place.issues("hello: 1.2 prints a wrong greeting");
        let cached = "rm -rf /root/desks/$1/cache; mkdir /root/desks/$1/cache";
        let _ = place.desk.deployer(cached, &[place.desk.host()]);
        let said = place.unharmed(&[], 11);
        assert!(flat(&said).contains("would be new is medium"), "{said:?}");
        let way = "go on up to medium nixdeploy update flake --max-risk=medium";
        assert!(flat(&said).contains(way), "{said:?}");
        let _ = place.update(&["--max-risk", "medium", "--no-deploy"], 0);
    }

    /// Runs our program at a terminal: each answer is typed once its question is there.
    const TERMINAL: &str = r#"
        cd /root/desks/$1; export XDG_STATE_HOME=$PWD/state XDG_CACHE_HOME=$PWD/cache; words=$2
        shift 2; d=$(mktemp -d); mkfifo "$d/in"
        script -qec "stty cols 80 rows 24; nixdeploy $words" /dev/null < "$d/in" > "$d/out" & pid=$!
        exec 7> "$d/in"
        while kill -0 $pid 2> /dev/null; do
          if [ $# -gt 1 ] && grep -qF "$1" "$d/out"; then printf '%s\r' "$2" >&7; shift 2; fi
          sleep 0.05
        done
        wait $pid; rc=$?; cat "$d/out"; exit $rc"#;

    #[test]
    fn a_person_decides_and_a_no_puts_the_lock_back() {
        let Some(place) = Place::new() else { return };
        let (host, old) = (place.desk.host(), place.lock());
        place.revision("1.1", "20260810", "");
        place.issues("hello: 1.1 crashes with CVE-2026-12345");
        let typed_as = |words: &str, answers: &[&str]| {
            let words = format!("{words} --color never");
            let fixed = ["bash", "-c", TERMINAL, "-", host, &words];
            place.desk.lab().exec("deployer", &[&fixed[..], answers].concat())
        };
        let typed = |answers: &[&str]| typed_as("update flake tools", answers);
        let name = format!("To update {host} all the same, type its name");
        let said = typed(&[&name, "somebody"]);
        assert_eq!((said.code, place.lock()), (11, old.clone()), "{said:?}");
        assert!(said.stdout.contains("the answer was no"), "{said:?}");
        // The gate is passed, flake.lock replaced, and then nobody wants the deploy.
        let said = typed(&[&name, host, "[Y/n]", "n"]);
        assert!(said.stdout.contains("hello 1.0"), "{said:?}");
        assert_eq!((said.code, place.lock()), (11, old.clone()), "{said:?}");
        assert!(said.stdout.contains("flake.lock is as it was"), "{said:?}");
        // Led from step to step: what would come stands before the first question.
        let led = format!("update workflow {host}");
        let said = typed_as(&led, &["Build it", "n"]);
        assert!(said.stdout.contains("programs  hello 1.0"), "{said:?}");
        assert!(said.stdout.contains("CVE-2026-12345"), "{said:?}");
        assert_eq!((said.code, place.lock()), (11, old), "{said:?}");
        assert_eq!(differences(Then::AsBefore, &place.before, &place.desk.unguarded()), [""; 0]);
        let steps = ["Build it", "y", &name, host, "Deploy to", "y", "Commit flake.lock as", "y"];
        let said = typed_as(&led, &steps);
        assert_eq!((said.code, place.versions()), (0, "hello 1.1".to_owned()), "{said:?}");
        assert_eq!(said.stdout.matches("CVE-2026-12345").count(), 1, "told once {said:?}");
        assert!(said.stdout.contains("what was built: as told before"), "{said:?}");
        let log = "cd /root/desks/$1/flake; git log -1 --format=%s; git status --porcelain";
        let log = place.desk.deployer(log, &[host]).stdout;
        assert_eq!(log, "flake: update tools\n", "{said:?}");
    }

    #[test]
    fn what_fails_leaves_the_users_own_lock() {
        let Some(place) = Place::new() else { return };
        // Bytes that no git has.
        let own = "echo >> /root/desks/$1/flake/flake.lock";
        let _ = place.desk.deployer(own, &[place.desk.host()]);
        let flags = ["--no-issue-check", "--allow-dirty-lock"];
        place.revision("2.0", "1", "lab.buildError = true;");
        let _ = place.unharmed(&flags, 4);
        place.revision("2.0", "1", "lab.evalError = true;");
        let _ = place.unharmed(&flags, 4);
        assert_eq!(differences(Then::AsBefore, &place.before, &place.desk.unguarded()), [""; 0]);
        place.revision("2.1", "1", "lab.brokenService = true;");
        let said = place.unharmed(&flags, 6);
        assert!(said.stderr.contains("flake.lock is as it was"), "{said:?}");
        assert_eq!(differences(Then::Undone, &place.before, &place.desk.unguarded()), [""; 0]);
    }

    #[test]
    fn an_update_that_is_stopped_or_killed_ends_with_the_lock_of_what_runs() {
        let Some(place) = Place::new() else { return };
        let (desk, old) = (&place.desk, place.lock());
        place.revision("3.0", "1", "lab.slowActivation = 8;");
        let args = ["update", "flake", "--no-issue-check"];
        let running = desk.start(&args);
        desk.until_activating();
        running.signal("INT");
        let said = running.end();
        assert_eq!((said.code, place.lock()), (130, old.clone()), "{said:?}");
        assert_eq!(differences(Then::Undone, &place.before, &desk.unguarded()), [""; 0]);
        let running = desk.start(&args);
        desk.until_activating();
        running.signal("KILL");
        let _ = running.end();
        assert_ne!(place.lock(), old, "whole, and new");
        // Whoever goes on with the run finds out what became of the host, and of the lock.
        let said = desk.run(&["abort"]);
        assert!(said.stderr.contains("an earlier update was cut off"), "{said:?}");
        assert_eq!(place.lock(), old);
        assert_eq!(differences(Then::Undone, &place.before, &desk.unguarded()), [""; 0]);
    }

    #[test]
    fn nh_switches_a_system_that_was_updated_and_the_guard_takes_it_back() {
        let Some(place) = Place::new() else { return };
        let (desk, old) = (&place.desk, place.lock());
        desk.lab().engine("nh");
        let told = || desk.deployer("cat /root/desks/$1/nh.calls", &[desk.host()]).stdout;
        let _ = desk.deployer("rm -f /root/desks/$1/nh.calls", &[desk.host()]);
        let args = ["update", "system", desk.host(), "--engine", "nh", "--no-issue-check"];
        place.revision("4.0", "1", "lab.brokenService = true;");
        let said = desk.run(&args);
        assert_eq!((said.code, place.lock()), (6, old.clone()), "{said:?}");
        let undone = desk.unguarded();
        assert_eq!(differences(Then::Undone, &place.before, &undone), [""; 0]);
        place.revision("4.1", "1", "");
        let said = desk.run(&args);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(!flat(&said).contains("our own activation"), "{said:?}");
        assert_ne!(place.lock(), old);
        assert_eq!(place.versions(), "hello 4.1");
        assert_eq!(differences(Then::New, &undone, &desk.unguarded()), [""; 0]);
        let calls = told();
        let switched: Vec<&str> = calls.lines().filter(|l| !l.contains("--help")).collect();
        let wanted = format!("--hostname {0} --no-nom --target-host root@{0}", desk.host());
        assert_eq!(switched.len(), 2, "{calls}");
        assert!(
            switched.iter().all(|l| l.starts_with("os switch ") && l.contains(&wanted)),
            "{calls}"
        );
        assert!(!calls.contains("--update"), "what was checked is what is deployed: {calls}");
        // Where there is none, we do it ourselves.
        place.revision("4.2", "1", "");
        let none = "cd /root/desks/$1; export XDG_STATE_HOME=$PWD/state; \
            PATH=/usr/sbin:/usr/bin:/sbin:/bin:/srv/share exec nixdeploy update system $1 \
            --engine nh --no-issue-check --allow-dirty-lock";
        let said = desk.lab().exec("deployer", &["bash", "-c", none, "-", desk.host()]);
        assert_eq!((said.code, place.versions()), (0, "hello 4.2".into()), "{said:?}");
        assert!(flat(&said).contains("our own activation instead of it"), "{said:?}");
    }
}
