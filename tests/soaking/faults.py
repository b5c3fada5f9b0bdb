"""What goes wrong: configurations that are bad, and faults at a moment of a deploy.

Each says what may become of the machine, never how nixdeploy gets there.
"""
import time
from dataclasses import dataclass

CURRENT = "cd /run/nixdeploy/current 2>/dev/null && "
# Moment of a deploy: how the machine shows it, and what makes it last.
MOMENTS = {
    "hold": (CURRENT + '[ "$(cat phase)" = hold ]', "lab.slowBuild = 1; "),
    "copy": (None, 'lab.closureMiB = 6; '),
    "activating": (CURRENT + "[ -e started ] && [ ! -e act ]", "lab.slowActivation = 1; "),
    "observing": (CURRENT + "[ -e observing ] && [ ! -L decision ]", ""),
    "committing": (CURRENT + "[ -e step ] && [ ! -e committed ] && [ ! -e outcome ]",
                   "lab.bootloaderSlow = 1; lab.bootloaderLate = 1; "),
    "reverting": (CURRENT + '[ "$(cat phase)" = reverting ] && [ ! -e outcome ]', ""),
    "undo": (CURRENT + '[ "$(cat phase)" = undo ] && [ ! -e outcome ]', ""),
}
# The way back is slow on its way, so that a fault can meet it there.
SLOW_BACK = ('case $1:$2 in start:test) '
             '[ ! -L /run/nixdeploy/current/decision ] || sleep 1 ;; '
             'boot-write:boot) [ "$(cat /run/nixdeploy/current/step)" != undo ] || sleep 1 ;; esac')


@dataclass
class Knob:
    """A configuration; `outcomes` of a deploy that nothing else disturbs."""
    name: str
    nix: str
    outcomes: tuple
    hosts: str = ""
    good: bool = False
    undone: bool = False  # its commit is begun, and taken back
    app: str = ""         # in the configuration of the service that every round changes


GOOD = [
    Knob("plain", "", ("committed",), good=True),
    Knob("kernel", 'lab.kernelSeed = "ROUND";', ("committed",), good=True),
    Knob("slow service", "lab.slowService = 1;", ("committed",), good=True),
    Knob("paths", 'lab.closurePaths = 20; lab.closureSeed = "ROUND";', ("committed",), good=True),
    Knob("healthy", "", ("committed",), good=True,
         hosts='[[hosts.HOST.health]]\ncommand = "grep -q round /etc/soak.conf"'),
]
BACK = ("rolled_back",)
BAD = [
    Knob("broken service", "lab.brokenService = true;", BACK),
    Knob("late failure", "lab.lateFailure = 1;", BACK, hosts="soak_s = 2"),
    Knob("crash loop", "lab.crashLoop = true;", BACK),
    Knob("quiet crash loop", "lab.quietCrashLoop = true;", BACK, hosts="soak_s = 3"),
    Knob("failing activation", "lab.failActivation = true;", BACK),
    Knob("hanging activation", "lab.hangingActivation = true;", BACK,
         hosts="activate_timeout_s = 3"),
    Knob("full disk", "lab.fillDisk = true;", BACK),
    Knob("sshd config", 'lab.breakSshd = "config";', BACK),
    Knob("sshd port", 'lab.breakSshd = "port";', BACK),
    Knob("sshd off", 'lab.breakSshd = "off";', BACK),
    Knob("network down", 'lab.dropNetwork = "down";', BACK),
    Knob("firewall", 'lab.dropNetwork = "firewall";', BACK),
    Knob("dns", "lab.breakDns = true;", BACK),
    Knob("route", "lab.dropRoute = true;", BACK),
    Knob("boot loader fails", "lab.bootloaderFails = true;", BACK, undone=True),
    Knob("boot loader hangs", "lab.bootloaderHangs = 1000;", BACK, undone=True,
         hosts="commit_timeout_s = 3"),
    Knob("sick", "", BACK, app="SICK",
         hosts='[[hosts.HOST.health]]\ncommand = "! grep -q SICK /etc/soak.conf"'),
    Knob("check refuses", "lab.preSwitchFails = true;", ("refused",)),
    Knob("build error", "lab.buildError = true;", ("not_built",)),
]


@dataclass
class Fault:
    """Something that happens at a moment of a deploy."""
    name: str
    moments: tuple
    act: object                    # act(run): does it, and all that ends it before the run's end
    after: object = None           # after(run): once the run is over
    must: tuple = ()               # a good configuration ends so, whatever the timing
    also: tuple = ()               # words that only this fault excuses
    codes: tuple = ()              # exit codes that only this fault excuses
    power: bool = False            # the machine has booted meanwhile
    waits: bool = False            # for a deadline, which is then near
    hurts: tuple = ()              # units that are hurt for good, if it came after the checks
    outcomes: tuple = ("committed", "rolled_back", "refused", "interrupted")


def send(*signals):
    def act(run):
        heard = []
        for name, pause in signals:
            heard.append(run.deploy.signal(name))
            time.sleep(pause)
        run.reached = any(heard)
    return act


def shell(script):
    return lambda run: run.desk.here(script)


def cut(seconds):
    """The cable out: for so long, or (None) until the machine has decided by itself."""
    def act(run):
        run.desk.verb("cut", run.desk.host)
        if seconds is None:
            decided(run)
        else:
            time.sleep(seconds)
        run.desk.verb("heal", run.desk.host)
    return act


def decided(run, limit=40):
    """Waits until the guard has had its last word, or there is none."""
    end = time.monotonic() + limit
    over = "[ -e /run/nixdeploy/current/outcome ] || " \
        "! systemctl is-active -q nixdeploy-guard.service"
    while time.monotonic() < end and not run.desk.here(over):
        time.sleep(0.1)


