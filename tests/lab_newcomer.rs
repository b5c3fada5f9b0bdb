//! A newcomer's way: a flake of three hosts, no hosts.toml, and the README's own lines, one after
//! the other, to a first deploy that is verified; then the README's recorded day.

mod lab {
    use crate::support::desk::Desk;
    use crate::support::machines::Said;

    const README: &str = include_str!("../README.md");

    /// The lines of "Your own fleet" that are typed, as they stand there.
    fn own_fleet() -> Vec<&'static str> {
        let section = README.split("\n## Your own fleet\n").nth(1).expect("the section");
        let block = section.split("\n```sh\n").nth(1).expect("its lines");
        let lines = block.split("\n```").next().expect("its end").lines();
        lines.map(|l| l.split(" #").next().unwrap_or(l).trim()).collect()
    }

    /// Commands of "Two minutes" after the first deploy, as they stand there.
    fn two_minutes() -> Vec<&'static str> {
        let section = README.split("\n## Two minutes\n").nth(1).expect("the section");
        let section = section.split("\n## ").next().expect("its end");
        section.lines().filter_map(|l| l.strip_prefix("$ ")).collect()
    }

    fn typed(desk: &Desk, line: &str) -> Said {
        let line = line.strip_prefix("nixdeploy ").expect("one of ours");
        let line = line.replace("p620", desk.host());
        let folder = format!("/root/desks/{}/nixos", desk.host());
        let words: Vec<&str> = line.split_whitespace().collect();
        desk.lab().start(&folder, &words).end()
    }

    /// A flake of three hosts in a git repository, and nothing of ours in it.
    const THREE: &str = r#"
        cd "/root/desks/$1"; rm -rf nixos; git clone -q flake nixos; cd nixos
        git rm -q hosts.toml
        others=$(ls hosts | grep -vx "$1" | tail -n +3)
        for other in $others; do git rm -rq "hosts/$other"; done
        printf '{ lab.apps.first = { port = 7790; }; }\n' > "hosts/$1/knobs.nix"
        git add -A; git commit -qm "three hosts"; ls hosts | wc -l"#;

    #[test]
    fn the_readme_alone_leads_to_a_first_verified_deploy() {
        let Some(desk) = Desk::any() else { return };
        let before = desk.good();
        assert_eq!(desk.deployer(THREE, &[desk.host()]).stdout.trim(), "3");
        let lines = own_fleet();
        assert_eq!(lines[0], "cd ~/nixos");
        let mut last = String::new();
        for line in &lines[1..] {
            let said = typed(&desk, line);
            assert_eq!(said.code, 0, "{line}\n{}{}", said.stdout, said.stderr);
            if line.ends_with("--dry-run") {
                assert_eq!(desk.state().pointers(), before.pointers(), "{line}");
            }
            last = said.stdout;
        }
        assert!(last.contains("committed"), "{last}");
        let after = desk.state();
        assert!(after.is_all(after.get("running")), "{after:?}");
        assert_ne!(after.get("running"), before.get("running"));
        assert!(after.get("units_active").contains("first.service"), "{after:?}");
        let script = r#"cd "/root/desks/$1/nixos"; grep -c '^\[hosts\.' hosts.toml
            sed -i 's/^\[defaults\]/&\nsoak_s = 1/' hosts.toml"#;
        assert_eq!(desk.deployer(script, &[desk.host()]).stdout.trim(), "3");

        // What the README's recording shows after that, where nothing is to do and back again.
        let mut seen = Vec::new();
        for line in two_minutes().into_iter().filter(|l| *l != "nixdeploy init") {
            if seen.contains(&line) {
                continue;
            }
            let said = typed(&desk, line);
            if line == "nixdeploy status" {
                // The other two are other tests' machines, and may just be off.
                let own = said.stdout.lines().find(|l| l.starts_with(desk.host()));
                assert!(own.is_some_and(|row| row.contains(" differs ")), "{}", said.stdout);
                assert!(matches!(said.code, 0 | 5), "{}{}", said.stdout, said.stderr);
            } else {
                assert_eq!(said.code, 0, "{line}\n{}{}", said.stdout, said.stderr);
            }
            seen.push(line);
        }
        assert!(seen.iter().any(|l| l.contains("rollback")) && seen.len() >= 5, "{seen:?}");
        assert!(desk.state().is_all(before.get("running")), "back to the system of before");
    }
}
