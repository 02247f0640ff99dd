"""Every kind of event: who writes it, when, and the fields of its payload.

`found_kinds` reads the kinds from the sources; a test holds the two against each other.
"""

from __future__ import annotations

import ast
import re
from typing import NamedTuple

from crypto_anomaly.lifecycle.schedule import EVENT_TRIGGERS

from .settings import package_sources
from .text import code, table

WRITERS = {
    "record_event",
    "publish",
    "record_data",
    "record_move",
    "record_change",
    "_answer",
    "_announced",
    "_announce",
    "record_snapshots",
    "set_champion",
}
KIND = re.compile(r"[a-z]+(_[a-z]+)+")


class EventKind(NamedTuple):
    """One kind of event."""

    when: str
    fields: str  # of the payload, with blanks between


EVENTS = {
    "history_ready": EventKind(
        "a backfill or an import has stored rows",
        "assets rows coins hours first last source refused",
    ),
    "snapshot_ingested": EventKind(
        "a snapshot is stored",
        "assets ts coins stored repeated refused source parquet_path ingest_flow ingest_run_id",
    ),
    "rows_dropped": EventKind(
        "a person took rows of a coin out",
        "correction reason rows coins all_coins first last run_id",
    ),
    "rows_restored": EventKind(
        "rows that were taken out are back",
        "correction reason rows coins all_coins first last run_id",
    ),
    "rows_replaced": EventKind(
        "an import replaced stored rows", "correction reason rows coins all_coins first last run_id"
    ),
    "data_imported": EventKind(
        "a file of market data was read", "file format rows coins refused differing duplicates"
    ),
    "trades_imported": EventKind("a file of trades was read", "file product_id rows"),
    "dataset_ready": EventKind(
        "a training dataset and its holdout are stored",
        "assets dataset_version training_samples holdout_samples n_features builder_run_id",
    ),
    "training_finished": EventKind(
        "a version is registered as candidate", "data_source algorithm anomaly_rate run_id"
    ),
    "evaluation_passed": EventKind(
        "all hard gates passed; a candidate is evaluated now",
        "evaluation_id eval_data_ref anomaly_rate compared_to_version evaluation_run_id",
    ),
    "evaluation_failed": EventKind(
        "a hard gate failed",
        "evaluation_id eval_data_ref anomaly_rate compared_to_version evaluation_run_id",
    ),
    "approval_requested": EventKind(
        "a decision is asked for", "approval_id evaluation_id champion anomaly_rate notes"
    ),
    "approval_stale": EventKind(
        "the evaluation or the champion behind a request has moved",
        "approval_id evaluation_id was approved_by reason",
    ),
    "auto_approval_refused": EventKind(
        "an automatic approval was not given; a person decides",
        "reason request compared_to comparison",
    ),
    "model_approved": EventKind(
        "a person, or a rule, approved a request",
        "approval_id evaluation_id reason confirmed_worse",
    ),
    "model_rejected": EventKind("a person rejected a request", "approval_id evaluation_id reason"),
    "model_challenged": EventKind("a version is challenger now", "champion reason"),
    "trial_day": EventKind("a day of a trial was counted", "champion"),
    "trial_decided": EventKind("a trial has a verdict", "champion"),
    "trial_ended": EventKind("a trial ended without a promotion", "reason rejected"),
    "model_promoted": EventKind(
        "an approved version is champion",
        "alias previous_holder approval_id approved_by algorithm anomaly_rate reason",
    ),
    "model_rolled_back": EventKind("an earlier champion is back", "previous_holder reason"),
    "model_retired": EventKind("a version was replaced or taken out", "replaced_by reason"),
    "alias_moved": EventKind(
        "an alias of your own points elsewhere", "alias previous_holder approved reason"
    ),
    "rollback_requested": EventKind(
        "`monitor` proposes or orders a rollback", "reason from_version pending"
    ),
    "drift_detected": EventKind(
        "the champion fails a check of today's data", "problems metrics retrain"
    ),
    "outcomes_validated": EventKind("flags of a version were held against what happened", "gate"),
    "outcome_gate_failed": EventKind(
        "the precision of a version fell below its floor", "reason floor precision"
    ),
    "alert_opened": EventKind(
        "a detection is worth a message",
        "alert key tier rarity reason facts day told silent alert_kind",
    ),
    "alert_escalated": EventKind(
        "an open alert became rarer",
        "alert key tier rarity reason facts day told silent alert_kind",
    ),
    "alert_confirmed": EventKind(
        "the market confirmed an alert of trades",
        "alert key tier rarity reason facts day told silent alert_kind",
    ),
    "alert_withdrawn": EventKind(
        "the market did not confirm an alert of trades",
        "alert key tier rarity reason facts day told silent alert_kind",
    ),
    "alert_closed": EventKind(
        "an alert was quiet for two polls, or closed by hand",
        "alert key tier rarity reason facts day told silent alert_kind",
    ),
    "alert_feedback": EventKind(
        "a person rated or snoozed an alert", "alert key feedback snoozed_until"
    ),
    "alert_digest": EventKind(
        "what was beyond the budget of the day was sent as one message", "day count lines audience"
    ),
    "trades_compared": EventKind("the trades of flagged coins were looked at", "as_of coins"),
    "products_mapped": EventKind("it was decided which coin a product is", "how products reason"),
}


