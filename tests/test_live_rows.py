"""What a feed and its REST pages may send: bad rows, impossible times, ids that begin again."""

import asyncio
import json
import random
import threading
import time
from urllib.parse import parse_qs, urlparse

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from conftest import Cli
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from websockets.asyncio.server import serve
from websockets.datastructures import Headers
from websockets.http11 import Response

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.trades.gap_fill import fill_gap
from crypto_anomaly.trades.messages import (
    BadTradeError,
    FeedMessage,
    Trade,
    TradeError,
    fault_of,
    now_micros,
    parse_message,
    trade_of,
)
from crypto_anomaly.trades.sequence import LARGEST_GAP, Sequence
from crypto_anomaly.trades.store import TradeStore, open_store
from crypto_anomaly.trades.stream import Stream

SECOND = 1_000_000
NOON = 1_767_355_200 * SECOND  # 2026-01-02 12:00 UTC


def a_trade(i: int, at: float | None = None, price: float = 100.0, **fields) -> Trade:
    """Trade `i`, a second after the one before unless it is said when."""
    ts = NOON + int((i if at is None else at) * SECOND)
    size = fields.pop("size", 0.01)
    return Trade("BTC-USD", i, ts, price, size, "buy")._replace(**fields)


def a_row(i: int, at: float | None = None, **fields) -> dict:
    """The same as Coinbase writes it."""
    t = a_trade(i, at)
    when = pd.Timestamp(t.ts, unit="us", tz="UTC").isoformat().replace("+00:00", "Z")
    row = dict(trade_id=i, time=when, price="100.0", size="0.01", side="sell")
    return row | dict(product_id="BTC-USD") | fields


def workspace(home, db_url: str = "", **more):
    url = db_url.replace("registry.db", "trades.db")
    return claim(
        open_workspace(Settings(home=home, source="simulated", trades_url=url, **more)), "simulated"
    )


def replayed(ws, *batches: list[Trade]) -> Stream:
    """A stream without REST that has dealt with some batches, with no wait for late trades."""
    now = [0.0]
    stream = Stream(ws, ["BTC-USD"], rest_url="", clock=lambda: now[0])
    for batch in batches:
        stream.process([FeedMessage(batch)])
        now[0] += 2
        stream.process([])
    return stream


def ids_of(store: TradeStore, epoch: int = 0) -> list[int]:
    return store.read("BTC-USD", epoch=epoch).trade_id.tolist()


# --- one row -------------------------------------------------------------------------------------

TOMORROW = (pd.Timestamp.now("UTC") + pd.Timedelta("1D")).isoformat()
BAD_FIELDS = [
    *[("price", x) for x in ("0", "0.0", "-1", "NaN", "inf", "-inf", "", "x", "1e400", "1_0")],
    *[("price", x) for x in (None, 0, True, [], {}, "1e15")],
    *[("size", x) for x in ("0.00000000", "-0.1", "nan", "Infinity", None, False, ["1"])],
    pytest.param("time", TOMORROW, id="time-tomorrow"),  # one name in every process
    *[("time", x) for x in ("2062-01-01T00:00:00Z", "2008-12-31T23:59:59Z", "soon")],
    *[("time", x) for x in ("", None, 5, "2026-01-02T12:00:00", "0001-01-01T00:00:00Z")],
    *[("trade_id", x) for x in (0, -5, None, "x", 5.7, True, 2**62, 10**30, [7], "1_0")],
    *[("side", x) for x in ("", "b", None, ["buy"], "Buy", 1)],
    *[("product_id", x) for x in ("", None, "BTC USD", ["BTC-USD"], "a;b", "x" * 50)],
    *[("maker_order_id", x) for x in ([], {}, "a\0b", "\ud800", "x" * 300)],
]


@pytest.mark.parametrize(("field", "value"), BAD_FIELDS)
def test_a_bad_field_is_named(field, value):
    row = a_row(7) | {field: value}
    with pytest.raises(BadTradeError) as caught:
        trade_of(row)
    refused = caught.value.refused
    assert refused.field == ("ts" if field == "time" else field)
    assert str(value)[:10] in refused.value or repr(value)[:10] in refused.value
    assert "\n" not in str(refused)
    batch = [a_row(5), row, a_row(6)]
    message = parse_message(json.dumps(dict(channel="market_trades", events=[dict(trades=batch)])))
    assert [t.trade_id for t in message.trades] == [5, 6]
    assert [r.field for r in message.refused] == [refused.field]


