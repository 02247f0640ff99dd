"""What the bytes of an open day are: the table and the index of SQLite, and other layouts.

    python benchmarks/store_bytes.py             # 200,000 trades of one product

The store is written as a stream writes it. Each other layout takes the same trades in the same
order, in a file of its own, in batches of 5,000; the CPU is that of the inserts and of what they
need. `ids as bytes` keeps an order id as 16 bytes instead of 36 characters; `small numbers` keeps
the product, the side and the source as integers; `no index` has no index on time.
"""

import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from bench_trades import hours_of_trades
from curves_trades import PRODUCT, write_more

from crypto_anomaly.trades.messages import Trade
from crypto_anomaly.trades.store import TradeStore
from crypto_anomaly.trades.table import to_trades

TRADES, BATCH = 200_000, 5_000
TABLE = """CREATE TABLE t (product, epoch, trade_id INTEGER, ts INTEGER, price REAL, size REAL,
    side, maker, taker, source, PRIMARY KEY (product, epoch, trade_id)) WITHOUT ROWID"""
INDEX = "CREATE INDEX t_ts ON t (product, ts)"
Row = tuple[object, ...]
Rows = Callable[[list[Trade]], Iterable[Row]]


def as_they_are(batch: list[Trade]) -> Iterable[Row]:
    """The values that the store keeps."""
    return [(t.product_id, 0, *t[1:]) for t in batch]


def short(ids: list[str | None]) -> list[bytearray]:
    """Order ids as bytes; the driver takes a bytearray quicker than bytes."""
    packed = bytearray.fromhex("".join(id_ or "" for id_ in ids).replace("-", ""))
    return [packed[i : i + 16] for i in range(0, len(packed), 16)]


def ids_as_bytes(batch: list[Trade]) -> Iterable[Row]:
    """Order ids as bytes."""
    makers = short([t.maker_order_id for t in batch])
    takers = short([t.taker_order_id for t in batch])
    every = zip(batch, makers, takers, strict=True)
    return [(t.product_id, 0, *t[1:6], maker, taker, t.source) for t, maker, taker in every]


def small_numbers(batch: list[Trade]) -> Iterable[Row]:
    """Order ids as bytes; product, side and source as integers."""
    rows = ids_as_bytes(batch)
    return [(1, *row[1:6], row[6] == "buy", row[7], row[8], 1) for row in rows]


def layout(file: Path, stored: list[Trade], rows: Rows, *, index: bool) -> tuple[float, float]:
    """Bytes, and microseconds of CPU, of a trade."""
    c = sqlite3.connect(file, isolation_level=None)
    c.execute("PRAGMA journal_mode=WAL")
    c.execute("PRAGMA synchronous=NORMAL")
    c.execute(TABLE)
    if index:
        c.execute(INDEX)
    cpu = time.process_time()
    for i in range(0, len(stored), BATCH):
        c.execute("BEGIN IMMEDIATE")
        values = rows(stored[i : i + BATCH])
        c.executemany("INSERT INTO t VALUES (?,?,?,?,?,?,?,?,?,?)", values)
        c.execute("COMMIT")
    used = time.process_time() - cpu
    c.close()
    return file.stat().st_size / len(stored), 1e6 * used / len(stored)


def in_the_store(home: str, stored: list[Trade]) -> None:
    """Print what the table and the index of a store take."""
    store = TradeStore(f"sqlite:///{home}/trades.db")
    for there in range(0, TRADES, len(stored)):
        write_more(store, stored, there, min(len(stored), TRADES - there))
    files = {f.name: f.stat().st_size for f in Path(home).glob("trades.db*")}
    store.engine.dispose()
    for name, size in files.items():
        print(f"{name:32}{size / TRADES:8.1f} bytes a trade")
    with sqlite3.connect(Path(home) / "trades.db") as c:
        query = "SELECT name, sum(pgsize), sum(payload) FROM dbstat GROUP BY 1 ORDER BY 2 DESC"
        for name, size, payload in c.execute(f"{query} LIMIT 2"):
            print(f"  {name:30}{size / TRADES:8.1f}, of which content {payload / TRADES:.1f}")


def main() -> None:
    """Print the store, then the layouts."""
    stored = to_trades(hours_of_trades(1))[:10_000]
    repeated = [
        t._replace(product_id=PRODUCT, trade_id=k * len(stored) + i, ts=t.ts + k * 3_600_000_000)
        for k in range(TRADES // len(stored))
        for i, t in enumerate(stored, 1)
    ]
    layouts: dict[str, Rows] = {
        "as it is": as_they_are,
        "ids as bytes": ids_as_bytes,
        "ids as bytes, small numbers": small_numbers,
    }
    with tempfile.TemporaryDirectory() as home:
        in_the_store(home, stored)
        print(f"{'':42}{'bytes':>8}{'µs CPU':>8}")
        for name, rows in layouts.items():
            for index in (True, False):
                what = name if index else f"{name}, no index"
                files = [Path(home) / f"{what}{k}.db" for k in range(3)]
                size, used = min(layout(f, repeated, rows, index=index)[::-1] for f in files)[::-1]
                print(f"{what:42}{size:8.1f}{used:8.2f}")


if __name__ == "__main__":
    main()
