"""Goals at scale: the newest hour of all coins, a large store, and load runs of their own."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from bench_trades import AT, hours_of_trades, write_batches
from curves_features import lake_without_newest
from curves_trades import PRODUCT, best_ms, write_more
from markets import synthetic
from measure import HERE, ROWS, cpu, line, python, row, size

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import open_workspace
from crypto_anomaly.data.lake import write_part
from crypto_anomaly.data.table import SCHEMA, market_table
from crypto_anomaly.features.features import featurize
from crypto_anomaly.lifecycle.retention_steps import archive_trades
from crypto_anomaly.model.moment import moment_features
from crypto_anomaly.trades.messages import Trade
from crypto_anomaly.trades.store import TradeStore, open_store
from crypto_anomaly.trades.table import to_trades

MOMENT = """
import time
import pandas as pd
from measure import peak_of
from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import open_workspace
from crypto_anomaly.model.moment import moment_features
start = time.process_time()
moment_features(open_workspace(Settings(home={home!r}, source='simulated')))
print(time.process_time() - start, peak_of('self'))
"""


def in_new_process(home: str) -> tuple[float, float]:
    """CPU seconds and peak MB of the newest hour in a process of its own."""
    command = python(MOMENT.format(home=home))
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    seconds, megabytes = map(float, out.split())
    return seconds, megabytes


def p2() -> None:
    """The newest hours of many coins, after the hours before them were seen.

    The first one begins a day, which finds the peers of its coins, and nothing is kept of its
    medians yet. The last ones are computed by processes of their own, which load compiled code
    first.
    """
    n, usual_hours, new_processes = size(200, 4000, 17_000), 4, 3
    featurize(synthetic(12, 300))  # compiled code is loaded
    with tempfile.TemporaryDirectory() as home:
        ws, parts = lake_without_newest(home, n, 1 + usual_hours + new_processes)
        moment_features(ws)
        seconds, fresh = [], []
        for hour, part in enumerate(parts):
            write_part(ws, "snapshots", market_table(part), tag="new", schema=SCHEMA)
            if hour <= usual_hours:
                seconds.append(cpu(lambda: moment_features(ws)).seconds)
            else:
                fresh.append(in_new_process(home))
    first, usual = seconds[0], float(np.median(seconds[1:]))
    in_new, used = np.median([f[0] for f in fresh]), max(f[1] for f in fresh)
    what = f"a newest hour of {n:,} coins"
    row("P2", f"{what}, for each coin", 1e6 * usual / n, "µs", 25, ours=usual)
    row("P2", f"{what}, CPU", usual, "s", 1)
    row("P2", f"{what} in a new process, CPU", in_new, "s", 1)
    row("P2", f"{what} that begins a day and follows a batch, CPU", first, "s", 1)
    row("P2", f"{what}, peak memory of a process", used, "MB", 1024)


def p7() -> None:
    """What a store of one product answers, and what it weighs."""
    n = size(50_000, 500_000, 3_000_000)
    stored = to_trades(hours_of_trades(1))[:10_000]
    with tempfile.TemporaryDirectory() as home:
        store, there = TradeStore(f"sqlite:///{home}/trades.db"), 0
        while there < n:
            added = min(len(stored), n - there)
            write_more(store, stored, there, added)
            there += added
        what = f"of a store of {n:,} trades, wall"
        completeness = best_ms(lambda: store.completeness(PRODUCT))
        is_complete = store.completeness(PRODUCT)["trades"] == n
        row("P7", f"completeness {what}", completeness, "ms", 5, is_complete)
        row("P7", f"newest id {what}", best_ms(lambda: store.last_id(PRODUCT)), "ms", 2)
        files = sum(f.stat().st_size for f in Path(home).rglob("*") if f.is_file())
        row("P7", f"bytes a trade of an open day, {n:,} trades in SQLite", files / n, "B", None)
        store.engine.dispose()
    closed_day()
    kept_days()


def closed_day() -> None:
    """What a trade weighs in the file of a closed day; each has order ids of its own."""
    stored = to_trades(hours_of_trades(size(1, 6, 20)))
    last = stored[-1]
    later = last._replace(trade_id=last.trade_id + 1, ts=last.ts + 86_400_000_000)
    with tempfile.TemporaryDirectory() as home:
        store = TradeStore(f"sqlite:///{home}/trades.db")
        write_batches(store, [*stored, later])
        (part,) = store.archive(pd.Timestamp(later.ts, unit="us", tz="UTC"))
        is_whole = to_trades(store.read(PRODUCT)) == [*stored, later]
        what = f"bytes a trade of a closed day, {part.trades:,} trades in a file"
        used = (store.parts_folder / part.path).stat().st_size
        row("P7", what, used / part.trades, "B", 100, is_whole)
        store.engine.dispose()


def kept_days() -> None:
    """What a trade weighs in a store that moves days into files every night, all files counted.

    Settings are the defaults: which days are moved, and how many are kept. The bar is for the store
    that holds all days that are kept; a week is shown beside it.
    """
    one_day = to_trades(hours_of_trades(1))[: size(2000, 20_000, 20_000)]
    n = len(one_day)
    with tempfile.TemporaryDirectory() as home:
        ws = open_workspace(Settings(home=home, source="simulated"))
        store, kept = open_store(ws), ws.settings.keep_trades_days
        for day in range(1, kept + 1):
            write_batches(store, day_of_trades(one_day, day - 1))
            archive_trades(ws, AT + pd.Timedelta(days=day, minutes=20))  # the daily schedule
            if day not in (7, kept):
                continue
            first = store.read(PRODUCT, last_id=n)
            is_whole = to_trades(first) == day_of_trades(one_day, 0)
            is_whole &= store.completeness(PRODUCT)["trades"] == day * n
            store.engine.dispose()  # writes its log into the database
            used = sum(f.stat().st_size for f in Path(home).rglob("*") if f.is_file())
            what = f"bytes a trade of a store of {day} days, {n:,} trades a day, all files"
            row("P7", what, used / (day * n), "B", 100 if day == kept else None, is_whole)


def day_of_trades(one_day: list[Trade], later: int) -> list[Trade]:
    """The trades of a day, under the ids and times of so many days later."""
    first, shift = 1 + later * len(one_day), later * 86_400_000_000
    return [t._replace(trade_id=i, ts=t.ts + shift) for i, t in enumerate(one_day, first)]


def script(id_: str, *command: str) -> None:
    """The rows of a benchmark that is a program of its own."""
    file = HERE / command[0]
    told = f"python benchmarks/{' '.join(command)}"
    if not file.exists():
        row(id_, told, None, "", 0, why="this checkout does not have it")
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.json"
        env = os.environ | {"BENCH_ROWS": str(rows)}
        done = subprocess.run(
            [sys.executable, str(file), *command[1:]], env=env, stdout=subprocess.PIPE, text=True
        )
        found = json.loads(rows.read_text()) if rows.exists() else []
    for r in found:
        ROWS.append(r)
        print(line(r), flush=True)
    if not found:
        last = done.stdout.strip().splitlines()[-1:] or ["no output"]
        row(id_, told, None, "", 0, why=f"it ended with code {done.returncode}: {last[0][:150]}")


def p8() -> None:
    """Kept answers beside Starlette, path by path, with eight requests in flight."""
    script("P8", "bench_cached.py")


def live() -> None:
    """400 products in one shard at a steady rate; `full` also kills a shard of two."""
    rate, seconds = size((1000, 10), (5000, 30), (25_000, 60))
    shared = ("--products", "400", "--rate", str(rate), "--seconds", str(seconds))
    script("L", "load_shards.py", *shared, "--shards", "1", "--no-kill")
    if size(False, False, True):
        killed = ("--products", "400", "--rate", "5000", "--seconds", "120", "--shards", "2")
        script("L", "load_shards.py", *killed)