@pytest.mark.parametrize("row", [None, 5, "text", [], [1], True])
def test_what_is_no_row_is_named(row):
    events = [dict(trades=[a_row(5), row]), row, dict(trades=row), dict(trades=[a_row(6)])]
    message = parse_message(json.dumps(dict(channel="market_trades", events=events)))
    assert [t.trade_id for t in message.trades] == [5, 6]
    assert {r.field for r in message.refused} == {"row"}


# the machine may be busy, and the first text that is drawn reads a large table
SLOW = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=5), x, max_size=4),
    max_leaves=6,
)
FIELDS = st.sampled_from([*a_row(1), "maker_order_id", "taker_order_id"])


@SLOW
@given(st.lists(st.dictionaries(FIELDS, ANYTHING, max_size=2), max_size=6))
def test_a_batch_keeps_its_good_trades(spoilt):
    """Whatever the fields of some rows are: each row is a trade or is named, and nothing else."""
    rows = [a_row(i) | fields for i, fields in enumerate(spoilt, 1)]
    good = [a_row(100 + i) for i in range(3)]
    text = json.dumps(dict(channel="market_trades", events=[dict(trades=rows + good)]))
    message = parse_message(text)
    assert len(message.trades) + len(message.refused) == len(rows) + 3
    assert {100, 101, 102} <= {t.trade_id for t in message.trades}
    assert all(fault_of(t, now_micros()) is None for t in message.trades)


@SLOW
@given(ANYTHING | st.dictionaries(st.sampled_from(["type", "channel", "events"]), ANYTHING))
def test_any_json_is_a_message_or_an_error(m):
    for text in (json.dumps(m), json.dumps(m).encode()):
        try:
            parse_message(text)
        except TradeError as e:
            assert "\n" not in str(e)[:50]


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, b"\xff\xfe", "9" * 5000, "{}" * 3])
def test_what_is_no_json_is_an_error(text):
    with pytest.raises(TradeError, match="not JSON"):
        parse_message(text)


# --- the store and the stream --------------------------------------------------------------------

IMPOSSIBLE = [
    *[("price", x) for x in (0.0, -1.0, np.nan, np.inf, None, "1")],
    *[("size", x) for x in (0.0, -1.0, np.nan, np.inf, None)],
    *[("ts", x) for x in (0, -(10**15), 10**17, None, float("nan"))],
    *[("trade_id", x) for x in (0, -1, 2**62, None)],
]


def test_the_store_takes_nothing_that_cannot_be(db_url):
    store = TradeStore(db_url.replace("registry.db", "trades.db"))
    for field, value in IMPOSSIBLE:
        with pytest.raises(TradeError, match=f"did not take a batch.*{field}"):
            store.write([a_trade(1), a_trade(2, **{field: value})])
    assert store.completeness("BTC-USD")["trades"] == 0


@pytest.mark.parametrize(("field", "value"), IMPOSSIBLE)
def test_the_stream_refuses_what_cannot_be_and_goes_on(tmp_path, field, value):
    rows = [a_trade(i, price=100 + i % 7) for i in range(1, 200)]
    spoilt = [*rows[:100], rows[100]._replace(**{field: value}), *rows[101:]]
    stream = replayed(workspace(tmp_path / "a"), spoilt)
    alone = replayed(workspace(tmp_path / "b"), rows[:100], rows[101:])
    assert stream.stats["refused"] == 1
    assert ids_of(stream.store) == [t.trade_id for t in rows if t.trade_id != 101]
    now, expected = stream.latest.get("BTC-USD"), alone.latest.get("BTC-USD")
    assert now["ts"] == expected["ts"]
    if field != "trade_id":  # an id that cannot be read leaves a gap
        facts = stream.store.completeness("BTC-USD")
        assert (facts["refused"], facts["missing"], facts["open_gaps"]) == (1, 0, 0)
    assert now["features"]["ret_1s"] == expected["features"]["ret_1s"] != 0


