"""P1 and P2 beside Polars, DuckDB and bottleneck."""

import tempfile
from typing import Any

import numpy as np
import pandas as pd
from bench_features import lags_and_windows
from expert_features import (
    CROSS_Z,
    HISTORY,
    MAD,
    OWN_Z,
    bottleneck_history,
    bottleneck_z,
    duckdb_history,
    duckdb_market,
    duckdb_z,
    matrices,
    polars_features,
    polars_moments_and_history,
    polars_table,
    polars_z,
)
from markets import lake_of, synthetic
from measure import equal, size
from race import Rival, Run, race

from crypto_anomaly.data.lake import list_parts, write_part
from crypto_anomaly.data.snapshots import compact
from crypto_anomaly.data.table import SCHEMA, market_table
from crypto_anomaly.features.config import FeatureConfig
from crypto_anomaly.features.features import INPUT, featurize
from crypto_anomaly.features.medians import baseline
from crypto_anomaly.features.rows import Rows
from crypto_anomaly.features.schema import get_feature_columns
from crypto_anomaly.model.moment import moment_features


def with_polars(f: Any, table: pd.DataFrame) -> Run:
    """`f` over the table as Polars holds it."""
    t = polars_table(table)
    return lambda: f(t)


def with_duckdb(f: Any, table: pd.DataFrame) -> Run:
    """`f` over the table as DuckDB holds it."""
    c = duckdb_market(table)
    return lambda: f(c)


def frame(x: Any) -> pd.DataFrame:
    """The columns of any of them as pandas."""
    if isinstance(x, pd.DataFrame):
        return x
    if isinstance(x, dict):
        return pd.DataFrame(x)
    return x.to_pandas()


def same_columns(columns: list[str]) -> Any:
    """A comparison of two results in these columns."""
    return lambda a, b: equal(frame(a), frame(b), columns)


def market() -> tuple[pd.DataFrame, str]:
    """The market that all of P1 use, and its size as text."""
    coins, hours = size((40, 720), (250, 2160), (1000, 2160))
    return synthetic(coins, hours), f"{coins:,} coins x {hours:,} h"


def history(table: pd.DataFrame, size_text: str) -> None:
    """Lags and windows."""
    rows, config, m = Rows(table, None), FeatureConfig(), matrices(table)
    rivals = [
        Rival("Polars", "polars", lambda: with_polars(polars_moments_and_history, table)),
        Rival("DuckDB", "duckdb", lambda: with_duckdb(duckdb_history, table)),
        Rival("bottleneck", "bottleneck", lambda: lambda: bottleneck_history(m)),
    ]
    what = f"lags, windows and calendar, {size_text}"
    race("P1", what, lambda: lags_and_windows(rows, config), rivals, same=same_columns(HISTORY))


def own_week(table: pd.DataFrame, size_text: str) -> None:
    """The robust z of the own week of one column."""
    rows, config = Rows(table, None), FeatureConfig()
    change = table.price_change_percentage_24h.to_numpy()
    m = change.reshape(table.coin_id.nunique(), -1)

    def ours() -> np.ndarray:
        window = rows.window(config.baseline_hours)
        median, mad = baseline(change, window, rows.rows, config.least_baseline)
        return (change - median) / np.maximum(MAD * mad, 0.2)

    rivals = [
        Rival("Polars", "polars", lambda: with_polars(polars_z, table)),
        Rival("DuckDB", "duckdb", lambda: with_duckdb(duckdb_z, table)),
        Rival("bottleneck", "bottleneck", lambda: lambda: bottleneck_z(m, 0.2)),
    ]
    what = f"robust z of the own week, one column, {size_text}"
    race("P1", what, ours, rivals, same=same_z, rounds=size(2, 2, 2))


def same_z(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two columns are equal, missing values included."""
    return bool(np.allclose(a, b, rtol=1e-6, atol=1e-9, equal_nan=True))


def whole(table: pd.DataFrame, size_text: str) -> None:
    """All that Polars computes, and our surprisals beside it."""
    columns = [*HISTORY, *OWN_Z, *CROSS_Z]
    columns = [c for c in columns if c in get_feature_columns()]
    rivals = [Rival("Polars", "polars", lambda: with_polars(polars_features, table))]
    what = f"all features, ours with surprisals, {size_text}"
    race(
        "P1",
        what,
        lambda: featurize(table),
        rivals,
        same=same_columns(columns),
        rounds=size(2, 2, 2),
    )


def p1() -> None:
    """Features of a whole market."""
    featurize(synthetic(12, 300))  # compiled code is loaded
    table, size_text = market()
    history(table, size_text)
    own_week(table, size_text)
    whole(table, size_text)


def p2() -> None:
    """The newest hour of a lake: every round stores another one."""
    coins, hours, rounds = size(100, 500, 1000), size(480, 720, 720), 3
    table = market_table(synthetic(coins, hours + rounds))
    moments = sorted(table.ts.unique())
    ahead = iter(moments[hours:])
    with tempfile.TemporaryDirectory() as home:
        ws = lake_of(home, table[table.ts < moments[hours]])
        compact(ws, before=moments[hours])
        moment_features(ws)

        def store_next() -> None:
            part = table[table.ts == next(ahead)]
            write_part(ws, "snapshots", part, tag="new", schema=SCHEMA)

        def polars_newest() -> Any:
            import polars as pl

            recent = sorted(list_parts(ws).path)[-12:]  # nine days reach further than a week
            x = pl.scan_parquet(recent).select(INPUT).collect()
            x = polars_features(x.fill_nan(None).sort("coin_id", "ts"))
            return x.filter(pl.col("ts") == pl.col("ts").max())

        rivals = [Rival("Polars", "polars", lambda: polars_newest)]
        columns = [c for c in [*HISTORY, *OWN_Z, *CROSS_Z] if c in get_feature_columns()]
        what = f"features of the newest hour from the lake, {coins:,} coins"
        same = same_columns(columns)
        newest = lambda: moment_features(ws)  # noqa: E731
        race("P2", what, newest, rivals, same=same, rounds=rounds, before=store_next)
