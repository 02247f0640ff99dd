"""The walls of the house: import order, thin scheduled notebooks, one place for the environment."""

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = {
    m[1]: i
    for i, p in enumerate(sorted((ROOT / "nbs").glob("*.ipynb")))
    if (m := re.fullmatch(r"\d+_(\w+)\.ipynb", p.name))
}  # in the order of the files
SCHEDULED = sorted((ROOT / "scheduled").glob("*.ipynb"))


def imports(tree: ast.AST) -> set[str]:
    """Our modules that a source imports, inside functions too."""
    names = {
        n.module.split(".")[1]
        for n in ast.walk(tree)
        if isinstance(n, ast.ImportFrom) and (n.module or "").startswith("crypto_anomaly.")
    }
    return names | {
        a.name.split(".")[1]
        for n in ast.walk(tree)
        if isinstance(n, ast.Import)
        for a in n.names
        if a.name.startswith("crypto_anomaly.")
    }


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_lower_numbers_only(name):
    tree = ast.parse((ROOT / f"crypto_anomaly/{name}.py").read_text())
    above = {m for m in imports(tree) if MODULES[m] >= MODULES[name]}
    assert not above


def test_only_workspace_reads_the_environment():
    for name in MODULES.keys() - {"workspace", "pipeline"}:  # pipeline hands it to child processes
        assert "environ" not in (ROOT / f"crypto_anomaly/{name}.py").read_text(), name


def test_nothing_is_swallowed():
    for path in (ROOT / "crypto_anomaly").glob("*.py"):
        for n in ast.walk(ast.parse(path.read_text())):
            if isinstance(n, ast.ExceptHandler):
                assert n.type is not None and ast.unparse(n.type) not in (
                    "Exception",
                    "BaseException",
                ), f"{path.name}:{n.lineno}"


@pytest.mark.parametrize("path", SCHEDULED, ids=lambda p: p.stem)
def test_scheduled_notebooks_are_thin_and_clean(path):
    nb = json.loads(path.read_text())
    code = [c for c in nb["cells"] if c["cell_type"] == "code"]
    assert len(nb["cells"]) <= 12 and nb["metadata"]["kernelspec"]["name"] == "python3"
    assert sum("parameters" in c["metadata"].get("tags", []) for c in nb["cells"]) == 1
    assert all(not c["outputs"] and c["execution_count"] is None for c in code)
    banned = (ast.FunctionDef, ast.ClassDef, ast.Try, ast.For, ast.While, ast.Lambda)
    assert not [
        n for c in code for n in ast.walk(ast.parse("".join(c["source"]))) if isinstance(n, banned)
    ]


def test_quarto_config_is_one_file():
    assert (ROOT / "nbs/_quarto.yml").is_symlink() and (
        ROOT / "nbs/_quarto.yml"
    ).resolve() == ROOT / "_quarto.yml"


def test_saved_outputs_are_small_and_leak_nothing():
    for path in (ROOT / "nbs").rglob("*.ipynb"):
        if "_proc" in path.parts or ".ipynb_checkpoints" in path.parts:
            continue
        text = path.read_text()
        assert len(text) < 1_500_000, path
        assert "/work/" not in text and "Traceback (most recent call last)" not in text, path
