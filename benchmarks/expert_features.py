"""The features as Polars, DuckDB and bottleneck compute them, each in its own frame."""

from typing import Any

import numpy as np
import pandas as pd
import plain
from race import quiet_duckdb

from crypto_anomaly.features.features import INPUT

ROLLED = ("price_change_pct_24h", "sparkline_volatility")
LAGS, WINDOWS = (1, 6, 24), (6, 24)
WEEK, LEAST, MAD = 167, 24, 1.4826
HISTORY = [f"{c}_lag_{h}h" for c in plain.LAGGED for h in LAGS] + [
    f"{c}_rolling_{what}_{h}h" for c in ROLLED for h in WINDOWS for what in ("mean", "std")
]
MISSING = [f"{c}_missing" for c in plain.MASKED]
HISTORY += ["hour_of_day", "day_of_week", "hours_since_last", "has_gap_in_history"]
HISTORY += [*MISSING, "missing_fields"]
OWN_Z = [f"{c}_own_z" for c in plain.OWN]
CROSS_Z = [f"{c}_cross_z" for c in plain.CROSS]


def polars_base(pl: Any) -> list[Any]:
    """The features of a moment, as expressions."""
    volume = pl.when(pl.col("total_volume") > 0).then(pl.col("total_volume"))
    sent = [pl.col(column).alias(name) for name, (column, _) in plain.CHANGES.items()]
    ratio = pl.col("market_cap") / volume
    return [
        *sent,
        ratio.alias("market_cap_to_volume"),
        ratio.log1p().alias("market_cap_to_volume_log"),
        volume.log().alias("volume_log"),
        pl.col("ath_change_percentage").alias("ath_change_pct"),
    ]


def polars_history(pl: Any) -> list[Any]:
    """Lags and windows of each coin, as expressions."""
    found = []
    for c in plain.LAGGED:
        found += [pl.col(c).shift(h).over("coin_id").alias(f"{c}_lag_{h}h") for h in LAGS]
    for c in ROLLED:
        for h in WINDOWS:
            mean = pl.col(c).rolling_mean(h, min_samples=1).over("coin_id")
            std = pl.col(c).rolling_std(h, min_samples=2).over("coin_id")
            names = (f"{c}_rolling_mean_{h}h", f"{c}_rolling_std_{h}h")
            found += [mean.alias(names[0]), std.alias(names[1])]
    return found


def polars_calendar(pl: Any) -> list[Any]:
    """Calendar, gaps and missing fields, as expressions."""
    since = pl.col("ts").diff().over("coin_id").dt.total_seconds() / 3600
    gap = (since > 1.5).fill_null(False).cast(pl.Float64)
    has_gap = gap.rolling_max(24, min_samples=1).over("coin_id") > 0
    missing = [pl.col(c).is_null().cast(pl.Float32) for c in plain.MASKED]
    return [
        pl.col("ts").dt.hour().alias("hour_of_day"),
        (pl.col("ts").dt.weekday() - 1).alias("day_of_week"),
        since.alias("hours_since_last"),
        has_gap.cast(pl.Float32).alias("has_gap_in_history"),
        *(m.alias(name) for m, name in zip(missing, MISSING)),
        pl.sum_horizontal(missing).alias("missing_fields"),
    ]


def polars_moments_and_history(table: Any) -> Any:
    """Base features, lags and windows."""
    import polars as pl

    columns = [*polars_history(pl), *polars_calendar(pl)]
    return table.with_columns(polars_base(pl)).with_columns(columns)


def polars_own_z(pl: Any, x: Any) -> Any:
    """The robust z of the own week: medians of groups that roll, exact."""
    at = x.with_columns(i=pl.int_range(pl.len()).over("coin_id"))
    names = {c: "volume_log" if c == "volume_surge" else c for c in plain.OWN}
    statistics = []
    for c, name in names.items():
        v = pl.col(name)
        statistics += [v.median().alias(f"{c}_median"), v.count().alias(f"{c}_n")]
        statistics += [(v - v.median()).abs().median().alias(f"{c}_mad")]
    week = at.rolling("i", period=f"{WEEK}i", closed="left", group_by="coin_id").agg(statistics)
    both = pl.concat([at, week.drop("coin_id", "i")], how="horizontal")
    z = []
    for c, name in names.items():
        scale = (MAD * pl.col(f"{c}_mad")).clip(lower_bound=plain.OWN[c])
        value = (pl.col(name) - pl.col(f"{c}_median")) / scale
        z.append(pl.when(pl.col(f"{c}_n") >= LEAST).then(value).alias(f"{c}_own_z"))
    return both.with_columns(z)


