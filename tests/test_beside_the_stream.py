"""A large gap is filled beside the live stream; a stop and an outage lose nothing."""

import asyncio
import socket
import threading
import time

import pandas as pd
import pytest
from conftest import Cli, until
from test_live_rows import Exchange, a_trade, rows_of, workspace

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.serving.live import Trades
from crypto_anomaly.serving.live_health import healthz
from crypto_anomaly.trades import feed
from crypto_anomaly.trades.feed import follow
from crypto_anomaly.trades.gap_fill import fill_gap
from crypto_anomaly.trades.messages import FeedMessage, TradeError
from crypto_anomaly.trades.store import open_store
from crypto_anomaly.trades.stream import Stream
from crypto_anomaly.trades.stream_gaps import LOST_AFTER, ONE_PAGE, PAGE_SECONDS
from crypto_anomaly.trades.stream_status import stream_health


class SlowExchange(Exchange):
    """REST hands out every trade, each page after a pause; with `hangs`, no page at all."""

    pause, hangs = 0.1, False

    async def _page(self, connection, request):
        if "Upgrade" not in request.headers:
            await asyncio.sleep(60 if self.hangs else self.pause)
        return await super()._page(connection, request)


def filling(ws, exchange) -> Stream:
    """A stream whose filler runs."""
    stream = Stream(ws, ["BTC-USD"], rest_url=exchange.rest)
    stream.start_filler()
    return stream


