"""The command line as a new user meets it: help, examples, widths, completion."""

import os
import shlex
import subprocess
import sys

import pytest
import typer.main

from crypto_anomaly.serving.cli import app
from crypto_anomaly.serving.cli_help import EXAMPLES
from crypto_anomaly.serving.tables import table_lines

PROGRAM = [sys.executable, "-c", "from crypto_anomaly.serving.program import main; main()"]


def _walk(command, path=()):
    "All commands with their names, groups too."
    for name, inner in getattr(command, "commands", {}).items():
        yield from _walk(inner, (*path, name))
    if path:
        yield " ".join(path), command


COMMANDS = dict(_walk(typer.main.get_command(app)))
GROUPS = {"bench", "token", "deploy"}  # they only list their commands


def _run(*args, **variables):
    "The program in a process of its own."
    env = {k: v for k, v in os.environ.items() if not k.startswith("CRYPTO_ANOMALY_")} | variables
    return subprocess.run(
        [*PROGRAM, *args], env=env, capture_output=True, text=True, timeout=60, check=False
    )


def test_each_command_has_an_example():
    assert set(COMMANDS) - GROUPS == set(EXAMPLES)


@pytest.mark.parametrize("path", sorted(EXAMPLES))
def test_an_example_can_be_typed(path):
    words = shlex.split(EXAMPLES[path].split(" > ")[0])
    assert words[: len(path.split())] == path.split()
    COMMANDS[path].make_context(path, words[len(path.split()) :])


def test_everything_has_a_help():
    silent = [
        (path, parameter.name)
        for path, command in COMMANDS.items()
        for parameter in command.params
        if not getattr(parameter, "help", None)
    ]
    assert not silent
    assert all(command.help for command in COMMANDS.values())


def test_version_and_stages_need_no_workspace(tmp_path):
    said = _run("--version", CRYPTO_ANOMALY_HOME=str(tmp_path))
    assert said.returncode == 0 and said.stdout.startswith("crypto-anomaly ")
    helped = _run("run", "train", "--help", COLUMNS="80", CRYPTO_ANOMALY_HOME=str(tmp_path))
    assert "contamination  number" in helped.stdout and "-p NAME VALUE" in helped.stdout
    assert max(map(len, helped.stdout.splitlines())) <= 80
    wrong = _run("run", "train", "-p", "contamination", "lots", CRYPTO_ANOMALY_HOME=str(tmp_path))
    assert wrong.returncode == 1 and "use a number or none" in wrong.stderr
    assert not list(tmp_path.iterdir())


def test_bash_completes_commands_and_stages():
    def completed(line):
        words = dict(COMP_WORDS=line, COMP_CWORD=str(len(line.split()) - line[-1].isalnum()))
        said = _run(_CRYPTO_ANOMALY_COMPLETE="complete_bash", **words)
        return said.stdout.split()

    assert completed("crypto-anomaly ver") == ["versions", "verify"]
    assert {"train", "train_trades"} <= set(completed("crypto-anomaly run trai"))
    script = _run("completion", "bash").stdout
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_output_of_an_old_code_page_is_no_error():
    said = _run("--help", PYTHONIOENCODING="ascii")
    assert said.returncode == 0 and "Traceback" not in said.stderr


@pytest.mark.parametrize("width", [30, 60, 80, 120])
def test_no_line_of_a_table_is_too_wide(width):
    reason = "price +5.4 % in 1 h to $7.060: 11 times its usual 0.47 %"
    row = {f"column_{i}": f"value {i}" for i in range(6)} | dict(reason=reason)
    assert max(map(len, table_lines([row] * 3, list(row), width))) <= width
