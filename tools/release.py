"""Make a release: `make release`. Nothing is published; the tag that starts it is printed.

The version of settings.ini needs a section in CHANGELOG.md. Wheel and sdist are built, checked by
twine, and started from an empty folder; licences and a list of all parts (SBOM) lie beside them.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

from licences import dependencies, licence

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"


def version() -> str:
    """The version in settings.ini."""
    config = ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    return config["DEFAULT"]["version"]


def changes(number: str, text: str) -> str:
    """The section of CHANGELOG.md about a version; '' where there is none."""
    found = re.search(rf"^## \[?v?{re.escape(number)}\]?.*?\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    return found[1].strip() if found else ""


def sbom(number: str) -> dict[str, object]:
    """All parts of the running system, as CycloneDX 1.5."""
    parts = [
        {
            "type": "library",
            "name": name,
            "version": found.version,
            "purl": f"pkg:pypi/{name}@{found.version}",
            "licenses": [{"license": {"name": licence(found)}}],
        }
        for name, found in sorted(dependencies("crypto_anomaly").items())
    ]
    about = {"component": {"type": "application", "name": "crypto_anomaly", "version": number}}
    return {"bomFormat": "CycloneDX", "specVersion": "1.5", "metadata": about, "components": parts}


def run(*command: str | Path) -> None:
    """Run a step; a failure ends the release."""
    print("$", *command, flush=True)
    subprocess.run(command, cwd=ROOT, check=True)


def main() -> int:
    """Build, check, try, list."""
    number = version()
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    if not changes(number, text):
        print(f"CHANGELOG.md has no section '## {number}': move the lines of Unreleased there.")
        return 1
    run("bash", "tools/try_wheel.sh")  # builds wheel and sdist into dist/, starts it elsewhere
    uv = shutil.which("uv") or "uv"
    run(uv, "tool", "run", "twine", "check", "--strict", *sorted(DIST.glob("crypto_anomaly-*")))
    run(sys.executable, "tools/licences.py")
    (DIST / "sbom.json").write_text(json.dumps(sbom(number), indent=1) + "\n", encoding="utf-8")
    (DIST / "changes.md").write_text(changes(number, text) + "\n", encoding="utf-8")
    print(f"dist/ is ready. Publish it with: git tag v{number} && git push origin v{number}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