CONSTANT = re.compile(r'^([A-Z][A-Z_]*) = "([a-z_]+)"', re.M)


def _called(node: ast.Call) -> str:
    """The name of a function that is called."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _texts(node: ast.expr, known: dict[str, str]) -> list[str]:
    """The texts that an argument can be."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.Name) and node.id in known:
        return [known[node.id]]
    if isinstance(node, ast.IfExp):
        return _texts(node.body, known) + _texts(node.orelse, known)
    return []


def _kinds_of(text: str, known: dict[str, str]) -> set[str]:
    """The kinds that one source writes."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and _called(node) in WRITERS:
            for argument in node.args[:5]:
                found.update(_texts(argument, known))
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "event":
            found.update(_texts(node.value, known))
    return found


def found_kinds() -> set[str]:
    """The kinds that the sources write, as far as they stand in the calls or beside them."""
    sources = package_sources().values()
    known = {name: value for text in sources for name, value in CONSTANT.findall(text)}
    writing = [text for text in sources if any(f"{name}(" in text for name in WRITERS)]
    found = {kind for text in writing for kind in _kinds_of(text, known)}
    return {kind for kind in found if KIND.fullmatch(kind)}


def cells() -> list[str]:
    """The cells of the page."""
    rows = []
    for kind, (when, fields) in EVENTS.items():
        starts = EVENT_TRIGGERS.get(kind)
        rows.append(
            (code(kind), when, ", ".join(map(code, fields.split())), code(starts) if starts else "")
        )
    intro = (
        "The registry writes an event in the same transaction as the change that it tells. "
        "Events are "
        "append-only, numbered, and chained by hashes; `crypto-anomaly verify` walks along "
        "the chain. "
        "Each has `id`, `at` (UTC), `kind`, `model`, `version`, `actor` and a `payload`; "
        "payloads of "
        "versions also have `model_name` and `model_version`. Fields that are unknown are left out."
    )
    webhook = (
        "## As a webhook\n\n`CRYPTO_ANOMALY_ALERT_WEBHOOK_URL` receives alerts and approval "
        "requests as "
        "JSON; with `CRYPTO_ANOMALY_ALERT_WEBHOOK_SECRET` the body is signed. "
        "[Webhooks](../80_lifecycle/59_webhooks.ipynb) has the headers and a check of the "
        "signature. "
        "`crypto-anomaly events --json` prints the list."
    )
    return [intro, table(["kind", "written when", "payload", "starts the stage"], rows), webhook]
