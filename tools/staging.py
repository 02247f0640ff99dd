"""Stage notebooks for the site and the README with nbdev, without Quarto."""

import typing
from pathlib import Path

from nbdev.serve import proc_nbs

EVERY_FOLDER = "^[_.]"  # regular expression of the folders to leave out
TOP_ONLY = "^[_.0-9]|guides"


def stage(leave_out: str = EVERY_FOLDER) -> Path:
    """Process the notebooks into _proc/; returns that folder.

    nbdev evaluates the annotations of the functions that it documents. Names that a module imports
    for type checkers only must exist then, so `TYPE_CHECKING` is true in this process.
    """
    typing.TYPE_CHECKING = True
    return proc_nbs(force=True, n_workers=0, skip_folder_re=leave_out)
