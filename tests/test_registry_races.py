"""The lifecycle under processes that race and processes that die, on SQLite and on PostgreSQL."""

import functools
import itertools
import multiprocessing as mp
import os
import random
import re
import shutil
import signal
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor

import pytest
import sqlalchemy as sa
from conftest import COMMAND, Cli

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.registry.errors import RegistryError
from crypto_anomaly.registry.registry import Registry
from crypto_anomaly.registry.tables import version_t

SHA = "ab" * 32
EVIDENCE = dict(passed=True, gates=[], metrics={}, dataset="eval_holdout:v1")
# Children are forked from a server that has imported everything once and has no threads.
fork = mp.get_context("forkserver")
fork.set_forkserver_preload(["pytest", "crypto_anomaly.registry.registry", "psycopg"])


def approved(r, ref):
    """Ask, and say yes."""
    r.request_approval(ref, by="a")
    r.approve(ref, by="b", reason="gates pass")


def ready(url, n=2, **kw):
    """A registry with `n` evaluated and approved versions, v1 being champion."""
    r = Registry(url, **kw)
    for _ in range(n):
        r.record_evaluation(r.register(SHA, dict(data_source="training_dataset:v1")), **EVIDENCE)
    approved(r, 1)
    r.promote(1)
    for v in range(2, n + 1):
        approved(r, v)
    return r


BECOMES = dict(
    model_challenged="challenger",
    trial_ended="evaluated",
    model_promoted="champion",
    model_rolled_back="champion",
    model_retired="retired",
)


def replay(log):
    """The statuses that the log tells, oldest event first."""
    status = {}
    for e in log:
        if e["kind"] == "training_finished":
            status[e["version"]] = "candidate"
        elif e["kind"] == "evaluation_passed" and status[e["version"]] == "candidate":
            status[e["version"]] = "evaluated"
        elif e["kind"] in BECOMES:
            status[e["version"]] = BECOMES[e["kind"]]
        assert list(status.values()).count("champion") <= 1, e
    return status


def is_sound(r):
    """Versions, approvals and log tell one story; returns the log."""
    log, versions = r.events(limit=10**6)[::-1], r.list_model_versions(10**6)
    assert [v["version"] for v in versions] == list(range(len(versions), 0, -1))
    assert replay(log) == {v["version"]: v["status"] for v in versions}
    assert [v["status"] for v in versions].count("champion") == 1
    used = [
        (a["id"], v["version"])
        for v in versions
        for a in r.lineage(v["version"])["approvals"]
        if a["used_at"] and a["decision"] == "approved"
    ]
    assert sorted(used) == sorted(
        (e["payload"]["approval_id"], e["version"]) for e in log if e["kind"] == "model_promoted"
    )
    assert [e["at"] for e in log] == sorted(e["at"] for e in log)
    return log


BARRIER = None


def hold(barrier):
    global BARRIER
    BARRIER = barrier


def at_once(n, target, *args):
    """What `target(*args, i)` returns in `n` processes that have a barrier in common."""
    with ProcessPoolExecutor(
        n, mp_context=fork, initializer=hold, initargs=(fork.Barrier(n),)
    ) as pool:
        results = [pool.submit(target, *args, i) for i in range(n)]
        try:
            return [r.result(timeout=400) for r in results]
        except TimeoutError:
            for child in mp.active_children():  # or the end of the block waits for them for ever
                child.kill()
            raise


def open_and_register(url, _):
    BARRIER.wait(120)
    return Registry(url).register(SHA, {})


def test_first_openers_race_and_numbers_are_unique(db_url):
    assert sorted(at_once(8, open_and_register, db_url)) == list(range(1, 9))


def duel(url, rounds, me):
    """Promote one's own version at the same moment as the other process, again and again."""
    r, told = Registry(url), []
    for _ in range(rounds):
        if me == 0:  # both are approved against v1
            if r.champion()["version"] != 1:
                r.rollback(by="b", reason="again", to=1)
            for v in (2, 3):
                approved(r, v)
        BARRIER.wait(120)
        try:
            told.append(f"v{r.promote(2 + me)['version']} won")
        except RegistryError as e:
            told.append(str(e))
        BARRIER.wait(120)
    return told


