#!/usr/bin/env python3
"""The benchmarks: what is compared, how often, against which bound. Started by tests/bench/run.

Both commands of a comparison run in the same loop, in turn, and change places every round. A bound that is
missed is printed as MISSED and changes no exit code: figures of a shared box are a report, not a test.
"""
import json
import os
import random
import re
import subprocess
import sys
import time

LAB = os.environ.get("BENCH_LAB", "")
LAB_DIR = os.environ.get("LAB_DIR", "")
N = int(os.environ.get("BENCH_N", "15"))
FLAKE = "/root/flake"
HOST = "p620"
ATTR = f".#nixosConfigurations.{HOST}.config.system.build.toplevel"
FILES = 494  # what the first user's tree has, 1.6 MB in all
BYTES = 1_630_000
CACHE = "/root/.cache/nixdeploy"
TOTAL = {"met": 0, "MISSED": 0}

PIPELINE = [["nix", "build", "--no-link", ATTR], ["ssh", HOST, "readlink", "/run/current-system"]]
QUICK = [["nixdeploy", "quick-deploy", HOST]]
# out path from the build, as a script would have it; three programs, one of them the shell
FLOOR = [["bash", "-euc", f"""
top=$(nix build --no-link --print-out-paths {ATTR})
nix copy --no-check-sigs --to ssh-ng://root@{HOST} "$top"
ssh root@{HOST} "nix-env -p /nix/var/nix/profiles/system --set $top && $top/bin/switch-to-configuration switch"
"""]]


# the lab ---------------------------------------------------------------------------------------

class Deployer:
    """The agent on the deployer."""

    def __init__(self):
        command = [f"{LAB}/exec", "deployer", "python3", "/srv/share/agent.py"]
        self.agent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def time(self, steps, **more):
        self.agent.stdin.write(json.dumps({"steps": steps, "cwd": FLAKE, **more}) + "\n")
        self.agent.stdin.flush()
        answer = json.loads(self.agent.stdout.readline())
        if answer["code"]:
            raise SystemExit(f"bench: {words(steps)} ended with {answer['code']}:\n{answer['said']}")
        return answer

    def shell(self, script):
        return self.time([["bash", "-euc", script]])["said"]


def verb(*words):
    subprocess.run([f"{LAB}/{words[0]}", *words[1:]], check=True)


def filler(size, seed):
    """A module as people write them: options, settings, comments; never imported, always read."""
    rand = random.Random(seed)
    lines = ["# settings of one service", "{ config, lib, pkgs, ... }:", "let", f"  cfg = config.services.demo{seed};", "in", "{"]
    length = sum(len(line) + 1 for line in lines) + 2
    while length < size:
        name = "".join(rand.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rand.randint(4, 12)))
        line = rand.choice([
            f'  environment.etc."{name}".text = "{name} = {rand.randint(1, 9999)}";',
            f"  services.{name} = {{ enable = lib.mkDefault true; port = {rand.randint(1024, 65535)}; }};",
            f"  # {name} is wanted since the last upgrade",
            f"  systemd.services.{name}.serviceConfig = {{ Restart = \"on-failure\"; MemoryMax = \"{rand.randint(64, 999)}M\"; }};",
        ])
        lines.append(line)
        length += len(line) + 1
    return "\n".join([*lines, "}"]) + "\n"


def prepare(deployer):
    """The lab's flake in a repository of the first user's size; the host once deployed by us."""
    deployer.shell("[ -d minilib ] || cp -rL /srv/nixpkgs.lib minilib")
    input_within(deployer, True)
    have = int(deployer.shell("git ls-files -- '*.nix' | wc -l"))
    wanted = FILES - have
    rand = random.Random(494)
    sizes = [rand.lognormvariate(7.6, 0.9) for _ in range(max(wanted, 0))]
    scale = BYTES / max(sum(sizes), 1)
    share = f"{LAB_DIR}/share/filler"
    for n, size in enumerate(sizes):
        folder = f"{share}/group{n % 23:02d}"
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/module{n:03d}.nix", "w") as file:
            file.write(filler(size * scale, n))
    if sizes:
        deployer.shell("cp -r /srv/share/filler modules/filler && git add -A && git commit -qm 'a tree of the usual size'")
    deployer.shell("""
sed -i 's/^soak_s = .*/soak_s = 0/' hosts.toml
git add -A; git diff --cached --quiet || git commit -qm 'soak apart'""")
    deployer.shell(f"nixdeploy quick-deploy {HOST}")


