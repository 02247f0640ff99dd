"""P1 and P2: features of a whole lake, and of its newest hour."""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from copy import copy
from typing import NamedTuple

import numpy as np
import pandas as pd
import plain
from markets import lake_of, synthetic
from measure import COINS, cpu, equal, peak, python, row

from crypto_anomaly.data.lake import list_parts, write_part
from crypto_anomaly.data.snapshots import compact, read_snapshots
from crypto_anomaly.data.table import SCHEMA, market_table
from crypto_anomaly.features.base import base_features
from crypto_anomaly.features.config import FeatureConfig
from crypto_anomaly.features.features import INPUT, featurize
from crypto_anomaly.features.medians import baseline
from crypto_anomaly.features.rows import Rows
from crypto_anomaly.features.schema import get_feature_columns
from crypto_anomaly.features.temporal import temporal_features
from crypto_anomaly.model.moment import moment_features

BUILD = """
import pandas as pd
from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import open_workspace
from crypto_anomaly.features.build import build_datasets
ws = open_workspace(Settings(home={home!r}, source='simulated', jobs=1))
build_datasets(ws, max_history_hours=9999, now=pd.Timestamp('2026-04-01', tz='UTC'))
"""
PLAIN_BUILD = """
import glob
import pandas as pd, plain
from crypto_anomaly.features.features import INPUT, META, get_feature_columns
files = sorted(glob.glob('{root}/lake/snapshots/*/*.parquet'))
table = pd.concat([pd.read_parquet(p, columns=INPUT) for p in files], ignore_index=True)
x = plain.features(table, robust_z=False).reindex(columns=[*META, *get_feature_columns()])
x.to_parquet('{home}/x.parquet')
"""


def p1() -> None:
    """Files to features: 1000 coins x 2160 h against textbook pandas, once each.

    It takes ten minutes; BENCH_COINS=200 for a look.
    """
    featurize(synthetic(12, 300))  # compiled code is loaded
    with tempfile.TemporaryDirectory() as home:
        table, temporal = whole_lake(home)
    rows, config = Rows(table, None), FeatureConfig()
    ours = cpu(lambda: lags_and_windows(rows, config)).seconds
    row(
        "P1",
        "lags, windows and calendar alone (no robust z)",
        temporal / ours,
        "x",
        1,
        ours=ours,
        plain=temporal,
    )
    robust_z(config)
    wrong = wrong_hours(featurize)
    share = wrong.by_row_shift / wrong.rows
    what = f"wrong-hour lags with gaps (a row shift has {share:.0%})"
    row("P1", what, wrong.ours, "", 0)
    for figure in memory():
        unit = "x" if figure.bar < 10 else "MB"
        row("P1", figure.what, figure.value, unit, figure.bar)
    for n, seconds in curve(featurize):
        row("P1", f"cost curve: {n:>9,} rows", 1e6 * seconds / n, "us", 8)


def whole_lake(home: str) -> tuple[pd.DataFrame, float]:
    """Both sides over one lake; returns its table, and the plain seconds without robust z."""
    ws = lake_of(home, synthetic(COINS, 2160))
    files = list(list_parts(ws).path)
    ours_read, table = cpu(lambda: read_snapshots(ws, columns=INPUT))
    ours, x = cpu(lambda: featurize(table))
    plain_read, raw = cpu(lambda: read_files(files))
    temporal, _ = cpu(lambda: plain.features(raw, robust_z=False))
    whole, y = cpu(lambda: plain.features(raw))
    same = equal(x, y, [c for c in get_feature_columns() if c in y])
    market = f"{COINS} coins x 2160 h"
    ratio = (plain_read + whole) / (ours_read + ours)
    costs = dict(ours=ours_read + ours, plain=plain_read + whole)
    row("P1", f"files to features, {market}", ratio, "x", 15, same, **costs)
    what = f"features only, {market} ({ours:.1f} s against {whole:.0f} s)"
    row("P1", what, whole / ours, "x", 20, same, ours=ours, plain=whole)
    return table, temporal


def read_files(files: list[str]) -> pd.DataFrame:
    """The lake as pandas reads it, file by file."""
    return pd.concat([pd.read_parquet(p, columns=INPUT) for p in files], ignore_index=True)


def lags_and_windows(rows: Rows, config: FeatureConfig) -> dict[str, np.ndarray]:
    """Lags, windows and calendar of the kernel, without the robust z.

    Where lags and windows begin is looked up anew: rows that are measured twice keep it. The
    volumes are on one level before, as the rivals' columns are prepared.
    """
    rows.column("total_volume")
    rows = copy(rows)
    rows._windows, rows._rows_before = {}, {}
    rows.__dict__.pop("_since_previous", None)
    return dict(temporal_features(rows, base_features(rows, config), config))


def robust_z(config: FeatureConfig) -> None:
    """The robust z of the own week, against numpy's sorted sliding windows."""
    table = synthetic(50, 2160)
    rows, changes = Rows(table, None), table.price_change_percentage_24h.to_numpy()

    def theirs() -> np.ndarray:
        return np.concatenate([plain.sliding_mad_z(x, 0.2) for x in changes.reshape(50, -1)])

    def ours() -> np.ndarray:
        window = rows.window(config.baseline_hours)
        median, mad = baseline(changes, window, rows.rows, config.least_baseline)
        return (changes - median) / np.maximum(1.4826 * mad, 0.2)

    their_seconds, z = cpu(theirs)
    ours()  # compiled code is loaded
    seconds, own = cpu(ours)
    what = "own-week robust z alone, against numpy's sorted sliding windows"
    same = bool(np.allclose(own, z, equal_nan=True))
    row("P1", what, their_seconds / seconds, "x", 5, same, ours=seconds, plain=their_seconds)


