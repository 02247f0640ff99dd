"""The public names of the package: `import crypto_anomaly as ca`, and the faces of the packages."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import crypto_anomaly

from .text import cell, code, sentence, table

PACKAGES = [name for name in crypto_anomaly._PACKAGES if name != "core"]
FACES = ["core", *PACKAGES, "trades"]


def names(package: str) -> list[str]:
    """The public names of a face; '' is the package itself."""
    module = importlib.import_module(f"crypto_anomaly.{package}" if package else "crypto_anomaly")
    listed = getattr(module, "__all__", dir(module))
    return sorted(name for name in listed if name not in FACES)


def signature(value: Any) -> str:
    """The parameters of a function or class, without types."""
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return ""
    shown = []
    for p in parameters:
        if (
            p.kind is p.KEYWORD_ONLY
            and "*" not in shown
            and not any(s.startswith("*") for s in shown)
        ):
            shown.append("*")
        star = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        optional = "" if p.default is p.empty or star else "=…"
        shown.append(f"{star}{p.name}{optional}")
    return f"({', '.join(shown)})"


def rows(package: str) -> list[tuple[str, str]]:
    """One row for each public name."""
    module = importlib.import_module(f"crypto_anomaly.{package}" if package else "crypto_anomaly")
    found = []
    for name in names(package):
        value = getattr(module, name)
        is_callable = callable(value)
        shown = f"{name}{signature(value)}" if is_callable else name
        text = sentence(value.__doc__ or "") if is_callable else "a table of constants"
        found.append((code(shown), cell(text)))
    return found


def cells() -> list[str]:
    """The cells of the page."""
    intro = (
        "These names are public: a release changes one only after a warning in `CHANGELOG.md`, one "
        "minor version ahead. A test compares this page with the code, so a change shows in "
        "its diff. "
        "`=…` is a parameter with a default. Everything else may change; each module has a page."
    )
    head = ["name", "what it does"]
    out = [intro, f"## import crypto_anomaly as ca\n\n{table(head, rows(''))}"]
    out += [f"## crypto_anomaly.{package}\n\n{table(head, rows(package))}" for package in FACES]
    return out
