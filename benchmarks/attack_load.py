"""Load and memory of a server and of a stream, each for a bounded time.

    python benchmarks/attack_load.py [SECONDS]

Three bars. A server with 1,000 idle connections and 8 clients: 99 of 100 reads within 50 ms, on
two cores that do nothing else (the load average is printed beside). The same server over 20,000
requests, and a stream that hears 5,000 trades a second: no growth of memory once warm. SECONDS
(default 60) is the time of the load and of the stream; the long form is 600. Everything is on
loopback.
"""

import asyncio
import http.client
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import websockets
from load import make_champion, prepare
from measure import cli, free_port, server

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.registry.registry import open_registry
from crypto_anomaly.simulate.messages import wire_time
from crypto_anomaly.trades.store import open_store

IDLE, CLIENTS, REQUESTS = 1000, 8, 20_000
PATHS = ("/anomalies", "/market", "/model/info", "/versions", "/health")
P99, GROWTH = 0.050, 30.0  # seconds; MB
RATE, TICKS = 5000, 50  # trades a second, messages of trades a second


class Bar(NamedTuple):
    """One measured bar."""

    what: str
    said: str
    held: bool


def resident(pid: int) -> float:
    """MB of memory that a process has now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(x.split()[1] for x in lines if x.startswith("VmRSS"))) / 1024


class IdleClients(threading.Thread):
    """Keeps so many connections open that say nothing; one that is closed is opened again."""

    def __init__(self, port: int, number: int) -> None:
        super().__init__(daemon=True)
        self.port, self.number, self.over = port, number, threading.Event()

    def run(self) -> None:
        """Hold them until `over`."""
        asyncio.run(self.hold())

    async def hold(self) -> None:
        """All connections at once."""
        tasks = [asyncio.create_task(self.hold_one()) for _ in range(self.number)]
        while not self.over.is_set():
            await asyncio.sleep(0.2)
        for task in tasks:
            task.cancel()

    async def hold_one(self) -> None:
        """One connection after the other."""
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                await reader.read()
                writer.close()
            except OSError:
                await asyncio.sleep(0.5)


def read(port: int, until: float, most: int, seconds: list[float], wrong: list[int]) -> None:
    """One client: read one address after the other."""
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for i in range(most):
        if time.monotonic() > until:
            return
        began = time.perf_counter()
        c.request("GET", PATHS[i % len(PATHS)])
        answer = c.getresponse()
        answer.read()
        seconds.append(time.perf_counter() - began)
        if answer.status != 200:
            wrong.append(answer.status)


def clients(port: int, until: float, most: int) -> tuple[list[float], list[int]]:
    """Several clients at once: seconds of each answer, and statuses that are not 200."""
    seconds: list[float] = []
    wrong: list[int] = []
    threads = [
        threading.Thread(target=read, args=(port, until, most, seconds, wrong))
        for _ in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seconds, wrong


def load(port: int, pid: int, length: float) -> list[Bar]:
    """The two bars of a server."""
    idle = IdleClients(port, IDLE)
    idle.start()
    clients(port, time.monotonic() + 5, 10_000)  # warm-up
    before = resident(pid)
    seconds, wrong = clients(port, time.monotonic() + length, 1_000_000)
    p99, busy = float(np.quantile(seconds, 0.99)), os.getloadavg()[0]
    said = f"p99 {1000 * p99:.0f} ms of {len(seconds)} reads, load average {busy:.1f}"
    first = Bar(f"{IDLE} idle, {CLIENTS} clients", said, p99 <= P99 and not wrong)
    rest = max(0, REQUESTS - len(seconds)) // CLIENTS
    more, failed = clients(port, time.monotonic() + 300, rest)
    idle.over.set()
    grown, total = resident(pid) - before, len(seconds) + len(more)
    said = f"{grown:+.1f} MB over {total} requests, {len(wrong + failed)} not 200"
    return [first, Bar("memory of a server", said, grown < GROWTH and not wrong + failed)]


def of_server(length: float) -> list[Bar]:
    """A server with a champion, alone on its port."""
    with tempfile.TemporaryDirectory() as home:
        market, port = free_port(), free_port()
        url = f"http://127.0.0.1:{market}/api/v3"
        with server(cli("simulate", "--port", str(market)), {}, f"{url}/ping"):
            make_champion(open_registry(prepare(home, url)), 1)
        env = dict(
            CRYPTO_ANOMALY_HOME=home,
            CRYPTO_ANOMALY_SOURCE="simulated",
            CRYPTO_ANOMALY_LOG_LEVEL="WARNING",
        )
        at = f"http://127.0.0.1:{port}/health/live"
        with server(cli("serve", "--port", str(port)), env, at) as process:
            return load(port, process.pid, length)


class Feed:
    """An exchange that sends many trades a second, in the format of Coinbase."""

    def __init__(self) -> None:
        self.sent = 0

    def trade(self) -> dict[str, Any]:
        """The next trade."""
        self.sent += 1
        return dict(
            type="match",
            trade_id=self.sent,
            maker_order_id=f"m{self.sent}",
            taker_order_id=f"t{self.sent // 3}",
            side="buy" if self.sent % 3 else "sell",
            size="0.01000000",
            price=f"{100 + self.sent % 7:.2f}",
            product_id="BTC-USD",
            sequence=self.sent,
            time=wire_time(pd.Timestamp.now("UTC")),
        )

    async def serve_one(self, socket: Any) -> None:
        """Send to one client until it goes."""
        await socket.recv()
        begun, mine = time.monotonic(), 0
        while True:
            due = int((time.monotonic() - begun) * RATE)
            for _ in range(due - mine):
                await socket.send(json.dumps(self.trade()))
            mine = due
            await asyncio.sleep(1 / TICKS)

    async def serve(self, port: int, over: threading.Event) -> None:
        """Listen until `over`."""
        async with websockets.serve(self.serve_one, "127.0.0.1", port, ping_interval=None):
            while not over.is_set():
                await asyncio.sleep(0.1)


def of_stream(length: float) -> Bar:
    """A stream that hears 5,000 trades a second."""
    feed, over, port = Feed(), threading.Event(), free_port()
    thread = threading.Thread(target=lambda: asyncio.run(feed.serve(port, over)), daemon=True)
    thread.start()
    with tempfile.TemporaryDirectory() as home:
        ws = claim(open_workspace(Settings(home=home, source="simulated")), "simulated")
        env = dict(
            CRYPTO_ANOMALY_HOME=home,
            CRYPTO_ANOMALY_SOURCE="simulated",
            CRYPTO_ANOMALY_COINBASE_WS_URL=f"ws://127.0.0.1:{port}",
            CRYPTO_ANOMALY_COINBASE_REST_URL=f"http://127.0.0.1:{free_port()}",
            CRYPTO_ANOMALY_LOG_LEVEL="WARNING",
        )
        process = subprocess.Popen(cli("stream"), env=os.environ | env)
        used, began = [], time.monotonic()
        while time.monotonic() - began < length:
            time.sleep(1)
            used.append(resident(process.pid))
        process.terminate()
        process.wait(20)
        over.set()
        thread.join(10)
        facts = open_store(ws).completeness("BTC-USD")
    warm = used[len(used) // 3]
    grown, stored = used[-1] - warm, facts["trades"]
    rate = stored / max(length, 1)
    lost = feed.sent - facts["last_id"]
    said = (
        f"{grown:+.1f} MB after {warm:.0f} MB; {stored} trades stored ({rate:.0f} a second), "
        f"{facts['missing']} missing, {lost} sent after the last one"
    )
    return Bar("memory of a stream", said, grown < GROWTH and not facts["missing"] and stored > 0)


def main() -> None:
    """Measure; exit 1 where a bar is missed."""
    length = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    bars = [*of_server(length), of_stream(length)]
    for bar in bars:
        print(f"{'ok' if bar.held else 'MISSED':7} {bar.what:26} {bar.said}", flush=True)
    held = sum(bar.held for bar in bars)
    print(f"{held} of {len(bars)} bars held")
    sys.exit(held < len(bars))


if __name__ == "__main__":
    main()
