"""Ours beside what an expert would write: in turns, the least CPU time of several rounds."""

import time
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any, NamedTuple

from measure import row

Run = Callable[[], Any]


class Rival(NamedTuple):
    """Another way to the same output."""

    name: str
    package: str  # that it needs; "" for none
    make: Callable[[], Run]  # imports and prepares, unmeasured; returns what is measured

    @property
    def is_installed(self) -> bool:
        """Whether its package can be imported."""
        return not self.package or find_spec(self.package) is not None


class Lap(NamedTuple):
    """The best round of one way."""

    cpu: float  # seconds, of all threads of this process
    wall: float
    result: Any  # of the last round


def quiet_duckdb(database: str = ":memory:") -> Any:
    """A connection to DuckDB without its progress bar."""
    import duckdb

    c = duckdb.connect(database)
    c.execute("SET enable_progress_bar = false")
    return c


def lap(run: Run, times: int) -> Lap:
    """One round of `times` calls."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        result = run()
    used = time.process_time() - cpu
    return Lap(used / times, (time.perf_counter() - wall) / times, result)


def laps(ways: dict[str, Run], times: dict[str, int], rounds: int, before: Run) -> dict[str, Lap]:
    """Every way in turns; the round with the least CPU of each."""
    best: dict[str, Lap] = {}
    for _ in range(rounds):
        before()
        for name, run in ways.items():
            new = lap(run, times.get(name, 1))
            if name in best:
                new = Lap(min(new.cpu, best[name].cpu), min(new.wall, best[name].wall), new.result)
            best[name] = new
    return best


def nothing() -> None:
    """No preparation."""


def race(
    id_: str,
    what: str,
    ours: Run,
    rivals: Iterable[Rival],
    *,
    same: Callable[[Any, Any], bool],
    bar: float = 1.0,
    plain: Run | None = None,
    limit: Run | None = None,
    rounds: int = 3,
    times: dict[str, int] | None = None,
    before: Run = nothing,
    by_wall: bool = False,
    **more: Any,
) -> None:
    """One row: how many times the best rival's CPU time ours is better; outputs compared.

    `plain` (the textbook way) and `limit` (what the machine cannot beat) are measured beside, for
    orientation. `before` prepares every round, unmeasured. A rival that is not installed is a row
    that says how to install it.
    """
    rivals = list(rivals)
    for r in rivals:
        if not r.is_installed:
            missing(id_, what, r, bar)
    there = [r for r in rivals if r.is_installed]
    ways = {"ours": ours} | {r.name: r.make() for r in there}
    extra = {"plain": plain, "limit": limit}
    ways |= {name: run for name, run in extra.items() if run is not None}
    best = laps(ways, times or {}, rounds, before)
    cost = {name: b.wall if by_wall else b.cpu for name, b in best.items()}
    seconds = {r.name: round(cost[r.name], 9) for r in there}
    fields = dict(ours=cost["ours"], plain=cost.get("plain"), limit=cost.get("limit"))
    if not seconds:
        why = "no rival is installed"
        row(id_, what, None, "x", bar, rivals={}, **fields, why=why, **more)
        return
    fastest = min(seconds, key=seconds.__getitem__)
    equal = all(same(best["ours"].result, best[r.name].result) for r in there)
    fields |= dict(rival=fastest, rivals=seconds, detail=told(cost))
    row(id_, what, seconds[fastest] / cost["ours"], "x", bar, equal, **fields, **more)


def missing(id_: str, what: str, rival: Rival, bar: float) -> None:
    """The row of a rival that is not installed."""
    command = f"pip install {rival.package}, or all of them: pip install -e '.[bench]'"
    row(id_, f"{what}: {rival.name}", None, "x", bar, missing=command, rival=rival.name)


def told(cost: dict[str, float]) -> str:
    """What each way took, as text."""
    return ", ".join(f"{name} {duration(s)}" for name, s in cost.items())


def duration(seconds: float) -> str:
    """Seconds in the unit that reads best."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
