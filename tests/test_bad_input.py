"""What the market sends on a bad day, and what people bring.

Each time one clear error, and nothing half written.
"""

import pytest
import requests
from conftest import Cli, free_port

from crypto_anomaly.simulate.market import Market
from crypto_anomaly.simulate.market_server import serve_market


@pytest.fixture(scope="module")
def market():
    with serve_market(Market(120)) as (url, server):
        yield url, server


FAULTS = (
    ("429", 3, "Rate Limit"),
    ("truncated", 3, "broken JSON"),
    ("10002", 1, "COINGECKO_API_KEY"),
    ("short", 3, "1 coins where 100"),
)  # fault, how many answers it spoils, what the error says


def test_a_market_that_does_not_answer_well(market, tmp_path):
    url, server = market
    cli = Cli(tmp_path / "home", source="simulated", coingecko_url=url)
    control = url.replace("/api/v3", "/_control/fault")
    for fault, times, says in FAULTS:
        server.clear_faults()
        requests.post(control, json=dict(kind=fault, times=times, seconds=0.1), timeout=60)
        message = cli.error("run", "ingest")
        assert says in message
        assert "stage ingest failed" in message
        assert not list(cli.home.rglob("*.parquet"))
    assert not [e for e in cli.json("events") if e["kind"] == "snapshot_ingested"]
    server.clear_faults()
    cli("run", "ingest")  # the next one is fine
    assert len(list(cli.home.rglob("snapshots/**/*.parquet"))) == 1


def test_a_passing_fault_is_survived(market, tmp_path):
    url, server = market
    server.clear_faults()
    server.fault("503", 2)
    cli = Cli(tmp_path / "home", source="simulated", coingecko_url=url)
    cli("run", "ingest")
    assert cli.json("runs")[0]["result"]["coins"] == 100


HEAD = "fetched_at_utc,name,symbol,current_price,market_cap\n"


@pytest.mark.parametrize(
    "text, says",
    [
        ("a,b\n1,2\n", "lacks ts, coin_id, current_price"),
        (HEAD + "2026-02-02T10:00,Solana,sol,cheap,1\n", "current_price 'cheap' is not a number"),
        (HEAD + "soon,Solana,sol,1,1\n", "'soon' is not a time"),
        (
            HEAD + "2026-02-02T10:00,Solana,sol,1,1\n2026-02-02T10:00,Solana,sol,2,1\n",
            "two different rows",
        ),
        ("fetched_at_utc,symbol,current_price\n2026-02-02,sol,1\n", "a symbol is not unique"),
    ],
)
def test_a_bad_import_is_one_error(tmp_path, text, says):
    cli, file = Cli(tmp_path / "home"), tmp_path / "recorded.csv"
    file.write_text(text)
    assert says in cli.error("import", str(file))
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_good_import_of_untidy_rows(tmp_path):
    cli, file = Cli(tmp_path / "home"), tmp_path / "recorded.csv"
    row = "2026-02-02T{}:00,{},sol,{},1\n".format
    file.write_text(
        HEAD
        + row(11, "Solana", 2)
        + row(10, "Solana", 1)
        + row(10, "Wrapped SOL", 1)
        + row(10, "Solana", 1)
    )
    report = cli.json("import", str(file))
    assert (report["rows"], report["duplicates"], report["coins"], report["stored"]) == (4, 1, 2, 3)
    assert cli.json("import", str(file))["stored"] == 0


def test_a_simulated_workspace_takes_no_real_rows(home, tmp_path):
    file = tmp_path / "recorded.csv"
    file.write_text(HEAD + "2026-02-02T10:00,Solana,sol,1,1\n")
    assert "holds a simulated market" in home.error("import", str(file), workspace="simulated")
    home("import", str(file))  # left to itself it goes to a workspace of its own
    assert (home.home / "coingecko/lake").is_dir()
    assert home.json("status")["workspace"] == "coingecko"


def test_unreachable_is_simulated_and_said(tmp_path):
    cli = Cli(tmp_path / "home", coingecko_url="http://127.0.0.1:9")
    assert "simulated – CoinGecko did not answer" in cli("doctor").stderr


def test_two_imports_of_the_same_hours_both_stay(tmp_path):
    cli = Cli(tmp_path / "home")
    for coin in ("Bitcoin", "Ethereum"):
        (tmp_path / f"{coin}.csv").write_text(
            HEAD + "".join(f"2026-02-02T{h:02}:00,{coin},x,{h + 1},1\n" for h in range(24))
        )
        assert cli.json("import", str(tmp_path / f"{coin}.csv"))["stored"] == 24
    assert cli.json("import", str(tmp_path / "Bitcoin.csv"))["stored"] == 0


def test_a_database_that_is_not_there_is_one_line(home):
    assert "CRYPTO_ANOMALY_DB_URL" in home.error(
        "versions", db_url="postgresql+psycopg://postgres@127.0.0.1:9/none"
    )
    assert "use an SQLAlchemy URL" in home.error("versions", db_url="nonsense")
    for setting in ("db_url", "trades_url"):
        gone = {setting: "postgresql+psycopg://postgres@127.0.0.1:9/none"}
        assert setting.upper() in home.error("serve", "--port", str(free_port()), **gone)


def test_settings_and_addresses_that_cannot_work(tmp_path):
    cli = Cli(tmp_path / "home")
    assert "CRYPTO_ANOMALY_SOURCE is 'binance'" in cli.error("up", "--once", "--source", "binance")
    assert "start with 'crypto-anomaly up'" in cli.error("versions")
    assert "needs a token of your own" in cli.error(
        "up", "--source", "simulated", "--host", "0.0.0.0"
    )
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        assert "choose another with --port" in cli.error(
            "up", "--source", "simulated", "--port", str(s.getsockname()[1])
        )


