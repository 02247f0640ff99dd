"""Formats of files that can be imported."""

from __future__ import annotations

import pandas as pd

from crypto_anomaly.data.market_formats import formats_table
from crypto_anomaly.trades.formats import format_table

from .text import cell, table


def shown(found: pd.DataFrame) -> str:
    """A table of formats."""
    rows = [tuple(cell(value) for value in row) for row in found.itertuples(index=False)]
    return table([str(c).replace("_", " ") for c in found.columns], rows)


def cells() -> list[str]:
    """The cells of the page."""
    return [
        "`crypto-anomaly import FILE --check` says which format a file has, without storing it. "
        "[Market files](../guides/market_files.ipynb) and [trade "
        "files](../guides/trade_files.ipynb) "
        "have an example of each, and what is refused.",
        f"## Market files\n\n{shown(formats_table())}",
        f"## Trade files\n\n{shown(format_table())}",
    ]
