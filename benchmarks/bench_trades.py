"""P6 and P7: scores of live trades, and their store."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import sqlalchemy as sa
from measure import cpu, free_port, row

from crypto_anomaly.simulate.trades import TradeSimulator, trades
from crypto_anomaly.trades.detector import CONFIG, train_trades
from crypto_anomaly.trades.product_state import ProductState
from crypto_anomaly.trades.store import TradeStore
from crypto_anomaly.trades.table import taken, to_trades
from crypto_anomaly.trades.ticks import FEATURES, kernel_input, new_state, ticks

AT = pd.Timestamp("2026-01-02", tz="UTC")


def hours_of_trades(hours: int) -> pd.DataFrame:
    """Simulated trades of BTC-USD."""
    return taken(trades(TradeSimulator(), "BTC-USD", AT, AT + pd.Timedelta(hours=hours)))


def p6() -> None:
    """A trade in, its scores out, with a forest of 100 trees; and its features."""
    f = hours_of_trades(3)
    model, _ = train_trades(f.iloc[:40_000], CONFIG | dict(contamination=0.01))
    stream = to_trades(f.iloc[40_000:60_000])
    live, took = ProductState("BTC-USD", model, 1), []
    live.warm(f.iloc[:40_000])
    for t in stream:
        start = time.perf_counter_ns()
        one = live.step(t)
        took.append(time.perf_counter_ns() - start)
    batch = ProductState("BTC-USD", model, 1)
    batch.warm(f.iloc[:40_000])
    seconds, _ = cpu(lambda: batch.score(stream))
    same = bool(np.array_equal(live.last, batch.last)) and one[0] == batch.now["score"]
    median = np.median(took) / 1000
    row("P6", "one trade in, its scores out, p50 in process", median, "µs", 10, same)
    rate = len(stream) / seconds
    row("P6", "trades scored a second, in batches", rate, "x", 100_000, same, shown="/s")
    features_of_a_trade(f)


def features_of_a_trade(f: pd.DataFrame) -> None:
    """The streaming features of one trade, against recomputing their window with pandas."""
    price = f.set_index("ts").price
    now = price.index[40_000]
    window = price[price.index > now - pd.Timedelta("20min")][:now]

    def plain() -> list[float]:
        s = np.log(window.resample("1s").last().ffill())
        rolling = s.rolling(30)
        return [s.diff(k).iloc[-1] for k in (1, 5, 30)] + [
            s.ewm(span=30).mean().iloc[-1],
            s.diff().rolling(60).std().iloc[-1],
            ((s - rolling.mean()) / rolling.std()).iloc[-1],
        ]

    columns, state = kernel_input(f), new_state()
    ticks(state, *(v[:40_000] for v in columns))
    theirs, _ = cpu(plain, 20)
    ours, (X, _, _) = cpu(lambda: ticks(state, *(v[40_000:100_000] for v in columns)))
    what = "features of one trade against recomputing a window of 20 min"
    row("P6", what, theirs / (ours / len(X)), "x", 3000)
    assert len(FEATURES) == X.shape[1]


@contextmanager
def private_postgres(folder: str) -> Iterator[str | None]:
    """The URL of a PostgreSQL of our own on loopback; None where none is installed."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not binaries:
        yield None
        return
    os.chmod(folder, 0o777)
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []

    def tool(name: str, *args: str) -> None:
        path = str(binaries[-1].with_name(name))
        command = [*as_user, path, "-D", f"{folder}/db", *args]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")

    port = free_port()
    address = f"-c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    tool("initdb", "-A", "trust", "-U", "postgres")
    tool("pg_ctl", "-o", f"-p {port} {address}", "-l", f"{folder}/log", "-w", "start")
    try:
        yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
    finally:
        tool("pg_ctl", "-m", "immediate", "stop")


def p7() -> None:
    """The store of trades: batches, on SQLite and on PostgreSQL."""
    stored = to_trades(hours_of_trades(6))
    with tempfile.TemporaryDirectory() as home:
        store, start = TradeStore(f"sqlite:///{home}/trades.db"), time.perf_counter()
        write_batches(store, stored)
        rate = len(stored) / (time.perf_counter() - start)
        complete = store.completeness("BTC-USD")["trades"] == len(stored)
    what = f"trades stored a second on SQLite ({len(stored):,}, batches of 5,000)"
    row("P7", what, rate, "x", 80_000, complete, shown="/s")
    with tempfile.TemporaryDirectory(prefix="pg") as folder, private_postgres(folder) as url:
        if url is None:
            print("P7   PostgreSQL is not installed: the ratio was not measured")
        else:
            on_postgres(url, stored)


def write_batches(store: TradeStore, stored: list) -> None:
    """Write trades 5,000 at a time."""
    for i in range(0, len(stored), 5000):
        store.write(stored[i : i + 5000])


def write_shifted(store: TradeStore, stored: list, by: int) -> None:
    """Write trades 5,000 at a time, under other ids."""
    for i in range(0, len(stored), 5000):
        store.write(t._replace(trade_id=t.trade_id + by) for t in stored[i : i + 5000])


def on_postgres(url: str, stored: list) -> None:
    """Batches against one INSERT in one transaction for each trade, by wall time.

    The disk is what both sides wait for.
    """
    import psycopg

    store = TradeStore(url)
    plain = psycopg.connect(url.replace("+psycopg", ""))
    plain.execute("CREATE TABLE plain (LIKE trades INCLUDING ALL)")
    plain.commit()
    rates = []
    for k in range(3):
        start = time.perf_counter()
        write_shifted(store, stored[:50_000], k * 10_000_000)
        ours = 50_000 / (time.perf_counter() - start)
        start = time.perf_counter()
        for t in stored[k * 500 : k * 500 + 500]:
            plain.execute("INSERT INTO plain VALUES (%s,%s,%s,%s,%s,%s,%s,%s,%s)", t)
            plain.commit()
        rates.append((ours, 500 / (time.perf_counter() - start)))
    ours, theirs = np.median(rates, axis=0)
    against = f"batches ({ours:,.0f}/s) against an INSERT a transaction ({theirs:,.0f}/s)"
    same = in_both(store) == 1500
    costs = dict(ours=1 / ours, plain=1 / theirs)
    row("P7", f"PostgreSQL, {against}", ours / theirs, "x", 60, same, **costs)
    plain.close()
    store.engine.dispose()


def in_both(store: TradeStore) -> int:
    """How many trades both tables hold, equal in every field."""
    fields = "product_id, trade_id, ts, price, size, taker_side"
    query = f"SELECT count(*) FROM plain p JOIN trades t USING ({fields})"
    with store.engine.connect() as c:
        return int(c.execute(sa.text(query)).scalar_one())
