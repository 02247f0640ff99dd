"""On what a benchmark ran: the machine, the versions, the commit."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OURS = ("numpy", "pandas", "pyarrow", "numba", "scikit-learn", "sqlalchemy", "fastapi", "orjson")
RIVALS = (
    "polars",
    "duckdb",
    "bottleneck",
    "treelite",
    "tl2cgen",
    "onnxruntime",
    "skl2onnx",
    "starlette",
    "uvicorn",
    "psycopg",
    "mlflow-skinny",
    "distributed",
)


def versions(packages: tuple[str, ...]) -> dict[str, str | None]:
    """The version of each package; None where it is not installed."""
    return {name: version_of(name) for name in packages}


def version_of(package: str) -> str | None:
    """The version of a package; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def proc_value(file: str, key: str) -> str:
    """What a file of /proc says about `key`; "" where it says nothing."""
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return ""
    return next((x.split(":", 1)[1].strip() for x in lines if x.startswith(key)), "")


def commit() -> str:
    """The commit of the checkout, with a plus where files differ from it."""
    told = git("rev-parse", "--short=12", "HEAD")
    if not told:
        return "unknown"
    return told + "+" * bool(git("status", "--porcelain", "--untracked-files=no"))


def git(*args: str) -> str:
    """What git says; "" where there is no git or no repository."""
    try:
        done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def machine() -> dict[str, Any]:
    """Processor, cores, memory, system, Python and versions."""
    memory = proc_value("/proc/meminfo", "MemTotal").split()
    return dict(
        cpu=proc_value("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        cores=os.cpu_count(),
        memory_gb=round(int(memory[0]) / 2**20, 1) if memory else None,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        load_at_start=round(os.getloadavg()[0], 2),
        libraries=versions(OURS),
        rivals=versions(RIVALS),
    )


def about(size: str) -> dict[str, Any]:
    """What a result says about its run."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return dict(size=size, date=now, commit=commit(), machine=machine())
