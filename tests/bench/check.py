#!/usr/bin/env python3
"""Times `nixdeploy check` on generated trees: check.py NIXDEPLOY [ROUNDS].

Prints files, bytes, n, median and spread of the wall time, and the peak of memory, for a tree of
494 files (1.6 MB), one staged file, 5,000 and 40,000 files, and one file of 21 MB; next to it
`nix-instantiate --parse` and `deadnix` where there are such. "First" is without kept verdicts, and
cpu is the median of user and system time, which a busy machine blurs less. A bound that is missed
is printed as missed.
"""

import os, shutil, statistics, subprocess, sys, tempfile, time

PROGRAM, ROUNDS = os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5

PART = """  services.part{n} = lib.mkIf config.services.part{n}.enable {{
    package = pkgs.part{n};
    settings = {{ port = {n}; host = "host-${{toString {n}}}.example.org"; verbose = false; }};
    extraConfig = ''
      listen {n}
      path ${{pkgs.part{n}}}/share
    '';
  }};
  systemd.services.part{n} = {{
    wantedBy = [ "multi-user.target" ];
    serviceConfig = hardening // {{ ExecStart = "${{pkgs.part{n}}}/bin/part"; User = "part"; }};
  }};
"""


def module(n, parts):
    body = "".join(PART.format(n=n * 100 + part) for part in range(parts))
    head = "{ config, lib, pkgs, ... }:\nlet\n  hardening = { PrivateTmp = true; };\nin\n{\n"
    return head + body + "}\n"


def plain(n, _):
    return f"{{ pkgs, ... }}:\n{{\n  environment.systemPackages = [ pkgs.part{n} ];\n}}\n"


def tree(folder, files, parts, text_of=module):
    total = 0
    for n in range(files):
        place = os.path.join(folder, f"d{n // 50}")
        os.makedirs(place, exist_ok=True)
        text = text_of(n, parts)
        total += len(text)
        with open(os.path.join(place, f"{n}.nix"), "w") as out:
            out.write(text)
    return total


def git(folder, *words):
    base = ["git", "-c", "user.name=b", "-c", "user.email=b@example.org", "-C", folder]
    subprocess.run(base + list(words), check=True, stdout=subprocess.DEVNULL)


def committed(folder):
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "x")


def timed(folder, command, first=False):
    walls, cpus, peak = [], [], 0
    for _ in range(ROUNDS):
        if first:
            shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)
        began = time.monotonic()
        child = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        _, _, usage = os.wait4(child.pid, 0)
        walls.append((time.monotonic() - began) * 1000)
        cpus.append((usage.ru_utime + usage.ru_stime) * 1000)
        peak = max(peak, usage.ru_maxrss / 1024)
    return statistics.median(walls), max(walls) - min(walls), peak, statistics.median(cpus)


def row(name, folder, words, bound_ms, bound_mib, first=False):
    median, spread, peak, cpu = timed(folder, [PROGRAM] + words, first)
    missed = "" if median <= bound_ms and peak <= bound_mib else "  MISSED"
    print(f"{name:24} n={ROUNDS} {median:8.1f} ms (spread {spread:.1f}, bound {bound_ms}) "
          f"cpu {cpu:.0f} ms {peak:6.1f} MiB (bound {bound_mib}){missed}")
    return median, cpu


def main():
    load = os.getloadavg()[0]
    print(f"cores {len(os.sched_getaffinity(0))}, load {load:.1f}, rounds {ROUNDS}")
    folder = tempfile.mkdtemp()
    os.environ["XDG_CACHE_HOME"] = os.path.join(folder, "cache")
    try:
        place = os.path.join(folder, "user")
        size = tree(place, 494, 7)
        committed(place)
        print(f"494 files, {size} bytes")
        _, first = row("494 files, first", place, ["check"], 100, 40, first=True)
        ours, _ = row("494 files", place, ["check"], 100, 40)
        if shutil.which("deadnix"):
            dead, _, _, cpu = timed(place, ["deadnix", "."])
            missed = "" if first < cpu else "  MISSED"
            print(f"deadnix: {dead:.1f} ms, cpu {cpu:.0f} ms; the first look takes "
                  f"{first / cpu:.2f} of it (bound 1){missed}")
        if shutil.which("nix-instantiate"):
            names = [os.path.join(d, f) for d, _, fs in os.walk(place) for f in fs
                     if f.endswith(".nix")]
            one, _, _, _ = timed(place, ["nix-instantiate", "--parse"] + names)
            each, _, _, _ = timed(place, ["nix-instantiate", "--parse", names[0]])
            print(f"nix-instantiate: all at once {one:.1f} ms ({one / ours:.1f} times), "
                  f"one by one {each * 494:.0f} ms ({each * 494 / ours:.0f} times)")
        with open(os.path.join(place, "d0", "0.nix"), "a") as out:
            out.write("# changed\n")
        git(place, "add", "-A")
        row("one staged file", place, ["check", "--staged"], 10, 40)
        for files, bound in [(5000, 300), (40000, 1500)]:
            place = os.path.join(folder, str(files))
            tree(place, files, 3)
            committed(place)
            row(f"{files} files, first", place, ["check"], bound, 40, first=True)
            row(f"{files} files", place, ["check"], bound, 40)
        place = os.path.join(folder, "plain")
        tree(place, 40000, 0, plain)
        committed(place)
        row("40000 without findings", place, ["check"], 1500, 40, first=True)
        place = os.path.join(folder, "large")
        os.makedirs(place)
        with open(os.path.join(place, "large.nix"), "w") as out:
            out.write("[\n" + "  { name = \"x\"; value = 1; }\n" * 700_000 + "]\n")
        row("21 MB in one file", place, ["check"], 2000, 120)
    finally:
        shutil.rmtree(folder)


main()
