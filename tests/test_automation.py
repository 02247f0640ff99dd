"""Automation: two schedulers, deaths at any point, an approval that promotes, resuming, a drill."""

import json
import multiprocessing
import os
import random
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT, Cli, stop, until

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.lifecycle.runner import run_stage
from crypto_anomaly.lifecycle.scheduler import run_slot, skip_slots
from crypto_anomaly.lifecycle.triggers import dispatch
from crypto_anomaly.registry.registry import Registry, open_registry

spawn = multiprocessing.get_context("spawn")


def workspace(home, db_url=None):
    return claim(
        open_workspace(Settings(home=home, source="simulated", db_url=db_url)), "simulated"
    )


def one_scheduler(home, db_url, barrier, out):
    """An hour of slots and of events, as fast as it goes; what it starts is written down."""
    ws = workspace(home, db_url)
    barrier.wait(240)
    started = []

    def child(ws_, *args):
        key, stage = args[-1], args[1] if args[0] == "run" else args[2]
        if open_registry(ws_).claim(stage, key, f"pid {os.getpid()}", lease=60):
            started.append(f"{stage} {key}")
            open_registry(ws_).release(stage, key, f"pid {os.getpid()}")
        return 0

    for minute in range(0, 60 * 24, 30):
        run_slot(
            ws, "hourly", pd.Timestamp("2026-03-01", tz="UTC") + pd.Timedelta(minutes=minute), child
        )
        dispatch(ws, child)
    out.put(started)


def test_two_schedulers_start_nothing_twice(tmp_path, db_url):
    ws = workspace(tmp_path, db_url)
    r = open_registry(ws)
    for i in range(20):
        r.publish("dataset_ready", None, "b", dataset_version=i + 1)
    barrier, out = spawn.Barrier(2), spawn.Queue()
    people = [
        spawn.Process(target=one_scheduler, args=(tmp_path, db_url, barrier, out)) for _ in range(2)
    ]
    for p in people:
        p.start()
    started = out.get(timeout=240) + out.get(timeout=240)
    for p in people:
        p.join(60)
    assert [p.exitcode for p in people] == [0, 0]
    hours, datasets = 25, 20  # 24 hours and the last of the day before; every dataset once
    assert len(started) == hours + datasets
    assert len(set(started)) == len(started)


