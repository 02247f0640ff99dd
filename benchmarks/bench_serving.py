"""P8 and P10: answers of a server, and what a start costs."""

import http.client
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from bench_cached import wait_until_idle
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


def requests_per_cpu_second(
    command: list[str], env: dict[str, str], asks: list[tuple[str, str]], seconds: float
) -> dict[str, float]:
    """Answers of a server per second of its own CPU, by path.

    Each path is asked over one kept connection for `seconds`, once the server has warmed up.
    """
    port = free_port()
    command = [a.replace("PORT", str(port)) for a in command]
    rates = {}
    with server(command, env, f"http://127.0.0.1:{port}/health") as process:
        wait_until_idle(process.pid)
        for method, path in asks:
            c = http.client.HTTPConnection("127.0.0.1", port)
            ask(c, method, path, 0.5)  # warm-up
            before = cpu_of(process.pid)
            n = ask(c, method, path, seconds)
            rates[path] = n / max(cpu_of(process.pid) - before, 0.01)
    return rates


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

    Both know the same hundred coins.
    """
    with tempfile.TemporaryDirectory() as home:
        ws = trained(home)
        moment_features(ws).to_parquet(f"{home}/moment.parquet")
        hour = trades_of_an_hour(ws)
        env = {"CRYPTO_ANOMALY_HOME": home, "CRYPTO_ANOMALY_LOG_LEVEL": "WARNING"}
        asks = [("GET", "/anomalies?limit=5"), ("POST", "/scan"), ("GET", "/score")]
        ours = requests_per_cpu_second(cli("serve", "--port", "PORT"), env, asks, 4)
        command = [sys.executable, f"{HERE}/plain_server.py", f"{home}/moment.parquet", "PORT"]
        asks = [("GET", "/predict"), ("POST", "/train")]
        plain = requests_per_cpu_second(command, {}, asks, 4)
    predict, train = plain["/predict"], plain["/train"]
    what = "answers per CPU second, cached /anomalies against predict per request"
    rate = ours["/anomalies?limit=5"]
    row("P8", what, rate / predict, "x", 100, ours=1 / rate, plain=1 / predict)
    stored = f"/score ({hour} trades stored)"
    what = f"answers per CPU second, {stored} against predict per request"
    rate = ours["/score"]
    row("P8", what, rate / predict, "x", 100, ours=1 / rate, plain=1 / predict)
    what = "answers per CPU second, cached /scan against train per request"
    rate = ours["/scan"]
    row("P8", what, rate / train, "x", 2000, ours=1 / rate, plain=1 / train)
    print(f"     {ours} against {plain}")


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
