"""Every setting, from the class that checks them."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import crypto_anomaly
from crypto_anomaly.core import settings as source
from crypto_anomaly.core.reference_names import SAME_MEANING
from crypto_anomaly.core.settings import PREFIX, Settings

from .text import cell, code, table

PACKAGE = Path(crypto_anomaly.__path__[0])
GROUPS = [
    source.MarketSettings,
    source.TradeSettings,
    source.StorageSettings,
    source.ServingSettings,
    source.AlertSettings,
    source.OperationSettings,
]


@cache
def source_lines() -> list[str]:
    """The lines of the module of the settings."""
    return Path(source.__file__).read_text(encoding="utf-8").splitlines()


MEANINGS = {
    "coingecko_api_key": "key of the plan; a keyless caller has none",
    "coingecko_plan": "which allowance and address apply",
    "flow_training_config": "the same, of build_dataset and train",
    "flow_evaluation_config": "the same, of evaluate",
    "log_level": "the least severe lines that are written to stderr",
    "log_format": "lines for people, or one JSON object a line",
}  # where the source has no comment


def field_lines(group: type[BaseModel]) -> dict[str, tuple[str, str]]:
    """Name of a setting -> its type as written, and the comment above it."""
    tree = ast.parse("\n".join(source_lines()))
    found = {}
    node = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == group.__name__)
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            above = source_lines()[item.lineno - 2].strip()
            said = above.removeprefix("#").strip() if above.startswith("#") else ""
            meaning = said or MEANINGS[item.target.id]
            found[item.target.id] = (ast.unparse(item.annotation), meaning)
    return found


def type_text(annotation: str) -> str:
    """A type in words."""
    words = {
        "KeptDays": "days, or `never`",
        "ExchangeUrls": "JSON object",
        "SecretStr | None": "secret",
        "Path | None": "path",
        "Path": "path",
        "bool": "true \\| false",
        "int": "number",
        "float": "number",
        "int | None": "number",
        "float | None": "number",
        "str": "text",
        "str | None": "text",
    }
    choices = re.match(r"Literal\[(.*)\]", annotation)
    return choices[1].replace("'", "").replace(", ", " \\| ") if choices else words[annotation]


def default_text(name: str) -> str:
    """The default as it would be written in the environment."""
    value: Any = Settings.model_fields[name].default
    if value is PydanticUndefined or value is None or value == {} or value == "":
        return ""
    return code(str(value).lower() if isinstance(value, bool) else value)


@cache
def package_sources() -> dict[str, str]:
    """Module, such as 'data.client' -> its source."""
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path.read_text(encoding="utf-8")
        for path in sorted(PACKAGE.glob("*/*.py"))
        if path.name != "_modidx.py"
    }


READ = re.compile(r"\b(?:settings|s|given)\.([a-z_]+)\b")


@cache
def read_names() -> dict[str, set[str]]:
    """Module -> the settings that it reads."""
    found = {m: set(READ.findall(text)) for m, text in package_sources().items()}
    return {m: names for m, names in found.items() if names and m != "core.settings"}


def readers(name: str) -> list[str]:
    """The modules that read a setting; some are read by the settings themselves."""
    return [m for m, names in read_names().items() if name in names] or ["core.settings"]


def reader_text(name: str) -> str:
    """The first readers, and how many more there are."""
    found = readers(name)
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return ", ".join(code(m) for m in found[:3]) + more


def cells() -> list[str]:
    """The cells of the page."""
    intro = (
        f"Every setting is an environment variable with the prefix `{PREFIX}`, or a key of "
        "`crypto_anomaly.toml` in small letters without it. Arguments win over the environment, "
        "the environment over the file. A wrong value is one line that names the variable. "
        "`crypto-anomaly doctor` says what is in force."
    )
    out = [intro]
    for group in GROUPS:
        fields = field_lines(group)
        rows = [
            (
                code(PREFIX + name.upper()),
                type_text(kind),
                default_text(name),
                cell(meaning),
                reader_text(name),
            )
            for name, (kind, meaning) in fields.items()
        ]
        title = re.sub(r"(?<!^)([A-Z])", r" \1", group.__name__).capitalize()
        head = ["variable", "type", "default", "meaning", "read by"]
        out.append(f"## {title}\n\n{group.__doc__}\n\n{table(head, rows)}")
    names = [(code(name), code(PREFIX + ours.upper())) for name, ours in SAME_MEANING.items()]
    names += [
        ("`REDIS_HOST`", code(f"{PREFIX}REDIS_URL")),
        (
            "`INGEST_MODE=sample`, `SAMPLE_SOURCE`, `SAMPLE_PACING`",
            f"`{PREFIX}REPLAY`, `{PREFIX}REPLAY_PACE`",
        ),
        (
            "`TS_COLUMN`, `PRICE_COLUMN`, `SIZE_COLUMN`, `SIZE_DEFAULT`",
            code(f"{PREFIX}REPLAY_COLUMNS"),
        ),
    ]
    out.append(
        "## Names of the Coinbase reference\n\nWhere `PAIR` is set, these variables are read, too; "
        f"ours win.\n\n{table(['variable', 'means'], names)}"
    )
    out.append(
        "## Variables without the prefix\n\n"
        + table(
            ["variable", "meaning"],
            [
                (
                    "`OB_PROJECT`, `OB_BRANCH`",
                    "project and branch; they name workspace and environment",
                ),
                ("`SERVICE_NAME`", "the name of this service in its logs"),
            ],
        )
    )
    return out
