"""One comparison, at every door.

Command line, HTTP, Python, report and registry say the same of two versions, on the same rows.
"""

import html
import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from crypto_anomaly.core.plot_comparison import comparison_figures
from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.lifecycle import comparison
from crypto_anomaly.lifecycle.compared_data import stored_data, trained_to, two_sides
from crypto_anomaly.lifecycle.comparison import compare_versions
from crypto_anomaly.lifecycle.dataset_steps import build_dataset
from crypto_anomaly.lifecycle.evaluate_steps import evaluate_candidate
from crypto_anomaly.lifecycle.ingest_steps import backfill_lake
from crypto_anomaly.lifecycle.trade_steps import evaluate_trade_candidate, train_trade_candidate
from crypto_anomaly.lifecycle.train_steps import train_candidate
from crypto_anomaly.model.loading import load_model
from crypto_anomaly.registry.registry import open_registry
from crypto_anomaly.serving.comparison import measured_table, own_measures
from crypto_anomaly.serving.version_report import version_report
from crypto_anomaly.simulate.market import Market
from crypto_anomaly.simulate.market_server import serve_market
from crypto_anomaly.simulate.trades import TradeSimulator, trades
from crypto_anomaly.trades.store import open_store
from crypto_anomaly.trades.table import taken, to_trades


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    """Two versions of two datasets; v2 is compared with v1."""
    home = tmp_path_factory.mktemp("home")
    ws = claim(open_workspace(Settings(home=home, source="simulated")), "simulated")
    with serve_market(Market()) as (url, server):
        ws.settings.coingecko_url = url
        for day, detector in (("2026-03-01", "isolation_forest"), ("2026-03-02", None)):
            server.clock.set(f"{day} 12:07")
            at = pd.Timestamp(f"{day} 12:07", tz="UTC")
            backfill_lake(ws, num_coins=20, as_of=at)
            build_dataset(ws)
            train_candidate(ws, config=detector)
            evaluate_candidate(ws, compare_to="v1")
    return ws


def asked_by_http(ws, *paths):
    """Status and answer of some addresses."""
    from starlette.testclient import TestClient

    from crypto_anomaly.serving.app import create_app

    app = create_app(ws.settings.model_copy(update=dict(workspace=ws.name)))
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        answers = [client.get(path) for path in paths]
    return [(a.status_code, a.json()) for a in answers]


def test_every_door_says_the_same(ws, monkeypatch):
    monkeypatch.setenv("CRYPTO_ANOMALY_HOME", str(ws.settings.home))
    monkeypatch.setenv("CRYPTO_ANOMALY_SOURCE", "simulated")
    from crypto_anomaly.serving.cli import app

    c = compare_versions(ws, "v2", "v1")
    typed = json.loads(CliRunner().invoke(app, ["compare", "v2", "v1", "--json"]).stdout)
    served = asked_by_http(
        ws,
        "/api/models/compare?v1=v2&v2=v1",
        "/models/assets/anomaly_detector/compare?version_a=v2&version_b=v1",
    )
    evaluated = open_registry(ws).lineage("v2")["evaluations"][-1]
    told = evaluated["metrics"]["comparison"]
    for said in (typed, *(body for _, body in served)):
        for name in ("verdict", "sentence", "difference", "measures", "by_kind", "dataset_hash"):
            assert said[name] == c.to_dict()[name], name
        assert said["differences"]["recall_diff"] == c.difference["value"]
    assert {k: told[k] for k in ("sentence", "measures")} == {
        k: c.to_dict()[k] for k in ("sentence", "measures")
    }
    assert (evaluated["dataset"], evaluated["dataset_hash"]) == (c.dataset, c.dataset_hash)


def test_places_changed_every_sign_changes(ws):
    there, back = compare_versions(ws, "v2", "v1"), compare_versions(ws, "v1", "v2")
    assert (there.dataset, there.rows, there.rate) == (back.dataset, back.rows, back.rate)
    rows = [*there.measures.values(), *there.by_kind, *there.by_size]
    others = [*back.measures.values(), *back.by_kind, *back.by_size]
    for a, b in zip(rows, others, strict=True):
        assert (a["candidate"], a["other"]) == (b["other"], b["candidate"])
        if a["difference"]:
            low, high = b["difference"]["low"], b["difference"]["high"]
            assert a["difference"]["value"] == -b["difference"]["value"]
            assert (a["difference"]["low"], a["difference"]["high"]) == (
                (None, None) if low is None else (-high, -low)
            )


def test_a_version_beside_itself_is_not_worse_and_not_better(ws):
    c = compare_versions(ws, "v2", "v2")
    assert (c.verdict, c.difference) == ("not worse", dict(value=0, low=0, high=0))
    assert all(k["difference"]["value"] == 0 for k in c.by_kind)


def test_no_row_holds_numbers_of_two_datasets(ws):
    stories = {v: open_registry(ws).lineage(v) for v in ("v1", "v2")}
    holdouts = {v: s["evaluations"][-1]["dataset"] for v, s in stories.items()}
    assert len(set(holdouts.values())) == 2
    apart = own_measures(stories)
    assert apart.groupby("version")["measured on"].agg(set).to_dict() == {
        v: {dataset} for v, dataset in holdouts.items()
    }
    c = compare_versions(ws, "v2", "v1")
    assert c.dataset == holdouts["v2"]  # v2 has seen the holdout of v1
    own = stories["v1"]["evaluations"][-1]["metrics"]["recall"]
    assert measured_table(c).loc["injected events found", "v1"] != f"{own:.3g}"


