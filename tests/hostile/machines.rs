//! Security rows that only machines can show: what lies on the target, what its journal keeps,
//! what a narrow sudo rule is enough for, and where secrets go (S10, S12, S14, S15 and S20).

mod lab {
    use crate::hostile::canaries::{CANARY, assert_none, dressed};
    use crate::support::desk::Desk;
    use crate::support::machines::Said;
    use crate::support::rows::{COMMITTED, REFUSED, REVERTED, Row, Then, check, flat, has_row};

    fn said(said: &Said) -> String {
        format!("{}{}", said.stdout, said.stderr)
    }

    #[test]
    fn s10_a_prepared_folder_on_the_host_is_refused() {
        let Some(desk) = Desk::any() else { return };
        let before = desk.good();
        let modes = "find /run/nixdeploy /nix/var/nix/nixdeploy-reserve \
            \\( -perm /077 -o ! -user root \\) ! -type l 2> /dev/null; stat -c %a /run/nixdeploy";
        assert_eq!(desk.exec(modes), "700", "nobody else can look at what a deploy left");
        desk.knob(COMMITTED.knob);
        for prepare in [
            "mkdir -m 700 /tmp/theirs; ln -s /tmp/theirs /run/nixdeploy",
            "mkdir -m 777 /run/nixdeploy",
            "mkdir -m 700 /run/nixdeploy; chown nobody /run/nixdeploy",
            "touch /run/nixdeploy",
        ] {
            let _ = desk.exec(&format!("rm -rf /run/nixdeploy /tmp/theirs; {prepare}"));
            let deploy = desk.run(&["quick-deploy", desk.host()]);
            assert_eq!(deploy.code, 5, "{prepare}: {}", said(&deploy));
            assert!(flat(&deploy).contains("not root's own folder"), "{}", said(&deploy));
            assert_eq!(desk.state().pointers(), before.pointers(), "{prepare}");
            assert_eq!(desk.exec("find /tmp/theirs -mindepth 1 2> /dev/null; true"), "");
        }
        let _ = desk.exec("rm -rf /run/nixdeploy /tmp/theirs");
        let deploy = desk.run(&["quick-deploy", desk.host()]);
        assert_eq!(deploy.code, 0, "{}", said(&deploy));
        assert_eq!(desk.exec(modes), "700");
    }

    #[test]
    fn s14_the_rule_of_the_page_is_enough() {
        let page = include_str!("../../src/docs/security.md");
        let rule =
            page.lines().map(str::trim).find(|l| l.starts_with("deploy ALL=(root) NOPASSWD: /"));
        let rule = rule.expect("a rule").replacen("deploy", "admin", 1);
        let Some(desk) = Desk::of("samsung") else { return };
        let _ = desk.good();
        desk.spoil();
        let daemon = desk.exec("command -v nix-daemon");
        let rule = rule.replace("/run/current-system/sw/bin/nix-daemon", &daemon);
        let _ = desk.exec(&format!("echo '{rule}' > /etc/sudoers.d/admin"));
        desk.knob(COMMITTED.knob);
        let deploy = desk.run(&["quick-deploy", "samsung"]);
        assert_eq!(deploy.code, 0, "{}", said(&deploy));
        assert!(has_row(&deploy, "samsung", "changed"), "{}", said(&deploy));
        let _ = desk.exec("echo 'admin ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/admin");
    }

    #[test]
    fn s15_a_health_script_that_changes_after_its_tree_was_validated_is_not_sent() {
        check(&Row {
            id: "S15",
            before: |desk| desk.write("health/ok.sh", "echo OK: it lives\n"),
            knob: "lab.slowBuild = 4; lab.closureSeed = \"UNIQUE\"; lab.closureMiB = 1;",
            hosts: "[[hosts.HOST.health]]\nscript = \"health/ok.sh\"",
            during: |desk, running| {
                running.heard("build started");
                // From here on nothing but the scripts' own rule looks at the tree.
                running.heard(&format!("{} check ok", desk.host()));
                let file = format!("/root/desks/{}/flake/health/ok.sh", desk.host());
                let edit = format!("echo 'touch /run/pwn' >> {file}");
                let edited = desk.lab().exec("deployer", &["bash", "-c", &edit]);
                assert_eq!(edited.code, 0, "{}", edited.stderr);
            },
            exit: 3,
            result: "blocked",
            says: &["the tree changed"],
            after: |desk, _, _| {
                assert_eq!(desk.exec("[ ! -e /run/pwn ] && echo none"), "none");
                desk.write("health/ok.sh", "");
            },
            ..REFUSED
        });
    }

    #[test]
    fn s20_the_host_itself_says_who_did_what_also_after_a_failure() {
        check(&Row {
            id: "S20",
            before: |desk| {
                let _ = desk.exec(
                    "journalctl --sync; journalctl -q -n 1 --show-cursor -o cat \
                     | sed -n 's/^-- cursor: //p' > /run/audit-since",
                );
            },
            knob: "lab.brokenService = true;",
            after: |desk, before, _| {
                let entries = desk.exec(
                    "journalctl --sync; journalctl -t nixdeploy -o json --no-pager \
                     --after-cursor=\"$(cat /run/audit-since)\"",
                );
                let entries: Vec<serde_json::Value> = entries
                    .lines()
                    .map(|line| serde_json::from_str(line).expect("an entry of the journal"))
                    .collect();
                let field = |entry: &serde_json::Value, name: &str| {
                    entry[name].as_str().unwrap_or_default().to_owned()
                };
                let phases: Vec<String> =
                    entries.iter().map(|e| field(e, "NIXDEPLOY_PHASE")).collect();
                for phase in ["hold", "armed", "observe", "reverting", "reverted"] {
                    assert!(phases.iter().any(|p| p == phase), "{phase}: {phases:?}");
                }
                for entry in &entries {
                    assert!(field(entry, "NIXDEPLOY_OWNER").contains('@'), "{entry}");
                    assert_eq!(field(entry, "NIXDEPLOY_OLD"), before.get("running"), "{entry}");
                    assert!(field(entry, "NIXDEPLOY_NEW").starts_with("/nix/store/"), "{entry}");
                    assert!(field(entry, "NIXDEPLOY_TX").len() > 8, "{entry}");
                    assert!(!field(entry, "__REALTIME_TIMESTAMP").is_empty(), "{entry}");
                }
                let history = desk.run(&["history", "--json"]).stdout;
                assert!(
                    history.contains("rolled-back") || history.contains("rolled back"),
                    "{history}"
                );
            },
            then: Then::AsBefore,
            ..REVERTED
        });
    }

