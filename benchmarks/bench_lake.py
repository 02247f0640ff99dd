"""P3: reading the lake."""

import tempfile

import pandas as pd
from measure import cpu, interleaved, row

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.data.lake import list_parts, write_part
from crypto_anomaly.data.responses import parse_markets
from crypto_anomaly.data.snapshots import compact, read_snapshots
from crypto_anomaly.data.table import SCHEMA
from crypto_anomaly.simulate.coingecko import markets
from crypto_anomaly.simulate.market import Market

START = pd.Timestamp("2026-02-01", tz="UTC")
COLUMNS = [
    "coin_id",
    "ts",
    "current_price",
    "market_cap",
    "total_volume",
    "price_change_percentage_24h",
]


def hourly_lake(home: str, hours: int = 2160):
    """Hourly files of 250 coins."""
    sent = markets(Market(), START, per_page=250, windows=("1h", "24h", "7d", "30d"))
    base = parse_markets(sent, START)
    ws = claim(open_workspace(Settings(home=home, source="simulated")), "simulated")
    for h in range(hours):
        part = base.assign(ts=base.ts + pd.Timedelta(hours=h))
        write_part(ws, "snapshots", part, tag="b", schema=SCHEMA)
    return ws


def same(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    """Whether both hold the same rows, in any order."""
    x, y = (f[COLUMNS].sort_values(["ts", "coin_id"]).to_numpy() for f in (a, b))
    return bool((x == y).all())


def p3() -> None:
    """Read hourly files, as they come and compacted, against pandas file by file."""
    with tempfile.TemporaryDirectory() as home:
        ws = hourly_lake(home)
        files = list(list_parts(ws).path)

        def plain() -> pd.DataFrame:
            parts = [pd.read_parquet(p, columns=COLUMNS) for p in files]
            return pd.concat(parts, ignore_index=True)

        def ours() -> pd.DataFrame:
            return read_snapshots(ws, columns=COLUMNS)

        t = interleaved(plain, ours)
        equal = same(t.result_a, t.result_b)
        row("P3", "2,160 hourly files, six columns", t.a / t.b, "x", 4, equal)
        compact(ws, before=START + pd.Timedelta("400D"))
        seconds, result = cpu(ours, 3)
        what = f"the same compacted to {len(list_parts(ws))} daily files"
        row("P3", what, t.a / seconds, "x", 20, same(t.result_a, result))
