"""Contract tests of sources: ccxt reads both dialects of the loopback, whatever goes wrong."""

import asyncio
import tempfile
import time
from collections import Counter

import pandas as pd
import pytest
from conftest import until

from crypto_anomaly.core.product_ids import pair_of, product_of
from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.data.exchange_errors import ExchangeLimitError, UnknownProductError
from crypto_anomaly.simulate.trade_server import serve_trades
from crypto_anomaly.simulate.trades import TradeSimulator, trades
from crypto_anomaly.trades.ccxt_source import CcxtSource
from crypto_anomaly.trades.exchange_follow import ExchangeListener
from crypto_anomaly.trades.messages import TradeError
from crypto_anomaly.trades.promises import Promise, facts_of
from crypto_anomaly.trades.sources import Roads, source_of
from crypto_anomaly.trades.stream import Stream

pytest.importorskip("ccxt")

AT = pd.Timestamp("2026-01-02 12:00", tz="UTC")
HOUR = pd.Timedelta("1h")
KRAKEN, COINBASE = facts_of("kraken"), facts_of("coinbase")
SOURCES = dict(
    coinbase=("coinbase", COINBASE),
    by_id=("kraken", KRAKEN),
    by_time=("kraken", KRAKEN._replace(contiguous_ids=False)),
    best_effort=("kraken", KRAKEN._replace(contiguous_ids=False, pages_by="")),
    polled_by_id=("kraken", KRAKEN._replace(websocket=False)),
    polled=("kraken", KRAKEN._replace(contiguous_ids=False, pages_by="", websocket=False)),
)  # road -> exchange, and what it is said to offer


@pytest.fixture
def exchange(monkeypatch):
    monkeypatch.setattr("crypto_anomaly.trades.stream.HISTORY", 200)  # before the first trade
    with serve_trades(TradeSimulator(("DOGE-USD", "kraken:DOGE-USD", "kraken:SOL-USD"))) as address:
        address.server.clock.set(AT, rate=60)
        yield address


def workspace(address):
    urls = address.exchange_urls | dict(coinbase=address.rest_url)
    settings = Settings(
        home=tempfile.mkdtemp(),
        source="simulated",
        coinbase_ws_url=address.ws_url,
        coinbase_rest_url=address.rest_url,
        exchange_urls=urls,
    )
    return claim(open_workspace(settings), "simulated")


class Following:
    """A stream of one product behind one source of ccxt."""

    def __init__(self, address, road):
        name, facts = SOURCES[road]
        ws = workspace(address)
        self.source = CcxtSource(name, ws, facts)
        self.product = product_of(name, "DOGE", "USD")
        self.stream = Stream(ws, [self.product])
        self.stream.rest = Roads(address.rest_url, ws, {name: self.source})
        self.queue = asyncio.Queue()
        self.listener = ExchangeListener(self.source, self.stream, self.queue)

    def stored(self):
        return self.stream.store.read(self.product)

    def has(self, n, after=AT):
        rows = self.stored()
        return (rows.ts > after).sum() >= n and not self.stream.store.gaps(opened=True)

    async def work(self):
        while True:
            batch = []
            while not self.queue.empty():
                batch.append(self.queue.get_nowait())
            await asyncio.to_thread(self.stream.process, batch)
            await asyncio.sleep(0.05)


async def follow_all(following, steps):
    """Let all streams run; each step is a function and what must become true after it."""
    tasks = [asyncio.create_task(f.listener.run()) for f in following]
    tasks += [asyncio.create_task(f.work()) for f in following]
    try:
        for act, done in steps:
            act()
            end = time.monotonic() + 90
            while not all([done(f) for f in following]):
                failed = [t for t in tasks if t.done()]
                assert not failed, failed[0].exception()
                assert time.monotonic() < end, [f.stored().tail(2) for f in following]
                await asyncio.sleep(0.2)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=10)


