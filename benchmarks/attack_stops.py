"""Each kind of process is told to stop at random moments: does it end within ten seconds?

    python benchmarks/attack_stops.py [COUNT]

COUNT stops (default 100) are spread over streams (busy, with an open gap, with a page that
hangs), a server with clients that hang, a scheduler, `up` and the panel. A stop is survived when
the process and everything it has started are gone after ten seconds. Everything is on loopback.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from measure import cli, free_port

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.simulate.trade_server import TradeAddress, serve_trades
from crypto_anomaly.simulate.trades import TradeSimulator

SECONDS = 10  # in which a process must end
PRODUCTS = ("SOL-USD", "DOGE-USD", "BTC-USD")
STREAMS = ("busy stream", "stream with a gap", "hanging page")
KINDS = (*STREAMS, "serve", "serve --workers 2", "schedule", "up", "panel")
SERVERS = ("serve", "serve --workers 2", "up", "panel")
AT = pd.Timestamp("2026-01-02 12:00", tz="UTC")


class Stop(NamedTuple):
    """One attempt."""

    kind: str
    waited: float  # seconds from the start to the signal
    seconds: float  # from the signal to the end of the process
    left: int  # processes that it has left behind

    @property
    def survived(self) -> bool:
        """Whether everything ended in time."""
        return self.seconds <= SECONDS and not self.left


class Scene(NamedTuple):
    """What the processes talk to."""

    exchange: TradeAddress  # busy, and its clock may be put forward
    silent: int  # port that takes connections and says nothing
    folder: Path


@contextmanager
def scene() -> Iterator[Scene]:
    """A busy exchange, a server that never answers, a folder for the homes."""
    simulator = TradeSimulator(PRODUCTS)
    with (
        serve_trades(simulator) as exchange,
        socket.create_server(("127.0.0.1", 0), backlog=100) as silent,
        tempfile.TemporaryDirectory() as folder,
    ):
        exchange.server.clock.set(AT, rate=50)
        yield Scene(exchange, silent.getsockname()[1], Path(folder))


def environment(at: Scene, kind: str) -> dict[str, str]:
    """The settings of a process; each kind has a home of its own, used again and again."""
    home = at.folder / kind.replace(" ", "_")
    claim(open_workspace(Settings(home=home, source="simulated")), "simulated")
    rest = f"http://127.0.0.1:{at.silent}" if kind == "hanging page" else at.exchange.rest_url
    ours = dict(
        HOME=home,
        SOURCE="simulated",
        COINBASE_WS_URL=at.exchange.ws_url,
        COINBASE_REST_URL=rest,
        PRODUCTS=",".join(PRODUCTS),
        LOG_LEVEL="INFO",
    )
    clean = {k: v for k, v in os.environ.items() if not k.startswith("CRYPTO_ANOMALY_")}
    return clean | {f"CRYPTO_ANOMALY_{k}": str(v) for k, v in ours.items()}


def command(kind: str, port: int) -> list[str]:
    """What is started."""
    if kind in STREAMS:
        return cli("stream")
    if kind == "schedule":
        return cli("schedule")
    return cli(*kind.split(), "--port", str(port))


def is_started(kind: str, port: int, log: Path) -> bool:
    """Whether a server listens; any other process has said something."""
    if kind not in SERVERS:
        return log.stat().st_size > 0
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def hang_on(port: int) -> list[socket.socket]:
    """Clients that begin a request and do not end it, and some that are idle."""
    clients = []
    for begun in (
        b"",
        b"GET / HT",
        b"POST /scan HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n",
    ):
        try:
            client = socket.create_connection(("127.0.0.1", port), timeout=2)
            client.sendall(begun)
            clients.append(client)
        except OSError:
            continue  # it does not listen yet
    return clients


def members(group: int) -> list[int]:
    """The living processes of a group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def end(process: subprocess.Popen[bytes]) -> tuple[float, int]:
    """SIGTERM: the seconds until the process has ended, and how many it left behind."""
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(SECONDS + 10)
    except subprocess.TimeoutExpired:
        process.kill()
    seconds = time.monotonic() - began
    while members(process.pid) and time.monotonic() - began < SECONDS:
        time.sleep(0.05)
    left = members(process.pid)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    process.wait()
    return seconds, len(left)


def stop_once(at: Scene, kind: str, rng: random.Random) -> Stop:
    """Start a process, tell it to stop at a random moment."""
    port, began = free_port(), time.monotonic()
    if kind == "stream with a gap":
        at.exchange.server.clock.set(at.exchange.server.clock.now() + pd.Timedelta("6h"), rate=50)
    log = at.folder / f"{port}.log"
    with log.open("w") as said:
        process = subprocess.Popen(
            command(kind, port),
            env=environment(at, kind),
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    early, patience = rng.random() < 0.2, time.monotonic() + 60
    while not early and not is_started(kind, port, log) and time.monotonic() < patience:
        time.sleep(0.1)
    time.sleep(rng.uniform(0, 3 if early else 8))
    clients = hang_on(port) if kind in SERVERS else []
    waited = time.monotonic() - began
    stop = Stop(kind, waited, *end(process))
    for client in clients:
        client.close()
    return stop


def run(count: int, together: int = 2) -> list[Stop]:
    """`count` stops, some of them at the same time."""
    left, stops, lock = list(range(count)), [], threading.Lock()

    def work(at: Scene, seed: int) -> None:
        rng = random.Random(seed)
        while True:
            with lock:
                if not left:
                    return
                kind = KINDS[left.pop() % len(KINDS)]
            stop = stop_once(at, kind, rng)
            with lock:
                stops.append(stop)

    with scene() as at:
        workers = [threading.Thread(target=work, args=(at, seed)) for seed in range(together)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    return stops


def report(stops: list[Stop]) -> None:
    """A line for each kind; exit 1 where a stop was not survived."""
    for kind in KINDS:
        mine = [s for s in stops if s.kind == kind]
        if mine:
            slowest, good = max(s.seconds for s in mine), sum(s.survived for s in mine)
            print(f"{kind:18} {good} of {len(mine)} ended in time, slowest {slowest:.1f} s")
    bad = [s for s in stops if not s.survived]
    print(f"{len(stops) - len(bad)} of {len(stops)} stops survived; {bad}")
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text(json.dumps([s._asdict() for s in stops]))
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    report(run(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
