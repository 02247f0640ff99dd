"""Products that come and go while a stream runs, and shards that share them."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.simulate.trade_server import serve_trades
from crypto_anomaly.simulate.trades import TradeSimulator
from crypto_anomaly.trades import stream as stream_module
from crypto_anomaly.trades.feed import follow
from crypto_anomaly.trades.product_claims import ProductClaims
from crypto_anomaly.trades.product_keeper import ProductKeeper
from crypto_anomaly.trades.store import open_store
from crypto_anomaly.trades.stream import Stream
from crypto_anomaly.trades.wanted import WantedProducts, open_wanted

PRODUCTS = ("SOL-USD", "DOGE-USD", "ADA-USD", "OLD-USD")


class Shard:
    """A stream with the keeper of its products, as a shard of another machine."""

    def __init__(self, ws, url, name):
        self.stream, self.stop, self.url = Stream(ws, []), asyncio.Event(), url
        self.keeper = ProductKeeper(self.stream, lease=1.5)
        self.keeper.name = f"{name}:1:x"
        self.tasks = []

    def start(self):
        """Stream, and take turns."""
        work = (self.keeper.run(self.stop), follow(self.stream, self.url, self.stop))
        self.tasks = [asyncio.create_task(task) for task in work]

    async def kill(self):
        """End without a word: nothing is flushed, nothing given back."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def end(self):
        """End as by a signal."""
        self.stop.set()
        await asyncio.gather(*self.tasks)
        self.keeper.leave()


async def until(what, is_true, seconds=60):
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, f"not in time: {what}"
        await asyncio.sleep(0.05)


@pytest.fixture(autouse=True)
def short_history(monkeypatch):
    """A product that is new fetches one page."""
    monkeypatch.setattr(stream_module, "HISTORY", 200)


@asynccontextmanager
async def exchange(tmp_path, wanted):
    """A loopback exchange, and a workspace that wants some of its products."""
    simulator = TradeSimulator(PRODUCTS)
    with serve_trades(simulator) as (url, rest, server):
        server.clock.set("2026-01-01 01:00")
        urls = dict(coinbase_ws_url=url, coinbase_rest_url=rest)
        settings = Settings(home=str(tmp_path), source="simulated", **urls)
        ws = claim(open_workspace(settings), "simulated")
        open_wanted(ws).start(wanted, "test", named=True, alone=True)
        yield ws, url, server


def whole(store, *products, beyond=0):
    """Whether products have more trades than `beyond`, and none is missing."""
    facts = [store.completeness(p) for p in products]
    return all(c["trades"] > beyond and not c["missing"] and not c["open_gaps"] for c in facts)


def test_products_come_and_go_and_the_others_lose_no_trade(tmp_path):
    async def scene():
        async with exchange(tmp_path, ["SOL-USD"]) as (ws, url, server):
            wanted, store, shard = open_wanted(ws), open_store(ws), Shard(ws, url, "one")
            shard.start()
            await until("SOL-USD", lambda: whole(store, "SOL-USD"))
            wanted.add(["DOGE-USD", "NOPE-USD"], "ana")
            await until("DOGE-USD", lambda: whole(store, "DOGE-USD"))
            await until("a refusal", lambda: "NOPE-USD" in shard.stream.unknown)
            wanted.remove(["DOGE-USD"], "ana")
            await until("it goes", lambda: "DOGE-USD" not in shard.stream.products)
            n = store.completeness("SOL-USD")["trades"]
            await until("SOL-USD goes on", lambda: whole(store, "SOL-USD", beyond=n))
            await shard.end()
            assert shard.stream.stats["reconnects"] == 0  # one connection for all of that
            return {r.product_id: (r.wanted, r.state) for r in wanted.all_products()}

    rows = asyncio.run(scene())
    assert rows["SOL-USD"] == (True, "streamed")
    assert rows["NOPE-USD"] == (True, "refused")
    assert rows["DOGE-USD"][0] is False


def test_a_shard_that_dies_is_taken_over(tmp_path):
    names = ["ADA-USD", "DOGE-USD", "SOL-USD"]

    async def scene():
        async with exchange(tmp_path, names) as (ws, url, _):
            store, a, b = open_store(ws), Shard(ws, url, "one"), Shard(ws, url, "two")
            a.start()
            b.start()
            parts = lambda: sorted([*a.stream.products, *b.stream.products])  # noqa: E731
            await until("both have a part", lambda: parts() == names and b.stream.products)
            await until("all are whole", lambda: whole(store, *names))
            lost = a.stream.products
            await a.kill()
            await until("the other has them", lambda: sorted(b.stream.products) == names)
            n = {p: store.completeness(p)["trades"] for p in lost}
            go_on = lambda: all(whole(store, p, beyond=n[p]) for p in lost)  # noqa: E731
            await until("they go on", go_on)
            await b.end()
            return b.keeper.claims.claims()

    assert asyncio.run(scene()) == {}


def test_wishes_and_claims_are_the_same_on_both_databases(db_url):
    wanted, claims = WantedProducts(db_url), ProductClaims(db_url)
    assert wanted.add(["A-USD", "B-USD", "A-USD"], "ana") == ["A-USD", "B-USD"]
    assert wanted.remove(["B-USD", "C-USD"], "ana") == ["B-USD"]
    left_out = wanted.start(["A-USD", "B-USD", "C-USD"], "start", named=False, alone=True)
    assert [r.product_id for r in left_out] == ["B-USD"]
    names = wanted.wanted()
    assert names == ["A-USD", "C-USD"]
    assert claims.take_turn("one:1:a", names, [], {}).products == names
    assert claims.take_turn("two:1:b", names, [], {}).products == []
    assert claims.take_turn("one:1:a", names, names, {}, lease=-1).products == names[:1]
    turn = claims.take_turn("two:1:b", names, [], dict(n=1))
    assert turn.products == names
    assert turn.taken_over == {"one:1:a": names}
    claims.leave("two:1:b", {})
    assert claims.claims() == {}