WORKER = """
import os, sys, time
import sqlalchemy, pandas  # what every worker needs is loaded once; each is a process of its own
from crypto_anomaly.lifecycle.claims import run_once
from crypto_anomaly.registry.registry import open_registry
from crypto_anomaly.core.workspace import Settings, claim, open_workspace

def work():
    ws = claim(open_workspace(Settings(home=sys.argv[1], source="simulated")), "simulated")
    r = open_registry(ws)

    def train(key):
        def run(say):
            id_ = f"{key}-{time.time_ns()}"
            say(id_)  # first, as `run_stage` has to: see the test below
            r.start_run(id_, "train", {})
            time.sleep(0.02)  # longer moments between the writes, to be killed in
            r.register("ab" * 32, dict(algorithm="families", why=key), run_id=id_)
            time.sleep(0.02)
            r.finish_run(id_, status="succeeded")
            return id_
        return run

    print("ready", flush=True)
    for e in r.events(kind="dataset_ready", limit=1000)[::-1]:
        key = f"event:{e['id']}"
        run_once(ws, "train", key, train(key), lease=0.3)

for _ in sys.stdin:  # a line for each worker
    pid = os.fork()
    if not pid:
        work()
        os._exit(0)
    print(pid, flush=True)
    print("ended", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Workers:
    """Workers, one after the other."""

    def __init__(self, process):
        self.process = process

    def line(self):
        """What the worker says next."""
        assert select.select([self.process.stdout], [], [], 120)[0], "the worker says nothing"
        return self.process.stdout.readline().decode().split()

    def start(self):
        """Start one; its process id."""
        self.process.stdin.write(b"work\n")
        said = [self.line(), self.line()]
        assert ["ready"] in said
        return next(int(line[0]) for line in said if line != ["ready"])

    def exit_code(self):
        """The exit code of the one that was started last."""
        ended = self.line()
        assert ended[0] == "ended"
        return int(ended[1])


def test_killed_at_random_points_fifty_times(tmp_path):
    """Versions are registered for events, in processes that are killed.

    In the end each event has at most one version, and none is lost that had attempts left.
    """
    ws, rng = workspace(tmp_path), random.Random(1)
    r = open_registry(ws)
    for i in range(40):
        r.publish("dataset_ready", None, "b", dataset_version=i + 1)
    command = [sys.executable, "-c", WORKER, str(tmp_path)]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    with subprocess.Popen(command, **pipes) as process:
        workers, ends = Workers(process), []
        for _ in range(50):
            worker = workers.start()
            time.sleep(rng.uniform(0, 0.35))  # the random point at which it is killed
            with suppress(ProcessLookupError):  # nothing is left to do for it
                os.kill(worker, signal.SIGKILL)
            ends.append(workers.exit_code())
        assert ends.count(-signal.SIGKILL) >= 20 and set(ends) <= {0, -signal.SIGKILL}
        for _ in range(3):
            until(lambda: not r.claims(running=True), 60, "the leases of dead workers to run out")
            workers.start()
            assert workers.exit_code() == 0
        process.stdin.close()
    whys = [v["why"] for v in r.list_model_versions(1000)]
    assert len(whys) == len(set(whys))
    abandoned = r.claims(expired=True, limit=1000)
    spent = [t for t in r.claims(limit=1000) if t["attempts"] >= 3]
    assert len(whys) >= 40 - len(spent)
    assert all(t["attempts"] >= 3 for t in abandoned)
    running = {x["id"] for x in r.list_runs(1000) if x["status"] == "running"}
    assert running <= {t["run_id"] for t in abandoned}


def test_a_claim_names_its_run_before_the_run_is_recorded(tmp_path):
    """A process killed in between leaves no run that stays `running` for ever."""
    ws = workspace(tmp_path)

    def killed(run_id):
        raise KeyboardInterrupt(run_id)

    with pytest.raises(KeyboardInterrupt):
        run_stage(ws, "ingest", say=killed)
    assert open_registry(ws).list_runs(10) == []


def test_an_approval_promotes_while_the_scheduler_runs(home):
    """The human in the middle: `schedule` does the rest, once, although two of them run."""
    ws = open_workspace(Settings(home=home.home, workspace="simulated", source="simulated"))
    r = open_registry(ws)
    skip_slots(ws)  # nothing else is due
    clocks = [home.start("schedule") for _ in range(2)]

    def promotions():
        return r.events(kind="model_promoted")

    def looked_since():
        """A scheduler has handled every event up to the promotion."""
        return r.cursor("automation") >= promotions()[0]["id"]

    try:
        home("approve", "v1", "--by", "ada", "--reason", "gates pass")
        until(promotions, 240, "the promotion of v1")
        until(looked_since, 120, "a scheduler to look at the promotion")
    finally:
        stop(*clocks)
    said = "".join(c.said() for c in clocks)
    assert home.json("versions")[0]["status"] == "champion", said
    started = []
    dispatch(ws, lambda _, *args: started.append(args) or 0)
    assert not [args for args in started if "promote" in args]  # a third one finds nothing to do
    assert [e["payload"]["approved_by"] for e in promotions()] == ["ada"], said
    assert "Traceback" not in said, said


def test_a_chain_is_resumed(home):
    done = home.json("pipeline", "--from", "build_dataset", "--to", "evaluate")
    assert [d["stage"] for d in done] == ["build_dataset", "train", "evaluate"]
    again = home(
        "pipeline", "--from", "build_dataset", "--to", "evaluate", "--resume", done[0]["run_id"]
    )
    assert again.stderr.count("is skipped") == 3
    assert len(home.json("versions")) == 2
    assert "no run or chain" in home.error("pipeline", "--resume", "nobody")


def test_monitor_and_drill(home):
    """Two champions: a drill goes back and forth, a monitor has no objection to a fresh one."""
    home("approve", "v1", "--by", "ada", "--reason", "gates pass")
    home("promote", "v1")
    assert "drill needs a champion and an earlier one" in home.error("drill")
    home("run", "train", "-p", "contamination", "0.06")
    home("run", "evaluate")
    home("approve", "v2", "--by", "ada", "--reason", "gates pass")
    home("promote", "v2")
    m = home.json("run", "monitor")["result"]
    assert m["champion"] == 2
    assert m["passed"] is True
    assert m["metrics"]["planted_events"] > 50
    d = home.json("drill")
    assert (d["from_version"], d["to_version"], d["served_after"], d["champion"]) == (2, 1, 1, 2)
    assert Registry(f"sqlite:///{home.home}/simulated/registry.db").champion()["version"] == 2


def test_the_simulated_day():
    """Thirty hours of the week of `benchmarks/week.py`: one injected pump is one alert."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from week import week

    w = week(34, pump_at=26, silent=range(10, 12))
    assert w["ingests"] == 32
    assert w["failed_ingests"] == 2
    assert w["datasets"] == 2
    assert w["champion"]
    assert w["pump"].count("alert_opened") == 1
    assert w["pump"].count("alert_escalated") <= 1
    assert w["alerts_a_day"] < 20


