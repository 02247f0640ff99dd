"""Check that a release tag such as v0.2.0 is the version of settings.ini."""

import sys
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(tag: str) -> int:
    """0 when the tag and the version agree, else 1."""
    config = ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    version = config["DEFAULT"]["version"]
    if tag == f"v{version}":
        return 0
    print(f"The tag is {tag!r}, but settings.ini says version {version}: use v{version}.")
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
