"""Run a tool under a limit: python limited.py BYTES|- UID|- TOOL ARGUMENT ...

BYTES is the most that a file may hold, UID the user who runs it (root writes to folders of
everybody).
"""

from __future__ import annotations

import multiprocessing.popen_fork
import multiprocessing.synchronize  # noqa: F401
import os
import resource
import runpy
import subprocess
import sys


def _through_a_pipe() -> None:
    """Let a process without the limit write what is printed, which goes to a file too."""
    copier = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    for number in (1, 2):
        os.dup2(copier.stdin.fileno(), number)


def main() -> None:
    size, user, tool, *words = sys.argv[1:]
    if size != "-":
        _through_a_pipe()
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), resource.RLIM_INFINITY))
    if user != "-":
        os.setuid(int(user))
    sys.argv = [tool, *words]
    sys.path[0] = os.path.dirname(tool)
    runpy.run_path(tool, run_name="__main__")


if __name__ == "__main__":
    main()
