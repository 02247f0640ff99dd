"""Full automation over a simulated fortnight: `python benchmarks/fortnight.py [COINS]`.

Every day a candidate arrives that is known to be worse than the champion, equal to it or better:
the same detector with fewer, the same or more signals. `AUTO_APPROVE=on_pass` decides, the log of
events starts the promotions, and messages go to a file. The clock of the registry is that of the
market. The functions are those that the scheduled notebooks call; only papermill is left out.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pandas as pd

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import Workspace, claim, open_workspace
from crypto_anomaly.data.snapshots import write_days
from crypto_anomaly.data.table import simulated_table
from crypto_anomaly.features.surprisal import SURPRISALS
from crypto_anomaly.lifecycle import triggers
from crypto_anomaly.lifecycle.alert_sinks import begin_messages, deliver
from crypto_anomaly.lifecycle.dataset_steps import build_dataset
from crypto_anomaly.lifecycle.evaluate_steps import evaluate_candidate
from crypto_anomaly.lifecycle.promote_steps import promote_version
from crypto_anomaly.lifecycle.train_steps import train_candidate
from crypto_anomaly.registry.base import RegistryConnection
from crypto_anomaly.registry.registry import open_registry
from crypto_anomaly.simulate.market import Market

START = pd.Timestamp("2026-02-22", tz="UTC")
HISTORY = 8  # days before the fortnight

# signals of a detector: about 0.5, 0.75 and 0.95 of the injected events are found with them
SIGNALS = dict(few=SURPRISALS[:3], some=SURPRISALS[::2], all=SURPRISALS)


class Arrival(NamedTuple):
    """A candidate that arrives."""

    day: int  # of the fortnight
    signals: str  # a key of SIGNALS
    kind: str  # what it is: first, worse, equal or better


SHORT = (
    Arrival(0, "some", "first"),
    Arrival(1, "some", "equal"),
    Arrival(3, "few", "worse"),
    Arrival(7, "all", "better"),
)
LONG = (
    Arrival(0, "some", "first"),
    Arrival(1, "some", "equal"),
    Arrival(2, "some", "equal"),
    Arrival(3, "few", "worse"),
    Arrival(4, "some", "equal"),
    Arrival(5, "some", "equal"),
    Arrival(6, "few", "worse"),
    Arrival(7, "all", "better"),
    Arrival(8, "all", "equal"),
    Arrival(9, "all", "equal"),
    Arrival(10, "few", "worse"),
    Arrival(11, "all", "equal"),
    Arrival(12, "all", "equal"),
    Arrival(13, "some", "worse"),
)


@dataclass
class Fortnight:
    """The state of a simulated fortnight."""

    ws: Workspace
    now: pd.Timestamp = START
    arrivals: list[dict[str, Any]] = field(default_factory=list)

    def clock(self) -> Any:
        """The time of the market."""
        return self.now.to_pydatetime()

    def arrive(self, arrival: Arrival) -> None:
        """Build, train, evaluate and, where the log says so, promote."""
        self.now = START + pd.Timedelta(days=HISTORY + arrival.day)
        build_dataset(self.ws, as_of=self.now, max_history_hours=24 * 7)
        model = dict(algorithm="families", features=list(SIGNALS[arrival.signals]))
        version = train_candidate(self.ws, config=model).version
        e = evaluate_candidate(self.ws, run_id=f"evaluate-{arrival.day}")
        self.now += pd.Timedelta(minutes=10)
        triggers.dispatch(self.ws, self.promote)
        registry = open_registry(self.ws)
        deliver(registry, self.ws.settings, begin_messages(registry, self.ws.settings))
        champion = registry.champion()
        said = e["comparison"] or {}
        self.arrivals.append(
            arrival._asdict()
            | dict(
                version=version,
                passed=e["passed"],
                compared_to=e["compared_to"],
                verdict=said.get("verdict"),
                promoted=bool(champion and champion["version"] == version),
                approval=e["approval"],
            )
        )

    def promote(self, ws: Workspace, *args: str) -> int:
        """What a child of the scheduler does: promotions; the other stages are called above."""
        stage, key = args[1], args[-1]
        open_registry(ws).claim(stage, key, "fortnight")
        if stage == "promote":
            promote_version(ws, version=args[args.index("version") + 1])
        return 0


@contextmanager
def market_clock(state: Fortnight) -> Iterator[None]:
    """Let the log and the triggers live in the time of the market."""
    defaults = dict(RegistryConnection.__init__.__kwdefaults__ or {})
    with (
        patch.object(
            RegistryConnection.__init__, "__kwdefaults__", defaults | {"clock": state.clock}
        ),
        patch.object(triggers, "utcnow", state.clock),
    ):
        yield


def fortnight(plan: Sequence[Arrival], coins: int = 24, seed: int = 42) -> dict[str, Any]:
    """Run a fortnight; what arrived, what was refused and why, and what people were told."""
    home = tempfile.mkdtemp()
    settings = Settings(
        home=home, source="simulated", auto_approve="on_pass", alert_file=f"{home}/messages.jsonl"
    )
    state = Fortnight(claim(open_workspace(settings), "simulated"))
    days = HISTORY + plan[-1].day + 1
    hours = pd.date_range(START, periods=24 * days, freq="h", tz="UTC")
    write_days(state.ws, simulated_table(Market(coins, seed=seed), hours, coins=coins), "market")
    begun = time.monotonic()
    with market_clock(state):
        registry = open_registry(state.ws)
        begin_messages(registry, state.ws.settings)
        for arrival in plan:
            state.arrive(arrival)
        kinds = ("model_promoted", "auto_approval_refused", "approval_stale")
        log = [e for kind in kinds for e in reversed(registry.events(kind=kind))]
        waiting = [q["version"] for q in registry.open_requests(approved=True)]
    messages = Path(f"{home}/messages.jsonl").read_text().splitlines()
    return dict(
        arrivals=state.arrivals,
        log=[dict(at=e["at"], kind=e["kind"], version=e["version"], **e["payload"]) for e in log],
        waiting=waiting,
        messages=[json.loads(line)["text"] for line in messages],
        seconds=round(time.monotonic() - begun),
    )


if __name__ == "__main__":
    result = fortnight(LONG, coins=int(sys.argv[1]) if len(sys.argv) > 1 else 24)
    table = pd.DataFrame(result["arrivals"])
    columns = ["day", "kind", "version", "compared_to", "verdict", "promoted"]
    print(table[columns].to_string(index=False))
    for event in result["log"]:
        print(event["at"][:16], event["kind"], f"v{event['version']}", event["reason"])
    print(f"waiting for a person: {result['waiting']}; {result['seconds']} s", file=sys.stderr)
