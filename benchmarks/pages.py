"""What each page weighs and how long it takes: `python benchmarks/pages.py [DAYS] [HOME]`.

A workspace with a year of hourly rows of 250 coins (or DAYS of them), one model, and the last week
scored; a server of its own. Printed for each page: milliseconds until its first part is there and
until it is whole, of the first call and of a second one (after a second, so that it is drawn
again); kB of the page, kB of the page with the scripts and styles it loads besides Plotly. A page
whose first part takes more than 300 ms, or beyond 150 kB, is marked, and the command fails. HOME is
kept and used again when it is given.
"""

import argparse
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
    "/coins/{coin}?at=20d",
    "/coins/{coin}?since=365d",
    "/alerts",
    "/alerts?status=closed",
    "/models",
    "/models/anomaly_detector/v1",
    "/data",
    "/data.quality",
    "/cards",
    "/live",
)


class Page(NamedTuple):
    """A page as a browser meets it."""

    path: str
    shown_ms: float  # the first part of the first call
    whole_ms: float
    again_ms: float
    kb: float
    with_own_kb: float

    @property
    def is_over(self) -> bool:
        """Whether it takes too long or weighs too much."""
        return self.shown_ms > MOST_MS or self.with_own_kb > MOST_KB


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


class Answer(NamedTuple):
    """What an address answers a browser."""

    body: bytes
    shown_ms: float  # until the first part was there
    whole_ms: float


def fetch(url: str) -> Answer:
    """Ask an address as a browser does."""
    asked = urllib.request.Request(url, headers={"Accept": "text/html"})
    start = time.perf_counter()
    with urllib.request.urlopen(asked) as answer:
        first = answer.read(1)
        shown = 1e3 * (time.perf_counter() - start)
        body = first + answer.read()
    return Answer(body, shown, 1e3 * (time.perf_counter() - start))


def measured(base: str, path: str) -> Page:
    """One page, asked twice, and the files it loads from this server."""
    body, shown, whole = fetch(base + path)
    time.sleep(1.1)  # a page is kept for a second
    again = fetch(base + path).whole_ms
    loaded = set(re.findall(rb'(?:href|src)="(/static/[^"]+)"', body))
    own = {name for name in loaded if not name.startswith(b"/static/plotly")}
    files = sum(len(fetch(base + name.decode()).body) for name in own)
    return Page(path, shown, whole, again, len(body) / 1e3, (len(body) + files) / 1e3)


def printed(pages: list[Page]) -> None:
    """A table of the pages."""
    print(f"{'page':38} {'shown ms':>8} {'whole ms':>8} {'again ms':>8} {'kB':>7} {'with own':>8}")
    for p in pages:
        mark = " OVER" if p.is_over else ""
        times = f"{p.shown_ms:8.0f} {p.whole_ms:8.0f} {p.again_ms:8.0f}"
        numbers = f"{times} {p.kb:7.1f} {p.with_own_kb:8.1f}"
        print(f"{p.path:38} {numbers}{mark}")


def asked() -> argparse.Namespace:
    """Days and home, from the command line."""
    kept = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=kept)
    parser.add_argument("days", nargs="?", type=int, default=365, help="hourly rows, default 365")
    parser.add_argument("home", nargs="?", help="folder of the workspace; default a new one")
    return parser.parse_args()


def main() -> None:
    """Fill a workspace, serve it, ask for every page."""
    options = asked()
    days, home = options.days, options.home or tempfile.mkdtemp()
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
