"""A pump is seen in trades, confirmed by the market, and is one alert; a glitch is denied."""

import json
from contextlib import contextmanager

import pandas as pd
import pytest
from conftest import streaming, until
from fastapi.testclient import TestClient

import crypto_anomaly as ca
from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.lifecycle.alert_acts import alert_by_id
from crypto_anomaly.lifecycle.alert_polls import alert_on_scan, alert_on_trades
from crypto_anomaly.lifecycle.alert_sinks import Sink, deliver
from crypto_anomaly.lifecycle.alerts import alerts
from crypto_anomaly.lifecycle.dataset_steps import build_dataset
from crypto_anomaly.lifecycle.ingest_steps import backfill_lake, ingest
from crypto_anomaly.lifecycle.train_steps import train_candidate
from crypto_anomaly.model.scan import scan
from crypto_anomaly.registry.registry import open_registry
from crypto_anomaly.serving.app import create_app
from crypto_anomaly.simulate.market import Market
from crypto_anomaly.simulate.market_server import serve_market
from crypto_anomaly.simulate.market_trades import MarketTrades
from crypto_anomaly.simulate.trade_server import serve_trades
from crypto_anomaly.simulate.trades import TradeSimulator, trades
from crypto_anomaly.trades.evidence import Verdict, confirm
from crypto_anomaly.trades.store import open_store
from crypto_anomaly.trades.table import taken, to_trades
from crypto_anomaly.trades.window_trades import fetched_windows

