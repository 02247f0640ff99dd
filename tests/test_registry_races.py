"""The lifecycle under processes that race and processes that die, on SQLite and on PostgreSQL."""
import multiprocessing as mp
import os
import signal
import subprocess
import sys
import time

import pytest

from crypto_anomaly.registry import Registry, RegistryError

SHA = "ab" * 32
spawn = mp.get_context("spawn")


def ready(url, n=2):
    """A registry with `n` evaluated and approved versions, v1 being champion."""
    r = Registry(url)
    for _ in range(n):
        v = r.register(SHA, dict(data_source="training_dataset:v1"))
        r.record_evaluation(v, passed=True, gates=[], metrics={}, dataset="eval_holdout:v1")
    r.request_approval("v1", by="a")
    r.approve("v1", by="b", reason="first")
    r.promote("v1")
    for v in range(2, n + 1):
        r.request_approval(v, by="a")
        r.approve(v, by="b", reason="both are fine")
    return r


def attempt(url, version, barrier, out):
    r = Registry(url)
    barrier.wait()
    try:
        out.put(("won", r.promote(version)["version"]))
    except RegistryError as e:
        out.put(("told", str(e)))


def test_two_promotes_at_once_exactly_one_wins(db_url):
    r = ready(db_url, n=3)
    for _ in range(3):
        barrier, out = spawn.Barrier(2), spawn.Queue()
        people = [spawn.Process(target=attempt, args=(db_url, v, barrier, out)) for v in (2, 3)]
        for p in people:
            p.start()
        results = sorted(out.get(timeout=60) for _ in people)
        for p in people:
            p.join()
        assert [k for k, _ in results] == ["told", "won"] and "stale: the champion is now" in results[0][1]
        assert [v["version"] for v in r.list_model_versions() if v["status"] == "champion"] == [results[1][1]]
        r.rollback(reason="again", to=1)
        for v in (2, 3):  # the next round: both approved against v1
            r.request_approval(v, by="a")
            r.approve(v, by="b", reason="again")


def open_and_register(url, barrier, out):
    barrier.wait()
    out.put(Registry(url).register(SHA, {}))


def test_first_openers_race_and_numbers_are_unique(db_url):
    barrier, out = spawn.Barrier(4), spawn.Queue()
    people = [spawn.Process(target=open_and_register, args=(db_url, barrier, out)) for _ in range(4)]
    for p in people:
        p.start()
    assert sorted(out.get(timeout=60) for _ in people) == [1, 2, 3, 4]
    for p in people:
        p.join()


# the child stops dead at its n-th SQL statement: every step of the transaction gets its turn
KILLED = """
import os, signal, sys
import sqlalchemy as sa
from crypto_anomaly.registry import Registry
r, left = Registry(sys.argv[1]), [int(sys.argv[3])]
@sa.event.listens_for(r.engine, "before_cursor_execute")
def count(*_):
    left[0] -= 1
    if left[0] == 0: os.kill(os.getpid(), signal.SIGKILL)
@sa.event.listens_for(r.engine, "commit")
def commit(_):
    left[0] -= 1
    if left[0] == 0: os.kill(os.getpid(), signal.SIGKILL)
{verb}
print("done")
"""


@pytest.mark.parametrize("verb", ["promote", "register"])
def test_kill_at_every_step_leaves_the_old_champion(db_url, verb):
    r = ready(db_url)
    before = [(v["version"], v["status"]) for v in r.list_model_versions()], len(r.events())
    code = KILLED.replace("{verb}", "r.promote('v2')" if verb == "promote" else "r.register('cd'*32, {})")
    for step in range(1, 40):
        p = subprocess.run([sys.executable, "-c", code, db_url, "-", str(step)], capture_output=True, text=True, timeout=60)
        if p.returncode == 0:
            break
        assert p.returncode == -signal.SIGKILL, p.stderr
        assert ([(v["version"], v["status"]) for v in r.list_model_versions()], len(r.events())) == before, f"killed at step {step}"
    assert step > 4 and p.stdout.strip() == "done"  # every earlier step was killed, the last one went through
    assert r.champion()["version"] == (2 if verb == "promote" else 1)


def live(url, n, out):
    """`n` whole lives of a version; being told that somebody else was faster is fine."""
    r, promoted = Registry(url), 0
    for _ in range(n):
        v = r.register(SHA, {})
        r.record_evaluation(v, passed=True, gates=[], metrics={}, dataset="d")
        try:
            r.request_approval(v, by="a")
            r.approve(v, by="b", reason="x")
            r.promote(v)
            promoted += 1
        except RegistryError as e:
            assert "stale" in str(e), e
    out.put(promoted)


def test_many_processes_live_whole_lives(db_url):
    out = spawn.Queue()
    people = [spawn.Process(target=live, args=(db_url, 5, out)) for _ in range(4)]
    for p in people:
        p.start()
    promoted = sum(out.get(timeout=120) for _ in people)
    for p in people:
        p.join()
    r = Registry(db_url)
    versions = r.list_model_versions(100)
    assert sorted(v["version"] for v in versions) == list(range(1, 21))
    assert [v["status"] for v in versions].count("champion") == 1 and promoted >= 1
    assert len(r.events(kind="model_promoted", limit=1000)) == promoted
    assert len(r.events(kind="model_retired", limit=1000)) == promoted - 1


def test_the_database_itself_refuses(db_url):
    import sqlalchemy as sa

    r = ready(db_url)
    for sql in ("UPDATE model_version SET status = 'champion' WHERE version = 2", "UPDATE model_version SET status = 'production' WHERE version = 2", "UPDATE model_version SET facts = '{}' WHERE version = 1",
                "UPDATE event SET actor = 'me'", "DELETE FROM event", "DELETE FROM model_version", "UPDATE evaluation SET passed = TRUE", "DELETE FROM approval"):
        with pytest.raises(sa.exc.IntegrityError), r.engine.connect().execution_options(write=True) as c, c.begin():
            c.execute(sa.text(sql))
    assert r.champion()["version"] == 1


def test_what_is_not_a_number_is_null(db_url):
    r = Registry(db_url)
    r.register(SHA, dict(anomaly_rate=float("nan")))
    r.record_evaluation("v1", passed=False, gates=[dict(name="silhouette", value=float("nan"))], metrics=dict(silhouette=float("nan")), dataset="d")
    assert r.lineage("v1")["evaluations"][0]["metrics"] == {"silhouette": None}


def test_one_database_serves_one_workspace(db_url):
    Registry(db_url, workspace="simulated").register(SHA, {})
    with pytest.raises(RegistryError, match="of workspace 'simulated', not of 'coingecko'"):
        Registry(db_url, workspace="coingecko")


def test_kill_while_promoting_on_the_command_line(home):
    """The verb as a user runs it, killed at random moments."""
    home("approve", "v1", "--by", "ada", "--reason", "gates pass")
    for pause in (0.2, 0.6, 1.0, 1.4):
        p = home.start("promote", "v1")
        time.sleep(pause)
        os.kill(p.pid, signal.SIGKILL)
        p.wait()
        story = home.json("show", "v1")
        used = [a["used_at"] for a in story["approvals"]]
        assert (story["status"], all(used)) in (("evaluated", False), ("champion", True))
