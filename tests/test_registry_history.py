"""History that cannot be made to lie, races of decisions, and a store that is lost or moved."""

import contextlib
import hashlib
import importlib
import json

import pytest
import sqlalchemy as sa
from conftest import ROOT, Cli

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.lifecycle.database_copy import CopyError, copy_databases
from crypto_anomaly.registry.chain import event_hash
from crypto_anomaly.registry.errors import RegistryUnavailableError
from crypto_anomaly.registry.registry import Registry, open_registry
from crypto_anomaly.registry.verify import verify

EVIDENCE = dict(passed=True, gates=[], metrics={}, dataset="eval_holdout:v1")
MODEL = "anomaly_detector"


def sha(n):
    return hashlib.sha256(str(n).encode()).hexdigest()


@pytest.fixture
def lived(db_url):
    """v1 was champion, v2 is, v3 is approved, v4 asked for, v5 on trial, v6 evaluated, v7 new."""
    r = Registry(db_url)
    for n in range(1, 7):
        r.record_evaluation(r.register(sha(n), dict(data_source="training_dataset:v1")), **EVIDENCE)
    for n in (1, 2):
        r.request_approval(n, by="ada")
        r.approve(n, by="bob", reason="gates pass")
        r.promote(n, by="bob")
    r.request_approval(3, by="ada")
    r.approve(3, by="bob", reason="gates pass")
    r.request_approval(4, by="ada")
    r.challenge(5)
    r.promote(1, alias="production")
    r.register(sha(7), dict(data_source="training_dataset:v1"))
    yield r
    r.engine.dispose()


def event(kind, version=3, payload="{}", at="2030-01-01T00:00:00.000000Z", actor="eve", id_=None):
    """An INSERT of an event as somebody types it who knows the columns."""
    number, columns = ("", "") if id_ is None else (f"{id_}, ", "id, ")
    return (
        f"INSERT INTO event ({columns}at, kind, model, version, actor, payload) VALUES "
        f"({number}'{at}', '{kind}', '{MODEL}', {version}, '{actor}', '{payload}')"
    )


def status(version, to):
    return f"UPDATE model_version SET status = '{to}' WHERE version = {version}"


def evaluation(version, artifact, passed="TRUE"):
    return (
        "INSERT INTO evaluation (version_id, artifact_sha256, passed, dataset, dataset_hash, "
        f"gates, metrics, run_id, created_at) VALUES ({version}, '{artifact}', {passed}, 'd', '', "
        "'[]', '{}', '', '')"
    )


def decide(version, decision, by="eve", reason="because"):
    return (
        f"UPDATE approval SET decision = '{decision}', decided_by = '{by}', reason = '{reason}' "
        f"WHERE version_id = {version}"
    )


def alias(name, version=6):
    return f"INSERT INTO alias VALUES ('{MODEL}', '{name}', {version}, '2026')"


PROMOTED = '{"approval_id": 3}'
RAW = {
    "an event of the past": event("model_promoted", at="2020-01-01T00:00:00.000000Z"),
    "an event of the past of another kind": event("x", at="2020-01-01T00:00:00.000000Z"),
    "an event with a number of the past": event("x", id_=-5),
    "an event with number 0": event("x", id_=0),
    "an event with a far number": event("x", id_=10**9),
    "an event without a time": event("x", at=""),
    "an event with another form of time": event("x", at="01/02/2030"),
    "an event without a hash": event("drift_detected"),
    "a promotion of a candidate": event("model_promoted", 7),
    "a promotion of an evaluated version": event("model_promoted", 6),
    "a promotion of an approved version": event("model_promoted", 3, PROMOTED),
    "a promotion of the champion": event("model_promoted", 2, '{"approval_id": 2}'),
    "a promotion of a former champion": event("model_promoted", 1, '{"approval_id": 1}'),
    "a promotion of nobody": event("model_promoted", 99),
    "a rollback": event("model_rolled_back", 1),
    "the retirement of the champion": event("model_retired", 2),
    "the replacement of the champion": event("model_retired", 2, '{"replaced_by": 3}'),
    "the retirement of a retired one": event("model_retired", 1),
    "an approval by event": event("model_approved", 4, '{"approval_id": 4, "reason": "x"}'),
    "an approval by nobody": event("model_approved", 4, '{"approval_id": 4}', actor=" "),
    "a trial by event": event("model_challenged", 6),
    "an evaluation by event": event("evaluation_passed", 7, '{"evaluation_id": 1}'),
    "an alias by event": event("alias_moved", 6, '{"alias": "production"}'),
    "the champion retired": status(2, "retired"),
    "the former champion crowned": status(1, "champion"),
    "retired and crowned": f"{status(2, 'retired')}; {status(1, 'champion')}",
    "retired and the approved crowned": f"{status(2, 'retired')}; {status(3, 'champion')}",
    "a candidate retired": status(7, "retired"),
    "a candidate evaluated": status(7, "evaluated"),
    "an evaluated version tried": f"{status(5, 'evaluated')}; {status(6, 'challenger')}",
    "a trial ended": status(5, "evaluated"),
    "an evaluation of another artifact": evaluation(7, "cd" * 32),
    "evidence that nobody measured": (
        f"{evaluation(6, sha(6))}; INSERT INTO approval (version_id, evaluation_id, requested_by, "
        "requested_at, notes) SELECT version_id, MAX(id), 'eve', '2030', '' FROM evaluation "
        "WHERE version_id = 6 GROUP BY version_id"
    ),
    "an evaluation of no version": evaluation(99, "cd" * 32),
    "a decision by a blank": decide(4, "approved", by=" "),
    "a decision by a tab": decide(4, "approved", by="\t"),
    "a decision by a no-break space": decide(4, "approved", by="\u00a0"),
    "a decision for no reason": decide(4, "approved", reason="  "),
    "a decision without an event": decide(4, "approved"),
    "a rejection without an event": decide(4, "rejected"),
    "a request that is not stale": "UPDATE approval SET decision = 'stale' WHERE version_id = 4",
    "an approval used up": "UPDATE approval SET used_at = '2030' WHERE version_id = 3",
    "a request by nobody": (
        "INSERT INTO approval (version_id, evaluation_id, requested_by, requested_at, notes) "
        "SELECT version_id, id, ' ', '2030', '' FROM evaluation WHERE version_id = 6"
    ),
    **{
        f"an alias named {name!r}": alias(name)
        for name in ("champion", "challenger", "candidate", "retired", "latest", "latest-1", "v3")
    },
    "an alias named like a number": alias("3"),
    "an alias without a name": alias(" "),
    "an alias without an event": alias("staging"),
    "an alias moved": "UPDATE alias SET version_id = 6",
    "an alias deleted": "DELETE FROM alias",
    "an alias replaced": f"REPLACE INTO alias VALUES ('{MODEL}', 'production', 6, '2030')",
    "aliases emptied": "TRUNCATE alias",
    "a model deleted": "DELETE FROM model",
    "a model renamed": "UPDATE model SET name = 'other'",
    "a model of another workspace": "UPDATE model SET workspace = 'other'",
    "a model replaced": f"REPLACE INTO model VALUES ('{MODEL}', 'other', '', '')",
    "a hash rewritten": "UPDATE event SET hash = previous_hash WHERE id = 3",
}


