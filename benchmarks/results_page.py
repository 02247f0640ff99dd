"""The page of results: nbs/guides/benchmarks.ipynb, written from a result of `make bench`.

`python benchmarks/results_page.py [benchmarks/bench.full.json [LATER.json]]` writes it again. The
rows of a later run of some parts (`make bench SIZE=full ONLY="P2 P5"`) get a table of their own.
"""

import json
import sys
from pathlib import Path
from typing import Any

from compare import read_results
from reasons import reason

PAGE = Path(__file__).resolve().parent.parent / "nbs" / "guides" / "benchmarks.ipynb"
HEAD = "| | path | ours | best rival | plain or reference | limit | result | bar | |"
RULE = "|---|---|--:|---|--:|--:|--:|--:|---|"
SUBJECTS = dict(
    P1="features of a whole market",
    P2="the newest hour",
    P3="reading the lake",
    P4="scoring with the forest",
    P5="training",
    P6="a live trade",
    P7="storing trades",
    P8="serving",
    P9="registry",
    P10="start",
    L="the live stream under load",
)
INTRO = """# Benchmarks
> Each path beside the best that an expert would write, from one run on one machine."""
READING = """Each row is measured in one run: ours, rivals, plain way and limit take turns.
The round with the least CPU time of each counts. The outputs are compared in the same run; a row
whose outputs differ fails the run. *Plain* is the textbook way (pandas by groups, one INSERT per
trade, scikit-learn for every request). *Limit* is what no program on this machine avoids, such as
reading the same columns from one file. A ratio (x) is the rival's cost over ours: more is better.
Times are CPU seconds, of all threads, where nothing else is said."""


def duration(seconds: float) -> str:
    """Seconds in the unit that reads best."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def shown(r: dict[str, Any], key: str) -> str:
    """A cost of a row as text; "" where it has none."""
    value = r.get(key)
    if value is None and key == "ours" and r["unit"] != "x" and r["value"] is not None:
        return number(r["value"], r["unit"])  # the figure is ours
    if value is None:
        return ""
    unit = r.get("figure", "s")
    return duration(value) if unit == "s" else f"{value:,.3g} {unit}"


def number(value: float, unit: str) -> str:
    """A figure with its unit, in three digits."""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{text} {unit}".strip()


def best_rival(r: dict[str, Any]) -> str:
    """The name and the cost of the best rival."""
    name = r.get("rival")
    if not name or name not in r.get("rivals", {}):
        return ""
    unit = r.get("figure", "s")
    cost = r["rivals"][name]
    return f"{name}: " + (duration(cost) if unit == "s" else f"{cost:,.3g} {unit}")


def others(r: dict[str, Any]) -> str:
    """The rivals that were not the best, as text."""
    rest = {n: s for n, s in r.get("rivals", {}).items() if n != r.get("rival")}
    return ", ".join(f"{n} {duration(s)}" for n, s in sorted(rest.items(), key=lambda x: x[1]))


def cells(r: dict[str, Any]) -> str:
    """A row of the table."""
    sign, unit = "≥" if r["unit"] == "x" else "≤", r.get("shown", r["unit"])
    bar = "" if r["bar"] is None else f"{sign} {number(r['bar'], unit)}"
    result = number(r["value"], unit)
    is_ok = {None: "", True: "ok", False: "**missed**"}[r["ok"]]
    if r["equal"] is False:
        is_ok = "**outputs differ**"
    fields = [
        r["id"],
        r["what"],
        shown(r, "ours"),
        best_rival(r),
        shown(r, "plain"),
        shown(r, "limit"),
    ]
    return "| " + " | ".join([*fields, result, bar, is_ok]) + " |"


def lines(rows: list[dict[str, Any]]) -> str:
    """All rows that were measured, with the heads of the columns."""
    there = [r for r in rows if r["value"] is not None]
    return "\n".join([HEAD, RULE, *map(cells, there)])


def table(rows: list[dict[str, Any]]) -> str:
    """All rows, and what the ids stand for."""
    ids = ", ".join(f"{id_} {subject}" for id_, subject in SUBJECTS.items())
    return f"## The table\n\n{ids}.\n\n{lines(rows)}"


def measured_again(later: dict[str, Any]) -> str:
    """The rows of parts that changed after the run."""
    return (
        "## Measured again\n\n"
        f"These parts changed after that run. They were measured {later.get('date')} at commit "
        f"`{later.get('commit')}` on the same machine, and their rows in the table above are of "
        f"the code before.\n\n{lines(later['rows'])}"
    )


def other_rivals(rows: list[dict[str, Any]]) -> str:
    """The rivals that were not the best."""
    lines = [f"- {r['id']} {r['what']}: {others(r)}." for r in rows if others(r)]
    return "## The other rivals\n\n" + ("\n".join(lines) or "None.")


def summary(result: dict[str, Any]) -> str:
    """How many bars are reached, and on what machine."""
    rows = [r for r in result["rows"] if r["value"] is not None]
    goals = [r["ok"] for r in rows if r["bar"] is not None]
    compared = sum(r["equal"] is True for r in rows)
    m = result.get("machine", {})
    where = f"{m.get('cpu')}, {m.get('cores')} cores, {m.get('memory_gb')} GB, {m.get('system')}"
    return (
        f"{sum(goals)} of {len(goals)} bars are reached; the outputs of {compared} rows were "
        f"compared with those of another way and are equal.\n\n"
        f"Measured {result.get('date')} at commit `{result.get('commit')}` on {where}, "
        f"Python {m.get('python')}, load {m.get('load_at_start')} at the start. The run took "
        f"{result.get('seconds', 0):,.0f} s: `make bench SIZE={result.get('size')}`."
    )


def missed(rows: list[dict[str, Any]]) -> str:
    """Which bars are missed, and why."""
    found = [r for r in rows if r["ok"] is False]
    lines = [
        f"- **{r['id']} {r['what']}**: {number(r['value'], r['unit'])}, the bar is "
        f"{number(r['bar'], r['unit'])}. {r.get('why') or reason(r)}"
        for r in found
    ]
    return "## What is missed, and why\n\n" + ("\n".join(lines) or "Nothing.")


def not_measured(rows: list[dict[str, Any]]) -> str:
    """What was not measured, and how to install it."""
    lines = [
        f"- {r['id']} {r['what']}: {r.get('missing') or r.get('why')}"
        for r in rows
        if r["value"] is None
    ]
    return "## What was not measured\n\n" + ("\n".join(lines) or "Nothing.")


def libraries(result: dict[str, Any]) -> str:
    """The versions of the libraries of both sides."""
    m = result.get("machine", {})
    lines = ["## Versions", "", "| library | version | side |", "|---|---|---|"]
    for group, side in (("libraries", "ours"), ("rivals", "rival")):
        for name, version in m.get(group, {}).items():
            lines.append(f"| {name} | {version or 'not installed'} | {side} |")
    return "\n".join(lines)


HOW = """## Measure again

