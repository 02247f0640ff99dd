"""The faces of the packages: the calls that people know, offered lazily, and light imports."""

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FACES = sorted(p.parent.name for p in (ROOT / "crypto_anomaly").glob("*/__init__.py"))
SEED = """
from crypto_anomaly import data, features, model, registry

snapshot = data.fetch_market_data()
movers = data.get_top_movers(snapshot)
trained = model.train(features.featurize(table))
scored = trained.predict(features.featurize(table))
"""


def loaded(code: str) -> set[str]:
    """The modules that a fresh process has loaded after `code`."""
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


def test_the_example_of_the_first_system(tmp_path, monkeypatch):
    """Its notebook calls `data.fetch_market_data`, `data.get_top_movers` and `model.train`."""
    from crypto_anomaly import data

    monkeypatch.setenv("CRYPTO_ANOMALY_HOME", str(tmp_path))
    monkeypatch.setenv("CRYPTO_ANOMALY_SOURCE", "simulated")
    names = {"table": data.parse_import(ROOT / "tests/data/simulated_market.csv.gz").table}
    exec(SEED, names)
    assert len(names["snapshot"]) == 100
    assert len(names["movers"]) == 5
    assert list(names["scored"]) == ["score", "p_value", "severity", "is_anomaly"]


@pytest.mark.parametrize("name", FACES)
def test_a_face_offers_what_it_says(name):
    face = importlib.import_module(f"crypto_anomaly.{name}")
    modules = {p.stem for p in (ROOT / f"crypto_anomaly/{name}").glob("*.py")}
    offered = {n for n in face.__all__ if n not in modules}
    assert offered, f"crypto_anomaly.{name} offers nothing"
    assert not modules & {n for n in offered}, "a module of the same name would hide it"
    for n in offered:
        assert getattr(face, n) is not None


@pytest.mark.parametrize("name", FACES)
def test_a_face_names_the_same_for_type_checkers(name):
    source = (ROOT / f"crypto_anomaly/{name}/__init__.py").read_text()
    block = next(n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.If))
    typed = {a.asname or a.name for n in block.body for a in n.names}
    assert typed == set(importlib.import_module(f"crypto_anomaly.{name}").__all__)


@pytest.mark.parametrize(
    "code",
    [
        "import crypto_anomaly",
        "from crypto_anomaly import data, features, model, registry, eval",
        "import crypto_anomaly.serving.cli",
        "import crypto_anomaly.lifecycle.scheduler",
    ],
)
def test_orchestration_starts_without_numpy(code):
    assert not loaded(code) & {"numpy", "pandas", "sklearn"}


HELP = """
import sys
sys.argv = ["crypto-anomaly", "--help"]
from crypto_anomaly.serving.program import main
try:
    main()
except SystemExit:
    pass
"""


def test_help_imports_no_server_and_no_numbers():
    """Python and typer take most of its time: nothing else is needed to list the commands."""
    needless = {"asyncio", "ssl", "jinja2", "numpy", "pandas", "sqlalchemy", "pydantic", "requests"}
    assert not loaded(HELP) & needless


def test_a_scan_at_the_terminal_imports_no_server(cycle, monkeypatch):
    """What says that a moment is past belongs to the pages, and no moment was asked for."""
    monkeypatch.setenv("CRYPTO_ANOMALY_HOME", str(cycle.home))
    names = loaded(HELP.replace("--help", "scan"))
    assert "crypto_anomaly.model.scan" in names
    assert not names & {"fastapi", "jinja2", "plotly", "scipy.linalg", "sklearn", "papermill"}


def test_a_worker_imports_nothing_of_training_notebooks_or_deployment():
    """Numba looks for SciPy's linear algebra when it runs its first compiled function."""
    needless = {
        "sklearn", "scipy.linalg", "scipy.stats", "skops", "joblib", "pandera", "papermill",
        "nbformat", "nbconvert", "IPython", "ipywidgets", "apscheduler", "mlflow", "distributed",
        "botocore", "redis", "psycopg", "ccxt", "typer", "rich",
    }  # fmt: skip
    names = loaded(
        "from crypto_anomaly.serving.app import create_worker_app, load_compiled\n"
        "create_worker_app()\nload_compiled()"
    )
    assert "numba.core.dispatcher" in names
    assert not names & needless


def test_a_server_imports_neither_numba_nor_the_classes_of_plotly():
    """Both are for workspaces that have something to score and to draw."""
    names = loaded("from crypto_anomaly.serving.app import create_worker_app\ncreate_worker_app()")
    assert {"crypto_anomaly.features.windows", "crypto_anomaly.core.plot_data"} <= names
    assert not names & {"numba", "llvmlite", "plotly.basedatatypes", "narwhals"}


def test_stored_code_is_loaded_without_what_compiles():
    """A hundred modules of numba; the first process may have to compile."""
    code = "from crypto_anomaly.features.windows import load_compiled\nload_compiled()"
    loaded(code)
    names = loaded(code)
    assert "numba.core.dispatcher" in names
    assert not names & {"numba.np.arraymath", "numba.np.linalg", "scipy.linalg"}


def test_set_up_touches_nothing_of_the_user(tmp_path):
    """It trains and scores in a workspace of its own, whatever the settings name.

    A function that it leaves out shows in a clean clone only, where `make setup` fails.
    """
    names = dict(HOME=str(tmp_path), DB_URL="postgresql://nobody@127.0.0.1:1/none", SOURCE="file")
    env = os.environ | {f"CRYPTO_ANOMALY_{name}": value for name, value in names.items()}
    command = [sys.executable, ROOT / "tools" / "warm_up.py"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())