def refused(c, sql):
    """Whether the database refuses one of the statements."""
    try:
        for statement in sql.split("; "):
            c.exec_driver_sql(statement)
    except sa.exc.DBAPIError as e:
        return type(e).__name__
    return None


def test_raw_sql_is_refused(lived):
    lite = lived.engine.dialect.name == "sqlite"
    unknown = "TRUNCATE" if lite else "REPLACE"
    before, taken = lived.events(), []
    assert len(RAW) >= 55
    for what, sql in RAW.items():
        if sql.startswith(unknown):
            continue
        with lived.engine.connect().execution_options(write=True) as c, c.begin() as work:
            if refused(c, sql) is None:
                taken.append(what)
            work.rollback()
    assert taken == []
    assert lived.events() == before
    assert verify(lived).problems == []


FORGED = {
    "a promotion of an evaluated version": dict(kind="model_promoted", version=6, payload={}),
    "a promotion without retiring": dict(
        kind="model_promoted", version=3, payload=dict(approval_id=3)
    ),
    "a rollback without retiring": dict(kind="model_rolled_back", version=1, payload={}),
    "a champion that nobody replaces": dict(kind="model_retired", version=2, payload={}),
    "a decision on nothing": dict(kind="model_approved", version=6, payload=dict(reason="x")),
    "a decision by a blank": dict(
        kind="model_approved", version=4, actor=" ", payload=dict(approval_id=4, reason="x")
    ),
    "an evaluation that is not stored": dict(
        kind="evaluation_passed", version=7, payload=dict(evaluation_id=99)
    ),
    "an alias like a status": dict(kind="alias_moved", version=6, payload=dict(alias="champion")),
    "a second training": dict(kind="training_finished", version=6, payload={}),
    "a trial beside another": dict(kind="model_challenged", version=6, payload={}),
}


def chained(c, facts):
    """The INSERT of an event by somebody who computes its hash."""
    last = c.exec_driver_sql("SELECT at, hash FROM event ORDER BY id DESC LIMIT 1").one()
    row = dict(at=last.at, model=MODEL, actor="eve") | facts
    text = json.dumps(row["payload"])
    values = dict(row, payload=text, previous=last.hash, hash=event_hash(last.hash, row))
    return sa.text(
        "INSERT INTO event (at, kind, model, version, actor, payload, previous_hash, hash) "
        "VALUES (:at, :kind, :model, :version, :actor, :payload, :previous, :hash)"
    ).bindparams(**values)


def test_a_chained_event_must_be_true_as_well(lived):
    taken = []
    for what, facts in FORGED.items():
        with lived.engine.connect().execution_options(write=True) as c, c.begin() as work:
            with contextlib.suppress(sa.exc.DBAPIError):
                c.execute(chained(c, facts))
                taken.append(what)
            work.rollback()
    assert taken == []