def test_messages_hold_no_secret(tmp_path):
    cli = Cli(
        tmp_path / "home",
        source="simulated",
        slack_webhook_url="http://127.0.0.1:9/services/T0P/S3CRET",
        alert_webhook_secret="hunter2",
    )
    ws = workspace(tmp_path / "home")
    open_registry(ws).publish("drift_detected", None, "x", problems=["inputs have moved"])
    told = cli("alerts", "send").stderr
    assert "slack was not told" in told
    assert "S3CRET" not in told
    assert "hunter2" not in told
    assert json.loads(cli("alerts", "--json").stdout) == []
    assert Path(tmp_path / "home/simulated").exists()


def test_only_the_better_candidate_is_promoted():
    """The short form of `benchmarks/fortnight.py`: a worse, an equal and a better candidate."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from fortnight import SHORT, fortnight

    told = fortnight(SHORT)
    arrivals = {a["kind"]: a for a in told["arrivals"]}
    assert [a["passed"] for a in told["arrivals"]] == [True] * 4  # the gates alone let all pass
    assert [k for k, a in arrivals.items() if a["promoted"]] == ["first", "better"]
    assert {k: a["verdict"] for k, a in arrivals.items()} == dict(
        first=None, equal="not worse", worse="worse", better="better"
    )
    assert [arrivals[k]["compared_to"] for k in ("equal", "worse", "better")] == [1, 1, 1]
    reasons = {(e["kind"], e["version"]): e["reason"] for e in told["log"]}
    assert "there is no champion to compare with" in reasons["model_promoted", 1]
    assert "champion v1 says worse: recall gain -" in reasons["auto_approval_refused", 3]
    assert "not worse than the champion v1, and not" in reasons["auto_approval_refused", 2]
    assert "better than the champion v1, recall gain +" in reasons["model_promoted", 4]
    # what people were asked about v2 and v3 was closed when v4 became champion
    stale = "the champion is now v4, made so by auto_approve"
    assert [reasons["approval_stale", v] for v in (2, 3)] == [stale, stale]
    assert told["waiting"] == []
    asked = [text for text in told["messages"] if "asks for approval" in text]
    assert [text.split()[1] for text in asked] == ["v2", "v3"]  # not v1 and v4: they are decided
