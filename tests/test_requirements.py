"""The list of what the reference systems promise: it is whole, and what it names exists."""

import ast
import json
import re
import sys
from functools import cache

import pytest
from conftest import ROOT
from test_docs import check_command

sys.path.insert(0, str(ROOT / "tools"))
from reference.requirements import MISSING, intro, requirements

ITEMS = requirements()
PLACES = sorted({place for r in ITEMS for place in r.places})
FILES = [place for place in PLACES if not place.startswith("crypto-anomaly")]
LESSONS = [place for place in FILES if re.match(r"nbs/\d\d_", place)]
COMMANDS = [place for place in PLACES if place.startswith("crypto-anomaly")]
CHECKS = ("assert ", "test_eq(", "test_close(", "expect_fail(", "assert_frame_equal(")


@cache
def functions(file: str) -> set[str]:
    """The functions of a test file."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def lesson(file: str) -> str:
    """The code of a notebook that is not exported."""
    cells = json.loads((ROOT / file).read_text(encoding="utf-8"))["cells"]
    code = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    return "\n".join(text for text in code if not text.startswith("#| export"))


def test_every_item_is_there_once_and_in_order():
    assert [r.item for r in ITEMS] == list(range(1, 272))
    assert len({r.promise for r in ITEMS}) == 271
    sections = [r.section for r in ITEMS]
    assert sections == sorted(sections, key=sections.index)  # each section is in one piece


def test_a_row_is_short_and_says_what_is_missing():
    for r in ITEMS:
        assert 0 < len(r.promise.split()) <= 12, r.item
        assert r.mark in ("", "ADAPT", "FIX"), r.item
        assert r.places or r.note.startswith(MISSING), f"{r.item}: nothing shows it, and no reason"


@pytest.mark.parametrize("place", FILES)
def test_what_is_named_exists(place):
    file, _, name = place.partition("::")
    assert (ROOT / file).is_file()
    assert file.endswith(".py") == bool(name) or not file.startswith("tests/")
    if name:
        assert name.startswith("test_") and name in functions(file)


@pytest.mark.parametrize("file", LESSONS)
def test_a_lesson_asserts_something(file):
    assert any(check in lesson(file) for check in CHECKS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_known(command):
    assert check_command(command) == 1


def test_the_page_counts_the_rows():
    states = [r.state for r in ITEMS]
    text = intro(ITEMS)
    assert f"{states.count('shown')} are shown as promised" in text
    assert f"{states.count('missing')} are missing" in text
