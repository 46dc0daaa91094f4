"""One process at a time: a small file says who works on something, also across machines that share a folder.

The holder renews the time of the file. A claim whose process has ended, or that was not renewed for `STALE_S`, is
taken over; a living one is left alone.
"""

from __future__ import annotations

import errno
import fcntl
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

from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import os_errors, part_of
from etram_mmdet.utils.processes import machine_id, start_ticks

BEAT_S = 10.0  # between two renewals
STALE_S = 90.0  # without a renewal, after which another machine may take over
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)  # what a file system without locks answers
_LOCK_S = 5.0  # longest wait for somebody who looks at the same claim


class ClaimedError(InputError):
    """Another process works on this; ``holder`` tells which, if its claim can be read."""

    def __init__(self, message: str, holder: Holder | None) -> None:
        super().__init__(message)
        self.holder = holder


@dataclass(frozen=True)
class Holder:
    """Who holds a claim.

    Args:
        host: name of the machine, for people.
        machine: :func:`machine_id`, for programs.
        pid: number of the process.
        ticks: :func:`start_ticks` of the process.
        command: its command line.
        token: tells this claim from every other.
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
        return cls(socket.gethostname(), machine_id(), pid, start_ticks(pid), command, uuid.uuid4().hex)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} ({self.command})"

    def has_ended(self) -> bool:
        """Whether it is known to run no more: only this machine's processes can be asked."""
        return self.machine == machine_id() and start_ticks(self.pid) != self.ticks


class Claim:
    """A claim that this process holds until :meth:`release`; a fork of the process does not hold it."""

    def __init__(self, path: Path, holder: Holder) -> None:
        self.path = path
        self.holder = holder
        self._is_over = threading.Event()
        threading.Thread(target=self._renew, daemon=True, name=f"claim of {path.name}").start()

    def is_held(self) -> bool:
        """Whether the claim is still this one: a process that stood still for `STALE_S` may have lost it."""
        return not self._is_over.is_set() and read_holder(self.path) == self.holder

    def release(self) -> None:
        """Give the claim back; does nothing in a fork, or when another has taken it over."""
        self._is_over.set()
        if os.getpid() != self.holder.pid:
            return
        try:
            with _alone(self.path, os.O_RDWR):
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
    """Claim ``path``, a file of its own in an existing folder; ``None`` where a living process holds it.

    Raises:
        InputError: ``path`` cannot be written.
    """
    holder = Holder.here()
    with os_errors(path, "written"):
        try:
            with _alone(path, os.O_RDWR | os.O_CREAT) as number:
                if os.fstat(number).st_size and not _is_stale(path, number):
                    return None
                os.ftruncate(number, 0)
                os.pwrite(number, json.dumps(asdict(holder)).encode(), 0)
        except BlockingIOError:
            return None
    return Claim(path, holder)


@contextmanager
def claim(path: Path, what: str) -> Iterator[Claim]:
    """Hold ``path`` while the block runs.

    Args:
        path: file of the claim.
        what: the subject of the sentence that refuses, such as ``work_dirs/demo``.

    Raises:
        ClaimedError: a living process holds it; the sentence names host and process.
    """
    held = try_claim(path)
    if held is None:
        raise ClaimedError(f"{what}: {told(path)}", read_holder(path))
    try:
        yield held
    finally:
        held.release()


def told(path: Path) -> str:
    """Who works there, and how long ago it was heard of: the end of a sentence."""
    holder = read_holder(path)
    who = "another process" if holder is None else str(holder)
    try:
        heard = f", heard of {max(0.0, time.time() - path.stat().st_mtime):.0f} s ago"
    except OSError:
        heard = ""
    return f"{who} works there{heard}; wait for it to end, or name another folder"


def read_holder(path: Path) -> Holder | None:
    """Who holds ``path``; ``None`` where nobody does or it cannot be told."""
    try:
        return Holder(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def is_stale(path: Path) -> bool:
    """Whether nobody living holds ``path``."""
    try:
        with _alone(path, os.O_RDWR) as number:
            return not os.fstat(number).st_size or _is_stale(path, number)
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _is_stale(path: Path, number: int) -> bool:
    holder = read_holder(path)
    return (holder is not None and holder.has_ended()) or _age_s(path, number) > STALE_S


def _age_s(path: Path, number: int) -> float:
    """Seconds since the last renewal, by the clock of the file system: those of two machines may differ."""
    probe = part_of(path)
    try:
        probe.touch()
        return probe.stat().st_mtime - os.fstat(number).st_mtime
    finally:
        probe.unlink(missing_ok=True)


@contextmanager
def _alone(path: Path, flags: int) -> Iterator[int]:
    """The open claim while nobody else looks at it; raises ``BlockingIOError`` where somebody does not stop looking."""
    until = time.monotonic() + _LOCK_S
    while True:
        number = os.open(path, flags, 0o666)
        try:
            _lock(number, until)
            if _is_same(path, number):
                yield number
                return
        finally:
            os.close(number)


def _lock(number: int, until: float) -> None:
    while True:
        try:
            return fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return None  # then two that take over one claim in the same millisecond may both have it
            raise


def _is_same(path: Path, number: int) -> bool:
    """Whether ``path`` is still the file that was opened: its holder may have released it in between."""
    try:
        return os.path.samestat(path.stat(), os.fstat(number))
    except FileNotFoundError:
        return False
