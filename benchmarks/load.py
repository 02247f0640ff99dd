"""A server under load for a minute, with promotions, reloads and a market that dies meanwhile: no 5xx, and no answer by a model that was not champion while it was asked.

`python benchmarks/load.py [seconds]`; everything on loopback, in a home of its own.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from datetime import UTC, datetime

from crypto_anomaly.core.workspace import Settings, claim, iso, open_workspace
from crypto_anomaly.lifecycle.steps import (
    backfill_lake,
    build_dataset,
    evaluate_candidate,
    ingest,
    train_candidate,
)
from crypto_anomaly.registry.versions import open_registry

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


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(*args, **env):
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from crypto_anomaly.serving.cli import main; main()",
            *map(str, args),
        ],
        env=os.environ | env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def now():
    return iso(datetime.now(UTC))


def ask(port, until, told):
    i = 0
    while time.monotonic() < until:
        method, path = PATHS[(i := i + 1) % len(PATHS)]
        before = now()
        try:
            with urllib.request.urlopen(
                urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method), timeout=30
            ) as r:
                status, body = r.status, r.read()
        except urllib.error.HTTPError as e:
            status, body = e.code, e.read()
        version = (
            json.loads(body).get("model_version", json.loads(body).get("version"))
            if path in ("/anomalies", "/market", "/model/info", "/scan") and status == 200
            else None
        )
        told.append((path, status, before, now(), version))


def crown(r, version):
    r.request_approval(version, by="ada")
    r.approve(version, by="bob", reason="load test")
    r.promote(version)


with tempfile.TemporaryDirectory() as home:
    market, port = free_port(), free_port()
    url = f"http://127.0.0.1:{market}/api/v3"
    upstream = start("simulate", "--port", market)
    time.sleep(5)
    ws = claim(
        open_workspace(Settings(home=home, source="simulated", coingecko_url=url)), "simulated"
    )
    backfill_lake(ws)
    ingest(ws)
    build_dataset(ws)
    r = open_registry(ws)
    for contamination in (0.05, 0.04):
        train_candidate(ws, contamination=contamination)
        assert evaluate_candidate(ws, compare_to="none")["passed"]
    crown(r, 1)
    server = start(
        "serve",
        "--port",
        port,
        "--workers",
        2,
        CRYPTO_ANOMALY_HOME=home,
        CRYPTO_ANOMALY_SOURCE="simulated",
        CRYPTO_ANOMALY_COINGECKO_URL=url,
        CRYPTO_ANOMALY_LOG_LEVEL="WARNING",
    )
    try:
        time.sleep(8)
        told, until, begun = [], time.monotonic() + SECONDS, time.monotonic()
        people = [threading.Thread(target=ask, args=(port, until, told)) for _ in range(4)]
        for p in people:
            p.start()
        promoted = 0
        while time.monotonic() < until - 2:
            time.sleep(2)
            crown(r, 1 + (promoted := promoted + 1) % 2)
            if upstream.poll() is None and time.monotonic() - begun > SECONDS / 3:
                upstream.kill()
        for p in people:
            p.join()
        crowned = sorted(
            (e["at"], e["version"])
            for e in r.events(limit=10_000)
            if e["kind"] in ("model_promoted", "model_rolled_back")
        )

        def allowed(a, b):
            return {[v for t, v in crowned if t <= a][-1]} | {v for t, v in crowned if a < t <= b}  # noqa: E731

        wrong = [t for t in told if t[4] is not None and t[4] not in allowed(t[2], t[3])]
        print(
            f"{len(told)} answers in {SECONDS} s, {promoted} promotions, the market died after {SECONDS / 3:.0f} s: {dict(Counter(s for _, s, *_ in told))}, {len(wrong)} by a model that was not champion then"
        )
        assert not wrong, wrong[:3]
        assert all(status < 500 for _, status, *_ in told), [t for t in told if t[1] >= 500][:3]
    finally:
        for p in (server, upstream):
            p.terminate()
            p.wait(20)
