"""Detectors, presets, feature sets and signals."""

from __future__ import annotations

import json
from typing import Any

from crypto_anomaly.features.signals import SIGNALS
from crypto_anomaly.model.detectors import DETECTORS
from crypto_anomaly.model.presets import FEATURE_SETS, PRESETS

from .text import cell, code, sentence, table


def shown(config: dict[str, Any]) -> str:
    """A configuration as JSON."""
    return code(json.dumps(config))


def cells() -> list[str]:
    """The cells of the page."""
    detectors = [
        (code(name), code(d.__name__), cell(sentence(d.__doc__ or "")))
        for name, d in DETECTORS.items()
    ]
    presets = [(code(name), shown(config)) for name, config in PRESETS.items()]
    sets = [
        (
            code(name),
            str(len(columns)),
            ", ".join(map(code, columns[:4])) + (" …" if len(columns) > 4 else ""),
        )
        for name, columns in FEATURE_SETS.items()
    ]
    signals = [
        (code(name), cell(s.meaning), f"{s.start:g}", f"{s.excess:g}")
        for name, s in SIGNALS.items()
    ]
    return [
        "What a model can be, and what it can say. "
        "[Which detector for what](../guides/detectors.ipynb) compares them on the same "
        "injected events.",
        "## Detectors\n\nThe value of `algorithm` in a configuration. A higher score is more "
        "anomalous.\n\n" + table(["algorithm", "class", "what it does"], detectors),
        "## Presets\n\n`crypto-anomaly run train -p model_config NAME`, a JSON file, or JSON "
        "text.\n\n" + table(["preset", "configuration"], presets),
        "## Feature sets\n\nThe value of `features` in a configuration; a list of names "
        "works, too.\n\n" + table(["set", "features", "the first"], sets),
        "## Signals of the default detector\n\nEach signal has one statistic; its tail "
        "begins at `start`, "
        "with a mean excess above it.\n\n"
        + table(["signal", "meaning", "start", "mean excess"], signals),
    ]
