"""A larger loss of a peg never has a lower anomaly score, from 10 basis points to 20 %."""

import numpy as np
import pandas as pd
import pytest

from crypto_anomaly.data.table import simulated_table
from crypto_anomaly.features.features import featurize
from crypto_anomaly.model.training import train
from crypto_anomaly.simulate.market import Market

SIZES = np.array([0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2])
HOURS = pd.date_range("2026-01-03", periods=12 * 24, freq="h", tz="UTC")


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Thirty coins without events, some of them pegged."""
    return simulated_table(Market(30, events_per_day=0), HOURS, coins=30)


@pytest.fixture(scope="module")
def model(table):
    """The default detector, trained on the same hours."""
    return train(featurize(table), "families")


def pegged_coin(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the coin whose price moves least."""
    move = np.log(table.current_price).groupby(table.coin_id).diff().abs()
    calmest = move.groupby(table.coin_id).median().idxmin()
    return table[table.coin_id == calmest]


def moved(rows: pd.DataFrame, name: str, last: list[float]) -> pd.DataFrame:
    """A copy of a coin whose last prices are `last` times its level; the cap follows."""
    price = rows.current_price.to_numpy().copy()
    price[-len(last) :] = np.median(price[-48:]) * np.array(last)
    cap = rows.market_cap * price / rows.current_price
    return rows.assign(coin_id=name, current_price=price, market_cap=cap)


CASES = [(sign, before) for sign in (-1, 1) for before in (0.98, 1.0, 1.02)]


@pytest.fixture(scope="module")
def highest(table, model) -> pd.Series:
    """The highest score of two hours off the peg: by sign, price before and size."""
    rows = pegged_coin(table)
    lost = {f"{s} {b} {d}": [b, 1 + s * d, 1 + s * d] for s, b in CASES for d in SIZES}
    copies = [moved(rows, name, last) for name, last in lost.items()]
    frame = featurize(pd.concat([table, *copies], ignore_index=True), since=HOURS[-2])
    scored = frame[["coin_id"]].assign(score=model.predict(frame).score)
    return scored.groupby("coin_id").score.max()


@pytest.mark.parametrize("sign, before", CASES)
def test_a_larger_loss_of_a_peg_is_no_less_anomalous(highest, sign, before):
    by_size = highest[[f"{sign} {before} {size}" for size in SIZES]]
    assert (np.diff(by_size) >= 0).all(), by_size
    assert by_size.iloc[-1] > by_size.iloc[0]


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_coin_that_leaves_its_peg_by_two_percent_is_flagged(highest, model, sign):
    assert highest[f"{sign} 1.0 0.02"] >= model.threshold
