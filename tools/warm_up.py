"""Compile the numba kernels once, at set-up, so that the first run does not wait for them."""

import compileall
from pathlib import Path

import numpy as np
import pandas as pd

import crypto_anomaly
from crypto_anomaly.features.features import featurize
from crypto_anomaly.model.training import train
from crypto_anomaly.simulate.trades import TradeSimulator, trades
from crypto_anomaly.trades.detector import train_trades
from crypto_anomaly.trades.joint_scores import load_kernels
from crypto_anomaly.trades.table import taken


def coin(i: int) -> pd.DataFrame:
    """Forty hours of an invented coin."""
    ts = pd.date_range("2026-01-01", periods=40, freq="h", tz="UTC")
    price = np.linspace(1, 2, 40) ** i
    f = pd.DataFrame(dict(ts=ts, current_price=price))
    return f.assign(coin_id=f"c{i}", symbol="c", name="c", source="x")


def main() -> None:
    """Compile the package, and the kernels by using them once."""
    compileall.compile_dir(Path(crypto_anomaly.__file__).parent, quiet=1)
    train(featurize(pd.concat([coin(i) for i in range(12)], ignore_index=True)))
    start = pd.Timestamp("2026-01-02", tz="UTC")
    sent = trades(TradeSimulator(), "BTC-USD", start, start + pd.Timedelta("30min"))
    load_kernels(train_trades(taken(sent))[0])


if __name__ == "__main__":
    main()
