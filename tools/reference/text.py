"""Markdown tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def cell(value: object) -> str:
    """A value in a table: one line, no bars that would end the cell."""
    text = re.sub(r"\s+", " ", str(value)).strip()
    return text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")


def code(value: object) -> str:
    """A value as code, in a table; '' stays empty."""
    text = re.sub(r"\s+", " ", str(value)).strip()
    return f"`{text.replace('|', chr(92) + '|')}`" if text else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; its cells are Markdown already."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def sentence(text: str) -> str:
    """The first paragraph of a docstring on one line."""
    return re.sub(r"\s+", " ", (text or "").strip().split("\n\n")[0])
