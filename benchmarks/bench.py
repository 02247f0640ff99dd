"""The numbers of DESIGN 12 beside what an expert would write: all sides in one run, compared.

    make bench [SIZE=quick|default|full] [ONLY="P3 P9"] [COMPARE=old.json] [TOLERANCE=0.5]
    python benchmarks/bench.py [P3 …] [--compare OLD [--with NEW]] [--tolerance 0.5] [--out FILE]

Every row is printed when it is measured. The rows are written to benchmarks/results.json, and with
machine, versions, date and commit to FILE (default benchmarks/bench.SIZE.json). A whole run of
`default` or `full` also writes the page of results, nbs/guides/benchmarks.ipynb. `--compare` names
what became slower than in OLD, and by how much; with `--with` nothing is measured.
Exit code 1: outputs differ; 3: something became slower by more than the tolerance; 2: usage.
"""

import argparse
import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NamedTuple


class Part(NamedTuple):
    """Some rows, made by one function."""

    id: str
    module: str
    sizes: str = "quick default full"
    name: str = ""  # of the function; "" = the id in small letters

    @property
    def function(self) -> str:
        """The name of its function."""
        return self.name or self.id.lower()


PARTS = (
    Part("P1", "rival_features"),
    Part("P1", "bench_features", "full"),
    Part("P2", "rival_features"),
    Part("P2", "bench_features", "full"),
    Part("P3", "rival_lake"),
    Part("P3", "bench_lake", "default full"),
    Part("P4", "rival_forest"),
    Part("P4", "bench_forest", "default full"),
    Part("P5", "rival_forest"),
    Part("P5", "bench_forest", "full"),
    Part("P6", "bench_trades"),
    Part("P7", "rival_trades"),
    Part("P7", "bench_trades", "default full"),
    Part("P8", "rival_serving"),
    Part("P8", "bench_serving", "default full"),
    Part("P9", "rival_registry"),
    Part("P9", "bench_registry"),
    Part("P10", "rival_serving"),
    Part("P10", "bench_serving", "default full"),
)
PAGE_SIZES = ("default", "full")


def options(given: list[str]) -> argparse.Namespace:
    """What was asked for."""
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("ids", nargs="*", metavar="ID", help="such as P3; all without any")
    p.add_argument("--size", choices=("quick", "default", "full"), help="default: BENCH_SIZE")
    p.add_argument("--compare", metavar="OLD", help="results of an earlier run")
    p.add_argument("--with", dest="new", metavar="NEW", help="compare these, measure nothing")
    p.add_argument("--tolerance", type=float, help="share by which a row may be slower")
    p.add_argument("--out", type=Path, help="where the result is written")
    o = p.parse_args(given)
    known = {part.id for part in PARTS}
    unknown = [name for name in o.ids if name not in known]
    if unknown:
        ids = ", ".join(dict.fromkeys(part.id for part in PARTS))
        p.error(f"no benchmark is called {', '.join(unknown)}; there are {ids}")
    if o.new and not o.compare:
        p.error("--with needs --compare OLD")
    return o


def run(part: Part) -> str | None:
    """Measure the rows of a part; returns what went wrong."""
    try:
        getattr(importlib.import_module(part.module), part.function)()
    except (Exception, SystemExit) as e:  # the other parts are still measured; the run fails
        traceback.print_exc()
        return f"{part.id} ({part.module}): {type(e).__name__}: {e}"
    return None


def measure_all(ids: list[str], size: str) -> dict[str, Any]:
    """Every part of this size, in turn."""
    from machine import about
    from measure import ROWS

    began = time.monotonic()
    told = about(size)
    parts = [p for p in PARTS if size in p.sizes.split() and (not ids or p.id in ids)]
    failed = []
    for k, part in enumerate(parts, start=1):
        print(f"{time.monotonic() - began:5.0f} s  {k}/{len(parts)} {part.id}", flush=True)
        failed += [problem for problem in [run(part)] if problem]
    seconds = round(time.monotonic() - began, 1)
    return told | dict(ids=ids, seconds=seconds, failed=failed, rows=ROWS)


def write(result: dict[str, Any], out: Path | None) -> None:
    """The rows, the result, and of a whole run the page."""
    from measure import HERE

    (HERE / "results.json").write_text(json.dumps(result["rows"], indent=1) + "\n")
    file = out or HERE / f"bench.{result['size']}.json"
    file.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{len(result['rows'])} rows in {result['seconds']:.0f} s, written to {file}")
    if result["size"] in PAGE_SIZES and not result["ids"]:
        from results_page import write_page

        print(f"page of results: {write_page(result)}")


def compared(result: dict[str, Any], old: str, tolerance: float | None) -> int:
    """Print what became slower; returns the exit code."""
    from compare import TOLERANCE, compare, read_results, report

    allowed = TOLERANCE if tolerance is None else tolerance
    c = compare(result, read_results(old), allowed)
    print(report(c, allowed))
    return 3 if c.slower else 0


def main(given: list[str]) -> int:
    """Measure, write, and compare."""
    o = options(given)
    from compare import CompareError, read_results

    try:
        if o.compare:
            read_results(o.compare)  # before anything is measured
        if o.new:
            return compared(read_results(o.new), o.compare, o.tolerance)
        if o.size:
            os.environ["BENCH_SIZE"] = o.size
        result = measure_all(o.ids, os.environ.get("BENCH_SIZE") or "default")
        write(result, o.out)
        slower = compared(result, o.compare, o.tolerance) if o.compare else 0
    except CompareError as e:
        print(e, file=sys.stderr)
        return 2
    for problem in result["failed"]:
        print(f"FAILED {problem}")
    is_wrong = result["failed"] or any(r["equal"] is False for r in result["rows"])
    return 1 if is_wrong else slower


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
