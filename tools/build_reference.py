"""Write the reference pages nbs/reference/*.ipynb from the code; with --check only compare."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import nbformat
from reference import (
    api,
    commands,
    detectors,
    events,
    formats,
    http,
    metrics,
    requirements,
    settings,
    stages,
    tables,
)
from reference.text import table

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "nbs" / "reference"
NOTE = "*Made from the code by `tools/build_reference.py`; `make prepare` renews it.*"


class Reference(NamedTuple):
    """One page."""

    title: str
    line: str
    cells: Callable[[], list[str]]


PAGES = {
    "cli": Reference("Commands", "Every command with its options and an example.", commands.cells),
    "settings": Reference(
        "Settings", "Every setting: name, type, default, meaning, and who reads it.", settings.cells
    ),
    "http": Reference(
        "HTTP endpoints",
        "Every endpoint: purpose, fields, answers, and a curl command.",
        http.cells,
    ),
    "stages": Reference(
        "Stages", "Every stage of the pipeline, when it runs, and its parameters.", stages.cells
    ),
    "events": Reference(
        "Events", "Every kind of event, its payload, and what it starts.", events.cells
    ),
    "metrics": Reference("Metrics", "Every Prometheus metric.", metrics.cells),
    "tables": Reference(
        "Tables", "Every column of the market table, the features and the databases.", tables.cells
    ),
    "detectors": Reference(
        "Detectors and signals",
        "What a model can be configured to, and what it can say.",
        detectors.cells,
    ),
    "formats": Reference(
        "File formats", "Every format of files that can be imported.", formats.cells
    ),
    "api": Reference("Python", "The public names of the package.", api.cells),
    "requirements": Reference(
        "Requirements and where they are shown",
        "What the reference systems promise, and the test, lesson or command that shows it.",
        requirements.cells,
    ),
}


def index_cells() -> list[str]:
    """The cells of the list of references."""
    rows = [(f"[{page.title}]({name}.ipynb)", page.line) for name, page in PAGES.items()]
    return [table(["page", "content"], rows)]


def notebook(name: str, page: Reference) -> str:
    """The text of a notebook of Markdown cells, with ids that depend on their text."""
    texts = [f"# {page.title}\n\n> {page.line}", *page.cells(), NOTE]
    cells = []
    for text in texts:
        id_ = hashlib.sha256(f"{name} {text}".encode()).hexdigest()[:8]
        cells.append(nbformat.v4.new_markdown_cell(text, id=id_))
    kernel = {"display_name": "python3", "language": "python", "name": "python3"}
    nb = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nb.nbformat_minor = 5
    return nbformat.writes(nb, indent=1) + "\n"


def pages() -> dict[str, str]:
    """Every page: name -> text of the notebook."""
    index = Reference(
        "Reference", "Commands, settings, endpoints and the rest, made from the code.", index_cells
    )
    return {name: notebook(name, page) for name, page in {"index": index, **PAGES}.items()}


def old_pages() -> list[str]:
    """The pages that are not what the code says."""
    found = []
    for name, text in pages().items():
        path = FOLDER / f"{name}.ipynb"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            found.append(name)
    return found


def main() -> int:
    """Write, or compare."""
    if "--check" in sys.argv:
        old = old_pages()
        if old:
            print(f"nbs/reference is older than the code ({', '.join(old)}): run 'make prepare'.")
        return bool(old)
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / f"{name}.ipynb").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
