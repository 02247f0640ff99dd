"""The endpoints of the CoinGecko reference answer with the fields that its clients read."""

import re
from html import unescape
from itertools import product

import pandas as pd
import pytest
from conftest import copy_home
from starlette.testclient import TestClient

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import open_workspace
from crypto_anomaly.lifecycle.ingest_steps import ingest
from crypto_anomaly.lifecycle.stages import stages
from crypto_anomaly.serving.app import create_app
from crypto_anomaly.simulate.market import Market
from crypto_anomaly.simulate.market_server import serve_market

HERE = dict(base_url="http://127.0.0.1", client=("127.0.0.1", 50000))
ASSET = "/models/assets/anomaly_detector"
COIN = "coin_id symbol name current_price price_change_1h price_change_24h price_change_7d"
DETAIL = "status hyperparameters training_metrics evaluation_metrics lineage tags"
ANSWERS = {  # address -> where the fields stand ('' = at the top, [] = the first of a list): fields
    "POST /scan?num_coins=100": {
        "": "status timestamp coins_scanned anomalies_detected anomaly_rate model_version",
        "top_anomalies[]": "symbol price_change_24h score",
    },
    "GET /anomalies?limit=20": {
        "": "anomalies count last_scan model_version",
        "anomalies[]": f"{COIN} anomaly_score is_anomaly",
    },
    "GET /market": {
        "": "timestamp coins_tracked total_market_cap total_24h_volume avg_24h_change "
        "top_gainers top_losers anomalies_count",
        "top_gainers[]": "symbol price_change_24h",
    },
    "GET /model/info": {
        "": "version status algorithm n_estimators contamination training_samples "
        "training_anomaly_rate training_timestamp data_source",
    },
    "POST /model/reload": {"": "status version model_status"},
    "GET /versions?limit=10": {
        "": "model versions count",
        "versions[]": "version status algorithm training_run_id data_source training_samples "
        "n_features feature_names hyperparameters training_timestamp data_snapshot_start",
    },
    "GET /versions/v1": {"": "version status evaluations approvals events"},
    "GET /health": {"": "status model_loaded model_version last_scan"},
    "GET /": {"": "title version project branch endpoints docs"},
    "GET /data/assets": {
        "": "assets count",
        "assets[]": "name latest_version description annotations created_by",
        "assets[] annotations": "n_samples n_features feature_names",
    },
    "GET /data/assets/market_snapshot": {
        "lineage": "flow run_id",
        "annotations": "parquet_path ingest_flow ingest_run_id",
        "tags": "data_source",
    },
    "GET /data/assets/training_dataset?version=latest": {
        "": "name version annotations",
        "lineage": "flow run_id",
        "annotations": "snapshot_count snapshot_range_start snapshot_range_end feature_names "
        "builder_flow builder_run_id temporal_features deduplicated",
        "tags": "dataset_type has_temporal_features",
    },
    "GET /data/assets/evaluation_results": {"tags": "decision"},
    "GET /data/assets/market_snapshot/versions?limit=10": {
        "versions[]": "version timestamp n_samples lineage",
    },
    "GET /data/snapshots?limit=24": {
        "": "snapshots storage_path",
        "snapshots[]": "path date hour filename",
    },
    "GET /data/snapshots/stats": {"": "count storage_path", "date_range": "start end"},
    "GET /data/datasets": {
        "datasets[]": "name versions latest",
        "datasets[] latest": "version created_at total_samples snapshot_count",
    },
    "GET /data/schema": {"": "feature_columns metadata_columns total_columns"},
    "GET /models/assets": {
        "assets[]": "name latest_version latest_status champion_version algorithm description",
    },
    f"GET {ASSET}?version=v1": {
        "": DETAIL,
        "training_metrics": "anomaly_rate anomalies_detected training_samples n_features",
        "lineage": "training_run_id training_flow data_source eval_dataset evaluated_by_run_id",
        "tags": "status algorithm data_source",
    },
    f"GET {ASSET}/versions": {
        "versions[]": "version status algorithm anomaly_rate training_samples "
        "training_timestamp eval_metrics",
    },
    f"GET {ASSET}/champion": {"": f"{DETAIL} promoted_from_version promotion_timestamp"},
    "GET /pipeline/status": {
        "": "project branch components overall_health",
        "components": "model data serving",
    },
    "GET /pipeline/flows?limit=10": {"flows[]": "flow run_id timestamp type output status"},
    "GET /pipeline/schedule": {"": "schedules event_triggers"},
    "GET /eval/latest": {
        "": "decision candidate_version compared_to_version metrics gates lineage",
        "metrics": "silhouette score_bimodality score_gap mean_anomaly_score mean_normal_score "
        "score_std training_rate rate_diff",
        "gates[]": "name threshold actual passed description",
    },
    "GET /eval/history?limit=10": {"evaluations[]": "decision gates metrics"},
}


PAYLOADS = {  # kind of event -> fields
    "snapshot_ingested": "coins parquet_path ingest_run_id",
    "dataset_ready": "training_samples holdout_samples n_features builder_run_id",
    "evaluation_passed": "model_name model_version anomaly_rate evaluation_run_id eval_data_ref",
    "approval_requested": "model_name model_version anomaly_rate evaluation_id",
    "model_approved": "model_name model_version reason",
    "model_promoted": "model_name model_version alias algorithm anomaly_rate approved_by",
}


@pytest.fixture(scope="module")
def pumping():
    """The address of the simulated market, with coins that are pumped right now."""
    hours = (pd.Timestamp.now("UTC") - Market().start) // pd.Timedelta("1h")
    moments = product(range(3, 9), (hours - 1, hours, hours + 1))
    pumps = [dict(kind="pump", coin=coin, hour=hour, size=0.5) for coin, hour in moments]
    with serve_market(Market(injected=pumps)) as (url, _):
        yield url


