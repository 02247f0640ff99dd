"""What is written down about stored ids equals the trades, whatever is done to them."""

import itertools
import shutil
import threading
import time

import pandas as pd
import pytest
import requests
import sqlalchemy as sa
from conftest import Cli
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.simulate.trade_server import serve_trades
from crypto_anomaly.simulate.trades import TradeSimulator
from crypto_anomaly.trades import recount, schema
from crypto_anomaly.trades.deleted import TradeRange
from crypto_anomaly.trades.gap_fill import fill_gap
from crypto_anomaly.trades.id_ranges import range_table
from crypto_anomaly.trades.messages import Trade
from crypto_anomaly.trades.pages import TradePages, page_session
from crypto_anomaly.trades.schema import trades_table
from crypto_anomaly.trades.store import TradeStore, open_store

SECOND = 1_000_000
BEGIN = 1_767_312_000 * SECOND
IDS = st.integers(1, 60)
STORE = st.tuples(st.just("store"), st.integers(0, 1), st.lists(IDS, min_size=1, max_size=20))
DELETE = st.tuples(st.just("delete"), IDS, st.lists(st.tuples(IDS, IDS), max_size=2))


def batch(product, ids):
    """Trades, one a second in the order of their ids."""
    return [Trade(product, i, BEGIN + i * SECOND, 1.0 + i, 1.0, "buy", None, "o\t") for i in ids]


def stored_ids(store, product, epoch, above):
    """The ids of an epoch by the trades themselves."""
    t = trades_table.c
    query = sa.select(t.trade_id).where(t.product_id == product, t.epoch == epoch)
    return [i for (i,) in store.rows(query.where(t.trade_id > above).order_by(t.trade_id))]


def counted(store, product):
    """Trades, holes, first and last id as a count of the rows finds them."""
    epoch = store.current_epoch(product)
    ids = stored_ids(store, product, epoch, store.deleted_up_to(product, epoch))
    before = [
        len(stored_ids(store, product, e, store.deleted_up_to(product, e))) for e in range(epoch)
    ]
    holes = [(a + 1, b - 1) for a, b in zip(ids[:-1], ids[1:], strict=True) if b > a + 1]
    return len(ids) + sum(before), ids[0], ids[-1], holes


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(STORE | DELETE, min_size=1, max_size=6))
def test_ranges_equal_the_trades_after_any_steps(db_url, steps):
    store = TradeStore(db_url)
    with store.transaction() as c:
        for table in reversed(schema.trades_table.metadata.sorted_tables):
            c.execute(sa.delete(table))
    for kind, number, values in steps:
        if kind == "store":
            store.write_epochs({number: batch("X-USD", values), 0: batch("Y-USD", values[:3])})
            alarm = dict(price=1.0, score=1.0, reason="", evidence={}, kind="burst", ts=BEGIN)
            store.add_alarms([alarm | dict(product_id="X-USD", trade_id=values[0], epoch=number)])
        else:
            keep = [TradeRange("X-USD", min(pair), max(pair)) for pair in values]
            at = pd.Timestamp(BEGIN + number * SECOND, unit="us", tz="UTC")
            store.delete_before(at, keep=keep)
        assert store.wrong_ranges() == []
    for product in store.stored_products():
        told, (n, first, last, holes) = store.completeness(product), counted(store, product)
        assert (told["trades"], told["first_id"], told["last_id"]) == (n, first, last)
        assert told["missing"] == sum(b - a + 1 for a, b in holes)
        assert store.holes(product) == holes
        here = stored_ids(store, product, told["epoch"], 0)
        inside = [i for i in here if 10 <= i <= 40]
        assert store.count_between(product, 10, 40, told["epoch"]) == len(inside)
        whole, epochs = store.read(product), store.read(product, epoch=told["epoch"])
        assert epochs.trade_id.tolist() == here
        at = [pd.Timestamp(BEGIN + i * SECOND, unit="us", tz="UTC") for i in (10, 40)]
        part = store.read(product, start=at[0], end=at[1])
        expected = whole[whole.ts.between(*at)].reset_index(drop=True)
        pd.testing.assert_frame_equal(part, expected, check_dtype=False)