def process_until(stream: Stream, done, seconds: float = 60) -> None:
    """Let time pass for a stream until something holds."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not happen"
        stream.process([])
        time.sleep(0.05)


def test_live_trades_do_not_wait_for_a_large_gap(tmp_path):
    """Behind a hole of 20,000 every trade is stored and scored at once; the hole is filled."""
    exchange, ws = SlowExchange(), workspace(tmp_path)
    exchange.rows = rows_of(1, 20_200, {})
    stream = filling(ws, exchange)
    stream.process([FeedMessage([a_trade(i) for i in range(1, 101)], first=True)])
    live = [a_trade(i) for i in range(20_101, 20_201)]
    began = time.monotonic()
    stream.process([FeedMessage(live[:50], first=True)])
    stream.process([FeedMessage(live[50:])])
    assert time.monotonic() - began < 5
    stream.share(at_once=True)
    assert stream.latest.get("BTC-USD")["trade_id"] == 20_200
    assert stream.store.completeness("BTC-USD")["missing"] > 0
    process_until(stream, lambda: not stream.store.gaps(opened=True))
    process_until(stream, lambda: stream.states["BTC-USD"].seen >= 20_200)
    stream.stop_filler()
    facts = stream.store.completeness("BTC-USD")
    assert (facts["trades"], facts["missing"]) == (20_200, 0)


def test_what_came_late_is_scored_like_what_was_heard(tmp_path):
    """The features after a filled gap equal those of a stream that heard everything."""
    exchange, ws = SlowExchange(), workspace(tmp_path / "gap")
    exchange.pause, exchange.rows = 0.0, rows_of(1, 4000, {})
    heard = Stream(workspace(tmp_path / "heard"), ["BTC-USD"], rest_url="")
    heard.process([FeedMessage([a_trade(i) for i in range(1, 4001)])])
    stream = filling(ws, exchange)
    stream.process([FeedMessage([a_trade(i) for i in range(1, 501)], first=True)])
    stream.process([FeedMessage([a_trade(i) for i in range(3001, 4001)], first=True)])
    process_until(stream, lambda: stream.states["BTC-USD"].seen == 4000)
    stream.stop_filler()
    assert stream.states["BTC-USD"].last.tolist() == heard.states["BTC-USD"].last.tolist()


def test_live_trades_wait_a_second_for_a_small_page_and_no_longer(tmp_path):
    """They are scored without it; when it comes, all is as if every trade had been heard."""
    exchange, ws = SlowExchange(), workspace(tmp_path / "gap")
    exchange.pause, exchange.rows = 2.5, rows_of(1, 400, {})
    heard = Stream(workspace(tmp_path / "heard"), ["BTC-USD"], rest_url="")
    heard.process([FeedMessage([a_trade(i) for i in range(1, 401)])])
    stream = filling(ws, exchange)
    stream.process([FeedMessage([a_trade(i) for i in range(1, 201)], first=True)])
    stream.process([FeedMessage([a_trade(i) for i in range(221, 401)], first=True)])
    began = time.monotonic()
    process_until(stream, lambda: stream.states["BTC-USD"].seen == 380)
    assert PAGE_SECONDS <= time.monotonic() - began < exchange.pause
    assert stream.store.completeness("BTC-USD")["missing"] == 20
    process_until(stream, lambda: stream.states["BTC-USD"].seen == 400)
    stream.stop_filler()
    assert stream.store.gaps(opened=True) == [] and stream.before == {}
    assert stream.states["BTC-USD"].last.tolist() == heard.states["BTC-USD"].last.tolist()


def test_a_hanging_page_holds_up_neither_trades_nor_the_stop(tmp_path):
    exchange, ws = SlowExchange(), workspace(tmp_path)
    exchange.hangs = True
    stream = filling(ws, exchange)
    began = time.monotonic()
    stream.process([FeedMessage([a_trade(i) for i in range(1, 51)], first=True)])
    stream.process([FeedMessage([a_trade(i) for i in range(5051, 5101)], first=True)])
    assert stream.store.completeness("BTC-USD")["trades"] == 100
    stream.stop_filler()
    assert time.monotonic() - began < 10
    gap = stream.store.gaps(opened=True)[0]
    assert (gap["from_id"], gap["to_id"]) == (51, 5050)


def test_the_next_start_fetches_only_the_rest(tmp_path):
    """A filler that was stopped leaves an open gap; another stream fetches what is missing."""
    exchange, ws = SlowExchange(), workspace(tmp_path)
    exchange.rows = rows_of(1, 10_100, {})
    stream = filling(ws, exchange)
    stream.process([FeedMessage([a_trade(i) for i in range(1, 51)], first=True)])
    stream.process([FeedMessage([a_trade(i) for i in range(10_051, 10_101)], first=True)])
    process_until(stream, lambda: stream.filler.progress is not None)
    stream.stop_filler()
    stored = stream.store.completeness("BTC-USD")["trades"]
    assert 100 < stored < 10_100
    exchange.asked.clear()
    again = filling(ws, exchange)
    process_until(again, lambda: not again.store.gaps(opened=True))
    again.stop_filler()
    assert again.store.completeness("BTC-USD")["trades"] == 10_100
    assert len(exchange.asked) <= (10_100 - stored) / ONE_PAGE + 2


def test_what_the_exchange_no_longer_has_is_lost_not_asked_for_for_ever(tmp_path):
    """Of a gap of 5,000 the exchange keeps 3,000: after some tries 2,000 are lost."""
    exchange, ws, now = SlowExchange(), workspace(tmp_path), [0.0]
    exchange.pause, exchange.rows = 0.0, rows_of(2051, 5100, {})
    stream = Stream(ws, ["BTC-USD"], rest_url=exchange.rest, clock=lambda: now[0])
    stream.start_filler()
    stream.process([FeedMessage([a_trade(i) for i in range(1, 51)], first=True)])
    stream.process([FeedMessage([a_trade(i) for i in range(5051, 5101)], first=True)])
    for _ in range(30):  # two rounds an attempt: one asks, one collects
        now[0] += LOST_AFTER
        end = time.monotonic() + 3
        while time.monotonic() < end and stream.filler.busy:
            time.sleep(0.02)
        stream.process([])
    stream.stop_filler()
    facts = stream.store.completeness("BTC-USD")
    assert (facts["lost"], facts["missing"], facts["open_gaps"]) == (2000, 0, 0)
    asked = len(exchange.asked)
    assert asked < 25
    now[0] += 3600
    stream.process([])
    assert len(exchange.asked) == asked


def test_heartbeats_hand_over_one_gap(tmp_path):
    """Five heartbeats name ever later trades while REST is slow: one gap, every trade seen once."""
    exchange, ws, now = SlowExchange(), workspace(tmp_path), [0.0]
    exchange.pause, exchange.rows = 0.3, rows_of(1, 5100, {})
    stream = Stream(ws, ["BTC-USD"], rest_url=exchange.rest, clock=lambda: now[0])
    stream.start_filler()
    stream.process([FeedMessage([a_trade(i) for i in range(1, 51)], first=True)])
    for last in range(5096, 5101):
        stream.process([FeedMessage(heartbeats={"BTC-USD": last})])
        now[0] += 2
        stream.process([])
    assert len(stream.store.gaps()) == 1
    process_until(stream, lambda: stream.sequences["BTC-USD"].next_id == 5097)
    stream.process([FeedMessage([a_trade(i) for i in range(5097, 5101)])])
    stream.stop_filler()
    assert stream.states["BTC-USD"].seen == 5100
    assert stream.store.completeness("BTC-USD")["missing"] == 0


def test_after_the_stop_nothing_is_fetched(tmp_path):
    """A batch that is processed while the stream stops writes its holes down and asks nobody."""
    exchange, ws = SlowExchange(), workspace(tmp_path)
    stream = filling(ws, exchange)
    stream.process([FeedMessage([a_trade(i) for i in range(1, 51)], first=True)])
    stream.stop_filler()
    exchange.asked.clear()
    exchange.hangs = True
    began = time.monotonic()
    stream.process([FeedMessage([a_trade(i) for i in range(61, 101)], first=True)])
    stream.process([FeedMessage([a_trade(i) for i in range(9001, 9101)], first=True)])
    assert time.monotonic() - began < 5
    assert exchange.asked == []
    gaps = [(g["from_id"], g["to_id"]) for g in stream.store.gaps(opened=True)]
    assert sorted(gaps) == [(51, 60), (101, 9000)]
    assert stream.store.completeness("BTC-USD")["trades"] == 190


def test_a_page_without_an_end_is_given_up(tmp_path):
    """REST sends a byte a second: the attempt ends, whatever the time between two bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=drip, args=(server,), daemon=True).start()
        store, url = open_store(workspace(tmp_path)), f"http://127.0.0.1:{server.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(TradeError, match="does not hand over"):
            fill_gap(store, url, "BTC-USD", 1, 10, cause="test", tries=1, timeout=2)
    assert time.monotonic() - began < 15