class WrongHours(NamedTuple):
    """How many 1 h lags are not what they should be."""

    ours: int
    by_row_shift: int
    rows: int


def wrong_hours(featurize: Callable[[pd.DataFrame], pd.DataFrame]) -> WrongHours:
    """1 h lags of a market in which one hour in eight is missing, by the kernel and a row shift.

    A lag should be the value of that hour, or missing. The value says its own hour.
    """
    f = synthetic(50, 500)
    f["price_change_percentage_24h"] = (f.ts.astype("int64") // 3_600_000_000).astype(float)
    gone = np.random.default_rng(1).choice(f.ts.unique(), 62, replace=False)
    x = featurize(f[~f.ts.isin(gone)])
    x = x.astype({"price_change_pct_24h": float, "price_change_pct_24h_lag_1h": float})
    own_hour = x.price_change_pct_24h
    there = set(zip(x.coin_id, own_hour))
    before = [h - 1 if (c, h - 1) in there else np.nan for c, h in zip(x.coin_id, own_hour)]
    right = pd.Series(before)

    def off(lag: pd.Series) -> int:
        lag = lag.reset_index(drop=True)
        both_missing = lag.isna() & right.isna()
        return int((lag != right).sum() - both_missing.sum())

    shifted = x.groupby("coin_id").price_change_pct_24h.shift(1)
    return WrongHours(off(x.price_change_pct_24h_lag_1h), off(shifted), len(x))


def curve(featurize: Callable[[pd.DataFrame], pd.DataFrame]) -> Iterator[tuple[int, float]]:
    """CPU seconds of 10^4 to 2*10^6 rows of 250 coins."""
    for n in (10_000, 100_000, 1_000_000, 2_000_000):
        f = synthetic(250, n // 250)
        times = 3 if n < 1e6 else 1
        yield n, min(cpu(lambda f=f: featurize(f)).seconds for _ in range(times))


class Figure(NamedTuple):
    """One figure of memory."""

    what: str
    value: float
    bar: float


def memory() -> Iterator[Figure]:
    """Peak memory of a dataset build from files, ours and plain, and of ten million rows.

    The plain side leaves its robust z empty: that would only add memory.
    """
    with tempfile.TemporaryDirectory() as home:
        ws = lake_of(home, synthetic(COINS, 2160), daily=True)
        ours = peak(BUILD.format(home=home))
        theirs = peak(PLAIN_BUILD.format(root=ws.root, home=home))
    against = f"({theirs:,.0f} against {ours:,.0f} MB)"
    yield Figure(f"peak memory of plain over ours {against}, dataset written", theirs / ours, 3)
    with tempfile.TemporaryDirectory() as home:
        fill = python(f"import markets; markets.long_lake({home!r}, 5000, 2000)")
        subprocess.run(fill, check=True)
        start = time.perf_counter()
        used = peak(BUILD.format(home=home))
        seconds = time.perf_counter() - start
    yield Figure(f"dataset of 10,000,000 rows, peak ({seconds:.0f} s wall)", used, 4096)


class Append(NamedTuple):
    """One measured append of the newest hour."""

    seconds: float
    same: bool  # whether its features are those of the batch, to the bit
    plain_read: float  # seconds in which pandas reads the whole lake


def append_newest_hour(home: str, hours: int) -> Append:
    """Store the newest hour of a lake, read what it needs, compute its features."""
    table = market_table(synthetic(COINS, hours))
    newest = table[table.ts == table.ts.max()]
    ws = lake_of(home, table[table.ts < table.ts.max()])
    files = list(list_parts(ws).path)
    plain_read = cpu(lambda: read_files(files)).seconds if hours == 2160 else 0.0
    compact(ws, before=table.ts.max())
    moment_features(ws)

    def append() -> pd.DataFrame:
        write_part(ws, "snapshots", newest, tag="new", schema=SCHEMA)
        return moment_features(ws)

    best = min((cpu(append) for _ in range(3)), key=lambda timed: timed.seconds)
    columns, x = get_feature_columns(), best.result
    whole = featurize(read_snapshots(ws, columns=INPUT))
    batch = whole[whole.ts == x.ts.max()].reset_index(drop=True)
    return Append(best.seconds, x[columns].equals(batch[columns]), plain_read)


def p2() -> None:
    """Append the newest hour of 1000 coins, against a full plain rebuild.

    Reading is measured whole; features are measured on a tenth of the coins and multiplied.
    """
    appends = {}
    for hours in (720, 2160):
        with tempfile.TemporaryDirectory() as home:
            appends[hours] = append_newest_hour(home, hours)
    short, long = appends[720], appends[2160]
    sample = synthetic(COINS // 10, 2160)
    rebuild = long.plain_read + 10 * cpu(lambda: plain.features(sample)).seconds
    newest = f"append the newest hour, {COINS} coins ({1e3 * long.seconds:.0f} ms)"
    what = f"{newest}, equal to the batch to the bit; rebuild from a tenth x 10"
    costs = dict(ours=long.seconds, plain=rebuild)
    row("P2", what, rebuild / long.seconds, "x", 500, long.same, **costs)
    what = "cost with 2160 h of history over cost with 720 h"
    row("P2", what, long.seconds / short.seconds, "", 1.25)