def drop_master(deployer):
    deployer.shell(f'for s in {CACHE}/ssh/*; do [ ! -S "$s" ] || ssh -S "$s" -O exit x 2>/dev/null || true; done')


def input_within(deployer, within):
    """The library in the tree, as a locked input would be; or a folder beside it, as in the lab.
    An evaluation with such an input is never remembered, so it shows the plain path."""
    url = "path:./minilib" if within else "path:/srv/nixpkgs.lib"
    deployer.shell(f"""
sed -i 's|nixpkgs.url = .*|nixpkgs.url = "{url}";|' flake.nix
git add -A; nix flake lock; git add -A
git diff --cached --quiet || git commit -qm 'input {url}'""")


def few_generations():
    """The boot loader's install writes an entry for each: a hundred deploys must not slow the last."""
    profile = "/nix/var/nix/profiles/system"
    subprocess.run([f"{LAB}/exec", HOST, "nix-env", "-p", profile, "--delete-generations", "+3"],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Changes:
    """Another harmless setting each time: one unit's text, so its evaluation, build and copy are real."""

    def __init__(self):
        self.n = int(time.time())

    def next(self, deployer):
        self.n += 1
        text = f'{{ ... }}: {{ lab.apps.bench = {{ port = 9100; config = "{self.n}"; }}; }}'
        deployer.shell(f"echo '{text}' > hosts/{HOST}/knobs.nix; git add -A; git commit -qm 'change {self.n}'")


# figures ---------------------------------------------------------------------------------------

def quartiles(values):
    values = sorted(values)

    def at(part):
        place = part * (len(values) - 1)
        low = int(place)
        high = min(low + 1, len(values) - 1)
        return values[low] + (values[high] - values[low]) * (place - low)

    return at(0.5), at(0.25), at(0.75), values[0], values[-1]


def shown(values, unit="ms", factor=1000):
    mid, low, high, least, most = (v * factor for v in quartiles(values))
    return f"{mid:8.1f} {unit}  quartiles {low:.1f}..{high:.1f}  range {least:.1f}..{most:.1f}"


def verdict(ok):
    TOTAL["met" if ok else "MISSED"] += 1
    return "met" if ok else "MISSED"


def words(steps):
    text = " ; ".join(" ".join(step) if step[0] != "bash" else step[-1].strip().replace("\n", " && ") for step in steps)
    text = re.sub(r"\s+", " ", text)
    return text if len(text) < 600 else f"{text[:280]} ... {text[-280:]}"


def compare(deployer, title, ours, theirs, before, n=N):
    """ABBA...: both in the same minute, none always first. `before` prepares each run, untimed."""
    times = {"ours": [], "theirs": []}
    for turn in range(n):
        order = ["ours", "theirs"] if turn % 2 == 0 else ["theirs", "ours"]
        for who in order:
            before(who)
            times[who].append(deployer.time(ours if who == "ours" else theirs)["took"])
    print(f"\n{title}   n={n}, load {load()}")
    print(f"  ours    {words(ours)}\n          {shown(times['ours'])}")
    print(f"  theirs  {words(theirs)}\n          {shown(times['theirs'])}", flush=True)
    return quartiles(times["ours"])[0], quartiles(times["theirs"])[0]


def load():
    with open("/proc/loadavg") as file:
        return " ".join(file.read().split()[:2])


# benchmarks ------------------------------------------------------------------------------------

def dirty(deployer, on):
    script = "echo '# edited' >> modules/filler/group00/module000.nix" if on else "git checkout -q -- modules/filler"
    deployer.shell(script)
    for steps in (PIPELINE, QUICK):
        deployer.time(steps)


def unchanged(deployer, live, tree, plain):
    input_within(deployer, not plain)
    dirty(deployer, tree == "dirty")

    def before(who):
        if who == "ours" and not live:
            drop_master(deployer)

    if live:
        deployer.time(QUICK)
    path = "plain path" if plain else "fingerprint"
    link = "master live" if live else "no master"
    ours, theirs = compare(deployer, f"nothing to do, {tree} tree, {link}, {path}", QUICK, PIPELINE, before)
    dirty(deployer, False)
    input_within(deployer, True)
    if live:
        least = 4 if plain else 7
        ratio = theirs / ours
        print(f"  {ratio:.2f} times faster; bound at least {least}: {verdict(ratio >= least)}")
    else:
        print(f"  {ours / theirs:.2f} times the pipeline; bound at most 1.05: {verdict(ours / theirs <= 1.05)}")


def nothing_live(deployer):
    for tree in ("clean", "dirty"):
        for plain in (True, False):
            unchanged(deployer, True, tree, plain)


def nothing_alone(deployer):
    for plain in (True, False):
        unchanged(deployer, False, "clean", plain)


def changed(deployer, live):
    changes = Changes()

    def before(who):
        few_generations()
        changes.next(deployer)
        if who == "ours" and not live:
            drop_master(deployer)

    link = "master live" if live else "no master"
    medians = {}
    for delay in (0, 20):
        verb("latency", str(delay))
        drop_master(deployer)
        changes.next(deployer)
        deployer.time(QUICK)
        title = f"small change, soak 0, {link}, {delay * 2} ms round trip"
        ours, theirs = compare(deployer, title, QUICK, FLOOR, before, max(N * 2 // 3, 5))
        medians[delay] = (ours, theirs)
        ratio = ours / theirs
        print(f"  {ratio:.2f} times the floor; bound at most 1.15: {verdict(ratio <= 1.15)}", flush=True)
    verb("latency", "0")
    drop_master(deployer)
    trips = [(medians[20][i] - medians[0][i]) / 0.040 for i in (0, 1)]
    most = 25 if live else 33
    print(f"  serial round trips: ours {trips[0]:.1f}, floor {trips[1]:.1f}; bound at most {most}: {verdict(trips[0] <= most)}")


def change_live(deployer):
    changed(deployer, True)


def change_alone(deployer):
    changed(deployer, False)


def executed(log):
    """The lines of strace for each execve that succeeded; one that was overtaken stands on two lines."""
    started, begun = [], {}
    with open(log) as file:
        for line in file:
            pid, _, rest = line.partition(" ")
            if "execve(" in rest and "<unfinished" in rest:
                begun[pid] = rest
            elif rest.rstrip().endswith("= 0") and ("execve(" in rest or "execve resumed" in rest):
                started.append(rest if "execve(" in rest else begun.pop(pid, ""))
    return started


def programs(deployer):
    """What the deployer starts: every execve that succeeded, from our own on."""
    changes = Changes()
    for live in (True, False):
        changes.next(deployer)
        deployer.time(QUICK)
        changes.next(deployer)
        # built before, for what a builder starts is not ours
        deployer.time([["nix", "build", "--no-link", ATTR]])
        if not live:
            drop_master(deployer)
        log = f"{LAB_DIR}/execve"
        command = ["strace", "-f", "-qq", "-s", "400", "-e", "trace=execve", "-o", log, f"{LAB}/exec", "deployer",
                   "bash", "-c", f"cd {FLAKE} && exec nixdeploy quick-deploy {HOST}"]
        traced = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1)
        while deployer.shell("pgrep -x nixdeploy || true").strip():
            time.sleep(0.2)
        drop_master(deployer)  # strace follows it, too, and it lives for ten minutes
        if traced.wait():
            raise SystemExit("bench: the traced deploy failed")
        started = executed(log)
        at = next(i for i, line in enumerate(started) if 'nixdeploy", "quick-deploy"' in line)
        started = started[at + 1:]
        names = [re.search(r'execve\("([^"]*)"', line).group(1).rsplit("/", 1)[-1] for line in started]
        evaluations = sum("#nixosConfigurations" in line for line in started)
        counts = ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))
        link = "master live" if live else "no master"
        print(f"\nprograms started by a small change, {link}: {len(names)} ({counts}); bound at most 12: {verdict(len(names) <= 12)}")
        print(f"  evaluations: {evaluations}; bound exactly 1: {verdict(evaluations == 1)}", flush=True)


