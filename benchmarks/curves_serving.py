"""Curves of registered versions and of clients of a server."""

import http.client
import tempfile
import threading
import time

import numpy as np
from bench_serving import trained
from curves import Curve
from curves_trades import best_ms
from measure import cli, cpu_of, free_port, server, settle, size

from crypto_anomaly.registry.registry import Registry

PATH = "/anomalies?limit=5"


def versions() -> Curve:
    """What the registry takes, by the versions in it."""
    counts = size((50, 200), (100, 500, 2000), (100, 500, 2000, 5000))
    names = ("list 200", "resolve the champion", "register", "promote")
    lines: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as home:
        r, there = Registry(f"sqlite:///{home}/registry.db"), 0
        for n in counts:
            while there < n - 1:
                register(r)
                there += 1
            values = (
                best_ms(lambda: r.list_model_versions(200)),
                best_ms(lambda: r.resolve("champion")) if there > counts[0] else None,
                best_ms(lambda: register(r), 1),
                promote_ms(r, n),
            )
            there += 1
            for line, value in zip(lines.values(), values):
                if value is not None:
                    line.append((n, value))
    return Curve("Model versions", "versions", "wall ms", lines, "registry in SQLite")


def register(r: Registry) -> None:
    """One more version."""
    r.register("ab" * 32, dict(data_source="training_dataset:v1", feature_names=["x"] * 20))


def promote_ms(r: Registry, version: int) -> float:
    """Wall milliseconds of a promotion, with its evaluation and approval before."""
    r.record_evaluation(version, passed=True, gates=[], metrics={}, dataset="d")
    r.request_approval(version, by="a")
    r.approve(version, by="b", reason="c")
    return best_ms(lambda: r.promote(version), 1)


def clients() -> Curve:
    """A cached answer by the number of clients that ask without a pause."""
    seconds = size(1.0, 4.0, 10.0)
    names = ("answers a second", "p50, ms", "p99, ms", "CPU µs an answer")
    lines: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as home:
        trained(home)
        port = free_port()
        env = {"CRYPTO_ANOMALY_HOME": home, "CRYPTO_ANOMALY_LOG_LEVEL": "WARNING"}
        command = cli("serve", "--port", str(port))
        with server(command, env, f"http://127.0.0.1:{port}{PATH}") as process:
            asked(port, 1, 1.0)  # warm-up
            settle(process.pid)
            for n in size((1, 4), (1, 2, 4, 8, 16), (1, 2, 4, 8, 16, 32)):
                before = cpu_of(process.pid)
                took = asked(port, n, seconds)
                used = cpu_of(process.pid) - before
                p50, p99 = np.percentile(took, (50, 99)) * 1e3
                values = (len(took) / seconds, p50, p99, 1e6 * used / len(took))
                for line, value in zip(lines.values(), values):
                    line.append((n, float(value)))
    note = f"GET {PATH}, one worker, clients in one other process"
    return Curve("Clients", "clients", "answers, ms or µs", lines, note)


def asked(port: int, clients: int, seconds: float) -> list[float]:
    """Wall seconds of every answer that some clients got."""
    found: list[list[float]] = [[] for _ in range(clients)]
    threads = [threading.Thread(target=ask, args=(port, seconds, out)) for out in found]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return [s for out in found for s in out]


def ask(port: int, seconds: float, out: list[float]) -> None:
    """Ask over one kept connection for some seconds."""
    c = http.client.HTTPConnection("127.0.0.1", port)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        c.request("GET", PATH)
        answer = c.getresponse()
        answer.read()
        assert answer.status == 200
        out.append(time.perf_counter() - start)
    c.close()