def test_two_promotes_at_once_exactly_one_wins(db_url):
    r = ready(db_url, n=3)
    for a, b in zip(*at_once(2, duel, db_url, 40)):
        won, lost = (a, b) if a.endswith("won") else (b, a)
        assert won in ("v2 won", "v3 won")
        assert f"is stale: the champion is now {won[:2]}, made so by b." in lost
    assert sum(e["kind"] == "model_promoted" for e in is_sound(r)) == 1 + 40


STALE = (
    r"is stale: (the champion is now v\d+, made so by b"
    r"|v\d+ has been retired since"
    r"|v\d+ has ended its trial since)\."
)
MAY_HEAR = dict(  # because another process was faster
    approve=STALE,
    promote=f"{STALE}|has no approval to use",
    rollback="there is no earlier champion",
    retire="is champion: promote another|is retired and cannot become retired",
    challenge="is on trial already|is retired and cannot become challenger",
    end_trial="there is no anomaly_detector 'challenger'|is (champion|retired), not on trial",
)


def live(url, lives, seed):
    """Whole lives of versions, and now and then something else; returns what was refused."""
    r, rng, told = Registry(url), random.Random(seed), []

    def dare(verb, *args, p=1.0, **kw):
        time.sleep(rng.random() / 200)  # lets the others in, at random moments
        try:
            if rng.random() < p:
                getattr(r, verb)(*args, **kw)
        except RegistryError as e:
            told.append((verb, str(e)))

    BARRIER.wait(120)
    for _ in range(lives):
        v = r.register(SHA, {})
        r.record_evaluation(v, **EVIDENCE)
        dare("challenge", v, by="b", p=0.3)
        dare("request_approval", v, by="a")
        dare("approve", v, by="b", reason="x")
        dare("promote", v)
        dare("rollback", by="b", reason="x", p=0.2)
        dare("retire", f"latest-{rng.randrange(3)}", by="b", reason="x", p=0.2)
        dare("end_trial", by="b", reason="x", p=0.3)
        dare("promote", v, by="b", alias="staging", p=0.2)
    return told


def test_many_processes_live_whole_lives(db_url):
    ready(db_url, n=1)
    told = [t for heard in at_once(8, live, db_url, 10) for t in heard]
    unexpected = [
        (verb, said) for verb, said in told if not re.search(MAY_HEAR.get(verb, "^$"), said)
    ]
    assert unexpected == []
    r = Registry(db_url)
    log = is_sound(r)
    assert len(r.list_model_versions(1000)) == 1 + 8 * 10
    kinds = {"model_promoted", "model_rolled_back", "model_challenged", "alias_moved"}
    assert kinds < {e["kind"] for e in log}