def asleep(run):
    """The deployer sleeps through the deadline."""
    run.reached = run.deploy.signal("STOP")
    decided(run)
    run.deploy.signal("CONT")


def power_loss(run):
    run.desk.verb("kill", run.desk.host)
    run.desk.verb("boot", run.desk.host)


def reboot(run):
    was = run.desk.on(run.desk.host, "cat /proc/sys/kernel/random/boot_id", fails=True)
    run.desk.here("systemctl reboot")
    end = time.monotonic() + 60
    while time.monotonic() < end:
        time.sleep(0.2)
        now = run.desk.on(run.desk.host, "cat /proc/sys/kernel/random/boot_id", fails=True)
        if now and now != was and run.desk.here("systemctl is-active -q sshd"):
            return


def second(run):
    """Another operator, at once: one wins, the other is told so."""
    run.other = run.desk.start(["quick-deploy", "--json", run.desk.host], f"{run.log}.second")


def full(run):
    run.desk.here("fallocate -l $(($(df --output=avail -k /nix | tail -n 1) - 200))K /var/full")


KILL = "systemctl kill -s KILL "
EVERY = tuple(MOMENTS)
AFTER_GO = ("activating", "observing", "committing", "reverting", "undo")
TRIAL = ("activating", "observing")
STAYS = ("committed",)

FAULTS = [
    Fault("deployer killed", EVERY, send(("KILL", 0)), codes=(137,), waits=True),
    Fault("Ctrl-C", EVERY, send(("INT", 0)), codes=(130,)),
    Fault("SIGTERM", EVERY, send(("TERM", 0)), codes=(130,)),
    Fault("hangup", TRIAL, send(("HUP", 0)), codes=(130,)),
    Fault("Ctrl-C twice", AFTER_GO, send(("INT", 0.4), ("INT", 0)), codes=(8, 130),
          also=("unknown",), waits=True),
    Fault("deployer asleep", AFTER_GO, asleep, waits=True),
    Fault("cable out for 2 s", EVERY, cut(2)),
    Fault("cable out", AFTER_GO, cut(None), waits=True),
    Fault("power loss", EVERY, power_loss, power=True),
    Fault("reboot", EVERY, reboot, power=True),
    Fault("guard killed", AFTER_GO, shell(KILL + "nixdeploy-guard")),
    Fault("guard stopped", AFTER_GO, shell("systemctl stop nixdeploy-guard")),
    Fault("guard stopped", ("hold",), shell("systemctl stop nixdeploy-guard"),
          outcomes=("refused", "rolled_back")),
    Fault("activation killed", ("activating",), shell(KILL + "'nixdeploy-act-*'")),
    Fault("commit killed", ("committing",), shell(KILL + "'nixdeploy-commit-*'")),
    Fault("sshd stopped", TRIAL, shell("systemctl stop sshd"), hurts=("sshd.service",)),
    Fault("sessions killed", EVERY,
          shell("pkill -KILL -f '^sshd-session: ' || pkill -KILL -f '^sshd: '")),
    Fault("second operator", EVERY, second, must=STAYS),
    Fault("garbage collection", EVERY, shell("nix-store --gc"), must=STAYS),
    Fault("reload loop", TRIAL, shell("for i in 1 2 3 4 5 6; do systemctl daemon-reload; done"),
          must=STAYS),
    Fault("disk full", AFTER_GO, full, after=shell("rm -f /var/full")),
    Fault("service killed", ("observing",), shell(KILL + "soak"), hurts=("soak.service",)),
]


@dataclass
class Plan:
    """One round, as the seed has it."""
    knob: Knob
    fault: Fault
    moment: str
    delay: float
    afterwards: str

    def __str__(self):
        what = self.knob.name
        if self.fault:
            what += f", {self.fault.name} ({self.moment} + {self.delay:.2f} s)"
        return what

    def hosts(self):
        """Lines of the machine's table in hosts.toml."""
        mine = [self.knob.hosts]
        if self.fault and self.fault.waits:
            near = ("activate_timeout_s = 6", "verify_timeout_s = 4", "commit_timeout_s = 6")
            mine = [line for line in near if line.split()[0] not in self.knob.hosts] + mine
        return "\n".join(mine)

    def settings(self, number):
        """The machine's configuration: unlike that of any other round."""
        nix = self.knob.nix
        if self.fault:
            nix = MOMENTS[self.moment][1] + nix
        app = f'lab.apps.soak = {{ port = 8099; config = "round {number} {self.knob.app}"; }};'
        if "closureSeed" not in nix:
            app += f' lab.closureSeed = "{number}";'
        return f"{app} {nix}".replace("ROUND", str(number))


def plan(dice):
    """Rolls the dice for one round."""
    kind = dice.choices(["good", "bad", "good+fault", "bad+fault"], [1, 3, 6, 3])[0]
    fault = dice.choice(FAULTS) if "fault" in kind else None
    moment = dice.choice(fault.moments) if fault else ""
    if moment == "undo":
        knob = dice.choice([k for k in BAD if k.undone])
    elif moment == "reverting":
        knob = dice.choice([k for k in BAD if k.outcomes == BACK and not k.undone])
    elif kind.startswith("good") or moment in ("committing",):
        knob = dice.choice(GOOD)
    else:
        knob = dice.choice(BAD)
    delay = dice.choice([0, 0, dice.random() * 1.5])
    afterwards = dice.choice(["resume", "abort", "status", "deploy"])
    return Plan(knob, fault, moment, delay, afterwards)
