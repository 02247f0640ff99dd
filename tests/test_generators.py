"""The yardstick of the market benchmark: two generators of events, and rivals on the same rows."""

import ast
import inspect
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from crypto_anomaly.data.table import simulated_table
from crypto_anomaly.eval import generator_iqr, inject, iqr_coin
from crypto_anomaly.eval.benchmark import MarketBench, rival_figures
from crypto_anomaly.eval.generators import GENERATORS
from crypto_anomaly.eval.iqr_coin import decimals
from crypto_anomaly.eval.rivals import RIVALS
from crypto_anomaly.simulate.market import Market

HOURS = pd.date_range("2026-01-03", periods=21 * 24, freq="h", tz="UTC")
START = HOURS[360]
TICKS = {"glitch", "bad_tick"}  # one snapshot off by exactly the size


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """A quiet simulated market of three weeks, quoted as a source rounds: six digits."""
    market = Market(25, start="2026-01-01", events_per_day=0)
    table = simulated_table(market, HOURS, coins=25, windows=("24h",))
    price = [float(f"{x:.6g}") for x in table.current_price]
    table = table.assign(current_price=price)
    return table.sort_values(["coin_id", "ts"], ignore_index=True)


def imported(module: ModuleType) -> set[str]:
    """Modules of the package that a module imports."""
    tree = ast.parse(inspect.getsource(module))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
    return {"." * node.level + (node.module or "") for node in found}


def test_the_generators_share_no_code():
    assert imported(generator_iqr) == {"..core.errors", ".iqr_coin"}
    assert imported(iqr_coin) == set()
    assert not [name for name in imported(inject) if "iqr" in name]


@pytest.mark.parametrize("name", GENERATORS)
def test_a_seed_makes_the_same_events_and_another_one_others(name, table):
    def events(seed):
        return GENERATORS[name].inject(table, start=START, per_kind=2, seed=seed)

    first, again, other = events(3), events(3), events(4)
    pd.testing.assert_frame_equal(first.table, again.table)
    pd.testing.assert_frame_equal(first.events, again.events)
    assert not first.events.equals(other.events)
    assert set(first.events.kind) == set(GENERATORS[name].kinds)
    early = first.table.ts < START
    pd.testing.assert_frame_equal(first.table[early], table[early], check_dtype=False)


def sigma_iqr(price: np.ndarray) -> float:
    low, high = np.quantile(np.diff(np.log(price)), [0.25, 0.75])
    return max((high - low) / 1.349, 1e-3)


def sigma_own(price: np.ndarray) -> float:
    return max(1.4826 * float(np.median(np.abs(np.diff(np.log(price))))), 1e-3)


@pytest.mark.parametrize("name, sigma", [("own", sigma_own), ("iqr", sigma_iqr)])
def test_an_event_has_the_size_that_it_states(name, sigma, table):
    """The unit is computed here again, from the prices before the event."""
    kinds = tuple(TICKS & set(GENERATORS[name].kinds))
    made = GENERATORS[name].inject(table, start=START, sizes=(8.0,), per_kind=12, kinds=kinds)
    assert len(made.events) >= 10
    for e in made.events.itertuples():
        price = table.current_price[table.coin_id == e.coin_id].to_numpy()
        i = int((table.ts[table.coin_id == e.coin_id] < e.first).sum())
        now = made.table.current_price[(made.table.coin_id == e.coin_id)].iloc[i]
        stated = 8 * sigma(price[max(0, i - 336) : i])
        assert abs(np.log(now / price[i])) == pytest.approx(stated, rel=0.08), e


@pytest.mark.parametrize("name", GENERATORS)
def test_an_event_cannot_be_seen_by_its_digits(name, table):
    """Counting decimals finds nothing: events are quoted as the source quotes."""
    made = GENERATORS[name].inject(table, start=START, per_kind=6)
    for field in ("current_price", "market_cap", "total_volume", "price_change_percentage_24h"):
        recorded = table.groupby("coin_id")[field].agg(decimals)
        written = made.table.groupby("coin_id")[field].agg(decimals)
        assert (written <= recorded).all(), field
    assert (made.table.current_price != table.current_price).sum() > 50


def test_a_lost_peg_is_a_real_one(table):
    """Eight units of a peg are at least eighty basis points in both generators."""
    for name, kind in (("own", "depeg"), ("iqr", "peg_break")):
        made = GENERATORS[name].inject(table, start=START, per_kind=5, kinds=(kind,))
        for e in made.events.itertuples():
            mine = (table.coin_id == e.coin_id) & (table.ts >= e.first)
            away = np.log(made.table.current_price[mine] / table.current_price[mine]).abs()
            assert away.head(12).max() >= 0.0075, (name, e)


def test_all_rivals_are_measured_on_the_rows_of_the_detector(table):
    bench = MarketBench(table, seeds=1, per_kind=3, sizes=(15.0,), generator="iqr")
    model = bench.train()
    found = bench.detection(model)
    rivals = rival_figures(bench, model, found, [15.0])
    assert list(rivals) == list(RIVALS)
    assert {"robust_z", "ets_residual", "isolation_forest", "ecod", "mahalanobis"} <= set(RIVALS)
    for name, figures in rivals.items():
        for figure in ("recall_at_0.001", "recall_at_0.005", "ap", "lead_at_0.005"):
            assert figures[figure]["low"] <= figures[figure]["high"], (name, figure)
        lead = found.recall(0.005)[0] - figures["recall_at_0.005"]["value"]
        assert figures["lead_at_0.005"]["value"] == pytest.approx(lead), name
    same = rival_figures(bench, model, found, [15.0])
    assert same == rivals
