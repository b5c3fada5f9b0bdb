"""Runs commands on the deployer and times them there, so that the way in costs nothing.

One JSON object a line on standard input, {"steps": [[word...]...], "cwd", "trace"}, one back: seconds that
the steps took in turn, the last one's exit code and output, the most memory and the seconds of processor
that the last one's own process took (its children's do not count: wait4 would add them).
"""
import json
import os
import subprocess
import sys
import threading
import time


def watch(pid, peak, over):
    """VmHWM only grows, so the last reading before the end is the peak."""
    while not over.is_set():
        try:
            with open(f"/proc/{pid}/status") as status:
                for line in status:
                    if line.startswith("VmHWM:"):
                        peak[0] = max(peak[0], int(line.split()[1]))
        except (OSError, ValueError):
            return
        over.wait(0.002)


def worked(pid):
    """Seconds of processor of one that has ended and was not waited for yet: proc_pid_stat(5), fields 14 and 15."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(order):
    began = time.perf_counter()
    code, said, peak, cpu = 0, b"", [0], 0.0
    for step in order["steps"]:
        with open("/tmp/bench.out", "w+b") as out:
            child = subprocess.Popen(step, cwd=order.get("cwd"), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
            over = threading.Event()
            watcher = None
            if order.get("memory"):
                watcher = threading.Thread(target=watch, args=(child.pid, peak, over))
                watcher.start()
            cpu = worked(child.pid)
            code = child.wait()
            took = time.perf_counter() - began
            if watcher:
                over.set()
                watcher.join()
            out.seek(0)
            said = out.read()[-4000:]
        if code:
            break
    return {"took": took, "code": code, "said": said.decode("utf-8", "replace"), "peak_kib": peak[0], "cpu_s": cpu}


def main():
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
