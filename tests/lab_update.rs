//! `update` on machines: a flake with two revisions of a package set, what comes of each way an
//! update can end, and that flake.lock agrees with what the machines run.

mod lab {
    use crate::support::desk::Desk;
    use crate::support::machines::{Said, State};
    use crate::support::rows::{Then, differences, flat};

    /// A second input, in a repository of its own: packages whose versions are those of its
    /// revision, and what else the test wants of it.
    const FLAKE: &str = r#"
        cd "/root/desks/$1/flake"
        tools='inputs.tools.url = "git+file:///root/desks/'$1'/tools";'
        sed -i 's|^  inputs.nixpkgs.url.*|&\n  '"$tools"'|
          s|{ self, nixpkgs, ... }:|{ self, nixpkgs, tools, ... }:|
          s|^          modules = \[|& tools.nixosModules.default|' flake.nix
        nix flake lock 2> /dev/null; git add -A; git commit -qm "a package set""#;
    const REVISION: &str = r#"
        mkdir -p "/root/desks/$1/tools"; cd "/root/desks/$1/tools"
        [ -d .git ] || git init -q
        echo "{ system, config ? { } }: { hello = throw system; lib = 1; pkgs$5 = throw 1; }" \
          > default.nix
        cat > flake.nix <<N
{ outputs = _: { nixosModules.default = { make, ... }: {
  environment.systemPackages = map make.package [
    { pname = "hello"; version = "$2"; } { pname = "linux-firmware"; version = "$3"; } ];
  $4
}; }; }
N
        git add -A; git commit -qm "$2""#;
    const ISSUES: &str = r#"
        d=/root/desks/$1/github; mkdir -p $d; printf %s "$3" > $d/issues; printf %s "$4" > $d/server
        systemctl is-active -q "github-$1" ||
          systemd-run -q --collect --unit "github-$1" python3 $d/server "$2" $d/issues
        for n in $(seq 100); do
          (exec 3<> /dev/tcp/127.0.0.1/$2) 2> /dev/null && exit; sleep 0.1
        done
        exit 1"#;

    const SERVER: &str = r#"
import socket, sys
door = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    caller, _ = door.accept()
    asked = b""
    while b"\r\n\r\n" not in asked:
        some = caller.recv(65536)
        if not some: break
        asked += some
    body = b'{"items": []}' if b"GET /search" in asked else open(sys.argv[2], "rb").read()
    head = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
    caller.sendall(head + body)
    caller.close()
"#;

    struct Place {
        desk: Desk,
        before: State,
    }

    impl Place {
        /// A machine that runs the first revision.
        fn new() -> Option<Self> {
            let desk = Desk::any()?;
            let _ = desk.good();
            let mut place = Self { before: desk.state(), desk };
            let _ = place.desk.deployer(
                "rm -rf /root/desks/$1/{tools,github,cache}; mkdir /root/desks/$1/cache",
                &[place.desk.host()],
            );
            place.revision("1.0", "20260810", "");
            let _ = place.desk.deployer(FLAKE, &[place.desk.host()]);
            place.desk.committed("");
            place.before = place.desk.unguarded();
            Some(place)
        }

        fn revision(&self, hello: &str, firmware: &str, more: &str) {
            let _ = self.desk.deployer(
                REVISION,
                &[self.desk.host(), hello, firmware, more, &hello.replace('.', "-")],
            );
        }

        /// What GitHub answers from now on, on loopback of the deployer.
        fn issues(&self, title: &str) {
            let port = 18_000 + self.desk.host().bytes().map(u32::from).sum::<u32>();
            let text = format!(
                r#"[{{"number": 562919, "state": "open", "created_at": "2026-11-20T00:00:00Z",
                "updated_at": "2026-11-21T00:00:00Z", "labels": [{{"name": "0.kind: bug"}}],
                "title": "{title}", "body": ""}}]"#
            );
            let _ =
                self.desk.deployer(ISSUES, &[self.desk.host(), &port.to_string(), &text, SERVER]);
            let api = format!("[issues]\napi = \"http://127.0.0.1:{port}\"");
            self.desk.inventory(&api);
        }

        fn lock(&self) -> String {
            let script = "sha256sum < /root/desks/$1/flake/flake.lock";
            self.desk.deployer(script, &[self.desk.host()]).stdout
        }

        /// Runs `update flake`, after which flake.lock is byte for byte what it was.
        fn unharmed(&self, args: &[&str], code: i32) -> Said {
            let before = self.lock();
            let said = self.update(args, code);
            assert_eq!(self.lock(), before, "{said:?}");
            said
        }

        fn update(&self, args: &[&str], code: i32) -> Said {
            let said = self.desk.run(&[&["update", "flake"], args].concat());
            assert_eq!(said.code, code, "{}\n{}", said.stdout, said.stderr);
            said
        }

        /// What is to come is told right to the version, and nothing is changed.
        fn previewed(&self, new: &str) {
            let (lock, host) = (self.lock(), self.desk.host());
            let said = self.desk.run(&["update", "preview", host]);
            assert_eq!(said.code, 0, "{said:?}");
            let lines: Vec<String> = said.stdout.lines().map(str::to_owned).collect();
            let has = |start: &str, end: &str| {
                lines.iter().any(|l| l.starts_with(start) && l.contains(end))
            };
            assert!(has("1 input of 2 moves", ""), "{lines:#?}");
            assert!(has("boot ", "linux-firmware 20260810 → 20260910"), "{lines:#?}");
            assert!(has("programs ", &format!("hello 1.0 → {new}")), "{lines:#?}");
            assert!(has("download ", "0 B (0 paths), "), "{lines:#?}");
            assert!(!has("download ", ", 0 to build"), "{lines:#?}");
            let said = self.desk.run(&["update", "preview", host, "--json", "--detailed-exitcode"]);
            let told: serde_json::Value = serde_json::from_str(&said.stdout).expect("a document");
            let firmware = &told["hosts"][host]["boot"][0];
            let wanted = ("linux-firmware", "20260810", "20260910");
            let found = (&firmware["name"], &firmware["before"][0], &firmware["after"][0]);
            assert_eq!(
                (said.code, found),
                (20, (&wanted.0.into(), &wanted.1.into(), &wanted.2.into()))
            );
            let said = self.desk.run(&["update", "preview", host, "--build"]);
            assert_eq!(said.code, 0, "{said:?}");
            let hello = format!("~ hello 1.0 → {new}\n");
            let firmware = "~ linux-firmware 20260810 → 20260910\n";
            assert!(said.stdout.contains(&hello) && said.stdout.contains(firmware), "{said:?}");
            let said = self.desk.run(&["update", "new-packages", "--input", "tools"]);
            let wanted = format!(
                "1 package new\n  pkgs{}\n1 package gone\n  pkgs1-0\n",
                new.replace('.', "-")
            );
            assert_eq!((said.code, &said.stdout), (0, &wanted), "{said:?}");
            assert_eq!(self.lock(), lock);
            assert_eq!(differences(Then::AsBefore, &self.before, &self.desk.unguarded()), [""; 0]);
        }

        fn versions(&self) -> String {
            self.desk.exec("/run/current-system/sw/bin/lab-hello")
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let host = self.desk.host();
            let _ =
                self.desk.lab().exec("deployer", &["systemctl", "stop", &format!("github-{host}")]);
        }
    }

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
        assert!(flat(&said).contains("could not all be checked"), "{said:?}");
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
        let typed = |answers: &[&str]| {
            let fixed = ["bash", "-c", TERMINAL, "-", host, "update flake tools --color never"];
            place.desk.lab().exec("deployer", &[&fixed[..], answers].concat())
        };
        let name = format!("To update {host} all the same, type its name");
        let said = typed(&[&name, "somebody"]);
        assert_eq!((said.code, place.lock()), (11, old.clone()), "{said:?}");
        assert!(said.stdout.contains("the answer was no"), "{said:?}");
        // The gate is passed, flake.lock replaced, and then nobody wants the deploy.
        let said = typed(&[&name, host, "[Y/n]", "n"]);
        assert!(said.stdout.contains("hello 1.0"), "{said:?}");
        assert_eq!((said.code, place.lock()), (11, old), "{said:?}");
        assert!(said.stdout.contains("flake.lock is as it was"), "{said:?}");
        assert_eq!(differences(Then::AsBefore, &place.before, &place.desk.unguarded()), [""; 0]);
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
}
