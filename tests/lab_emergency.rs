//! `emergency`: the checks are waived and nothing else; nixos-rebuild switches, and what must not
//! stay is taken back.

mod lab {
    use std::time::Duration;

    use crate::support::desk::Desk;
    use crate::support::machines::{Said, State};
    use crate::support::rows::{Then, differences, flat, has_row};

    const QUICK: Duration = Duration::from_secs(60);
    /// Does what nixos-rebuild does, and writes down what it was told.
    const TELLING: &str =
        "#!/bin/sh\necho \"$*\" >> told\nexec /usr/local/bin/nixos-rebuild \"$@\"\n";
    const GREETER: &str = "lab.apps.greeter = { port = 8081; };";

    fn ready() -> Option<(Desk, State)> {
        let desk = Desk::any()?;
        let before = desk.good();
        desk.lab().engine("new");
        let put = r#"cd "/root/desks/$1"; mkdir -p bin; rm -f told engine
            printf %s "$2" > bin/nixos-rebuild; chmod +x bin/nixos-rebuild"#;
        let _ = desk.deployer(put, &[desk.host(), TELLING]);
        Some((desk, before))
    }

    fn told(desk: &Desk) -> String {
        let told = desk.deployer("cat \"/root/desks/$1/told\" || :", &[desk.host()]).stdout;
        told.lines().filter(|line| line.starts_with("switch")).collect()
    }

    fn emergency(desk: &Desk) -> Said {
        desk.run(&["emergency", desk.host(), "--confirm", desk.host()])
    }

    #[test]
    fn a_tree_that_is_blocked_is_deployed_under_the_guard_all_the_same() {
        let Some((desk, before)) = ready() else { return };
        let host = desk.host();
        desk.inventory("accept_flake_config = true\nbuild_on = \"target\"");
        desk.knob(GREETER);
        desk.write("hosts/broken.nix", "{ a = ; }\n");
        let said = desk.run(&["quick-deploy", host]);
        assert_eq!(said.code, 3, "{}{}", said.stdout, said.stderr);
        let said = emergency(&desk);
        assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
        assert!(said.stderr.contains("check waived reason=\"emergency (root@"), "{}", said.stderr);
        assert!(said.stderr.contains("activate armed transaction="), "{}", said.stderr);
        assert!(said.stderr.contains("ssh over a new connection"), "{}", said.stderr);
        assert!(!said.stderr.contains("check on the host"), "not rehearsed: {}", said.stderr);
        assert_eq!(differences(Then::New, &before, &desk.unguarded()), [""; 0]);
        let told = told(&desk);
        for flag in ["--build-host root@", "--target-host root@", "--no-reexec", "--keep-going"] {
            assert!(told.contains(flag), "{flag}: {told}");
        }
        assert!(told.contains("--accept-flake-config"), "{told}");
        let report = desk.run(&["report"]).stdout;
        assert!(report.contains("waived: emergency (root@"), "{report}");
    }

    #[test]
    fn a_service_that_fails_is_taken_back_from_nixos_rebuild_too() {
        let Some((desk, before)) = ready() else { return };
        let old = r#"echo old > "/root/desks/$1/engine""#;
        let _ = desk.deployer(old, &[desk.host()]);
        desk.knob("lab.brokenService = true;");
        let said = emergency(&desk);
        assert_eq!(said.code, 6, "{}{}", said.stdout, said.stderr);
        assert!(has_row(&said, desk.host(), "rolled-back"), "{}", said.stdout);
        assert!(flat(&said).contains("app-broken: cannot open database"), "{}", said.stdout);
        assert_eq!(differences(Then::Undone, &before, &desk.unguarded()), [""; 0]);
        let told = told(&desk);
        assert!(told.contains("--fast") && !told.contains("--no-reexec"), "{told}");
        // Once more, and the name that was typed then counts for nothing now.
        let said = desk.run(&["retry"]);
        assert_eq!(said.code, 2, "{}{}", said.stdout, said.stderr);
        let next = format!("nixdeploy emergency {0} --confirm {0}", desk.host());
        assert!(said.stderr.contains(&next), "{}", said.stderr);
        let _ = desk.deployer(r#"rm "/root/desks/$1/engine""#, &[desk.host()]);
    }

    #[test]
    fn the_deployer_may_die_in_an_emergency_too() {
        let Some((desk, before)) = ready() else { return };
        desk.inventory("activate_timeout_s = 15\nverify_timeout_s = 5");
        desk.knob("lab.slowActivation = 6; lab.apps.greeter = { };");
        let running = desk.start(&["emergency", desk.host(), "--confirm", desk.host()]);
        let switching = "systemctl is-active nixos-rebuild-switch-to-configuration.service";
        desk.until("the switch", QUICK, switching);
        running.signal("KILL");
        let _ = running.end();
        let after = desk.until_decided(QUICK);
        assert_eq!(differences(Then::Undone, &before, &after), [""; 0]);
    }

    /// Types a word where the name is asked for; without nixos-rebuild on PATH.
    fn typed(desk: &Desk, word: &str) -> Said {
        let script = r#"cd /root/desks/$1; d=$(mktemp -d); mkfifo "$d/in"
            export XDG_STATE_HOME=$PWD/state PATH=/usr/sbin:/usr/bin:/sbin:/bin:/srv/share
            script -qec "nixdeploy emergency-deploy $1" /dev/null < "$d/in" > "$d/out" & pid=$!
            exec 7> "$d/in"
            while kill -0 $pid 2> /dev/null; do
              if [ ! -e "$d/said" ] && grep -q 'Type the host' "$d/out"; then
                touch "$d/said"; printf '%s\r' "$2" >&7
              fi
              sleep 0.05
            done
            wait $pid; rc=$?; cat "$d/out"; exit $rc"#;
        desk.lab().exec("deployer", &["bash", "-c", script, "-", desk.host(), word])
    }

    #[test]
    fn the_name_has_to_be_typed_and_our_own_activation_stands_in() {
        let Some((desk, before)) = ready() else { return };
        desk.knob(GREETER);
        for word in ["yes", ""] {
            let said = typed(&desk, word);
            assert_eq!(said.code, 11, "{word}: {}", said.stdout);
            assert!(said.stdout.contains("that is not the host's name"), "{}", said.stdout);
        }
        assert_eq!(desk.state().pointers(), before.pointers());
        let said = typed(&desk, desk.host());
        assert_eq!(said.code, 0, "{}", said.stdout);
        assert_eq!(differences(Then::New, &before, &desk.unguarded()), [""; 0]);
        let report = desk.run(&["report"]).stdout;
        assert!(report.contains("our own activation instead of it"), "{report}");
    }
}
