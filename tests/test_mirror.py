"""The MLflow sync against real stores: an `mlflow server` on loopback and MLflow's SQLite.

Killed at every call; and with no server, or one that hangs.
"""

import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import mlflow
import pytest
from conftest import free_port, wait_for

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import open_workspace
from crypto_anomaly.lifecycle.mirror import mirror_models
from crypto_anomaly.lifecycle.mlflow_client import MlflowSyncError
from crypto_anomaly.lifecycle.mlflow_sync import consumer, sync_to_mlflow
from crypto_anomaly.registry.registry import Registry, open_registry

SHA, S3 = "ab" * 32, "s3://bucket/artifacts"
QUIET = os.environ | {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


def told(uri, model="anomaly_detector"):
    """All that an MLflow says of a model, without the ids that it makes up."""
    c = mlflow.MlflowClient(uri, uri)
    m, experiment = c.get_registered_model(model), c.get_experiment_by_name(model)
    runs = {r.info.run_id: r for r in c.search_runs([experiment.experiment_id])}

    def run(r):
        points = {
            k: sorted(
                (p.step, p.timestamp, p.value) for p in c.get_metric_history(r.info.run_id, k)
            )
            for k in r.data.metrics
        }
        return dict(
            name=r.info.run_name,
            status=r.info.status,
            start=r.info.start_time,
            end=r.info.end_time,
            params=r.data.params,
            tags=r.data.tags,
            points=points,
        )

    versions = sorted(c.search_model_versions(f"name = '{model}'"), key=lambda v: int(v.version))
    return dict(
        aliases={a: int(v) for a, v in m.aliases.items()},
        tags=m.tags,
        runs=len(runs),
        versions=[
            dict(
                number=int(v.version),
                source=v.source,
                text=v.description,
                tags=v.tags,
                run=run(runs[v.run_id]),
            )
            for v in versions
        ],
    )


def new(r, **facts):
    v = r.register(
        SHA,
        dict(
            algorithm="families",
            anomaly_rate=0.04,
            training_samples=100,
            hyperparameters=dict(contamination=0.05),
            data_source="training_dataset:v1",
            dataset_hash="cd",
            description="a text",
        )
        | facts,
        run_id="t1",
    )
    r.record_evaluation(
        v,
        passed=True,
        gates=[],
        metrics=dict(recall=0.9, psi=None, by_kind=dict(pump=dict(found=1.0))),
        dataset="eval_holdout:v1",
        run_id="e1",
    )
    return v


def crown(r, v):
    r.request_approval(v, by="ada")
    r.approve(v, by="bob", reason="gates pass")
    r.promote(v)


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """MLflow's SQLite, made once: its 80 steps of schema take seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}", f"sqlite:///{path}").search_registered_models()
    return path


@pytest.fixture
def store(empty, tmp_path):
    return f"sqlite:///{shutil.copy(empty, tmp_path / 'mlflow.db')}"


@pytest.fixture(scope="module")
def server(empty):
    """A real `mlflow server`: its process and its address.

    mlflow-skinny has it whole, given flask, flask-cors and aiohttp.
    """
    port, db = free_port(), shutil.copy(empty, empty.with_name("server.db"))
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        f"sqlite:///{db}",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    with open(empty.with_name("log"), "w") as log:
        p = subprocess.Popen(
            command, env=QUIET, cwd=empty.parent, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/health")
        yield p, f"http://127.0.0.1:{port}"
    finally:
        os.killpg(p.pid, signal.SIGKILL)
        p.wait(60)


def test_a_server_says_the_same_after_a_whole_life(server, tmp_path):
    r = Registry(db_url := f"sqlite:///{tmp_path}/registry.db", model="life")

    def say():
        sync_to_mlflow(r, server[1], S3, page=3)
        return told(server[1], r.model)

    def aliases():
        sync_to_mlflow(r, server[1], S3)
        return mlflow.MlflowClient(server[1], server[1]).get_registered_model(r.model).aliases

    new(Registry(db_url, model="another"))  # its events are in the same log
    assert sync_to_mlflow(r, server[1]) == dict(events=0, versions=[])  # nothing of ours yet
    new(r)
    first = say()
    assert first["aliases"] == {}
    assert first["versions"][0]["tags"]["crypto_anomaly.status"] == "evaluated"
    assert "crypto_anomaly.approved_by" not in first["versions"][0]["tags"]
    crown(r, 1)
    new(r, hyperparameters=dict(contamination=0.1, deep=dict(layers=[2, 3])))
    r.challenge(2, by="ada")
    assert aliases() == dict(champion="1", challenger="2")
    crown(r, 2)
    r.promote(1, by="ada", alias="eu")
    new(r)
    r.retire(3, by="ada", reason="a mistake")
    r.publish(
        "outcomes_validated",
        2,
        "o1",
        confusion=dict(tp=3),
        crash_recall=dict(value=0.5, low=None),
        status=dict(crash_recall=True),
        message="words",
    )
    assert aliases() == dict(champion="2", eu="1")  # the challenger is gone
    r.rollback(by="ada", reason="worse")
    r.promote(2, by="ada", alias="eu")
    end = say()
    assert end["aliases"] == dict(champion=1, eu=2)
    assert end["runs"] == 3
    for number, v in enumerate(end["versions"], 1):
        assert v["number"] == number
        assert v["tags"]["crypto_anomaly.version"] == str(number)
        assert v["run"]["name"] == f"v{number}"
    statuses = [v["tags"]["crypto_anomaly.status"] for v in end["versions"]]
    assert statuses == ["champion", "retired", "retired"]
    assert statuses == [r.resolve(v)["status"] for v in (1, 2, 3)]
    one, two, three = end["versions"]
    tags = dict(
        version="1",
        status="champion",
        artifact_sha256=SHA,
        training_run_id="t1",
        data_source="training_dataset:v1",
        dataset_hash="cd",
        evaluation="passed",
        eval_dataset="eval_holdout:v1",
        approved_by="bob",
        approval_reason="gates pass",
        registry=r.resolve(1)["created_at"],
    )
    assert one["tags"] == {f"crypto_anomaly.{k}": v for k, v in tags.items()}
    assert (one["source"], one["text"]) == (
        f"{S3}/ab/{SHA}.npz",
        "a text",
    )
    assert "crypto_anomaly.approved_by" not in three["tags"]
    assert one["run"]["params"] == dict(
        contamination="0.05",
        algorithm="families",
        data_source="training_dataset:v1",
        dataset_hash="cd",
        description="a text",
    )
    assert two["run"]["params"]["contamination"] == "0.1"
    assert two["run"]["params"]["deep.layers"] == "[2, 3]"
    value = {k: [p[2] for p in points] for k, points in two["run"]["points"].items()}
    assert value == {
        "anomaly_rate": [0.04],
        "training_samples": [100],
        "eval/recall": [0.9],
        "eval/by_kind.pump.found": [1],
        "outcome/confusion.tp": [3],
        "outcome/crash_recall.value": [0.5],
    }
    log = [e for e in r.events(limit=1000) if e["model"] == r.model]
    assert {p[0] for p in two["run"]["points"]["outcome/confusion.tp"]} == {
        next(e["id"] for e in log if e["kind"] == "outcomes_validated")
    }
    assert r.cursor(consumer(r, server[1])) == log[0]["id"]
    assert sync_to_mlflow(r, server[1], S3) == dict(events=0, versions=[])
    assert sync_to_mlflow(r, server[1], S3, afresh=True, page=3)["events"] == len(log)
    assert told(server[1], r.model) == end


def test_both_models_are_mirrored_under_their_names(store, tmp_path):
    ws = open_workspace(Settings(home=str(tmp_path / "home"), trade_model="my_trades"))
    market, trades = open_registry(ws), open_registry(ws, "my_trades")
    crown(market, new(market))
    learned = {"BTC-USD": dict(trades=9000, calibration="own"), "X-USD": dict(calibration="shared")}
    crown(trades, new(trades, products=learned, left_out={"Y-USD": "7 trades are too few"}))
    crown(trades, new(trades, products=learned))
    told_of = mirror_models(ws, store)
    assert told_of["anomaly_detector"]["versions"] == [1]
    assert told_of["my_trades"]["versions"] == [1, 2]
    assert told(store)["aliases"] == dict(champion=1)
    end = told(store, "my_trades")
    assert (end["aliases"], end["runs"]) == (dict(champion=2), 2)
    statuses = [v["tags"]["crypto_anomaly.status"] for v in end["versions"]]
    assert statuses == ["retired", "champion"]
    params = end["versions"][0]["run"]["params"]
    assert params["products.BTC-USD.calibration"] == "own"
    assert params["left_out.Y-USD"] == "7 trades are too few"
    assert {p[2] for p in end["versions"][1]["run"]["points"]["eval/recall"]} == {0.9}
    trades.rollback(by="ada", reason="worse")
    again = mirror_models(ws, store)
    assert (again["anomaly_detector"]["events"], again["my_trades"]["events"] > 0) == (0, True)
    assert told(store, "my_trades")["aliases"] == dict(champion=1)


# Each step in a child of its own, on fresh copies of both databases: it stops dead before its
# n-th write (every third, for time), then the sync runs again. Being killed before a call that
# reads leaves what being killed before the next write does.
KILLED = """
import json, os, shutil, signal, sys
import sqlalchemy as sa
from mlflow import MlflowClient
from crypto_anomaly.lifecycle.mlflow_sync import sync_to_mlflow
from crypto_anomaly.registry.registry import Registry
sys.path.insert(0, sys.argv[1])
from test_mirror import told
left = [0]

# the process dies, the machine does not
sa.event.listen(sa.Engine, "connect", lambda db, _: db.execute("PRAGMA synchronous=OFF"))

def counted(f):
    def call(*a, **k):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return f(*a, **k)
    return call

verbs = ("create_", "log_", "set_", "update_", "delete_")
writes = [n for n in dir(MlflowClient) if n.startswith(verbs)]
for owner, names in ((MlflowClient, writes), (Registry, ["advance"])):
    for n in names:
        setattr(owner, n, counted(getattr(owner, n)))

def again(home):
    uri, r = f"sqlite:///{home}/now/mlflow.db", Registry(f"sqlite:///{home}/now/registry.db")
    sync_to_mlflow(r, uri, page=6)
    r.engine.dispose()
    return told(uri)

def run(home):
    shutil.rmtree(f"{home}/now")
    shutil.copytree(f"{home}/before", f"{home}/now")
    return again(home)

def child(work, home, kill_at):
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    signal.alarm(120)  # one that hangs ends by SIGALRM, which is not what its parent expects
    left[0] = kill_at
    print(json.dumps([home, work(home)]), flush=True)
    os._exit(0)

for home in sys.argv[2:]:
    run(home)  # what a child would have to import and prepare, once
    for step in range(1, 1000, 3):
        dead = child(run, home, step)
        if not dead:
            break
        assert os.WTERMSIG(dead) == signal.SIGKILL, (step, dead)
        assert child(again, home, 0) == 0, step
"""


def test_killed_before_a_call_it_ends_the_same(empty, tmp_path):
    def life(name):
        now = tmp_path / name / "now"
        now.mkdir(parents=True)
        return f"sqlite:///{shutil.copy(empty, now / 'mlflow.db')}", Registry(
            f"sqlite:///{now}/registry.db"
        )

    (_, first), (store, second) = life("first"), life("second")
    for r in (first, second):  # MLflow has heard nothing of the one …
        new(r)
    second.challenge(1, by="ada")
    sync_to_mlflow(second, store)  # … and of the other what is no longer so
    crown(second, 1)
    crown(second, new(second))
    second.promote(1, by="ada", alias="eu")
    for r in (first, second):
        r.engine.dispose()
    for home in tmp_path.iterdir():
        shutil.copytree(home / "now", home / "before")
    alone = QUIET | {
        "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool"
    }  # no connection survives a fork
    p = subprocess.run(
        [sys.executable, "-c", KILLED, os.path.dirname(__file__), *map(str, tmp_path.iterdir())],
        env=alone,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert p.returncode == 0, p.stderr[-3000:]
    for name, least, aliases, versions in (
        ("first", 3, {}, 1),
        ("second", 5, dict(champion=2, eu=1), 2),
    ):
        *ends, undisturbed = [
            end for home, end in map(json.loads, p.stdout.splitlines()) if home.endswith(name)
        ]
        assert undisturbed["aliases"] == aliases
        assert undisturbed["runs"] == len(undisturbed["versions"]) == versions
        assert len(ends) >= least
        assert [i for i, x in enumerate(ends, 1) if x != undisturbed] == []


@contextmanager
def answers(status, body, **headers):
    """Somebody who is not an MLflow."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            for k, v in headers.items():
                self.send_header(k.replace("_", "-"), v)
            self.end_headers()
            self.wfile.write(body)

        do_POST, log_message = do_GET, lambda *a: None

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as s:
        threading.Thread(target=s.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{s.server_port}"
        s.shutdown()


SOON = 60  # seconds; MLflow's own settings would try for more than ten minutes


def fails_soon(r, uri):
    """The one line of a sync that fails at once or after a short timeout, and loses nothing."""
    start = time.monotonic()
    with pytest.raises(MlflowSyncError, match="was not updated") as e:
        sync_to_mlflow(r, uri)
    assert time.monotonic() - start < SOON
    assert "\n" not in str(e.value)
    assert r.cursor(consumer(r, uri)) == 0
    return str(e.value)


def test_nobody_at_home(tmp_path):
    r = Registry(f"sqlite:///{tmp_path}/registry.db")
    new(r)
    text = fails_soon(r, f"http://ada:secret@127.0.0.1:{free_port()}")
    assert "secret" not in text
    assert text.endswith("Connection refused. Nothing is lost, the next sync continues from here.")
    fails_soon(r, f"sqlite:///{tmp_path}/registry.db/mlflow.db")  # no such folder can be
    for reply in (
        (503, b"later", dict(Retry_After="120")),
        (500, b"{}", {}),
        (200, b"<html>", {}),
        (404, b"<html>", {}),
    ):
        with answers(*reply[:2], **reply[2]) as uri:
            fails_soon(r, uri)


def test_a_server_that_hangs_and_comes_back(server, tmp_path, monkeypatch):
    p, uri = server
    r = Registry(f"sqlite:///{tmp_path}/registry.db", model="hangs")
    new(r)
    os.killpg(p.pid, signal.SIGSTOP)
    try:
        assert "read timeout=5" in fails_soon(r, uri)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")  # what the user has set is obeyed
        assert "read timeout=1" in fails_soon(r, uri)
    finally:
        os.killpg(p.pid, signal.SIGCONT)
    assert sync_to_mlflow(r, uri) == dict(events=2, versions=[1])
    end = told(uri, "hangs")
    assert end["versions"][0]["source"] == f"crypto-anomaly:/ab/{SHA}.npz"
    assert end["tags"]["crypto_anomaly.event"] == "2"
    assert r.cursor(consumer(r, uri)) == 2


def test_twins_go(store, tmp_path):
    """What two mirrors at once can leave, or a request whose answer was lost."""
    r = Registry(f"sqlite:///{tmp_path}/registry.db")
    crown(r, new(r))
    sync_to_mlflow(r, store)
    c, before = mlflow.MlflowClient(store, store), told(store)
    one = c.get_model_version_by_alias(r.model, "champion")
    run = c.get_run(one.run_id)
    c.create_run(run.info.experiment_id, 0, run.data.tags)
    c.create_model_version(r.model, one.source, tags=one.tags)
    c.set_registered_model_alias(r.model, "champion", "2")
    sync_to_mlflow(r, store, afresh=True)
    after = told(store)
    assert (after["runs"], len(after["versions"]), after["aliases"]) == (1, 1, dict(champion=1))
    assert after["versions"][0]["tags"] == before["versions"][0]["tags"]
    assert len(after["versions"][0]["run"]["points"]) == 4


def test_a_parameter_that_was_said_otherwise_stays(store, tmp_path, monkeypatch):
    """MLflow refuses to change one, and a later release may write it differently."""
    r = Registry(f"sqlite:///{tmp_path}/registry.db")
    new(r)
    sync_to_mlflow(r, store)
    monkeypatch.setattr(
        "crypto_anomaly.lifecycle.mlflow_sync.run_params",
        lambda facts: dict(contamination="5 %", more="1"),
    )
    sync_to_mlflow(r, store, afresh=True)
    params = told(store)["versions"][0]["run"]["params"]
    assert (params["contamination"], params["more"]) == ("0.05", "1")


def test_two_registries_are_never_mixed(store, tmp_path):
    ours, other = (Registry(f"sqlite:///{tmp_path}/{n}.db") for n in ("ours", "other"))
    for r in (ours, other):
        new(r)
    sync_to_mlflow(ours, store, afresh=True)
    before = told(store)
    for afresh in (False, True):
        with pytest.raises(MlflowSyncError, match="not of this registry"):
            sync_to_mlflow(other, store, afresh=afresh)
    assert told(store) == before
    assert other.cursor(consumer(other, store)) == 0


def test_an_mlflow_that_has_forgotten_is_told_again(store, empty, tmp_path):
    r = Registry(f"sqlite:///{tmp_path}/registry.db")
    crown(r, new(r))
    sync_to_mlflow(r, store)
    mlflow.MlflowClient(store, store).delete_registered_model(r.model)
    new(r)
    assert sync_to_mlflow(r, store)["versions"] == [1, 2]
    end = told(store)
    assert end["aliases"] == dict(champion=1)
    assert end["runs"] == 2  # the run was still there
