"""Short locks between processes: held for milliseconds, and freed when the holder is killed."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import os_errors

WAIT_S = 60.0  # longest wait to change a file; a process that holds its lock longer is frozen
# Errors of a file system without locks.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


@contextmanager
def changing(path: Path) -> Iterator[None]:
    """Lock ``path`` against other processes while the block reads and rewrites it.

    Args:
        path: file that is changed; the lock is a hidden file beside it.

    Raises:
        InputError: when the folder cannot be written, or another process keeps the lock for
            `WAIT_S`.
    """
    lock = path.with_name(f".{path.name}.lock")
    with os_errors(path, "written", lock):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with alone(lock, os.O_RDWR | os.O_CREAT, WAIT_S):
                try:
                    yield
                finally:
                    lock.unlink(missing_ok=True)
        except BlockingIOError as error:
            raise InputError(
                f"{path}: another process has kept it locked for {WAIT_S:.0f} s and seems frozen; "
                f"`fuser {lock}` shows its number. End it, then run the same command again"
            ) from error


@contextmanager
def alone(path: Path, flags: int, wait_s: float) -> Iterator[int]:
    """Open and lock a file for the block, and give its file descriptor.

    Args:
        path: file that whoever holds the lock may remove.
        flags: flags of ``os.open``.
        wait_s: longest wait, in seconds.

    Raises:
        BlockingIOError: when another process keeps the lock longer.
    """
    until = time.monotonic() + wait_s
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
                return None  # two processes that come in the same millisecond may then both have it
            raise


def _is_same(path: Path, number: int) -> bool:
    """Whether ``path`` is still the opened file; its holder may have removed it in between."""
    try:
        return os.path.samestat(path.stat(), os.fstat(number))
    except FileNotFoundError:
        return False
