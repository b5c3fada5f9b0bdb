//! Moving in: what a justfile's recipes become, and the page that says it.

use serde_json::Value;

use crate::support::home::{Desk, assert_harmless};

/// Recipes as the first user's have them, and what else a justfile can hold.
const JUSTFILE: &str = r##"#!/usr/bin/env -S just --justfile
set shell := ["bash", "-euo", "pipefail", "-c"]
set dotenv-load
hosts := "p620 razer p510 dex5550"
export NIX_CONFIG := '''
p620:
  not a recipe
'''
alias dt := quick-test
import 'just/hosts.just'
import? 'just/absent.just'
mod secrets

# All hosts.
[private]
default:
    @just --list

[group('deploy')]
quick-deploy HOST:
    #!/usr/bin/env bash
    NEW=$(nix build .#nixosConfigurations.{{HOST}}.config.system.build.toplevel --print-out-paths)
    OLD=$(ssh {{HOST}} readlink /run/current-system)
    if [ "$NEW" != "$OLD" ]; then just {{HOST}}; fi

quick-test: test-all-parallel
test-all-parallel:
    @for h in {{hosts}}; do (just test-host $h &) ; done; wait && echo done
test-host HOST:
    nixos-rebuild build --flake .#{{HOST}} --show-trace
deploy-cached HOST cache='http://p620:5000':
    nixos-rebuild switch --flake .#{{HOST}} --target-host {{HOST}} --option substituters {{cache}}
deploy-all:
    just p620
    just razer
over HOST BUILDER:
    sudo -v && nixos-rebuild switch --flake .#{{HOST}} \
        --target-host root@{{HOST}} --build-host {{BUILDER}} --use-remote-sudo
back HOST:
    ssh root@{{ HOST }} sudo nixos-rebuild switch --rollback
up +INPUTS='nixpkgs':
    nix flake update {{INPUTS}}
bump: up deploy-all
check:
    nix flake check --all-systems
syntax:
    @find . -name '*.nix' -exec nix-instantiate --parse {} \; >/dev/null
gc HOST:
    ssh {{HOST}} sudo nix-collect-garbage -d
fmt:
    alejandra . && git diff --stat
build:
    docker build .
[macos]
only-mac:
    darwin-rebuild switch
evil:
    echo "$(touch pwned)" `touch pwned` {{ `touch pwned` }}
!!! what is this
"##;

const HOSTS: &str = "p620: _local\n    nixos-rebuild switch --flake .#p620\n\
    razer: (_remote 'razer')\n_local:\n    true\n_remote HOST:\n    \
    nixos-rebuild switch --flake .#{{HOST}} --target-host {{HOST}} --build-host {{HOST}} --fast\n";

fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("justfile", JUSTFILE);
    desk.write("just/hosts.just", HOSTS);
    desk
}

#[test]
fn every_recipe_is_told_what_takes_it_over() {
    let desk = desk();
    let before = desk.files();
    let said = desk.run(&["init", "--from-justfile", "--json"]);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{}", said.stdout);
    let document: Value = serde_json::from_str(&said.stdout).expect("a document");
    let told = |name: &str| {
        let recipes = document["recipes"].as_array().expect("recipes");
        let found = recipes.iter().find(|r| r["recipe"] == name);
        let found = found.unwrap_or_else(|| panic!("{name}\n{}", said.stdout));
        let commands = found["commands"].as_array().expect("commands").iter();
        let commands: Vec<_> = commands.map(|c| c.as_str().expect("a text")).collect();
        (commands.join("; "), found["by"].as_str().unwrap_or_default().to_owned())
    };
    for (recipe, commands, by) in [
        ("quick-deploy", "quick-deploy HOST", "name"),
        ("quick-test", "quick-test", "name"),
        ("test-all-parallel", "test-all-parallel", "name"),
        ("deploy-cached", "deploy-cached HOST", "name"),
        ("deploy-all", "deploy-all", "name"),
        ("p620", "deploy p620", "lines"),
        ("over", "deploy-via BUILDER HOST", "lines"),
        ("back", "rollback HOST", "lines"),
        ("up", "update flake INPUTS --no-deploy", "lines"),
        ("bump", "update flake INPUTS --no-deploy; deploy-all", "lines"),
        ("check", "validate", "lines"),
        ("syntax", "check-syntax", "lines"),
        ("razer", "deploy razer --build-on target", "lines"),
        ("gc", "", ""),
        ("fmt", "", ""),
        ("build", "", ""),
    ] {
        assert_eq!(told(recipe), (commands.to_owned(), by.to_owned()), "{recipe}");
    }
    let names = document["recipes"].as_array().expect("recipes").iter();
    let names: Vec<_> = names.map(|r| r["recipe"].as_str().expect("a name")).collect();
    assert!(!["default", "_local", "only-mac"].iter().any(|n| names.contains(n)), "{names:?}");
    assert_eq!(document["aliases"], serde_json::json!([["dt", "quick-test"]]));
    assert_eq!(document["modules"], serde_json::json!(["secrets"]));
    let strange = JUSTFILE.lines().position(|l| l.starts_with("!!!")).expect("there") + 1;
    assert_eq!(document["not_understood"], serde_json::json!([format!("justfile:{strange}")]));
    assert_eq!(desk.files(), before, "nothing is run, nothing written");
    assert!(desk.calls().is_empty());
}

