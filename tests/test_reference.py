"""The reference pages are what the code says, and nothing that the code has is missing on them."""

import ast
import json
import re
import sys

import nbformat
import pytest
import typer
from conftest import ROOT

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.lifecycle.stages import stage_parameters, stages
from crypto_anomaly.serving.app import create_app
from crypto_anomaly.serving.cli import app
from crypto_anomaly.serving.metrics import AppMetrics

sys.path.insert(0, str(ROOT / "tools"))
import build_reference
from reference import api, events, http, tables


def page(name: str) -> str:
    """The Markdown of a reference page."""
    cells = json.loads((ROOT / f"nbs/reference/{name}.ipynb").read_text())["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells)


def test_pages_are_what_the_code_says():
    assert build_reference.old_pages() == [], "run: make prepare"


def section(text: str, title: str) -> str:
    """The part of a page below a heading of the second level."""
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_every_command_and_option_is_listed():
    text = page("cli")

    def check(group, path):
        for name, command in group.commands.items():
            if getattr(command, "commands", None):
                check(command, f"{path}{name} ")
                continue
            for option in command.params:
                shown = [o for o in option.opts if o.startswith("--") and o != "--help"]
                if not getattr(option, "hidden", False):
                    assert all(o in section(text, f"{path}{name}") for o in shown), (name, shown)

    check(typer.main.get_command(app), "")


def test_every_setting_is_listed_with_a_meaning():
    text = page("settings")
    for name in Settings.model_fields:
        row = re.search(rf"^\| `CRYPTO_ANOMALY_{name.upper()}` \|(.*)\|$", text, re.M)
        assert row, name
        kind, _, meaning, read_by = re.split(r"(?<!\\)\|", row[1])
        assert kind.strip() and meaning.strip() and read_by.strip(), name


def test_every_endpoint_is_listed():
    text = page("http")
    for path, methods in create_app().openapi()["paths"].items():
        for method in methods:
            assert f"### {method.upper()} {path}\n" in text, path


def test_every_field_of_an_endpoint_has_a_meaning():
    for path, _, operation in http.endpoints():
        rows = http.parameter_rows(operation) + http.body_rows(operation)
        assert all(row[-1].strip() for row in rows), path


def test_curl_commands_name_what_is_needed():
    for path, method, operation in http.endpoints():
        command = http.curl(path, method, operation)
        assert "{" not in command.split("-d ")[0].rpartition("http")[2], command
        for p in operation.get("parameters", []):
            if p.get("required") and p["in"] == "query":
                assert re.search(rf"[?&]{p['name']}=", command), command


def test_every_metric_is_listed():
    text = page("metrics")
    for family in AppMetrics().registry.collect():
        assert re.search(rf"^\| `{family.name}(_total)?` \|", text, re.M), family.name


@pytest.mark.parametrize("stage", stages())
def test_every_parameter_of_a_stage_is_listed(stage):
    text = section(page("stages"), stage)
    assert all(f"| `{name}` |" in text for name in stage_parameters(stage))


def test_every_kind_of_event_is_described():
    assert events.found_kinds() == events.EVENTS.keys()


def test_every_column_of_the_databases_is_listed():
    text = page("tables")
    for metadata in tables.databases().values():
        for t in metadata.tables.values():
            part = text.split(f"### {t.name}\n", 1)[1].split("\n###", 1)[0]
            assert all(f"| `{column.name}` |" in part for column in t.columns), t.name


def test_public_names_change_with_the_page_only():
    text = page("api")
    for package in ["", *api.FACES]:
        title = f"crypto_anomaly.{package}" if package else "import crypto_anomaly as ca"
        listed = re.findall(r"^\| `(\w+)", section(text, title), re.M)
        assert sorted(listed) == api.names(package), title


@pytest.mark.parametrize("stage", stages())
def test_every_parameter_of_a_stage_can_be_read(stage):
    """Papermill leaves out a line that it cannot read, and nobody could set that parameter."""
    cells = nbformat.read(stages()[stage], 4).cells
    [source] = [c.source for c in cells if "parameters" in c.metadata.get("tags", [])]
    stored = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Name)]
    assigned = {n.id for n in stored if isinstance(n.ctx, ast.Store)}
    known = stage_parameters(stage)
    assert known.keys() == assigned - {"run_id"}
    assert all(facts["help"] for facts in known.values())
