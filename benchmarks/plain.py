"""The textbook side of the benchmarks: what a careful pandas user writes for gap-free hourly data.

tests/test_properties.py compares the package with it, too.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

Grouped = Callable[[pd.Series], Any]  # a column, grouped by coin

CHANGES = {
    "price_change_pct_1h": ("price_change_percentage_1h_in_currency", 1),
    "price_change_pct_24h": ("price_change_percentage_24h", 24),
    "price_change_pct_7d": ("price_change_percentage_7d_in_currency", 168),
}
LAGGED = [*CHANGES, "market_cap_to_volume", "sparkline_volatility"]
OWN = {
    "price_change_pct_1h": 0.05,
    "price_change_pct_24h": 0.2,
    "price_change_pct_7d": 0.5,
    "market_cap_to_volume_log": 0.02,
    "sparkline_volatility": 0.001,
    "volume_surge": 0.02,
}
CROSS = {
    "price_change_pct_1h": 0.05,
    "price_change_pct_24h": 0.2,
    "price_change_pct_7d": 0.5,
    "market_cap_to_volume_log": 0.02,
    "sparkline_volatility": 0.001,
    "ath_change_pct": 0.5,
}
MASKED = [
    "current_price",
    "market_cap",
    "total_volume",
    "price_change_percentage_24h",
    "ath_change_percentage",
]


def mad(w: np.ndarray) -> float:
    """Scaled median absolute deviation of a window; NaN values left out."""
    w = w[~np.isnan(w)]
    return 1.4826 * np.median(np.abs(w - np.median(w)))


def ungrouped(x: pd.Series) -> pd.Series:
    """The result of a rolling window by coin, on the index of the table."""
    return x.reset_index(level=0, drop=True)


def base(f: pd.DataFrame, g: Grouped) -> pd.DataFrame:
    """The features of a moment."""
    x = pd.DataFrame(index=f.index)
    for name, (sent, hours) in CHANGES.items():
        own = 100 * g(f.current_price).pct_change(hours, fill_method=None)
        x[name] = f[sent].fillna(own)
    x["market_cap_to_volume"] = f.market_cap / f.total_volume.where(f.total_volume > 0)
    x["ath_change_pct"] = f.ath_change_percentage
    rolling = g(f.current_price).rolling(168, min_periods=1)
    volatility = ungrouped(rolling.std() / rolling.mean())
    x["sparkline_volatility"] = f.sparkline_volatility.fillna(volatility)
    x["price_change_pct_30d"] = f.price_change_percentage_30d_in_currency
    for c in MASKED:
        x[f"{c}_missing"] = f[c].isna().astype(float)
    x["missing_fields"] = x[[f"{c}_missing" for c in MASKED]].sum(axis=1)
    return x


def history(f: pd.DataFrame, x: pd.DataFrame, g: Grouped) -> None:
    """Add lags, windows and calendar to `x`."""
    for c in LAGGED:
        for h in (1, 6, 24):
            x[f"{c}_lag_{h}h"] = g(x[c]).shift(h)
    for h in (6, 24):
        for c in ("price_change_pct_24h", "sparkline_volatility"):
            mean = g(x[c]).rolling(h, min_periods=1).mean()
            x[f"{c}_rolling_mean_{h}h"] = ungrouped(mean)
            std = g(x[c]).rolling(h, min_periods=2).std()
            x[f"{c}_rolling_std_{h}h"] = ungrouped(std)
    x["market_cap_to_volume_log"] = np.log1p(x.market_cap_to_volume)
    x["hour_of_day"], x["day_of_week"] = f.ts.dt.hour, f.ts.dt.day_of_week
    x["hours_since_last"] = g(f.ts).diff().dt.total_seconds() / 3600
    is_gap = (x.hours_since_last > 1.5).astype(float)
    has_gap = g(is_gap).rolling(24, min_periods=1).max() > 0
    x["has_gap_in_history"] = ungrouped(has_gap.astype(float))


def normalised(f: pd.DataFrame, x: pd.DataFrame, g: Grouped) -> None:
    """Add the robust z of the own week and of the market to `x`."""
    volume = np.log(f.total_volume.where(f.total_volume > 0))
    for c, floor in OWN.items():
        v = volume if c == "volume_surge" else x[c]
        past = g(g(v).shift()).rolling(167, min_periods=24)
        median = ungrouped(past.median())
        scale = ungrouped(past.apply(mad, raw=True)).clip(lower=floor)
        if c == "volume_surge":
            x[c] = v - median
        x[f"{c}_own_z"] = (v - median) / scale
    for c, floor in CROSS.items():
        at = x.groupby(f.ts)[c]
        centre = at.transform("median")
        spread = (x[c] - centre).abs().groupby(f.ts).transform("median")
        scale = (1.4826 * spread).clip(lower=floor)
        is_enough = at.transform("count") >= 10
        x[f"{c}_cross_z"] = ((x[c] - centre) / scale).where(is_enough)


def features(table: pd.DataFrame, *, robust_z: bool = True) -> pd.DataFrame:
    """What a row is and every feature, sorted by coin and time."""
    f = table.sort_values(["coin_id", "ts"], ignore_index=True)

    def g(s: pd.Series) -> Any:
        return s.groupby(f.coin_id, sort=False)

    x = base(f, g)
    history(f, x, g)
    if robust_z:
        normalised(f, x, g)
    what = ["coin_id", "symbol", "name", "ts", "current_price", "market_cap", "source"]
    return pd.concat([f[what], x], axis=1)


def sliding_mad_z(x: np.ndarray, floor: float, hours: int = 167, least: int = 24) -> np.ndarray:
    """The robust z of one coin as a numpy expert writes it: all windows sorted at once."""
    padded = np.r_[np.full(hours, np.nan), x[:-1]]
    w = np.lib.stride_tricks.sliding_window_view(padded, hours)
    median = row_medians(w, least)
    scale = 1.4826 * row_medians(np.abs(w - median[:, None]), least)
    return (x - median) / np.maximum(scale, floor)


def row_medians(w: np.ndarray, least: int) -> np.ndarray:
    """The median of each row of `w`; NaN where it has fewer than `least` values."""
    s, r = np.sort(w, axis=1), np.arange(len(w))
    n = (~np.isnan(s)).sum(axis=1)
    lower, upper = s[r, np.maximum(n - 1, 0) // 2], s[r, n // 2]
    return np.where(n >= least, (lower + upper) / 2, np.nan)