def truth_of(address, product, rows):
    """The simulated trades within the time of stored rows."""
    begin = rows.ts.min() - pd.Timedelta("1us")
    end = rows.ts.max() + pd.Timedelta("1ms")  # where the source has milliseconds
    return trades(address.server.simulator, product, begin, end)


def contents(rows, side):
    """What trades are known by, counted: time in milliseconds, price, size, side of the taker."""
    at = rows.ts.dt.floor("ms").astype("int64")
    return Counter(zip(at, rows.price.astype(float), rows["size"].astype(float), side))


def taker(rows):
    """The takers' sides of simulated trades, whose sides are the makers'."""
    return rows.side.map(dict(buy="sell", sell="buy"))


def lacking(truth, rows, found):
    """The simulated trades that are not stored.

    The history may begin, and the stream may end, among the trades of one millisecond.
    """
    first, last = rows.ts.min().ceil("ms"), rows.ts.max().floor("ms")
    inside = truth[(truth.ts > first + pd.Timedelta("1ms")) & (truth.ts < last)]
    return contents(inside, taker(inside)) - found


def test_every_road_through_drops_doubles_reorders_and_an_hour_without_the_exchange(exchange):
    server = exchange.server
    following = {road: Following(exchange, road) for road in SOURCES}

    def spoil():
        for kind in ("drop", "double", "reorder", "drop", "double"):
            server.fault(kind, times=3)

    def out_for_an_hour():
        server.fault("disconnect", times=3)
        for kind in ("rest_503", "rest_drop"):
            server.fault(kind)
        server.clock.set(AT + HOUR, rate=60)

    after = AT + HOUR + pd.Timedelta("10s")
    steps = [
        (lambda: None, lambda f: f.has(5)),
        (spoil, lambda f: f.has(90)),
        (out_for_an_hour, lambda f: f.has(30, after)),
    ]
    asyncio.run(follow_all(list(following.values()), steps))
    for road, f in following.items():
        rows, kept = f.stored(), f.stream.store.completeness(f.product)
        truth = truth_of(exchange, f.product, rows)
        true, found = contents(truth, taker(truth)), contents(rows, rows.taker_side)
        assert not found - true, (road, "a trade that never was, or one twice")
        if f.source.promise is Promise.BEST_EFFORT:
            if lacking(truth, rows, found):  # a polled page may hold all of the hour
                assert kept["missing"] + kept["lost"] >= 1, (road, "what is not stored must show")
            bridged = not f.source.facts.websocket  # the last page reaches into the hour
            assert bridged or (rows.ts.diff() > HOUR / 6).any()
            continue
        assert kept["missing"] == 0, road
        if f.source.promise is Promise.BY_ID:
            assert rows.trade_id.tolist() == list(range(*rows.trade_id.iloc[[0, -1]] + [0, 1]))
            truth = truth[truth.trade_id <= rows.trade_id.max()]
        else:
            assert not lacking(truth, rows, found), road


def test_ids_that_begin_again_are_a_new_epoch_and_nothing_is_lost(exchange):
    f = Following(exchange, "by_id")

    def reset():
        newest = int(f.stored().trade_id.max())
        exchange.server.id_shift = newest + 3

    steps = [
        (lambda: None, lambda f: f.has(20)),
        (reset, lambda f: (f.stored().epoch == 1).sum() >= 20),
    ]
    asyncio.run(follow_all([f], steps))
    rows = f.stored()
    again = rows[rows.epoch == 1]
    assert again.trade_id.min() <= 4 and not again.trade_id.duplicated().any()
    assert f.stream.store.epochs(f.product)[0]["epoch"] == 1


def test_limits_and_bans_are_obeyed_and_said(exchange):
    source = source_of("kraken", workspace(exchange))
    source.products()
    before = exchange.server.requests
    exchange.server.fault("rest_429", seconds=3600)
    for _ in range(3):
        with pytest.raises(ExchangeLimitError, match="limit") as error:
            source.recent("kraken:DOGE-USD")
    assert exchange.server.requests == before + 1 and error.value.wait > 3000


