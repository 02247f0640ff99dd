"""Every page under load: `python benchmarks/load_pages.py HOME [--clients 8] [--seconds 8]`.

HOME is filled by `pages.py` and `big_home.py`. A server of its own; for each page CPU milliseconds
of the server for one drawing (asked again after a second, when what is kept is checked anew),
then `clients` that ask it without a pause: milliseconds p50 and p99 and the answers a second; and
the bytes of an answer. At last the memory of the server. `--spike` also asks `/anomalies` and
`/health` ten times a second while `POST /scan` fetches and scores the market. A page over 30 ms of
CPU or 100 ms p99, memory over 250 MB and a spike over 150 ms fail the command.
"""

import argparse
import http.client
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from bench_cached import wait_until_idle
from measure import cli, cpu_of, free_port, server

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import open_workspace
from crypto_anomaly.model.scan import scan_all

MOST_CPU, MOST_P99, MOST_MB, MOST_SPIKE = 30, 100, 250, 150
TIMES = 8  # drawings a page is timed over
PAGES = (
    "/",
    "/coins",
    "/coins?show=anomaly&sort=change_24h",
    "/coins.market",
    "/coins/{coin}",
    "/coins/{coin}?since=30d",
    "/coins/{coin}?at=20d",
    "/coins?at=30d",
    "/alerts",
    "/models",
    "/models/anomaly_detector/v1",
    "/models/anomaly_detector/{version}",
    "/data",
    "/data.quality",
    "/cards",
    "/live",
    "/metrics",
    "/health",
    "/anomalies",
    "/market",
    "/models/assets/anomaly_detector/versions",
    "/model/info",
)


class Figures(NamedTuple):
    """A page under load."""

    path: str
    first_ms: float
    cpu_ms: float  # of one drawing
    p50: float
    p99: float
    a_second: float
    kb: float

    @property
    def is_over(self) -> bool:
        """Whether it costs or lasts too long."""
        return self.cpu_ms > MOST_CPU or self.p99 > MOST_P99


def ask(c: http.client.HTTPConnection, path: str, method: str = "GET") -> bytes:
    """One answer of a page as a browser gets it."""
    c.request(method, path, headers={"Accept": "text/html,application/json"})
    answer = c.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{method} {path} answered {answer.status}: {body[:200]!r}")
    return body


def drawn(c: http.client.HTTPConnection, pid: int, path: str) -> tuple[float, float, float]:
    """Milliseconds of the first answer, CPU milliseconds of a later one, and kB."""
    start = time.perf_counter()
    body = ask(c, path)
    first = 1e3 * (time.perf_counter() - start)
    spent = 0.0
    for _ in range(TIMES):
        time.sleep(1.05)  # what is kept is kept within a second of the clock
        before = cpu_of(pid)
        ask(c, path)
        spent += cpu_of(pid) - before
    return first, 1e3 * spent / TIMES, len(body) / 1e3


def client(port: int, path: str, until: float, times: list[float]) -> None:
    """Ask without a pause until the time is up."""
    c = http.client.HTTPConnection("127.0.0.1", port)
    while time.perf_counter() < until:
        start = time.perf_counter()
        ask(c, path)
        times.append(1e3 * (time.perf_counter() - start))


def loaded(port: int, path: str, clients: int, seconds: float) -> list[float]:
    """Milliseconds of all answers to many clients."""
    times: list[float] = []
    until = time.perf_counter() + seconds
    args = (port, path, until, times)
    threads = [threading.Thread(target=client, args=args) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def measured(port: int, pid: int, path: str, clients: int, seconds: float) -> Figures:
    """One page: drawn alone, then asked by many."""
    c = http.client.HTTPConnection("127.0.0.1", port)
    first, cpu_ms, kb = drawn(c, pid, path)
    times = loaded(port, path, clients, seconds)
    p50, p99 = np.percentile(times, [50, 99])
    return Figures(path, first, cpu_ms, p50, p99, len(times) / seconds, kb)


def memory(pid: int, kind: str = "VmRSS") -> float:
    """MB that a process holds now: all, or `RssAnon`, what no file has and no other process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{kind}:"))) / 1024


def spikes(port: int, seconds: float) -> dict[str, float]:
    """The longest answers of readers while the market is fetched and scored."""
    longest = dict.fromkeys(("/anomalies", "/health", "/coins", "/static/style.css"), 0.0)
    until = time.perf_counter() + seconds

    def read(path: str) -> None:
        c = http.client.HTTPConnection("127.0.0.1", port)
        while time.perf_counter() < until:
            start = time.perf_counter()
            ask(c, path)
            longest[path] = max(longest[path], 1e3 * (time.perf_counter() - start))
            time.sleep(0.02)

    threads = [threading.Thread(target=read, args=[path]) for path in longest]
    for thread in threads:
        thread.start()
    time.sleep(2)
    start = time.perf_counter()
    c = http.client.HTTPConnection("127.0.0.1", port)
    ask(c, "/scan", "POST")
    lasted = 1e3 * (time.perf_counter() - start)
    for thread in threads:
        thread.join()
    return longest | {"POST /scan itself": lasted}


def printed(figures: list[Figures]) -> None:
    """A table of the pages."""
    print(f"{'page':42}{'first ms':>9}{'CPU ms':>8}{'p50':>7}{'p99':>7}{'1/s':>7}{'kB':>7}")
    for f in figures:
        mark = "  OVER" if f.is_over else ""
        times = f"{f.first_ms:9.0f}{f.cpu_ms:8.1f}{f.p50:7.1f}{f.p99:7.1f}"
        print(f"{f.path:42}{times}{f.a_second:7.0f}{f.kb:7.1f}{mark}")


def options() -> argparse.Namespace:
    """What was asked for."""
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("home")
    p.add_argument("--clients", type=int, default=8)
    p.add_argument("--seconds", type=float, default=8)
    p.add_argument("--only", default="", help="pages whose address has this text")
    p.add_argument("--spike", action="store_true")
    return p.parse_args()


def main() -> None:
    """Serve the home, ask for every page, fail where one is over its limit."""
    o = options()
    ws = open_workspace(Settings(home=Path(o.home), source="simulated"))
    coin = sorted(scan_all(ws)[0].features.coin_id)[0]
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    env = dict(
        CRYPTO_ANOMALY_HOME=o.home,
        CRYPTO_ANOMALY_SOURCE="simulated",
        CRYPTO_ANOMALY_LOG_LEVEL="WARNING",
    )
    paths = [p.format(coin=coin, version="v1000") for p in PAGES]
    with server(cli("serve", "--port", str(port)), env, f"{base}/health") as process:
        time.sleep(3)
        wait_until_idle(process.pid)
        print(f"memory at first: {memory(process.pid):.0f} MB")
        asked = [path for path in paths if o.only in path]
        figures = [measured(port, process.pid, p, o.clients, o.seconds) for p in asked]
        printed(figures)
        held = memory(process.pid)
        print(f"memory after it: {held:.0f} MB (at most {MOST_MB})")
        slow = False
        if o.spike:
            found = spikes(port, 12)
            print("longest while the market is fetched and scored, ms:", found)
            slow = max(v for k, v in found.items() if k.startswith("/")) > MOST_SPIKE
    sys.exit(held > MOST_MB or slow or any(f.is_over for f in figures))


if __name__ == "__main__":
    main()
