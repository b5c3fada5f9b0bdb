//! A desk on the deployer: one machine of the lab, ours alone, with a flake, a hosts.toml and a
//! state folder of its own, so that several tests deploy at once and none sees another's.
//!
//! ```text
//! let Some(desk) = Desk::any() else { return };
//! let before = desk.good();
//! desk.knob("lab.brokenService = true;");
//! assert_eq!(desk.run(&["quick-deploy", desk.host()]).code, 6);
//! ```

use std::time::Duration;

use super::machines::{Held, Lab, Running, Said, State};
use super::wait_until;

/// Short budgets: a test waits for most of them.
pub(crate) const OWN_DEFAULTS: &str = "soak_s = 1\nactivate_timeout_s = 20\nverify_timeout_s = 20\n\
    commit_timeout_s = 20\n";
/// Every step of this is quick; a machine that takes longer is lost.
const QUICK: Duration = Duration::from_secs(90);

/// Ends every ssh session of the machine, as a network does that drops its connections.
pub(crate) const DROP_SESSIONS: &str =
    "pkill -KILL -f '^sshd-session: ' || pkill -KILL -f '^sshd: '";

/// Makes the desk, or clears it: the flake as it was, no knob.
const SET_UP: &str = r#"
    desk=/root/desks/$1; cd /root
    if [ ! -d "$desk/flake" ]; then
      mkdir -p "$desk/state"; rm -rf "$desk/new"
      exec 9> /run/desks; flock 9; git clone -q flake "$desk/new"; 
      git -C "$desk/new" tag fleet "$(git -C "$desk/new" rev-list --max-parents=0 HEAD)"
      mv "$desk/new" "$desk/flake"
    fi
    for full in state cache; do umount -l "$desk/$full" 2> /dev/null || :; done
    rm -rf "$desk/bin" "$desk/nth" "$desk/cache"
    cd "$desk/flake"; git reset -q --hard fleet; git clean -qfd"#;
/// Takes away what tests left on the machine itself.
const CLEAR: &str = "rm -f /etc/lab/hook /etc/lab/once /etc/lab/refuse /etc/lab/tailscale \
    /var/full /var/brim /boot/full; \
    systemctl reset-failed; true";

/// `ssh` on the way of every command: the script that carries the guard to a machine is changed
/// in passing, by exact replacement; everything else goes through as it is.
const CHANGING_SSH: &str = r#"#!/usr/bin/perl
use strict; use warnings;
my $ssh = "/usr/bin/ssh";
exec $ssh, @ARGV unless $ARGV[-1] =~ /\bsh -s -- /;
my $pid = open(my $to, "|-", $ssh, @ARGV) or die "no ssh";
$SIG{$_} = sub { kill "TERM", $pid; exit 143 } for qw(INT TERM HUP);
my $folder = $0 =~ s{/[^/]*$}{}r;
my ($text, $first) = ("", 1);
while (sysread(STDIN, my $some, 65536)) {
  if ($first && $some !~ /\Awrite_guard/) { undef $text }
  $first = 0;
  if (defined $text) { $text .= $some } else { syswrite($to, $some) }
  pass_on() if defined $text && $text =~ /^main "\$\@"; exit\n\z/m;
}
pass_on() if defined $text;
close $to;
exit($? & 127 ? 255 : $? >> 8);
sub pass_on {
  for my $from (sort glob "$folder/from.*") {
    my $into = $from =~ s/from\.(\d+)$/into.$1/r;
    my ($was, $is) = map { local (@ARGV, $/) = $_; <> } $from, $into;
    my $found = () = $text =~ /\Q$was\E/g;
    unless ($found == 1) {
      print STDERR "the guard has $found times: $was\n"; kill "KILL", $pid; exit 99
    }
    $text =~ s/\Q$was\E/$is/;
  }
  syswrite($to, $text);
  undef $text;
}
"#;

/// A machine and a place to deploy it from.
pub(crate) struct Desk {
    lab: Held,
    host: String,
}

impl Desk {
    /// Waits for a free machine whose deploy user is root; `None`: there is no lab.
    pub(crate) fn any() -> Option<Self> {
        let lab = Lab::from_env()?;
        let hosts = lab.hosts();
        let free = || {
            let hosts = hosts.iter().filter(|h| *h != "samsung");
            hosts.into_iter().find_map(|h| Some((lab.try_hold(h)?, h.clone())))
        };
        let (lab, host) = wait_until("a free machine", Duration::from_secs(1800), free);
        Some(Self { lab, host })
    }

    /// Waits for this machine.
    pub(crate) fn of(host: &str) -> Option<Self> {
        let lab = Lab::from_env()?;
        Some(Self { lab: lab.hold(&[host]), host: host.to_owned() })
    }

    /// The machine's name.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The lab, for its verbs.
    pub(crate) fn lab(&self) -> &Lab {
        &self.lab
    }

