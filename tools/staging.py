"""Stage notebooks for the site and the README with nbdev, without Quarto."""

import atexit
from pathlib import Path
from typing import Any, Self

import traitlets.traitlets
from execnb.shell import CaptureShell
from nbdev.serve import proc_nbs
from sqlalchemy import Table

EVERY_FOLDER = "^[_.]"  # regular expression of the folders to leave out
TOP_ONLY = "^[_.0-9]|guides|reference|images"


def _allow_tables_twice() -> None:
    """Let a cell define a table that its module, imported for another page, has defined already."""
    make = Table._new

    def again(*args: Any, **options: Any) -> Any:
        if len(args) > 2 and args[0] in args[1].tables:  # name, metadata, columns
            args[1].remove(args[1].tables[args[0]])
        return make(*args, **options)

    Table._new = again


def stage(leave_out: str = EVERY_FOLDER) -> Path:
    """Process the notebooks into _proc/; returns that folder.

    nbdev runs the exported cells and evaluates the annotations of their functions, so the names
    that are imported for type checkers only must exist. It makes a shell for each notebook; each
    would collect the garbage of all at the exit of the process: minutes for some hundred of them.
    """
    _allow_tables_twice()
    traitlets.traitlets.Self = Self  # imported there for type checkers only
    run_cell = CaptureShell.run_cell

    def run_with_types(shell: CaptureShell, source: str, *args: Any, **options: Any) -> Any:
        atexit.unregister(shell.atexit_operations)
        return run_cell(shell, source.replace("if TYPE_CHECKING:", "if True:"), *args, **options)

    CaptureShell.run_cell = run_with_types
    try:
        return proc_nbs(force=True, n_workers=0, skip_folder_re=leave_out)
    finally:
        CaptureShell.run_cell = run_cell
