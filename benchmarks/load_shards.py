"""400 products at 5,000 trades a second in two shards, of which one is killed in the middle.

    python benchmarks/load_shards.py --seconds 600 [--products 400] [--rate 5000] [--shards 2]
                                     [--url postgresql+psycopg://…] [--no-kill] [--no-model]

A feed on loopback (`load_feed.py`, a process of its own) sends the trades. Counted at the end: is
every trade that was sent stored, once; how late were trades scored (p50, p99); how long was the
part of the killed shard without an owner; the cores that were used. Nothing leaves this computer.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import psutil
from measure import CLI, HERE, ROWS, free_port, row

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import Workspace, claim, open_workspace
from crypto_anomaly.lifecycle.trade_steps import train_trade_candidate
from crypto_anomaly.simulate.trades import TradeSimulator, trades
from crypto_anomaly.trades.lag import EDGES, lag_quantile
from crypto_anomaly.trades.origin import Origin, claim_store
from crypto_anomaly.trades.product_claims import open_claims
from crypto_anomaly.trades.store import open_store
from crypto_anomaly.trades.table import taken, to_trades

PATIENCE = 120.0  # seconds until everything that was sent is stored


class Run(NamedTuple):
    """A load run."""

    ws: Workspace
    at: str  # address of the feed
    stream: psutil.Popen
    began: float


def options() -> argparse.Namespace:
    """What was asked for."""
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--seconds", type=float, default=60)
    p.add_argument("--products", type=int, default=400)
    p.add_argument("--rate", type=float, default=5000)
    p.add_argument("--shards", type=int, default=2)
    p.add_argument("--url", default="", help="of the store of trades; default a SQLite file")
    p.add_argument("--no-kill", action="store_true")
    p.add_argument("--no-model", action="store_true")
    p.add_argument("--verbose", action="store_true")
    return p.parse_args()


def ask(address: str) -> Any:
    """JSON of a page of the feed."""
    with urllib.request.urlopen(address, timeout=30) as answer:
        return json.loads(answer.read())


def workspace(home: str, feed: str, o: argparse.Namespace) -> Workspace:
    """An empty workspace whose feed is ours; with a model of trades unless told otherwise."""
    urls = dict(coinbase_ws_url=f"ws://{feed}/ws-feed", coinbase_rest_url=f"http://{feed}")
    more = dict(trades_url=o.url) if o.url else {}
    ws = claim(open_workspace(Settings(home=home, source="simulated", **urls, **more)), "simulated")
    claim_store(ws, Origin.SIMULATED)
    if not o.no_model:
        at = pd.Timestamp("2026-01-02", tz="UTC")
        hour = trades(TradeSimulator(), "BTC-USD", at, at + pd.Timedelta("1h"))
        open_store(ws).write(to_trades(taken(hour)))
        train_trade_candidate(ws)
    return ws


def start_stream(ws: Workspace, o: argparse.Namespace) -> psutil.Popen:
    """`crypto-anomaly stream` in its shards."""
    env = dict(
        os.environ,
        CRYPTO_ANOMALY_HOME=str(ws.settings.home),
        CRYPTO_ANOMALY_SOURCE="simulated",
        CRYPTO_ANOMALY_COINBASE_WS_URL=ws.settings.coinbase_ws_url,
        CRYPTO_ANOMALY_COINBASE_REST_URL=ws.settings.coinbase_rest_url,
        CRYPTO_ANOMALY_LOG_LEVEL="INFO" if o.verbose else "WARNING",
    )
    if o.url:
        env["CRYPTO_ANOMALY_TRADES_URL"] = o.url
    command = [sys.executable, "-c", CLI, "stream", "--products", "all", "--shards", str(o.shards)]
    return psutil.Popen(command, env=env, stdout=subprocess.DEVNULL)


def wait_until(what: str, is_true: Any, seconds: float) -> float:  # seconds it took
    """Wait for a condition; an error when it does not come."""
    began = time.monotonic()
    while not is_true():
        if time.monotonic() - began > seconds:
            raise SystemExit(f"not within {seconds:g} s: {what}")
        time.sleep(0.1)
    return time.monotonic() - began


def owned(ws: Workspace) -> dict[str, int]:  # name of a living shard -> its products
    """How many products each living shard streams, by its last report."""
    return {s.name: len(s.report.get("products", ())) for s in open_claims(ws).shards() if s.alive}


def is_heard(run: Run, o: argparse.Namespace) -> bool:
    """Whether all products are subscribed to, and no shard tries subscriptions any more."""
    counts = []
    for _ in range(20):
        counts.append(ask(f"{run.at}/subscribed"))
        time.sleep(0.2)
    return all(n == o.products for n in counts)


def kill_one(run: Run) -> float:  # seconds until others had its products
    """Kill a shard, and wait until its products are streamed again."""
    claims = open_claims(run.ws)
    victim = next(s.name for s in claims.shards() if s.alive)
    mine = {p for p, s in claims.claims().items() if s == victim}
    os.kill(int(victim.split(":")[1]), signal.SIGKILL)

    def is_taken_over() -> bool:
        alive = {s.name for s in claims.shards() if s.alive and s.name != victim}
        now = claims.claims()
        return all(now.get(p) in alive for p in mine)

    return wait_until("the products of the killed shard have an owner", is_taken_over, 60)


def is_stored(run: Run, sent: dict[str, int]) -> bool:
    """Whether the last trade of every product is stored, and no gap is open."""
    store = open_store(run.ws)
    newest = all(store.last_id(name) == n for name, n in sent.items() if n)
    return newest and not store.gaps(opened=True)


def count(run: Run, sent: dict[str, int]) -> tuple[int, int]:  # lost, twice
    """Trades that were sent and are not stored, and trades that are stored more than once."""
    lost = twice = 0
    store = open_store(run.ws)
    for name, n in sent.items():
        ids = store.read(name).trade_id
        lost += n - ids.nunique()
        twice += len(ids) - ids.nunique()
    return lost, twice


def lag_counts(ws: Workspace) -> list[int]:
    """The lags of all shards, also of the killed one."""
    counts = [s.report["lag_counts"] for s in open_claims(ws).shards() if "lag_counts" in s.report]
    return [sum(of_step) for of_step in zip(*counts)]


def cpu_seconds(run: Run, dead: dict[int, float]) -> dict[int, float]:
    """CPU seconds of the processes of the stream so far, by pid."""
    for p in [run.stream, *run.stream.children(recursive=True)]:
        try:
            t = p.cpu_times()
        except psutil.Error:
            continue
        dead[p.pid] = t.user + t.system
    return dead


def load(run: Run, o: argparse.Namespace) -> None:
    """The run itself, and its figures."""
    wait = lambda: sum(owned(run.ws).values()) >= o.products and len(owned(run.ws)) == o.shards  # noqa: E731
    ready = wait_until("all products have a shard", wait, 120)
    ready += wait_until("all products are heard", lambda: is_heard(run, o), 120)
    print(f"ready after {ready:.1f} s: {sorted(owned(run.ws).values())} products", flush=True)
    began, used = time.monotonic(), cpu_seconds(run, {})
    before = sum(used.values())
    ask(f"{run.at}/go")
    taken_over = None
    while time.monotonic() - began < o.seconds:
        time.sleep(1)
        cpu_seconds(run, used)
        if not o.no_kill and taken_over is None and time.monotonic() - began > o.seconds / 2:
            taken_over = kill_one(run)
    ask(f"{run.at}/pause")
    lasted = time.monotonic() - began
    used = cpu_seconds(run, used)
    sent = ask(f"{run.at}/sent")
    settled = wait_until("everything is stored", lambda: is_stored(run, sent), PATIENCE)
    run.stream.send_signal(signal.SIGTERM)
    code = run.stream.wait(40)
    report(run, o, sent, lasted, taken_over, settled, (sum(used.values()) - before) / lasted)
    print(f"the stream ended with code {code}")


def report(
    run: Run,
    o: argparse.Namespace,
    sent: dict[str, int],
    lasted: float,
    taken_over: float | None,
    settled: float,
    cores: float,
) -> None:
    """Print the figures."""
    n = sum(sent.values())
    lost, twice = count(run, sent)
    counts = lag_counts(run.ws)
    print(f"{n:,} trades of {o.products} products in {lasted:.0f} s ({n / lasted:,.0f} a second)")
    row("L1", "trades that are not stored", lost, "", 0)
    row("L1", "trades that are stored twice", twice, "", 0)
    row("L2", "from the exchange to the score, p50", lag_quantile(counts, 0.5) or 0, "s", 1)
    row("L2", "from the exchange to the score, p99", lag_quantile(counts, 0.99) or 0, "s", 1)
    late = sum(n for n, edge in zip(counts, [*EDGES, EDGES[-1]]) if edge > 1) / max(sum(counts), 1)
    row("L2", "trades that were scored more than a second late", 100 * late, "%", 1)
    row("L2", "seconds from the last trade until everything is stored", settled, "s", 10)
    row("L3", "cores that the shards used", cores, "", 2)
    if taken_over is not None:
        row("L4", "seconds until a killed shard's products had an owner", taken_over, "s", 6)
    fetched = n - sum(counts)
    print(f"{fetched:,} trades came over REST after the kill ({fetched / n:.2%})")


def main() -> None:
    """One load run."""
    o = options()
    port = free_port()
    command = [sys.executable, str(Path(HERE) / "load_feed.py"), str(port)]
    command += [str(o.products), str(o.rate)]
    with tempfile.TemporaryDirectory() as home:
        feed = psutil.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            feed.stdout.readline()
            ws = workspace(home, f"127.0.0.1:{port}", o)
            run = Run(ws, f"http://127.0.0.1:{port}", start_stream(ws, o), time.monotonic())
            try:
                load(run, o)
            finally:
                if run.stream.is_running():
                    run.stream.terminate()
                    run.stream.wait(40)
            times = feed.cpu_times()
            print(f"the feed used {times.user + times.system:.0f} CPU seconds")
        finally:
            feed.stdin.close()
            feed.wait(10)
    sys.exit(0 if all(r["ok"] for r in ROWS) else 1)


if __name__ == "__main__":
    main()
