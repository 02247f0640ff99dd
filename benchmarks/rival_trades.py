"""P7 beside raw sqlite3, DuckDB and PostgreSQL's binary COPY: storing trades."""

import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa
from bench_trades import hours_of_trades, private_postgres
from measure import row, size
from race import Rival, quiet_duckdb, race

from crypto_anomaly.trades.store import TradeStore
from crypto_anomaly.trades.table import to_trades

BATCH = 5000
FIELDS = """product_id text, trade_id bigint, ts bigint, price double precision,
    size double precision, taker_side text, maker_order_id text, taker_order_id text, source text,
    PRIMARY KEY (product_id, trade_id)"""
COUNTED = "count(*), sum(trade_id), min(ts), max(ts), sum(price * size)"
COPY = "COPY expert FROM STDIN (FORMAT BINARY)"
TYPES = ["text", "int8", "int8", "float8", "float8", "text", "text", "text", "text"]


def batches(stored: list) -> list[list]:
    """Trades 5,000 at a time."""
    return [stored[i : i + BATCH] for i in range(0, len(stored), BATCH)]


class Stores:
    """A fresh file for every store and round, and how much it weighs."""

    def __init__(self, home: str) -> None:
        self.home = Path(home)

    def file(self, name: str) -> Path:
        """A file that is not there yet."""
        for old in self.home.glob(f"{name}*"):
            old.unlink()
        return self.home / f"{name}.{len(list(self.home.iterdir()))}.db"


def ours_on_sqlite(stores: Stores, stored: list) -> tuple:
    """The store of this package, in batches."""
    folder = tempfile.mkdtemp(dir=stores.home)
    store = TradeStore(f"sqlite:///{folder}/trades.db")
    for batch in batches(stored):
        store.write(batch)
    found = counted(store.engine)
    store.engine.dispose()
    shutil.rmtree(folder)
    return found


def counted(engine: sa.Engine) -> tuple:
    """Count, sums and ends of what a store of ours holds."""
    with engine.connect() as c:
        return tuple(c.exec_driver_sql(f"SELECT {COUNTED} FROM trades").one())


def raw_sqlite(stores: Stores, stored: list, index: bool = True) -> tuple:
    """`executemany` on one connection, with the same key and the index on time."""
    file = stores.file("raw")
    c = sqlite3.connect(file, isolation_level=None)
    c.execute("PRAGMA journal_mode=WAL")
    c.execute("PRAGMA synchronous=NORMAL")
    c.execute(f"CREATE TABLE trades ({FIELDS}) WITHOUT ROWID")
    if index:
        c.execute("CREATE INDEX trades_ts ON trades (product_id, ts)")
    for batch in batches(stored):
        c.execute("BEGIN IMMEDIATE")
        c.executemany("INSERT OR IGNORE INTO trades VALUES (?,?,?,?,?,?,?,?,?)", batch)
        c.execute("COMMIT")
    found = c.execute(f"SELECT {COUNTED} FROM trades").fetchone()
    c.close()
    return tuple(found)


def duckdb_file(stores: Stores, stored: list) -> tuple:
    """Frames appended to a table with the same key."""
    file = stores.file("duck")
    c = quiet_duckdb(str(file))
    c.execute(f"CREATE TABLE trades ({FIELDS})")
    names = [name.split()[0] for name in FIELDS.split(",")[:9]]
    for batch in batches(stored):
        given = pd.DataFrame.from_records(batch, columns=names)  # noqa: F841  # read by its name
        c.execute("INSERT OR IGNORE INTO trades SELECT * FROM given")
    found = c.execute(f"SELECT {COUNTED} FROM trades").fetchone()
    c.close()
    return tuple(found)


def same_counts(a: tuple, b: tuple) -> bool:
    """Whether both hold the same trades, by count, sums and ends."""
    return a[:4] == b[:4] and abs(a[4] - b[4]) < 1e-6 * abs(a[4])


def p7() -> None:
    """Trades into a file, and into PostgreSQL; CPU time, and the wall time of PostgreSQL."""
    stored = to_trades(hours_of_trades(size(1, 3, 6)))[: size(20_000, 60_000, 150_000)]
    with tempfile.TemporaryDirectory() as home:
        stores = Stores(home)
        rivals = [
            Rival("raw sqlite3", "", lambda: lambda: raw_sqlite(stores, stored)),
            Rival("DuckDB", "duckdb", lambda: lambda: duckdb_file(stores, stored)),
        ]
        what = f"store {len(stored):,} trades in a file, batches of 5,000, with the index on time"
        ours = lambda: ours_on_sqlite(stores, stored)  # noqa: E731
        bare = lambda: raw_sqlite(stores, stored, index=False)  # noqa: E731
        race("P7", what, ours, rivals, same=same_counts, limit=bare, bar=0.8)
    with tempfile.TemporaryDirectory(prefix="pg") as folder, private_postgres(folder) as url:
        if url is None:
            missing = "apt-get install postgresql"
            row("P7", "store trades in PostgreSQL", None, "x", 0.8, missing=missing)
        else:
            on_postgres(url, stored)


def binary_copy(c: Any) -> Callable[[list], None]:
    """COPY in PostgreSQL's binary format, with psycopg."""

    def write(batch: list) -> None:
        with c.cursor() as cursor, cursor.copy(COPY) as copy:
            copy.set_types(TYPES)
            for t in batch:
                copy.write_row(t)
        c.commit()

    return write


def on_postgres(url: str, stored: list) -> None:
    """The CPU of the client; the server does the same for both."""
    import psycopg

    store = TradeStore(url)
    store.write(stored[:1])
    c = psycopg.connect(url.replace("+psycopg", ""))
    c.execute(f"CREATE TABLE expert ({FIELDS})")
    c.execute("CREATE INDEX ON expert USING brin (product_id, ts)")
    c.commit()
    write = binary_copy(c)

    def empty() -> None:
        with store.transaction() as t:
            t.exec_driver_sql("TRUNCATE trades")
        c.execute("TRUNCATE expert")
        c.commit()

    def ours() -> tuple:
        for batch in batches(stored):
            store.write(batch)
        return counted(store.engine)

    def theirs() -> tuple:
        for batch in batches(stored):
            write(batch)
        return tuple(c.execute(f"SELECT {COUNTED} FROM expert").fetchone())

    rivals = [Rival("binary COPY", "psycopg", lambda: theirs)]
    what = f"store {len(stored):,} trades in PostgreSQL, batches of 5,000, CPU of the client"
    race("P7", what, ours, rivals, same=same_counts, before=empty, bar=0.8)
    what = f"store {len(stored):,} trades in PostgreSQL, batches of 5,000, wall"
    race("P7", what, ours, rivals, same=same_counts, before=empty, bar=0.8, by_wall=True)
    c.close()
    store.engine.dispose()