def test_both_meet_the_same_rows_and_events_that_neither_has_seen(ws):
    registry = open_registry(ws)
    one, two = (load_model(ws, v, registry=registry) for v in ("v2", "v1"))
    data = stored_data(ws, "eval_holdout:v2", one, "anomaly_detector")
    sides = two_sides(data, one, two)
    assert sides.candidate.rows.ts.min() > trained_to(one, two)
    for (_, events), (_, others) in zip(sides.candidate.injected, sides.other.injected):
        pd.testing.assert_frame_equal(events, others)
    with pytest.raises(comparison.ComparisonError, match="no row of eval_holdout:v1 is later"):
        compare_versions(ws, "v2", "v1", dataset="eval_holdout:v1")


def test_what_is_kept_is_not_scored_again_and_a_damaged_file_is_made_anew(ws, monkeypatch):
    c = compare_versions(ws, "v2", "v1")
    files = list((ws.root / "comparisons").glob("*.json"))
    kept = {f: f.read_text() for f in files}
    assert len(kept) == len({json.dumps(json.loads(text)["of"]) for text in kept.values()})
    with monkeypatch.context() as m:
        m.setattr(comparison, "compare_sides", None)  # would be an error, if it were called
        assert compare_versions(ws, "v2", "v1") == c
    for f in files:
        f.write_text("{")
    assert compare_versions(ws, "v2", "v1") == c


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ("v1=v2&v2=v9", 404, "there is no anomaly_detector 'v9'"),
        ("v1=v2&v2=champion", 404, "there is no anomaly_detector 'champion'"),
        ("v1=v2&v2=trade_detector:v1", 404, "is no version of anomaly_detector"),
        ("v1=v2&v2=v1&model=trade_detector", 404, "there is no trade_detector 'v2'"),
        ("v1=v2&v2=v1&model=weather", 404, "there is no model 'weather'"),
        ("v1=v2&v2=v1&dataset=eval_holdout:v7", 404, "there is no dataset 'eval_holdout:v7'"),
        ("v1=v2&v2=v1&dataset=trades:BTC-USD:1-9", 404, "no dataset of its kind"),
        ("v1=v2&v2=v1&dataset=eval_holdout:v1", 404, "no row of eval_holdout:v1 is later"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence_with_its_status(ws, query, status, says):
    ((got, body),) = asked_by_http(ws, f"/api/models/compare?{query}")
    assert (got, says in body["detail"]) == (status, True), body
    assert body["detail"].count("\n") == 0


def test_a_version_without_artifact_is_refused(ws, tmp_path):
    moved = open_workspace(ws.settings.model_copy(update=dict(artifacts_url=str(tmp_path))))
    with pytest.raises(comparison.ComparisonError, match="v2 cannot be scored: artifact .* gone"):
        compare_versions(moved, "v2", "v1")


def test_trade_detectors_are_compared_on_the_same_stored_trades(tmp_path):
    settings = Settings(home=tmp_path, source="simulated", products="SOL-USD")
    ws = claim(open_workspace(settings), "simulated")
    t0 = pd.Timestamp("2026-01-02", tz="UTC")
    sent = trades(TradeSimulator(("SOL-USD",)), "SOL-USD", t0, t0 + pd.Timedelta("100min"))
    open_store(ws).write(to_trades(taken(sent)))
    train_trade_candidate(ws)
    train_trade_candidate(ws, hours=0.7)
    judged = evaluate_trade_candidate(ws, compare_to="v1")
    told, name = judged["compared"], "trade_detector"
    again = compare_versions(ws, "v2", "v1", model_name=name)
    assert again == told
    assert told.dataset == judged["eval_data_ref"] and told.dataset.startswith("trades:SOL-USD:")
    assert told.evidence["events"] > 0 and told.difference["low"] <= told.difference["high"]
    later = compare_versions(ws, "v1", "v2", model_name=name)
    assert later.difference["value"] == -told.difference["value"]
    text = version_report(ws, "v2", name)
    assert again.sentence in html.unescape(text) and "trades:SOL-USD" in text
    assert text.count("<div data-drawn>") == len(comparison_figures(again.to_dict(), again.names))
    assert 'class="readable"' in text.split("<h2>What it flags")[1]


def test_the_report_of_a_version_is_downloaded_as_one_file(ws):
    from starlette.testclient import TestClient

    from crypto_anomaly.serving.app import create_app

    app = create_app(ws.settings.model_copy(update=dict(workspace=ws.name)))
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        answer = client.get("/models/anomaly_detector/v2/report.html")
        unknown = client.get("/models/anomaly_detector/v77/report.html")
    assert (
        answer.headers["content-disposition"] == 'attachment; filename="anomaly_detector-v2.html"'
    )
    assert 5e5 < len(answer.content) < 4e6  # the script of the figures is inside
    assert 'src="' not in answer.text
    assert "<h2>Against v1</h2>" in answer.text and unknown.status_code == 404