def polars_cross_z(pl: Any, x: Any) -> Any:
    """The robust z across the market of the hour."""
    centred = [(pl.col(c) - pl.col(c).median().over("ts")).alias(f"{c}_c") for c in plain.CROSS]
    x = x.with_columns(centred)
    z = []
    for c, floor in plain.CROSS.items():
        off = pl.col(f"{c}_c")
        scale = (MAD * off.abs().median().over("ts")).clip(lower_bound=floor)
        z.append((off / scale).alias(f"{c}_cross_z"))
    return x.with_columns(z)


def polars_table(table: pd.DataFrame) -> Any:
    """The market table as Polars holds it, sorted."""
    import polars as pl

    return pl.from_pandas(table.reindex(columns=INPUT), nan_to_null=True).sort("coin_id", "ts")


def polars_features(table: Any) -> Any:
    """Base features, lags, windows, and both robust z."""
    import polars as pl

    return polars_cross_z(pl, polars_own_z(pl, polars_moments_and_history(table)))


def polars_z(table: Any) -> np.ndarray:
    """The robust z of the own week by groups that roll."""
    import polars as pl

    v = pl.col("price_change_percentage_24h")
    at = table.with_columns(i=pl.int_range(pl.len()).over("coin_id"))
    mad = (v - v.median()).abs().median().alias("d")
    rolling = at.rolling("i", period=f"{WEEK}i", closed="left", group_by="coin_id")
    week = rolling.agg(v.median().alias("m"), v.count().alias("n"), mad)
    both = pl.concat([at, week.drop("coin_id", "i")], how="horizontal")
    z = (v - pl.col("m")) / (MAD * pl.col("d")).clip(lower_bound=0.2)
    return both.select(z=pl.when(pl.col("n") >= LEAST).then(z))["z"].to_numpy()


def duckdb_history(c: Any) -> Any:
    """Lags and windows of each coin by window functions, as an Arrow table."""
    base = ", ".join(f"{column} AS {name}" for name, (column, _) in plain.CHANGES.items())
    found = []
    for name in plain.LAGGED:
        found += [f"lag({name}, {h}) OVER w AS {name}_lag_{h}h" for h in LAGS]
    for name in ROLLED:
        for h in WINDOWS:
            over = f"OVER (w ROWS BETWEEN {h - 1} PRECEDING AND CURRENT ROW)"
            found.append(f"avg({name}) {over} AS {name}_rolling_mean_{h}h")
            found.append(f"stddev_samp({name}) {over} AS {name}_rolling_std_{h}h")
    masks = [f"({c} IS NULL OR isnan({c}))::INT AS {c}_missing" for c in plain.MASKED]
    query = f"""
        WITH b AS (SELECT coin_id, ts, {base}, sparkline_volatility, {", ".join(masks)},
            market_cap / nullif(total_volume, 0) AS market_cap_to_volume,
            date_diff('second', lag(ts) OVER w, ts) / 3600 AS hours_since_last FROM m
            WINDOW w AS (PARTITION BY coin_id ORDER BY ts))
        SELECT {", ".join(found)}, hours_since_last, {", ".join(MISSING)},
            {" + ".join(MISSING)} AS missing_fields,
            epoch_us(ts) // 3600000000 % 24 AS hour_of_day,
            (epoch_us(ts) // 86400000000 + 3) % 7 AS day_of_week,
            coalesce(max(hours_since_last > 1.5) OVER
                (w ROWS BETWEEN 23 PRECEDING AND CURRENT ROW), false)::INT AS has_gap_in_history
        FROM b WINDOW w AS (PARTITION BY coin_id ORDER BY ts) ORDER BY coin_id, ts"""
    return c.sql(query).to_arrow_table()


