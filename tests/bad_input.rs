//! Bad input: one clear error with what to do, the right exit code, and nothing changed anywhere.

use crate::support::home::{Desk, assert_harmless};
use crate::support::machines::Said;

const FLEET: &str = "[hosts.p620]\n[hosts.razer]\n";

/// Commands on one desk, drawn one after the other; none of them starts a program or leaves a file.
fn drawn<'a>(desk: &Desk, commands: impl IntoIterator<Item = &'a str>) -> String {
    let before = desk.files();
    let mut text = String::new();
    for command in commands {
        let said = desk.run(&command.split(' ').collect::<Vec<_>>());
        text += &format!("$ nixdeploy {command}\n{}\n", desk.shown(&said));
        let form = command.split_once("--format ").map_or("json", |(_, form)| form);
        let program = form.starts_with("json") && command.contains("json");
        let (document, told) = match program {
            true => (said.stdout.starts_with("{\"schema\":1,\"exit\":2,\"error\":{"), &said.stderr),
            false => (said.stderr.starts_with("error"), &said.stdout),
        };
        assert!(document, "{command}\n{}{}", said.stdout, said.stderr);
        assert_eq!(told, "", "{command}: errors go where results go to programs, else apart");
        assert_eq!(said.code, 2, "{command}\n{}", said.stderr);
    }
    assert_eq!(desk.files(), before, "nothing is left behind");
    assert_eq!(desk.calls(), [""; 0], "nothing is started");
    assert_harmless(&text);
    text
}

/// A desk whose ssh and nix would be told of.
fn watched(hosts: &str) -> Desk {
    let desk = Desk::with_fleet(hosts);
    for name in ["ssh", "nix", "ssh-keyscan", "ssh-keygen"] {
        desk.fake(name, "exit 1\n");
    }
    desk
}

