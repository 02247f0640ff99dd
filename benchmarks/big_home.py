"""A registry of years and trades of 400 products in a workspace that has a year of market rows.

    python benchmarks/big_home.py HOME [VERSIONS] [EVENTS] [PRODUCTS]

HOME is made by `pages.py 365 HOME`. Versions, evaluations, requests, runs and products come through
the functions that the stages use; the events of others are written in bulk, chained by their
hashes, so that `crypto-anomaly verify` and every rule of the database hold. Run again, it adds
what is missing.
"""

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa

from crypto_anomaly.core.clock import iso, utcnow
from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import Workspace, open_workspace
from crypto_anomaly.registry.base import last_event
from crypto_anomaly.registry.chain import event_hash
from crypto_anomaly.registry.registry import Registry, open_registry
from crypto_anomaly.registry.tables import event_t, run_t
from crypto_anomaly.simulate.trades import TradeSimulator, trades
from crypto_anomaly.trades.origin import Origin, claim_store
from crypto_anomaly.trades.table import taken, to_trades

VERSIONS, EVENTS, PRODUCTS = 5000, 200_000, 400
PASSED = 0.7  # share of the versions that pass their evaluation
ASKED = 20  # every twentieth version that passed waits for a decision
RUNS = 5000
CHUNK = 5000  # events in one transaction
FACTS = ("version", "status", "model", "created_at", "training_run_id", "artifact_sha256", "id")


def add_versions(r: Registry, wanted: int) -> None:
    """Versions with the facts and the evaluation of the first one."""
    first = r.resolve("v1")
    facts = {k: v for k, v in first.items() if k not in FACTS}
    model = r.list_evaluations(10**6)[0]
    have = r.resolve("latest")["version"]
    for number in range(have + 1, wanted + 1):
        r.register(first["artifact_sha256"], facts, run_id=f"train-{number}")
        passed = (number * PASSED) % 1 < PASSED
        r.record_evaluation(
            number,
            passed=passed,
            gates=model["gates"],
            metrics=model["metrics"],
            dataset=model["dataset"],
            compared_to="champion",
            run_id=f"evaluate-{number}",
        )
        if passed and number % ASKED == 0:
            r.request_approval(number, by="ada", notes="made by the bench")
        if number % 500 == 0:
            print(f"{number} versions", file=sys.stderr, flush=True)


def add_events(r: Registry, wanted: int) -> None:
    """Events of scans, one for each version and hour, until there are so many."""
    have = r.events(limit=1)[0]["id"]
    versions = r.resolve("latest")["version"]
    while have < wanted:
        count = min(CHUNK, wanted - have)
        with r.transaction() as c:
            c.execute(sa.insert(event_t), chained(c, r, have, count, versions))
        have += count


def chained(c: sa.Connection, r: Registry, have: int, count: int, versions: int) -> list[Any]:
    """Rows of events that follow the last one."""
    last = last_event(c)
    at, previous = max(iso(utcnow()), last.at), last.hash
    rows = []
    for i in range(have, have + count):
        number = 1 + i % versions
        payload = dict(model_name=r.model, model_version=number, coins=250, anomalies=i % 9)
        row: dict[str, Any] = dict(
            at=at, kind="scan_finished", model=r.model, version=number, actor="", payload=payload
        )
        digest = event_hash(previous, row)
        rows.append(row | dict(previous_hash=previous, hash=digest))
        previous = digest
    return rows


def add_runs(r: Registry, wanted: int) -> None:
    """Runs of all stages, one a quarter of an hour, of which every fiftieth failed."""
    have = len(r.list_runs(wanted))
    stages = ("ingest", "build_dataset", "train", "evaluate", "promote", "monitor")
    start = pd.Timestamp(utcnow()) - pd.Timedelta(minutes=15 * wanted)
    rows = []
    for i in range(have, wanted):
        began = start + pd.Timedelta(minutes=15 * i)
        failed = i % 50 == 49
        rows.append(
            dict(
                id=f"{began:%Y%m%dT%H%M%S}-{i:06d}",
                stage=stages[i % len(stages)],
                status="failed" if failed else "succeeded",
                started_at=iso(began.to_pydatetime()),
                finished_at=iso((began + pd.Timedelta(seconds=9)).to_pydatetime()),
                parameters={"source": "simulated"},
                result=None if failed else {"rows": 250},
                error="DataError: no answer within 30 s" if failed else None,
                code_version="bench",
            )
        )
    with r.transaction() as c:
        if rows:
            c.execute(sa.insert(run_t), rows)


def add_products(ws: Workspace, wanted: int) -> None:
    """Ten minutes of trades that end now, of each product, and its newest state."""
    store = claim_store(ws, Origin.SIMULATED)
    now = pd.Timestamp(utcnow())
    model = trades(TradeSimulator(), "BTC-USD", now - pd.Timedelta("10min"), now)
    rows = taken(model, "sim")
    have = set(store.stored_products())
    names = [f"C{i:03d}-USD" for i in range(wanted)]
    for name in names:
        if name not in have:
            store.write(to_trades(rows.assign(product_id=name)))


def main() -> None:
    """Fill what is missing."""
    home = Path(sys.argv[1])
    wanted = [int(n) for n in sys.argv[2:]]
    versions, events, products = [*wanted, *(VERSIONS, EVENTS, PRODUCTS)[len(wanted) :]]
    ws = open_workspace(Settings(home=home, source="simulated"))
    r = open_registry(ws)
    add_versions(r, versions)
    add_events(r, events)
    add_runs(r, RUNS)
    add_products(ws, products)


if __name__ == "__main__":
    main()
