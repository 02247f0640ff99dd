"""Kept answers beside plain Starlette with the same bytes: `python benchmarks/bench_cached.py`.

Both servers run under uvicorn in processes of their own, without a line of log. A client
keeps eight requests in flight over eight connections, first to one server, then to the other,
ROUNDS times; counted are the answers a second of the CPU of the server, the best round of each. The
bytes of the bodies must be equal. At least 0.8 of Starlette is asked for.
"""

import http.client
import os
import re
import socket
import sys
import tempfile
import time
from pathlib import Path

from measure import cli, cpu_of, free_port, python, row, server

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.data.source import hold_source
from crypto_anomaly.lifecycle.dataset_steps import build_dataset
from crypto_anomaly.lifecycle.ingest_steps import backfill_lake, ingest
from crypto_anomaly.lifecycle.train_steps import train_candidate

ROUNDS, SECONDS, IN_FLIGHT = 5, 2.0, 8
PATHS = ("/anomalies?limit=5", "/model/info", "/market", "/coins")
EMPTY_BODY = {"POST": ("Content-Length: 0",)}
PLAIN = """
import sys
from pathlib import Path
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

bodies = {p.name: p.read_bytes() for p in Path(sys.argv[1]).iterdir()}

def route(name):
    async def answer(request):
        return Response(bodies[name], media_type='application/json')
    return Route('/' + name, answer)

app = Starlette(routes=[route(name) for name in bodies])
uvicorn.run(app, port=int(sys.argv[2]), log_level='warning', access_log=False)
"""


def flood(port: int, path: str, seconds: float, method: str = "GET") -> int:
    """Answers that came in, with some requests always in flight."""
    lines = (f"Host: 127.0.0.1:{port}", "Accept: text/html", *EMPTY_BODY.get(method, ()))
    head = "\r\n".join((f"{method} {path} HTTP/1.1", *lines, "", ""))
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(IN_FLIGHT)]
    until, n = time.perf_counter() + seconds, 0
    while time.perf_counter() < until:
        for s in sockets:
            s.sendall(head.encode())
        for s in sockets:
            read_answer(s)
            n += 1
    for s in sockets:
        s.close()
    return n


def read_answer(s: socket.socket) -> None:
    """Read one answer to its end."""
    data = s.recv(1 << 18)
    while b"\r\n\r\n" not in data:
        data += s.recv(1 << 18)
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head[:100]
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    have = len(body)
    while have < length:
        have += len(s.recv(1 << 18))


def wait_until_idle(pid: int, seconds: float = 60) -> None:
    """Wait until a server has warmed up: less than a tenth of a core for two seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = cpu_of(pid)
        time.sleep(2)
        if cpu_of(pid) - before < 0.2:
            return


def body_of(port: int, path: str) -> bytes:
    """The bytes of one answer."""
    c = http.client.HTTPConnection("127.0.0.1", port)
    c.request("GET", path, headers={"Accept": "text/html"})
    return c.getresponse().read()


def without_age(body: bytes) -> bytes:
    """A page without the words that grow old while it is asked for."""
    return re.sub(rb"just now|\d+ min ago", b"", body)


def rate(port: int, pid: int, path: str) -> float:
    """Answers a second of the server's CPU."""
    before = cpu_of(pid)
    n = flood(port, path, SECONDS)
    return n / max(cpu_of(pid) - before, 0.01)


def trained(home: str) -> None:
    """A workspace with a simulated market and a candidate."""
    ws = claim(open_workspace(Settings(home=Path(home), source="simulated")), "simulated")
    with hold_source(ws) as held:
        backfill_lake(held)
        ingest(held)
        build_dataset(held)
        train_candidate(held)


def main() -> None:
    """Both servers, path by path."""
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as bodies:
        trained(home)
        env = {"CRYPTO_ANOMALY_HOME": home, "CRYPTO_ANOMALY_LOG_LEVEL": "WARNING"}
        ours, plain = free_port(), free_port()
        base = f"http://127.0.0.1:{ours}"
        with server(cli("serve", "--port", str(ours)), env, f"{base}/health") as a:
            time.sleep(3)
            wait_until_idle(a.pid)
            for path in PATHS:
                name = path.split("?")[0][1:].replace("/", "_")
                (Path(bodies) / name).write_bytes(body_of(ours, path))
            first = next(Path(bodies).iterdir()).name
            command = python(PLAIN, bodies, str(plain))
            with server(command, {}, f"http://127.0.0.1:{plain}/{first}") as b:
                for path in PATHS:
                    compare(path, ours, a.pid, plain, b.pid)


def compare(path: str, ours: int, our_pid: int, plain: int, plain_pid: int) -> None:
    """One path, both servers in turns."""
    name = "/" + path.split("?")[0][1:].replace("/", "_")
    rate(ours, our_pid, path)
    of_ours, of_plain = [], []
    for _ in range(ROUNDS):
        of_ours.append(rate(ours, our_pid, path))
        of_plain.append(rate(plain, plain_pid, name))
    same = without_age(body_of(ours, path)) == without_age(body_of(plain, name))
    best, other = max(of_ours), max(of_plain)
    what = f"answers per CPU second, kept {path} ({best:.0f}) against Starlette ({other:.0f})"
    row("P8", what, best / other, "x", 0.8, same)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
    sys.stdout.flush()
