"""What readers have while a new snapshot is scored, and the short way to a what-if."""

import gc
import threading
import weakref

import pandas as pd
import pytest

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import open_workspace
from crypto_anomaly.data.snapshots import read_snapshots, write_snapshot
from crypto_anomaly.data.table import DataError
from crypto_anomaly.model.scan import Scan, scan
from crypto_anomaly.model.what_if import MarketRows
from crypto_anomaly.serving import market_page, store_state
from crypto_anomaly.serving import state as state_module
from crypto_anomaly.serving.coin_page import coin_page
from crypto_anomaly.serving.market_page import coins_page, prepare_market
from crypto_anomaly.serving.overview_page import overview
from crypto_anomaly.serving.stamps import NEVER_READ
from crypto_anomaly.serving.state import AppState


@pytest.fixture
def ws(home):
    """A private workspace with a model and a week of the simulated market."""
    return open_workspace(Settings(home=home.home, source="simulated"))


def store_a_new_poll(ws):
    """The newest poll again, an hour later."""
    newest = read_snapshots(ws)
    newest = newest[newest.ts == newest.ts.max()]
    write_snapshot(ws, newest.assign(ts=newest.ts + pd.Timedelta("1h")))


def with_a_scorer(ws):
    """A state whose newest poll waits for the thread that scores, and the scan before it."""
    state = AppState(ws)
    last = state.scan()
    state.has_scorer = True
    state.score_newest()
    store_a_new_poll(ws)
    return state, last


def test_readers_have_the_last_scan_until_all_of_the_new_one_is_known(ws, monkeypatch):
    monkeypatch.setattr(store_state, "LOOK_SECONDS", 0)
    state = AppState(ws)
    last = state.scan()
    store_a_new_poll(ws)
    begun, go_on = threading.Event(), threading.Event()
    compute_all = Scan.compute_all

    def compute_late(found):
        begun.set()
        assert go_on.wait(60)
        compute_all(found)

    monkeypatch.setattr(Scan, "compute_all", compute_late)
    scorer = threading.Thread(target=state.scan)
    scorer.start()
    assert begun.wait(60)
    assert state.scan() is last  # without waiting: nobody has let the scorer go on
    go_on.set()
    scorer.join(60)
    found = state.scan()
    assert found.as_of == last.as_of + pd.Timedelta("1h")
    assert {"anomalies", "watched", "unjudged"} <= vars(found).keys()


def test_a_snapshot_of_another_process_is_scored_by_the_thread_that_looks_for_it(ws, monkeypatch):
    monkeypatch.setattr(store_state, "LOOK_SECONDS", 0)
    state, last = with_a_scorer(ws)
    assert state.newest() == last.as_of + pd.Timedelta("1h")
    assert state.is_at_hand() and state.scan() is last
    state.score_newest()
    assert state.is_at_hand() and state.scan().as_of == state.newest()


def test_a_snapshot_that_cannot_be_scored_is_an_error_for_readers_too(ws, monkeypatch):
    monkeypatch.setattr(store_state, "LOOK_SECONDS", 0)
    state, last = with_a_scorer(ws)

    def fail(*args, **facts):
        raise DataError("the file is broken")

    monkeypatch.setattr(state_module, "market_moment", fail)
    assert state.scan() is last
    for score in (state.score_newest, state.scan):
        with pytest.raises(DataError, match="the file is broken"):
            score()


def test_readers_have_the_last_scan_while_a_fetched_market_is_written_down(ws, monkeypatch):
    monkeypatch.setattr(store_state, "LOOK_SECONDS", 0)
    state, read = AppState(ws), []
    last = state.scan()

    def ingest(*args, **options):
        stored = fetch(*args, **options)
        read.append(state.scan())  # the file is there, its events and its merge may take seconds
        return stored

    fetch = state_module.ingest
    monkeypatch.setattr(state_module, "ingest", ingest)
    monkeypatch.setattr(state_module, "CACHE_SECONDS", 0.1)  # the stored snapshot is too old
    assert state.refresh(100) == ""
    assert len(read) == 1 and read[0] is last
    assert state.scan().as_of > last.as_of
    state.close()


