"""What each page weighs and how long it takes: `python benchmarks/pages.py [DAYS] [HOME]`.

A workspace with a year of hourly rows of 250 coins (or DAYS of them), one model, and the last week
scored; a server of its own. Printed for each page: the first and the second call in milliseconds,
kB of the page, kB of the page with the scripts and styles it loads besides Plotly. A page beyond
300 ms or 150 kB is marked, and the command fails. HOME is kept and used again when it is given.
"""

import re
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from measure import cli, free_port, server

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import Workspace, claim, open_workspace
from crypto_anomaly.data.snapshots import newest_moment, write_days
from crypto_anomaly.data.table import simulated_table
from crypto_anomaly.lifecycle.alert_polls import alert_on_scan
from crypto_anomaly.lifecycle.dataset_steps import build_dataset
from crypto_anomaly.lifecycle.evaluate_steps import evaluate_candidate
from crypto_anomaly.lifecycle.promote_steps import promote_version
from crypto_anomaly.lifecycle.train_steps import train_candidate
from crypto_anomaly.model.scan import scan_all
from crypto_anomaly.registry.registry import open_registry
from crypto_anomaly.simulate.market import Market

COINS, MONTH = 250, 24 * 30
MOST_MS, MOST_KB = 300, 150
PAGES = (
    "/",
    "/coins",
    "/coins?show=anomaly&sort=change_24h",
    "/coins?at=30d",
    "/coins/{coin}",
    "/alerts",
    "/alerts?status=closed",
    "/models",
    "/models/anomaly_detector/v1",
    "/data",
    "/cards",
    "/live",
)


class Page(NamedTuple):
    """A page as a browser meets it."""

    path: str
    first_ms: float
    second_ms: float
    kb: float
    with_own_kb: float

    @property
    def is_over(self) -> bool:
        """Whether it takes too long or weighs too much."""
        return self.first_ms > MOST_MS or self.with_own_kb > MOST_KB


def fill(ws: Workspace, days: int) -> None:
    """Hourly rows up to now, a champion, a week of scans and alerts."""
    end = pd.Timestamp.now("UTC").floor("h")
    start = end - pd.Timedelta(days=days)
    market = Market(COINS, start=f"{start:%Y-%m-%d}", events_per_day=2)
    while start < end:
        hours = min(MONTH, int((end - start) / pd.Timedelta("1h")))
        polls = pd.date_range(start, periods=hours, freq="h")
        write_days(ws, simulated_table(market, polls, coins=COINS), "market")
        start += pd.Timedelta(hours=hours)
        print(f"rows until {start:%Y-%m-%d}", file=sys.stderr, flush=True)
    build_dataset(ws, as_of=newest_moment(ws))
    train_candidate(ws)
    evaluate_candidate(ws)
    open_registry(ws).approve("v1", by="bench", reason="the only one")
    promote_version(ws, version="v1")
    newest = newest_moment(ws)
    for hours_ago in range(24, -1, -1):
        at = newest - pd.Timedelta(hours=hours_ago)
        scan_all(ws, at=at)
        alert_on_scan(ws, now=at.to_pydatetime())


def fetch(url: str) -> tuple[bytes, float]:
    """What an address answers a browser, and how long it takes in milliseconds."""
    asked = urllib.request.Request(url, headers={"Accept": "text/html"})
    start = time.perf_counter()
    with urllib.request.urlopen(asked) as answer:
        body = answer.read()
    return body, 1e3 * (time.perf_counter() - start)


def measured(base: str, path: str) -> Page:
    """One page, asked twice, and the files it loads from this server."""
    body, first = fetch(base + path)
    _, second = fetch(base + path)
    loaded = set(re.findall(rb'(?:href|src)="(/static/[^"]+)"', body))
    own = {name for name in loaded if not name.startswith(b"/static/plotly")}
    files = sum(len(fetch(base + name.decode())[0]) for name in own)
    return Page(path, first, second, len(body) / 1e3, (len(body) + files) / 1e3)


def printed(pages: list[Page]) -> None:
    """A table of the pages."""
    print(f"{'page':38} {'first ms':>8} {'again ms':>8} {'kB':>7} {'with own':>8}")
    for p in pages:
        mark = " OVER" if p.is_over else ""
        numbers = f"{p.first_ms:8.0f} {p.second_ms:8.0f} {p.kb:7.1f} {p.with_own_kb:8.1f}"
        print(f"{p.path:38} {numbers}{mark}")


def main() -> None:
    """Fill a workspace, serve it, ask for every page."""
    days = int(sys.argv[1]) if len(sys.argv) > 1 else 365
    home = sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp()
    ws = claim(open_workspace(Settings(home=Path(home), source="simulated")), "simulated")
    if newest_moment(ws) is None:
        fill(ws, days)
    coin = sorted(scan_all(ws)[0].features.coin_id)[0]
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    env = dict(CRYPTO_ANOMALY_HOME=home, CRYPTO_ANOMALY_SOURCE="simulated")
    with server(cli("serve", "--port", str(port)), env, f"{base}/health"):
        time.sleep(10)  # the server warms up; a person does not come in the first seconds
        pages = [measured(base, path.format(coin=coin)) for path in PAGES]
    printed(pages)
    sys.exit(any(p.is_over for p in pages))


if __name__ == "__main__":
    main()
