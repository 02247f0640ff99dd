"""Invariants that hold for any market, not only for the examples of the notebooks."""
import json

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto_anomaly.data import DataError, error_of, parse_markets
from crypto_anomaly.features import LOOKBACK_HOURS, featurize
from crypto_anomaly.model import ModelError, conformal_p, from_bytes

slow = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
START = pd.Timestamp("2026-01-05", tz="UTC")


@st.composite
def market(draw):
    """A small market of irregular polls with holes and missing values."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    gaps = rng.choice([0.2, 0.98, 1, 1.02, 2, 7, 30], size=draw(st.integers(30, 80)), p=[0.05, 0.2, 0.45, 0.2, 0.05, 0.03, 0.02])
    ts = START + pd.to_timedelta(np.cumsum(gaps), unit="h")
    f = pd.DataFrame([(c, t) for t in ts for c in "abcdefghijkl"], columns=["coin_id", "ts"])
    f["current_price"] = np.exp(rng.standard_t(3, len(f)) / 50)
    f["market_cap"], f["total_volume"] = f.current_price * 1e9, rng.lognormal(15, 1, len(f))
    f["price_change_percentage_24h"] = rng.normal(0, 5, len(f))
    for c in ("total_volume", "price_change_percentage_24h", "current_price"):
        f.loc[rng.random(len(f)) < 0.05, c] = np.nan
    return f[rng.random(len(f)) > 0.05].assign(symbol=lambda d: d.coin_id, name="x", source="test").reset_index(drop=True)


def same(a, b):
    pd.testing.assert_frame_equal(a.reset_index(drop=True), b.reset_index(drop=True), check_exact=True)


@slow
@given(market(), st.integers(5, 28), st.integers(0, 9))
def test_the_future_never_reaches_the_past(f, k, seed):
    cut = np.sort(f.ts.unique())[k]
    g, later = f.copy(), f.ts > cut
    g.loc[later, ["current_price", "market_cap", "total_volume"]] *= np.random.default_rng(seed).uniform(0.01, 100, (later.sum(), 3))
    a, b, c = featurize(f), featurize(g), featurize(f[~later])
    same(a[a.ts <= cut], b[b.ts <= cut])
    same(a[a.ts <= cut], c)


@slow
@given(market(), st.integers(0, 99))
def test_order_does_not_matter_and_the_newest_hour_equals_the_batch(f, seed):
    a, newest = featurize(f), f.ts.max()
    recent = f[f.ts > newest - pd.Timedelta(hours=LOOKBACK_HOURS)].sample(frac=1, random_state=seed)
    b = featurize(recent)
    same(a[a.ts == newest], b[b.ts == newest])


@slow
@given(market())
def test_no_lag_is_of_the_wrong_hour(f):
    a = featurize(f)
    for h in (1, 6, 24):
        for coin, rows in a.groupby("coin_id"):
            ts = rows.ts.values
            off = np.abs(ts[None, :] - (ts - np.timedelta64(h, "h"))[:, None]) <= np.timedelta64(30, "m")
            off &= ts[None, :] < ts[:, None]
            values = rows.price_change_pct_24h.to_numpy()
            for i, lag in enumerate(rows[f"price_change_pct_24h_lag_{h}h"]):
                assert np.isnan(lag) or lag in values[off[i]], (coin, h, i)


json_values = st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=8), lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=8), x, max_size=3), max_leaves=8)


@given(st.integers(200, 599), st.text(max_size=60) | json_values.map(json.dumps))
def test_any_answer_is_an_answer_or_an_error(status, body):
    e = error_of(status, body)
    assert e is None or (isinstance(e[0], int) and isinstance(e[1], str))


@given(json_values)
def test_any_json_is_a_market_table_or_refused(answer):
    try:
        parse_markets(answer, START)
    except DataError:
        pass


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_as_a_model(data):
    try:
        from_bytes(data, "x")
    except ModelError as e:
        assert "x is not a model" in str(e)
    else:
        raise AssertionError("random bytes were read as a model")


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=50), st.lists(st.floats(-5, 5), min_size=1, max_size=20))
def test_p_values_are_ordered_and_in_range(calibration, scores):
    c, s = np.sort(calibration), np.sort(scores)
    p = conformal_p(s, c)
    assert (p >= 1 / (len(c) + 1)).all() and (p <= 1).all() and (np.diff(p) <= 0).all()
