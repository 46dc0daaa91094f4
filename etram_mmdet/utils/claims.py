"""One process at a time per folder: a small file names the process that works in it.

This also holds across machines that share a folder. The holder renews the time of the file. A claim
is taken over when its process has ended, or when it was not renewed for `STALE_S`. The claim of a
living process is left alone.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from etram_mmdet.utils.errors import PassingError
from etram_mmdet.utils.files import os_errors, part_of
from etram_mmdet.utils.locks import alone
from etram_mmdet.utils.processes import machine_id, start_ticks

BEAT_S = 10.0  # time between two renewals
STALE_S = 90.0  # time without a renewal after which another machine may take over
_LOCK_S = 5.0  # longest wait for another process that reads the same claim


class ClaimedError(PassingError):
    """Another process works on this file or folder.

    Args:
        message: sentence for the user.
        holder: process that holds the claim. Default: None, when its claim cannot be read.
    """

    # An error that comes from another process is made again from its message alone.
    def __init__(self, message: str, holder: Holder | None = None) -> None:
        super().__init__(message)
        self.holder = holder


@dataclass(frozen=True)
class Holder:
    """The process that holds a claim.

    Args:
        host: name of the machine, for people.
        machine: :func:`machine_id`, for programs.
        pid: number of the process.
        ticks: :func:`start_ticks` of the process.
        command: command line of the process.
        token: random text that tells this claim from every other.
    """

    host: str
    machine: str
    pid: int
    ticks: int
    command: str
    token: str

    @classmethod
    def here(cls) -> Holder:
        """This process, with a new token."""
        pid = os.getpid()
        command = " ".join(sys.argv)[:200]
        return cls(
            socket.gethostname(), machine_id(), pid, start_ticks(pid), command, uuid.uuid4().hex
        )

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} ({self.command})"

    def has_ended(self) -> bool:
        """Whether the process is known to have ended.

        Only processes of this machine can be checked.
        """
        return self.machine == machine_id() and start_ticks(self.pid) != self.ticks


class Claim:
    """A claim that this process holds until :meth:`release`.

    A fork of the process does not hold it.

    Args:
        path: file of the claim.
        holder: this process, as written in the file.
    """

    def __init__(self, path: Path, holder: Holder) -> None:
        self.path = path
        self.holder = holder
        self._is_over = threading.Event()
        threading.Thread(target=self._renew, daemon=True, name=f"claim of {path.name}").start()

    def is_held(self) -> bool:
        """Whether this process still holds the claim.

        A process that stood still for `STALE_S` may have lost it.
        """
        return not self._is_over.is_set() and read_holder(self.path) == self.holder

    def release(self) -> None:
        """Give the claim back; does nothing in a fork, or when another process has the claim."""
        self._is_over.set()
        if os.getpid() != self.holder.pid:
            return
        try:
            with alone(self.path, os.O_RDWR, _LOCK_S):
                if read_holder(self.path) == self.holder:
                    self.path.unlink()
        except OSError:
            pass  # the folder has vanished, and the claim with it

    def _renew(self) -> None:
        while not self._is_over.wait(BEAT_S):
            try:
                if read_holder(self.path) != self.holder:
                    self._is_over.set()
                else:
                    os.utime(self.path)
            except OSError:
                continue  # a network drive that does not answer now may answer later


def try_claim(path: Path) -> Claim | None:
    """Claim a file, or return None when a living process holds it.

    Args:
        path: file of the claim, in an existing folder.

    Raises:
        InputError: when ``path`` cannot be written.
    """
    holder = Holder.here()
    with os_errors(path, "written"):
        try:
            with alone(path, os.O_RDWR | os.O_CREAT, _LOCK_S) as number:
                if os.fstat(number).st_size and not _is_stale(path, number):
                    return None
                _write_or_remove(path, number, json.dumps(asdict(holder)).encode())
        except BlockingIOError:
            return None
    return Claim(path, holder)


def _write_or_remove(path: Path, number: int, content: bytes) -> None:
    """Write all of ``content``, or leave no file.

    Half a claim on a full disk would belong to nobody and keep everyone out.
    """
    try:
        os.ftruncate(number, 0)
        written = 0
        while written < len(content):
            written += os.pwrite(number, content[written:], written)
    except OSError:
        path.unlink(missing_ok=True)
        raise


@contextmanager
def claim(path: Path, what: str) -> Iterator[Claim]:
    """Hold a claim while the block runs.

    Args:
        path: file of the claim.
        what: subject of the error message, such as ``work_dirs/demo``.

    Raises:
        ClaimedError: when a living process holds the claim; the message names host and process.
    """
    held = try_claim(path)
    if held is None:
        raise ClaimedError(f"{what}: {told(path)}", read_holder(path))
    try:
        yield held
    finally:
        held.release()


def told(path: Path) -> str:
    """The end of an error message: who holds a claim, and how many seconds ago it was renewed.

    Args:
        path: file of the claim.
    """
    holder = read_holder(path)
    who = "another process" if holder is None else str(holder)
    try:
        heard = f" (last sign of life {max(0.0, time.time() - path.stat().st_mtime):.0f} s ago)"
    except OSError:
        heard = ""
    return f"{who} works in this folder{heard}; wait until it has ended, or name another folder"


def read_holder(path: Path) -> Holder | None:
    """The process that holds a claim; None when there is no claim, or it cannot be read.

    Args:
        path: file of the claim.
    """
    try:
        return Holder(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def is_stale(path: Path) -> bool:
    """Whether no living process holds a claim.

    Args:
        path: file of the claim.
    """
    try:
        with alone(path, os.O_RDWR, _LOCK_S) as number:
            return not os.fstat(number).st_size or _is_stale(path, number)
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _is_stale(path: Path, number: int) -> bool:
    holder = read_holder(path)
    return (holder is not None and holder.has_ended()) or _age_s(path, number) > STALE_S


def _age_s(path: Path, number: int) -> float:
    """Seconds since the last renewal, by the clock of the file system.

    The clocks of two machines may differ.
    """
    probe = part_of(path)
    try:
        probe.touch()
        return probe.stat().st_mtime - os.fstat(number).st_mtime
    finally:
        probe.unlink(missing_ok=True)