    /// The machine in its plain configuration, committed, healthy, nothing held; its state.
    pub(crate) fn good(&self) -> State {
        self.usable_again();
        if self.quick_deploy().code != 0 {
            self.factory();
            self.committed("");
        }
        let state = self.unguarded();
        assert!(sound(&state), "no good state: {state:?}");
        state
    }

    /// The machine as it is, unless a test left it in a state that is of no use.
    pub(crate) fn usable_again(&self) {
        self.clear();
        if !self.usable() {
            self.factory();
        }
    }

    fn quick_deploy(&self) -> Said {
        self.run(&["quick-deploy", &self.host])
    }

    /// Back to the factory's disk.
    pub(crate) fn factory(&self) {
        self.lab.reset(&self.host);
        let _ = std::fs::remove_file(self.spoilt());
    }

    fn clear(&self) {
        let _ = self.deployer(SET_UP, &[&self.host]);
        self.inventory("soak_s = 0");
    }

    fn usable(&self) -> bool {
        let cut = self.lab.file(&format!("m/{}/cut", self.host)).exists();
        if self.spoilt().exists()
            || cut
            || self.lab.exec(&self.host, &["sh", "-c", CLEAR]).code != 0
        {
            return false;
        }
        sound(&self.state())
    }

    /// The next test gets a machine from the factory.
    pub(crate) fn spoil(&self) {
        std::fs::write(self.spoilt(), "").expect("a mark");
    }

    fn spoilt(&self) -> std::path::PathBuf {
        self.lab.file(&format!("test-{}.spoilt", self.host))
    }

    /// What is true of the machine, read by the lab.
    pub(crate) fn state(&self) -> State {
        self.lab.state(&self.host)
    }

    /// Writes hosts.toml: short budgets, this host, and more lines of its table.
    pub(crate) fn inventory(&self, lines: &str) {
        let user = if self.host == "samsung" { "admin" } else { "root" };
        let host = &self.host;
        let lines = lines.replace("HOST", host);
        let text = format!(
            "[defaults]\nflake = \"/root/desks/{host}/flake\"\n{OWN_DEFAULTS}\n\
             [hosts.{host}]\nuser = \"{user}\"\n{lines}\n"
        );
        let _ = self.deployer(r#"printf %s "$2" > "/root/desks/$1/hosts.toml""#, &[host, &text]);
    }

    /// From now on the guard that is sent from this desk differs: each first text is there once,
    /// and becomes the second.
    pub(crate) fn change_guard(&self, changes: &[(&str, &str)]) {
        let put = r#"mkdir -p "/root/desks/$1/bin"; printf %s "$3" > "/root/desks/$1/bin/$2"
            chmod +x "/root/desks/$1/bin/$2""#;
        let _ = self.deployer(put, &[&self.host, "ssh", CHANGING_SSH]);
        for (n, (from, into)) in changes.iter().enumerate() {
            let _ = self.deployer(put, &[&self.host, &format!("from.{n}"), from]);
            let _ = self.deployer(put, &[&self.host, &format!("into.{n}"), into]);
        }
    }

    /// What is wrong with the machine's configuration from now on, committed; empty: nothing.
    pub(crate) fn knob(&self, settings: &str) {
        let text = match settings {
            "" => String::new(),
            settings => format!("{{ lib, ... }}:\n{{\n  {settings}\n}}\n"),
        };
        self.write(&format!("hosts/{}/knobs.nix", self.host), &text);
    }

    /// Deploys a configuration that the faulty one differs from.
    pub(crate) fn committed(&self, knob: &str) {
        self.knob(knob);
        let said = self.quick_deploy();
        assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    }

    /// A file of the flake, committed; empty: none.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let script = r#"
            cd "/root/desks/$1/flake"; mkdir -p "$(dirname "$2")"; printf %s "$3" > "$2"
            [ -s "$2" ] || rm "$2"
            git add -A; git diff --cached --quiet || git commit -qm "a change""#;
        let _ = self.deployer(script, &[&self.host, path, text]);
    }

    /// A command on the deployer that has to succeed.
    pub(crate) fn deployer(&self, script: &str, args: &[&str]) -> Said {
        let said = self.lab.exec("deployer", &[&["bash", "-euc", script, "-"], args].concat());
        assert_eq!(said.code, 0, "{script}\n{}{}", said.stdout, said.stderr);
        said
    }

    /// A command on the machine that has to succeed, through the lab's own door; what it printed.
    pub(crate) fn exec(&self, script: &str) -> String {
        let said = self.lab.exec(&self.host, &["bash", "-c", script]);
        assert_eq!(said.code, 0, "{script}\n{}{}", said.stdout, said.stderr);
        said.stdout.trim().to_owned()
    }

