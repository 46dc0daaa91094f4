"""Processes that work together as the ranks of a training do.

They need no launcher, and do not repeat the imports.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

_FORK = multiprocessing.get_context("fork")
LONGEST_S = 60


class Ranks:
    """Two processes that call ``work`` with their number; each prints into a file of ``folder``."""

    def __init__(self, work: Callable[[int], None], folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        for rank in range(2):
            (folder / f"{rank}.log").touch()
        self.processes = [_FORK.Process(target=self._run, args=(work, rank)) for rank in range(2)]
        for process in self.processes:
            process.start()

    def wait_for(self, text: str) -> None:
        """Until both have printed ``text``."""
        until = time.monotonic() + LONGEST_S
        while not all(text in (self.folder / f"{rank}.log").read_text() for rank in range(2)):
            assert time.monotonic() < until
            time.sleep(0.05)

    def outcome(self, rank: int) -> tuple[int | None, str]:
        """Exit status and output."""
        self.processes[rank].join(LONGEST_S)
        return self.processes[rank].exitcode, (self.folder / f"{rank}.log").read_text()

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()

    def _run(self, work: Callable[[int], None], rank: int) -> None:
        address = dict(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(self._port))
        numbers = dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
        os.environ |= address | numbers
        sys.stdout = sys.stderr = (self.folder / f"{rank}.log").open("w", buffering=1)
        faulthandler.dump_traceback_later(
            LONGEST_S - 5, file=sys.stderr
        )  # where it hangs, if it does
        status = 0
        try:
            work(rank)
        except SystemExit as error:
            status = error.code
        except Exception:
            traceback.print_exc()
            status = 9
        os._exit(status)
