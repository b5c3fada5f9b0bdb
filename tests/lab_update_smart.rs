//! `update smart` on machines: what brings trouble is left out, and the rest is what runs.

mod lab {
    use crate::support::desk::Desk;
    use crate::support::home::assert_harmless;
    use crate::support::rows::{Then, differences, flat};
    use crate::support::updates::Place;

    /// With what a terminal would obey, and what turns a text around.
    const FREEZES: &str =
        "linux-firmware: 20260910 freezes during boot with amdgpu\\u001b[2J\\u202e @x #1";

    /// The package as the patch has it: this nixpkgs throws the name of the system that it is for.
    const TAKEN: &str = r#"cd "/root/desks/$1/flake"; printf %s "$2" | git apply
        nix eval --file holds.nix --apply 'holds: ((builtins.head holds.nixpkgs.overlays) null {
          stdenv.hostPlatform.system = "told-by-its-own-nixpkgs"; config = { }; }).hello' 2>&1 || :
        rm holds.nix"#;

    #[test]
    fn an_input_that_alone_brings_trouble_is_left_out() {
        let Some(mut place) = Place::new() else { return };
        place.more("1.0");
        place.settled("1.0", "20260810");
        let host = place.desk.host().to_owned();
        place.revision("1.1", "20260910", "");
        place.more("1.1");
        place.issues(FREEZES);
        let said = place.desk.run(&["update", "preview", &host]);
        assert!(said.code == 0 && said.stdout.contains("CRITICAL"), "told before {said:?}");
        assert_harmless(&said.stdout);
        let old = place.lock();
        let said = place.desk.run(&["update", "flake", "--host", &host]);
        assert_eq!((said.code, place.lock()), (11, old.clone()), "all or nothing {said:?}");
        let said = place.desk.run(&["update", &host]);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(
            flat(&said).contains("input tools is left out: it alone brings #562919"),
            "{said:?}"
        );
        assert!(flat(&said).contains("known issues of what runs now: none"), "{said:?}");
        assert_eq!(
            (place.runs("extra"), place.versions()),
            ("extra 1.1".into(), "hello 1.0".into())
        );
        assert_ne!(place.lock(), old);
        let now = place.desk.unguarded();
        assert_eq!(differences(Then::New, &place.before, &now), [""; 0]);
        // Nothing else moves by now, so nothing can be left out.
        let _ =
            place.desk.deployer("cd /root/desks/$1/flake; git commit -qam 'what runs'", &[&host]);
        let old = place.lock();
        let said = place.desk.run(&["update", "smart", &host]);
        assert_eq!((said.code, place.lock()), (11, old), "{said:?}");
        assert!(
            flat(&said).contains("#562919 comes with tools, and nothing else moves"),
            "{said:?}"
        );
        let accept = format!("nixdeploy update smart {host} --accept-issue 562919");
        assert!(said.stderr.contains(&accept), "{said:?}");
        let hold = format!("nixdeploy update smart {host} --hold linux-firmware");
        assert!(said.stderr.contains(&hold), "{said:?}");
        let said = place.desk.run(&["update", "smart", &host, "--accept-issue", "562919"]);
        assert_eq!((said.code, place.versions()), (0, "hello 1.1".into()), "{said:?}");
        let told = "known issues of what runs now, as told before: #562919";
        assert!(flat(&said).contains(told), "{said:?}");
        // What is there already is told, and holds nothing up.
        let said = place.desk.run(&["update", &host, "--allow-dirty-lock"]);
        assert!(said.code == 0 && flat(&said).contains("nothing to update"), "{said:?}");
        assert!(said.stdout.contains("#562919") && !said.stdout.contains("incomplete"), "{said:?}");
        assert_harmless(&said.stdout);
        let said = place.desk.run(&["report"]);
        let told = flat(&said);
        assert!(told.contains("known issue accepted: nixpkgs 562919"), "{said:?}");
        let built = told.split("built by run ").nth(1).and_then(|rest| rest.get(..6));
        let run = place.desk.run(&["report", built.expect("a run")]);
        assert!(flat(&run).contains("update smart"), "the run that built it {run:?}");
    }

    #[test]
    fn nixpkgs_is_left_out_only_when_that_was_typed() {
        let Some(mut place) = Place::new() else { return };
        place.more("1.0");
        place.as_nixpkgs();
        place.settled("1.0", "20260810");
        let host = place.desk.host().to_owned();
        place.revision("1.1", "20260910", "");
        place.more("1.1");
        place.issues(FREEZES);
        let old = place.lock();
        let said = place.desk.run(&["update", "smart", &host]);
        assert_eq!((said.code, place.lock()), (11, old.clone()), "{said:?}");
        let except = format!("nixdeploy update smart {host} --except nixpkgs");
        assert!(said.stderr.contains(&except), "{said:?}");
        assert_eq!(differences(Then::AsBefore, &place.before, &place.desk.unguarded()), [""; 0]);
        // A package is held at the nixpkgs that the flake has, which is no one's but its own.
        let said = place.desk.run(&["update", "smart", &host, "--hold", "nosuch"]);
        assert_eq!((said.code, said.stdout.as_str()), (2, ""), "{said:?}");
        let said = place.desk.run(&["update", "smart", &host, "--hold", "hello"]);
        assert_eq!(said.code, 0, "{said:?}");
        let taken = place.desk.deployer(TAKEN, &[&host, &said.stdout]).stdout;
        assert!(taken.contains("told-by-its-own-nixpkgs"), "{taken} {said:?}");
        let mark = "# hold linux-firmware rev=1f0c2ab hash=sha256-A until=2026-01-01";
        place.desk.write("holds.nix", &format!("{mark}\n{mark} issue=562919\n{{ }}\n"));
        let said = place.desk.run(&["update", "smart", &host, "--skip-blocked"]);
        assert_eq!(said.code, 0, "{said:?}");
        let over = "holds linux-firmware back; this can go: it was meant until 2026-01-01";
        assert!(flat(&said).contains(over), "{said:?}");
        assert!(flat(&said).contains("input nixpkgs is left out (--skip-blocked)"), "{said:?}");
        assert_eq!(
            (place.runs("extra"), place.versions()),
            ("extra 1.1".into(), "hello 1.0".into())
        );
    }

    #[test]
    fn hosts_that_nothing_is_known_against_go_on_without_the_held() {
        let Some(other) = Desk::of("samsung") else { return };
        let Some(place) = Place::new() else { return };
        let (host, before, old) = (place.desk.host(), other.good(), place.lock());
        let knob = "{ make, ... }: { environment.systemPackages = \
            [ (make.package { pname = \"grub\"; version = \"2.99\"; }) ]; }\n";
        place.desk.write("hosts/samsung/knobs.nix", knob);
        place.revision("1.1", "20260810", "");
        place.issues_and("grub: 2.99 does not boot", "[hosts.samsung]\nuser = \"admin\"");
        let said = place.desk.run(&["update", "smart", host, "samsung"]);
        assert_eq!((said.code, place.versions()), (11, "hello 1.1".into()), "{said:?}");
        assert!(flat(&said).contains("samsung is held: the worst that would be new"), "{said:?}");
        assert!(!flat(&said).contains(&format!("{host} is held")), "{said:?}");
        assert_ne!(place.lock(), old, "one of them runs it");
        assert_eq!(differences(Then::New, &place.before, &place.desk.unguarded()), [""; 0]);
        assert_eq!(differences(Then::AsBefore, &before, &other.unguarded()), [""; 0]);
    }
}
