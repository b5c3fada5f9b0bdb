#!/usr/bin/env python3
"""The benchmarks of several hosts. Started by tests/bench/fleet; what is counted and told as in bench.py."""
import os
import sys
import time

import bench
from bench import compare, drop_master, quartiles, shown, verdict

N = int(os.environ.get("BENCH_N", "5"))
HOSTS = int(os.environ.get("BENCH_HOSTS", "100"))
RTT = int(os.environ.get("BENCH_RTT", "0"))
CORES = len(os.sched_getaffinity(0))
SIZES = [n for n in (1, 4, 20, 100) if n <= HOSTS]
DOCS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "src", "docs")


def names():
    """samsung has no root login, which the loops by hand want; dex5550 goes last, alone."""
    with open(f"{bench.LAB_DIR}/names") as file:
        plain = [name for name in file.read().split() if name not in ("deployer", "samsung", "dex5550")]
    return plain + ["dex5550", "samsung"]


def some(n):
    return names()[:n]


def quick(hosts, *more):
    return [["nixdeploy", "quick-deploy", *hosts, *more]]


def attr(host):
    return f".#nixosConfigurations.{host}.config.system.build.toplevel"


def login(host):
    return f"admin@{host}" if host == "samsung" else host


def one_by_one(hosts):
    """The justfile's loop: what is there against what there should be, host by host."""
    steps = "".join(f"nix build --no-link {attr(h)}; ssh {login(h)} readlink /run/current-system\n" for h in hosts)
    return [["bash", "-euc", steps]]


def side_by_side(hosts):
    """Written by hand: each host built, copied to and switched, all at once."""
    each = "\n".join(f"""( top=$(nix build --no-link --print-out-paths {attr(h)})
nix copy --no-check-sigs --to ssh-ng://root@{h} "$top"
ssh root@{h} "nix-env -p /nix/var/nix/profiles/system --set $top && $top/bin/switch-to-configuration switch" ) &""" for h in hosts)
    return [["bash", "-uc", f"{each}\nwait"]]


def prepare(deployer):
    deployer.shell("[ -d minilib ] || cp -rL /srv/nixpkgs.lib minilib")
    bench.input_within(deployer, True)
    deployer.shell("""
sed -i 's/^soak_s = .*/soak_s = 0/; s/_timeout_s = 20$/_timeout_s = 120/' hosts.toml
grep -q ^max_parallel hosts.toml || sed -i 's/^\\[defaults\\]/&\\nmax_parallel = 16/' hosts.toml
git add -A; git diff --cached --quiet || git commit -qm 'no soak'""")
    deployer.time(quick(["all"]))


class Change:
    """The same new text of one unit for each of these hosts."""

    def __init__(self):
        self.n = int(time.time())

    def next(self, deployer, hosts):
        self.n += 1
        text = f'{{ ... }}: {{ lab.apps.bench = {{ port = 9100; config = "{self.n}"; }}; }}'
        files = " ".join(f"hosts/{h}/knobs.nix" for h in hosts)
        deployer.shell(f"echo '{text}' | tee {files} > /dev/null; git add -A; git commit -qm 'change {self.n}'")