def test_unknown_products_are_named_with_what_is_near(exchange):
    source = source_of("kraken:DOGE-USD", workspace(exchange))
    with pytest.raises(UnknownProductError, match="did you mean DOGE-USD"):
        source.recent("kraken:DOGE-USDT")
    assert source.products() == ["kraken:DOGE-USD", "kraken:SOL-USD"]
    assert pair_of(source.recent("kraken:DOGE-USD", 1).trades[0].product_id) == "DOGE-USD"


def test_an_exchange_out_of_reach_is_said_and_nothing_stands_in_for_it(exchange):
    ws = workspace(exchange)
    gone = ws.settings.model_copy(update=dict(exchange_urls=dict(kraken="http://127.0.0.1:9")))
    ws = type(ws)(gone, ws.name)
    stream, stop = Stream(ws, ["DOGE-USD", "kraken:DOGE-USD"]), asyncio.Event()

    def said():
        return stream.report.get("exchanges", {}).get("kraken", {}).get("problem")

    def has_trades():
        return len(stream.store.read("DOGE-USD"))

    async def run():
        from crypto_anomaly.trades.feed import follow

        task = asyncio.create_task(follow(stream, exchange.ws_url, stop))
        try:
            await asyncio.to_thread(until, said, 60, "the exchange to be missed")
            await asyncio.to_thread(until, has_trades, 60, "trades of the other exchange")
        finally:
            stop.set()
            await task
        return stream.report

    report = asyncio.run(run())
    assert "does not answer" in report["exchanges"]["kraken"]["problem"]
    assert "kraken: it does not answer" in report["problem"] and not report["connected"]
    assert len(stream.store.read("DOGE-USD")) and not len(stream.store.read("kraken:DOGE-USD"))


def test_ccxt_reads_the_pages_of_coinbase_as_our_own_client_does(exchange):
    ws = workspace(exchange)
    own, through = source_of("DOGE-USD", ws), CcxtSource("coinbase", ws, COINBASE)
    below = own.recent("DOGE-USD").trades[-1].trade_id - 500
    ours, theirs = (source.page("DOGE-USD", before=below).trades for source in (own, through))
    assert [t.trade_id for t in theirs] == list(range(below - 1000, below))
    for a, b in zip(ours, theirs, strict=True):
        same = a._replace(ts=b.ts) == b._replace(maker_order_id=None, taker_order_id=None)
        assert same and abs(a.ts - b.ts) < 1000  # ccxt's times have milliseconds
    with pytest.raises(TradeError, match="no pages by id"):
        source_of("kraken", ws).page("kraken:DOGE-USD", before=below)


def test_a_product_that_is_delisted_is_left_out_and_the_other_one_goes_on(exchange, monkeypatch):
    monkeypatch.setattr("crypto_anomaly.trades.exchange_feed.BEAT", 0.3)
    f = Following(exchange, "by_id")
    other = "kraken:SOL-USD"
    f.stream = Stream(f.stream.ws, [f.product, other])
    f.stream.rest = Roads(exchange.rest_url, f.stream.ws, {"kraken": f.source})
    f.listener = ExchangeListener(f.source, f.stream, f.queue)
    seen = {}

    def delist():
        exchange.server.offline.add(f.product)

    def goes_on(f):
        left_out = f.product in f.stream.unknown
        n = len(f.stream.store.read(other))
        seen.setdefault("n", n) if left_out else None
        return left_out and n > seen["n"] + 20

    def both(f):
        return f.has(5) and len(f.stream.store.read(other)) > 5

    asyncio.run(follow_all([f], [(lambda: None, both), (delist, goes_on)]))
    assert "kraken" in f.stream.unknown[f.product]
    assert f.stream.store.completeness(other)["missing"] == 0
