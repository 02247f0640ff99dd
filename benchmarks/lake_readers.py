"""Readers of the lake side by side: ours, pyarrow's dataset, Polars (where it is installed).

    python benchmarks/lake_readers.py            # a quarter of hourly files, then one file a day

Each reads six columns of all rows and hands over a pandas frame, in turns; CPU and clock in
milliseconds, the least of five. The rows must be equal. What a reader costs before its first file
(import time and memory) is measured in a process of its own.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
from bench_lake import COLUMNS, START, hourly_lake, same

from crypto_anomaly.data.lake import list_parts
from crypto_anomaly.data.snapshots import compact, read_snapshots

IMPORTED = """import io, time
import pandas, pyarrow.parquet
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6
before, cpu = resident(), time.process_time()
import {}
took, file = time.process_time() - cpu, io.BytesIO()
pandas.DataFrame({{"coin_id": ["a", "b"] * 5000, "price": 1.0}}).to_parquet(file)
file.seek(0)
{}
print(f"{{1000 * took:.0f}} ms, {{resident() - before:.0f}} MB with the first file")"""
READ = {
    "pyarrow.parquet": "pyarrow.parquet.read_table(file).to_pandas()",
    "polars": "polars.read_parquet(file).to_pandas()",
}


def by_dataset(files: list[str]) -> pd.DataFrame:
    """By `pyarrow.dataset`, which uses threads for files and columns."""
    import pyarrow.dataset as ds

    return ds.dataset(files, format="parquet").to_table(columns=COLUMNS).to_pandas()


def by_polars(files: list[str]) -> pd.DataFrame:
    """By Polars, handed over as pandas has it."""
    import polars as pl

    return pl.read_parquet(files, columns=COLUMNS).to_pandas()


def by_polars_alone(files: list[str]) -> pd.DataFrame:
    """By Polars, left as a Polars frame; only for the figure."""
    import polars as pl

    return pl.read_parquet(files, columns=COLUMNS)


def measure(readers: dict[str, Callable[[], pd.DataFrame]]) -> None:
    """Call the readers in turns, and print the least of each."""
    least: dict[str, tuple[float, float]] = {}
    frames = {}
    for _ in range(5):
        for name, read in readers.items():
            cpu, clock = time.process_time(), time.perf_counter()
            frames[name] = read()
            took = (time.process_time() - cpu, time.perf_counter() - clock)
            known = least.get(name, took)
            least[name] = (min(known[0], took[0]), min(known[1], took[1]))
    first = frames["ours"]
    for name, (cpu, clock) in least.items():
        whole = frames[name].to_pandas() if name.endswith("alone") else frames[name]
        equal = "equal" if same(first, whole) else "ROWS DIFFER"
        print(f"{name:20}{1000 * cpu:10.0f} ms CPU{1000 * clock:10.0f} ms clock   {equal}")


def main() -> None:
    """Measure hourly and daily files."""
    has_polars = find_spec("polars") is not None
    for module in ("pyarrow.parquet", *(["polars"] if has_polars else [])):
        script = [sys.executable, "-c", IMPORTED.format(module, READ[module])]
        told = subprocess.run(script, capture_output=True, text=True, check=True).stdout.strip()
        print(f"import {module}: {told}")
    with tempfile.TemporaryDirectory() as home:
        ws = hourly_lake(home)
        for what in ("hourly", "daily"):
            files = list(list_parts(ws).path)
            size = sum(Path(f).stat().st_size for f in files) / 1e6
            print(f"\n{len(files)} {what} files, {size:.0f} MB")
            readers: dict[str, Callable[[], pd.DataFrame]] = {
                "ours": lambda: read_snapshots(ws, columns=COLUMNS),
                "pyarrow dataset": lambda files=files: by_dataset(files),  # type: ignore[misc]
            }
            if has_polars:
                readers["polars"] = lambda files=files: by_polars(files)  # type: ignore[misc]
                readers["polars alone"] = (
                    lambda files=files: by_polars_alone(files)  # type: ignore[misc]
                )
            measure(readers)
            compact(ws, before=START + pd.Timedelta("400D"))


if __name__ == "__main__":
    main()
