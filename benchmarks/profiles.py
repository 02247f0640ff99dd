"""Profiles before and after: where the CPU of the paths went that broke first on the way up.

    git worktree add /tmp/before f47ea6f        # the commit before the work on speed
    python benchmarks/profiles.py /tmp/before   # beside this checkout

Each side of each path is a process of its own, and loads its compiled code before it is measured
(run it twice: a checkout that is new compiles first). Seconds are measured without the profiler,
which makes calls of Python dearer than they are; it tells the functions apart. The result goes to
nbs/guides/scale_profiles.json, for guides/scale.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from machine import about
from measure import HERE

FILE = HERE.parent / "nbs" / "guides" / "scale_profiles.json"
PATHS = ("newest", "stream", "build")


def commit(checkout: Path) -> str:
    """The commit of a checkout."""
    command = ["git", "-C", str(checkout), "rev-parse", "--short=7", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def profiled(checkout: Path, path: str) -> dict[str, Any]:
    """One path of one checkout."""
    command = [sys.executable, str(HERE / "profiled_path.py"), str(checkout), path]
    env = os.environ | {"PYTHONPATH": str(checkout)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env)
    return json.loads(done.stdout.splitlines()[-1])


def both(before: Path, path: str) -> dict[str, Any]:
    """Both sides of a path; prints them."""
    sides = dict(before=profiled(before, path), now=profiled(HERE.parent, path))
    for name, side in sides.items():
        print(f"\n{side['what']}, {name}: {side['cpu']:.2f} s of CPU", flush=True)
        for f in side["functions"]:
            print(f"{f['own']:8.3f} s {f['calls']:9,} calls  {f['function']}")
    return sides


def main() -> None:
    """Profile the paths in both checkouts."""
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("before", type=Path, help="folder of the older checkout")
    p.add_argument("paths", nargs="*", metavar="PATH", help=f"of {', '.join(PATHS)}; all without")
    o = p.parse_args()
    paths = {path: both(o.before.resolve(), path) for path in o.paths or PATHS}
    if o.paths:
        return
    told = about("profiles") | dict(before=commit(o.before), now=commit(HERE.parent), paths=paths)
    FILE.write_text(json.dumps(told, indent=1) + "\n")
    print(f"\nwritten to {FILE}")


if __name__ == "__main__":
    main()
