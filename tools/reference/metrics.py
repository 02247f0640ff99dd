"""Every metric, from the registry of the serving app."""

from __future__ import annotations

from typing import Any

from crypto_anomaly.serving.metrics import AppMetrics

from .text import cell, code, table


def families() -> list[Any]:
    """What `/metrics` can show, sorted by name."""
    return sorted(AppMetrics().registry.collect(), key=name_of)


def name_of(family: Any) -> str:
    """The name under which Prometheus stores a metric."""
    return f"{family.name}_total" if family.type == "counter" else str(family.name)


def series(family: Any) -> list[str]:
    """All names of series of a metric that a query may use."""
    if family.type == "histogram":
        return [f"{family.name}_{end}" for end in ("bucket", "count", "sum")]
    return [name_of(family)]


def labels() -> dict[str, tuple[str, ...]]:
    """Metric -> its labels."""
    collectors = AppMetrics().registry._collector_to_names
    return {c._name: c._labelnames for c in collectors}


def cells() -> list[str]:
    """The cells of the page."""
    known = labels()
    rows = [
        (code(name_of(f)), f.type, ", ".join(map(code, known[f.name])), cell(f.documentation))
        for f in families()
    ]
    intro = (
        "`GET /metrics` of the serving app, in Prometheus' text format. Gauges are read from the "
        "store when Prometheus asks; where the store does not answer in time they keep their last "
        "value. A histogram has the series `_bucket`, `_count` and `_sum`. "
        "`deploy/prometheus-alerts.yml` and `deploy/grafana-dashboard.json` use these names."
    )
    return [intro, table(["metric", "type", "labels", "meaning"], rows)]
