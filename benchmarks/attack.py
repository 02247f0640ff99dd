"""All long attacks one after the other, and what survived: a table, and a JSON beside it.

    python benchmarks/attack.py [COUNT] [URL]

COUNT (default 100) duels of each pair of decisions and as many stops; the duels on the database of
URL too. `ATTACK_FILE` names the JSON (default benchmarks/attack.json), `ATTACK_ONLY` the points to
try, e.g. "5 11". Everything is on loopback, in folders of its own; the tests of a part are ended
after half an hour, a script ends by itself.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
FILES = ("tests/test_market_files.py", "tests/test_trade_files.py", "tests/test_row_checks.py")
MINUTES = 30  # for the tests of one part


class Part(NamedTuple):
    """One row of the table: a script of this folder, or tests."""

    point: int  # of the list of promises
    what: str
    run: tuple[str, ...]  # a script with its arguments, or arguments of pytest
    told: str = ""  # of a script: what its output says, as `attempts` and `survived`


class Row(NamedTuple):
    """What came out of a part."""

    point: int
    what: str
    attempts: int
    survived: int
    seconds: float


def parts(count: int, urls: list[str]) -> list[Part]:
    """What is tried."""
    duels = ("attack_registry.py", str(count))
    told = r"(?P<survived>\d+) of (?P<attempts>\d+) "
    history, attacks = "tests/test_registry_history.py", "tests/test_attacks.py"
    operations, beside = "tests/test_operations.py", "tests/test_beside_the_stream.py"
    return [
        Part(1, "two decisions at once", duels, told + "right"),
        *(Part(1, "the same on a server", (*duels, url), told + "right") for url in urls),
        Part(1, "killed within a decision", ("tests/test_registry_races.py",)),
        Part(2, "history changed by raw SQL", (history, "-k", "raw_sql or event or log")),
        Part(3, "database files damaged", (history, "-k", "broken or moved or backup or empty")),
        Part(3, "a server goes away", (operations, "-k", "postgresql")),
        Part(4, "health while a part fails", (beside, "-k", "killed or outage")),
        Part(4, "addresses of an empty home", (operations, "-k", "empty")),
        Part(5, "told to stop", ("attack_stops.py", str(count)), told + "stops"),
        Part(6, "gaps beside the stream", (beside, "tests/test_live_rows.py")),
        Part(7, "who may do what", (attacks, "-k", "bodies or slow or body or foreign or tokens")),
        Part(7, "made-up requests", ("tests/test_api.py",)),
        Part(8, "webhooks and messages", (attacks, "tests/test_automation.py", "-k", "messages")),
        Part(9, "secrets", (attacks, "-k", "secret or address or key")),
        Part(10, "bombs", (attacks, "-k", "bombs")),
        Part(10, "files that are none", (*FILES, "-k", "fuzz or traceback or test_any")),
        Part(11, "retention", (operations, "-k", "retention")),
        Part(12, "load and memory", ("attack_load.py",), told + "bars"),
    ]


def by_script(part: Part) -> tuple[int, int]:
    """Run a script; the attempts and the survived ones that its lines tell."""
    script, *args = part.run
    with subprocess.Popen(
        [sys.executable, str(HERE / script), *args], stdout=subprocess.PIPE, text=True
    ) as process:
        lines = []
        for line in process.stdout or []:
            print(f"    {line}", end="", flush=True)
            lines.append(line)
    found = [m for line in lines for m in re.finditer(part.told, line)]
    attempts = sum(int(m["attempts"]) for m in found)
    survived = sum(int(m["survived"]) for m in found)
    if process.returncode and survived == attempts:  # it died before it could say so
        attempts += 1
    return attempts, survived


def attempts_of(case: ET.Element) -> int:
    """How many attempts a test has made: what it says, else one."""
    said = [p.get("value", "1") for p in case.iter("property") if p.get("name") == "attempts"]
    return sum(map(int, said)) or 1


def by_tests(part: Part) -> tuple[int, int]:
    """Run tests; a test that fails has not survived, one that is skipped was not tried."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "junit.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *part.run]
        try:
            subprocess.run([*command, f"--junitxml={file}"], timeout=60 * MINUTES, cwd=HERE.parent)
            cases = list(ET.parse(file).getroot().iter("testcase"))
        except (subprocess.TimeoutExpired, FileNotFoundError):
            return 1, 0
    tried = [case for case in cases if case.find("skipped") is None]
    failed = [c for c in tried if c.find("failure") is not None or c.find("error") is not None]
    return sum(map(attempts_of, tried)), sum(attempts_of(c) for c in tried if c not in failed)


def attempt(part: Part) -> Row:
    """Run a part."""
    print(f"\n{part.point}: {part.what}", flush=True)
    began = time.monotonic()
    run = by_script if part.run[0].startswith("attack_") else by_tests
    attempts, survived = run(part)
    return Row(part.point, part.what, attempts, survived, round(time.monotonic() - began, 1))


def show(rows: list[Row]) -> None:
    """The table, on the screen and as JSON."""
    print(f"\n{'point':>5}  {'what':28} {'attempts':>8} {'survived':>8} {'seconds':>8}")
    for row in rows:
        mark = "" if row.survived == row.attempts > 0 else "  <-- LOST"
        print(
            f"{row.point:5}  {row.what:28} {row.attempts:8} {row.survived:8} {row.seconds:8}{mark}"
        )
    file = Path(os.environ.get("ATTACK_FILE", HERE / "attack.json"))
    file.write_text(json.dumps([row._asdict() for row in rows], indent=1))
    print(f"also in {file}")


def main() -> None:
    """Attack everything; exit 1 where something did not survive."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    only = {int(point) for point in os.environ.get("ATTACK_ONLY", "").split()}
    rows = []
    for part in parts(count, sys.argv[2:3]):
        if not only or part.point in only:
            rows.append(attempt(part))
    show(rows)
    sys.exit(any(row.survived < row.attempts or not row.attempts for row in rows))


if __name__ == "__main__":
    main()
