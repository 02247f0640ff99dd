"""Known vulnerabilities of the locked packages: exit 1 when there are any.

pip-audit asks the vulnerability service of PyPI. A mirror without that service answers "not found"
for every package; then nothing is known, and the last line says so.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = shutil.which("uv") or str(ROOT / ".venv/bin/uv")
COMMAND = [UV, "tool", "run", "pip-audit", "-r", str(ROOT / "requirements.lock")]
OPTIONS = ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"]


def report() -> dict:
    """What pip-audit says, as its JSON; a RuntimeError carries its complaint."""
    done = subprocess.run([*COMMAND, *OPTIONS], capture_output=True, text=True, timeout=300)
    if not done.stdout.strip():
        raise RuntimeError(done.stderr.strip()[-500:])
    return json.loads(done.stdout)


def main() -> int:
    """Print each known vulnerability and how many packages were looked up."""
    try:
        packages = report()["dependencies"]
    except (RuntimeError, ValueError, OSError, subprocess.TimeoutExpired) as e:
        print(f"pip-audit did not answer, so nothing is known: {e}")
        return 0
    found = 0
    for package in packages:
        for fault in package.get("vulns", []):
            found += 1
            fixed = ", ".join(fault["fix_versions"]) or "no version yet"
            print(f"{package['name']} {package['version']}: {fault['id']}, mended in {fixed}")
    known = sum("vulns" in package for package in packages)
    print(f"{known} of {len(packages)} locked packages were looked up, {found} vulnerabilities.")
    if not known:
        print("This index has no vulnerability service: nothing is known.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
