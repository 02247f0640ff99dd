"""The lifecycle as a user sees it: one command, a decision, a champion.

On simulated and on recorded data.
"""

import json
import urllib.request
from pathlib import Path

import nbformat
from conftest import Cli, free_port, stop, wait_for

from crypto_anomaly.core.clock import iso, utcnow
from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import open_workspace
from crypto_anomaly.model.scan import scan_all

STAGES = ["backfill", "ingest", "build_dataset", "train", "evaluate", "scan"]


def get(port, path, method="GET"):
    return json.load(
        urllib.request.urlopen(
            urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method), timeout=60
        )
    )


def test_one_cycle_tells_its_story(cycle):
    assert "SIMULATED MARKET" in cycle.told
    assert "approve v1" in cycle.told
    assert [v["status"] for v in cycle.json("versions")] == ["evaluated"]
    kinds = [e["kind"] for e in cycle.json("events")][::-1]
    assert kinds == [
        "history_ready",
        "snapshot_ingested",
        "dataset_ready",
        "training_finished",
        "evaluation_passed",
        "approval_requested",
    ]
    status = cycle.json("status")
    assert status["simulated"]
    assert status["champion"] is None
    assert status["open_requests"][0]["version"] == 1
    v = cycle.json("show", "v1")
    assert v["data_source"] == "training_dataset:v1"
    assert v["evaluations"][0]["passed"]
    assert {"max_anomaly_rate", "win_rate", "beats_baseline"} < {
        g["name"] for g in v["evaluations"][0]["gates"]
    }


def test_every_stage_left_a_notebook_and_a_page(cycle):
    runs = cycle.json("runs")[::-1]
    assert [r["stage"] for r in runs] == STAGES
    assert all(r["status"] == "succeeded" for r in runs)
    for r in runs:
        nb = nbformat.read(r["notebook"], 4)
        assert all(c.execution_count for c in nb.cells if c.cell_type == "code")
        page = Path(r["report"]).read_text()
        assert "Simulated market" in page
        assert "Plotly.newPlot" in page
        assert 'src="http' not in page


def test_predictions_have_their_shape_and_their_own_time(cycle):
    import pandas as pd

    from crypto_anomaly.model.prediction_log import PREDICTION

    files = list((cycle.home / "simulated/lake/predictions").rglob("*.parquet"))
    p = pd.concat(map(pd.read_parquet, files))
    assert list(p) == PREDICTION
    assert p.ts.nunique() == 1
    assert set(p.source) == {"simulated"}
    assert p.current_price.notna().all()


def test_approve_and_promote_reach_a_running_server(home):
    port = free_port()
    server = home.start("serve", "--port", str(port))
    try:
        wait_for(f"http://127.0.0.1:{port}/health")
        before = get(port, "/model/info")
        assert before["status"] == "evaluated"
        assert "there is no champion" in before["note"]
        assert "approve v1 --by WHO" in home.error("promote", "v1")
        home("approve", "v1", "--by", "ada", "--reason", "gates pass")
        home("promote", "v1")
        assert get(port, "/model/info")["status"] == "champion"
        assert get(port, "/anomalies")["model_status"] == "champion"
        assert get(port, "/health")["champion"] == 1
        assert get(port, "/scan?num_coins=50", "POST")["coins_scanned"] == 50
        assert get(port, "/model/reload", "POST")["model_status"] == "champion"
    finally:
        stop(server)
    assert home.json("champion")["version"] == 1


