"""The request to CoinGecko and the base features, field by field."""

from statistics import mean, stdev

import numpy as np
import pandas as pd
import pytest

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import open_workspace
from crypto_anomaly.data.client import CoinGecko
from crypto_anomaly.data.datasets import read_dataset
from crypto_anomaly.data.responses import parse_markets
from crypto_anomaly.features.features import featurize
from crypto_anomaly.simulate.coingecko import markets
from crypto_anomaly.simulate.market import Market

AT = pd.Timestamp("2026-03-01 12:00", tz="UTC")
WINDOWS = ("1h", "24h", "7d", "30d")
PRICES = [10.0, 11.0, 9.5, 10.5]
SENT = dict(
    price_change_percentage_1h_in_currency=1.5,
    price_change_percentage_24h=-4.0,
    price_change_percentage_7d_in_currency=12.0,
    price_change_percentage_30d_in_currency=-31.0,
    market_cap=9e9,
    total_volume=3e8,
    ath_change_percentage=-62.0,
    sparkline_in_7d=dict(price=PRICES),
)
FEATURES = dict(
    price_change_pct_1h=1.5,
    price_change_pct_24h=-4.0,
    price_change_pct_7d=12.0,
    market_cap_to_volume=30.0,
    ath_change_pct=-62.0,
    sparkline_volatility=stdev(PRICES) / mean(PRICES),
    price_change_pct_30d=-31.0,
)


def sent_rows(n=20):
    """What CoinGecko sends of some coins."""
    return markets(Market(40), AT, per_page=n, sparkline=True, windows=WINDOWS)


def features_of(**fields):
    """The features of the first coin, with some of its fields changed."""
    rows = sent_rows()
    rows[0] |= fields
    f = featurize(parse_markets(rows, AT))
    return f[f.coin_id == rows[0]["id"]].iloc[0]


class Asked(CoinGecko):
    """A client that keeps what it asks for and answers by itself."""

    asked: list[dict]

    def get(self, path, timeout=None, **params):
        self.asked.append(dict(path=path, **params))
        return sent_rows(params["per_page"])


def test_a_request_asks_for_what_the_features_need():
    client = Asked("http://127.0.0.1:9", source="simulated")
    client.asked = []
    assert len(client.markets(20)) == 20
    assert client.asked == [
        dict(
            path="/coins/markets",
            vs_currency="usd",
            order="market_cap_desc",
            per_page=20,
            page=1,
            sparkline="true",
            price_change_percentage="1h,24h,7d,30d",
        )
    ]


def test_each_base_feature_is_made_of_its_field():
    row = features_of(**SENT)
    for name, value in FEATURES.items():
        assert row[name] == pytest.approx(value, rel=1e-5), name


@pytest.mark.parametrize(
    ("field", "value", "feature"),
    [
        ("price_change_percentage_24h", None, "price_change_pct_24h"),
        ("price_change_percentage_30d_in_currency", None, "price_change_pct_30d"),
        ("total_volume", 0, "market_cap_to_volume"),
        ("market_cap", None, "market_cap_to_volume"),
        ("ath_change_percentage", None, "ath_change_pct"),
        ("sparkline_in_7d", dict(price=[10.0]), "sparkline_volatility"),
    ],
)
def test_what_is_not_sent_is_missing_and_not_zero(field, value, feature):
    row = features_of(**SENT | {field: value})
    assert np.isnan(row[feature])
    others = {name: x for name, x in FEATURES.items() if name != feature}
    assert [row[name] for name in others] == pytest.approx(list(others.values()), rel=1e-5)


@pytest.fixture(scope="module")
def datasets(cycle):
    """Training data and holdout of the first dataset, each with its metadata."""
    ws = open_workspace(Settings(home=cycle.home, source="simulated"))
    return {name: read_dataset(ws, name) for name in ("training_dataset", "eval_holdout")}


def test_a_dataset_is_split_by_time_and_built_with_the_promised_defaults(datasets):
    (training, meta), (holdout, _) = datasets.values()
    cut, day = holdout.ts.max() - pd.Timedelta("24h"), pd.Timedelta("24h")
    assert training.ts.max() <= cut < holdout.ts.min() and training.ts.min() > cut - 6 * day
    config = meta["config"]
    asked = ("max_history_hours", "holdout_hours", "min_snapshots_per_coin", "add_targets")
    assert [config[name] for name in asked] == [168, 24, 6, False]
    features = config["features"]
    assert (list(features["lag_hours"]), list(features["rolling_hours"])) == ([1, 6, 24], [6, 24])
    assert (features["max_gap_hours"], features["impute_lag_hours"]) == (1.5, 0)


def test_statistics_are_those_of_the_training_rows_and_no_value_is_clipped(datasets):
    training, meta = datasets["training_dataset"]
    assert len(training) == meta["total_samples"] and not meta["deduplicated"]
    assert training.groupby("coin_id").ts.nunique().max() == meta["snapshot_count"]
    beyond = 0
    for name, s in meta["feature_stats"].items():
        x = training[name].astype(float)
        if name not in FEATURES or x.isna().all():
            continue
        assert [s["mean"], s["std"]] == pytest.approx([x.mean(), x.std()], rel=1e-4), name
        limits = [x.mean() - 5 * x.std(), x.mean() + 5 * x.std()]
        assert [s["clip_low"], s["clip_high"]] == pytest.approx(limits, rel=1e-3), name
        beyond += int((x.gt(s["clip_high"]) | x.lt(s["clip_low"])).sum())
    assert beyond > 0