def matrices(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Columns of a gap-free market as (coins, hours)."""
    coins = table.coin_id.nunique()
    names = [*(c for c, _ in plain.CHANGES.values()), *plain.MASKED, "sparkline_volatility"]
    found = {c: table[c].to_numpy().reshape(coins, -1) for c in names}
    return found | {"t": table.ts.astype("int64").to_numpy().reshape(coins, -1)}  # µs


def bottleneck_history(m: dict[str, np.ndarray]) -> pd.DataFrame:
    """Lags and windows on matrices of coins by hours."""
    import bottleneck as bn

    x = {name: m[sent] for name, (sent, _) in plain.CHANGES.items()}
    x["market_cap_to_volume"] = m["market_cap"] / m["total_volume"]
    x["sparkline_volatility"] = m["sparkline_volatility"]
    found = {}
    for c in plain.LAGGED:
        for h in LAGS:
            lagged = np.full_like(x[c], np.nan)
            lagged[:, h:] = x[c][:, :-h]
            found[f"{c}_lag_{h}h"] = lagged.ravel()
    for c in ROLLED:
        for h in WINDOWS:
            mean = bn.move_mean(x[c], h, min_count=1, axis=1)
            std = bn.move_std(x[c], h, min_count=2, axis=1, ddof=1)
            found[f"{c}_rolling_mean_{h}h"] = mean.ravel()
            found[f"{c}_rolling_std_{h}h"] = std.ravel()
    return pd.DataFrame(found | bottleneck_calendar(m))


def bottleneck_calendar(m: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Calendar, gaps and missing fields on matrices."""
    import bottleneck as bn

    hour = m["t"] // 3_600_000_000
    since = np.full(hour.shape, np.nan)
    since[:, 1:] = np.diff(m["t"], axis=1) / 3.6e9
    missing = {f"{c}_missing": np.isnan(m[c]) for c in plain.MASKED}
    found = dict(
        hour_of_day=hour % 24,
        day_of_week=(hour // 24 + 3) % 7,
        hours_since_last=since,
        has_gap_in_history=bn.move_max((since > 1.5).astype(float), 24, min_count=1, axis=1),
        missing_fields=np.sum([*missing.values()], axis=0),
    )
    return {name: v.ravel() for name, v in (found | missing).items()}


def bottleneck_z(m: np.ndarray, floor: float) -> np.ndarray:
    """The robust z of the own week on a matrix of coins by hours."""
    import bottleneck as bn

    out = np.empty(m.shape)
    for k, x in enumerate(m):
        padded = np.r_[np.full(WEEK, np.nan), x[:-1]]
        w = np.lib.stride_tricks.sliding_window_view(padded, WEEK)
        median = bn.move_median(padded, WEEK, min_count=LEAST)[WEEK - 1 :]
        mad = MAD * bn.nanmedian(np.abs(w - median[:, None]), axis=1)
        out[k] = (x - median) / np.maximum(mad, floor)
    return out.ravel()


def duckdb_z(c: Any) -> np.ndarray:
    """The robust z of the own week by windowed aggregates."""
    past = f"(w ROWS BETWEEN {WEEK} PRECEDING AND 1 PRECEDING)"
    query = f"""
        WITH z AS (SELECT coin_id, ts, price_change_percentage_24h AS v,
            median(v) OVER {past} AS m, mad(v) OVER {past} AS d, count(v) OVER {past} AS n FROM m
            WINDOW w AS (PARTITION BY coin_id ORDER BY ts))
        SELECT CASE WHEN n >= {LEAST} THEN (v - m) / greatest({MAD} * d, 0.2) END AS z
        FROM z ORDER BY coin_id, ts"""
    return c.sql(query).df().z.to_numpy(float)


def duckdb_market(table: pd.DataFrame) -> Any:
    """A connection to DuckDB in which `m` is the market table."""
    c = quiet_duckdb()
    given = table.reindex(columns=INPUT)  # noqa: F841  # DuckDB reads it by its name
    c.execute("CREATE TABLE m AS SELECT * FROM given")
    return c
