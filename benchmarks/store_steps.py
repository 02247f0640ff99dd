"""Where the CPU of storing trades in PostgreSQL goes, step by step.

    python benchmarks/store_steps.py             # a private server, 60,000 trades by 5,000

Each step is timed where it is called, the least of ten rounds. Beside it the binary COPY of
psycopg alone, into a table of its own, and the same with rows that numpy made: an array of rows of
one width for each side. All must store the same trades.
"""

import tempfile
import time
from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
from bench_trades import hours_of_trades, private_postgres
from rival_trades import COPY, FIELDS, batches, binary_copy

from crypto_anomaly.core import postgresql
from crypto_anomaly.trades import batches as copying
from crypto_anomaly.trades import schema
from crypto_anomaly.trades import store as storing
from crypto_anomaly.trades.messages import Trade
from crypto_anomaly.trades.store import TradeStore
from crypto_anomaly.trades.table import to_trades

STEPS = (
    (storing, "_check", "every trade can be"),
    (schema, "_by_product", "its ids by product"),
    (schema, "lock_series", "lock of the product"),
    (schema, "known_ranges", "which ids are stored"),
    (copying, "_copy", "COPY"),
    (schema, "add_ids", "write which ids are stored"),
    (postgresql, "answers", "sign of life of the server"),
)
NUMBERS = dict(trade_id=">i8", ts=">i8", price=">f8", size=">f8")
ORDERS = ("maker_order_id", "taker_order_id")
BEGIN, END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
SUMS = "count(*), sum(trade_id), sum(ts), sum(price::numeric), min(taker_order_id), max(taker_side)"


def timed(took: dict[str, float], module: Any, name: str, what: str) -> None:
    """Let a function add its CPU to `took`."""
    inner = getattr(module, name)

    def step(*args: Any) -> Any:
        start = time.process_time()
        try:
            return inner(*args)
        finally:
            took[what] = took.get(what, 0.0) + time.process_time() - start

    setattr(module, name, step)


def by_numpy(group: list[Trade]) -> bytes:
    """Rows whose texts are as long as those of the first, as COPY takes them."""
    values = list(chain.from_iterable(group))
    width = len(Trade._fields)
    row, names, kinds, places = bytearray(b"\0\x09"), [], [], []
    for name, value in group[0]._asdict().items():
        text = value.encode() if isinstance(value, str) else bytes(8)
        row += len(text).to_bytes(4, "big")
        if name in NUMBERS:
            names.append(name)
            places.append(len(row))
            kinds.append(NUMBERS[name])
        elif name in ORDERS:
            names.append(name)
            places.append(len(row))
            kinds.append(f"V{len(text)}")
        row += text
    sent = bytearray(row) * len(group)
    kind = np.dtype(dict(names=names, formats=kinds, offsets=places, itemsize=len(row)))
    rows = np.frombuffer(sent, kind)
    for name in names:
        column = values[Trade._fields.index(name) :: width]
        text = "".join(column).encode() if name in ORDERS else b""
        rows[name] = np.frombuffer(text, kind[name]) if name in ORDERS else np.array(column)
    return bytes(sent)


def numpy_copy(c: Any) -> Callable[[list[Trade]], None]:
    """COPY of rows that numpy made."""

    def write(batch: list[Trade]) -> None:
        sides = [[t for t in batch if t.taker_side == side] for side in ("buy", "sell")]
        with c.cursor() as cursor, cursor.copy(COPY) as copy:
            copy.write(b"".join([BEGIN, *map(by_numpy, filter(None, sides)), END]))
        c.commit()

    return write


def rounds(store: TradeStore, c: Any, stored: list[Trade], took: dict[str, float]) -> None:
    """Store all trades in every way; fails where one of them stores other trades."""
    ways = {
        "all of it": store.write,
        "raw COPY, rows by psycopg": binary_copy(c),
        "raw COPY, rows by numpy": numpy_copy(c),
    }
    found = set()
    for way, write in ways.items():
        with store.transaction() as t:
            t.exec_driver_sql("TRUNCATE trades, trade_range, trade_count")
        c.execute("TRUNCATE expert")
        c.commit()
        start = time.process_time()
        for batch in batches(stored):
            write(batch)
        took[way] = time.process_time() - start
        table = "trades" if way == "all of it" else "expert"
        found.add(tuple(c.execute(f"SELECT {SUMS} FROM {table}").fetchone()))
        c.commit()
    if len(found) > 1:
        raise SystemExit("the ways store different trades")


def main() -> None:
    """Print the least CPU of every step."""
    import psycopg

    stored = to_trades(hours_of_trades(3))[:60_000]
    least: dict[str, float] = {}
    took: dict[str, float] = {}
    for module, name, what in STEPS:
        timed(took, module, name, what)
    with tempfile.TemporaryDirectory(prefix="pg") as folder, private_postgres(folder) as url:
        if url is None:
            raise SystemExit("no PostgreSQL is installed: apt-get install postgresql")
        store = TradeStore(url)
        c = psycopg.connect(url.replace("+psycopg", ""))
        c.execute(f"CREATE TABLE expert ({FIELDS})")
        for _ in range(10):
            took.clear()
            rounds(store, c, stored, took)
            least = {what: min(s, least.get(what, s)) for what, s in took.items()}
        c.close()
        store.engine.dispose()
    for what, seconds in sorted(least.items(), key=lambda x: -x[1]):
        print(f"{what:32}{1000 * seconds:8.1f} ms")


if __name__ == "__main__":
    main()