def test_a_second_champion_and_a_rollback(home):
    home("approve", "v1", "--by", "ada", "--reason", "gates pass")
    home("run", "promote", "-p", "run_id", home.json("show", "v1")["training_run_id"])
    configured = ["--model-config", "conservative", "-p", "contamination", "0.05"]
    assert home.json("run", "train", *configured)["result"]["version"] == 2
    result = home.json("run", "evaluate")["result"]
    assert result["compared_to"] == 1
    assert result["passed"]
    home("challenge", "v2")
    assert home.json("show", "challenger")["version"] == 2
    scans = scan_all(open_workspace(Settings(home=home.home, source="simulated")))
    assert [s.served.role for s in scans] == ["champion", "challenger"]
    home("end-trial", "--reason", "the evidence is enough")
    data = home.json("assets", home.json("show", "v2")["data_source"])
    assert data["used_by"] == ["anomaly_detector:v1", "anomaly_detector:v2"]
    assert data["made_from"] == ["market_snapshot:v1"]
    assert home.json("assets", "evaluation_results:v2")["made_from"] == [
        "eval_holdout:v1",
        "anomaly_detector:v1",
        "anomaly_detector:v2",
    ]
    assert "has ended its trial since" in home.error(
        "approve", "v2", "--by", "bob", "--reason", "smaller"
    )
    home("request-approval", "v2")
    home("approve", "v2", "--by", "bob", "--reason", "smaller", "--even-if-worse")
    between = iso(utcnow())  # with microseconds: before the promotion, however fast that is
    home("promote", "v2")
    assert [v["status"] for v in home.json("versions")] == ["champion", "retired"]
    assert home.json("champion", "--at", between)["version"] == 1
    home("rollback", "--reason", "too many alarms")
    assert home.json("champion")["version"] == 1
    assert (
        "stays candidate"
        in home(
            "run", "evaluate", "-p", "candidate_version", "v2", "-p", "max_anomaly_rate", "0.001"
        ).stderr
    )


def test_failures_are_one_line_and_leave_their_page(home):
    assert "unknown stage 'trane'" in home.error("run", "trane")
    assert "has no parameter 'trees'" in home.error("run", "train", "-p", "trees", "5")
    assert "there is no training_dataset" in home.error("run", "train", "-p", "data_version", "v9")
    assert "unknown model config 'forrest'" in home.error(
        "run", "train", "--model-config", "forrest"
    )
    assert "there are v1 (evaluated)" in home.error("show", "v9")
    failed = home.json("runs")[0]
    assert failed["status"] == "failed"
    assert "papermill-error-cell" in Path(failed["notebook"]).read_text()
    assert Path(failed["report"]).exists()
    artifact = next((home.home / "simulated/artifacts").rglob("*.npz"))
    artifact.write_bytes(artifact.read_bytes()[:-9] + b"tampered!")
    assert "has been changed" in home.error("scan")
    snapshot = sorted((home.home / "simulated/lake/snapshots").rglob("*.parquet"))[-1]
    snapshot.write_bytes(b"PAR1")
    assert "cannot be read as Parquet" in home.error("run", "build_dataset")
    assert [v["status"] for v in home.json("versions")] == ["evaluated"]


def test_automatic_approval_runs_through_to_a_champion(home):
    r = home("pipeline", "--from", "train", auto_approve="on_pass")
    assert "approved automatically" in r.stderr
    assert home.json("champion")["version"] == 2
    assert home.json("show", "v2")["approvals"][0]["decided_by"] == "auto_approve"
    home("run", "backfill", "--num_coins", "100")  # again: nothing lost
    added = home.json("runs")[0]["result"]["rows"]
    assert added <= 2  # a coin that the poll had left out may come; no hour is stored twice


def test_a_young_lake_says_how_long_to_wait(tmp_path):
    cli = Cli(tmp_path / "home", source="simulated")
    cli("run", "ingest")
    message = cli.error("run", "build_dataset")
    assert "too little history" in message
    assert "Wait about 30 hours" in message
    assert not list(cli.home.rglob("_metadata.json"))


def test_the_same_chain_on_recorded_data(tmp_path, recordings):
    """Real snapshots, trained on what was known on the eve of the crash of 2026-02-05."""
    recording = next((recordings / "coingecko_hourly").glob("*.csv.gz"))
    cli = Cli(tmp_path / "home")
    assert cli.json("import", str(recording))["stored"] == 194_800
    cli("run", "build_dataset", "-p", "as_of", "2026-02-05", "-p", "max_history_hours", "480")
    cli("run", "train")
    evaluation = json.loads(cli("run", "evaluate", "--json").stdout)["result"]
    assert evaluation["passed"], evaluation["gates"]
    cli("approve", "v1", "--by", "ada", "--reason", "gates pass")
    cli("promote", "v1")
    calm, crash = (
        json.loads(cli("scan", "--at", t, "--json").stdout)
        for t in ("2026-02-04T12:00", "2026-02-05T23:30")
    )
    assert crash["market_move"]["24h"] < -8
    few = 0.1 * crash["coins_scanned"]  # the market fell, and few coins did more than that
    assert 0 < crash["anomalies_detected"] <= few
    assert calm["anomalies_detected"] <= few
    assert all(a["reason"] for a in crash["anomalies"])
    assert crash["source"] == "import"
    assert "shared by" in cli.error("why", "sol", "--at", "2026-01-05")
