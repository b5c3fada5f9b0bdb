//! Ways to reach a host: behind another one, at the second of its addresses, through a sudo that
//! wants a password.

mod lab {
    use std::time::Duration;

    use crate::support::desk::{DROP_SESSIONS, Desk};
    use crate::support::last;
    use crate::support::machines::Said;
    use crate::support::rows::{Then, differences, flat};

    /// From now on the machine lets nobody on the deployer in; who is in already stays.
    const HIDE: &str = "nft 'add table inet behind' && \
        nft 'add chain inet behind input { type filter hook input priority 10; }' && \
        nft 'add rule inet behind input ip saddr 10.99.0.2 tcp dport 22 \
        ct state new reject with tcp reset'";
    const SHOW: &str = "nft delete table inet behind";

    /// A machine that only p620 can reach, and p620, ours too.
    fn behind() -> Option<(Desk, Desk)> {
        let desk = Desk::of("p510")?;
        let _ = desk.good();
        let gate = Desk::of("p620")?;
        gate.usable_again();
        let _ = desk.exec(HIDE);
        desk.inventory("jump = [\"root@p620\"]");
        Some((desk, gate))
    }

    fn end(desk: &Desk, said: &Said, exit: i32, says: &[&str]) {
        let told = format!("{}{}", said.stdout, said.stderr);
        assert_eq!(said.code, exit, "{told}");
        for words in says {
            assert!(flat(said).contains(words), "not said: {words}\n{told}");
        }
        let _ = desk.exec(SHOW);
    }

    #[test]
    fn a_host_behind_another_is_deployed_though_the_way_breaks() {
        let Some((desk, gate)) = behind() else { return };
        desk.knob("lab.slowActivation = 8; lab.closureMiB = 6; lab.apps.greeter = { };");
        let before = desk.state();
        let running = desk.start(&["quick-deploy", "p510"]);
        desk.until_activating();
        let _ = gate.exec(DROP_SESSIONS);
        let said = running.end();
        end(&desk, &said, 0, &["root@p510 through root@p620", "reconnected", "1 changed"]);
        assert_eq!(differences(Then::New, &before, &desk.unguarded()), [""; 0]);
    }

    #[test]
    fn a_copy_goes_on_when_the_way_breaks() {
        let Some((desk, gate)) = behind() else { return };
        desk.lab().slow("p510", 40_000);
        desk.knob(&format!("lab.closureMiB = 24; lab.closureSeed = \"{}\";", before_us(&desk)));
        let before = desk.state();
        let running = desk.start(&["quick-deploy", "p510"]);
        running.heard("copy started");
        desk.until("the copy", Duration::from_secs(90), "pgrep -f '[n]ix-daemon --stdio'");
        last(Duration::from_secs(1));
        let _ = gate.exec(DROP_SESSIONS);
        let said = running.end();
        desk.lab().heal("p510");
        end(&desk, &said, 0, &["1 changed"]);
        let logs = desk.run(&["logs", "p510"]);
        assert!(logs.stdout.contains("once more over a new connection"), "{}", logs.stdout);
        assert_eq!(differences(Then::New, &before, &desk.unguarded()), [""; 0]);
    }

    /// A word that no earlier run used.
    fn before_us(desk: &Desk) -> String {
        desk.exec("cat /proc/sys/kernel/random/uuid")
    }

    #[test]
    fn keys_are_held_to_their_record_through_a_jump() {
        let Some((desk, _gate)) = behind() else { return };
        let known = desk.run(&["trust", "p510"]);
        assert!(known.stdout.contains("p510 (10.99.0.13) is trusted already"), "{known:?}");
        desk.inventory("jump = [\"root@p620\"]\nssh.control = \"none\"");
        let _ = desk.exec("rm /etc/ssh/ssh_host_*; ssh-keygen -qA; systemctl restart sshd");
        desk.spoil();
        let said = desk.run(&["quick-deploy", "p510"]);
        end(&desk, &said, 5, &["the host key of p510 is not trusted"]);
        let other = desk.run(&["trust", "p510", "--yes"]);
        assert!(flat(&other).contains("offers another key than the recorded one"), "{other:?}");
    }

    #[test]
    fn a_jump_that_does_not_let_us_in_is_named() {
        let Some(desk) = Desk::any() else { return };
        let _ = desk.good();
        desk.inventory("jump = [\"nobody@deployer\"]");
        let said = desk.run(&["quick-deploy", desk.host()]);
        end_of(&said, 5, &["nobody@10.99.0.2: Permission denied"]);
    }

