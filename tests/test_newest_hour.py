"""The newest hour from kept hours is the batch to the bit, whatever happens to the lake."""

import logging

import numpy as np
import pandas as pd
import pytest

import crypto_anomaly.features.kept_polls
import crypto_anomaly.features.slid_windows
from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.data.lake import list_parts
from crypto_anomaly.data.snapshots import compact, read_snapshots, write_days
from crypto_anomaly.data.table import market_table
from crypto_anomaly.features.config import FeatureConfig
from crypto_anomaly.features.features import INPUT, featurize
from crypto_anomaly.features.kept_hours import kept_folder, read_index
from crypto_anomaly.features.market_signals import kept_signal, market_signal
from crypto_anomaly.features.newest_features import newest_features, newest_hour
from crypto_anomaly.model.moment import find_left_out, kept_left_out

HOURS = pd.date_range("2026-01-03", periods=160, freq="h", tz="UTC")
COINS = [f"coin-{i:02}" for i in range(14)]
CONFIG = FeatureConfig(impute_lag_hours=2)


def market(seed: int) -> pd.DataFrame:
    """A random market with gaps, missing fields and a peg; coins may be polled a little apart."""
    rng = np.random.default_rng(seed)
    n = len(HOURS) * len(COINS)
    f = pd.DataFrame(dict(ts=np.repeat(HOURS, len(COINS)), coin_id=np.tile(COINS, len(HOURS))))
    steps = rng.standard_t(4, (len(HOURS), len(COINS))) * 0.006
    f["current_price"] = 10 * np.exp(steps.cumsum(0)).ravel()
    peg = f.coin_id == COINS[3]
    f.loc[peg, "current_price"] = 1 + 0.0003 * rng.normal(size=peg.sum())
    f["market_cap"] = f.current_price * 1e7
    f["total_volume"] = rng.lognormal(15, 0.4, n)
    f["circulating_supply"] = 1e7 * (1 + 0.001 * rng.normal(size=n))
    f["price_change_percentage_24h"] = rng.normal(size=n)
    f["ath_change_percentage"] = -50.0
    for column in ("current_price", "total_volume", "price_change_percentage_24h"):
        f.loc[rng.random(n) < 0.02, column] = np.nan
    if seed:
        f["ts"] += pd.to_timedelta(rng.integers(0, 80, n), unit="s")
    names = dict(symbol=f.coin_id, name=f.coin_id, source="simulated", run_id="r")
    f = f.assign(approximate=False, last_updated=f.ts, **names)
    f = market_table(f[rng.random(n) > 0.04])
    return f.reset_index(drop=True)


class Lake:
    """A workspace, and its newest hour by both ways."""

    def __init__(self, home, caplog) -> None:
        self.ws = claim(open_workspace(Settings(home=home, source="simulated")), "simulated")
        self.caplog = caplog
        caplog.set_level(logging.INFO)

    def computed_anew(self) -> int:
        """Compare the newest hour with the batch; how often all was computed anew for it."""
        self.caplog.clear()
        stored = read_snapshots(self.ws, columns=INPUT)
        ts = stored.ts.max()
        hour = newest_hour(self.ws, ts, CONFIG, least=0)
        since = ts - pd.Timedelta("1h") + pd.Timedelta("1us")
        batch = featurize(stored, CONFIG)
        batch = batch[batch.ts >= since].reset_index(drop=True)
        pd.testing.assert_frame_equal(hour.features, batch, check_exact=True)
        left_out = kept_left_out(self.ws, hour, ts)
        pd.testing.assert_frame_equal(left_out, find_left_out(stored), check_exact=True)
        kept, market = kept_signal(hour.past, ts), market_signal(stored)
        pd.testing.assert_frame_equal(kept.series, market.series, check_exact=True)
        pd.testing.assert_frame_equal(kept.moves, market.moves, check_exact=True)
        assert repr(kept.rarities) == repr(market.rarities)
        assert (kept.ts, kept.coins, kept.hours) == (market.ts, market.coins, market.hours)
        return sum("computed anew" in r.message for r in self.caplog.records)

    def kept(self) -> int:
        """How many polls are kept."""
        return len(read_index(kept_folder(self.ws, CONFIG)).polls)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_newest_hour_is_the_batch(tmp_path, caplog, seed):
    """Gaps, coins that come and go, a second poll in an hour, compaction, corrections, imports."""
    f, lake = market(seed), Lake(tmp_path, caplog)
    hour = f.ts.dt.floor("h")
    leaves = (f.coin_id == COINS[5]) & (hour > HOURS[150])
    comes = (f.coin_id == COINS[0]) & (hour < HOURS[152])
    late = f.coin_id.eq(COINS[7]) & (hour == HOURS[149])
    f, rest = f[~(leaves | comes | late)], f[late]
    hour = f.ts.dt.floor("h")
    write_days(lake.ws, f[hour <= HOURS[148]], "past")
    assert lake.computed_anew() == 1
    for number in range(149, 155):
        write_days(lake.ws, f[hour == HOURS[number]], "hour")
        assert lake.computed_anew() == 0
    again = f[hour == HOURS[154]].assign(ts=f.ts + pd.Timedelta("25min"))
    write_days(lake.ws, again, "again")  # a second poll within the hour
    assert lake.computed_anew() == 0
    compact(lake.ws, before=HOURS[155])
    assert lake.computed_anew() == 0
    write_days(lake.ws, rest, "import")  # a row of six hours ago comes late
    assert lake.computed_anew() == 0
    assert lake.kept() == len(read_snapshots(lake.ws).ts.dt.floor("20min").unique())