def worked():
    """Seconds of processor that the whole box has used: proc_stat(5), what is neither idle nor stolen."""
    with open("/proc/stat") as stat:
        user, nice, system, _, _, irq, softirq = (int(n) for n in stat.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def times(deployer, title, steps, before=lambda: None, n=N):
    """The median, and how many processors of the box (all machines are on it) were busy meanwhile."""
    took, cpu = [], 0.0
    for _ in range(n):
        before()
        cpu -= worked()
        took.append(deployer.time(steps)["took"])
        cpu += worked()
    busy = cpu / sum(took)
    print(f"\n{title}   n={n}, load {bench.load()}\n  {shown(took)}; {busy:.1f} processors busy", flush=True)
    return quartiles(took)[0], busy


def most(busy, many):
    """What so many at once can gain on this box if it takes no more work than in turn."""
    return min(many, CORES / busy)


# benchmarks ------------------------------------------------------------------------------------

def nothing(deployer):
    """Every host is what it should be."""
    hosts = some(HOSTS)
    for live, least in ((True, 25), (False, 7)):
        if live:
            deployer.time(quick(hosts))
        link = "masters live" if live else "no masters"
        ours, theirs = compare(
            deployer, f"nothing to do, {len(hosts)} hosts, {link}", quick(hosts), one_by_one(hosts),
            lambda who: None if live or who != "ours" else drop_master(deployer), max(N // 2, 2))
        ratio = theirs / ours
        print(f"  {ratio:.1f} times faster than the loop; bound at least {least}: {verdict(ratio >= least)}")
    deployer.time(quick(some(4)))
    for live, most in ((False, 1.5), (True, 3)):
        link = "masters live" if live else "no masters"
        four, one = compare(
            deployer, f"nothing to do, 4 hosts beside 1, {link}", quick(some(4)), quick(some(1)),
            lambda who: None if live else drop_master(deployer), N * 2)
        print(f"  4 hosts take {four / one:.2f} times what 1 takes; bound at most {most}: {verdict(four / one <= most)}")
    four, by_hand = compare(
        deployer, "nothing to do, 4 hosts", quick(some(4)), side_by_side(some(4)), lambda who: None)
    print(f"  {four / by_hand:.2f} times the loop by hand; bound at most 0.3: {verdict(four / by_hand <= 0.3)}")


def changed(deployer):
    """A change that several hosts share."""
    change, four = Change(), some(4)
    alone = {}
    for host in four:
        alone[host], busy = times(
            deployer, f"a change of {host} alone", quick([host]), lambda h=host: change.next(deployer, [h]), max(N // 2, 2))
    together, _ = times(
        deployer, "the same change of 4 hosts at once", quick(four), lambda: change.next(deployer, four), max(N // 2, 2))
    ratio = together / max(alone.values())
    print(f"  {ratio:.2f} times the slowest alone; bound at most 1.3: {verdict(ratio <= 1.3)}")
    print(f"  the work of four such hosts leaves this box at least {4 / most(busy, 4):.2f} times", flush=True)
    if HOSTS < 20:
        return
    twenty = some(20)
    turns, busy = times(deployer, "a change of 20 hosts, one after the other", quick(twenty, "--max-parallel", "1"),
                  lambda: change.next(deployer, twenty), 1)
    at_once, _ = times(deployer, "a change of 20 hosts, all at once", quick(twenty, "--max-parallel", "20"),
                    lambda: change.next(deployer, twenty), 1)
    ratio = turns / at_once
    print(f"  {ratio:.1f} times faster at once; bound at least 5 on 4 cores: {verdict(ratio >= 5)}")
    print(f"  the same work leaves this box at most {most(busy, 20):.1f} times", flush=True)


def evaluated(deployer):
    """Evaluations of about a second each, new every time."""
    count, hosts = [int(time.time())], some(4)

    def costly():
        count[0] += 1
        text = f'{{ ... }}: {{ lab.evalCost = 8; lab.apps.bench = {{ port = 9100; config = "{count[0]}"; }}; }}'
        files = " ".join(f"hosts/{h}/knobs.nix" for h in hosts)
        deployer.shell(f"echo '{text}' | tee {files} > /dev/null; git add -A; git commit -qm 'costly {count[0]}'")

    one, _ = times(deployer, "evaluated and built for 1 host", [["nixdeploy", "test-host", hosts[0]]], costly, max(N // 2, 2))
    four, _ = times(deployer, "evaluated and built for 4 hosts", [["nixdeploy", "test-host", *hosts]], costly, max(N // 2, 2))
    least = 0.8 * min(len(hosts), CORES)
    ratio = len(hosts) * one / four
    print(f"  {ratio:.1f} times faster than in turn; bound at least {least:.1f}: {verdict(ratio >= least)}", flush=True)
    raw = lambda some: [["bash", "-uc", "".join(f"nix eval --raw {attr(h)}.drvPath > /dev/null & " for h in some) + "wait"]]
    bare_one, _ = times(deployer, "nix eval of 1 host", raw(hosts[:1]), costly, max(N // 2, 2))
    bare_four, _ = times(deployer, "nix eval of 4 hosts, side by side by hand", raw(hosts), costly, max(N // 2, 2))
    print(f"  Nix alone, by hand: {len(hosts) * bare_one / bare_four:.1f} times", flush=True)
    deployer.shell("git rm -qf hosts/*/knobs.nix; git commit -qm 'cheap again'")
    deployer.time(quick(hosts))


def weight(deployer):
    """Our own process with every host, and what it uses of a processor."""
    hosts, peaks, cpu = some(HOSTS), [], []
    for _ in range(3):
        took = deployer.time(quick(hosts), memory=True)
        peaks.append(took["peak_kib"] / 1024)
        cpu.append(took["cpu_s"] * 1000 / len(hosts))
    print(f"\npeak memory of our process, nothing to do on {len(hosts)} hosts: {shown(peaks, 'MiB', 1)}")
    print(f"  bound at most 60 MB: {verdict(max(peaks) <= 57.2)}")
    print(f"processor time of our process for each of them: {shown(cpu, 'ms', 1)}")
    print(f"  bound at most 20 ms: {verdict(max(cpu) <= 20)}", flush=True)


def growth(deployer):
    """Wall time by the number of hosts: a table and a plot for the documentation."""
    change, rows = Change(), []
    deployer.time(quick(["all"]))
    for n in SIZES:
        hosts = some(n)
        live, _ = times(deployer, f"nothing to do, {n} hosts, masters live", quick(hosts))
        alone, _ = times(deployer, f"nothing to do, {n} hosts, no masters", quick(hosts), lambda: drop_master(deployer))
        new, _ = times(deployer, f"a change of {n} hosts, 16 at once", quick(hosts), lambda h=hosts: change.next(deployer, h),
                    1 if n > 4 else max(N // 2, 2))
        rows.append((n, live, alone, new))
    head = f"{CORES} cores, load {bench.load()}"
    print("\n| hosts | nothing to do, masters live | nothing to do, no masters | a change, 16 at once |\n|---|---|---|---|")
    for n, *row in rows:
        print(f"| {n} | " + " | ".join(f"{value:.2f} s" for value in row) + " |")
    with open(f"{DOCS}/growth.svg", "w") as file:
        file.write(plot(rows, head))


def plot(rows, head):
    """Both axes by powers of ten: as many times the hosts is as far to the right as as many times the time is up."""
    import math
    width, height, left, top = 640, 400, 60, 40
    right, bottom = width - 20, height - 50
    series = ("nothing to do, masters live", "nothing to do, no masters", "a change, 16 at once")
    colours = ("#1b7837", "#2166ac", "#b2182b")
    values = [v for row in rows for v in row[1:]]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))

    def x(hosts):
        return left + (right - left) * math.log10(hosts) / 2

    def y(seconds):
        return bottom - (bottom - top) * (math.log10(seconds) - low) / (high - low)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
           '<title>Wall time by the number of hosts</title>', f'<rect width="{width}" height="{height}" fill="#fff"/>']
    for power in range(low, high + 1):
        at = y(10 ** power)
        out.append(f'<path d="M{left} {at:.1f}H{right}" stroke="#ddd"/>')
        out.append(f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{10 ** power:g} s</text>')
    for n, *_ in rows:
        out.append(f'<path d="M{x(n):.1f} {top}V{bottom}" stroke="#eee"/>')
        out.append(f'<text x="{x(n):.1f}" y="{bottom + 18}" text-anchor="middle">{n}</text>')
    out.append(f'<text x="{(left + right) / 2}" y="{height - 12}" text-anchor="middle">hosts ({head})</text>')
    for at, (name, colour) in enumerate(zip(series, colours)):
        points = " ".join(f"{x(row[0]):.1f},{y(row[at + 1]):.1f}" for row in rows)
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{p.split(",")[0]}" cy="{p.split(",")[1]}" r="3" fill="{colour}"/>' for p in points.split()]
        out.append(f'<text x="{left + 190 * at}" y="24" fill="{colour}">{name}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


BENCHMARKS = {"nothing": nothing, "changed": changed, "evaluated": evaluated, "weight": weight, "growth": growth}


def main():
    wanted = sys.argv[1:] or list(BENCHMARKS)
    unknown = [name for name in wanted if name not in BENCHMARKS]
    if unknown:
        raise SystemExit(f"bench: no benchmark {unknown[0]}; there are: {' '.join(BENCHMARKS)}")
    deployer = bench.Deployer()
    prepare(deployer)
    bench.head(deployer)
    if RTT:
        print(f"every ssh of the deployer goes {RTT} ms there and back", flush=True)
    for name in wanted:
        BENCHMARKS[name](deployer)
    print(f"\nbounds: {bench.TOTAL['met']} met, {bench.TOTAL['MISSED']} MISSED; load {bench.load()}")


if __name__ == "__main__":
    main()
