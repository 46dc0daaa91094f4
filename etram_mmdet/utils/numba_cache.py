"""The folder for numba's compiled code, decided before anything loads numba.

Numba writes beside the source, else into the user's home. A container that runs as another user
owns neither, and then numba refuses at the import of every module that compiles something, other
people's too. This module names a folder for this process and its children instead. A lasting folder
in a shared place would not do: numba unpickles the files that it finds there.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"  # numba's own
_PACKAGE = Path(__file__).parents[1]


def use_writable_folder() -> None:
    """Give numba a folder when the home cannot be written and the user names none.

    The folder is ``__pycache__`` of this package if it can be written, else a temporary one, which
    one line on stderr reports.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    if os.environ.get(VARIABLE) or (home.is_absolute() and _takes_files(home)):
        return
    if _takes_files(_PACKAGE / "__pycache__"):
        os.environ[VARIABLE] = str(_PACKAGE / "__pycache__" / "numba")
        return
    with suppress(OSError):  # numba then reports its own error
        folder = tempfile.mkdtemp(prefix="numba_")
        os.environ[VARIABLE] = folder
        atexit.register(_remove, folder, os.getpid())
        print(
            "numba's compiled code is kept for this run only, since no folder for it can be "
            f"written; to keep it, set {VARIABLE} to a writable folder",
            file=sys.stderr,
        )


def _takes_files(folder: Path) -> bool:
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def _remove(folder: str, process: int) -> None:
    if os.getpid() == process:  # not a forked child
        shutil.rmtree(folder, ignore_errors=True)


use_writable_folder()
