"""Invariants that hold for any market, not only for the examples of the notebooks."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
import plain  # noqa: E402
from markets import synthetic  # noqa: E402
from measure import equal  # noqa: E402

from crypto_anomaly.data.responses import error_message, parse_markets  # noqa: E402
from crypto_anomaly.data.table import DataError  # noqa: E402
from crypto_anomaly.features.config import LOOKBACK_HOURS, FeatureConfig
from crypto_anomaly.features.features import featurize
from crypto_anomaly.features.schema import get_feature_columns  # noqa: E402
from crypto_anomaly.model.artifact import from_bytes, to_bytes
from crypto_anomaly.model.calibration import conformal_p
from crypto_anomaly.model.errors import ModelError
from crypto_anomaly.model.training import train  # noqa: E402

slow = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
START = pd.Timestamp("2026-01-05", tz="UTC")


@st.composite
def market(draw):
    """A small market of irregular polls with holes and missing values."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    gaps = rng.choice(
        [0.2, 0.98, 1, 1.02, 2, 7, 30],
        size=draw(st.integers(30, 80)),
        p=[0.05, 0.2, 0.45, 0.2, 0.05, 0.03, 0.02],
    )
    ts = START + pd.to_timedelta(np.cumsum(gaps), unit="h")
    f = pd.DataFrame([(c, t) for t in ts for c in "abcdefghijkl"], columns=["coin_id", "ts"])
    f["current_price"] = np.exp(rng.standard_t(3, len(f)) / 50)
    f["market_cap"], f["total_volume"] = f.current_price * 1e9, rng.lognormal(15, 1, len(f))
    f["price_change_percentage_24h"] = rng.normal(0, 5, len(f))
    for c in ("total_volume", "price_change_percentage_24h", "current_price"):
        f.loc[rng.random(len(f)) < 0.05, c] = np.nan
    return (
        f[rng.random(len(f)) > 0.05]
        .assign(symbol=lambda d: d.coin_id, name="x", source="test")
        .reset_index(drop=True)
    )


def same(a, b):
    pd.testing.assert_frame_equal(
        a.reset_index(drop=True), b.reset_index(drop=True), check_exact=True
    )


@slow
@given(market(), st.integers(5, 28), st.integers(0, 9))
def test_the_future_never_reaches_the_past(f, k, seed):
    cut = np.sort(f.ts.unique())[k]
    g, later = f.copy(), f.ts > cut
    numbers = [c for c in g if pd.api.types.is_float_dtype(g[c])]
    factors = np.random.default_rng(seed).uniform(0.01, 100, (later.sum(), len(numbers)))
    g.loc[later, numbers] *= factors
    a, b, c = featurize(f), featurize(g), featurize(f[~later])
    same(a[a.ts <= cut], b[b.ts <= cut])
    same(a[a.ts <= cut], c)


def with_older_rows(f):
    """A market with rows before it, of which most are out of the reach of its newest hour."""
    older = f.ts - pd.Timedelta(hours=LOOKBACK_HOURS - 4)
    return pd.concat([f.assign(ts=older), f], ignore_index=True)


@slow
@given(market().map(with_older_rows), st.integers(0, 99))
def test_order_does_not_matter_and_the_newest_hour_equals_the_batch(f, seed):
    a, newest = featurize(f), f.ts.max()
    recent = f[f.ts > newest - pd.Timedelta(hours=LOOKBACK_HOURS)].sample(frac=1, random_state=seed)
    b = featurize(recent)
    same(a[a.ts == newest], b[b.ts == newest])


@slow
@given(market().map(with_older_rows), st.integers(1, 26))
def test_any_stretch_computed_alone_equals_the_batch(f, k):
    since = np.sort(f.ts.unique())[-k]
    recent = f[f.ts >= since - pd.Timedelta(hours=LOOKBACK_HOURS)]
    a, b = featurize(f), featurize(recent, since=pd.Timestamp(since))
    same(a[a.ts >= since], b)


@slow
@given(market(), st.integers(0, 99))
def test_rows_that_are_there_twice_change_nothing(f, seed):
    same(
        featurize(f),
        featurize(
            pd.concat([f, f.sample(frac=0.3, random_state=seed)]).sample(frac=1, random_state=seed)
        ),
    )


def by_hand(rows: pd.DataFrame, i: int) -> dict:
    """Some features of row `i` of one coin, from their definition: times instead of pointers."""
    past, t = rows.iloc[: i + 1], rows.ts.iloc[i]
    x = {}
    for h in (1, 24):
        off = (past.ts.iloc[:-1] - (t - pd.Timedelta(hours=h))).abs()
        x[f"price_change_pct_24h_lag_{h}h"] = (
            past.price_change_pct_24h[off.idxmin()]
            if len(off) and off.min() <= pd.Timedelta("30min")
            else np.nan
        )
    window = past[past.ts > t - pd.Timedelta("6h")].price_change_pct_24h
    x["price_change_pct_24h_rolling_mean_6h"], x["price_change_pct_24h_rolling_std_6h"] = (
        window.mean(),
        window.std(),
    )
    base = past.iloc[:-1][
        past.ts.iloc[:-1] > t - pd.Timedelta("168h")
    ].price_change_pct_24h.dropna()
    median = base.median()
    x["price_change_pct_24h_own_z"] = (
        (rows.price_change_pct_24h.iloc[i] - median)
        / max(1.4826 * (base - median).abs().median(), 0.2)
        if len(base) >= 24
        else np.nan
    )
    day = past[past.ts > t - pd.Timedelta("24h")]
    x["has_gap_in_history"] = float((rows.ts.diff()[day.index] > pd.Timedelta("1.5h")).any())
    return x


