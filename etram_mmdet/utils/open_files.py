"""A bounded number of open files, however many recordings a data set has."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from typing import Protocol, TypeVar
from weakref import WeakKeyDictionary

# Opening a file again costs about a millisecond, a file that stays open some memory.
_MOST = 256


class _Closable(Protocol):
    def close(self) -> None: ...


File = TypeVar("File", bound=_Closable)


class OpenFiles:
    """Keeps the files open that were used last, one per owner, and closes the others.

    A forked process opens its own files. An owner is any object that lives as long as its file is
    of use. It should ask for the file before each use, since the file may have been closed for
    other owners.

    Args:
        most: largest number of open files. Default: a quarter of the process's limit, at most
            256.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._pid = os.getpid()
        # In the order of their last use.
        self._files: WeakKeyDictionary[object, _Closable] = WeakKeyDictionary()

    def of(self, owner: object, open_file: Callable[[], File]) -> File:
        """The open file of ``owner``; ``open_file()`` opens it first if it is closed."""
        if self._pid != os.getpid():
            self._close_but(0)
            self._pid = os.getpid()
        file = self._files.pop(owner, None)
        if file is None:
            self._close_but((self._most or _usual_most()) - 1)
            file = open_file()
        self._files[owner] = file
        return file

    def close(self, owner: object) -> None:
        """Close the file of ``owner``, if it is open."""
        file = self._files.pop(owner, None)
        if file is not None:
            file.close()

    def _close_but(self, count: int) -> None:
        owners = list(self._files)
        for owner in owners[: max(len(owners) - count, 0)]:
            self.close(owner)


def _usual_most() -> int:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST if limit == resource.RLIM_INFINITY else min(max(limit // 4, 1), _MOST)


OPEN_FILES = OpenFiles()  # of this process
