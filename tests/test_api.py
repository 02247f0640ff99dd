"""The API as anybody may use it: all that the schema allows or forbids, workers, a challenger."""

import json
import subprocess
import urllib.request
from contextlib import suppress

import pytest
import schemathesis
from conftest import COMMAND, free_port, stop, wait_for
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import open_workspace
from crypto_anomaly.registry.registry import open_registry
from crypto_anomaly.serving.app import create_app


@pytest.fixture
def ws(home):
    here = dict(home=home.home, source="simulated")
    # schemathesis asks for 'testserver'
    return open_workspace(Settings(api_token="t" * 32, allowed_hosts="testserver", **here))


def test_nothing_that_is_asked_breaks_it(ws, record_property):
    from starlette.testclient import TestClient

    app = create_app(ws.settings.model_copy(update=dict(workspace=ws.name)))
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)):  # started once
        schema, asked = schemathesis.openapi.from_asgi("/openapi.json", app), set()

        for operation in schema.get_all_operations():
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                with suppress(Unsatisfiable):  # what takes nothing cannot be asked wrongly
                    given(case=operation.ok().as_strategy(generation_mode=mode))(
                        settings(
                            max_examples=5,
                            deadline=None,
                            derandomize=True,
                            phases=[Phase.generate],
                            suppress_health_check=list(HealthCheck),
                        )(lambda case: check(case, asked))
                    )()
    record_property("attempts", len(asked))
    assert len({path for path, _ in asked}) > 30, asked
    assert {200, 404, 422} <= {status for _, status in asked}, asked


def check(case, asked):
    token = {"Authorization": "Bearer " + "t" * 32}
    r = case.call(headers=token, timeout=120)  # POST /scan fetches, on a loaded machine too
    asked.add((case.operation.path, r.status_code))
    assert r.status_code < 500, (case.operation.path, r.text)
    if r.status_code >= 400:
        assert r.headers["content-type"] == ["application/problem+json"], (
            case.operation.path,
            r.status_code,
            r.headers,
            r.text[:200],
        )


def ask(port, path, **headers):
    return json.load(
        urllib.request.urlopen(
            urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers), timeout=120
        )
    )


def test_two_workers_and_two_models_tell_one_story(home):
    ws = open_workspace(Settings(home=home.home, source="simulated"))
    r = open_registry(ws)
    r.approve("v1", by="ada", reason="gates pass")
    r.promote("v1")
    r.register(
        r.champion()["artifact_sha256"],
        dict(algorithm="families", data_source="training_dataset:v1"),
    )
    r.record_evaluation("v2", passed=True, gates=[], metrics={}, dataset="eval_holdout:v1")
    r.challenge("v2", by="ada")
    port = free_port()
    server = subprocess.Popen(
        [*COMMAND, "serve", "--port", str(port), "--workers", "2"],
        env=home.env | {"CRYPTO_ANOMALY_CHALLENGER_SHARE": "0.3"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/health")
        share = {
            c: {
                ask(port, "/anomalies", **{"X-Client-Id": f"c{c}"})["model_version"]
                for _ in range(3)
            }
            for c in range(60)
        }
        # always the same model for the same client, whichever worker answers
        assert all(len(v) == 1 for v in share.values())
        assert 0.1 < sum(v == {2} for v in share.values()) / 60 < 0.5
        r.request_approval("v2", by="ada")
        r.approve("v2", by="bob", reason="it won")
        r.promote("v2")
        answers = {ask(port, "/model/info")["version"] for _ in range(12)}
        assert answers == {2}  # from the next answer on, in both
    finally:
        stop(server)
