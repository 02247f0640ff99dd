"""History from exchanges: who is who, what is stored, and that nothing jumps where rows change."""

import contextlib

import numpy as np
import pandas as pd
import pytest

from crypto_anomaly.core.settings import load_settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.data import exchanges
from crypto_anomaly.data.dollar_candles import DollarCandles
from crypto_anomaly.data.exchange_errors import (
    ExchangeLimitError,
    ExchangeUnavailableError,
    UnknownProductError,
)
from crypto_anomaly.data.exchange_history import CoinProduct, backfill_exchange
from crypto_anomaly.data.exchanges import ask, open_exchange
from crypto_anomaly.data.snapshots import read_snapshots, write_days
from crypto_anomaly.data.table import simulated_table
from crypto_anomaly.features.features import INPUT, featurize
from crypto_anomaly.registry.errors import ConstraintError
from crypto_anomaly.registry.products import ProductCoin
from crypto_anomaly.registry.registry import Registry
from crypto_anomaly.registry.tables import product_t
from crypto_anomaly.simulate import market_exchange
from crypto_anomaly.simulate.candles import Listing
from crypto_anomaly.simulate.market import Market

HOUR = pd.Timedelta("1h")
COINS = 12


@pytest.fixture(autouse=True)
def _no_bans():
    """A ban belongs to the process; each test begins without one."""
    exchanges._banned_until.clear()


@pytest.fixture
def market():
    return Market(COINS, seed=3, events_per_day=0)


@contextlib.contextmanager
def served(market, share, now):
    """Every coin as a product, with a share of its volume: the server and the exchange."""
    listings = {f"C{i}-USD": Listing(i, share=share) for i in range(COINS)}
    listed = market_exchange.ListedExchange(listings, {})
    original = market_exchange.exchange_listings
    market_exchange.exchange_listings = lambda market, coins: listed
    try:
        with market_exchange.serve_market_exchange(market) as at:
            at.server.clock.set(now, rate=0)
            exchange = open_exchange("coinbase", load_settings(exchange_urls=at.urls))
            yield at.server, exchange
    finally:
        market_exchange.exchange_listings = original


def workspace(tmp_path):
    return claim(open_workspace(load_settings(home=tmp_path)), "simulated")


def coin_products(market):
    coins = market.coins.head(COINS)
    return [
        CoinProduct(coin.coin_id, coin.symbol, coin.name, f"C{i}-USD")
        for i, coin in enumerate(coins.itertuples())
    ]


def test_no_volume_jumps_where_the_source_changes(tmp_path, market):
    now = pd.Timestamp("2026-02-01T00:10Z")
    begin = now.floor("h") - 47 * HOUR
    every = pd.date_range(begin - 72 * HOUR, now, freq="h") + pd.Timedelta("2min")
    whole = simulated_table(market, every, coins=COINS)
    hole = every[100:106]  # the poller slept; the exchange fills the hole and the days before
    polled = whole[(whole.ts >= begin) & ~whole.ts.isin(hole)]
    ws = workspace(tmp_path)
    write_days(ws, polled, "polls")
    with served(market, 0.02, now) as (_, exchange):
        ask(exchange, "load_markets")
        backfill_exchange(ws, DollarCandles(exchange, now), coin_products(market), days=5)
    rows = read_snapshots(ws, columns=[*INPUT])
    of_hole = rows[rows.ts.between(hole[0].floor("h"), hole[-1]) & (rows.source == "coinbase")]
    assert len(of_hole) == len(hole) * COINS
    mixed = featurize(rows, since=begin)
    pure = featurize(whole, since=begin)
    both = mixed[mixed.source == "simulated"].merge(pure, on=["coin_id", "ts"])
    assert len(both) == len(polled) and both.volume_surge_x.notna().mean() > 0.9
    # a fiftieth of the volume would be a fall of 3.9, and back
    assert np.nanmax(np.abs(both.volume_surge_x - both.volume_surge_y)) < 0.5
    for name in ("volume_surprise", "missing_surprise", "stale_surprise"):
        assert both[f"{name}_x"].max() < both[f"{name}_y"].max() + 1, name


def test_rows_of_the_market_are_never_replaced(tmp_path, market):
    now = pd.Timestamp("2026-02-10T12:40Z")
    ws = workspace(tmp_path)
    polls = pd.date_range(now - 12 * HOUR, now, freq="h").floor("h") - pd.Timedelta("3min")
    write_days(ws, simulated_table(market, polls, coins=COINS), "polls")
    before = read_snapshots(ws)
    with served(market, 0.1, now) as (_, exchange):
        ask(exchange, "load_markets")
        backfill_exchange(ws, DollarCandles(exchange, now), coin_products(market), days=2)
    after = read_snapshots(ws)
    pd.testing.assert_frame_equal(after[after.source == "simulated"].reset_index(drop=True), before)
    hours = (after.ts + HOUR / 2).dt.floor("h")
    assert not after.assign(hour=hours).duplicated(["coin_id", "hour"]).any()
    assert after[after.source == "coinbase"].ts.max() <= now - HOUR / 2


@pytest.mark.parametrize("fault", ["truncated", "cloudflare", "503", "drop", "429"])
def test_a_fault_that_passes_is_tried_again(market, fault):
    now = pd.Timestamp("2026-02-10T12:40Z")
    waits = []
    with served(market, 0.1, now) as (server, exchange):
        server.fault(fault, seconds=0.05)
        found = ask(exchange, "fetch_ohlcv", "C1/USD", "1h", None, 5, sleep=waits.append)
        assert found and waits
        server.fault(fault, times=3, seconds=0.05)
        with pytest.raises(ExchangeUnavailableError):
            ask(exchange, "fetch_ohlcv", "C1/USD", "1h", None, 5, sleep=waits.append)
        with pytest.raises(UnknownProductError):
            ask(exchange, "fetch_ohlcv", "NOPE/USD", "1h")


def test_a_long_ban_is_obeyed_by_the_whole_process(market):
    now = pd.Timestamp("2026-02-10T12:40Z")
    with served(market, 0.1, now) as (server, exchange):
        ask(exchange, "load_markets")
        server.fault("429", seconds=7200)
        with pytest.raises(ExchangeLimitError, match="7,200 s"):
            ask(exchange, "fetch_ohlcv", "C1/USD", "1h")
        asked = server.requests
        urls = {"coinbase": exchange.urls["api"]["public"]}
        another = open_exchange("coinbase", load_settings(exchange_urls=urls))
        with pytest.raises(ExchangeLimitError, match="not asked before"):
            ask(another, "load_markets")
        assert server.requests == asked


def said(coin, status):
    return ProductCoin("kraken:SOL-USD", "kraken", "SOL", "USD", coin, status, "seen")


def test_a_person_decides_over_prices_on_both_databases(db_url):
    r = Registry(db_url)
    assert r.propose_products([said(None, "ambiguous")]) == ["kraken:SOL-USD"]
    r.decide_product(said("solana", "mapped"), by="ada")
    assert r.propose_products([said("wrapped-solana", "mapped")]) == []
    assert r.coin_products("solana") == ["kraken:SOL-USD"]
    events = r.events(kind="products_mapped")
    assert sorted(e["payload"]["how"] for e in events) == ["person", "price"]
    with pytest.raises(ConstraintError), r.transaction() as c:
        c.execute(product_t.update().values(coin_id=None))
