"""The store of trades at scale, an older commit beside this one.

    python benchmarks/store_scale.py                       # 1 and 5 million trades
    python benchmarks/store_scale.py --sizes 1 5 20 --old v0.9 --products 400

A store is made once per size with the tables of the old commit. Each side then opens a copy, and
the same questions are asked in turns, in processes of their own: the least CPU of several counts.
The answers of both sides must be equal. With `--postgresql` both also write to a private server.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACE = 20_000  # microseconds between two trades of a product
BEGIN = 1_767_312_000_000_000  # 2026-01-02, microseconds since 1970
BATCHES = 100  # of a thousand trades each, that are written
PRODUCTS, TURNS = 400, 10  # of a stream, with twelve trades of each product
FILL = """WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last})
INSERT INTO trades (product_id, epoch, trade_id, ts, price, size, taker_side, maker_order_id,
taker_order_id, source) SELECT '{product}', 0, i, {begin} + i * {pace}, 100 + (i % 977) * .01,
.001 * (1 + i % 53), CASE i % 2 WHEN 0 THEN 'buy' ELSE 'sell' END, NULL, NULL, 'ws' FROM n
WHERE i % 999983 <> 0"""


def name(i: int) -> str:
    """A product."""
    return f"P{i:03}-USD"


def fill(file: Path, trades: int, products: int) -> None:
    """Put trades into a store that has its tables; one in a million is missing."""
    import sqlite3

    each = trades // products
    with sqlite3.connect(file) as db:
        for i in range(products):
            text = FILL.format(first=1, last=each, product=name(i), begin=BEGIN, pace=PACE)
            db.execute(text)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def least(f: Callable[[], Any], times: int = 5) -> tuple[float, Any]:
    """The least CPU milliseconds of some calls, and what the last one returned."""
    took = []
    for _ in range(times):
        start = time.process_time()
        found = f()
        took.append(1000 * (time.process_time() - start))
        if sum(took) > 4000:
            break
    return min(took), found


def fingerprint(answer: Any) -> str:
    """A short hash of an answer."""
    return hashlib.sha256(repr(answer).encode()).hexdigest()[:12]


def ask(url: str, trades: int, products: int) -> dict[str, Any]:
    """Ask a store everything; question -> milliseconds, and a hash of the answers."""
    import pandas as pd

    from crypto_anomaly.trades.product_state import ProductState
    from crypto_anomaly.trades.store import TradeStore

    start = time.process_time()
    store = TradeStore(url)
    took: dict[str, float] = {"opening it": 1000 * (time.process_time() - start)}
    names = [name(i) for i in range(products)]
    product, each = names[0], trades // products
    end = pd.Timestamp(BEGIN + each * PACE, unit="us", tz="UTC")
    middle = end - (end - pd.Timestamp(BEGIN, unit="us", tz="UTC")) / 2

    def fresh() -> TradeStore:
        return TradeStore(url)  # remembers nothing

    def all_products() -> list[dict[str, Any]]:
        many = getattr(TradeStore, "completeness_of", None)
        if many:
            return list(many(fresh(), names))
        asked = fresh()
        return [asked.completeness(p) for p in names]

    def minutes(at: Any, length: str) -> list[Any]:
        f = store.read(product, start=at - pd.Timedelta(length), end=at)
        return [len(f), f.trade_id.sum(), f.price.sum()]

    def warm() -> list[Any]:
        try:
            from crypto_anomaly.trades import stored_end
        except ImportError:  # the code before had both in one module
            from crypto_anomaly.trades import stream_base

            sequence = stream_base.last_sequence(store, product)
            stream_base.warm_up(ProductState(product), store, sequence.newest)
            return [sequence.next_id]
        found = stored_end.stored_end(store, product)
        stored_end.warm_up(ProductState(product), store, found)
        return [found.sequence.next_id]

    questions: dict[str, Callable[[], Any]] = {
        "completeness of a product": lambda: fresh().completeness(product),
        f"completeness of all {products}": all_products,
        "holes of a product": lambda: fresh().holes(product),
        "missing ids of a range of 10,000": lambda: fresh().holes_between(product, 1, 10_000),
        "newest id": lambda: store.last_id(product),
        "two minutes by time, the newest": lambda: minutes(end, "2min"),
        "two minutes by time, the middle": lambda: minutes(middle, "2min"),
        "warm start of a product": warm,
        "which trades are old": lambda: store.old_trades(
            pd.Timestamp(BEGIN, unit="us", tz="UTC") + pd.Timedelta("1min")
        )[:1],
    }
    if products == 1:
        del questions[f"completeness of all {products}"]
    answers = {}
    for what, f in questions.items():
        took[what], answers[what] = least(f)
    return dict(took=took, answers={k: fingerprint(v) for k, v in answers.items()})


def write(url: str, table: str) -> dict[str, Any]:
    """Write batches of a thousand trades; microseconds of CPU and of the clock for each trade."""
    from crypto_anomaly.trades.messages import Trade
    from crypto_anomaly.trades.store import TradeStore

    store = TradeStore(url)
    order = "3f9e1a52-8d8c-4a6e-9a3b-0c4f1f1e5b7a"
    batches = [
        [
            Trade(table, 1000 * b + i, BEGIN + i, 100.01, 0.5, "buy", order, order)
            for i in range(1, 1001)
        ]
        for b in range(BATCHES)
    ]
    cpu, clock = time.process_time(), time.perf_counter()
    for batch in batches:
        store.write(batch)
    n = 1000 * BATCHES / 1e6
    took = {
        "store a trade, CPU of the writer (µs)": (time.process_time() - cpu) / n,
        "store a trade, clock (µs)": (time.perf_counter() - clock) / n,
    }
    turns = [
        [
            Trade(f"{table}{p}", 12 * k + i, BEGIN + i, 100.01, 0.5, "buy", order, order)
            for p in range(PRODUCTS)
            for i in range(1, 13)
        ]
        for k in range(TURNS)
    ]
    cpu, clock = time.process_time(), time.perf_counter()
    for turn in turns:
        store.write(turn)
    n = 12 * PRODUCTS * TURNS / 1e6
    took["the same in turns of 400 products, CPU (µs)"] = (time.process_time() - cpu) / n
    took["the same in turns of 400 products, clock"] = (time.perf_counter() - clock) / n
    counts = [store.completeness(p)["trades"] for p in (table, f"{table}0", f"{table}399")]
    return dict(took=took, answers={"stored": fingerprint(counts)})


def worker(code: Path, *arguments: str) -> dict[str, Any]:
    """Run this file with the package of a folder."""
    threads = {key: "1" for key in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    env = {**os.environ, **threads, "PYTHONPATH": str(code)}
    command = [sys.executable, __file__, "--worker", *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=code)
    if done.returncode:
        sys.exit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def best(results: list[dict[str, Any]]) -> dict[str, float]:
    """The least of each figure; opening is that of the first time."""
    first = results[0]["took"]
    figures = {what: min(r["took"][what] for r in results) for what in first}
    if "opening it" in first:
        figures["opening it the first time"] = first["opening it"]
    return figures


def show(title: str, old: list[dict[str, Any]], new: list[dict[str, Any]]) -> None:
    """Print figures side by side."""
    a, b = best(old), best(new)
    equal = old[-1]["answers"] == new[-1]["answers"]
    print(f"\n{title}; answers {'equal' if equal else 'DIFFER'}")
    print(f"{'':44}{'old':>12}{'this':>12}{'ratio':>10}")
    for what in a:
        print(f"{what:44}{a[what]:12.3f}{b[what]:12.3f}{a[what] / max(b[what], 1e-3):10.1f}")
    if not equal:
        differ = [k for k, v in old[-1]["answers"].items() if v != new[-1]["answers"].get(k)]
        print("different answers:", ", ".join(differ))


def compare_questions(old: Path, folder: Path, trades: int, products: int, rounds: int) -> None:
    """The questions of one size, in turns."""
    files = {side: folder / f"{side}.db" for side in ("old", "new")}
    for file in files.values():
        file.unlink(missing_ok=True)
    made = f"sqlite:///{files['old']}"
    worker(old, "make", made)
    fill(files["old"], trades, products)
    shutil.copyfile(files["old"], files["new"])
    arguments = [str(trades), str(products)]
    results: dict[str, list[dict[str, Any]]] = {"old": [], "new": []}
    for _ in range(rounds):
        for side, code in (("old", old), ("new", ROOT)):
            results[side].append(worker(code, "ask", f"sqlite:///{files[side]}", *arguments))
    title = f"{trades:,} trades of {products} products on SQLite, ms of CPU"
    show(title, results["old"], results["new"])


def compare_writing(old: Path, urls: dict[str, str], title: str, rounds: int) -> None:
    """Batches that are written by both, in turns."""
    results: dict[str, list[dict[str, Any]]] = {"old": [], "new": []}
    for i in range(rounds):
        for side, code in (("old", old), ("new", ROOT)):
            results[side].append(worker(code, "write", urls[side], f"{side}{i}-USD"))
    show(title, results["old"], results["new"])


def compare_on_server(old: Path, folder: Path, rounds: int) -> None:
    """The same on a PostgreSQL of our own."""
    from bench_trades import private_postgres

    place = folder / "server"
    place.mkdir()
    os.chmod(folder, 0o777)
    with private_postgres(str(place)) as url:
        if url is None:
            print("no PostgreSQL is installed: apt-get install postgresql")
            return
        both = dict.fromkeys(("old", "new"), url)
        compare_writing(old, both, "batches of 1,000 on PostgreSQL", rounds)


def old_code(commit: str, folder: Path) -> Path:
    """The package as it was at a commit."""
    code = folder / "old_code"
    code.mkdir()
    archive = subprocess.run(
        ["git", "archive", commit, "crypto_anomaly"], cwd=ROOT, capture_output=True, check=True
    )
    subprocess.run(["tar", "-x", "-C", str(code)], input=archive.stdout, check=True)
    return code


def run_worker(task: str, url: str, *arguments: str) -> None:
    """What a process of one side does."""
    if task == "make":
        from crypto_anomaly.trades.store import TradeStore

        TradeStore(url)
        print("{}")
    elif task == "ask":
        print(json.dumps(ask(url, int(arguments[0]), int(arguments[1]))))
    else:
        print(json.dumps(write(url, arguments[0])))


def main() -> None:
    """Compare two commits."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--sizes", type=float, nargs="*", default=[1, 5], help="million trades")
    p.add_argument("--products", type=int, nargs="+", default=[1], help="that share them")
    p.add_argument("--old", default="f47ea6f", help="the commit to compare with")
    p.add_argument("--rounds", type=int, default=2)
    p.add_argument("--postgresql", action="store_true", help="also on a private server")
    p.add_argument("--worker", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = p.parse_args()
    if given.worker:
        run_worker(*given.worker)
        return
    with tempfile.TemporaryDirectory() as name_:
        folder = Path(name_)
        old = old_code(given.old, folder)
        for size in given.sizes:
            for products in given.products:
                compare_questions(old, folder, int(size * 1e6), products, given.rounds)
        lite = {side: f"sqlite:///{folder / side}-write.db" for side in ("old", "new")}
        compare_writing(old, lite, "batches of 1,000 on SQLite", given.rounds)
        if given.postgresql:
            compare_on_server(old, folder, given.rounds)


if __name__ == "__main__":
    main()
