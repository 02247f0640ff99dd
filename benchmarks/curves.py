"""How cost grows: coins, Dask workers, rows of history, trades, versions, products, clients.

    python benchmarks/curves.py [coins dask history trades versions products clients] [--size quick]

Each curve is measured here and drawn as nbs/guides/scale_NAME.svg; the numbers, with machine, date
and commit, go to nbs/guides/scale_curves.json, which keeps the curves that were not asked for.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

GUIDES = Path(__file__).resolve().parent.parent / "nbs" / "guides"
FILE = GUIDES / "scale_curves.json"
NAMES = ("coins", "dask", "history", "trades", "versions", "products", "clients")


class Curve(NamedTuple):
    """One picture."""

    title: str
    x: str
    y: str
    lines: dict[str, list[tuple[float, float]]]
    note: str = ""


def options(given: list[str]) -> argparse.Namespace:
    """What was asked for."""
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("names", nargs="*", choices=(*NAMES, []), help="all without any")
    p.add_argument("--size", choices=("quick", "default", "full"))
    o = p.parse_args(given)
    return o


def functions() -> dict[str, Callable[[], Curve]]:
    """What measures each curve."""
    import curves_features as f
    import curves_serving as s
    import curves_trades as t

    return dict(
        coins=f.coins,
        dask=f.dask,
        history=f.history,
        trades=t.trades,
        versions=s.versions,
        products=t.products,
        clients=s.clients,
    )


def kept() -> dict[str, Any]:
    """The curves of earlier runs."""
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def draw(name: str, curve: Curve) -> None:
    """Write the picture of a curve."""
    from svg_chart import chart

    picture = chart(curve.title, curve.x, curve.y, curve.lines)
    (GUIDES / f"scale_{name}.svg").write_text(picture)


def measured(name: str, about: dict[str, Any]) -> dict[str, Any]:
    """Measure and draw one curve."""
    curve = functions()[name]()
    draw(name, curve)
    for line, points in curve.lines.items():
        told = ", ".join(f"{x:g}: {y:.3g}" for x, y in points)
        print(f"{name:9} {line}: {told}", flush=True)
    run = dict(date=about["date"], commit=about["commit"], size=about["size"])
    m = about["machine"]
    where = f"{m['cpu']}, {m['cores']} cores, {m['memory_gb']} GB, Python {m['python']}"
    return curve._asdict() | run | dict(machine=where)


def main(given: list[str]) -> int:
    """Measure curves, and keep them."""
    o = options(given)
    if o.size:
        os.environ["BENCH_SIZE"] = o.size
    from machine import about

    told = about(os.environ.get("BENCH_SIZE") or "default")
    found = kept()
    for name in o.names or NAMES:
        found[name] = measured(name, told)
        FILE.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
