"""The walls of the house: import order, thin scheduled notebooks, one place for the environment."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def exported(path: Path) -> str:
    """What a notebook exports to, such as `data.client`."""
    cells = json.loads(path.read_text())["cells"]
    found = re.search(r"#\| default_exp ([\w.]+)", "".join("".join(c["source"]) for c in cells))
    assert found, f"{path} exports nothing"
    return found[1]


NOTEBOOKS = {exported(p): p for p in sorted((ROOT / "nbs").glob("[0-9]*/*.ipynb"))}
MODULES = {name: i for i, name in enumerate(NOTEBOOKS)}  # in reading order, which is import order
PACKAGES = sorted({name.split(".")[0] for name in MODULES})
SCHEDULED = sorted((ROOT / "scheduled").glob("*.ipynb"))


def imports(tree: ast.AST, package: str) -> set[str]:
    """Our modules that a source imports, inside functions too, as `data.client`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = {0: "", 1: f"crypto_anomaly.{package}.", 2: "crypto_anomaly."}[node.level]
            target = base + (node.module or "")
            if target.startswith("crypto_anomaly"):
                names |= {
                    target.rstrip("."),
                    *(f"{target.rstrip('.')}.{a.name}" for a in node.names),
                }
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
    ours = {n.removeprefix("crypto_anomaly.") for n in names if n.startswith("crypto_anomaly.")}
    return {n for n in ours if n in MODULES or n in PACKAGES}


def source(name: str) -> Path:
    """The exported file of a module."""
    return ROOT / f"crypto_anomaly/{name.replace('.', '/')}.py"


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_what_comes_before_it_only(name):
    package = name.split(".")[0]
    found = imports(ast.parse(source(name).read_text()), package)
    before = {m for m in MODULES if MODULES[m] < MODULES[name]}
    earlier_packages = {
        p for p in PACKAGES if all(m in before for m in MODULES if m.startswith(p + "."))
    }
    allowed = before | earlier_packages | {package}
    if name.endswith(".__init__"):  # a face offers names of its package, lazily
        allowed |= {m for m in MODULES if m.startswith(f"{package}.")}
    assert found <= allowed


def test_what_is_imported_exists():
    """Inside functions too: nobody would notice before the command is called."""
    known = {f"crypto_anomaly.{name}" for name in [*MODULES, *PACKAGES]} | {"crypto_anomaly"}
    for name in MODULES:
        for node in ast.walk(ast.parse(source(name).read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("crypto_"):
                assert node.module in known, name
                target = source(node.module.removeprefix("crypto_anomaly."))
                text = target.read_text() if target.exists() else None  # else it is a face
                assert text is None or all(a.name in text for a in node.names), (name, node.module)


def test_a_link_to_a_page_leads_to_one():
    """A page has the name of its notebook without the number."""
    notebooks = sorted((ROOT / "nbs").rglob("*.ipynb"))
    pages = {path.with_name(re.sub(r"^\d+_", "", path.stem)) for path in notebooks}
    for path in notebooks:
        for cell in json.loads(path.read_text())["cells"]:
            text = "".join(cell["source"]) if cell["cell_type"] == "markdown" else ""
            for link in re.findall(r"\]\((?!https?:)([^)#]+)\.html", text):
                assert (path.parent / link).resolve() in pages, f"{path} names {link}.html"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_module_lies_in_the_folder_that_names_it(name):
    path = NOTEBOOKS[name]
    folder = path.parent.name.split("_", 1)[1]
    assert re.fullmatch(r"\d\d_\w+", path.stem)
    assert name == f"{folder}.{path.stem[3:]}" or name == f"{folder}.__init__"


def test_only_the_settings_read_the_environment():
    allowed = {"core.settings", "lifecycle.subprocesses"}  # a child process gets a copy
    for name in MODULES.keys() - allowed:
        assert not re.search(r"\b(environb?|getenv)\b", source(name).read_text()), name


def test_compiled_functions_wait_in_every_module():
    """numba's own `njit` imports numba at once, and cannot call a function that waits."""
    for name in MODULES.keys() - {"core.compiled"}:
        assert not re.search(r"^(import|from) numba\b", source(name).read_text(), re.M), name


@pytest.mark.parametrize(
    "name",
    ["crypto_anomaly", "crypto_anomaly.lifecycle.scheduler", "crypto_anomaly.lifecycle.triggers"],
)
def test_a_waiting_process_loads_no_numbers(name):
    """The package, and what `crypto-anomaly schedule` starts, import nothing heavy."""
    heavy = {"numpy", "pandas", "pyarrow", "scipy", "sklearn", "numba", "plotly", "papermill"}
    script = f"import sys, {name}; print(*sorted({heavy} & set(sys.modules)))"
    loaded = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        timeout=120,
    )
    assert loaded.stdout.strip() == ""


TOO_MUCH = ("everything", "Exception", "BaseException")


def test_nothing_is_swallowed():
    for path in (ROOT / "crypto_anomaly").rglob("*.py"):
        for n in ast.walk(ast.parse(path.read_text())):
            if isinstance(n, ast.ExceptHandler):
                caught = ast.unparse(n.type) if n.type else "everything"
                assert caught not in TOO_MUCH, f"{path}:{n.lineno}"


@pytest.mark.parametrize("path", SCHEDULED, ids=lambda p: p.stem)
def test_scheduled_notebooks_are_thin_and_clean(path):
    nb = json.loads(path.read_text())
    code = [c for c in nb["cells"] if c["cell_type"] == "code"]
    assert len(nb["cells"]) <= 12
    assert nb["metadata"]["kernelspec"]["name"] == "python3"
    assert sum("parameters" in c["metadata"].get("tags", []) for c in nb["cells"]) == 1
    assert all(not c["outputs"] and c["execution_count"] is None for c in code)
    banned = (ast.FunctionDef, ast.ClassDef, ast.Try, ast.For, ast.While, ast.Lambda)
    assert not [
        n for c in code for n in ast.walk(ast.parse("".join(c["source"]))) if isinstance(n, banned)
    ]


def test_quarto_config_is_one_file():
    assert (ROOT / "nbs/_quarto.yml").is_symlink()
    assert (ROOT / "nbs/_quarto.yml").resolve() == ROOT / "_quarto.yml"


def test_saved_outputs_are_small_and_leak_nothing():
    for path in (ROOT / "nbs").rglob("*.ipynb"):
        if "_proc" in path.parts or ".ipynb_checkpoints" in path.parts:
            continue
        text = path.read_text()
        assert len(text) < 1_500_000, path
        assert "/work/" not in text, path
        assert "Traceback (most recent call last)" not in text, path


def outputs(path: Path) -> list[dict]:
    """The saved outputs of a notebook."""
    cells = json.loads(path.read_text())["cells"]
    return [o for cell in cells for o in cell.get("outputs", [])]


PAGES = [p for p in sorted((ROOT / "nbs").rglob("*.ipynb")) if ".ipynb_checkpoints" not in p.parts]


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_saved_outputs_hold_no_log_line_and_every_figure_has_a_picture(path):
    """GitHub and a plain `nbconvert --to html` show the PNG; `make outputs` draws it."""
    found = outputs(path)
    assert not [o for o in found if o.get("name") == "stderr"]
    figures = [o["data"] for o in found if "application/vnd.plotly.v1+json" in o.get("data", {})]
    assert all("image/png" in data for data in figures)
