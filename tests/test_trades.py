"""Live trades: outages, storms, kills, other databases, a browser, the recordings of shared/."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from conftest import Cli, free_port, need, wait_for
from hypothesis import given
from hypothesis import strategies as st

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.simulate.trade_server import serve_trades
from crypto_anomaly.simulate.trades import TradeSimulator, trades
from crypto_anomaly.trades.latest import Latest
from crypto_anomaly.trades.messages import Trade, TradeError, parse_message
from crypto_anomaly.trades.playback import replay
from crypto_anomaly.trades.recordings import read_trades
from crypto_anomaly.trades.store import TradeStore, open_store
from crypto_anomaly.trades.stream import Stream
from crypto_anomaly.trades.table import taken, to_trades

AT = pd.Timestamp("2026-01-02 12:00", tz="UTC")


def workspace(home, **settings):
    return claim(open_workspace(Settings(home=home, source="simulated", **settings)), "simulated")


def run_stream(ws, url, seconds, while_it_runs=lambda: None):
    """Follow a feed for some seconds of wall time."""
    import asyncio

    from crypto_anomaly.trades.feed import follow

    stream = Stream(ws)

    async def until():
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(seconds, stop.set)
        await follow(stream, url, stop)

    t = threading.Thread(target=lambda: asyncio.run(until()))
    t.start()
    while t.is_alive():
        while_it_runs()
        t.join(0.2)
    return stream


def test_an_outage_of_an_hour_is_filled(tmp_path):
    with serve_trades(TradeSimulator()) as (url, rest, server):
        ws = workspace(tmp_path, coinbase_ws_url=url, coinbase_rest_url=rest)
        server.clock.set(AT)
        run_stream(ws, url, 3)
        before = open_store(ws).completeness("BTC-USD")
        server.clock.set(AT + pd.Timedelta("1h"))
        run_stream(ws, url, 8)
    after = open_store(ws).completeness("BTC-USD")
    assert after["missing"] == 0 and after["last_id"] - before["last_id"] > 10_000
    gap = open_store(ws).gaps()[0]
    assert (
        gap["cause"] == "reconnect"
        and gap["filled"] == gap["missing"] > 10_000
        and gap["closed_at"]
    )


def test_a_storm_of_faults_loses_nothing(tmp_path):
    """STORM_SECONDS=600 for the long one; the tape runs four times as fast as the clock."""
    seconds, rng = float(os.environ.get("STORM_SECONDS", 15)), random.Random(0)
    kinds = [
        "drop",
        "drop",
        "double",
        "reorder",
        "garbage",
        "unknown",
        "error",
        "zero",
        "stall",
        "disconnect",
        "rest_429",
        "rest_503",
        "rest_truncated",
    ]
    with serve_trades(TradeSimulator(("SOL-USD", "DOGE-USD"))) as (url, rest, server):
        ws = workspace(
            tmp_path, coinbase_ws_url=url, coinbase_rest_url=rest, products="SOL-USD,DOGE-USD"
        )
        server.clock.set(AT, rate=4)
        used, calm = [], time.monotonic() + seconds

        def shake():
            used.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
            if time.monotonic() > calm:
                server.clear_faults()  # the weather clears; what is open is fetched now
            elif rng.random() < 0.7:
                kind = rng.choice(kinds)
                server.fault(kind, 1, seconds=0.3 if kind == "stall" else 0)

        stream = run_stream(ws, url, seconds + 14, shake)
    for p in ("SOL-USD", "DOGE-USD"):
        c = open_store(ws).completeness(p)
        assert c["missing"] == 0 and c["open_gaps"] == 0, (c, open_store(ws).gaps(opened=True))
        sent = trades(
            server.simulator,
            p,
            AT - pd.Timedelta("1h"),
            AT + pd.Timedelta(seconds=4 * seconds + 120),
        ).set_index("trade_id")
        kept = open_store(ws).read(p, start=AT - pd.Timedelta("1h")).set_index("trade_id")
        assert (sent.loc[kept.index].price.round(6) == kept.price.round(6)).all()
    assert stream.stats["reconnects"] >= 1 and stream.stats["gaps"] >= 2
    assert used[-1] - used[len(used) // 3] < 150_000  # KiB: flat once warm


def test_kill_and_restart(tmp_path):
    with serve_trades(TradeSimulator(("SOL-USD",))) as (url, rest, server):
        server.clock.set(AT, rate=10)
        cli = Cli(
            tmp_path / "home",
            source="simulated",
            coinbase_ws_url=url,
            coinbase_rest_url=rest,
            products="SOL-USD",
        )
        for _ in range(2):
            p = cli.start("stream")
            time.sleep(6)
            p.send_signal(signal.SIGKILL)
            p.wait()
        done = cli.json("stream", "--seconds", "6")
    c = done["products"][0]
    assert c["missing"] == 0 and c["open_gaps"] == 0 and c["trades"] > 10_000
    assert cli.json("trades", "SOL-USD")["products"][0]["missing"] == 0


def test_a_store_keeps_each_trade_once(tmp_path, db_url):
    all_of = to_trades(taken(trades(TradeSimulator(), "BTC-USD", AT, AT + pd.Timedelta("4min"))))
    store = TradeStore(db_url.replace("registry.db", "trades.db"))
    odd = all_of[5]._replace(trade_id=all_of[5].trade_id + 10**9, maker_order_id="a\tb\\c\nd")
    for batch in (all_of[:1000], all_of[500:1200], all_of, [odd], [odd]):
        store.write(batch)
    f = store.read("BTC-USD")
    assert to_trades(f) == [*all_of, odd]
    with pytest.raises(Exception, match="NULL|None"):
        store.write([all_of[0]._replace(trade_id=7), all_of[0]._replace(trade_id=8, price=None)])
    assert (
        store.completeness("BTC-USD")["first_id"] == all_of[0].trade_id
    )  # all of a batch, or none
    store.put_latest("BTC-USD", dict(a=1.5, b=float("nan")))
    store.put_latest("BTC-USD", dict(a=2.5))
    assert store.get_latest("BTC-USD")["a"] == 2.5 and store.products() == ["BTC-USD"]


def test_latest_features_through_redis(tmp_path):
    server = shutil.which("redis-server")
    need(server, "Redis")
    port = free_port()
    r = subprocess.Popen(
        [server, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL,
    )
    try:
        time.sleep(0.5)
        ws = workspace(tmp_path, redis_url=f"redis://127.0.0.1:{port}/0")
        replay(
            ws,
            taken(trades(TradeSimulator(), "BTC-USD", AT, AT + pd.Timedelta("1min")), "replay"),
            pace="max",
            once=True,
        )
        now = Latest(ws).get("BTC-USD")
        assert Latest(ws).products() == ["BTC-USD"] and now["ready"] and now["age_seconds"] < 30
        assert open_store(ws).get_latest("BTC-USD") is None
    finally:
        r.terminate()
        r.wait()
    with pytest.raises(TradeError, match="Redis does not answer"):
        Latest(ws).get("BTC-USD")


MESSAGE = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda x: (
        st.lists(x, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "trade_id",
                    "price",
                    "size",
                    "time",
                    "side",
                    "product_id",
                    "channel",
                    "events",
                    "trades",
                    "last_trade_id",
                ]
            )
            | st.text(max_size=5),
            x,
            max_size=8,
        )
    ),
    max_leaves=12,
)


@given(MESSAGE, st.sampled_from(["match", "last_match", "heartbeat", "error", "ticker", None]))
def test_no_message_breaks_the_parser(m, kind):
    if isinstance(m, dict) and kind:
        m["type"] = kind
    try:
        parse_message(json.dumps(m))
    except TradeError as e:
        assert "\n" not in str(e)[:50]


def test_recordings_of_coinbase_and_kraken(recordings):
    session = read_trades(recordings / "coinbase/btcusd_session_20180417.csv.gz")
    assert (
        len(session) == 257
        and session.trade_id.iloc[0] == 41766820
        and set(session.trade_id.diff().dropna()) == {1}
    )
    assert session.taker_side.value_counts().to_dict()["buy"] > 170  # up-ticks: the maker sold
    kraken = read_trades(
        recordings / "kraken/btcusdt_trades_20231117_20231122.feather", product="BTC-USDT"
    )
    assert (
        len(kraken) == 26_921
        and int(kraken.trade_id.max() - kraken.trade_id.min()) + 1 - len(kraken) == 26
    )


def test_a_recording_is_streamed_and_its_holes_are_known(tmp_path, recordings):
    cli = Cli(tmp_path / "home")
    done = cli.json(
        "stream",
        "--replay",
        str(recordings / "kraken/btcusdt_trades_20231117_20231122.feather"),
        "--pace",
        "max",
        "--once",
        "--products",
        "BTC-USDT",
    )
    assert (
        done["products"][0]["trades"] == 26_921
        and done["products"][0]["missing"] == 26
        and done["alarms"] <= 4
    )  # in five days
    assert "has no column" in cli.error(
        "stream",
        "--replay",
        str(recordings / "kraken/btcusdt_trades_20231117_20231122.feather"),
        "--columns",
        "price=nosuch",
    )
    assert "--pace is" in cli.error(
        "stream",
        "--replay",
        str(recordings / "kraken/btcusdt_trades_20231117_20231122.feather"),
        "--pace",
        "soon",
    )


def test_the_recorded_pumps_are_found(recordings):
    from crypto_anomaly.trades.bench_recordings import read_recordings
    from crypto_anomaly.trades.benchmark import trade_benchmark

    b = trade_benchmark(
        read_recordings(recordings / "pump_and_dump_trades"),
        liquid=read_trades(recordings / "kraken/btcusdt_trades_20231117_20231122.feather"),
    )
    m = {k: v["value"] for k, v in b["metrics"].items()}
    assert b["events"] == 16 and m["block_ap"] >= 0.96 and m["cold_start_block_ap"] >= 0.96
    assert (
        m["alarmed_within_10s"] >= 0.94
        and m["false_alarms_per_coin_day"] <= 0.26
        and b["at_fixed_threshold"]["false_alarms_per_coin_day"]["value"] <= 0.25
    )
    assert (
        min(v["value"] for v in b["second_pump"].values()) >= 0.9
        and b["liquid"]["per_day"]["value"] <= 1
    )


def test_the_detectors_life_and_the_live_page(tmp_path):
    """Streamed, trained, judged, approved, promoted; the open page follows without a reload of the server."""
    chromium = shutil.which("chromium")
    need(chromium, "Chromium")
    from playwright.sync_api import sync_playwright

    ws = workspace(tmp_path / "home", products="SOL-USD")
    now = pd.Timestamp.now("UTC")
    replay(
        ws,
        taken(
            trades(TradeSimulator(("SOL-USD",)), "SOL-USD", now - pd.Timedelta("8h"), now), "replay"
        ),
        pace="max",
        once=True,
    )
    cli, port = Cli(tmp_path / "home", products="SOL-USD", source="simulated"), free_port()
    server, stream = cli.start("serve", "--port", str(port)), None
    try:
        wait_for(f"http://127.0.0.1:{port}/health/live")
        score = lambda: json.loads(wait_for(f"http://127.0.0.1:{port}/score"))  # noqa: E731
        assert score()["reason"] in ("no_model", "no_features")
        run = cli.json("run", "train_trades")
        assert run["result"]["version"] == 1
        cli("run", "evaluate_trades")
        assert cli.json("versions", "--model", "trade_detector")[0]["status"] in (
            "evaluated",
            "candidate",
        )
        if cli.json("versions", "--model", "trade_detector")[0]["status"] == "evaluated":
            cli(
                "approve",
                "v1",
                "--by",
                "ada",
                "--reason",
                "finds what was planted",
                "--model",
                "trade_detector",
            )
            cli("promote", "v1", "--model", "trade_detector")
        assert cli.json("versions") == []  # the market's own models are others
        stream = cli.start("stream", "--source", "simulated")
        end = time.monotonic() + 60
        while not (s := score())["ready"] and time.monotonic() < end:
            time.sleep(0.5)
        assert (
            s["ready"]
            and s["model"].startswith("trade_detector:v1")
            and 0 < s["p_value"] <= 1
            and s["score_raw"] == s["score"]
        )
        metrics = wait_for(f"http://127.0.0.1:{port}/metrics").decode()
        assert (
            "blink_predictions_total" in metrics
            and 'crypto_anomaly_trades_missing{product="SOL-USD"} 0.0' in metrics
        )
        with sync_playwright() as p:
            browser = p.chromium.launch(
                executable_path=chromium,
                args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
            )
            page = browser.new_page(viewport=dict(width=390, height=844))
            page.goto(f"http://127.0.0.1:{port}/demo")
            page.wait_for_selector(".js-plotly-plot")
            first = page.text_content("[data-live=as_of]")
            page.wait_for_function(
                "t => document.querySelector('[data-live=as_of]').textContent !== t",
                arg=first,
                timeout=30_000,
            )
            assert page.text_content("[data-live=state]") in (
                "Normal",
                "Anomaly",
            ) and "trade_detector:v1" in page.text_content("[data-live=model]")
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            if folder := os.environ.get("SCREENSHOTS"):
                page.screenshot(path=Path(folder) / "live_phone.png", full_page=True)
                page.set_viewport_size(dict(width=1280, height=900))
                page.screenshot(path=Path(folder) / "live.png", full_page=True)
            browser.close()
    finally:
        for x in (stream, server):
            if x:
                x.terminate()
                x.wait()


def test_a_trade_is_a_plain_tuple():
    t = Trade("X", 1, 2, 3.0, 4.0, "buy")
    assert t.source == "ws" and to_trades(
        pd.DataFrame([t]).assign(ts=pd.to_datetime([2], unit="us", utc=True))
    ) == [t]