def test_a_time_that_cannot_be_moves_no_clock(tmp_path):
    """A day ahead, the year 2001, and an hour ahead at the begin of a stream."""
    now = now_micros()
    real = [
        a_trade(i)._replace(ts=now - (300 - i) * SECOND, price=100 + i % 7) for i in range(1, 300)
    ]
    odd = [
        real[150]._replace(ts=now + 86_400 * SECOND),
        real[151]._replace(ts=978_307_200 * SECOND),
    ]
    spoilt = [real[0]._replace(trade_id=1, ts=now + 3600 * SECOND), *real[1:150], *odd, *real[152:]]
    stream = replayed(workspace(tmp_path), spoilt)
    assert stream.stats["refused"] == 3
    assert stream.states["BTC-USD"].state[1] == real[-1].ts // SECOND  # the open second
    assert stream.latest.get("BTC-USD")["features"]["ret_1s"] != 0


def test_a_store_with_a_time_of_the_future_warms_up_on_the_true_ones(tmp_path):
    """Version 0.1 stored such trades: they do not count when a stream opens."""
    ws = workspace(tmp_path)
    store = open_store(ws)
    now = now_micros()
    store.write([a_trade(i)._replace(ts=now - (300 - i) * SECOND) for i in range(1, 200)])
    with store.transaction() as c:
        c.execute(sa.text("UPDATE trades SET ts = :ts WHERE trade_id = 199"), dict(ts=now * 2))
    stream = Stream(ws, ["BTC-USD"], rest_url="")
    assert stream.states["BTC-USD"].seen == 198
    assert stream.sequences["BTC-USD"].newest.ts < now


# --- epochs --------------------------------------------------------------------------------------


def test_ids_begin_again_while_streaming_and_over_a_restart(tmp_path, db_url, caplog):
    ws = workspace(tmp_path, db_url)
    first = [a_trade(i, at=i) for i in range(5_000_001, 5_000_101)]
    again = [a_trade(i, at=5_000_200 + i) for i in range(10, 60)]
    stream = replayed(ws, first, again[:20], again[20:])
    store, facts = stream.store, stream.store.completeness("BTC-USD")
    assert (facts["epoch"], facts["first_id"], facts["last_id"]) == (1, 10, 59)
    assert (facts["trades"], facts["missing"], facts["open_gaps"]) == (150, 0, 0)
    assert stream.latest.get("BTC-USD")["trade_id"] == 59
    assert stream.latest.get("BTC-USD")["epoch"] == 1
    assert stream.states["BTC-USD"].seen == 150
    said = [r.message for r in caplog.records if "went back" in r.message]
    assert len(said) == 1
    assert "from 5000100 to 10" in said[0]
    # the stream opens again and goes on in its epoch
    more = [a_trade(i, at=5_000_200 + i) for i in range(60, 80)]
    stream = replayed(ws, more)
    assert store.completeness("BTC-USD")["last_id"] == 79
    # the ids begin again while nobody listens; the first trade of a subscription says so
    third = [a_trade(i, at=5_000_400 + i) for i in range(1, 6)]
    stream = Stream(ws, ["BTC-USD"], rest_url="")
    stream.process([FeedMessage(third[:1], first=True)])
    stream.process([FeedMessage(third[1:])])
    assert store.current_epoch("BTC-USD") == 2
    assert ids_of(store, 2) == [1, 2, 3, 4, 5]
    assert [e["epoch"] for e in store.epochs("BTC-USD")] == [1, 2]
    assert len(store.read("BTC-USD")) == 175
    assert len(store.read("BTC-USD", start=pd.Timestamp(again[0].ts, unit="us", tz="UTC"))) == 75


def test_the_same_ids_of_two_epochs_lie_beside_each_other(tmp_path, db_url):
    rows = [a_trade(i) for i in range(1, 51)]
    again = [t._replace(ts=t.ts + 100 * SECOND, price=200.0) for t in rows]
    stream = replayed(workspace(tmp_path, db_url), rows, again)
    assert ids_of(stream.store, 0) == ids_of(stream.store, 1) == list(range(1, 51))
    assert set(stream.store.read("BTC-USD", epoch=0).price) == {100.0}
    later = [t._replace(trade_id=t.trade_id + 50, ts=t.ts + 100 * SECOND) for t in again]
    late = rows[40]._replace(trade_id=51)  # of the old epoch, after the new one began
    stream.process([FeedMessage([*later[:10], late, *later[10:]])])
    assert 51 in ids_of(stream.store, 0)
    assert ids_of(stream.store, 1) == list(range(1, 101))


