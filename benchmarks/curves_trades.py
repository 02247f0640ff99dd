"""Curves of stored trades and of streamed products."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench_trades import hours_of_trades
from curves import Curve
from measure import HERE, size

from crypto_anomaly.trades.store import TradeStore
from crypto_anomaly.trades.table import to_trades

PRODUCT, BATCH = "BTC-USD", 5000


def best_ms(f: Callable[[], object], times: int = 3) -> float:
    """The best wall milliseconds of a call."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        f()
        found.append(1e3 * (time.perf_counter() - start))
    return min(found)


def trades() -> Curve:
    """What a store answers, and what it weighs, by the trades in it."""
    counts = size((10_000, 40_000), (10_000, 100_000, 1_000_000), (10_000, 300_000, 3_000_000))
    stored = to_trades(hours_of_trades(1))[:10_000]
    newest_id = len(stored)
    lines: dict[str, list[tuple[float, float]]] = {
        name: []
        for name in (
            "completeness, ms",
            "newest id, ms",
            "newest 5,000 read, ms",
            "µs a trade, writing",
            "bytes a trade",
        )
    }
    with tempfile.TemporaryDirectory() as home:
        store, there = TradeStore(f"sqlite:///{home}/trades.db"), 0
        for n in counts:
            start = time.perf_counter()
            added = n - there
            while there < n:
                write_more(store, stored, there, min(newest_id, n - there))
                there += min(newest_id, n - there)
            written = 1e6 * (time.perf_counter() - start) / added
            used = sum(f.stat().st_size for f in Path(home).rglob("*") if f.is_file())
            values = (
                best_ms(lambda: store.completeness(PRODUCT)),
                best_ms(lambda: store.last_id(PRODUCT)),
                best_ms(lambda: store.read(PRODUCT, newest=5000)),
                written,
                used / n,
            )
            for line, value in zip(lines.values(), values):
                line.append((n, max(value, 1e-3)))
        store.engine.dispose()
    note = "one product in SQLite"
    return Curve("Stored trades", "trades", "ms, µs or bytes", lines, note)


def write_more(store: TradeStore, stored: list, there: int, n: int) -> None:
    """Write `n` more trades, under the ids and times that follow."""
    span = stored[-1].ts - stored[0].ts + 1_000_000
    turn = there // len(stored)
    first = stored[0].trade_id
    for i in range(0, n, BATCH):
        part = stored[i : min(i + BATCH, n)]
        store.write(
            t._replace(
                trade_id=t.trade_id - first + 1 + turn * len(stored),
                ts=t.ts - 60 * span + turn * span,
            )
            for t in part
        )


def products() -> Curve:
    """The live stream by the number of products, at a steady rate (benchmarks/load_shards.py)."""
    rate, seconds = size((200, 6), (1000, 20), (2000, 60))
    lines: dict[str, list[tuple[float, float]]] = {"cores": [], "lag p50, s": [], "lag p99, s": []}
    for n in size((10, 40), (10, 100, 400), (10, 100, 400)):
        found = stream(n, rate, seconds)
        lines["cores"].append((n, found["cores that the shards used"]))
        lines["lag p50, s"].append((n, found["from the exchange to the score, p50"]))
        lines["lag p99, s"].append((n, found["from the exchange to the score, p99"]))
    note = f"{rate:,} trades a second in all, one shard, {seconds} s"
    return Curve("Streamed products", "products", "cores, or seconds", lines, note)


def stream(n: int, rate: int, seconds: int) -> dict[str, float]:
    """The figures of a load run, by what they are."""
    with tempfile.TemporaryDirectory() as home:
        file = Path(home) / "rows.json"
        command = [sys.executable, str(HERE / "load_shards.py"), "--products", str(n)]
        command += ["--rate", str(rate), "--seconds", str(seconds), "--shards", "1", "--no-kill"]
        subprocess.run(command, env=os.environ | {"BENCH_ROWS": str(file)}, check=False)
        rows = json.loads(file.read_text())
    lost = [r for r in rows if r["what"].startswith("trades that are") and r["value"]]
    assert not lost, lost
    return {r["what"]: max(r["value"], 1e-3) for r in rows}
