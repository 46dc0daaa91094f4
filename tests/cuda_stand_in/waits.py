"""The record of what the host would wait for if the device were a GPU."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

PACKAGE = "/etram_mmdet/"
OWN_FOLDER = str(Path(__file__).parent / "")


class Wait(NamedTuple):
    """What was waited for, and the place: file and function, and those of the library called."""

    what: str
    where: str


_record: list[Wait] = []


def note(what: str) -> None:
    """Record a wait at the line that is being executed.

    Args:
        what: operator, or kind of copy.
    """
    _record.append(Wait(what, place()))


@contextmanager
def recorded() -> Iterator[list[Wait]]:
    """The waits of a block, as a list that grows."""
    _record.clear()
    yield _record


def counted(waits: list[Wait]) -> dict[tuple[str, str], int]:
    """How often each operator waited in each file and function of the package.

    Line numbers are left out, so that a test can name places that do not move.

    Args:
        waits: from :func:`recorded`.
    """
    return dict(
        Counter((what, " > ".join(map(_named, where.split(" > ")))) for what, where in waits)
    )


def _named(place: str) -> str:
    file, function = place.split(" ", 1)
    return f"{file.rpartition('/')[2].partition(':')[0]} {function}"


def _is_passed_over(path: str) -> bool:
    is_own = path.startswith(OWN_FOLDER) and "/check_" not in path
    return is_own or path.startswith("<") or "/torch/" in path


def place() -> str:
    """The innermost line of the package, and behind ``>`` that of the library that it calls.

    Frames of PyTorch and of the stand-in are passed over. The backward pass runs in a thread of its
    own, which has no other frames.
    """
    frame = sys._getframe(1)
    library = None
    while frame is not None:
        path = frame.f_code.co_filename
        if not _is_passed_over(path):
            here = f"{path.split('site-packages/')[-1]}:{frame.f_lineno} {frame.f_code.co_name}"
            if PACKAGE in path:
                return here if library is None else f"{here} > {library}"
            library = library or here
        frame = frame.f_back
    return library or "(backward pass) autograd"