def drip(server: socket.socket) -> None:
    """Answer one request a byte a second."""
    connection, _ = server.accept()
    connection.recv(10_000)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[")
    for _ in range(60):
        time.sleep(1)
        try:
            connection.sendall(b" ")
        except OSError:
            return


def test_a_report_leaves_no_task_behind(tmp_path, monkeypatch):
    """A stream runs for months and reports every two seconds."""
    monkeypatch.setattr(feed, "REPORT_SECONDS", 0.01)
    stream, reports = Stream(workspace(tmp_path), ["BTC-USD"], rest_url=""), []
    monkeypatch.setattr(feed, "report_status", lambda *_, state, **__: reports.append(state))

    async def tasks_after_a_second():
        stop = asyncio.Event()
        following = asyncio.create_task(feed.follow(stream, "ws://127.0.0.1:9", stop))
        await asyncio.sleep(1)
        tasks = len(asyncio.all_tasks())
        stop.set()
        await following
        return tasks

    assert asyncio.run(tasks_after_a_second()) < 10
    assert reports.count("running") > 20


def test_a_stream_that_fails_is_no_stream_that_was_stopped(tmp_path, monkeypatch):
    """An error that nothing can handle ends the stream; health says so."""
    ws = workspace(tmp_path)
    stream = Stream(ws, ["BTC-USD"], rest_url="")
    monkeypatch.setattr(stream, "process", lambda batch: 1 / 0)

    async def follow_once():
        await follow(stream, "ws://127.0.0.1:9", asyncio.Event())

    with pytest.raises(ZeroDivisionError):
        asyncio.run(follow_once())
    assert stream_health(stream.latest).state == "failed"
    found = healthz(Trades(ws))
    assert not found.ok
    assert "the stream has failed" in found.problems[0]


@pytest.mark.parametrize("dead", ["registry", "redis"])
def test_an_outage_keeps_no_trade_from_the_store(tmp_path, dead, caplog):
    """Neither the registry nor Redis is needed to store trades."""
    more = dict(db_url="postgresql://nobody@127.0.0.1:9/none")
    if dead == "redis":
        more = dict(redis_url="redis://127.0.0.1:9/0")
    settings = Settings(home=tmp_path, source="simulated", **more)
    stream = Stream(claim(open_workspace(settings), "simulated"), ["BTC-USD"], rest_url="")
    began = time.monotonic()
    for i in range(1, 201):
        stream.process([FeedMessage([a_trade(i)])])
    assert time.monotonic() - began < 60
    assert stream.store.completeness("BTC-USD")["trades"] == 200
    assert pd.Series([r.getMessage() for r in caplog.records]).value_counts().max() <= 10


def test_a_killed_stream_is_unhealthy_on_both(tmp_path, monkeypatch):
    """While it streams neither speaks of a death; after kill -9 both say that it has died."""
    from starlette.testclient import TestClient

    from crypto_anomaly.serving.app import create_app
    from crypto_anomaly.trades import stream_status

    monkeypatch.setattr(stream_status, "DEAD_SECONDS", 10.0)  # 30 outside of tests
    exchange = SlowExchange()
    named = dict(source="coingecko", workspace="w", **exchange.env)
    ws = claim(open_workspace(Settings(home=tmp_path / "home", **named)), "coingecko")
    process = Cli(tmp_path / "home", **named).start("stream")
    address = dict(base_url="http://127.0.0.1", client=("127.0.0.1", 50000))
    with TestClient(create_app(ws.settings), **address) as client:
        until(lambda: client.get("/healthz").json()["stream"] == "running", 60, "the stream")
        assert client.get("/health").json()["components"]["trades"]["status"] != "unhealthy"
        process.kill()
        until(lambda: client.get("/healthz").json()["stream"] == "died", 45, "its death")
        health = client.get("/health")
    assert health.status_code == 503
    trades = health.json()["components"]["trades"]
    assert trades["status"] == "unhealthy"
    assert "the stream has died" in trades["problems"][0]
