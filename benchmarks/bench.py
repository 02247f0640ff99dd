"""The numbers of DESIGN 12 that exist so far: both sides in one process, outputs compared.

`make bench`, or `make bench ONLY="P3 P9"`; prints a table and writes benchmarks/results.json.
"""

import importlib
import json
import sys

from measure import HERE, ROWS

MODULES = dict(
    P1="bench_features",
    P2="bench_features",
    P3="bench_lake",
    P4="bench_forest",
    P5="bench_forest",
    P6="bench_trades",
    P7="bench_trades",
    P8="bench_serving",
    P9="bench_registry",
    P10="bench_serving",
)


def main(names: list[str]) -> int:
    """Run benchmarks by name, all without any; returns 1 where outputs differ."""
    for name in names or MODULES:
        module = importlib.import_module(MODULES[name])
        getattr(module, name.lower())()
    (HERE / "results.json").write_text(json.dumps(ROWS, indent=1) + "\n")
    return int(not all(r["equal"] in (None, True) for r in ROWS))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