def test_corrections_and_deletions_are_seen(tmp_path, caplog):
    """A row that is changed or deleted leaves no statistic behind."""
    f, lake = market(0), Lake(tmp_path, caplog)
    for _, day in f[f.ts <= HOURS[150]].groupby(f.ts.dt.floor("D")):
        write_days(lake.ws, day, "day")
    assert lake.computed_anew() == 1
    last = list_parts(lake.ws).path.iloc[-1]
    rows = pd.read_parquet(last)
    rows.loc[rows.index[5], "current_price"] *= 1.5
    rows.to_parquet(last)
    assert lake.computed_anew() == 0
    rows.drop(index=rows.index[9]).to_parquet(last)
    assert lake.computed_anew() == 0
    first = list_parts(lake.ws).path.iloc[0]
    pd.read_parquet(first).iloc[3:].to_parquet(first)  # of the first hour: all is stale
    assert lake.computed_anew() == 1


def test_what_is_kept_may_be_lost_or_broken(tmp_path, caplog):
    """Files that are gone, short or of other code are computed again; other settings are apart."""
    f, lake = market(1), Lake(tmp_path, caplog)
    write_days(lake.ws, f[f.ts <= HOURS[150]], "past")
    assert lake.computed_anew() == 1
    folder = kept_folder(lake.ws, CONFIG)
    assert folder != kept_folder(lake.ws, FeatureConfig())
    write_days(lake.ws, f[f.ts.dt.floor("h") == HOURS[151]], "hour")
    (folder / "index.json").write_text("[]")
    assert lake.computed_anew() == 1
    newest = max(folder.glob("polls/*.bin"))
    newest.write_bytes(newest.read_bytes()[:-8])
    write_days(lake.ws, f[f.ts.dt.floor("h") == HOURS[152]], "hour")
    assert lake.computed_anew() == 1
    (folder / "medians.bin").write_bytes(b"no medians")  # they make it fast, and nothing else
    write_days(lake.ws, f[f.ts.dt.floor("h") == HOURS[153]], "hour")
    assert lake.computed_anew() == 0
    pack = [poll for poll in read_index(folder).polls if poll.packed][-1]
    (folder / "97h" / f"{pack.moment}-{pack.key}.bin").unlink()
    write_days(lake.ws, f[f.ts.dt.floor("h") == HOURS[154]], "hour")
    assert lake.computed_anew() == 1


def test_a_large_market_is_kept_poll_by_poll(tmp_path, caplog, monkeypatch):
    """What does not fit in memory at once is computed one poll after another."""
    monkeypatch.setattr(crypto_anomaly.features.kept_polls, "_MOST_ROWS", 0)
    monkeypatch.setattr(crypto_anomaly.features.slid_windows, "_MANY_COINS", 0)
    f, lake = market(1), Lake(tmp_path, caplog)
    f = f[f.ts.dt.floor("h") <= HOURS[100]]
    write_days(lake.ws, f, "past")
    assert lake.computed_anew() == 1
    assert lake.kept() == 101


def test_mixed_sources_are_computed_from_history(tmp_path, caplog):
    """Volumes of exchanges are linked row by row, so nothing is kept of such a lake."""
    f = market(0)
    f.loc[f.index[::3], "source"] = "kraken"
    lake = Lake(tmp_path, caplog)
    write_days(lake.ws, f, "past")
    assert newest_features(lake.ws, f.ts.max(), CONFIG, least=0) is None