    #[test]
    fn addresses_are_tried_in_order_and_the_report_says_which_and_why() {
        let Some(desk) = Desk::any() else { return };
        let before = desk.good();
        let host = desk.host().to_owned();
        desk.inventory(&format!("addresses = [\"nowhere.invalid\", \"10.99.0.1\", \"{host}\"]"));
        desk.knob("lab.apps.greeter = { port = 8081; };");
        let said = desk.run(&["quick-deploy", &host]);
        let reached = format!("root@{host}; not nowhere.invalid: ssh: Could not resolve hostname");
        let refused = "not 10.99.0.1: ssh: connect to host 10.99.0.1 port 22: Connection refused";
        end_of(&said, 0, &[&reached, refused]);
        assert!(flat(&desk.run(&["report"])).contains(&reached), "the report does not say it");
        assert_eq!(differences(Then::New, &before, &desk.unguarded()), [""; 0]);
    }

    fn end_of(said: &Said, exit: i32, says: &[&str]) {
        assert_eq!(said.code, exit, "{}{}", said.stdout, said.stderr);
        for words in says {
            assert!(flat(said).contains(words), "not said: {words}\n{}", flat(said));
        }
    }

    /// What sudo wants on samsung; no other text holds it.
    const WORD: &str = "Tr0ub4dor-and-3";
    /// Writes down every process that shows the word to others.
    const WATCH: &str = "rm -f /run/seen; systemd-run -q --collect --unit=watch bash -c '\
        while :; do grep -lsFf /root/word /proc/[0-9]*/cmdline /proc/[0-9]*/environ >> /run/seen; \
        sleep 0.05; done'";
    /// At a terminal that types what is in the file when it is asked for a password.
    const AT_TERMINAL: &str = r#"cd "/root/desks/$1"; export XDG_STATE_HOME=$PWD/state
        d=$(mktemp -d); mkfifo "$d/in"
        script -qec "nixdeploy $2" /dev/null < "$d/in" > "$d/out" & pid=$!
        exec 7> "$d/in"
        while kill -0 $pid 2> /dev/null; do
          if [ ! -e "$d/said" ] && grep -q 'sudo password' "$d/out"; then
            touch "$d/said"; { tr -d '\n' < /root/word; printf '\r'; } >&7
          fi
          sleep 0.05
        done
        wait $pid; rc=$?; cat "$d/out"; rm -r "$d"; exit $rc"#;

    /// Samsung, whose sudo wants the word, which both machines keep in a file to look for.
    fn guarded() -> Option<Desk> {
        let desk = Desk::of("samsung")?;
        let _ = desk.good();
        desk.lab().sudo_password("samsung", WORD);
        desk.spoil();
        for host in ["samsung", "deployer"] {
            let keep = format!("umask 077; echo {WORD} > /root/word");
            assert_eq!(desk.lab().exec(host, &["sh", "-c", &keep]).code, 0);
        }
        Some(desk)
    }

    fn on_both(desk: &Desk, script: &str) -> Vec<String> {
        let on = |host| desk.lab().exec(host, &["bash", "-c", script]).stdout.trim().to_owned();
        ["samsung", "deployer"].map(on).to_vec()
    }

    #[test]
    fn a_password_is_asked_for_once_and_is_found_nowhere() {
        let Some(desk) = guarded() else { return };
        desk.knob("lab.slowActivation = 1; lab.apps.greeter = { port = 8081; };");
        let before = desk.state();
        let _ = on_both(&desk, WATCH);
        let args = ["bash", "-c", AT_TERMINAL, "-", "samsung", "quick-deploy samsung -q"];
        let said = desk.lab().exec("deployer", &args);
        end_of(&said, 0, &["sudo password, for samsung", "1 changed"]);
        assert!(desk.run(&["report"]).stdout.contains("sudo with a password"));
        assert_eq!(said.stdout.matches("sudo password").count(), 1, "{}", said.stdout);
        assert_eq!(differences(Then::New, &before, &desk.unguarded()), [""; 0]);
        let seen = "cat /run/seen; grep -rlsFf /root/word /run /tmp /var/log /var/lib/systemd \
            /home /nix/var /root --exclude=word; journalctl -q | grep -cFf /root/word";
        assert_eq!(on_both(&desk, seen), ["0", "0"]);
        // Whoever shows it is seen.
        let show = "W=$(cat /root/word) sleep 20 & until [ -s /run/seen ]; do sleep 0.05; done; \
            kill $!; systemctl stop watch; rm /root/word; echo seen";
        assert_eq!(on_both(&desk, show), ["seen", "seen"]);
    }

