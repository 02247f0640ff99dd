"""P8: every page with a year of data, 5,000 versions, 200,000 events and 400 products."""

import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import load_pages
from bench_cached import wait_until_idle
from load_pages import Figures
from measure import HERE, cli, free_port, row, server, size
from pages import fill

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import Workspace, claim, open_workspace
from crypto_anomaly.model.scan import scan_all

CLIENTS, DRAWINGS = 8, 3


def filled(home: str) -> tuple[Workspace, str]:
    """The workspace, and what is in it."""
    sizes = size((40, 20, 200, 4), (40, 200, 5000, 40), (365, 5000, 200_000, 400))
    days, versions, events, products = sizes
    ws = claim(open_workspace(Settings(home=Path(home), source="simulated")), "simulated")
    with redirect_stderr(StringIO()):
        fill(ws, days)
    command = [sys.executable, str(HERE / "big_home.py"), home]
    numbers = map(str, (versions, events, products))
    subprocess.run([*command, *numbers], check=True, stdout=subprocess.DEVNULL)
    return ws, f"{days} days, {versions:,} versions, {events:,} events, {products} products"


def worst(figures: list[Figures], key: str) -> tuple[float, str]:
    """The largest figure, and the three pages that have the largest."""
    found = sorted(figures, key=lambda f: -getattr(f, key))
    told = ", ".join(f"{f.path} {getattr(f, key):.1f}" for f in found[:3])
    return getattr(found[0], key), told


def p8() -> None:
    """CPU and p99 of the worst page, the memory after all of them, the longest wait of a reader."""
    seconds = size(1.0, 3.0, 5.0)
    load_pages.TIMES = DRAWINGS
    with tempfile.TemporaryDirectory() as home:
        ws, what = filled(home)
        coin = sorted(scan_all(ws)[0].features.coin_id)[0]
        paths = [p.format(coin=coin, version="v10") for p in load_pages.PAGES]
        port = free_port()
        env = dict(CRYPTO_ANOMALY_HOME=home, CRYPTO_ANOMALY_SOURCE="simulated")
        env["CRYPTO_ANOMALY_LOG_LEVEL"] = "WARNING"
        command = cli("serve", "--port", str(port))
        with server(command, env, f"http://127.0.0.1:{port}/health") as process:
            time.sleep(3)
            wait_until_idle(process.pid)
            figures = [load_pages.measured(port, process.pid, p, CLIENTS, seconds) for p in paths]
            held = load_pages.memory(process.pid)
            own = load_pages.memory(process.pid, "RssAnon")
            waits = load_pages.spikes(port, 12)
    cpu_ms, told = worst(figures, "cpu_ms")
    row("P8", f"CPU of the dearest page, {what}", cpu_ms, "ms", load_pages.MOST_CPU, detail=told)
    p99, told = worst(figures, "p99")
    slowest = f"p99 of the slowest page, {CLIENTS} clients"
    row("P8", slowest, p99, "ms", load_pages.MOST_P99, detail=told)
    row("P8", "memory of a worker after all pages", held, "MB", load_pages.MOST_MB)
    what = "memory of a worker that is its own; the rest is files of libraries, which all share"
    row("P8", what, own, "MB", None)
    readers = {name: ms for name, ms in waits.items() if name.startswith("/")}
    longest = max(readers, key=readers.__getitem__)
    what = "the longest answer while the market is fetched and scored"
    row("P8", what, readers[longest], "ms", load_pages.MOST_SPIKE, detail=longest)
