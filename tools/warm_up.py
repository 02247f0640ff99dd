"""Compile the numba kernels once, at set-up, so that the first run does not wait for them."""

import compileall
import importlib
import logging
import os
import pkgutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from numba.core.dispatcher import Dispatcher

import crypto_anomaly
from crypto_anomaly.core.branches import BRANCH_VARIABLES
from crypto_anomaly.core.compiled import import_numba
from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import Workspace, claim, open_workspace
from crypto_anomaly.data.snapshots import write_days, write_snapshot
from crypto_anomaly.data.table import simulated_table
from crypto_anomaly.lifecycle.dataset_steps import build_dataset
from crypto_anomaly.lifecycle.train_steps import train_candidate
from crypto_anomaly.model.scan import scan
from crypto_anomaly.simulate.market import Market
from crypto_anomaly.simulate.trades import TradeSimulator, trades
from crypto_anomaly.trades.detector import train_trades
from crypto_anomaly.trades.joint_scores import load_kernels
from crypto_anomaly.trades.pump import pump_scores
from crypto_anomaly.trades.table import taken

PACKAGE = "crypto_anomaly."
HOURS = pd.date_range("2026-01-01", periods=100, freq="h", tz="UTC")
FIELDS = ("current_price", "market_cap", "total_volume")


def next_hour(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a market an hour later: one coin in four stands still."""
    stands = table.index % 4 == 0
    moved = {name: table[name].where(stands, 1.01 * table[name]) for name in FIELDS}
    return table.assign(ts=table.ts + pd.Timedelta("1h"), **moved)


def use_market(ws: Workspace) -> None:
    """Fill, build, train, score a past moment, the newest one, and those that come after it."""
    market = Market()
    write_days(ws, simulated_table(market, HOURS), "set-up")
    build_dataset(ws)
    train_candidate(ws)
    scan(ws, at=HOURS[90]).compute_all()
    scan(ws).compute_all()
    newest = simulated_table(market, HOURS[-1:])
    for _ in range(2):
        newest = next_hour(newest)
        write_snapshot(ws, newest)
        scan(ws).compute_all()


def use_trades() -> None:
    """Train on half an hour of trades, and score a trade of each side."""
    pump_scores(np.array([0.0, 1.0]), np.ones(2), np.array([True, False]), np.zeros(2))
    start = pd.Timestamp("2026-01-02", tz="UTC")
    sent = trades(TradeSimulator(), "BTC-USD", start, start + pd.Timedelta("30min"))
    load_kernels(train_trades(taken(sent))[0])


def kernels() -> Iterator[Dispatcher]:
    """The compiled functions of the package whose code is kept in files of their own."""
    for module in pkgutil.walk_packages(crypto_anomaly.__path__, PACKAGE):
        importlib.import_module(module.name)
    import_numba()
    found = [vars(m).values() for name, m in sys.modules.items() if name.startswith(PACKAGE)]
    unique = {id(v): v for values in found for v in values if isinstance(v, Dispatcher)}
    for kernel in unique.values():
        if kernel.stats.cache_path and kernel.targetoptions.get("inline") != "always":
            yield kernel


def not_compiled() -> list[str]:
    """The kernels that the uses above do not reach."""
    return [
        f"{k.__module__}.{k.__qualname__}"
        for k in kernels()
        if not list(Path(k.stats.cache_path).glob(f"*.{k.__qualname__}-*.nbi"))
    ]


@contextmanager
def workspace() -> Iterator[Workspace]:
    """A workspace in files that are gone afterwards, whatever the settings of the user name."""
    for name in list(os.environ):
        if name.startswith("CRYPTO_ANOMALY_") or name in BRANCH_VARIABLES:
            del os.environ[name]
    with tempfile.TemporaryDirectory() as home, chdir(home):  # where no file of settings is
        yield claim(open_workspace(Settings(home=home, source="simulated")), "simulated")


def main() -> None:
    """Compile the package, and the kernels by using them once; fail where one was not used."""
    compileall.compile_dir(Path(crypto_anomaly.__file__).parent, quiet=1)
    logging.getLogger("crypto_anomaly").setLevel(logging.ERROR)
    with workspace() as ws:
        use_market(ws)
    use_trades()
    left = not_compiled()
    if left:
        raise SystemExit(f"tools/warm_up.py does not use {', '.join(left)}: add a use of it.")


if __name__ == "__main__":
    main()
