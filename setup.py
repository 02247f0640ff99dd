"""Packaging, read from settings.ini (the file nbdev keeps the project's metadata in)."""

import re
import shlex
from configparser import ConfigParser
from pathlib import Path
from shutil import copytree, ignore_patterns

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
config = ConfigParser(delimiters=["="])
config.read(ROOT / "settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]


def words(key: str) -> list[str]:
    """The space- or newline-separated requirements under `key`; '' when the key is absent."""
    return shlex.split(cfg.get(key, ""))


LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)\s]+)\)")


def described(text: str) -> str:
    """README.md for a package index, where relative links lead nowhere.

    They lead into the repository when settings.ini has its address; else their text stays.
    """
    at = cfg.get("git_url", "").strip().rstrip("/")

    def change(link: re.Match[str]) -> str:
        if at:
            kind = "raw" if link[1] else "blob"
            return f"{link[1]}[{link[2]}]({at}/{kind}/v{cfg['version']}/{link[3]})"
        return "" if link[1] else link[2]

    return LINK.sub(change, re.sub(r"<!--.*?-->\n*", "", text, flags=re.S))


class BuildWithStages(build_py):
    """A wheel carries the scheduled notebooks, the compose project and the config files.

    A checkout has them beside it.
    """

    def run(self):
        super().run()
        if not self.editable_mode:
            for folder in ("scheduled", "deploy", "configs"):
                copytree(
                    ROOT / folder,
                    Path(self.build_lib) / cfg["lib_path"] / folder,
                    dirs_exist_ok=True,
                    ignore=ignore_patterns("Dockerfile", ".env"),
                )


extras = {
    key.removesuffix("_requirements"): words(key) for key in cfg if key.endswith("_requirements")
}
setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=described((ROOT / "README.md").read_text(encoding="utf-8"))
    if (ROOT / "README.md").exists()
    else "",
    long_description_content_type="text/markdown",
    author=cfg["author"],
    author_email=cfg.get("author_email") or None,
    url=cfg.get("git_url") or None,
    keywords=cfg["keywords"].split(),
    license="Apache-2.0",
    packages=find_packages(include=[cfg["lib_path"], cfg["lib_path"] + ".*"]),
    include_package_data=True,
    python_requires=">=" + cfg["min_python"],
    install_requires=words("requirements"),
    extras_require=extras,
    cmdclass={"build_py": BuildWithStages},
    entry_points={
        "console_scripts": words("console_scripts"),
        "nbdev": [f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"],
    },
)
