"""P9: the verbs of the registry."""

import tempfile
import time
from collections.abc import Callable

from measure import row

from crypto_anomaly.registry.registry import Registry


def p9() -> None:
    """Registry verbs on SQLite with 200 versions, wall milliseconds, the least of several."""
    with tempfile.TemporaryDirectory() as home:
        r = Registry(f"sqlite:///{home}/registry.db")
        promote = fill(r)
        row("P9", "promote", 1e3 * min(promote), "ms", 5)
        listing = least_seconds(lambda: r.list_model_versions(200))
        row("P9", "list 200 versions", 1e3 * listing, "ms", 6)
        resolve = least_seconds(lambda: r.resolve("champion"))
        row("P9", "resolve an alias", 1e3 * resolve, "ms", 1)


def fill(r: Registry) -> list[float]:
    """Register 200 versions and promote every tenth; returns the seconds of each promotion."""
    seconds = []
    for v in range(1, 201):
        r.register("ab" * 32, dict(data_source="training_dataset:v1", feature_names=["x"] * 20))
        if v % 10:
            continue
        r.record_evaluation(v, passed=True, gates=[], metrics={}, dataset="d")
        r.request_approval(v, by="a")
        r.approve(v, by="b", reason="c")
        start = time.perf_counter()
        r.promote(v)
        seconds.append(time.perf_counter() - start)
    return seconds


def least_seconds(f: Callable[[], object], times: int = 50) -> float:
    """The least wall seconds of several calls."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        f()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
