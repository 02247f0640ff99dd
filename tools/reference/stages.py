"""Every stage with its parameters, from the scheduled notebooks."""

from __future__ import annotations

import ast

import nbformat

from crypto_anomaly.lifecycle.schedule import EVENT_TRIGGERS, PUBLISHES, SCHEDULE, stages_due
from crypto_anomaly.lifecycle.stages import flow_names, stage_parameters, stages

from .text import cell, code, sentence, table


def schedule_text(stage: str) -> str:
    """When a stage runs by itself."""
    found = []
    for kind, entry in SCHEDULE.items():
        if stage in stages_due(kind):
            minute, hour = entry.when["minute"], entry.when.get("hour")
            at = (
                f"every hour at :{minute:02}" if hour is None else f"daily at {hour:02}:{minute:02}"
            )
            found.append(f"{at} UTC")
    found += [f"after `{event}`" for event, target in EVENT_TRIGGERS.items() if target == stage]
    return "; ".join(found) or "by hand"


def description(stage: str) -> str:
    """The first line of the notebook below its title."""
    nb = nbformat.read(stages()[stage], 4)
    text = next(c.source for c in nb.cells if c.cell_type == "markdown")
    body = "\n".join(line.lstrip("> ") for line in text.splitlines() if not line.startswith("#"))
    return sentence(body)


def default_text(value: str) -> str:
    """A default as it is typed on the command line."""
    read = ast.literal_eval(value)
    if read is None or isinstance(read, bool):
        return str(read).lower()
    return str(read)


def stage_section(stage: str) -> str:
    """The section of one stage."""
    other = ", ".join(code(name) for name in flow_names(stage))
    facts = [f"Runs {schedule_text(stage)}."]
    if PUBLISHES.get(stage):
        facts.append(f"Writes {' or '.join(code(e) for e in PUBLISHES[stage])}.")
    if other:
        facts.append(f"The references call it {other}; these names work, too.")
    rows = [
        (
            code(p["name"]),
            cell(p["inferred_type_name"] or ""),
            code(default_text(p["default"])),
            cell(p["help"]),
        )
        for p in stage_parameters(stage).values()
    ]
    example = f"```sh\ncrypto-anomaly run {stage}\n```"
    parameters = (
        table(["parameter", "type", "default", "meaning"], rows) if rows else "No parameters."
    )
    lines = [f"## {stage}", description(stage), " ".join(facts), example, parameters]
    return "\n\n".join(lines)


def cells() -> list[str]:
    """The cells of the page."""
    intro = (
        "A stage is a notebook in `scheduled/`. `crypto-anomaly run STAGE -p NAME VALUE` runs it "
        "with other parameters; `--NAME VALUE` means the same. A parameter that is given wins over "
        "a file of `FLOW_…_CONFIG`, the file over the default. Each run is saved as an "
        "executed notebook."
    )
    return [intro, *(stage_section(stage) for stage in stages())]
