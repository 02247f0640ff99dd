"""History that cannot be made to lie, races of decisions, and a store that is lost or moved."""

import asyncio
import hashlib
import importlib
import json

import pytest
import sqlalchemy as sa
from conftest import ROOT, Cli
from test_live_rows import a_trade

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.lifecycle.database_copy import CopyError, copy_databases
from crypto_anomaly.registry.chain import event_hash
from crypto_anomaly.registry.errors import RegistryUnavailableError
from crypto_anomaly.registry.registry import Registry, open_registry
from crypto_anomaly.registry.tables import event_t
from crypto_anomaly.registry.verify import verify
from crypto_anomaly.trades.feed import follow
from crypto_anomaly.trades.messages import FeedMessage, TradesUnavailableError
from crypto_anomaly.trades.stream import Stream

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
    r.challenge(5, by="a")
    r.promote(1, by="a", alias="production")
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


def test_raw_sql_is_refused(lived, record_property):
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
    record_property("attempts", len(RAW))
    assert taken == []
    assert lived.events() == before
    assert verify(lived).problems == []


LATER = "2999-01-01T00:00:00.000000Z"
OLDER = "an event is not older than the last one"
NUMBER = "the number of an event is the next one"
REPLACED = "the champion before is retired first"
DECISION = "a decision needs an open request, a name and a reason"
FORGED = {  # event with a right hash -> the words of the rule that refuses it
    "an event of the past": (dict(at="2020-01-01T00:00:00.000000Z"), OLDER),
    "an event without a time": (dict(at=""), OLDER),
    "a time with blanks": (dict(at="2999-01-01 00:00:00.000000Z"), OLDER),
    "a time of whole seconds": (dict(at="2999-01-01T00:00:00Z"), OLDER),
    "a time without its zone": (dict(at="2999-01-01T00:00:00.000000"), OLDER),
    "a number of the past": (dict(id=-5, at=LATER), NUMBER),
    "number 0": (dict(id=0, at=LATER), NUMBER),
    "a far number": (dict(id=10**9, at=LATER), NUMBER),
    "a promotion of an evaluated version": (
        dict(after=dict(replaced_by=6), kind="model_promoted", version=6),
        "a promotion needs an unused approval against the champion of now",
    ),
    "a promotion without retiring": (
        dict(kind="model_promoted", payload=dict(approval_id=3)),
        REPLACED,
    ),
    "a rollback without retiring": (dict(kind="model_rolled_back", version=1), REPLACED),
    "a rollback to a version that was no champion": (
        dict(after=dict(replaced_by=6), kind="model_rolled_back", version=6),
        "only a former champion comes back",
    ),
    "a trial of a candidate": (
        dict(kind="model_challenged", version=7),
        "only an evaluated version is tried",
    ),
    "the end of no trial": (
        dict(kind="trial_ended", version=6),
        "this version is not on trial",
    ),
    "a request that is not stored": (
        dict(kind="approval_requested", version=6, payload=dict(approval_id=99)),
        "there is no such request",
    ),
    "a champion that nobody replaces": (
        dict(kind="model_retired", version=2),
        "the champion is retired by a successor only, another version once",
    ),
    "a decision on nothing": (
        dict(kind="model_approved", version=6, payload=dict(reason="x")),
        DECISION,
    ),
    "a decision by a blank": (
        dict(kind="model_approved", version=4, actor=" ", payload=dict(approval_id=4, reason="x")),
        DECISION,
    ),
    "an evaluation that is not stored": (
        dict(kind="evaluation_passed", version=7, payload=dict(evaluation_id=99)),
        "this evaluation is not stored",
    ),
    "an alias like a status": (
        dict(kind="alias_moved", version=6, payload=dict(alias="champion")),
        "an alias needs a version, and a name that is not a status or a number",
    ),
    "a second training": (
        dict(kind="training_finished", version=6),
        "training ends once, with a new version",
    ),
    "a trial beside another": (dict(kind="model_challenged", version=6), "unique"),
}


def chained(c, facts):
    """The INSERT of an event by somebody who computes its hash."""
    last = c.execute(sa.select(event_t.c.at, event_t.c.hash).order_by(event_t.c.id.desc())).first()
    row = dict(at=last.at, kind="x", model=MODEL, version=3, actor="eve", payload={}) | facts
    hashes = dict(previous_hash=last.hash, hash=event_hash(last.hash, row))
    return sa.insert(event_t).values(**row, **hashes)


@pytest.mark.parametrize("what", FORGED)
def test_a_chained_event_must_be_true_as_well(lived, what):
    forged, words = FORGED[what]
    facts = {name: value for name, value in forged.items() if name != "after"}
    with lived.engine.connect().execution_options(write=True) as c:
        if "after" in forged:  # the champion is retired
            c.execute(chained(c, dict(kind="model_retired", version=2, payload=forged["after"])))
        with pytest.raises(sa.exc.DBAPIError) as refusal:
            c.execute(chained(c, facts))
    assert words in str(refusal.value.orig).lower()


def test_a_chained_event_that_is_true_is_taken(lived):
    """The control of the test above: what it adds to an event is what is refused."""
    with lived.transaction() as c:
        c.execute(chained(c, dict(at=LATER)))
    assert lived.events(limit=1)[0]["at"] == LATER


def edited(ws, payload):  # SQL
    """A registry of three events; somebody has edited the second one past its rules."""
    r = open_registry(ws)
    for n in range(3):
        r.publish("drift_detected", features=[n])
    with r.transaction() as c:
        c.exec_driver_sql("DROP TRIGGER event_is_append_only_u")
        c.exec_driver_sql(f"UPDATE event SET payload = {payload} WHERE id = 2")
    return r


