"""Curves of coins and of Dask workers."""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from curves import Curve
from markets import lake_of, synthetic
from measure import cpu, size

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import Workspace, open_workspace
from crypto_anomaly.data.lake import write_part
from crypto_anomaly.data.snapshots import read_snapshots
from crypto_anomaly.data.table import SCHEMA, market_table
from crypto_anomaly.features.build import build_datasets
from crypto_anomaly.features.features import INPUT, featurize
from crypto_anomaly.model.moment import moment_features

NOW = pd.Timestamp("2027-01-01", tz="UTC")
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
    from dask.distributed import Client, LocalCluster

    n, hours = size((40, 720), (300, 2160), (1000, 2160))
    names = ("measured, wall", "ideal", "CPU in all")
    lines: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    contents = []
    with tempfile.TemporaryDirectory() as home:
        lake_of(home, synthetic(n, hours), daily=True)
        for workers in (1, 2):
            with LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
            ) as cluster:
                with Client(cluster) as client:
                    client.run(warm_worker)
                    before = cpu_in_all(client)
                    start = time.perf_counter()
                    built = build(home, cluster.scheduler_address, 9999)
                    seconds = time.perf_counter() - start
                    used = cpu_in_all(client) - before
            contents.append(rows_of(home, built))
            lines["measured, wall"].append((workers, seconds))
            lines["ideal"].append((workers, lines["measured, wall"][0][1] / workers))
            lines["CPU in all"].append((workers, used))
    assert contents[0].equals(contents[1]), "the datasets of one and two workers differ"
    note = f"{n * hours:,} rows to a written dataset; the datasets of 1 and 2 workers are equal"
    return Curve("Dask workers", "workers", "seconds", lines, note)


def cpu_in_all(client: Any) -> float:
    """CPU seconds of the workers and of this process, which takes the tasks of a single worker."""
    return sum(client.run(time.process_time).values()) + time.process_time()


def warm_worker() -> None:
    """A worker has imported the package, and compiled code is loaded."""
    featurize(synthetic(12, 300))


def build(home: str, scheduler: str, hours: int) -> dict:
    """A dataset of a lake on a cluster."""
    ws = open_workspace(Settings(home=home, source="simulated", dask_url=scheduler))
    return build_datasets(ws, max_history_hours=hours, now=NOW)


def rows_of(home: str, built: dict) -> pd.DataFrame:
    """The rows of the training dataset, sorted."""
    version = built["training"]["version"]
    name = "training_dataset"
    files = sorted(Path(home).glob(f"**/{name}/**/*{version}*/**/*.parquet"))
    files = files or sorted(Path(home).glob(f"**/{name}/*{version}*.parquet"))
    assert files, f"no files of {name} {version} under {home}"
    table = pd.concat([pd.read_parquet(f) for f in files])
    return table.sort_values(["coin_id", "ts"], ignore_index=True)
