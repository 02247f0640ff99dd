"""A week of the whole system by a clock of its own: `python benchmarks/week.py [HOURS]`.

Hourly ingest, scan, alerts and monitor, daily datasets, a candidate a day, an approval, one planted pump, and six hours in
which the source does not answer. The same functions that the scheduled notebooks call; only papermill is left out.
"""

import json
import sys
import tempfile
import time

import pandas as pd

from crypto_anomaly.core.workspace import Settings, claim, open_workspace
from crypto_anomaly.data.client import DataError, dataset_versions, list_parts
from crypto_anomaly.lifecycle.alerts import alerts, deliver
from crypto_anomaly.lifecycle.scheduler import alert_on_scan
from crypto_anomaly.lifecycle.steps import (
    backfill_lake,
    build_dataset,
    evaluate_candidate,
    ingest,
    monitor,
    promote_version,
    train_candidate,
)
from crypto_anomaly.model.scan import scan_all
from crypto_anomaly.registry.versions import open_registry
from crypto_anomaly.simulate.market import Market, serve_market

START, COINS = pd.Timestamp("2026-03-02 00:05", tz="UTC"), 60


def day(ws, t, run):
    """What happens once a day: a dataset, a candidate, its evaluation; the first that passes is approved."""
    r = open_registry(ws)
    build_dataset(ws, as_of=t, run_id=f"build-{run}")
    version, _, _ = train_candidate(ws, run_id=f"train-{run}")
    e = evaluate_candidate(ws, run_id=f"evaluate-{run}")
    if e["passed"] and r.champion() is None:
        r.approve(f"v{version}", by="ada", reason="first to pass")
        promote_version(ws, version=f"v{version}")


def week(hours=168, pump_at=100, silent=range(140, 146)):
    home = tempfile.mkdtemp()
    ws = claim(
        open_workspace(Settings(home=home, source="simulated", alert_file=f"{home}/alerts.jsonl")),
        "simulated",
    )
    at = int((START - pd.Timestamp("2026-01-01", tz="UTC")) / pd.Timedelta("1h"))
    market = Market(
        COINS, events_per_day=0, planted=[dict(kind="pump", coin=17, hour=at + pump_at, size=0.45)]
    )
    start, failed = time.monotonic(), 0
    with serve_market(market) as (ws.settings.coingecko_url, server):
        server.clock.set(START)
        backfill_lake(ws, num_coins=COINS, as_of=START)
        for h in range(hours):
            t = START + pd.Timedelta(hours=h)
            server.clock.set(t)
            if h in silent:
                server.fault("503", times=1)
            try:
                ingest(ws, num_coins=COINS, run_id=f"ingest-{h}", as_of=t, tries=1)
            except DataError:
                failed += 1
            if h % 24 == 0:
                day(ws, t, h)
            if open_registry(ws).list_model_versions(1):
                scan_all(ws, run_id=f"scan-{h}")
                alert_on_scan(ws, now=t.to_pydatetime())
            monitor(ws, now=t, run_id=f"monitor-{h}")
            deliver(open_registry(ws), ws.settings)
            if h % 24 == 23:
                print(
                    f"day {h // 24 + 1}: {time.monotonic() - start:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
    r, coin = open_registry(ws), market.coins.coin_id[17]
    mine = [
        a
        for a in alerts(r, limit=1000)
        if a["key"] == f"coin:{coin}"
        and a["opened_at"] >= (START + pd.Timedelta(hours=pump_at - 1)).isoformat()[:19]
    ]
    count = lambda kind: len(r.events(kind=kind, limit=10_000))  # noqa: E731
    of_pump = [
        e["kind"]
        for k in ("alert_opened", "alert_escalated", "alert_closed")
        for e in r.events(kind=k, limit=1000)
        if e["payload"]["key"] == f"coin:{coin}"
        and e["at"]
        and e["payload"]["alert"] in {a["id"] for a in mine}
    ]
    return dict(
        hours=hours,
        seconds=round(time.monotonic() - start),
        ingests=count("snapshot_ingested"),
        failed_ingests=failed,
        datasets=len(dataset_versions(ws, "training_dataset")),
        versions=len(r.list_model_versions(100)),
        champion=(r.champion() or {}).get("version"),
        drift=[e["payload"]["problems"] for e in r.events(kind="drift_detected")],
        pump=sorted(of_pump),
        alerts=len(alerts(r, limit=1000)),
        alerts_a_day=round(len(alerts(r, limit=1000)) / max(hours / 24, 1), 1),
        snapshot_files=len(list_parts(ws)),
        told=len(open(f"{home}/alerts.jsonl").read().splitlines()),
    )


if __name__ == "__main__":
    print(json.dumps(week(int(sys.argv[1]) if len(sys.argv) > 1 else 168), indent=1))
