"""Every command of the command line with its options, from typer."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any

import typer

from crypto_anomaly.serving.cli import app
from crypto_anomaly.serving.cli_help import EXAMPLES, PROGRAM

from .text import cell, code, sentence, table


def commands() -> Iterator[tuple[str, Any]]:
    """Every command that does something: its path, such as 'bench market', and itself."""

    def walk(group: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        for name, command in group.commands.items():
            inner = getattr(command, "commands", None)
            if not inner or command.invoke_without_command:
                yield " ".join((*path, name)), command
            if inner:
                yield from walk(command, (*path, name))

    yield from walk(typer.main.get_command(app), ())


def option_names(option: Any) -> str:
    """How an option is written, such as '--since, -s'; an argument in capitals."""
    if option.param_type_name == "argument":
        return str(option.name).upper()
    return ", ".join([*option.opts, *option.secondary_opts])


def type_name(option: Any) -> str:
    """Which values an option takes."""
    if getattr(option, "is_flag", False):
        return "flag"
    kind = option.type_descriptor.annotation
    values = list(kind) if isinstance(kind, type) and issubclass(kind, Enum) else []
    if values:
        return " \\| ".join(str(v.value) for v in values)
    words = {"str": "text", "int": "number", "float": "number", "bool": "flag", "Path": "path"}
    return words.get(getattr(kind, "__name__", ""), str(kind))


def default_of(option: Any) -> str:
    """The default of an option; '' where there is none."""
    if option.required:
        return "needed"
    value = option.default
    is_empty = value is None or value == "" or value is False or repr(value) == "Sentinel.UNSET"
    return "" if is_empty or callable(value) else str(value)


def command_section(path: str, command: Any) -> str:
    """The section of one command."""
    context = command.make_context(path, [], resilient_parsing=True)
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [f"## {path}", "", sentence(command.help), "", "```sh"]
    lines += [f"{PROGRAM} {path} {usage}".strip()]
    if path in EXAMPLES:
        lines += [f"{PROGRAM} {EXAMPLES[path]}".strip()]
    lines += ["```"]
    shown = [o for o in command.params if not getattr(o, "hidden", False) and o.name != "help"]
    rows = [
        (
            code(option_names(o)),
            type_name(o),
            code(default_of(o)),
            cell(getattr(o, "help", "") or ""),
        )
        for o in shown
    ]
    if rows:
        lines += ["", table(["option", "type", "default", "meaning"], rows)]
    return "\n".join(lines)


def cells() -> list[str]:
    """The cells of the page."""
    every = list(commands())
    overview = table(
        ["command", "what it does"],
        [(f"[{path}](#{path.replace(' ', '-')})", cell(sentence(c.help))) for path, c in every],
    )
    intro = (
        f"Each command prints its options with `{PROGRAM} COMMAND --help`. What stands in capitals "
        "without dashes is an argument. An error is one line and exit code 1; wrong usage is exit "
        "code 2. With `--json` a command prints one JSON document to stdout."
    )
    return [intro, overview, *(command_section(path, c) for path, c in every)]