@slow
@given(market(), st.integers(0, 99))
def test_irregular_hours_follow_the_definition(f, seed):
    a = featurize(f)
    rng = np.random.default_rng(seed)
    for _, rows in a.groupby("coin_id"):
        rows = rows.reset_index(drop=True)
        for i in rng.integers(0, len(rows), 3):
            for name, value in by_hand(rows, i).items():
                np.testing.assert_allclose(
                    rows[name].iloc[i], value, rtol=1e-4, atol=1e-5, err_msg=name
                )


def test_a_coin_that_moved_alone_is_measured_against_the_market():
    """Only what moved is stored of a second poll; its cross-section is the market as known."""
    f = pd.concat(
        [
            pd.DataFrame(
                dict(
                    coin_id=list("abcdefghijkl"),
                    ts=START + pd.Timedelta(hours=h),
                    current_price=np.arange(1.0, 13),
                    price_change_percentage_24h=np.linspace(-2, 2, 12),
                )
            )
            for h in range(3)
        ]
    )
    moved = pd.DataFrame(
        dict(
            coin_id=["a"],
            ts=[START + pd.Timedelta("125min")],
            current_price=[1.6],
            price_change_percentage_24h=[60.0],
        )
    )
    x = featurize(pd.concat([f, moved]))
    assert x.price_change_pct_24h_cross_z[x.ts == moved.ts[0]].item() > 30


@slow
@given(market())
def test_an_imputed_lag_is_the_newest_of_the_hours_before(f):
    bare, filled = featurize(f), featurize(f, FeatureConfig(impute_lag_hours=3))
    for h in (1, 6, 24):
        name = f"price_change_pct_24h_lag_{h}h"
        known = bare[name].notna()
        assert (bare[name][known] == filled[name][known]).all()
        for _, rows in filled[~known & filled[name].notna()].iterrows():
            own = bare[
                (bare.coin_id == rows.coin_id)
                & (bare.ts <= rows.ts - pd.Timedelta(hours=h))
                & (bare.ts >= rows.ts - pd.Timedelta(hours=h + 3))
            ]
            assert own.price_change_pct_24h.iloc[-1] == rows[name]


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 9), st.booleans())
def test_gap_free_hours_equal_the_textbook(seed, sent):
    f = synthetic(12, 400, seed)
    if not sent:  # a recording without changes and volatility: they are derived
        f = f.assign(
            **dict.fromkeys(
                [
                    "price_change_percentage_1h_in_currency",
                    "price_change_percentage_7d_in_currency",
                    "sparkline_volatility",
                ],
                np.nan,
            )
        )
    textbook = plain.features(f)
    assert equal(featurize(f), textbook, [c for c in get_feature_columns() if c in textbook])


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=8), x, max_size=3),
    max_leaves=8,
)


@given(st.integers(200, 599), st.text(max_size=60) | json_values.map(json.dumps))
def test_any_answer_is_an_answer_or_an_error(status, body):
    e = error_message(status, body)
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


@given(
    st.lists(st.floats(-5, 5), min_size=1, max_size=50),
    st.lists(st.floats(-5, 5), min_size=1, max_size=20),
)
def test_p_values_are_ordered_and_in_range(calibration, scores):
    c, s = np.sort(calibration), np.sort(scores)
    p = conformal_p(s, c)
    assert (p >= 1 / (len(c) + 1)).all()
    assert (p <= 1).all()
    assert (np.diff(p) <= 0).all()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_a_damaged_artifact_is_refused_or_scores(artifact, seed):
    """Bytes flipped or cut, or an array of a well-formed file made shorter.

    The answer is an error of ours or a model that scores, never a crash.
    """
    import io
    import zipfile

    rng, data = np.random.default_rng(seed), bytearray(artifact[0])
    if seed % 2:
        for i in rng.integers(0, len(data), 5):
            data[i] ^= 1 << int(rng.integers(8))
        data = bytes(data[: len(data) - int(rng.integers(0, 2)) * 100])
    else:
        with zipfile.ZipFile(io.BytesIO(bytes(data))) as z:
            files = {n: z.read(n) for n in z.namelist()}
        victim = sorted(files)[int(rng.integers(len(files)))]
        a = np.load(io.BytesIO(files[victim]), allow_pickle=False)
        a = a[: len(a) // 2] if a.ndim else a.astype(np.float64) * 0 - 1
        buf = io.BytesIO()
        np.lib.format.write_array(buf, a)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as z:
            for n, b in (files | {victim: buf.getvalue()}).items():
                z.writestr(n, b)
        data = out.getvalue()
    try:
        m = from_bytes(bytes(data))
        m.score(artifact[1])
    except (ModelError, ValueError, IndexError):
        pass


@pytest.fixture(scope="module")
def artifact():
    rng = np.random.default_rng(0)
    f = pd.DataFrame(rng.standard_normal((400, 4)), columns=list("abcd")).assign(
        ts=pd.date_range("2026-01-01", periods=400, freq="h", tz="UTC")
    )
    m = train(f, dict(algorithm="isolation_forest", n_estimators=20), features=list("abcd"))
    return to_bytes(m), m.matrix(f)