def test_two_processes_decide_at_once(db_url, monkeypatch):
    """The short form of `make attack`: every pair of verbs once."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    attack = importlib.import_module("attack_registry")
    assert attack.attack(db_url, 1) == []


def test_a_copy_of_postgresql_and_back_is_the_same(tmp_path, postgres):
    ws = claim(open_workspace(Settings(home=tmp_path, source="simulated")), "simulated")
    r = open_registry(ws)
    for n in (1, 2):
        r.record_evaluation(
            r.register(sha(n), dict(data_source="training_dataset:v1", share=0.1 + 0.2)),
            **EVIDENCE,
        )
        r.request_approval(n, by="ada", notes="naïve – 价格")
        r.approve(n, by="bob", reason="gates pass")
        r.promote(n, by="bob")
    name = "copied"
    admin = sa.create_engine(f"{postgres}/postgres", isolation_level="AUTOCOMMIT")
    with admin.connect() as c:
        c.execute(sa.text(f"CREATE DATABASE {name}"))
    admin.dispose()
    copy_databases(ws, f"{postgres}/{name}")
    there = Registry(f"{postgres}/{name}", workspace=ws.name)
    assert there.events() == r.events()
    assert verify(there).problems == []
    assert there.rollback(reason="it goes on", from_version=2)["version"] == 1
    with pytest.raises(CopyError, match="holds a registry already"):
        copy_databases(ws, f"{postgres}/{name}")

    moved = ws.settings.model_copy(update=dict(db_url=f"{postgres}/{name}"))
    copy_databases(open_workspace(moved), f"sqlite:///{tmp_path}/back.db")
    back = Registry(f"sqlite:///{tmp_path}/back.db", workspace=ws.name)
    assert back.events() == there.events()
    assert verify(back).problems == []
    assert back.publish("drift_detected") > there.events(limit=1)[0]["id"]
    for one in (there, back):
        one.engine.dispose()


def test_an_empty_server_beside_a_file_is_said(tmp_path, postgres):
    cli = Cli(tmp_path, source="simulated", workspace="w")
    ws = claim(
        open_workspace(Settings(home=tmp_path, source="simulated", workspace="w")), "simulated"
    )
    open_registry(ws).publish("drift_detected")
    name = "empty_one"
    admin = sa.create_engine(f"{postgres}/postgres", isolation_level="AUTOCOMMIT")
    with admin.connect() as c:
        c.execute(sa.text(f"CREATE DATABASE {name}"))
    admin.dispose()
    said = cli.error("versions", db_url=f"{postgres}/{name}")
    assert "is an empty database" in said
    assert "crypto-anomaly copy --to" in said
    cli("copy", "--to", f"{postgres}/{name}")
    assert "drift_detected" in cli("events", db_url=f"{postgres}/{name}").stdout


@pytest.mark.parametrize("url", ["postgresql://u:secret@h:54x/db", "rediz://u:secret@h", "nothing"])
def test_a_wrong_address_is_one_line(tmp_path, url):
    cli = Cli(tmp_path, source="simulated", workspace="w")
    claim(open_workspace(Settings(home=tmp_path, source="simulated", workspace="w")), "simulated")
    said = cli.error("versions", db_url=url)
    assert "use an SQLAlchemy URL" in said
    assert "secret" not in said


def lost(path):
    path.unlink()


def emptied(path):
    path.write_bytes(b"")


def damaged(path):
    path.write_bytes(b"no database" * 1000)


@pytest.mark.parametrize("harm", [lost, emptied, damaged])
def test_a_broken_file_is_neither_read_nor_replaced(tmp_path, harm):
    ws = claim(open_workspace(Settings(home=tmp_path, source="simulated")), "simulated")
    r = open_registry(ws)
    r.register(sha(1), dict(data_source="training_dataset:v1"))
    path = ws.root / "registry.db"
    (ws.root / "runs/20260101T000000-train-1a2b").mkdir(parents=True)
    harm(path)
    assert r.problem()
    for change in (lambda: r.publish("drift_detected"), lambda: r.champion()):
        with pytest.raises(RegistryUnavailableError):
            change()
    assert Cli(tmp_path, source="simulated").error("versions").startswith("error: ")
    assert path.exists() != (harm is lost)
    r.engine.dispose()


def test_a_backup_of_a_running_workspace_serves_the_same(home, tmp_path):
    home("approve", "v1", "--by", "ada", "--reason", "gates pass")
    home("promote", "v1")
    answers = {what: home.json(what) for what in ("versions", "events", "scan", "runs")}
    writer = home.start("schedule")
    try:
        home("backup", str(tmp_path / "saved"))
    finally:
        writer.terminate()
        writer.wait(60)
    other = Cli(tmp_path / "elsewhere")
    other.home.mkdir()
    other("restore", str(tmp_path / "saved"))
    for what, answer in answers.items():
        if what == "runs":
            continue  # the scheduler may have begun one
        assert other.json(what)[-len(answer) :] == answer if what == "events" else True
    assert other.json("versions") == answers["versions"]
    assert other.json("scan") == answers["scan"]
    assert json.loads(other("verify", "--json").stdout)["ok"]
