"""Every column of every table: market table, features, files of the lake, databases."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from crypto_anomaly.data.table import schema
from crypto_anomaly.features.schema import feature_schema
from crypto_anomaly.registry.tables import METADATA
from crypto_anomaly.trades import origin  # noqa: F401  both add tables
from crypto_anomaly.trades.product_tables import trade_metadata

from .text import cell, code, table


def key_text(column: sa.Column[Any]) -> str:
    """What a column refers to, and whether it may be empty."""
    facts = []
    if column.primary_key:
        facts.append("key")
    facts += [
        f"→ {code(f'{key.column.table.name}.{key.column.name}')}" for key in column.foreign_keys
    ]
    if not column.nullable and not column.primary_key:
        facts.append("not null")
    return ", ".join(facts)


def database_table(t: sa.Table) -> str:
    """The section of one table of a database."""
    rows = [(code(c.name), str(c.type).lower(), key_text(c)) for c in t.columns]
    text = f"### {t.name}\n\n{table(['column', 'type', 'rule'], rows)}"
    checks = [c for c in t.constraints if isinstance(c, sa.CheckConstraint)]
    checked = sorted(str(c.sqltext) for c in checks)
    unique = sorted(index.name for index in t.indexes if index.unique and index.name)
    if checked:
        text += "\n\nChecked by the database: " + "; ".join(code(c) for c in checked) + "."
    if unique:
        text += "\n\nUnique by index: " + ", ".join(code(name) for name in unique) + "."
    return text


def databases() -> dict[str, sa.MetaData]:
    """Title -> tables."""
    return {"Registry": METADATA, "Trades": trade_metadata}


def cells() -> list[str]:
    """The cells of the pages."""
    market = [(code(r.column), r.type, cell(r.meaning)) for r in schema().itertuples()]
    found = feature_schema()
    features = [tuple(cell(value) for value in row) for row in found.itertuples(index=False)]
    out = [
        "Columns of files and databases. A release never renames one; new ones may be added.",
        "## Market table\n\nOne row per coin and moment; `crypto_anomaly.data.read_snapshots` "
        f"returns it.\n\n{table(['column', 'type', 'meaning'], market)}",
        "## Features\n\nOne row per coin and moment, from the past only.\n\n"
        + table(list(found.columns), features),
    ]
    for title, metadata in databases().items():
        parts = [database_table(t) for t in sorted(metadata.tables.values(), key=by_name)]
        where = "`CRYPTO_ANOMALY_DB_URL`" if title == "Registry" else "`CRYPTO_ANOMALY_TRADES_URL`"
        out.append(
            f"## {title}\n\nThe database at {where}. SQLite and PostgreSQL have the same columns."
        )
        out += parts
    return out


def by_name(t: sa.Table) -> str:
    """What tables are sorted by."""
    return t.name
