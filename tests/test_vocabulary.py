"""The words of the reference systems are understood, and what the guide says about them is true."""

import json
import re
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from crypto_anomaly.core.settings import Settings, load_settings
from crypto_anomaly.core.workspace import open_workspace
from crypto_anomaly.lifecycle.config_files import (
    config_parameters,
    default_configs,
    flow_configs,
    write_configs,
)
from crypto_anomaly.lifecycle.stages import (
    FLOW_NAMES,
    check_parameters,
    stage_name,
    stage_parameters,
    stages,
)
from crypto_anomaly.model.loading import load_model
from crypto_anomaly.serving.cli import app as cli

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs"


def guide_rows():
    """The tables of the page about coming from elsewhere: theirs, ours."""
    nb = json.loads((ROOT / "nbs/guides/coming_from.ipynb").read_text())
    text = "\n".join("".join(c["source"]) for c in nb["cells"])
    cells = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| ")]
    rows = [(theirs, ours) for theirs, ours in cells if theirs.strip() != "there"]
    assert len(rows) > 60
    return rows


def code(text):
    return re.findall("`([^`]+)`", text)


def commands(group, before=()):
    for name, command in group.commands.items():
        yield (*before, name)
        if hasattr(command, "commands"):
            yield from commands(command, (*before, name))


def paths_of(routes):
    for route in routes:
        if hasattr(route, "path"):
            yield route.path
        else:
            yield from paths_of(route.original_router.routes)


def test_the_guide_names_every_flow_with_its_stage():
    named = {}
    for theirs, ours in guide_rows():
        for flow in set(code(theirs)) & set(FLOW_NAMES):
            named[flow] = code(ours)[0].removeprefix("crypto-anomaly run ")
    assert named == FLOW_NAMES
    assert {stage_name(flow) for flow in named} <= set(stages())


def test_every_command_of_the_guide_exists():
    shown = CliRunner().invoke(cli, ["run", "--help"]).output
    known = {" ".join(path) for path in commands(get_command(cli))}
    for _, ours in guide_rows():
        for span in code(ours):
            if not span.startswith("crypto-anomaly "):
                continue
            words = span.removeprefix("crypto-anomaly ").split(" --")[0].split()
            assert {words[0], " ".join(words[:2])} & known, span
            options = re.findall("--([a-z_]+)", span)
            if words[0] == "run":
                for option in set(options) - {"json", "run_id"}:
                    assert f"--{option}" in shown or option in stage_parameters(words[1]), span


def test_every_setting_and_endpoint_of_the_guide_exists(tmp_path):
    from crypto_anomaly.serving.app import create_app

    app = create_app(Settings(home=tmp_path, source="simulated"))
    paths, followed = set(paths_of(app.routes)), 0
    for theirs, ours in guide_rows():
        for name in code(ours):
            span = name.removeprefix("CRYPTO_ANOMALY_")
            if re.fullmatch("[A-Z_]{6,}", span) and not span.startswith("OB_"):
                assert span.lower() in Settings.model_fields, span
        if "the same endpoints" in ours:
            for span in code(theirs):
                assert span.split()[1] in paths, span
                followed += 1
    assert followed > 10


def test_the_config_files_are_exactly_the_defaults(tmp_path):
    fresh = {p.name: p.read_text() for p in write_configs(tmp_path)}
    kept = {p.name: p.read_text() for p in CONFIGS.glob("*.json")}
    remedy = "write them again: crypto_anomaly.lifecycle.config_files.write_configs('configs')"
    assert kept == fresh, remedy
    changes = dict(training_config=str(CONFIGS / "training.json"))
    for stage in ("ingest", "train"):
        for name, value in config_parameters(stage, changes).items():
            assert repr(value) == repr(eval(stage_parameters(stage)[name]["default"])), name
    assert default_configs()["evaluation.json"]["max_anomaly_rate"] == 0.2


def test_the_project_file_works(tmp_path, monkeypatch):
    (tmp_path / "configs").symlink_to(CONFIGS)
    (tmp_path / "crypto_anomaly.toml").write_text((CONFIGS / "crypto_anomaly.toml").read_text())
    for name in ("OB_PROJECT", "OB_BRANCH"):
        monkeypatch.delenv(name, raising=False)
    plain = load_settings()
    monkeypatch.chdir(tmp_path)
    s = load_settings()
    assert all(Path(path).is_file() for path in flow_configs(s).values())
    same = dict.fromkeys((f"flow_{name}" for name in flow_configs(s)), None)
    assert s.model_copy(update=same) == plain
    monkeypatch.setenv("OB_BRANCH", "main")
    s = load_settings()
    assert (s.workspace, s.environment, s.read_from) == ("crypto_anomaly.main", "production", None)
    monkeypatch.setenv("OB_BRANCH", "feature/x")
    s = load_settings()
    assert (s.workspace, s.environment) == ("crypto_anomaly.feature-x", "dev")
    assert (s.read_from, s.model_ref) == ("crypto_anomaly.main", "latest")
    for stage in ("ingest", "train", "evaluate"):
        given = config_parameters(stage, flow_configs(s))
        assert given, stage
        check_parameters(stage, given)


@pytest.mark.parametrize("ref", ["evaluated", "anomaly_detector:v1", "anomaly_detector:evaluated"])
def test_model_ref_in_the_words_of_the_references(cycle, ref):
    ws = open_workspace(Settings(home=cycle.home, source="simulated", model_ref=ref))
    assert load_model(ws).version["status"] == "evaluated"


def test_what_cannot_be_fetched_is_refused_by_name(tmp_path):
    from starlette.testclient import TestClient

    from crypto_anomaly.core.errors import CryptoAnomalyError
    from crypto_anomaly.data.source import fetch_market_data
    from crypto_anomaly.serving.app import create_app

    ws = open_workspace(Settings(home=tmp_path, source="simulated", coingecko_url="http://[::1]:9"))
    app = create_app(ws.settings)
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        for wrong in ("0", "-5", "abc", "1e9"):
            with pytest.raises(CryptoAnomalyError, match="num_coins"):
                check_parameters("IngestMarketDataFlow", dict(num_coins=wrong))
            answer = client.post("/scan", params=dict(num_coins=wrong))
            assert (answer.status_code, "num_coins" in answer.text) == (422, True)
    for wrong in (0, -5, "abc", 1e9):
        with pytest.raises(CryptoAnomalyError, match="num_coins is"):
            fetch_market_data(ws, num_coins=wrong)
