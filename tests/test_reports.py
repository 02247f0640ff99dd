"""What the reports of the stages show, and the two stages that no other test executes."""

import json
import re
from html import unescape
from pathlib import Path

import pandas as pd
import pytest

from crypto_anomaly.core.clock import utcnow
from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.data.snapshots import write_days, write_snapshot
from crypto_anomaly.data.source import fetch_market_data
from crypto_anomaly.data.table import simulated_table
from crypto_anomaly.features.features import featurize
from crypto_anomaly.lifecycle.runner import run_stage
from crypto_anomaly.model.artifact import save_artifact
from crypto_anomaly.model.past_predictions import read_scores
from crypto_anomaly.model.prediction_log import log_predictions, read_predictions
from crypto_anomaly.model.training import train
from crypto_anomaly.registry.registry import open_registry
from crypto_anomaly.simulate.market import Market

PLOTLY = "application/vnd.plotly.v1+json"
SHOWN = {  # stage -> kinds of figures, and phrases
    "ingest": (
        {"heatmap", "bar"},
        "100 coins of; symbol name 24 h; mean std min max missing; market_cap_to_volume",
    ),
    "build_dataset": (
        {"bar"},
        "training dataset eval holdout; total_samples; snapshot_range; n_features; deduplicated; "
        "rows with gaps; log columns; max history hours 168; 7 d volatility",
    ),
    "train": (
        {"bar"},
        "model families(contamination=0.05); data training_dataset:v1; samples; features 7; "
        "anomaly rate; with the highest anomaly score",
    ),
    "evaluate": (
        {"bar"},
        "PASSED; holdout eval_holdout:v1; compared with; max_anomaly_rate; silhouette; score_gap; "
        "≤ 0.2; few rows are flagged; symbol; reason",
    ),
}


def words(page: str) -> str:
    """The text of a page."""
    shown = re.sub(r"<(style|script)\b.*?</\1>", " ", page, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", shown)).split())


def figures(notebook: str) -> list[str]:
    """The kinds of the traces of all figures of an executed notebook."""
    cells = json.loads(Path(notebook).read_text())["cells"]
    data = [o.get("data", {}) for c in cells for o in c.get("outputs", [])]
    drawn = [d[PLOTLY] for d in data if PLOTLY in d]
    return [trace["type"] for figure in drawn for trace in figure["data"]]


@pytest.mark.parametrize("stage", SHOWN)
def test_a_report_shows_what_was_promised(cycle, stage):
    run = next(r for r in cycle.json("runs") if r["stage"] == stage)
    kinds, phrases = SHOWN[stage]
    assert kinds <= set(figures(run["notebook"])), figures(run["notebook"])
    text = words(Path(run["report"]).read_text())
    assert [phrase for phrase in phrases.split("; ") if phrase not in text] == []


def test_a_histogram_of_each_base_feature_is_in_the_report_of_an_ingest(cycle):
    run = next(r for r in cycle.json("runs") if r["stage"] == "ingest")
    assert figures(run["notebook"]).count("bar") >= 6


@pytest.fixture
def predicted(tmp_path):
    """Forty coins, scored thirty hours ago: two were flagged, and one of those has halved."""
    ws = claim(open_workspace(Settings(home=tmp_path, source="simulated")), "simulated")
    then = pd.Timestamp(utcnow()).floor("h") - pd.Timedelta("30h")
    old, new = (
        fetch_market_data(ws, num_coins=40, as_of=t) for t in (then, then + pd.Timedelta("24h"))
    )
    said = old[["coin_id", "symbol", "name", "ts", "current_price", "source"]]
    facts = dict(severity=50.0, is_anomaly=[True] * 2 + [False] * 38, role="champion")
    said = said.assign(score=1.0, p_value=0.001, model_version=1, run_id="r0", **facts)
    log_predictions(ws, said)
    fallen = new.set_index("coin_id", drop=False)
    fallen.loc[list(said.coin_id[[0, 5]]), "current_price"] /= 2  # one flagged, one not
    write_snapshot(ws, fallen.reset_index(drop=True))
    open_registry(ws).register("ab" * 32, dict(algorithm="families"), run_id="r1")
    return ws


def predicted_names(ws) -> list[str]:
    """The names of the coins that were scored: two flagged, and one that halved unseen."""
    names = read_predictions(ws).set_index("coin_id").name
    return [names.iloc[i] for i in (0, 1, 5)]


def test_outcomes_are_a_report_with_matrix_shares_and_cases(predicted):
    done = run_stage(predicted, "ValidateOutcomesFlow")
    m = done["result"]["metrics"]["1"]
    assert (m["confusion"]["tp"], m["confusion"]["fn"]) == (1, 1)
    assert (m["crash_recall"]["value"], m["anomaly_precision"]["value"]) == (0.5, 0.5)
    text = words(Path(done["report"]).read_text())
    for phrase in ("flagged, crashed 1", "crashed, not flagged 1", "crash recall ✓ 0.50"):
        assert phrase in text, phrase
    cases = text.partition("Three tables")[2]  # a false alarm, a missed crash, a right flag
    named = [coin for coin in predicted_names(predicted) if coin in cases]
    assert len(named) == 3
    assert open_registry(predicted).lineage("v1")["outcomes"][0]["predictions"] == 40


def test_without_predictions_of_a_day_ago_the_stage_says_so(home):
    result = home.json("run", "validate_outcomes")["result"]
    assert result["predictions"] == 0 and len(result["message"]) > 20


def test_the_past_is_scored_by_its_stage(tmp_path):
    """Five days of ten coins, and a model of the first four: every row of the past gets a score."""
    ws = claim(open_workspace(Settings(home=tmp_path, source="simulated")), "simulated")
    hours = pd.date_range("2026-03-01", periods=24 * 5, freq="h", tz="UTC")
    table = simulated_table(Market(10), hours, coins=10)
    write_days(ws, table, "x")
    model = train(featurize(table[table.ts < hours[96]]))
    facts = dict(algorithm="families", data_source="training_dataset:v1")
    open_registry(ws).register(save_artifact(ws.artifacts_url, model), facts, run_id="r1")
    done = run_stage(ws, "score_past")
    past = int((table.ts < hours[-1]).sum())  # the newest moment belongs to the scan
    assert done["result"]["rows"] == past == len(read_scores(ws))
    assert "Score the past" in words(Path(done["report"]).read_text())
