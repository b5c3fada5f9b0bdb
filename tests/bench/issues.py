#!/usr/bin/env python3
"""Times `nixdeploy issues` on 1,200 packages and 10,000 issues: issues.py NIXDEPLOY [ROUNDS].

The issues come from a server on loopback, 2,500 a list, with bodies of 3.5 KB. Printed are the
first run, which fetches; runs from the kept lists, with n, median and range of wall time and cpu,
which is reading the lists and matching alone; the requests of a run when the lists are two hours
old; and how many issues concern the fleet. A bound that is missed is printed as missed.
"""

import http.server, json, os, random, statistics, subprocess, sys, tempfile, threading, time
import urllib.parse

PROGRAM, ROUNDS = os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5
PACKAGES, ISSUES, BODY = 1200, 10_000, 3500
BOOT = ["linux", "systemd", "linux-firmware", "mesa", "zfs-kernel", "nvidia-x11", "dbus", "grub",
        "btrfs-progs", "cryptsetup", "lvm2", "networkmanager"]
LISTS = ["0.kind: bug", "0.kind: build failure", "0.kind: regression", "1.severity: security"]
WORDS = ["crashes", "fails to start", "hangs at boot", "wrong output", "does not build", "leaks"]


def names(n):
    roll = random.Random(1)
    parts = ["lib", "kit", "tool", "py", "net", "gtk", "ffi", "zip", "doc", "web", "cfg", "log"]
    made = set(BOOT)
    while len(made) < n:
        made.add("".join(roll.sample(parts, 3)) + str(roll.randrange(100)))
    return sorted(made)


def issue(number, packages, label, roll):
    # One in three is about something that the fleet does not have.
    package = roll.choice(packages) if number % 3 else f"other{number}"
    version = f"1.{roll.randrange(40)}.{roll.randrange(10)}"
    text = " ".join(roll.choice(packages) for _ in range(BODY // 10))
    return {"number": number, "state": "open", "labels": [{"name": label}],
            "title": f"{package}: {version} {roll.choice(WORDS)}",
            "body": f"### Nixpkgs version\n\n- Unstable\n\n{text[:BODY]}",
            "created_at": "2026-09-01T00:00:00Z", "updated_at": "2026-09-20T00:00:00Z"}


class Server(http.server.ThreadingHTTPServer):
    requests = 0


def serve(pages):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.requests += 1
            asked = urllib.parse.unquote(self.path)
            body, code = b'{"items": []}', 200
            if "/search/" not in asked:
                page = next(page for label, page in pages.items() if label in asked)
                known = self.headers.get("if-none-match")
                later = "since=2026-09-2" in asked
                body, code = (b"", 304) if known else (b"[]" if later else page, 200)
            self.send_response(code)
            self.send_header("etag", 'W/"x"')
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def inventory(packages, now):
    listed = [{"pname": name, "installed": "1.1.0", "candidate": f"1.{n % 40}.{n % 10}"}
              for n, name in enumerate(packages)]
    lock = lambda at: {"lastModified": at}
    return {"now": now, "installed_lock": lock("2026-08-20T00:00:00Z"),
            "candidate_lock": lock("2026-09-15T00:00:00Z"), "packages": listed, "modules": []}


def run(folder, url):
    env = {"HOME": folder, "PATH": os.environ["PATH"], "NIXDEPLOY_GITHUB_API": url, "USER": "b"}
    command = [PROGRAM, "issues", "--inventory-file", "packages.json", "--json"]
    began, before = time.perf_counter(), os.times()
    said = subprocess.run(command, cwd=folder, env=env, stdout=subprocess.PIPE)
    wall, after = time.perf_counter() - began, os.times()
    spent = lambda at: at.children_user + at.children_system
    cpu = spent(after) - spent(before)
    return wall, cpu, said.returncode, json.loads(said.stdout)


def bound(what, value, most, unit=""):
    print(f"  {what}: {value:g}{unit}, bound {most:g}{unit} {'ok' if value <= most else 'MISSED'}")


def main():
    roll, packages = random.Random(2), names(PACKAGES)
    pages, number = {}, 500_000
    for label in LISTS:
        issues = []
        for _ in range(ISSUES // len(LISTS)):
            number += 1
            issues.append(issue(number, packages, label, roll))
        pages[label] = json.dumps(issues).encode()
    server = serve(pages)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "packages.json")
        with open(path, "w") as out:
            json.dump(inventory(packages, "2026-09-24T12:00:00Z"), out)
        wall, cpu, code, told = run(folder, url)
        check = told["check"]
        print(f"{PACKAGES} packages, {check['issues']} issues ({check['state']}, exit {code})")
        print(f"  first, fetched: {wall:.2f} s, cpu {cpu:.2f} s, {server.requests} requests")
        kept = [run(folder, url) for _ in range(ROUNDS)]
        walls, cpus = [k[0] for k in kept], [k[1] for k in kept]
        print(f"  from the kept lists, n {ROUNDS}: {statistics.median(walls):.3f} s "
              f"({min(walls):.3f} to {max(walls):.3f}), cpu {statistics.median(cpus):.3f} s, "
              f"{len(told['items'])} concern the fleet")
        bound("requests within the hour", kept[-1][3]["check"]["requests"], 0)
        bound("reading and matching, cpu", round(statistics.median(cpus), 3), 0.5, " s")
        with open(path, "w") as out:
            json.dump(inventory(packages, "2026-09-24T14:00:00Z"), out)
        before = server.requests
        later = run(folder, url)
        bound("requests, two hours later", server.requests - before, 12)
        assert later[3]["check"]["requests"] == server.requests - before, later[3]["check"]


main()
