"""The messages of the troubleshooting page are those of the code."""

import ast
import json
import re
from functools import cache

import pytest
from conftest import ROOT

from crypto_anomaly.core.settings import WorkspaceError, load_settings
from crypto_anomaly.core.workspace import claim, existing_workspace, open_workspace
from crypto_anomaly.lifecycle.dataset_steps import build_dataset
from crypto_anomaly.model.loading import load_model


def messages() -> list[str]:
    """The messages in the first column of the tables; '…' stands for a value."""
    cells = json.loads((ROOT / "nbs/guides/troubleshooting.ipynb").read_text())["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells)
    found = re.findall(r"^\| `([^`]+)` \|", text, re.M)
    assert len(found) > 25
    return found


def template(node: ast.AST) -> str | None:
    """A text of the source, with '…' in place of its values."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = [v.value if isinstance(v, ast.Constant) else "…" for v in node.values]
        return "".join(parts)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        sides = template(node.left), template(node.right)
        return "".join(side or "…" for side in sides)
    return None


@cache
def templates() -> list[str]:
    """Every text of the package."""
    found = []
    for path in sorted((ROOT / "crypto_anomaly").glob("*/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            text = template(node)
            if text and len(text) > 15:
                found.append(text)
    return found


def is_said(message: str, text: str) -> bool:
    """Whether a text of the source, filled with values, reads as the message."""
    at = 0
    for part in message.split("…"):
        found = text.find(part.strip(), at)
        if found < 0:
            return False
        at = found + len(part.strip())
    return True


@pytest.mark.parametrize("message", messages())
def test_a_message_of_the_page_stands_in_the_source(message):
    assert any(is_said(message, text) for text in templates()), message


def test_another_message_is_found_out():
    assert not any(is_said("there is no champion; … stands out", t) for t in templates())


def printed(error: Exception) -> str:
    """The message of the page that an error fits."""
    fitting = [m for m in messages() if is_said(m, str(error))]
    assert fitting, str(error)
    return fitting[0]


def test_messages_of_a_run_are_on_the_page(tmp_path):
    settings = load_settings(home=tmp_path, source="simulated")
    with pytest.raises(WorkspaceError) as no_workspace:
        existing_workspace(settings)
    assert printed(no_workspace.value).startswith("there is no workspace")
    ws = claim(open_workspace(settings), "simulated")
    with pytest.raises(Exception) as no_snapshots:
        build_dataset(ws)
    assert printed(no_snapshots.value).startswith("workspace … holds no snapshots")
    with pytest.raises(Exception) as no_model:
        load_model(ws)
    assert printed(no_model.value).startswith("workspace … has no model yet")
    with pytest.raises(WorkspaceError) as another_source:
        claim(ws, "coingecko")
    assert "market, not" in printed(another_source.value)