def start(deployer):
    """From posix_spawn to the end."""
    for args in (["--version"], ["--help"], ["schema"]):
        times = {"ours": [], "theirs": []}
        for _ in range(max(N * 4, 40)):
            times["ours"].append(deployer.time([["nixdeploy", *args]])["took"])
            times["theirs"].append(deployer.time([["true"]])["took"])
        mid = quartiles(times["ours"])[0]
        print(f"\nstart: nixdeploy {' '.join(args)}   n={len(times['ours'])}, load {load()}\n  ours   {shown(times['ours'])}")
        print(f"  `true` {shown(times['theirs'])}\n  bound at most 5 ms: {verdict(mid <= 0.005)}", flush=True)


def memory(deployer):
    changes = Changes()
    for what in ("nothing to do", "small change"):
        peaks = []
        for _ in range(5):
            if what == "small change":
                changes.next(deployer)
            peaks.append(deployer.time(QUICK, memory=True)["peak_kib"] / 1024)
        print(f"\npeak memory of our process, {what}: {shown(peaks, 'MiB', 1)}")
        print(f"  bound at most 30 MB: {verdict(max(peaks) <= 28.6)}", flush=True)


BENCHMARKS = {
    "nothing-live": (nothing_live, "nothing to do, our ssh master live, against build + fresh ssh"),
    "nothing-alone": (nothing_alone, "the same without a master"),
    "change-live": (change_live, "a small change against build + copy + one ssh, master live; round trips"),
    "change-alone": (change_alone, "the same without a master"),
    "programs": (programs, "programs and evaluations of a small change (strace)"),
    "start": (start, "--version, --help, schema"),
    "memory": (memory, "peak memory of our process"),
}


