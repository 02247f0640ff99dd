"""The past is scored in the background: a kill costs nothing, and it never counts as said then."""

import subprocess
import sys
import time

import pandas as pd
import pytest

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.data.lake import read_parts
from crypto_anomaly.data.snapshots import newest_moment, write_days
from crypto_anomaly.data.table import simulated_table
from crypto_anomaly.eval.trial import trial, trial_facts
from crypto_anomaly.features.features import featurize
from crypto_anomaly.lifecycle.outcome_steps import validate_outcomes
from crypto_anomaly.lifecycle.past_progress import read_progress
from crypto_anomaly.lifecycle.past_scoring import past_rows, score_past
from crypto_anomaly.lifecycle.past_trigger import past_is_due
from crypto_anomaly.lifecycle.subprocesses import child_env
from crypto_anomaly.model.artifact import save_artifact
from crypto_anomaly.model.fitted import Model
from crypto_anomaly.model.past_predictions import PAST, read_scores
from crypto_anomaly.model.prediction_log import read_predictions
from crypto_anomaly.model.scan import scan_all
from crypto_anomaly.model.training import train
from crypto_anomaly.registry.registry import open_registry
from crypto_anomaly.simulate.market import Market

HOURS = pd.date_range("2026-03-01", periods=24 * 12, freq="h", tz="UTC")
SLOW = """
import time
from crypto_anomaly.core.workspace import open_workspace
from crypto_anomaly.lifecycle.past_scoring import score_past

def slowly(spans):
    for span in spans:
        yield span
        time.sleep(0.3)

score_past(open_workspace(), span_days=0.5, reason_days=0, progress=slowly)
"""


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return simulated_table(Market(seed=4, events_per_day=6), HOURS, coins=25)


@pytest.fixture(scope="module")
def model(table: pd.DataFrame) -> Model:
    return train(featurize(table[table.ts < HOURS[168]]))


@pytest.fixture
def ws(tmp_path, db_url, table, model):
    settings = Settings(home=tmp_path, source="simulated", db_url=db_url)
    ws = claim(open_workspace(settings), "simulated")
    write_days(ws, table, "x")
    registry = open_registry(ws)
    registry.register(save_artifact(ws.artifacts_url, model), dict(algorithm="families"))
    return ws


def test_a_killed_job_continues_where_it_stopped(ws, table):
    scan_all(ws)
    process = subprocess.Popen([sys.executable, "-c", SLOW], env=child_env(ws))
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = read_progress(ws)
        if found and 0 < found.scored < found.hours - 24:
            break
        time.sleep(0.05)
    process.kill()
    process.wait()
    before = read_parts(ws, PAST)
    assert 0 < len(before) < len(table) - 25
    left = len(past_rows(ws).unscored)
    facts = score_past(ws, reason_days=0)
    assert facts["rows"] == left == len(table) - 25 - len(before)
    after = read_parts(ws, PAST)
    assert not after.duplicated(["coin_id", "ts"]).any()  # in the files themselves
    assert len(read_scores(ws)) == len(table)
    assert not past_is_due(ws, open_registry(ws))


def test_what_judges_a_version_by_its_words_does_not_see_the_past(ws, table):
    score_past(ws, reason_days=0)
    newest = newest_moment(ws)
    assert read_scores(ws).backfilled.all()
    assert read_predictions(ws).empty
    judged = validate_outcomes(ws, now=newest)
    assert judged["rows"].empty and judged["metrics"] == {}
    assert "no predictions" in judged["message"]
    registry = open_registry(ws)
    assert registry.list_runs(10) == []
    assert not registry.events(kind="outcomes_validated")
    registry.register(registry.resolve(1)["artifact_sha256"], dict(algorithm="families"))
    assert trial_facts(trial(ws, "v2", "v1"))["moments"] == 0
