"""The newest hour by number of coins: from kept hours, and from the whole history beside it.

`python benchmarks/newest_hour.py 250 1000 5000 17000`; each size in a process of its own.
"""

import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import numpy as np
import pandas as pd
from markets import blocks, lake_of, synthetic
from measure import peak_of, python

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import Workspace, open_workspace
from crypto_anomaly.data.lake import write_part
from crypto_anomaly.data.snapshots import read_snapshots
from crypto_anomaly.data.table import SCHEMA, market_table
from crypto_anomaly.features.config import FeatureConfig
from crypto_anomaly.features.features import INPUT, featurize
from crypto_anomaly.features.newest_features import newest_features

HOURS = 560  # of history: every window is full
BATCH_COINS = 1000  # the batch beside it is measured up to here; it grows with the square


class Newest(NamedTuple):
    """One measured newest hour."""

    coins: int
    cpu: float  # seconds
    wall: float  # seconds
    megabytes: float  # peak of the process
    batch: float  # CPU seconds of the whole history; NaN = not measured
    equal: bool | None  # to the bit


def fill(home: str, coins: int) -> None:
    """A lake of all hours but the last, and of the last one in a file beside it."""
    last = []
    for table in blocks(coins, HOURS):
        lake_of(home, table[table.ts < table.ts.max()], daily=True)
        last.append(table[table.ts == table.ts.max()])
    pd.concat(last).to_parquet(f"{home}/newest.parquet")


def stored(home: str) -> Workspace:
    """The workspace of `fill`."""
    return open_workspace(Settings(home=home, source="simulated"))


def keep(home: str) -> None:
    """Compute what is kept of all hours but the last."""
    ws = stored(home)
    newest_features(ws, read_snapshots(ws, columns=[]).ts.max())


def measure(home: str, coins: int) -> Newest:
    """Store the newest hour and compute its features, both ways."""
    newest = pd.read_parquet(f"{home}/newest.parquet")
    ws = stored(home)
    featurize(synthetic(12, 30))  # compiled code is loaded
    ts = newest.ts.max()
    write_part(ws, "snapshots", market_table(newest), tag="new", schema=SCHEMA)
    wall, cpu = time.perf_counter(), time.process_time()
    live = newest_features(ws, ts)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    megabytes = peak_of("self")
    if coins > BATCH_COINS:
        return Newest(coins, cpu, wall, megabytes, np.nan, None)
    start = time.process_time()
    reach = pd.Timedelta(hours=FeatureConfig().lookback)
    history = read_snapshots(ws, start=ts - reach, columns=INPUT)
    batch = featurize(history, since=ts)
    seconds = time.process_time() - start
    return Newest(coins, cpu, wall, megabytes, seconds, batch.equals(live))


def show(found: Newest) -> None:
    """Print one size."""
    times = found.batch / found.cpu
    ratio = "" if np.isnan(times) else f", batch {found.batch:.2f} s: x{times:.0f}"
    same = {None: "", True: ", equal to the bit", False: ", OUTPUTS DIFFER"}[found.equal]
    print(
        f"{found.coins:6} coins: {found.cpu:.3f} s CPU ({1e6 * found.cpu / found.coins:.0f} us a "
        f"coin), {found.wall:.3f} s wall, peak {found.megabytes:.0f} MB{ratio}{same}",
        flush=True,
    )


def run(coins: int) -> None:
    """One size: each step in a process of its own, so that the peak is that of the newest hour."""
    with tempfile.TemporaryDirectory() as home:
        for step in (
            f"fill({home!r}, {coins})",
            f"keep({home!r})",
            f"show(measure({home!r}, {coins}))",
        ):
            subprocess.run(python(f"from newest_hour import *; {step}"), check=True)


if __name__ == "__main__":
    for size in sys.argv[1:] or ["250", "1000", "5000", "17000"]:
        run(int(size))
