"""P8 beside plain Starlette and bare ASGI, and P10 beside an empty Python."""

import http.client
import sys
import tempfile
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from bench_serving import HELP, ask, child_seconds, served, trained
from measure import HERE, cli, cpu_of, free_port, row, server, settle, size

PATH = "/anomalies?limit=5"
IMPORTS = "import typer, sqlalchemy"


class Server(NamedTuple):
    """A server that runs."""

    name: str
    pid: int
    port: int


def start(stack: ExitStack, name: str, command: list[str], env: dict[str, str]) -> Server:
    """A server until the stack is closed."""
    port = free_port()
    command = [a.replace("PORT", str(port)) for a in command]
    process = stack.enter_context(server(command, env, f"http://127.0.0.1:{port}/health"))
    return Server(name, process.pid, port)


def body(s: Server) -> bytes:
    """What it answers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{s.port}{PATH}") as answer:
        return answer.read()


def seconds_an_answer(s: Server, seconds: float) -> float:
    """CPU seconds of the server for each answer, over one kept connection."""
    c = http.client.HTTPConnection("127.0.0.1", s.port)
    ask(c, "GET", PATH, 0.3)  # warm-up
    before = cpu_of(s.pid)
    n = ask(c, "GET", PATH, seconds)
    c.close()
    return (cpu_of(s.pid) - before) / n


def p8() -> None:
    """A cached answer, against servers that only send the same bytes."""
    seconds, rounds = size((1.0, 2), (3.0, 3), (4.0, 3))
    with tempfile.TemporaryDirectory() as home, ExitStack() as stack:
        trained(home)
        env = {"CRYPTO_ANOMALY_HOME": home, "CRYPTO_ANOMALY_LOG_LEVEL": "WARNING"}
        ours = start(stack, "ours", cli("serve", "--port", "PORT"), env)
        file = Path(home) / "answer.json"
        file.write_bytes(body(ours))
        command = [sys.executable, f"{HERE}/rival_server.py"]
        servers = [ours]
        for name, style in (("Starlette", "starlette"), ("bare ASGI", "asgi")):
            servers.append(start(stack, name, [*command, style, str(file), "PORT"], {}))
        same = len({body(s) for s in servers}) == 1
        settle(ours.pid)
        found = [[seconds_an_answer(s, seconds) for s in servers] for _ in range(rounds)]
    best = dict(zip([s.name for s in servers], np.min(found, axis=0).tolist()))
    told = ", ".join(f"{name} {1e6 * s:.0f} µs" for name, s in best.items())
    fields = dict(ours=best["ours"], limit=best["bare ASGI"], rival="Starlette", detail=told)
    rivals = {"Starlette": best["Starlette"], "bare ASGI": best["bare ASGI"]}
    ratio = best["Starlette"] / best["ours"]
    what = "a cached answer of /anomalies, CPU, against plain Starlette with the same bytes"
    row("P8", what, ratio, "x", 0.8, same, rivals=rivals, **fields)


def p10() -> None:
    """CPU seconds of a start, beside Python with the imports that no such program can avoid."""
    times = size(3, 5, 5)
    ours = min(child_seconds(HELP) for _ in range(times))
    least = min(child_seconds(IMPORTS) for _ in range(times))
    empty = min(child_seconds("pass") for _ in range(times))
    detail = f"python alone {empty:.3f} s, import of typer and SQLAlchemy {least:.3f} s"
    fields = dict(ours=ours, plain=least, limit=empty, detail=detail)
    row("P10", "crypto-anomaly --help, CPU, beside bare imports", ours, "s", 0.2, **fields)
    if size(True, False, False):  # else by bench_serving
        with tempfile.TemporaryDirectory() as home:
            seconds, megabytes = served(home)
        row("P10", "server ready and first answer, CPU, no sklearn", seconds, "s", 2)
        row("P10", "server memory, peak", megabytes, "MB", 250)
