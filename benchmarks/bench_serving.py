"""P8 and P10: answers of a server, and what a start costs."""

import http.client
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from bench_cached import flood, wait_until_idle
from measure import HERE, cli, cpu_of, free_port, peak_of, row, server

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import Workspace, claim, open_workspace
from crypto_anomaly.data.source import hold_source
from crypto_anomaly.lifecycle.dataset_steps import build_dataset
from crypto_anomaly.lifecycle.ingest_steps import backfill_lake, ingest
from crypto_anomaly.lifecycle.trade_steps import train_trade_candidate
from crypto_anomaly.lifecycle.train_steps import train_candidate
from crypto_anomaly.model.moment import moment_features
from crypto_anomaly.registry.registry import open_registry
from crypto_anomaly.simulate.trades import TradeSimulator, trades
from crypto_anomaly.trades.playback import replay
from crypto_anomaly.trades.table import taken

HELP = """
import sys
sys.argv = ['crypto-anomaly', '--help']
from crypto_anomaly.serving.cli import main
try: main()
except SystemExit: pass
"""


class Costs(NamedTuple):
    """CPU seconds of a server for an answer."""

    alone: float  # one request after the other, over one connection
    in_flight: float  # with eight requests in flight
    body: bytes  # of an answer


def costs_of(
    command: list[str], env: dict[str, str], asks: list[tuple[str, str]], seconds: float
) -> dict[str, Costs]:
    """What the answers of a server cost once it has warmed up, by path."""
    port = free_port()
    command = [a.replace("PORT", str(port)) for a in command]
    found = {}
    with server(command, env, f"http://127.0.0.1:{port}/health") as process:
        wait_until_idle(process.pid)
        for method, path in asks:
            c = http.client.HTTPConnection("127.0.0.1", port)
            ask(c, method, path, 0.5)  # warm-up
            alone = cost(process.pid, partial(ask, c, method, path, seconds))
            busy = cost(process.pid, partial(flood, port, path, seconds, method))
            c.request(method, path)
            found[path] = Costs(alone, busy, c.getresponse().read())
    return found


def cost(pid: int, load: Callable[[], int]) -> float:
    """CPU seconds of a process for each answer that `load` gets."""
    before = cpu_of(pid)
    answers = load()
    return max(cpu_of(pid) - before, 0.01) / answers


def ask(c: http.client.HTTPConnection, method: str, path: str, seconds: float) -> int:
    """Ask at least once and for `seconds`; returns the number of answers."""
    start, n = time.perf_counter(), 0
    while time.perf_counter() - start < seconds or n == 0:
        c.request(method, path)
        answer = c.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        n += 1
    return n


def trades_of_an_hour(ws: Workspace) -> int:
    """An hour of trades that ends now, streamed into `ws`, and a model of them."""
    now = pd.Timestamp.now("UTC")
    hour = trades(TradeSimulator(), "BTC-USD", now - pd.Timedelta("1h"), now)
    f = taken(hour, "replay")
    replay(ws, f.assign(ts=f.ts + pd.Timedelta("50s")), pace="max", once=True)
    train_trade_candidate(ws)
    return len(f)


def trained(home: str) -> Workspace:
    """A workspace with a simulated market and a candidate."""
    ws = claim(open_workspace(Settings(home=home, source="simulated")), "simulated")
    with hold_source(ws) as held:
        backfill_lake(held)
        ingest(held)
        build_dataset(held)
        train_candidate(held)
    return ws


def p8() -> None:
    """Cached answers against a server that trains, or predicts, for every request.

    Both know the same hundred coins. The limit are three lines of bare ASGI that send the bytes of
    `/scan`.
    """
    with tempfile.TemporaryDirectory() as home:
        ws = trained(home)
        moment_features(ws).to_parquet(f"{home}/moment.parquet")
        hour = trades_of_an_hour(ws)
        env = {"CRYPTO_ANOMALY_HOME": home, "CRYPTO_ANOMALY_LOG_LEVEL": "WARNING"}
        asks = [("GET", "/anomalies?limit=5"), ("POST", "/scan"), ("GET", "/score")]
        ours = costs_of(cli("serve", "--port", "PORT"), env, asks, 4)
        command = [sys.executable, f"{HERE}/plain_server.py", f"{home}/moment.parquet", "PORT"]
        plain = costs_of(command, {}, [("GET", "/predict"), ("POST", "/train")], 4)
        file = Path(home) / "scan.json"
        file.write_bytes(ours["/scan"].body)
        command = [sys.executable, f"{HERE}/rival_server.py", "asgi", str(file), "PORT"]
        least = costs_of(command, {}, [("POST", "/scan")], 4)["/scan"]
    predict, train = plain["/predict"], plain["/train"]
    against("cached /anomalies against predict", 100, ours["/anomalies?limit=5"], predict, least)
    stored = f"/score ({hour} trades stored)"
    against(f"{stored} against predict", 100, ours["/score"], predict, least)
    against("cached /scan against train", 2000, ours["/scan"], train, least)


def against(what: str, bar: float, ours: Costs, plain: Costs, least: Costs) -> None:
    """Two rows: over one connection, and with eight requests in flight."""
    loads = (("", "alone"), (", eight in flight", "in_flight"))
    for how, load in loads:
        a, b, limit = (getattr(costs, load) for costs in (ours, plain, least))
        text = f"answers per CPU second, {what} per request{how}"
        row("P8", text, b / a, "x", bar, ours=a, plain=b, limit=limit)


def served(home: str) -> tuple[float, float]:
    """CPU seconds and peak MB of `serve` after its first answer, without scikit-learn."""
    open_registry(claim(open_workspace(Settings(home=home, source="simulated")), "simulated"))
    port = free_port()
    command, env = cli("serve", "--port", str(port)), {"CRYPTO_ANOMALY_HOME": home}
    with server(command, env, f"http://127.0.0.1:{port}/versions") as process:
        loaded = Path(f"/proc/{process.pid}/maps").read_text()
        assert "sklearn" not in loaded
        return cpu_of(process.pid), peak_of(process.pid)


def child_seconds(code: str) -> float:
    """CPU seconds of a process that runs `code`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", code]
    subprocess.run(command, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def p10() -> None:
    """CPU seconds of a start, in processes of their own."""
    help_seconds = np.median([child_seconds(HELP) for _ in range(5)])
    row("P10", "crypto-anomaly --help, CPU", help_seconds, "s", 0.4)
    with tempfile.TemporaryDirectory() as home:
        seconds, megabytes = served(home)
    row("P10", "server ready and first answer, CPU, no sklearn", seconds, "s", 2)
    row("P10", "server memory, peak", megabytes, "MB", 250)
    foreign = {k: v for k, v in os.environ.items() if not k.startswith("CRYPTO_ANOMALY_")}
    with tempfile.TemporaryDirectory() as home:
        start = time.perf_counter()
        command = cli("up", "--once", "--source", "simulated", "--home", home)
        subprocess.run(command, check=True, capture_output=True, env=foreign)
        wall = time.perf_counter() - start
    row("P10", "up --once on a warm install, wall", wall, "s", 60)