@pytest.mark.parametrize(
    "payload",
    ["'{}'", "'null'", "'[]'", "'no JSON'", "''", "x'ff'", "CAST(x'ff' AS TEXT)", "'[1e999]'"],
)
def test_an_edited_event_is_named(tmp_path, payload):
    ws = claim(open_workspace(Settings(home=tmp_path, source="simulated")), "simulated")
    edited(ws, payload).engine.dispose()
    found = Cli(tmp_path, source="simulated")("verify", ok=False)
    assert found.returncode == 1
    assert "wrong: event 2 (" in found.stderr or "an event after 1 others" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize(
    "payload", [{}, None, [1], dict(approval_id=[1], alias={}, evaluation_id=1)]
)
def test_a_log_that_was_written_anew_is_compared_with_the_tables(tmp_path, payload):
    """Who computes every hash again has a whole chain, but its events lack what they decided."""
    r = Registry(f"sqlite:///{tmp_path}/registry.db")
    r.record_evaluation(r.register(sha(1), dict(data_source="training_dataset:v1")), **EVIDENCE)
    r.request_approval(1, by="ada")
    r.approve(1, by="bob", reason="gates pass")
    r.promote(1, by="bob")
    r.promote(1, by="a", alias="production")
    with r.transaction() as c:
        c.exec_driver_sql("DROP TRIGGER event_is_append_only_u")
        last = ""
        for row in c.execute(sa.select(event_t).order_by(event_t.c.id)).all():
            new = dict(row._mapping, payload=payload, previous_hash=last)
            new["hash"] = last = event_hash(last, new)
            new["payload"] = sa.JSON.NULL if payload is None else payload
            c.execute(sa.update(event_t).where(event_t.c.id == row.id).values(**new))
    found = verify(r).problems
    assert any("approval 1 of anomaly_detector v1 was never requested" in p for p in found)
    assert any("the alias production" in p for p in found)


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
    assert there.rollback(by="a", reason="it goes on", from_version=2)["version"] == 1
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


def registry_of(ws):
    """A registry in use: its engine, and what must be refused."""
    r = open_registry(ws)
    r.register(sha(1), dict(data_source="training_dataset:v1"))
    assert r.problem() is None
    return r.engine, [lambda: r.publish("drift_detected"), r.champion]


def trades_of(ws):
    """A store that is streamed into: its engine, and what must be refused."""
    stream = Stream(ws, ["BTC-USD"], rest_url="")
    stream.process([FeedMessage([a_trade(1)], first=True)])
    changes = [
        lambda: stream.process([FeedMessage([a_trade(2)])]),
        lambda: stream.process([FeedMessage([a_trade(3)])]),  # trade 2 is waiting
        lambda: stream.store.last_id("BTC-USD"),
        lambda: stream.store.open_gap("BTC-USD", 1, 2, "test", 0),
    ]
    return stream.store.engine, changes


@pytest.mark.parametrize("harm", [lost, emptied, damaged])
@pytest.mark.parametrize(
    ("name", "used", "error"),
    [
        ("registry.db", registry_of, RegistryUnavailableError),
        ("trades.db", trades_of, TradesUnavailableError),
    ],
)
def test_a_broken_file_is_neither_read_nor_replaced(tmp_path, harm, name, used, error):
    ws = claim(open_workspace(Settings(home=tmp_path, source="simulated")), "simulated")
    engine, changes = used(ws)
    path = ws.root / name
    (ws.root / "runs/20260101T000000-train-1a2b").mkdir(parents=True)
    harm(path)
    for change in changes:
        with pytest.raises(error, match=f"does not answer: .*{name}"):
            change()
    if used is registry_of:
        assert Cli(tmp_path, source="simulated").error("versions").startswith("error: ")
    assert path.exists() != (harm is lost)
    engine.dispose()


def test_trades_whose_file_was_moved_away_are_kept(tmp_path, caplog):
    """The stream says why, its trades wait, and all are stored when the file is back."""
    ws = claim(open_workspace(Settings(home=tmp_path, source="simulated")), "simulated")
    stream, path, away = Stream(ws, ["BTC-USD"], rest_url=""), ws.root / "trades.db", tmp_path / "a"
    stream.process([FeedMessage([a_trade(1)], first=True)])
    path.rename(away)
    with pytest.raises(TradesUnavailableError):
        stream.process([FeedMessage([a_trade(2)])])
    stop = asyncio.Event()

    async def some_seconds():
        asyncio.get_running_loop().call_later(1, stop.set)
        await follow(stream, "ws://127.0.0.1:9", stop)

    asyncio.run(some_seconds())
    assert f"the store of trades does not answer: {path} is gone" in caplog.text
    away.rename(path)
    stream.process([FeedMessage([a_trade(3)])])
    assert stream.store.read("BTC-USD").trade_id.to_list() == [1, 2, 3]
    stream.store.engine.dispose()


@pytest.mark.parametrize("harm", [lost, emptied, damaged])
def test_an_app_whose_trades_are_broken_says_so(tmp_path, harm):
    from starlette.testclient import TestClient

    from crypto_anomaly.serving.app import create_app

    named = Settings(home=tmp_path, source="simulated", workspace="w")
    ws = claim(open_workspace(named), "simulated")
    Stream(ws, ["BTC-USD"], rest_url="").process([FeedMessage([a_trade(1)], first=True)])
    address = dict(base_url="http://127.0.0.1", client=("127.0.0.1", 50000))
    with TestClient(create_app(ws.settings), **address) as client:
        assert client.get("/score").status_code == 200
        harm(ws.root / "trades.db")
        for page in ("/score", "/demo/data", "/healthz"):
            answer = client.get(page)
            assert answer.status_code == 503
            assert "the store of trades does not answer" in answer.text


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
