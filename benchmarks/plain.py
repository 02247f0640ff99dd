"""The textbook side of the benchmarks: what a careful pandas user writes for gap-free hourly data. Also the reference of tests/test_properties.py."""

import numpy as np
import pandas as pd

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


def base(f: pd.DataFrame, g) -> pd.DataFrame:
    x = pd.DataFrame(index=f.index)
    for name, (sent, hours) in CHANGES.items():
        x[name] = f[sent].fillna(100 * g(f.current_price).pct_change(hours, fill_method=None))
    x["market_cap_to_volume"] = f.market_cap / f.total_volume.where(f.total_volume > 0)
    x["ath_change_pct"] = f.ath_change_percentage
    rolling = g(f.current_price).rolling(168, min_periods=1)
    x["sparkline_volatility"] = f.sparkline_volatility.fillna(
        (rolling.std() / rolling.mean()).reset_index(level=0, drop=True)
    )
    x["price_change_pct_30d"] = f.price_change_percentage_30d_in_currency
    for c in MASKED:
        x[f"{c}_missing"] = f[c].isna().astype(float)
    x["missing_fields"] = x[[f"{c}_missing" for c in MASKED]].sum(axis=1)
    return x


def history(f: pd.DataFrame, x: pd.DataFrame, g) -> None:
    for c in LAGGED:
        for h in (1, 6, 24):
            x[f"{c}_lag_{h}h"] = g(x[c]).shift(h)
    for h in (6, 24):
        for c in ("price_change_pct_24h", "sparkline_volatility"):
            x[f"{c}_rolling_mean_{h}h"] = (
                g(x[c]).rolling(h, min_periods=1).mean().reset_index(level=0, drop=True)
            )
            x[f"{c}_rolling_std_{h}h"] = (
                g(x[c]).rolling(h, min_periods=2).std().reset_index(level=0, drop=True)
            )
    x["market_cap_to_volume_log"] = np.log1p(x.market_cap_to_volume)
    x["hour_of_day"], x["day_of_week"] = f.ts.dt.hour, f.ts.dt.day_of_week
    x["hours_since_last"] = g(f.ts).diff().dt.total_seconds() / 3600
    x["has_gap_in_history"] = (
        (g((x.hours_since_last > 1.5).astype(float)).rolling(24, min_periods=1).max() > 0)
        .astype(float)
        .reset_index(level=0, drop=True)
    )


def normalised(f: pd.DataFrame, x: pd.DataFrame, g) -> None:
    volume = np.log(f.total_volume.where(f.total_volume > 0))
    for c, floor in OWN.items():
        v = volume if c == "volume_surge" else x[c]
        past = g(g(v).shift()).rolling(167, min_periods=24)
        median = past.median().reset_index(level=0, drop=True)
        scale = past.apply(mad, raw=True).reset_index(level=0, drop=True).clip(lower=floor)
        if c == "volume_surge":
            x[c] = v - median
        x[f"{c}_own_z"] = (v - median) / scale
    for c, floor in CROSS.items():
        at = x.groupby(f.ts)[c]
        centre = at.transform("median")
        spread = (x[c] - centre).abs().groupby(f.ts).transform("median")
        x[f"{c}_cross_z"] = ((x[c] - centre) / (1.4826 * spread).clip(lower=floor)).where(
            at.transform("count") >= 10
        )


def features(table: pd.DataFrame, *, robust_z: bool = True) -> pd.DataFrame:
    """What a row is and every feature, sorted by coin and time."""
    f = table.sort_values(["coin_id", "ts"], ignore_index=True)
    g = lambda s: s.groupby(f.coin_id, sort=False)  # noqa: E731
    x = base(f, g)
    history(f, x, g)
    if robust_z:
        normalised(f, x, g)
    return pd.concat(
        [f[["coin_id", "symbol", "name", "ts", "current_price", "market_cap", "source"]], x], axis=1
    )


def sliding_mad_z(x: np.ndarray, floor: float, hours: int = 167, least: int = 24) -> np.ndarray:
    """The robust z of one coin as a numpy expert writes it: all windows sorted at once."""

    def medians(w):
        s, r = np.sort(w, axis=1), np.arange(len(w))
        n = (~np.isnan(s)).sum(axis=1)
        return np.where(n >= least, (s[r, np.maximum(n - 1, 0) // 2] + s[r, n // 2]) / 2, np.nan)

    w = np.lib.stride_tricks.sliding_window_view(np.r_[np.full(hours, np.nan), x[:-1]], hours)
    median = medians(w)
    return (x - median) / np.maximum(1.4826 * medians(np.abs(w - median[:, None])), floor)
