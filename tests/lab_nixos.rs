//! flake.nix by Nix itself, on a stand-in for nixpkgs: the outputs, the module, the template. Files
//! that need no Nix to be judged are judged here as well.

use std::path::Path;

use crate::support::home::Desk;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// flake.nix and every file of the modules and the template, from the top of the repository.
fn nix_files() -> Vec<String> {
    let (mut files, mut folders) = (vec!["flake.nix".to_owned()], vec!["src/nixos".to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in root().join(&folder).read_dir().expect("a folder").flatten() {
            let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
            match entry.file_type().is_ok_and(|t| t.is_dir()) {
                true => folders.push(path),
                false if path.ends_with(".nix") => files.push(path),
                false => {}
            }
        }
    }
    files.sort();
    files
}

/// What of nixfmt's rules needs no nixfmt; where there is one, `nix flake check` asks it.
#[test]
fn the_files_are_in_the_form_of_nixfmt() {
    let files = nix_files();
    assert!(files.len() > 7, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(root().join(&file)).expect("read");
        assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{file}: its end");
        assert!(!text.contains("\n\n\n") && !text.contains('\t'), "{file}: empty lines, tabs");
        for (n, line) in text.lines().enumerate() {
            let place = format!("{file}:{}: {line}", n + 1);
            // A string is never broken.
            let long = line.len() > 100 && !line.contains("description = \"");
            assert!(!long && line == line.trim_end(), "{place}");
            let spaces = line.len() - line.trim_start().len();
            assert!(spaces.is_multiple_of(2), "{place}");
            // A list or set on one line has spaces inside, an empty one too.
            assert!(!line.contains("[]") && !line.contains("{}"), "{place}");
        }
    }
}

#[test]
fn our_own_check_finds_nothing_in_them() {
    let desk = Desk::new();
    desk.real("git");
    desk.git(&["init", "-q"]);
    for file in nix_files() {
        desk.write(&file, std::fs::read(root().join(&file)).expect("read"));
    }
    desk.git(&["add", "-A"]);
    let said = desk.run(&["check", "--deny", "warn"]);
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
}

#[test]
fn the_template_is_a_fleet() {
    let path = root().join("src/nixos/fleet/hosts.toml");
    let text = std::fs::read_to_string(&path).expect("read");
    let fleet = nixdeploy::fleet::hosts_toml::parse(&path, &text).expect("a fleet");
    let mut names: Vec<_> = fleet.hosts.iter().map(|h| h.name.to_string()).collect();
    names.sort();
    let flake = std::fs::read_to_string(root().join("src/nixos/fleet/flake.nix")).expect("read");
    assert_eq!(names, ["db", "router", "web"]);
    assert!(names.iter().all(|n| flake.contains(&format!("\"{n}\""))), "{flake}");
}

mod lab {
    use std::path::Path;
    use std::sync::atomic::{AtomicU32, Ordering};

    use serde_json::{Value, json};

    use super::{nix_files, root};
    use crate::support::machines::{Lab, Said};

    /// Repository, stand-in and template, where the deployer sees them.
    struct Flakes {
        lab: Lab,
        folder: String,
    }

    impl Flakes {
        fn new() -> Option<Self> {
            let lab = Lab::from_env()?;
            static TIMES: AtomicU32 = AtomicU32::new(0);
            let n = TIMES.fetch_add(1, Ordering::Relaxed);
            let name = format!("flakes-{}-{n}", std::process::id());
            let flakes = Self { lab, folder: format!("/srv/share/{name}") };
            let here = flakes.lab.file(&format!("share/{name}"));
            let copy = |from: &str, to: &str| {
                let to = here.join(to);
                std::fs::create_dir_all(to.parent().expect("a folder")).expect("made");
                std::fs::copy(root().join(from), to).expect("copied");
            };
            for file in nix_files() {
                copy(&file, &format!("repo/{file}"));
                if let Some(inner) = file.strip_prefix("src/nixos/fleet/") {
                    copy(&file, &format!("fleet/{inner}"));
                }
            }
            for file in ["Cargo.toml", "Cargo.lock", "README.md", "hosts.toml"] {
                copy(file, &format!("repo/{file}"));
            }
            for folder in ["src", "tests"] {
                copy("README.md", &format!("repo/{folder}/empty"));
            }
            copy("tests/lab/minilib/lib.nix", "nixpkgs/lib.nix");
            for file in ["flake.nix", "nixos.nix"] {
                copy(&format!("tests/fixtures/nixpkgs/{file}"), &format!("nixpkgs/{file}"));
            }
            Some(flakes)
        }

        fn nix(&self, words: &[&str]) -> Said {
            let nixpkgs = format!("path:{}/nixpkgs", self.folder);
            let ours = format!("path:{}/repo", self.folder);
            let features = ["nix", "--extra-experimental-features", "nix-command flakes"];
            let mut all = [&features[..], words].concat();
            all.extend(["--no-write-lock-file", "--override-input", "nixpkgs", &nixpkgs]);
            if words.iter().any(|w| w.ends_with("/fleet")) {
                all.extend(["--override-input", "nixdeploy", &ours]);
            }
            self.lab.exec("deployer", &all)
        }

        fn flake(&self, name: &str) -> String {
            format!("path:{}/{name}", self.folder)
        }

        /// The value of an expression that has `ours` and `nixpkgs`.
        fn value(&self, expression: &str) -> Result<Value, String> {
            let flake = |name| format!("builtins.getFlake \"{}\"", self.flake(name));
            let whole = format!(
                "let nixpkgs = {}; module = import {}/repo/src/nixos/target.nix; in {expression}",
                flake("nixpkgs"),
                self.folder
            );
            let features = ["nix", "--extra-experimental-features", "nix-command flakes"];
            let words = ["eval", "--json", "--impure", "--expr", &whole];
            let said = self.lab.exec("deployer", &[&features[..], &words].concat());
            match said.code {
                0 => Ok(serde_json::from_str(&said.stdout).expect("JSON")),
                _ => Err(said.stderr),
            }
        }

        /// What a host becomes by the module with these settings.
        fn host(&self, settings: &str, of: &str) -> Result<Value, String> {
            self.value(&format!(
                "(nixpkgs.lib.nixosSystem {{ modules = [ module {{ nixdeploy = {settings}; \
                 networking.hostName = \"x\"; nixpkgs.hostPlatform = \"x86_64-linux\"; }} ]; }})\
                 .config.{of}"
            ))
        }
    }

    impl Drop for Flakes {
        fn drop(&mut self) {
            let name = Path::new(&self.folder).file_name().expect("a name");
            let here = self.lab.file(&format!("share/{}", name.to_string_lossy()));
            let _ = std::fs::remove_dir_all(here);
        }
    }

    #[test]
    fn nix_finds_no_fault_with_the_flake_and_its_template() {
        let Some(flakes) = Flakes::new() else { return };
        for name in ["repo", "fleet"] {
            let flake = flakes.flake(name);
            let said = flakes.nix(&["flake", "check", "--no-build", "--all-systems", &flake]);
            assert_eq!(said.code, 0, "{name}\n{}{}", said.stdout, said.stderr);
            let faults = said.stderr.lines().filter(|l| l.contains("warning"));
            let faults: Vec<_> = faults.filter(|l| !l.contains("lock file")).collect();
            assert!(faults.is_empty(), "{faults:?}");
        }
        let said = flakes.nix(&["flake", "show", "--json", "--all-systems", &flakes.flake("repo")]);
        let shown: Value = serde_json::from_str(&said.stdout).expect("JSON");
        for (output, name) in [
            ("packages", "default"),
            ("apps", "default"),
            ("checks", "tests"),
            ("checks", "clippy"),
            ("checks", "format"),
            ("devShells", "default"),
        ] {
            for system in ["x86_64-linux", "aarch64-linux"] {
                assert!(shown[output][system][name].is_object(), "{output}.{system}.{name}");
            }
        }
        assert!(shown["formatter"]["x86_64-linux"].is_object(), "{shown}");
        for (output, name) in
            [("overlays", "default"), ("nixosModules", "default"), ("templates", "fleet")]
        {
            assert!(shown[output][name].is_object(), "{output}.{name}");
        }
    }

    #[test]
    fn the_module_makes_the_user_that_the_readme_tells_of() {
        let Some(flakes) = Flakes::new() else { return };
        let settings = "{ enable = true; authorizedKeys = [ \"ssh-ed25519 AAAA me\" ]; \
            textfiles = \"/var/lib/metrics\"; textfilesOwner = \"me\"; }";
        let of = |path: &str| flakes.host(settings, path).expect(path);
        let keys = of("users.users.deploy.openssh.authorizedKeys.keys");
        assert_eq!(keys, json!(["ssh-ed25519 AAAA me"]));
        let rules = of("security.sudo.extraRules");
        let started = ["/bin/sh", "/run/current-system/sw/bin/nix-daemon"];
        let commands = started.map(|c| json!({ "command": c, "options": ["NOPASSWD"] }));
        assert_eq!(rules, json!([{ "users": ["deploy"], "commands": commands }]));
        let readme = include_str!("../README.md");
        assert!(readme.contains(&format!("NOPASSWD: {}", started.join(", "))));
        assert_eq!(of("systemd.tmpfiles.rules"), json!(["d /var/lib/metrics 0755 me root -"]));
        let flags = of("services.prometheus.exporters.node.extraFlags");
        assert_eq!(flags, json!(["--collector.textfile.directory=/var/lib/metrics"]));
        assert!(of("system.build.toplevel.drvPath").is_string());

        let without =
            "{ enable = true; sudo = false; user = \"ops\"; authorizedKeys = [ \"k\" ]; }";
        let of = |path: &str| flakes.host(without, path).expect(path);
        assert_eq!(of("security.sudo.extraRules"), json!([]));
        assert_eq!(of("systemd.tmpfiles.rules"), json!([]));
        assert_eq!(
            of("users.users"),
            json!({ "ops": {
            "isNormalUser": true, "description": "nixdeploy",
            "openssh": { "authorizedKeys": { "keys": ["k"] } } } })
        );

        assert_eq!(flakes.host("{ }", "users").expect("nothing is set"), json!({}));
        let alone = "{ textfiles = \"/metrics\"; }";
        let rules = flakes.host(alone, "systemd.tmpfiles.rules").expect("a folder alone");
        assert_eq!(rules, json!(["d /metrics 0755 root root -"]));
        for (settings, why) in [
            ("{ enable = true; }", "nobody could deploy to this host"),
            ("{ enable = true; user = \"root\"; authorizedKeys = [ \"k\" ]; }", "user is root"),
        ] {
            let said = flakes.host(settings, "system.build.toplevel.drvPath");
            assert!(said.as_ref().is_err_and(|e| e.contains(why)), "{said:?}");
        }
    }

    #[test]
    fn home_manager_gets_the_package_with_its_files() {
        let Some(flakes) = Flakes::new() else { return };
        let home = format!(
            "let set = nixpkgs.legacyPackages.x86_64-linux; \
             ours = set.callPackage {}/repo/src/nixos/package.nix {{ }}; \
             home = import {}/repo/src/nixos/home.nix {{ packageOf = _: ours; }}; in \
             {{ on = enable: (nixpkgs.lib.evalModules {{ modules = [ home {{ \
               options.home.packages = nixpkgs.lib.mkOption {{ default = [ ]; }}; \
               config.programs.nixdeploy.enable = enable; }} ]; specialArgs.pkgs = set; }})\
               .config.home.packages; inherit ours; }}",
            flakes.folder, flakes.folder
        );
        let packages = flakes.value(&format!("map (p: p.name) (({home}).on true)"));
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(packages.expect("a list"), json!([format!("nixdeploy-{version}")]));
        assert_eq!(flakes.value(&format!("({home}).on false")).expect("a list"), json!([]));
        let install = flakes.value(&format!("({home}).ours.postInstall")).expect("a script");
        let install = install.as_str().expect("a text");
        for words in ["nixdeploy man man1", "completions $shell", "--suffix PATH : git/bin"] {
            let words = words.replace("git/bin", "");
            assert!(install.contains(words.trim_end()), "{words}\n{install}");
        }
    }
}
