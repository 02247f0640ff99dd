"""What the reference systems promise, and where each promise is shown.

`requirements.csv` beside this file has a row for each promise; `tests/test_requirements.py` holds
it against the tests, lessons and commands that it names.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from .commands import commands
from .text import cell, code, table

FILE = Path(__file__).with_suffix(".csv")
MISSING = "missing: "


class Requirement(NamedTuple):
    """One promise."""

    item: int
    section: str
    promise: str
    mark: str  # '', ADAPT or FIX
    places: list[str]  # what shows it: a test, a notebook, a file or a command
    note: str  # how it differs; with MISSING in front, what is missing

    @property
    def state(self) -> str:
        """Shown, differs or missing."""
        if not self.places or self.note.startswith(MISSING):
            return "missing"
        return "differs" if self.note else "shown"


def requirements() -> list[Requirement]:
    """All rows of the file."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return [
            Requirement(
                int(row["item"]),
                row["section"],
                row["promise"],
                row["mark"],
                [place for place in row["shown_by"].split("; ") if place],
                row["note"],
            )
            for row in csv.DictReader(file)
        ]


def command_link(place: str, known: list[str]) -> str:
    """A command with a link to its section of the page of commands."""
    words = place.split()[1:]
    paths = [" ".join(words[:n]) for n in range(len(words), 0, -1)]
    path = next(path for path in paths if path in known)
    return f"[{code(place)}](cli.ipynb#{path.replace(' ', '-')})"


def notebook_link(path: PurePosixPath) -> str:
    """A lesson by the name of its module, a guide or a stage by its own name."""
    folder, name = (re.sub(r"^\d+_", "", part) for part in (path.parent.name, path.stem))
    kinds = {"guides": "guide", "reference": "reference", "scheduled": "stage"}
    label = f"{kinds[folder]} {name}" if folder in kinds else f"{folder}.{name}"
    up = "../../" if folder == "scheduled" else "../"
    return f"[{label}]({up}{path.relative_to('nbs') if folder != 'scheduled' else path})"


def link(place: str, known: list[str]) -> str:
    """What shows a promise, as a link."""
    if place.startswith("crypto-anomaly"):
        return command_link(place, known)
    file, _, name = place.partition("::")
    path = PurePosixPath(file)
    if path.suffix == ".ipynb":
        return notebook_link(path)
    words = name.replace("_", " ")  # a long name would not wrap, and make the column wide
    return f"[{words or path.name}](../../{file})"


def section_table(rows: list[Requirement], known: list[str]) -> str:
    """The promises of one section."""
    shown = [
        (
            f"{r.item} {r.mark.lower()}".strip(),
            cell(r.promise),
            ", ".join(link(place, known) for place in r.places),
            cell(r.note),
        )
        for r in rows
    ]
    return table(["item", "promise", "where shown", "note"], shown)


def intro(rows: list[Requirement]) -> str:
    """What the list is, and how many of its items are shown."""
    n = Counter(r.state for r in rows)
    return (
        f"The two reference systems ([glossary](../guides/glossary.ipynb"
        f"#the-two-reference-systems)) promise {len(rows)} things. Each is a row here, with the "
        "tests, lessons, files and commands that show it. "
        f"{n['shown']} are shown as promised, {n['differs']} are shown and differ as the note "
        f"says, and {n['missing']} are missing in whole or in part.\n\n"
        "*adapt* means the same without the platform that the reference ran on. *fix* means that "
        "the reference is broken or contradicts itself: what counts is its promise. A lesson is "
        "named by the module that it teaches, a test by its name with blanks."
    )


def gaps(rows: list[Requirement]) -> str:
    """What is missing, in one table."""
    shown = [
        (str(r.item), cell(r.promise), cell(r.note.removeprefix(MISSING)))
        for r in rows
        if r.state == "missing"
    ]
    return f"## What is missing\n\n{table(['item', 'promise', 'what is missing'], shown)}"


def cells() -> list[str]:
    """The cells of the page."""
    rows, known = requirements(), [path for path, _ in commands()]
    sections = groupby(rows, key=lambda r: r.section)
    tables = [f"## {title}\n\n{section_table(list(found), known)}" for title, found in sections]
    return [intro(rows), gaps(rows), *tables]
