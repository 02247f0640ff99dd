"""What each command needs: memory of all its processes, CPU seconds, for the table in guides/scale.

    python benchmarks/sizing.py [COINS …]      # default 250 1000 5000

A first cycle (`up --once`), a server after a visit of each page, a stream of 50 products for half a
minute, all of the simulated market; and the newest hour by number of coins (`newest_hour.py`). The
numbers, with machine, date and commit, go to nbs/guides/scale_sizing.json. Memory is PSS: pages
that processes share count once.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from typing import Any

import psutil
from machine import about
from measure import HERE, cli, free_port, wait_for

FILE = HERE.parent / "nbs" / "guides" / "scale_sizing.json"
PAGES = ("/", "/coins", "/alerts", "/models", "/data", "/cards", "/live", "/anomalies", "/market")
NEWEST = re.compile(r"(\d+) coins: ([\d.]+) s CPU .*? peak (\d+) MB")


def used_by(pid: int) -> tuple[float, float]:
    """MB and CPU seconds of a process and of those below it, now."""
    megabytes = seconds = 0.0
    try:
        root = psutil.Process(pid)
        for p in (root, *root.children(recursive=True)):
            megabytes += p.memory_full_info().pss / 1e6
            times = p.cpu_times()
            seconds += times.user + times.system
    except psutil.NoSuchProcess:
        pass
    return megabytes, seconds


class Watched:
    """A command whose memory is looked at four times a second."""

    def __init__(self, home: str, *args: str) -> None:
        """Start it."""
        env = {"CRYPTO_ANOMALY_HOME": home, "CRYPTO_ANOMALY_SOURCE": "simulated"}
        log = subprocess.DEVNULL
        self.process = subprocess.Popen(cli(*args), env=os.environ | env, stdout=log, stderr=log)
        self.peak, self.began, self.wall = 0.0, time.monotonic(), 0.0
        self.watcher = threading.Thread(target=self._watch, daemon=True)
        self.watcher.start()

    def _watch(self) -> None:
        """Keep the highest sum."""
        while self.process.poll() is None:
            self.peak = max(self.peak, used_by(self.process.pid)[0])
            time.sleep(0.25)

    def end(self, stop: bool = True) -> dict[str, float]:
        """Stop it, or wait for its end; what it used."""
        cpu = used_by(self.process.pid)[1]
        wall = time.monotonic() - self.began
        if stop:
            self.process.terminate()
        code = self.process.wait(600)
        self.watcher.join()
        assert stop or code == 0, f"{self.process.args[-3:]} ended with {code}"
        wall = wall if stop else time.monotonic() - self.began
        return dict(peak_mb=round(self.peak), cpu_s=round(cpu, 1), wall_s=round(wall, 1))


def cycle(home: str) -> dict[str, float]:
    """A first cycle of 250 coins."""
    found = Watched(home, "up", "--once").end(stop=False)
    return {name: value for name, value in found.items() if name != "cpu_s"}


def pages(home: str) -> dict[str, float]:
    """A server that has shown each page twice."""
    port = free_port()
    server = Watched(home, "serve", "--port", str(port))
    wait_for(f"http://127.0.0.1:{port}/health/live")
    for path in PAGES * 2:
        urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60).read()
    return server.end()


def stream(home: str) -> dict[str, float]:
    """A stream of the simulated exchange."""
    running = Watched(home, "stream", "--products", "top50")
    time.sleep(30)
    return running.end()


def newest(coins: list[str]) -> list[dict[str, float]]:
    """The newest hour by number of coins."""
    command = [sys.executable, str(HERE / "newest_hour.py"), *coins]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=1800).stdout
    found = NEWEST.findall(told)
    return [dict(coins=int(n), cpu_s=float(s), peak_mb=float(mb)) for n, s, mb in found]


def main(coins: list[str]) -> int:
    """Measure, print, keep."""
    told = about("default")
    m = told["machine"]
    found: dict[str, Any] = dict(
        date=told["date"],
        commit=told["commit"],
        machine=f"{m['cpu']}, {m['cores']} cores, {m['memory_gb']} GB, Python {m['python']}",
    )
    with tempfile.TemporaryDirectory() as home:
        for name, measure in (("up --once", cycle), ("serve", pages), ("stream", stream)):
            found[name] = measure(home)
            print(name, found[name], flush=True)
    found["newest hour"] = newest(coins or ["250", "1000", "5000"])
    print(*found["newest hour"], sep="\n")
    FILE.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