    /// A service that says every secret, and then fails or not.
    fn talks(ends: &str) -> String {
        let says: String = dressed().iter().map(|s| format!("echo {}; ", shell_word(s))).collect();
        format!("{says}{ends}")
    }

    fn shell_word(text: &str) -> String {
        format!("'{}'", text.replace('\'', "'\\''"))
    }

    /// What must not hold a secret after a run, wherever it lies.
    fn look_everywhere(desk: &Desk, place: &str) {
        let folder = format!("/root/desks/{}", desk.host());
        let mark = CANARY;
        let ours = format!(
            "grep -rliE '{mark}' {folder}/state /root/.cache/nixdeploy \
             /root/.local/state/nixdeploy /run/user/*/nixdeploy {folder}/summary 2> /dev/null; true"
        );
        let found = desk.lab().exec("deployer", &["bash", "-c", &ours]).stdout;
        assert_eq!(found, "", "{place}: a file of ours on the deployer holds a secret");
        let theirs = format!(
            "journalctl --sync; journalctl -t nixdeploy -o export | grep -aic '{mark}'; \
             find /run/nixdeploy -type f ! -name '*.log' -exec grep -liE '{mark}' {{}} +; true"
        );
        assert_eq!(desk.exec(&theirs), "0", "{place}: what we wrote on the host holds a secret");
    }

    #[test]
    fn s12_secrets_of_both_machines_come_out_nowhere() {
        let Some(desk) = Desk::any() else { return };
        let _ = desk.good();
        desk.spoil();
        let mark = CANARY;
        let seeded = format!(
            "for f in /run/agenix /run/secrets; do mkdir -p $f; echo {mark} > $f/secret; done; \
             mkdir -p /etc/nix; echo 'access-tokens = x={mark}' > /etc/nix/secret.conf"
        );
        let _ = desk.exec(&seeded);
        // Only what this program keeps is judged, not what a weakened one kept before.
        let forget = format!("rm -rf /root/desks/{}/state/nixdeploy/runs", desk.host());
        assert_eq!(desk.lab().exec("deployer", &["bash", "-c", &forget]).code, 0);
        desk.lab()
            .hook(desk.host(), &format!("case $1:$2 in activate:test) {} ;; esac", talks("true")));
        desk.write("health/talks.sh", &talks("echo OK: said it all"));
        desk.inventory("[[hosts.HOST.health]]\nscript = \"health/talks.sh\"");
        let forms: [&[&str]; 6] =
            [&[], &["-vvv"], &["--json"], &["--format", "jsonl"], &["--format", "github"], &["-q"]];
        for (n, form) in forms.iter().enumerate() {
            // In turn: committed, taken back by a failed service, not evaluated.
            let (knob, code) = match n % 3 {
                0 => (format!("lab.apps.greeter{n} = {{ port = 80{n}0; }};"), 0),
                1 => ("lab.brokenService = true;".to_owned(), 6),
                _ => (format!("x = throw \"token={mark} https://a:{mark}@b/c\";"), 4),
            };
            desk.knob(&knob);
            let deploy = run(&desk, form);
            assert_eq!(deploy.code, code, "{form:?}: {}", said(&deploy));
            assert_none(&said(&deploy), &format!("the output with {form:?}"));
            look_everywhere(&desk, &format!("{form:?}"));
        }
        let told = desk.run(&["logs", desk.host()]);
        assert_none(&said(&told), "logs");
        let back = desk.run(&["rollback", desk.host()]);
        assert_none(&said(&back), "a rollback");
        for form in [["report", "--json"].as_slice(), &["report", "-v"], &["history", "--json"]] {
            assert_none(&said(&desk.run(form)), "a report");
        }
        look_everywhere(&desk, "afterwards");
        let kept = format!("grep -rlF '[redacted]' /root/desks/{}/state | wc -l", desk.host());
        let kept = desk.lab().exec("deployer", &["bash", "-c", &kept]).stdout;
        assert_ne!(kept.trim(), "0", "the secrets were heard, and taken out");
    }

    /// Deploys with secrets in the caller's environment and settings.
    fn run(desk: &Desk, form: &[&str]) -> Said {
        let host = desk.host();
        let script = format!(
            "cd /root/desks/{host}; export XDG_STATE_HOME=$PWD/state GITHUB_TOKEN={CANARY} \
             NIX_CONFIG='access-tokens = github.com={CANARY}' NETRC={CANARY} \
             GITHUB_STEP_SUMMARY=$PWD/summary; \
             exec timeout 120 nixdeploy quick-deploy {host} \"$@\""
        );
        desk.lab().exec("deployer", &[&["bash", "-c", &script, "-"], form].concat())
    }
}