VERBS = dict(
    register=lambda r: r.register(SHA, dict(data_source="training_dataset:v2")),
    record_evaluation=lambda r: r.record_evaluation("v6", compared_to="champion", **EVIDENCE),
    request_approval=lambda r: r.request_approval("v5", by="a"),
    request_anew=lambda r: r.request_approval("v4", by="a"),
    approve=lambda r: r.approve("v4", by="b", reason="x"),
    reject=lambda r: r.reject("v4", by="b", reason="x"),
    challenge=lambda r: r.challenge("v3", by="b"),
    end_trial=lambda r: r.end_trial(by="b", reason="x"),
    promote=lambda r: r.promote("v3"),
    promote_challenger=lambda r: r.promote("challenger"),
    promote_alias=lambda r: r.promote("v3", by="b", alias="production"),
    rollback=lambda r: r.rollback(by="b", reason="x"),
    retire=lambda r: r.retire("v5", by="b", reason="x"),
    publish=lambda r: r.publish("drift_detected", 2, psi=0.3),
    record_data=lambda r: r.record_data(
        "dataset_ready",
        {},
        *(
            dict(name=n, facts={}, made_from=["market_snapshot:v1"])
            for n in ("training_dataset", "eval_holdout")
        ),
    ),
    claim=lambda r: r.claim("train", "event:1", "me"),
)
FIRST = dict(
    end_trial=lambda r: r.challenge("v5", by="b"),
    promote_challenger=lambda r: r.challenge("v3", by="b"),
    request_anew=lambda r: r.record_evaluation("v4", **EVIDENCE),
)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def copy(request, tmp_path_factory):
    """`copy()` is a fresh database with six versions.

    v1 was champion and is in production, v2 is champion, v3 approved, v4 asked for, v5 evaluated,
    v6 a candidate.
    """
    if request.param == "sqlite":
        folder, number = tmp_path_factory.mktemp("copies"), itertools.count()

        def copy(source=None):
            file = folder / f"{next(number)}.db"
            if source:
                shutil.copy(sa.make_url(source).database, file)
            return f"sqlite:///{file}"
    else:
        server = request.getfixturevalue("postgres")
        admin = sa.create_engine(
            f"{server}/postgres", isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
        )

        def copy(source="template1"):
            name = f"copy{time.monotonic_ns()}"
            with admin.connect() as c:
                c.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE {source.rpartition('/')[2]}"))
            return f"{server}/{name}"

    r = ready(first := copy(), 2)
    r.promote("v2")
    r.promote("v1", by="b", alias="production")
    for _ in range(3):
        r.record_evaluation(r.register(SHA, {}), **EVIDENCE)
    approved(r, "v3")
    r.request_approval("v4", by="a")
    r.register(SHA, {})
    r.engine.dispose()
    return functools.partial(copy, first)


def rows(c):
    """All that the database holds, past the hooks of SQLAlchemy."""
    cursor = c.connection.cursor()
    return {
        t: sorted(map(str, cursor.execute(f'SELECT * FROM "{t}"').fetchall()))
        for t in version_t.metadata.tables
    }


def die(url, verb, step, told):
    """Stop dead at this SQL statement or commit.

    When all are past, tell what is about to be committed, and stop at the end.
    """
    signal.alarm(120)  # one that hangs ends by SIGALRM, which its parent does not expect
    r, steps = Registry(url), itertools.count(1)

    def here(*_):
        assert not told.exists(), "something follows the commit"
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def commit(c):
        here()
        told.write_text(str(rows(c)))

    sa.event.listen(r.engine, "before_cursor_execute", here)
    sa.event.listen(r.engine, "commit", commit)
    VERBS[verb](r)
    os.kill(os.getpid(), signal.SIGKILL)


def kill_each_step(url, verb, told, _):
    """One child per step; each leaves the old state, the last one the new."""
    # the children inherit an engine that knows the database, but no connection
    Registry(url).engine.dispose()
    eye = sa.create_engine(url, poolclass=sa.NullPool)

    def state():
        with eye.connect() as c:
            return rows(c)

    before = state()
    for step in itertools.count(1):
        if not (pid := os.fork()):
            try:
                die(url, verb, step, told)
            finally:
                os._exit(1)
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        after = state()
        if told.exists():
            break
        assert after == before, f"killed at step {step}"
    assert after != before
    assert str(after) == told.read_text()
    assert [sum("'champion'" in v for v in s["model_version"]) for s in (before, after)] == [1, 1]
    return step


@pytest.mark.parametrize("verb", VERBS)
def test_kill_at_every_step_leaves_the_old_or_the_new(copy, tmp_path, verb):
    r = Registry(url := copy())
    FIRST.get(verb, Registry.champion)(r)
    r.engine.dispose()
    assert at_once(1, kill_each_step, url, verb, tmp_path / "told")[0] > 3
    assert r.publish("drift_detected")  # nobody holds a lock
    r.engine.dispose()


STOPPED = """
import os, signal
import sqlalchemy as sa
@sa.event.listens_for(sa.Engine, "commit")
def stop(c): os.kill(os.getpid(), signal.SIGKILL)
"""


