#!/usr/bin/env python3
"""Times what a shell waits for at the TAB key: tab.py NIXDEPLOY [ROUNDS].

With 5, 100 and 1000 hosts and 200 kept runs: the candidates for a host, a run and a generation, as
zsh asks for them. Beside it an empty program, which is what any process costs here. A bound that is
missed is printed as missed.
"""

import json, os, shutil, statistics, subprocess, sys, tempfile, time

PROGRAM, ROUNDS = os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 41
BOUND_MS = 10


def timed(command, folder, **variables):
    walls, environment = [], dict(os.environ, **variables)
    for _ in range(ROUNDS):
        began = time.monotonic()
        subprocess.run(command, cwd=folder, env=environment, check=True,
                       stdout=subprocess.DEVNULL)
        walls.append((time.monotonic() - began) * 1000)
    return statistics.quantiles(walls, n=4)


def row(name, folder, words):
    low, median, high = timed([PROGRAM, "--", "nixdeploy"] + words, folder,
                              NIXDEPLOY_COMPLETE="zsh", _CLAP_COMPLETE_INDEX=str(len(words)))
    missed = "" if median <= BOUND_MS else "  MISSED"
    print(f"{name:28} n={ROUNDS} {median:6.1f} ms ({low:.1f} to {high:.1f}, "
          f"bound {BOUND_MS}){missed}")


def kept(folder, n):
    run = f"{n:06x}"
    place = os.path.join(folder, "nixdeploy", "runs", run)
    os.makedirs(place)
    names = [f"host{n % 5}"]
    entry = {"run": run, "started_ms": 1_760_000_000_000 + n * 60_000, "took_ms": 30_000,
             "command": ["quick-deploy", names[0]], "hosts": 1, "names": names,
             "result": "1 host: 1 changed", "exit": 0, "complete": True,
             "generations": [[names[0], n], [names[0], n + 1]]}
    with open(os.path.join(place, "summary.json"), "w") as out:
        json.dump(entry, out)
    with open(os.path.join(place, "events.jsonl"), "w") as out:
        out.write("{}\n" * 500)


def main():
    print(f"cores {len(os.sched_getaffinity(0))}, load {os.getloadavg()[0]:.1f}")
    folder = tempfile.mkdtemp()
    try:
        for n in range(200):
            kept(os.path.join(folder, "state"), n)
        os.environ["XDG_STATE_HOME"] = os.path.join(folder, "state")
        low, median, high = timed(["/bin/true"], folder)
        print(f"{'an empty program':28} n={ROUNDS} {median:6.1f} ms ({low:.1f} to {high:.1f})")
        for hosts in [5, 100, 1000]:
            with open(os.path.join(folder, "hosts.toml"), "w") as out:
                out.writelines(f"[hosts.host{n}]\ntags = ['t{n % 7}']\n" for n in range(hosts))
            row(f"a host of {hosts}", folder, ["deploy", ""])
        row("a run of 200", folder, ["report", ""])
        row("a generation, 200 runs", folder, ["rollback", "host1", "--to", ""])
    finally:
        shutil.rmtree(folder)


main()