```bash
pip install -e '.[bench]'          # the rivals; without one, its row says so
make bench SIZE=quick              # two minutes: small markets, to see what a change did
make bench                         # some ten minutes
make bench SIZE=full               # the sizes of the bars, for this page
make bench COMPARE=old.json        # then names what became slower than in old.json
```

Every run leaves its rows with machine, versions, date and commit in `benchmarks/bench.SIZE.json`.
`COMPARE` reports a row when it takes more than 1.5 × as long as before (`TOLERANCE=0.5`) and, where
it raced a rival, the ratio to the rival fell as much: a slower machine alone is not reported.
The exit code is then 3."""


def page(result: dict[str, Any], later: dict[str, Any] | None = None) -> list[str]:
    """The cells of the page."""
    rows = result["rows"]
    return [
        INTRO,
        summary(result),
        READING,
        table(rows),
        *([measured_again(later)] if later else []),
        missed(rows),
        other_rivals(rows),
        not_measured(rows),
        libraries(result),
        HOW,
    ]


def write_page(
    result: dict[str, Any], file: Path = PAGE, later: dict[str, Any] | None = None
) -> Path:
    """Write the page as a notebook."""
    cells = [
        dict(cell_type="markdown", id=f"bench{k:03}", metadata={}, source=lines_of(text))
        for k, text in enumerate(page(result, later))
    ]
    kernel = dict(display_name="python3", language="python", name="python3")
    metadata = dict(kernelspec=kernel)
    book = dict(cells=cells, metadata=metadata, nbformat=4, nbformat_minor=5)
    file.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n")
    return file


def lines_of(text: str) -> list[str]:
    """A text as a notebook holds it: lines with their ends."""
    return text.splitlines(keepends=True)


if __name__ == "__main__":
    name = sys.argv[1] if len(sys.argv) > 1 else str(Path(__file__).parent / "bench.full.json")
    later = read_results(sys.argv[2]) if len(sys.argv) > 2 else None
    print(write_page(read_results(name), later=later))