def test_kill_while_promoting_on_the_command_line(tmp_path):
    """The verb as a user runs it, killed when all is written and nothing is committed."""
    ws = claim(open_workspace(Settings(home=tmp_path, source="simulated")), "simulated")
    r, cli = ready(ws.db_url, n=2), Cli(tmp_path)
    command = [*COMMAND[:2], STOPPED + COMMAND[2], "promote", "v2"]
    p = subprocess.run(command, env=cli.env, timeout=300)
    assert p.returncode == -signal.SIGKILL
    assert r.champion()["version"] == 1
    assert not r.lineage("v2")["approvals"][0]["used_at"]
    cli("promote", "v2")
    assert r.champion()["version"] == 2
    assert r.lineage("v2")["approvals"][0]["used_at"]


CROWN = (
    "UPDATE model_version SET status = 'retired' WHERE status = 'champion'; "
    "UPDATE model_version SET status = 'champion' WHERE version = "
)
REQUESTED = "version_id, evaluation_id, requested_by, requested_at, notes"
REQUEST = (
    f"INSERT INTO approval ({REQUESTED}, decision, used_at) SELECT version_id, id, '', '', '', "
)
REPLACE_VERSION = (  # with another artifact; the id is given
    "REPLACE INTO model_version SELECT {}, model, version, status, 'cd', run_id, created_at, facts "
    "FROM model_version WHERE version = 6"
)
REFUSED = [  # a second champion, a second trial
    "UPDATE model_version SET status = 'champion' WHERE version = 1",
    "INSERT INTO model_version SELECT 99, model, 99, 'champion', artifact_sha256, '', '', facts "
    "FROM model_version WHERE version = 2",
    "UPDATE model_version SET status = 'challenger' WHERE version IN (3, 4)",
    # a status that is not there, or not reached from here
    "UPDATE model_version SET status = 'production' WHERE version = 2",
    "UPDATE model_version SET status = 'evaluated' WHERE version IN (2, 6)",
    "UPDATE model_version SET status = 'evaluated' WHERE version = 6",
    "UPDATE model_version SET status = 'challenger' WHERE version = 6",
    "UPDATE model_version SET status = 'candidate' WHERE version = 5",
    # over the approval: not used, not decided, not asked for, never evaluated, or made up
    f"{CROWN} 3",
    f"{CROWN} 4",
    f"{CROWN} 5",
    f"UPDATE model_version SET status = 'retired' WHERE version = 6; {CROWN} 6",
    f"{REQUEST} 'approved', NULL FROM evaluation WHERE version_id = 5",
    f"{REQUEST} 'approved', 'now' FROM evaluation WHERE version_id = 5; {CROWN} 5",
    f"{REQUEST} NULL, NULL FROM evaluation WHERE version_id = 4",
    f"INSERT INTO approval ({REQUESTED}) VALUES (5, 1, '', '', '')",
    "UPDATE approval SET decision = 'approved', decided_by = '', reason = 'x' WHERE version_id = 4",
    "UPDATE approval SET decision = 'approved', decided_by = 'me' WHERE version_id = 4",
    "UPDATE approval SET decision = 'maybe', decided_by = 'me', reason = 'x' WHERE version_id = 4",
    # an approval used again, or for something else
    "UPDATE approval SET used_at = NULL WHERE version_id = 1",
    "UPDATE approval SET used_at = 'now' WHERE version_id = 1",
    "UPDATE approval SET decision = NULL WHERE version_id = 1",
    "UPDATE approval SET decided_by = 'me' WHERE version_id = 1",
    "UPDATE approval SET version_id = 5 WHERE version_id = 1",
    "UPDATE approval SET version_id = 5 WHERE version_id = 3",
    "UPDATE approval SET evaluation_id = 1 WHERE version_id = 3",
    "UPDATE approval SET decision = 'rejected' WHERE version_id = 3",
    # another past
    *(
        f"UPDATE model_version SET {change} WHERE version = 5"
        for change in (
            "facts = '[]'",
            "version = 9",
            "id = 99",
            "artifact_sha256 = 'cd'",
            "run_id = 'x'",
            "created_at = '2020'",
            "model = 'other'",
        )
    ),
    *(
        f"UPDATE event SET {column} = '2020' WHERE id = 1"
        for column in ("at", "kind", "actor", "model")
    ),
    "UPDATE evaluation SET passed = TRUE",
    "UPDATE evaluation SET dataset = 'x'",
    "UPDATE asset SET run_id = 'x'",
    "UPDATE link SET made_from = 'x'",
    *(
        f"DELETE FROM {table}"
        for table in ("event", "evaluation", "approval", "model_version", "asset", "link", "model")
    ),
    "DELETE FROM model_version WHERE version = 6",
    # what OR and NULL make true: a decision is undone, an open request is used
    "UPDATE approval SET decision = NULL WHERE version_id = 3",
    f"UPDATE approval SET used_at = 'now' WHERE version_id = 4; {CROWN} 4",
    # a request, and who decided why, can be rewritten
    *(
        f"UPDATE approval SET {change} WHERE version_id = {v}"
        for v in (3, 4)
        for change in ("champion_id = 1", "champion_id = NULL", "requested_by = 'me'")
    ),
    *(
        f"UPDATE approval SET {column} = 'me' WHERE version_id = 3"
        for column in ("decided_by", "decided_at", "reason")
    ),
    "UPDATE approval SET version_id = 5 WHERE version_id = 4",
    "UPDATE approval SET evaluation_id = 1 WHERE version_id = 4",
    # PostgreSQL: TRUNCATE fires no trigger of a row
    *(
        f"TRUNCATE {table} CASCADE"
        for table in ("event", "evaluation", "approval", "model_version", "asset")
    ),
    # SQLite: REPLACE deletes without a trigger
    "REPLACE INTO event SELECT id, at, 'x', model, version, actor, payload, previous_hash, hash "
    "FROM event",
    "REPLACE INTO evaluation SELECT id, version_id, artifact_sha256, FALSE, dataset, dataset_hash, "
    "compared_to, gates, metrics, run_id, created_at FROM evaluation WHERE version_id = 5",
    f"REPLACE INTO approval (id, {REQUESTED}) "
    "SELECT id, version_id, evaluation_id, '', '', '' FROM approval",
    REPLACE_VERSION.format("id"),
    REPLACE_VERSION.format("99"),
]