/// Recipes that call each other many times over are read once each.
#[test]
fn recipes_that_call_each_other_are_read_once() {
    let desk = Desk::new();
    let mut text = String::new();
    for caller in 0..40 {
        text.push_str(&format!("r{caller}:\n"));
        (caller + 1..=40).for_each(|called| text.push_str(&format!("    just r{called}\n")));
    }
    text.push_str("r40: r0\n    nixos-rebuild switch --flake .#p620 --target-host p620\n");
    std::fs::create_dir_all(desk.work().join("below")).expect("a folder");
    desk.write("below/justfile", &text);
    let said = desk.run(&["init", "--from-justfile", "below"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stdout.contains("41 recipes, 41 taken over"), "{}", said.stdout);
    let said = desk.run(&["init", "--from-justfile", "."]);
    assert!(said.stderr.contains("no justfile"), "{}", said.stderr);
}

/// "Taken over" is said of a recipe all of which a command does; of the others, what is not.
#[test]
fn what_a_command_does_not_do_is_told_with_its_line() {
    let desk = Desk::new();
    desk.write(
        "justfile",
        "set quiet\n\
         deploy HOST *ARGS:\n    nixos-rebuild switch --flake .#{{HOST}} --target-host {{HOST}} \
         --use-remote-sudo {{ARGS}}\n\
         p620: (deploy \"p620\")\n\
         razer: (deploy \"razer\" \"--fast\")\n\
         pure: (deploy \"razer\" \"--impure\")\n\
         reboot HOST: (deploy HOST)\n    ssh root@{{HOST}} reboot\n\
         iso:\n    nix build .#nixosConfigurations.iso.config.system.build.isoImage\n\
         update:\n    nix flake update\n    git commit -m bump flake.lock\n\
         check:\n    nix flake check\n    statix check .\n    deadnix --fail\n\
         strange:\n    nixos-rebuild switch --flake .#p620 --impure\n\
         quick-deploy HOST: update\n    just {{HOST}}\n\
         late: && (deploy \"p510\")\n    nix flake check\n\
         gone:\n    nix flake check\n    just nowhere\n",
    );
    let said = desk.run(&["init", "--from-justfile"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let (head, page) = said.stdout.split_once("\n\n").expect("a page");
    assert_eq!(head, "justfile: 12 recipes, 3 taken over, 8 in part");
    let page = page.split("\n\n").next().expect("rows").replace("        ", " ");
    let page = page.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "));
    let page: Vec<String> = page.collect();
    let wanted = [
        "deploy HOST ARGS in part: nixdeploy deploy HOST",
        "not: ARGS",
        "ARGS: the flags of nixdeploy are its own",
        "p620 nixdeploy deploy p620",
        "razer nixdeploy deploy razer",
        "pure in part: nixdeploy deploy razer",
        "not: deploy razer --impure",
        "reboot HOST in part: nixdeploy deploy HOST",
        "not: ssh root@HOST reboot",
        "iso no command; stays a recipe: nix",
        "update in part: nixdeploy update flake --no-deploy",
        "not: git commit -m bump flake.lock",
        "check in part: nixdeploy validate",
        "not: statix check .",
        "not: deadnix --fail",
        "statix: nixdeploy check has rules of its own",
        "deadnix: nixdeploy check has rules of its own",
        "strange in part: nixdeploy deploy p620",
        "not: nixos-rebuild switch --flake .#p620 --impure",
        "quick-deploy HOST in part: nixdeploy quick-deploy HOST",
        "not: what `nixdeploy update flake --no-deploy` does",
        "not: git commit -m bump flake.lock",
        "late nixdeploy validate",
        "then nixdeploy deploy p510",
        "gone in part: nixdeploy validate",
        "not: just nowhere",
    ];
    assert_eq!(page, wanted, "{}", said.stdout);
}

#[test]
fn a_person_reads_it_on_a_page() {
    let desk = desk();
    desk.write("sub/x", "");
    let said = desk.run(&["init", "--from-justfile"]).stdout;
    assert!(said.starts_with("justfile: 18 recipes, 13 taken over, 1 in part\n"), "{said}");
    for line in [
        "nixdeploy quick-deploy HOST",
        "no command; stays a recipe",
        "in part: nixdeploy validate",
        "not: nix flake check --all-systems",
        "nix-collect-garbage: garbage is collected where space is missing, never with -d",
        "Other names: dt is quick-test",
        "Not understood: justfile:",
        "nixdeploy help moving-in",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    assert!(said.lines().all(|l| l.chars().count() <= 100), "{said}");
    let named = desk.run(&["init", "--from-justfile", "just/hosts.just"]).stdout;
    assert!(named.starts_with("just/hosts.just: 2 recipes, 2 taken over\n"), "{named}");
}

#[test]
fn a_justfile_that_is_no_text_or_not_there_is_told() {
    let desk = Desk::new();
    let said = desk.run(&["init", "--from-justfile"]);
    assert!(said.code == 2 && said.stderr.contains("no justfile here"), "{}", said.stderr);
    desk.write("justfile", "import 'absent'\n");
    let said = desk.run(&["init", "--from-justfile"]);
    assert!(said.code == 2 && said.stderr.contains("absent"), "{}", said.stderr);
    desk.write("justfile", "import 'justfile'\n\u{1b}[2Jx y:\n\u{1b}]0;a:\n\tb\na\u{202e}b:\n");
    let said = desk.run(&["init", "--from-justfile"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert_harmless(&said.stdout);
    desk.write("justfile", [0xff, 0xfe, 0x00]);
    let said = desk.run(&["init", "--from-justfile"]);
    assert_eq!(said.code, 2, "{}{}", said.stdout, said.stderr);
    assert_eq!(desk.run(&["init", "--from-justfile", "--force"]).code, 2);
}

/// The table of the first user's recipes: each command is one, and what reads the justfile says
/// the same.
#[test]
fn the_table_of_recipes_is_true() {
    let page = include_str!("../src/docs/moving-in.md");
    let rows: Vec<_> = page.lines().filter(|l| l.starts_with("| `just ")).collect();
    assert!(rows.len() > 20, "{rows:?}");
    let mut text = String::new();
    let mut wanted = Vec::new();
    for row in &rows {
        let mut quoted = row.split('`').skip(1).step_by(2);
        let recipe = quoted.next().expect("a recipe").trim_start_matches("just ");
        let command = quoted.next().expect("a command").trim_start_matches("nixdeploy ");
        let body = format!("    nixos-rebuild switch --flake .#{recipe} --target-host {recipe}\n");
        text.push_str(&format!("{recipe}:\n{body}"));
        let host = !recipe.contains('-') && !command.contains('-') && recipe == command;
        let host = host && !["validate", "diff HOST"].contains(&recipe);
        wanted.push(if host { format!("deploy {command}") } else { command.to_owned() });
    }
    let desk = Desk::new();
    desk.write("justfile", text);
    let said = desk.run(&["init", "--from-justfile", "--json"]);
    let document: Value = serde_json::from_str(&said.stdout).expect("a document");
    let told = document["recipes"].as_array().expect("recipes").iter();
    let told: Vec<_> = told.map(|r| r["commands"][0].as_str().unwrap_or("-").to_owned()).collect();
    assert_eq!(told, wanted);
}