    #[test]
    fn a_wrong_password_is_tried_once_and_a_file_gives_the_right_one() {
        let Some(desk) = guarded() else { return };
        let before = desk.state();
        let attempts = "journalctl -q _COMM=sudo | grep -c 'incorrect password attempt'";
        let _ = desk.lab().exec("deployer", &["sh", "-c", "umask 077; echo wrong > /root/wrong"]);
        let wrong = ["quick-deploy", "samsung", "--sudo-password-file", "/root/wrong"];
        end_of(&desk.run(&wrong), 5, &["1 incorrect password attempt", "admin cannot become root"]);
        assert_eq!(desk.exec(attempts), "1");
        assert_eq!(differences(Then::AsBefore, &before, &desk.state()), [""; 0]);
        // Built there, from a derivation that is brought there; and taken back.
        desk.knob("lab.brokenService = true;");
        let built = ["quick-deploy", "samsung", "--build-on", "target"];
        let right = [&built[..], &["--sudo-password-file", "/root/word"]].concat();
        end_of(&desk.run(&right), 6, &["app-broken.service"]);
        let mut wrong = differences(Then::AsBefore, &before, &desk.unguarded());
        wrong.retain(|w| !w.starts_with("root left: built/"));
        assert_eq!(wrong, [""; 0]);
        assert_eq!(desk.exec(attempts), "1");
        assert_eq!(on_both(&desk, "rm -f /root/word /root/wrong; echo gone"), ["gone", "gone"]);
    }

    /// The machine's own flake, hosts.toml and nixdeploy, in /root/own.
    const AT_HOME: &str = r#"cd /root/desks/$1
        tar c flake hosts.toml -C /srv nixpkgs.lib share/nixdeploy | ssh "root@$1" 'rm -rf /root/own
          mkdir -p /root/own && tar x -C /root/own && rm -rf /srv/nixpkgs.lib /root/own/state
          mv /root/own/nixpkgs.lib /srv/ && mv /root/own/share/nixdeploy /usr/local/bin/
          sed -i "s|/root/desks/.*/flake|/root/own/flake|" /root/own/hosts.toml
          git config --global --add safe.directory "*"'"#;
    /// Started at a terminal that the activation ends.
    const IN_TERMINAL: &str = "systemd-run -q --collect --unit=terminal --service-type=exec \
        -E HOME=/root -E XDG_STATE_HOME=/root/own/state --working-directory=/root/own \
        nixdeploy quick-deploy";

    /// Nothing is asked of sshd but to be there: no key opens the machine from itself.
    fn at_home(settings: &str) -> Option<Desk> {
        let desk = Desk::any()?;
        let _ = desk.good();
        desk.knob(settings);
        let said = desk.lab().exec("deployer", &["bash", "-euc", AT_HOME, "-", desk.host()]);
        assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
        let end = "case $1:$2 in stop:test) systemctl stop terminal.service || : ;; esac";
        desk.lab().hook(desk.host(), end);
        Some(desk)
    }

    #[test]
    fn a_machine_deploys_itself_though_its_terminal_dies() {
        let Some(desk) = at_home("lab.apps.greeter = { port = 8081; };") else { return };
        let before = desk.state();
        let _ = desk.exec(&format!("{IN_TERMINAL} {}", desk.host()));
        let limit = Duration::from_secs(90);
        desk.until("the terminal to die", limit, "! systemctl -q is-active terminal.service");
        assert_eq!(differences(Then::New, &before, &desk.until_decided(limit)), [""; 0]);
        let own = "cd /root/own; export XDG_STATE_HOME=$PWD/state HOME=/root; nixdeploy";
        desk.until("the run to end", limit, &format!("{own} report | grep -q 'Exit code: *0'"));
        let report = desk.exec(&format!("{own} report"));
        assert!(report.contains("this machine") && report.contains("to this machine"), "{report}");
        let status = desk.exec(&format!("{own} status"));
        assert!(status.contains("changed"), "{status}");
    }

    #[test]
    fn a_machine_that_breaks_its_own_sshd_is_taken_back() {
        let Some(desk) = at_home("lab.breakSshd = \"off\";") else { return };
        let before = desk.state();
        let _ = desk.exec(&format!("{IN_TERMINAL} {}", desk.host()));
        let limit = Duration::from_secs(90);
        let own = "cd /root/own; export XDG_STATE_HOME=$PWD/state HOME=/root; nixdeploy";
        desk.until("the run to end", limit, &format!("{own} report | grep -q 'Exit code: *6'"));
        assert_eq!(differences(Then::AsBefore, &before, &desk.unguarded()), [""; 0]);
        let report = desk.exec(&format!("{own} report"));
        assert!(report.contains("no new ssh connection over the loopback"), "{report}");
    }
}