def head(deployer):
    nix, ssh, kernel = (deployer.shell(c).strip() for c in ("nix --version", "ssh -V 2>&1", "uname -r"))
    commit = os.environ.get("BENCH_COMMIT", "unknown")
    print(f"nixdeploy {commit}; {len(os.sched_getaffinity(0))} cores, load {load()}; {nix}; {ssh}; kernel {kernel}")
    count = deployer.shell("git ls-files | wc -l; git ls-files -z | xargs -0 cat | wc -c").split()
    print(f"tree: {count[0]} files, {int(count[1]) / 1e6:.2f} MB", flush=True)


def main():
    names = [a for a in sys.argv[1:] if not a.startswith("--")]
    if "--list" in sys.argv:
        for name, (_, what) in BENCHMARKS.items():
            print(f"{name:14} {what}")
        return
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        raise SystemExit(f"bench: no benchmark {unknown[0]}; there are: {' '.join(BENCHMARKS)}")
    if "--check" in sys.argv:
        return
    deployer = Deployer()
    prepare(deployer)
    head(deployer)
    for name in names or BENCHMARKS:
        BENCHMARKS[name][0](deployer)
    print(f"\nbounds: {TOTAL['met']} met, {TOTAL['MISSED']} MISSED; load {load()}")


if __name__ == "__main__":
    main()