def test_a_gap_lies_within_its_epoch(tmp_path):
    rows = [a_trade(i) for i in range(1, 100) if i not in (50, 51)]
    again = [a_trade(i, at=200 + i) for i in range(1, 30) if i != 20]
    stream = replayed(workspace(tmp_path), rows, again)
    facts = stream.store.completeness("BTC-USD")
    assert (facts["missing"], facts["open_gaps"]) == (1, 1)
    assert [(g["epoch"], g["from_id"]) for g in stream.store.gaps(opened=True)] == [(1, 20)]
    stream.process([FeedMessage([a_trade(20, at=220)])])
    assert stream.store.completeness("BTC-USD")["open_gaps"] == 0


@pytest.mark.parametrize("odd", [10, 4_000_000_000, 10**15])
def test_one_odd_id_is_no_epoch(tmp_path, odd):
    rows = [a_trade(i) for i in range(5_000_000, 5_000_100)]
    spoilt = [*rows[:50], rows[50]._replace(trade_id=odd), *rows[51:]]
    stream = replayed(workspace(tmp_path), spoilt)
    facts = stream.store.completeness("BTC-USD")
    assert (facts["epoch"], facts["trades"], facts["missing"]) == (0, 99, 1)
    assert stream.store.gaps()[0]["missing"] == 1
    assert [r["value"] for r in stream.store.refused()] == [str(odd)]


def test_ids_that_jump_by_millions_open_no_gap(tmp_path):
    rows = [a_trade(i) for i in range(1, 100)]
    far = [a_trade(LARGEST_GAP * 3 + i, at=100 + i) for i in range(50)]
    stream = replayed(workspace(tmp_path), rows, far)
    facts = stream.store.completeness("BTC-USD")
    assert (facts["epoch"], facts["trades"], facts["missing"]) == (1, 149, 0)
    assert stream.store.gaps() == []
    assert stream.latest.get("BTC-USD")["trade_id"] == far[-1].trade_id


def test_a_heartbeat_that_is_far_ahead_moves_nothing(tmp_path):
    now = [0.0]
    stream = Stream(workspace(tmp_path), ["BTC-USD"], rest_url="", clock=lambda: now[0])
    stream.process([FeedMessage([a_trade(i) for i in range(1, 10)])])
    stream.process([FeedMessage(heartbeats={"BTC-USD": 10**14})])
    now[0] += 5
    stream.process([FeedMessage([a_trade(10)])])
    assert stream.sequences["BTC-USD"].next_id == 11
    assert stream.store.gaps() == []
    assert stream.latest.get("BTC-USD")["trade_id"] == 10


@SLOW
@given(st.integers(0, 10**6), st.integers(1, 30))
def test_late_and_double_trades_are_no_epoch(seed, window):
    """In whatever order, and however often: no epoch begins, and nothing is lost."""
    rng = random.Random(seed)
    rows = [a_trade(i) for i in range(1_000, 1_200)]
    sent = rows + rng.sample(rows, 40)
    places = {id(t): i for i, t in enumerate(rows)}
    sent.sort(key=lambda t: places[id(t)] + rng.uniform(0, window))
    s = Sequence(1_000)
    for t in sent:
        s.offer(t)
    assert s.following is None
    assert not s.check.mistakes
    assert [t.trade_id for t in s.ready()] == list(range(1_000, 1_200))


