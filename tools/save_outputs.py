"""Run notebooks and save their outputs for readers: `python tools/save_outputs.py nbs/30_data …`.

Every Plotly figure also gets a PNG, so that GitHub and a plain `nbconvert --to html` show it.
Log lines are left out, because they hold clock times. `--pictures-only` runs nothing and draws the
figures that are saved already.
Needs Chromium (`apt-get install chromium`).
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.preprocessors import ExecutePreprocessor
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from plotly.offline import get_plotlyjs

ROOT = Path(__file__).resolve().parent.parent
PLOTLY = "application/vnd.plotly.v1+json"
WIDTH, HEIGHT = 860, 380  # pixels of a figure that names no size
DRAW = """async ([figure, width, height]) => {
  const box = document.createElement('div');
  const layout = {...figure.layout, width, height, paper_bgcolor: 'white', plot_bgcolor: 'white'};
  await Plotly.newPlot(box, figure.data, layout, {staticPlot: true});
  return await Plotly.toImage(box, {format: 'png', width, height, scale: 1});
}"""


def notebooks(arguments: list[str]) -> list[Path]:
    """The notebooks that the arguments name; all module notebooks and guides without arguments."""
    roots = [Path(a) for a in arguments] or [ROOT / "nbs"]
    found = [p for r in roots for p in ([r] if r.is_file() else sorted(r.rglob("*.ipynb")))]
    return [p for p in found if ".ipynb_checkpoints" not in p.parts]


def execute(path: Path) -> nbformat.NotebookNode:
    """The notebook, executed in its folder."""
    nb = nbformat.read(path, 4)
    runner = ExecutePreprocessor(timeout=600, kernel_name="python3", store_widget_state=False)
    runner.preprocess(nb, {"metadata": {"path": str(path.parent)}})
    return nb


def drop_log_lines(nb: nbformat.NotebookNode) -> None:
    """Leave out what cells write to stderr: warnings and logs."""
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]


def png(page: Page, figure: dict[str, Any]) -> str:
    """One figure as base64-encoded PNG."""
    layout = figure.get("layout", {})
    size = [layout.get("width") or WIDTH, layout.get("height") or HEIGHT]
    address = page.evaluate(DRAW, [figure, *size])
    data = base64.b64decode(address.split(",", 1)[1])
    return base64.b64encode(smaller(data)).decode()


def smaller(data: bytes) -> bytes:
    """A PNG with 128 colours, which is enough for a chart and a third of the size."""
    out = BytesIO()
    Image.open(BytesIO(data)).convert("RGB").quantize(128).save(out, "PNG", optimize=True)
    return out.getvalue()


def add_pictures(nb: nbformat.NotebookNode, page: Page) -> int:
    """Put a PNG beside every Plotly figure; returns how many."""
    outputs = [o for c in nb.cells if c.cell_type == "code" for o in c.outputs]
    figures = [o for o in outputs if PLOTLY in o.get("data", {})]
    for output in figures:
        output.data["image/png"] = png(page, json.loads(json.dumps(output.data[PLOTLY])))
    return len(figures)


def main(arguments: list[str]) -> int:
    """Execute, draw, save, clean."""
    os.environ["IN_TEST"] = "1"  # the last cell of a module notebook would export the package
    pictures_only = "--pictures-only" in arguments
    paths = [a for a in arguments if a != "--pictures-only"]
    browser_path = shutil.which("chromium")
    if not browser_path:
        print("Chromium is not installed: apt-get install chromium")
        return 1
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        page.add_script_tag(content=get_plotlyjs())
        for path in notebooks(paths):
            nb = nbformat.read(path, 4) if pictures_only else execute(path)
            drop_log_lines(nb)
            count = add_pictures(nb, page)
            nbformat.write(nb, path)
            subprocess.run(["nbdev_clean", "--fname", str(path)], check=True, timeout=300)
            print(f"{path}: {count} figures")
        browser.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
