"""Live trades: outages, storms, kills, other databases, a browser, the recordings of shared/."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import Cli, free_port, need, stop, streaming, until, wait_for, wait_for_port
from hypothesis import example, given
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
from crypto_anomaly.trades.table import taken, to_trades

AT = pd.Timestamp("2026-01-02 12:00", tz="UTC")


def workspace(home, **settings):
    return claim(open_workspace(Settings(home=home, source="simulated", **settings)), "simulated")


def run_stream(ws, url, enough: Callable[[], bool], seconds: float = 120, what: str = ""):
    """Follow a feed until `enough` is true; returns the stream. It has `seconds` for that."""
    with streaming(ws, url) as (stream, thread):
        until(lambda: not thread.is_alive() or enough(), seconds, what)
    return stream


def is_complete(store: TradeStore, product: str, beyond: int = 0) -> bool:
    """Whether trades later than the id `beyond` are stored, and none before them is missing."""
    c = store.completeness(product)
    return bool(c["trades"]) and c["last_id"] > beyond and not c["missing"] and not c["open_gaps"]


def test_an_outage_of_an_hour_is_filled(tmp_path):
    with serve_trades(TradeSimulator()) as (url, rest, server):
        ws = workspace(tmp_path, coinbase_ws_url=url, coinbase_rest_url=rest)
        server.clock.set(AT)
        store = open_store(ws)
        run_stream(ws, url, lambda: is_complete(store, "BTC-USD"), what="the first trades")
        before = store.completeness("BTC-USD")
        server.clock.set(AT + pd.Timedelta("1h"))
        later = before["last_id"] + 10_000
        run_stream(ws, url, lambda: is_complete(store, "BTC-USD", later), what="the lost hour")
    after = store.completeness("BTC-USD")
    assert after["missing"] == 0
    assert after["last_id"] > later
    gap = store.gaps()[0]
    assert gap["cause"] == "reconnect"
    assert gap["filled"] == gap["missing"] > 10_000
    assert gap["closed_at"]


def test_a_storm_of_faults_loses_nothing(tmp_path):
    """STORM_SECONDS=600 for the long one; the tape runs four times as fast as the clock."""
    seconds, rng = float(os.environ.get("STORM_SECONDS", 15)), random.Random(0)
    kinds = "drop drop double reorder garbage unknown error zero stall disconnect".split()
    kinds += ["rest_429", "rest_503", "rest_truncated"]
    products = ("SOL-USD", "DOGE-USD")
    with serve_trades(TradeSimulator(products)) as (url, rest, server):
        ws = workspace(
            tmp_path, coinbase_ws_url=url, coinbase_rest_url=rest, products="SOL-USD,DOGE-USD"
        )
        server.clock.set(AT, rate=4)
        store, used, last_id = open_store(ws), [], {}
        calm = time.monotonic() + seconds

        def shake():
            """Faults, until the weather clears; then whether all that was open is fetched."""
            used.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
            if time.monotonic() < calm:
                if rng.random() < 0.5:
                    kind = rng.choice(kinds)
                    server.fault(kind, 1, seconds=0.3 if kind == "stall" else 0)
                return False
            if not last_id:
                server.clear_faults()
                last_id.update({p: store.completeness(p)["last_id"] or 0 for p in products})
            return all(is_complete(store, p, last_id[p]) for p in products)

        stream = run_stream(ws, url, shake, seconds + 240, "every gap of the storm to be filled")
    for p in products:
        c = store.completeness(p)
        assert c["missing"] == 0, (c, store.gaps(opened=True))
        assert c["open_gaps"] == 0, (c, store.gaps(opened=True))
        kept = store.read(p, start=AT - pd.Timedelta("1h")).set_index("trade_id")
        end = kept.ts.max() + pd.Timedelta("1s")
        sent = trades(server.simulator, p, AT - pd.Timedelta("1h"), end).set_index("trade_id")
        assert (sent.loc[kept.index].price.round(6) == kept.price.round(6)).all()
    assert stream.stats["reconnects"] >= 1
    assert stream.stats["gaps"] >= 2
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
        store = open_store(workspace(cli.home))

        def last_id():
            return store.completeness("SOL-USD")["last_id"] or 0

        for _ in range(2):
            before = last_id()
            p = cli.start("stream")
            try:
                until(lambda: last_id() > before, 120, "trades of this stream")  # noqa: B023
            finally:
                p.send_signal(signal.SIGKILL)
                p.wait(60)
        before = last_id()
        p = cli.start("stream")
        try:
            until(lambda: is_complete(store, "SOL-USD", before), 240, "all gaps to be filled")
        finally:
            stop(p)
        done = cli.json("stream", "--seconds", "1")
    assert [c["product_id"] for c in done["products"]] == ["SOL-USD"]
    c = store.completeness("SOL-USD")
    assert c["trades"] > 10_000
    assert c["missing"] == 0
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
    first_id = store.completeness("BTC-USD")["first_id"]
    assert first_id == all_of[0].trade_id  # all of a batch is stored, or none
    store.put_latest("BTC-USD", dict(a=1.5, b=float("nan")))
    store.put_latest("BTC-USD", dict(a=2.5))
    assert store.get_latest("BTC-USD")["a"] == 2.5
    assert store.products() == ["BTC-USD"]


def test_latest_features_through_redis(tmp_path):
    server = shutil.which("redis-server")
    need(server, "Redis")
    port = free_port()
    r = subprocess.Popen(
        [server, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for_port(port)
        ws = workspace(tmp_path, redis_url=f"redis://127.0.0.1:{port}/0")
        replay(
            ws,
            taken(trades(TradeSimulator(), "BTC-USD", AT, AT + pd.Timedelta("1min")), "replay"),
            pace="max",
            once=True,
        )
        now = Latest(ws).get("BTC-USD")
        assert Latest(ws).products() == ["BTC-USD"]
        assert now["ready"]
        assert now["age_seconds"] < 300
        assert open_store(ws).get_latest("BTC-USD") is None
    finally:
        stop(r)
    with pytest.raises(TradeError, match="Redis does not answer"):
        Latest(ws).get("BTC-USD")


KEYS = "type trade_id price size time side product_id channel events trades last_trade_id".split()
MESSAGE = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda x: (
        st.lists(x, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS) | st.text(max_size=5),
            x,
            max_size=8,
        )
    ),
    max_leaves=12,
)


@example({"product_id": "\n"}, "match")
@given(MESSAGE, st.sampled_from(["match", "last_match", "heartbeat", "error", "ticker", None]))
def test_no_message_breaks_the_parser(m, kind):
    if isinstance(m, dict) and kind:
        m["type"] = kind
    try:
        parse_message(json.dumps(m))
    except TradeError as e:
        assert "\n" not in str(e)


def test_recordings_of_coinbase_and_kraken(recordings):
    session = read_trades(recordings / "coinbase/btcusd_session_20180417.csv.gz")
    assert len(session) == 257
    assert session.trade_id.iloc[0] == 41766820
    assert set(session.trade_id.diff().dropna()) == {1}
    assert session.taker_side.value_counts().to_dict()["buy"] > 170  # up-ticks: the maker sold
    kraken = read_trades(
        recordings / "kraken/btcusdt_trades_20231117_20231122.feather", product="BTC-USDT"
    )
    ids = int(kraken.trade_id.max() - kraken.trade_id.min()) + 1
    assert len(kraken) == 26_921
    assert ids - len(kraken) == 26  # are missing


def test_a_recording_is_streamed_and_its_holes_are_known(tmp_path, recordings):
    cli = Cli(tmp_path / "home")
    file = recordings / "kraken/btcusdt_trades_20231117_20231122.feather"
    command = ["stream", "--replay", str(file)]
    done = cli.json(*command, "--pace", "max", "--once", "--products", "BTC-USDT")
    stored = done["products"][0]
    assert stored["trades"] == 26_921
    assert stored["missing"] == 26
    assert done["alarms"] <= 4  # in five days
    assert "has no column" in cli.error(*command, "--columns", "price=nosuch")
    assert "--pace is" in cli.error(*command, "--pace", "soon")


def test_the_recorded_pumps_are_found(recordings):
    from crypto_anomaly.trades.bench_recordings import read_recordings
    from crypto_anomaly.trades.benchmark import trade_benchmark

    b = trade_benchmark(
        read_recordings(recordings / "pump_and_dump_trades"),
        liquid=read_trades(recordings / "kraken/btcusdt_trades_20231117_20231122.feather"),
    )
    m = {k: v["value"] for k, v in b["metrics"].items()}
    assert b["events"] == 16
    assert m["block_ap"] >= 0.96
    assert m["cold_start_block_ap"] >= 0.96
    assert m["alarmed_within_10s"] >= 0.94
    assert m["false_alarms_per_coin_day"] <= 0.26
    assert b["at_fixed_threshold"]["false_alarms_per_coin_day"]["value"] <= 0.25
    assert min(v["value"] for v in b["second_pump"].values()) >= 0.95
    assert b["liquid"]["per_day"]["value"] <= 0.5
    smaller = {k: v["value"] for k, v in b["fainter"]["both"].items()}
    assert smaller["block_ap"] >= 0.88
    assert smaller["alarmed_within_10s"] >= 0.7


def test_the_detectors_life_and_the_live_page(tmp_path):
    """Streamed, trained on two products, evaluated, promoted; page and server follow and say it."""
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
    simulator = TradeSimulator(("DOGE-USD", "NEW-USD", "FEW-USD"))
    for product, hours in (("DOGE-USD", 2), ("FEW-USD", 0.05)):  # no product of the settings
        sent = trades(simulator, product, now - pd.Timedelta(hours=hours + 0.5), now)
        until_then = sent.head(150) if product == "FEW-USD" else sent
        replay(ws, taken(until_then, "replay"), pace="max", once=True)
    cli, port = Cli(tmp_path / "home", products="SOL-USD", source="simulated"), free_port()
    server, stream = cli.start("serve", "--port", str(port)), None
    try:
        wait_for(f"http://127.0.0.1:{port}/health/live")

        def score():
            return json.loads(wait_for(f"http://127.0.0.1:{port}/score"))

        def ready_score():
            answer = score()
            return answer if answer["ready"] else None

        assert score()["reason"] in ("no_model", "no_features")
        run = cli.json("run", "train_trades")
        assert run["result"]["version"] == 1
        assert run["result"]["products"] == ["DOGE-USD", "SOL-USD"]
        assert "200 are needed" in run["result"]["left_out"]["FEW-USD"]
        cli("run", "evaluate_trades")
        model = ["--model", "trade_detector"]
        status = cli.json("versions", *model)[0]["status"]
        assert status in ("evaluated", "candidate")
        if status == "evaluated":
            cli("approve", "v1", "--by", "ada", "--reason", "finds what was injected", *model)
            cli("promote", "v1", *model)
        assert cli.json("versions") == []  # the market's own models are others
        stream = cli.start("stream", "--source", "simulated")
        s = until(ready_score, 120, "a score of the streamed trades")
        assert s["model"].startswith("trade_detector:v1")
        assert 0 < s["p_value"] <= 1
        assert s["score_raw"] == s["score"]
        metrics = wait_for(f"http://127.0.0.1:{port}/metrics").decode()
        assert "blink_predictions_total" in metrics
        assert 'crypto_anomaly_trades_missing{product="SOL-USD"} 0.0' in metrics
        assert (s["trained_on"], s["calibration"]) == (["DOGE-USD", "SOL-USD"], "own")
        fresh = pd.Timestamp.now("UTC")
        sent = trades(
            simulator, "NEW-USD", fresh - pd.Timedelta("1h"), fresh
        )  # at least 90 trades at any time of day
        replay(ws, taken(sent, "replay"), pace="max", once=True)
        new = json.loads(wait_for(f"http://127.0.0.1:{port}/score?product=NEW-USD"))
        assert (new["ready"], new["product_known"], new["calibration"]) == (True, False, "shared")
        assert new["note"].startswith("the model has never seen NEW-USD")
        health = json.loads(wait_for(f"http://127.0.0.1:{port}/healthz"))
        assert "NEW-USD" in health["model"]["unseen"]
        assert new["note"] in health["notes"]
        with sync_playwright() as p:
            browser = p.chromium.launch(
                executable_path=chromium,
                args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
            )
            page = browser.new_page(viewport=dict(width=390, height=844))
            page.set_default_timeout(120_000)
            page.goto(f"http://127.0.0.1:{port}/demo")
            page.wait_for_selector(".js-plotly-plot")
            first = page.text_content("[data-live=as_of]")
            page.wait_for_function(
                "t => document.querySelector('[data-live=as_of]').textContent !== t",
                arg=first,
            )
            assert page.text_content("[data-live=state]") in ("Normal", "Anomaly")
            assert "trade_detector:v1" in page.text_content("[data-live=model]")
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            if folder := os.environ.get("SCREENSHOTS"):
                page.screenshot(path=Path(folder) / "live_phone.png", full_page=True)
                page.set_viewport_size(dict(width=1280, height=900))
                page.screenshot(path=Path(folder) / "live.png", full_page=True)
            browser.close()
    finally:
        stop(stream, server)


def test_a_trade_is_a_plain_tuple():
    t = Trade("X", 1, 2, 3.0, 4.0, "buy")
    assert t.source == "ws"
    assert to_trades(pd.DataFrame([t]).assign(ts=pd.to_datetime([2], unit="us", utc=True))) == [t]