def test_writers_at_once_keep_the_ranges_right(db_url):
    store, problems = TradeStore(db_url), []

    def write(number):
        try:
            for i in range(12):
                first = 1 + 10 * ((7 * i + 5 * number) % 24)
                both = batch("X-USD", range(first, first + 12))
                both += batch(f"Y{(i + number) % 3}-USD", range(first, first + 5))
                store.write_epochs({0: both, number % 2: batch("Z-USD", range(i + 1, i + 4))})
        except Exception as e:  # asserted below
            problems.append(e)

    store.write(batch("X-USD", [1]))
    threads = [threading.Thread(target=write, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert problems == []
    assert store.wrong_ranges() == []


@pytest.fixture
def older(tmp_path):
    """The file of a store as an older version left it."""
    store = TradeStore(f"sqlite:///{tmp_path}/first.db")
    store.write(batch("X-USD", [*range(1, 41), *range(45, 91)]))
    store.write(batch("X-USD", range(3, 9)), epoch=1)
    store.write(batch("Y-USD", [7]))
    with store.transaction() as c:
        for name in ("trade_range", "trade_count"):
            c.exec_driver_sql(f"DROP TABLE {name}")
        c.exec_driver_sql("DROP INDEX ingest_gaps_product")
    store.engine.dispose()
    file = tmp_path / "older.db"
    shutil.copyfile(tmp_path / "first.db", file)
    return file


def test_an_older_store_is_counted_once_and_a_broken_off_count_goes_on(older, monkeypatch):
    monkeypatch.setattr(recount, "CHUNK", 10)
    chunks, whole = [], recount.count_chunk

    def broken(*given):
        chunks.append(given)
        if len(chunks) == 4:
            raise OSError("the computer was switched off")
        return whole(*given)

    monkeypatch.setattr(recount, "count_chunk", broken)
    with pytest.raises(OSError, match="switched off"):
        TradeStore(f"sqlite:///{older}")
    store = TradeStore(f"sqlite:///{older}")
    assert store.wrong_ranges() == []
    r = range_table.c
    ranges = [tuple(row) for row in store.rows(sa.select(range_table).order_by(r.product_id))]
    assert ranges == [
        ("X-USD", 0, 1, 40),
        ("X-USD", 0, 45, 90),
        ("X-USD", 1, 3, 8),
        ("Y-USD", 0, 7, 7),
    ]
    assert store.completeness("X-USD")["trades"] == 86 + 6


def test_an_older_store_that_cannot_be_written_is_read(older, monkeypatch):
    monkeypatch.setattr(schema, "is_writable", lambda path: False)
    store = TradeStore(f"sqlite:///{older}")
    assert (store.completeness("X-USD")["trades"], store.holes("X-USD")) == (92, [])
    assert store.count_between("X-USD", 35, 50) == 6 + 6
    made = "SELECT count(*) FROM sqlite_master WHERE name = 'trade_range'"
    assert store.value(sa.text(made)) == 0


def test_what_an_older_version_adds_later_is_counted_when_the_store_is_opened(tmp_path):
    store = TradeStore(f"sqlite:///{tmp_path}/a.db")
    store.write(batch("X-USD", range(1, 11)))
    with store.transaction() as c:
        c.exec_driver_sql(
            "INSERT INTO trades SELECT product_id, trade_id + 10, ts, price, size, taker_side, "
            "maker_order_id, taker_order_id, source, epoch FROM trades"
        )
    store.engine.dispose()
    shutil.copyfile(tmp_path / "a.db", tmp_path / "b.db")
    assert TradeStore(f"sqlite:///{tmp_path}/b.db").completeness("X-USD")["trades"] == 20


def test_verify_names_and_mends_a_wrong_count(tmp_path):
    cli = Cli(tmp_path, source="simulated")
    ws = claim(open_workspace(Settings(home=tmp_path, source="simulated")), "simulated")
    store = open_store(ws)
    store.write(batch("X-USD", range(1, 11)))
    with store.transaction() as c:
        c.exec_driver_sql("DELETE FROM trades WHERE trade_id = 5")
    found = cli("verify", "--trades", ok=False)
    assert found.returncode == 1 and "9 trades are stored in 2 ranges" in found.stderr
    assert "mended" in cli("verify", "--trades", "--mend").stderr
    assert "as many as" in cli("verify", "--trades").stderr


def test_pages_in_flight_obey_the_server(tmp_path):
    """Three requests at a time, paced by their starts; after a 429 nobody asks before its time."""
    store, starts = TradeStore(f"sqlite:///{tmp_path}/trades.db"), []
    with serve_trades(TradeSimulator()) as (_, rest, server):
        server.clock.set(pd.Timestamp("2026-01-02 12:00", tz="UTC"))
        last = TradePages(page_session(10), rest, "BTC-USD").older(1 << 61).trades[0].trade_id
        session, ask = page_session(10), requests.Session.get

        def get(*given, **options):
            starts.append(time.monotonic())
            return ask(session, *given, **options)

        session.get = get
        server.fault("rest_429", times=1, seconds=0.5)
        ids = (last - 7999, last)
        fetched = fill_gap(store, rest, "BTC-USD", *ids, cause="t", pause=0.02, session=session)
    assert fetched == 8000
    assert store.gaps(opened=True) == []
    waits = [b - a for a, b in itertools.pairwise(starts)]
    assert min(waits) > 0.019
    assert max(waits) > 0.3
    assert len(starts) <= 10