#[test]
fn each_kind_of_mistake_in_hosts_toml_is_drawn_with_its_line() {
    let mistakes = [
        "[host.p620]\n",
        "[hosts.p620]\nsoak = 20\n",
        "[hosts.p620]\nsoak_s = 'long'\n",
        "[hosts.p620]\nsoak_s = 9999\n",
        "[hosts.p620]\nmode = 'fats'\n",
        "[hosts.p620]\nbuild_on = 'taregt'\n",
        "[hosts.p620]\ntags = 'server'\n",
        "[hosts.p620]\n[hosts.razer]\n[hosts.p620]\n",
        "[hosts.status]\n",
        "[hosts.\"-oProxyCommand=touch pwn\"]\n",
        "[hosts.p620]\naddress = '$(touch pwn)'\n",
        "[hosts.p620]\naddress = 'a'\naddresses = ['b']\n",
        "[hosts.p620]\nuser = 'root; touch pwn'\n",
        "[hosts.p620]\nattr = 'a\".b'\n",
        "[defaults]\nflake = '.#p620'\n[hosts.p620]\n",
        "[defaults]\ncanary = 'p602'\n[hosts.p620]\n",
        "[[hosts.p620.health]]\nscript = '../../etc/passwd'\n",
        "[[hosts.p620.health]]\nunit = 'a'\ntcp = 'b:1'\n",
        "[cache]\nurl = 'p620'\n[hosts.p620]\n",
        "[hosts.p620\n",
        "[defaults]\nmax_paralel = 4\n[hosts.p620]\nwave = 0\nuser = '$x'\n",
    ];
    let mut text = String::new();
    for mistake in mistakes {
        text += &format!("{mistake}{}", drawn(&watched(mistake), ["quick-deploy p620"]));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn what_cannot_be_meant_is_said_with_the_nearest() {
    let desk = watched(FLEET);
    let text = drawn(
        &desk,
        [
            "quick-deploy p602",
            "p602",
            "satus",
            "histroy --limit 3",
            "deploy",
            "deploy p620 --frobnicate",
            "deploy p620 --mode fats",
            "deploy p620 --boot --dry-run",
            "deploy p620 --detailed-exitcode",
            "deploy p620 --build-on p602",
            "deploy @sever",
            "deploy p620 --exclude p620",
            "rollback p620 --to first",
            "status -q -v",
            "deploy p620 --json --format human",
            "--inventory nowhere.toml deploy p620",
            "--flake nowhere deploy p620",
            "--flake ./nowhere deploy p620",
            "--flake .#p620 deploy p620",
            "--json deploy p602",
            "--format jsonl deploy p602",
            "report",
            "report 12ab",
            "logs p620",
            "logs -- -x",
            "init",
            "check nowhere.nix",
        ],
    );
    insta::assert_snapshot!(text);
}

#[test]
fn without_a_hosts_toml_it_is_said_how_to_get_one() {
    let text = drawn(&Desk::new(), ["deploy p620", "p620", "trust p620", "resume"]);
    insta::assert_snapshot!(text);
}

#[test]
fn what_is_no_flake_in_a_repository_is_said_before_a_host_is_asked() {
    let desk = watched(FLEET);
    let nowhere = drawn(&desk, ["deploy p620 --flake /nowhere"]);
    std::fs::remove_dir_all(desk.work().join(".git")).expect("removed");
    let unversioned = drawn(&desk, ["deploy p620"]);
    std::fs::remove_file(desk.work().join("flake.nix")).expect("removed");
    let empty = drawn(&desk, ["deploy p620"]);
    insta::assert_snapshot!(nowhere + &unversioned + &empty);
}

#[test]
fn a_hosts_toml_that_cannot_be_read_is_said_as_such() {
    let desk = Desk::new();
    std::fs::create_dir(desk.work().join("hosts.toml")).expect("a folder");
    let folder = drawn(&desk, ["deploy p620"]);
    let desk = Desk::new();
    desk.write("hosts.toml", b"[hosts.p620]\n# \xff\xfe\n");
    let bytes = drawn(&desk, ["deploy p620"]);
    insta::assert_snapshot!(folder + &bytes);
}

/// A run that ended with a code; nothing but our own state was written.
fn ended(desk: &Desk, args: &[&str], code: i32) -> Said {
    let before = desk.files();
    let said = desk.run(args);
    assert_eq!(said.code, code, "{args:?}\n{}{}", said.stdout, said.stderr);
    assert_eq!(desk.files(), before, "nothing is left behind");
    said
}

#[test]
fn without_nix_it_is_said_how_to_get_it() {
    let desk = Desk::with_fleet(FLEET);
    desk.fake("ssh", "sleep 60\n");
    let said = ended(&desk, &["quick-deploy", "p620"], 4).stdout;
    assert!(said.contains("there is no nix on this machine"), "{said}");
    assert!(said.contains("install Nix (https://nixos.org/download)"), "{said}");
    let said = ended(&desk, &["build", "p620"], 4).stdout;
    assert!(said.contains("there is no nix on this machine"), "{said}");
    std::fs::remove_file(desk.work().join("hosts.toml")).expect("removed");
    assert!(ended(&desk, &["init"], 2).stderr.contains("install Nix"));
}

#[test]
fn without_ssh_it_is_said_how_to_get_it() {
    let desk = Desk::with_fleet(FLEET);
    desk.fake("nix", "sleep 60\n");
    let said = ended(&desk, &["quick-deploy", "p620"], 5).stdout;
    assert!(said.contains("there is no ssh on this machine"), "{said}");
    assert!(said.contains("install openssh"), "{said}");
    let said = ended(&desk, &["trust", "p620"], 2).stderr;
    assert!(said.contains("install openssh"), "{said}");
}

#[test]
fn without_git_it_is_said_how_to_get_it() {
    let desk = Desk::with_fleet(FLEET);
    std::fs::remove_file(desk.path("bin/git")).expect("removed");
    desk.fake("ssh", "exit 255\n");
    let drv = "/nix/store/00000000000000000000000000000000-nixos-system-p620.drv";
    desk.fake("nix", &format!("echo {drv}\n"));
    let said = ended(&desk, &["build", "p620"], 3);
    let shown = said.stdout + &said.stderr;
    assert!(
        shown.contains("there is no git on this machine") && shown.contains("install git and"),
        "{shown}"
    );
    assert_eq!(desk.calls().len(), 1, "it is evaluated and not built: {:?}", desk.calls());
}

#[test]
fn a_host_that_failed_is_in_the_document_and_the_code() {
    let desk = Desk::with_fleet(FLEET);
    desk.fake(
        "ssh",
        "echo 'ssh: connect to host p620 port 22: Connection refused' >&2; exit 255\n",
    );
    desk.fake("nix", "sleep 60\n");
    let said = ended(&desk, &["quick-deploy", "p620", "--json"], 5);
    let document: serde_json::Value = serde_json::from_str(&said.stdout).expect("one document");
    assert_eq!(document["exit"], 5);
    assert_eq!(document["hosts"][0]["outcome"]["code"], "unreachable");
    assert!(said.stdout.contains("Connection refused"), "{}", said.stdout);
    let said = ended(&desk, &["quick-deploy", "p620", "--format", "jsonl", "-q"], 5);
    let events: Vec<serde_json::Value> =
        said.stdout.lines().map(|l| serde_json::from_str(l).expect("an event")).collect();
    assert_eq!(events.last().expect("events")["event"], "run_finished");
    assert_eq!(said.stderr, "");
}

#[test]
fn nobody_is_asked_where_nobody_is() {
    let desk = Desk::with_fleet(FLEET);
    let key = "AAAAC3NzaC1lZDI1NTE5AAAAIPiTfdFCmcVZbMPYmHJYhkdF2mGQvzyk1gzNr4RH2Eyf";
    desk.fake("ssh", "echo hostname p620; echo port 22\n");
    desk.fake("ssh-keyscan", &format!("echo p620 ssh-ed25519 {key}\n"));
    desk.fake("ssh-keygen", "echo '256 SHA256:abc p620 (ED25519)'\n");
    for args in [["trust", "p620"].as_slice(), &["trust", "p620", "--no-input"]] {
        let said = ended(&desk, args, 2);
        assert!(said.stdout.contains("SHA256:abc"), "the fingerprint is shown: {}", said.stdout);
        assert!(said.stderr.contains("same: nixdeploy trust p620 --yes"), "{}", said.stderr);
        assert!(said.stderr.contains("ssh-keygen -lf /etc/ssh/"), "{}", said.stderr);
    }
    desk.write("hosts.toml", "[hosts.p620]\n[hosts.razer]\n");
    let every = ended(&desk, &["trust", "all"], 2).stderr;
    for host in ["p620", "razer"] {
        assert!(every.contains(&format!("error: {host}: nobody is there")), "{every}");
    }
    let said = desk.run(&["trust", "p620", "--yes"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let known = std::fs::read_to_string(desk.path("home/.ssh/known_hosts")).expect("recorded");
    assert_eq!(known, format!("p620 ssh-ed25519 {key}\n"));
}

#[test]
fn rollback_takes_one_host_and_is_told_no_word_for_several() {
    let desk =
        Desk::with_fleet("[hosts.p620]\ntags = ['server']\n[hosts.p510]\ntags = ['server']\n");
    let said = ended(&desk, &["rollback"], 2).stderr;
    assert!(said.contains("rollback takes one") && !said.contains("@TAG"), "{said}");
    let said = ended(&desk, &["rollback", "@server"], 2).stderr;
    assert!(said.contains("'@server' means p620, p510"), "{said}");
    assert!(said.contains("nixdeploy rollback p620"), "{said}");
    let said = ended(&desk, &["history", "--limit", "0"], 2).stderr;
    assert!(said.contains("wants a number from 1 on"), "{said}");
}

mod lab {
    use crate::support::desk::Desk;
    use crate::support::machines::Said;

    /// A machine that is ours, in a good state; it is not to be touched.
    fn unharmed(case: impl Fn(&Desk)) {
        let Some(desk) = Desk::any() else { return };
        let before = desk.good();
        case(&desk);
        let after = desk.state();
        assert_eq!(after.pointers(), before.pointers());
        assert_eq!(after.get("guard"), "absent", "the lock is free");
    }

    /// Runs a script in the desk's flake; HOST stands for the machine.
    fn edit(desk: &Desk, script: &str) {
        let script = script.replace("HOST", desk.host());
        let script = format!("set -e; cd /root/desks/{}/flake; {script}", desk.host());
        let said = desk.lab().exec("deployer", &["bash", "-c", &script]);
        assert_eq!(said.code, 0, "{}", said.stderr);
    }

    fn ends(desk: &Desk, command: &str, code: i32, words: &[&str]) -> Said {
        let command = command.replace("HOST", desk.host());
        let said = desk.run(&command.split(' ').collect::<Vec<_>>());
        let shown = format!("{}{}", said.stdout, said.stderr);
        assert_eq!(said.code, code, "{shown}");
        for word in words {
            let word = word.replace("HOST", desk.host());
            assert!(shown.contains(&word), "no '{word}' in\n{shown}");
        }
        said
    }

    #[test]
    fn a_flake_that_does_not_evaluate() {
        unharmed(|desk| {
            desk.knob("lab.evalError = true;");
            let words = ["lab.evalError is set", "nixdeploy logs"];
            let _ = ends(desk, "quick-deploy HOST", 4, &words);
            let _ = ends(desk, "build HOST", 4, &words);
        });
    }

    #[test]
    fn a_build_that_fails_shows_the_end_of_its_log() {
        unharmed(|desk| {
            desk.knob("lab.buildError = true;");
            let words = ["compiler exploded", "does not build", "nix log /nix/store/"];
            let _ = ends(desk, "quick-deploy HOST", 4, &words);
        });
    }

    #[test]
    fn a_host_that_the_flake_lacks_is_told_with_its_line() {
        unharmed(|desk| {
            desk.inventory("\n[hosts.nowhere]\naddress = \"HOST\"");
            let words = ["no nixosConfigurations.nowhere", "[hosts.nowhere]"];
            let _ = ends(desk, "quick-deploy nowhere", 4, &words);
            desk.inventory("\n[hosts.nowhere]\naddress = \"HOST\"\noptional = \"skip\"");
            let words = ["skipped", "no nixosConfigurations.nowhere"];
            let _ = ends(desk, "quick-deploy nowhere", 0, &words);
        });
    }

    #[test]
    fn a_syntax_error_blocks_and_is_told_with_its_place() {
        unharmed(|desk| {
            let text = "{ lib, ... }:\\n{\\n  lab.apps.x = { port = 1 ];\\n}\\n";
            edit(desk, &format!("printf '{text}' > hosts/HOST/knobs.nix; git add -A"));
            let words = ["hosts/HOST/knobs.nix:3:27", "unexpected ']'", "nixdeploy check"];
            let _ = ends(desk, "quick-deploy HOST", 3, &words);
            let _ = ends(desk, "build HOST", 3, &words);
            let _ = ends(desk, "check flake", 3, &["hosts/HOST/knobs.nix:3:27"]);
        });
    }

    #[test]
    fn a_file_that_git_does_not_track() {
        unharmed(|desk| {
            edit(
                desk,
                "echo '{ imports = [ ./new.nix ]; }' > hosts/HOST/knobs.nix; \
                 echo '{ }' > hosts/HOST/new.nix; git add hosts/HOST/knobs.nix",
            );
            let words = ["git does not track", "git add hosts/HOST/new.nix"];
            let _ = ends(desk, "quick-deploy HOST", 4, &words);
            edit(desk, "git add -A");
            let _ = ends(desk, "build HOST", 0, &["built and kept"]);
        });
    }

    #[test]
    fn a_tree_that_is_not_committed_is_deployed_as_it_is() {
        let Some(desk) = Desk::any() else { return };
        let _ = desk.good();
        let text = "echo '{ lab.apps.dirty = { port = 7777; }; }' > hosts/HOST/knobs.nix";
        edit(&desk, &format!("{text}; git add -A"));
        let _ = ends(&desk, "quick-deploy HOST", 0, &["committed"]);
        assert!(desk.state().list("units_active").iter().any(|u| u.contains("dirty")));
    }

    #[test]
    fn without_git_nothing_is_deployed() {
        unharmed(|desk| {
            desk.knob("lab.apps.extra = { port = 7777; };");
            let script = "d=$(mktemp -d); for p in nix ssh nix-store sh; do \
                ln -sf $(command -v $p) $d/; done; cd /root/desks/$1; \
                n=$(command -v nixdeploy); export XDG_STATE_HOME=$PWD/state; \
                PATH=$d $n quick-deploy $1";
            let said = desk.lab().exec("deployer", &["bash", "-c", script, "-", desk.host()]);
            let shown = format!("{}{}", said.stdout, said.stderr);
            assert_ne!(said.code, 0, "{shown}");
            assert!(shown.contains("git"), "{shown}");
        });
    }
}

#[test]
fn a_generation_that_is_no_number_is_told_where_numbers_stand() {
    let said = ended(&Desk::new(), &["rollback", "p620", "--to", "last"], 2).stderr;
    assert!(said.contains("wants its number, which `nixdeploy status` tells"), "{said}");
}
