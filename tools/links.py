"""The links of notebooks: as a file of the checkout, on the site, and in the metadata of the wheel.

A notebook links to notebooks and files by their path, so that the link works in Jupyter and on a
repository page. README.md lies one folder higher; the site has pages in place of notebooks.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|mailto:|#|data:)([^)#\s]+)(#[^)\s]*)?\)")


def repository() -> str:
    """Address of the repository, of settings.ini; '' where none is set."""
    config = ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    return config["DEFAULT"].get("git_url", "").strip().rstrip("/")


def branch() -> str:
    """The branch that links to the repository name."""
    config = ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    return config["DEFAULT"]["branch"]


def outside_fences(text: str, change: Callable[[re.Match[str]], str]) -> str:
    """`text` with its relative links changed; code blocks stay."""
    parts = re.split(r"(^```.*?^```[^\n]*$)", text, flags=re.M | re.S)
    parts[::2] = [LINK.sub(change, part) for part in parts[::2]]
    return "".join(parts)


def normal(path: PurePosixPath) -> str:
    """A path without '..' where that is possible."""
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def for_readme(text: str) -> str:
    """The links of nbs/index.ipynb, seen from the top folder."""

    def change(m: re.Match[str]) -> str:
        target = normal(PurePosixPath("nbs", m[3]))
        return f"{m[1]}[{m[2]}]({target}{m[4] or ''})"

    return outside_fences(text, change)


def for_site(text: str, here: str, page_of: dict[str, str]) -> str:
    """The links of a notebook `here` (below nbs/): pages, files of nbs/, or the repository."""

    def change(m: re.Match[str]) -> str:
        target = normal(PurePosixPath(here).parent / m[3])
        if target in page_of:
            up = "../" * here.count("/")
            return f"{m[1]}[{m[2]}]({up}{page_of[target]}{m[4] or ''})"
        if not target.startswith(".."):
            return m[0]
        file = normal(PurePosixPath("nbs") / target)
        if repository():
            return f"[{m[2]}]({repository()}/blob/{branch()}/{file})"
        return f"{m[2]} (`{file}`)"

    return outside_fences(text, change)
