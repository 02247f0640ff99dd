"""What became slower: the rows of a run beside those of an earlier one.

A row is slower when its own figure is worse by more than the tolerance and, where it raced a rival,
the ratio to the rival is worse by more than the tolerance, too. So neither a slower machine nor a
rival that became faster is reported. The tolerance stands above the noise of the same code: NOISE.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

TOLERANCE = 0.5  # a row is slower when it takes more than 1.5 x


class CompareError(Exception):
    """A file of results that cannot be compared."""


class Change(NamedTuple):
    """A row in both runs."""

    id: str
    what: str
    factor: float  # how many times as much as before; above 1 is worse
    before: str
    now: str
    is_slower: bool


class Comparison(NamedTuple):
    """Two runs beside each other."""

    changes: list[Change]
    gone: list[str]  # measured before, and not now
    new: list[str]
    notes: list[str]  # what differs besides the code

    @property
    def slower(self) -> list[Change]:
        """The rows that became slower, the worst first."""
        found = [c for c in self.changes if c.is_slower]
        return sorted(found, key=lambda c: -c.factor)


def read_results(path: str | Path) -> dict[str, Any]:
    """A result with its rows; a bare list of rows is taken, too."""
    try:
        found = json.loads(Path(path).read_text())
    except OSError as e:
        raise CompareError(f"{path}: {e.strerror}; name a file that `make bench` wrote.") from e
    except ValueError as e:
        raise CompareError(f"{path} is no JSON ({e}); name a file that `make bench` wrote.") from e
    result = dict(rows=found) if isinstance(found, list) else found
    rows = result.get("rows") if isinstance(result, dict) else None
    if not isinstance(rows, list) or not all(is_row(r) for r in rows):
        raise CompareError(f"{path} has no rows with id, what, value, unit and bar.")
    return result


def is_row(r: Any) -> bool:
    """Whether it has the fields of a row."""
    fields = {"id", "what", "value", "unit", "bar", "ok", "equal"}
    return isinstance(r, dict) and fields <= r.keys()


def measured(result: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows with a value, by id and text."""
    return {(r["id"], r["what"]): r for r in result["rows"] if r["value"] is not None}


def worse(r: dict[str, Any], before: dict[str, Any], key: str) -> float | None:
    """How many times worse a figure is; None where one of both lacks it, or is 0."""
    a, b = before.get(key), r.get(key)
    if not a or not b:
        return None
    is_ratio = key == "value" and r["unit"] == "x"
    return a / b if is_ratio else b / a


def factor(r: dict[str, Any], before: dict[str, Any]) -> float:
    """How many times worse a row is, by the milder of its own figure and its ratio."""
    found = [worse(r, before, key) for key in ("ours", "value")]
    return min([f for f in found if f is not None], default=1.0)


def figure(r: dict[str, Any]) -> str:
    """What a row says about ours."""
    value = f"{r['value']:g} {r['unit']}".strip()
    ours = r.get("ours")
    return value if ours is None else f"{ours:.3g} {r.get('figure', 's')} ({value})"


def change(r: dict[str, Any], before: dict[str, Any], tolerance: float) -> Change:
    """A row beside itself."""
    worse_by = factor(r, before)
    is_slower = worse_by > 1 + tolerance
    return Change(r["id"], r["what"], worse_by, figure(before), figure(r), is_slower)


def differences(now: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """What differs between two runs besides the code."""
    found = []
    if now.get("size") != before.get("size"):
        found.append(f"size {before.get('size')} before, {now.get('size')} now")
    a, b = before.get("machine", {}), now.get("machine", {})
    for key in ("cpu", "cores", "python"):
        if a.get(key) != b.get(key):
            found.append(f"{key} {a.get(key)} before, {b.get(key)} now")
    for group in ("libraries", "rivals"):
        was, has = a.get(group, {}), b.get(group, {})
        found += [f"{n} {was.get(n)} before, {has[n]} now" for n in has if was.get(n) != has[n]]
    return found


def compare(
    now: dict[str, Any], before: dict[str, Any], tolerance: float = TOLERANCE
) -> Comparison:
    """Two runs, row by row."""
    a, b = measured(before), measured(now)
    changes = [change(b[key], a[key], tolerance) for key in b if key in a]
    gone = [" ".join(key) for key in a if key not in b]
    new = [" ".join(key) for key in b if key not in a]
    return Comparison(changes, gone, new, differences(now, before))


def report(c: Comparison, tolerance: float) -> str:
    """The comparison as text: what became slower, what became faster, what is missing."""
    lines = [f"differs besides the code: {note}" for note in c.notes]
    for x in c.slower:
        lines.append(f"SLOWER {x.factor:.2f} x  {x.id} {x.what}: {x.before} before, {x.now} now")
    for x in sorted(c.changes, key=lambda x: x.factor):
        if x.factor < 1 / (1 + tolerance):
            better = f"faster {1 / x.factor:.2f} x"
            lines.append(f"{better}  {x.id} {x.what}: {x.before} before, {x.now} now")
    lines += [f"not measured now: {name}" for name in c.gone]
    n = len(c.slower)
    lines.append(
        f"{len(c.changes)} rows compared, {n} slower by more than {tolerance:.0%} "
        f"(the tolerance; the noise of the same code is below it)"
    )
    return "\n".join(lines)