@SLOW
@given(st.integers(0, 10**6), st.integers(3, 50), st.integers(1, 10**7), st.integers(1, 10**7))
def test_every_trade_of_a_reset_is_in_one_epoch(seed, n, old, new):
    """Wherever the ids were and wherever they go on: all trades are kept, in their order."""
    assume(new <= old + n - 3 or new > old + n + LARGEST_GAP)  # in between it is a gap
    rng = random.Random(seed)
    before = [a_trade(old + i, at=i) for i in range(n)]
    after = [a_trade(new + i, at=n + i) for i in range(n)]
    s = Sequence(old)
    for t in [*before, *after]:
        s.offer(t)
        if rng.random() < 0.1:
            s.offer(t)
    assert [t.trade_id for t in s.ready()] == [t.trade_id for t in before]
    assert s.following
    assert s.following.epoch == 1
    assert [t.trade_id for t in s.following.ready()] == [t.trade_id for t in after]


# --- older stores --------------------------------------------------------------------------------

OLD_TABLES = """
CREATE TABLE trades (product_id TEXT NOT NULL, trade_id BIGINT NOT NULL, ts BIGINT NOT NULL,
  price DOUBLE PRECISION NOT NULL, size DOUBLE PRECISION NOT NULL, taker_side TEXT NOT NULL,
  maker_order_id TEXT, taker_order_id TEXT, source TEXT NOT NULL,
  PRIMARY KEY (product_id, trade_id));
CREATE INDEX trades_ts ON trades (product_id, ts);
CREATE TABLE ingest_gaps (id {serial}, product_id TEXT NOT NULL,
  from_id BIGINT NOT NULL, to_id BIGINT NOT NULL, missing BIGINT NOT NULL, filled BIGINT NOT NULL,
  pages INTEGER NOT NULL, seconds DOUBLE PRECISION NOT NULL, cause TEXT NOT NULL,
  found_at TEXT NOT NULL, closed_at TEXT);
CREATE TABLE trade_alarm (product_id TEXT NOT NULL, trade_id BIGINT NOT NULL, kind TEXT NOT NULL,
  ts BIGINT NOT NULL, price DOUBLE PRECISION NOT NULL, score DOUBLE PRECISION NOT NULL,
  model_version INTEGER, reason TEXT NOT NULL, evidence JSON NOT NULL,
  PRIMARY KEY (product_id, trade_id, kind));
"""


def test_a_store_from_before_epochs_is_opened(db_url):
    url = db_url.replace("registry.db", "trades.db")
    serial = "INTEGER PRIMARY KEY" if url.startswith("sqlite") else "SERIAL PRIMARY KEY"
    engine = sa.create_engine(url)
    rows = [a_trade(i) for i in range(1, 21) if i != 7]
    with engine.begin() as c:
        for statement in OLD_TABLES.format(serial=serial).split(";")[:-1]:
            c.execute(sa.text(statement))
        for t in rows:
            names = ", ".join(f":{name}" for name in Trade._fields)
            c.execute(sa.text(f"INSERT INTO trades VALUES ({names})"), t._asdict())
        c.execute(
            sa.text(
                "INSERT INTO ingest_gaps (product_id, from_id, to_id, missing, filled, pages, "
                "seconds, cause, found_at) VALUES ('BTC-USD', 7, 7, 1, 0, 0, 0, 'lost', 'x')"
            )
        )
        c.execute(
            sa.text(
                "INSERT INTO trade_alarm VALUES ('BTC-USD', 3, 'pump', :ts, 1, 9, NULL, 'x', '{}')"
            ),
            dict(ts=NOON),
        )
    engine.dispose()
    store = TradeStore(url)
    facts = store.completeness("BTC-USD")
    assert (facts["trades"], facts["missing"], facts["open_gaps"], facts["epoch"]) == (19, 1, 1, 0)
    assert ids_of(store) == [t.trade_id for t in rows]
    assert len(store.alarms("BTC-USD")) == 1
    store.write([*rows, a_trade(7)])
    store.write(rows, epoch=1)
    assert TradeStore(url).completeness("BTC-USD")["trades"] == 39
    columns = {c["name"] for c in sa.inspect(store.engine).get_columns("trades")}
    assert columns == {*Trade._fields, "epoch"}
    names = set(sa.inspect(store.engine).get_table_names())
    assert not any("before_epochs" in name for name in names)


# --- a feed on loopback --------------------------------------------------------------------------


