"""In a crash of the whole market few coins are flagged, and the market itself is."""

import numpy as np
import pandas as pd

from crypto_anomaly.data.table import simulated_table
from crypto_anomaly.eval.benchmark import read_market
from crypto_anomaly.features.features import featurize
from crypto_anomaly.features.market_signals import market_signal
from crypto_anomaly.lifecycle.alert_signals import TIERS
from crypto_anomaly.lifecycle.scan_signals import scan_signals
from crypto_anomaly.model.loading import LoadedModel
from crypto_anomaly.model.scan import scan_features
from crypto_anomaly.model.training import train
from crypto_anomaly.simulate.market import Market

PEGGED = 0.0015  # scale of the hourly moves of a coin that does not follow the market
RATE = 0.005


def betas(table):
    """How far each coin moves when the market moves by one; 0 for pegged coins."""
    prices = table.pivot(index="ts", columns="coin_id", values="current_price")
    moves = np.log(prices).diff()
    market = moves.median(axis=1)
    beta = moves.mul(market, axis=0).sum() / (market**2).sum()
    return beta.where(1.4826 * moves.abs().median() > PEGGED, 0.0).clip(0, 2.5)


def crash(table, seed, fall=0.79, surge=(3, 8)):
    """The table whose last poll falls by its beta, within a percent, on 3 to 8 times the volume."""
    rng = np.random.default_rng(seed)
    out = table.copy()
    last = out.ts == out.ts.max()
    beta = out.coin_id[last].map(betas(table[~last])).fillna(1.0).to_numpy()
    noise = 0.01 * (beta > 0) * rng.standard_normal(last.sum())
    factor = np.exp(beta * np.log(fall) + noise)
    for name in ("current_price", "market_cap"):
        out.loc[last, name] *= factor
    out.loc[last, "total_volume"] *= rng.uniform(*surge, last.sum())
    for name in ("price_change_percentage_24h", "ath_change_percentage"):
        out.loc[last, name] = 100 * ((1 + out.loc[last, name] / 100) * factor - 1)
    return out


def judged(model, table):
    """A scan of the last poll of a table."""
    frame = featurize(table, since=table.ts.max())
    served = LoadedModel(dict(version=1, status="champion"), model)
    return scan_features(served, frame, market=market_signal(table))


def check(table, seeds=4):
    """Crash the last polls of a table, one after another."""
    moments = np.unique(table.ts.to_numpy("datetime64[us]"))
    split = pd.Timestamp(moments[int(0.8 * len(moments))], tz="UTC")
    model = train(featurize(table[table.ts < split]))
    hourly = moments[1:][np.diff(moments) < np.timedelta64(80, "m")]
    shares = []
    for seed in range(seeds):
        until = table[table.ts <= pd.Timestamp(hourly[-1 - 5 * seed], tz="UTC")]
        s = judged(model, crash(until, seed))
        shares.append((s.predictions.p_value <= RATE).mean())
        [market] = [x for x in scan_signals(s) if x.key == "market"]
        assert market.rarity >= TIERS[1], market
        assert s.market.strongest is not None
        assert s.market.now.move_1h < -0.15
        assert s.incident is None
    assert np.mean(shares) <= 0.05, shares


def test_crash_hour_of_a_recorded_market(recordings):
    table = read_market(recordings / "coingecko_hourly")
    check(table[table.ts < table.ts.min() + pd.Timedelta(days=24)])


def test_crash_hour_of_a_simulated_market():
    hours = pd.date_range("2026-01-03", periods=16 * 24, freq="h", tz="UTC")
    check(simulated_table(Market(60, events_per_day=2), hours, coins=60), seeds=2)
