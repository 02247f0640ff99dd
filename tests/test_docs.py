"""The site is whole.

Every page of _quarto.yml is there, every local link resolves, no directive leaks.
"""

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from configparser import ConfigParser
from functools import cache
from pathlib import Path

import pytest
import typer
import yaml

import crypto_anomaly
from crypto_anomaly.core.settings import Settings
from crypto_anomaly.lifecycle.stages import stage_parameters
from crypto_anomaly.serving.app import create_app
from crypto_anomaly.serving.cli import app

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


README = (ROOT / "README.md").read_text()
LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:|#)([^)\s#]+)")


def test_the_readme_is_short_and_leads_somewhere():
    assert README.count("\n") <= 120
    found = LINK.findall(README)
    assert len(found) > 15
    for target in found:
        assert not target.startswith(("/", "..")) and (ROOT / target).exists(), target


def test_the_picture_is_there_and_small():
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert len(shown) == 1
    assert 20_000 < (ROOT / shown[0]).stat().st_size <= 250_000


def test_a_pump_is_the_first_anomaly():
    blocks = re.findall(r"^```python\n", README, re.M)
    assert len(blocks) == 5
    assert re.search(
        r"^    [A-Z]+, p = 0\.000\d+: price \+1\d\.\d\s% in 1\sh to \$.+usual", README, re.M
    )


def markdown(path: Path) -> str:
    """The Markdown cells of a notebook."""
    cells = json.loads(path.read_text())["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


WRITTEN = {
    path: markdown(path)
    for folder in ("guides", "reference")
    for path in sorted((ROOT / "nbs" / folder).glob("*.ipynb"))
} | {ROOT / "README.md": README}


NOTEBOOKS = sorted(
    p for p in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts
)


def test_notebooks_link_to_notebooks_that_exist():
    """A repository page and Jupyter open a notebook, not the page of the site."""
    followed = 0
    for path in [*NOTEBOOKS, ROOT / "README.md"]:
        text = WRITTEN.get(path) or markdown(path)
        for target in LINK.findall(re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)):
            where = (path.relative_to(ROOT).as_posix(), target)
            assert not target.endswith(".html"), where
            assert (path.parent / target).resolve().exists(), where
            followed += 1
    assert followed > 200


