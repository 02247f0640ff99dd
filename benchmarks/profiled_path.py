"""One path of one checkout: its CPU seconds, and the functions where cProfile sees them, as JSON.

    python benchmarks/profiled_path.py CHECKOUT newest|stream|build

`profiles.py` starts it, once for each side. The paths use only what both sides have: a package of
before the work on speed keeps no hours and reads messages one by one.
"""

import cProfile
import json
import pstats
import re
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from importlib import import_module, util
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
from markets import blocks, lake_of, synthetic

COINS, HOURS = 4000, 560  # of the newest hour: every window is full
BUILD_COINS, BUILD_HOURS = 250, 2160
PRODUCTS, TRADES, TURNS, FIRST = 400, 1250, 24, 4  # a turn is a quarter second at 5,000/s
SHOWN = 8  # functions
BUILT_IN = re.compile(r"^(built-in )?method |^type object |(?<=type object) at 0x\w+")
Run = Callable[[], object]


def has(module: str) -> bool:
    """Whether the checkout has a module."""
    return util.find_spec(f"crypto_anomaly.{module}") is not None


def part(module: str) -> Any:
    """A module of the checkout."""
    return import_module(f"crypto_anomaly.{module}")


def newest(home: str) -> Run:
    """The features of the newest hour, from a lake in daily files."""
    last: list[pd.DataFrame] = []
    for table in blocks(COINS, HOURS):
        end = table.ts.max()
        ws = lake_of(home, table[table.ts < end], daily=True)
        last.append(table[table.ts == end])
    features = newest_of(ws)
    features(end - pd.Timedelta(hours=1))
    table, lake = part("data.table"), part("data.lake")
    rows = table.market_table(pd.concat(last))
    lake.write_part(ws, "snapshots", rows, tag="new", schema=table.SCHEMA)
    return lambda: features(end)


def newest_of(ws: Any) -> Callable[[pd.Timestamp], pd.DataFrame]:
    """How the checkout computes an hour: from kept hours, or from the stored history."""
    if has("features.newest_features"):
        found = part("features.newest_features").newest_features
        return lambda ts: found(ws, ts)
    features, snapshots = part("features.features"), part("data.snapshots")
    reach = pd.Timedelta(hours=part("features.config").FeatureConfig().lookback)

    def from_history(ts: pd.Timestamp) -> pd.DataFrame:
        rows = snapshots.read_snapshots(ws, start=ts - reach, columns=features.INPUT)
        return features.featurize(rows, since=ts)

    return from_history


def messages() -> Iterator[bytes]:
    """An exchange's messages, in order; prices are walks, sizes are heavy-tailed."""
    rng = np.random.default_rng(1)
    prices, counts = np.full(PRODUCTS, 100.0), np.zeros(PRODUCTS, int)
    began = pd.Timestamp.now("UTC") - pd.Timedelta(seconds=30)
    for k in range(TURNS * TRADES):
        p = int(rng.integers(PRODUCTS))
        prices[p] *= 1 + 0.0005 * rng.standard_normal()
        counts[p] += 1
        ts = began + pd.Timedelta(microseconds=200 * k)
        m = dict(type="match", product_id=f"C{p:03}-USD", trade_id=int(counts[p]))
        m |= dict(time=ts.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), price=f"{prices[p]:.4f}")
        m |= dict(size=f"{rng.lognormal():.6f}", side=("buy", "sell")[k % 2], sequence=k)
        m |= {f"{who}_order_id": str(uuid.UUID(bytes=rng.bytes(16))) for who in ("maker", "taker")}
        yield orjson.dumps(m)


def stream(home: str) -> Run:
    """Messages of 400 products read, stored and scored."""
    settings, workspace = part("core.settings"), part("core.workspace")
    ws = workspace.open_workspace(settings.Settings(home=home, source="simulated"))
    workspace.claim(ws, "simulated")
    s = part("trades.stream").Stream(ws, [f"C{p:03}-USD" for p in range(PRODUCTS)], rest_url="")
    texts, read = list(messages()), reader()
    turns = [texts[k : k + TRADES] for k in range(0, len(texts), TRADES)]

    def play(some: list[list[bytes]]) -> None:
        for turn in some:
            s.process(read(turn))

    play(turns[:FIRST])
    return lambda: play(turns[FIRST:])


def reader() -> Callable[[list[bytes]], list[Any]]:
    """How the checkout reads what waits: all messages at once, or one by one."""
    if has("trades.feed_texts"):
        read = part("trades.feed_texts").read_messages
        return lambda texts: read(texts, dict(bad=0))
    parse = part("trades.messages").parse_message
    return lambda texts: [parse(text) for text in texts]


def build(_: str) -> Run:
    """All features of a history in memory."""
    table, featurize = synthetic(BUILD_COINS, BUILD_HOURS), part("features.features").featurize
    featurize(synthetic(12, 30))
    return lambda: featurize(table)


PATHS = {
    "newest": (newest, f"features of the newest hour, {COINS:,} coins, {HOURS} hours stored"),
    "stream": (stream, f"messages to stored scores, {PRODUCTS} products, {TRADES:,} trades a turn"),
    "build": (build, f"all features, {BUILD_COINS} coins x {BUILD_HOURS:,} hours"),
}  # a path warms up before it is handed over: compiled code is loaded


def place(file: str, line: int, name: str) -> str:
    """Where a function is, as a reader names it."""
    if file == "~":
        return BUILT_IN.sub("", name.strip("<>"))
    path = Path(file)
    if "crypto_anomaly" in path.parts:
        inside = path.parts[len(path.parts) - path.parts[::-1].index("crypto_anomaly") :]
        return f"{'.'.join(inside).removesuffix('.py')}.{name}"
    package = path.parts[path.parts.index("site-packages") + 1] if "site-packages" in file else ""
    return f"{package or 'python'}: {path.stem}.{name}"


def functions(profile: cProfile.Profile) -> list[dict[str, Any]]:
    """The functions with the most time of their own."""
    stats: Any = pstats.Stats(profile)
    found = sorted(stats.stats.items(), key=lambda item: -item[1][2])[:SHOWN]
    return [
        dict(function=place(*where), calls=calls, own=round(own, 4))
        for where, (_, calls, own, *_) in found
    ]


def main() -> None:
    """Measure one path, then run it again under the profiler."""
    path, what = PATHS[sys.argv[2]]
    with tempfile.TemporaryDirectory() as home:
        run = path(home)
        began = time.process_time()
        run()
        cpu = time.process_time() - began
    with tempfile.TemporaryDirectory() as home:
        run, profile = path(home), cProfile.Profile(time.process_time)
        profile.runcall(run)
    print(json.dumps(dict(what=what, cpu=round(cpu, 3), functions=functions(profile))))


if __name__ == "__main__":
    main()
