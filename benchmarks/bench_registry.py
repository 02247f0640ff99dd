"""P9: the verbs of the registry."""

import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

from measure import row

from crypto_anomaly.registry.registry import Registry


class Best(NamedTuple):
    """The least of several calls."""

    wall: float  # seconds
    cpu: float


def p9() -> None:
    """Registry verbs on SQLite with 200 versions: wall milliseconds, the least of several."""
    with tempfile.TemporaryDirectory() as home:
        r = Registry(f"sqlite:///{home}/registry.db")
        verbs = {"promote": (fill(r), 5)}
        verbs["list 200 versions"] = (best_of(lambda: r.list_model_versions(200)), 6)
        verbs["resolve an alias"] = (best_of(lambda: r.resolve("champion")), 1)
    for name, (best, bar) in verbs.items():
        row("P9", name, 1e3 * best.wall, "ms", bar, ours=best.cpu)


def fill(r: Registry) -> Best:
    """Register 200 versions and promote every tenth; returns the best promotion."""
    found = []
    for v in range(1, 201):
        r.register("ab" * 32, dict(data_source="training_dataset:v1", feature_names=["x"] * 20))
        if v % 10:
            continue
        r.record_evaluation(v, passed=True, gates=[], metrics={}, dataset="d")
        r.request_approval(v, by="a")
        r.approve(v, by="b", reason="c")
        found.append(timed(lambda v=v: r.promote(v)))
    return least(found)


def timed(f: Callable[[], object]) -> Best:
    """One call."""
    wall, cpu = time.perf_counter(), time.process_time()
    f()
    used = time.process_time() - cpu
    return Best(time.perf_counter() - wall, used)


def least(found: list[Best]) -> Best:
    """The least wall and the least CPU time."""
    return Best(min(b.wall for b in found), min(b.cpu for b in found))


def best_of(f: Callable[[], object], times: int = 50) -> Best:
    """The best of many calls."""
    return least([timed(f) for _ in range(times)])
