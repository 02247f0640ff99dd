"""Curves of coins and of Dask workers."""

import os
import tempfile
import time
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from curves import Curve
from markets import lake_of, long_lake, synthetic
from measure import cpu, peak_of, size

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import Workspace, open_workspace
from crypto_anomaly.data.lake import write_part
from crypto_anomaly.data.snapshots import read_snapshots
from crypto_anomaly.data.table import SCHEMA, market_table
from crypto_anomaly.features.build import build_datasets
from crypto_anomaly.features.features import INPUT, featurize
from crypto_anomaly.model.moment import moment_features

NOW = pd.Timestamp("2027-01-01", tz="UTC")
LONGEST = (5000, 20_000)  # coins x hours: a hundred million rows, 7 GB in the lake
AT_ONCE = 6400  # coins whose 480 hours are computed in one piece; more would take 10 GB


def coins() -> Curve:
    """The newest hour, and all features of the stored hours, by the number of coins."""
    counts = size((50, 200), (100, 400, 1600, 4000), (100, 400, 1600, 6400, 17_000))
    newest, read, whole = [], [], []
    for n in counts:
        with tempfile.TemporaryDirectory() as home:
            ws, (part,) = lake_without_newest(home, n)
            moment_features(ws)  # what is kept between hours is there
            write_part(ws, "snapshots", part, tag="new", schema=SCHEMA)
            newest.append((n, cpu(lambda ws=ws: moment_features(ws)).seconds))
            seconds, table = cpu(lambda ws=ws: read_snapshots(ws, columns=INPUT))
            read.append((n, seconds))
            if n <= AT_ONCE:
                whole.append((n, cpu(lambda table=table: featurize(table)).seconds))
    lines = {"newest hour": newest, "read 480 h": read, "features of 480 h": whole}
    return Curve("Coins", "coins", "CPU seconds", lines, "480 hours of history, simulated")


def lake_without_newest(home: str, n: int, hours: int = 1) -> tuple[Workspace, list[pd.DataFrame]]:
    """A lake of 480 hours of `n` coins, and the hours after them, one table each."""
    table = market_table(synthetic(n, 480 + hours))
    newest = [table[table.ts == ts] for ts in np.sort(table.ts.unique())[480:]]
    return lake_of(home, table[table.ts < newest[0].ts.min()], daily=True), newest


def dask() -> Curve:
    """Features of a history in partitions, written as a dataset, by the number of workers."""
    n, hours = size((40, 720), (300, 2160), (5000, 2000))
    names = ("measured, wall", "ideal", "CPU in all")
    lines: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    runs = []
    with tempfile.TemporaryDirectory() as home:
        long_lake(home, n, hours)
        for workers in (1, 2):
            run = built_by(home, workers)
            lines["measured, wall"].append((workers, run.seconds))
            lines["ideal"].append((workers, lines["measured, wall"][0][1] / workers))
            lines["CPU in all"].append((workers, run.cpu))
            runs.append(run)
    assert runs[0].hashes == runs[1].hashes, "the datasets of one and two workers differ"
    note = f"{n * hours:,} rows to a written dataset; the files of 1 and 2 workers are equal"
    return Curve("Dask workers", "workers", "seconds", lines, note)


def history() -> Curve:
    """A longer and longer history on two Dask workers: time, and memory of the larger worker."""
    markets = size(((40, 720),), ((300, 2160), (1000, 2160)), ((500, 2000), (5000, 2000), LONGEST))
    lines: dict[str, list[tuple[float, float]]] = {"seconds, wall": [], "MB of a worker": []}
    for n, hours in markets:
        with tempfile.TemporaryDirectory() as home:
            long_lake(home, n, hours)
            run = built_by(home, 2)
        print(f"{n * hours:,} rows: {run.seconds:.0f} s, {run.peak_mb:,.0f} MB", flush=True)
        lines["seconds, wall"].append((n * hours, run.seconds))
        lines["MB of a worker"].append((n * hours, run.peak_mb))
    note = f"a dataset of {run.gigabytes:.2g} GB in the end, on two Dask workers"
    return Curve("Rows of history", "rows", "seconds, MB", lines, note)


class Run(NamedTuple):
    """A dataset that a cluster wrote."""

    seconds: float  # wall
    cpu: float  # seconds of the workers and of this process, which takes some tasks
    peak_mb: float  # of the largest worker
    gigabytes: float  # of the training dataset
    hashes: list[str]  # SHA-256 of each of its files


def built_by(home: str, workers: int) -> Run:
    """Build on a cluster of `workers`; the dataset is removed, for it may fill the disk."""
    from dask.distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            memory_limit=0,
        ) as cluster,
        Client(cluster) as client,
    ):
        client.run(warm_worker)
        before = cpu_in_all(client)
        start = time.perf_counter()
        built = build(home, cluster.scheduler_address)
        seconds = time.perf_counter() - start
        used = cpu_in_all(client) - before
        peak_mb = max(client.run(peak_of, "self").values())
    parts = built["training"]["parts"]
    for part in parts:
        os.remove(part["path"])
    gigabytes = sum(part["bytes"] for part in parts) / 1e9
    return Run(seconds, used, peak_mb, gigabytes, [part["sha256"] for part in parts])


def cpu_in_all(client: Any) -> float:
    """CPU seconds of the workers and of this process, which takes the tasks of a single worker."""
    return sum(client.run(time.process_time).values()) + time.process_time()


def warm_worker() -> None:
    """A worker has imported the package, and compiled code is loaded."""
    featurize(synthetic(12, 300))


def build(home: str, scheduler: str) -> dict[str, Any]:
    """A dataset of all rows of a lake, on a cluster."""
    ws = open_workspace(Settings(home=home, source="simulated", dask_url=scheduler))
    return build_datasets(ws, max_history_hours=10**6, now=NOW)
