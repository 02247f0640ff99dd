"""Synthetic markets for the benchmarks, and lakes that hold them."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

CHANGES = {
    "price_change_percentage_1h_in_currency": 1,
    "price_change_percentage_24h": 24,
    "price_change_percentage_7d_in_currency": 168,
    "price_change_percentage_30d_in_currency": 720,
}  # column -> hours
BLOCK = 1000  # coins of a wide market that are made at once
PIECE = 240  # hours of a long lake that are made at once


def synthetic(coins: int, hours: int, seed: int = 0) -> pd.DataFrame:
    """A gap-free market table of heavy-tailed walks, with every field that features read."""
    rng = np.random.default_rng(seed)
    price = 10 * np.exp(np.cumsum(rng.standard_t(4, (coins, hours)) * 0.006, axis=1))
    n = coins * hours
    ids = [f"coin{i:05}" for i in range(coins)]
    ts = pd.date_range("2026-01-01", periods=hours, freq="h", tz="UTC", unit="us")
    f = pd.DataFrame(dict(coin_id=np.repeat(ids, hours), ts=np.tile(ts, coins)))
    f["symbol"] = f["name"] = f.coin_id
    f["current_price"] = price.ravel()
    f["market_cap"] = (price * 1e7).ravel()
    f["total_volume"] = rng.lognormal(15, 0.4, n)
    f["market_cap_rank"] = 1.0
    f["ath_change_percentage"] = -np.abs(rng.normal(50, 10, n))
    f["sparkline_volatility"] = rng.uniform(0.01, 0.1, n)
    for name, h in CHANGES.items():
        f[name] = percent_change(price, h).ravel()
    return f.assign(approximate=False, source="bench", run_id="b", last_updated=f.ts)


def blocks(coins: int, hours: int) -> Iterator[pd.DataFrame]:
    """A market of many coins, a thousand at a time: all of them at once need gigabytes."""
    for k in range(0, coins, BLOCK):
        table = synthetic(min(BLOCK, coins - k), hours, seed=k)
        table["coin_id"] = table.coin_id + f"-{k}"
        yield table.assign(source="coingecko", circulating_supply=1e7)


def percent_change(price: np.ndarray, hours: int) -> np.ndarray:
    """Change of each row of `price` over `hours`; NaN where no price is that old."""
    change = np.full(price.shape, np.nan)
    if price.shape[1] > hours:
        change[:, hours:] = 100 * (price[:, hours:] / price[:, :-hours] - 1)
    return change


def lake_of(home: str, table: pd.DataFrame, *, daily: bool = False, **settings):
    """A workspace with `table` in hourly files, or daily ones."""
    from crypto_anomaly.core.settings import Settings
    from crypto_anomaly.core.workspace import claim, open_workspace
    from crypto_anomaly.data.lake import write_part
    from crypto_anomaly.data.table import SCHEMA, market_table

    ws = open_workspace(Settings(home=home, source="simulated", **settings))
    ws = claim(ws, "simulated")
    ts = table.sort_values(["ts", "coin_id"], ignore_index=True).ts
    for _, part in market_table(table).groupby(ts.dt.floor("D" if daily else "h")):
        write_part(ws, "snapshots", part, tag="b", schema=SCHEMA)
    return ws


def long_lake(home: str, coins: int, hours: int) -> None:
    """A lake of a history that does not fit into memory, ten days at a time."""
    for k, first in enumerate(range(0, hours, PIECE)):
        f = synthetic(coins, min(PIECE, hours - first), seed=k)
        lake_of(home, f.assign(ts=f.ts + pd.Timedelta(hours=first)), daily=True)


def forest_rows(n: int, d: int, seed: int = 0) -> np.ndarray:
    """Heavy-tailed float32 rows, one value in twenty missing."""
    rng = np.random.default_rng(seed)
    x = rng.standard_t(3, (n, d)).astype(np.float32)
    x[rng.random(x.shape, dtype=np.float32) < 0.05] = np.nan
    return x