def test_the_site_has_pages_in_place_of_notebooks(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    links = importlib.import_module("links")
    page_of = {"10_registry/16_rules.ipynb": "10_registry/rules.html", "index.ipynb": "index.html"}
    text = "[a](../10_registry/16_rules.ipynb#x) [b](../index.ipynb) [c](https://x.io/y.ipynb)"
    assert links.for_site(text, "60_eval/35_gates.ipynb", page_of) == (
        "[a](../10_registry/rules.html#x) [b](../index.html) [c](https://x.io/y.ipynb)"
    )


def test_nothing_that_people_read_points_to_an_example_address():
    read = [README, *WRITTEN.values()]
    for name in ("settings.ini", "SECURITY.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md"):
        read.append((ROOT / name).read_text())
    assert not any(re.search(r"example\.(org|com|net)", text) for text in read)


PROGRAM = typer.main.get_command(app)


def command_of(words: list[str]):
    """The command that words name, and the words after it."""
    command = PROGRAM
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    return command, words


def typed_commands() -> list[str]:
    """Every `crypto-anomaly …` in fences and code of the guides and the README."""
    found = set()
    for text in WRITTEN.values():
        fenced = "\n".join(re.findall(r"^```(?:sh|bash)\n(.*?)^```", text, re.M | re.S))
        found |= set(re.findall(r"^crypto-anomaly [^\n]*", fenced, re.M))
        found |= set(
            re.findall(r"`(crypto-anomaly [^`]*)`", re.sub(r"```.*?```", "", text, flags=re.S))
        )
    return sorted(found)


def check_command(line: str) -> int:
    """Assert that the commands of a line exist and have its options; returns how many they are."""
    checked = 0
    for part in re.split(r"\s(?:&&|\|)\s", line):
        program, *words = shlex.split(part, comments=True) or [""]
        if program != "crypto-anomaly" or not words:
            continue
        if words[0] in ("COMMAND", "VERB", "…") or words[0].startswith("--"):
            continue
        assert words[0] in PROGRAM.commands, part
        command, rest = command_of(words)
        options = {o for p in command.params for o in [*p.opts, *p.secondary_opts]}
        given = [w.split("=")[0] for w in rest if w.startswith("--")]
        if words[0] not in ("run", "pipeline"):  # these also take parameters of stages
            assert set(given) <= options, part
        checked += 1
    return checked


def test_commands_that_are_written_down_exist():
    assert sum(map(check_command, typed_commands())) > 60


def test_stages_that_are_written_down_have_the_parameters():
    for line in typed_commands():
        words = shlex.split(line.split(" && ")[0], comments=True)
        if words[1:2] == ["run"] and len(words) > 2 and words[2].islower():
            names = {words[i + 1] for i, w in enumerate(words[:-1]) if w == "-p"} - {"NAME"}
            assert names <= stage_parameters(words[2]).keys(), line


def test_variables_and_endpoints_that_are_written_down_exist():
    settings = {f"CRYPTO_ANOMALY_{name.upper()}" for name in Settings.model_fields}
    paths = create_app().openapi()["paths"].keys()
    pages = {"/demo", "/live"}  # HTML
    for path, text in WRITTEN.items():
        for name in re.findall(r"\bCRYPTO_ANOMALY_[A-Z_]+\b(?!_)", text):
            assert name in settings or name.endswith("_"), (path.name, name)
        for endpoint in re.findall(r"`(?:GET|POST) (/[^`?]*)`", text):
            known = {re.sub(r"{\w+}", "[^/]+", p) for p in paths} | pages
            filled = re.sub(r"{\w+}|[A-Z_]{2,}", "x", endpoint)
            assert any(re.fullmatch(k, filled) for k in known), (path.name, endpoint)


def metadata(folder: Path, git_url: str) -> str:
    """PKG-INFO of a copy of the project whose repository has an address."""
    for name in ("setup.py", "settings.ini", "README.md", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    (folder / "crypto_anomaly").mkdir()
    settings = re.sub(
        "^git_url =.*$", f"git_url = {git_url}", (folder / "settings.ini").read_text(), flags=re.M
    )
    (folder / "settings.ini").write_text(settings)
    command = [sys.executable, "setup.py", "-q", "egg_info"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    return next(folder.glob("*.egg-info/PKG-INFO")).read_text()


@pytest.mark.parametrize("git_url", ["", "https://git.example/crypto"])
def test_the_metadata_of_the_wheel_has_no_dead_end(git_url, tmp_path):
    text = metadata(tmp_path, git_url)
    assert "A first anomaly" in text
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert all(t.startswith(("https://", "#")) for t in targets)
    assert any(t.startswith("https://git.example/crypto/blob/v") for t in targets) == bool(git_url)
    assert "example.org" not in text


@cache
def ids(page: Path) -> set[str]:
    """What can be jumped to on a page."""
    return set(re.findall(r' id="([^"]+)"', page.read_text()))


def dead(page: Path, href: str):
    """Why a link of the site leads nowhere; nothing where it leads somewhere."""
    if re.match(r"data:|mailto:|javascript:", href):
        return
    if re.match(r"https?:", href):
        if re.match(r"https?://([\w-]+\.)*example\.(org|com|net)", href):
            yield "an example address"
        return
    target, _, anchor = href.partition("#")
    there = (page.parent / target.partition("?")[0]) if target else page
    if target.startswith("/") or not there.exists():
        yield "no file"
    elif anchor and there.suffix == ".html" and anchor not in ids(there):
        yield "no anchor"


@pytest.mark.timeout(1800)
@pytest.mark.skipif(not os.environ.get("BUILD_SITE"), reason="make docs builds and checks the site")
def test_site():
    build = [sys.executable, "tools/build_docs.py", "--no-quarto"]
    subprocess.run(build, cwd=ROOT, check=True, timeout=1700)
    site = ROOT / "_docs"
    broken = []
    for path in site.rglob("*.html"):
        text = path.read_text()
        assert not re.search(r"(^|>)#\| ", text, re.M), path
        assert "show_doc(" not in text, path
        assert 'src="http' not in text, path
        for href in re.findall(r'<[^>]*?\b(?:href|src)="([^"]+)"', text):
            where = path.relative_to(site).as_posix()
            broken += [f"{where}: {href}: {why}" for why in dead(path, href)]
        at = re.findall(r'rel="(?:prev|next)" href="', text)
        assert len(at) == (1 if 'rel="prev"' not in text or 'rel="next"' not in text else 2), path
    assert not broken, broken
    index = (site / "search_index.js").read_text()
    entries = json.loads(index.removeprefix("const SEARCH = ").rstrip().rstrip(";"))
    assert len(entries) > 1000 and all((site / e["at"].split("#")[0]).exists() for e in entries)
    assert "http" not in (site / "search.js").read_text()  # nothing is fetched
    assert "Plotly.newPlot" in (site / "guides/first_day.html").read_text()


def test_one_version_everywhere():
    config = ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini")
    number = config["DEFAULT"]["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+(?:rc\d+)?", number)
    assert crypto_anomaly.__version__ == number == create_app().version
    text = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(rf"^## {re.escape(number)}$", text, re.M)
    assert text.index("## Unreleased") < text.index(f"## {number}") < text.index("## 0.1.0")
