"""The licences of all installed dependencies; fails for one that is not known to be compatible."""

from __future__ import annotations

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement

COMPATIBLE = re.compile(
    r"\b(MIT|BSD|Apache|ISC|PSF|Python Software Foundation|MPL|Mozilla|HPND|Unlicense|Zlib|0BSD"
    r"|CC0|Public Domain|LGPL|Lesser)\b",
    re.I,
)
SAID_IN_A_FILE = {
    "skops": "MIT"
}  # the metadata name no licence, the file LICENSE of the wheel does


def licence(found: Distribution) -> str:
    """What a package says of its licence, in a few words."""
    meta = found.metadata
    said = [meta.get("License-Expression") or ""]
    said += [c.rpartition(" :: ")[2] for c in meta.get_all("Classifier") or [] if "License ::" in c]
    said += [(meta.get("License") or "").strip().splitlines()[0] if meta.get("License") else ""]
    said += [SAID_IN_A_FILE.get(meta["Name"].lower(), "")]
    return next((text[:60] for text in said if text and text != "OSI Approved"), "not said")


def dependencies(name: str) -> dict[str, Distribution]:
    """What a package needs to run, with what that needs."""
    found: dict[str, Distribution] = {}
    waiting = [name]
    while waiting:
        for text in distribution(waiting.pop()).requires or []:
            need = Requirement(text)
            if need.marker and not need.marker.evaluate({"extra": ""}):
                continue
            key = need.name.lower().replace("_", "-")
            if key not in found:
                try:
                    found[key] = distribution(need.name)
                except PackageNotFoundError:
                    continue
                waiting.append(need.name)
    return found


def main() -> int:
    """Print a line for each package."""
    unknown = []
    for name, found in sorted(dependencies("crypto_anomaly").items()):
        text = licence(found)
        print(f"{name:28} {found.version:14} {text}")
        if not COMPATIBLE.search(text):
            unknown.append(name)
    if unknown:
        print(f"Look at the licence of {', '.join(unknown)}.", file=sys.stderr)
    return bool(unknown)


if __name__ == "__main__":
    raise SystemExit(main())