def let_through(url, statements):
    engine, missed = Registry(url).engine, []
    for sql in statements:
        if sql.startswith("TRUNCATE" if engine.dialect.name == "sqlite" else "REPLACE"):
            continue  # unknown there
        with engine.connect().execution_options(write=True) as c:
            try:
                for s in sql.split(";"):
                    assert c.execute(sa.text(s)).rowcount, f"{s} changes nothing"
                missed.append(sql)
            except sa.exc.IntegrityError:
                pass
    engine.dispose()
    return missed


def test_the_database_itself_refuses(copy):
    assert let_through(copy(), REFUSED) == []


def test_what_is_not_a_number_is_null(db_url):
    r = Registry(db_url)
    r.register(SHA, dict(anomaly_rate=float("nan")))
    r.record_evaluation(
        "v1",
        passed=False,
        gates=[dict(name="silhouette", value=float("nan"))],
        metrics=dict(silhouette=float("nan")),
        dataset="d",
    )
    assert r.lineage("v1")["evaluations"][0]["metrics"] == {"silhouette": None}


def test_one_database_serves_one_workspace(db_url):
    Registry(db_url, workspace="simulated").register(SHA, {})
    with pytest.raises(RegistryError, match="of workspace 'simulated', not of 'coingecko'"):
        Registry(db_url, workspace="coingecko")


@pytest.mark.parametrize(
    "moved",
    [
        lambda r: r.retire("v2", by="b", reason="it leaks"),
        lambda r: (r.challenge("v2", by="b"), r.end_trial("v2", by="b", reason="it lost")),
    ],
    ids=["retired", "tried and dropped"],
)
def test_an_approval_is_stale_when_its_version_moved(tmp_path, moved):
    moved(r := ready(f"sqlite:///{tmp_path}/r.db"))
    with pytest.raises(RegistryError, match="is stale"):
        r.promote("v2")
