"""Runs the parts of the GPU check one after the other, each in a process of its own.

After a CUDA error a process cannot use the GPU any more.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from etram_mmdet.analysis.speed.gpu_check.parts import Part
from etram_mmdet.analysis.speed.gpu_check.report import outcome, write_report
from etram_mmdet.analysis.speed.gpu_check.result import (
    FAILED,
    PASSED,
    TIMED_OUT,
    Result,
    log_file,
    read_result,
    result_file,
)
from etram_mmdet.analysis.speed.gpu_check.size import Size
from etram_mmdet.utils.claims import claim
from etram_mmdet.utils.environment import ROOT
from etram_mmdet.utils.errors import InputError

CLAIM_FILE = ".gpu_check"
ERROR_LINES = 20
GRACE_S = 5


class Check:
    """Runs parts of the GPU check and keeps their results in a folder.

    Args:
        device: "cuda" or "cpu".
        size: how much each part does.
        folder: folder for results, logs and report; it is created if it does not exist.
        say: prints progress. Default: ``print``.
    """

    def __init__(
        self, device: str, size: Size, folder: Path, say: Callable[[str], None] = print
    ) -> None:
        self.device = device
        self.size = size
        self.folder = folder.resolve()
        self.say = say

    def run(
        self, parts: list[Part], minutes: float, again: bool = False
    ) -> dict[str, Result | None]:
        """Runs parts and returns their results by name; ``None`` for a part that was not started.

        A part that passed before on the same device and at the same size is not run again.

        Args:
            parts: parts to run, in this order.
            minutes: time limit for all parts together.
            again: whether parts that passed before are run again. Default: no.

        Raises:
            InputError: the folder cannot be created, or another process uses it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{self.folder}: cannot be created ({error.strerror}); name another folder with "
                "--out"
            ) from error
        with claim(self.folder / CLAIM_FILE, str(self.folder)):
            end = time.monotonic() + 60 * minutes
            return {part.name: self._result(part, end, again) for part in parts}

    def _result(self, part: Part, end: float, again: bool) -> Result | None:
        before = None if again else read_result(self.folder, part.name)
        if before and before.is_done(self.device, self.size.name):
            self.say(
                f"{part.name}: passed before ({before.started}), skipped; --again runs it again"
            )
            return before
        limit_s = min(part.limit_s, end - time.monotonic())
        if limit_s <= 0:
            self.say(
                f"{part.name}: not started, because the time for all parts (--minutes) is used up; "
                "type the same command again to go on here"
            )
            return None
        self.say(f"{part.name}: at most {limit_s:.0f} s, log in {log_file(self.folder, part.name)}")
        result = self._run(part, limit_s)
        self.say(f"{part.name}: {result.status} in {result.seconds:.0f} s; {outcome(result)}")
        write_report(self.folder, self.device, self.size.name)
        return result

    def _run(self, part: Part, limit_s: float) -> Result:
        result_file(self.folder, part.name).unlink(missing_ok=True)
        start = time.monotonic()
        status = self._status(part, limit_s)
        result = read_result(self.folder, part.name) or Result(
            part.name, self.device, self.size.name
        )
        result.seconds = time.monotonic() - start
        result.limit_s = limit_s
        result.status = {0: PASSED, None: TIMED_OUT}.get(status, FAILED)
        if result.status != PASSED:
            text = log_file(self.folder, part.name).read_text(errors="replace")
            lines = [line for line in text.splitlines() if line.strip()]
            result.error = [*lines[-ERROR_LINES:], *([f"exit status {status}"] if status else [])]
        result.write(self.folder)
        return result

    def _status(self, part: Part, limit_s: float) -> int | None:
        """Returns the exit status of the part's process; ``None`` if it took too long."""
        with log_file(self.folder, part.name).open("w") as log:
            process = subprocess.Popen(
                self.command(part),
                cwd=ROOT,
                env=self._environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # all that the part starts can be ended together
            )
            try:
                return process.wait(limit_s)
            except subprocess.TimeoutExpired:
                return None
            finally:
                _end(process)

    def command(self, part: Part) -> list[str]:
        """Returns the command that runs a part in a process of its own."""
        module = "etram_mmdet.analysis.speed.gpu_check.work"
        return [
            sys.executable,
            "-m",
            module,
            part.name,
            self.device,
            self.size.name,
            str(self.folder),
            *([str(self.size.reference.resolve())] if self.size.reference else []),
        ]

    def _environment(self) -> dict[str, str]:
        return (
            {**os.environ, "CUDA_VISIBLE_DEVICES": ""} if self.device == "cpu" else dict(os.environ)
        )


def _end(process: subprocess.Popen) -> None:
    """Asks a process and all that it started to end; after some seconds it ends them by force."""
    with suppress(ProcessLookupError):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