HOUR = pd.Timedelta("1h")
PUMPED, GLITCHED = 5, 6  # ranks of coins
PUMP_HOUR = 10 * 24
COINS = 20


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A simulated market with its trades behind loopback servers, up to the hour of a pump."""
    injected = [
        dict(kind="pump", coin=PUMPED, hour=PUMP_HOUR, size=0.5),
        dict(kind="glitch", coin=GLITCHED, hour=PUMP_HOUR, size=0.6),
    ]
    market = Market(COINS, events_per_day=0, injected=injected)
    home = tmp_path_factory.mktemp("confirmation")
    made = open_workspace(Settings(home=home, source="simulated"))
    ws = claim(made, "simulated")
    before = market.start + (PUMP_HOUR - 1) * HOUR + pd.Timedelta("1min")
    with serve_market(market) as (url, server), serve_trades(MarketTrades(market)) as exchange:
        ws.settings.coingecko_url = url
        ws.settings.coinbase_rest_url = exchange.rest_url
        server.clock.set(before)
        backfill_lake(ws, num_coins=COINS, as_of=before)
        ingest(ws, num_coins=COINS, as_of=before)
        build_dataset(ws)
        train_candidate(ws)
        yield World(ws, market, server, exchange)


class World:
    """What a test needs of both servers."""

    def __init__(self, ws, market, server, exchange):
        self.ws, self.market, self.server, self.exchange = ws, market, server, exchange
        self.simulator = exchange.server.simulator
        self.registry = open_registry(ws)

    def coin_id(self, rank):
        return str(self.market.coins.coin_id[rank])

    def product(self, rank):
        return f"{self.market.coins.symbol[rank].upper()}-USD"

    def store_past(self, rank, until_, hours=2.5):
        rows = taken(trades(self.simulator, self.product(rank), until_ - hours * HOUR, until_))
        open_store(self.ws).write(to_trades(rows))

    def snapshot(self, hours):
        """The market of a later hour is fetched and looked at; the changes of alerts."""
        at = self.market.start + hours * HOUR + pd.Timedelta("1min")
        self.server.clock.set(at)
        ingest(self.ws, num_coins=COINS, as_of=at)
        return [(c["event"], c["key"]) for c in alert_on_scan(self.ws)]


@contextmanager
def browsing(ws):
    """A client of the serving app for as long as the block lasts."""
    app = create_app(ws.settings.model_copy(update=dict(workspace=ws.name)))
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        yield client


def test_a_pump_in_trades_is_one_alert(world, monkeypatch):
    coin, product = world.coin_id(PUMPED), world.product(PUMPED)
    minute = world.simulator.minutes(product, PUMP_HOUR * 60).bursts[0].minute
    onset = world.market.start + pd.Timedelta(minutes=minute, seconds=8)
    begin = onset - pd.Timedelta("10s")
    world.store_past(PUMPED, begin)
    world.store_past(GLITCHED, world.market.start + (PUMP_HOUR + 0.02) * HOUR)
    store = open_store(world.ws)

    world.exchange.server.clock.set(begin, rate=8)
    with streaming(world.ws, world.exchange.ws_url, [product]):
        until(lambda: len(store.alarms(product)), 60, "the alarm of the pump")
    alarms = store.alarms(product)
    assert 0 <= (alarms.ts.iloc[-1] - onset).total_seconds() <= 30

    # the provisional note, at once and once
    now = alarms.ts.iloc[-1] + pd.Timedelta("5s")
    opened = alert_on_trades(world.ws, now)
    assert [(c["event"], c["key"]) for c in opened] == [("alert_opened", f"coin:{coin}")]
    assert opened[0]["facts"]["provisional"]
    assert alert_on_trades(world.ws, now + pd.Timedelta("5s")) == []
    with browsing(world.ws) as client:
        html = {"accept": "text/html"}
        pages = ("/", f"/coins/{coin}", "/alerts", f"/alerts/{opened[0]['id']}")
        for page in pages:
            assert "provisional" in client.get(page, headers=html).text, page

        # the rest of the hour is stored, and the snapshot confirms: the same alert
        world.store_past(PUMPED, world.market.start + (PUMP_HOUR + 0.02) * HOUR, hours=1)
        changes = world.snapshot(PUMP_HOUR)
        assert ("alert_confirmed", f"coin:{coin}") in changes
        assert not [c for c in changes if c == ("alert_opened", f"coin:{coin}")]
        of_coin = [a for a in alerts(world.registry) if coin in a["key"]]
        assert len(of_coin) == 1 and of_coin[0]["facts"]["provisional"] is False
        assert of_coin[0]["facts"]["trades_verdict"] == "confirmed by trades"
        kinds = [e["kind"] for e in alert_by_id(world.registry, of_coin[0]["id"])["events"]]
        assert kinds == ["alert_opened", "alert_confirmed"]

        # readers have the scan before until the new one is whole; then everywhere the same verdict
        def said_now():
            return client.get(f"/why/{coin}").json()["trades"]

        confirmed = "confirmed by trades"
        until(lambda: said_now()["verdict"] == confirmed, 30, "the scan of the new snapshot")
        said = said_now()
        assert "% buyers" in said["sentence"]
        ca.open(world.ws.settings.home, "simulated")
        assert ca.why(coin).trades.sentence == said["sentence"]
        listed = client.get("/anomalies?limit=50").json()["anomalies"]
        assert any(a["coin_id"] == coin and a["trades"]["evidence"]["orders"] > 50 for a in listed)
        for page in pages[1:]:
            assert "confirmed by trades" in client.get(page, headers=html).text, page

        # one message for each step, none twice
        told = []
        deliver(
            world.registry, world.ws.settings, [Sink("test", lambda event, text: told.append(text))]
        )
        mine = [text for text in told if coin in text]
        assert ["provisional" in mine[0], mine[1].startswith("Confirmed: ")] == [True, True]
        assert len(mine) == 2


def test_a_glitch_of_the_source_is_not_seen_in_trades(world):
    """Runs after the pump: the same snapshot holds a glitch of another coin."""
    coin = world.coin_id(GLITCHED)
    row = scan(world.ws).anomalies.query("coin_id == @coin")
    assert len(row) == 1 and row.price_change_pct_1h.iloc[0] > 40
    with browsing(world.ws) as client:
        said = client.get(f"/why/{coin}").json()["trades"]
    assert said["verdict"] == "not seen in trades"
    logged = world.registry.events(kind="trades_compared")[0]["payload"]["coins"]
    assert json.dumps(said) == json.dumps(logged[coin])


def test_another_exchange_is_asked_on_demand(tmp_path):
    """Kraken's pages go upwards in time; they reach the pump, and name no orders."""
    pytest.importorskip("ccxt")
    end = pd.Timestamp("2026-01-03 05:06", tz="UTC")
    simulator = TradeSimulator(("SOL-USD",), seed=6, bursts_per_day=1.5)
    with serve_trades(simulator) as exchange:
        exchange.server.clock.set(end)
        urls = {"kraken": f"{exchange.rest_url}/kraken"}
        ws = open_workspace(Settings(home=tmp_path, source="simulated", exchange_urls=urls))
        price = float(trades(simulator, "SOL-USD", end - HOUR, end).price.iloc[-1])
        windows = fetched_windows(ws, "sol", {end: price}, end, "kraken")
    said = confirm(windows, 2.6)
    assert (said.verdict, said.evidence.product) == (Verdict.CONFIRMED, "kraken:SOL-USD")
    assert said.evidence.source == "fetched" and said.evidence.takers_by == "same millisecond"