def test_the_table_of_a_new_scan_is_drawn_before_readers_get_it(ws, monkeypatch):
    monkeypatch.setattr(store_state, "LOOK_SECONDS", 0)
    state = AppState(ws)
    last = state.scan()
    drawn = []

    def prepare(scan):
        prepare_market(state, scan)
        drawn.append((scan, state._scans[scan.served.version["version"]]))

    state.prepare = prepare
    store_a_new_poll(ws)
    found = state.scan()
    assert drawn == [(found, last)]

    def fail(*args, **facts):
        raise AssertionError("the table is drawn already")

    monkeypatch.setattr(market_page, "table_facts", fail)
    assert coins_page(state).count("<tr") > len(found.predictions)


def test_a_what_if_from_what_is_kept_is_that_of_the_whole_history(ws):
    seen = scan(ws)
    coin_id = seen.predictions.coin_id[0]
    ts, poll = seen.row(coin_id).ts, seen.history.last_poll()
    assert poll.holds(coin_id, ts)
    table = seen.history.read().reset_index(drop=True)
    whole = MarketRows(seen.served.model, seen.served.config, table, coin_id, ts)
    kept = whole._replace(last_poll=poll, table=table[table.coin_id == coin_id])
    last = whole.coin_rows.index[-1]
    for column in ("current_price", "total_volume", "market_cap"):
        for factor in (1.0, 0.7, 3.0):
            rows = whole.coin_rows
            rows.loc[last, column] *= factor
            assert kept.score(rows) == whole.score(rows), (column, factor)


def test_a_what_if_of_earlier_rows_reads_the_history(ws):
    seen = scan(ws)
    coin_id = seen.predictions.coin_id[0]
    ts, poll = seen.row(coin_id).ts, seen.history.last_poll()
    table = seen.history.read().reset_index(drop=True)
    market = MarketRows(seen.served.model, seen.served.config, table, coin_id, ts, poll)
    rows = market.coin_rows
    rows.loc[rows.index[:-1], "current_price"] *= 1.5
    assert market.score(rows) == market._replace(last_poll=None).score(rows)
    assert market.score(rows) != market.score(market.coin_rows)


def test_a_key_stands_still_during_a_fetch_and_an_event_ends_it(ws, monkeypatch):
    state, clock = AppState(ws), [100.0]
    monkeypatch.setattr(state_module.time, "monotonic", lambda: clock[0])

    def key_at(now):
        clock[0] = now
        return state.cache_key()

    assert key_at(100.1).second == 100
    with state.fetching():
        first = key_at(101.5)
        assert first.second == 101  # what was kept before is computed once more
        store_a_new_poll(ws)
        state._newest = NEVER_READ
        state.newest()
        assert key_at(110.5) == first
        assert key_at(111.0).second == 111
        still = key_at(111.5)
        state.registry.point_alias(1, "watched", by="anna")
        assert key_at(112.0) == still._replace(registry=key_at(112.0).registry) != still
        assert state.cache_key(trades=True).second == 112
    after = key_at(113.0)
    assert (after.second, after.newest) == (113, state.newest())


def test_an_old_scan_goes_when_there_is_a_new_one(ws, monkeypatch):
    monkeypatch.setattr(store_state, "LOOK_SECONDS", 0)
    state = AppState(ws)
    last = weakref.ref(state.scan())
    coin_id = state.scan().predictions.coin_id[0]
    for page in (overview(state), coins_page(state), coin_page(state, coin_id)):
        assert "<html" in page
    assert isinstance(last(), Scan)
    store_a_new_poll(ws)
    assert state.scan() is not last()
    gc.collect()
    assert last() is None
