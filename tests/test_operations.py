"""What an operator meets: an empty workspace, a database that goes away, old runs and trades."""

import itertools
import os
import re
import subprocess
import sys
import time

import pytest
from conftest import until
from pydantic import SecretStr
from starlette.testclient import TestClient

from crypto_anomaly.core import database_file, db
from crypto_anomaly.core.settings import Settings, WorkspaceError
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.lifecycle.database_copy import copy_databases
from crypto_anomaly.lifecycle.retention_steps import prune
from crypto_anomaly.model.loading import load_model
from crypto_anomaly.registry.errors import RegistryUnavailableError
from crypto_anomaly.registry.registry import open_registry
from crypto_anomaly.serving.app import create_app

VALUES = ("latest", "1", "%00", "a" * 300)


def addresses(app):
    """Every GET address, with different values for what stands in braces."""
    fixed = [p for p in app.state.endpoints if "{" not in p]
    open_ended = [p for p in app.state.endpoints if "{" in p]
    filled = [re.sub(r"{[^}]+}", v, p) for p, v in itertools.product(open_ended, VALUES)]
    files = [f"/{top}/{v}" for top, v in itertools.product(("runs", "static"), ("", *VALUES))]
    return sorted({*fixed, *filled, *files, "/runs"})


@pytest.mark.parametrize("begun", [False, True])
def test_an_empty_workspace_answers_everywhere(tmp_path, begun):
    """Nothing exists yet: each page and each answer says so, and none is an error of the server."""
    settings = Settings(home=tmp_path / "home", source="simulated")
    if begun:
        claim(open_workspace(settings), "simulated")
    app, bad = create_app(settings), []
    with TestClient(app, raise_server_exceptions=False, base_url="http://127.0.0.1") as client:
        for path, kind in itertools.product(addresses(app), ("text/html", "application/json")):
            r = client.get(path, headers={"Accept": kind}, follow_redirects=False)
            if r.status_code >= 500 and not (r.status_code == 503 and len(r.text) > 40):
                bad.append((r.status_code, path, r.text[:200]))
    assert not bad
    assert len(addresses(app)) > 90


def test_what_is_referred_to_outlives_retention(home):
    """Everything is older than its days: what a version, a dataset or an event names stays."""
    ws = open_workspace(Settings(home=home.home, source="simulated"))
    r = open_registry(ws)
    request = r.open_requests()[0]["version"]
    r.approve(request, by="bob", reason="gates pass")
    r.promote(request, by="bob")
    stages = {run["id"]: run["stage"] for run in r.list_runs(100)}
    long_ago = time.time() - 60 * 86_400
    for run in stages:
        os.utime(ws.runs / run, (long_ago, long_ago))
    assert len(prune(ws, dry_run=True)) == 3
    assert "3 are gone" in home("prune", "--yes").stderr
    left = {stages[path.name] for path in ws.runs.iterdir() if path.is_dir()}
    assert left == {"build_dataset", "train", "evaluate"}
    assert load_model(ws).version["version"] == request
    assert prune(ws, dry_run=True) == []


API_TOKEN = "t0ken-of-the-workspace-" + "x" * 16
WISH = dict(version="v1", by="bob", reason="better", request=1)
READS = ("/versions", "/anomalies", "/models", "/data", "/pipeline/flows", "/model/info")


def probes(client):
    """The status of what somebody looks at first, within some seconds."""
    began = time.monotonic()
    found = [client.get(p).status_code for p in ("/health", "/healthz", "/metrics", "/health/live")]
    assert time.monotonic() - began < 20
    return found


def test_postgresql_goes_away_and_comes_back(home, postgres_server):
    """Red within seconds, 503 with the reason, nothing written; the server needs no restart."""
    name = f"t{time.monotonic_ns()}"
    postgres_server.run(f"CREATE DATABASE {name}")
    url = f"{postgres_server.url}/{name}"
    ws = open_workspace(Settings(home=home.home, source="simulated"))
    copy_databases(ws, url)
    there = ws.settings.model_copy(
        update=dict(db_url=url, trades_url=url, api_token=SecretStr(API_TOKEN))
    )
    app = create_app(there)
    with TestClient(
        app,
        raise_server_exceptions=False,
        base_url="http://127.0.0.1",
        client=("127.0.0.1", 50000),
        headers={"Authorization": f"Bearer {API_TOKEN}"},
    ) as client:
        assert [client.get(p).status_code for p in READS] == [200] * len(READS)
        postgres_server.run(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        assert [client.get(p).status_code for p in READS] == [200] * len(READS)
        postgres_server.stop()
        time.sleep(0.25)  # so long ResponseCache answers /anomalies and /model/info itself
        try:
            assert probes(client) == [503, 503, 200, 200]
            answers = [client.get(p) for p in READS]
            answers.append(client.post("/approve", params=WISH))
        finally:
            postgres_server.start()
        told = [(a.status_code, a.text[:200]) for a in answers]
        assert {a.status_code for a in answers} == {503}, told
        assert all("does not answer" in a.text and "refused" in a.text for a in answers), told
        until(lambda: client.get("/health").status_code == 200, 10, "health to be green again")
        assert [client.get(p).status_code for p in READS] == [200] * len(READS)
    assert len(open_registry(open_workspace(there)).open_requests()) == 1


def test_a_full_disk_is_read_and_says_so(tmp_path, monkeypatch):
    """No room for what SQLite puts beside a database: reading goes on, a change says why not."""
    ws = claim(open_workspace(Settings(home=tmp_path / "home", source="simulated")), "simulated")
    script = (
        "import sys; from crypto_anomaly.registry.registry import Registry as R; R(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", script, ws.db_url], check=True, timeout=60)
    for module in (db, database_file):
        monkeypatch.setattr(module, "has_room", lambda folder: False)
    registry = open_registry(ws)
    assert registry.list_model_versions() == []
    with pytest.raises(RegistryUnavailableError, match="the disk is full"):
        registry.publish("drift_detected", None, "ada")
    assert not list(ws.root.glob("registry.db-*"))


@pytest.mark.parametrize("content", ["", '{"source"', '{"source": "elsewhere"}', "[]"])
def test_a_workspace_file_that_is_cut_off_is_named(tmp_path, content):
    ws = claim(open_workspace(Settings(home=tmp_path / "home", source="simulated")), "simulated")
    (ws.root / "workspace.json").write_text(content)
    with pytest.raises(WorkspaceError, match=r"workspace\.json (is|names)"):
        open_workspace(ws.settings).simulated  # noqa: B018
