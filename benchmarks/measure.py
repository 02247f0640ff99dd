"""What every benchmark uses: a table of figures, CPU seconds, and processes of their own."""

import atexit
import ctypes
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).resolve().parent
ROWS: list[dict[str, Any]] = []
BEGAN = time.monotonic()
SIZES = ("quick", "default", "full")
SIZE = os.environ.get("BENCH_SIZE") or "default"
if SIZE not in SIZES:
    raise SystemExit(f"SIZE is {SIZE!r}; use one of {', '.join(SIZES)}.")


def size(quick: Any, default: Any, full: Any) -> Any:
    """What belongs to the size of this run."""
    return dict(quick=quick, default=default, full=full)[SIZE]


COINS = int(os.environ.get("BENCH_COINS") or size(50, 250, 1000))  # of P1 and P2
CLI = "from crypto_anomaly.serving.program import main; main()"


def row(
    id_: str,
    what: str,
    value: float | None,
    unit: str,
    bar: float | None,
    equal: bool | None = None,
    **more: Any,
) -> None:
    """Keep and print one figure; with unit `x` the bar is a minimum, else a maximum.

    `value` None is a figure that was not measured, `bar` None one that has no goal. More fields
    for the page of results: `ours`, `plain`, `limit` (in `figure`, else seconds), `rival` and
    `rivals`, `detail`, `why`.
    `what` is the same text in every run of a size: runs are compared by it.
    """
    kept = None if value is None else round(float(value), 4)
    is_ok = None if value is None or bar is None else reaches(value, unit, bar)
    figure = dict(id=id_, what=what, value=kept, unit=unit, bar=bar, ok=is_ok, equal=equal)
    ROWS.append(figure | more)
    print(line(ROWS[-1]), flush=True)


def reaches(value: float, unit: str, bar: float) -> bool:
    """Whether a figure reaches its bar."""
    return bool(value >= bar if unit == "x" else value <= bar)


def line(r: dict[str, Any]) -> str:
    """A row as text, with the seconds since the start."""
    began = f"{time.monotonic() - BEGAN:5.0f} s  {r['id']:4} {r['what']:74}"
    if r["value"] is None:
        return f"{began} not measured: {r.get('missing') or r.get('why', '')}"
    outputs = {None: "", True: ", outputs equal", False: ", OUTPUTS DIFFER"}[r["equal"]]
    detail = f"  [{r['detail']}]" if r.get("detail") else ""
    return f"{began} {r['value']:10.3f} {r['unit']:3} {verdict(r)}{outputs}{detail}"


def verdict(r: dict[str, Any]) -> str:
    """The bar of a row, and whether it is reached."""
    if r["bar"] is None:
        return "(no bar)"
    return f"(bar {r['bar']:g}) {'ok' if r['ok'] else 'MISSED'}"


def write_rows() -> None:
    """Leave the rows in the file that `BENCH_ROWS` names, for the process that asked for it."""
    Path(os.environ["BENCH_ROWS"]).write_text(json.dumps(ROWS))


if os.environ.get("BENCH_ROWS"):
    atexit.register(write_rows)


class Timed(NamedTuple):
    """One measured call."""

    seconds: float  # of CPU
    result: Any


def cpu(f: Callable[[], Any], times: int = 1) -> Timed:
    """CPU seconds of the process per call, and the last result."""
    start = time.process_time()
    for _ in range(times):
        result = f()
    return Timed((time.process_time() - start) / times, result)


class Pair(NamedTuple):
    """Two measured functions: median CPU seconds and last results."""

    a: float
    b: float
    result_a: Any
    result_b: Any


def interleaved(a: Callable[[], Any], b: Callable[[], Any], rounds: int = 3) -> Pair:
    """Both functions in turns."""
    of_a, of_b = [], []
    for _ in range(rounds):
        of_a.append(cpu(a))
        of_b.append(cpu(b))
    seconds = [float(np.median([t.seconds for t in times])) for times in (of_a, of_b)]
    return Pair(*seconds, of_a[-1].result, of_b[-1].result)


def equal(a: Any, b: Any, columns: list[str], rtol: float = 1e-4) -> bool:
    """Whether two frames hold the same features up to float32."""
    for c in columns:
        x, y = a[c].to_numpy(float), b[c].to_numpy(float)
        if not np.allclose(x, y, rtol=rtol, atol=1e-5, equal_nan=True):
            return False
    return True


def free_port() -> int:
    """A port of loopback that nobody uses."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def python(code: str, *args: str) -> list[str]:
    """A command that runs `code` with this folder on its path."""
    return [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(HERE)!r})\n{code}", *args]


def cli(*args: str) -> list[str]:
    """A command of the program."""
    return [sys.executable, "-c", CLI, *args]


def peak(code: str) -> float:
    """Peak MB of a process that runs `code`."""
    report = "import measure\nprint(measure.peak_of('self'))"
    command = python(f"{code}\n{report}")
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return float(out.split()[-1])


def peak_of(pid: int | str) -> float:
    """Peak MB of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(kilobytes) / 1024


def cpu_of(pid: int) -> float:
    """CPU seconds of a process so far, to the nanosecond, with the threads that have ended."""
    libc, clock = ctypes.CDLL(None), ctypes.c_int()
    failed = libc.clock_getcpuclockid(pid, ctypes.byref(clock))
    if failed:
        raise OSError(failed, os.strerror(failed))
    return time.clock_gettime(clock.value)


def settle(pid: int, most: float = 30.0) -> float:  # share of a core that it uses in the end
    """Wait until a process has done the work of its start: it uses less than a tenth of a core."""
    end = time.monotonic() + most
    while True:
        before = cpu_of(pid)
        time.sleep(1)
        used = cpu_of(pid) - before
        if used < 0.1 or time.monotonic() > end:
            return used


@contextmanager
def server(command: list[str], env: dict[str, str], url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that serves, from its first answer at `url` to the end of the block."""
    process = subprocess.Popen(
        command, env=os.environ | env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(url)
        yield process
    finally:
        process.terminate()
        process.wait()


def wait_for(url: str, seconds: float = 120) -> None:
    """Wait until `url` answers; the bound is for a busy machine."""
    end = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url).read()
            return
        except OSError as e:
            if time.monotonic() > end:
                raise TimeoutError(f"{url} did not answer within {seconds:g} s ({e})") from e
            time.sleep(0.05)
