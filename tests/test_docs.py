"""The site is whole.

Every page of _quarto.yml is there, every local link resolves, no directive leaks.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent


def names(items):
    for it in items:
        yield from [it] if isinstance(it, str) else names(it["contents"])


def listed() -> set[str]:
    """The pages of the sidebar."""
    site = yaml.safe_load((ROOT / "_quarto.yml").read_text())["website"]
    return set(names(site["sidebar"]["contents"]))


def test_every_notebook_is_in_the_sidebar():
    there = {
        p.relative_to(ROOT / "nbs").as_posix()
        for p in (ROOT / "nbs").rglob("*.ipynb")
        if ".ipynb_checkpoints" not in p.parts
    }
    assert listed() == there


@pytest.mark.skipif(not os.environ.get("BUILD_SITE"), reason="make docs builds and checks the site")
def test_site():
    subprocess.run(
        [sys.executable, "tools/build_docs.py", "--no-quarto"], cwd=ROOT, check=True, timeout=540
    )
    site = ROOT / "_docs"
    broken = []
    for path in site.rglob("*.html"):
        text = path.read_text()
        assert not re.search(r"(^|>)#\| ", text, re.M), path
        assert "show_doc(" not in text, path
        assert 'src="http' not in text, path
        for href in re.findall(r'(?:href|src)="([^"#\s]+)', text):
            if not re.match(r"https?:|data:|mailto:", href) and not (path.parent / href).exists():
                broken.append(f"{path.relative_to(site)}: {href}")
    assert not broken, broken
    assert "Plotly.newPlot" in (site / "guides/first_day.html").read_text()
