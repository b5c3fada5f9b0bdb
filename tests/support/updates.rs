//! A desk whose flake has a second input, in a repository of its own: a set of packages with two
//! revisions, and a server on loopback that answers for GitHub.

use super::desk::Desk;
use super::machines::{Said, State};
use super::rows::{Then, differences};

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
        head='{ outputs = _: {'
        [ ! -e ../nixpkgs-too ] || head='{ inputs.base.url = "path:/srv/nixpkgs.lib";
          outputs = { base, ... }: { inherit (base) lib;'
        cat > flake.nix <<N
$head nixosModules.default = { make, ... }: {
  environment.systemPackages = map make.package [
    { pname = "hello"; version = "$2"; } { pname = "linux-firmware"; version = "$3"; } ];
  $4
}; }; }
N
        git add -A; git diff --cached --quiet || git commit -qm "$2""#;
/// A third input: one package that nothing is known of.
const MORE: &str = r#"
    mkdir -p "/root/desks/$1/more"; cd "/root/desks/$1/more"
    [ -d .git ] || git init -q
    cat > flake.nix <<N
{ outputs = _: { nixosModules.default = { make, ... }: {
  environment.systemPackages = [ (make.package { pname = "extra"; version = "$2"; }) ];
}; }; }
N
    git add -A; git commit -qm "$2"
    cd "/root/desks/$1/flake"
    more='inputs.more.url = "git+file:///root/desks/'$1'/more";'
    grep -q inputs.more flake.nix || sed -i 's|^  inputs.tools.url.*|&\n  '"$more"'|
      s|tools, ... }:|tools, more, ... }:|
      s|tools.nixosModules.default|& more.nixosModules.default|' flake.nix"#;
/// The second input becomes the flake's nixpkgs.
const NIXPKGS: &str = r#"
    touch "/root/desks/$1/nixpkgs-too"; cd "/root/desks/$1/flake"
    url='"git+file:///root/desks/'$1'/tools";'
    sed -i 's|^  inputs.nixpkgs.url.*|  inputs.nixpkgs.url = '"$url"'|
      /inputs.tools.url/d; s|nixpkgs, tools, |nixpkgs, |
      s|tools.nixosModules.default|nixpkgs.nixosModules.default|' flake.nix"#;
const LOCKED: &str = r#"cd "/root/desks/$1/flake"; git add -A; nix flake lock 2> /dev/null
    git add -A; git commit -qm "inputs""#;
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

pub(crate) struct Place {
    /// The desk.
    pub(crate) desk: Desk,
    /// The machine with the first revision.
    pub(crate) before: State,
}

impl Place {
    /// A machine that runs the first revision.
    pub(crate) fn new() -> Option<Self> {
        let desk = Desk::any()?;
        let _ = desk.good();
        let mut place = Self { before: desk.state(), desk };
        let _ = place.desk.deployer(
            "cd /root/desks/$1; rm -rf tools more nixpkgs-too github cache; mkdir cache",
            &[place.desk.host()],
        );
        place.revision("1.0", "20260810", "");
        let _ = place.desk.deployer(FLAKE, &[place.desk.host()]);
        place.desk.committed("");
        place.before = place.desk.unguarded();
        Some(place)
    }

    pub(crate) fn revision(&self, hello: &str, firmware: &str, more: &str) {
        let _ = self.desk.deployer(
            REVISION,
            &[self.desk.host(), hello, firmware, more, &hello.replace('.', "-")],
        );
    }

    /// A third input, which brings one package of this version.
    pub(crate) fn more(&self, version: &str) {
        let _ = self.desk.deployer(MORE, &[self.desk.host(), version]);
    }

    /// The second input is the flake's nixpkgs from now on.
    pub(crate) fn as_nixpkgs(&self) {
        let _ = self.desk.deployer(NIXPKGS, &[self.desk.host()]);
    }

