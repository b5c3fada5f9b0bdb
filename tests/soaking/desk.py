"""A desk on the lab's deployer: one machine, a flake, a hosts.toml and a state folder of its own.

Everything here goes through the verbs of tests/lab; what is true of the machine is what
tests/lab/state says of it.
"""
import json
import os
import subprocess
import time

LAB = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lab")

# Budgets that a box at work on much else keeps; a fault that waits for one has its own.
BUDGETS = "soak_s = 1\nactivate_timeout_s = 20\nverify_timeout_s = 20\ncommit_timeout_s = 20\n"

SET_UP = r"""
desk=/root/soak/$1
rm -rf "$desk"; mkdir -p "$desk/state"
git clone -q /root/flake "$desk/flake"
cd "$desk/flake"
git checkout -q "$(git rev-list --max-parents=0 HEAD)"
printf %s "$2" > "$desk/hosts.toml"
"""
# Several deploys build at once, and some are killed: with the daemon none meets another's builds.
KNOB = r"""export NIX_REMOTE=daemon
cd "/root/soak/$1/flake"
printf '{ lib, ... }:\n{\n  %s\n}\n' "$2" > "hosts/$1/knobs.nix"
git add -A; git diff --cached --quiet || git commit -qm 'a change'
printf %s "$3" > ../hosts.toml
nix eval --raw ".#nixosConfigurations.$1.config.system.build.toplevel.outPath"
"""
# A background job of bash ignores SIGINT; our program must not inherit that.
START = r"""export NIX_REMOTE=daemon
cd "/root/soak/$1" || exit
export XDG_STATE_HOME=$PWD/state
pids=$2; shift 2
env --default-signal=INT nixdeploy "$@" &
echo $! > "$pids"
wait $!
"""


class Wrong(Exception):
    """Something is not as it must be."""


class Deploy:
    """Our program at work on the deployer."""

    number = 0

    def __init__(self, desk, args, log):
        Deploy.number += 1
        self.desk, self.log, self.args = desk, log, args
        self.pids = f"/run/soak-{os.getpid()}-{Deploy.number}"
        self.out = open(f"{log}.out", "w+", encoding="utf-8", errors="replace")
        self.err = open(f"{log}.err", "w+", encoding="utf-8", errors="replace")
        words = ["deployer", "bash", "-c", START, "-", desk.host, self.pids, *args]
        self.child = subprocess.Popen(
            [f"{LAB}/exec", *words], stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.err)

    def alive(self):
        return self.child.poll() is None

    def signal(self, name):
        """Sends a signal to our program; says whether it was still there to hear it."""
        for _ in range(100):
            pid = self.desk.on("deployer", f"cat {self.pids} 2>/dev/null", fails=True).strip()
            if pid or not self.alive():
                break
            time.sleep(0.02)
        return bool(pid) and self.desk.ok("deployer", f"kill -{name} {pid}")

    def heard(self):
        self.err.flush()
        with open(self.err.name, encoding="utf-8", errors="replace") as text:
            return text.read()

    def said(self):
        self.out.flush()
        with open(self.out.name, encoding="utf-8", errors="replace") as text:
            return text.read()

    def run_name(self):
        """The name of its run, from its first line."""
        return self.heard().partition(" run=")[2].partition(" ")[0]

    def end(self, limit):
        """Its exit code and what it said of its host; None: it said nothing."""
        try:
            code = self.child.wait(limit)
        except subprocess.TimeoutExpired:
            self.signal("KILL")
            self.child.wait()
            raise Wrong(f"nixdeploy {' '.join(self.args)} did not end within {limit} s") from None
        text, document = self.said(), None
        try:
            while text:  # a resume that goes on has a report of each of its two runs
                document, at = json.JSONDecoder().raw_decode(text)
                text = text[at:].lstrip()
        except ValueError:
            if code != 137:
                raise Wrong(f"nixdeploy ended with {code} and no report: {text[:200]!r}") from None
            return code, None
        if document is None:
            return code, None
        said = [h for h in document["hosts"] if h["host"] == self.desk.host]
        return code, (said[0] if said else None)


class Desk:
    """One machine and a place to deploy it from."""

    def __init__(self, host, folder):
        self.host, self.folder = host, folder

    def verb(self, name, *args):
        ran = subprocess.run([f"{LAB}/{name}", *args], stdin=subprocess.DEVNULL, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
        if ran.returncode != 0:
            raise RuntimeError(f"tests/lab/{name} {args}: {ran.stderr.strip()}")
        return ran.stdout

    def on(self, host, script, *args, fails=False):
        """What a script printed on a machine, through the lab's own door."""
        ran = subprocess.run([f"{LAB}/exec", host, "bash", "-euc", script, "-", *args],
                             stdin=subprocess.DEVNULL, text=True, timeout=120,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if ran.returncode != 0 and not fails:
            raise RuntimeError(f"on {host}: {script}: {ran.stderr.strip()}")
        return ran.stdout

    def ok(self, host, script):
        ran = subprocess.run([f"{LAB}/exec", host, "bash", "-c", script],
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, timeout=120)
        return ran.returncode == 0

    def here(self, script):
        return self.ok(self.host, script)

    def inventory(self, more):
        user = "admin" if self.host == "samsung" else "root"
        return (f'[defaults]\nflake = "/root/soak/{self.host}/flake"\n{BUDGETS}\n'
                f'[hosts.{self.host}]\nuser = "{user}"\n{more.replace("HOST", self.host)}\n')

    def set_up(self):
        self.on("deployer", SET_UP, self.host, self.inventory(""))

    def configure(self, settings, more):
        """Writes what the machine is to be from now on; the store path of that system."""
        return self.on("deployer", KNOB, self.host, settings, self.inventory(more)).strip()

    def start(self, args, log):
        return Deploy(self, args, os.path.join(self.folder, log))

    def state(self):
        """What is true of the machine, as tests/lab/state reads it."""
        lines = self.verb("state", self.host).splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def settled(self, limit):
        """The state when the machine is on and no guard is at work any more."""
        end = time.monotonic() + limit
        while True:
            state = self.state()
            if state["power"] == "on" and state["guard"] in ("absent", "inactive"):
                return state
            if time.monotonic() > end:
                raise Wrong(f"after {limit} s the guard is still {state['guard']}, "
                            f"power {state['power']}")
            time.sleep(0.1)

    def decided_at(self):
        """When the guard had its last word, as seconds since the epoch."""
        found = self.on(self.host, "find /run/nixdeploy/current/outcome -printf %T@",
                        fails=True).strip()
        return float(found) if found else None
