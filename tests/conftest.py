"""Shared tools of the tests.

The command line as a user calls it, waits that end, a private PostgreSQL, headless Chromium.
"""

import asyncio
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# how long an example takes is a fact of the machine
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")
ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-c", "from crypto_anomaly.serving.program import main; main()"]
SHARED = ROOT.parent / "shared/data"


def need(found, what: str) -> None:
    """Skip without a system package, or fail where CI says that it must be there."""
    if found:
        return
    message = f"{what} is not installed on this machine"
    if os.environ.get("CRYPTO_ANOMALY_REQUIRE_SERVICES"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Recorded market data and trades. Their licences forbid to ship them with the project.

    Whoever has none runs the same promises on the small simulated files of `tests/data`
    (test_small_data.py).
    """
    if not SHARED.is_dir():
        pytest.skip(f"recorded data is not at {SHARED}; test_small_data.py covers the same code")
    return SHARED


def until(condition: Callable[[], Any], seconds: float = 60, what: str = "") -> Any:
    """Ask `condition` until its answer is true; returns the answer.

    A `TimeoutError` says `what` did not happen. The bound is for a busy machine: it is no claim
    about speed.
    """
    end = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:g} s for: {what or condition}; got {answer!r}")
        time.sleep(0.1)


class Running(subprocess.Popen):
    """A command that keeps running.

    What it says goes to a file: a pipe that nobody reads fills up and stops the process.
    """

    def __init__(self, command: list[str], log: Path, **options):
        self.log = log
        with log.open("w") as file:
            super().__init__(command, stdout=file, stderr=subprocess.STDOUT, **options)

    def said(self) -> str:
        return self.log.read_text()

    def says(self, pattern: str, seconds: float = 120) -> re.Match:
        """Wait until the process has said something."""

        def found():
            match = re.search(pattern, self.said())
            assert match or self.poll() is None, f"ended with {self.returncode}:\n{self.said()}"
            return match

        return until(found, seconds, f"{self.args[-1]} to say {pattern!r}")


def stop(*processes: subprocess.Popen | None, seconds: float = 60) -> None:
    """Terminate processes and wait for them; one that does not end is killed, which is an error."""
    started = [p for p in processes if p]
    for p in started:
        p.terminate()
    stuck = []
    for p in started:
        try:
            p.wait(seconds)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait(seconds)
            stuck.append(p.args)
    assert not stuck, f"SIGTERM did not end {stuck} within {seconds:g} s"


# Inputs that each fuzz test makes up: few in the gate, many in `make attack`.
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "40"))


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# What ipykernel logs when it is told to stop while it flushes its streams.
KERNEL_STOPPED = re.compile(
    r"ERROR:tornado.general:Uncaught exception in ZMQStream callback\n"
    r".*?zmq.error.ZMQError[^\n]*\n",
    re.DOTALL,
)


class Cli:
    """`crypto-anomaly` in a home of its own."""

    def __init__(self, home: Path, **settings):
        self.home = home
        clean = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith("CRYPTO_ANOMALY_") and k != "PYTHONDONTWRITEBYTECODE"
        }
        self.env = (
            clean
            | {"CRYPTO_ANOMALY_HOME": str(home)}
            | {f"CRYPTO_ANOMALY_{k.upper()}": str(v) for k, v in settings.items()}
        )

    def __call__(self, *args: str, ok: bool = True, **settings) -> subprocess.CompletedProcess:
        env = self.env | {f"CRYPTO_ANOMALY_{k.upper()}": str(v) for k, v in settings.items()}
        r = subprocess.run(
            [*COMMAND, *args],
            env=env,
            cwd=self.home.parent,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert (r.returncode == 0) == ok, (
            f"{args}: exit {r.returncode}\n{r.stdout[-2000:]}\n{r.stderr[-3000:]}"
        )
        return r

    def json(self, *args: str):
        return json.loads(self(*args, "--json").stdout)

    def error(self, *args: str, **settings) -> str:
        """The one line of an error."""
        r = self(*args, ok=False, **settings)
        ours = KERNEL_STOPPED.sub("", r.stderr)
        assert "Traceback" not in ours, r.stderr
        return next(line for line in r.stderr.splitlines() if line.startswith("error: "))

    def start(self, *args: str) -> Running:
        log = self.home.parent / f"{args[0]}-{time.monotonic_ns()}.log"
        return Running([*COMMAND, *args], log, env=self.env, cwd=self.home.parent)


def wait_for(url: str, seconds: float = 120) -> bytes:
    """What an address answers, once it answers."""

    def answer():
        try:
            return urllib.request.urlopen(url, timeout=10).read() or b"empty"
        except OSError as e:
            problems.append(e)
            return None

    problems = []
    try:
        return until(answer, seconds, f"an answer of {url}")
    except TimeoutError:
        raise problems[-1] from None


def wait_for_port(port: int, seconds: float = 120) -> None:
    def listens():
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0

    until(listens, seconds, f"somebody to listen on {port}")


class PostgresServer:
    """A private PostgreSQL on loopback that can be stopped and started again."""

    def __init__(self):
        binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        need(binaries, "PostgreSQL")
        self.initdb, self.port = binaries[-1], free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="pg"))
        self.folder.chmod(0o777)
        self._tool("initdb", "-A", "trust", "-U", "postgres")
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self.port}"
        self.start()

    def _tool(self, name: str, *args: str) -> None:
        asuser = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        subprocess.run(
            [*asuser, str(self.initdb.with_name(name)), "-D", str(self.folder / "db"), *args],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
            timeout=300,
        )

    def start(self) -> None:
        place = f"listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        options = f"-p {self.port} -c {place} -c fsync=off"
        self._tool("pg_ctl", "-o", options, "-l", str(self.folder / "log"), "-w", "start")

    def stop(self) -> None:
        self._tool("pg_ctl", "-m", "immediate", "stop")

    def run(self, statement: str) -> None:
        """Run a statement as the administrator."""
        import sqlalchemy as sa

        admin = sa.create_engine(f"{self.url}/postgres", isolation_level="AUTOCOMMIT")
        with admin.connect() as c:
            c.execute(sa.text(statement))
        admin.dispose()

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server():
    """A private PostgreSQL server, stopped and removed afterwards; whoever stops it starts it."""
    server = PostgresServer()
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgres(postgres_server):
    """The URL of that server."""
    return postgres_server.url


@pytest.fixture(params=["sqlite", "postgresql"])
def db_url(request, tmp_path):
    """A fresh database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/registry.db"
    import sqlalchemy as sa

    server = request.getfixturevalue("postgres")
    name = f"t{time.monotonic_ns()}"
    admin = sa.create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with admin.connect() as c:
        c.execute(sa.text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return f"{server}/{name}"


@pytest.fixture(scope="session")
def cycle(tmp_path_factory):
    """A home in which `up --once` has run on the simulated market, once for all workers.

    Read it; use `home` for a copy that may be changed.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "cycle"
    cli, told = Cli(folder / "home"), folder / "told.txt"
    try:
        folder.mkdir()
    except FileExistsError:  # another worker is at it
        until(told.exists, 300, "the cycle that another worker runs")
    else:
        text = cli("up", "--once", "--source", "simulated", "--home", str(cli.home)).stderr
        fold_journals(cli.home)
        (folder / "told.tmp").write_text(text)
        (folder / "told.tmp").rename(told)
    cli.told = told.read_text()
    return cli


def fold_journals(home: Path) -> None:
    """Move what SQLite's journals hold into the databases."""
    for file in home.rglob("*.db"):
        with closing(sqlite3.connect(file)) as c:
            c.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def copy_home(cycle: Cli, folder: Path) -> None:
    """Copy the home of `cycle`, without journals: those of its readers come and go meanwhile."""
    shutil.copytree(cycle.home, folder, ignore=shutil.ignore_patterns("*.db-wal", "*.db-shm"))


@pytest.fixture
def home(cycle, tmp_path):
    """A private copy of that home."""
    copy_home(cycle, tmp_path / "home")
    return Cli(tmp_path / "home")


@contextmanager
def streaming(ws, url: str, products: list[str] | None = None):
    """A stream of a feed and its thread, for as long as the block lasts."""
    from crypto_anomaly.trades.feed import follow
    from crypto_anomaly.trades.stream import Stream

    stream, over = Stream(ws, products), threading.Event()

    async def follow_until_over():
        ended = asyncio.Event()
        following = asyncio.create_task(follow(stream, url, ended))
        while not (over.is_set() or following.done()):
            await asyncio.sleep(0.05)
        ended.set()
        await following

    thread = threading.Thread(target=lambda: asyncio.run(follow_until_over()), daemon=True)
    thread.start()
    try:
        yield stream, thread
    finally:
        over.set()
        thread.join(120)
    assert not thread.is_alive(), "the stream does not end"
