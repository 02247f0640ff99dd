"""A server under load for a minute: no 5xx, and no answer by a model that was not champion.

`python benchmarks/load.py [seconds]`. Models are promoted and reloaded meanwhile, and the market
dies. Everything is on loopback, in a home of its own.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from typing import NamedTuple

from measure import cli, free_port

from crypto_anomaly.core.clock import iso, utcnow
from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import Workspace, claim, open_workspace
from crypto_anomaly.lifecycle.dataset_steps import build_dataset
from crypto_anomaly.lifecycle.evaluate_steps import evaluate_candidate
from crypto_anomaly.lifecycle.ingest_steps import backfill_lake, ingest
from crypto_anomaly.lifecycle.train_steps import train_candidate
from crypto_anomaly.registry.registry import Registry, open_registry

SECONDS = int(sys.argv[1]) if len(sys.argv) > 1 else 60
PATHS = [
    ("GET", "/anomalies"),
    ("GET", "/market"),
    ("GET", "/model/info"),
    ("POST", "/scan"),
    ("GET", "/models/assets/anomaly_detector/versions"),
    ("POST", "/model/reload"),
    ("GET", "/coins"),
    ("GET", "/health"),
]
NAME_THEIR_MODEL = ("/anomalies", "/market", "/model/info", "/scan")


class Answer(NamedTuple):
    """One answer of the server."""

    path: str
    status: int
    asked: str  # ISO
    answered: str  # ISO
    version: int | None  # of the model, where the answer names it


class Promotion(NamedTuple):
    """One version that became champion."""

    at: str  # ISO
    version: int


def start(*args: object, **env: str) -> subprocess.Popen[bytes]:
    """The program in a process of its own."""
    command = cli(*map(str, args))
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, env=os.environ | env, stdout=quiet, stderr=quiet)


def fetch(port: int, method: str, path: str) -> tuple[int, bytes]:
    """Status and body of one answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as r:
            return r.status, r.read()
    except urllib.error.HTTPError as e:
        return e.code, e.read()


def ask(port: int, until: float, answers: list[Answer]) -> None:
    """Ask one path after the other until the time is up."""
    i = 0
    while time.monotonic() < until:
        i += 1
        method, path = PATHS[i % len(PATHS)]
        asked = iso(utcnow())
        status, body = fetch(port, method, path)
        version = None
        if path in NAME_THEIR_MODEL and status == 200:
            answer = json.loads(body)
            version = answer.get("model_version", answer.get("version"))
        answers.append(Answer(path, status, asked, iso(utcnow()), version))


def make_champion(r: Registry, version: int) -> None:
    """Request, approve and promote a version."""
    r.request_approval(version, by="ada")
    r.approve(version, by="bob", reason="load test")
    r.promote(version)


def prepare(home: str, url: str) -> Workspace:
    """A workspace with two versions that passed their evaluation."""
    settings = Settings(home=home, source="simulated", coingecko_url=url)
    ws = claim(open_workspace(settings), "simulated")
    backfill_lake(ws)
    ingest(ws)
    build_dataset(ws)
    for contamination in (0.05, 0.04):
        train_candidate(ws, contamination=contamination)
        assert evaluate_candidate(ws, compare_to="none")["passed"]
    return ws


class Load(NamedTuple):
    """What happened under load."""

    answers: list[Answer]
    promotions: int


def load(port: int, r: Registry, upstream: subprocess.Popen[bytes]) -> Load:
    """Four clients; a promotion every two seconds; the market dies after a third of the time."""
    answers: list[Answer] = []
    begun = time.monotonic()
    until = begun + SECONDS
    clients = [threading.Thread(target=ask, args=(port, until, answers)) for _ in range(4)]
    for client in clients:
        client.start()
    promotions = 0
    while time.monotonic() < until - 2:
        time.sleep(2)
        promotions += 1
        make_champion(r, 1 + promotions % 2)
        if upstream.poll() is None and time.monotonic() - begun > SECONDS / 3:
            upstream.kill()
    for client in clients:
        client.join()
    return Load(answers, promotions)


def promotions_of(r: Registry) -> list[Promotion]:
    """Every change of the champion, oldest first."""
    kinds = ("model_promoted", "model_rolled_back")
    events = [e for e in r.events(limit=10_000) if e["kind"] in kinds]
    return sorted(Promotion(e["at"], e["version"]) for e in events)


def champions_during(promotions: list[Promotion], start: str, end: str) -> set[int]:
    """The versions that were champion at some moment from `start` to `end`."""
    first = [p.version for p in promotions if p.at <= start][-1]
    return {first} | {p.version for p in promotions if start < p.at <= end}


def report(result: Load, r: Registry) -> None:
    """Print the numbers; raises `AssertionError` for a wrong answer or a 5xx."""
    answers, promotions = result.answers, promotions_of(r)
    named = [a for a in answers if a.version is not None]
    wrong = [a for a in named if a.version not in champions_during(promotions, a.asked, a.answered)]
    statuses = dict(Counter(a.status for a in answers))
    print(
        f"{len(answers)} answers in {SECONDS} s, {result.promotions} promotions, "
        f"the market died after {SECONDS / 3:.0f} s: {statuses}, "
        f"{len(wrong)} by a model that was not champion then"
    )
    assert not wrong, wrong[:3]
    failed = [a for a in answers if a.status >= 500]
    assert not failed, failed[:3]


def main() -> None:
    """Start market and server, load them, report."""
    with tempfile.TemporaryDirectory() as home:
        market, port = free_port(), free_port()
        url = f"http://127.0.0.1:{market}/api/v3"
        processes = [start("simulate", "--port", market)]
        try:
            time.sleep(5)
            r = open_registry(prepare(home, url))
            make_champion(r, 1)
            env = dict(
                CRYPTO_ANOMALY_HOME=home,
                CRYPTO_ANOMALY_SOURCE="simulated",
                CRYPTO_ANOMALY_COINGECKO_URL=url,
                CRYPTO_ANOMALY_LOG_LEVEL="WARNING",
            )
            processes.append(start("serve", "--port", port, "--workers", 2, **env))
            time.sleep(8)
            report(load(port, r, processes[0]), r)
        finally:
            for p in processes[::-1]:
                p.terminate()
                p.wait(20)


if __name__ == "__main__":
    main()