@pytest.fixture(scope="module")
def client(cycle, pumping, tmp_path_factory):
    """The app of a workspace that has gone through a whole life: v1 is champion."""
    home = tmp_path_factory.mktemp("answers") / "home"
    copy_home(cycle, home)
    settings = Settings(home=home, source="simulated", coingecko_url=pumping)
    ws = open_workspace(settings)
    ingest(ws)
    token = {"Authorization": f"Bearer {ws.api_token}"}
    with TestClient(create_app(settings), **HERE, headers=token) as client:
        decision = dict(version="v1", by="ada", reason="gates pass")
        for verb in ("approve", "promote"):
            assert client.post(f"{ASSET}/{verb}", json=decision).status_code == 200
        yield client


def part(answer, path: str):
    """The part of an answer at a path such as 'versions[] lineage'."""
    for name in path.split():
        answer = answer[name.removesuffix("[]")]
        answer = answer[0] if name.endswith("[]") else answer
    return answer


@pytest.mark.parametrize("address", ANSWERS)
def test_an_answer_has_the_promised_fields(client, address):
    response = client.request(*address.split())
    assert response.status_code == 200, response.text
    for path, fields in ANSWERS[address].items():
        missing = set(fields.split()) - part(response.json(), path).keys()
        assert not missing, (path, missing)


@pytest.mark.parametrize("kind", PAYLOADS)
def test_an_event_has_the_promised_payload(client, kind):
    event = client.app.state.app_state.registry.events(kind=kind)[0]
    assert set(PAYLOADS[kind].split()) <= event["payload"].keys()


def test_documented_gates_and_metrics_are_those_of_the_evaluation(client):
    evaluated = client.get("/eval/latest").json()
    documented = client.get("/eval/gates").json()
    gates = documented["gates"] if isinstance(documented, dict) else documented
    assert {g["name"]: g["threshold"] for g in gates} == {
        g["name"]: g["threshold"] for g in evaluated["gates"]
    }
    metrics = client.get("/eval/metrics").json()
    assert len(metrics) and set(metrics.get("metrics", metrics)) <= evaluated["metrics"].keys()


@pytest.mark.parametrize("path", ["scan", "anomalies", "market"])
def test_both_addresses_of_inference_answer_the_same(client, path):
    method = "POST" if path == "scan" else "GET"
    answers = [client.request(method, f"{at}/{path}") for at in ("", "/inference")]
    assert [a.status_code for a in answers] == [200, 200]
    old, new = (a.json() for a in answers)
    assert old.keys() == new.keys() and old["as_of"] == new["as_of"]


@pytest.mark.parametrize(
    "address",
    [
        "POST /scan?num_coins=9",
        "POST /scan?num_coins=251",
        "GET /anomalies?limit=0",
        "GET /anomalies?limit=101",
        "GET /versions?limit=51",
        "GET /data/snapshots?limit=101",
    ],
)
def test_a_number_beyond_its_limits_is_refused(client, address):
    assert client.request(*address.split()).status_code == 422


@pytest.mark.parametrize(
    "path",
    [
        "/versions/v99",
        "/data/assets/weather",
        "/data/assets/training_dataset?version=v99",
        f"{ASSET}?version=v99",
        f"{ASSET}/compare?version_a=v1&version_b=v99",
        "/cards/train/nobody",
        "/cards/weather/latest",
    ],
)
def test_what_does_not_exist_is_not_found(client, path):
    response = client.get(path)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert len(response.json()["detail"]) > 20


@pytest.mark.parametrize("flow", ["train", "evaluate", "ingest", "build_dataset"])
def test_a_card_is_the_executed_notebook_of_a_run(client, flow):
    latest = client.get(f"/cards/{flow}/latest")
    flows = client.get("/pipeline/flows?limit=50").json()["flows"]
    run = next(f["run_id"] for f in flows if f["flow"] == flow)
    by_id = client.get(f"/cards/{flow}/{run}")
    assert (latest.status_code, by_id.status_code) == (200, 200)
    assert run in by_id.text and latest.text == by_id.text


PAGES = {  # address -> phrases on the page
    "/": "Market; Health; Model; Stages: last and next run; v1 was evaluated on eval_holdout:v1; "
    "max_anomaly_rate; Latest runs; Simulated market.; Not financial advice.",
    "/data": "market_snapshot; training_dataset; eval_holdout; evaluation_results; "
    "sparkline_volatility; current_price; files of snapshots in; Newest; Made by",
    "/models": "v1 is champion; approved by ada; Trained on; Flagged in training; silhouette; "
    "not yet validated; Waiting for a decision; Side by side; Versions of anomaly_detector; "
    "training_dataset:v1; How a version becomes champion",
    "/cards": "Newest run of each stage; All runs; Side by side; build_dataset; No run has failed.",
}


@pytest.mark.parametrize("path", PAGES)
def test_a_page_shows_what_was_promised(client, path):
    page = client.get(path, headers={"accept": "text/html"})
    text = " ".join(unescape(re.sub(r"<[^>]+>", " ", page.text)).split())
    assert [phrase for phrase in PAGES[path].split("; ") if phrase not in text] == []


def test_the_command_of_each_stage_can_be_copied(client):
    page = client.get("/", headers={"accept": "text/html"}).text
    commands = ["pipeline", *(f"run {stage}" for stage in stages())]
    assert [c for c in commands if f'data-copy="crypto-anomaly {c}' not in page] == []
