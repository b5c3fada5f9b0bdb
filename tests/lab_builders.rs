//! Who builds, where closures come from, and how they go over the line.

mod lab {
    use std::time::Duration;

    use crate::support::desk::Desk;
    use crate::support::rows::{Then, differences, flat};

    /// A flake whose host is for a processor that nobody here has.
    const FOREIGN: &str = r#"{
      inputs.nixpkgs.url = "path:/srv/nixpkgs.lib";
      outputs = { ... }: {
        nixosConfigurations.HOST.config.system.build.toplevel = derivation {
          name = "nixos-system-HOST"; system = "riscv64-linux";
          builder = "/bin/sh"; args = [ "-c" "echo > $out" ];
        };
      };
    }
    "#;

    #[test]
    fn what_nobody_builds_for_is_said_before_anything_is_built() {
        let Some(desk) = Desk::any() else { return };
        let before = desk.good();
        desk.write("flake.nix", &FOREIGN.replace("HOST", desk.host()));
        let big = "[builders.big]\nsystems = [\"aarch64-linux\"]";
        desk.inventory(big);
        for args in [&["build"][..], &["deploy-via", "big"], &["build", "--build-on", "big"]] {
            let said = desk.run(&[args, &[desk.host()]].concat());
            assert_eq!(said.code, 4, "{args:?} {}{}", said.stdout, said.stderr);
            let text = flat(&said);
            assert!(text.contains("it is for riscv64-linux, and nobody"), "{}", said.stderr);
            assert!(text.contains("aarch64-linux"), "those that are built for: {}", said.stderr);
        }
        assert!(differences(Then::AsBefore, &before, &desk.unguarded()).is_empty());
    }

    /// What the fleet's cache has the host fetches itself, signed by the cache's key.
    #[test]
    fn a_host_fetches_from_the_fleet_s_cache() {
        let Some(desk) = Desk::any() else { return };
        let before = desk.good();
        desk.knob("lab.apps.fetched = { port = 8082; }; lab.closureMiB = 2;");
        assert_eq!(desk.run(&["build", desk.host()]).code, 0);
        let fill = r#"
            rm -rf /tmp/cache-$1*; key=/tmp/cache-$1.key
            nix --extra-experimental-features 'nix-command' key generate-secret \
              --key-name fleet-1 > $key
            new=$(readlink -f "$(ls -td /root/desks/$1/state/nixdeploy/roots/$1/? | head -n 1)")
            nix --extra-experimental-features 'nix-command' copy \
              --to "file:///tmp/cache-$1?secret-key=$key" "$new" 2> /tmp/cache-$1.log
            tar -C /tmp -c cache-$1 | ssh root@$1 tar -C /tmp -x
            nix --extra-experimental-features 'nix-command' key convert-secret-to-public < $key"#;
        let key = desk.deployer(fill, &[desk.host()]).stdout;
        let host = desk.host();
        desk.inventory(&format!(
            "[cache]\nurl = \"file:///tmp/cache-{host}\"\npublic_key = \"{}\"",
            key.trim()
        ));
        let said = desk.run(&["deploy-cached", "--format", "json", host]);
        assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
        assert!(said.stdout.contains("everything was there"), "{}", said.stdout);
        assert!(said.stdout.contains(&format!("from file:///tmp/cache-{host}")), "{}", said.stdout);
        let wrong = differences(Then::New, &before, &desk.unguarded());
        assert!(wrong.is_empty(), "{wrong:?}");
        let _ = desk.exec(&format!("rm -rf /tmp/cache-{host}"));
    }

    /// A line that was slow the last time is compressed for; the report says why.
    #[test]
    fn a_slow_line_is_compressed_for() {
        let Some(desk) = Desk::any() else { return };
        let before = desk.good();
        // What other deploys learned of this line is not known here.
        let _ = desk.deployer(r#"rm -rf "/root/desks/$1/cache"; mkdir "$_""#, &[desk.host()]);
        desk.lab().slow(desk.host(), 20_000);
        let mut said = Vec::new();
        for seed in ["one", "two"] {
            desk.knob(&format!("lab.closureMiB = 3; lab.closureSeed = \"{seed}\";"));
            said.push(desk.run(&["quick-deploy", "--format", "json", desk.host()]));
        }
        desk.lab().heal(desk.host());
        let _ = desk.deployer(r#"rm -r "/root/desks/$1/cache""#, &[desk.host()]);
        assert!(said.iter().all(|said| said.code == 0), "{said:?}");
        assert!(!said[0].stdout.contains("compressed: the line"), "nothing was known of it");
        assert!(said[1].stdout.contains("compressed: the line made"), "{}", said[1].stdout);
        let after = desk.unguarded();
        assert_eq!(after.number("generation"), before.number("generation").map(|n| n + 2));
    }

    /// Nobody evaluates on for a host that its facts refuse.
    #[test]
    fn a_refused_host_is_not_evaluated_to_the_end() {
        let Some(desk) = Desk::any() else { return };
        let before = desk.good();
        desk.knob("lab.evalCost = 1000;");
        let going = || {
            let find = ["pgrep", "-f", &format!("path-info.*{}", desk.host())];
            desk.lab().exec("deployer", &find).code == 0
        };
        desk.inventory("ssh.control = \"none\"\naddress = \"192.0.2.1\"");
        let running = desk.start(&["quick-deploy", desk.host()]);
        crate::support::wait_until("the evaluation", Duration::from_secs(60), || {
            Some(()).filter(|()| going())
        });
        let said = running.end();
        assert_eq!(said.code, 5, "{}{}", said.stdout, said.stderr);
        assert!(!going(), "it goes on");
        assert!(differences(Then::AsBefore, &before, &desk.unguarded()).is_empty());
    }
}