def test_a_day_of_faults_loses_nothing_and_stores_nothing_twice(tmp_path):
    """24 hourly polls, two of three answered badly.

    Each is stored whole or fails after a few tries, and the next one is fine.
    """
    import random

    import pandas as pd

    from crypto_anomaly.core.settings import Settings
    from crypto_anomaly.core.workspace import claim, open_workspace
    from crypto_anomaly.data.client import CoinGecko
    from crypto_anomaly.data.responses import parse_markets
    from crypto_anomaly.data.snapshots import read_snapshots, write_snapshot
    from crypto_anomaly.data.table import DataError

    faults = "429 503 cloudflare truncated nested 1015 drop stall short empty".split()
    ws = claim(open_workspace(Settings(home=tmp_path, source="simulated")), "simulated")
    rng = random.Random(7)
    stored, failed = [], 0
    with serve_market(Market(30)) as (url, server):
        for at in pd.date_range("2026-03-01", periods=24, freq="h", tz="UTC"):
            server.clear_faults()
            server.clock.set(at, rate=0)
            if rng.random() < 0.67:
                server.fault(rng.choice(faults), rng.choice([1, 2, 3]), seconds=0.6)
            waits = []
            c = CoinGecko(url, source="simulated", sleep=waits.append, timeout=(1, 0.5))
            try:
                table = parse_markets(c.markets(25), at, source=c.source, run_id=str(at))
            except DataError as e:
                failed += 1
                assert "nothing was stored" in str(e)
                continue
            finally:  # bounded: at most three tries, and no wait of minutes between them
                assert len(waits) <= 2
                assert sum(waits) < 60
            assert write_snapshot(ws, table)
            assert write_snapshot(ws, table.assign(ts=at + pd.Timedelta("10s"))) is None
            stored.append(at)
    rows = read_snapshots(ws)
    assert failed >= 2
    assert sorted(rows.ts.unique()) == stored
    assert (rows.groupby("ts").size() == 25).all()
    assert not rows.duplicated(["coin_id", "last_updated"]).any()


def test_a_server_that_asks_for_hours_is_not_obeyed(tmp_path):
    from crypto_anomaly.data.client import CoinGecko
    from crypto_anomaly.data.table import DataError

    waits = []
    with serve_market(Market(20)) as (url, server):
        server.fault("429", 3, seconds=7200)
        with pytest.raises(DataError, match="failed 3 times"):
            CoinGecko(url, source="simulated", sleep=waits.append).markets(10)
    assert len(waits) == 2
    assert max(waits) <= 120 * 1.2


def test_a_build_that_cannot_be_says_why(home):
    import json

    from crypto_anomaly.core.settings import Settings
    from crypto_anomaly.core.workspace import open_workspace
    from crypto_anomaly.data.table import DataError
    from crypto_anomaly.features.config import FeatureConfig
    from crypto_anomaly.lifecycle.dataset_steps import build_dataset

    ws = open_workspace(Settings(home=home.home, source="simulated"))
    for name, value, says in (
        ("max_history_hours", -5, "max_history_hours is -5"),
        ("min_snapshots_per_coin", 0, "min_snapshots_per_coin is 0"),
        ("holdout_hours", 0, "holdout_hours is 0"),
    ):
        with pytest.raises(DataError, match=says):
            build_dataset(ws, **{name: value})
    for given, says in (
        ('{"lag_hours": []}', r"lag_hours is \(\)"),
        ('{"rolling_hours": [0]}', r"rolling_hours is \(0,\)"),
    ):
        with pytest.raises(DataError, match=says):
            build_dataset(ws, config=FeatureConfig.of(json.loads(given)))
    assert "unknown feature setting 'lags'" in home.error(
        "run", "build_dataset", "-p", "feature_config", '{"lags": [1]}'
    )


def test_a_source_that_hangs_blocks_no_reader(home, monkeypatch):
    """A socket accepts and says nothing: POST /scan waits for it, others are answered meanwhile."""
    import socket
    import threading

    from fastapi.testclient import TestClient

    from crypto_anomaly.core.settings import Settings
    from crypto_anomaly.serving import state
    from crypto_anomaly.serving.app import create_app

    monkeypatch.setattr(state, "CACHE_SECONDS", 0.001)
    hung = socket.create_server(("127.0.0.1", 0))
    hung.setblocking(False)
    settings = Settings(
        home=home.home,
        source="simulated",
        coingecko_url=f"http://127.0.0.1:{hung.getsockname()[1]}/api/v3",
    )
    with TestClient(
        create_app(settings), base_url="http://127.0.0.1", client=("127.0.0.1", 50000)
    ) as client:
        assert client.get("/anomalies").status_code == 200
        with pytest.raises(BlockingIOError):
            hung.accept()  # nobody has asked the source yet
        hung.settimeout(120)
        scan = threading.Thread(target=lambda: client.post("/scan"), daemon=True)
        scan.start()
        asked, _ = hung.accept()  # the scan waits for an answer from now on
        assert client.get("/anomalies?limit=7").status_code == 200
        assert scan.is_alive()  # nobody had to wait for it
        hung.close()  # the kernel refuses what follows
        asked.close()
        scan.join(240)
        assert not scan.is_alive()


def test_a_store_without_a_trade_says_so_on_either_database(db_url, home):
    assert "no trades yet" in home("trades", trades_url=db_url).stderr