    /// Runs our program on the deployer, at this desk, to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        self.start(args).end()
    }

    /// Starts our program on the deployer, at this desk.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        self.lab.start(&format!("/root/desks/{}", self.host), args)
    }

    /// Runs our program at a terminal of 80 by 24, where the answer is typed once the question is
    /// there: what was typed before answers nothing.
    pub(crate) fn at_terminal(&self, typed: &str, words: &str) -> Said {
        let script = r#"cd /root/desks/$1; d=$(mktemp -d); mkfifo "$d/in"
            export XDG_STATE_HOME=$PWD/state
            script -qec "stty cols 80 rows 24; nixdeploy $3" /dev/null < "$d/in" > "$d/out" & pid=$!
            exec 7> "$d/in"; printf 'y\r' >&7
            while kill -0 $pid 2> /dev/null; do
              if [ ! -e "$d/said" ] && grep -q 'Y/n' "$d/out"; then
                touch "$d/said"; printf '%s\r' "$2" >&7
              fi
              sleep 0.05
            done
            wait $pid; rc=$?; cat "$d/out"; exit $rc"#;
        self.lab.exec("deployer", &["bash", "-c", script, "-", &self.host, typed, words])
    }

    /// Keeps the boot loader's installation busy at a phase until it is let go.
    pub(crate) fn hold_boot_loader(&self, phase: &str) {
        let script = format!(
            "case $1:$2 in {phase}:boot) if [ ! -e /etc/lab/once ]; then touch /etc/lab/once; \
             while [ -e /etc/lab/once ]; do sleep 0.1; done; fi ;; esac"
        );
        self.lab.hook(&self.host, &script);
    }

    /// Once the boot loader's installation is held, does something, and lets that go on.
    pub(crate) fn in_the_commit(&self, what: &str) {
        self.until("the boot loader's installation", QUICK, "[ -e /etc/lab/once ]");
        let _ = self.exec(&format!("{what}; rm -f /etc/lab/hook /etc/lab/once"));
    }

    /// Waits until a command on the machine succeeds.
    pub(crate) fn until(&self, what: &str, limit: Duration, script: &str) {
        wait_until(what, limit, || {
            Some(()).filter(|()| self.lab.exec(&self.host, &["bash", "-c", script]).code == 0)
        });
    }

    /// Waits until the activation runs.
    pub(crate) fn until_activating(&self) {
        let script =
            "cd /run/nixdeploy/current && [ -e started ] && [ ! -e act ] && [ ! -e outcome ]";
        self.until("the activation to run", QUICK, script);
    }

    /// Waits until the activation is over and its outcome open.
    pub(crate) fn until_observing(&self) {
        let script = "cd /run/nixdeploy/current && [ -e observing ] && [ ! -e outcome ]";
        self.until("the activation to be over", QUICK, script);
    }

    /// Waits until the guard has had its last word and is gone; the state then.
    pub(crate) fn until_decided(&self, limit: Duration) -> State {
        self.until("the guard's outcome", limit, "[ -e /run/nixdeploy/current/outcome ]");
        self.unguarded()
    }

    /// Waits until no guard is left; the state then.
    pub(crate) fn unguarded(&self) -> State {
        self.lab.wait_for(&self.host, "the guard to be gone", QUICK, |state| {
            matches!(state.get("guard"), "absent" | "inactive")
        })
    }

    /// Power loss, and power on again.
    pub(crate) fn reboot(&self) {
        self.lab.kill(&self.host);
        self.lab.boot(&self.host);
    }
}

impl Desk {
    /// What the machine is like and what its console said last, beside what a test failed with.
    #[expect(clippy::print_stderr, reason = "libtest keeps it with the test's other words")]
    fn tell(&self) {
        let console = self.lab.file(&format!("m/{}/console.log", self.host));
        let text = std::fs::read(console).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let last: Vec<&str> = text.lines().rev().take(40).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        let state = self.lab.told_state(&self.host);
        // Who does not die, where a machine does not go down.
        let mut all = super::program("ps");
        let all = all.args(["axo", "pid,ppid,stat,wchan:24,etime,args"]).output();
        let all = all.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
        let stuck = |line: &&str| {
            line.split_whitespace().nth(2).is_some_and(|s| s.starts_with(['Z', 'D', 'T']))
                || line.contains(&format!("--machine={}", self.host))
                || line.contains("systemd-shutdown")
        };
        let stuck: Vec<&str> = all.lines().filter(stuck).take(20).collect();
        let (last, stuck) = (last.join("\n"), stuck.join("\n"));
        eprintln!("--- {}: {state}\n{last}\n---\n{stuck}\n---", self.host);
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = std::fs::write(self.spoilt(), "");
            self.tell();
        }
    }
}

/// On, healthy, and all pointers the same generation.
fn sound(state: &State) -> bool {
    state.get("power") == "on"
        && state.get("units_failed").is_empty()
        && state.is_all(state.get("running"))
        && matches!(state.get("guard"), "absent" | "inactive")
}
