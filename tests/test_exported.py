"""Each notebook's lessons, run against the exported module.

nbdev_test runs the cells of a notebook, definitions included, so it never imports the .py that
users get. Here the export cells are left out and the rest runs in the module's namespace.
"""

import ast
import importlib
import logging
import os
import re
from pathlib import Path
from unittest.mock import patch

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "nbs").glob("[0-9]*/*.ipynb"))
LEFT_OUT = {"export", "exporti", "default_exp", "slow", "network"}


@pytest.fixture(autouse=True)
def as_before():
    """A lesson may set the environment and the level of a logger; the next test must not see it."""
    logger = logging.getLogger("crypto_anomaly")
    handlers, passes_on, level = logger.handlers[:], logger.propagate, logger.level
    with patch.dict(os.environ):
        yield
    for name, of_module in logging.root.manager.loggerDict.items():
        if name.startswith("crypto_anomaly.") and isinstance(of_module, logging.Logger):
            of_module.setLevel(logging.NOTSET)
    logger.setLevel(level)
    logger.handlers[:], logger.propagate = handlers, passes_on


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_lessons_hold_for_the_exported_module(path, monkeypatch):
    cells = [
        (i, c.source) for i, c in enumerate(nbformat.read(path, 4).cells) if c.cell_type == "code"
    ]
    name = next(m[1] for _, s in cells if (m := re.search(r"^#\|\s*default_exp\s+(\S+)", s, re.M)))
    monkeypatch.chdir(path.parent)
    ns = dict(vars(importlib.import_module(f"crypto_anomaly.{name}")))
    for i, src in cells:
        if set(re.findall(r"^#\|\s*([\w-]+)", src, re.M)) & LEFT_OUT or "nbdev_export(" in src:
            continue
        code = TransformerManager().transform_cell(src)
        exec(compile(code, f"{path.name}[cell {i}]", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), ns)
