"""A week of the whole system by a clock of its own: `python benchmarks/week.py [HOURS]`.

Hourly ingest, scan, alerts and monitor, daily datasets, a candidate a day, an approval, one
injected pump, and six hours in which the source does not answer. The functions are those that the
scheduled notebooks call; only papermill is left out.
"""

import json
import sys
import tempfile
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import Workspace, claim, open_workspace
from crypto_anomaly.data.datasets import dataset_versions
from crypto_anomaly.data.lake import list_parts
from crypto_anomaly.data.table import DataError
from crypto_anomaly.lifecycle.alert_polls import alert_on_scan
from crypto_anomaly.lifecycle.alert_sinks import deliver
from crypto_anomaly.lifecycle.alerts import alerts
from crypto_anomaly.lifecycle.dataset_steps import build_dataset
from crypto_anomaly.lifecycle.evaluate_steps import evaluate_candidate
from crypto_anomaly.lifecycle.ingest_steps import backfill_lake, ingest
from crypto_anomaly.lifecycle.monitor_steps import monitor
from crypto_anomaly.lifecycle.promote_steps import promote_version
from crypto_anomaly.lifecycle.train_steps import train_candidate
from crypto_anomaly.model.scan import scan_all
from crypto_anomaly.registry.registry import Registry, open_registry
from crypto_anomaly.simulate.market import Market
from crypto_anomaly.simulate.market_server import MarketServer, serve_market

START, COINS, PUMPED = pd.Timestamp("2026-03-02 00:05", tz="UTC"), 60, 17
FIRST_HOUR = int((START - pd.Timestamp("2026-01-01", tz="UTC")) / pd.Timedelta("1h"))
MANY = 10_000


@dataclass
class Week:
    """The state of a simulated week."""

    ws: Workspace
    server: MarketServer
    silent: Collection[int]  # hours in which the source does not answer
    failed: int = 0  # ingests so far

    def hour(self, h: int) -> None:
        """What happens once an hour."""
        t = START + pd.Timedelta(hours=h)
        self.server.clock.set(t)
        if h in self.silent:
            self.server.fault("503", times=1)
        try:
            ingest(self.ws, num_coins=COINS, run_id=f"ingest-{h}", as_of=t, tries=1)
        except DataError:
            self.failed += 1
        if h % 24 == 0:
            self.day(t, h)
        if open_registry(self.ws).list_model_versions(1):
            scan_all(self.ws, run_id=f"scan-{h}")
            alert_on_scan(self.ws, now=t.to_pydatetime())
        monitor(self.ws, now=t, run_id=f"monitor-{h}")
        deliver(open_registry(self.ws), self.ws.settings)

    def day(self, t: pd.Timestamp, run: int) -> None:
        """What happens once a day: a dataset, a candidate, its evaluation.

        The first candidate that passes is approved.
        """
        build_dataset(self.ws, as_of=t, run_id=f"build-{run}")
        version, _, _ = train_candidate(self.ws, run_id=f"train-{run}")
        e = evaluate_candidate(self.ws, run_id=f"evaluate-{run}")
        r = open_registry(self.ws)
        if e["passed"] and r.champion() is None:
            r.approve(f"v{version}", by="ada", reason="first to pass")
            promote_version(self.ws, version=f"v{version}")


def pump_events(r: Registry, coin: str, since: pd.Timestamp) -> list[str]:
    """The kinds of the alert events of `coin`, of alerts opened since then."""
    key, first = f"coin:{coin}", since.isoformat()[:19]
    opened = [a for a in alerts(r, limit=1000) if a["key"] == key and a["opened_at"] >= first]
    ids = {a["id"] for a in opened}
    kinds = []
    for kind in ("alert_opened", "alert_escalated", "alert_closed"):
        for e in r.events(kind=kind, limit=1000):
            payload = e["payload"]
            if payload["key"] == key and e["at"] and payload["alert"] in ids:
                kinds.append(kind)
    return sorted(kinds)


def week(
    hours: int = 168, pump_at: int = 100, silent: Collection[int] = range(140, 146)
) -> dict[str, Any]:
    """Run the week; returns what happened in it."""
    home = tempfile.mkdtemp()
    settings = Settings(home=home, source="simulated", alert_file=f"{home}/alerts.jsonl")
    ws = claim(open_workspace(settings), "simulated")
    pump = dict(kind="pump", coin=PUMPED, hour=FIRST_HOUR + pump_at, size=0.45)
    market = Market(COINS, events_per_day=0, injected=[pump])
    start = time.monotonic()
    with serve_market(market) as (ws.settings.coingecko_url, server):
        state = Week(ws, server, silent)
        server.clock.set(START)
        backfill_lake(ws, num_coins=COINS, as_of=START)
        for h in range(hours):
            state.hour(h)
            if h % 24 == 23:
                seconds = time.monotonic() - start
                print(f"day {h // 24 + 1}: {seconds:.0f} s", file=sys.stderr, flush=True)
    seconds = round(time.monotonic() - start)
    since = START + pd.Timedelta(hours=pump_at - 1)
    pumped = pump_events(open_registry(ws), market.coins.coin_id[PUMPED], since)
    return summary(state, hours, seconds, pumped)


def summary(state: Week, hours: int, seconds: int, pumped: list[str]) -> dict[str, Any]:
    """The numbers of a week."""
    ws, r = state.ws, open_registry(state.ws)
    opened = len(alerts(r, limit=1000))
    messages = Path(str(ws.settings.alert_file)).read_text().splitlines()
    drift = [e["payload"]["problems"] for e in r.events(kind="drift_detected")]
    return dict(
        hours=hours,
        seconds=seconds,
        ingests=len(r.events(kind="snapshot_ingested", limit=MANY)),
        failed_ingests=state.failed,
        datasets=len(dataset_versions(ws, "training_dataset")),
        versions=len(r.list_model_versions(100)),
        champion=(r.champion() or {}).get("version"),
        drift=drift,
        pump=pumped,
        alerts=opened,
        alerts_a_day=round(opened / max(hours / 24, 1), 1),
        snapshot_files=len(list_parts(ws)),
        told=len(messages),
    )


if __name__ == "__main__":
    print(json.dumps(week(int(sys.argv[1]) if len(sys.argv) > 1 else 168), indent=1))
