"""The endpoints of the Coinbase reference: fields, readiness, counters and log lines."""

import json
import logging

import pandas as pd
import pytest
from starlette.testclient import TestClient

from crypto_anomaly.core.logs import JsonFormatter
from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.lifecycle.trade_steps import train_trade_candidate
from crypto_anomaly.registry.registry import open_registry
from crypto_anomaly.serving.app import create_app
from crypto_anomaly.simulate.trades import TradeSimulator, trades
from crypto_anomaly.trades.playback import replay
from crypto_anomaly.trades.table import taken

HERE = dict(base_url="http://127.0.0.1", client=("127.0.0.1", 50000))
REFERENCE_FEATURES = {"ret_1s", "ret_5s", "ret_30s", "ewma_30s", "vol_60s", "z_30s"}
SCORE = {"ready", "anomaly", "score_raw", "model", "features"}
DEMO = {"times", "prices", "anomaly", "score"}


@pytest.fixture
def ws(tmp_path):
    settings = Settings(home=tmp_path, source="simulated", products="SOL-USD")
    return claim(open_workspace(settings), "simulated")


@pytest.fixture
def client(ws):
    with TestClient(create_app(ws.settings), **HERE) as client:
        yield client


@pytest.fixture
def sent():
    """Four hours of simulated trades."""
    at = pd.Timestamp("2026-01-02", tz="UTC")
    simulator = TradeSimulator(("SOL-USD",))
    return taken(trades(simulator, "SOL-USD", at, at + pd.Timedelta("4h")), "replay")


def predictions(client) -> float:
    """How many scores Prometheus is told of."""
    lines = client.get("/metrics").text.splitlines()
    return float(next(x.split()[1] for x in lines if x.startswith("blink_predictions_total ")))


def test_from_nothing_to_the_score_of_a_champion(ws, client, sent, monkeypatch):
    """One app all the time: features, a model and a promotion reach it without a restart."""
    assert client.get("/healthz").json()["ok"]
    assert client.get("/score").json()["reason"] == "no_features"
    replay(ws, sent.head(89), pace="max", once=True)
    assert client.get("/score").json()["reason"] == "no_features"
    replay(ws, sent, pace="max", once=True)
    assert client.get("/score").json()["reason"] == "no_model"
    assert client.get("/demo/data").json()["state"] == "Warming up"
    assert predictions(client) == 0  # answers without a score are none
    train_trade_candidate(ws)
    first = client.get("/score").json()
    assert SCORE <= first.keys() and first["ready"] and first["model_status"] == "candidate"
    assert REFERENCE_FEATURES <= first["features"].keys()
    assert all(first["features"][name] is not None for name in REFERENCE_FEATURES)
    assert isinstance(first["anomaly"], bool) and first["score_raw"] not in (-1, 1)
    assert predictions(client) == 1
    assert "blink_predict_latency_seconds_bucket" in client.get("/metrics").text
    registry = open_registry(ws, "trade_detector")
    registry.record_evaluation("v1", passed=True, gates=[], metrics={}, dataset="recorded hours")
    registry.request_approval("v1", by="ada")
    registry.approve("v1", by="bob", reason="finds the bursts")
    registry.promote("v1", by="bob")
    assert client.get("/score").json()["model_status"] == "champion"
    demo = client.get("/demo/data").json()
    assert DEMO <= demo.keys() and demo["state"] in ("Normal", "Anomaly")
    assert len(demo["times"]) == len(demo["prices"]) > 50
    minutes = pd.to_datetime(demo["times"])
    assert minutes.max() - minutes.min() <= pd.Timedelta("5min")
    monkeypatch.setattr("crypto_anomaly.serving.live.FRESH", -1)  # as if a minute had passed
    late = client.get("/score?product=SOL-USD")  # another address: answers live for a second
    assert late.json()["reason"] == "no_features"


def test_a_request_is_logged_with_path_status_and_time(client, caplog, monkeypatch):
    monkeypatch.setenv("SERVICE_NAME", "scores")
    with caplog.at_level(logging.INFO, "crypto_anomaly"):
        assert client.get("/score").status_code == 200
    lines = [json.loads(JsonFormatter().format(r)) for r in caplog.records]
    logged = {line["path"]: line for line in lines if "status" in line}
    assert logged["/score"]["status"] == 200
    assert {"ts", "level", "logger", "message", "method", "milliseconds"} <= logged["/score"].keys()
    assert logged["/score"]["service"] == "scores"
