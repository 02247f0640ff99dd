"""Take the pictures of the docs from a running server: `make screenshots`.

Three simulated weeks of 60 coins end in the hour of the clock with an injected pump, so that the
overview has a reason that is known to be right. Needs Chromium (`apt-get install chromium`).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pandas as pd
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import Workspace, claim, open_workspace
from crypto_anomaly.data.snapshots import write_days
from crypto_anomaly.data.table import simulated_table
from crypto_anomaly.lifecycle.alert_polls import alert_on_scan
from crypto_anomaly.lifecycle.dataset_steps import build_dataset
from crypto_anomaly.lifecycle.evaluate_steps import evaluate_candidate
from crypto_anomaly.lifecycle.past_scoring import score_past
from crypto_anomaly.lifecycle.promote_steps import promote_version
from crypto_anomaly.lifecycle.train_steps import train_candidate
from crypto_anomaly.model.scan import scan_all
from crypto_anomaly.registry.registry import open_registry
from crypto_anomaly.simulate.market import Market

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "nbs" / "images"
COINS, DAYS, PUMPED, SCANNED_HOURS = 60, 21, 25, 24
MOST_BYTES = 250_000
PICTURES = {
    "overview": ("/", 1000),
}  # name of the file -> address, height in pixels


def fill(ws: Workspace) -> None:
    """Hourly rows up to now, a champion, and the scans of a day."""
    end = pd.Timestamp.now("UTC").floor("h")
    start = end - pd.Timedelta(days=DAYS)
    first_day = start.normalize()
    onset = int((end - first_day) / pd.Timedelta("1h"))
    coins = Market(COINS, start=f"{first_day:%Y-%m-%d}").coins
    stable = int(coins.kind.eq("stable").to_numpy().nonzero()[0][0])
    injected = [
        dict(kind="pump", coin=PUMPED, hour=onset, size=0.3),
        dict(kind="depeg", coin=stable, hour=onset - 9, size=0.05),
    ]
    market = Market(COINS, start=f"{first_day:%Y-%m-%d}", events_per_day=0, injected=injected)
    hours = pd.date_range(start, end, freq="h")
    write_days(ws, simulated_table(market, hours, coins=COINS), "screenshots")
    build_dataset(ws, as_of=end - pd.Timedelta(hours=SCANNED_HOURS))
    train_candidate(ws)
    evaluate_candidate(ws)
    open_registry(ws).approve("v1", by="ada", reason="all gates pass")
    promote_version(ws, version="v1")
    for hours_ago in range(SCANNED_HOURS, -1, -1):
        scan_all(ws, at=end - pd.Timedelta(hours=hours_ago))
    alert_on_scan(ws)
    score_past(ws)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def answers(url: str) -> bool:
    """Whether a server answers."""
    try:
        urllib.request.urlopen(url, timeout=5).read()
    except OSError:
        return False
    return True


@contextmanager
def serving(home: Path) -> Iterator[str]:
    """The address of a server of a workspace."""
    port = free_port()
    env = os.environ | dict(CRYPTO_ANOMALY_HOME=str(home), CRYPTO_ANOMALY_SOURCE="simulated")
    start = "from crypto_anomaly.serving.program import main; main()"
    command = [sys.executable, "-c", start, "serve", "--port", str(port)]
    process = subprocess.Popen(command, env=env)
    try:
        until = time.monotonic() + 120
        while not answers(f"http://127.0.0.1:{port}/health") and time.monotonic() < until:
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def small_png(picture: bytes) -> bytes:
    """A picture with as many colours as `MOST_BYTES` allow."""
    for colours in (256, 128, 64, 32):
        out = BytesIO()
        image = Image.open(BytesIO(picture)).convert("RGB")
        image.quantize(colours, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
        if out.tell() <= MOST_BYTES:
            break
    return out.getvalue()


def shoot(browser: Browser, url: str, height: int) -> bytes:
    """The upper part of a page."""
    page = browser.new_page(viewport=dict(width=1200, height=height), color_scheme="light")
    page.goto(url)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1500)  # figures are drawn when they come into view
    picture = page.screenshot()
    page.close()
    return picture


def main() -> int:
    """Fill a workspace, serve it, take the pictures."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not chromium:
        print("Chromium is missing: apt-get install chromium, or set CHROMIUM.")
        return 1
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home, sync_playwright() as p:
        ws = claim(open_workspace(Settings(home=Path(home), source="simulated")), "simulated")
        fill(ws)
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        with serving(Path(home)) as base:
            for name, (path, height) in PICTURES.items():
                picture = small_png(shoot(browser, base + path, height))
                (FOLDER / f"{name}.png").write_bytes(picture)
                print(f"nbs/images/{name}.png: {len(picture) // 1000} kB")
        browser.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
