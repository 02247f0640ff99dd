"""Compile the numba kernels once, at set-up, so that the first run does not wait for them."""

import compileall
from pathlib import Path

import numpy as np
import pandas as pd

import crypto_anomaly
from crypto_anomaly.features.features import featurize
from crypto_anomaly.model.artifact import train

compileall.compile_dir(Path(crypto_anomaly.__file__).parent, quiet=1)
hours = pd.date_range("2026-01-01", periods=40, freq="h", tz="UTC")
coins = [
    pd.DataFrame(
        dict(
            coin_id=f"c{i}",
            ts=hours,
            current_price=np.linspace(1, 2, 40) ** i,
            symbol="c",
            name="c",
            source="x",
        )
    )
    for i in range(12)
]
train(featurize(pd.concat(coins, ignore_index=True)))
