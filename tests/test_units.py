"""A value means the same in every unit, and no value is no value."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from crypto_anomaly.core.numbers import money, once_in, percent
from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.data.lake import write_part
from crypto_anomaly.data.stale import LOOKBACK_DAYS
from crypto_anomaly.data.table import simulated_table
from crypto_anomaly.eval.compare import compare
from crypto_anomaly.eval.drift import drift
from crypto_anomaly.eval.outcomes import outcome_metrics, outcomes
from crypto_anomaly.features.config import LOOKBACK_HOURS
from crypto_anomaly.features.features import featurize
from crypto_anomaly.features.history import History
from crypto_anomaly.features.schema import get_feature_columns
from crypto_anomaly.features.signals import signal_statistics
from crypto_anomaly.model.artifact import save_artifact
from crypto_anomaly.model.bins import bin_shares, shares_of_deciles
from crypto_anomaly.model.calibration import conformal_p
from crypto_anomaly.model.judged import PRICE_SIGNALS
from crypto_anomaly.model.loading import LoadedModel
from crypto_anomaly.model.overview import market_overview
from crypto_anomaly.model.prediction_log import predictions
from crypto_anomaly.model.scan import scan_features
from crypto_anomaly.model.training import train
from crypto_anomaly.registry.registry import open_registry
from crypto_anomaly.serving.app import create_app
from crypto_anomaly.simulate.coingecko import round_price
from crypto_anomaly.simulate.market import Market

slow = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
HOURS = pd.date_range("2026-01-03", periods=9 * 24, freq="h", tz="UTC")
LAST = HOURS[-3]  # rows from here on are looked at
VALUES = ["current_price", "market_cap", "total_volume"]


@pytest.fixture(scope="module")
def table():
    """A market of 20 coins with planted events."""
    return simulated_table(Market(20, start="2026-01-01", events_per_day=8), HOURS, coins=20)


@pytest.fixture(scope="module")
def model(table):
    return train(featurize(table))


def nth(table, number):
    """A coin of the market."""
    coins = table.coin_id.unique()
    return coins[number % len(coins)]


def in_units(table, coin, factor, columns=VALUES):
    """The market with the values of one coin in another unit."""
    mine = table.coin_id == coin
    return table.assign(**{c: table[c].where(~mine, table[c] * factor) for c in columns})


@given(coin=st.integers(0, 19), k=st.integers(-15, 12), rise=st.sampled_from([1, 1.4]))
@example(coin=0, k=-13, rise=1.4)
@slow
def test_a_unit_of_money_changes_nothing(table, model, coin, k, rise):
    coin = nth(table, coin)
    up = (table.coin_id == coin) & (table.ts >= HOURS[-2])
    f = table.assign(current_price=table.current_price.where(~up, rise * table.current_price))
    a, b = featurize(f, since=LAST), featurize(in_units(f, coin, 10.0**k), since=LAST)
    cols = get_feature_columns()
    np.testing.assert_allclose(b[cols], a[cols], rtol=1e-5, atol=1e-3)
    said, again = model.predict(a), model.predict(b)
    np.testing.assert_allclose(again.p_value, said.p_value, atol=0.002)
    assert (again.is_anomaly == said.is_anomaly).all()


@given(coin=st.integers(0, 19), k=st.integers(-60, 40))
@slow
def test_a_power_of_two_changes_not_one_bit(table, coin, k):
    coin, cols = nth(table, coin), get_feature_columns()
    a, b = (featurize(f, since=LAST)[cols] for f in (table, in_units(table, coin, 2.0**k)))
    pd.testing.assert_frame_equal(a, b, check_exact=True)


@given(coin=st.integers(0, 19), k=st.integers(-15, 6))
@slow
def test_a_redenominated_coin_is_the_same_coin(table, coin, k):
    """A thousand times as many coins at a thousandth of the price: cap and volume stay."""
    coin, cols = nth(table, coin), get_feature_columns()
    split = in_units(table, coin, 10.0**k, ["current_price"])
    split = in_units(split, coin, 10.0**-k, ["circulating_supply"])
    a, b = (featurize(f, since=LAST)[cols] for f in (table, split))
    np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-3)


def pegged(decimals, noise, seed, last, unit=1.0):
    """Six days of a stable coin as it is quoted, and a last price."""
    rng = np.random.default_rng(seed)
    quoted = np.round(1 + noise * rng.standard_normal(143), decimals)
    price = unit * np.r_[quoted, last]
    ts = pd.date_range("2026-01-03", periods=144, freq="h", tz="UTC")
    return pd.DataFrame(dict(coin_id="usdx", ts=ts, current_price=price))


@given(
    decimals=st.sampled_from([2, 3, 4, 6]),
    noise=st.sampled_from([0, 1e-5, 2e-4, 5e-4]),
    seed=st.integers(0, 1000),
    offs=st.lists(st.floats(0.0005, 0.9), min_size=2, max_size=8),
    digits=st.sampled_from([1, 2, 3, 4, 6, 12]),
    up=st.booleans(),
    unit=st.sampled_from([1.0, 1e-9, 1e6]),
)
@example(2, 0, 0, [0.1, 0.13, 0.5], 2, False, 1.0)
@example(3, 2e-4, 0, [0.05, 0.0501, 0.1, 0.123456], 6, False, 1.0)
@slow
def test_a_bigger_depeg_is_never_less_anomalous(decimals, noise, seed, offs, digits, up, unit):
    sizes = sorted({round(off, digits) for off in offs})
    found = []
    for size in sizes:
        f = pegged(decimals, noise, seed, 1 + size if up else 1 - size, unit)
        row = featurize(f, since=f.ts.max()).iloc[0]
        found.append(row.peg_surprise)
    assert np.isfinite(found).all() and (np.diff(found) >= 0).all(), dict(zip(sizes, found))


@pytest.mark.parametrize("decimals", [2, 3, 4, 6])
def test_a_lost_peg_is_seen_with_any_number_of_digits(decimals):
    f = pegged(decimals, 2e-4, 1, 0.87)
    with np.errstate(all="ignore"):
        peg = signal_statistics(History(f, None))["peg"]
    assert peg[-1] > 4.2 > np.nanquantile(peg[:-1], 0.95)


@given(
    st.one_of(
        st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=300),
        st.lists(st.sampled_from([0.0, 0.1, 0.30000001192092896, 5.0]), min_size=1, max_size=300),
    )
)
@settings(deadline=None)
def test_a_sample_has_no_distance_from_itself(values):
    x = np.array(values, np.float32)
    deciles = pd.Series(x).quantile(np.arange(1, 10) / 10).to_numpy(np.float32)
    shares = bin_shares(x, deciles)
    assert shares.sum() == pytest.approx(1)
    np.testing.assert_array_equal(bin_shares(x[::-1], deciles), shares)
    if deciles[0] == deciles[-1]:  # all tied: the deciles alone are enough
        np.testing.assert_allclose(shares_of_deciles(shares, deciles), shares, atol=1e-12)


@given(seed=st.integers(0, 2**32), rare=st.sampled_from([0, 0.001, 0.01, 0.5]))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_psi_of_the_training_data(seed, rare):
    rng = np.random.default_rng(seed)
    n = 6000
    ts = np.repeat(pd.date_range("2026-01-01", periods=n // 10, freq="h", tz="UTC"), 10)
    f = pd.DataFrame(dict(ts=ts, coin_id="a"))
    f["x"] = np.where(rng.random(n) < rare, rng.exponential(5, n), 0)
    f["y"] = np.float32(1 / 3) + 1e-9 * rng.standard_normal(n)
    f["z"] = rng.standard_t(3, n)
    config = dict(algorithm="robust_z", contamination=0.05)
    m = train(f, config, features=["x", "y", "z"], calibration_share=0.01)
    whole, half = drift(m, f[f.ts < f.ts.max()]), drift(m, f.sample(n // 2, random_state=0))
    assert whole.psi.max() < 0.005 and half.psi.max() < 0.05, (whole, half)
    older = type(m)(m.meta, {k: v for k, v in m.arrays.items() if k != "shares"})
    assert drift(older, f).psi.max() < 0.01  # a model that knows its deciles alone


@pytest.fixture(scope="module")
def with_absent(table):
    """The market at its last hour: one coin is new, and one is back after three days."""
    back = table.coin_id.unique()[3]
    away = (table.coin_id == back) & (table.ts > HOURS[-74]) & (table.ts < HOURS[-1])
    young = table[table.ts == HOURS[-1]].head(1).assign(coin_id="young", name="Young", symbol="y")
    return back, pd.concat([table[~away], young], ignore_index=True)


def test_a_coin_without_statistics_is_neither_normal_nor_anomalous(model, with_absent):
    back, rows = with_absent
    now = featurize(rows, since=HOURS[-1])
    p = model.verdicts(now).assign(coin_id=now.coin_id).set_index("coin_id")
    assert sorted(p.index[~p.judged]) == sorted([back, "young"])
    lost = p.loc[[back, "young"]]
    assert not lost.is_anomaly.any()
    assert lost[["score", "p_value", "severity"]].isna().all(axis=None)
    assert "0 hours of history in the last 4 days, 24 are needed" in lost.unjudged_reason["young"]
    assert p[p.judged].p_value.notna().all() and set(p.unjudged_reason[p.judged]) == {""}


def test_a_flagged_row_has_been_judged(model, with_absent):
    _, rows = with_absent
    now = featurize(rows, since=HOURS[-1])
    now.loc[now.coin_id == "young", "missing_surprise"] = 12
    p = model.verdicts(now)[(now.coin_id == "young").to_numpy()].iloc[0]
    assert p.is_anomaly and p.judged and p.unjudged_reason == ""


def test_a_scan_counts_them_and_stays_json(model, with_absent):
    _, rows = with_absent
    now = featurize(rows.assign(price_change_percentage_24h=np.nan), since=HOURS[-1])
    now = now.assign(price_change_pct_24h=np.nan)
    served = LoadedModel(dict(version=1, status="champion", artifact_sha256=""), model)
    s = scan_features(served, now)
    assert len(s.unjudged) == 2 and s.predictions.score[: len(now) - 2].is_monotonic_decreasing
    market = market_overview(s)
    assert market["unjudged_count"] == 2 and market["market_move"]["24h"] is None
    json.dumps(market, allow_nan=False)


def test_rates_count_judged_rows_only(model, with_absent):
    _, rows = with_absent
    now = featurize(rows, since=HOURS[-1])
    p = model.verdicts(now)
    judged = p[p.judged]
    assert compare(p, p)["anomaly_rate"] == judged.is_anomaly.mean()
    assert compare(p, p)["rank_correlation"] == pytest.approx(1)
    seen = now[["coin_id", "ts", "current_price"]].join(p)
    later = now.assign(ts=now.ts + pd.Timedelta("24h"), current_price=0.5 * now.current_price)
    m = outcome_metrics(outcomes(seen, later))
    assert (m["predictions"], m["unjudged"], m["with_price"]) == (len(now), 2, len(now) - 2)
    assert sum(m["confusion"].values()) == len(now) - 2


def test_calibration_takes_judged_rows_only(table):
    f = featurize(table)
    unknown = f[list(PRICE_SIGNALS)].isna().all(axis=1).to_numpy()
    late = f.ts >= HOURS[-48]
    emptied = f.copy()
    emptied.loc[late & (f.coin_id < "d"), list(PRICE_SIGNALS)] = np.nan
    a, b = train(f), train(emptied)
    assert unknown.any() and len(b.arrays["calibration"]) < len(a.arrays["calibration"])
    assert not np.isnan(b.arrays["calibration"]).any()


def test_no_number_prints_a_sign_or_a_word():
    nothing = [float("nan"), float("inf"), -float("inf")]
    for x in nothing:
        assert [f(x) for f in (money, percent, once_in)] == ["–"] * 3
    assert np.isnan(conformal_p(np.array([np.nan]), np.arange(5.0))).all()


@given(st.floats(1e-300, 1e15))
def test_money_is_short_and_keeps_three_digits(x):
    text = money(x)
    assert len(text) <= 18 and any(c in "123456789" for c in text), text
    if x < 1:
        assert float(text.removeprefix("$")) == pytest.approx(x, rel=5.1e-3)


@given(st.floats(1e-250, 1e-2))
def test_the_simulator_quotes_six_digits_of_any_price(x):
    assert round_price(np.array([x]))[0] == pytest.approx(x, rel=1e-5)


@pytest.fixture(scope="module")
def served(model, with_absent, tmp_path_factory):
    """A workspace whose newest hour holds two coins that cannot be judged, and its app."""
    home = tmp_path_factory.mktemp("units")
    ws = claim(open_workspace(Settings(home=home, source="simulated")), "simulated")
    for _, day in with_absent[1].groupby(with_absent[1].ts.dt.date):
        write_part(ws, "snapshots", day, tag="test")
    facts = dict(algorithm="families", data_source="test", anomaly_rate=0.05)
    open_registry(ws).register(save_artifact(ws.artifacts_url, model), facts)
    app = create_app(ws.settings.model_copy(update=dict(workspace=ws.name)))
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        yield client


def test_the_api_says_what_cannot_be_judged(served):
    said = served.get("/why/young").json()
    assert (said["judged"], said["is_anomaly"], said["p_value"]) == (False, False, None)
    assert "24 are needed" in said["unjudged_reason"]
    assert served.get("/anomalies").json()["unjudged"] == 2
    assert served.get("/market").json()["unjudged_count"] == 2


@pytest.mark.parametrize("page", ["/", "/coins", "/coins/young"])
def test_the_pages_say_what_cannot_be_judged(served, page):
    r = served.get(page, headers=dict(accept="text/html"))
    assert r.status_code == 200 and "judged yet" in r.text, r.text[:500]
    assert "nan" not in r.text.lower().split("<script")[0]


def test_predictions_are_logged_with_the_reason(model, with_absent):
    now = featurize(with_absent[1], since=HOURS[-1])
    p = predictions(LoadedModel(dict(version=7, status="candidate"), model), now)
    assert p.judged.sum() == len(p) - 2 and p.unjudged_reason[~p.judged].str.len().min() > 0


def test_a_correction_reaches_as_far_as_the_features_look_back():
    """`data` may not import `features`, so the days stand there as a number."""
    assert LOOKBACK_DAYS * 24 >= LOOKBACK_HOURS