    /// The machine runs this revision of all of them.
    pub(crate) fn settled(&mut self, hello: &str, firmware: &str) {
        self.revision(hello, firmware, "");
        let _ = self.desk.deployer(LOCKED, &[self.desk.host()]);
        self.desk.committed("");
        self.before = self.desk.unguarded();
    }

    /// The version of a program that the machine runs.
    pub(crate) fn runs(&self, program: &str) -> String {
        self.desk.exec(&format!("/run/current-system/sw/bin/lab-{program}"))
    }

    /// What GitHub answers from now on, on loopback of the deployer.
    pub(crate) fn issues(&self, title: &str) {
        self.issues_and(title, "");
    }

    /// The same, with more lines of hosts.toml.
    pub(crate) fn issues_and(&self, title: &str, lines: &str) {
        let port = 18_000 + self.desk.host().bytes().map(u32::from).sum::<u32>();
        let text = format!(
            r#"[{{"number": 562919, "state": "open", "created_at": "2026-11-20T00:00:00Z",
                "updated_at": "2026-11-21T00:00:00Z", "labels": [{{"name": "0.kind: bug"}}],
                "title": "{title}", "body": ""}}]"#
        );
        let _ = self.desk.deployer(ISSUES, &[self.desk.host(), &port.to_string(), &text, SERVER]);
        let api = format!("[issues]\napi = \"http://127.0.0.1:{port}\"\n{lines}");
        self.desk.inventory(&api);
    }

    pub(crate) fn lock(&self) -> String {
        let script = "sha256sum < /root/desks/$1/flake/flake.lock";
        self.desk.deployer(script, &[self.desk.host()]).stdout
    }

    /// Runs `update flake`, after which flake.lock is byte for byte what it was.
    pub(crate) fn unharmed(&self, args: &[&str], code: i32) -> Said {
        let before = self.lock();
        let said = self.update(args, code);
        assert_eq!(self.lock(), before, "{said:?}");
        said
    }

    pub(crate) fn update(&self, args: &[&str], code: i32) -> Said {
        let said = self.desk.run(&[&["update", "flake"], args].concat());
        assert_eq!(said.code, code, "{}\n{}", said.stdout, said.stderr);
        said
    }

    /// What is to come is told right to the version, and nothing is changed.
    pub(crate) fn previewed(&self, new: &str) {
        let (lock, host) = (self.lock(), self.desk.host());
        let said = self.desk.run(&["update", "preview", host, "--no-issue-check"]);
        assert_eq!(said.code, 0, "{said:?}");
        let lines: Vec<String> = said.stdout.lines().map(str::to_owned).collect();
        let has =
            |start: &str, end: &str| lines.iter().any(|l| l.starts_with(start) && l.contains(end));
        assert!(has("1 input of 2 moves", ""), "{lines:#?}");
        assert!(has("boot ", "linux-firmware 20260810 → 20260910"), "{lines:#?}");
        assert!(has("programs ", &format!("hello 1.0 → {new}")), "{lines:#?}");
        assert!(has("download ", "0 B (0 paths), "), "{lines:#?}");
        assert!(!has("download ", ", 0 to build"), "{lines:#?}");
        let said = self.desk.run(&[
            "update",
            "preview",
            host,
            "--json",
            "--detailed-exitcode",
            "--no-issue-check",
        ]);
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
        let wanted =
            format!("1 package new\n  pkgs{}\n1 package gone\n  pkgs1-0\n", new.replace('.', "-"));
        assert_eq!((said.code, &said.stdout), (0, &wanted), "{said:?}");
        assert_eq!(self.lock(), lock);
        assert_eq!(differences(Then::AsBefore, &self.before, &self.desk.unguarded()), [""; 0]);
    }

    pub(crate) fn versions(&self) -> String {
        self.desk.exec("/run/current-system/sw/bin/lab-hello")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let host = self.desk.host();
        let _ = self.desk.lab().exec("deployer", &["systemctl", "stop", &format!("github-{host}")]);
    }
}
