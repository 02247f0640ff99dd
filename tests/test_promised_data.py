"""The request to CoinGecko and the base features, field by field."""

from statistics import mean, stdev

import numpy as np
import pandas as pd
import pytest

from crypto_anomaly.data.client import CoinGecko
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