class Exchange:
    """A feed and its REST pages on one port; `rows` is what REST hands out, good or bad."""

    def __init__(self, known=("BTC-USD",), *, closes: bool = False):
        self.known, self.closes = set(known), closes
        self.rows: dict[int, dict] = {}
        self.asked: list[int] = []  # `after` of every page
        self.loop, up = asyncio.new_event_loop(), threading.Event()

        def run():
            asyncio.set_event_loop(self.loop)
            self.loop.run_until_complete(self._serve(up))

        threading.Thread(target=run, daemon=True).start()
        assert up.wait(30)

    async def _serve(self, up):
        async with serve(self._talk, "127.0.0.1", 0, process_request=self._page) as server:
            self.port = server.sockets[0].getsockname()[1]
            up.set()
            await asyncio.Future()

    @property
    def rest(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def env(self) -> dict:
        return dict(coinbase_ws_url=f"ws://127.0.0.1:{self.port}", coinbase_rest_url=self.rest)

    async def _page(self, connection, request):
        if "Upgrade" in request.headers:
            return None
        after = int(parse_qs(urlparse(request.path).query)["after"][0])
        self.asked.append(after)
        below = sorted((i for i in self.rows if i < after), reverse=True)[:1000]
        body = json.dumps([self.rows[i] for i in below]).encode()
        headers = Headers(
            [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        )
        return Response(200, "OK", headers, body)

    async def _talk(self, socket):
        products = json.loads(await socket.recv())["product_ids"]
        unknown = [p for p in products if p not in self.known]
        if unknown:
            error = dict(type="error", message="Failed to subscribe", reason=f"{unknown[0]}?")
            await socket.send(json.dumps(error))
            if not self.closes:
                await asyncio.sleep(60)
            return
        for i in range(1, 10_000):
            for p in products:
                when = pd.Timestamp.now("UTC").isoformat()
                row = a_row(i, product_id=p, type="match", time=when)
                await socket.send(json.dumps(row))
            await asyncio.sleep(0.02)


def rows_of(first: int, last: int, spoilt: dict[int, dict]) -> dict[int, dict]:
    """REST rows by id; `spoilt` are the fields that are wrong."""
    return {i: a_row(i) | spoilt.get(i, {}) for i in range(first, last + 1)}


SPOILT = [dict(size="0"), dict(price=None), dict(time="2062-01-01T00:00:00Z"), dict(side="x")]


def test_a_bad_row_of_a_page_leaves_the_others(tmp_path, db_url):
    """2,500 trades over three pages, four of them bad: the others come, and the gap is closed."""
    exchange, store = Exchange(), TradeStore(db_url.replace("registry.db", "trades.db"))
    spoilt = dict(zip((1, 1000, 1001, 2500), SPOILT))
    exchange.rows = rows_of(1, 2600, spoilt)
    fetched = fill_gap(store, exchange.rest, "BTC-USD", 1, 2500, cause="test", pause=0)
    assert fetched == 2496
    assert store.gaps(opened=True) == []
    gap = store.gaps()[0]
    assert (gap["missing"], gap["filled"], gap["refused"]) == (2500, 2496, 4)
    assert sorted(r["trade_id"] for r in store.refused()) == [1, 1000, 1001, 2500]
    exchange.rows = rows_of(1, 2600, {})  # the exchange mends one; it is no longer missing
    assert fill_gap(store, exchange.rest, "BTC-USD", 1000, 1000, cause="again") == 1
    assert store.refused_between("BTC-USD", 1, 2500) == 3


@pytest.mark.parametrize("row", [None, "x", 5, dict(trade_id="?"), dict(a_row(5), trade_id=3)])
def test_a_row_without_its_id_stops_no_page(tmp_path, row):
    exchange, store = Exchange(), TradeStore(f"sqlite:///{tmp_path}/trades.db")
    exchange.rows = rows_of(3_000_000, 3_001_600, {}) | {3_000_800: row}
    ids = (3_000_100, 3_001_550)
    fetched = fill_gap(store, exchange.rest, "BTC-USD", *ids, cause="test", pause=0)
    assert fetched == 1450
    assert store.gaps()[0]["filled"] == 1450


def test_a_refused_trade_is_not_asked_for_again(tmp_path):
    exchange, now = Exchange(), [0.0]
    rows = [a_trade(i) for i in range(1, 300)]
    exchange.rows = rows_of(1, 300, {150: dict(size="0"), 160: dict(trade_id="?")})
    ws = workspace(tmp_path, coinbase_rest_url=exchange.rest)
    stream = Stream(ws, ["BTC-USD"], clock=lambda: now[0])
    stream.process([FeedMessage(rows[:99])])
    stream.process([FeedMessage(rows[199:])])
    now[0] += 2
    stream.process([])
    facts = stream.store.completeness("BTC-USD")
    assert (facts["refused"], facts["missing"], facts["open_gaps"]) == (2, 1, 1)
    before = len(exchange.asked)
    for _ in range(360):  # an hour
        now[0] += 10
        stream.process([])
    assert len(exchange.asked) - before < 12
    assert stream.stats["refused"] == 2  # each is counted and named once


def test_a_bad_trade_of_the_feed_is_fetched_when_rest_has_it(tmp_path):
    exchange, now = Exchange(), [0.0]
    exchange.rows = rows_of(1, 100, {})
    ws = workspace(tmp_path, coinbase_rest_url=exchange.rest)
    stream = Stream(ws, ["BTC-USD"], clock=lambda: now[0])
    rows = [a_trade(i) for i in range(1, 100)]
    bad = a_row(50, size="0.0", type="match")
    with pytest.raises(BadTradeError) as caught:
        parse_message(json.dumps(bad))
    stream.process([FeedMessage(rows[:49], refused=[caught.value.refused])])
    stream.process([FeedMessage(rows[50:])])
    now[0] += 2
    stream.process([])
    facts = stream.store.completeness("BTC-USD")
    assert (facts["trades"], facts["missing"], facts["open_gaps"]) == (99, 0, 0)
    assert facts["refused"] == 1


def test_a_lying_heartbeat_skips_no_trade(tmp_path):
    exchange, now = Exchange(), [0.0]
    exchange.rows = rows_of(1, 100, {})
    ws = workspace(tmp_path, coinbase_rest_url=exchange.rest)
    stream = Stream(ws, ["BTC-USD"], clock=lambda: now[0])
    stream.process([FeedMessage([a_trade(i) for i in range(1, 90)])])
    stream.process([FeedMessage(heartbeats={"BTC-USD": 1_000_000})])
    now[0] += 2
    stream.process([])
    assert stream.store.completeness("BTC-USD")["last_id"] == 100
    assert stream.store.gaps(opened=True) == []
    stream.process([FeedMessage([a_trade(i) for i in range(101, 120)])])
    stream.finish()
    assert stream.latest.get("BTC-USD")["trade_id"] == 119


@pytest.mark.parametrize("closes", [False, True])
def test_an_unknown_product_stops_no_other(tmp_path, closes):
    exchange = Exchange(("BTC-USD", "ETH-USD"), closes=closes)
    names = "btc-usd,NOPE-USD, eth-usd ,NADA-USD"
    cli = Cli(tmp_path / "home", source="coingecko", **exchange.env)
    done = cli("stream", "--seconds", "12", "--json", "--products", names)
    facts = json.loads(done.stdout)
    stored = {c["product_id"]: c["trades"] for c in facts["products"]}
    assert stored["BTC-USD"] > 50
    assert stored["ETH-USD"] > 50
    assert set(facts["unknown"]) == {"NOPE-USD", "NADA-USD"}
    for name in facts["unknown"]:
        lines = [line for line in done.stderr.splitlines() if f"{name} is left out" in line]
        assert len(lines) == 1


@pytest.mark.parametrize("names", ["NOPE-USD", "NOPE-USD,NADA-USD"])
def test_only_unknown_products_are_an_error(tmp_path, names):
    cli = Cli(tmp_path / "home", source="coingecko", **Exchange(closes=True).env)
    began = time.monotonic()
    said = cli.error("stream", "--seconds", "60", "--products", names)
    assert time.monotonic() - began < 50
    assert "NOPE-USD" in said


@pytest.mark.parametrize("names", ["BTC USD", "BTC-USD;x", ",", "-"])
def test_what_is_no_product_is_refused(tmp_path, names):
    cli = Cli(tmp_path / "home", source="coingecko", **Exchange().env)
    assert "product" in cli.error("stream", "--seconds", "5", "--products", names)
