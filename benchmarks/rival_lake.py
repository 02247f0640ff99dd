"""P3 beside Polars, DuckDB and pyarrow: reading the lake."""

import tempfile
from typing import Any

import pandas as pd
from bench_lake import COLUMNS, START, hourly_lake, same
from measure import size
from race import Rival, Run, quiet_duckdb, race

from crypto_anomaly.core.workspace import Workspace
from crypto_anomaly.data.lake import list_parts
from crypto_anomaly.data.snapshots import compact, read_snapshots


def by_polars(files: list[str]) -> Run:
    """Polars' own frame."""
    import polars as pl

    return lambda: pl.read_parquet(files, columns=COLUMNS)


def by_polars_as_pandas(files: list[str]) -> Run:
    """Polars reads, pandas gets it, as ours."""
    import polars as pl

    return lambda: pl.read_parquet(files, columns=COLUMNS).to_pandas()


def by_duckdb(files: list[str]) -> Run:
    """An Arrow table of DuckDB."""
    c = quiet_duckdb()
    query = f"SELECT {', '.join(COLUMNS)} FROM read_parquet({files})"
    return lambda: c.sql(query).to_arrow_table()


def by_pyarrow(files: list[str]) -> Run:
    """A dataset of pyarrow."""
    import pyarrow.dataset as ds

    return lambda: ds.dataset(files, format="parquet").to_table(columns=COLUMNS)


def as_pandas(x: Any) -> pd.DataFrame:
    """A table of any library as pandas."""
    f = x if isinstance(x, pd.DataFrame) else x.to_pandas()
    return f.astype({"coin_id": str, "ts": "datetime64[us, UTC]"})


def same_rows(a: Any, b: Any) -> bool:
    """Whether both hold the same rows, in any order."""
    return same(as_pandas(a), as_pandas(b))


def one_file(ws: Workspace, path: str) -> Run:
    """The least that reading takes: the same columns from one Parquet file."""
    import pyarrow.parquet as pq

    pq.write_table(by_pyarrow(files_of(ws))(), path, compression="zstd")
    return lambda: pq.read_table(path, columns=COLUMNS)


def files_of(ws: Workspace) -> list[str]:
    """The files of the snapshots."""
    return list(list_parts(ws).path)


def read_files(ws: Workspace, what: str, limit: Run) -> None:
    """One row: all snapshots of a workspace."""
    files = files_of(ws)
    rivals = [
        Rival("Polars", "polars", lambda: by_polars(files)),
        Rival("Polars, then pandas", "polars", lambda: by_polars_as_pandas(files)),
        Rival("DuckDB", "duckdb", lambda: by_duckdb(files)),
        Rival("pyarrow", "pyarrow", lambda: by_pyarrow(files)),
    ]

    def plain() -> pd.DataFrame:
        parts = [pd.read_parquet(p, columns=COLUMNS) for p in files]
        return pd.concat(parts, ignore_index=True)

    ours = lambda: read_snapshots(ws, columns=COLUMNS)  # noqa: E731
    rounds = size(2, 3, 3)
    race("P3", what, ours, rivals, same=same_rows, plain=plain, limit=limit, rounds=rounds)


def p3() -> None:
    """A lake of hourly files, as they come and compacted to days."""
    hours = size(240, 2160, 2160)
    with tempfile.TemporaryDirectory() as home:
        ws = hourly_lake(home, hours)
        limit = one_file(ws, f"{home}/all.parquet")
        read_files(ws, f"read {hours:,} hourly files, six columns", limit)
        compact(ws, before=START + pd.Timedelta("400D"))
        read_files(ws, f"read {hours:,} hours as daily files, six columns", limit)
