"""A workspace of version 0.1, before the package had folders: this code scans and promotes in it.

`tests/data/workspace_0.1.tar.gz` holds registry, lake, datasets, artifacts and trades;
`tests/data/workspace_0.1.json` holds what version 0.1 itself answered from them.
"""

import json
import tarfile

import pytest
from conftest import ROOT, Cli

KEPT = ROOT / "tests/data/workspace_0.1.tar.gz"
ANSWERS = json.loads((ROOT / "tests/data/workspace_0.1.json").read_text())


@pytest.fixture
def old(tmp_path) -> Cli:
    """The command line in a copy of the old workspace."""
    with tarfile.open(KEPT) as archive:
        archive.extractall(tmp_path)  # made by ourselves; `filter` needs Python 3.11.4
    return Cli(tmp_path / "home", source="simulated")


def known_part(answer, known):
    """What an answer says of the fields that version 0.1 knew; further fields are left out."""
    if isinstance(known, dict) and isinstance(answer, dict):
        return {k: known_part(answer[k], v) for k, v in known.items() if k in answer}
    if isinstance(known, list) and isinstance(answer, list) and len(known) == len(answer):
        return [known_part(a, k) for a, k in zip(answer, known)]
    return answer


def test_the_registry_answers_as_before(old):
    assert old.json("versions") == ANSWERS["versions"]
    assert old.json("events") == ANSWERS["events"]
    assert old.json("champion")["version"] == 1
    assert len(old.json("runs")) == 7


def test_the_stored_moment_is_scored_as_before(old):
    known = ANSWERS["scan"]
    for anomaly in known["anomalies"]:
        assert anomaly.pop("reason")  # sentences may become better, numbers may not change
    assert known_part(old.json("scan"), known) == known
    assert old.json("why", "zetio")["coin_id"] == "zetio"


def test_the_open_request_is_decided_and_rolled_back(old):
    assert [q["version"] for q in old.json("status")["open_requests"]] == [2]
    old("approve", "v2", "--by", "bea", "--reason", "better on injected events")
    old("promote", "v2")
    assert old.json("champion")["version"] == 2
    assert old.json("scan")["model_version"] == 2
    old("rollback", "--reason", "too many alarms")
    assert [(v["version"], v["status"]) for v in old.json("versions")] == [
        (2, "retired"),
        (1, "champion"),
    ]


def test_stored_trades_are_there_and_counted_once(old):
    recording = ROOT / "tests/data/simulated_trades.csv"
    before = old.json("stream", "--replay", str(recording), "--once", "--pace", "max")
    again = old.json("stream", "--replay", str(recording), "--once", "--pace", "max")
    assert before["products"] == again["products"]


def test_a_new_model_joins_the_old(old):
    old("run", "build_dataset", "-p", "as_of", "2026-11-26T16:00")
    old("run", "train", "--model-config", "isolation_forest")
    assert [v["version"] for v in old.json("versions")] == [3, 2, 1]
